/* crash_boundary.c: what happens at every call that changes the disk, before it takes effect: the
 * power is cut in several ways, a read-only process looks, another thread commits. See crash.h. */
#include <stdio.h>

#include "crash.h"

/* How often a boundary is looked at, in 1,000, by depth: at depth 0 every one. */
static const u32 attention[AUL_CRASH_DEPTH_MAX + 1] = {1000, 40, 25, 0};

const char *aul_crash_op_name(aul_crash_op op) {
    static const char *const names[] = {"open",  "recover",     "commit", "commit os",
                                        "bulk",  "transaction", "keep",   "sync",
                                        "close", "read-only"};
    return names[op];
}

static aul_crash_on classify(const char *path) {
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    if (strstr(name, ".log")) return AUL_ON_SEGMENT;
    if (strcmp(name, "spare") == 0) return AUL_ON_SPARE;
    if (strncmp(name, "MANIFEST", 8) == 0) return AUL_ON_MANIFEST;
    if (strcmp(name, "LOCK") == 0) return AUL_ON_LOCK;
    return strcmp(name, "RESERVE") == 0 ? AUL_ON_RESERVE : AUL_ON_DIRECTORY;
}

/* The model as it is for whoever comes after a crash now. */
static aul_model present(const aul_crash_run *run, bool power_cut) {
    aul_model now = run->model;
    aul_store *store = run->store;
    if (power_cut) now.visible = now.required;
    if (!store) return now;
    u64 durable = aul_durable_lsn(store), visible = aul_visible_lsn(store);
    now.required = aul_max(now.required, durable);
    now.visible = aul_max(now.visible, store->log.failed ? durable : visible);
    if (power_cut) now.visible = now.required;
    now.issued = aul_max(now.issued, store->log.next_lsn - 1);
    return now;
}

static void try_cut(aul_crash_run *run, aul_sim_cut cut, aul_sim_call call, aul_crash_on on) {
    aul_model now = present(run, cut != AUL_CUT_KILL);
    aul_simdisk *image = aul_simdisk_cut(run->disk, cut, aul_random_next(&run->random));
    atomic_fetch_add_explicit(&run->counts->hits[run->op][call][on], 1, memory_order_relaxed);
    if (run->lies)
        aul_crash_damage(run, image, &now);
    else
        aul_crash_live(run, image, &now, cut);
    aul_simdisk_free(image);
}

/* Another process looks, read-only, while this one is in the middle of a call. */
static void look_beside(aul_crash_run *run) {
    aul_store *reader = NULL;
    aul_error error = {0};
    aul_crash_op op = run->op;
    run->op = AUL_OP_READ_ONLY;
    int status = aul_crash_open(run, run->disk, 1, true, &reader, &error);
    run->op = op;
    atomic_fetch_add(&run->counts->read_only, 1);
    if (status == AUL_NOT_A_VOLUME && run->model.required == 0) return;
    if (status) {
        aul_crash_wrong(run, "a read-only open beside the writer: %d %s", status, error.text);
        return;
    }
    u64 visible = aul_visible_lsn(reader);
    if (run->store && visible > aul_durable_lsn(run->store))
        aul_crash_wrong(run, "a reader shows LSN %llu, which is not durable",
                        (unsigned long long)visible);
    aul_crash_check_view(run, reader, NULL, aul_crash_shown(reader, &run->model, visible), false);
    aul_free(reader);
}

/* Another thread commits while this one syncs: it is logged, or even written, and not durable by
 * this sync. */
static void commit_beside(aul_crash_run *run) {
    aul_store *store = run->store;
    bool written = aul_random_chance(&run->random, 40);
    aul_commit_options options = {.durability = written ? AUL_DURABILITY_OS : AUL_DURABILITY_SYNC};
    u8 changes[AUL_MODEL_CHANGES_ROOM(300)];
    u64 records;
    if (store->log.writer || store->log.writing || store->log.failed || !store->log.started) return;
    aul_model_state *state = &run->model.states[aul_crash_begin_state(run, &options)];
    size_t bytes = aul_model_random_changes(state, &run->random, changes,
                                            1 + aul_random_below(&run->random, 300), &records);
    state->lsn = state->first_lsn + records - 1;
    aul_outcome outcome = {0};
    aul_error error = {0};
    int status = aul_commit_changes(store, changes, bytes, &options, 0, &outcome, &error);
    if (outcome.logged && !written) run->pending = outcome.lsn;
    if (outcome.logged) atomic_fetch_add(&run->counts->interleaved, 1);
    if (!outcome.logged) run->model.count--;
    if (status != (written ? AUL_OK : AUL_PENDING) && !run->faulty && status != AUL_BUSY &&
        status != AUL_CLOSED)
        aul_crash_wrong(run, "a commit beside a sync: %d %s", status, error.text);
}

static void at_boundary(aul_crash_run *run, aul_sim_call call, const char *path) {
    static const aul_sim_cut cuts[] = {AUL_CUT_NONE,   AUL_CUT_ALL,     AUL_CUT_PREFIX,
                                       AUL_CUT_SUBSET, AUL_CUT_GARBAGE, AUL_CUT_KILL};
    aul_crash_on on = classify(path);
    u32 depth = run->depth;
    atomic_fetch_add_explicit(&run->counts->boundaries, depth == 0, memory_order_relaxed);
    snprintf(run->where[depth], sizeof run->where[depth], "operation %s, before the call %s of %s",
             aul_crash_op_name(run->op), aul_sim_call_name(call), path);
    if (depth > 0) {
        try_cut(run, (aul_sim_cut)aul_random_below(&run->random, AUL_CUTS), call, on);
        return;
    }
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts && !run->failed; i++)
        try_cut(run, cuts[i], call, on);
    if (!run->faulty && !run->lies && aul_random_chance(&run->random, 3)) look_beside(run);
}

void aul_crash_observe(void *argument, aul_sim_call call, const char *path) {
    aul_crash_run *run = argument;
    if (run->in_boundary || run->failed) return;
    /* The engine keeps its registry of volumes locked over the taking of the lock file, and no
     * other can be opened meanwhile. The next boundary has the same files. */
    if (!run->store && classify(path) == AUL_ON_LOCK) return;
    if (aul_random_below(&run->random, 1000) >= attention[run->depth]) return;
    run->in_boundary = true;
    at_boundary(run, call, path);
    run->in_boundary = false;
    if (call == AUL_SIM_SYNC && run->depth == 0 && run->store && run->store->log.syncing &&
        !run->pending && !run->in_commit && !run->failed && aul_random_chance(&run->random, 20)) {
        run->in_commit = true;
        commit_beside(run);
        run->in_commit = false;
    }
}

void aul_crash_between(aul_crash_run *run) {
    aul_crash_observe(run, AUL_SIM_OTHER, AUL_CRASH_PATH);
}
