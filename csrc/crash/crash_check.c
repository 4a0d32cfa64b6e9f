/* crash_check.c: whether a volume is what the model says: pages, length, past, versions. */
#include "crash.h"

#define VERSIONS_MAX 512u
#define VIEWS 2
#define PAGES_OF_VIEW 4

/* A status that may be: the disk has failed, or what it has is damaged. */
static bool is_excused(int status, bool may_fail) {
    return may_fail && (status == AUL_IO || status == AUL_CORRUPT || status == AUL_NO_MEMORY ||
                        status == AUL_UNKNOWN || status == AUL_DISK_FULL);
}

static bool check_page(aul_crash_run *run, aul_store *store, const aul_view *view,
                       const aul_model_state *state, u64 page, bool may_fail) {
    u8 bytes[AUL_MODEL_PAGE_SIZE];
    aul_error error = {0};
    int status = aul_read(store, view, page, bytes, &error);
    if (is_excused(status, may_fail)) return true;
    if (status)
        return aul_crash_wrong(run, "page %llu cannot be read as of LSN %llu: %d %s",
                               (unsigned long long)page, (unsigned long long)state->lsn, status,
                               error.text);
    if (memcmp(bytes, state->pages[page], sizeof bytes) == 0) return true;
    return aul_crash_wrong(run, "page %llu is wrong as of LSN %llu", (unsigned long long)page,
                           (unsigned long long)state->lsn);
}

bool aul_crash_check_view(aul_crash_run *run, aul_store *store, const aul_view *view,
                          const aul_model_state *state, bool may_fail) {
    u64 end = 0;
    int status = AUL_OK;
    aul_commit_info commit = {0};
    if (view)
        aul_view_describe(view, &commit);
    else
        status = aul_end_pages(store, &end, NULL);
    if (view) end = commit.end_pages;
    if (status && !is_excused(status, may_fail))
        return aul_crash_wrong(run, "the length cannot be read: %d", status);
    if (!status && end != state->end_pages)
        return aul_crash_wrong(run, "the length as of LSN %llu is %llu, not %llu",
                               (unsigned long long)state->lsn, (unsigned long long)end,
                               (unsigned long long)state->end_pages);
    if (view && state->lsn && commit.time_ns != state->time_ns)
        return aul_crash_wrong(run, "the time of LSN %llu is %llu, not %llu",
                               (unsigned long long)state->lsn, (unsigned long long)commit.time_ns,
                               (unsigned long long)state->time_ns);
    u64 first = view ? aul_random_below(&run->random, AUL_MODEL_PAGES) : 0;
    for (u64 i = 0; i < (view ? PAGES_OF_VIEW : AUL_MODEL_PAGES); i++)
        if (!check_page(run, store, view, state, (first + i) % AUL_MODEL_PAGES, may_fail))
            return false;
    return true;
}

const aul_model_state *aul_crash_shown(const aul_store *store, const aul_model *model, u64 lsn) {
    const aul_model_state *state = aul_model_at(model, lsn);
    while (state > model->states && aul_history_cut_at(&store->manifest.history, state->lsn))
        state--;
    return state;
}

/* A view of any LSN up to the visible one, the middle of a batch too. */
static bool check_past(aul_crash_run *run, aul_store *store, const aul_model *model, u64 visible,
                       bool may_fail) {
    const aul_model_state *state = &model->states[aul_random_below(&run->random, model->count)];
    u64 lsn = state->lsn;
    if (lsn > visible) return true;
    if (lsn && aul_random_chance(&run->random, 30))
        lsn = state->first_lsn + aul_random_below(&run->random, lsn - state->first_lsn + 1);
    aul_view *view = NULL;
    aul_error error = {0};
    int status = aul_view_open(store, lsn, &view, &error);
    if (is_excused(status, may_fail)) return true;
    if (status)
        return aul_crash_wrong(run, "no view of LSN %llu: %d %s", (unsigned long long)lsn, status,
                               error.text);
    bool right = aul_crash_check_view(run, store, view, aul_model_at(model, lsn), may_fail);
    aul_view_close(view);
    return right;
}

/* What was cut is refused for ever. */
static bool check_cut(aul_crash_run *run, aul_store *store, const aul_model *model) {
    size_t kept = aul_min(model->cut_count, AUL_MODEL_CUT_MAX);
    if (!kept) return true;
    u64 lsn = model->cut[aul_random_below(&run->random, kept)];
    aul_view *view = NULL;
    int status = aul_view_open(store, lsn, &view, NULL);
    if (status != AUL_OK) return true;
    aul_view_close(view);
    return aul_crash_wrong(run, "LSN %llu was cut, and has a view", (unsigned long long)lsn);
}

static bool check_versions(aul_crash_run *run, aul_store *store, const aul_model *model,
                           u64 visible, bool may_fail) {
    aul_commit_info found[VERSIONS_MAX];
    size_t count = 0, at = 0;
    u64 page = aul_random_below(&run->random, AUL_MODEL_PAGES);
    int status = aul_versions(store, NULL, page, found, VERSIONS_MAX, &count, NULL);
    if (is_excused(status, may_fail)) return true;
    if (status) return aul_crash_wrong(run, "the versions of a page cannot be read: %d", status);
    for (size_t i = model->count; i-- > 1;) {
        const aul_model_state *state = &model->states[i];
        if (state->lsn > visible || !(state->touched & 1u << page)) continue;
        if (at < count && at < VERSIONS_MAX && found[at].lsn == state->lsn &&
            found[at].time_ns == state->time_ns) {
            at++;
            continue;
        }
        return aul_crash_wrong(run, "LSN %llu changed page %llu, and is not among its versions",
                               (unsigned long long)state->lsn, (unsigned long long)page);
    }
    if (at == count) return true;
    return aul_crash_wrong(run, "page %llu has %zu versions, not %zu", (unsigned long long)page,
                           count, at);
}

bool aul_crash_verify(aul_crash_run *run, aul_store *store) {
    aul_verification *verification = NULL;
    aul_verify_report report = {0};
    aul_error error = {0};
    int status = aul_verify_open(store, &verification, &error);
    while (!status && !report.problems) status = aul_verify_step(verification, &report, &error);
    if (report.problems) aul_verify_problem(verification, &error);
    aul_verify_close(verification);
    atomic_fetch_add(&run->counts->verified, 1);
    if (status == AUL_END && !report.problems) return true;
    return aul_crash_wrong(run, "verifying: %d, %llu problems: %s", status,
                           (unsigned long long)report.problems, error.text);
}

bool aul_crash_check(aul_crash_run *run, aul_store *store, const aul_model *model, bool may_fail) {
    u64 visible = aul_visible_lsn(store);
    if (aul_durable_lsn(store) > visible)
        return aul_crash_wrong(run, "more is durable than is visible");
    bool right = aul_crash_check_view(run, store, NULL, aul_model_at(model, visible), may_fail);
    for (int i = 0; i < VIEWS && right; i++)
        right = check_past(run, store, model, visible, may_fail);
    if (right) right = check_cut(run, store, model);
    if (right) right = check_versions(run, store, model, visible, may_fail);
    return right;
}
