/* crash.h: the crash campaign, as its parts see it.
 *
 *   crash.c           the command: options, the report
 *   crash_coverage.c  which calls of the disk the power has to be cut before
 *   crash_program.c   random programs of the engine's operations: sessions and their steps
 *   crash_commit.c    commits and what came of them
 *   crash_rewind.c    rewinds and restore points, and what came of them
 *   crash_past.c      runs and names: what of them the engine has logged, and shows
 *   crash_line.c      several threads with one volume
 *   crash_held.c      what is held open while the log goes on, or fails: views, cursors, pins
 *   crash_follow.c    a follower, which is refreshed
 *   crash_boundary.c  what happens at every call of the disk: crash images, other processes
 *   crash_image.c     the life of one image: recovered, checked, used, crashed again
 *   crash_damage.c    images that the disk has damaged, and disks that fail in recovery
 *   crash_check.c     whether a volume is what the model says
 *   crash_model.c     the model
 *   crash_seen.c      images that were there before
 *   jobs.c            several processes, options
 *
 * One program is one seed, and a function of it. Nothing here knows the time of day but crash.c. */
#ifndef AUL_CRASH_H
#define AUL_CRASH_H

#include "../simdisk/simdisk.h"
#include "../simdisk/simthreads.h"
#include "../store.h"
#include "crash_model.h"

#define AUL_CRASH_PATH "/v"
#define AUL_CRASH_DEPTH_MAX 3 /* a crash in the recovery from a crash in a recovery */
#define AUL_CRASH_WAIT_MS 1000u
#define AUL_CRASH_LOGGED_MAX 6
#define AUL_CRASH_LATER_MAX 64

/* What the engine was doing. */
typedef enum {
    AUL_OP_OPEN, /* after a clean close, or for the first time */
    AUL_OP_RECOVER,
    AUL_OP_COMMIT,
    AUL_OP_COMMIT_OS,
    AUL_OP_BULK,
    AUL_OP_TRANSACTION, /* begun, read under, whole pages put */
    AUL_OP_REWIND,
    AUL_OP_NAME, /* a restore point made, or deleted */
    AUL_OP_KEEP, /* the background thread's work */
    AUL_OP_SYNC,
    AUL_OP_CLOSE,
    AUL_OP_READ_ONLY,
    AUL_OPS
} aul_crash_op;

/* What a call was about. */
typedef enum {
    AUL_ON_SEGMENT,
    AUL_ON_SPARE,
    AUL_ON_MANIFEST,
    AUL_ON_LOCK,
    AUL_ON_RESERVE,
    AUL_ON_DIRECTORY,
    AUL_ONS
} aul_crash_on;

/* Where an image comes from: before which call what went. */
typedef struct {
    aul_crash_op op;
    aul_sim_call call;
    aul_crash_on on;
    aul_sim_cut cut;
} aul_crash_place;

typedef _Atomic u64 aul_crash_hits[AUL_OPS][AUL_SIM_CALLS][AUL_ONS];

typedef struct {
    _Atomic u64 programs, boundaries, images, distinct, recoveries, nested, exhausted,
        exhausted_twice, read_only, damaged, faulted, refused, commits, rewinds, conflicts, named,
        followers, refreshed, held, lines, in_line, compared, verified, violations, trace;
    aul_crash_hits hits; /* lives of images of this boundary */
    _Atomic u64 lived[AUL_CUTS];
} aul_crash_counts;

/* crash_seen.c: a set of 64-bit hashes, of all processes that are made after it. False when it was
 * there, or the set is full. */
void aul_crash_share_images(void);
bool aul_crash_is_new(u64 hash);
bool aul_crash_images_full(void);

/* What is held open for a while. */
typedef struct {
    aul_view *view; /* or NULL */
    aul_cursor *cursor;
    aul_pin *pin;
    const u8 *pinned;
    u64 page, cursor_lsn;
    aul_model_state state;
} aul_crash_held;

/* An image whose life begins later. */
typedef struct {
    aul_simdisk *image;
    aul_model model; /* its states are the run's */
    aul_crash_place place;
    char where[160];
} aul_crash_later;

/* What is of one disk's life: the program's own at depth 0, that of a crash image deeper down. */
typedef struct {
    aul_simdisk *disk;
    aul_store *store;    /* open on it, or NULL */
    aul_model model;     /* of it */
    aul_store *follower; /* a read-only open of another process, or NULL, and what it shows */
    aul_model_state followed;
    bool rests; /* it is refreshed rarely */
    aul_crash_op op;
    u64 logged[AUL_CRASH_LOGGED_MAX]; /* commits that were logged and not waited for */
    size_t logged_count;
    aul_model_state displaced; /* by a rewind that may still fail; serial 0: none */
    u64 rewinds;               /* that were begun: transactions may be in conflict with them */
    u64 rewinds_over;
    u64 left_lsn;    /* from where the last one went */
    u64 deletion_ns; /* the time that a deletion is given */
    bool in_boundary;
    bool faulty;       /* a fault may strike, or has */
    u64 struck_before; /* so often before the operation that goes on now */
    bool lies;         /* and it is that the disk loses or misplaces a write */
    bool full;         /* the disk may have no room: commits may be refused, and nothing else */
    bool quiet;        /* no images are made: threads take turns, and that is all */
    u32 depth;
    u32 every;          /* down to this depth the power is cut at every call of a recovery */
    size_t later_first; /* of run->later, those of this life */
} aul_crash_life;

/* One program's run. */
typedef struct {
    u64 seed;
    u32 steps;
    aul_random random;
    aul_crash_counts *counts;
    u64 trace;

    aul_crash_life life; /* the one that goes on now */
    aul_crash_op thread_op[AUL_SIM_THREADS];
    aul_crash_held held;
    aul_crash_later later[AUL_CRASH_LATER_MAX];
    size_t later_count;
    u64 excused;         /* failures that damage, or a disk that fails, may cause */
    aul_sim_fault fault; /* the one injected, for the report */
    char where[AUL_CRASH_DEPTH_MAX + 2][160]; /* how we came here, for the report */
    u64 *seen;                                /* images whose life is known, by hash */
    size_t seen_count, seen_capacity;
    bool failed;
} aul_crash_run;

/* Runs the program; false when something was wrong, which it has told. */
bool aul_crash_program(aul_crash_run *run);

/* Tells what was wrong, with seed and place. Returns false. */
bool aul_crash_wrong(aul_crash_run *run, const char *format, ...) AUL_PRINTF(2, 3);

/* What programs are made of. Each tells what is wrong. */
bool aul_crash_open_session(aul_crash_run *run);
/* Time passes, and the background thread looks what there is to do. */
void aul_crash_keep(aul_crash_run *run);
/* What can be sealed is, after the background thread's work. */
void aul_crash_check_sealed(aul_crash_run *run);
/* The clean end. Returns whether it was one. */
bool aul_crash_close_session(aul_crash_run *run);
/* The process ends, or the power. What was there before ends with its disk. */
void aul_crash_end_session(aul_crash_run *run, aul_sim_cut cut);

/* A write, or an early sync, that fails while others have been written and synced. */
aul_sim_fault aul_crash_failing_write(aul_random *random);
aul_sim_fault aul_crash_failing_sync(aul_random *random);
/* A fault may strike that is seen, or has: reads may fail. Interrupted and short calls are gone on
 * with, and nobody sees them. */
bool aul_crash_may_fail(const aul_crash_run *run);
/* It has: calls may fail, and the log may have ended. */
bool aul_crash_struck(const aul_crash_run *run);
/* Or it was a lie: what was promised need not be kept. */
bool aul_crash_lied(const aul_crash_run *run);
/* Whether a call may have failed with this status: the disk has no room, or fails for ever, or has
 * failed in this operation, or the log has ended. */
bool aul_crash_excused(const aul_crash_run *run, int status);

/* Other processes may have been told of a sync, and this one's threads not yet: when another thread
 * goes on in between, or when the word is whole before the last piece of it is written. */
bool aul_crash_told_first(const aul_crash_run *run);

/* crash_coverage.c */
const char *aul_crash_op_name(aul_crash_op op);
/* Prints how often the power was cut before which call. */
void aul_crash_print_coverage(const aul_crash_hits hits);
/* The calls that have to occur and did not: how many. */
size_t aul_crash_count_holes(const aul_crash_hits hits, bool prints);
/* Prints the calls that did and are not known to. Returns how many. */
size_t aul_crash_print_strangers(const aul_crash_hits hits);

/* crash_commit.c: each tells what is wrong, and keeps the model up to date. In a thread they wait
 * for the writer's place. */

/* A state of the model that a transaction makes. Where a rewind comes between, it leaves the model,
 * and what is done to it, nobody looks at. */
typedef struct {
    size_t at;
    u64 serial;
    u64 rewinds; /* that were over before it */
    bool overtaken;
    aul_model_state apart;
} aul_crash_made;

/* A new state on top of the model, for the commit that comes next; its LSN is still to be set. The
 * caller has the writer's place. Gives the commit a time. */
void aul_crash_begin_state(aul_crash_run *run, aul_commit_options *options, aul_crash_made *made);
aul_model_state *aul_crash_state_of(aul_crash_run *run, aul_crash_made *made);
/* Nothing of it was logged. */
void aul_crash_drop_state(aul_crash_run *run, aul_crash_made *made);
/* A time for the commit that comes next; sometimes the clock goes back. */
u64 aul_crash_time(aul_crash_run *run);
/* AUL_DURABILITY_SYNC in the place of LOGGED where nobody waits for it later. */
u32 aul_crash_can_wait(const aul_crash_run *run, u32 durability);
/* Begins a transaction. NULL with a reason. */
aul_tx *aul_crash_begin(aul_crash_run *run);
/* What came of a batch that should get `lsn`, whatever is in it: what it promises, and whether it
 * may have failed. */
void aul_crash_note_promise(aul_crash_run *run, u64 lsn, int status, u32 durability,
                            const aul_outcome *outcome, const aul_error *error);
/* A commit of about `bytes` bytes of random changes, or of one write of `equal_bytes`. */
void aul_crash_commit(aul_crash_run *run, size_t bytes, u32 durability, u32 equal_bytes);
/* A transaction that reads, puts, is refused something, and perhaps gives up. */
void aul_crash_transact(aul_crash_run *run, u32 durability);
/* A transaction that a rewind to the LSN comes between: it is in conflict with one that was logged,
 * and goes on after one in vain. */
void aul_crash_commit_over(aul_crash_run *run, u64 lsn, u32 durability);
/* Waits for commits that were only logged. */
void aul_crash_wait_logged(aul_crash_run *run);
void aul_crash_sync(aul_crash_run *run);

/* crash_rewind.c: the same. */

/* Goes to another moment, or asks what that would be; perhaps while a transaction is in flight. */
void aul_crash_rewind(aul_crash_run *run, u32 durability);
void aul_crash_rewind_to(aul_crash_run *run, u64 lsn, u32 durability);
/* Makes a restore point, or deletes one. */
void aul_crash_name(aul_crash_run *run, u32 durability);

/* crash_past.c */

/* Rewinds and names are noted by the engine before they are logged, by any thread: the model takes
 * them from there, in their order with everything else, before anything else is put onto it and
 * before any image is made. */
void aul_crash_settle(aul_crash_run *run);
/* A clean close may have been logged. */
void aul_crash_note_close(aul_model *model, const aul_store *store);
/* Makes the model that of what the store shows: what is above, or cut, leaves it, and the cuts and
 * clean closes that it has not join it. Runs and names have to be the model's. */
bool aul_crash_see(aul_crash_run *run, aul_store *store, aul_model *model);
/* The restore points and the runs as of the visible LSN. */
bool aul_crash_check_names(aul_crash_run *run, aul_store *store, const aul_model *model,
                           u64 visible);
bool aul_crash_check_runs(aul_crash_run *run, aul_store *store, const aul_model *model, u64 visible,
                          bool may_fail);

/* crash_line.c: some threads commit, sync and do the background thread's work, all at once. */
void aul_crash_line(aul_crash_run *run, u32 size);

/* The same on a disk that fails at one of their writes or syncs, and without crashes: many of these
 * find what needs some threads at some places just then. */
void aul_crash_line_fails(aul_crash_run *run);

/* crash_held.c */
void aul_crash_hold(aul_crash_run *run);
void aul_crash_check_held(aul_crash_run *run);
void aul_crash_let_go(aul_crash_run *run);
/* The pages that the batch changed which the cursor gave last. */
bool aul_crash_check_changed(aul_crash_run *run, aul_cursor *cursor, const aul_model_state *state,
                             bool may_fail);

/* crash_follow.c. The first opens it. */
void aul_crash_follow(aul_crash_run *run);
void aul_crash_drop_follower(aul_crash_run *run);
/* It stays where it is. */
void aul_crash_check_follower(aul_crash_run *run);
/* It moves on, on a disk that does not fail; `between` two operations of the writer to all that is
 * durable. */
void aul_crash_refresh(aul_crash_run *run, bool between);

/* Opens the volume on the disk. */
int aul_crash_open(aul_crash_run *run, aul_simdisk *disk, u32 process, bool read_only,
                   aul_store **store, aul_error *error);

/* crash_boundary.c: observes run->life.disk. */
void aul_crash_observe(void *run, aul_sim_call call, const char *path);
/* The same between two operations. */
void aul_crash_between(aul_crash_run *run);
/* Begins the lives of the images that were put off. */
void aul_crash_live_later(aul_crash_run *run);

/* crash_image.c: recovers the image, and looks what became of `model`, a copy of which it is given.
 * Frees neither. */
void aul_crash_live(aul_crash_run *run, aul_simdisk *image, const aul_model *model,
                    const aul_crash_place *place);
/* Takes what was recovered for the volume from now on: checks what must be there, and forgets what
 * is not. */
bool aul_crash_accept(aul_crash_run *run, aul_store *store, aul_model *model);

/* One more commit, acknowledged. */
void aul_crash_use(aul_crash_run *run);
/* A clean close, and an open after it. */
void aul_crash_close_and_look(aul_crash_run *run);

/* crash_damage.c */
void aul_crash_damage(aul_crash_run *run, aul_simdisk *image, const aul_model *model);
void aul_crash_fail_recovery(aul_crash_run *run, aul_simdisk *image, const aul_model *model);
/* The highest LSN of which something on the disk says that it was durable: a frame header, or the
 * manifest. */
u64 aul_crash_witnessed(const aul_simdisk *disk, const aul_model *model);
/* Opens a volume that was damaged. When it opens, nothing below `witnessed` is cut, and `now` is
 * the model of what is left, for the caller to free. */
int aul_crash_open_damaged(aul_crash_run *run, aul_simdisk *image, const aul_model *model,
                           u64 witnessed, bool read_only, aul_store **store, aul_model *now,
                           aul_error *error);

/* crash_check.c. With `may_fail`, reads may fail, but never be wrong. */
bool aul_crash_check(aul_crash_run *run, aul_store *store, const aul_model *model, bool may_fail);
/* The same of every commit: length, time, the log, the pages that it changed, and a view from its
 * middle; the versions of some pages; with `every_page` all pages of all. run->excused counts the
 * failures. */
bool aul_crash_check_all(aul_crash_run *run, aul_store *store, const aul_model *model,
                         bool every_page, bool may_fail);
bool aul_crash_check_view(aul_crash_run *run, aul_store *store, const aul_view *view,
                          const aul_model_state *state, bool may_fail);
/* A failure that may be: the disk has failed, or what it has is damaged. Damage has a place. */
bool aul_crash_is_told(aul_crash_run *run, int status, const aul_error *error, bool may_fail);
bool aul_crash_verify(aul_crash_run *run, aul_store *store);
/* How many problems verifying finds, and the first. */
u64 aul_crash_problems(aul_crash_run *run, aul_store *store, aul_error *first);

#endif
