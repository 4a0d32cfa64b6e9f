/* keeper.c: the background thread. It syncs what was committed with durability "os", seals full
 * segments, prepares the spare segment and keeps the manifest up to date. Nothing waits for it
 * but its own work: a volume that is killed before it ran is whole. */
#include <errno.h>
#include <stdio.h>

#include "seeded.h"
#include "store.h"

#define SYNC_AFTER_NS 500000000ull /* "os" commits are synced at least once a second */
#define PREPARE_STEP (AUL_SEGMENT_BYTES / 16)
/* 64 KiB: what the kernel caches in larger pieces takes longer to sync, each time. */
#define PREPARE_WRITE (AUL_SEGMENT_BYTES / 256)
/* What the manifest does not list as sealed is read frame by frame after an unclean end. */
#define UNLISTED_MAX 4
#define FEW_SEGMENTS 256 /* so few cost nothing to list again at once */

void aul_keeper_wake(aul_store *store) {
    aul_keeper *keeper = &store->keeper;
    if (!keeper->running) return;
    pthread_mutex_lock(&keeper->lock);
    keeper->work = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
}

/* The checksum of a segment that another session wrote. */
static int read_crc(aul_store *store, aul_segment *segment, aul_error *error) {
    u8 *buffer = aul_alloc(store->disk, AUL_SCAN_BYTES);
    int status = buffer ? AUL_OK : aul_fail(error, AUL_NO_MEMORY, "no memory to read the log");
    u32 crc = 0;
    for (u64 at = 0; at < segment->filled && !status; at += AUL_SCAN_BYTES) {
        size_t step = (size_t)aul_min(AUL_SCAN_BYTES, segment->filled - at);
        status = aul_files_read(&store->files, segment, buffer, step, at, error);
        if (!status) crc = aul_crc32c(crc, buffer, step);
    }
    aul_release(store->disk, buffer);
    segment->crc = crc;
    return status;
}

/* Seals a full segment whose records are all durable. */
int aul_keeper_seal(aul_store *store, aul_segment *segment, aul_error *error) {
    aul_disk *disk = store->disk;
    aul_part *part = segment->part;
    u8 *rest;
    size_t bytes;
    int file;
    int status = segment->bounded ? read_crc(store, segment, error) : AUL_OK;
    if (status) return status;
    aul_summary summary = segment->summary;
    summary.log_end = segment->filled;
    summary.last_lsn = atomic_load(&segment->last_lsn);
    summary.whole_crc = segment->crc;
    if (part->commit_count) {
        const aul_commit *last = &part->commits[part->commit_count - 1];
        summary.last_commit = last->lsn;
        summary.last_time_ns = last->time_ns;
        summary.end_pages = last->end_pages;
    }
    status = aul_files_acquire(&store->files, segment, true, &file, error);
    if (status) return status;
    status = aul_run_build(disk, segment, part, &summary, &rest, &bytes);
    if (status) aul_fail(error, status, "no memory for the index run of %s", segment->name);
    if (!status) {
        u64 at = summary.file_bytes - bytes - (AUL_SEEDED(FOOTER_OVER_FRAMES) ? AUL_BLOCK : 0);
        int failed = aul_disk_write(disk, file, rest, bytes, at);
        if (!failed) failed = aul_disk_truncate(disk, file, summary.file_bytes);
        if (!failed && !AUL_SEEDED(FOOTER_UNSYNCED)) failed = aul_disk_sync(disk, file);
        if (failed) status = aul_fail_os(error, failed, "sealing a log segment", segment->name);
        aul_release(disk, rest);
    }
    aul_files_release(&store->files, segment);
    if (status) return status;
    aul_page_index_seal(&store->index, segment, &summary);
    bool kept_open = segment->kept_open; /* by the log or by recovery, until now */
    segment->kept_open = false;
    if (kept_open) aul_files_release(&store->files, segment);
    return AUL_OK;
}

/* What a segment without a commit carries on from the one before it. */
static void inherit_summary(aul_segment *segment, const aul_segment *before) {
    segment->summary.last_commit = before->summary.last_commit;
    segment->summary.last_time_ns = before->summary.last_time_ns;
    segment->summary.end_pages = before->summary.end_pages;
}

/* Seals what can be sealed, oldest first; *sealed counts, *segments says how many there
 * are. */
static int seal_full(aul_store *store, u64 *sealed, u64 *segments, aul_error *error) {
    aul_segment_list *list = aul_page_index_list(&store->index);
    int status = AUL_OK;
    for (size_t i = 0; i < list->count && !status; i++) {
        aul_segment *segment = list->items[i];
        if (atomic_load(&segment->sealed)) continue;
        pthread_mutex_lock(&store->log.lock);
        bool full = segment->bounded ||
                    (segment->next && segment != store->log.sync_head &&
                     atomic_load(&segment->last_lsn) <= atomic_load(&store->log.durable));
        full |= AUL_SEEDED(SEALED_TOO_EARLY) && segment->next && segment->written;
        pthread_mutex_unlock(&store->log.lock);
        if (!full) break;
        if (i) inherit_summary(segment, list->items[i - 1]);
        status = aul_keeper_seal(store, segment, error);
        if (!status) ++*sealed;
    }
    *segments = list->count;
    aul_segment_list_release(&store->index, list);
    return status;
}

/* Writes the spare: a segment's worth of blocks, so that commits into it change no block map. */
static int write_spare(aul_store *store, const char *path) {
    aul_disk *disk = store->disk;
    int file;
    int failed = disk->unlink(disk->context, path);
    if (failed && failed != ENOENT) return failed;
    failed = disk->open(disk->context, path, AUL_DISK_WRITE | AUL_DISK_CREATE, &file);
    if (failed) return failed;
    u8 *zeros = aul_alloc_zero(disk, PREPARE_WRITE);
    if (!zeros) failed = ENOMEM;
    if (!failed) failed = aul_disk_allocate(disk, file, AUL_SEGMENT_BYTES);
    for (u64 at = 0; at < AUL_SEGMENT_BYTES && !failed && !store->keeper.stop; at += PREPARE_STEP) {
        for (u64 step = 0; step < PREPARE_STEP && !failed; step += PREPARE_WRITE)
            failed = aul_disk_write(disk, file, zeros, PREPARE_WRITE, at + step);
        /* In small steps: the commits that go on meanwhile share the disk. Nothing is synced: the
         * first commit in it syncs the blocks with its own. */
        if (!failed) failed = disk->write_back(disk->context, file, at, PREPARE_STEP, true);
    }
    aul_release(disk, zeros);
    disk->close(disk->context, file);
    return failed;
}

static int prepare_spare(aul_store *store) {
    aul_log *log = &store->log;
    char path[AUL_PATH_BYTES];
    pthread_mutex_lock(&log->lock);
    const aul_segment *active = log->active;
    pthread_rwlock_rdlock(&store->index.lock);
    bool in_image = active && active->image; /* commits go to blocks, not to bulk files */
    pthread_rwlock_unlock(&store->index.lock);
    bool wanted = in_image && !log->spare_ready && !log->spare_taken && !log->failed &&
                  log->logged_bytes >= AUL_PREPARE_AFTER_BYTES &&
                  (!active->prepared || active->filled >= active->capacity / 2);
    pthread_mutex_unlock(&log->lock);
    if (!wanted) return 0;
    aul_files_path(&store->files, "spare", path, sizeof path);
    int failed = write_spare(store, path);
    if (failed && failed != EIO) {
        store->disk->unlink(store->disk->context, path);
        return 0; /* never needed: commits go to unprepared segments, while there is space */
    }
    if (failed || store->keeper.stop) return failed;
    pthread_mutex_lock(&log->lock);
    log->spare_ready = true;
    pthread_mutex_unlock(&log->lock);
    return 0;
}

bool aul_keeper_work(aul_store *store) {
    aul_log *log = &store->log;
    aul_keeper *keeper = &store->keeper;
    u64 *oldest_unsynced = &keeper->oldest_unsynced_ns;
    aul_error error = {0};
    pthread_mutex_lock(&log->lock);
    u64 logged = log->logged;
    bool failed = log->failed,
         full = log->sync_head && log->sync_head->next && log->sync_head->next->filled;
    bool unsynced = log->written > atomic_load(&log->durable);
    pthread_mutex_unlock(&log->lock);
    if (failed) return false;
    u64 now = store->disk->monotonic(store->disk->context);
    if (!unsynced) {
        *oldest_unsynced = 0;
        pthread_mutex_lock(&log->lock);
        log->sync_promised = log->written > atomic_load(&log->durable);
        unsynced = log->sync_promised;
        pthread_mutex_unlock(&log->lock);
    }
    if (unsynced && !*oldest_unsynced) *oldest_unsynced = now;
    if (AUL_SEEDED(OS_NEVER_SYNCED)) unsynced = false;
    if (unsynced && (full || now - *oldest_unsynced >= SYNC_AFTER_NS)) {
        aul_log_wait_durable(store, logged, 1000, &error);
        *oldest_unsynced = 0; /* and look again: more may have come meanwhile */
    }
    u64 sealed = 0, segments;
    int status = seal_full(store, &sealed, &segments, &error);
    keeper->unlisted += sealed;
    if (!status && keeper->unlisted >= (segments < FEW_SEGMENTS ? 1 : UNLISTED_MAX)) {
        status = aul_store_write_manifest(store, 0, &error);
        if (!status) keeper->unlisted = 0;
    }
    int failed_spare = status ? 0 : prepare_spare(store);
    if (aul_log_is_final(status, &error) || failed_spare) {
        pthread_mutex_lock(&log->lock);
        aul_log_fail(store, failed_spare ? failed_spare : error.os_errno ? error.os_errno : EIO);
        pthread_mutex_unlock(&log->lock);
    }
    return unsynced || status;
}

static void *run(void *argument) {
    aul_store *store = argument;
    aul_keeper *keeper = &store->keeper;
    bool again = false;
    pthread_mutex_lock(&keeper->lock);
    while (!keeper->stop) {
        u64 deadline = store->disk->monotonic(store->disk->context) + SYNC_AFTER_NS / 4;
        while (!keeper->work && !keeper->stop) {
            if (!again)
                pthread_cond_wait(&keeper->wake, &keeper->lock);
            else if (!aul_wait_until(store, &keeper->wake, &keeper->lock, deadline))
                break;
        }
        keeper->work = false;
        if (keeper->stop) break;
        pthread_mutex_unlock(&keeper->lock);
        again = aul_keeper_work(store);
        pthread_mutex_lock(&keeper->lock);
    }
    pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

int aul_keeper_start(aul_store *store) {
    aul_keeper *keeper = &store->keeper;
    if (!store->disk->threads) return AUL_OK;
    if (pthread_mutex_init(&keeper->lock, NULL) || aul_cond_init(&keeper->wake))
        return AUL_NO_MEMORY;
    if (pthread_create(&keeper->thread, NULL, run, store)) return AUL_NO_MEMORY;
    keeper->running = true;
    return AUL_OK;
}

void aul_keeper_stop(aul_store *store) {
    aul_keeper *keeper = &store->keeper;
    if (!keeper->running) return;
    pthread_mutex_lock(&keeper->lock);
    keeper->stop = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
    pthread_join(keeper->thread, NULL);
    keeper->running = false;
    pthread_mutex_destroy(&keeper->lock);
    pthread_cond_destroy(&keeper->wake);
}
