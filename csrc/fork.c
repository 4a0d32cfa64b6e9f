/* fork.c: see fork.h. */
#include "fork.h"

#include <pthread.h>

_Atomic u32 aul_fork_count;

static void in_child(void) { atomic_fetch_add(&aul_fork_count, 1); }

__attribute__((constructor)) static void watch(void) { pthread_atfork(NULL, NULL, in_child); }
