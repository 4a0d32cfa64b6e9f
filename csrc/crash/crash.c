/* crash.c: the crash campaign's command. See crash.h and docs/testing.md.
 *
 *   crash [--time SECONDS] [--programs N] [--size STEPS] [--seed N] [--jobs N] [--bug N]
 *         [--commit NAME] [--least DISTINCT-IMAGES] [--coverage]
 *
 * Program number i has the seed SEED + i, and is the same whatever the number of processes, so
 * `--seed N --programs 1` repeats it. Each process takes the next program when it has done one.
 * The first violation ends the campaign, with exit status 1. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crash.h"

#define JOBS_MAX 64
#define HASHES (1u << 24)
#define PROGRAM_SECONDS_MAX 120 /* of one program: it hangs */

typedef struct {
    u64 seconds, programs, steps, seed, jobs, least;
    int bug;
    const char *commit;
    bool coverage;
} options;

/* What the processes share. */
typedef struct {
    aul_crash_counts counts;
    _Atomic u64 next;
    _Atomic bool stop;
    _Atomic u64 seed_of[JOBS_MAX]; /* the program each is at */
    _Atomic u64 hash_count;
    _Atomic u64 hashes[HASHES];
} shared;

static shared *all;

#ifdef AUL_SEEDED_BUGS
int aul_seeded_bug;
#endif

static bool is_full(void) {
    return atomic_load_explicit(&all->hash_count, memory_order_relaxed) > HASHES / 4 * 3;
}

bool aul_crash_is_new(u64 hash) {
    hash += hash == 0;
    if (is_full()) return false;
    for (size_t at = hash % HASHES;; at = (at + 1) % HASHES) {
        u64 there = atomic_load_explicit(&all->hashes[at], memory_order_relaxed);
        if (there == hash) return false;
        if (there) continue;
        if (atomic_compare_exchange_strong(&all->hashes[at], &there, hash)) break;
        if (there == hash) return false;
    }
    atomic_fetch_add_explicit(&all->hash_count, 1, memory_order_relaxed);
    return true;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* One process: programs, one after the other, until the time is over. */
static int work(const options *chosen, u64 job, double end) {
    while (!atomic_load(&all->stop) && now() < end) {
        u64 number = atomic_fetch_add(&all->next, 1);
        if (chosen->programs && number >= chosen->programs) break;
        aul_crash_run *run = calloc(1, sizeof *run);
        if (!run) return 1;
        run->seed = chosen->seed + number;
        run->steps = (u32)chosen->steps;
        run->counts = &all->counts;
        atomic_store(&all->seed_of[job], run->seed);
        alarm(PROGRAM_SECONDS_MAX);
        bool right = aul_crash_program(run);
        alarm(0);
        atomic_fetch_add(&all->counts.programs, 1);
        /* In whatever order they end. */
        atomic_fetch_add(&all->counts.trace, aul_mix(run->trace ^ run->seed));
        free(run);
        if (!right) atomic_store(&all->stop, true);
        if (!right) return 1;
    }
    return 0;
}

/* Tells what the process that was at `seed` died of. */
static bool is_well(int status, u64 seed) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "seed %llu: the program %s (signal %d)\n", (unsigned long long)seed,
                WTERMSIG(status) == SIGALRM ? "hangs" : "has crashed", WTERMSIG(status));
        atomic_fetch_add(&all->counts.violations, 1);
    }
    atomic_store(&all->stop, true);
    return false;
}

static bool run_jobs(const options *chosen, double end) {
    pid_t jobs[JOBS_MAX];
    bool well = true;
    for (u64 job = 0; job < chosen->jobs; job++) {
        fflush(NULL);
        jobs[job] = fork();
        if (jobs[job] == 0) _exit(work(chosen, job, end));
        if (jobs[job] < 0) return false;
    }
    for (u64 i = 0; i < chosen->jobs; i++) {
        int status;
        pid_t ended = wait(&status);
        for (u64 job = 0; job < chosen->jobs; job++) {
            if (jobs[job] != ended || is_well(status, atomic_load(&all->seed_of[job]))) continue;
            well = false;
            fprintf(stderr,
                    "    commit %s; to repeat: make crash SEED=%llu PROGRAMS=1 SIZE=%llu BUG=%d\n",
                    chosen->commit, (unsigned long long)atomic_load(&all->seed_of[job]),
                    (unsigned long long)chosen->steps, chosen->bug);
        }
    }
    return well;
}

/* The report */

static void print_coverage(void) {
    static const char *const ons[] = {"segment", "spare",   "manifest",
                                      "lock",    "reserve", "directory"};
    for (int op = 0; op < AUL_OPS; op++)
        for (int call = 0; call < AUL_SIM_CALLS; call++)
            for (int on = 0; on < AUL_ONS; on++) {
                u64 hits = atomic_load(&all->counts.hits[op][call][on]);
                if (hits)
                    printf("boundary: %s / %s / %s: %llu\n", aul_crash_op_name((aul_crash_op)op),
                           aul_sim_call_name((aul_sim_call)call), ons[on],
                           (unsigned long long)hits);
            }
}

static void report(const options *chosen, double seconds) {
    const aul_crash_counts *c = &all->counts;
    struct {
        const char *name;
        u64 value;
    } figures[] = {{"programs", c->programs},
                   {"boundaries", c->boundaries},
                   {"images", c->images},
                   {is_full() ? "distinct images at least" : "distinct images", c->distinct},
                   {"recoveries", c->recoveries},
                   {"recoveries from a crash in a recovery", c->nested},
                   {"read-only opens", c->read_only},
                   {"readers kept open", c->followers},
                   {"commits", c->commits},
                   {"commits beside a sync", c->interleaved},
                   {"volumes verified", c->verified},
                   {"damaged images", c->damaged},
                   {"of these refused", c->refused},
                   {"recoveries on a failing disk", c->faulted},
                   {"violations", c->violations}};
    printf("seed %llu, size %llu, %llu processes, %.1f s, commit %s\n",
           (unsigned long long)chosen->seed, (unsigned long long)chosen->steps,
           (unsigned long long)chosen->jobs, seconds, chosen->commit);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        printf("%12llu %s\n", (unsigned long long)figures[i].value, figures[i].name);
    printf("%12.0f images/s, %.0f distinct images/s\n", (double)c->images / seconds,
           (double)c->distinct / seconds);
    printf("trace %016llx\n", (unsigned long long)c->trace);
    if (chosen->coverage) print_coverage();
}

/* The command line */

static u64 number(const char *text, const char *option) {
    char *end;
    errno = 0;
    u64 value = strtoull(text, &end, 10);
    if (!errno && end != text && !*end) return value;
    fprintf(stderr, "crash: %s wants a number, not %s\n", option, text);
    exit(2);
}

static void parse(int count, char **arguments, options *to) {
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        const char *value = i + 1 < count ? arguments[i + 1] : "";
        i++;
        if (strcmp(name, "--coverage") == 0)
            to->coverage = true, i--;
        else if (strcmp(name, "--time") == 0)
            to->seconds = number(value, name);
        else if (strcmp(name, "--programs") == 0)
            to->programs = number(value, name);
        else if (strcmp(name, "--size") == 0)
            to->steps = number(value, name);
        else if (strcmp(name, "--seed") == 0)
            to->seed = number(value, name);
        else if (strcmp(name, "--jobs") == 0)
            to->jobs = aul_min(aul_max(1, number(value, name)), JOBS_MAX);
        else if (strcmp(name, "--least") == 0)
            to->least = number(value, name);
        else if (strcmp(name, "--bug") == 0)
            to->bug = (int)number(value, name);
        else if (strcmp(name, "--commit") == 0)
            to->commit = value;
        else {
            fprintf(stderr, "crash: %s is no option; see the head of csrc/simdisk/crash.c\n", name);
            exit(2);
        }
    }
}

int main(int count, char **arguments) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    options chosen = {.steps = 30,
                      .seed = 1,
                      .jobs = aul_min((u64)aul_max(1, (u64)processors), JOBS_MAX),
                      .commit = "unknown"};
    parse(count, arguments, &chosen);
    if (!chosen.seconds && !chosen.programs) chosen.seconds = 60;
#ifdef AUL_SEEDED_BUGS
    aul_seeded_bug = chosen.bug;
#else
    if (chosen.bug) fprintf(stderr, "crash: built without seeded bugs\n");
    if (chosen.bug) return 2;
#endif
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) {
        perror("crash");
        return 2;
    }
    double begin = now();
    double end = chosen.seconds ? begin + (double)chosen.seconds : 1e300;
    bool well = run_jobs(&chosen, end);
    report(&chosen, now() - begin);
    bool enough = all->counts.distinct >= chosen.least;
    if (!enough) fprintf(stderr, "crash: fewer distinct images than were asked for\n");
    return well && enough ? 0 : 1;
}
