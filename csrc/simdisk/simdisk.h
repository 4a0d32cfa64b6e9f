/* simdisk.h: a disk behind the `aul_disk` table that is only in memory, loses what was not synced,
 * and fails when it is told to. For tests; the engine's own files do not know it.
 *
 * Files are those of simfile.h. Names are kept in the same way: each directory as the running
 * system sees it, and as it is on the disk. A rename is one change, atomic, and like every change
 * of a directory it may be lost until the directory is synced. A power cut (aul_simdisk_cut) makes
 * a new disk from what may have survived; the old one goes on, so that hundreds of cuts can be
 * tried at every call.
 *
 * Everything is a function of the seed and of the calls made: clock, randomness and faults too. A
 * hash over all calls and their results (aul_simdisk_trace) tells whether two runs were the same.
 * Not for several threads. */
#ifndef AUL_SIMDISK_H
#define AUL_SIMDISK_H

#include "../disk.h"
#include "random.h"

typedef struct aul_simdisk aul_simdisk;

/* Calls of the table, told apart as far as faults and observers have to. */
typedef enum {
    AUL_SIM_OPEN,
    AUL_SIM_CREATE,
    AUL_SIM_READ,
    AUL_SIM_WRITE,
    AUL_SIM_SYNC,
    AUL_SIM_SYNC_DIRECTORY,
    AUL_SIM_WRITE_BACK,
    AUL_SIM_ALLOCATE,
    AUL_SIM_TRUNCATE,
    AUL_SIM_RENAME,
    AUL_SIM_UNLINK,
    AUL_SIM_MAKE_DIRECTORY,
    AUL_SIM_LIST,
    AUL_SIM_OTHER,
    AUL_SIM_MEMORY,
    AUL_SIM_CALLS
} aul_sim_call;

/* Which calls may be interrupted by a signal, and which may find the disk full. */
#define AUL_SIM_MAY_INTERRUPT                                        \
    (1u << AUL_SIM_READ | 1u << AUL_SIM_WRITE | 1u << AUL_SIM_SYNC | \
     1u << AUL_SIM_SYNC_DIRECTORY | 1u << AUL_SIM_ALLOCATE | 1u << AUL_SIM_TRUNCATE)
#define AUL_SIM_MAY_FILL                                                                          \
    (1u << AUL_SIM_CREATE | 1u << AUL_SIM_WRITE | 1u << AUL_SIM_ALLOCATE | 1u << AUL_SIM_RENAME | \
     1u << AUL_SIM_MAKE_DIRECTORY)

const char *aul_sim_call_name(aul_sim_call call);

aul_simdisk *aul_simdisk_new(u64 seed);
/* No file of it is open, and no memory of it in use, any more: see aul_simdisk_leaks. */
void aul_simdisk_free(aul_simdisk *disk);
/* The table as one of a few processes sees it: its locks keep the others out. */
#define AUL_SIM_PROCESSES 4
aul_disk aul_simdisk_table(aul_simdisk *disk, u32 process);
/* Files open and pieces of memory allocated. */
u64 aul_simdisk_leaks(const aul_simdisk *disk);
/* Lets time pass. */
void aul_simdisk_wait(aul_simdisk *disk, u64 ns);

/* Called before each call that changes something on the disk takes effect. It may use the disk. */
typedef void aul_sim_observer(void *argument, aul_sim_call call, const char *path);
void aul_simdisk_observe(aul_simdisk *disk, aul_sim_observer *observer, void *argument);

/* Power cuts */

typedef enum {
    AUL_CUT_KILL,    /* none: the process dies, the page cache stays */
    AUL_CUT_NONE,    /* nothing survives that was not synced */
    AUL_CUT_ALL,     /* everything does */
    AUL_CUT_PREFIX,  /* what was done before some moment, and the next change in part */
    AUL_CUT_SUBSET,  /* any changes, whole or torn */
    AUL_CUT_GARBAGE, /* the same, and anything where a new file's blocks are missing */
    AUL_CUTS
} aul_sim_cut;

const char *aul_sim_cut_name(aul_sim_cut cut);
/* A new disk: what the next process, or the machine when it starts again, finds. */
aul_simdisk *aul_simdisk_cut(aul_simdisk *disk, aul_sim_cut cut, u64 seed);
/* Of all that can be seen, but for LOCK and RESERVE, which are no part of a volume. */
u64 aul_simdisk_hash(aul_simdisk *disk);
/* Of all that may become of it, LOCK and RESERVE too: what is on the disk, what only the cache
 * shows, and the changes between them. */
u64 aul_simdisk_hash_fate(aul_simdisk *disk);
u64 aul_simdisk_trace(const aul_simdisk *disk);

/* Faults */

/* Beside errno values: */
#define AUL_FAULT_SHORT (-1)       /* reads and writes: part of it, and no error */
#define AUL_FAULT_LOST (-2)        /* writes: nothing, and no error; the cache may show it */
#define AUL_FAULT_MISDIRECTED (-3) /* writes: to another place of a file, and no error */

typedef struct {
    u32 calls; /* a bit for each aul_sim_call that it is about */
    u64 at;    /* the n-th of them from now, 1 the next; 0: none */
    int what;
    bool for_ever;
} aul_sim_fault;

/* The disk has room for so many bytes more, until files get shorter or go; what would take more
 * finds it full. Images of it have room. */
void aul_simdisk_limit(aul_simdisk *disk, u64 bytes);
void aul_simdisk_inject(aul_simdisk *disk, const aul_sim_fault *fault);
/* How often the fault last injected has struck. */
u64 aul_simdisk_faults(const aul_simdisk *disk);

/* The i-th name, or NULL. *bytes is the file's size. */
const char *aul_simdisk_name(const aul_simdisk *disk, size_t i, u64 *bytes);
/* Bytes of a file as the cache shows them. False when it has not so many. */
bool aul_simdisk_peek(const aul_simdisk *disk, const char *path, u64 offset, u8 *to, size_t bytes);
/* Bit rot: replaces bytes behind everybody's back. */
void aul_simdisk_damage(aul_simdisk *disk, const char *path, u64 offset, const u8 *with,
                        size_t bytes);
/* Another file in the place of this one, on the disk too; NULL: none. */
void aul_simdisk_replace(aul_simdisk *disk, const char *path, const u8 *with, size_t bytes);

#endif
