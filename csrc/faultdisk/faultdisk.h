/* faultdisk.h: the operating system's disk table with a fault in it, for tests only.
 *
 * Linked in the place of disk_posix.c, it passes every call on to it, counts them, and has one
 * call fail: the n-th that is made through a given chain of the engine's functions, or all of its
 * kind from there on. Each call is known by that chain, its stack: the places inside this module
 * that it was made through, from the entry of the table up to the public call or the thread's
 * start. So a fault hits the same spot whatever other threads do meanwhile.
 *
 * The build keeps frame pointers and inlines nothing (build_faultdisk.py): stacks are read by
 * following them. */
#ifndef AUL_FAULTDISK_H
#define AUL_FAULTDISK_H

#include <stddef.h>
#include <stdint.h>

#include "aurolog.h"

/* cffi: begin */

#define AUL_FAULT_KINDS 26   /* the entries of the table that may fail, and those that cannot */
#define AUL_FAULT_FRAMES 24  /* that are kept of a stack */
#define AUL_FAULT_SHORT -1   /* read and write: half of it; list: half of the names, then EIO */
#define AUL_FAULT_NOTHING -2 /* write: nothing is written, and no error told */
#define AUL_FAULT_STALL -3   /* sync: done, and late */

typedef struct {
    uint64_t stack;      /* of the call that fails; 0: none does */
    uint64_t occurrence; /* which of its calls, from 1 on */
    uint64_t kinds;      /* bits of the kinds of which every later call fails too */
    int32_t error;       /* an errno value, or one of the two above */
    int32_t after;       /* 1: the work is done, all or half of it, and then the call fails */
} aul_fault;

typedef struct {
    uint64_t stack, calls;
    uint64_t failed; /* of the calls */
    uint32_t kind, depth;
    uint64_t frames[24]; /* return addresses as offsets into this module, innermost first */
} aul_fault_stack;

typedef struct {
    uint64_t calls[26]; /* that reached the operating system, by kind */
    uint64_t bytes[26]; /* that they read or wrote */
    int64_t files;      /* open, directories too */
    int64_t memory;     /* pieces in use */
    uint64_t failed;    /* calls that were made to fail */
} aul_fault_counts;

const char *aul_fault_kind(uint32_t kind);
/* Whether stores opened from now on have background threads. */
void aul_fault_threads(int threads);
/* One fault from now on, in place of the one before. */
void aul_fault_set(const aul_fault *fault);
void aul_fault_count(aul_fault_counts *out);
/* The stacks seen so far, at most `capacity`; returns how many there are. */
size_t aul_fault_stacks(aul_fault_stack *out, size_t capacity);
/* One round of the background thread's work, which stores without threads leave to their owner,
 * after `seconds` that pass at once. */
int aul_fault_keep(aul_store *store, uint32_t seconds);
/* Before the process ends without its exit handlers: writes the counts, where branches are counted
 * (make coverage). */
void aul_fault_leave(void);

/* cffi: end */

#endif
