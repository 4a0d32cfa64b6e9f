/* jobs.c: see jobs.h. */
#include "jobs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double aul_jobs_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

double aul_jobs_processor_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

u64 aul_jobs_default(void) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return aul_min((u64)aul_max(1, (u64)processors), AUL_JOBS_MAX);
}

void *aul_jobs_share(size_t bytes) {
    void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared != MAP_FAILED) return shared;
    perror("shared memory");
    exit(2);
}

bool aul_jobs_run(u64 count, int (*work)(void *argument, u64 job),
                  void (*failed)(void *argument, u64 job, int signal), void *argument) {
    pid_t jobs[AUL_JOBS_MAX];
    bool well = true;
    count = aul_min(count, AUL_JOBS_MAX);
    for (u64 job = 0; job < count; job++) {
        fflush(NULL);
        jobs[job] = fork();
        if (jobs[job] == 0) exit(work(argument, job));
        if (jobs[job] < 0) return false;
    }
    for (u64 i = 0; i < count; i++) {
        int status;
        pid_t ended = wait(&status);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
        well = false;
        for (u64 job = 0; job < count; job++)
            if (jobs[job] == ended)
                failed(argument, job, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    return well;
}

static u64 number(const char *text, const char *option, const char *program) {
    char *end;
    errno = 0;
    u64 value = strtoull(text, &end, 10);
    if (!errno && end != text && !*end) return value;
    fprintf(stderr, "%s: %s wants a number, not %s\n", program, option, text);
    exit(2);
}

void aul_jobs_parse(int count, char **arguments, const aul_jobs_option *options, const char *file) {
    for (int i = 1; i < count; i++) {
        const aul_jobs_option *option = options;
        while (option->name && strcmp(option->name, arguments[i]) != 0) option++;
        if (!option->name || (!option->flag && i + 1 == count)) {
            fprintf(stderr, "%s: %s: see the head of %s\n", arguments[0], arguments[i], file);
            exit(2);
        }
        if (option->flag)
            *option->flag = true;
        else if (option->text)
            *option->text = arguments[++i];
        else
            *option->number = number(arguments[i + 1], option->name, arguments[0]), i++;
    }
}
