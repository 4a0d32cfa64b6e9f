/* crash_past.c: the runs and the restore points of a volume: what of them the engine has logged,
 * and what it shows. See crash.h.
 *
 * A commit joins the model before it is logged, for a transaction has the writer's place and knows
 * its LSNs. A rewind or a name is one call, of any thread, and takes the place somewhere in it: the
 * engine notes it first, and then logs it. What it has noted is taken from there. Whether that was
 * what the caller had asked for, is looked at when the call comes back (crash_rewind.c). */
#include "crash.h"

#define RUNS_MAX 512u

/* A rewind, or a name made or deleted, that the engine has noted. */
typedef struct {
    u64 lsn;
    const aul_branch *branch;
    const aul_restore_point *made, *deleted;
} noted;

/* The first one above the LSN; its own is 0 where there is none. */
static noted find_noted(const aul_manifest *manifest, u64 above) {
    const aul_history *history = &manifest->history;
    const aul_names *names = &manifest->names;
    noted first = {.lsn = 0};
    for (size_t i = history->count; i-- > 0 && history->items[i].resumed_at > above;)
        first = (noted){.lsn = history->items[i].resumed_at, .branch = &history->items[i]};
    for (size_t i = 0; i < names->count; i++) {
        const aul_restore_point *point = &names->items[i];
        if (point->made_lsn > above && (!first.lsn || point->made_lsn < first.lsn))
            first = (noted){.lsn = point->made_lsn, .made = point};
        if (point->deleted_lsn > above && (!first.lsn || point->deleted_lsn < first.lsn))
            first = (noted){.lsn = point->deleted_lsn, .deleted = point};
    }
    return first;
}

static void push_branch(aul_crash_run *run, const aul_branch *branch) {
    aul_model *model = &run->life.model;
    size_t parent = (size_t)(aul_model_at(model, branch->parent_at) - model->states);
    aul_model_state *state =
        aul_model_push_control(model, AUL_BRANCH_POINT, branch->resumed_at, branch->time_ns);
    aul_model_branch(model, state, branch->kind, parent);
    if (branch->kind != AUL_BRANCH_REWIND || model->states[parent].lsn != branch->parent_at)
        aul_crash_wrong(run, "a branch point at LSN %llu of kind %u goes on from %llu",
                        (unsigned long long)branch->resumed_at, branch->kind,
                        (unsigned long long)branch->parent_at);
}

static void push_made(aul_crash_run *run, const aul_restore_point *point) {
    u32 name = aul_model_find_name(point->name, point->bytes);
    aul_model_state *state = aul_model_push_control(&run->life.model, AUL_RESTORE_POINT,
                                                    point->made_lsn, point->made_ns);
    bool there = state->names & 1u << name;
    state->name = name;
    state->names |= 1u << name;
    state->named_lsn = point->lsn;
    state->named_ns = point->time_ns;
    if (name == AUL_MODEL_NAMES || there)
        aul_crash_wrong(run, "at LSN %llu a restore point is made that %s",
                        (unsigned long long)point->made_lsn,
                        there ? "is there" : "nobody has asked for");
}

static void push_deleted(aul_crash_run *run, const aul_restore_point *point) {
    aul_model *model = &run->life.model;
    u32 name = aul_model_find_name(point->name, point->bytes);
    u64 time_ns = aul_max(run->life.deletion_ns, aul_model_top(model)->time_ns);
    aul_model_state *state =
        aul_model_push_control(model, AUL_DELETE_RESTORE_POINT, point->deleted_lsn, time_ns);
    bool there = state->names & 1u << name;
    state->name = name;
    state->names &= ~(1u << name);
    if (name == AUL_MODEL_NAMES || !there)
        aul_crash_wrong(run, "at LSN %llu a restore point is deleted that is not there",
                        (unsigned long long)point->deleted_lsn);
}

void aul_crash_settle(aul_crash_run *run) {
    aul_model *model = &run->life.model;
    aul_model_state *displaced = &run->life.displaced;
    const aul_store *store = run->life.store;
    if (!store || run->failed) return;
    /* What was noted may have been taken back, where it could not be logged. */
    if (aul_model_top(model)->pending && aul_model_top(model)->kind) model->count--;
    for (;;) {
        aul_model_state *top = aul_model_top(model);
        bool open = top->pending && !top->kind; /* a transaction makes it */
        noted next = find_noted(&store->manifest, open ? top[-1].lsn : top->lsn);
        if (!next.lsn) break;
        top->pending = false;
        if (open && next.lsn <= top->lsn) { /* its LSNs have gone to another, as it seems */
            *displaced = *top;
            displaced->pending = true;
            model->count--;
        }
        if (next.branch) push_branch(run, next.branch);
        if (next.made) push_made(run, next.made);
        if (next.deleted) push_deleted(run, next.deleted);
        aul_model_top(model)->epoch = store->epoch;
        aul_model_top(model)->pending = store->log.last_commit < next.lsn;
    }
    if (!displaced->serial || (aul_model_top(model)->pending && aul_model_top(model)->kind)) return;
    /* It is known now. A rewind that could not be logged has given the place back. */
    if (aul_model_top(model)->lsn < displaced->first_lsn) {
        aul_model_push(model);
        *aul_model_top(model) = *displaced;
    }
    displaced->serial = 0;
}

/* What a volume shows */

void aul_crash_note_close(aul_model *model, const aul_store *store) {
    if (store->log.last_commit > aul_model_top(model)->lsn)
        aul_model_push_control(model, AUL_CLEAN_CLOSE, store->log.last_commit,
                               store->log.last_time_ns);
}

/* Forgets what the store does not show. */
static void forget(aul_model *model, const aul_store *store, u64 shown) {
    u64 kept = shown;
    for (size_t i = model->count; i-- > 1;) {
        u64 lsn = model->states[i].lsn;
        if (aul_history_cut_at(&store->manifest.history, lsn)) kept = aul_min(kept, lsn - 1);
    }
    aul_model_cut(model, kept);
    model->kept = aul_model_top(model)->lsn;
}

/* The cuts, and the clean closes, that are not in the model. */
static bool adopt(aul_crash_run *run, aul_model *model, const aul_history *history, u64 shown) {
    for (size_t i = aul_history_until(history, aul_model_top(model)->lsn);
         i < history->count && history->items[i].resumed_at <= shown; i++) {
        const aul_branch *branch = &history->items[i];
        if (branch->parent_at > aul_model_top(model)->lsn)
            aul_model_push_control(model, AUL_CLEAN_CLOSE, branch->parent_at, branch->time_ns);
        const aul_model_state *top = aul_model_top(model);
        if (branch->kind != AUL_BRANCH_CUT || branch->parent_at != top->lsn ||
            (top->time_ns && branch->time_ns != top->time_ns))
            return aul_crash_wrong(run,
                                   "behind LSN %llu a branch point of kind %u goes on from "
                                   "%llu at %llu",
                                   (unsigned long long)top->lsn, branch->kind,
                                   (unsigned long long)branch->parent_at,
                                   (unsigned long long)branch->resumed_at);
        size_t parent = model->count - 1;
        aul_model_state *cut =
            aul_model_push_control(model, AUL_BRANCH_POINT, branch->resumed_at, branch->time_ns);
        aul_model_branch(model, cut, AUL_BRANCH_CUT, parent);
        cut->epoch = branch->epoch;
    }
    return true;
}

/* Every branch point that is shown is the model's, and none is missing. (A follower that could not
 * go on may have noted more.) */
static bool check_history(aul_crash_run *run, const aul_history *history, const aul_model *model,
                          u64 shown) {
    size_t at = aul_history_until(history, shown);
    const aul_model_state *state = aul_model_top(model);
    for (; state > model->states; state--) {
        if (state->kind != AUL_BRANCH_POINT) continue;
        const aul_branch *branch = at ? &history->items[--at] : NULL;
        if (!branch || branch->resumed_at != state->lsn || branch->kind != state->branch ||
            branch->parent_at != model->states[state->parent].lsn ||
            branch->time_ns != state->time_ns || branch->epoch != state->epoch)
            return aul_crash_wrong(run, "the branch point at LSN %llu is lost, or another",
                                   (unsigned long long)state->lsn);
    }
    return at == 0 || aul_crash_wrong(run, "there is a branch point at LSN %llu",
                                      (unsigned long long)history->items[at - 1].resumed_at);
}

bool aul_crash_see(aul_crash_run *run, aul_store *store, aul_model *model) {
    const aul_history *history = &store->manifest.history;
    u64 shown = aul_visible_lsn(store);
    forget(model, store, store->read_only ? shown : aul_min(shown, store->info.last_lsn));
    if (!adopt(run, model, history, shown)) return false;
    u64 time_ns = aul_model_top(model)->time_ns;
    if (!time_ns) time_ns = store->log.last_time_ns; /* of the volume's first commit, then */
    if (shown > aul_model_top(model)->lsn)
        aul_model_push_control(model, AUL_CLEAN_CLOSE, shown, time_ns);
    return check_history(run, history, model, shown) &&
           aul_crash_check_names(run, store, model, shown);
}

static bool is_named(const aul_restore_point_info *info, const aul_model_state *maker) {
    size_t bytes;
    const char *text = aul_model_name(maker->name, &bytes);
    return info->made_lsn == maker->lsn && info->made_ns == maker->time_ns &&
           info->lsn == maker->named_lsn && info->time_ns == maker->named_ns &&
           info->name_bytes == bytes && memcmp(info->name, text, bytes) == 0;
}

bool aul_crash_check_names(aul_crash_run *run, aul_store *store, const aul_model *model,
                           u64 visible) {
    static aul_restore_point_info found[AUL_MODEL_NAMES];
    const aul_model_state *now = aul_model_at(model, visible);
    aul_error error = {0};
    size_t count = 0, expected = 0;
    int status = aul_restore_points(store, found, AUL_MODEL_NAMES, &count, &error);
    if (status)
        return aul_crash_wrong(run, "the restore points cannot be read: %d %s", status, error.text);
    for (u32 name = 0; name < AUL_MODEL_NAMES; name++) {
        if (!(now->names & 1u << name)) continue;
        const aul_model_state *maker = aul_model_maker(now, name);
        size_t at = 0;
        while (at < count && at < AUL_MODEL_NAMES && !is_named(&found[at], maker)) at++;
        if (at == count || at == AUL_MODEL_NAMES)
            return aul_crash_wrong(run, "as of LSN %llu the restore point of LSN %llu is lost",
                                   (unsigned long long)visible,
                                   (unsigned long long)maker->named_lsn);
        expected++;
    }
    for (size_t i = 1; i < count && count == expected; i++)
        if (found[i].made_lsn <= found[i - 1].made_lsn)
            return aul_crash_wrong(run, "restore points are out of order");
    return count == expected ||
           aul_crash_wrong(run, "there are %zu restore points, not %zu", count, expected);
}

/* What the run that begins with the state is: *state is left at the one that begins the next. */
static aul_run_info next_run(const aul_model *model, const aul_model_state **state,
                             const aul_model_state *last) {
    const aul_model_state *at = *state;
    aul_run_info run = {.lsn = at->run};
    if (at->kind == AUL_BRANCH_POINT) {
        run.kind = at->branch;
        run.parent_lsn = model->states[at->parent].lsn;
        run.epoch = at->epoch;
        run.time_ns = at->time_ns;
    }
    for (; at <= last && at->run == run.lsn; at++) {
        run.commits += at->lsn != 0;
        run.last_lsn = at->lsn;
        run.last_time_ns = at->time_ns;
    }
    *state = at;
    for (at = last; at->run > run.lsn; at = &model->states[at->parent]) continue;
    run.current = at->run == run.lsn;
    return run;
}

bool aul_crash_check_runs(aul_crash_run *run, aul_store *store, const aul_model *model, u64 visible,
                          bool may_fail) {
    static aul_run_info found[RUNS_MAX];
    const aul_model_state *last = aul_model_at(model, visible), *state = model->states;
    aul_error error = {0};
    size_t count = 0, at = 0;
    int status = aul_runs(store, found, RUNS_MAX, &count, &error);
    if (aul_crash_is_told(run, status, &error, may_fail)) return true;
    if (status) return aul_crash_wrong(run, "the runs cannot be read: %d %s", status, error.text);
    for (; state <= last && at < count && at < RUNS_MAX; at++) {
        aul_run_info expected = next_run(model, &state, last);
        memcpy(expected.reason, found[at].reason, sizeof expected.reason);
        if (memcmp(&expected, &found[at], sizeof expected) == 0) continue;
        return aul_crash_wrong(
            run,
            "the run of LSN %llu goes on from %llu with %llu commits to %llu, current %u, in "
            "the place of that of %llu from %llu with %llu to %llu, current %u",
            (unsigned long long)found[at].lsn, (unsigned long long)found[at].parent_lsn,
            (unsigned long long)found[at].commits, (unsigned long long)found[at].last_lsn,
            found[at].current, (unsigned long long)expected.lsn,
            (unsigned long long)expected.parent_lsn, (unsigned long long)expected.commits,
            (unsigned long long)expected.last_lsn, expected.current);
    }
    if (at == RUNS_MAX || (at == count && state > last)) return true;
    return aul_crash_wrong(run, "there are %zu runs as of LSN %llu", count,
                           (unsigned long long)visible);
}
