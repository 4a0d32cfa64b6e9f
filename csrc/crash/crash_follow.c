/* crash_follow.c: a follower: a read-only open of another process beside the writer, kept open
 * while that goes on, ends, and is followed by another one. See crash.h.
 *
 * It stays where it is until it is refreshed. Then it shows what is durable, no less than before,
 * and exactly what the model was at some commit: pages, runs and names. */
#include "crash.h"

/* Of 100 refreshes: */
#define RUNS 20
#define COMMITS 30

/* Of 100 followers so many are refreshed in 10 cases of 100 only: whole segments lie between. */
#define RESTS 40
#define AWAKE 10

void aul_crash_drop_follower(aul_crash_run *run) {
    aul_free(run->life.follower);
    run->life.follower = NULL;
}

/* The commits that it has come over, in their order, with the pages that they changed. */
static void check_commits(aul_crash_run *run, const aul_model *seen, u64 before) {
    const aul_model_state *state = aul_model_at(seen, before);
    aul_cursor *cursor = NULL;
    aul_batch_info batch;
    aul_error error = {0};
    int status = aul_cursor_follow(run->life.follower, before, &cursor, &error);
    while (!status && !(status = aul_cursor_batch(cursor, &batch, &error))) {
        if (state == aul_model_top(seen) || batch.lsn != (++state)->lsn ||
            batch.time_ns != state->time_ns || batch.end_pages != state->end_pages)
            aul_crash_wrong(run, "a follower comes to LSN %llu", (unsigned long long)batch.lsn);
        else
            aul_crash_check_changed(run, cursor, state, false);
        if (run->failed) break;
    }
    aul_cursor_close(cursor);
    if (!run->failed && (status != AUL_END || state != aul_model_top(seen)))
        aul_crash_wrong(run, "a follower comes to LSN %llu of %llu: %d %s",
                        (unsigned long long)state->lsn,
                        (unsigned long long)aul_model_top(seen)->lsn, status, error.text);
}

/* What a follower shows has to be a state of the model. It stays: nothing of it is ever cut.
 * `before` is what it has shown before. */
static void look(aul_crash_run *run, u64 before) {
    aul_model *model = &run->life.model, seen;
    aul_store *follower = run->life.follower;
    u64 shown = aul_visible_lsn(follower);
    aul_model_copy(model, &seen);
    if (aul_crash_see(run, follower, &seen) &&
        aul_crash_check_view(run, follower, NULL, aul_model_top(&seen), false)) {
        if (aul_random_chance(&run->random, RUNS))
            aul_crash_check_runs(run, follower, &seen, shown, false);
        if (aul_random_chance(&run->random, COMMITS)) check_commits(run, &seen, before);
    }
    run->life.followed = *aul_model_top(&seen);
    model->required = aul_max(model->required, seen.kept);
    model->visible = aul_max(model->visible, seen.kept);
    aul_model_free(&seen);
}

void aul_crash_follow(aul_crash_run *run) {
    aul_error error = {0};
    run->life.op = AUL_OP_READ_ONLY;
    aul_crash_drop_follower(run);
    int status = aul_crash_open(run, run->life.disk, 2, true, &run->life.follower, &error);
    if (status == AUL_NOT_A_VOLUME && run->life.model.required == 0) return;
    if (status) {
        aul_crash_wrong(run, "a read-only open: %d %s", status, error.text);
        return;
    }
    atomic_fetch_add(&run->counts->followers, 1);
    run->life.rests = aul_random_chance(&run->random, RESTS);
    look(run, aul_visible_lsn(run->life.follower));
}

void aul_crash_check_follower(aul_crash_run *run) {
    if (run->life.follower)
        aul_crash_check_view(run, run->life.follower, NULL, &run->life.followed,
                             aul_crash_may_fail(run));
}

void aul_crash_refresh(aul_crash_run *run, bool between) {
    aul_store *follower = run->life.follower, *writer = run->life.store;
    aul_error error = {0};
    if (!follower || run->life.faulty || run->life.lies || run->failed) return;
    if (run->life.rests && !aul_random_chance(&run->random, AWAKE)) return;
    bool in_boundary = run->life.in_boundary;
    run->life.in_boundary = true;
    u64 before = aul_visible_lsn(follower), lsn = 0;
    aul_model_state state = run->life.followed;
    aul_view *view = NULL; /* stays what it is */
    int status = aul_view_open(follower, before, &view, &error);
    if (!status) status = aul_refresh(follower, AUL_CRASH_WAIT_MS, &lsn, &error);
    u64 after = aul_visible_lsn(follower);
    atomic_fetch_add_explicit(&run->counts->refreshed, 1, memory_order_relaxed);
    if (status)
        aul_crash_wrong(run, "a refresh from LSN %llu: %d %s", (unsigned long long)before, status,
                        error.text);
    else if (lsn != after || after < before)
        aul_crash_wrong(run, "a follower goes from LSN %llu to %llu, and tells %llu",
                        (unsigned long long)before, (unsigned long long)after,
                        (unsigned long long)lsn);
    else if (writer && after > aul_durable_lsn(writer) && !aul_crash_told_first(run))
        aul_crash_wrong(run, "a follower shows LSN %llu, %llu is durable",
                        (unsigned long long)after, (unsigned long long)aul_durable_lsn(writer));
    else if (writer && between && after < aul_durable_lsn(writer))
        aul_crash_wrong(run, "a follower stays at LSN %llu, %llu is durable",
                        (unsigned long long)after, (unsigned long long)aul_durable_lsn(writer));
    else if (aul_crash_check_view(run, follower, view, &state, false))
        look(run, before);
    aul_view_close(view);
    run->life.in_boundary = in_boundary;
}
