/* history.h: branch points, and the path that leads from an LSN back to 0. Pure.
 *
 * A branch point starts a run at resumed_at that continues the volume as it was at parent_at;
 * what lies between is on no path of the new run. The path of an LSN is kept as its holes: the
 * ranges below it that it does not see, newest first, neighbours merged. One mechanism for every
 * rewind; recovery's branch point has kind CUT: its range may exist in pieces, nobody may look
 * at it. */
#ifndef AUL_HISTORY_H
#define AUL_HISTORY_H

#include "disk.h"

#define AUL_BRANCH_REWIND 1
#define AUL_BRANCH_CUT 2
#define AUL_BRANCH_BYTES 64

typedef struct {
    u64 parent_at, resumed_at, epoch, time_ns;
    u32 kind;
    char reason[28];
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

typedef struct {
    u64 lsn;
    size_t count;
    aul_hole *holes; /* newest first; owned by whoever built the path */
} aul_path;

void aul_branch_encode(u8 to[AUL_BRANCH_BYTES], const aul_branch *branch);
int aul_branch_decode(const u8 *from, size_t bytes, aul_branch *out);

int aul_history_add(aul_history *history, const aul_branch *branch);
void aul_history_free(aul_history *history);
/* The cut range that holds lsn, or NULL. */
const aul_branch *aul_history_cut_at(const aul_history *history, u64 lsn);
/* Builds the path of lsn; aul_path_free releases it. AUL_NO_MEMORY. */
int aul_history_path(const aul_history *history, u64 lsn, aul_path *out);
void aul_path_free(aul_disk *disk, aul_path *path);

/* The hole that holds lsn, or NULL. */
static inline const aul_hole *aul_path_hole(const aul_path *path, u64 lsn) {
    for (size_t i = 0; i < path->count && path->holes[i].end > lsn; i++)
        if (path->holes[i].start <= lsn) return &path->holes[i];
    return NULL;
}

#endif
