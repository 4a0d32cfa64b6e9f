/* history.c: see history.h.
 *
 * Branch point, 64 bytes (data of the control record, and entry of the manifest):
 *   0 u64 parent_at, 8 u64 resumed_at, 16 u64 epoch, 24 u64 time, 32 u32 kind (1 rewind, 2 cut),
 *   36 reason, 28 bytes, zero-padded */
#include "history.h"

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
    if (history->count && history->items[history->count - 1].resumed_at >= branch->resumed_at)
        return AUL_CORRUPT;
    int status = aul_grow(history->disk, (void **)&history->items, &history->capacity,
                          history->count + 1, sizeof *history->items);
    if (status) return status;
    history->items[history->count++] = *branch;
    return AUL_OK;
}

void aul_history_free(aul_history *history) {
    aul_release(history->disk, history->items);
    history->items = NULL;
    history->count = history->capacity = 0;
}

const aul_branch *aul_history_cut_at(const aul_history *history, u64 lsn) {
    for (size_t i = history->count; i-- > 0;) {
        const aul_branch *branch = &history->items[i];
        if (branch->kind == AUL_BRANCH_CUT && branch->parent_at < lsn && lsn < branch->resumed_at)
            return branch;
    }
    return NULL;
}

int aul_history_path(const aul_history *history, u64 lsn, aul_path *out) {
    out->lsn = lsn;
    out->count = 0;
    out->holes = NULL;
    if (history->count == 0) return AUL_OK;
    out->holes = aul_alloc(history->disk, history->count * sizeof *out->holes);
    if (!out->holes) return AUL_NO_MEMORY;
    u64 at = lsn;
    for (size_t i = history->count; i-- > 0;) {
        const aul_branch *branch = &history->items[i];
        if (branch->resumed_at > at) continue; /* a later run, or one off the path */
        aul_hole *last = out->count ? &out->holes[out->count - 1] : NULL;
        if (last && last->start == branch->resumed_at)
            last->start = branch->parent_at + 1;
        else
            out->holes[out->count++] = (aul_hole){branch->parent_at + 1, branch->resumed_at};
        at = branch->parent_at;
    }
    return AUL_OK;
}

void aul_path_free(aul_disk *disk, aul_path *path) {
    aul_release(disk, path->holes);
    path->holes = NULL;
    path->count = 0;
}
