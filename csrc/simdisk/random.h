/* random.h: the tests' random numbers: splitmix64, so that a seed says everything that follows. */
#ifndef AUL_SIM_RANDOM_H
#define AUL_SIM_RANDOM_H

#include "../common.h"

typedef struct {
    u64 state;
} aul_random;

static inline u64 aul_mix(u64 value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

static inline u64 aul_random_next(aul_random *random) {
    return aul_mix(random->state += 0x9e3779b97f4a7c15ull);
}

/* 0 to bound - 1. */
static inline u64 aul_random_below(aul_random *random, u64 bound) {
    return aul_random_next(random) % bound;
}

static inline bool aul_random_chance(aul_random *random, u32 percent) {
    return aul_random_below(random, 100) < percent;
}

#endif
