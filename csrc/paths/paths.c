/* paths.c: random pairs of paths over random volumes, and what lies between them.
 *
 *   paths [--time SECONDS] [--programs N] [--seed N] [--commit NAME]
 *
 * A program commits to a volume on the simulated disk, with small segments (sizes.h), some
 * of them sealed, with crashes and closings in between. Then paths are drawn that part once, as any
 * two paths of a history do, with holes wherever commits meet: many more than rewinds would make in
 * so short a life. What the index says of each pair is compared with what walking over the commits
 * says: pages, commits, the last commit below an LSN and by a time. The same while memory runs out
 * and while reads fail: nothing is left out then, either. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../delta.h"
#include "../page_stream.h"
#include "../simdisk/simdisk.h"

#define PAGE 512u
#define PAGES 40u /* half of them at the end of page space */
#define COMMITS_MAX 2000u
#define RECORDS_MAX (1u << 15)
#define PAIRS 30u

typedef struct {
    u64 first_lsn, lsn, time_ns;
    size_t records, record_count; /* in `records` */
    bool on_a, on_b;
} commit;

typedef struct {
    bool truncates;
    u32 page; /* its number in the model */
} record;

/* What a volume's life is like: the second fills more than one commit block of a segment, the third
 * more than one index block. */
static const struct {
    u32 steps, bulk, writes_max, endings; /* of 100 steps: bulk commits, and sessions' ends */
} lives[] = {{150, 4, 4, 5}, {700, 0, 1, 1}, {300, 1, 40, 1}};

static u64 seed, pairs, faults;
static u32 life;
static const char *commit_name = "unknown";
static aul_random rng;
static aul_simdisk *disk;
static aul_store *store;
static commit commits[COMMITS_MAX];
static record records[RECORDS_MAX];
static size_t commit_count, record_count;

__attribute__((format(printf, 1, 2), noreturn)) static void wrong(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("paths: ");
    vprintf(format, arguments);
    printf("\ncommit %s; to repeat: make paths SEED=%llu PROGRAMS=1\n", commit_name,
           (unsigned long long)seed);
    fflush(stdout);
    _Exit(1);
}

static void must(int status, const char *what, const aul_error *error) {
    if (status) wrong("%s: status %d, %s", what, status, error->text);
}

static u64 page_at(u32 i) { return i < PAGES / 2 ? i : aul_pages_max(PAGE) - PAGES + i; }
static u32 number_of(u64 page) {
    return (u32)(page < PAGES / 2 ? page : page - (aul_pages_max(PAGE) - PAGES));
}

/* The volume */

static void open_store(void) {
    aul_disk table = aul_simdisk_table(disk, 0);
    aul_options options = {.page_size = PAGE, .create = 1, .cache_bytes = 16 * PAGE};
    aul_error error = {0};
    must(aul_open_on(&table, "/volume", &options, &store, &error), "opening", &error);
}

static size_t put_change(u8 *to, u32 kind, u64 page, u32 length, u8 byte) {
    memset(to, 0, 16);
    to[0] = (u8)kind;
    put16(to + 4, length);
    put64(to + 8, page);
    memset(to + 16, byte, length);
    return 16 + length;
}

static void commit_some(void) {
    static u8 changes[200 * (16 + PAGE)];
    bool bulk = aul_random_chance(&rng, lives[life].bulk);
    size_t bytes = 0, count = bulk ? 40 + aul_random_below(&rng, 100)
                                   : 1 + aul_random_below(&rng, lives[life].writes_max);
    for (size_t i = 0; i < count; i++) {
        u64 page = page_at((u32)aul_random_below(&rng, PAGES));
        u8 byte = (u8)aul_random_next(&rng);
        if (aul_random_chance(&rng, count > 4 ? 1 : 8))
            bytes += put_change(changes + bytes, AUL_TRUNCATE, page, 0, 0);
        else if (bulk || (life == 0 && aul_random_chance(&rng, 10)))
            bytes += put_change(changes + bytes, AUL_IMAGE, page, PAGE, byte);
        else
            bytes += put_change(changes + bytes, AUL_WRITE, page, 1 + byte % 20, byte);
    }
    aul_commit_options options = {.durability = AUL_DURABILITY_OS,
                                  .time_ns = 1000 + aul_random_below(&rng, 8000)};
    aul_outcome outcome;
    aul_error error = {0};
    must(aul_commit_changes(store, changes, bytes, &options, 1000, &outcome, &error), "committing",
         &error);
}

static void live(void) {
    disk = aul_simdisk_new(seed);
    open_store();
    for (u32 i = 0; i < lives[life].steps; i++) {
        u64 what = aul_random_below(&rng, 100);
        if (what < 90 - lives[life].endings) {
            commit_some();
        } else if (what < 100 - lives[life].endings) {
            aul_simdisk_wait(disk, 600000000);
            aul_keeper_work(store);
        } else if (aul_random_chance(&rng, 50)) {
            aul_error error = {0};
            must(aul_close(store, &error), "closing", &error);
            aul_free(store);
            open_store();
        } else {
            aul_simdisk *left = aul_simdisk_cut(disk, AUL_CUT_KILL, seed + i);
            aul_free(store);
            aul_simdisk_free(disk);
            disk = left;
            open_store();
        }
    }
}

/* What the log says, by its frames. */
static void read_log(void) {
    aul_cursor *cursor;
    aul_batch_info batch;
    aul_record_info info;
    aul_error error = {0};
    commit_count = record_count = 0;
    must(aul_cursor_open(store, 1, UINT64_MAX, &cursor, &error), "opening a cursor", &error);
    while (aul_cursor_batch(cursor, &batch, &error) == AUL_OK) {
        if (commit_count == COMMITS_MAX) wrong("too many commits");
        commit *c = &commits[commit_count++];
        *c = (commit){.first_lsn = batch.first_lsn,
                      .lsn = batch.lsn,
                      .time_ns = batch.time_ns,
                      .records = record_count};
        while (aul_cursor_record(cursor, &info, &error) == AUL_OK) {
            if (record_count == RECORDS_MAX) wrong("too many records");
            if (info.kind > AUL_TRUNCATE) continue;
            records[record_count++] = (record){info.kind == AUL_TRUNCATE, number_of(info.page)};
        }
        c->record_count = record_count - c->records;
    }
    aul_cursor_close(cursor);
}

/* Two paths */

/* The path of the commits that `on` says. */
static void build(bool on(const commit *), aul_path *path, aul_hole holes[COMMITS_MAX + 1]) {
    u64 last = 0;
    size_t count = 0;
    for (size_t i = 0; i < commit_count; i++) {
        if (!on(&commits[i])) continue;
        if (commits[i].first_lsn > last + 1)
            holes[count++] = (aul_hole){last + 1, commits[i].first_lsn};
        last = commits[i].lsn;
    }
    for (size_t i = 0; i < count / 2; i++) {
        aul_hole hole = holes[i];
        holes[i] = holes[count - 1 - i];
        holes[count - 1 - i] = hole;
    }
    *path = (aul_path){.lsn = last, .count = count, .holes = holes};
}

static bool is_on_a(const commit *c) { return c->on_a; }
static bool is_on_b(const commit *c) { return c->on_b; }

/* Up to some commit both go the same way, and above it each its own; or one ends a few commits
 * earlier than the other. */
static void draw_paths(void) {
    size_t parting = aul_random_below(&rng, commit_count + 1);
    if (aul_random_chance(&rng, 40)) {
        size_t end = parting + aul_random_below(&rng, 20);
        for (size_t i = 0; i < commit_count; i++) {
            commits[i].on_a = i < end;
            commits[i].on_b = i < parting;
        }
        return;
    }
    u32 changes = (u32)aul_random_below(&rng, 3) * 20;
    bool on_a = true, on_b = true;
    for (size_t i = 0; i < commit_count; i++) {
        if (i == parting || aul_random_chance(&rng, changes)) {
            on_a = aul_random_chance(&rng, 60);
            on_b = i < parting ? on_a : !on_a && aul_random_chance(&rng, 70);
        }
        commits[i].on_a = on_a;
        commits[i].on_b = on_b;
    }
}

/* The pages that commits on one path only touched, on the way along that path. */
static void walk(bool on(const commit *), bool on_other(const commit *), bool told[PAGES],
                 u64 *only) {
    bool exists[PAGES] = {false};
    *only = 0;
    for (size_t i = 0; i < commit_count; i++) {
        const commit *c = &commits[i];
        if (!on(c)) continue;
        bool here = !on_other(c);
        *only += here;
        for (size_t r = c->records; r < c->records + c->record_count; r++) {
            for (u32 p = records[r].page; p < PAGES; p++) {
                if (!records[r].truncates || exists[p]) told[p] |= here;
                exists[p] = !records[r].truncates;
                if (!records[r].truncates) break;
            }
        }
    }
}

/* Reads the stream to its end, in bites, and compares. A failure must leave nothing out. */
static void compare(aul_page_stream *stream, const bool told[PAGES]) {
    u64 pages[PAGES];
    size_t count;
    u32 next = 0;
    for (;;) {
        aul_error error = {0};
        int status =
            aul_page_stream_next(stream, pages, 1 + aul_random_below(&rng, 9), &count, &error);
        if (status == AUL_END) break;
        if (status == AUL_NO_MEMORY || status == AUL_IO) {
            if (count) wrong("pages come with a failure");
            continue;
        }
        must(status, "asking for pages", &error);
        for (size_t i = 0; i < count; i++, next++) {
            while (next < PAGES && !told[next]) next++;
            if (next == PAGES || page_at(next) != pages[i])
                wrong("page %llu is told, and %llu ought to be", (unsigned long long)pages[i],
                      next == PAGES ? 0 : (unsigned long long)page_at(next));
        }
    }
    while (next < PAGES && !told[next]) next++;
    if (next < PAGES) wrong("page %llu is missing", (unsigned long long)page_at(next));
}

static void check_between(const aul_path *a, const aul_path *b) {
    bool told[PAGES] = {false};
    u64 only_a, only_b, found_a, found_b, pages, wanted = 0;
    aul_page_stream stream;
    aul_error error = {0};
    walk(is_on_a, is_on_b, told, &only_a);
    walk(is_on_b, is_on_a, told, &only_b);
    for (u32 p = 0; p < PAGES; p++) wanted += told[p];
    must(aul_delta_commits(store, a, b, &found_a, &found_b, &error), "counting commits", &error);
    if (found_a != only_a || found_b != only_b)
        wrong("%llu and %llu commits on one path only, not %llu and %llu",
              (unsigned long long)found_a, (unsigned long long)found_b, (unsigned long long)only_a,
              (unsigned long long)only_b);
    must(aul_delta_pages(store, a, b, &pages, &error), "counting pages", &error);
    if (pages != wanted)
        wrong("%llu pages, not %llu", (unsigned long long)pages, (unsigned long long)wanted);
    /* Once as it is, and then with faults that come later and later. */
    for (u64 at = 0; at < 40; at++) {
        aul_sim_call call = at % 2 ? AUL_SIM_READ : AUL_SIM_MEMORY;
        aul_sim_fault fault = {.calls = 1u << call, .at = (at + 1) / 2, .what = EIO};
        if (at) aul_simdisk_inject(disk, &fault);
        int status =
            aul_page_stream_between(&stream, &store->index, at % 3 ? a : b, at % 3 ? b : a, &error);
        if (status != AUL_NO_MEMORY && status != AUL_IO) {
            must(status, "looking for pages", &error);
            compare(&stream, told);
        }
        aul_page_stream_close(&stream);
        faults += at && aul_simdisk_faults(disk);
        aul_simdisk_inject(disk, &(aul_sim_fault){0});
    }
}

static void check_commit(const aul_path *path, bool on(const commit *), u64 lsn) {
    const commit *wanted = NULL;
    aul_commit found;
    aul_error error = {0};
    for (size_t i = 0; i < commit_count && commits[i].lsn <= lsn; i++)
        if (on(&commits[i])) wanted = &commits[i];
    int status = aul_page_index_commit(&store->index, path, lsn, &found, NULL, &error);
    if (status != AUL_END) must(status, "looking for a commit", &error);
    if ((status == AUL_END) != !wanted || (wanted && found.lsn != wanted->lsn))
        wrong("the last commit at or below LSN %llu is not found", (unsigned long long)lsn);
}

static void check_time(u64 time_ns, u64 lsn) {
    const commit *wanted = NULL;
    aul_commit found;
    aul_error error = {0};
    for (size_t i = 0; i < commit_count && commits[i].lsn <= lsn; i++)
        if (commits[i].time_ns <= time_ns) wanted = &commits[i];
    int status = aul_page_index_commit_at(&store->index, time_ns, lsn, &found, &error);
    if (status != AUL_END) must(status, "looking for a time", &error);
    if ((status == AUL_END) != !wanted || (wanted && found.lsn != wanted->lsn))
        wrong("the last commit by %llu is not found", (unsigned long long)time_ns);
}

static void check_pair(void) {
    static aul_hole holes_a[COMMITS_MAX + 1], holes_b[COMMITS_MAX + 1];
    aul_path a, b;
    draw_paths();
    build(is_on_a, &a, holes_a);
    build(is_on_b, &b, holes_b);
    check_between(&a, &b);
    for (int i = 0; i < 20; i++) {
        const commit *some = &commits[aul_random_below(&rng, commit_count)];
        u64 lsn = some->first_lsn - 1 + aul_random_below(&rng, some->record_count + 3);
        check_commit(&a, is_on_a, aul_min(lsn, a.lsn));
        check_time(some->time_ns - 1 + aul_random_below(&rng, 3), lsn);
    }
    pairs++;
}

static void run_program(void) {
    rng = (aul_random){seed};
    life = (u32)(seed % (sizeof lives / sizeof *lives));
    live();
    read_log();
    for (u32 i = 0; i < PAIRS; i++) check_pair();
    aul_free(store);
    if (aul_simdisk_leaks(disk)) wrong("memory or files are left behind");
    aul_simdisk_free(disk);
}

int main(int count, char **arguments) {
    u64 first = 1, seconds = 20, programs = 0;
    for (int i = 1; i + 1 < count; i += 2) {
        const char *name = arguments[i], *value = arguments[i + 1];
        if (strcmp(name, "--time") == 0) seconds = strtoull(value, NULL, 0);
        if (strcmp(name, "--programs") == 0) programs = strtoull(value, NULL, 0);
        if (strcmp(name, "--seed") == 0) first = strtoull(value, NULL, 0);
        if (strcmp(name, "--commit") == 0) commit_name = value;
    }
    time_t end = time(NULL) + (time_t)seconds;
    for (seed = first; programs ? seed < first + programs : time(NULL) < end; seed++) run_program();
    printf("paths: %llu programs, %llu pairs of paths, %llu faults; nothing left out\n",
           (unsigned long long)(seed - first), (unsigned long long)pairs,
           (unsigned long long)faults);
    return 0;
}
