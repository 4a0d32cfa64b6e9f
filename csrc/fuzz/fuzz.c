/* fuzz.c: see fuzz.h. */
#include "fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef __linux__
#include <malloc.h>
#define ALLOCATED(memory) malloc_usable_size(memory) /* under ASan what was asked for */
#else
#define ALLOCATED(memory) 0
#endif

int LLVMFuzzerTestOneInput(const u8 *data, size_t bytes);

static u64 allocated;
static void *(*plain_allocate)(void *context, size_t bytes);
static void (*plain_free)(void *context, void *memory);

u64 aul_fuzz_take(aul_fuzz_input *input, u32 bytes) {
    u64 value = 0;
    for (u32 i = 0; i < bytes && input->left; i++, input->left--)
        value |= (u64)*input->at++ << 8 * i;
    return value;
}

const u8 *aul_fuzz_take_bytes(aul_fuzz_input *input, size_t *bytes) {
    const u8 *at = input->at;
    *bytes = (size_t)aul_min(*bytes, input->left);
    input->at += *bytes;
    input->left -= *bytes;
    return at;
}

void aul_fuzz_wrong(const char *file, int line, const char *condition, const char *format, ...) {
    va_list arguments;
    fprintf(stderr, "fuzz: %s:%d: not so: %s:", file, line, condition);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

static void *allocate(void *context, size_t bytes) {
    AUL_FUZZ_MUST(bytes <= AUL_FUZZ_MEMORY_MAX && allocated + bytes <= AUL_FUZZ_MEMORY_MAX,
                  "%zu bytes of memory are asked for, %llu are in use", bytes,
                  (unsigned long long)allocated);
    void *memory = plain_allocate(context, bytes);
    if (memory) allocated += ALLOCATED(memory);
    return memory;
}

static void release(void *context, void *memory) {
    if (memory) allocated -= ALLOCATED(memory);
    plain_free(context, memory);
}

aul_disk aul_fuzz_table(aul_simdisk *disk, u32 process) {
    aul_disk table = aul_simdisk_table(disk, process);
    plain_allocate = table.allocate_memory;
    plain_free = table.free_memory;
    table.allocate_memory = allocate;
    table.free_memory = release;
    return table;
}

void aul_fuzz_put_file(aul_simdisk *disk, const char *path, const u8 *bytes, size_t count,
                       u64 offset) {
    aul_disk table = aul_fuzz_table(disk, 0);
    int file, failed = table.open(table.context, path, AUL_DISK_WRITE | AUL_DISK_CREATE, &file);
    AUL_FUZZ_MUST(!failed, "no file %s: errno %d", path, failed);
    if (count) failed = aul_disk_write(&table, file, bytes, count, offset);
    AUL_FUZZ_MUST(!failed);
    table.close(table.context, file);
}

void aul_fuzz_end_disk(aul_simdisk *disk) {
    u64 leaks = aul_simdisk_leaks(disk);
    AUL_FUZZ_MUST(leaks == 0, "%llu files or pieces of memory are left", (unsigned long long)leaks);
    AUL_FUZZ_MUST(allocated == 0, "%llu bytes are left", (unsigned long long)allocated);
    aul_simdisk_free(disk);
}

static u64 processor_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (u64)time.tv_sec * 1000000000u + (u64)time.tv_nsec;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t bytes) {
    if (bytes > AUL_FUZZ_INPUT_MAX) return -1;
    aul_fuzz_input input = {data, bytes};
    u64 begin = processor_ns();
    aul_fuzz_run(&input);
    u64 took = processor_ns() - begin;
    AUL_FUZZ_MUST(took < AUL_FUZZ_SECONDS_MAX * 1000000000ull, "it takes %.1f s",
                  (double)took / 1e9);
    return 0;
}
