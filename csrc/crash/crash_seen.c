/* crash_seen.c: the images that any process has seen, by hash. See crash.h. */
#include "crash.h"
#include "jobs.h"

#define HASHES (1u << 24)

typedef struct {
    _Atomic u64 count;
    _Atomic u64 hashes[HASHES];
} set;

static set *seen;

void aul_crash_share_images(void) { seen = aul_jobs_share(sizeof *seen); }

bool aul_crash_images_full(void) {
    return atomic_load_explicit(&seen->count, memory_order_relaxed) > HASHES / 4 * 3;
}

bool aul_crash_is_new(u64 hash) {
    hash += hash == 0;
    if (aul_crash_images_full()) return false;
    for (size_t at = hash % HASHES;; at = (at + 1) % HASHES) {
        u64 there = atomic_load_explicit(&seen->hashes[at], memory_order_relaxed);
        if (there == hash) return false;
        if (there) continue;
        if (atomic_compare_exchange_strong(&seen->hashes[at], &there, hash)) break;
        if (there == hash) return false;
    }
    atomic_fetch_add_explicit(&seen->count, 1, memory_order_relaxed);
    return true;
}
