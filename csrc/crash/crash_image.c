/* crash_image.c: the life of a crash image: recovered, compared with the model, recovered again,
 * used for another commit, and crashed in all of that. See crash.h. */
#include <stdio.h>
#include <stdlib.h>

#include "crash.h"

/* Of 100 images: */
#define READ_ONLY_FIRST 6
#define READ_ONLY_AFTER_KILL 12
#define READ_ONLY_OF_CACHED 30 /* names that may be in the cache only */
#define DAMAGED 5
#define FAILING 5
#define VERIFIED 4
#define RECOVERED_AGAIN 20
#define USED 50
#define KEPT 20
#define IN_LINE 4
#define CLOSED 20
#define RUNS_OF_READER 20
#define FOLLOWED 5
#define REWOUND 10
/* One in: */
#define EVERY_CALL 300
#define EVERY_CALL_TWICE 20

/* Whether this image has not been looked at in this program, under what must hold for it. */
static bool remember(aul_crash_run *run, u64 key) {
    if (2 * (run->seen_count + 1) > run->seen_capacity) {
        size_t capacity = run->seen_capacity ? 2 * run->seen_capacity : 1024;
        u64 *old = run->seen, *grown = calloc(capacity, sizeof *grown);
        if (!grown) abort();
        for (size_t i = 0; i < run->seen_capacity; i++) {
            size_t at = (size_t)old[i] & (capacity - 1);
            while (old[i] && grown[at]) at = (at + 1) & (capacity - 1);
            if (old[i]) grown[at] = old[i];
        }
        free(old);
        run->seen = grown;
        run->seen_capacity = capacity;
    }
    key += key == 0;
    size_t at = (size_t)key & (run->seen_capacity - 1);
    for (; run->seen[at]; at = (at + 1) & (run->seen_capacity - 1))
        if (run->seen[at] == key) return false;
    run->seen[at] = key;
    run->seen_count++;
    return true;
}

/* What an open tells of what it has cut: it begins behind the last commit, and is of some size. */
static bool check_report(aul_crash_run *run, const aul_store *store) {
    const aul_store_info *info = &store->info;
    bool right = info->cut_bytes ? info->cut_lsn == info->last_lsn + 1 : !info->cut_lsn;
    if (info->was_clean) right &= !info->cut_bytes;
    return right ||
           aul_crash_wrong(run, "LSN %llu is told as cut, with %llu bytes, behind %llu",
                           (unsigned long long)info->cut_lsn, (unsigned long long)info->cut_bytes,
                           (unsigned long long)info->last_lsn);
}

bool aul_crash_accept(aul_crash_run *run, aul_store *store, aul_model *model) {
    u64 last = store->info.last_lsn;
    u64 required = aul_max(model->required, model->visible);
    if (last < required)
        return aul_crash_wrong(run, "the log ends at LSN %llu, %llu was acknowledged",
                               (unsigned long long)last, (unsigned long long)required);
    u64 must = aul_model_at(model, required)->lsn;
    if (!aul_crash_see(run, store, model)) return false;
    if (model->kept < must)
        return aul_crash_wrong(run, "LSN %llu was acknowledged, and is cut",
                               (unsigned long long)must);
    if (store->read_only) return true;
    if (!check_report(run, store)) return false;
    if (store->log.next_lsn <= model->issued)
        return aul_crash_wrong(run, "LSN %llu would be given again, up to %llu are",
                               (unsigned long long)store->log.next_lsn,
                               (unsigned long long)model->issued);
    model->issued = store->log.next_lsn - 1;
    model->required = model->visible = aul_max(required, aul_durable_lsn(store));
    return true;
}

/* The word in the lock file survives the process, and tells all that was durable; unless it could
 * not be written, or not in one piece. It may tell more where the log ended before the thread that
 * had synced came to say so. */
static void compare_with_word(aul_crash_run *run, u64 visible, u64 shown, const aul_model *model) {
    aul_store *store = run->life.store;
    u64 durable = aul_durable_lsn(store);
    bool unwritten = aul_simdisk_faults(run->life.disk) && run->fault.calls & 1u << AUL_SIM_WRITE;
    bool told = store->log.started && !unwritten;
    if (told && visible < durable)
        aul_crash_wrong(run, "a reader shows LSN %llu, %llu was durable",
                        (unsigned long long)visible, (unsigned long long)durable);
    if (shown > model->required && !store->log.failed && !aul_crash_told_first(run))
        aul_crash_wrong(run, "a reader shows LSN %llu of a dead writer, %llu was durable",
                        (unsigned long long)shown, (unsigned long long)model->required);
}

/* Down to which depth each call of this image's recovery is crashed at, of a few images. */
static u32 choose_every(aul_crash_run *run) {
    if (aul_random_below(&run->random, EVERY_CALL) != 0) return 0;
    atomic_fetch_add_explicit(&run->counts->exhausted, 1, memory_order_relaxed);
    if (aul_random_below(&run->random, EVERY_CALL_TWICE) != 0) return 1;
    atomic_fetch_add_explicit(&run->counts->exhausted_twice, 1, memory_order_relaxed);
    return 2;
}

/* The image's life is this run's for a while. */
static void begin_life(aul_crash_run *run, aul_simdisk *image, const aul_model *model,
                       aul_crash_op op, u32 every) {
    u32 depth = run->life.depth + 1;
    run->life = (aul_crash_life){.disk = image,
                                 .op = op,
                                 .in_boundary = depth >= AUL_CRASH_DEPTH_MAX,
                                 .depth = depth,
                                 .every = every,
                                 .later_first = run->later_count};
    aul_model_copy(model, &run->life.model);
    run->where[depth][0] = 0;
    aul_simdisk_observe(image, aul_crash_observe, run);
}

static void end_life(aul_crash_run *run, const aul_crash_life *outer) {
    aul_simdisk *image = run->life.disk;
    aul_simdisk_observe(image, NULL, NULL);
    aul_crash_drop_follower(run);
    aul_free(run->life.store);
    run->trace = aul_mix(run->trace + aul_simdisk_trace(image));
    if (!run->failed && aul_simdisk_leaks(image))
        aul_crash_wrong(run, "%llu files or pieces of memory are left",
                        (unsigned long long)aul_simdisk_leaks(image));
    aul_model_free(&run->life.model);
    run->life = *outer;
}

/* A read-only open, as another process: *visible is what it calls so, the result the commit that it
 * shows. */
static u64 look_at(aul_crash_run *run, aul_store **reader, u64 *visible) {
    const aul_model *model = &run->life.model;
    aul_error error = {0};
    *visible = 0;
    int status = aul_crash_open(run, run->life.disk, 1, true, reader, &error);
    atomic_fetch_add(&run->counts->read_only, 1);
    if (status == AUL_NOT_A_VOLUME && model->required == 0) return 0;
    if (status) {
        aul_crash_wrong(run, "a read-only open: %d %s", status, error.text);
        return 0;
    }
    *visible = aul_visible_lsn(*reader);
    aul_model seen;
    aul_model_copy(model, &seen);
    if (aul_crash_see(run, *reader, &seen))
        aul_crash_check_view(run, *reader, NULL, aul_model_top(&seen), false);
    if (!run->failed && aul_random_chance(&run->random, RUNS_OF_READER))
        aul_crash_check_runs(run, *reader, &seen, *visible, false);
    u64 kept = seen.kept;
    aul_model_free(&seen);
    return kept;
}

/* A process that only reads looks at the image, and changes nothing. The power goes while it does,
 * and after it: what it has shown stays. Returns that. */
static u64 look_first(aul_crash_run *run, aul_simdisk *image, const aul_model *model,
                      aul_sim_cut cut) {
    aul_store *reader = NULL;
    aul_crash_life outer = run->life;
    u64 before = aul_simdisk_hash(image), visible;
    begin_life(run, image, model, AUL_OP_READ_ONLY, outer.every);
    u64 shown = look_at(run, &reader, &visible);
    run->life.model.required = aul_max(model->required, shown);
    run->life.model.visible = aul_max(model->visible, shown);
    aul_crash_between(run);
    aul_free(reader);
    end_life(run, &outer);
    if (outer.store && cut == AUL_CUT_KILL) compare_with_word(run, visible, shown, model);
    if (aul_simdisk_hash(image) != before)
        aul_crash_wrong(run, "a read-only open changed the disk");
    return shown;
}

/* The machine crashes again at once: another recovery changes no page and no commit. */
static void recover_again(aul_crash_run *run) {
    static const aul_sim_cut cuts[] = {AUL_CUT_KILL, AUL_CUT_NONE, AUL_CUT_ALL, AUL_CUT_SUBSET};
    aul_model model;
    aul_store *store = NULL;
    aul_error error = {0};
    aul_sim_cut cut = cuts[aul_random_below(&run->random, 4)];
    aul_simdisk *again = aul_simdisk_cut(run->life.disk, cut, aul_random_next(&run->random));
    int status = aul_crash_open(run, again, 2, false, &store, &error);
    atomic_fetch_add(&run->counts->recoveries, 1);
    if (status) {
        aul_crash_wrong(run, "a second recovery: %d %s", status, error.text);
    } else {
        u64 last = aul_model_top(&run->life.model)->lsn;
        aul_model_copy(&run->life.model, &model);
        bool right = aul_crash_accept(run, store, &model);
        if (right && model.kept != last)
            right = aul_crash_wrong(run, "a second recovery ends at LSN %llu, the first at %llu",
                                    (unsigned long long)model.kept, (unsigned long long)last);
        if (right) aul_crash_check(run, store, &model, false);
        aul_model_free(&model);
        aul_free(store);
    }
    aul_simdisk_free(again);
}

void aul_crash_use(aul_crash_run *run) {
    aul_store *store = run->life.store;
    aul_model *model = &run->life.model;
    u8 changes[AUL_MODEL_CHANGES_ROOM(200)];
    u64 records;
    aul_commit_options options = {.durability = AUL_DURABILITY_SYNC};
    aul_crash_made made;
    aul_crash_begin_state(run, &options, &made);
    aul_model_state *state = aul_crash_state_of(run, &made);
    size_t bytes = aul_model_random_changes(state, &run->random, changes,
                                            1 + aul_random_below(&run->random, 200), &records);
    state->lsn = state->first_lsn + records - 1;
    aul_outcome outcome = {0};
    aul_error error = {0};
    run->life.op = AUL_OP_COMMIT;
    u64 expected = state->lsn;
    int status = aul_commit_changes(store, changes, bytes, &options, 1000, &outcome, &error);
    if (status || outcome.lsn != expected)
        aul_crash_wrong(run, "a commit after recovery: %d, LSN %llu for %llu: %s", status,
                        (unsigned long long)outcome.lsn, (unsigned long long)expected, error.text);
    model->required = aul_max(model->required, expected);
    if (!run->failed) aul_crash_check(run, store, model, false);
}

void aul_crash_close_and_look(aul_crash_run *run) {
    aul_error error = {0};
    run->life.op = AUL_OP_CLOSE;
    int status = aul_close(run->life.store, &error);
    aul_crash_note_close(&run->life.model, run->life.store);
    aul_free(run->life.store);
    run->life.store = NULL;
    if (status) {
        aul_crash_wrong(run, "a clean close: %d %s", status, error.text);
        return;
    }
    run->life.model.required = aul_model_top(&run->life.model)->lsn;
    run->life.op = AUL_OP_OPEN;
    status = aul_crash_open(run, run->life.disk, 0, aul_random_chance(&run->random, 50),
                            &run->life.store, &error);
    if (status) {
        aul_crash_wrong(run, "an open after a clean close: %d %s", status, error.text);
        return;
    }
    if (!run->life.store->info.was_clean || run->life.store->info.cut_lsn)
        aul_crash_wrong(run, "a clean close was not found clean");
    if (aul_crash_accept(run, run->life.store, &run->life.model))
        aul_crash_check(run, run->life.store, &run->life.model, false);
}

/* A follower of the dead writer, which is there when the next one comes: what it shows stays. */
static void follow(aul_crash_run *run) {
    bool in_boundary = run->life.in_boundary;
    run->life.in_boundary = true;
    aul_crash_follow(run);
    run->life.in_boundary = in_boundary;
}

/* The volume goes to another moment, or names one, acknowledged. */
static void go_elsewhere(aul_crash_run *run) {
    bool rewinds = aul_random_chance(&run->random, 70);
    run->life.op = rewinds ? AUL_OP_REWIND : AUL_OP_NAME;
    (rewinds ? aul_crash_rewind : aul_crash_name)(run, AUL_DURABILITY_SYNC);
    if (!run->failed) aul_crash_check(run, run->life.store, &run->life.model, false);
}

static void recover(aul_crash_run *run) {
    aul_error error = {0};
    if (aul_random_chance(&run->random, FOLLOWED)) follow(run);
    run->life.op = AUL_OP_RECOVER;
    int status = aul_crash_open(run, run->life.disk, 0, false, &run->life.store, &error);
    atomic_fetch_add(&run->counts->recoveries, 1);
    atomic_fetch_add(&run->counts->nested, run->life.depth > 1);
    if (status) {
        aul_crash_wrong(run, "the volume does not open: %d %s", status, error.text);
        return;
    }
    run->trace = aul_mix(run->trace + run->life.store->info.last_lsn);
    if (!aul_crash_accept(run, run->life.store, &run->life.model) ||
        !aul_crash_check(run, run->life.store, &run->life.model, false))
        return;
    aul_crash_refresh(run, true);
    aul_random *random = &run->random;
    bool in_boundary = run->life.in_boundary;
    run->life.in_boundary = true;
    if (aul_random_chance(random, VERIFIED)) aul_crash_verify(run, run->life.store);
    if (!run->failed && aul_random_chance(random, RECOVERED_AGAIN)) recover_again(run);
    run->life.in_boundary = in_boundary;
    if (!run->failed && aul_random_chance(random, USED)) aul_crash_use(run);
    if (!run->failed && aul_random_chance(random, REWOUND)) go_elsewhere(run);
    aul_crash_refresh(run, true);
    if (!run->failed && aul_random_chance(random, IN_LINE)) {
        aul_crash_line_fails(run);
        return;
    }
    run->life.op = AUL_OP_KEEP;
    if (!run->failed && aul_random_chance(random, KEPT)) {
        bool full = aul_random_chance(random, 50);
        if (full) aul_simdisk_limit(run->life.disk, 0);
        aul_keeper_work(run->life.store);
        if (!run->life.store->log.failed) aul_crash_check_sealed(run);
        if (full) aul_simdisk_limit(run->life.disk, UINT64_MAX);
        aul_crash_check(run, run->life.store, &run->life.model, false);
    }
    if (!run->failed && aul_random_chance(random, CLOSED)) aul_crash_close_and_look(run);
    aul_crash_refresh(run, true);
}

/* What else can be done with an image than to recover it. Returns the LSN that somebody has been
 * shown. */
static u64 try_variants(aul_crash_run *run, aul_simdisk *image, const aul_model *model,
                        const aul_crash_place *place) {
    aul_random *random = &run->random;
    aul_sim_cut cut = place->cut;
    bool whole = cut == AUL_CUT_KILL || cut == AUL_CUT_ALL;
    u64 shown = 0;
    u32 percent = cut == AUL_CUT_KILL ? READ_ONLY_AFTER_KILL : READ_ONLY_FIRST;
    if (cut == AUL_CUT_KILL && place->call == AUL_SIM_SYNC_DIRECTORY) percent = READ_ONLY_OF_CACHED;
    if (aul_random_chance(random, percent)) shown = look_first(run, image, model, cut);
    if (!run->failed && whole && aul_random_chance(random, 2 * DAMAGED)) {
        aul_simdisk *copy = aul_simdisk_cut(image, AUL_CUT_KILL, aul_random_next(random));
        aul_crash_damage(run, copy, model);
        aul_simdisk_free(copy);
    }
    if (!run->failed && aul_random_chance(random, FAILING))
        aul_crash_fail_recovery(run, image, model);
    return shown;
}

void aul_crash_live(aul_crash_run *run, aul_simdisk *image, const aul_model *model,
                    const aul_crash_place *place) {
    u64 hash = aul_simdisk_hash(image), promised = aul_mix(model->required) ^ model->visible;
    atomic_fetch_add_explicit(&run->counts->images, 1, memory_order_relaxed);
    if (aul_crash_is_new(hash))
        atomic_fetch_add_explicit(&run->counts->distinct, 1, memory_order_relaxed);
    run->trace = aul_mix(run->trace + hash);
    if (!remember(run, aul_mix(promised) + aul_simdisk_hash_fate(image))) return;
    atomic_fetch_add_explicit(&run->counts->hits[place->op][place->call][place->on], 1,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&run->counts->lived[place->cut], 1, memory_order_relaxed);
    u64 shown = try_variants(run, image, model, place);
    if (run->failed) return;
    aul_crash_life outer = run->life;
    begin_life(run, image, model, AUL_OP_RECOVER, outer.depth ? outer.every : choose_every(run));
    run->life.model.required = aul_max(model->required, shown);
    run->life.model.visible = aul_max(model->visible, shown);
    recover(run);
    end_life(run, &outer);
}
