/* crash_boundary.c: what happens at every call that changes the disk, before it takes effect: the
 * power is cut in several ways, a read-only process looks, another thread goes on. See crash.h. */
#include <errno.h>
#include <stdio.h>

#include "crash.h"

#define THREAD_GIVES_WAY 50 /* of 100 */
#define SYNC_TURNS 8
#define REFRESHED 10 /* of 100 */
/* So many times as often: */
#define READER 30
#define RENAMING 4
#define SPARE_WRITES 16 /* one of them is looked at */

/* How often a boundary is looked at, in 1,000, by depth: at depth 0 every one. */
static const u32 attention[AUL_CRASH_DEPTH_MAX + 1] = {1000, 20, 15, 0};

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
    aul_model now = run->life.model;
    aul_store *store = run->life.store;
    if (power_cut) now.visible = now.required;
    if (!store) return now;
    u64 durable = aul_durable_lsn(store), visible = aul_visible_lsn(store);
    now.required = aul_max(now.required, durable);
    /* A sync may have failed, and the thread that asked for it not been told so far. */
    bool doubtful = store->log.failed || (aul_crash_struck(run) && run->fault.what == EIO);
    now.visible = doubtful || power_cut ? now.required : aul_max(now.visible, visible);
    now.issued = aul_max(now.issued, store->log.next_lsn - 1);
    return now;
}

static void begin_life(aul_crash_run *run, aul_simdisk *image, const aul_model *model,
                       const aul_crash_place *place) {
    if (aul_crash_lied(run))
        aul_crash_damage(run, image, model);
    else
        aul_crash_live(run, image, model, place);
    aul_simdisk_free(image);
}

static void try_cut(aul_crash_run *run, aul_sim_cut cut, aul_sim_call call, const char *path) {
    aul_crash_place place = {run->life.op, call, classify(path), cut};
    aul_model now = present(run, cut != AUL_CUT_KILL);
    aul_simdisk *image = aul_simdisk_cut(run->life.disk, cut, aul_random_next(&run->random));
    snprintf(run->where[run->life.depth], sizeof run->where[run->life.depth],
             "operation %s, before the call %s of %s, cut: %s", aul_crash_op_name(run->life.op),
             aul_sim_call_name(call), path, aul_sim_cut_name(cut));
    if (run->life.store || place.on != AUL_ON_LOCK) {
        begin_life(run, image, &now, &place);
        return;
    }
    /* The engine keeps its registry of volumes locked over the taking of the lock file, and no
     * other can be opened meanwhile. A write in small pieces makes more images than are kept. */
    if (run->later_count == AUL_CRASH_LATER_MAX) {
        aul_simdisk_free(image);
        return;
    }
    aul_crash_later *later = &run->later[run->later_count++];
    *later = (aul_crash_later){.image = image, .model = now, .place = place};
    memcpy(later->where, run->where[run->life.depth], sizeof later->where);
}

void aul_crash_live_later(aul_crash_run *run) {
    aul_store *store = run->life.store;
    run->life.store = NULL; /* it was not open then */
    for (size_t i = run->life.later_first; i < run->later_count; i++) {
        aul_crash_later *later = &run->later[i];
        memcpy(run->where[run->life.depth], later->where, sizeof later->where);
        run->life.in_boundary = true;
        if (run->failed)
            aul_simdisk_free(later->image);
        else
            begin_life(run, later->image, &later->model, &later->place);
        run->life.in_boundary = false;
    }
    run->later_count = run->life.later_first;
    run->life.store = store;
}

/* Another process looks, read-only, while this one is in the middle of a call. */
static void look_beside(aul_crash_run *run) {
    aul_store *reader = NULL;
    aul_error error = {0};
    aul_crash_op op = run->life.op;
    run->life.op = AUL_OP_READ_ONLY;
    int status = aul_crash_open(run, run->life.disk, 1, true, &reader, &error);
    run->life.op = op;
    atomic_fetch_add(&run->counts->read_only, 1);
    if (status == AUL_NOT_A_VOLUME && run->life.model.required == 0) return;
    if (status) {
        aul_crash_wrong(run, "a read-only open beside the writer: %d %s", status, error.text);
        return;
    }
    u64 visible = aul_visible_lsn(reader);
    if (run->life.store && visible > aul_durable_lsn(run->life.store) && !aul_crash_told_first(run))
        aul_crash_wrong(run, "a reader shows LSN %llu, which is not durable",
                        (unsigned long long)visible);
    aul_model seen;
    aul_model_copy(&run->life.model, &seen);
    if (aul_crash_see(run, reader, &seen))
        aul_crash_check_view(run, reader, NULL, aul_model_top(&seen), false);
    aul_model_free(&seen);
    aul_free(reader);
}

/* A recovery has put its manifest in its place, perhaps only in the cache: whoever comes now
 * believes it. */
static bool is_renaming(const aul_crash_run *run, aul_sim_call call) {
    return run->life.op == AUL_OP_RECOVER && call == AUL_SIM_SYNC_DIRECTORY;
}

static void at_boundary(aul_crash_run *run, aul_sim_call call, const char *path) {
    static const aul_sim_cut cuts[] = {AUL_CUT_NONE,   AUL_CUT_ALL,     AUL_CUT_PREFIX,
                                       AUL_CUT_SUBSET, AUL_CUT_GARBAGE, AUL_CUT_KILL};
    aul_crash_on on = classify(path);
    u32 depth = run->life.depth;
    atomic_fetch_add_explicit(&run->counts->boundaries, depth == 0, memory_order_relaxed);
    if (depth > 0) {
        aul_sim_cut cut = (aul_sim_cut)aul_random_below(&run->random, AUL_CUTS);
        if (is_renaming(run, call) && aul_random_chance(&run->random, 50)) cut = AUL_CUT_KILL;
        try_cut(run, cut, call, path);
        return;
    }
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts && !run->failed; i++)
        try_cut(run, cuts[i], call, path);
    bool possible = run->life.store || on != AUL_ON_LOCK;
    u32 percent = run->life.op == AUL_OP_RECOVER ? 12 : 3;
    if (possible && !run->life.faulty && !run->life.lies &&
        aul_random_chance(&run->random, percent))
        look_beside(run);
    if (possible && aul_random_chance(&run->random, REFRESHED)) aul_crash_refresh(run, false);
}

static bool is_looked_at(aul_crash_run *run, aul_sim_call call, const char *path) {
    /* Zeros over zeros, hundreds of times. */
    bool dull = call == AUL_SIM_WRITE && classify(path) == AUL_ON_SPARE;
    if (dull && aul_random_below(&run->random, SPARE_WRITES) != 0) return false;
    if (run->life.depth && run->life.depth <= run->life.every) return true;
    u32 times = run->life.op == AUL_OP_READ_ONLY ? READER : 1; /* it makes a call or two */
    if (is_renaming(run, call)) times = RENAMING;
    return aul_random_below(&run->random, 1000) < times * attention[run->life.depth];
}

void aul_crash_observe(void *argument, aul_sim_call call, const char *path) {
    aul_crash_run *run = argument;
    int thread = aul_sim_thread_current();
    if (run->life.in_boundary || run->failed) return;
    aul_crash_settle(run);
    aul_crash_op op = run->life.op;
    if (run->life.depth == 0 && thread >= 0) run->life.op = run->thread_op[thread];
    if (!run->life.quiet && is_looked_at(run, call, path)) {
        run->life.in_boundary = true;
        at_boundary(run, call, path);
        run->life.in_boundary = false;
    }
    run->life.op = op;
    if (run->life.depth && !run->life.quiet) return; /* it is another's turn in which we are */
    /* A sync takes longer than anything else. */
    for (int n = call == AUL_SIM_SYNC ? SYNC_TURNS : 1; n > 0; n--)
        aul_sim_thread_give_way(THREAD_GIVES_WAY);
}

void aul_crash_between(aul_crash_run *run) {
    aul_crash_observe(run, AUL_SIM_OTHER, AUL_CRASH_PATH);
}
