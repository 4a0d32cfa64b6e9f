/* crash_line.c: several threads with one volume, taking turns (simthreads.h): commits stand in line
 * behind one leader's sync, the background thread works beside them, and the power goes at every
 * call that any of them makes. See crash.h.
 *
 * Each looks at what it was told when its call comes back: followers are woken by a sync that
 * another has led, and must not be woken by one that has not got their commit. That some wait and
 * nobody will ever wake them is seen at once. */
#include <unistd.h>

#include "crash.h"

#define COMMITTERS_MAX 9
#define STRIKES_WITHIN 20 /* calls that the fault is about */

typedef struct {
    aul_crash_run *run;
    u32 size;   /* of commits that are all of one size, or 0 */
    bool burst; /* many, and each commits once */
    u32 os;     /* of 100 commits so many that wait for no sync */
} line;

static void begin(aul_crash_run *run, aul_crash_op op) {
    run->thread_op[aul_sim_thread_current()] = op;
}

static void do_one(const line *in, aul_random *random) {
    aul_crash_run *run = in->run;
    u64 what = in->burst ? 0 : aul_random_below(random, 112);
    bool os = aul_random_chance(random, in->os);
    u32 durability = os ? AUL_DURABILITY_OS : AUL_DURABILITY_SYNC;
    if (what < 65) {
        begin(run, durability ? AUL_OP_COMMIT_OS : AUL_OP_COMMIT);
        aul_crash_commit(run, in->size ? in->size : 1 + aul_random_below(random, 400), in->size > 0,
                         durability);
    } else if (what < 73) {
        begin(run, durability ? AUL_OP_COMMIT_OS : AUL_OP_COMMIT);
        aul_crash_commit(run, 1000 + aul_random_below(random, 4000), durability, 0);
    } else if (what < 79) {
        begin(run, AUL_OP_BULK);
        aul_crash_commit(run, AUL_BULK_BYTES + aul_random_below(random, AUL_SEGMENT_BYTES_BULK),
                         durability, 0);
    } else if (what < 92) {
        begin(run, AUL_OP_TRANSACTION);
        aul_crash_transact(run, durability);
    } else if (what < 100) {
        begin(run, AUL_OP_SYNC);
        aul_crash_sync(run);
    } else if (what < 106) {
        begin(run, AUL_OP_REWIND);
        aul_crash_rewind(run, durability);
    } else {
        begin(run, AUL_OP_NAME);
        aul_crash_name(run, durability);
    }
}

static bool goes_on(const aul_crash_run *run) {
    return !run->failed && !run->life.store->log.failed;
}

static void commit_some(void *argument) {
    const line *in = argument;
    aul_crash_run *run = in->run;
    u64 count = in->burst ? 1 : 1 + aul_random_below(&run->random, 3);
    for (u64 n = count; n > 0 && goes_on(run); n--) {
        do_one(in, &run->random);
        atomic_fetch_add_explicit(&run->counts->in_line, 1, memory_order_relaxed);
    }
    begin(run, AUL_OP_SYNC); /* whoever gets the number next: the engine's own thread */
}

static void keep_some(void *argument) {
    const line *in = argument;
    aul_crash_run *run = in->run;
    begin(run, AUL_OP_KEEP);
    for (u64 n = 1 + aul_random_below(&run->random, 3); n > 0 && goes_on(run); n--) {
        aul_keeper_work(run->life.store);
        aul_sim_thread_give_way(50);
    }
    begin(run, AUL_OP_SYNC);
}

void aul_crash_line(aul_crash_run *run, u32 size) {
    line in = {run, size, aul_random_chance(&run->random, 30), 0};
    if (!in.burst || aul_random_chance(&run->random, 30))
        in.os = aul_random_chance(&run->random, run->life.quiet ? 30 : 70) ? 25 : 60;
    aul_log *log = &run->life.store->log;
    u64 fewer = in.burst ? 0 : aul_random_below(&run->random, COMMITTERS_MAX - 1);
    for (size_t i = 0; i < AUL_SIM_THREADS; i++) run->thread_op[i] = AUL_OP_SYNC;
    /* What may strike at any time strikes here, some of the time. */
    if (run->life.faulty && !aul_crash_struck(run) && aul_random_chance(&run->random, 60)) {
        run->fault.at = 1 + aul_random_below(&run->random, STRIKES_WITHIN);
        aul_simdisk_inject(run->life.disk, &run->fault);
    }
    run->life.store->disk->threads = true;
    for (u64 i = fewer; i < COMMITTERS_MAX; i++) aul_sim_thread_start(commit_some, &in);
    if (!in.burst && aul_random_chance(&run->random, 40)) aul_sim_thread_start(keep_some, &in);
    bool ended = aul_sim_threads_run(&run->random, &log->lock);
    run->life.store->disk->threads = false;
    atomic_fetch_add_explicit(&run->counts->lines, 1, memory_order_relaxed);
    if (!ended) {
        aul_crash_wrong(run, "commits wait in line, and nobody will wake them: LSN %llu is durable",
                        (unsigned long long)aul_durable_lsn(run->life.store));
        _exit(1); /* there is no way out of that */
    }
    if (log->failed && !aul_crash_struck(run))
        aul_crash_wrong(run, "the log has ended: errno %d", log->failed_errno);
}

void aul_crash_line_fails(aul_crash_run *run) {
    aul_sim_fault outer = run->fault;
    aul_store *store = run->life.store;
    bool writing = aul_random_chance(&run->random, 70);
    if (aul_sim_thread_current() >= 0) return; /* we are inside of a line */
    run->fault = (writing ? aul_crash_failing_write : aul_crash_failing_sync)(&run->random);
    aul_simdisk_inject(run->life.disk, &run->fault);
    run->life.faulty = run->life.quiet = true;
    run->life.in_boundary = false;
    aul_crash_line(run, 0);
    run->life.in_boundary = true;
    if (store->log.failed && aul_visible_lsn(store) != aul_durable_lsn(store))
        aul_crash_wrong(run, "after a failure LSN %llu is shown, %llu is durable",
                        (unsigned long long)aul_visible_lsn(store),
                        (unsigned long long)aul_durable_lsn(store));
    if (!run->failed) aul_crash_check(run, store, &run->life.model, true);
    run->fault = outer;
}
