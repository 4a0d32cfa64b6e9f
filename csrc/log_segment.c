/* log_segment.c: making segments to append to.
 *
 * The active segment's tail is kept as an image in memory; the file follows by whole turns of
 * writing. Space is secured before LSNs are claimed, and for the footer too: sealing needs no
 * new block. */
#include "log.h"
#include "seeded.h"

#include <errno.h>
#include <stdio.h>
/* A full segment that is in its file needs its image no more. */
void aul_log_drop_image(aul_store *store, aul_segment *segment) {
    if (!segment->image) return;
    pthread_rwlock_wrlock(&store->index.lock);
    u8 *image = segment->image;
    segment->image = NULL;
    pthread_rwlock_unlock(&store->index.lock);
    aul_release(store->disk, image);
}

/* Secures *capacity bytes, or `less` or `least` when the disk has no more, and says which. What a
 * refused attempt got is given back first: some file systems keep it. */
static int secure_space(aul_disk *disk, int file, u64 *capacity, u64 less, u64 least) {
    u64 steps[] = {*capacity, aul_max(less, least), least};
    int failed = ENOSPC;
    for (int i = 0; i < 3 && aul_disk_is_full(failed); i++) {
        if (i && steps[i] >= steps[i - 1]) continue;
        failed = aul_disk_allocate(disk, file, *capacity = steps[i]);
        if (failed) aul_disk_truncate(disk, file, 0);
    }
    return failed;
}

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
        if (failed) disk->unlink(disk->context, path); /* a spare can be made again */
        if (failed) return aul_fail_os(error, failed, "taking the spare log segment", path);
        segment->prepared = true;
        segment->capacity = AUL_SEGMENT_BYTES;
        return AUL_OK;
    }
    int failed = disk->open(disk->context, path, AUL_DISK_WRITE | AUL_DISK_CREATE, file);
    if (failed) return aul_fail_os(error, failed, "creating a log segment", path);
    failed = secure_space(disk, *file, &capacity, AUL_SEGMENT_BYTES_FIRST, least);
    if (failed) {
        disk->close(disk->context, *file);
        disk->unlink(disk->context, path);
        return aul_fail_os(error, failed, "securing space for a log segment", path);
    }
    segment->capacity = capacity;
    return AUL_OK;
}

void aul_log_unmake_segment(aul_store *store, aul_segment *segment, bool has_file) {
    char path[AUL_PATH_BYTES];
    if (has_file) {
        aul_files_forget(&store->files, segment);
        aul_files_path(&store->files, segment->name, path, sizeof path);
        store->disk->unlink(store->disk->context, path);
    }
    aul_segment_free(store->disk, segment);
}

static int open_directory(aul_store *store, aul_error *error) {
    aul_log *log = &store->log;
    if (log->directory >= 0) return AUL_OK;
    int failed =
        store->disk->open_directory(store->disk->context, store->log_path, &log->directory);
    if (!failed) return AUL_OK;
    log->directory = -1;
    return aul_fail_os(error, failed, "opening the log's directory", store->log_path);
}

/* A segment that is not yet in index and chain. */
int aul_log_create_segment(aul_store *store, u64 first_lsn, const u8 previous_id[AUL_ID_BYTES],
                           u64 capacity, u64 least, bool use_spare, aul_segment **out,
                           aul_error *error) {
    aul_disk *disk = store->disk;
    int status = open_directory(store, error);
    if (status) return status;
    aul_segment *segment = aul_segment_new(disk);
    if (segment) segment->part = aul_part_new(disk);
    if (!segment || !segment->part) {
        aul_segment_free(disk, segment);
        return aul_fail(error, AUL_NO_MEMORY, "no memory for a log segment");
    }
    int failed = disk->random(disk->context, segment->id, AUL_ID_BYTES);
    if (failed) {
        aul_segment_free(disk, segment);
        return aul_fail_os(error, failed, "drawing a log segment's id", store->log_path);
    }
    memcpy(segment->volume_id, store->manifest.volume_id, AUL_ID_BYTES);
    memcpy(segment->previous_id, previous_id, AUL_ID_BYTES);
    segment->first_lsn = first_lsn;
    segment->previous_lsn = first_lsn - 1;
    segment->epoch = store->epoch;
    segment->created_ns = disk->now(disk->context);
    segment->page_size = store->page_size;
    segment->record_seed = store->record_seed;
    segment->name_unsynced = !AUL_SEEDED(NAME_COUNTS_AS_SYNCED);
    atomic_store(&segment->last_lsn, first_lsn - 1);
    aul_segment_set_name(segment);
    int file;
    status = make_file(store, segment, capacity, least, use_spare, &file, error);
    bool made = !status;
    if (made && aul_files_adopt(&store->files, segment, file)) {
        disk->close(disk->context, file);
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for an open file");
    }
    if (status) {
        aul_log_unmake_segment(store, segment, made);
        return status;
    }
    *out = segment;
    return AUL_OK;
}

int aul_log_give_image(aul_store *store, aul_segment *segment, u64 start, u64 bytes,
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
int aul_log_link_segment(aul_store *store, aul_segment *segment, aul_error *error) {
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
    if (use_spare) {
        log->spare_ready = false;
        log->spare_taken = true; /* until it has its new name the keeper begins no other */
    }
    pthread_mutex_unlock(&log->lock);
    int status = aul_log_create_segment(store, log->next_lsn, log->last_id, capacity, least,
                                        use_spare, &segment, error);
    pthread_mutex_lock(&log->lock);
    log->spare_taken = false;
    pthread_mutex_unlock(&log->lock);
    if (status) return status;
    segment->previous_lsn = log->last_commit;
    status = aul_log_give_image(store, segment, 0, segment->capacity, error);
    if (!status) {
        aul_segment_encode_header(segment->image, segment);
        segment->filled = AUL_BLOCK;
        status = aul_log_link_segment(store, segment, error);
    }
    if (status) {
        aul_log_unmake_segment(store, segment, true);
        return status;
    }
    *out = segment;
    aul_keeper_wake(store);
    return AUL_OK;
}

/* Gives a segment that has no frame yet another size: a second one could not have its name. */
int aul_log_resize_empty(aul_store *store, aul_segment *segment, u64 capacity, u64 least,
                         aul_error *error) {
    aul_disk *disk = store->disk;
    u64 before = segment->capacity;
    int failed = aul_disk_allocate(disk, segment->file, capacity);
    if (aul_disk_is_full(failed) && capacity > least) {
        aul_disk_truncate(disk, segment->file, before); /* some file systems keep what they got */
        failed = aul_disk_allocate(disk, segment->file, capacity = least);
    }
    if (failed) {
        aul_disk_truncate(disk, segment->file, before);
        return aul_fail_os(error, failed, "securing space for a log segment", segment->name);
    }
    pthread_mutex_lock(&store->log.lock);
    segment->capacity = capacity; /* the keeper looks at it */
    pthread_mutex_unlock(&store->log.lock);
    aul_log_drop_image(store, segment); /* it is as large as the old capacity was */
    return AUL_OK;
}
