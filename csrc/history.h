/* history.h: branch points, and the path that leads from an LSN back to 0. Pure.
 *
 * A branch point starts a run at resumed_at that continues the volume as it was at parent_at;
 * what lies between is on no path of the new run. A run is known by its first LSN, 0 for the
 * first one. The path of an LSN is kept as its holes: the ranges below it that it does not see,
 * newest first, neighbours merged. One mechanism for every rewind; recovery's branch point has
 * kind CUT: its range may exist in pieces, nobody may look at it. */
#ifndef AUL_HISTORY_H
#define AUL_HISTORY_H

#include "disk.h"

#define AUL_BRANCH_BYTES 64
#define AUL_REASON_BYTES 28

typedef struct {
    u64 parent_at, resumed_at, epoch, time_ns;
    u32 kind;
    char reason[AUL_REASON_BYTES];
} aul_branch;

typedef struct {
    aul_disk *disk;
    aul_branch *items; /* by resumed_at, ascending */
    size_t count, capacity;
} aul_history;

/* start <= LSN < end is not on the path. */
typedef struct {
    u64 start, end;
} aul_hole;

/* The holes of a path, newest first. Immutable and counted, so that many paths share them. */
typedef struct {
    _Atomic u32 references;
    size_t count;
    aul_hole items[];
} aul_holes;

typedef struct {
    u64 lsn;
    u64 run; /* that lsn lies in */
    size_t count;
    const aul_hole *holes;
    aul_holes *shared; /* what `holes` points into, with a reference; NULL when borrowed */
} aul_path;

void aul_branch_encode(u8 to[AUL_BRANCH_BYTES], const aul_branch *branch);
int aul_branch_decode(const u8 *from, size_t bytes, aul_branch *out);

/* Adds one that comes after all others. AUL_CORRUPT where it cannot: it is not after them, goes on
 * from what recovery cut, or cuts another. AUL_NO_MEMORY. */
int aul_history_add(aul_history *history, const aul_branch *branch);
/* Forgets the branch points above lsn. */
void aul_history_cut(aul_history *history, u64 lsn);
/* Copies the branch points at or below lsn to `out`, which is empty. AUL_NO_MEMORY. */
int aul_history_copy(const aul_history *history, u64 lsn, aul_history *out);
void aul_history_free(aul_history *history);
/* How many branch points are at or below lsn: the last of them starts its run. */
size_t aul_history_until(const aul_history *history, u64 lsn);
/* The run that lsn lies in. */
u64 aul_history_run(const aul_history *history, u64 lsn);
/* The cut range that holds lsn, or NULL. */
const aul_branch *aul_history_cut_at(const aul_history *history, u64 lsn);
/* Builds the path of lsn; aul_path_free releases it. AUL_NO_MEMORY. */
int aul_history_path(const aul_history *history, u64 lsn, aul_path *out);
/* The same, to count commits: a branch point that the next one goes on from is on it, where
 * neighbouring holes would have swallowed it. */
int aul_history_exact_path(const aul_history *history, u64 lsn, aul_path *out);

/* The path of another LSN of the same run, with the same holes. Both are released. */
void aul_path_share(const aul_path *path, u64 lsn, aul_path *out);
void aul_path_free(aul_disk *disk, aul_path *path);

/* The hole that holds lsn, or NULL. */
static inline const aul_hole *aul_path_hole(const aul_path *path, u64 lsn) {
    size_t low = 0, high = path->count;
    if (high == 0 || lsn >= path->holes[0].end) return NULL;
    while (low < high) { /* the first one that begins at or below lsn */
        size_t middle = (low + high) / 2;
        if (path->holes[middle].start <= lsn)
            high = middle;
        else
            low = middle + 1;
    }
    return low < path->count && lsn < path->holes[low].end ? &path->holes[low] : NULL;
}

/* Whether the path leads through lsn. */
static inline bool aul_path_holds(const aul_path *path, u64 lsn) {
    return lsn <= path->lsn && !aul_path_hole(path, lsn);
}

#endif
