/* crash_program.c: random programs of the engine's operations, beside the model. See crash.h.
 *
 * A program is a few sessions with one volume. A session opens it, does some of everything, and
 * ends: cleanly, by dropping the handle, with the process or with the power. Some programs have a
 * disk that fails once or for ever, some one that says it wrote what it did not. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "crash.h"

#define FAILING_WRITE 67
#define QUIET_FIRST 8 /* programs before the one with crashes */

/* What a program is like. */
typedef struct {
    aul_sim_fault (*worse)(aul_random *random); /* what may happen to the disk: NULL: it fills */
    u64 worse_after;                            /* so many steps */
    bool equal_sizes;                           /* small commits are all of one size */
    u32 size;
} shape;

bool aul_crash_wrong(aul_crash_run *run, const char *format, ...) {
    char what[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (!run->failed) {
        fprintf(stderr, "seed %llu: %s\n", (unsigned long long)run->seed, what);
        if (run->fault.what)
            fprintf(stderr, "    the disk had a fault: %d at calls %x%s\n", run->fault.what,
                    run->fault.calls, run->fault.for_ever ? ", for ever" : "");
        for (u32 i = 0; i <= run->life.depth; i++)
            fprintf(stderr, "    %s%s\n", i ? "in the recovery after that: " : "at ",
                    run->where[i][0] ? run->where[i] : "the beginning");
        atomic_fetch_add(&run->counts->violations, 1);
    }
    run->failed = true;
    return false;
}

/* An open that may write leaves no segment's file that is no part of the log. */
static void check_files(aul_crash_run *run, const aul_simdisk *disk, const aul_store *store) {
    const aul_segment_list *list = store->index.list;
    const char *path;
    u64 size;
    for (size_t i = 0; (path = aul_simdisk_name(disk, i, &size)); i++) {
        const char *name = strrchr(path, '/') + 1;
        size_t at = 0;
        while (at < list->count && strcmp(list->items[at]->name, name) != 0) at++;
        if (strstr(name, ".log") && at == list->count)
            aul_crash_wrong(run, "%s is left, and no part of the log", name);
    }
}

int aul_crash_open(aul_crash_run *run, aul_simdisk *disk, u32 process, bool read_only,
                   aul_store **store, aul_error *error) {
    aul_disk table = aul_simdisk_table(disk, process);
    u64 cache_pages = 4 + aul_random_below(&run->random, 16);
    aul_options options = {.page_size = read_only ? 0 : AUL_MODEL_PAGE_SIZE,
                           .create = 1,
                           .read_only = read_only,
                           .cache_bytes = AUL_MODEL_PAGE_SIZE * cache_pages};
    /* Another window is a manifest to write. */
    if (!read_only && aul_random_chance(&run->random, 3))
        options.retention_ns = 1 + aul_random_below(&run->random, 1000000000);
    int status = aul_open_on(&table, AUL_CRASH_PATH, &options, store, error);
    if (disk == run->life.disk && !run->life.in_boundary) aul_crash_live_later(run);
    if (!status && !read_only) check_files(run, disk, *store);
    return status;
}

bool aul_crash_may_fail(const aul_crash_run *run) {
    return run->life.faulty && run->fault.what != EINTR && run->fault.what != AUL_FAULT_SHORT;
}

bool aul_crash_struck(const aul_crash_run *run) {
    return aul_crash_may_fail(run) && aul_simdisk_faults(run->life.disk) > 0;
}

bool aul_crash_lied(const aul_crash_run *run) { return run->life.lies && aul_crash_struck(run); }

bool aul_crash_excused(const aul_crash_run *run, int status) {
    if (run->life.full && status == AUL_DISK_FULL) return true;
    if (!aul_crash_struck(run)) return false;
    bool failed = run->life.store && run->life.store->log.failed;
    return failed || run->fault.for_ever || run->life.lies ||
           aul_simdisk_faults(run->life.disk) > run->life.struck_before;
}

/* What struck before is no excuse for what begins now. */
static void begin_operation(aul_crash_run *run, aul_crash_op op) {
    run->life.op = op;
    run->life.struck_before = aul_simdisk_faults(run->life.disk);
}

bool aul_crash_told_first(const aul_crash_run *run) {
    bool in_pieces = aul_simdisk_faults(run->life.disk) && run->fault.what == AUL_FAULT_SHORT;
    return run->life.store && run->life.store->log.syncing &&
           (aul_sim_thread_current() >= 0 || in_pieces);
}

/* The disk does not fail any more, and has room. */
static void mend(aul_crash_run *run) {
    aul_simdisk_inject(run->life.disk, &(aul_sim_fault){.at = 0});
    aul_simdisk_limit(run->life.disk, UINT64_MAX);
    run->life.faulty = run->life.full = run->life.lies = false;
    run->life.struck_before = 0;
}

static void look(aul_crash_run *run) {
    bool in_boundary = run->life.in_boundary;
    run->life.in_boundary = true;
    aul_crash_check(run, run->life.store, &run->life.model, aul_crash_may_fail(run));
    if (!aul_crash_may_fail(run) && aul_random_chance(&run->random, 20))
        aul_crash_verify(run, run->life.store);
    run->life.in_boundary = in_boundary;
}

/* Sealing needs no room that was not secured before: a full disk keeps no segment from it. But
 * where the end of a session was unclean, its segments may have lost what was secured for them; not
 * the one that this session's recovery has made for the tail. */
void aul_crash_check_sealed(aul_crash_run *run) {
    aul_store *store = run->life.store;
    aul_segment_list *list = aul_page_index_list(&store->index);
    for (size_t i = 0; i < list->count; i++) {
        const aul_segment *segment = list->items[i];
        if (atomic_load(&segment->sealed)) continue;
        bool full = segment->next && segment != store->log.sync_head &&
                    atomic_load(&segment->last_lsn) <= aul_durable_lsn(store);
        if (segment->bounded ? segment->epoch == store->epoch : full)
            aul_crash_wrong(run, "%s is full and durable, and not sealed", segment->name);
        break;
    }
    aul_segment_list_release(&store->index, list);
}

void aul_crash_keep(aul_crash_run *run) {
    aul_log *log = &run->life.store->log;
    u64 written = log->written;
    bool waits = aul_random_chance(&run->random, 50);
    for (u64 n = waits ? 2 : 1; n > 0; n--) {
        aul_keeper_work(run->life.store);
        if (waits) aul_simdisk_wait(run->life.disk, 600000000);
    }
    if (waits) aul_keeper_work(run->life.store);
    if (log->failed && !aul_crash_struck(run))
        aul_crash_wrong(run, "the background thread has ended the log: errno %d",
                        log->failed_errno);
    if (!log->failed && !aul_crash_struck(run)) aul_crash_check_sealed(run);
    if (waits && !log->failed && aul_durable_lsn(run->life.store) < written)
        aul_crash_wrong(run, "LSN %llu was written more than a second ago, %llu is durable",
                        (unsigned long long)written,
                        (unsigned long long)aul_durable_lsn(run->life.store));
}

/* Much is logged that nobody has written yet. */
static void log_ahead(aul_crash_run *run) {
    run->life.op = AUL_OP_COMMIT;
    while (run->life.logged_count < AUL_CRASH_LOGGED_MAX && !run->failed &&
           !run->life.store->log.failed) {
        size_t before = run->life.logged_count;
        aul_crash_commit(run, 4000, AUL_DURABILITY_LOGGED, 0);
        if (run->life.logged_count == before) return;
    }
}

/* Another process, and this one, want to write to the volume, too. */
static void intrude(aul_crash_run *run) {
    aul_store *second = NULL;
    aul_error error = {0};
    bool in_boundary = run->life.in_boundary;
    run->life.in_boundary = true;
    u32 process = aul_random_chance(&run->random, 80) ? 1 : 0;
    int status = aul_crash_open(run, run->life.disk, process, false, &second, &error);
    if (status != AUL_LOCKED && !aul_crash_excused(run, status))
        aul_crash_wrong(run, "a second writer: %d %s", status, error.text);
    aul_free(second);
    run->life.in_boundary = in_boundary;
}

static u32 choose_durability(aul_random *random) {
    u64 of = aul_random_below(random, 100);
    return of < 60 ? AUL_DURABILITY_SYNC : of < 85 ? AUL_DURABILITY_OS : AUL_DURABILITY_LOGGED;
}

static void step(aul_crash_run *run, const shape *like) {
    aul_random *random = &run->random;
    u32 durability = choose_durability(random);
    u64 what = aul_random_below(random, 124);
    aul_crash_op committing = durability ? AUL_OP_COMMIT_OS : AUL_OP_COMMIT;
    begin_operation(run, AUL_OP_SYNC);
    if (run->life.logged_count && aul_random_chance(random, 50)) aul_crash_wait_logged(run);
    if (what < 25) {
        run->life.op = committing;
        aul_crash_commit(run, 1 + aul_random_below(random, 400), durability,
                         like->equal_sizes ? like->size : 0);
    } else if (what < 37) {
        run->life.op = committing;
        aul_crash_commit(run, 1000 + aul_random_below(random, 7000), durability, 0);
    } else if (what < 47) {
        run->life.op = AUL_OP_BULK;
        u64 large = aul_random_below(random, 3) * aul_random_below(random, AUL_SEGMENT_BYTES_BULK);
        aul_crash_commit(run, AUL_BULK_BYTES + large, durability, 0);
    } else if (what < 58) {
        run->life.op = AUL_OP_TRANSACTION;
        aul_crash_transact(run, durability);
    } else if (what < 68) {
        aul_crash_line(run, like->equal_sizes ? like->size : 0);
    } else if (what < 82) {
        if (aul_random_chance(random, 25)) log_ahead(run);
        run->life.op = AUL_OP_REWIND;
        if (aul_random_chance(random, 15)) aul_crash_rewind(run, AUL_DURABILITY_LOGGED);
        run->life.op = AUL_OP_KEEP;
        aul_crash_keep(run);
    } else if (what < 86) {
        run->life.op = AUL_OP_SYNC;
        aul_crash_sync(run);
    } else if (what < 90) {
        look(run);
    } else if (what < 94) {
        aul_crash_hold(run);
    } else if (what < 95) {
        intrude(run);
    } else if (what < 110) {
        run->life.op = AUL_OP_REWIND;
        aul_crash_rewind(run, durability);
    } else if (what < 119) {
        run->life.op = AUL_OP_NAME;
        aul_crash_name(run, durability);
    } else if (!run->life.faulty && !run->life.lies) {
        aul_crash_follow(run);
    }
    if (aul_random_chance(random, 50)) aul_crash_check_follower(run);
    if (aul_random_chance(random, 30)) aul_crash_refresh(run, true);
    if (aul_random_chance(random, 50)) aul_crash_check_held(run);
}

/* Sessions */

bool aul_crash_open_session(aul_crash_run *run) {
    aul_error error = {0};
    begin_operation(run, run->life.model.issued && !run->life.store ? AUL_OP_RECOVER : AUL_OP_OPEN);
    int status = aul_crash_open(run, run->life.disk, 0, false, &run->life.store, &error);
    if (status) {
        run->life.store = NULL;
        if (aul_crash_lied(run) && status == AUL_CORRUPT) return false;
        if (aul_crash_excused(run, status)) { /* once more, on a disk that is mended */
            mend(run);
            status = aul_crash_open(run, run->life.disk, 0, false, &run->life.store, &error);
        }
        if (status) return aul_crash_wrong(run, "an open: %d %s", status, error.text);
    }
    if (!aul_crash_accept(run, run->life.store, &run->life.model)) return false;
    look(run);
    if (aul_random_chance(&run->random, 20)) intrude(run);
    return !run->failed;
}

bool aul_crash_close_session(aul_crash_run *run) {
    aul_error error = {0};
    begin_operation(run, AUL_OP_CLOSE);
    int status = aul_close(run->life.store, &error);
    bool failed = run->life.store->log.failed;
    run->life.model.required = aul_max(run->life.model.required, aul_durable_lsn(run->life.store));
    run->life.model.issued = aul_max(run->life.model.issued, run->life.store->log.next_lsn - 1);
    if (status && !aul_crash_excused(run, status))
        aul_crash_wrong(run, "a clean close: %d %s", status, error.text);
    aul_crash_note_close(&run->life.model, run->life.store);
    if (!status && !failed) run->life.model.required = aul_model_top(&run->life.model)->lsn;
    run->life.model.visible = run->life.model.required;
    aul_free(run->life.store);
    run->life.store = NULL;
    return !status && !failed;
}

/* What the session has promised to whoever comes after it. */
static void leave(aul_crash_run *run, bool power_cut) {
    aul_model *model = &run->life.model;
    aul_store *store = run->life.store;
    u64 durable = aul_durable_lsn(store);
    model->required = aul_max(model->required, durable);
    model->visible = store->log.failed || power_cut
                         ? model->required
                         : aul_max(model->visible, aul_visible_lsn(store));
    model->issued = aul_max(model->issued, store->log.next_lsn - 1);
}

void aul_crash_end_session(aul_crash_run *run, aul_sim_cut cut) {
    aul_store *store = run->life.store;
    aul_simdisk *next = aul_simdisk_cut(run->life.disk, cut, aul_random_next(&run->random));
    snprintf(run->where[0], sizeof run->where[0], "a session's end by %s", aul_sim_cut_name(cut));
    leave(run, cut != AUL_CUT_KILL);
    run->trace = aul_mix(run->trace + aul_simdisk_trace(run->life.disk));
    aul_simdisk_observe(run->life.disk, NULL, NULL);
    aul_crash_drop_follower(run);
    aul_free(store);
    aul_crash_let_go(run);
    if (!run->failed && aul_simdisk_leaks(run->life.disk))
        aul_crash_wrong(run, "%llu files or pieces of memory are left",
                        (unsigned long long)aul_simdisk_leaks(run->life.disk));
    aul_simdisk_free(run->life.disk);
    run->life.disk = next;
    run->life.faulty = run->life.full = run->life.lies = false; /* another disk */
    run->life.store = NULL;
    aul_simdisk_observe(next, aul_crash_observe, run);
}

/* The handle is dropped without a close, which syncs, and the process goes on. Nobody is told
 * whether that sync has failed; then what it was for may be lost. */
static void drop_session(aul_crash_run *run) {
    aul_model *model = &run->life.model;
    begin_operation(run, AUL_OP_CLOSE);
    leave(run, false);
    bool failed = run->life.store->log.failed;
    aul_free(run->life.store);
    run->life.store = NULL;
    bool struck = aul_simdisk_faults(run->life.disk) > run->life.struck_before;
    if (!failed && !struck) model->required = aul_model_top(model)->lsn;
    model->visible = struck ? model->required : aul_max(model->visible, model->required);
}

/* Whatever is held, some of it until after the end. */
static void begin_end(aul_crash_run *run) {
    if (aul_random_chance(&run->random, 30)) aul_crash_drop_follower(run);
    run->life.logged_count = 0;
    aul_crash_check_held(run);
    if (aul_random_chance(&run->random, 50)) aul_crash_let_go(run);
}

/* After a fault: what is durable can still be read, and no more is shown. The same machine goes
 * on. */
static void end_faulty_session(aul_crash_run *run) {
    if (run->life.store->log.failed &&
        aul_visible_lsn(run->life.store) != aul_durable_lsn(run->life.store))
        aul_crash_wrong(run, "after a failure LSN %llu is shown, %llu is durable",
                        (unsigned long long)aul_visible_lsn(run->life.store),
                        (unsigned long long)aul_durable_lsn(run->life.store));
    look(run);
    if (run->life.store && aul_random_chance(&run->random, 50))
        aul_crash_close_session(run);
    else if (run->life.store)
        drop_session(run);
    mend(run);
}

static void end_session(aul_crash_run *run) {
    static const aul_sim_cut cuts[] = {AUL_CUT_KILL, AUL_CUT_KILL,   AUL_CUT_NONE,
                                       AUL_CUT_ALL,  AUL_CUT_PREFIX, AUL_CUT_SUBSET};
    u64 how = aul_random_below(&run->random, 10);
    if (how < 5)
        aul_crash_close_session(run);
    else if (how < 9)
        aul_crash_end_session(run, cuts[aul_random_below(&run->random, 6)]);
    else
        drop_session(run);
}

aul_sim_fault aul_crash_failing_sync(aul_random *random) {
    bool any = aul_random_chance(random, 25);
    return (aul_sim_fault){.calls = 1u << AUL_SIM_SYNC | (u32)any << AUL_SIM_SYNC_DIRECTORY,
                           .at = 1 + aul_random_below(random, 4),
                           .what = EIO,
                           .for_ever = aul_random_chance(random, 20)};
}

aul_sim_fault aul_crash_failing_write(aul_random *random) {
    return (aul_sim_fault){.calls = 1u << AUL_SIM_WRITE,
                           .at = 1 + aul_random_below(random, 30),
                           .what = aul_random_chance(random, 70) ? EIO : ENOSPC,
                           .for_ever = aul_random_chance(random, 20)};
}

static aul_sim_fault failing_call(aul_random *random) {
    static const int whats[] = {EIO, EIO, ENOSPC, ENOSPC, EINTR, AUL_FAULT_SHORT};
    aul_sim_fault fault = {.calls = ~(1u << AUL_SIM_MEMORY),
                           .at = 1 + aul_random_below(random, 60),
                           .what = whats[aul_random_below(random, 6)],
                           .for_ever = aul_random_chance(random, 30)};
    if (fault.what == ENOSPC) fault.calls = AUL_SIM_MAY_FILL;
    if (fault.what == EINTR) fault.calls = AUL_SIM_MAY_INTERRUPT;
    if (fault.what == EINTR) fault.for_ever = false;
    return fault;
}

static aul_sim_fault no_memory(aul_random *random) {
    return (aul_sim_fault){.calls = 1u << AUL_SIM_MEMORY,
                           .at = 3 + 3 * aul_random_below(random, 60),
                           .what = ENOMEM,
                           .for_ever = aul_random_chance(random, 30)};
}

static aul_sim_fault lie(aul_random *random) {
    return (aul_sim_fault){.calls = 1u << AUL_SIM_WRITE,
                           .at = 1 + aul_random_below(random, 60),
                           .what = aul_random_chance(random, 40) ? AUL_FAULT_LOST
                                                                 : AUL_FAULT_MISDIRECTED};
}

static shape choose_shape(aul_crash_run *run) {
    aul_random *random = &run->random;
    shape like = {.equal_sizes = aul_random_chance(random, 40),
                  .size = 8 + (u32)aul_random_below(random, 200),
                  .worse_after = aul_random_below(random, run->steps + 1)};
    u64 kind = aul_random_below(random, 100);
    if (run->life.quiet && kind < 30) kind = FAILING_WRITE; /* of crashes there are enough */
    if (kind < 50)
        like.worse_after = UINT64_MAX;
    else
        like.worse = kind < 62               ? aul_crash_failing_sync
                     : kind <= FAILING_WRITE ? aul_crash_failing_write
                     : kind < 80             ? failing_call
                     : kind < 85             ? no_memory
                                             : 0;
    if (kind >= 93) like.worse = lie;
    run->life.lies = kind >= 93;
    return like;
}

/* Others leave room for a segment, or for next to nothing. */
static void fill_disk(aul_crash_run *run, bool segment) {
    u64 room = aul_random_below(&run->random, AUL_SEGMENT_BYTES_LEAST / 4);
    run->life.full = true;
    aul_simdisk_limit(run->life.disk, segment ? room + AUL_SEGMENT_BYTES : room);
}

/* What was logged where there was room is sealed where there is none. */
static void keep_on_full_disk(aul_crash_run *run) {
    run->life.op = AUL_OP_KEEP;
    fill_disk(run, false);
    aul_crash_keep(run);
}

/* From now on the disk has little room, or a fault. */
static void make_worse(aul_crash_run *run, const shape *like, bool lies) {
    if (!like->worse) {
        fill_disk(run, aul_random_chance(&run->random, 60));
        return;
    }
    if (aul_random_chance(&run->random, 50)) { /* what may be lost is shown, and held */
        run->life.op = AUL_OP_COMMIT_OS;
        aul_crash_commit(run, 100, AUL_DURABILITY_OS, 0);
        aul_crash_hold(run);
    }
    run->fault = like->worse(&run->random);
    aul_simdisk_inject(run->life.disk, &run->fault);
    run->life.faulty = true;
    run->life.struck_before = 0;
    run->life.lies = lies;
    if (lies) aul_crash_drop_follower(run);
    /* It strikes while many wait for each other. */
    if (!lies && aul_random_chance(&run->random, 50))
        aul_crash_line(run, like->equal_sizes ? like->size : 0);
}

static void run_steps(aul_crash_run *run) {
    shape like = choose_shape(run);
    bool lies = run->life.lies;
    run->life.lies = false; /* not yet */
    if (!aul_crash_open_session(run)) return;
    for (u64 i = 0; i < run->steps && !run->failed; i++) {
        if (i >= like.worse_after && !run->life.faulty) make_worse(run, &like, lies);
        step(run, &like);
        if (run->life.full && !run->failed) keep_on_full_disk(run);
        aul_crash_between(run);
        if (run->failed) break;
        bool ended = run->life.store->log.failed;
        if (!ended && !aul_random_chance(&run->random, 6)) continue;
        if (aul_crash_lied(run)) break; /* the images have told what there is to tell */
        begin_end(run);
        if (aul_crash_struck(run))
            end_faulty_session(run);
        else
            end_session(run);
        aul_crash_let_go(run);
        aul_crash_refresh(run, true);
        aul_crash_between(run);
        if (!run->failed && !aul_crash_open_session(run)) break;
        aul_crash_refresh(run, true);
        if (like.worse_after <= i) like.worse_after = i + aul_random_below(&run->random, 6);
    }
}

static void run_one(aul_crash_run *run, bool quiet) {
    run->life = (aul_crash_life){.disk = aul_simdisk_new(aul_random_next(&run->random))};
    run->life.quiet = quiet;
    run->fault = (aul_sim_fault){.at = 0};
    aul_model_init(&run->life.model);
    aul_simdisk_observe(run->life.disk, aul_crash_observe, run);
    run_steps(run);
    aul_simdisk_observe(run->life.disk, NULL, NULL);
    aul_crash_drop_follower(run);
    aul_free(run->life.store);
    aul_crash_let_go(run);
    run->trace = aul_mix(run->trace + aul_simdisk_trace(run->life.disk));
    if (!run->failed && aul_simdisk_leaks(run->life.disk))
        aul_crash_wrong(run, "%llu files or pieces of memory are left",
                        (unsigned long long)aul_simdisk_leaks(run->life.disk));
    aul_simdisk_free(run->life.disk);
    aul_model_free(&run->life.model);
    aul_model_forget_pages(0);
}

bool aul_crash_program(aul_crash_run *run) {
    run->random.state = aul_mix(run->seed);
    /* Without crashes a program takes next to no time, and some faults need many of them. */
    for (int i = 0; i <= QUIET_FIRST && !run->failed; i++) run_one(run, i < QUIET_FIRST);
    free(run->seen);
    return !run->failed;
}
