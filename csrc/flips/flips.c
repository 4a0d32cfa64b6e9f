/* flips.c: the command. See flips.h and docs/testing.md.
 *
 *   flips [--time SECONDS] [--seed N] [--share N --shares M] [--jobs N] [--volume N] [--damage N]
 *         [--commit NAME] [--every-bit]
 *
 * Without --time all damage is done to each volume of the seed, once; with it, to those of the
 * seeds that follow too, until the time is over. `--share N --shares M` does one of M equal parts,
 * and the damage of which there is little, to whole files, in each of them; `--every-bit` flips all
 * bits of zeros without meaning too, not one of each byte.
 * `--volume V --damage N` repeats one. The first that is wrong ends it, with exit status 1. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../crash/jobs.h"
#include "flips.h"

#define CHUNK 256u           /* damages of one turn */
#define CHUNK_SECONDS_MAX 60 /* it hangs */

typedef struct {
    u64 seconds, seed, share, shares, jobs, volume, damage;
    const char *commit;
    bool every_bit;
    double end;
} options;

typedef struct {
    flips_counts counts;
    _Atomic bool stop;
    _Atomic u64 next, done;
    _Atomic u64 at_seed[AUL_JOBS_MAX], at_volume[AUL_JOBS_MAX], at_damage[AUL_JOBS_MAX];
} shared;

static shared *all;

#ifdef AUL_SEEDED_BUGS
int aul_seeded_bug;
#endif

static bool is_mine(const options *chosen, const flips_volume *volume, u64 number) {
    if (chosen->damage != UINT64_MAX) return number == chosen->damage;
    if (flips_damage_is_rare(volume, number)) return true;
    return aul_mix(number) % chosen->shares == chosen->share;
}

/* Takes turns at one volume's damage. The counter goes on from volume to volume: `base` is where
 * this one's begins, the same in all processes. */
static bool damage_one(const options *chosen, u64 job, u64 seed, u32 number, u64 *base) {
    static flips_volume volume;
    alarm(CHUNK_SECONDS_MAX);
    bool right = flips_volume_make(&volume, seed, number, chosen->every_bit, &all->counts.crash);
    u64 total = right ? volume.flips + volume.wide_count : 0, chunks = (total + CHUNK - 1) / CHUNK;
    atomic_store(&all->at_seed[job], seed);
    atomic_store(&all->at_volume[job], number);
    while (right && !atomic_load(&all->stop) && aul_jobs_now() < chosen->end) {
        u64 turn = atomic_load(&all->next);
        if (turn >= *base + chunks) break;
        if (!atomic_compare_exchange_strong(&all->next, &turn, turn + 1)) continue;
        alarm(CHUNK_SECONDS_MAX);
        u64 first = (turn - *base) * CHUNK;
        for (u64 i = first; i < aul_min(first + CHUNK, total) && right; i++) {
            if (!is_mine(chosen, &volume, i)) continue;
            atomic_store(&all->at_damage[job], i);
            right = flips_check(&volume, seed, i, &all->counts);
            atomic_fetch_add_explicit(&all->done, 1, memory_order_relaxed);
        }
    }
    *base += chunks;
    flips_volume_free(&volume);
    return right;
}

static int work(void *argument, u64 job) {
    const options *chosen = argument;
    u64 base = 0;
    for (u64 seed = chosen->seed; seed == chosen->seed || chosen->seconds; seed++)
        for (u32 number = 0; number < FLIPS_VOLUMES; number++) {
            if (chosen->volume != UINT64_MAX && chosen->volume != number) continue;
            if (atomic_load(&all->stop) || aul_jobs_now() >= chosen->end) return 0;
            if (damage_one(chosen, job, seed, number, &base)) continue;
            atomic_store(&all->stop, true);
            return 1;
        }
    return 0;
}

static void failed(void *argument, u64 job, int signal) {
    const options *chosen = argument;
    if (signal)
        fprintf(stderr, "it %s (signal %d)\n", signal == SIGALRM ? "hangs" : "has crashed", signal);
    if (signal) atomic_fetch_add(&all->counts.crash.violations, 1);
    atomic_store(&all->stop, true);
    fprintf(
        stderr,
        "    commit %s; to repeat: make flips%s SEED=%llu ARGS='%s--volume %llu --damage %llu'\n",
        chosen->commit, AUL_SANITIZE, (unsigned long long)atomic_load(&all->at_seed[job]),
        chosen->every_bit ? "--every-bit " : "",
        (unsigned long long)atomic_load(&all->at_volume[job]),
        (unsigned long long)atomic_load(&all->at_damage[job]));
}

/* The report */

static const char *const rows[FLIPS_ROWS] = {
    "bit of the manifest",
    "bit of a segment's header",
    "bit of the header's copy",
    "byte of the zeros beside them",
    "bit of a frame's header",
    "bit of a batch's header",
    "bit of the records",
    "bit of a frame's padding",
    "byte between frames and footer",
    "bit of an index block",
    "bit of a commit block",
    "bit of fences and truncates",
    "byte of an index or commit block's zeros",
    "bit of a trailer",
    "byte behind the last frame",
    "`MANIFEST.new`, the spare",
    "`LOCK`",
    "`RESERVE`",
    "sector or block zeroed",
    "two swapped",
    "one over another",
    "one of another file",
    "two files exchanged",
    "another volume's file",
    "a file missing",
    "a file truncated",
    "a file with more at its end",
    "an older version of a file",
};

static void print_table(bool clean) {
    printf("\n| %s | tried | refused at open | at a read | by verify | end of the log torn | "
           "harmless |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
           clean ? "closed cleanly" : "killed");
    u64 sums[FLIPS_OUTCOMES] = {0};
    for (int row = 0; row <= (int)FLIPS_ROWS; row++) {
        const bool last = row == (int)FLIPS_ROWS;
        u64 tried = 0, values[FLIPS_OUTCOMES];
        for (int i = 0; i < FLIPS_OUTCOMES; i++) {
            values[i] = last ? sums[i] : atomic_load(&all->counts.outcomes[clean][row][i]);
            if (!last) sums[i] += values[i];
            tried += values[i];
        }
        if (!tried) continue;
        printf("| %s | %llu", last ? "all" : rows[row], (unsigned long long)tried);
        for (int i = 0; i < FLIPS_OUTCOMES; i++) printf(" | %llu", (unsigned long long)values[i]);
        printf(" |\n");
    }
}

/* What the tables tell of: the rest was bytes put over the same bytes. */
static u64 changed(const flips_counts *counts) {
    const _Atomic u64 *at = &counts->outcomes[0][0][0];
    u64 sum = 0;
    for (size_t i = 0; i < sizeof counts->outcomes / sizeof *at; i++) sum += atomic_load(&at[i]);
    return sum;
}

static void report(const options *chosen, double seconds) {
    const flips_counts *c = &all->counts;
    printf("seed %llu, share %llu of %llu, %llu processes, %.1f s, commit %s\n",
           (unsigned long long)chosen->seed, (unsigned long long)chosen->share,
           (unsigned long long)chosen->shares, (unsigned long long)chosen->jobs, seconds,
           chosen->commit);
    printf("%12llu damages\n%12llu more that would have changed nothing\n"
           "%12.0f seconds of processors\n%12llu violations\n",
           (unsigned long long)changed(c), (unsigned long long)(all->done - changed(c)),
           aul_jobs_processor_seconds(), (unsigned long long)c->crash.violations);
    print_table(true);
    print_table(false);
}

int main(int count, char **arguments) {
    options chosen = {.seed = 1,
                      .shares = 1,
                      .jobs = aul_jobs_default(),
                      .volume = UINT64_MAX,
                      .damage = UINT64_MAX,
                      .commit = "unknown"};
    const aul_jobs_option known[] = {
        {"--time", &chosen.seconds, NULL, NULL},        {"--seed", &chosen.seed, NULL, NULL},
        {"--share", &chosen.share, NULL, NULL},         {"--shares", &chosen.shares, NULL, NULL},
        {"--jobs", &chosen.jobs, NULL, NULL},           {"--volume", &chosen.volume, NULL, NULL},
        {"--damage", &chosen.damage, NULL, NULL},       {"--commit", NULL, &chosen.commit, NULL},
        {"--every-bit", NULL, NULL, &chosen.every_bit}, {NULL, NULL, NULL, NULL}};
    aul_jobs_parse(count, arguments, known, "csrc/flips/flips.c");
    if (chosen.share >= chosen.shares ||
        (chosen.volume != UINT64_MAX && chosen.volume >= FLIPS_VOLUMES)) {
        fprintf(stderr, "flips: shares are counted from 0 to --shares - 1, volumes to %d\n",
                FLIPS_VOLUMES - 1);
        return 2;
    }
    all = aul_jobs_share(sizeof *all);
    aul_crash_share_images();
    double begin = aul_jobs_now();
    chosen.end = chosen.seconds ? begin + (double)chosen.seconds : 1e300;
    bool well = aul_jobs_run(aul_max(1, chosen.jobs), work, failed, &chosen);
    report(&chosen, aul_jobs_now() - begin);
    if (!all->done) fprintf(stderr, "flips: no damage was done: too little time, or no such one\n");
    return well && all->done && !all->counts.crash.violations ? 0 : 1;
}
