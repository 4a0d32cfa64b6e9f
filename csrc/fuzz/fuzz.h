/* fuzz.h: what the fuzz targets share. Each target is one file, csrc/fuzz/fuzz_<name>.c, and one
 * program; libFuzzer's entry is here, once for all:
 *
 *   fuzz_frame.c      frames and batches, read as the log's tail is; the index and footer they make
 *   fuzz_batch.c      callers' packed changes: parsed, committed, read back; records
 *   fuzz_footer.c     a sealed segment's trailer, fences, index blocks and commit blocks, searched
 *   fuzz_manifest.c   the MANIFEST
 *   fuzz_recovery.c   a volume's directory: opened, read, verified, committed to, opened again
 *
 * The engine is built with small segments (csrc/crash/small.h), without the compare of checksums
 * (common.h, AUL_FUZZ_UNCHECKED), and with broken invariants that abort. Besides that nothing may
 * crash, no input may take a second, 64 MiB, or leave a file open or memory behind. */
#ifndef AUL_FUZZ_H
#define AUL_FUZZ_H

#include "../simdisk/simdisk.h"
#include "../store.h"

#define AUL_FUZZ_SECONDS_MAX 1
#define AUL_FUZZ_MEMORY_MAX (64u << 20)
#define AUL_FUZZ_INPUT_MAX (16u << 10)

/* An input, taken from its front. Past its end come zeros. */
typedef struct {
    const u8 *at;
    size_t left;
} aul_fuzz_input;

u64 aul_fuzz_take(aul_fuzz_input *input, u32 bytes); /* a number of up to eight bytes */
/* The next bytes, as many as there are and are asked for. */
const u8 *aul_fuzz_take_bytes(aul_fuzz_input *input, size_t *bytes);

/* Each target has these two. */
void aul_fuzz_run(aul_fuzz_input *input);
/* The target's n-th seed, which the engine has made: its bytes in `to`, or 0 behind the last. */
size_t aul_fuzz_seed(size_t n, u8 to[AUL_FUZZ_INPUT_MAX]);

/* Ends the program, as a finding, unless the condition holds; what follows it is printed, too. */
#define AUL_FUZZ_MUST(condition, ...)                                                      \
    do {                                                                                   \
        if (!(condition)) aul_fuzz_wrong(__FILE__, __LINE__, #condition, " " __VA_ARGS__); \
    } while (0)
_Noreturn void aul_fuzz_wrong(const char *file, int line, const char *condition, const char *format,
                              ...) AUL_PRINTF(4, 5);

/* The disk's table for a process, with bounded memory. */
aul_disk aul_fuzz_table(aul_simdisk *disk, u32 process);
/* Puts a file on the disk, with these bytes from `offset` on. */
void aul_fuzz_put_file(aul_simdisk *disk, const char *path, const u8 *bytes, size_t count,
                       u64 offset);
/* Nothing of it is in use any more: looks for leaks, and frees it. */
void aul_fuzz_end_disk(aul_simdisk *disk);

#endif
