/* follow.c: a read-only store moves on behind its writer, and waiting for commits.
 *
 * How far the log is durable is what the writer tells in the lock file. A refresh reads that word
 * and, when it has risen, goes on reading frames where the last refresh stopped, from segment to
 * segment by their names and headers, into the parts of the index, up to the word: a commit LSN,
 * beyond which nothing is ever shown. Last of all the visible LSN is raised.
 *
 * The manifest is read again when the lock file tells another epoch, or when what was read does not
 * fit: its segments are those we have and perhaps more, whatever has become of the writer, for what
 * was shown was durable and no recovery cuts that. A volume of which this is not true is another
 * one, or an older copy: then the refresh fails and the store stays where it is. Segments that it
 * lists as sealed need no part in memory any more, which is the other reason to look: memory is
 * that of the unsealed tail, however long the store follows.
 *
 * Views and readers are kept apart from all this by their LSN, like those of a writer's store from
 * its commits. */
#include <stdio.h>

#include "log.h"
#include "seeded.h"

#define TRIES 5                  /* the writer may be another one while we look */
#define UNSEALED_FEW 2           /* segments whose parts may stay in memory */
#define LOOK_AFTER_NS 1000000000 /* or when there are more than one */
#define POLL_NS 2000000          /* where no system tells that the lock file has changed */

int aul_follow_init(aul_store *store) {
    aul_follow *follow = &store->follow;
    return pthread_mutex_init(&follow->lock, NULL) || aul_cond_init(&follow->moved) ? AUL_NO_MEMORY
                                                                                    : AUL_OK;
}

static aul_segment *current(const aul_store *store) {
    size_t at = store->follow.at;
    return at ? store->index.list->items[at - 1] : NULL;
}

static void stop_scan(aul_store *store) {
    aul_follow *follow = &store->follow;
    if (!follow->scanning) return;
    aul_scan_close(&follow->scan);
    aul_files_release(&store->files, current(store));
    follow->scanning = false;
}

void aul_follow_destroy(aul_store *store) {
    aul_follow *follow = &store->follow;
    if (follow->scanning) stop_scan(store);
    if (follow->watch) store->disk->unwatch(store->disk->context, follow->watch);
    follow->watch = NULL;
    pthread_mutex_destroy(&follow->lock);
    pthread_cond_destroy(&follow->moved);
}

void aul_follow_begin(aul_store *store) {
    aul_follow *follow = &store->follow;
    follow->at = store->index.list->count;
    follow->reached = atomic_load(&store->log.durable);
    const aul_segment *last = current(store);
    u64 last_lsn = 0;
    if (last && atomic_load(&last->sealed))
        last_lsn = last->summary.last_lsn;
    else if (last)
        last_lsn = atomic_load(&last->last_lsn);
    follow->next_lsn = last_lsn + 1;
}

/* What plain reads see from now on; they find its path, its branch points are noted. */
static void show(aul_store *store, u64 lsn) {
    aul_log *log = &store->log;
    if (lsn <= atomic_load(&log->durable)) return;
    pthread_mutex_lock(&log->lock);
    atomic_store(&log->durable, lsn);
    atomic_store(&log->visible, lsn);
    aul_follow_tell(store);
    pthread_mutex_unlock(&log->lock);
}

/* Reading the log */

static int start_scan(aul_store *store, aul_segment *segment, aul_error *error) {
    aul_follow *follow = &store->follow;
    int file;
    int status = aul_files_acquire(&store->files, segment, false, &file, error);
    if (status) return status;
    u64 end = segment->bounded ? segment->summary.log_end : UINT64_MAX;
    status = aul_scan_open(&follow->scan, store->disk, segment, file, end, &follow->carried, error);
    if (status) {
        aul_files_release(&store->files, segment);
        return status;
    }
    if (segment->filled > AUL_BLOCK)
        aul_scan_seek(&follow->scan, segment->filled, follow->next_lsn);
    follow->scanning = true;
    return AUL_OK;
}

/* Takes the frame that was just read into the index. AUL_CORRUPT: it is none. */
static int take_frame(aul_store *store, aul_segment *segment, aul_error *error) {
    aul_follow *follow = &store->follow;
    aul_scan *scan = &follow->scan;
    pthread_mutex_lock(&store->past.lock);
    int status = AUL_SEEDED(FOLLOWER_MISSES_RUNS) ? AUL_OK : aul_recover_note(store, scan, error);
    pthread_mutex_unlock(&store->past.lock);
    if (status) return status;
    pthread_rwlock_wrlock(&store->index.lock);
    status = aul_scan_index(scan, segment->part);
    if (!status) {
        atomic_store(&segment->written, scan->offset);
        atomic_store(&segment->last_lsn, scan->next_lsn - 1);
    }
    pthread_rwlock_unlock(&store->index.lock);
    if (status == AUL_NO_MEMORY)
        return aul_fail(error, status, "no memory for the index of the log's tail");
    if (status) return status;
    pthread_mutex_lock(&store->log.lock);
    segment->filled = scan->offset; /* others look at it under this lock */
    pthread_mutex_unlock(&store->log.lock);
    follow->next_lsn = scan->next_lsn;
    if (!scan->in_batch) follow->reached = scan->batch.last_lsn;
    return AUL_OK;
}

/* Reads on in an unsealed segment. AUL_OK: up to `target`. AUL_END: here is no frame any more.
 * AUL_BUSY: it is time. */
static int read_on(aul_store *store, aul_segment *segment, u64 target, u64 deadline,
                   aul_error *error) {
    aul_follow *follow = &store->follow;
    aul_scan *scan = &follow->scan;
    int status = follow->scanning ? AUL_OK : start_scan(store, segment, error);
    if (status) return status;
    if (!AUL_SEEDED(FOLLOWER_READS_STALE)) aul_scan_look_again(scan);
    while (follow->next_lsn <= target) {
        aul_scan before = *scan;
        status = aul_scan_next(scan, error);
        if (!status) status = take_frame(store, segment, error);
        if (status) { /* as if it had not been read, which it has to be once more */
            *scan = before;
            if (!AUL_SEEDED(FOLLOWER_READS_STALE)) aul_scan_look_again(scan);
            return status == AUL_CORRUPT ? AUL_END : status;
        }
        if (!scan->in_batch && store->disk->monotonic(store->disk->context) >= deadline)
            return follow->next_lsn <= target ? AUL_BUSY : AUL_OK;
    }
    return AUL_OK;
}

/* Goes to the segment that follows. AUL_END: none does. */
static int enter_next(aul_store *store, aul_error *error) {
    aul_follow *follow = &store->follow;
    aul_segment *last = current(store), *next = NULL;
    bool ended = !last || atomic_load(&last->sealed) ||
                 (last->bounded && follow->next_lsn == last->summary.last_lsn + 1);
    int status = AUL_OK;
    if (follow->at == store->index.list->count) {
        bool open = last && !last->bounded && last->epoch == store->manifest.epoch;
        if (open) status = aul_recover_next(store, last, follow->next_lsn, &next, error);
        if (status || !next) return status ? status : AUL_END;
        next->part = aul_part_new(store->disk);
        if (!next->part || aul_page_index_append(&store->index, next)) {
            aul_files_forget(&store->files, next);
            aul_segment_free(store->disk, next);
            return aul_fail(error, AUL_NO_MEMORY, "no memory for a log segment");
        }
    }
    next = store->index.list->items[follow->at];
    if (next->first_lsn < follow->next_lsn || (next->first_lsn > follow->next_lsn && !ended))
        return AUL_END;
    aul_scan carried = follow->scan;
    if (!follow->scanning) status = aul_recover_open_batch(store, follow->at, &carried, error);
    if (status) return status;
    stop_scan(store);
    carried.buffer = NULL;
    carried.in_batch &= next->first_lsn == follow->next_lsn;
    follow->carried = carried;
    follow->next_lsn = next->first_lsn;
    follow->at++;
    return AUL_OK;
}

/* Reads the log up to `target`, with the statuses of read_on. */
static int advance(aul_store *store, u64 target, u64 deadline, aul_error *error) {
    aul_follow *follow = &store->follow;
    while (follow->next_lsn <= target) {
        aul_segment *segment = current(store);
        int status = AUL_END;
        if (segment && atomic_load(&segment->sealed)) {
            follow->next_lsn = aul_max(follow->next_lsn, segment->summary.last_lsn + 1);
            follow->reached = aul_max(follow->reached, segment->summary.last_commit);
            if (follow->next_lsn > target) break;
        } else if (segment) {
            status = read_on(store, segment, target, deadline, error);
        }
        if (status == AUL_END) status = enter_next(store, error);
        if (status) return status;
    }
    return AUL_OK;
}

/* The manifest */

static int is_older(const char *what, u64 lsn, aul_error *error) {
    return aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, lsn,
                       "%s, of which LSN %llu was shown: an older copy may have been put in its "
                       "place; open the volume again",
                       what, (unsigned long long)lsn);
}

/* Whether the volume that the manifest tells of is the one that this store shows, later on. */
static int check_manifest(aul_store *store, const aul_manifest *now, aul_error *error) {
    const aul_segment_list *list = store->index.list;
    u64 shown = atomic_load(&store->log.durable);
    if (memcmp(now->volume_id, store->manifest.volume_id, AUL_ID_BYTES) != 0 ||
        now->page_size != store->page_size)
        return aul_fail(error, AUL_NOT_A_VOLUME,
                        "another volume has been put in the place of %s: open it again",
                        store->path);
    if (now->epoch < store->manifest.epoch || aul_history_cut_at(&now->history, shown) ||
        (now->epoch > store->manifest.epoch && now->durable_lsn < shown))
        return is_older("the MANIFEST is older than the log", shown, error);
    for (size_t i = 0; i < list->count && i < now->segment_count; i++)
        if (memcmp(now->segments[i]->id, list->items[i]->id, AUL_ID_BYTES) != 0)
            return is_older("the MANIFEST lists other segments than those of the log", shown,
                            error);
    return AUL_OK;
}

/* One of our segments is sealed, or bounded, by now. */
static void end_segment(aul_store *store, aul_segment *segment, const aul_segment *listed) {
    aul_follow *follow = &store->follow;
    if (atomic_load(&segment->sealed)) return;
    if (atomic_load(&listed->sealed)) {
        if (segment == current(store)) stop_scan(store);
        aul_page_index_seal(&store->index, segment, &listed->summary);
        bool kept_open = segment->kept_open; /* by opening, until now */
        segment->kept_open = false;
        if (kept_open) aul_files_release(&store->files, segment);
    } else if (listed->bounded && !segment->bounded) {
        segment->summary.log_end = listed->summary.log_end;
        segment->summary.last_lsn = listed->summary.last_lsn;
        segment->bounded = true;
        if (segment == current(store) && follow->scanning)
            follow->scan.end = listed->summary.log_end;
    }
}

/* Adds a segment that the manifest lists and we have not. */
static int add_segment(aul_store *store, aul_segment **listed, aul_error *error) {
    aul_segment *segment = *listed;
    if (!atomic_load(&segment->sealed)) {
        segment->part = aul_part_new(store->disk);
        atomic_store(&segment->last_lsn, segment->first_lsn - 1);
        segment->filled = AUL_BLOCK;
        atomic_store(&segment->written, AUL_BLOCK);
    }
    if ((!segment->part && !atomic_load(&segment->sealed)) ||
        aul_page_index_append(&store->index, segment))
        return aul_fail(error, AUL_NO_MEMORY, "no memory for a log segment");
    *listed = NULL;
    return AUL_OK;
}

/* Takes the branch points and names that the manifest knows and this store does not, because it
 * passes over the segments that they are in. What it knows already changes nothing. */
static int add_past(aul_store *store, const aul_manifest *now) {
    aul_history *history = &store->manifest.history;
    aul_names *names = &store->manifest.names;
    int status = AUL_OK;
    for (size_t i = 0; i < now->history.count && !status; i++)
        if (aul_history_run(history, UINT64_MAX) < now->history.items[i].resumed_at)
            status = aul_history_add(history, &now->history.items[i]);
    /* Which of ours it has not any more was deleted meanwhile. */
    for (size_t i = 0, at = 0; i < names->count; i++) {
        aul_restore_point *point = &names->items[i];
        while (at < now->names.count && now->names.items[at].made_lsn < point->made_lsn) at++;
        bool there = at < now->names.count && now->names.items[at].made_lsn == point->made_lsn;
        if (!there && !point->deleted_lsn) point->deleted_lsn = now->durable_lsn;
    }
    for (size_t i = 0; i < now->names.count && !status; i++)
        status = aul_names_add(names, &now->names.items[i]);
    return status;
}

static int take_past(aul_store *store, const aul_manifest *now, aul_error *error) {
    int status = AUL_OK;
    pthread_mutex_lock(&store->past.lock);
    aul_names_prune(&store->manifest.names, atomic_load(&store->log.durable));
    if (store->follow.next_lsn <= now->durable_lsn && !AUL_SEEDED(FOLLOWER_SKIPS_PAST))
        status = add_past(store, now);
    pthread_mutex_unlock(&store->past.lock);
    if (status == AUL_CORRUPT)
        return is_older("the MANIFEST tells of another past than the log",
                        atomic_load(&store->log.durable), error);
    return status ? aul_fail(error, status, "no memory for the history") : AUL_OK;
}

/* Takes over what the manifest says by now. A failure leaves less taken, and nothing wrong.
 * Segments of which nothing is known to be durable are left out: a recovery may drop them. */
static int read_manifest(aul_store *store, const aul_lock_told *told, aul_error *error) {
    aul_follow *follow = &store->follow;
    aul_manifest now;
    int status = aul_manifest_read(store->disk, store->path, &now, error);
    if (status) return status;
    status = check_manifest(store, &now, error);
    if (!status) status = take_past(store, &now, error);
    u64 durable = aul_max(aul_lock_believed(told, &now), now.durable_lsn);
    for (size_t i = 0; i < now.segment_count && !status; i++) {
        if (i < store->index.list->count)
            end_segment(store, store->index.list->items[i], now.segments[i]);
        else if (now.segments[i]->first_lsn <= durable)
            status = add_segment(store, &now.segments[i], error);
    }
    if (!status) {
        store->manifest.durable_lsn = now.durable_lsn;
        store->manifest.epoch = now.epoch;
        atomic_store(&store->epoch, now.epoch);
        follow->at_looked = follow->at;
        follow->looked_ns = store->disk->monotonic(store->disk->context);
    }
    aul_manifest_free(store->disk, &now);
    return status;
}

/* Whether the manifest may list segments as sealed whose parts are in memory. */
static bool may_be_sealed(const aul_store *store) {
    const aul_follow *follow = &store->follow;
    const aul_segment_list *list = store->index.list;
    if (list->count < 2 || atomic_load(&list->items[list->count - 2]->sealed)) return false;
    return follow->at - follow->at_looked >= UNSEALED_FEW ||
           store->disk->monotonic(store->disk->context) - follow->looked_ns >= LOOK_AFTER_NS;
}

/* Moving on */

static bool is_ours(const aul_store *store, const aul_lock_told *told) {
    return memcmp(told->volume_id, store->manifest.volume_id, AUL_ID_BYTES) == 0;
}

/* Whether the lock file tells nothing that we do not know. An epoch below ours: its writer has
 * written the manifest and not the lock file yet. */
static bool is_known(const aul_store *store, const aul_lock_told *told) {
    static const u8 nobody[AUL_ID_BYTES];
    const aul_manifest *manifest = &store->manifest;
    if (memcmp(told->volume_id, nobody, AUL_ID_BYTES) == 0) return true;
    if (!is_ours(store, told)) return false;
    return told->epoch < manifest->epoch ||
           (told->epoch == manifest->epoch && told->durable <= atomic_load(&store->log.durable));
}

static int move_on(aul_store *store, u64 deadline, aul_error *error) {
    aul_follow *follow = &store->follow;
    int status = AUL_OK;
    for (int tries = 1; tries <= TRIES; tries++) {
        aul_lock_told told;
        status = aul_lock_read(store, &told, error);
        if (status) return status;
        if (is_known(store, &told)) return AUL_OK;
        u64 target = aul_lock_believed(&told, &store->manifest);
        if (tries > 1 || !target) {
            status = read_manifest(store, &told, error);
            target =
                aul_max(aul_lock_believed(&told, &store->manifest), store->manifest.durable_lsn);
        }
        if (!status && told.epoch > store->manifest.epoch && is_ours(store, &told))
            status = is_older("the MANIFEST is older than the lock file", target, error);
        if (!status) status = advance(store, target, deadline, error);
        if (AUL_SEEDED(FOLLOWER_AHEAD)) (void)advance(store, UINT64_MAX, deadline, NULL);
        show(store, follow->reached);
        if (status != AUL_END && status != AUL_CORRUPT) return status;
        if (status == AUL_END)
            status =
                aul_fail_at(error, AUL_CORRUPT, "log", 0, follow->next_lsn,
                            "the log ends at LSN %llu, its writer says that %llu is durable",
                            (unsigned long long)(follow->next_lsn - 1), (unsigned long long)target);
    }
    return status;
}

static int refresh(aul_store *store, u64 deadline, aul_error *error) {
    static const aul_lock_told nothing;
    pthread_mutex_lock(&store->follow.lock);
    int status = move_on(store, deadline, error);
    if (!status && may_be_sealed(store)) status = read_manifest(store, &nothing, error);
    pthread_mutex_unlock(&store->follow.lock);
    return status;
}

static u64 deadline_of(aul_store *store, u32 wait_ms) {
    return store->disk->monotonic(store->disk->context) + wait_ms * 1000000ull;
}

int aul_refresh(aul_store *store, uint32_t wait_ms, uint64_t *lsn, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    if (store->read_only) status = refresh(store, deadline_of(store, wait_ms), error);
    *lsn = atomic_load(&store->log.durable);
    aul_store_leave(store);
    return status;
}

/* Waiting */

void aul_follow_tell_all(aul_store *store) {
    aul_follow *follow = &store->follow;
    pthread_mutex_lock(&store->log.lock);
    follow->wakes++;
    pthread_cond_broadcast(&follow->moved);
    if (follow->watch) store->disk->wake(store->disk->context, follow->watch);
    pthread_mutex_unlock(&store->log.lock);
}

void aul_follow_wake(aul_store *store) {
    if (aul_store_enter(store, NULL)) return; /* closing wakes them, too */
    aul_follow_tell_all(store);
    aul_store_leave(store);
}

/* A wait that goes on: until when, and what would end it earlier. */
typedef struct {
    u64 after, deadline;
    u32 wakes;
} wait;

/* Whether there is something to wait for yet. Called with log.lock held. */
static bool goes_on(aul_store *store, const wait *w) {
    return atomic_load(&store->log.durable) <= w->after && !store->log.failed &&
           store->follow.wakes == w->wakes && atomic_load(&store->state) == AUL_STATE_OPEN &&
           store->disk->monotonic(store->disk->context) < w->deadline;
}

/* Waits for another thread of this process to move on. Called with log.lock held. */
static bool wait_moved(aul_store *store, u64 deadline) {
    store->follow.waiting++;
    bool waited = aul_wait_until(store, &store->follow.moved, &store->log.lock, deadline);
    store->follow.waiting--;
    return waited;
}

static void set_watch(aul_store *store, void *watch) {
    pthread_mutex_lock(&store->log.lock);
    store->follow.watch = watch;
    pthread_mutex_unlock(&store->log.lock);
}

/* The lock file is watched from now on, where the system can do that. */
static void begin_watch(aul_store *store) {
    aul_disk *disk = store->disk;
    char path[AUL_PATH_BYTES];
    void *watch;
    if (store->follow.watch || !disk->watch) return;
    snprintf(path, sizeof path, "%s/LOCK", store->path);
    if (!disk->watch(disk->context, path, &watch)) set_watch(store, watch);
}

static void end_watch(aul_store *store) {
    void *watch = store->follow.watch;
    set_watch(store, NULL);
    store->disk->unwatch(store->disk->context, watch);
}

/* Waits for a change of the lock file, or until somebody wants the watch to look. */
static void wait_for_change(aul_store *store, const wait *w) {
    aul_disk *disk = store->disk;
    u64 now = disk->monotonic(disk->context);
    if (now >= w->deadline) return;
    if (store->follow.watch) {
        int failed = disk->wait_change(disk->context, store->follow.watch, w->deadline - now);
        if (!failed) return;
        end_watch(store); /* another file has its name; or it does not work, for whatever reason */
    }
    pthread_mutex_lock(&store->log.lock);
    if (goes_on(store, w)) wait_moved(store, aul_min(now + POLL_NS, w->deadline));
    pthread_mutex_unlock(&store->log.lock);
}

/* Watches the lock file for everybody in this process who waits, and moves on with it. The watch
 * comes before the look: what changes in between is told. */
static int watch(aul_store *store, const wait *w, aul_error *error) {
    for (;;) {
        begin_watch(store);
        int status = refresh(store, w->deadline, error);
        pthread_mutex_lock(&store->log.lock);
        bool over = !goes_on(store, w);
        pthread_mutex_unlock(&store->log.lock);
        if (status || over || !store->disk->threads) return status;
        wait_for_change(store, w);
    }
}

static int wait_for(aul_store *store, const wait *w, aul_error *error) {
    aul_follow *follow = &store->follow;
    /* The first look is there whatever the time, so that no time is only a look. */
    int status = store->read_only ? refresh(store, w->deadline, error) : AUL_OK;
    if (status == AUL_BUSY) status = AUL_OK;
    pthread_mutex_lock(&store->log.lock);
    while (goes_on(store, w) && !status) {
        if (!store->read_only || follow->watching) {
            if (!wait_moved(store, w->deadline)) break;
            continue;
        }
        follow->watching = true;
        pthread_mutex_unlock(&store->log.lock);
        status = watch(store, w, error);
        pthread_mutex_lock(&store->log.lock);
        follow->watching = false;
        pthread_cond_broadcast(&follow->moved); /* another one's turn */
        if (!store->disk->threads) break;
    }
    bool failed = store->log.failed;
    pthread_mutex_unlock(&store->log.lock);
    if (status == AUL_BUSY) status = AUL_OK;
    if (status || atomic_load(&store->log.durable) > w->after) return status;
    if (atomic_load(&store->state) != AUL_STATE_OPEN)
        return aul_fail(error, AUL_CLOSED, "the volume has been closed");
    if (failed) return aul_log_refuse_failed(store, error);
    return aul_fail(error, AUL_PENDING, "nothing new is durable yet");
}

int aul_follow_wait(aul_store *store, uint64_t after, uint32_t wait_ms, uint64_t *lsn,
                    aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    pthread_mutex_lock(&store->log.lock);
    wait w = {after, deadline_of(store, wait_ms), store->follow.wakes};
    pthread_mutex_unlock(&store->log.lock);
    status = wait_for(store, &w, error);
    *lsn = atomic_load(&store->log.durable);
    aul_store_leave(store);
    return status;
}
