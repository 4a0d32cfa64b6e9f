/* log.h: what log.c, log_segment.c and log_append.c tell each other. Everybody else uses
 * store.h. */
#ifndef AUL_LOG_H
#define AUL_LOG_H

#include "store.h"

/* log.c: statuses with what failed: nothing was logged; logged, and not known durable. */
int aul_log_refuse_failed(aul_store *store, aul_error *error);
int aul_log_unknown_outcome(aul_store *store, u64 lsn, aul_error *error);
/* Takes a turn at writing: all that is logged and not in the files. Called and left with log.lock
 * held. AUL_FAILED when the log has failed. */
int aul_log_write(aul_store *store);

/* log_segment.c, for whoever has the writer's place. */

/* A segment with a file that is not yet in index and chain: `capacity` bytes or, when the disk
 * has no more, at least `least`. */
int aul_log_create_segment(aul_store *store, u64 first_lsn, const u8 previous_id[AUL_ID_BYTES],
                           u64 capacity, u64 least, bool use_spare, aul_segment **out,
                           aul_error *error);
/* Puts it behind the active one; it becomes the active one. */
int aul_log_link_segment(aul_store *store, aul_segment *segment, aul_error *error);
/* Takes back a created segment that was not linked. */
void aul_log_unmake_segment(aul_store *store, aul_segment *segment, bool has_file);
/* Gives a segment that has no frame yet another size, and takes its image: a second segment
 * could not have its name. */
int aul_log_resize_empty(aul_store *store, aul_segment *segment, u64 capacity, u64 least,
                         aul_error *error);
int aul_log_give_image(aul_store *store, aul_segment *segment, u64 start, u64 bytes,
                       aul_error *error);
/* A segment that is in its file needs its image no more. */
void aul_log_drop_image(aul_store *store, aul_segment *segment);

static inline bool aul_log_is_empty(const aul_segment *segment) {
    return segment->filled == AUL_BLOCK;
}

#endif
