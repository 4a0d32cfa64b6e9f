/* small.h: what the test program changes in the engine, included before all else. The engine's
 * files are otherwise as they are.
 *
 * Sizes: segments so small that a program of thirty steps makes a dozen of them, and every kind;
 * a limit of LSNs in flight that is met. See format.h for what each is.
 *
 * Threads: those of the simulation (simthreads.h). */
#ifndef AUL_SMALL_H
#define AUL_SMALL_H

#define AUL_SEGMENT_BYTES (32u << 10)
#define AUL_SEGMENT_BYTES_FIRST (24u << 10)
#define AUL_SEGMENT_BYTES_LEAST (20u << 10)
#define AUL_SEGMENT_BYTES_BULK (32u << 10)
#define AUL_BULK_BYTES (8u << 10)
#define AUL_PREPARE_AFTER_BYTES (8u << 10)
#define AUL_FRAME_PAYLOAD_MAX (4u << 10)
#define AUL_SCAN_BYTES (16u << 10)
#define AUL_IN_FLIGHT_LSNS 160ull
#define AUL_IN_FLIGHT_BYTES (48u << 10)

#include "../simdisk/simthreads.h"

#define pthread_mutex_lock aul_sim_mutex_lock
#define pthread_cond_wait aul_sim_cond_wait
#define pthread_cond_timedwait aul_sim_cond_timedwait
#define pthread_cond_signal aul_sim_cond_signal
#define pthread_cond_broadcast aul_sim_cond_broadcast
#define pthread_create aul_sim_thread_create
#define pthread_join aul_sim_thread_join

#endif
