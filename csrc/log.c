/* log.c: appending to the log.
 *
 * The active segment's tail is kept as an image in memory. A commit claims its LSNs, copies its
 * frames into the image, adds its records to the index and gives up the writer's place; only
 * then does it wait. Whoever waits first leads: it writes all that the image has and the file
 * has not, syncs, and everybody whose commit was in it is durable (group commit, early lock
 * release). Writing and syncing are separate turns, so that a commit with durability "os" does
 * not wait for another's sync.
 *
 * A batch that does not fit the active segment and is larger than AUL_BULK_BYTES goes from the
 * transaction's buffers straight to unprepared files, a batch spanning as many as it needs.
 *
 * A failed write or sync is final: nothing is written any more, the visible LSN falls back to
 * the durable one, and what was logged in between has an unknown outcome. Space is secured
 * before LSNs are claimed, so a full disk refuses a commit and ends nothing. */
#include <errno.h>
#include <stdio.h>

#include "store.h"

#define SPIN_ROUNDS 100
#define BATCH_SEGMENTS_MAX 128

#if defined(__x86_64__)
#define RELAX() __builtin_ia32_pause()
#else
#define RELAX() atomic_signal_fence(memory_order_seq_cst)
#endif

int aul_cond_init(pthread_cond_t *condition) {
#if defined(__APPLE__)
    return pthread_cond_init(condition, NULL);
#else
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
    return failed;
#endif
}

bool aul_wait_until(aul_store *store, pthread_cond_t *condition, pthread_mutex_t *lock,
                    u64 deadline) {
    u64 now = store->disk->monotonic(store->disk->context);
    if (now >= deadline) return false;
#if defined(__APPLE__)
    u64 left = deadline - now;
    struct timespec time = {.tv_sec = (time_t)(left / 1000000000u),
                            .tv_nsec = (long)(left % 1000000000u)};
    pthread_cond_timedwait_relative_np(condition, lock, &time);
#else
    struct timespec time = {.tv_sec = (time_t)(deadline / 1000000000u),
                            .tv_nsec = (long)(deadline % 1000000000u)};
    pthread_cond_timedwait(condition, lock, &time);
#endif
    return true;
}

int aul_log_init(aul_store *store) {
    aul_log *log = &store->log;
    if (pthread_mutex_init(&log->lock, NULL) || aul_cond_init(&log->changed) ||
        aul_cond_init(&log->writer_free))
        return AUL_NO_MEMORY;
    log->next_lsn = 1;
    return AUL_OK;
}

void aul_log_destroy(aul_store *store) {
    aul_log *log = &store->log;
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->changed);
    pthread_cond_destroy(&log->writer_free);
}

/* The writer's place */

static bool try_claim(aul_log *log) {
    u32 nobody = 0;
    return atomic_compare_exchange_strong(&log->writer, &nobody, 1);
}

int aul_log_claim_writer(aul_store *store, u32 wait_ms, aul_error *error) {
    aul_log *log = &store->log;
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        if (atomic_load_explicit(&log->writer, memory_order_relaxed) == 0 && try_claim(log))
            return AUL_OK;
        RELAX();
    }
    u64 deadline = store->disk->monotonic(store->disk->context) + wait_ms * 1000000ull;
    bool claimed;
    pthread_mutex_lock(&log->lock);
    atomic_fetch_add(&log->writer_waiters, 1);
    while (!(claimed = try_claim(log)) && atomic_load(&store->state) == AUL_STATE_OPEN)
        if (!aul_wait_until(store, &log->writer_free, &log->lock, deadline)) break;
    atomic_fetch_sub(&log->writer_waiters, 1);
    pthread_mutex_unlock(&log->lock);
    if (claimed) return AUL_OK;
    if (atomic_load(&store->state) != AUL_STATE_OPEN)
        return aul_fail(error, AUL_CLOSED, "the volume has been closed");
    return aul_fail(error, AUL_BUSY, "another transaction has the writer's place");
}

void aul_log_release_writer(aul_store *store) {
    aul_log *log = &store->log;
    atomic_store(&log->writer, 0);
    if (atomic_load(&log->writer_waiters) == 0) return;
    pthread_mutex_lock(&log->lock);
    pthread_cond_signal(&log->writer_free);
    pthread_mutex_unlock(&log->lock);
}

/* Failing */

void aul_log_fail(aul_store *store, int os_errno) {
    aul_log *log = &store->log;
    if (!log->failed) {
        log->failed = true;
        log->failed_errno = os_errno;
        u64 durable = atomic_load(&log->durable);
        atomic_store(&log->visible, durable);
        aul_page_cache_drop_above(store->cache, durable);
    }
    pthread_cond_broadcast(&log->changed);
}

static int refuse_failed(aul_store *store, aul_error *error) {
    int failed = store->log.failed_errno;
    aul_fail_os(error, failed, "an earlier write or sync of the log", store->log_path);
    if (error) error->code = AUL_FAILED;
    return AUL_FAILED;
}

static int unknown_outcome(aul_store *store, u64 lsn, aul_error *error) {
    aul_fail_os(error, store->log.failed_errno, "writing or syncing the log", store->log_path);
    if (error) {
        error->code = AUL_UNKNOWN;
        error->lsn = lsn;
    }
    return AUL_UNKNOWN;
}

/* Writing and syncing */

static int write_segment(aul_store *store, aul_segment *segment, u64 to) {
    u64 from = segment->written;
    if (from >= to) return 0;
    const u8 *data = segment->image + (from - segment->image_start);
    int failed = aul_disk_write(store->disk, segment->file, data, to - from, from);
    if (failed) return failed;
    segment->crc = aul_crc32c(segment->crc, data, to - from);
    segment->written = to;
    return 0;
}

/* A full segment that is in its file needs its image no more. */
static void drop_image(aul_store *store, aul_segment *segment) {
    if (!segment->image) return;
    pthread_rwlock_wrlock(&store->index.lock);
    u8 *image = segment->image;
    segment->image = NULL;
    pthread_rwlock_unlock(&store->index.lock);
    aul_release(store->disk, image);
}

/* Takes a turn at writing: all that is logged and not in the files. Called and left with
 * log.lock held. */
static int write_logged(aul_store *store) {
    aul_log *log = &store->log;
    while (log->writing) pthread_cond_wait(&log->changed, &log->lock);
    if (log->failed) return AUL_FAILED;
    if (log->written == log->logged) return AUL_OK;
    log->writing = true;
    u64 target = log->logged, target_bytes = log->logged_bytes, end = log->logged_end;
    aul_segment *last = log->logged_segment, *segment = log->write_head;
    pthread_mutex_unlock(&log->lock);
    int failed = 0;
    while (!failed) {
        failed = write_segment(store, segment, segment == last ? end : segment->filled);
        if (segment == last || failed) break;
        drop_image(store, segment);
        segment = segment->next;
    }
    pthread_mutex_lock(&log->lock);
    log->writing = false;
    if (failed) {
        aul_log_fail(store, failed);
        return AUL_FAILED;
    }
    log->write_head = last;
    log->written = target;
    log->written_bytes = target_bytes;
    pthread_cond_broadcast(&log->changed);
    return AUL_OK;
}

static void raise_visible(aul_log *log, u64 lsn) {
    if (atomic_load_explicit(&log->visible, memory_order_relaxed) < lsn)
        atomic_store(&log->visible, lsn);
}

/* Takes the turn at syncing: all that is written, and what is logged is written first. Called
 * and left with log.lock held. */
static int sync_logged(aul_store *store) {
    aul_log *log = &store->log;
    log->syncing = true;
    int status = write_logged(store);
    u64 target = log->written, target_bytes = log->written_bytes;
    aul_segment *head = log->sync_head, *last = log->write_head;
    u64 last_written = last ? last->written : 0;
    int failed = 0;
    if (!status && target > atomic_load(&log->durable)) {
        bool new_names = false;
        pthread_mutex_unlock(&log->lock);
        for (aul_segment *segment = head; !failed; segment = segment->next) {
            u64 written = segment == last ? last_written : segment->written;
            if (segment->synced < written) failed = aul_disk_sync(store->disk, segment->file);
            if (!failed) segment->synced = written;
            new_names |= segment->name_unsynced;
            if (segment == last) break;
        }
        if (!failed && new_names) failed = aul_disk_sync_directory(store->disk, store->log_path);
        if (!failed && new_names)
            for (aul_segment *segment = head;; segment = segment->next) {
                segment->name_unsynced = false;
                if (segment == last) break;
            }
        pthread_mutex_lock(&log->lock);
        if (failed) {
            aul_log_fail(store, failed);
        } else if (!log->failed) {
            log->sync_head = last;
            log->durable_bytes = target_bytes;
            atomic_store(&log->durable, target);
            raise_visible(log, target);
            if (log->shared_durable)
                atomic_store_explicit(log->shared_durable, target, memory_order_release);
        }
    }
    log->syncing = false;
    pthread_cond_broadcast(&log->changed);
    if (!log->failed && head != last) aul_keeper_wake(store);
    return log->failed ? AUL_FAILED : AUL_OK;
}

int aul_log_wait_written(aul_store *store, u64 lsn, aul_error *error) {
    aul_log *log = &store->log;
    int status = AUL_OK;
    pthread_mutex_lock(&log->lock);
    while (log->written < lsn && !status) status = write_logged(store);
    if (!status && !log->failed)
        raise_visible(log, lsn);
    else if (atomic_load(&log->durable) < lsn)
        status = unknown_outcome(store, lsn, error);
    bool first = log->written_bytes != log->durable_bytes;
    pthread_mutex_unlock(&log->lock);
    if (first) aul_keeper_wake(store);
    return status;
}

int aul_log_wait_durable(aul_store *store, u64 lsn, u32 wait_ms, aul_error *error) {
    aul_log *log = &store->log;
    u64 deadline = 0;
    int status = AUL_OK;
    pthread_mutex_lock(&log->lock);
    while (atomic_load_explicit(&log->durable, memory_order_relaxed) < lsn) {
        if (log->failed) {
            status = unknown_outcome(store, lsn, error);
            break;
        }
        if (!log->syncing) {
            sync_logged(store);
            continue;
        }
        if (!deadline)
            deadline = store->disk->monotonic(store->disk->context) + wait_ms * 1000000ull;
        if (!aul_wait_until(store, &log->changed, &log->lock, deadline)) {
            status = aul_fail(error, AUL_PENDING, "not durable yet");
            if (error) error->lsn = lsn;
            break;
        }
    }
    pthread_mutex_unlock(&log->lock);
    return status;
}

/* Segments */

/* The segment's file: the spare, or a new one with space for `capacity` bytes, or for less when
 * the disk has no more, but never for less than `least`. */
static int make_file(aul_store *store, aul_segment *segment, u64 capacity, u64 least,
                     bool use_spare, int *file, aul_error *error) {
    aul_disk *disk = store->disk;
    char path[AUL_PATH_BYTES], spare[AUL_PATH_BYTES];
    aul_files_path(&store->files, segment->name, path, sizeof path);
    if (use_spare) {
        aul_files_path(&store->files, "spare", spare, sizeof spare);
        int failed = disk->rename(disk->context, spare, path);
        if (!failed) failed = disk->open(disk->context, path, AUL_DISK_WRITE, file);
        if (failed) return aul_fail_os(error, failed, "taking the spare log segment", path);
        segment->prepared = true;
        segment->capacity = AUL_SEGMENT_BYTES;
        return AUL_OK;
    }
    int failed = disk->open(disk->context, path, AUL_DISK_WRITE | AUL_DISK_CREATE, file);
    if (failed) return aul_fail_os(error, failed, "creating a log segment", path);
    failed = aul_disk_allocate(disk, *file, capacity);
    if (aul_disk_is_full(failed) && capacity > AUL_SEGMENT_BYTES_FIRST &&
        least <= AUL_SEGMENT_BYTES_FIRST)
        failed = aul_disk_allocate(disk, *file, capacity = AUL_SEGMENT_BYTES_FIRST);
    if (aul_disk_is_full(failed) && capacity > least)
        failed = aul_disk_allocate(disk, *file, capacity = least);
    if (failed) {
        disk->close(disk->context, *file);
        disk->unlink(disk->context, path);
        return aul_fail_os(error, failed, "securing space for a log segment", path);
    }
    segment->capacity = capacity;
    return AUL_OK;
}

static void unmake_segment(aul_store *store, aul_segment *segment, bool has_file) {
    char path[AUL_PATH_BYTES];
    if (has_file) {
        aul_files_forget(&store->files, segment);
        aul_files_path(&store->files, segment->name, path, sizeof path);
        store->disk->unlink(store->disk->context, path);
    }
    aul_segment_free(store->disk, segment);
}

/* A segment that is not yet in index and chain. */
static int create_segment(aul_store *store, u64 first_lsn, const u8 previous_id[AUL_ID_BYTES],
                          u64 capacity, u64 least, bool use_spare, aul_segment **out,
                          aul_error *error) {
    aul_disk *disk = store->disk;
    aul_segment *segment = aul_segment_new(disk);
    if (segment) segment->part = aul_part_new(disk);
    if (!segment || !segment->part || disk->random(disk->context, segment->id, AUL_ID_BYTES)) {
        aul_segment_free(disk, segment);
        return aul_fail(error, AUL_NO_MEMORY, "no memory or randomness for a log segment");
    }
    memcpy(segment->volume_id, store->manifest.volume_id, AUL_ID_BYTES);
    memcpy(segment->previous_id, previous_id, AUL_ID_BYTES);
    segment->first_lsn = first_lsn;
    segment->previous_lsn = first_lsn - 1;
    segment->epoch = store->epoch;
    segment->created_ns = disk->now(disk->context);
    segment->page_size = store->page_size;
    segment->record_seed = store->record_seed;
    segment->name_unsynced = true;
    atomic_store(&segment->last_lsn, first_lsn - 1);
    aul_segment_set_name(segment);
    int file;
    int status = make_file(store, segment, capacity, least, use_spare, &file, error);
    if (!status && aul_files_adopt(&store->files, segment, file)) {
        disk->close(disk->context, file);
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for an open file");
    }
    if (status) {
        unmake_segment(store, segment, segment->file >= 0);
        return status;
    }
    segment->file_users = 1; /* kept open until it is sealed */
    *out = segment;
    return AUL_OK;
}

static int give_image(aul_store *store, aul_segment *segment, u64 start, u64 bytes,
                      aul_error *error) {
    u8 *image = aul_alloc(store->disk, bytes);
    if (!image) return aul_fail(error, AUL_NO_MEMORY, "no memory for the log's tail");
    pthread_rwlock_wrlock(&store->index.lock);
    segment->image = image;
    segment->image_start = start;
    pthread_rwlock_unlock(&store->index.lock);
    return AUL_OK;
}

/* Puts a new segment behind the active one. The writer's place and nothing else is held. */
static int link_segment(aul_store *store, aul_segment *segment, aul_error *error) {
    aul_log *log = &store->log;
    if (aul_page_index_append(&store->index, segment))
        return aul_fail(error, AUL_NO_MEMORY, "no memory for a log segment");
    pthread_mutex_lock(&log->lock);
    if (log->active) log->active->next = segment;
    if (!log->write_head) log->write_head = segment;
    if (!log->sync_head) log->sync_head = segment;
    log->active = segment;
    pthread_mutex_unlock(&log->lock);
    memcpy(log->last_id, segment->id, AUL_ID_BYTES);
    return AUL_OK;
}

int aul_log_new_segment(aul_store *store, u64 capacity, u64 least, bool may_use_spare,
                        aul_segment **out, aul_error *error) {
    aul_log *log = &store->log;
    aul_segment *segment;
    pthread_mutex_lock(&log->lock);
    bool use_spare = may_use_spare && log->spare_ready;
    if (use_spare) log->spare_ready = false;
    pthread_mutex_unlock(&log->lock);
    int status = create_segment(store, log->next_lsn, log->last_id, capacity, least, use_spare,
                                &segment, error);
    if (status) return status;
    segment->previous_lsn = log->last_commit;
    status = give_image(store, segment, 0, segment->capacity, error);
    if (!status) {
        aul_segment_encode_header(segment->image, segment);
        segment->filled = AUL_BLOCK;
        status = link_segment(store, segment, error);
    }
    if (status) {
        unmake_segment(store, segment, true);
        return status;
    }
    *out = segment;
    aul_keeper_wake(store);
    return AUL_OK;
}

void aul_log_resume(aul_store *store, u64 last_lsn, const aul_summary *last) {
    aul_log *log = &store->log;
    log->next_lsn = last_lsn + 1;
    log->last_commit = log->logged = log->written = last->last_commit;
    log->last_time_ns = last->last_time_ns;
    log->end_pages = last->end_pages;
    atomic_store(&log->durable, last->last_commit);
    atomic_store(&log->visible, last->last_commit);
}

/* Appending */

static u64 footer_bytes_after(const aul_segment *segment, const aul_log_batch *batch) {
    const aul_part *part = segment->part;
    return aul_run_footer_bytes(part->entry_count + batch->entries, part->commit_count + 1,
                                part->truncate_count + batch->truncates);
}

static bool fits(const aul_segment *segment, const aul_log_batch *batch, u64 bytes) {
    return segment &&
           segment->filled + bytes + footer_bytes_after(segment, batch) <= segment->capacity;
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
                        .previous_lsn = store->log.last_commit,
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
    if (failed) return refuse_failed(store, error);
    /* Now is the time for a spare segment: the keeper knows the conditions. */
    bool half = batch_offset < segment->capacity / 2 && offset >= segment->capacity / 2;
    if (half || (logged_before < AUL_PREPARE_AFTER_BYTES &&
                 logged_before + bytes >= AUL_PREPARE_AFTER_BYTES))
        aul_keeper_wake(store);
    return AUL_OK;
}

/* Gives a segment that has no frame yet another size: a second one could not have its name. */
static int resize_empty(aul_store *store, aul_segment *segment, u64 capacity, u64 least,
                        aul_error *error) {
    aul_disk *disk = store->disk;
    int failed = aul_disk_allocate(disk, segment->file, capacity);
    if (failed && capacity > least)
        failed = aul_disk_allocate(disk, segment->file, capacity = least);
    if (failed)
        return aul_fail_os(error, failed, "securing space for a log segment", segment->name);
    segment->capacity = capacity;
    drop_image(store, segment); /* it is as large as the old capacity was */
    return AUL_OK;
}

static bool is_empty(const aul_segment *segment) { return segment->filled == AUL_BLOCK; }

/* A bulk batch's way through files: how many frames go to each. */
typedef struct {
    aul_segment *segments[BATCH_SEGMENTS_MAX];
    size_t frames[BATCH_SEGMENTS_MAX];
    size_t count;
    bool first_is_active;
} bulk_plan;

static void undo_plan(aul_store *store, bulk_plan *plan) {
    for (size_t i = plan->first_is_active ? 1 : 0; i < plan->count; i++)
        unmake_segment(store, plan->segments[i], true);
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
        status = resize_empty(store, segment, AUL_SEGMENT_BYTES_BULK, least, error);
    else
        status = create_segment(store, batch->frames[*at].first_lsn, previous_id,
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
    if (is_empty(active)) {
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
    if (status) undo_plan(store, plan);
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
            if (!plan->first_is_active || i)
                for (size_t left = i; left < plan->count; left++)
                    unmake_segment(store, plan->segments[left], true);
            return unknown_outcome(store, batch->last_lsn, error);
        }
        store->disk->start_writeback(store->disk->context, segment->file, start, end - start);
        if (segment != log->active) {
            segment->filled = AUL_BLOCK;
            segment->written = AUL_BLOCK;
            if (link_segment(store, segment, error)) {
                pthread_mutex_lock(&log->lock);
                aul_log_fail(store, ENOMEM);
                pthread_mutex_unlock(&log->lock);
                for (size_t left = i; left < plan->count; left++)
                    unmake_segment(store, plan->segments[left], true);
                return unknown_outcome(store, batch->last_lsn, error);
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
        segment->filled = segment->written = end;
        pthread_mutex_unlock(&log->lock);
        at += plan->frames[i];
    }
    pthread_mutex_lock(&log->lock);
    if (!log->failed) publish(store, batch, bytes, true);
    bool failed = log->failed;
    pthread_mutex_unlock(&log->lock);
    if (failed) return unknown_outcome(store, batch->last_lsn, error);
    aul_keeper_wake(store);
    return AUL_OK;
}

static int append_bulk(aul_store *store, aul_log_batch *batch, u64 bytes, aul_error *error) {
    aul_log *log = &store->log;
    bulk_plan *plan = aul_alloc(store->disk, sizeof *plan);
    if (!plan) return aul_fail(error, AUL_NO_MEMORY, "no memory for a large transaction");
    /* What was logged before goes to the files first: they fill in the order of the log. */
    pthread_mutex_lock(&log->lock);
    int status = write_logged(store);
    pthread_mutex_unlock(&log->lock);
    if (status) status = refuse_failed(store, error);
    if (!status) {
        status = plan_bulk(store, batch, plan, error);
        if (!status) {
            status = reserve_bulk(store, batch, plan, error);
            if (status) undo_plan(store, plan);
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
    if (is_empty(active)) {
        if (fits(active, batch, bytes) && active->image) return AUL_OK;
        int status = resize_empty(store, active, capacity, least, error);
        if (status) return status;
        status = give_image(store, active, 0, active->capacity, error);
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
            return give_image(store, active, active->filled, active->capacity - active->filled,
                              error);
    }
    return aul_log_new_segment(store, capacity, least, least <= AUL_SEGMENT_BYTES, &fresh, error);
}

/* Delays the transaction while too much is in flight. */
static int respect_limits(aul_store *store, const aul_log_batch *batch, aul_error *error) {
    aul_log *log = &store->log;
    for (;;) {
        pthread_mutex_lock(&log->lock);
        u64 unsynced = log->logged_bytes - log->durable_bytes, durable = atomic_load(&log->durable);
        bool idle = log->logged == durable;
        pthread_mutex_unlock(&log->lock);
        bool within = batch->last_lsn - durable <= store->manifest.in_flight_lsns;
        if (idle || (unsynced <= AUL_IN_FLIGHT_BYTES && within)) return AUL_OK;
        int status = aul_log_wait_durable(store, durable + 1, 1000, error);
        if (status == AUL_UNKNOWN) return refuse_failed(store, error);
    }
}

int aul_log_append(aul_store *store, aul_log_batch *batch, aul_error *error) {
    aul_log *log = &store->log;
    int status = AUL_OK;
    if (!log->started) status = aul_start_epoch(store, error);
    if (!status) status = respect_limits(store, batch, error);
    if (status) return status;
    if (!batch->time_ns) batch->time_ns = store->disk->now(store->disk->context);
    batch->time_ns = aul_max(batch->time_ns, log->last_time_ns);
    u64 bytes = finish_batch(store, batch);
    bool in_image = log->active->image && fits(log->active, batch, bytes);
    if (!in_image && bytes >= AUL_BULK_BYTES) return append_bulk(store, batch, bytes, error);
    status = make_room(store, batch, bytes, error);
    return status ? status : append_to_image(store, batch, bytes, error);
}
