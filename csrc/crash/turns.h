/* turns.h: what the crash campaign changes in the engine, included before all else. The engine's
 * files are otherwise as they are.
 *
 * Sizes: those of small.h, and a limit of LSNs in flight that is met.
 *
 * Threads: those of the simulation (simthreads.h), which take turns. */
#ifndef AUL_TURNS_H
#define AUL_TURNS_H

#define AUL_IN_FLIGHT_LSNS 160ull
#include "small.h"

#include "../simdisk/simthreads.h"

#define pthread_mutex_lock aul_sim_mutex_lock
#define pthread_cond_wait aul_sim_cond_wait
#define pthread_cond_timedwait aul_sim_cond_timedwait
#define pthread_cond_signal aul_sim_cond_signal
#define pthread_cond_broadcast aul_sim_cond_broadcast
#define pthread_create aul_sim_thread_create
#define pthread_join aul_sim_thread_join

#endif
