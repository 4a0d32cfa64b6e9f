/* crash_program.c: random programs of the engine's operations, beside the model. See crash.h.
 *
 * A program is a few sessions with one volume. A session opens it, does some of everything, and
 * ends: cleanly, by dropping the handle, with the process or with the power. Some programs have a
 * disk that fails once or for ever, some one that says it wrote what it did not. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "../diff.h"
#include "crash.h"

#define WAIT_MS 1000u

/* What a program is like. */
typedef struct {
    aul_sim_fault fault;
    u64 fault_after;  /* steps */
    bool equal_sizes; /* small commits are all of one size */
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
        for (u32 i = 0; i <= run->depth; i++)
            fprintf(stderr, "    %s%s\n", i ? "in the recovery after that: " : "at ",
                    run->where[i][0] ? run->where[i] : "the beginning");
        atomic_fetch_add(&run->counts->violations, 1);
    }
    run->failed = true;
    return false;
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
    return aul_open_on(&table, AUL_CRASH_PATH, &options, store, error);
}

/* A fault has struck: calls may fail now, and the log may have ended. */
static bool has_struck(const aul_crash_run *run) { return aul_simdisk_faults(run->disk) > 0; }

/* The disk does not fail any more. */
static void mend(aul_crash_run *run) {
    aul_simdisk_inject(run->disk, &(aul_sim_fault){.at = 0});
    run->faulty = false;
}

size_t aul_crash_begin_state(aul_crash_run *run, aul_commit_options *options) {
    aul_store *store = run->store;
    aul_model_state *state = aul_model_push(&run->model);
    u64 now = store->disk->now(store->disk->context);
    /* Sometimes the caller's clock goes back. The first commit of all has none to compare with. */
    if (run->model.count > 2 && aul_random_chance(&run->random, 10)) now -= 1000000;
    options->time_ns = now;
    state->first_lsn = store->log.next_lsn;
    state->time_ns = aul_max(now, store->log.last_time_ns);
    return run->model.count - 1;
}

/* What came of a commit that was expected to get `lsn`. */
static void note_outcome(aul_crash_run *run, size_t at, u64 lsn, int status, u32 durability,
                         const aul_outcome *outcome, const aul_error *error) {
    aul_model *model = &run->model;
    bool struck = has_struck(run);
    run->trace = aul_mix(run->trace + outcome->lsn + (u64)status);
    atomic_fetch_add_explicit(&run->counts->commits, 1, memory_order_relaxed);
    if (status && !struck)
        aul_crash_wrong(run, "a commit fails without a cause: %d %s", status, error->text);
    if (outcome->logged && outcome->lsn != lsn)
        aul_crash_wrong(run, "a commit has LSN %llu, not %llu", (unsigned long long)outcome->lsn,
                        (unsigned long long)lsn);
    if (status == AUL_OK && durability == AUL_DURABILITY_SYNC) {
        if (aul_durable_lsn(run->store) < lsn)
            aul_crash_wrong(run, "LSN %llu is acknowledged, %llu is durable",
                            (unsigned long long)lsn,
                            (unsigned long long)aul_durable_lsn(run->store));
        model->required = aul_max(model->required, lsn);
    }
    if (outcome->logged || status == AUL_UNKNOWN) return;
    if (status == AUL_OK || model->count != at + 1)
        aul_crash_wrong(run, "a commit was not logged, and is: %d", status);
    model->count = at;
}

void aul_crash_commit(aul_crash_run *run, size_t bytes, u32 durability, u32 equal_bytes) {
    aul_store *store = run->store;
    u8 *changes = malloc(AUL_MODEL_CHANGES_ROOM(bytes));
    if (!changes) abort();
    aul_commit_options options = {.durability = durability};
    u64 records = 1;
    size_t at = aul_crash_begin_state(run, &options), used;
    aul_model_state *state = aul_model_top(&run->model);
    if (equal_bytes) {
        u8 data[AUL_MODEL_PAGE_SIZE];
        for (u32 i = 0; i < equal_bytes; i++) data[i] = (u8)aul_random_next(&run->random);
        aul_change change = {.kind = AUL_WRITE,
                             .page = aul_random_below(&run->random, AUL_MODEL_PAGES),
                             .length = equal_bytes,
                             .data_bytes = equal_bytes,
                             .data = data};
        aul_model_change(state, &change);
        memset(changes, 0, AUL_CHANGE_HEADER);
        changes[0] = AUL_WRITE;
        put16(changes + 4, change.length);
        put64(changes + 8, change.page);
        memcpy(changes + AUL_CHANGE_HEADER, data, change.length);
        used = AUL_CHANGE_HEADER + change.length;
    } else {
        used = aul_model_random_changes(state, &run->random, changes, bytes, &records);
    }
    static const u8 note[40] = "a note, to make headers of several sizes";
    options.note = note;
    options.note_bytes =
        aul_random_chance(&run->random, 15) ? (u32)aul_random_below(&run->random, sizeof note) : 0;
    u64 lsn = state->lsn = state->first_lsn + records - 1;
    aul_outcome outcome = {0};
    aul_error error = {0};
    int status = aul_commit_changes(store, changes, used, &options, WAIT_MS, &outcome, &error);
    free(changes);
    note_outcome(run, at, lsn, status, durability, &outcome, &error);
}

/* Puts a whole page as the engine does: as the difference from what is there. */
static int put_page(aul_crash_run *run, aul_tx *tx, u64 *records, aul_error *error) {
    aul_model_state *state = aul_model_top(&run->model);
    aul_change changes[AUL_DIFF_CHANGES_MAX];
    u8 image[AUL_MODEL_PAGE_SIZE];
    u64 page = aul_random_below(&run->random, AUL_MODEL_PAGES);
    bool beyond = page >= state->end_pages;
    memcpy(image, state->pages[page], sizeof image);
    for (u64 n = aul_random_below(&run->random, 4); n > 0; n--)
        put64(image + aul_random_below(&run->random, sizeof image - 8),
              aul_random_next(&run->random));
    size_t count = aul_diff(AUL_MODEL_PAGE_SIZE, page, state->pages[page], image, changes);
    if (count == 0 && beyond)
        changes[count++] =
            (aul_change){.kind = AUL_FILL, .page = page, .length = AUL_MODEL_PAGE_SIZE};
    int status = aul_tx_put(tx, page, image, error);
    for (size_t i = 0; i < count && !status; i++) aul_model_change(state, &changes[i]);
    if (!status) *records += count;
    return status;
}

static int read_under(aul_crash_run *run, aul_tx *tx, aul_error *error) {
    const aul_model_state *state = aul_model_top(&run->model);
    u8 page[AUL_MODEL_PAGE_SIZE];
    u64 at = aul_random_below(&run->random, AUL_MODEL_PAGES);
    int status = aul_tx_read(tx, at, page, error);
    if (!status && memcmp(page, state->pages[at], sizeof page) != 0)
        aul_crash_wrong(run, "a transaction reads page %llu wrong", (unsigned long long)at);
    return status;
}

void aul_crash_transact(aul_crash_run *run, u32 durability) {
    aul_store *store = run->store;
    aul_commit_options options = {.durability = durability};
    aul_outcome outcome = {0};
    aul_error error = {0};
    aul_tx *tx = NULL;
    u64 records = 0;
    int status = aul_tx_begin(store, 0, &tx, &error);
    if (status) {
        if (!has_struck(run)) aul_crash_wrong(run, "no transaction: %d %s", status, error.text);
        return;
    }
    size_t at = aul_crash_begin_state(run, &options);
    for (u64 n = aul_random_below(&run->random, 5); n > 0 && !status; n--) {
        u8 changes[AUL_MODEL_CHANGES_ROOM(300)];
        u64 how = aul_random_below(&run->random, 3), more = 0;
        if (how == 0) status = read_under(run, tx, &error);
        if (how == 1) status = put_page(run, tx, &records, &error);
        if (how != 2 || status) continue;
        size_t bytes = aul_model_random_changes(aul_model_top(&run->model), &run->random, changes,
                                                1 + aul_random_below(&run->random, 300), &more);
        status = aul_tx_apply(tx, changes, bytes, &error);
        records += more;
    }
    if (status && !has_struck(run))
        aul_crash_wrong(run, "in a transaction: %d %s", status, error.text);
    if (status || records == 0 || aul_random_chance(&run->random, 10)) {
        run->model.count = at;
    } else {
        u64 lsn = aul_model_top(&run->model)->first_lsn + records - 1;
        aul_model_top(&run->model)->lsn = lsn;
        status = aul_tx_commit(tx, &options, WAIT_MS, &outcome, &error);
        note_outcome(run, at, lsn, status, durability, &outcome, &error);
    }
    aul_tx_free(tx);
}

/* Waits for a commit that was logged beside another's sync. */
static void wait_for_pending(aul_crash_run *run) {
    aul_error error = {0};
    int status = aul_wait(run->store, run->pending, AUL_DURABILITY_SYNC, WAIT_MS, &error);
    if (status == AUL_OK)
        run->model.required = aul_max(run->model.required, run->pending);
    else if (!has_struck(run))
        aul_crash_wrong(run, "waiting: %d %s", status, error.text);
    run->pending = 0;
}

void aul_crash_sync(aul_crash_run *run) {
    u64 logged = run->store->log.logged, lsn = 0;
    aul_error error = {0};
    int status = aul_sync(run->store, WAIT_MS, &lsn, &error);
    if (status == AUL_OK)
        run->model.required = aul_max(run->model.required, logged);
    else if (!has_struck(run))
        aul_crash_wrong(run, "a sync: %d %s", status, error.text);
}

static void drop_follower(aul_crash_run *run) {
    aul_free(run->follower);
    run->follower = NULL;
}

/* A read-only open beside the writer stays where it is. */
static void follow(aul_crash_run *run) {
    aul_error error = {0};
    run->op = AUL_OP_READ_ONLY;
    drop_follower(run);
    int status = aul_crash_open(run, run->disk, 2, true, &run->follower, &error);
    if (status) {
        aul_crash_wrong(run, "a read-only open: %d %s", status, error.text);
        return;
    }
    run->followed = *aul_model_at(&run->model, aul_visible_lsn(run->follower));
    atomic_fetch_add(&run->counts->followers, 1);
}

static void look(aul_crash_run *run) {
    bool in_boundary = run->in_boundary;
    run->in_boundary = true;
    aul_crash_check(run, run->store, &run->model, run->faulty);
    if (!run->faulty && aul_random_chance(&run->random, 20)) aul_crash_verify(run, run->store);
    run->in_boundary = in_boundary;
}

void aul_crash_keep(aul_crash_run *run) {
    for (u64 n = 1 + aul_random_below(&run->random, 2); n > 0; n--) {
        if (aul_random_chance(&run->random, 50)) aul_simdisk_wait(run->disk, 600000000);
        aul_keeper_work(run->store);
    }
    if (run->store->log.failed && !has_struck(run))
        aul_crash_wrong(run, "the background thread has ended the log: errno %d",
                        run->store->log.failed_errno);
}

static void step(aul_crash_run *run, const shape *like) {
    aul_random *random = &run->random;
    u32 durability = aul_random_chance(random, 70) ? AUL_DURABILITY_SYNC : AUL_DURABILITY_OS;
    u64 what = aul_random_below(random, 100);
    aul_crash_op committing = durability ? AUL_OP_COMMIT_OS : AUL_OP_COMMIT;
    if (run->pending && aul_random_chance(random, 60)) wait_for_pending(run);
    if (what < 40) {
        run->op = committing;
        aul_crash_commit(run, 1 + aul_random_below(random, 400), durability,
                         like->equal_sizes ? like->size : 0);
    } else if (what < 52) {
        run->op = committing;
        aul_crash_commit(run, 1000 + aul_random_below(random, 4000), durability, 0);
    } else if (what < 60) {
        run->op = AUL_OP_BULK;
        u64 large = aul_random_below(random, 3) * aul_random_below(random, AUL_SEGMENT_BYTES_BULK);
        aul_crash_commit(run, AUL_BULK_BYTES + large, durability, 0);
    } else if (what < 72) {
        run->op = AUL_OP_TRANSACTION;
        aul_crash_transact(run, durability);
    } else if (what < 88) {
        run->op = AUL_OP_KEEP;
        aul_crash_keep(run);
    } else if (what < 92) {
        run->op = AUL_OP_SYNC;
        aul_crash_sync(run);
    } else if (what < 96) {
        look(run);
    } else if (!run->faulty && !run->lies) {
        follow(run);
    }
    if (run->follower && aul_random_chance(random, 50))
        aul_crash_check_view(run, run->follower, NULL, &run->followed, run->faulty);
}

/* Sessions */

bool aul_crash_open_session(aul_crash_run *run) {
    aul_error error = {0};
    run->op = run->model.issued && !run->store ? AUL_OP_RECOVER : AUL_OP_OPEN;
    int status = aul_crash_open(run, run->disk, 0, false, &run->store, &error);
    if (status) {
        run->store = NULL;
        if (run->lies && status == AUL_CORRUPT) return false;
        if (has_struck(run)) { /* once more, on a disk that is mended */
            mend(run);
            status = aul_crash_open(run, run->disk, 0, false, &run->store, &error);
        }
        if (status) return aul_crash_wrong(run, "an open: %d %s", status, error.text);
    }
    if (!aul_crash_accept(run, run->store, &run->model)) return false;
    look(run);
    return !run->failed;
}

bool aul_crash_close_session(aul_crash_run *run) {
    aul_error error = {0};
    run->op = AUL_OP_CLOSE;
    int status = aul_close(run->store, &error);
    bool struck = has_struck(run), failed = run->store->log.failed;
    run->model.required = aul_max(run->model.required, aul_durable_lsn(run->store));
    run->model.issued = aul_max(run->model.issued, run->store->log.next_lsn - 1);
    if (status && !struck) aul_crash_wrong(run, "a clean close: %d %s", status, error.text);
    if (!status && !failed) run->model.required = aul_model_top(&run->model)->lsn;
    run->model.visible = run->model.required;
    aul_free(run->store);
    run->store = NULL;
    return !status && !failed;
}

/* What the session has promised to whoever comes after it. */
static void leave(aul_crash_run *run, bool power_cut) {
    aul_model *model = &run->model;
    aul_store *store = run->store;
    u64 durable = aul_durable_lsn(store);
    model->required = aul_max(model->required, durable);
    model->visible = store->log.failed || power_cut
                         ? model->required
                         : aul_max(model->required, aul_visible_lsn(store));
    model->issued = aul_max(model->issued, store->log.next_lsn - 1);
}

void aul_crash_end_session(aul_crash_run *run, aul_sim_cut cut) {
    aul_store *store = run->store;
    aul_simdisk *next = aul_simdisk_cut(run->disk, cut, aul_random_next(&run->random));
    snprintf(run->where[0], sizeof run->where[0], "a session's end by %s", aul_sim_cut_name(cut));
    leave(run, cut != AUL_CUT_KILL);
    run->trace = aul_mix(run->trace + aul_simdisk_trace(run->disk));
    aul_simdisk_observe(run->disk, NULL, NULL);
    aul_free(store);
    if (!run->failed && aul_simdisk_leaks(run->disk))
        aul_crash_wrong(run, "%llu files or pieces of memory are left",
                        (unsigned long long)aul_simdisk_leaks(run->disk));
    aul_simdisk_free(run->disk);
    run->disk = next;
    run->faulty = false; /* another disk */
    run->store = NULL;
    aul_simdisk_observe(next, aul_crash_observe, run);
}

/* The handle is dropped without a close, the process goes on. */
static void drop_session(aul_crash_run *run) {
    run->op = AUL_OP_CLOSE;
    leave(run, false);
    aul_free(run->store);
    run->store = NULL;
}

/* After a fault: what is durable can still be read, and no more is shown. The same machine goes
 * on. */
static void end_faulty_session(aul_crash_run *run) {
    if (run->store->log.failed && aul_visible_lsn(run->store) != aul_durable_lsn(run->store))
        aul_crash_wrong(run, "after a failure LSN %llu is shown, %llu is durable",
                        (unsigned long long)aul_visible_lsn(run->store),
                        (unsigned long long)aul_durable_lsn(run->store));
    look(run);
    if (run->store && aul_random_chance(&run->random, 50))
        aul_crash_close_session(run);
    else if (run->store)
        drop_session(run);
    mend(run);
}

static void end_session(aul_crash_run *run) {
    static const aul_sim_cut cuts[] = {AUL_CUT_KILL, AUL_CUT_KILL,   AUL_CUT_NONE,
                                       AUL_CUT_ALL,  AUL_CUT_PREFIX, AUL_CUT_SUBSET};
    u64 how = aul_random_below(&run->random, 10);
    drop_follower(run);
    run->pending = 0;
    if (how < 5)
        aul_crash_close_session(run);
    else if (how < 9)
        aul_crash_end_session(run, cuts[aul_random_below(&run->random, 6)]);
    else
        drop_session(run);
}

static shape choose_shape(aul_crash_run *run) {
    static const int whats[] = {EIO, EIO, EIO, ENOSPC, ENOSPC, EINTR, AUL_FAULT_SHORT};
    aul_random *random = &run->random;
    shape like = {.equal_sizes = aul_random_chance(random, 40),
                  .size = 8 + (u32)aul_random_below(random, 200),
                  .fault_after = UINT64_MAX};
    u64 kind = aul_random_below(random, 100);
    if (kind < 65) return like;
    like.fault_after = aul_random_below(random, run->steps + 1);
    like.fault = (aul_sim_fault){.calls = ~(1u << AUL_SIM_MEMORY),
                                 .at = 1 + aul_random_below(random, 60),
                                 .what = whats[aul_random_below(random, 7)],
                                 .for_ever = aul_random_chance(random, 30)};
    if (like.fault.what == EIO && aul_random_chance(random, 50))
        like.fault.calls = 1u << AUL_SIM_SYNC | 1u << AUL_SIM_SYNC_DIRECTORY;
    if (like.fault.what == ENOSPC) like.fault.calls = AUL_SIM_MAY_FILL;
    if (like.fault.what == EINTR) like.fault.calls = AUL_SIM_MAY_INTERRUPT;
    if (like.fault.what == EINTR) like.fault.for_ever = false;
    if (kind >= 88 && kind < 92) {
        like.fault.calls = 1u << AUL_SIM_MEMORY;
        like.fault.what = ENOMEM;
        like.fault.at *= 3;
    }
    if (kind >= 92) {
        like.fault.calls = 1u << AUL_SIM_WRITE;
        like.fault.what = kind < 96 ? AUL_FAULT_LOST : AUL_FAULT_MISDIRECTED;
        like.fault.for_ever = false;
        run->lies = true;
    }
    return like;
}

static void run_steps(aul_crash_run *run) {
    shape like = choose_shape(run);
    bool lies = run->lies;
    run->lies = false; /* not yet */
    if (!aul_crash_open_session(run)) return;
    for (u64 i = 0; i < run->steps && !run->failed; i++) {
        if (i == like.fault_after) {
            aul_simdisk_inject(run->disk, &like.fault);
            run->fault = like.fault;
            run->faulty = true;
            run->lies = lies;
        }
        step(run, &like);
        aul_crash_between(run);
        if (run->failed) break;
        bool ended = run->store->log.failed;
        if (!ended && !aul_random_chance(&run->random, 6)) continue;
        if (run->lies) break; /* the images have told what there is to tell */
        if (has_struck(run)) {
            drop_follower(run);
            run->pending = 0;
            end_faulty_session(run);
        } else {
            end_session(run);
        }
        aul_crash_between(run);
        if (!run->failed && !aul_crash_open_session(run)) break;
    }
}

bool aul_crash_program(aul_crash_run *run) {
    run->random.state = aul_mix(run->seed);
    run->disk = aul_simdisk_new(aul_random_next(&run->random));
    aul_model_init(&run->model);
    aul_simdisk_observe(run->disk, aul_crash_observe, run);
    run_steps(run);
    aul_simdisk_observe(run->disk, NULL, NULL);
    drop_follower(run);
    aul_free(run->store);
    run->trace = aul_mix(run->trace + aul_simdisk_trace(run->disk));
    if (!run->failed && aul_simdisk_leaks(run->disk))
        aul_crash_wrong(run, "%llu files or pieces of memory are left",
                        (unsigned long long)aul_simdisk_leaks(run->disk));
    aul_simdisk_free(run->disk);
    aul_model_free(&run->model);
    aul_model_forget_pages(0);
    free(run->seen);
    return !run->failed;
}
