/* crash_check.c: whether a volume is what the model says: pages, length, past, versions. */
#include "crash.h"

#define VERSIONS_MAX 512u
#define VIEWS 2
#define PAGES_OF_VIEW 4
#define CACHED 20 /* of 100 pages */
/* Of 100 checks: */
#define RUNS 20
#define TIMES 10
#define DIFFS 10
#define ALL_PAGES ((1u << AUL_MODEL_PAGES) - 1)

bool aul_crash_is_told(aul_crash_run *run, int status, const aul_error *error, bool may_fail) {
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
    if (aul_crash_is_told(run, status, &error, may_fail)) return true;
    if (status)
        return aul_crash_wrong(run, "page %llu cannot be read as of LSN %llu: %d %s",
                               (unsigned long long)page, (unsigned long long)state->lsn, status,
                               error.text);
    bool right = memcmp(bytes, state->pages[page], sizeof bytes) == 0;
    /* The same from the cache, where it mostly is now. */
    if (right && aul_random_chance(&run->random, CACHED) &&
        aul_read_cached(store, view, &page, 1, bytes, NULL) == AUL_OK)
        right = memcmp(bytes, state->pages[page], sizeof bytes) == 0;
    return right || aul_crash_wrong(run, "page %llu is wrong as of LSN %llu",
                                    (unsigned long long)page, (unsigned long long)state->lsn);
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
    bool excused = aul_crash_is_told(run, status, &error, may_fail);
    if (status && !excused)
        return aul_crash_wrong(run, "the length cannot be read: %d %s", status, error.text);
    if (!status && commit.end_pages != state->end_pages)
        return aul_crash_wrong(run, "the length as of LSN %llu is %llu, not %llu",
                               (unsigned long long)state->lsn, (unsigned long long)commit.end_pages,
                               (unsigned long long)state->end_pages);
    if (view && commit.lsn != state->lsn)
        return aul_crash_wrong(run, "a view is of LSN %llu, not %llu",
                               (unsigned long long)commit.lsn, (unsigned long long)state->lsn);
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

/* A view of `lsn`, which the state belongs to. */
static bool check_at(aul_crash_run *run, aul_store *store, const aul_model_state *state, u64 lsn,
                     u32 pages, bool may_fail) {
    aul_view *view = NULL;
    aul_error error = {0};
    int status = aul_view_open(store, lsn, &view, &error);
    if (aul_crash_is_told(run, status, &error, may_fail)) return true;
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
    if (aul_crash_is_told(run, status, &error, may_fail)) return true;
    if (status)
        return aul_crash_wrong(run, "the versions of a page cannot be read: %d %s", status,
                               error.text);
    const aul_model_state *state = aul_model_at(model, visible);
    for (; state->lsn; state = &model->states[state->parent]) {
        if (!(state->touched & 1u << page)) continue;
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

/* A control batch's record. */
static bool is_control(const aul_model *model, const aul_model_state *state,
                       const aul_record_info *record) {
    size_t bytes;
    if (record->kind != state->kind) return false;
    if (state->kind == AUL_CLEAN_CLOSE) return record->data_bytes == 0;
    if (state->kind == AUL_BRANCH_POINT) {
        aul_branch branch;
        return aul_branch_decode(record->data, record->data_bytes, &branch) == AUL_OK &&
               branch.parent_at == model->states[state->parent].lsn &&
               branch.resumed_at == state->lsn && branch.kind == state->branch;
    }
    aul_restore_point point;
    const char *name = aul_model_name(state->name, &bytes);
    return aul_restore_point_decode(record->data, record->data_bytes, &point) == AUL_OK &&
           point.bytes == bytes && memcmp(point.name, name, bytes) == 0 &&
           point.made_lsn == aul_model_maker(state, state->name)->lsn;
}

/* One batch of the log against the state that it made. */
static bool check_batch(aul_crash_run *run, const aul_batch_info *batch, aul_cursor *cursor,
                        const aul_model *model, const aul_model_state *state, bool may_fail) {
    aul_record_info record;
    aul_error error = {0};
    u64 records = 0;
    int status;
    bool same = batch->kind == (state->kind ? AUL_BATCH_CONTROL : AUL_BATCH_PAGES) &&
                batch->lsn == state->lsn && batch->first_lsn == state->first_lsn &&
                batch->time_ns == state->time_ns && batch->end_pages == state->end_pages;
    while (same && !(status = aul_cursor_record(cursor, &record, &error))) {
        records++;
        if (state->kind) same = is_control(model, state, &record);
    }
    if (!same)
        return aul_crash_wrong(run, "the batch at LSN %llu in the log is another",
                               (unsigned long long)batch->lsn);
    if (aul_crash_is_told(run, status, &error, may_fail)) return true;
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
        right = check_batch(run, &batch, cursor, model, state, may_fail);
        at++;
    }
    aul_cursor_close(cursor);
    if (!right || aul_crash_is_told(run, status, &error, may_fail) || run->excused > before)
        return right;
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
    const aul_model_state *state = aul_model_at(model, visible);
    if (state->lsn != visible)
        return aul_crash_wrong(run, "LSN %llu is visible, and no commit",
                               (unsigned long long)visible);
    return check_view(run, store, NULL, state, ALL_PAGES, may_fail);
}

/* The commit that a time means is the last one by then, in whatever run. */
static bool check_time(aul_crash_run *run, aul_store *store, const aul_model *model, u64 visible,
                       bool may_fail) {
    const aul_model_state *last = aul_model_at(model, visible), *first = model->states + 1;
    u64 count = (u64)(last - model->states) + 1;
    u64 time_ns = model->states[aul_random_below(&run->random, count)].time_ns;
    time_ns += aul_random_below(&run->random, 3);
    if (time_ns) time_ns--;
    aul_commit_info found, first_found;
    aul_error error = {0};
    int status = aul_lsn_at(store, time_ns, &found, &first_found, &error);
    if (aul_crash_is_told(run, status, &error, may_fail)) return true;
    while (last > model->states && last->time_ns > time_ns) last--;
    u64 first_lsn = count > 1 ? first->lsn : 0;
    if (!status && found.lsn == last->lsn && first_found.lsn == first_lsn &&
        (!found.lsn || found.time_ns == last->time_ns))
        return true;
    return aul_crash_wrong(run,
                           "the time %llu means LSN %llu of those from %llu, not %llu from "
                           "%llu: %d %s",
                           (unsigned long long)time_ns, (unsigned long long)found.lsn,
                           (unsigned long long)first_found.lsn, (unsigned long long)last->lsn,
                           (unsigned long long)first_lsn, status, error.text);
}

/* A few pages at a time, until there are no more. */
static int read_diff(aul_diff *diff, u32 *pages, bool *sorted, aul_error *error) {
    u64 some[3], before = 0;
    size_t count;
    int status;
    *pages = 0;
    *sorted = true;
    while (!(status = aul_diff_next(diff, some, 3, &count, error)))
        for (size_t i = 0; i < count; i++) {
            *sorted &= some[i] < AUL_MODEL_PAGES && (*pages == 0 || some[i] > before);
            *pages |= 1u << (before = some[i]) % 32;
        }
    return status;
}

/* The pages that differ between two commits, on whatever paths. */
static bool check_diff(aul_crash_run *run, aul_store *store, const aul_model *model, u64 visible,
                       bool may_fail) {
    u64 count = (u64)(aul_model_at(model, visible) - model->states) + 1;
    const aul_model_state *a = &model->states[aul_random_below(&run->random, count)];
    const aul_model_state *b = &model->states[aul_random_below(&run->random, count)];
    aul_view *view_a = NULL, *view_b = NULL;
    aul_diff *diff = NULL;
    aul_error error = {0};
    u32 told = 0;
    bool sorted = true;
    int status = aul_view_open(store, a->lsn, &view_a, &error);
    if (!status) status = aul_view_open(store, b->lsn, &view_b, &error);
    if (!status) status = aul_diff_open(store, view_a, view_b, &diff, &error);
    if (!status) status = read_diff(diff, &told, &sorted, &error);
    aul_diff_close(diff);
    aul_view_close(view_a);
    aul_view_close(view_b);
    atomic_fetch_add_explicit(&run->counts->compared, 1, memory_order_relaxed);
    if (aul_crash_is_told(run, status, &error, may_fail)) return true;
    aul_model_between between = aul_model_compare(model, a, b);
    if (status == AUL_END && sorted && !(between.different & ~told) && !(told & ~between.touched))
        return true;
    return aul_crash_wrong(run,
                           "between LSN %llu and %llu the pages %x differ, and %x are touched, "
                           "told are %x: %d %s",
                           (unsigned long long)a->lsn, (unsigned long long)b->lsn,
                           between.different, between.touched, told, status, error.text);
}

bool aul_crash_check(aul_crash_run *run, aul_store *store, const aul_model *model, bool may_fail) {
    u64 visible = aul_visible_lsn(store);
    size_t cuts = cuts_kept(model);
    bool right = check_now(run, store, model, visible, may_fail);
    for (int i = 0; i < VIEWS && right; i++)
        right = check_past(run, store, model, visible, may_fail);
    if (right) right = aul_crash_check_names(run, store, model, visible);
    if (right && aul_random_chance(&run->random, RUNS))
        right = aul_crash_check_runs(run, store, model, visible, may_fail);
    if (right && aul_random_chance(&run->random, TIMES))
        right = check_time(run, store, model, visible, may_fail);
    if (right && aul_random_chance(&run->random, DIFFS))
        right = check_diff(run, store, model, visible, may_fail);
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
    right = right && aul_crash_check_names(run, store, model, visible) &&
            aul_crash_check_runs(run, store, model, visible, may_fail);
    for (int i = 0; i < VIEWS && right; i++)
        right = check_time(run, store, model, visible, may_fail) &&
                check_diff(run, store, model, visible, may_fail);
    return right && check_log(run, store, model, visible, may_fail);
}
