/* ranges.h: a set of LSNs, as the ranges that it is made of. Pure.
 *
 * A path and its holes say the same in another way; here two paths are compared. */
#ifndef AUL_RANGES_H
#define AUL_RANGES_H

#include "history.h"

/* start <= LSN < end */
typedef struct {
    u64 start, end;
} aul_range;

typedef struct {
    aul_disk *disk;
    aul_range *items; /* ascending, none empty, none touching the next */
    size_t count, capacity;
} aul_ranges;

#define AUL_ONLY_A 1u
#define AUL_ONLY_B 2u
#define AUL_ONLY_ONE (AUL_ONLY_A | AUL_ONLY_B)

/* Adds to `out`, which is empty, the LSNs from `from` (at least 1) on that lie on exactly one of
 * the two paths, and on that which `which` names. A path that is NULL holds nothing.
 * AUL_NO_MEMORY. */
int aul_ranges_between(const aul_path *a, const aul_path *b, u64 from, u32 which, aul_ranges *out);
void aul_ranges_free(aul_ranges *ranges);
/* The lowest of the LSNs at or above lsn; UINT64_MAX when there is none. */
u64 aul_ranges_next(const aul_ranges *ranges, u64 lsn);
/* The highest of the LSNs at or below lsn; 0 when there is none. */
u64 aul_ranges_last(const aul_ranges *ranges, u64 lsn);

#endif
