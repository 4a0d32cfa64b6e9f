/* tx.c: transactions: collecting a batch, and reading under it.
 *
 * A transaction holds the writer's place, so its LSNs are known from the start and every change
 * is encoded once, as the record that will be logged, straight into frame buffers; these belong
 * to the store and are used again by the next transaction. Its own changes are indexed only when
 * it reads, by the same structure that indexes a segment. */

#include "diff.h"
#include "seeded.h"
#include "store.h"

#define TRUNCATES_MAX (1u << 20) /* each takes room in the footer of every segment it spans */
#define KEEP_FRAMES 64           /* buffers kept between transactions: 16 MiB */

struct aul_tx {
    aul_store *store;
    bool open;
    bool conflicts;      /* with a rewind, which took the writer's place away */
    atomic_flag in_call; /* one thread at a time */
    u64 me;              /* in the writer's place */
    aul_path path;       /* of the newest committed state; its holes are the store's */
    u64 first_lsn, next_lsn, end_pages, stream_bytes, entries, truncates;
    size_t frame_count; /* in store->tx_frames */
    bool has_read;
    /* Own changes, indexed up to (indexed_frame, indexed_bytes): an entry's offset is the frame,
     * its bytes the place in it. */
    aul_part *own;
    size_t indexed_frame;
    u32 indexed_bytes;
    u64 indexed_lsn;
    u8 *scratch; /* one page */
};

static int new_frame(aul_tx *tx, aul_error *error) {
    aul_store *store = tx->store;
    size_t capacity = store->tx_frame_capacity;
    if (aul_grow(store->disk, (void **)&store->tx_frames, &store->tx_frame_capacity,
                 tx->frame_count + 1, sizeof *store->tx_frames))
        return aul_fail(error, AUL_NO_MEMORY, "no memory for the transaction");
    for (; capacity < store->tx_frame_capacity; capacity++)
        store->tx_frames[capacity].memory = NULL;
    aul_frame_buffer *frame = &store->tx_frames[tx->frame_count];
    if (!frame->memory) frame->memory = aul_alloc(store->disk, AUL_FRAME_BUFFER_BYTES);
    if (!frame->memory) return aul_fail(error, AUL_NO_MEMORY, "no memory for the transaction");
    frame->records_start = tx->frame_count == 0 ? AUL_FRAME_ROOM : AUL_FRAME_HEADER;
    frame->records_bytes = frame->records = 0;
    frame->first_lsn = tx->next_lsn;
    tx->frame_count++;
    return AUL_OK;
}

/* Payload bytes that a frame has for records. The first leaves room for the longest batch
 * header. */
static u32 frame_room(const aul_tx *tx) {
    const aul_frame_buffer *frame = &tx->store->tx_frames[tx->frame_count - 1];
    u32 payload = tx->frame_count == 1 ? AUL_FRAME_PAYLOAD_MAX - (AUL_BATCH_HEADER + 256)
                                       : AUL_FRAME_PAYLOAD_MAX;
    return payload - frame->records_bytes;
}

/* Refuses what would pass a limit, before anything is kept. */
static int check_limits(aul_tx *tx, u64 records, u64 bytes, aul_error *error) {
    u64 limit = tx->store->manifest.in_flight_lsns;
    if (tx->next_lsn - tx->first_lsn + records > limit)
        return aul_fail(error, AUL_TOO_LARGE, "a transaction has at most %llu records",
                        (unsigned long long)limit);
    if (tx->stream_bytes + bytes > AUL_BATCH_BYTES_MAX)
        return aul_fail(error, AUL_TOO_LARGE,
                        "a transaction has at most %llu bytes of changes: split it",
                        AUL_BATCH_BYTES_MAX);
    if (tx->truncates > TRUNCATES_MAX)
        return aul_fail(error, AUL_TOO_LARGE, "a transaction has at most %u truncates: split it",
                        TRUNCATES_MAX);
    return AUL_OK;
}

static int add_change(aul_tx *tx, const aul_change *change, aul_error *error) {
    u32 bytes = aul_record_bytes(change);
    if (tx->frame_count == 0 || frame_room(tx) < bytes) {
        int status = new_frame(tx, error);
        if (status) return status;
    }
    aul_frame_buffer *frame = &tx->store->tx_frames[tx->frame_count - 1];
    aul_record_encode(frame->memory + frame->records_start + frame->records_bytes, change,
                      tx->next_lsn, tx->store->record_seed);
    frame->records_bytes += bytes;
    frame->records++;
    tx->next_lsn++;
    tx->stream_bytes += bytes;
    if (change->kind == AUL_TRUNCATE) {
        tx->truncates++;
        if (!AUL_SEEDED(TRUNCATE_KEEPS_LENGTH))
            tx->end_pages = aul_min(tx->end_pages, change->page);
    } else {
        tx->entries++;
        tx->end_pages = aul_max(tx->end_pages, change->page + 1);
    }
    return AUL_OK;
}

/* How far a transaction had come, to go back to when a call fails in its middle. */
typedef struct {
    u64 next_lsn, end_pages, stream_bytes, entries, truncates;
    size_t frame_count;
    u32 records_bytes, records;
} mark;

static mark set_mark(const aul_tx *tx) {
    mark m = {tx->next_lsn,
              tx->end_pages,
              tx->stream_bytes,
              tx->entries,
              tx->truncates,
              tx->frame_count,
              0,
              0};
    if (m.frame_count) {
        m.records_bytes = tx->store->tx_frames[m.frame_count - 1].records_bytes;
        m.records = tx->store->tx_frames[m.frame_count - 1].records;
    }
    return m;
}

static void go_back(aul_tx *tx, const mark *m) {
    tx->next_lsn = m->next_lsn;
    if (!AUL_SEEDED(REFUSED_KEEPS_LENGTH)) tx->end_pages = m->end_pages;
    tx->stream_bytes = m->stream_bytes;
    tx->entries = m->entries;
    tx->truncates = m->truncates;
    tx->frame_count = m->frame_count;
    if (m->frame_count) {
        tx->store->tx_frames[m->frame_count - 1].records_bytes = m->records_bytes;
        tx->store->tx_frames[m->frame_count - 1].records = m->records;
    }
    if (tx->indexed_lsn > m->next_lsn) { /* a put has looked at what is taken back */
        aul_part_free(tx->own);
        tx->own = NULL;
        tx->indexed_frame = tx->indexed_bytes = 0;
        tx->indexed_lsn = tx->first_lsn;
    }
}

int aul_changes_check(uint32_t page_size, const uint8_t *changes, size_t bytes, uint32_t *kinds,
                      aul_error *error) {
    u32 found = 0;
    for (size_t at = 0; at < bytes;) {
        aul_change change;
        size_t used = 0;
        int status = aul_change_parse(page_size, changes + at, bytes - at, &change, &used, error);
        if (status) {
            if (error) error->offset = at;
            return status;
        }
        found |= 1u << change.kind;
        at += used;
    }
    if (kinds) *kinds = found;
    return AUL_OK;
}

static int put(aul_tx *tx, u64 page, const u8 *image, aul_error *error);

/* Encodes as it checks: a bad change takes back those before it. */
static int apply(aul_tx *tx, const u8 *changes, size_t bytes, aul_error *error) {
    u32 page_size = tx->store->page_size;
    int status = check_limits(tx, 0, bytes, error);
    if (status) return status;
    mark before = set_mark(tx);
    for (size_t at = 0; at < bytes && !status;) {
        aul_change change;
        size_t used = 0;
        status = aul_change_parse(page_size, changes + at, bytes - at, &change, &used, error);
        if (status && error) error->offset = at;
        if (!status)
            status = change.kind == AUL_PUT ? put(tx, change.page, change.data, error)
                                            : add_change(tx, &change, error);
        at += used;
    }
    if (!status) status = check_limits(tx, 0, 0, error);
    if (status) go_back(tx, &before);
    return status;
}

/* Beginning and ending */

int aul_check_writable(aul_store *store, aul_error *error) {
    if (store->read_only)
        return aul_fail(error, AUL_READ_ONLY, "the volume is open read-only: open it for writing");
    pthread_mutex_lock(&store->log.lock);
    int failed = store->log.failed ? store->log.failed_errno : 0;
    pthread_mutex_unlock(&store->log.lock);
    if (!failed) return AUL_OK;
    aul_fail_os(error, failed, "an earlier write or sync of the log", store->log_path);
    if (error) error->code = AUL_FAILED;
    return AUL_FAILED;
}

int aul_check(aul_store *store, int for_writing, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    if (for_writing) status = aul_check_writable(store, error);
    aul_store_leave(store);
    return status;
}

static int conflict(aul_error *error) {
    return aul_fail(error, AUL_CONFLICT,
                    "the volume was rewound since the transaction began; nothing of it was "
                    "committed: begin again");
}

/* `run`: the one that the changes were made for, or NULL. */
static int begin(aul_store *store, const u64 *run, u32 wait_ms, aul_tx *tx, aul_error *error) {
    aul_log *log = &store->log;
    u64 me;
    int status = aul_check_writable(store, error);
    if (!status) status = aul_log_claim_writer(store, wait_ms, false, &me, error);
    if (status) return status;
    /* The log may have failed while we waited: what is newest is not known then. */
    if (!AUL_SEEDED(BEGUN_ON_FAILED)) status = aul_check_writable(store, error);
    if (!status && run && *run != atomic_load(&store->past.newest_run) && !AUL_SEEDED(RUN_UNASKED))
        status = conflict(error);
    if (status) {
        aul_log_release_writer(store);
        return status;
    }
    memset(tx, 0, sizeof *tx);
    atomic_flag_clear(&tx->in_call);
    tx->store = store;
    tx->open = true;
    tx->me = me;
    tx->path = store->past.newest; /* which changes only under the writer's place */
    tx->path.lsn = log->last_commit;
    tx->first_lsn = tx->next_lsn = tx->indexed_lsn = log->next_lsn;
    tx->end_pages = log->end_pages;
    /* The session's first batch comes from a fresh epoch, whose first LSN is known already. */
    return AUL_OK;
}

/* Frees what the transaction has of its own. */
static void drop(aul_tx *tx) {
    tx->open = false;
    aul_part_free(tx->own);
    aul_release(tx->store->disk, tx->scratch);
    tx->own = NULL;
    tx->scratch = NULL;
}

/* Gives up the writer's place and the buffers that are more than enough. */
static void end(aul_tx *tx) {
    aul_store *store = tx->store;
    if (!tx->open) return;
    drop(tx);
    /* Beyond the frames in use, too: a refused change may have needed more. */
    for (size_t i = KEEP_FRAMES; i < store->tx_frame_capacity && store->tx_frames[i].memory; i++) {
        aul_release(store->disk, store->tx_frames[i].memory);
        store->tx_frames[i].memory = NULL;
    }
    aul_log_release_writer(store);
}

/* Logs what the transaction has. After AUL_OK the writer's place is given up and outcome->lsn is
 * set. */
static int log_changes(aul_tx *tx, const aul_commit_options *options, aul_outcome *outcome,
                       aul_error *error) {
    aul_store *store = tx->store;
    aul_log_batch batch = {.frames = store->tx_frames,
                           .frame_count = tx->frame_count,
                           .kind = AUL_BATCH_PAGES,
                           .note_bytes = options->note_bytes,
                           .note = options->note,
                           .first_lsn = tx->first_lsn,
                           .last_lsn = tx->next_lsn - 1,
                           .previous_lsn = store->log.last_commit,
                           .end_pages = tx->end_pages,
                           .time_ns = options->time_ns,
                           .entries = tx->entries,
                           .truncates = tx->truncates};
    int status = aul_log_append(store, &batch, error);
    if (status == AUL_OK || status == AUL_UNKNOWN) {
        outcome->lsn = batch.last_lsn;
        outcome->logged = 1;
        end(tx);
    }
    return status;
}

int aul_wait_for(aul_store *store, u64 lsn, u32 durability, u32 wait_ms, aul_outcome *outcome,
                 aul_error *error) {
    if (durability == AUL_DURABILITY_LOGGED) return AUL_PENDING;
    int status = durability == AUL_DURABILITY_OS ? aul_log_wait_written(store, lsn, error)
                                                 : aul_log_wait_durable(store, lsn, wait_ms, error);
    if (outcome && status == AUL_OK) outcome->durable = atomic_load(&store->log.durable) >= lsn;
    return status;
}

int aul_check_note(const aul_commit_options *options, aul_error *error) {
    if (options->note_bytes <= AUL_NOTE_MAX) return AUL_OK;
    return aul_fail(error, AUL_INPUT, "a note has at most %u bytes, not %u", AUL_NOTE_MAX,
                    options->note_bytes);
}

static int commit(aul_tx *tx, const aul_commit_options *options, u32 wait_ms, aul_outcome *outcome,
                  aul_error *error) {
    aul_store *store = tx->store;
    int status = aul_check_note(options, error);
    if (status) return status;
    if (tx->next_lsn == tx->first_lsn) {
        /* Nothing written: what it read has to be visible before it may be acted on. */
        u64 seen = tx->has_read ? tx->path.lsn : 0;
        end(tx);
        if (seen <= atomic_load(&store->log.visible) || AUL_SEEDED(READ_UNCONFIRMED)) return AUL_OK;
        status = aul_wait_for(store, seen, options->durability, wait_ms, NULL, error);
        if (status == AUL_PENDING) outcome->lsn = seen; /* to wait for; logged stays 0 */
        return status;
    }
    status = log_changes(tx, options, outcome, error);
    return status ? status
                  : aul_wait_for(store, outcome->lsn, options->durability, wait_ms, outcome, error);
}

int aul_tx_begin(aul_store *store, const uint64_t *run, uint32_t wait_ms, aul_tx **out,
                 aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    aul_tx *tx = aul_alloc(store->disk, sizeof *tx);
    if (!tx)
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for a transaction");
    else
        status = begin(store, run, wait_ms, tx, error);
    if (!status) {
        aul_log_writer_rests(store, tx->me);
        aul_store_ref(store);
        *out = tx;
    } else {
        aul_release(store->disk, tx);
    }
    aul_store_leave(store);
    return status;
}

static void leave(aul_tx *tx) {
    aul_store *store = tx->store;
    if (tx->open) aul_log_writer_rests(store, tx->me);
    atomic_flag_clear_explicit(&tx->in_call, memory_order_release);
    aul_store_leave(store);
}

static int enter(aul_tx *tx, aul_error *error) {
    int status = aul_store_enter(tx->store, error);
    if (status) return status;
    if (atomic_flag_test_and_set_explicit(&tx->in_call, memory_order_acquire)) {
        aul_store_leave(tx->store);
        return aul_fail(error, AUL_IN_USE, "another thread is in a call of this transaction");
    }
    if (tx->open && aul_log_writer_calls(tx->store, tx->me)) return AUL_OK;
    if (tx->open) { /* another has the writer's place: only a rewind takes it */
        tx->conflicts = true;
        drop(tx);
    }
    bool conflicts = tx->conflicts;
    leave(tx);
    return conflicts ? conflict(error) : aul_fail(error, AUL_IN_USE, "the transaction is over");
}

void aul_tx_free(aul_tx *tx) {
    if (!tx) return;
    aul_store *store = tx->store;
    if (store->fork_generation != aul_fork_generation()) return;
    if (tx->open && enter(tx, NULL) == AUL_OK) {
        end(tx);
        aul_store_leave(store);
    }
    /* On a closed store the buffers and the writer's place went with it. */
    drop(tx);
    aul_release(store->disk, tx);
    aul_store_unref(store);
}

int aul_tx_apply(aul_tx *tx, const uint8_t *changes, size_t bytes, aul_error *error) {
    int status = enter(tx, error);
    if (status) return status;
    status = apply(tx, changes, bytes, error);
    leave(tx);
    return status;
}

int aul_tx_commit(aul_tx *tx, const aul_commit_options *options, uint32_t wait_ms,
                  aul_outcome *outcome, aul_error *error) {
    int status = enter(tx, error);
    if (status) return status;
    status = commit(tx, options, wait_ms, outcome, error);
    leave(tx);
    return status;
}

int aul_commit_changes(aul_store *store, const uint8_t *changes, size_t bytes,
                       const aul_commit_options *options, uint32_t wait_ms, aul_outcome *outcome,
                       aul_error *error) {
    aul_tx tx;
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = begin(store, options->run, wait_ms, &tx, error);
    if (!status) {
        status = apply(&tx, changes, bytes, error);
        if (!status) status = commit(&tx, options, wait_ms, outcome, error);
        end(&tx);
    }
    aul_store_leave(store);
    return status;
}

int aul_log_commits(aul_store *store, const uint8_t *changes, const uint64_t *bytes, size_t count,
                    const aul_commit_options *options, uint64_t *lsns, aul_error *error) {
    aul_commit_options logged = *options;
    logged.durability = AUL_DURABILITY_LOGGED;
    int status = AUL_OK;
    for (size_t i = 0; i < count && !status; i++) {
        aul_outcome outcome = {0};
        status = aul_commit_changes(store, changes, bytes[i], &logged, 0, &outcome, error);
        if (outcome.logged) {
            lsns[i] = outcome.lsn;
            status = AUL_OK; /* whoever waits for it is told what came of it */
        }
        changes += bytes[i];
    }
    return status;
}

/* Whether there is nothing to wait for: both marks stand at ends of commits. */
static bool is_safe(aul_store *store, u64 lsn, u32 durability) {
    const aul_log *log = &store->log;
    return lsn <= atomic_load(durability == AUL_DURABILITY_OS ? &log->visible : &log->durable);
}

int aul_wait(aul_store *store, uint64_t lsn, uint32_t durability, uint32_t wait_ms,
             aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    pthread_mutex_lock(&store->log.lock);
    u64 logged = store->log.logged;
    pthread_mutex_unlock(&store->log.lock);
    aul_commit commit = {.lsn = lsn};
    if (lsn > logged)
        status = aul_fail(error, AUL_INPUT, "LSN %llu is not logged, the last one is %llu",
                          (unsigned long long)lsn, (unsigned long long)logged);
    else if (!is_safe(store, lsn, durability)) {
        /* Of the commit that it belongs to: nothing becomes visible in part. What is not durable
         * is indexed in memory. Once it is, its segment may be sealed, and to look there could
         * fail: that would be told as a failure of a commit that is safe. */
        status = aul_page_index_commit_of(&store->index, lsn, &commit, NULL, error);
        if (status && is_safe(store, lsn, durability)) status = AUL_OK;
    }
    if (!status) status = aul_wait_for(store, commit.lsn, durability, wait_ms, NULL, error);
    aul_store_leave(store);
    return status;
}

int aul_sync(aul_store *store, uint32_t wait_ms, uint64_t *lsn, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    pthread_mutex_lock(&store->log.lock);
    u64 logged = store->log.logged;
    pthread_mutex_unlock(&store->log.lock);
    status = aul_log_wait_durable(store, logged, wait_ms, error);
    *lsn = atomic_load(&store->log.durable);
    aul_store_leave(store);
    return status;
}

/* Reading under a transaction */

/* Brings the index of own changes up to date. */
static int index_own(aul_tx *tx, aul_error *error) {
    aul_store *store = tx->store;
    if (tx->indexed_lsn == tx->next_lsn) return AUL_OK;
    if (!tx->own && !(tx->own = aul_part_new(store->disk)))
        return aul_fail(error, AUL_NO_MEMORY, "no memory for the transaction");
    if (aul_part_reserve(tx->own, tx->next_lsn - tx->indexed_lsn, tx->next_lsn - tx->indexed_lsn,
                         0))
        return aul_fail(error, AUL_NO_MEMORY, "no memory for the transaction");
    while (tx->indexed_lsn < tx->next_lsn) {
        const aul_frame_buffer *frame = &store->tx_frames[tx->indexed_frame];
        if (tx->indexed_bytes == frame->records_bytes) {
            tx->indexed_frame++;
            tx->indexed_bytes = 0;
            continue;
        }
        aul_change change;
        u32 at = tx->indexed_bytes;
        int status = aul_record_parse(frame->memory + frame->records_start + at,
                                      frame->records_bytes - at, store->page_size, &change);
        AUL_MUST(status == AUL_OK, error);
        if (change.kind == AUL_TRUNCATE)
            aul_part_add_truncate(tx->own, tx->indexed_lsn, change.page);
        else
            aul_part_add(tx->own, change.page,
                         aul_change_is_whole(&change, store->page_size) ? AUL_ENTRY_WHOLE : 0,
                         tx->indexed_lsn, (u32)tx->indexed_frame, at);
        tx->indexed_bytes += aul_record_bytes(&change);
        tx->indexed_lsn++;
    }
    return AUL_OK;
}

/* LSN of the transaction's last truncate that empties the page, or 0. */
static u64 own_truncate(const aul_tx *tx, u64 page) {
    for (size_t i = tx->own->truncate_count; i-- > 0;)
        if (tx->own->truncates[i].pages <= page) return tx->own->truncates[i].lsn;
    return 0;
}

static void redo_own(aul_tx *tx, const aul_entry *entry, u8 *out) {
    const aul_frame_buffer *frame = &tx->store->tx_frames[entry->offset];
    aul_change change;
    if (aul_record_parse(frame->memory + frame->records_start + entry->bytes,
                         frame->records_bytes - entry->bytes, tx->store->page_size,
                         &change) == AUL_OK)
        aul_record_redo(out, tx->store->page_size, &change);
}

static int read_page(aul_tx *tx, u64 page, u8 *out, aul_error *error) {
    aul_store *store = tx->store;
    tx->has_read = true;
    int status = index_own(tx, error);
    if (status) return status;
    u64 floor = tx->own ? own_truncate(tx, page) : 0;
    u32 newest = tx->own ? aul_part_newest(tx->own, page) : AUL_NONE;
    /* Own records, newest first, down to the one that needs no older. */
    size_t count = 0, capacity = 0;
    u32 *chain = NULL;
    bool whole = floor != 0;
    for (u32 at = newest; at != AUL_NONE && tx->own->entries[at].lsn > floor;
         at = tx->own->older[at]) {
        if (aul_grow(store->disk, (void **)&chain, &capacity, count + 1, sizeof *chain)) {
            aul_release(store->disk, chain);
            return aul_fail(error, AUL_NO_MEMORY, "no memory to read page %llu",
                            (unsigned long long)page);
        }
        chain[count++] = at;
        if (tx->own->entries[at].page_flags & AUL_ENTRY_WHOLE) {
            whole = true;
            break;
        }
    }
    if (whole)
        memset(out, 0, store->page_size);
    else
        status = aul_read_page(store, &tx->path, page, out, error);
    while (!status && count > 0) redo_own(tx, &tx->own->entries[chain[--count]], out);
    aul_release(store->disk, chain);
    return status;
}

static int check_page(aul_tx *tx, u64 page, aul_error *error) {
    if (page < tx->store->pages_max) return AUL_OK;
    return aul_fail(error, AUL_INPUT, "page %llu is outside the volume, whose pages are 0 to %llu",
                    (unsigned long long)page, (unsigned long long)tx->store->pages_max - 1);
}

int aul_tx_read(aul_tx *tx, uint64_t page, uint8_t *out, aul_error *error) {
    int status = enter(tx, error);
    if (status) return status;
    status = check_page(tx, page, error);
    if (!status) status = read_page(tx, page, out, error);
    leave(tx);
    return status;
}

static const u8 zero_page[AUL_PAGE_SIZE_MAX];

static int put(aul_tx *tx, u64 page, const u8 *image, aul_error *error) {
    aul_store *store = tx->store;
    aul_change changes[AUL_DIFF_CHANGES_MAX];
    int status = check_page(tx, page, error);
    if (status) return status;
    if (!tx->scratch && !(tx->scratch = aul_alloc(store->disk, store->page_size)))
        return aul_fail(error, AUL_NO_MEMORY, "no memory for the transaction");
    bool beyond = page >= tx->end_pages; /* of page space: everything is zeros there */
    if (!beyond) status = read_page(tx, page, tx->scratch, error);
    if (status) return status;
    size_t count =
        aul_page_changes(store->page_size, page, beyond ? zero_page : tx->scratch, image, changes);
    /* An unchanged page beyond the end still moves the end of page space. */
    if (count == 0 && beyond)
        changes[count++] = (aul_change){.kind = AUL_FILL, .page = page, .length = store->page_size};
    u64 bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += aul_record_bytes(&changes[i]);
    status = check_limits(tx, count, bytes, error);
    mark before = set_mark(tx);
    for (size_t i = 0; i < count && !status; i++) status = add_change(tx, &changes[i], error);
    if (status) go_back(tx, &before);
    return status;
}

int aul_tx_put(aul_tx *tx, uint64_t page, const uint8_t *image, aul_error *error) {
    int status = enter(tx, error);
    if (status) return status;
    status = put(tx, page, image, error);
    leave(tx);
    return status;
}

int aul_tx_end_pages(aul_tx *tx, uint64_t *pages, aul_error *error) {
    int status = enter(tx, error);
    if (status) return status;
    tx->has_read = true;
    *pages = tx->end_pages;
    leave(tx);
    return status;
}
