/* crc32c.c: CRC32C (Castagnoli, reflected polynomial 0x82f63b78), the one checksum of every
 * structure.
 *
 * Three ways to the same value, chosen once when the library is loaded: the instruction of SSE
 * 4.2 or of ARMv8, or tables of eight. The instruction has a latency of three cycles and a
 * throughput of one, so long buffers are cut into three lanes that run side by side; the lanes
 * are joined by multiplying with x^(8n) modulo the polynomial, for which a table per lane length
 * holds the effect of n zero bytes. */
#include "common.h"

#define POLYNOMIAL 0x82f63b78u
#define LANE_LONG 2048
#define LANE_SHORT 256

static u32 table[8][256];
static u32 zeros_long[4][256];
static u32 zeros_short[4][256];
static u32 (*update)(u32 crc, const u8 *data, size_t bytes);

static u32 update_tables(u32 crc, const u8 *data, size_t bytes) {
    while (bytes >= 8) {
        u64 word = get64(data) ^ crc;
        crc = table[7][word & 255] ^ table[6][(word >> 8) & 255] ^ table[5][(word >> 16) & 255] ^
              table[4][(word >> 24) & 255] ^ table[3][(word >> 32) & 255] ^
              table[2][(word >> 40) & 255] ^ table[1][(word >> 48) & 255] ^ table[0][word >> 56];
        data += 8;
        bytes -= 8;
    }
    while (bytes--) crc = table[0][(crc ^ *data++) & 255] ^ (crc >> 8);
    return crc;
}

/* The effect of `bytes` zero bytes on a CRC register, as four tables, one per byte of the
 * register. */
static void make_zeros(u32 zeros[4][256], size_t bytes) {
    static const u8 nothing[LANE_LONG];
    u32 effect[32];
    for (int bit = 0; bit < 32; bit++) effect[bit] = update_tables(1u << bit, nothing, bytes);
    for (int byte = 0; byte < 4; byte++)
        for (int value = 0; value < 256; value++) {
            u32 sum = 0;
            for (int bit = 0; bit < 8; bit++)
                if (value >> bit & 1) sum ^= effect[byte * 8 + bit];
            zeros[byte][value] = sum;
        }
}

#if defined(__x86_64__) || defined(__aarch64__)

static inline u32 shift(u32 zeros[4][256], u32 crc) {
    return zeros[0][crc & 255] ^ zeros[1][(crc >> 8) & 255] ^ zeros[2][(crc >> 16) & 255] ^
           zeros[3][crc >> 24];
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HARDWARE __attribute__((target("sse4.2")))
#define STEP8(crc, data) ((u32)_mm_crc32_u64((crc), get64(data)))
#define STEP1(crc, byte) (_mm_crc32_u8((crc), (byte)))
static bool have_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
#else
#include <arm_acle.h>
#if defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
static bool have_hardware(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#else
static bool have_hardware(void) { return true; } /* every 64-bit Apple processor has it */
#endif
#define HARDWARE __attribute__((target("+crc")))
#define STEP8(crc, data) (__crc32cd((crc), get64(data)))
#define STEP1(crc, byte) (__crc32cb((crc), (byte)))
#endif

HARDWARE static u32 update_hardware(u32 crc, const u8 *data, size_t bytes) {
    while (bytes >= 3 * LANE_LONG) {
        u32 second = 0, third = 0;
        for (const u8 *end = data + LANE_LONG; data < end; data += 8) {
            crc = STEP8(crc, data);
            second = STEP8(second, data + LANE_LONG);
            third = STEP8(third, data + 2 * LANE_LONG);
        }
        crc = shift(zeros_long, shift(zeros_long, crc) ^ second) ^ third;
        data += 2 * LANE_LONG;
        bytes -= 3 * LANE_LONG;
    }
    while (bytes >= 3 * LANE_SHORT) {
        u32 second = 0, third = 0;
        for (const u8 *end = data + LANE_SHORT; data < end; data += 8) {
            crc = STEP8(crc, data);
            second = STEP8(second, data + LANE_SHORT);
            third = STEP8(third, data + 2 * LANE_SHORT);
        }
        crc = shift(zeros_short, shift(zeros_short, crc) ^ second) ^ third;
        data += 2 * LANE_SHORT;
        bytes -= 3 * LANE_SHORT;
    }
    for (; bytes >= 8; bytes -= 8, data += 8) crc = STEP8(crc, data);
    for (; bytes; bytes--) crc = STEP1(crc, *data++);
    return crc;
}

#endif

__attribute__((constructor)) static void choose(void) {
    for (u32 value = 0; value < 256; value++) {
        u32 crc = value;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        table[0][value] = crc;
    }
    for (int row = 1; row < 8; row++)
        for (u32 value = 0; value < 256; value++)
            table[row][value] =
                table[0][table[row - 1][value] & 255] ^ (table[row - 1][value] >> 8);
    make_zeros(zeros_long, LANE_LONG);
    make_zeros(zeros_short, LANE_SHORT);
    update = update_tables;
#if defined(__x86_64__) || defined(__aarch64__)
    if (have_hardware()) update = update_hardware;
#endif
}

u32 aul_crc32c(u32 crc, const u8 *data, size_t bytes) { return ~update(~crc, data, bytes); }

u32 aul_crc32c_unwind(u32 crc, size_t bytes) {
    for (size_t bit = 0; bit < bytes * 8; bit++)
        crc = crc & 0x80000000u ? (crc ^ POLYNOMIAL) << 1 | 1 : crc << 1;
    return crc;
}
