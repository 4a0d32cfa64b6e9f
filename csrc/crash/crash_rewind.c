/* crash_rewind.c: rewinds and restore points, and whether what came of them is what was asked for.
 * See crash.h.
 *
 * They go to any commit that there is: on the path or left behind, forth and back, of this session
 * or an older one. What a rewind comes between is over, and nothing of it is there. */
#include "crash.h"

static const u8 note[40] = "why, in more bytes than a reason has";

static bool in_thread(void) { return aul_sim_thread_current() >= 0; }

/* Whether a view of the LSN is refused: it is not visible, or was cut. */
static bool is_refused(const aul_crash_run *run, u64 lsn) {
    const aul_store *store = run->life.store;
    return lsn > atomic_load(&store->log.visible) ||
           aul_history_cut_at(&store->manifest.history, lsn);
}

/* Mostly that of a commit, or one in the middle of it; some that nobody can go to. */
static u64 choose_lsn(aul_crash_run *run) {
    aul_random *random = &run->random;
    const aul_model *model = &run->life.model;
    u64 visible = aul_visible_lsn(run->life.store), how = aul_random_below(random, 100);
    if (how < 4 && !in_thread()) return visible + 1 + aul_random_below(random, 3);
    if (how < 8 && model->cut_count)
        return model->cut[aul_random_below(random, aul_min(model->cut_count, AUL_MODEL_CUT_MAX))];
    if (how < 35 && run->life.left_lsn && run->life.left_lsn <= visible) return run->life.left_lsn;
    size_t count = (size_t)(aul_model_at(model, visible) - model->states) + 1;
    /* Near by, or anywhere. */
    size_t back = aul_random_below(random, how < 60 ? aul_min(count, 6) : count);
    const aul_model_state *state = &model->states[count - 1 - back];
    u64 inside = state->lsn - state->first_lsn;
    return inside && how % 4 == 0 ? state->lsn - aul_random_below(random, inside) : state->lsn;
}

static aul_commit_options choose_options(aul_crash_run *run, u32 durability) {
    aul_commit_options options = {.durability = aul_crash_can_wait(run, durability), .note = note};
    if (aul_random_chance(&run->random, 30))
        options.note_bytes = (u32)aul_random_below(&run->random, sizeof note);
    /* Of a deletion the engine keeps no time: among threads it has that of the commit before. */
    options.time_ns = in_thread() ? 1 : aul_crash_time(run);
    run->life.deletion_ns = options.time_ns;
    return options;
}

/* What was logged at `lsn`, or NULL when it is none of that kind. */
static const aul_model_state *find_logged(aul_crash_run *run, u64 lsn, u32 kind, u64 time_ns) {
    const aul_model_state *state = aul_model_at(&run->life.model, lsn);
    bool there = lsn && state->lsn == lsn && state->kind == kind;
    if (!there)
        aul_crash_wrong(run, "LSN %llu is told to be of kind %u, and is of %u",
                        (unsigned long long)lsn, kind, state->kind);
    else if (state->time_ns != aul_max(time_ns, state[-1].time_ns))
        aul_crash_wrong(run, "LSN %llu, of kind %u, has another time", (unsigned long long)lsn,
                        kind);
    return there ? state : NULL;
}

/* Rewinding */

static void check_between(aul_crash_run *run, const aul_rewind_info *info,
                          const aul_model_state *from, const aul_model_state *to, bool dry) {
    aul_model_between between = aul_model_compare(&run->life.model, from, to);
    u64 touched = (u64)__builtin_popcount(between.touched);
    u64 different = (u64)__builtin_popcount(between.different);
    if (info->from_lsn != from->lsn || info->to_lsn != to->lsn || info->to_time_ns != to->time_ns)
        aul_crash_wrong(run, "a rewind from LSN %llu goes to %llu, not from %llu to %llu",
                        (unsigned long long)info->from_lsn, (unsigned long long)info->to_lsn,
                        (unsigned long long)from->lsn, (unsigned long long)to->lsn);
    else if (info->commits != between.only_a || info->regained != between.only_b)
        aul_crash_wrong(run,
                        "a rewind from LSN %llu to %llu leaves %llu commits, %llu come back, "
                        "not %llu and %llu",
                        (unsigned long long)from->lsn, (unsigned long long)to->lsn,
                        (unsigned long long)info->commits, (unsigned long long)info->regained,
                        (unsigned long long)between.only_a, (unsigned long long)between.only_b);
    else if (dry && (info->pages < different || info->pages > touched))
        aul_crash_wrong(run, "a rewind from LSN %llu to %llu changes %llu pages, of %llu to %llu",
                        (unsigned long long)from->lsn, (unsigned long long)to->lsn,
                        (unsigned long long)info->pages, (unsigned long long)different,
                        (unsigned long long)touched);
}

/* Whether the status says that the call was refused or failed, and may have been. */
static bool is_over(aul_crash_run *run, const char *what, u64 lsn, bool refused, int status,
                    const aul_error *error) {
    if (status == AUL_LSN && (refused || run->life.store->log.failed)) return true;
    if (status == AUL_OK || status == AUL_PENDING || status == AUL_UNKNOWN) {
        if (refused)
            aul_crash_wrong(run, "%s LSN %llu, which nobody can see", what,
                            (unsigned long long)lsn);
        return refused;
    }
    if (!aul_crash_excused(run, status))
        aul_crash_wrong(run, "%s LSN %llu: %d %s", what, (unsigned long long)lsn, status,
                        error->text);
    return true;
}

static void preview(aul_crash_run *run, u64 lsn) {
    aul_model *model = &run->life.model;
    aul_commit_options options = {0};
    aul_rewind_info info = {0};
    aul_outcome outcome = {0};
    aul_error error = {0};
    bool refused = is_refused(run, lsn);
    const aul_model_state *from = aul_model_at(model, aul_visible_lsn(run->life.store));
    const aul_model_state *to = aul_model_at(model, lsn);
    int status = aul_backtrack(run->life.store, lsn, 1, &options, AUL_CRASH_WAIT_MS, &info,
                               &outcome, &error);
    if (is_over(run, "a rewind is tried to", lsn, refused, status, &error)) return;
    if (info.lsn || outcome.logged) aul_crash_wrong(run, "a dry run is logged");
    if (!run->failed) check_between(run, &info, from, to, true);
}

/* The branch point is where it belongs, and what it tells is so. */
static void check_rewind(aul_crash_run *run, u64 lsn, u64 time_ns, const aul_rewind_info *info) {
    const aul_model *model = &run->life.model;
    const aul_model_state *to = aul_model_at(model, lsn);
    if (!info->lsn) {
        if (info->from_lsn != info->to_lsn || info->to_lsn != to->lsn)
            aul_crash_wrong(run, "there was nothing to do from LSN %llu to %llu, told as %llu",
                            (unsigned long long)info->from_lsn, (unsigned long long)lsn,
                            (unsigned long long)info->to_lsn);
        return;
    }
    const aul_model_state *state = find_logged(run, info->lsn, AUL_BRANCH_POINT, time_ns);
    if (!state) return;
    if (&model->states[state->parent] != to)
        aul_crash_wrong(run, "a rewind to LSN %llu goes to %llu, not %llu", (unsigned long long)lsn,
                        (unsigned long long)model->states[state->parent].lsn,
                        (unsigned long long)to->lsn);
    else
        check_between(run, info, state - 1, to, false);
}

void aul_crash_rewind_to(aul_crash_run *run, u64 lsn, u32 durability) {
    aul_commit_options options = choose_options(run, durability);
    aul_rewind_info info = {0};
    aul_outcome outcome = {0};
    aul_error error = {0};
    bool refused = is_refused(run, lsn);
    run->life.rewinds++;
    int status = aul_backtrack(run->life.store, lsn, 0, &options, AUL_CRASH_WAIT_MS, &info,
                               &outcome, &error);
    run->life.rewinds_over++;
    aul_crash_settle(run);
    atomic_fetch_add_explicit(&run->counts->rewinds, info.lsn != 0, memory_order_relaxed);
    if (run->failed) return;
    if (!outcome.logged && is_over(run, "a rewind to", lsn, refused, status, &error)) return;
    check_rewind(run, lsn, options.time_ns, &info);
    run->life.left_lsn = info.from_lsn;
    if (outcome.logged)
        aul_crash_note_promise(run, info.lsn, status, options.durability, &outcome, &error);
}

void aul_crash_rewind(aul_crash_run *run, u32 durability) {
    u64 lsn = choose_lsn(run);
    if (!in_thread() && aul_random_chance(&run->random, 20))
        preview(run, lsn);
    else if (!in_thread() && aul_random_chance(&run->random, 25))
        aul_crash_commit_over(run, lsn, durability);
    else
        aul_crash_rewind_to(run, lsn, durability);
}

/* Naming */

/* What the program may be told of a name that is there already, or is not; among threads it may
 * have been so when the call had its turn. */
static bool is_name_over(aul_crash_run *run, bool expected, int status) {
    bool said = status == AUL_NAME;
    if (!in_thread() && said != expected && (said || status == AUL_OK || status == AUL_PENDING))
        aul_crash_wrong(run, "a restore point is %s", said ? "refused" : "taken");
    return said || run->failed;
}

static void delete_name(aul_crash_run *run, u32 name, const aul_commit_options *options) {
    aul_outcome outcome = {0};
    aul_error error = {0};
    size_t bytes;
    const char *text = aul_model_name(name, &bytes);
    bool there = aul_model_top(&run->life.model)->names & 1u << name;
    int status = aul_restore_point_delete(run->life.store, text, bytes, options, AUL_CRASH_WAIT_MS,
                                          &outcome, &error);
    aul_crash_settle(run);
    if (is_name_over(run, !there, status)) return;
    if (!outcome.logged && is_over(run, "a name is deleted", 0, false, status, &error)) return;
    const aul_model_state *state =
        find_logged(run, outcome.lsn, AUL_DELETE_RESTORE_POINT, options->time_ns);
    if (state && state->name != name) aul_crash_wrong(run, "another name is deleted");
    if (state)
        aul_crash_note_promise(run, outcome.lsn, status, options->durability, &outcome, &error);
}

static void make_name(aul_crash_run *run, u32 name, const aul_commit_options *options) {
    aul_restore_point_info info = {0};
    aul_outcome outcome = {0};
    aul_error error = {0};
    size_t bytes;
    const char *text = aul_model_name(name, &bytes);
    u64 lsn = aul_random_chance(&run->random, 50) ? AUL_NEWEST : choose_lsn(run);
    bool there = aul_model_top(&run->life.model)->names & 1u << name;
    bool refused = lsn != AUL_NEWEST && is_refused(run, lsn);
    int status = aul_restore_point_make(run->life.store, text, bytes, lsn, options,
                                        AUL_CRASH_WAIT_MS, &info, &outcome, &error);
    aul_crash_settle(run);
    if (!refused && is_name_over(run, there, status)) return;
    if (!outcome.logged && is_over(run, "a name is given to", lsn, refused, status, &error)) return;
    const aul_model_state *state =
        find_logged(run, outcome.lsn, AUL_RESTORE_POINT, options->time_ns);
    if (!state) return;
    const aul_model_state *named =
        lsn == AUL_NEWEST ? state - 1 : aul_model_at(&run->life.model, lsn);
    if (state->name != name || state->named_lsn != named->lsn ||
        state->named_ns != named->time_ns || info.lsn != named->lsn ||
        info.made_lsn != state->lsn || info.made_ns != state->time_ns)
        aul_crash_wrong(run,
                        "the restore point made at LSN %llu names %llu, told as %llu, not %llu",
                        (unsigned long long)state->lsn, (unsigned long long)state->named_lsn,
                        (unsigned long long)info.lsn, (unsigned long long)named->lsn);
    aul_crash_note_promise(run, outcome.lsn, status, options->durability, &outcome, &error);
}

void aul_crash_name(aul_crash_run *run, u32 durability) {
    aul_commit_options options = choose_options(run, durability);
    u32 name = (u32)aul_random_below(&run->random, AUL_MODEL_NAMES);
    bool there = aul_model_top(&run->life.model)->names & 1u << name;
    if (aul_random_chance(&run->random, there ? 80 : 10))
        delete_name(run, name, &options);
    else
        make_name(run, name, &options);
    atomic_fetch_add_explicit(&run->counts->named, 1, memory_order_relaxed);
}
