/* history.c: see history.h.
 *
 * Branch point, 64 bytes (data of the control record, and entry of the manifest):
 *   0 u64 parent_at, 8 u64 resumed_at, 16 u64 epoch, 24 u64 time, 32 u32 kind (1 rewind, 2 cut),
 *   36 reason, 28 bytes, zero-padded */
#include "history.h"

#include "seeded.h"

void aul_branch_encode(u8 to[AUL_BRANCH_BYTES], const aul_branch *branch) {
    put64(to, branch->parent_at);
    put64(to + 8, branch->resumed_at);
    put64(to + 16, branch->epoch);
    put64(to + 24, branch->time_ns);
    put32(to + 32, branch->kind);
    memcpy(to + 36, branch->reason, sizeof branch->reason);
}

int aul_branch_decode(const u8 *from, size_t bytes, aul_branch *out) {
    if (bytes != AUL_BRANCH_BYTES) return AUL_CORRUPT;
    out->parent_at = get64(from);
    out->resumed_at = get64(from + 8);
    out->epoch = get64(from + 16);
    out->time_ns = get64(from + 24);
    out->kind = get32(from + 32);
    memcpy(out->reason, from + 36, sizeof out->reason);
    if (out->kind != AUL_BRANCH_REWIND && out->kind != AUL_BRANCH_CUT) return AUL_CORRUPT;
    return out->parent_at < out->resumed_at ? AUL_OK : AUL_CORRUPT;
}

int aul_history_add(aul_history *history, const aul_branch *branch) {
    if (history->count) {
        const aul_branch *last = &history->items[history->count - 1];
        if (last->resumed_at >= branch->resumed_at || last->epoch > branch->epoch)
            return AUL_CORRUPT;
    }
    if (branch->kind == AUL_BRANCH_CUT ? branch->parent_at < aul_history_run(history, UINT64_MAX)
                                       : aul_history_cut_at(history, branch->parent_at) != NULL)
        return AUL_CORRUPT;
    int status = aul_grow(history->disk, (void **)&history->items, &history->capacity,
                          history->count + 1, sizeof *history->items);
    if (status) return status;
    history->items[history->count++] = *branch;
    return AUL_OK;
}

void aul_history_cut(aul_history *history, u64 lsn) {
    history->count = aul_history_until(history, lsn);
}

int aul_history_copy(const aul_history *history, u64 lsn, aul_history *out) {
    size_t count = aul_history_until(history, lsn);
    *out = (aul_history){.disk = history->disk};
    if (count == 0) return AUL_OK;
    int status =
        aul_grow(out->disk, (void **)&out->items, &out->capacity, count, sizeof *out->items);
    if (status) return status;
    memcpy(out->items, history->items, count * sizeof *out->items);
    out->count = count;
    return AUL_OK;
}

void aul_history_free(aul_history *history) {
    aul_release(history->disk, history->items);
    history->items = NULL;
    history->count = history->capacity = 0;
}

size_t aul_history_until(const aul_history *history, u64 lsn) {
    size_t low = 0, high = history->count;
    if (high && history->items[high - 1].resumed_at <= lsn) return high;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (history->items[middle].resumed_at <= lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

u64 aul_history_run(const aul_history *history, u64 lsn) {
    size_t until = aul_history_until(history, lsn);
    return until ? history->items[until - 1].resumed_at : 0;
}

const aul_branch *aul_history_cut_at(const aul_history *history, u64 lsn) {
    /* No branch point lies in a cut range: what recovery cut is gone. */
    size_t next = aul_history_until(history, lsn);
    if (next == history->count) return NULL;
    const aul_branch *branch = &history->items[next];
    return branch->kind == AUL_BRANCH_CUT && branch->parent_at < lsn ? branch : NULL;
}

/* Walks the path of lsn back to 0; with `holes` it notes them. Returns how many there are. */
static size_t walk(const aul_history *history, u64 lsn, bool merged, aul_hole *holes) {
    size_t count = 0;
    u64 at = lsn, start = 0;
    for (size_t until; (until = aul_history_until(history, at)) > 0;) {
        const aul_branch *branch = &history->items[until - 1];
        /* Where a run goes on from another's first LSN, that is a branch point's, which changes no
         * page: the two ranges left behind are one. */
        bool merges = merged && count && start == branch->resumed_at + 1;
        if (AUL_SEEDED(HOLES_MERGED) && merged) merges = count > 0;
        if (AUL_SEEDED(ONE_HOLE_ONLY) && count == 1) break;
        start = branch->parent_at + (AUL_SEEDED(HOLE_BEGINS_LATE) ? 2 : 1);
        if (!merges) count++;
        if (holes && merges) holes[count - 1].start = start;
        if (holes && !merges) holes[count - 1] = (aul_hole){start, branch->resumed_at};
        at = branch->parent_at;
    }
    return count;
}

static int build_path(const aul_history *history, u64 lsn, bool merged, aul_path *out) {
    *out = (aul_path){.lsn = lsn, .run = aul_history_run(history, lsn)};
    size_t count = walk(history, lsn, merged, NULL);
    if (count == 0) return AUL_OK;
    aul_holes *holes = aul_alloc(history->disk, sizeof *holes + count * sizeof *holes->items);
    if (!holes) return AUL_NO_MEMORY;
    atomic_init(&holes->references, 1);
    holes->count = walk(history, lsn, merged, holes->items);
    out->shared = holes;
    out->holes = holes->items;
    out->count = count;
    return AUL_OK;
}

int aul_history_path(const aul_history *history, u64 lsn, aul_path *out) {
    return build_path(history, lsn, true, out);
}

int aul_history_exact_path(const aul_history *history, u64 lsn, aul_path *out) {
    return build_path(history, lsn, AUL_SEEDED(BRANCHES_UNCOUNTED), out);
}

void aul_path_share(const aul_path *path, u64 lsn, aul_path *out) {
    *out = *path;
    out->lsn = lsn;
    if (out->shared) atomic_fetch_add(&out->shared->references, 1);
}

void aul_path_free(aul_disk *disk, aul_path *path) {
    if (path->shared && atomic_fetch_sub(&path->shared->references, 1) == 1)
        aul_release(disk, path->shared);
    *path = (aul_path){.lsn = path->lsn, .run = path->run};
}
