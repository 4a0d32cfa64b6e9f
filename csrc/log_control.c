/* log_control.c: control batches: one record that changes no page, in the order of the log with
 * everything else. */
#include "store.h"

#define CONTROL_BYTES_MAX 512u

int aul_log_control(aul_store *store, const aul_control *control, aul_error *error) {
    aul_log *log = &store->log;
    u8 memory[AUL_FRAME_ROOM + AUL_RECORD_HEADER + CONTROL_BYTES_MAX + AUL_FRAME_ALIGN];
    AUL_MUST(control->data_bytes <= CONTROL_BYTES_MAX, error);
    aul_change change = {.kind = control->kind,
                         .length = control->data_bytes,
                         .data_bytes = control->data_bytes,
                         .data = control->data};
    aul_record_encode(memory + AUL_FRAME_ROOM, &change, log->next_lsn, store->record_seed);
    aul_frame_buffer frame = {memory, AUL_FRAME_ROOM, aul_record_bytes(&change), 1, log->next_lsn};
    aul_log_batch batch = {.frames = &frame,
                           .frame_count = 1,
                           .kind = AUL_BATCH_CONTROL,
                           .note_bytes = control->note_bytes,
                           .note = control->note,
                           .first_lsn = log->next_lsn,
                           .last_lsn = log->next_lsn,
                           .previous_lsn = control->previous_lsn,
                           .end_pages = control->end_pages,
                           .time_ns = control->time_ns};
    return aul_log_append(store, &batch, error);
}

int aul_log_branch(aul_store *store, const aul_branch *branch, u64 end_pages,
                   const aul_commit_options *options, aul_error *error) {
    u8 data[AUL_BRANCH_BYTES];
    aul_branch_encode(data, branch);
    aul_control control = {.kind = AUL_BRANCH_POINT,
                           .data = data,
                           .data_bytes = AUL_BRANCH_BYTES,
                           .note_bytes = options ? options->note_bytes : 0,
                           .note = options ? options->note : NULL,
                           .previous_lsn = branch->parent_at,
                           .end_pages = end_pages,
                           .time_ns = branch->time_ns};
    return aul_log_control(store, &control, error);
}
