/* system.c: the operating system's disk table under another name: its own is faultdisk.c's. */
#define aul_disk_posix aul_disk_system
#include "disk_posix.c"
