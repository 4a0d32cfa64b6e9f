/* crash_commit.c: commits of every kind, and whether what came of them is what the model says. See
 * crash.h. */
#include <stdio.h>
#include <stdlib.h>

#include "../diff.h"
#include "crash.h"

u64 aul_crash_time(aul_crash_run *run) {
    aul_store *store = run->life.store;
    u64 now = store->disk->now(store->disk->context);
    /* The first commit of all has none to compare with. */
    bool back = run->life.model.count > 1 && aul_random_chance(&run->random, 10);
    return back ? now - 1000000 : now;
}

void aul_crash_begin_state(aul_crash_run *run, aul_commit_options *options, aul_crash_made *made) {
    aul_store *store = run->life.store;
    aul_model *model = &run->life.model;
    aul_crash_settle(run);
    /* Whoever made that one has lost the writer's place to a rewind that had nothing to do, or has
     * logged it and not been told so far. */
    bool logged = store->log.last_commit >= aul_model_top(model)->lsn;
    if (aul_model_top(model)->pending && !logged) model->count--;
    aul_model_top(model)->pending = false;
    options->time_ns = aul_crash_time(run);
    aul_model_state *state = aul_model_push(model);
    state->pending = true;
    state->first_lsn = store->log.next_lsn;
    state->lsn = UINT64_MAX; /* nobody sees it */
    state->epoch = store->epoch + !store->log.started;
    state->time_ns = aul_max(options->time_ns, store->log.last_time_ns);
    state->durable = aul_durable_lsn(store);
    made->at = model->count - 1;
    made->serial = state->serial;
    made->rewinds = run->life.rewinds_over;
    made->overtaken = false;
    aul_sim_thread_stay(false);
}

static bool is_there(const aul_crash_run *run, const aul_crash_made *made) {
    const aul_model *model = &run->life.model;
    return made->at < model->count && model->states[made->at].serial == made->serial;
}

aul_model_state *aul_crash_state_of(aul_crash_run *run, aul_crash_made *made) {
    aul_model *model = &run->life.model;
    aul_crash_settle(run);
    if (is_there(run, made)) return &model->states[made->at];
    if (run->life.displaced.serial == made->serial) return &run->life.displaced;
    if (!made->overtaken) made->apart = *aul_model_top(model);
    made->overtaken = true;
    return &made->apart;
}

void aul_crash_drop_state(aul_crash_run *run, aul_crash_made *made) {
    aul_crash_settle(run);
    if (is_there(run, made)) run->life.model.count = made->at;
    if (run->life.displaced.serial == made->serial) run->life.displaced.serial = 0;
}

/* An acknowledged "os" commit survives the process, and is shown; unless the log has failed since,
 * and so before it was durable: then it must not have been acknowledged. */
static void note_os(aul_crash_run *run, u64 lsn) {
    aul_store *store = run->life.store;
    if (store->log.failed && aul_durable_lsn(store) < lsn)
        aul_crash_wrong(run, "LSN %llu is acknowledged, the log has failed, %llu is durable",
                        (unsigned long long)lsn, (unsigned long long)aul_durable_lsn(store));
    if (aul_visible_lsn(store) < lsn)
        aul_crash_wrong(run, "LSN %llu is acknowledged, %llu is visible", (unsigned long long)lsn,
                        (unsigned long long)aul_visible_lsn(store));
    run->life.model.visible = aul_max(run->life.model.visible, lsn);
}

/* The header of the first frame of the batch that ends with `lsn`; false when it has left memory
 * since, or begins in an older segment. */
static bool find_frame(aul_crash_run *run, const aul_segment *segment, u64 lsn, aul_frame *frame) {
    const aul_commit *commit = segment->part ? aul_part_commit_of(segment->part, lsn) : NULL;
    if (!commit || commit->lsn != lsn || commit->offset == AUL_NO_OFFSET) return false;
    u8 header[AUL_FRAME_HEADER];
    char path[64];
    if (segment->image && commit->offset >= segment->image_start) {
        memcpy(header, segment->image + (commit->offset - segment->image_start), sizeof header);
    } else {
        snprintf(path, sizeof path, AUL_CRASH_PATH "/log/%s", segment->name);
        if (!aul_simdisk_peek(run->life.disk, path, commit->offset, header, sizeof header))
            return false;
    }
    return aul_frame_decode(header, segment->id, commit->offset, frame) == AUL_OK;
}

/* Frames say what was durable when they were made: by that damage is told from a torn tail, and an
 * engine that says less would be asked for less. */
static void check_evidence(aul_crash_run *run, const aul_model_state *state, u64 lsn) {
    aul_page_index *index = &run->life.store->index;
    aul_segment_list *list = aul_page_index_list(index);
    aul_frame frame;
    size_t i = list->count;
    while (i > 0 && list->items[i - 1]->first_lsn > state->first_lsn) i--;
    if (i && find_frame(run, list->items[i - 1], lsn, &frame) &&
        frame.durable_before < state->durable)
        aul_crash_wrong(run, "the frame of LSN %llu says that %llu was durable, %llu was",
                        (unsigned long long)lsn, (unsigned long long)frame.durable_before,
                        (unsigned long long)state->durable);
    aul_segment_list_release(index, list);
}

void aul_crash_note_promise(aul_crash_run *run, u64 lsn, int status, u32 durability,
                            const aul_outcome *outcome, const aul_error *error) {
    aul_model *model = &run->life.model;
    run->trace = aul_mix(run->trace + outcome->lsn + (u64)status);
    atomic_fetch_add_explicit(&run->counts->commits, 1, memory_order_relaxed);
    bool waits = durability == AUL_DURABILITY_LOGGED && status == AUL_PENDING;
    if (status && !waits && !aul_crash_excused(run, status))
        aul_crash_wrong(run, "a commit fails without a cause: %d %s", status, error->text);
    if (outcome->logged && outcome->lsn != lsn)
        aul_crash_wrong(run, "a commit has LSN %llu, not %llu", (unsigned long long)outcome->lsn,
                        (unsigned long long)lsn);
    if (status == AUL_OK && durability == AUL_DURABILITY_SYNC) {
        if (aul_durable_lsn(run->life.store) < lsn)
            aul_crash_wrong(run, "LSN %llu is acknowledged, %llu is durable",
                            (unsigned long long)lsn,
                            (unsigned long long)aul_durable_lsn(run->life.store));
        model->required = aul_max(model->required, lsn);
    }
    if (status == AUL_OK && durability == AUL_DURABILITY_OS) note_os(run, lsn);
    if (status && !waits && outcome->logged && status != AUL_UNKNOWN)
        aul_crash_wrong(run, "LSN %llu is logged, and told as not committed: %d",
                        (unsigned long long)lsn, status);
    if (status == AUL_UNKNOWN && aul_durable_lsn(run->life.store) >= lsn)
        aul_crash_wrong(run, "LSN %llu is durable, and told as unknown", (unsigned long long)lsn);
    if (waits) run->life.logged[run->life.logged_count++] = lsn;
}

/* A transaction that is in conflict with a rewind. */
static void note_conflict(aul_crash_run *run, aul_crash_made *made, const aul_outcome *outcome) {
    aul_crash_drop_state(run, made);
    atomic_fetch_add_explicit(&run->counts->conflicts, 1, memory_order_relaxed);
    if (outcome->logged)
        aul_crash_wrong(run, "LSN %llu is logged, and in conflict with a rewind",
                        (unsigned long long)outcome->lsn);
    if (made->rewinds == run->life.rewinds)
        aul_crash_wrong(run, "a transaction is in conflict, and nobody has rewound");
}

/* What came of a commit that was expected to get `lsn`. */
static void note_outcome(aul_crash_run *run, aul_crash_made *made, u64 lsn, int status,
                         u32 durability, const aul_outcome *outcome, const aul_error *error) {
    if (status == AUL_CONFLICT) {
        note_conflict(run, made, outcome);
        return;
    }
    aul_crash_note_promise(run, lsn, status, durability, outcome, error);
    aul_model_state *state = aul_crash_state_of(run, made);
    if (outcome->logged || status == AUL_UNKNOWN) {
        if (made->overtaken)
            aul_crash_wrong(run, "LSN %llu is logged, and a rewind has come before it",
                            (unsigned long long)lsn);
        else if (outcome->logged)
            check_evidence(run, state, lsn);
        state->pending = false;
        return;
    }
    if (status == AUL_OK || (!made->overtaken && run->life.model.count != made->at + 1))
        aul_crash_wrong(run, "a commit was not logged, and is: %d", status);
    aul_crash_drop_state(run, made);
}

/* Packs one write of `bytes` bytes, as do many: commits of one size. */
static size_t one_write(aul_model_state *state, aul_random *random, u8 *to, size_t bytes) {
    u8 data[AUL_MODEL_PAGE_SIZE];
    for (size_t i = 0; i < bytes; i++) data[i] = (u8)aul_random_next(random);
    aul_change change = {.kind = AUL_WRITE,
                         .page = aul_random_below(random, AUL_MODEL_PAGES),
                         .length = (u32)bytes,
                         .data_bytes = (u32)bytes,
                         .data = data};
    aul_model_change(state, &change);
    memset(to, 0, AUL_CHANGE_HEADER);
    to[0] = AUL_WRITE;
    put16(to + 4, change.length);
    put64(to + 8, change.page);
    memcpy(to + AUL_CHANGE_HEADER, data, bytes);
    return AUL_CHANGE_HEADER + bytes;
}

/* With a transaction of its own, as others may be about to commit; or in one call. */
static int carry_out(aul_crash_run *run, aul_tx *tx, const u8 *changes, size_t bytes,
                     const aul_commit_options *options, aul_outcome *outcome, aul_error *error) {
    if (!tx)
        return aul_commit_changes(run->life.store, changes, bytes, options, AUL_CRASH_WAIT_MS,
                                  outcome, error);
    int status = aul_tx_apply(tx, changes, bytes, error);
    return status ? status : aul_tx_commit(tx, options, AUL_CRASH_WAIT_MS, outcome, error);
}

aul_tx *aul_crash_begin(aul_crash_run *run) {
    aul_error error = {0};
    aul_tx *tx = NULL;
    aul_sim_thread_stay(true); /* before the model knows of it, nobody is to take the place */
    int status = aul_tx_begin(run->life.store, NULL, AUL_CRASH_WAIT_MS, &tx, &error);
    if (status && !aul_crash_excused(run, status))
        aul_crash_wrong(run, "no transaction: %d %s", status, error.text);
    if (!status && run->life.store->log.failed)
        aul_crash_wrong(run, "a transaction begins, and the log has failed");
    if (status) aul_sim_thread_stay(false);
    return status ? NULL : tx;
}

u32 aul_crash_can_wait(const aul_crash_run *run, u32 durability) {
    bool room = run->life.logged_count < AUL_CRASH_LOGGED_MAX && aul_sim_thread_current() < 0;
    return durability == AUL_DURABILITY_LOGGED && !room ? AUL_DURABILITY_SYNC : durability;
}

/* The commit is for the newest run, or for any; returns whether it is for one left behind. */
static bool is_for_another(aul_crash_run *run, u64 *other_run, aul_commit_options *options) {
    const aul_model *model = &run->life.model;
    u64 now = model->states[model->count - 2].run; /* below the one that is being made */
    if (!aul_random_chance(&run->random, 20)) return false;
    *other_run = model->states[aul_random_below(&run->random, model->count - 1)].run;
    if (aul_random_chance(&run->random, 50)) *other_run = now;
    options->run = other_run;
    return *other_run != now;
}

void aul_crash_commit(aul_crash_run *run, size_t bytes, u32 durability, u32 equal_bytes) {
    static const u8 note[40] = "a note, to make headers of several sizes";
    aul_tx *tx = NULL;
    bool in_one_call = aul_sim_thread_current() < 0 && aul_random_chance(&run->random, 80);
    if (!in_one_call && !(tx = aul_crash_begin(run))) return;
    durability = aul_crash_can_wait(run, durability);
    u8 *changes = malloc(AUL_MODEL_CHANGES_ROOM(aul_max(bytes, equal_bytes)));
    if (!changes) abort();
    aul_commit_options options = {.durability = durability, .note = note};
    u64 records = 1;
    size_t used;
    aul_crash_made made;
    aul_crash_begin_state(run, &options, &made);
    aul_model_state *state = aul_crash_state_of(run, &made);
    if (equal_bytes)
        used = one_write(state, &run->random, changes, equal_bytes);
    else
        used = aul_model_random_changes(state, &run->random, changes, bytes, &records);
    if (aul_random_chance(&run->random, 15))
        options.note_bytes = (u32)aul_random_below(&run->random, sizeof note);
    u64 lsn = state->lsn = state->first_lsn + records - 1;
    aul_outcome outcome = {0};
    aul_error error = {0};
    u64 other_run = 0;
    bool conflicts = in_one_call && is_for_another(run, &other_run, &options);
    int status = carry_out(run, tx, changes, used, &options, &outcome, &error);
    free(changes);
    if (conflicts && status != AUL_CONFLICT && !aul_crash_excused(run, status))
        aul_crash_wrong(run, "changes made for another run: %d, LSN %llu", status,
                        (unsigned long long)outcome.lsn);
    if (conflicts) made.rewinds = UINT64_MAX; /* what it is for was rewound before */
    note_outcome(run, &made, lsn, status, durability, &outcome, &error);
    aul_tx_free(tx);
}

/* With a call of its own, or as a change among others. */
static int put_image(aul_crash_run *run, aul_tx *tx, u64 page, const u8 *image, aul_error *error) {
    u8 change[AUL_CHANGE_HEADER + AUL_MODEL_PAGE_SIZE] = {AUL_PUT};
    if (aul_random_chance(&run->random, 50)) return aul_tx_put(tx, page, image, error);
    put16(change + 4, AUL_MODEL_PAGE_SIZE);
    put64(change + 8, page);
    memcpy(change + AUL_CHANGE_HEADER, image, AUL_MODEL_PAGE_SIZE);
    return aul_tx_apply(tx, change, sizeof change, error);
}

/* Puts a whole page as the engine does: as the difference from what is there. */
static int put_page(aul_crash_run *run, aul_tx *tx, aul_crash_made *made, u64 *records,
                    aul_error *error) {
    aul_model_state *state = aul_crash_state_of(run, made);
    aul_change changes[AUL_DIFF_CHANGES_MAX];
    u8 image[AUL_MODEL_PAGE_SIZE];
    u64 page = aul_random_below(&run->random, AUL_MODEL_PAGES);
    bool beyond = page >= state->end_pages;
    memcpy(image, state->pages[page], sizeof image);
    for (u64 n = aul_random_below(&run->random, 4); n > 0; n--)
        put64(image + aul_random_below(&run->random, sizeof image - 8),
              aul_random_next(&run->random));
    size_t count = aul_page_changes(AUL_MODEL_PAGE_SIZE, page, state->pages[page], image, changes);
    if (count == 0 && beyond)
        changes[count++] =
            (aul_change){.kind = AUL_FILL, .page = page, .length = AUL_MODEL_PAGE_SIZE};
    int status = put_image(run, tx, page, image, error);
    if (!status) state = aul_crash_state_of(run, made);
    for (size_t i = 0; i < count && !status; i++) aul_model_change(state, &changes[i]);
    if (!status) *records += count;
    return status;
}

static int read_under(aul_crash_run *run, aul_tx *tx, aul_crash_made *made, aul_error *error) {
    u8 page[AUL_MODEL_PAGE_SIZE];
    u64 at = aul_random_below(&run->random, AUL_MODEL_PAGES);
    const u8 *expected = aul_crash_state_of(run, made)->pages[at];
    int status = aul_tx_read(tx, at, page, error);
    if (!status && memcmp(page, expected, sizeof page) != 0)
        aul_crash_wrong(run, "a transaction reads page %llu wrong", (unsigned long long)at);
    return status;
}

/* Changes of which the last is none: all of them are refused. */
static int apply_refused(aul_crash_run *run, aul_tx *tx, aul_crash_made *made, aul_error *error) {
    u8 changes[AUL_MODEL_CHANGES_ROOM(300) + AUL_CHANGE_HEADER] = {0};
    aul_model_state scratch = *aul_crash_state_of(run, made);
    u64 records;
    size_t bytes = aul_model_random_changes(&scratch, &run->random, changes,
                                            1 + aul_random_below(&run->random, 300), &records);
    memset(changes + bytes, 0xff, AUL_CHANGE_HEADER);
    int status = aul_tx_apply(tx, changes, bytes + AUL_CHANGE_HEADER, error);
    if (status == AUL_OK) aul_crash_wrong(run, "a change that is none is taken");
    return status == AUL_INPUT ? AUL_OK : status;
}

static int do_some(aul_crash_run *run, aul_tx *tx, aul_crash_made *made, u64 *records,
                   bool *has_read, aul_error *error) {
    u8 changes[AUL_MODEL_CHANGES_ROOM(300)];
    u64 how = aul_random_below(&run->random, 8), more = 0;
    *has_read |= how < 2;
    if (how < 2) return read_under(run, tx, made, error);
    if (how < 4) return put_page(run, tx, made, records, error);
    if (how < 6) return apply_refused(run, tx, made, error);
    size_t bytes = aul_model_random_changes(aul_crash_state_of(run, made), &run->random, changes,
                                            1 + aul_random_below(&run->random, 300), &more);
    int status = aul_tx_apply(tx, changes, bytes, error);
    *records += more;
    return status;
}

/* A transaction that wrote nothing ends when what it has read is sure to stay. */
static void end_reading(aul_crash_run *run, aul_tx *tx, aul_crash_made *made, u64 seen,
                        u32 durability) {
    aul_commit_options options = {.durability = durability};
    aul_outcome outcome = {0};
    aul_error error = {0};
    int status = aul_tx_commit(tx, &options, AUL_CRASH_WAIT_MS, &outcome, &error);
    if (status == AUL_CONFLICT)
        note_conflict(run, made, &outcome);
    else if (status && !aul_crash_excused(run, status))
        aul_crash_wrong(run, "a transaction that only read: %d %s", status, error.text);
    if (status == AUL_OK && aul_visible_lsn(run->life.store) < seen)
        aul_crash_wrong(run, "a transaction has read LSN %llu and ended, %llu is visible",
                        (unsigned long long)seen,
                        (unsigned long long)aul_visible_lsn(run->life.store));
}

void aul_crash_transact(aul_crash_run *run, u32 durability) {
    aul_error error = {0};
    aul_tx *tx = aul_crash_begin(run);
    if (!tx) return;
    durability = aul_crash_can_wait(run, durability);
    aul_commit_options options = {.durability = durability};
    aul_outcome outcome = {0};
    u64 records = 0, seen = run->life.store->log.last_commit;
    bool has_read = false;
    int status = AUL_OK;
    aul_crash_made made;
    aul_crash_begin_state(run, &options, &made);
    for (u64 n = aul_random_below(&run->random, 5); n > 0 && !status; n--)
        status = do_some(run, tx, &made, &records, &has_read, &error);
    if (status == AUL_CONFLICT)
        note_conflict(run, &made, &outcome);
    else if (status && !aul_crash_excused(run, status))
        aul_crash_wrong(run, "in a transaction: %d %s", status, error.text);
    if (status || aul_random_chance(&run->random, 10)) {
        aul_crash_drop_state(run, &made);
    } else if (records == 0) {
        aul_crash_drop_state(run, &made);
        if (durability == AUL_DURABILITY_LOGGED) durability = AUL_DURABILITY_SYNC;
        end_reading(run, tx, &made, has_read ? seen : 0, durability);
    } else {
        aul_model_state *state = aul_crash_state_of(run, &made);
        u64 lsn = state->lsn = state->first_lsn + records - 1;
        status = aul_tx_commit(tx, &options, AUL_CRASH_WAIT_MS, &outcome, &error);
        note_outcome(run, &made, lsn, status, durability, &outcome, &error);
    }
    aul_tx_free(tx);
}

void aul_crash_commit_over(aul_crash_run *run, u64 lsn, u32 durability) {
    u8 changes[AUL_MODEL_CHANGES_ROOM(200)];
    aul_commit_options options = {.durability = AUL_DURABILITY_SYNC};
    aul_outcome outcome = {0};
    aul_error error = {0};
    aul_crash_made made;
    aul_tx *tx = aul_crash_begin(run);
    if (!tx) return;
    u64 records, before = run->life.store->log.last_commit;
    aul_crash_begin_state(run, &options, &made);
    aul_model_state *state = aul_crash_state_of(run, &made);
    size_t bytes = aul_model_random_changes(state, &run->random, changes,
                                            1 + aul_random_below(&run->random, 200), &records);
    int status = aul_tx_apply(tx, changes, bytes, &error);
    if (status && !aul_crash_excused(run, status))
        aul_crash_wrong(run, "in a transaction: %d %s", status, error.text);
    if (!status) aul_crash_rewind_to(run, lsn, durability);
    bool rewound = run->life.store->log.last_commit != before;
    if (status || run->failed) {
        aul_crash_drop_state(run, &made);
    } else {
        state = aul_crash_state_of(run, &made);
        u64 expected = state->lsn = state->first_lsn + records - 1;
        status = aul_tx_commit(tx, &options, AUL_CRASH_WAIT_MS, &outcome, &error);
        note_outcome(run, &made, expected, status, AUL_DURABILITY_SYNC, &outcome, &error);
        if ((status == AUL_CONFLICT) != rewound)
            aul_crash_wrong(run, "a transaction, and a rewind that was %s: %d %s",
                            rewound ? "logged" : "in vain", status, error.text);
    }
    aul_tx_free(tx);
}

void aul_crash_wait_logged(aul_crash_run *run) {
    while (run->life.logged_count) {
        size_t i = aul_random_below(&run->random, run->life.logged_count);
        u64 lsn = run->life.logged[i];
        aul_error error = {0};
        run->life.logged[i] = run->life.logged[--run->life.logged_count];
        int status = aul_wait(run->life.store, lsn, AUL_DURABILITY_SYNC, AUL_CRASH_WAIT_MS, &error);
        if (status == AUL_OK)
            run->life.model.required = aul_max(run->life.model.required, lsn);
        else if (!aul_crash_excused(run, status))
            aul_crash_wrong(run, "waiting: %d %s", status, error.text);
        if (aul_random_chance(&run->random, 30)) return;
    }
}

void aul_crash_sync(aul_crash_run *run) {
    u64 logged = run->life.store->log.logged, lsn = 0;
    aul_error error = {0};
    int status = aul_sync(run->life.store, AUL_CRASH_WAIT_MS, &lsn, &error);
    if (status == AUL_OK)
        run->life.model.required = aul_max(run->life.model.required, logged);
    else if (!aul_crash_excused(run, status))
        aul_crash_wrong(run, "a sync: %d %s", status, error.text);
}
