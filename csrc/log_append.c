/* log_append.c: logging a batch.
 *
 * A batch is copied into the active segment's image, or, when it does not fit there and is at
 * least AUL_BULK_BYTES, goes from the transaction's buffers straight to unprepared files, over
 * as many as it needs. Its records are in the index before its LSNs are published: whoever sees
 * the LSN finds them. */
#include "log.h"
#include "seeded.h"

#include <errno.h>

#define BATCH_SEGMENTS_MAX 128
#define IN_FLIGHT_WAIT_MS 100

static u64 footer_bytes_after(const aul_segment *segment, const aul_log_batch *batch) {
    const aul_part *part = segment->part;
    if (AUL_SEEDED(FOOTER_ROOM_FORGOTTEN)) return 0;
    return aul_run_footer_bytes(part->entry_count + batch->entries, part->commit_count + 1,
                                part->truncate_count + batch->truncates);
}

static bool fits(const aul_segment *segment, const aul_log_batch *batch, u64 bytes) {
    return segment->filled + bytes + footer_bytes_after(segment, batch) <= segment->capacity;
}

/* Bytes of frame i's payload before its first record. */
static u32 front_bytes(const aul_log_batch *batch, size_t i) {
    return i == 0 ? aul_batch_header_bytes(batch->note_bytes) : 0;
}

/* Gives the batch its header and its frames' payload checksums; returns the bytes of its frames. */
static u64 finish_batch(aul_store *store, aul_log_batch *batch) {
    u64 bytes = 0, stream = aul_batch_header_bytes(batch->note_bytes);
    for (size_t i = 0; i < batch->frame_count; i++) stream += batch->frames[i].records_bytes;
    aul_batch header = {.kind = batch->kind,
                        .header_bytes = aul_batch_header_bytes(batch->note_bytes),
                        .note_bytes = batch->note_bytes,
                        .note = batch->note,
                        .stream_bytes = stream,
                        .first_lsn = batch->first_lsn,
                        .last_lsn = batch->last_lsn,
                        .previous_lsn = batch->previous_lsn,
                        .epoch = store->epoch,
                        .time_ns = batch->time_ns,
                        .end_pages = batch->end_pages};
    memcpy(header.volume_id, store->manifest.volume_id, AUL_ID_BYTES);
    aul_frame_buffer *first = &batch->frames[0];
    aul_batch_encode(first->memory + first->records_start - header.header_bytes, &header);
    for (size_t i = 0; i < batch->frame_count; i++)
        bytes += aul_frame_bytes(front_bytes(batch, i) + batch->frames[i].records_bytes);
    return bytes;
}

/* Writes frame i's header in front of its payload for its place in a segment. *start is where
 * the frame begins in memory. */
static u64 place_frame(aul_store *store, aul_log_batch *batch, size_t i, const aul_segment *segment,
                       u64 offset, u8 **start) {
    aul_frame_buffer *buffer = &batch->frames[i];
    u32 front = front_bytes(batch, i);
    u8 *payload = buffer->memory + buffer->records_start - front;
    aul_frame frame = {.first_lsn = buffer->first_lsn,
                       .epoch = segment->epoch,
                       .durable_before =
                           atomic_load_explicit(&store->log.durable, memory_order_relaxed),
                       .payload_bytes = front + buffer->records_bytes,
                       .records = buffer->records,
                       .flags = (i == 0 ? AUL_FRAME_FIRST : 0) |
                                (i + 1 == batch->frame_count ? AUL_FRAME_LAST : 0)};
    if (AUL_SEEDED(DURABLE_BEFORE_OVERSTATED)) frame.durable_before = store->log.last_commit;
    if (AUL_SEEDED(DURABLE_BEFORE_LOST)) frame.durable_before = 0;
    frame.payload_crc = aul_crc32c(0, payload, frame.payload_bytes);
    *start = payload - AUL_FRAME_HEADER;
    aul_frame_encode(*start, &frame, segment->id, offset);
    u64 bytes = aul_frame_bytes(frame.payload_bytes);
    memset(payload + frame.payload_bytes, 0, bytes - AUL_FRAME_HEADER - frame.payload_bytes);
    return bytes;
}

/* Adds the records of frame i, which is at `offset`, to the index; returns the frame's end. */
static u64 index_frame(aul_store *store, const aul_log_batch *batch, size_t i, aul_segment *segment,
                       u64 offset) {
    const aul_frame_buffer *frame = &batch->frames[i];
    u32 front = front_bytes(batch, i), payload_bytes = front + frame->records_bytes;
    if (AUL_SEEDED(ENTRY_LOST_AT_ROLL) && offset == AUL_BLOCK && segment->first_lsn > 1)
        return offset + aul_frame_bytes(payload_bytes);
    if (batch->kind == AUL_BATCH_PAGES)
        aul_part_add_records(segment->part, store->page_size,
                             frame->memory + frame->records_start - front, payload_bytes, front,
                             frame->first_lsn, frame->records, offset + AUL_FRAME_HEADER);
    atomic_store_explicit(&segment->last_lsn, frame->first_lsn + frame->records - 1,
                          memory_order_relaxed);
    return offset + aul_frame_bytes(payload_bytes);
}

static void index_commit(aul_segment *segment, const aul_log_batch *batch, u64 batch_offset) {
    aul_commit commit = {.lsn = batch->last_lsn,
                         .time_ns = batch->time_ns,
                         .end_pages = batch->end_pages,
                         .offset = (u32)batch_offset,
                         .records = (u32)(batch->last_lsn - batch->first_lsn + 1)};
    aul_part_add_commit(segment->part, &commit);
}

/* What is logged becomes what the next transaction builds on. Called with log.lock held. */
static void publish(aul_store *store, const aul_log_batch *batch, u64 bytes, bool in_files) {
    aul_log *log = &store->log;
    log->logged = batch->last_lsn;
    log->logged_segment = log->active;
    log->logged_end = log->active->filled;
    log->logged_bytes += bytes;
    if (in_files) {
        log->written = log->logged;
        log->written_bytes = log->logged_bytes;
        log->write_head = log->active;
    }
    log->next_lsn = batch->last_lsn + 1;
    log->last_commit = batch->last_lsn;
    log->last_time_ns = batch->time_ns;
    log->end_pages = batch->end_pages;
    atomic_fetch_add_explicit(&log->commits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&log->records, batch->last_lsn - batch->first_lsn + 1,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&log->bytes, bytes, memory_order_relaxed);
}

static int append_to_image(aul_store *store, aul_log_batch *batch, u64 bytes, aul_error *error) {
    aul_log *log = &store->log;
    aul_segment *segment = log->active;
    u64 batch_offset = segment->filled;
    pthread_rwlock_wrlock(&store->index.lock);
    int status = aul_part_reserve(segment->part, batch->entries, batch->truncates, 1);
    pthread_rwlock_unlock(&store->index.lock);
    if (status)
        return aul_fail(error, AUL_NO_MEMORY, "no memory for the index of %llu records",
                        (unsigned long long)batch->entries);
    u64 offset = batch_offset;
    for (size_t i = 0; i < batch->frame_count; i++) {
        u8 *start;
        u64 frame_bytes = place_frame(store, batch, i, segment, offset, &start);
        memcpy(segment->image + (offset - segment->image_start), start, frame_bytes);
        offset += frame_bytes;
    }
    AUL_MUST(offset == batch_offset + bytes && offset <= segment->capacity, error);
    /* Indexed before it is published: whoever sees the LSN finds the records. */
    pthread_rwlock_wrlock(&store->index.lock);
    offset = batch_offset;
    for (size_t i = 0; i < batch->frame_count; i++)
        offset = index_frame(store, batch, i, segment, offset);
    index_commit(segment, batch, batch_offset);
    pthread_rwlock_unlock(&store->index.lock);
    pthread_mutex_lock(&log->lock);
    bool failed = log->failed;
    u64 logged_before = log->logged_bytes;
    if (!failed) {
        segment->filled = offset;
        publish(store, batch, bytes, false);
    }
    pthread_mutex_unlock(&log->lock);
    if (failed) return aul_log_refuse_failed(store, error);
    /* Now is the time for a spare segment: the keeper knows the conditions. */
    bool half = batch_offset < segment->capacity / 2 && offset >= segment->capacity / 2;
    if (half || (logged_before < AUL_PREPARE_AFTER_BYTES &&
                 logged_before + bytes >= AUL_PREPARE_AFTER_BYTES))
        aul_keeper_wake(store);
    return AUL_OK;
}

/* A bulk batch's way through files: how many frames go to each. */
typedef struct {
    aul_segment *segments[BATCH_SEGMENTS_MAX];
    size_t frames[BATCH_SEGMENTS_MAX];
    size_t count;
    bool first_is_active;
} bulk_plan;

/* Takes back the planned segments from `i` on, as far as they are new. */
static void unmake_from(aul_store *store, bulk_plan *plan, size_t i) {
    for (; i < plan->count; i++)
        if (i > 0 || !plan->first_is_active) aul_log_unmake_segment(store, plan->segments[i], true);
}

/* Frames [at, ..) that fit a file of `room` bytes behind `used` ones, with the footer that they
 * will need. */
static size_t frames_that_fit(const aul_log_batch *batch, size_t at, u64 used, u64 room,
                              u64 entries_before, u64 commits_before, u64 truncates_before,
                              u64 *bytes) {
    u64 entries = entries_before, total = 0;
    size_t i = at;
    for (; i < batch->frame_count; i++) {
        u64 frame_bytes = aul_frame_bytes(front_bytes(batch, i) + batch->frames[i].records_bytes);
        u64 footer = aul_run_footer_bytes(entries + batch->frames[i].records, commits_before + 1,
                                          truncates_before + batch->truncates);
        if (used + total + frame_bytes + footer > room) break;
        total += frame_bytes;
        entries += batch->frames[i].records;
    }
    *bytes = total;
    return i - at;
}

/* Adds one segment for the frames from *at on: `segment`, or a new one when it is NULL. */
static int plan_segment(aul_store *store, aul_log_batch *batch, bulk_plan *plan,
                        aul_segment *segment, size_t *at, const u8 *previous_id, aul_error *error) {
    u64 bytes, entries = 0;
    size_t here = frames_that_fit(batch, *at, AUL_BLOCK, AUL_SEGMENT_BYTES_BULK, 0, 0, 0, &bytes);
    AUL_MUST(here > 0, error);
    if (plan->count == BATCH_SEGMENTS_MAX)
        return aul_fail(error, AUL_TOO_LARGE,
                        "the transaction would span more than %d log segments", BATCH_SEGMENTS_MAX);
    for (size_t i = *at; i < *at + here; i++) entries += batch->frames[i].records;
    u64 least = AUL_BLOCK + bytes + aul_run_footer_bytes(entries, 1, batch->truncates);
    int status;
    if (segment)
        status = aul_log_resize_empty(store, segment, AUL_SEGMENT_BYTES_BULK, least, error);
    else
        status = aul_log_create_segment(store, batch->frames[*at].first_lsn, previous_id,
                                        AUL_SEGMENT_BYTES_BULK, least, false, &segment, error);
    if (status) return status;
    if (*at == 0) segment->previous_lsn = store->log.last_commit;
    plan->segments[plan->count] = segment;
    plan->frames[plan->count++] = here;
    *at += here;
    return AUL_OK;
}

static int plan_bulk(aul_store *store, aul_log_batch *batch, bulk_plan *plan, aul_error *error) {
    aul_log *log = &store->log;
    aul_segment *active = log->active;
    size_t at = 0;
    int status = AUL_OK;
    plan->count = 0;
    plan->first_is_active = false;
    if (aul_log_is_empty(active)) {
        status = plan_segment(store, batch, plan, active, &at, NULL, error);
        if (status) return status;
        plan->first_is_active = true;
    } else if (!active->image) {
        u64 bytes;
        const aul_part *part = active->part;
        size_t here = frames_that_fit(batch, 0, active->filled, active->capacity, part->entry_count,
                                      part->commit_count, part->truncate_count, &bytes);
        /* Only whole: a batch of several segments begins with the first of them. */
        if (here == batch->frame_count) {
            plan->segments[plan->count] = active;
            plan->frames[plan->count++] = at = here;
            plan->first_is_active = true;
        }
    }
    while (at < batch->frame_count && !status) {
        const u8 *previous_id = plan->count ? plan->segments[plan->count - 1]->id : log->last_id;
        status = plan_segment(store, batch, plan, NULL, &at, previous_id, error);
    }
    if (status) unmake_from(store, plan, 0);
    return status;
}

/* Writes a bulk batch's frames for one segment to its file. */
static int write_bulk(aul_store *store, aul_log_batch *batch, size_t at, size_t frames,
                      aul_segment *segment, u64 *end) {
    u64 offset = segment->filled;
    if (segment->written == 0) {
        u8 block[AUL_BLOCK];
        aul_segment_encode_header(block, segment);
        int failed = aul_disk_write(store->disk, segment->file, block, AUL_BLOCK, 0);
        if (failed) return failed;
        segment->crc = aul_crc32c(0, block, AUL_BLOCK);
        offset = AUL_BLOCK;
    }
    for (size_t i = at; i < at + frames; i++) {
        u8 *start;
        u64 bytes = place_frame(store, batch, i, segment, offset, &start);
        int failed = aul_disk_write(store->disk, segment->file, start, bytes, offset);
        if (failed) return failed;
        segment->crc = aul_crc32c(segment->crc, start, bytes);
        offset += bytes;
    }
    *end = offset;
    return 0;
}

static int reserve_bulk(aul_store *store, aul_log_batch *batch, bulk_plan *plan, aul_error *error) {
    size_t at = 0;
    int status = AUL_OK;
    for (size_t i = 0; i < plan->count && !status; i++) {
        u64 entries = 0;
        for (size_t f = at; f < at + plan->frames[i]; f++) entries += batch->frames[f].records;
        at += plan->frames[i];
        pthread_rwlock_wrlock(&store->index.lock);
        status = aul_part_reserve(plan->segments[i]->part, entries, batch->truncates, 1);
        pthread_rwlock_unlock(&store->index.lock);
    }
    return status ? aul_fail(error, AUL_NO_MEMORY, "no memory for the index of a large transaction")
                  : AUL_OK;
}

/* Links, fills and indexes the planned segments. A failure after the first write ends all
 * writing. */
static int carry_out_bulk(aul_store *store, aul_log_batch *batch, bulk_plan *plan, u64 bytes,
                          aul_error *error) {
    aul_log *log = &store->log;
    size_t at = 0;
    u64 batch_offset = AUL_NO_OFFSET;
    for (size_t i = 0; i < plan->count; i++) {
        aul_segment *segment = plan->segments[i];
        u64 start = aul_max(segment->filled, AUL_BLOCK), end = start;
        int failed = write_bulk(store, batch, at, plan->frames[i], segment, &end);
        if (failed) {
            pthread_mutex_lock(&log->lock);
            aul_log_fail(store, failed);
            pthread_mutex_unlock(&log->lock);
            unmake_from(store, plan, i);
            return aul_log_unknown_outcome(store, batch->last_lsn, error);
        }
        store->disk->write_back(store->disk->context, segment->file, start, end - start, false);
        if (segment != log->active) {
            segment->filled = AUL_BLOCK;
            segment->written = AUL_BLOCK;
            if (aul_log_link_segment(store, segment, error)) {
                pthread_mutex_lock(&log->lock);
                aul_log_fail(store, ENOMEM);
                pthread_mutex_unlock(&log->lock);
                unmake_from(store, plan, i);
                return aul_log_unknown_outcome(store, batch->last_lsn, error);
            }
        }
        u64 offset = start;
        pthread_rwlock_wrlock(&store->index.lock);
        for (size_t f = at; f < at + plan->frames[i]; f++)
            offset = index_frame(store, batch, f, segment, offset);
        if (i + 1 == plan->count)
            index_commit(segment, batch, plan->count == 1 ? start : batch_offset);
        pthread_rwlock_unlock(&store->index.lock);
        pthread_mutex_lock(&log->lock);
        segment->written = segment->filled = end;
        pthread_mutex_unlock(&log->lock);
        at += plan->frames[i];
    }
    pthread_mutex_lock(&log->lock);
    if (!log->failed) publish(store, batch, bytes, true);
    bool failed = log->failed;
    pthread_mutex_unlock(&log->lock);
    if (failed) return aul_log_unknown_outcome(store, batch->last_lsn, error);
    aul_keeper_wake(store);
    return AUL_OK;
}

static int append_bulk(aul_store *store, aul_log_batch *batch, u64 bytes, aul_error *error) {
    aul_log *log = &store->log;
    bulk_plan *plan = aul_alloc(store->disk, sizeof *plan);
    if (!plan) return aul_fail(error, AUL_NO_MEMORY, "no memory for a large transaction");
    /* What was logged before goes to the files first: they fill in the order of the log. */
    pthread_mutex_lock(&log->lock);
    int status = aul_log_write(store);
    pthread_mutex_unlock(&log->lock);
    if (status) status = aul_log_refuse_failed(store, error);
    if (!status) {
        status = plan_bulk(store, batch, plan, error);
        if (!status) {
            status = reserve_bulk(store, batch, plan, error);
            if (status) unmake_from(store, plan, 0);
        }
        if (!status) status = carry_out_bulk(store, batch, plan, bytes, error);
    }
    aul_release(store->disk, plan);
    return status;
}

/* Makes the active segment one whose image the batch fits. */
static int make_room(aul_store *store, const aul_log_batch *batch, u64 bytes, aul_error *error) {
    aul_log *log = &store->log;
    aul_segment *active = log->active, *fresh;
    u64 least =
        aul_max(AUL_BLOCK + bytes + aul_run_footer_bytes(batch->entries, 1, batch->truncates),
                AUL_SEGMENT_BYTES_LEAST);
    u64 capacity = aul_max(AUL_SEGMENT_BYTES, least);
    if (aul_log_is_empty(active)) {
        if (fits(active, batch, bytes) && active->image) return AUL_OK;
        int status = aul_log_resize_empty(store, active, capacity, least, error);
        if (status) return status;
        status = aul_log_give_image(store, active, 0, active->capacity, error);
        if (!status) aul_segment_encode_header(active->image, active);
        return status;
    }
    pthread_mutex_lock(&log->lock);
    bool better = log->spare_ready && !active->prepared;
    pthread_mutex_unlock(&log->lock);
    if (!better && fits(active, batch, bytes)) {
        if (active->image) return AUL_OK;
        /* Behind a bulk batch: an image for the rest of its segment, or for as much of it as a
         * segment has. */
        pthread_mutex_lock(&log->lock);
        active->capacity = aul_min(active->capacity, active->filled + AUL_SEGMENT_BYTES);
        pthread_mutex_unlock(&log->lock);
        if (fits(active, batch, bytes))
            return aul_log_give_image(store, active, active->filled,
                                      active->capacity - active->filled, error);
    }
    return aul_log_new_segment(store, capacity, least, least <= AUL_SEGMENT_BYTES, &fresh, error);
}

/* Delays the transaction while too much is in flight: AUL_BUSY when that takes long. */
static int respect_limits(aul_store *store, const aul_log_batch *batch, aul_error *error) {
    aul_log *log = &store->log;
    for (;;) {
        pthread_mutex_lock(&log->lock);
        u64 unsynced = log->logged_bytes - log->durable_bytes, durable = atomic_load(&log->durable);
        bool idle = log->logged == durable, failed = log->failed;
        pthread_mutex_unlock(&log->lock);
        if (failed) return aul_log_refuse_failed(store, error);
        bool within = batch->last_lsn - durable <= store->manifest.in_flight_lsns ||
                      AUL_SEEDED(IN_FLIGHT_UNLIMITED);
        if (idle || (unsynced <= AUL_IN_FLIGHT_BYTES && within)) return AUL_OK;
        int status = aul_log_wait_durable(store, durable + 1, IN_FLIGHT_WAIT_MS, error);
        if (status == AUL_UNKNOWN) return aul_log_refuse_failed(store, error);
        if (status == AUL_PENDING) return aul_fail(error, AUL_BUSY, "too much is in flight");
    }
}

int aul_log_append(aul_store *store, aul_log_batch *batch, aul_error *error) {
    aul_log *log = &store->log;
    int status = AUL_OK;
    if (!log->started) status = aul_start_epoch(store, error);
    if (!status) status = respect_limits(store, batch, error);
    if (status) return status;
    if (!batch->time_ns) batch->time_ns = store->disk->now(store->disk->context);
    if (!AUL_SEEDED(TIME_GOES_BACK)) batch->time_ns = aul_max(batch->time_ns, log->last_time_ns);
    u64 bytes = finish_batch(store, batch);
    bool in_image = log->active->image && fits(log->active, batch, bytes);
    if (!in_image && bytes >= AUL_BULK_BYTES) return append_bulk(store, batch, bytes, error);
    status = make_room(store, batch, bytes, error);
    return status ? status : append_to_image(store, batch, bytes, error);
}
