/* aurolog.h: the C API of the engine, and its manual.
 *
 * A store is one volume, opened. Its log is the database: a transaction appends redo records,
 * pages are materialised from them when somebody reads. docs/architecture.md shows how the parts
 * work together, docs/format.md the bytes.
 *
 * Conventions
 *  1. A call returns a status, AUL_OK or one of the codes below, and gives results through
 *  pointers. Detail of a failure
 *     is written to the caller's aul_error, which may be NULL.
 *  2. Memory that a call hands out belongs to the store and ends with the matching close, free
 *  or release; memory that the
 *     caller passes in is not kept after the call.
 *  3. Every call on one store may be made from any thread, a cursor, diff or verification from one
 *  thread at a time.
 *     A transaction belongs to no thread, but is in one call at a time: another is refused with
 *     AUL_IN_USE. aul_tx_free is for after the last.
 *  4. Stores, transactions, views, pins, cursors, diffs and verifications each hold a reference on
 *  what they need, so they may be
 *     freed in any order. After aul_close every call says AUL_CLOSED, in a forked child AUL_FORKED.
 *  5. Calls that may wait for another thread take wait_ms and come back with AUL_BUSY or
 *  AUL_PENDING, so that the caller can
 *     look after its signals and call again.
 *
 * The block between the two marker comments is what cffi parses: plain declarations, constants
 * as bare numbers. */
#ifndef AUROLOG_H
#define AUROLOG_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */

#define AUL_OK 0
#define AUL_END 1        /* a cursor, a diff or a verification has nothing more */
#define AUL_BUSY 2       /* another transaction has the writer's place: call again */
#define AUL_PENDING 3    /* logged, not yet durable: wait with aul_wait */
#define AUL_INPUT 10     /* an argument is wrong */
#define AUL_LSN 11       /* no view can have this LSN */
#define AUL_TOO_LARGE 12 /* the transaction would exceed a limit; the call kept nothing */
#define AUL_CACHE_FULL 13
#define AUL_CLOSED 14
#define AUL_FORKED 15
#define AUL_READ_ONLY 16
#define AUL_LOCKED 17 /* another process or handle writes: aul_error has pid, host, since */
#define AUL_NOT_A_VOLUME 18
#define AUL_FORMAT 19 /* a newer format, or a required feature this build does not know */
#define AUL_ACCESS 20
#define AUL_DISK_FULL 21 /* not committed, not final */
#define AUL_IO 22        /* the disk failed */
#define AUL_FAILED 23    /* the disk failed earlier: not committed, reopen to write */
#define AUL_UNKNOWN 24   /* logged, and the disk failed before it was known durable */
#define AUL_CORRUPT 25
#define AUL_NO_MEMORY 26
#define AUL_BUG 27
#define AUL_CONFLICT 28 /* a rewind came between: the transaction is over, nothing was logged */
#define AUL_NAME 29     /* a restore point has the name already, or none has it */
#define AUL_IN_USE 30   /* another thread is in a call of this transaction, or has ended it */

#define AUL_WRITE 1
#define AUL_MOVE 2
#define AUL_FILL 3
#define AUL_IMAGE 4
#define AUL_TRUNCATE 5
#define AUL_PUT 6 /* a change, never a record: an image of which the difference is logged */
#define AUL_BRANCH_POINT 16
#define AUL_RESTORE_POINT 17
#define AUL_DELETE_RESTORE_POINT 18
#define AUL_CLEAN_CLOSE 19

#define AUL_BRANCH_REWIND 1
#define AUL_BRANCH_CUT 2

#define AUL_NEWEST 0xffffffffffffffff /* in the place of an LSN */

#define AUL_BATCH_PAGES 1
#define AUL_BATCH_CONTROL 2

#define AUL_DURABILITY_SYNC 0
#define AUL_DURABILITY_OS 1
#define AUL_DURABILITY_LOGGED 2 /* of a commit: AUL_PENDING at once, the caller waits later */

typedef struct aul_store aul_store;
typedef struct aul_tx aul_tx;
typedef struct aul_view aul_view;
typedef struct aul_pin aul_pin;
typedef struct aul_cursor aul_cursor;
typedef struct aul_diff aul_diff;
typedef struct aul_verification aul_verification;

typedef struct {
    int32_t code;
    int32_t os_errno;
    uint64_t lsn;      /* the LSN concerned, or 0 */
    uint64_t limit;    /* the bound that was passed: the visible LSN, the page size, ... */
    uint64_t offset;   /* in `file` */
    uint64_t pid;      /* AUL_LOCKED */
    uint64_t since_ns; /* AUL_LOCKED */
    char host[64];     /* AUL_LOCKED */
    char file[256];
    char text[384];
} aul_error;

typedef struct {
    uint32_t page_size; /* 0: 4,096 when created, as it is when it exists */
    uint32_t create;
    uint32_t read_only;
    uint32_t reserved;
    uint64_t cache_bytes;
    uint64_t retention_ns; /* 0: 24 h when created, as it is when it exists */
} aul_options;

typedef struct {
    uint8_t volume_id[16];
    uint32_t page_size;
    uint32_t read_only;
    uint64_t epoch; /* of the last writable open that appended */
    uint64_t retention_ns;
    uint64_t pages_max;
    /* what opening found */
    uint32_t was_clean;
    uint32_t reserved;
    uint64_t last_lsn; /* of the last commit found and kept */
    uint64_t cut_lsn;  /* where the torn tail began; 0: nothing was cut */
    uint64_t cut_bytes;
    uint64_t resecured_records;
    uint64_t scanned_bytes;
    uint64_t open_ns;
} aul_store_info;

typedef struct {
    uint64_t commits, records, log_bytes, segments, sealed_segments;
    uint64_t cached_pages, cache_capacity_pages, pinned_pages, cache_hits, cache_misses;
    uint64_t disk_reads, disk_read_bytes, disk_writes, disk_write_bytes, disk_syncs, dir_syncs;
    uint64_t unsynced_bytes;
} aul_stats;

typedef struct {
    uint32_t durability;
    uint32_t note_bytes; /* at most 255 */
    const uint8_t *note;
    uint64_t time_ns;    /* 0: the system's clock */
    const uint64_t *run; /* that the changes were made for: AUL_CONFLICT in another; NULL: any */
} aul_commit_options;

typedef struct {
    uint64_t lsn;    /* the commit LSN once logged, else 0 */
    uint32_t logged; /* 1: in the log, whatever comes after */
    uint32_t durable;
} aul_outcome;

typedef struct {
    uint64_t lsn, time_ns, end_pages;
} aul_commit_info;

typedef struct {
    uint64_t lsn; /* of the branch point; 0: none was needed, or it was a dry run */
    uint64_t from_lsn, to_lsn, to_time_ns;
    uint64_t commits;  /* left behind */
    uint64_t regained; /* left behind before, and now on the path again */
    uint64_t pages;    /* changed by any of these; of a dry run */
} aul_rewind_info;

typedef struct {
    uint64_t lsn;        /* the run's first, its branch point's; 0 for the first run */
    uint64_t parent_lsn; /* whose past it goes on from */
    uint64_t epoch, time_ns, commits;
    uint64_t last_lsn, last_time_ns; /* of its last commit; 0 when it has none */
    uint32_t kind;                   /* AUL_BRANCH_REWIND, AUL_BRANCH_CUT; 0 for the first run */
    uint32_t current;                /* the path of now leads through it */
    char reason[32];
} aul_run_info;

typedef struct {
    uint64_t lsn, time_ns; /* of the commit that it names */
    uint64_t made_lsn, made_ns;
    uint32_t name_bytes, reserved;
    char name[256];
} aul_restore_point_info;

typedef struct {
    uint64_t first_lsn, lsn, time_ns, epoch, end_pages, bytes, records;
    uint32_t kind, note_bytes;
    uint8_t note[256];
} aul_batch_info;

typedef struct {
    uint64_t lsn, page;
    uint32_t kind, offset, length, source, byte, data_bytes;
    const uint8_t *data; /* until the cursor's next call */
} aul_record_info;

typedef struct {
    uint64_t segments, bytes, frames, batches, records, index_entries, problems;
    uint64_t total_bytes;
} aul_verify_report;

/* Opening and closing */

/* Opens the volume in directory `path`. On success *out is a store that aul_free releases. */
int aul_open(const char *path, const aul_options *options, aul_store **out, aul_error *error);
/* Waits for calls in flight, makes everything durable, marks the clean close. Idempotent. The
 * store is closed whatever the status. */
int aul_close(aul_store *store, aul_error *error);
/* Gives up the caller's reference, after the last call has returned. A store still open is closed
 * without the clean mark; what was committed with durability "os" is synced. */
void aul_free(aul_store *store);
/* AUL_OK when calls can be made, with for_writing also when transactions can begin. */
int aul_check(aul_store *store, int for_writing, aul_error *error);
void aul_store_describe(aul_store *store, aul_store_info *out);
int aul_store_stats(aul_store *store, aul_stats *out, aul_error *error);
uint64_t aul_durable_lsn(aul_store *store);
uint64_t aul_visible_lsn(aul_store *store);

/* Reading: view NULL means the visible LSN at the call */

int aul_read(aul_store *store, const aul_view *view, uint64_t page, uint8_t *out, aul_error *error);
/* The same of pages that are all cached; else AUL_END, or why not, and `out` is undefined. It asks
 * the system for nothing, unless segments were sealed since a page was last read. */
int aul_read_cached(aul_store *store, const aul_view *view, const uint64_t *pages, size_t count,
                    uint8_t *out, aul_error *error);
int aul_read_many(aul_store *store, const aul_view *view, const uint64_t *pages, size_t count,
                  uint8_t *out, aul_error *error);
/* Pins a cached page: *data stays valid and unchanged until aul_pin_release, even beyond the
 * store's end. */
int aul_pin_page(aul_store *store, const aul_view *view, uint64_t page, const uint8_t **data,
                 aul_pin **out, aul_error *error);
void aul_pin_release(aul_pin *pin);
int aul_end_pages(aul_store *store, uint64_t *pages, aul_error *error);
/* The volume as of the last commit at or below lsn on its path. */
int aul_view_open(aul_store *store, uint64_t lsn, aul_view **out, aul_error *error);
void aul_view_describe(const aul_view *view, aul_commit_info *out);
void aul_view_close(aul_view *view);
/* Commits that changed the page, newest first, in `out` (at most `capacity`); *count is how many
 * there are. */
int aul_versions(aul_store *store, const aul_view *view, uint64_t page, aul_commit_info *out,
                 size_t capacity, size_t *count, aul_error *error);

/* The last commit, in the order of the log, that was made at or before the time: what a reader saw
 * at that moment, on whatever path it is now. Not above the visible LSN, nor in a range that
 * recovery cut. found->lsn 0: none; *first is the volume's first commit, LSN 0: none. */
int aul_lsn_at(aul_store *store, uint64_t time_ns, aul_commit_info *found, aul_commit_info *first,
               aul_error *error);

/* Which pages differ between two views; b NULL means the visible LSN at the call. A page is told
 * that a commit between them changed, or emptied by a truncate: on the way from a to b, or on the
 * way back where their paths part. So every page whose bytes differ is told, and so may be one that
 * was changed and changed back. The views may be closed meanwhile. */
int aul_diff_open(aul_store *store, const aul_view *a, const aul_view *b, aul_diff **out,
                  aul_error *error);
/* The next pages, ascending, each once; at most `capacity`. *count is how many. AUL_END when there
 * are no more. Of a failure it may be asked again: nothing is left out. */
int aul_diff_next(aul_diff *diff, uint64_t *pages, size_t capacity, size_t *count,
                  aul_error *error);
void aul_diff_close(aul_diff *diff);

/* Writing */

/* Checks a packed buffer of changes (docs/api.md) against a page size. Needs no store. Bit k of
 * *kinds, unless NULL: there are changes of kind k. */
int aul_changes_check(uint32_t page_size, const uint8_t *changes, size_t bytes, uint32_t *kinds,
                      aul_error *error);
/* Takes the writer's place, waiting up to wait_ms for it (AUL_BUSY). `run` is NULL, or the run that
 * what follows was made for (AUL_CONFLICT in another). A rewind takes the place away: every later
 * call says AUL_CONFLICT. */
int aul_tx_begin(aul_store *store, const uint64_t *run, uint32_t wait_ms, aul_tx **out,
                 aul_error *error);
/* All changes of the buffer, or none. */
int aul_tx_apply(aul_tx *tx, const uint8_t *changes, size_t bytes, aul_error *error);
/* A whole page: logs the difference when that is smaller. */
int aul_tx_put(aul_tx *tx, uint64_t page, const uint8_t *image, aul_error *error);
/* The newest committed state under the transaction's own changes. */
int aul_tx_read(aul_tx *tx, uint64_t page, uint8_t *out, aul_error *error);
int aul_tx_end_pages(aul_tx *tx, uint64_t *pages, aul_error *error);
/* Logs the batch, frees the writer's place, waits up to wait_ms for its durability
 * (AUL_PENDING). The transaction is over unless the status says that nothing was logged; then it
 * may be committed again or freed. */
int aul_tx_commit(aul_tx *tx, const aul_commit_options *options, uint32_t wait_ms,
                  aul_outcome *outcome, aul_error *error);
/* Rolls back what was not committed. */
void aul_tx_free(aul_tx *tx);
/* Begin, apply and commit in one crossing. */
int aul_commit_changes(aul_store *store, const uint8_t *changes, size_t bytes,
                       const aul_commit_options *options, uint32_t wait_ms, aul_outcome *outcome,
                       aul_error *error);
/* Logs commits that have the same note and time: bytes[i] of `changes` each, one behind the other.
 * Waits for nothing and stops at the first that cannot be logged, with why, or AUL_BUSY. lsns[i],
 * which is 0 before, is the LSN of each as soon as it is logged. */
int aul_log_commits(aul_store *store, const uint8_t *changes, const uint64_t *bytes, size_t count,
                    const aul_commit_options *options, uint64_t *lsns, aul_error *error);
/* Waits until the commit that lsn belongs to is durable (AUL_DURABILITY_SYNC) or visible. */
int aul_wait(aul_store *store, uint64_t lsn, uint32_t durability, uint32_t wait_ms,
             aul_error *error);
/* Makes everything logged so far durable; *lsn is the durable LSN. */
int aul_sync(aul_store *store, uint32_t wait_ms, uint64_t *lsn, aul_error *error);

/* Going to another moment */

/* The volume goes on from the last commit at or below lsn on its path, by one branch point in the
 * log. The cost is one sync, whatever lies between. Where that is the newest commit nothing is
 * logged. A dry run only tells. Waits up to wait_ms for the writer's place (AUL_BUSY), which it
 * takes from a transaction between two of its calls, and as long for its sync (AUL_PENDING: wait
 * for outcome->lsn with aul_wait). */
int aul_backtrack(aul_store *store, uint64_t lsn, uint32_t dry_run,
                  const aul_commit_options *options, uint32_t wait_ms, aul_rewind_info *out,
                  aul_outcome *outcome, aul_error *error);
/* The newest run, which may not be visible yet. */
uint64_t aul_newest_run(aul_store *store);
/* The runs as far as they are visible, oldest first, in `out` (at most `capacity`); *count is how
 * many there are. */
int aul_runs(aul_store *store, aul_run_info *out, size_t capacity, size_t *count, aul_error *error);
/* Names the last commit at or below lsn on its path, or AUL_NEWEST. Waits as aul_backtrack does. */
int aul_restore_point_make(aul_store *store, const char *name, size_t bytes, uint64_t lsn,
                           const aul_commit_options *options, uint32_t wait_ms,
                           aul_restore_point_info *out, aul_outcome *outcome, aul_error *error);
int aul_restore_point_delete(aul_store *store, const char *name, size_t bytes,
                             const aul_commit_options *options, uint32_t wait_ms,
                             aul_outcome *outcome, aul_error *error);
/* The one of that name as of the visible LSN; AUL_NAME when there is none. */
int aul_restore_point_find(aul_store *store, const char *name, size_t bytes,
                           aul_restore_point_info *out, aul_error *error);
/* Those that there are as of the visible LSN, in the order in which they were made. */
int aul_restore_points(aul_store *store, aul_restore_point_info *out, size_t capacity,
                       size_t *count, aul_error *error);

/* Looking at the log */

int aul_cursor_open(aul_store *store, uint64_t first, uint64_t last, aul_cursor **out,
                    aul_error *error);
int aul_cursor_batch(aul_cursor *cursor, aul_batch_info *out, aul_error *error);
int aul_cursor_record(aul_cursor *cursor, aul_record_info *out, aul_error *error);
/* The pages that the batch changed which aul_cursor_batch gave last, ascending, each once; of a
 * truncate those that it emptied. *count is how many; at most `capacity` are copied, the rest is
 * had by asking again. The batch's records are read for it: aul_cursor_record gives no more of
 * them. */
int aul_cursor_pages(aul_cursor *cursor, uint64_t *out, size_t capacity, size_t *count,
                     aul_error *error);
void aul_cursor_close(aul_cursor *cursor);

/* A cursor over the durable batches behind the LSN `after`, those to come too: AUL_END means that
 * there is no more for now. AUL_LSN when `after` is above the visible LSN. */
int aul_cursor_follow(aul_store *store, uint64_t after, aul_cursor **out, aul_error *error);

/* Following */

/* A store that is open read-only moves on to the newest durable LSN that the writer, living or not,
 * has told. AUL_BUSY after wait_ms: it has come closer, call again. A writer's store is always
 * there. *lsn is the durable LSN. */
int aul_refresh(aul_store *store, uint32_t wait_ms, uint64_t *lsn, aul_error *error);
/* Waits until the durable LSN is above `after`; a store that is open read-only moves on meanwhile.
 * AUL_PENDING: not within wait_ms, or aul_follow_wake was called. */
int aul_follow_wait(aul_store *store, uint64_t after, uint32_t wait_ms, uint64_t *lsn,
                    aul_error *error);
/* Has everybody who waits in aul_follow_wait come back. */
void aul_follow_wake(aul_store *store);

/* Verifying: one segment a step; AUL_END when all are done. Damage is counted in the report and
 * told one problem at a time. */
int aul_verify_open(aul_store *store, aul_verification **out, aul_error *error);
int aul_verify_step(aul_verification *verification, aul_verify_report *report, aul_error *error);
/* The next problem found by the last step, AUL_END when there is none. */
int aul_verify_problem(aul_verification *verification, aul_error *problem);
void aul_verify_close(aul_verification *verification);

/* CRC32C (Castagnoli) continued from `crc`; 0 begins. */
uint32_t aul_crc32c(uint32_t crc, const uint8_t *data, size_t bytes);

/* cffi: end */

#endif
