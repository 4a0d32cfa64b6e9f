/* fuzz_batch.c: the input is packed changes, as callers hand them in (docs/api.md). They are parsed
 * under several page sizes, made into records and read back; and committed to a volume, at once or
 * in parts, beside the crash campaign's plain model. What the checks let pass is committed, what
 * they refuse changes nothing, and pages are the model's: in the transaction, after it, and after
 * the volume was opened again. */
#include "fuzz.h"
#include "volumes.h"

#include "../crash/crash_model.h"

#define BY_TRANSACTION 1u /* in halves, by a transaction; else at once */
#define REOPEN 2u         /* opened again at the end */
#define KILLED 4u         /* without a close */

static aul_store *open_volume(aul_simdisk *disk) {
    aul_disk table = aul_fuzz_table(disk, 0);
    aul_options options = {.cache_bytes = 8 * AUL_FUZZ_PAGE_SIZE};
    aul_store *store;
    aul_error error = {0};
    int status = aul_open_on(&table, AUL_FUZZ_PATH, &options, &store, &error);
    AUL_FUZZ_MUST(!status, "the volume does not open: %s", error.text);
    return store;
}

/* One change as a record, and back. */
static void check_record(u32 page_size, const aul_change *change, u64 lsn) {
    static u8 record[AUL_RECORD_HEADER + AUL_PAGE_SIZE_MAX], page[AUL_PAGE_SIZE_MAX];
    aul_change found;
    aul_record_encode(record, change, lsn, 1);
    AUL_FUZZ_MUST(!aul_record_decode(record, aul_record_bytes(change), page_size, lsn, 1, &found),
                  "the record of a change that was let pass is none");
    AUL_FUZZ_MUST(found.kind == change->kind && found.page == change->page &&
                      found.offset == change->offset && found.length == change->length &&
                      found.extra == change->extra && found.data_bytes == change->data_bytes &&
                      (!found.data_bytes || !memcmp(found.data, change->data, found.data_bytes)),
                  "a change is not what its record says");
    AUL_FUZZ_MUST(aul_record_decode(record, aul_record_bytes(change) - 1, page_size, lsn, 1,
                                    &found) == AUL_CORRUPT);
    aul_record_redo(page, page_size, change);
}

/* Whether all of them are right, by the two ways to see it. */
static bool check_changes(u32 page_size, const u8 *changes, size_t bytes) {
    int status = AUL_OK;
    for (size_t at = 0; at < bytes && !status;) {
        aul_change change;
        size_t used;
        status = aul_change_parse(page_size, changes + at, bytes - at, &change, &used, NULL);
        if (status) break;
        if (change.kind == AUL_PUT) change.kind = AUL_IMAGE; /* no record is one */
        AUL_FUZZ_MUST(used >= AUL_CHANGE_HEADER && used <= bytes - at);
        check_record(page_size, &change, at + 1);
        at += used;
    }
    AUL_FUZZ_MUST((aul_changes_check(page_size, changes, bytes, NULL, NULL) == AUL_OK) == !status);
    return !status;
}

/* Does the changes to the model, which knows the lowest pages only. Returns the bytes of the first
 * `most` of them. */
static size_t apply(aul_model_state *state, const u8 *changes, size_t bytes, size_t most) {
    size_t at = 0, used;
    for (size_t n = 0; at < bytes && n < most; n++, at += used) {
        aul_change change;
        AUL_FUZZ_MUST(
            !aul_change_parse(AUL_FUZZ_PAGE_SIZE, changes + at, bytes - at, &change, &used, NULL));
        if (change.kind == AUL_PUT) change.kind = AUL_IMAGE;
        if (change.kind == AUL_TRUNCATE || change.page < AUL_MODEL_PAGES)
            aul_model_change(state, &change);
        else
            state->end_pages = aul_max(state->end_pages, change.page + 1);
    }
    return at;
}

static void check_pages(aul_store *store, aul_tx *tx, const aul_model_state *state) {
    u8 page[AUL_FUZZ_PAGE_SIZE];
    u64 end;
    for (u64 i = 0; i < AUL_MODEL_PAGES; i++) {
        int status = tx ? aul_tx_read(tx, i, page, NULL) : aul_read(store, NULL, i, page, NULL);
        AUL_FUZZ_MUST(!status && memcmp(page, state->pages[i], sizeof page) == 0,
                      "page %llu is wrong", (unsigned long long)i);
    }
    AUL_FUZZ_MUST(!(tx ? aul_tx_end_pages(tx, &end, NULL) : aul_end_pages(store, &end, NULL)));
    AUL_FUZZ_MUST(end == state->end_pages, "the length is %llu, not %llu", (unsigned long long)end,
                  (unsigned long long)state->end_pages);
}

static void commit_at_once(aul_store *store, const u8 *changes, size_t bytes, bool right,
                           aul_model_state *state) {
    aul_commit_options options = {.durability = AUL_DURABILITY_SYNC};
    aul_outcome outcome = {0};
    int status = aul_commit_changes(store, changes, bytes, &options, 1000, &outcome, NULL);
    AUL_FUZZ_MUST(right ? !status : status == AUL_INPUT && !outcome.logged, "status %d", status);
    if (right) apply(state, changes, bytes, SIZE_MAX);
}

static void commit_in_parts(aul_store *store, const u8 *changes, size_t bytes, bool right,
                            aul_model_state *state) {
    aul_tx *tx;
    aul_commit_options options = {.durability = AUL_DURABILITY_SYNC};
    aul_outcome outcome = {0};
    AUL_FUZZ_MUST(!aul_tx_begin(store, NULL, 1000, &tx, NULL));
    size_t first = right ? apply(state, changes, bytes, 2) : 0;
    AUL_FUZZ_MUST(!aul_tx_apply(tx, changes, first, NULL));
    check_pages(store, tx, state);
    int status = aul_tx_apply(tx, changes + first, bytes - first, NULL);
    AUL_FUZZ_MUST(status == (right ? AUL_OK : AUL_INPUT), "status %d", status);
    if (right) apply(state, changes + first, bytes - first, SIZE_MAX);
    check_pages(store, tx, state);
    AUL_FUZZ_MUST(!aul_tx_put(tx, 3, state->pages[2], NULL));
    state->end_pages = aul_max(state->end_pages, 4);
    state->pages[3] = state->pages[2];
    check_pages(store, tx, state);
    status = aul_tx_commit(tx, &options, 1000, &outcome, NULL);
    AUL_FUZZ_MUST(!status, "status %d", status);
    aul_tx_free(tx);
}

static void commit(u32 flags, const u8 *changes, size_t bytes, bool right) {
    aul_model model;
    aul_model_init(&model);
    aul_model_state *state = aul_model_push(&model);
    aul_simdisk *disk = aul_fuzz_volume_disk(aul_fuzz_volume_get(0));
    aul_store *store = open_volume(disk);
    (flags & BY_TRANSACTION ? commit_in_parts : commit_at_once)(store, changes, bytes, right,
                                                                state);
    check_pages(store, NULL, state);
    if (flags & REOPEN) {
        if (!(flags & KILLED)) AUL_FUZZ_MUST(!aul_close(store, NULL));
        aul_free(store);
        store = open_volume(disk);
        check_pages(store, NULL, state);
    }
    aul_free(store);
    aul_model_free(&model);
    aul_model_forget_pages(0);
    aul_fuzz_end_disk(disk);
}

void aul_fuzz_run(aul_fuzz_input *input) {
    u32 flags = (u32)aul_fuzz_take(input, 1);
    bool right = false;
    static const u32 sizes[] = {4096, 65536, AUL_FUZZ_PAGE_SIZE};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        right = check_changes(sizes[i], input->at, input->left);
    commit(flags, input->at, input->left, right);
}

size_t aul_fuzz_seed(size_t n, u8 to[AUL_FUZZ_INPUT_MAX]) {
    if (n >= 16) return 0;
    aul_model model;
    aul_random random = {n + 1};
    u64 records;
    aul_model_init(&model);
    to[0] = (u8)n;
    size_t bytes = aul_model_random_changes(aul_model_push(&model), &random, to + 1,
                                            n < 12 ? 200 : 3000, &records);
    aul_model_free(&model);
    aul_model_forget_pages(0);
    return bytes + 1;
}
