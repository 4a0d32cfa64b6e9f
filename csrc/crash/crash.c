/* crash.c: the crash campaign's command. See crash.h and docs/testing.md.
 *
 *   crash [--time SECONDS] [--time-max SECONDS] [--programs N] [--size STEPS] [--seed N] [--jobs N]
 *         [--bug N] [--commit NAME] [--least DISTINCT-IMAGES] [--coverage]
 *
 * Program number i has the seed SEED + i, and is the same whatever the number of processes, so
 * `--seed N --programs 1` repeats it. Each process takes the next program when it has done one.
 * What --least asks for may take until --time-max (180), on a slow machine. The first violation
 * ends the campaign, with exit status 1; so do fewer images than were asked for, or lives of any
 * kind of cut's, and a kind of call before which the power was never cut. One that is not listed is
 * told, and with --coverage a failure. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "../seeded.h"
#include "crash.h"
#include "jobs.h"

/* Of one program, the processor's and all: it hangs. */
#define PROGRAM_CPU_SECONDS_MAX 120
#define PROGRAM_SECONDS_MAX 900
#define OF_EACH_CUT 10 /* of so many images that were asked for, one life at least */

typedef struct {
    u64 seconds, seconds_max, programs, steps, seed, jobs, least, bug;
    const char *commit;
    bool coverage;
    double end, end_at_last;
} options;

/* What the processes share. */
typedef struct {
    aul_crash_counts counts;
    _Atomic u64 next;
    _Atomic bool stop;
    _Atomic u64 seed_of[AUL_JOBS_MAX]; /* the program each is at */
} shared;

static shared *all;

#ifdef AUL_SEEDED_BUGS
int aul_seeded_bug;
#endif

/* Lets a signal end the process when so many seconds have gone by; 0: not any more. */
static void watch(unsigned cpu_seconds, unsigned seconds) {
    struct itimerval cpu = {.it_value.tv_sec = cpu_seconds};
    setitimer(ITIMER_PROF, &cpu, NULL);
    alarm(seconds);
}

/* So many images, enough of what each kind of cut leaves, and each kind of call. */
static bool has_all(const options *chosen) {
    const aul_crash_counts *c = &all->counts;
    bool enough = c->distinct >= chosen->least;
    for (int cut = 0; cut < AUL_CUTS; cut++) enough &= c->lived[cut] >= chosen->least / OF_EACH_CUT;
    return enough && !aul_crash_count_holes(c->hits, false);
}

static bool goes_on(const options *chosen) {
    double now = aul_jobs_now();
    return now < chosen->end || (chosen->least && now < chosen->end_at_last && !has_all(chosen));
}

/* One process: programs, one after the other, until the time is over. */
static int work(void *argument, u64 job) {
    const options *chosen = argument;
    while (!atomic_load(&all->stop) && goes_on(chosen)) {
        u64 number = atomic_fetch_add(&all->next, 1);
        if (chosen->programs && number >= chosen->programs) break;
        aul_crash_run *run = calloc(1, sizeof *run);
        if (!run) return 1;
        run->seed = chosen->seed + number;
        run->steps = (u32)chosen->steps;
        run->counts = &all->counts;
        atomic_store(&all->seed_of[job], run->seed);
        watch(PROGRAM_CPU_SECONDS_MAX, PROGRAM_SECONDS_MAX);
        bool right = aul_crash_program(run);
        watch(0, 0);
        atomic_fetch_add(&all->counts.programs, 1);
        /* In whatever order they end. */
        atomic_fetch_add(&all->counts.trace, aul_mix(run->trace ^ run->seed));
        free(run);
        if (!right) atomic_store(&all->stop, true);
        if (!right) return 1;
    }
    return 0;
}

/* Tells what the process died of, and how to repeat it. */
static void failed(void *argument, u64 job, int signal) {
    const options *chosen = argument;
    u64 seed = atomic_load(&all->seed_of[job]);
    bool hangs = signal == SIGALRM || signal == SIGPROF;
    if (signal) {
        fprintf(stderr, "seed %llu: the program %s (signal %d)\n", (unsigned long long)seed,
                hangs ? "hangs" : "has crashed", signal);
        atomic_fetch_add(&all->counts.violations, 1);
    }
    atomic_store(&all->stop, true);
    fprintf(stderr,
            "    commit %s; to repeat: make crash SEED=%llu PROGRAMS=1 SIZE=%llu BUG=%llu%s\n",
            chosen->commit, (unsigned long long)seed, (unsigned long long)chosen->steps,
            (unsigned long long)chosen->bug, AUL_SANITIZE);
}

/* The report */

static void report(const options *chosen, double seconds) {
    const aul_crash_counts *c = &all->counts;
    struct {
        const char *name;
        u64 value;
    } figures[] = {
        {"programs", c->programs},
        {"boundaries", c->boundaries},
        {"images", c->images},
        {aul_crash_images_full() ? "distinct images at least" : "distinct images", c->distinct},
        {"recoveries", c->recoveries},
        {"recoveries from a crash in a recovery", c->nested},
        {"recoveries crashed at every call", c->exhausted},
        {"of these, theirs in turn too", c->exhausted_twice},
        {"read-only opens", c->read_only},
        {"followers", c->followers},
        {"times that one was refreshed", c->refreshed},
        {"commits", c->commits},
        {"rewinds", c->rewinds},
        {"transactions in conflict with one", c->conflicts},
        {"restore points made or deleted", c->named},
        {"times that threads took turns", c->lines},
        {"operations in line", c->in_line},
        {"views, cursors and pins held", c->held},
        {"commits compared for their pages", c->compared},
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
    for (int cut = 0; cut < AUL_CUTS; cut++)
        printf("%12llu lives after a cut: %s\n", (unsigned long long)c->lived[cut],
               aul_sim_cut_name((aul_sim_cut)cut));
    printf("%12.0f images/s, %.0f distinct images/s\n", (double)c->images / seconds,
           (double)c->distinct / seconds);
    printf("trace %016llx\n", (unsigned long long)c->trace);
    if (chosen->coverage) aul_crash_print_coverage(c->hits);
}

/* Tells what there is not enough of. */
static void tell_missing(const options *chosen) {
    const aul_crash_counts *c = &all->counts;
    if (c->distinct < chosen->least)
        fprintf(stderr, "crash: fewer distinct images than were asked for\n");
    for (int cut = 0; cut < AUL_CUTS; cut++)
        if (c->lived[cut] < chosen->least / OF_EACH_CUT)
            fprintf(stderr, "crash: only %llu lives after a cut: %s\n",
                    (unsigned long long)c->lived[cut], aul_sim_cut_name((aul_sim_cut)cut));
    size_t holes = aul_crash_count_holes(c->hits, true);
    if (holes) fprintf(stderr, "crash: no power cut before %zu kinds of call\n", holes);
}

int main(int count, char **arguments) {
    options chosen = {.seconds_max = 180,
                      .steps = 30,
                      .seed = 1,
                      .jobs = aul_jobs_default(),
                      .commit = "unknown"};
    const aul_jobs_option known[] = {{"--time-max", &chosen.seconds_max, NULL, NULL},
                                     {"--time", &chosen.seconds, NULL, NULL},
                                     {"--programs", &chosen.programs, NULL, NULL},
                                     {"--size", &chosen.steps, NULL, NULL},
                                     {"--seed", &chosen.seed, NULL, NULL},
                                     {"--jobs", &chosen.jobs, NULL, NULL},
                                     {"--least", &chosen.least, NULL, NULL},
                                     {"--bug", &chosen.bug, NULL, NULL},
                                     {"--commit", NULL, &chosen.commit, NULL},
                                     {"--coverage", NULL, NULL, &chosen.coverage},
                                     {NULL, NULL, NULL, NULL}};
    aul_jobs_parse(count, arguments, known, "csrc/crash/crash.c");
    if (!chosen.seconds && !chosen.programs) chosen.seconds = 60;
#ifdef AUL_SEEDED_BUGS
    if (chosen.bug >= AUL_SEEDED_BUGS_END) {
        fprintf(stderr, "crash: there are %d bugs\n", AUL_SEEDED_BUGS_END - 1);
        return 2;
    }
    aul_seeded_bug = (int)chosen.bug;
#else
    if (chosen.bug) fprintf(stderr, "crash: built without seeded bugs\n");
    if (chosen.bug) return 2;
#endif
    all = aul_jobs_share(sizeof *all);
    aul_crash_share_images();
    double begin = aul_jobs_now();
    chosen.end = chosen.seconds ? begin + (double)chosen.seconds : 1e300;
    chosen.end_at_last = begin + (double)chosen.seconds_max;
    bool well = aul_jobs_run(aul_max(1, chosen.jobs), work, failed, &chosen);
    report(&chosen, aul_jobs_now() - begin);
    if (!chosen.coverage && !chosen.least) return well ? 0 : 1;
    size_t strangers = aul_crash_print_strangers(all->counts.hits);
    if (strangers) fprintf(stderr, "crash: %zu kinds of call are not listed\n", strangers);
    bool enough = has_all(&chosen);
    if (!enough) tell_missing(&chosen);
    /* Another seed may come upon what nobody has seen: that is told, and no failure. */
    return well && enough && !(strangers && chosen.coverage) ? 0 : 1;
}
