/* stress.c: threads on one volume, in C. tests/stress.py does the same through Python, where the
 * interpreter lets one thread at a time begin a call, and orders what a race detector looks at;
 * here nothing does, and the segments are small (../crash/small.h), so that they are made, sealed
 * and exchanged all the time.
 *
 *   stress DIRECTORY [--time SECONDS] [--seed N] [--commit NAME]
 *
 * In each session counters write one number into all pages of a group, bankers move money, a cutter
 * fills and truncates a range, and others read, hold views, walk the log, verify, and open the
 * volume read-only, until it is closed, or dropped, under them; the next session opens it again. In
 * every other one somebody rewinds it, forth and back, and names where it was. What a tear would
 * break is checked all the time: a group shows one number, the money is constant, nothing
 * acknowledged is missing, nothing goes back but by a rewind, a view does not change. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../common.h"
#include "../simdisk/random.h"

#define PAGE 512
#define COUNTERS 4
#define GROUP 5
#define ACCOUNTS 16
#define BALANCE 1000
#define BULK 60 /* pages, more than a small segment */
#define CUT 8
#define ACCOUNTS_AT (COUNTERS * GROUP)
#define BULK_AT (ACCOUNTS_AT + ACCOUNTS)
#define CUT_AT (BULK_AT + BULK)
#define END (CUT_AT + CUT)
#define NEAR 2000       /* LSNs that most rewinds go back: far away lies what was cut */
#define SESSIONS_MAX 10 /* of one volume */
#define CACHE_PAGES 128 /* not all that views need */
#define CHANGES_BYTES ((GROUP * 2 + BULK) * (16 + PAGE))
#define PATIENCE_MS 20000
#define WAIT_MS 50
#ifdef __SANITIZE_THREAD__
#define AGAIN "make tsan"
#define TIMES 3 /* as long as this program: the others of the target have their parts */
#else
#define AGAIN "make stress"
#define TIMES 2
#endif

static aul_store *store;  /* that writes */
static aul_store *behind; /* that is open read-only, over many sessions of the other */
static char path[512];
static u64 seed = 1, seconds = 20;
static const char *commit_name = "unknown";
static u64 first_commit; /* the LSN since which there is money */
static _Atomic bool over;
static bool rewinding, was_rewinding; /* in this session; in one before */
static _Atomic u64 acknowledged[COUNTERS], begun[COUNTERS];
static _Atomic u64 commits, reads, views, diffs, walks, verifications, followers, followed, rewinds,
    conflicts, sessions;

__attribute__((format(printf, 1, 2), noreturn)) static void wrong(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("stress: seed %llu, session %llu: ", (unsigned long long)seed,
           (unsigned long long)sessions);
    vprintf(format, arguments);
    printf("\nthe volume: %s\ncommit %s; to repeat: " AGAIN " SEED=%llu TIME=%llu\n", path,
           commit_name, (unsigned long long)seed, (unsigned long long)(TIMES * seconds));
    fflush(stdout);
    _exit(1);
}

/* True for success; false when the volume has been closed, which ends a thread. */
static bool ok(int status, const char *what, const aul_error *error) {
    if (status == AUL_OK || status == AUL_END) return true;
    if (status == AUL_CLOSED) return false;
    wrong("%s: %d %s", what, status, error->text);
}

/* Changes */

typedef struct {
    size_t bytes;
    u8 data[CHANGES_BYTES];
} changes;

static void add(changes *to, int kind, u64 page, u32 offset, const void *data, u32 length) {
    u8 *at = to->data + to->bytes;
    memset(at, 0, 16);
    at[0] = (u8)kind;
    at[2] = (u8)offset, at[3] = (u8)(offset >> 8);
    at[4] = (u8)length, at[5] = (u8)(length >> 8);
    put64(at + 8, page);
    to->bytes += 16;
    if (!data) return;
    memcpy(at + 16, data, length);
    to->bytes += length;
}

/* At both ends of the page; as a whole page now and then, so that a cold read is not of all the
 * page's past. */
static void add_number(changes *to, u64 page, u64 number) {
    u8 image[PAGE] = {0};
    put64(image, number);
    put64(image + PAGE - 8, number);
    if (number % 16 == 0) {
        add(to, AUL_IMAGE, page, 0, image, PAGE);
    } else {
        add(to, AUL_WRITE, page, 0, image, 8);
        add(to, AUL_WRITE, page, PAGE - 8, image, 8);
    }
}

/* Commits and waits as the durability says. */
static bool commit(const changes *made, u32 durability, u64 *lsn) {
    aul_error error = {0};
    aul_outcome outcome = {0};
    aul_commit_options options = {.durability = durability};
    int status;
    do
        status =
            aul_commit_changes(store, made->data, made->bytes, &options, WAIT_MS, &outcome, &error);
    while (status == AUL_BUSY);
    if (durability == AUL_DURABILITY_LOGGED) durability = AUL_DURABILITY_SYNC;
    while (status == AUL_PENDING)
        status = aul_wait(store, outcome.lsn, durability, WAIT_MS, &error);
    if (!ok(status, "a commit", &error)) return false;
    atomic_fetch_add(&commits, 1);
    *lsn = outcome.lsn;
    if (aul_visible_lsn(store) < *lsn) wrong("what is committed is not visible");
    if (durability == AUL_DURABILITY_SYNC && aul_durable_lsn(store) < *lsn)
        wrong("what is committed is not durable");
    return true;
}

static void count_up(u32 counter, aul_random *random) {
    static const u32 durabilities[COUNTERS] = {AUL_DURABILITY_SYNC, AUL_DURABILITY_OS,
                                               AUL_DURABILITY_LOGGED, AUL_DURABILITY_OS};
    changes *made = malloc(sizeof *made);
    u64 number, lsn;
    do {
        number = atomic_fetch_add(&begun[counter], 1) + 1;
        made->bytes = 0;
        for (u64 page = 0; page < GROUP; page++) add_number(made, counter * GROUP + page, number);
        if (counter == 0 && aul_random_chance(random, 5)) {
            u8 image[PAGE];
            for (u32 i = 0; i < PAGE; i += 8) put64(image + i, number);
            for (u64 page = 0; page < BULK; page++)
                add(made, AUL_IMAGE, BULK_AT + page, 0, image, PAGE);
        }
        if (!commit(made, durabilities[counter], &lsn)) break;
        atomic_store(&acknowledged[counter], number);
    } while (!atomic_load(&over));
    free(made);
}

static void bank(aul_random *random) {
    changes made;
    aul_error error = {0};
    while (!atomic_load(&over)) {
        aul_tx *tx;
        aul_outcome outcome;
        aul_commit_options options = {
            .durability = aul_random_chance(random, 50) ? AUL_DURABILITY_SYNC : AUL_DURABILITY_OS};
        u64 from = ACCOUNTS_AT + aul_random_below(random, ACCOUNTS);
        u64 to = ACCOUNTS_AT + (from - ACCOUNTS_AT + 1) % ACCOUNTS;
        u8 has[PAGE], gets[PAGE];
        int status = aul_tx_begin(store, NULL, WAIT_MS, &tx, &error);
        if (status == AUL_BUSY) continue;
        if (!ok(status, "a transaction", &error)) return;
        status = aul_tx_read(tx, from, has, &error);
        if (!status) status = aul_tx_read(tx, to, gets, &error);
        u64 amount = aul_random_below(random, get64(has) + 1);
        made.bytes = 0;
        add_number(&made, from, get64(has) - amount);
        add_number(&made, to, get64(gets) + amount);
        if (!status) status = aul_tx_apply(tx, made.data, made.bytes, &error);
        if (!status && aul_random_chance(random, 90)) {
            do status = aul_tx_commit(tx, &options, WAIT_MS, &outcome, &error);
            while (status == AUL_BUSY); /* too much is in flight */
            while (status == AUL_PENDING)
                status = aul_wait(store, outcome.lsn, options.durability, WAIT_MS, &error);
        }
        aul_tx_free(tx);
        if (rewinding && status == AUL_CONFLICT)
            atomic_fetch_add(&conflicts, 1);
        else if (!ok(status, "a transfer", &error))
            return;
    }
}

static void cut(aul_random *random) {
    changes made;
    u64 lsn;
    do {
        made.bytes = 0;
        if (aul_random_chance(random, 50)) {
            add(&made, AUL_TRUNCATE, CUT_AT, 0, NULL, 0);
        } else {
            u64 number = aul_random_next(random);
            for (u64 page = CUT_AT; page < END; page++) add_number(&made, page, number);
        }
    } while (!atomic_load(&over) && commit(&made, AUL_DURABILITY_OS, &lsn));
}

/* The name before goes when another is made. */
static bool name_newest(void) {
    static u64 number;
    char name[32];
    aul_error error = {0};
    aul_outcome outcome = {0};
    aul_restore_point_info info;
    aul_commit_options options = {.durability = AUL_DURABILITY_OS};
    int status, bytes = snprintf(name, sizeof name, "name %llu", (unsigned long long)number);
    do
        status = aul_restore_point_delete(store, name, (size_t)bytes, &options, WAIT_MS, &outcome,
                                          &error);
    while (status == AUL_BUSY);
    if (status != AUL_NAME && !ok(status, "deleting a name", &error)) return false;
    bytes = snprintf(name, sizeof name, "name %llu", (unsigned long long)++number);
    do
        status = aul_restore_point_make(store, name, (size_t)bytes, AUL_NEWEST, &options, WAIT_MS,
                                        &info, &outcome, &error);
    while (status == AUL_BUSY);
    return ok(status, "a name", &error);
}

/* To any commit since there is money, or back to where it was. */
static void go_back(aul_random *random) {
    aul_commit_options options = {.durability = AUL_DURABILITY_SYNC};
    aul_error error = {0};
    u64 left = 0;
    while (rewinding && !atomic_load(&over)) {
        aul_rewind_info info, before;
        aul_run_info runs[4];
        aul_outcome outcome = {0};
        size_t count;
        u64 lsn = aul_visible_lsn(store);
        u64 back = aul_random_chance(random, 90) ? aul_min(lsn - first_commit, NEAR) : lsn;
        lsn = aul_max(lsn - aul_random_below(random, back + 1), first_commit);
        if (left && aul_random_chance(random, 40)) lsn = left;
        bool tries = aul_random_chance(random, 10);
        int status = AUL_OK;
        if (tries) status = aul_backtrack(store, lsn, 1, NULL, 0, &before, NULL, &error);
        if (status != AUL_LSN && !ok(status, "a dry run", &error)) return;
        do status = aul_backtrack(store, lsn, 0, &options, WAIT_MS, &info, &outcome, &error);
        while (status == AUL_BUSY);
        while (status == AUL_PENDING)
            status = aul_wait(store, outcome.lsn, options.durability, WAIT_MS, &error);
        if (status == AUL_LSN) continue; /* cut */
        if (!ok(status, "a rewind", &error)) return;
        if (tries && info.to_lsn != before.to_lsn) wrong("a rewind goes elsewhere than it was to");
        left = info.from_lsn;
        atomic_fetch_add(&rewinds, 1);
        if (aul_random_chance(random, 30) && !name_newest()) return;
        if (!ok(aul_runs(store, runs, 4, &count, &error), "the runs", &error)) return;
        if (count < 2) wrong("there is no run but the first");
    }
}

/* What must hold */

static u64 number_in(const u8 *page) {
    if (get64(page) != get64(page + PAGE - 8)) wrong("a page in part");
    return get64(page);
}

/* The pages read in one crossing; false when closed. */
static bool look(aul_store *from, const aul_view *view, u64 first, size_t count, u8 *out) {
    u64 pages[END];
    aul_error error = {0};
    for (size_t i = 0; i < count; i++) pages[i] = first + i;
    return ok(aul_read_many(from, view, pages, count, out, &error), "reading", &error);
}

static u64 same_number(const u8 *pages, size_t count) {
    u64 number = number_in(pages);
    for (size_t i = 1; i < count; i++)
        if (number_in(pages + i * PAGE) != number)
            wrong("a commit in part: %llu and %llu", (unsigned long long)number,
                  (unsigned long long)number_in(pages + i * PAGE));
    return number;
}

/* Everything of one LSN; `empty`: it may be from before the first commit. */
static void check_all(const u8 *pages, bool empty) {
    u64 money = 0;
    for (u32 counter = 0; counter < COUNTERS; counter++)
        same_number(pages + counter * GROUP * PAGE, GROUP);
    for (u64 i = 0; i < ACCOUNTS; i++) money += number_in(pages + (ACCOUNTS_AT + i) * PAGE);
    if (money != ACCOUNTS * BALANCE && (money || !empty))
        wrong("the money is %llu", (unsigned long long)money);
    same_number(pages + BULK_AT * PAGE, BULK);
    same_number(pages + CUT_AT * PAGE, CUT);
}

static void read_now(aul_random *random) {
    u64 seen[COUNTERS] = {0}, visible = 0, durable = 0;
    u8 pages[END * PAGE];
    aul_error error = {0};
    while (!atomic_load(&over)) {
        u32 counter = (u32)aul_random_below(random, COUNTERS);
        u64 wanted = aul_max(atomic_load(&acknowledged[counter]), seen[counter]);
        if (aul_random_chance(random, 30)) {
            if (!look(store, NULL, 0, END, pages)) return;
            check_all(pages, false);
        } else if (!look(store, NULL, counter * GROUP, GROUP, pages + counter * GROUP * PAGE)) {
            return;
        }
        seen[counter] = same_number(pages + counter * GROUP * PAGE, GROUP);
        if (seen[counter] < wanted && !rewinding)
            wrong("%llu is shown, %llu was acknowledged or shown",
                  (unsigned long long)seen[counter], (unsigned long long)wanted);
        u64 now = aul_durable_lsn(store);
        if (now < durable) wrong("durable went back");
        durable = now;
        now = aul_visible_lsn(store);
        if (now < visible) wrong("visible went back");
        visible = now;
        if (aul_random_chance(random, 2)) {
            aul_stats stats;
            int status = aul_sync(store, WAIT_MS, &now, &error);
            if (status != AUL_PENDING && !ok(status, "a sync", &error)) return;
            if (!ok(aul_store_stats(store, &stats, &error), "statistics", &error)) return;
        }
        atomic_fetch_add(&reads, 1);
    }
}

/* Pages that a difference from the view to now leaves out have the same bytes in both. */
static bool compare(const aul_view *view, const u8 *before, u8 *after) {
    aul_view *now;
    aul_diff *diff = NULL;
    aul_error error = {0};
    u64 told[7], page = 0;
    if (!ok(aul_view_open(store, aul_visible_lsn(store), &now, &error), "a view", &error))
        return false;
    bool going = look(store, now, 0, END, after) &&
                 ok(aul_diff_open(store, view, now, &diff, &error), "a difference", &error);
    for (bool more = true; going && more;) {
        size_t count;
        int status = aul_diff_next(diff, told, sizeof told / sizeof *told, &count, &error);
        going = ok(status, "asking for pages", &error);
        more = status == AUL_OK;
        if (!more) told[count++] = END;
        for (size_t i = 0; i < count && going; i++, page++) {
            if (told[i] < page || told[i] > END) wrong("pages are not told in order");
            for (; page < told[i]; page++)
                if (memcmp(before + page * PAGE, after + page * PAGE, PAGE) != 0)
                    wrong("page %llu differs, and nobody tells", (unsigned long long)page);
        }
    }
    aul_diff_close(diff);
    aul_view_close(now);
    if (going) atomic_fetch_add(&diffs, 1);
    return going;
}

/* Holds a view and a pinned page while others go on. */
static void hold_views(aul_random *random) {
    u8 *before = malloc(END * PAGE), *after = malloc(END * PAGE), pinned[PAGE];
    aul_error error = {0};
    while (!atomic_load(&over)) {
        aul_view *view;
        aul_pin *pin = NULL;
        const u8 *data;
        u64 lsn = aul_visible_lsn(store);
        if (aul_random_chance(random, 50)) lsn = aul_random_below(random, lsn + 1);
        int status = aul_view_open(store, lsn, &view, &error);
        if (status == AUL_LSN) continue; /* cut by the recovery after an earlier session */
        if (!ok(status, "a view", &error)) break;
        bool going = look(store, view, 0, END, before);
        u64 page = aul_random_below(random, END);
        if (going)
            going = ok(aul_pin_page(store, view, page, &data, &pin, &error), "a pin", &error);
        if (going) memcpy(pinned, data, PAGE);
        for (int i = 0; i < 3 && going; i++) {
            going = look(store, view, 0, END, after);
            if (going && memcmp(before, after, END * PAGE) != 0) wrong("a view has changed");
        }
        if (going) {
            check_all(before, lsn < first_commit);
            if (memcmp(pinned, before + page * PAGE, PAGE) != 0) wrong("a pinned page is another");
            if (memcmp(data, pinned, PAGE) != 0) wrong("a pinned page has changed");
            going = compare(view, before, after);
        }
        if (aul_random_chance(random, 50)) {
            aul_view_close(view);
            aul_pin_release(pin);
        } else {
            aul_pin_release(pin);
            aul_view_close(view);
        }
        if (!going) break;
        atomic_fetch_add(&views, 1);
    }
    free(before);
    free(after);
}

static void walk_log(aul_random *random) {
    aul_error error = {0};
    while (!atomic_load(&over)) {
        aul_cursor *cursor;
        aul_batch_info batch;
        aul_record_info record;
        aul_commit_info versions[8];
        size_t count;
        u64 last = aul_visible_lsn(store), back = aul_random_below(random, 300), next = 0;
        u64 first = last > back ? last - back : 1;
        if (!ok(aul_cursor_open(store, first, last, &cursor, &error), "a cursor", &error)) return;
        int status;
        while ((status = aul_cursor_batch(cursor, &batch, &error)) == AUL_OK) {
            if (next && batch.kind == AUL_BATCH_PAGES && batch.first_lsn != next)
                wrong("the log goes on at %llu instead of %llu",
                      (unsigned long long)batch.first_lsn, (unsigned long long)next);
            next = batch.kind == AUL_BATCH_PAGES ? batch.lsn + 1 : 0;
            u64 records = 0;
            while ((status = aul_cursor_record(cursor, &record, &error)) == AUL_OK) records++;
            if (status != AUL_END) break;
            if (records != batch.records) wrong("a batch without all its records");
        }
        aul_cursor_close(cursor);
        if (!ok(status, "walking the log", &error)) return;
        status =
            aul_versions(store, NULL, aul_random_below(random, END), versions, 8, &count, &error);
        if (!ok(status, "versions", &error)) return;
        for (size_t i = 1; i < count && i < 8; i++)
            if (versions[i].lsn >= versions[i - 1].lsn) wrong("versions out of order");
        atomic_fetch_add(&walks, 1);
    }
}

static void verify(aul_random *random) {
    aul_error error = {0};
    (void)random;
    while (!atomic_load(&over)) {
        aul_verification *verification;
        aul_verify_report report = {0};
        aul_error problem;
        if (!ok(aul_verify_open(store, &verification, &error), "verifying", &error)) return;
        int status;
        do {
            status = aul_verify_step(verification, &report, &error);
            if (!status || status == AUL_END)
                while (!aul_verify_problem(verification, &problem))
                    wrong("verifying finds: %s at %llu, LSN %llu: %s", problem.file,
                          (unsigned long long)problem.offset, (unsigned long long)problem.lsn,
                          problem.text);
        } while (status == AUL_OK && !atomic_load(&over));
        aul_verify_close(verification);
        if (!ok(status, "verifying", &error)) return;
        atomic_fetch_add(&verifications, 1);
    }
}

static void follow(aul_random *random) {
    u8 *pages = malloc(END * PAGE);
    aul_error error = {0};
    (void)random;
    while (!atomic_load(&over)) {
        aul_options options = {.read_only = 1, .cache_bytes = CACHE_PAGES * PAGE};
        aul_store *other;
        u64 durable = aul_durable_lsn(store);
        int status = aul_open(path, &options, &other, &error);
        if (status) wrong("a follower: %d %s", status, error.text);
        if (aul_visible_lsn(other) < durable) wrong("a follower shows less than was durable");
        if (!look(other, NULL, 0, END, pages)) wrong("a follower is closed");
        check_all(pages, false);
        aul_free(other);
        atomic_fetch_add(&followers, 1);
    }
    free(pages);
}

static void sleep_ms(u64 ms) {
    struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* The writer tells others that an LSN is durable before it says so itself: not long before. */
static void check_durable(u64 lsn) {
    aul_error error = {0};
    for (int ms = 0; lsn > aul_durable_lsn(store); ms++) {
        if (aul_check(store, 0, &error)) return; /* it is being closed */
        if (ms == PATIENCE_MS) wrong("a follower is ahead of its writer");
        sleep_ms(1);
    }
}

/* Has the store behind move on, and follows it. */
static void move_on(aul_random *random) {
    aul_error error = {0};
    aul_cursor *cursor;
    aul_batch_info batch;
    u64 last = aul_durable_lsn(behind), lsn;
    if (!ok(aul_cursor_follow(behind, last, &cursor, &error), "a cursor that follows", &error))
        return;
    while (!atomic_load(&over)) {
        u64 durable = aul_durable_lsn(behind);
        int status = aul_cursor_batch(cursor, &batch, &error);
        if (status == AUL_OK) {
            if (batch.first_lsn <= last)
                wrong("a follower has %llu behind %llu", (unsigned long long)batch.lsn,
                      (unsigned long long)last);
            last = batch.lsn;
            check_durable(last);
            atomic_fetch_add(&followed, 1);
            continue;
        }
        if (status != AUL_END && !ok(status, "following", &error)) break;
        if (aul_random_chance(random, 10))
            status = aul_refresh(behind, WAIT_MS, &lsn, &error);
        else
            status = aul_follow_wait(behind, durable, WAIT_MS, &lsn, &error);
        if (status != AUL_PENDING && status != AUL_BUSY && !ok(status, "moving on", &error)) break;
    }
    aul_cursor_close(cursor);
}

static void read_behind(aul_random *random) {
    u8 *before = malloc(END * PAGE), *after = malloc(END * PAGE);
    aul_error error = {0};
    while (!atomic_load(&over)) {
        aul_view *view;
        u64 lsn = aul_visible_lsn(behind);
        if (aul_random_chance(random, 50)) lsn = aul_random_below(random, lsn + 1);
        if (!look(behind, NULL, 0, END, after)) wrong("the store behind is closed");
        check_all(after, false);
        int status = aul_view_open(behind, lsn, &view, &error);
        if (status == AUL_LSN) continue; /* cut */
        if (!ok(status, "a view of the store behind", &error)) break;
        look(behind, view, 0, END, before);
        look(behind, view, 0, END, after);
        if (memcmp(before, after, END * PAGE) != 0) wrong("a view of the store behind has changed");
        check_all(before, lsn < first_commit);
        aul_view_close(view);
    }
    free(before);
    free(after);
}

/* Sessions */

static void (*const bodies[])(aul_random *) = {
    bank,   bank,   cut,    read_now, read_now, hold_views,  walk_log,
    verify, verify, follow, move_on,  move_on,  read_behind, go_back};
#define BODIES (sizeof bodies / sizeof *bodies)

static void *run(void *argument) {
    size_t n = (size_t)argument;
    aul_random random = {aul_mix(seed * 1000003 + atomic_load(&sessions) * 1009 + n)};
    if (n < COUNTERS)
        count_up((u32)n, &random);
    else
        bodies[n - COUNTERS](&random);
    return NULL;
}

static void open_volume(void) {
    aul_options options = {.page_size = PAGE, .create = 1, .cache_bytes = CACHE_PAGES * PAGE};
    aul_error error = {0};
    int status = aul_open(path, &options, &store, &error);
    if (status) wrong("opening: %d %s", status, error.text);
}

static void begin_volume(void) {
    changes *made = calloc(1, sizeof *made);
    for (u32 i = 0; i < COUNTERS; i++) acknowledged[i] = begun[i] = 0;
    rewinding = was_rewinding = false;
    for (u64 i = 0; i < ACCOUNTS; i++) add_number(made, ACCOUNTS_AT + i, BALANCE);
    open_volume();
    if (!commit(made, AUL_DURABILITY_SYNC, &first_commit)) wrong("closed?");
    free(made);
    aul_options options = {.read_only = 1, .cache_bytes = CACHE_PAGES * PAGE};
    aul_error error = {0};
    int status = aul_open(path, &options, &behind, &error);
    if (status) wrong("a store behind: %d %s", status, error.text);
}

/* What was acknowledged is there, and nothing that was never begun. */
static void check_opened(void) {
    u8 pages[END * PAGE];
    if (!look(store, NULL, 0, END, pages)) wrong("closed?");
    check_all(pages, false);
    for (u32 i = 0; i < COUNTERS; i++) {
        u64 found = number_in(pages + i * GROUP * PAGE);
        if ((found < acknowledged[i] && !rewinding) || found > begun[i])
            wrong("counter %u shows %llu, acknowledged were %llu, begun %llu", i,
                  (unsigned long long)found, (unsigned long long)acknowledged[i],
                  (unsigned long long)begun[i]);
        acknowledged[i] = found;
        if (!was_rewinding) begun[i] = found; /* what was left behind may come back */
    }
}

static void session(aul_random *random) {
    pthread_t threads[COUNTERS + BODIES];
    aul_error error = {0};
    atomic_store(&over, false);
    check_opened();
    rewinding = atomic_load(&sessions) % 2;
    for (size_t i = 0; i < COUNTERS + BODIES; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i)) wrong("no thread to be had");
    sleep_ms(50 + aul_random_below(random, 800));
    bool closes = aul_random_chance(random, 70);
    if (closes && aul_close(store, &error)) wrong("closing: %s", error.text);
    atomic_store(&over, true);
    for (size_t i = 0; i < COUNTERS + BODIES; i++) pthread_join(threads[i], NULL);
    aul_free(store);
    was_rewinding |= rewinding;
    atomic_fetch_add(&sessions, 1);
}

static void remove_volume(void) {
    char command[640];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command)) wrong("%s failed", command);
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: stress DIRECTORY [--time SECONDS] [--seed N] [--commit NAME]\n");
        return 2;
    }
    for (int i = 2; i + 1 < count; i += 2) {
        u64 value = strtoull(arguments[i + 1], NULL, 10);
        if (strcmp(arguments[i], "--time") == 0)
            seconds = value;
        else if (strcmp(arguments[i], "--seed") == 0)
            seed = value;
        else if (strcmp(arguments[i], "--commit") == 0)
            commit_name = arguments[i + 1];
    }
    snprintf(path, sizeof path, "%s/volume", arguments[1]);
    aul_random random = {aul_mix(seed)};
    time_t end = time(NULL) + (time_t)seconds;
    do {
        begin_volume();
        int done = 0;
        do {
            session(&random);
            open_volume();
        } while (++done < SESSIONS_MAX && time(NULL) < end);
        check_opened();
        aul_free(store);
        aul_free(behind);
        remove_volume();
    } while (time(NULL) < end);
    printf("%llu sessions, %llu commits, %llu reads, %llu views, %llu walks of the log, "
           "%llu differences, %llu verifications, %llu followers, %llu commits followed, %llu "
           "rewinds, %llu conflicts; seed %llu: nothing torn\n",
           (unsigned long long)sessions, (unsigned long long)commits, (unsigned long long)reads,
           (unsigned long long)views, (unsigned long long)walks, (unsigned long long)diffs,
           (unsigned long long)verifications, (unsigned long long)followers,
           (unsigned long long)followed, (unsigned long long)rewinds, (unsigned long long)conflicts,
           (unsigned long long)seed);
    return 0;
}
