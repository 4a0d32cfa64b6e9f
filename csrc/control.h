/* control.h: what the record of a control batch says. Pure. */
#ifndef AUL_CONTROL_H
#define AUL_CONTROL_H

#include "frame.h"
#include "history.h"
#include "names.h"
#include "record.h"

typedef struct {
    u32 kind;
    aul_branch branch;       /* of AUL_BRANCH_POINT */
    aul_restore_point point; /* of AUL_RESTORE_POINT and AUL_DELETE_RESTORE_POINT */
} aul_control_record;

/* Parses the one record of a control batch, which takes all of `bytes`. AUL_CORRUPT when it is
 * none that the batch can have: of another kind, not of its length, or not about its LSN. What it
 * says of what was there before is not looked at: that needs the log. */
int aul_control_decode(const aul_batch *batch, const u8 *from, size_t bytes, u32 page_size,
                       aul_control_record *out);

#endif
