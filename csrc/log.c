/* log.c: who may write, and when what is written is durable.
 *
 * The writer's place is a baton: a transaction holds it from its first look at the newest state
 * until it is logged (log_append.c). Only then does it wait. Whoever waits first leads: it
 * writes all that the images have and the files have not, syncs, and everybody whose commit was
 * in it is durable (group commit, early lock release). Writing and syncing are separate turns,
 * so that a commit with durability "os" does not wait for another's sync.
 *
 * A failed write or sync is final: nothing is written any more, the visible LSN falls back to
 * the durable one, and what was logged in between has an unknown outcome. */
#include <errno.h>

#include "log.h"

#include "seeded.h"

#define SPIN_ROUNDS 100
#define AWAKE_MAX 3 /* of those whose commits are durable, on their way out of the line */

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
    if (now >= deadline || !store->disk->threads) return false; /* without them nobody wakes us */
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
    log->directory = -1;
    if (pthread_mutex_init(&log->lock, NULL) || aul_cond_init(&log->written_more) ||
        aul_cond_init(&log->syncer_wake) || aul_cond_init(&log->writer_free))
        return AUL_NO_MEMORY;
    log->next_lsn = 1;
    return AUL_OK;
}

void aul_log_destroy(aul_store *store) {
    aul_log *log = &store->log;
    if (log->directory >= 0) store->disk->close(store->disk->context, log->directory);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->written_more);
    pthread_cond_destroy(&log->syncer_wake);
    pthread_cond_destroy(&log->writer_free);
}

/* The writer's place */

static bool try_claim(aul_log *log, u64 me) {
    u64 nobody = atomic_load_explicit(&log->writer, memory_order_relaxed);
    return nobody == 0 && atomic_compare_exchange_strong(&log->writer, &nobody, me);
}

/* Takes it, from a transaction between two of its calls too; with log.lock held. */
static bool try_take(aul_log *log, u64 me) {
    u64 holder = atomic_load(&log->writer);
    if (holder & AUL_WRITER_CALLS || !atomic_compare_exchange_strong(&log->writer, &holder, me))
        return false;
    log->displaced = holder;
    return true;
}

int aul_log_claim_writer(aul_store *store, u32 wait_ms, bool take, u64 *me, aul_error *error) {
    aul_log *log = &store->log;
    *me = (atomic_fetch_add(&log->writers, 1) + 1) << 1 | AUL_WRITER_CALLS;
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        if (try_claim(log, *me)) return AUL_OK;
        RELAX();
    }
    u64 deadline = store->disk->monotonic(store->disk->context) + wait_ms * 1000000ull;
    bool claimed;
    pthread_mutex_lock(&log->lock);
    atomic_fetch_add(&log->writer_waiters, 1);
    atomic_fetch_add(&log->takers, take);
    while (!(claimed = (take ? try_take : try_claim)(log, *me)) &&
           atomic_load(&store->state) == AUL_STATE_OPEN)
        if (!aul_wait_until(store, &log->writer_free, &log->lock, deadline)) break;
    atomic_fetch_sub(&log->takers, take);
    atomic_fetch_sub(&log->writer_waiters, 1);
    pthread_mutex_unlock(&log->lock);
    if (claimed) return AUL_OK;
    if (atomic_load(&store->state) != AUL_STATE_OPEN)
        return aul_fail(error, AUL_CLOSED, "the volume has been closed");
    return aul_fail(error, AUL_BUSY, "another transaction has the writer's place");
}

bool aul_log_writer_calls(aul_store *store, u64 me) {
    aul_log *log = &store->log;
    u64 resting = me & ~(u64)AUL_WRITER_CALLS, holder = resting;
    if (AUL_LIKELY(atomic_compare_exchange_strong(&log->writer, &holder, me))) return true;
    pthread_mutex_lock(&log->lock);
    while (log->displaced == resting) pthread_cond_wait(&log->writer_free, &log->lock);
    holder = resting; /* under the lock nobody takes it now */
    bool calls = atomic_compare_exchange_strong(&log->writer, &holder, me);
    if (AUL_SEEDED(CONFLICT_UNNOTICED) && !calls) calls = try_claim(log, me);
    pthread_mutex_unlock(&log->lock);
    return calls;
}

/* Tells those who wait for the place. Where one of them may do more than the others, all: which of
 * them is woken is not ours to choose. */
static void tell_waiters(aul_log *log) {
    pthread_mutex_lock(&log->lock);
    if (atomic_load(&log->takers))
        pthread_cond_broadcast(&log->writer_free);
    else
        pthread_cond_signal(&log->writer_free);
    pthread_mutex_unlock(&log->lock);
}

void aul_log_writer_rests(aul_store *store, u64 me) {
    aul_log *log = &store->log;
    atomic_store(&log->writer, me & ~(u64)AUL_WRITER_CALLS);
    if (atomic_load(&log->takers)) tell_waiters(log);
}

void aul_log_release_writer(aul_store *store) {
    aul_log *log = &store->log;
    atomic_store(&log->writer, 0);
    if (atomic_load(&log->writer_waiters)) tell_waiters(log);
}

void aul_log_end_taking(aul_store *store, bool give_back) {
    aul_log *log = &store->log;
    pthread_mutex_lock(&log->lock);
    atomic_store(&log->writer, give_back ? log->displaced : 0);
    log->displaced = 0;
    pthread_cond_broadcast(&log->writer_free);
    pthread_mutex_unlock(&log->lock);
}

/* Failing */

void aul_log_fail(aul_store *store, int os_errno) {
    aul_log *log = &store->log;
    if (!log->failed) {
        log->failed = true;
        log->failed_errno = os_errno;
        u64 durable = atomic_load(&log->durable);
        if (!AUL_SEEDED(VISIBLE_AFTER_FAILURE)) atomic_store(&log->visible, durable);
        aul_page_cache_drop_above(store->cache, durable);
    }
    pthread_cond_broadcast(&log->written_more);
    aul_follow_tell(store);
    for (aul_log_waiter *waiter = log->waiting; waiter; waiter = waiter->after)
        pthread_cond_signal(&waiter->wake);
}

int aul_log_refuse_failed(aul_store *store, aul_error *error) {
    int failed = store->log.failed_errno;
    aul_fail_os(error, failed, "an earlier write or sync of the log", store->log_path);
    if (error) error->code = AUL_FAILED;
    return AUL_FAILED;
}

bool aul_log_is_final(int status, const aul_error *error) {
    int failed = error ? error->os_errno : 0;
    bool passing = failed == EMFILE || failed == ENFILE; /* nothing but an open has failed */
    return status != AUL_OK && status != AUL_BUSY && status != AUL_NO_MEMORY &&
           status != AUL_DISK_FULL && !passing;
}

int aul_log_unknown_outcome(aul_store *store, u64 lsn, aul_error *error) {
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

/* Takes a turn at writing: all that is logged and not in the files. Called and left with
 * log.lock held. */
int aul_log_write(aul_store *store) {
    aul_log *log = &store->log;
    while (log->writing) pthread_cond_wait(&log->written_more, &log->lock);
    if (log->failed) return AUL_FAILED;
    if (log->written == log->logged) return AUL_OK;
    log->writing = true;
    u64 target = log->logged, target_bytes = log->logged_bytes, end = log->logged_end;
    aul_segment *last = log->logged_segment, *segment = log->write_head;
    pthread_mutex_unlock(&log->lock);
    int failed = 0;
    for (;;) {
        failed = write_segment(store, segment, segment == last ? end : segment->filled);
        if (segment == last || failed) break;
        aul_log_drop_image(store, segment);
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
    pthread_cond_broadcast(&log->written_more);
    return AUL_OK;
}

static void raise_visible(aul_log *log, u64 lsn) {
    if (atomic_load_explicit(&log->visible, memory_order_relaxed) < lsn)
        atomic_store(&log->visible, lsn);
}

static int sync_logged(aul_store *store);

/* Whether somebody waits for a sync that is still to come. */
static bool is_wanted(const aul_log *log) {
    return log->waiting_last && log->waiting_last->lsn > atomic_load(&log->durable);
}

/* Leads while commits queue up: it needs no interpreter to come back to and so starts the next
 * round at once, where a waiter would have to wake up first. */
static void *run_syncer(void *argument) {
    aul_store *store = argument;
    aul_log *log = &store->log;
    pthread_mutex_lock(&log->lock);
    while (!log->syncer_stop) {
        if (is_wanted(log) && !log->failed && !log->syncing)
            sync_logged(store);
        else
            pthread_cond_wait(&log->syncer_wake, &log->lock);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

void aul_log_stop_syncer(aul_store *store) {
    aul_log *log = &store->log;
    pthread_mutex_lock(&log->lock);
    bool running = log->syncer_running;
    log->syncer_stop = true;
    pthread_cond_signal(&log->syncer_wake);
    pthread_mutex_unlock(&log->lock);
    if (running) pthread_join(log->syncer, NULL);
}

/* Has somebody lead the next round: the syncing thread, or one of those who wait for it. */
static void pass_lead(aul_store *store) {
    aul_log *log = &store->log;
    if (!log->syncer_running && store->disk->threads)
        log->syncer_running = pthread_create(&log->syncer, NULL, run_syncer, store) == 0;
    if (log->syncer_running)
        pthread_cond_signal(&log->syncer_wake);
    else
        pthread_cond_signal(&log->waiting_last->wake);
}

/* Wakes who is durable, a few at a time, and who leaves wakes the next: all awake at once would
 * only queue for log.lock, and Python's threads then for the interpreter, asleep again; one at a
 * time, each would wait for the other's waking up. */
static void wake_durable(aul_log *log) {
    u64 durable = atomic_load(&log->durable);
    if (AUL_SEEDED(WOKEN_IS_DURABLE)) durable = UINT64_MAX;
    for (aul_log_waiter *waiter = log->waiting; waiter && waiter->lsn <= durable;
         waiter = waiter->after) {
        if (log->awake == AWAKE_MAX) return;
        if (waiter->awake) continue;
        waiter->awake = true;
        log->awake++;
        pthread_cond_signal(&waiter->wake);
    }
}

static void join_waiting(aul_log *log, aul_log_waiter *waiter) {
    aul_log_waiter *before = log->waiting_last;
    while (before && before->lsn > waiter->lsn) before = before->before;
    waiter->before = before;
    waiter->after = before ? before->after : log->waiting;
    *(before ? &before->after : &log->waiting) = waiter;
    *(waiter->after ? &waiter->after->before : &log->waiting_last) = waiter;
}

static void leave_waiting(aul_log *log, aul_log_waiter *waiter) {
    *(waiter->before ? &waiter->before->after : &log->waiting) = waiter->after;
    *(waiter->after ? &waiter->after->before : &log->waiting_last) = waiter->before;
}

/* Takes the turn at syncing: all that is written, and what is logged is written first. Called
 * and left with log.lock held. */
static int sync_logged(aul_store *store) {
    aul_log *log = &store->log;
    log->syncing = true;
    int status = aul_log_write(store);
    u64 target = log->written, target_bytes = log->written_bytes;
    aul_segment *head = log->sync_head, *last = log->write_head;
    int failed = 0;
    if (!status) {
        bool new_names = false;
        bool tells = log->tells_durable;
        u64 last_written = last->written;
        pthread_mutex_unlock(&log->lock);
        if (AUL_SEEDED(WORD_BEFORE_SYNC) && tells) aul_lock_tell_durable(store, target);
        for (aul_segment *segment = head; !failed; segment = segment->next) {
            u64 written = segment == last ? last_written : segment->written;
            bool unsynced = segment->synced < written && !AUL_SEEDED(ACKNOWLEDGED_UNSYNCED);
            if (AUL_SEEDED(LAST_SEGMENT_ONLY)) unsynced &= segment == last;
            if (unsynced) failed = aul_disk_sync(store->disk, segment->file);
            if (failed && AUL_SEEDED(SYNC_RETRIED))
                failed = aul_disk_sync(store->disk, segment->file);
            if (!failed) segment->synced = written;
            new_names |= segment->name_unsynced;
            if (segment == last) break;
        }
        if (!failed && new_names && !AUL_SEEDED(DIRECTORY_UNSYNCED))
            failed = aul_disk_sync_directory(store->disk, log->directory);
        if (!failed && new_names)
            for (aul_segment *segment = head;; segment = segment->next) {
                segment->name_unsynced = false;
                if (segment == last) break;
            }
        if (!failed && tells) aul_lock_tell_durable(store, target);
        pthread_mutex_lock(&log->lock);
        if (AUL_SEEDED(TARGET_AFTER_SYNC)) target = log->written;
        if (failed) {
            aul_log_fail(store, failed);
        } else if (!log->failed) {
            log->sync_head = last;
            log->durable_bytes = target_bytes;
            atomic_store(&log->durable, target);
            raise_visible(log, target);
            aul_follow_tell(store);
        }
    }
    log->syncing = false;
    wake_durable(log);
    if (is_wanted(log)) pass_lead(store);
    if (!log->failed && head != last) aul_keeper_wake(store);
    return log->failed ? AUL_FAILED : AUL_OK;
}

int aul_log_wait_written(aul_store *store, u64 lsn, aul_error *error) {
    aul_log *log = &store->log;
    int wrote = AUL_OK, status = AUL_OK;
    pthread_mutex_lock(&log->lock);
    while (log->written < lsn && !log->failed && !AUL_SEEDED(OS_UNWRITTEN))
        wrote = aul_log_write(store);
    /* The marks tell, not that call: it may have failed for what was logged later, when this was
     * durable already. */
    if (!log->failed)
        raise_visible(log, lsn);
    else if (atomic_load(&log->durable) < lsn && !AUL_SEEDED(OS_AFTER_FAILURE))
        status = aul_log_unknown_outcome(store, lsn, error);
    if (AUL_SEEDED(OS_FAILS_WITH_LATER) && !status) status = wrote;
    bool first = !log->sync_promised && log->written_bytes != log->durable_bytes;
    if (first) log->sync_promised = true; /* by the keeper, within its time */
    pthread_mutex_unlock(&log->lock);
    if (first) aul_keeper_wake(store);
    return status;
}

/* Waits for a sync that another leads, until `deadline`. Called and left with log.lock held. */
static bool wait_in_line(aul_store *store, u64 lsn, u64 deadline) {
    aul_log *log = &store->log;
    aul_log_waiter self = {.lsn = lsn};
    if (aul_cond_init(&self.wake)) return false;
    join_waiting(log, &self);
    bool in_time = aul_wait_until(store, &self.wake, &log->lock, deadline);
    leave_waiting(log, &self);
    if (self.awake) log->awake--;
    if (!AUL_SEEDED(FOLLOWER_LEFT_ASLEEP)) wake_durable(log);
    pthread_cond_destroy(&self.wake);
    return in_time;
}

int aul_log_wait_durable(aul_store *store, u64 lsn, u32 wait_ms, aul_error *error) {
    aul_log *log = &store->log;
    u64 deadline = 0;
    int status = AUL_OK;
    pthread_mutex_lock(&log->lock);
    while (atomic_load_explicit(&log->durable, memory_order_relaxed) < lsn) {
        if (log->failed) {
            status = aul_log_unknown_outcome(store, lsn, error);
            break;
        }
        if (!log->syncing) {
            sync_logged(store);
            continue;
        }
        if (!deadline)
            deadline = store->disk->monotonic(store->disk->context) + wait_ms * 1000000ull;
        if (!wait_in_line(store, lsn, deadline)) {
            status = aul_fail(error, AUL_PENDING, "not durable yet");
            if (error) error->lsn = lsn;
            break;
        }
        if (AUL_SEEDED(WOKEN_IS_DURABLE)) break;
    }
    pthread_mutex_unlock(&log->lock);
    return status;
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
