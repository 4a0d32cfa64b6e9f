/* crash_check.c: whether a volume is what the model says: pages, length, past, versions. */
#include "crash.h"

#define VERSIONS_MAX 512u
#define VIEWS 2
#define PAGES_OF_VIEW 4
#define ALL_PAGES ((1u << AUL_MODEL_PAGES) - 1)

/* A failure that may be: the disk has failed, or what it has is damaged. Damage has a place. */
static bool is_excused(aul_crash_run *run, int status, const aul_error *error, bool may_fail) {
    bool excused =
        may_fail && (status == AUL_IO || status == AUL_CORRUPT || status == AUL_NO_MEMORY ||
                     status == AUL_UNKNOWN || status == AUL_DISK_FULL);
    run->excused += excused;
    if (excused && status == AUL_CORRUPT && !error->file[0])
        aul_crash_wrong(run, "damage is told without a place: %s", error->text);
    return excused;
}

static bool check_page(aul_crash_run *run, aul_store *store, const aul_view *view,
                       const aul_model_state *state, u64 page, bool may_fail) {
    u8 bytes[AUL_MODEL_PAGE_SIZE];
    aul_error error = {0};
    int status = aul_read(store, view, page, bytes, &error);
    if (is_excused(run, status, &error, may_fail)) return true;
    if (status)
        return aul_crash_wrong(run, "page %llu cannot be read as of LSN %llu: %d %s",
                               (unsigned long long)page, (unsigned long long)state->lsn, status,
                               error.text);
    if (memcmp(bytes, state->pages[page], sizeof bytes) == 0) return true;
    return aul_crash_wrong(run, "page %llu is wrong as of LSN %llu", (unsigned long long)page,
                           (unsigned long long)state->lsn);
}

/* Length and time, and the pages of which `pages` has a bit. */
static bool check_view(aul_crash_run *run, aul_store *store, const aul_view *view,
                       const aul_model_state *state, u32 pages, bool may_fail) {
    int status = AUL_OK;
    aul_commit_info commit = {0};
    aul_error error = {0};
    if (view)
        aul_view_describe(view, &commit);
    else
        status = aul_end_pages(store, &commit.end_pages, &error);
    bool excused = is_excused(run, status, &error, may_fail);
    if (status && !excused)
        return aul_crash_wrong(run, "the length cannot be read: %d %s", status, error.text);
    if (!status && commit.end_pages != state->end_pages)
        return aul_crash_wrong(run, "the length as of LSN %llu is %llu, not %llu",
                               (unsigned long long)state->lsn, (unsigned long long)commit.end_pages,
                               (unsigned long long)state->end_pages);
    if (view && state->lsn && commit.time_ns != state->time_ns)
        return aul_crash_wrong(run, "the time of LSN %llu is %llu, not %llu",
                               (unsigned long long)state->lsn, (unsigned long long)commit.time_ns,
                               (unsigned long long)state->time_ns);
    for (u64 page = 0; page < AUL_MODEL_PAGES; page++)
        if (pages & 1u << page && !check_page(run, store, view, state, page, may_fail))
            return false;
    return true;
}

static u32 choose_pages(aul_random *random, u32 count) {
    u64 first = aul_random_below(random, AUL_MODEL_PAGES);
    u32 pages = 0;
    for (u64 i = 0; i < count; i++) pages |= 1u << (first + i) % AUL_MODEL_PAGES;
    return pages;
}

bool aul_crash_check_view(aul_crash_run *run, aul_store *store, const aul_view *view,
                          const aul_model_state *state, bool may_fail) {
    u32 pages = view ? choose_pages(&run->random, PAGES_OF_VIEW) : ALL_PAGES;
    return check_view(run, store, view, state, pages, may_fail);
}

const aul_model_state *aul_crash_shown(const aul_store *store, const aul_model *model, u64 lsn) {
    const aul_model_state *last = aul_model_at(model, lsn);
    /* What is above a commit that is cut is, too, be it logged or about to be. */
    for (const aul_model_state *state = model->states + 1; state <= last; state++)
        if (aul_history_cut_at(&store->manifest.history, state->lsn)) return state - 1;
    return last;
}

/* A view of `lsn`, which the state belongs to. */
static bool check_at(aul_crash_run *run, aul_store *store, const aul_model_state *state, u64 lsn,
                     u32 pages, bool may_fail) {
    aul_view *view = NULL;
    aul_error error = {0};
    int status = aul_view_open(store, lsn, &view, &error);
    if (is_excused(run, status, &error, may_fail)) return true;
    if (status)
        return aul_crash_wrong(run, "no view of LSN %llu: %d %s", (unsigned long long)lsn, status,
                               error.text);
    bool right = check_view(run, store, view, state, pages, may_fail);
    aul_view_close(view);
    return right;
}

/* A view of any LSN up to the visible one, the middle of a batch too. */
static bool check_past(aul_crash_run *run, aul_store *store, const aul_model *model, u64 visible,
                       bool may_fail) {
    const aul_model_state *state = &model->states[aul_random_below(&run->random, model->count)];
    u64 lsn = state->lsn;
    if (lsn > visible) return true;
    if (lsn && aul_random_chance(&run->random, 30))
        lsn = state->first_lsn + aul_random_below(&run->random, lsn - state->first_lsn + 1);
    return check_at(run, store, aul_model_at(model, lsn), lsn,
                    choose_pages(&run->random, PAGES_OF_VIEW), may_fail);
}

/* What was cut is refused for ever. */
static bool check_cut(aul_crash_run *run, aul_store *store, u64 lsn) {
    aul_view *view = NULL;
    int status = aul_view_open(store, lsn, &view, NULL);
    if (status != AUL_OK) return true;
    aul_view_close(view);
    return aul_crash_wrong(run, "LSN %llu was cut, and has a view", (unsigned long long)lsn);
}

static size_t cuts_kept(const aul_model *model) {
    return aul_min(model->cut_count, AUL_MODEL_CUT_MAX);
}

static bool check_versions(aul_crash_run *run, aul_store *store, const aul_model *model, u64 page,
                           u64 visible, bool may_fail) {
    aul_commit_info found[VERSIONS_MAX];
    size_t count = 0, at = 0;
    aul_error error = {0};
    int status = aul_versions(store, NULL, page, found, VERSIONS_MAX, &count, &error);
    if (is_excused(run, status, &error, may_fail)) return true;
    if (status)
        return aul_crash_wrong(run, "the versions of a page cannot be read: %d %s", status,
                               error.text);
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

/* One batch of the log against the state that it made; control batches made none. */
static bool check_batch(aul_crash_run *run, const aul_batch_info *batch, aul_cursor *cursor,
                        const aul_model_state *state, bool may_fail) {
    aul_record_info record;
    aul_error error = {0};
    u64 records = 0;
    int status;
    bool pages = batch->kind == AUL_BATCH_PAGES;
    if (pages && (batch->lsn != state->lsn || batch->first_lsn != state->first_lsn ||
                  batch->time_ns != state->time_ns || batch->end_pages != state->end_pages))
        return aul_crash_wrong(run, "the batch at LSN %llu in the log is another",
                               (unsigned long long)batch->lsn);
    while (!(status = aul_cursor_record(cursor, &record, &error))) records++;
    if (is_excused(run, status, &error, may_fail)) return true;
    if (status == AUL_END && records == batch->records) return true;
    return aul_crash_wrong(run, "the batch at LSN %llu has %llu records in the log: %d %s",
                           (unsigned long long)batch->lsn, (unsigned long long)records, status,
                           error.text);
}

/* The log, batch by batch, up to the first damage. */
static bool check_log(aul_crash_run *run, aul_store *store, const aul_model *model, u64 visible,
                      bool may_fail) {
    aul_cursor *cursor = NULL;
    aul_batch_info batch;
    aul_error error = {0};
    size_t at = 1;
    u64 before = run->excused;
    bool right = true;
    int status = aul_cursor_open(store, 1, visible, &cursor, &error);
    while (!status && right && run->excused == before) {
        status = aul_cursor_batch(cursor, &batch, &error);
        if (status) break;
        const aul_model_state *state = &model->states[aul_min(at, model->count - 1)];
        right = check_batch(run, &batch, cursor, state, may_fail);
        at += batch.kind == AUL_BATCH_PAGES;
    }
    aul_cursor_close(cursor);
    if (!right || is_excused(run, status, &error, may_fail) || run->excused > before) return right;
    if (status != AUL_END)
        return aul_crash_wrong(run, "the log cannot be read: %d %s", status, error.text);
    if (at == model->count || model->states[at].lsn > visible) return true;
    return aul_crash_wrong(run, "LSN %llu is not in the log",
                           (unsigned long long)model->states[at].lsn);
}

u64 aul_crash_problems(aul_crash_run *run, aul_store *store, aul_error *first) {
    aul_verification *verification = NULL;
    aul_verify_report report = {0};
    aul_error other;
    bool told = false;
    int status = aul_verify_open(store, &verification, first);
    while (!status && !(status = aul_verify_step(verification, &report, told ? &other : first)))
        if (!told) told = aul_verify_problem(verification, first) == AUL_OK;
    if (!told && report.problems) aul_verify_problem(verification, first);
    aul_verify_close(verification);
    atomic_fetch_add(&run->counts->verified, 1);
    if (status != AUL_END) aul_crash_wrong(run, "verifying ends: %d %s", status, first->text);
    return report.problems;
}

bool aul_crash_verify(aul_crash_run *run, aul_store *store) {
    aul_error first = {0};
    u64 problems = aul_crash_problems(run, store, &first);
    if (run->failed || !problems) return !run->failed;
    return aul_crash_wrong(run, "verifying: %llu problems: %s", (unsigned long long)problems,
                           first.text);
}

/* What readers see now. */
static bool check_now(aul_crash_run *run, aul_store *store, const aul_model *model, u64 visible,
                      bool may_fail) {
    if (aul_durable_lsn(store) > visible)
        return aul_crash_wrong(run, "more is durable than is visible");
    return check_view(run, store, NULL, aul_model_at(model, visible), ALL_PAGES, may_fail);
}

bool aul_crash_check(aul_crash_run *run, aul_store *store, const aul_model *model, bool may_fail) {
    u64 visible = aul_visible_lsn(store);
    size_t cuts = cuts_kept(model);
    bool right = check_now(run, store, model, visible, may_fail);
    for (int i = 0; i < VIEWS && right; i++)
        right = check_past(run, store, model, visible, may_fail);
    if (right && cuts)
        right = check_cut(run, store, model->cut[aul_random_below(&run->random, cuts)]);
    if (right)
        right = check_versions(run, store, model, aul_random_below(&run->random, AUL_MODEL_PAGES),
                               visible, may_fail);
    return right;
}

bool aul_crash_check_all(aul_crash_run *run, aul_store *store, const aul_model *model,
                         bool every_page, bool may_fail) {
    u64 visible = aul_visible_lsn(store);
    bool right = check_now(run, store, model, visible, may_fail);
    for (size_t i = 0; i < model->count && right; i++) {
        const aul_model_state *state = &model->states[i];
        if (state->lsn > visible) break;
        u64 inside = i ? aul_random_below(&run->random, state->lsn - state->first_lsn + 1) : 0;
        u32 pages = every_page ? ALL_PAGES : state->touched;
        right = check_at(run, store, state, state->lsn, pages, may_fail);
        if (right && inside) /* in the middle of the batch: the state before it */
            right = check_at(run, store, &model->states[i - 1], state->lsn - inside, 0, may_fail);
    }
    for (size_t i = 0; i < cuts_kept(model) && right; i++)
        right = check_cut(run, store, model->cut[i]);
    u32 pages = every_page ? ALL_PAGES : choose_pages(&run->random, PAGES_OF_VIEW);
    for (u64 page = 0; page < AUL_MODEL_PAGES && right; page++)
        if (pages & 1u << page) right = check_versions(run, store, model, page, visible, may_fail);
    return right && check_log(run, store, model, visible, may_fail);
}
