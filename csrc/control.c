/* control.c: see control.h. */
#include "control.h"

static bool is_branch(const aul_batch *batch, const aul_branch *branch) {
    return branch->resumed_at == batch->last_lsn && branch->parent_at == batch->previous_lsn &&
           branch->epoch == batch->epoch;
}

/* One that is deleted was made before, one that is made is made by this record. */
static bool is_point(const aul_batch *batch, u32 kind, const aul_restore_point *point) {
    return kind == AUL_RESTORE_POINT ? point->made_lsn == batch->last_lsn
                                     : point->made_lsn < batch->last_lsn;
}

int aul_control_decode(const aul_batch *batch, const u8 *from, size_t bytes, u32 page_size,
                       aul_control_record *out) {
    aul_change record;
    if (batch->first_lsn != batch->last_lsn || aul_record_parse(from, bytes, page_size, &record) ||
        aul_record_bytes(&record) != bytes)
        return AUL_CORRUPT;
    out->kind = record.kind;
    switch (record.kind) {
    case AUL_BRANCH_POINT:
        if (aul_branch_decode(record.data, record.data_bytes, &out->branch)) return AUL_CORRUPT;
        return is_branch(batch, &out->branch) ? AUL_OK : AUL_CORRUPT;
    case AUL_RESTORE_POINT:
    case AUL_DELETE_RESTORE_POINT:
        if (aul_restore_point_decode(record.data, record.data_bytes, &out->point) ||
            aul_restore_point_bytes(&out->point) != record.data_bytes)
            return AUL_CORRUPT;
        return is_point(batch, record.kind, &out->point) ? AUL_OK : AUL_CORRUPT;
    case AUL_CLEAN_CLOSE:
        return record.data_bytes ? AUL_CORRUPT : AUL_OK;
    default:
        return AUL_CORRUPT;
    }
}
