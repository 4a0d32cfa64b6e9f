/* store.h: one open volume, as its modules see it. The public face is aurolog.h.
 *
 *   store.c     opening, closing, the life of the handle        recovery.c   what opening finds,
 *   and mends
 *   log.c       the writer's place, group commit                keeper.c     the background thread
 *   log_segment.c, log_append.c, log_control.c   segments to append to, logging a batch
 *   tx.c        transactions                                    read.c       pages and views
 *   rewind.c    runs, and going from one to another             restore_point.c   names for LSNs
 *   cursor.c    looking at the log                              verify.c     checking every byte
 *   delta.c     what lies between two moments
 *   follow.c    moving on behind a writer, waiting for commits
 *
 * Locks, in the order in which they may be taken while another is held:
 *   follow.lock     a read-only store moves on
 *   the writer's place (log.writer), a baton that a transaction holds from its first look at the
 *   newest state until it is logged log.lock        what is logged, written and durable
 *   index.lock      see page_index.h a cache shard's lock, the file table's lock
 *   history.lock    branch points, names, the newest paths; nothing is locked under it */
#ifndef AUL_STORE_H
#define AUL_STORE_H

#include "fork.h"
#include "manifest.h"
#include "page_cache.h"
#include "page_index.h"
#include "record.h"

#define AUL_PATH_BYTES 4096

/* A frame under construction: `space` begins where the frame's header may go at the earliest. */
typedef struct {
    u8 *memory;
    u32 records_start; /* where the first record stands in `memory` */
    u32 records_bytes;
    u32 records;
    u64 first_lsn;
} aul_frame_buffer;

/* Room in front of the records: the frame's header and, in a batch's first frame, the batch's
 * header with the longest note. */
#define AUL_FRAME_ROOM (AUL_FRAME_HEADER + AUL_BATCH_HEADER + 256u)
#define AUL_FRAME_BUFFER_BYTES (AUL_FRAME_ROOM + AUL_FRAME_PAYLOAD_MAX + AUL_FRAME_ALIGN)

/* A batch ready to be logged. */
typedef struct {
    aul_frame_buffer *frames;
    size_t frame_count;
    u32 kind, note_bytes;
    const u8 *note;
    u64 first_lsn, last_lsn, end_pages, time_ns; /* time 0: now */
    u64 previous_lsn;                            /* the commit before it on its path */
    u64 entries, truncates;
} aul_log_batch;

/* A control batch: its record, and what the volume is after it. */
typedef struct {
    u32 kind, data_bytes, note_bytes;
    const u8 *data, *note;
    u64 previous_lsn, end_pages, time_ns; /* time 0: now */
} aul_control;

/* One thread that waits until its commit is durable; it lives on that thread's stack. */
typedef struct aul_log_waiter aul_log_waiter;
struct aul_log_waiter {
    u64 lsn;
    pthread_cond_t wake;
    bool awake; /* its commit is durable, and it has been told */
    aul_log_waiter *before, *after;
};

typedef struct {
    /* The writer's place: 0 while nobody has it, else the number of who has it, with
     * AUL_WRITER_CALLS while a call of its is under way. Only in between can it be taken away. */
    _Atomic u64 writer, writers;
    _Atomic u32 writer_waiters, takers; /* those who would take it away, too */
    pthread_cond_t writer_free;

    /* Belongs to whoever has the writer's place. */
    u64 next_lsn;
    u64 last_commit, last_time_ns, end_pages; /* the newest committed state */
    aul_segment *active;
    u8 last_id[AUL_ID_BYTES]; /* file id of the last segment of the log */
    bool started;             /* this session's epoch is raised */
    int directory;            /* open before a file is made in it: its sync needs no other */

    pthread_mutex_t lock;                   /* guards what follows */
    u64 displaced;                          /* whose place is taken, and may be given back */
    pthread_cond_t written_more;            /* a turn of writing is over */
    aul_log_waiter *waiting, *waiting_last; /* for their LSNs to become durable, lowest first */
    u32 awake;                              /* of them */
    bool sync_promised;                     /* the keeper knows of unsynced commits */
    pthread_t syncer; /* leads where commits queue up; made when they first do */
    pthread_cond_t syncer_wake;
    bool syncer_running, syncer_stop;
    u64 logged; /* last commit LSN in an image or a file */
    aul_segment *logged_segment;
    u64 logged_end; /* its frames' end */
    u64 written;    /* last commit LSN in the files */
    u64 logged_bytes, written_bytes, durable_bytes;
    aul_segment *write_head, *sync_head; /* oldest segment with something to write, to sync */
    bool writing, syncing, failed;
    int failed_errno;
    bool spare_ready, spare_taken; /* taken: on its way to become a segment, its name in use */

    _Atomic u64 durable, visible;
    bool tells_durable; /* the lock file has this session's epoch, and so its durable word */
    _Atomic u64 commits, records, bytes;
} aul_log;

typedef struct {
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    _Atomic bool stop;
    bool work;
    u64 unlisted;           /* segments sealed since the manifest was last written */
    u64 oldest_unsynced_ns; /* when commits that are written and not synced were first seen, or 0 */
} aul_keeper;

#define AUL_WRITER_CALLS 1u

/* What is known of the volume's past beside the manifest's branch points and names, which are under
 * `lock`, too. Those above the visible LSN are there already: who asks as of an LSN sees them
 * not. */
typedef struct {
    pthread_mutex_t lock;
    aul_path newest;       /* of the newest run: what a transaction sees */
    aul_path shown;        /* of a run that plain reads see, mostly the newest of those */
    _Atomic u64 shown_run; /* its run: a cached page that is right in it needs no path */
    _Atomic u64 newest_run;
} aul_past;
/* How far a read-only store has come behind its writer; and who waits for commits. */
typedef struct {
    pthread_mutex_t lock; /* of who moves on; guards what follows, over I/O too */
    size_t at;            /* segments of the list that are read, the last perhaps in part */
    u64 next_lsn;         /* the first that is not in the index */
    u64 reached;          /* the last commit that is */
    aul_scan scan;        /* of the last segment, behind what is in the index */
    bool scanning;
    aul_scan carried; /* the batch that the segment before it ended in: in_batch */
    size_t at_looked; /* `at` when the manifest was last read, and when that was */
    u64 looked_ns;

    /* Under log.lock. */
    pthread_cond_t moved; /* the durable LSN has risen, or all are to look */
    u32 waiting;          /* for that */
    u32 wakes;            /* how often all were told to look */
    bool watching;        /* one of them watches the lock file for the others */
    void *watch;          /* disk.h; changed by who watches */
} aul_follow;

#define AUL_STATE_OPEN 0
#define AUL_STATE_CLOSING 1
#define AUL_STATE_CLOSED 2

struct aul_store {
    aul_disk disk_table;
    aul_disk *disk;
    u32 fork_generation;
    _Atomic u32 references, calls;
    _Atomic int state;
    pthread_mutex_t life_lock;
    pthread_cond_t life_changed;

    char *path, *log_path;
    bool read_only;
    u32 page_size, record_seed;
    u64 pages_max;
    aul_manifest manifest; /* its segments have moved to the index */
    _Atomic u64 epoch;
    aul_store_info info;

    aul_files files;
    aul_page_index index;
    aul_page_cache *cache;
    aul_past past;
    _Atomic u32 views;

    aul_log log;
    aul_keeper keeper;
    aul_follow follow;

    void *lock_slot; /* lock.c */

    /* Buffers of the transaction in progress, kept from one to the next; under the writer's
     * place. */
    aul_frame_buffer *tx_frames;
    size_t tx_frame_capacity;
};

/* store.c: aul_open on another disk than the operating system's. The table is copied, its context
 * has to outlive the store. */
int aul_open_on(const aul_disk *disk, const char *path, const aul_options *options, aul_store **out,
                aul_error *error);
/* Every public call is between enter and leave. Enter fails on a closed or forked
 * handle. */
int aul_store_enter(aul_store *store, aul_error *error);
void aul_store_leave(aul_store *store);
void aul_store_ref(aul_store *store);
void aul_store_unref(aul_store *store);
/* Writes the manifest as things are now. */
int aul_store_write_manifest(aul_store *store, u32 flags, aul_error *error);

/* lock.c: the volume's lock: one writer per machine and process. `what` says what fails where the
 * file cannot be opened. */
int aul_lock_take(aul_store *store, const char *what, aul_error *error);
void aul_lock_drop(aul_store *store);
/* Tells followers the durable LSN, and which epoch it belongs to. */
int aul_lock_publish(aul_store *store, aul_error *error);
/* Tells them what is durable now, under the turn at syncing. Where it cannot be written they go on
 * seeing what they saw, or, of half a word, what the manifest says, until a later one is told:
 * nothing that was promised depends on it. */
void aul_lock_tell_durable(aul_store *store, u64 lsn);
/* What the lock file says, and whether a writer is alive. Zeros where there is none. */
typedef struct {
    u8 volume_id[AUL_ID_BYTES];
    u64 epoch, durable;
    bool alive;
} aul_lock_told;
int aul_lock_read(aul_store *store, aul_lock_told *out, aul_error *error);
/* The durable LSN told, where volume and epoch are the manifest's; else 0. */
u64 aul_lock_believed(const aul_lock_told *told, const aul_manifest *manifest);
/* The durable LSN that the writer, or the last one, has told; 0 when there is none. */
int aul_lock_read_durable(aul_store *store, u64 *lsn, bool *alive, aul_error *error);

/* log.c */
int aul_log_init(aul_store *store);
void aul_log_destroy(aul_store *store);
/* Waits up to wait_ms for the writer's place: AUL_BUSY. *me is then who has it, and calling. With
 * `take` it is taken away from a transaction between two of its calls. */
int aul_log_claim_writer(aul_store *store, u32 wait_ms, bool take, u64 *me, aul_error *error);
/* Around the calls of who keeps the place from one to the next: a call begins, false when the place
 * was taken away, for which it waits until that is known; and ends. */
bool aul_log_writer_calls(aul_store *store, u64 me);
void aul_log_writer_rests(aul_store *store, u64 me);
void aul_log_release_writer(aul_store *store);
/* Ends what was begun with `take`: the transaction has its place again, and goes on, or has lost
 * it. */
void aul_log_end_taking(aul_store *store, bool give_back);
/* Logs a batch; the caller has the writer's place. After AUL_OK it is in the log. A status other
 * than AUL_UNKNOWN says that nothing was logged. */
int aul_log_append(aul_store *store, aul_log_batch *batch, aul_error *error);
/* log_control.c: logs a control batch, in the same way; its LSN is log.next_lsn. */
int aul_log_control(aul_store *store, const aul_control *control, aul_error *error);
/* The one that starts a run; `options` (may be NULL) have its note. */
int aul_log_branch(aul_store *store, const aul_branch *branch, u64 end_pages,
                   const aul_commit_options *options, aul_error *error);
/* Waits up to wait_ms until lsn is in the files (visible) or durable. AUL_PENDING, AUL_UNKNOWN. */
int aul_log_wait_written(aul_store *store, u64 lsn, aul_error *error);
int aul_log_wait_durable(aul_store *store, u64 lsn, u32 wait_ms, aul_error *error);
/* Makes a new active segment, of `capacity` bytes or, when the disk has no more, of at least
 * `least`. */
int aul_log_new_segment(aul_store *store, u64 capacity, u64 least, bool may_use_spare,
                        aul_segment **out, aul_error *error);
/* Ends the syncing thread; nobody waits any more. */
void aul_log_stop_syncer(aul_store *store);
/* Whether such a failure, of a manifest, a footer or a spare, ends all writing. */
bool aul_log_is_final(int status, const aul_error *error);
/* Ends all writing: the disk failed. Called with log.lock held. */
void aul_log_fail(aul_store *store, int os_errno);
/* Sets up for appending behind a segment found by recovery. */
void aul_log_resume(aul_store *store, u64 last_lsn, const aul_summary *last);
/* Waits for the condition with the lock held; false when `deadline` (monotonic, ns) has passed. */
bool aul_wait_until(aul_store *store, pthread_cond_t *condition, pthread_mutex_t *lock,
                    u64 deadline);
int aul_cond_init(pthread_cond_t *condition);

/* recovery.c */
int aul_recover(aul_store *store, aul_error *error);
/* Keeps what a control batch says, whose frame the scan has just read. AUL_CORRUPT when no log can
 * have it there. */
int aul_recover_note(aul_store *store, const aul_scan *scan, aul_error *error);
/* The batch that the segments before number `at` of the list, sealed ones, leave open, as a scan to
 * go on from: carrier->in_batch says whether there is one. */
int aul_recover_open_batch(aul_store *store, size_t at, aul_scan *carrier, aul_error *error);
/* The segment that follows `last` by name and header and begins with first_lsn, for
 * aul_page_index_append; NULL when there is none. */
int aul_recover_next(aul_store *store, const aul_segment *last, u64 first_lsn, aul_segment **next,
                     aul_error *error);
/* Raises the epoch and makes the first segment of this session; the writer's place is taken. */
int aul_start_epoch(aul_store *store, aul_error *error);

/* follow.c: a store that is opened read-only shows what opening found and moves on from there. */
int aul_follow_init(aul_store *store);
void aul_follow_begin(aul_store *store);
void aul_follow_destroy(aul_store *store);
/* Has everybody who waits look again. */
void aul_follow_tell_all(aul_store *store);
/* Tells those who wait that the durable LSN has risen, or never will. Called with log.lock held. */
static inline void aul_follow_tell(aul_store *store) {
    if (AUL_UNLIKELY(store->follow.waiting)) pthread_cond_broadcast(&store->follow.moved);
}

/* keeper.c */
int aul_keeper_start(aul_store *store);
void aul_keeper_stop(aul_store *store);
void aul_keeper_wake(aul_store *store);
/* One round of the thread's work; on a disk without threads the caller's to call. Returns whether
 * there is something to do again in a while. */
bool aul_keeper_work(aul_store *store);
/* Seals one full, durable segment. */
int aul_keeper_seal(aul_store *store, aul_segment *segment, aul_error *error);

/* rewind.c: the path of lsn, and that of the visible LSN; aul_path_free releases them. */
int aul_past_path(aul_store *store, u64 lsn, aul_path *out, aul_error *error);
int aul_past_shown(aul_store *store, aul_path *out, aul_error *error);
/* The run of lsn becomes the newest one. */
int aul_past_resume(aul_store *store, u64 lsn, aul_error *error);
void aul_past_destroy(aul_store *store);
/* Whether lsn lies in a range that recovery cut: *out is its branch point. */
bool aul_past_cut_at(aul_store *store, u64 lsn, aul_branch *out);
/* Branch points and names as of lsn, to keep without the lock: both to be freed. */
int aul_past_copy(aul_store *store, u64 lsn, aul_history *history, aul_names *names);

/* read.c */
/* Whether a view can have this LSN: AUL_LSN. */
int aul_check_lsn(aul_store *store, u64 lsn, aul_error *error);
/* The last commit on the path, with the state after it; LSN 0 is the empty volume. */
int aul_find_commit(aul_store *store, const aul_path *path, aul_commit_info *out, aul_error *error);
/* The path that a read with the view sees, or with NULL that of the visible LSN; aul_path_free
 * releases it. AUL_UNKNOWN when the disk failed before that was durable. */
int aul_view_path(aul_store *store, const aul_view *view, aul_path *path, aul_error *error);
int aul_read_page(aul_store *store, const aul_path *path, u64 page, u8 *out, aul_error *error);

/* tx.c */
int aul_check_writable(aul_store *store, aul_error *error);
int aul_check_note(const aul_commit_options *options, aul_error *error);
/* Waits for what is logged, as the durability asks: AUL_PENDING. */
int aul_wait_for(aul_store *store, u64 lsn, u32 durability, u32 wait_ms, aul_outcome *outcome,
                 aul_error *error);

#endif
