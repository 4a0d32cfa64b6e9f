/* crash_held.c: a view, a cursor and a pinned page, held open for many operations, and over the
 * failure of the log. See crash.h.
 *
 * A view stays what it was; when the log fails before what it shows was durable, it reads nothing
 * any more. A pinned page never changes. A cursor goes through commits that are visible. */
#include "crash.h"

#define PAGES 50 /* of 100 commits that a cursor shows */

void aul_crash_let_go(aul_crash_run *run) {
    aul_crash_held *held = &run->held;
    if (held->pin && memcmp(held->pinned, held->state.pages[held->page], AUL_MODEL_PAGE_SIZE) != 0)
        aul_crash_wrong(run, "the pinned page %llu has changed", (unsigned long long)held->page);
    aul_pin_release(held->pin);
    aul_cursor_close(held->cursor);
    aul_view_close(held->view);
    *held = (aul_crash_held){.view = NULL};
}

void aul_crash_hold(aul_crash_run *run) {
    aul_crash_held *held = &run->held;
    aul_random *random = &run->random;
    aul_error error = {0};
    u64 lsn = aul_visible_lsn(run->life.store);
    aul_crash_let_go(run);
    if (aul_random_chance(random, 30))
        lsn = aul_min(lsn,
                      run->life.model.states[aul_random_below(random, run->life.model.count)].lsn);
    int status = aul_view_open(run->life.store, lsn, &held->view, &error);
    if (!status) {
        held->state = *aul_model_at(&run->life.model, lsn);
        held->page = aul_random_below(random, AUL_MODEL_PAGES);
        status = aul_pin_page(run->life.store, held->view, held->page, &held->pinned, &held->pin,
                              &error);
    }
    if (!status) {
        u64 first = aul_random_below(random, lsn + 1);
        status = aul_cursor_open(run->life.store, first, UINT64_MAX, &held->cursor, &error);
        held->cursor_lsn = first;
    }
    if (status && !aul_crash_may_fail(run))
        aul_crash_wrong(run, "nothing can be held at LSN %llu: %d %s", (unsigned long long)lsn,
                        status, error.text);
    atomic_fetch_add_explicit(&run->counts->held, 1, memory_order_relaxed);
}

bool aul_crash_check_changed(aul_crash_run *run, aul_cursor *cursor, const aul_model_state *state,
                             bool may_fail) {
    u64 pages[AUL_MODEL_PAGES];
    size_t count = 0;
    u32 changed = 0;
    aul_error error = {0};
    int status = aul_cursor_pages(cursor, pages, AUL_MODEL_PAGES, &count, &error);
    if (aul_crash_is_told(run, status, &error, may_fail)) return true;
    bool sorted = count <= AUL_MODEL_PAGES;
    for (size_t i = 0; i < count && sorted; i++) {
        sorted = pages[i] < AUL_MODEL_PAGES && (i == 0 || pages[i] > pages[i - 1]);
        changed |= 1u << pages[i] % 32;
    }
    if (!status && sorted && changed == state->touched) return true;
    return aul_crash_wrong(run, "LSN %llu has changed the pages %x, told are %x: %d %s",
                           (unsigned long long)state->lsn, state->touched, changed, status,
                           error.text);
}

/* The next commit that the cursor shows. */
static void step_cursor(aul_crash_run *run) {
    aul_crash_held *held = &run->held;
    aul_batch_info batch;
    aul_error error = {0};
    int status = aul_cursor_batch(held->cursor, &batch, &error);
    if (status == AUL_END || (status && aul_crash_may_fail(run))) return;
    if (status) {
        aul_crash_wrong(run, "a cursor behind LSN %llu: %d %s",
                        (unsigned long long)held->cursor_lsn, status, error.text);
        return;
    }
    const aul_model_state *state = aul_model_at(&run->life.model, batch.lsn);
    bool known = state->lsn == batch.lsn && state->first_lsn == batch.first_lsn &&
                 state->time_ns == batch.time_ns && state->end_pages == batch.end_pages;
    if (!known || batch.lsn < held->cursor_lsn || batch.lsn > aul_visible_lsn(run->life.store))
        aul_crash_wrong(run, "a cursor behind LSN %llu shows LSN %llu, which is %s",
                        (unsigned long long)held->cursor_lsn, (unsigned long long)batch.lsn,
                        known ? "out of order" : "not what was committed");
    else if (aul_random_chance(&run->random, PAGES))
        aul_crash_check_changed(run, held->cursor, state, aul_crash_may_fail(run));
    held->cursor_lsn = batch.lsn + 1;
}

void aul_crash_check_held(aul_crash_run *run) {
    aul_crash_held *held = &run->held;
    aul_store *store = run->life.store;
    u8 bytes[AUL_MODEL_PAGE_SIZE];
    if (!held->view || !store) return;
    bool in_boundary = run->life.in_boundary;
    run->life.in_boundary = true;
    if (held->pin && memcmp(held->pinned, held->state.pages[held->page], sizeof bytes) != 0)
        aul_crash_wrong(run, "the pinned page %llu has changed", (unsigned long long)held->page);
    if (held->state.lsn <= aul_visible_lsn(store))
        aul_crash_check_view(run, store, held->view, &held->state, aul_crash_may_fail(run));
    else if (aul_read(store, held->view, held->page, bytes, NULL) != AUL_UNKNOWN)
        aul_crash_wrong(run, "a view of LSN %llu still reads, %llu is visible",
                        (unsigned long long)held->state.lsn,
                        (unsigned long long)aul_visible_lsn(store));
    if (held->cursor) step_cursor(run);
    run->life.in_boundary = in_boundary;
}
