/* fuzz_recovery.c: a volume's directory, edited (volumes.h), is opened: read-only first, perhaps,
 * or beside a process that has the lock; then for writing. What opens is looked at in every way
 * there is, committed to, rewound, closed or killed, and opened again: it ends at the same LSN
 * then, and each page, run and restore point is what it was, unless verifying finds that the volume
 * was damaged before. */
#include <stdio.h>

#include "fuzz.h"
#include "volumes.h"

#define PAGES 12
#define VERSIONS_MAX 8
#define BATCHES_MAX 256
#define RECORDS_MAX 2048
#define VIEWS_MAX 6
#define STEPS_MAX 64
#define RUNS_MAX 64
#define NAMES_MAX 64
#define PAGES_MAX 4096

#define READ_ONLY 1u /* opened read-only first */
#define LOCKED 2u    /* beside somebody who has the lock */
#define COMMITTED 4u /* committed to, and rewound */
#define KEPT 8u      /* the background thread has worked */
#define KILLED 16u   /* not closed */
#define LAZY 32u     /* the commit is not synced */
#define SEEN 64u     /* looked at before it is committed to */
#define VERIFIED 128u

static bool is_refused(int status) {
    return status == AUL_CORRUPT || status == AUL_FORMAT || status == AUL_NOT_A_VOLUME;
}

static int open_volume(aul_simdisk *disk, u32 process, bool read_only, aul_store **store,
                       aul_error *error) {
    aul_disk table = aul_fuzz_table(disk, process);
    aul_options options = {.read_only = read_only, .cache_bytes = 8 * AUL_FUZZ_PAGE_SIZE};
    *store = NULL;
    int status = aul_open_on(&table, AUL_FUZZ_PATH, &options, store, error);
    /* A volume without its log's directory is an error of the disk. */
    AUL_FUZZ_MUST(!status || is_refused(status) || status == AUL_IO, "opening: %d %s", status,
                  error->text);
    return status;
}

static void look_at_view(aul_store *store, u64 lsn) {
    static u8 page[AUL_PAGE_SIZE_MAX];
    aul_view *view;
    aul_commit_info commits[VERSIONS_MAX];
    size_t count;
    int status = aul_view_open(store, lsn, &view, NULL);
    AUL_FUZZ_MUST(!status || status == AUL_LSN || is_refused(status), "status %d", status);
    if (status) return;
    aul_view_describe(view, &commits[0]);
    AUL_FUZZ_MUST(commits[0].lsn <= lsn);
    for (u64 i = 0; i < 4; i++) {
        status = aul_read(store, view, i, page, NULL);
        AUL_FUZZ_MUST(!status || is_refused(status), "status %d", status);
        status = aul_versions(store, view, i, commits, VERSIONS_MAX, &count, NULL);
        AUL_FUZZ_MUST(!status || is_refused(status), "status %d", status);
    }
    aul_view_close(view);
}

static void look_at_log(aul_store *store) {
    aul_cursor *cursor;
    aul_batch_info batch;
    aul_record_info record;
    AUL_FUZZ_MUST(!aul_cursor_open(store, 0, UINT64_MAX, &cursor, NULL));
    int status = AUL_OK;
    u64 last = 0, records = 0;
    for (int i = 0; i < BATCHES_MAX && !status; i++) {
        status = aul_cursor_batch(cursor, &batch, NULL);
        AUL_FUZZ_MUST(!status || status == AUL_END || is_refused(status), "status %d", status);
        if (status) break;
        AUL_FUZZ_MUST(batch.lsn > last, "the cursor goes back");
        last = batch.lsn;
        while (records < RECORDS_MAX && !(status = aul_cursor_record(cursor, &record, NULL)))
            records++;
        AUL_FUZZ_MUST(!status || status == AUL_END || is_refused(status), "status %d", status);
        if (status == AUL_END) status = AUL_OK;
    }
    aul_cursor_close(cursor);
}

/* What differs between two moments is ascending. */
static void look_at_diff(aul_store *store, u64 a, u64 b) {
    aul_view *views[2] = {NULL, NULL};
    aul_diff *diff = NULL;
    u64 pages[16], last = 0;
    size_t found = 0, count;
    int status = aul_view_open(store, a, &views[0], NULL);
    if (!status) status = aul_view_open(store, b, &views[1], NULL);
    if (!status) status = aul_diff_open(store, views[0], views[1], &diff, NULL);
    while (!status && found < PAGES_MAX) {
        status = aul_diff_next(diff, pages, 16, &count, NULL);
        for (size_t i = 0; i < count; i++, last = pages[i - 1] + 1)
            AUL_FUZZ_MUST(pages[i] >= last, "a difference goes back");
        found += count;
    }
    AUL_FUZZ_MUST(!status || status == AUL_END || status == AUL_LSN || is_refused(status),
                  "status %d", status);
    aul_diff_close(diff);
    aul_view_close(views[0]);
    aul_view_close(views[1]);
}

/* Where a rewind would lead, and what differs there. */
static void look_at_rewind(aul_store *store, u64 lsn) {
    aul_rewind_info info;
    int status = aul_backtrack(store, lsn, 1, NULL, 0, &info, NULL, NULL);
    AUL_FUZZ_MUST(!status || status == AUL_LSN || is_refused(status), "status %d", status);
    if (!status) look_at_diff(store, info.from_lsn, info.to_lsn);
}

/* Runs and restore points, as they are told. */
typedef struct {
    int status;
    size_t run_count, name_count;
    aul_run_info runs[RUNS_MAX];
    aul_restore_point_info names[NAMES_MAX];
} past;

static void read_past(aul_store *store, past *to) {
    memset(to, 0, sizeof *to);
    to->status = aul_runs(store, to->runs, RUNS_MAX, &to->run_count, NULL);
    AUL_FUZZ_MUST(!to->status || is_refused(to->status), "status %d", to->status);
    AUL_FUZZ_MUST(!aul_restore_points(store, to->names, NAMES_MAX, &to->name_count, NULL));
    for (size_t i = 1; i < to->run_count && i < RUNS_MAX && !to->status; i++)
        AUL_FUZZ_MUST(to->runs[i].lsn > to->runs[i - 1].lsn &&
                          to->runs[i].parent_lsn < to->runs[i].lsn &&
                          to->runs[i - 1].last_lsn < to->runs[i].lsn,
                      "runs are told that cannot be");
}

static void look_at_past(aul_store *store) {
    static past told;
    u64 visible = aul_visible_lsn(store);
    aul_commit_info found, first;
    read_past(store, &told);
    for (size_t i = 0; i < told.run_count && i < VIEWS_MAX; i++) {
        look_at_rewind(store, told.runs[i].parent_lsn);
        look_at_rewind(store, told.runs[i].last_lsn);
        int status = aul_lsn_at(store, told.runs[i].time_ns, &found, &first, NULL);
        AUL_FUZZ_MUST(status ? is_refused(status) : found.lsn <= visible, "status %d", status);
    }
    for (size_t i = 0; i < told.name_count && i < VIEWS_MAX; i++)
        look_at_view(store, told.names[i].lsn);
    look_at_diff(store, 0, visible);
    look_at_diff(store, visible, visible / 2);
}

/* Returns how many problems there are. */
static u64 verify(aul_store *store) {
    aul_verification *verification;
    aul_verify_report report = {0};
    aul_error problem;
    AUL_FUZZ_MUST(!aul_verify_open(store, &verification, NULL));
    int status = AUL_OK;
    for (int i = 0; i < STEPS_MAX && !status; i++) {
        status = aul_verify_step(verification, &report, &problem);
        AUL_FUZZ_MUST(!status || status == AUL_END, "verifying: %d %s", status, problem.text);
        while (!aul_verify_problem(verification, &problem)) continue;
    }
    aul_verify_close(verification);
    return report.problems;
}

static void look(aul_store *store, u32 flags) {
    u64 visible = aul_visible_lsn(store);
    const aul_history *history = &store->manifest.history;
    u64 lsns[VIEWS_MAX] = {0, 1, visible / 2, visible - 1, visible};
    if (history->count) lsns[5] = history->items[history->count - 1].parent_at;
    for (int i = 0; i < VIEWS_MAX; i++) look_at_view(store, lsns[i]);
    look_at_log(store);
    look_at_past(store);
    if (flags & VERIFIED) verify(store);
}

/* What plain reads show, or those of a view. */
typedef struct {
    int statuses[PAGES], end_status;
    u8 pages[PAGES][AUL_FUZZ_PAGE_SIZE];
    u64 end;
    char last_text[sizeof((aul_error *)NULL)->text]; /* why a page could not be read */
} shown;

static void read_pages(aul_store *store, const aul_view *view, shown *to) {
    static u8 large[AUL_PAGE_SIZE_MAX];
    memset(to, 0, sizeof *to);
    for (u64 i = 0; i < PAGES; i++) {
        aul_error error = {0};
        to->statuses[i] = aul_read(store, view, i, large, &error);
        if (to->statuses[i]) memcpy(to->last_text, error.text, sizeof error.text);
        AUL_FUZZ_MUST(!to->statuses[i] || is_refused(to->statuses[i]), "status %d",
                      to->statuses[i]);
        if (!to->statuses[i]) memcpy(to->pages[i], large, AUL_FUZZ_PAGE_SIZE);
    }
    if (!view) to->end_status = aul_end_pages(store, &to->end, NULL);
    AUL_FUZZ_MUST(!to->end_status || is_refused(to->end_status));
}

/* The first page that differs, PAGES when only the length does, or -1. */
static int find_difference(const shown *before, const shown *after) {
    for (int i = 0; i < PAGES; i++)
        if (before->statuses[i] != after->statuses[i] ||
            memcmp(before->pages[i], after->pages[i], AUL_FUZZ_PAGE_SIZE) != 0)
            return i;
    return before->end_status != after->end_status || before->end != after->end ? PAGES : -1;
}

/* One commit; false when there can be none. */
static bool commit(aul_store *store, u32 flags) {
    u8 change[AUL_CHANGE_HEADER + 5] = {AUL_WRITE, 0, 7, 0, 5, 0, 0, 0, 2};
    u8 page[AUL_PAGE_SIZE_MAX];
    aul_commit_options options = {.durability =
                                      flags & LAZY ? AUL_DURABILITY_OS : AUL_DURABILITY_SYNC};
    aul_outcome outcome = {0};
    aul_error error = {0};
    memcpy(change + AUL_CHANGE_HEADER, "hello", 5);
    u64 visible = aul_visible_lsn(store);
    int status = aul_commit_changes(store, change, sizeof change, &options, 1000, &outcome, &error);
    AUL_FUZZ_MUST(!status || (is_refused(status) && !outcome.logged), "a commit: %d %s", status,
                  error.text);
    if (status) return false;
    AUL_FUZZ_MUST(outcome.lsn > visible, "LSN %llu is given after %llu",
                  (unsigned long long)outcome.lsn, (unsigned long long)visible);
    status = aul_read(store, NULL, 2, page, NULL);
    AUL_FUZZ_MUST(is_refused(status) || (!status && memcmp(page + 7, "hello", 5) == 0));
    return true;
}

/* Goes to an LSN, where there is a way, and names what it left: all is then as a view of the LSN
 * shows it, unless verifying finds damage. */
static void rewind_to(aul_store *store, u64 lsn) {
    static shown before, after;
    aul_commit_options options = {.note = (const u8 *)"fuzz", .note_bytes = 4};
    aul_rewind_info info;
    aul_restore_point_info point;
    aul_outcome outcome = {0}, named = {0};
    aul_error error = {0};
    aul_view *view;
    if (aul_view_open(store, lsn, &view, NULL)) return;
    read_pages(store, view, &before);
    aul_view_close(view);
    int status = aul_backtrack(store, lsn, 0, &options, 1000, &info, &outcome, &error);
    AUL_FUZZ_MUST(!status || (is_refused(status) && !outcome.logged), "a rewind: %d %s", status,
                  error.text);
    if (status) return;
    AUL_FUZZ_MUST(info.to_lsn <= lsn && (!outcome.logged || outcome.lsn > info.from_lsn));
    read_pages(store, NULL, &after);
    before.end_status = after.end_status;
    before.end = after.end;
    int differs = find_difference(&before, &after);
    AUL_FUZZ_MUST(differs < 0 || verify(store) > 0,
                  "page %d is another one after a rewind to LSN %llu", differs,
                  (unsigned long long)lsn);
    status = aul_restore_point_make(store, "left", 4, info.from_lsn, &options, 1000, &point, &named,
                                    &error);
    AUL_FUZZ_MUST(!status || status == AUL_NAME || (is_refused(status) && !named.logged),
                  "a restore point: %d %s", status, error.text);
    AUL_FUZZ_MUST(status || point.lsn == info.from_lsn);
    if (status != AUL_NAME) return;
    status = aul_restore_point_delete(store, "left", 4, &options, 1000, &named, &error);
    AUL_FUZZ_MUST(!status || is_refused(status), "deleting it: %d %s", status, error.text);
}

static void look_read_only(aul_simdisk *disk, u32 flags) {
    aul_disk other = aul_simdisk_table(disk, 2);
    aul_store *store;
    aul_error error = {0};
    int file = -1;
    if (flags & LOCKED && !other.open(other.context, AUL_FUZZ_PATH "/LOCK", AUL_DISK_WRITE, &file))
        AUL_FUZZ_MUST(!other.lock(other.context, file));
    u64 before = aul_simdisk_hash(disk);
    if (!open_volume(disk, 1, true, &store, &error)) {
        shown pages;
        look(store, flags);
        read_pages(store, NULL, &pages);
        u64 lsn, visible = aul_visible_lsn(store);
        int status = aul_refresh(store, 1000, &lsn, &error);
        AUL_FUZZ_MUST(status ? is_refused(status) || status == AUL_BUSY : lsn >= visible,
                      "a refresh: %d %s", status, error.text);
        if (!status) look(store, flags);
        AUL_FUZZ_MUST(aul_tx_begin(store, NULL, 0, &(aul_tx *){NULL}, NULL) == AUL_READ_ONLY);
        aul_free(store);
    }
    AUL_FUZZ_MUST(aul_simdisk_hash(disk) == before, "a read-only open changed the disk");
    if (file >= 0) other.close(other.context, file);
}

/* Ends the session; the LSN that the next one has to find. */
static u64 end_session(aul_store *store, u32 flags) {
    aul_error error = {0};
    u64 last = aul_visible_lsn(store);
    if (!(flags & KILLED)) {
        bool marks = store->log.started;
        int status = aul_close(store, &error);
        AUL_FUZZ_MUST(!status || is_refused(status), "closing: %d %s", status, error.text);
        last += marks && !status; /* the mark is a commit, too */
    }
    aul_free(store);
    return last;
}

/* Whether there is damage that an open need not see, and verifying does. */
static bool is_damaged(aul_simdisk *disk) {
    aul_store *store;
    aul_error error = {0};
    if (open_volume(disk, 0, false, &store, &error)) return true;
    bool damaged = verify(store) > 0;
    aul_free(store);
    return damaged;
}

/* It was opened, and is refused now: then it had been damaged before. */
static void expect_damaged(aul_simdisk *before, int status, const aul_error *error) {
    AUL_FUZZ_MUST(status != AUL_IO && is_damaged(before), "it opens once and not again: %d %s",
                  status, error->text);
}

/* Up to where the session began that read the second: a clean close and a cut are in it. */
static bool is_same_past(const past *before, const past *after) {
    size_t runs = (size_t)aul_min(before->run_count, RUNS_MAX);
    if (before->status || after->status) return before->status == after->status;
    if (before->name_count != after->name_count || before->run_count > after->run_count)
        return false;
    for (size_t i = 0; i < runs; i++)
        if (before->runs[i].lsn != after->runs[i].lsn ||
            before->runs[i].parent_lsn != after->runs[i].parent_lsn ||
            before->runs[i].time_ns != after->runs[i].time_ns ||
            before->runs[i].current > after->runs[i].current)
            return false;
    return memcmp(before->names, after->names,
                  aul_min(before->name_count, NAMES_MAX) * sizeof *before->names) == 0;
}

static void use(aul_simdisk *disk, aul_simdisk *found, u32 flags) {
    static past past_before, past_after;
    shown before, after;
    aul_store *store;
    aul_error error = {0};
    if (open_volume(disk, 0, false, &store, &error)) return;
    u64 end = aul_visible_lsn(store);
    if (flags & SEEN) look(store, flags);
    if (flags & COMMITTED && commit(store, flags)) {
        rewind_to(store, end);
        rewind_to(store, end / 2);
        rewind_to(store, aul_visible_lsn(store) - 2);
    }
    if (flags & KEPT) {
        aul_simdisk_wait(disk, 600000000);
        aul_keeper_work(store);
    }
    if (!(flags & SEEN)) look(store, flags);
    read_pages(store, NULL, &before);
    read_past(store, &past_before);
    u64 last = end_session(store, flags);
    int status = open_volume(disk, 0, false, &store, &error);
    if (status) expect_damaged(found, status, &error);
    if (status) return;
    AUL_FUZZ_MUST(store->info.last_lsn == last || (flags & KILLED && store->info.last_lsn > last),
                  "the log ended at LSN %llu, now at %llu", (unsigned long long)last,
                  (unsigned long long)store->info.last_lsn);
    read_pages(store, NULL, &after);
    read_past(store, &past_after);
    int differs = find_difference(&before, &after);
    AUL_FUZZ_MUST(differs < 0 || is_damaged(found), "page %d, or the length, has changed: %s, %s",
                  differs, before.last_text, after.last_text);
    AUL_FUZZ_MUST(is_same_past(&past_before, &past_after) || is_damaged(found),
                  "runs or restore points have changed");
    aul_free(store);
}

void aul_fuzz_run(aul_fuzz_input *input) {
    const aul_fuzz_volume *volume = aul_fuzz_volume_get((size_t)aul_fuzz_take(input, 1));
    u32 flags = (u32)aul_fuzz_take(input, 1);
    aul_simdisk *disk = aul_fuzz_volume_disk(volume);
    aul_fuzz_edit(disk, volume, NULL, input);
    if (flags & READ_ONLY) look_read_only(disk, flags);
    aul_simdisk *found = aul_simdisk_cut(disk, AUL_CUT_ALL, 1);
    use(disk, found, flags);
    aul_fuzz_end_disk(found);
    aul_fuzz_end_disk(disk);
}

size_t aul_fuzz_seed(size_t n, u8 to[AUL_FUZZ_INPUT_MAX]) {
    static const u8 flags[] = {SEEN | VERIFIED, COMMITTED | VERIFIED, READ_ONLY | COMMITTED | KEPT,
                               READ_ONLY | LOCKED | COMMITTED | LAZY | KILLED};
    to[0] = (u8)(n / sizeof flags);
    to[1] = flags[n % sizeof flags];
    return n < AUL_FUZZ_VOLUMES * sizeof flags ? 2 : 0;
}

size_t LLVMFuzzerCustomMutator(u8 *data, size_t bytes, size_t room, unsigned seed);

size_t LLVMFuzzerCustomMutator(u8 *data, size_t bytes, size_t room, unsigned seed) {
    return aul_fuzz_mutate(data, bytes, room, seed, 2);
}
