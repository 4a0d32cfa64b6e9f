/* common.h: what every module of the core uses: short names, assertions, error reports,
 * little-endian fields. */
#ifndef AUL_COMMON_H
#define AUL_COMMON_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "aurolog.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define AUL_ID_BYTES 16

#if defined(__GNUC__)
#define AUL_LIKELY(x) __builtin_expect(!!(x), 1)
#define AUL_PREFETCH(address) __builtin_prefetch(address)
#define AUL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define AUL_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define AUL_LIKELY(x) (x)
#define AUL_PREFETCH(address) ((void)(address))
#define AUL_UNLIKELY(x) (x)
#define AUL_PRINTF(a, b)
#endif

/* Fills `error` (which may be NULL) and returns `code`. Fields other than code and text keep
 * what they have been given by the aul_error_* calls after it. */
int aul_fail(aul_error *error, int code, const char *format, ...) AUL_PRINTF(3, 4);
/* The same for a failed system call: chooses the code by errno (no space, no permission, no
 * memory, other). */
int aul_fail_os(aul_error *error, int os_errno, const char *what, const char *file);
/* What `bytes` bytes of zeros turn into `crc`, the difference of two checksums: CRC32C runs
 * backwards, too. */
u32 aul_crc32c_unwind(u32 crc, size_t bytes);
/* AUL_FORMAT, naming the features, when `what` requires some that this build does not know. */
int aul_check_features(u64 required, const char *what, aul_error *error);
/* A broken invariant: AUL_BUG with the place; aborts in test builds. */
int aul_fail_bug(aul_error *error, const char *file, int line, const char *what);
/* Adds where and at which LSN to a failure; returns its code. */
int aul_fail_at(aul_error *error, int code, const char *file, u64 offset, u64 lsn,
                const char *format, ...) AUL_PRINTF(6, 7);

/* Returns AUL_BUG from the calling function when the invariant does not hold. Never used on data
 * from a file or the wire. */
#define AUL_MUST(condition, error)                                        \
    do {                                                                  \
        if (AUL_UNLIKELY(!(condition)))                                   \
            return aul_fail_bug((error), __FILE__, __LINE__, #condition); \
    } while (0)

/* Whether a checksum that was read is the one that the bytes make. Every compare of one is here, so
 * that a build for fuzzing (csrc/fuzz/) can let any pass: behind a checksum chance gets nowhere. */
static inline bool aul_crc_fits(u32 read, u32 made) {
#ifdef AUL_FUZZ_UNCHECKED
    (void)read, (void)made;
    return true;
#else
    return read == made;
#endif
}

static inline u64 aul_round_up(u64 value, u64 unit) { return (value + unit - 1) / unit * unit; }
static inline u64 aul_min(u64 a, u64 b) { return a < b ? a : b; }
static inline u64 aul_max(u64 a, u64 b) { return a > b ? a : b; }

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "aurolog's formats are little-endian and read in place; a big-endian port has to swap here"
#endif

static inline u16 get16(const u8 *p) {
    u16 v;
    memcpy(&v, p, 2);
    return v;
}
static inline u32 get32(const u8 *p) {
    u32 v;
    memcpy(&v, p, 4);
    return v;
}
static inline u64 get64(const u8 *p) {
    u64 v;
    memcpy(&v, p, 8);
    return v;
}
static inline void put16(u8 *p, u64 value) {
    u16 v = (u16)value;
    memcpy(p, &v, 2);
}
static inline void put32(u8 *p, u64 value) {
    u32 v = (u32)value;
    memcpy(p, &v, 4);
}
static inline void put64(u8 *p, u64 value) { memcpy(p, &value, 8); }

#endif
