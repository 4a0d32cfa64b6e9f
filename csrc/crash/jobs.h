/* jobs.h: what the campaigns' commands have in common: several processes, and their options.
 *
 * The processes take turns at numbered pieces of work, which they count in shared memory, so that
 * what is done does not depend on how many they are. */
#ifndef AUL_JOBS_H
#define AUL_JOBS_H

#include "../common.h"

#define AUL_JOBS_MAX 64
#ifndef AUL_SANITIZE
#define AUL_SANITIZE "" /* how make built this program, for the command that repeats it */
#endif

/* Seconds, from some beginning. */
double aul_jobs_now(void);
/* Of processors, that the ended processes have used. */
double aul_jobs_processor_seconds(void);
/* As many as there are processors. */
u64 aul_jobs_default(void);
/* Memory of zeros that all processes share; ends the program when there is none. */
void *aul_jobs_share(size_t bytes);

/* Runs work(argument, job) in `count` processes. Each that does not return 0 is told of: with the
 * signal that it died of, or 0. Returns whether all of them were well. */
bool aul_jobs_run(u64 count, int (*work)(void *argument, u64 job),
                  void (*failed)(void *argument, u64 job, int signal), void *argument);

/* An option of the command line: its name, and where its value goes. */
typedef struct {
    const char *name;
    u64 *number; /* one of the three */
    const char **text;
    bool *flag;
} aul_jobs_option;

/* Reads the command line; an empty name ends the options. Ends the program with status 2, and says
 * where to read on, when it makes no sense. */
void aul_jobs_parse(int count, char **arguments, const aul_jobs_option *options, const char *file);

#endif
