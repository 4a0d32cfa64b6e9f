/* simthreads.h: threads that exist only in the simulation, and take turns: one runs until it waits
 * for a condition, ends, or comes to a place where another may go on (a call of the disk, a lock).
 * Who is next is drawn, so that what threads do to each other is a function of the seed too. In
 * some runs some are late: they get no turn for a while.
 *
 * The engine is compiled against these instead of the pthread calls of the same name (turns.h). A
 * turn never ends while a lock is held, but for the one that a wait gives up: so the locks are the
 * real ones, and nobody ever waits for them. Outside of threads the calls do what they do where
 * there is nobody else. */
#ifndef AUL_SIMTHREADS_H
#define AUL_SIMTHREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "random.h"

#define AUL_SIM_THREADS 12

typedef void aul_sim_body(void *argument);

/* Begins a thread; it runs when others give way. Its number, or -1: there are too many. */
int aul_sim_thread_start(aul_sim_body *body, void *argument);
/* Who is running; -1: nobody, the caller is outside of all. */
int aul_sim_thread_current(void);
/* Another may go on here, in so many cases of a hundred. */
void aul_sim_thread_give_way(u32 percent);
/* From now on no other may go on before this one waits, or says that it does not stay any more. */
void aul_sim_thread_stay(bool stays);

/* Lets them run until all that were started here have ended; those that the engine has made may
 * wait on. False: the others wait, too, and nobody will ever wake them. A turn may end, too, before
 * `lock` is taken. */
bool aul_sim_threads_run(aul_random *random, const pthread_mutex_t *lock);

/* What the engine calls. */
int aul_sim_mutex_lock(pthread_mutex_t *mutex);
int aul_sim_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int aul_sim_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *until);
int aul_sim_cond_signal(pthread_cond_t *condition);
int aul_sim_cond_broadcast(pthread_cond_t *condition);
int aul_sim_thread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*body)(void *), void *argument);
int aul_sim_thread_join(pthread_t thread, void **result);

#endif
