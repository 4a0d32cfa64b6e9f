/* fork.h: telling a forked child from its parent. A handle remembers the generation it was made
 * in; in the child the number differs, and the handle is dead there: its locks may be held by
 * threads that do not exist. */
#ifndef AUL_FORK_H
#define AUL_FORK_H

#include "common.h"

extern _Atomic u32 aul_fork_count;

static inline u32 aul_fork_generation(void) {
    return atomic_load_explicit(&aul_fork_count, memory_order_relaxed);
}

#endif
