/* disk.c: the loops and the counting over the bare calls of the disk table. See disk.h. */
#include "disk.h"

#include <errno.h>

#define INTERRUPTIONS_MAX 1000000 /* a signal storm is a fault, not a reason to hang */

bool aul_disk_is_full(int failed) {
    return failed == ENOSPC || failed == EDQUOT || failed == EFBIG;
}

int aul_disk_read(aul_disk *disk, int file, void *buffer, size_t bytes, u64 offset, size_t *done) {
    u8 *to = buffer;
    size_t total = 0;
    int interruptions = 0;
    while (total < bytes) {
        size_t step = 0;
        int status =
            disk->read(disk->context, file, to + total, bytes - total, offset + total, &step);
        if (status == EINTR && ++interruptions < INTERRUPTIONS_MAX) continue;
        if (status) return status;
        if (step == 0) break;
        total += step;
    }
    atomic_fetch_add_explicit(&disk->reads, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&disk->read_bytes, total, memory_order_relaxed);
    *done = total;
    return 0;
}

int aul_disk_write(aul_disk *disk, int file, const void *data, size_t bytes, u64 offset) {
    const u8 *from = data;
    size_t total = 0;
    int interruptions = 0;
    while (total < bytes) {
        size_t step = 0;
        int status =
            disk->write(disk->context, file, from + total, bytes - total, offset + total, &step);
        if (status == EINTR && ++interruptions < INTERRUPTIONS_MAX) continue;
        if (status) return status;
        if (step == 0) return EIO;
        total += step;
    }
    atomic_fetch_add_explicit(&disk->writes, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&disk->write_bytes, bytes, memory_order_relaxed);
    return 0;
}

/* An interrupted sync has promised nothing and reported nothing: unlike a failed one it may be
 * asked for again. */
int aul_disk_sync(aul_disk *disk, int file) {
    int status, interruptions = 0;
    do status = disk->sync(disk->context, file);
    while (status == EINTR && ++interruptions < INTERRUPTIONS_MAX);
    atomic_fetch_add_explicit(&disk->syncs, 1, memory_order_relaxed);
    return status;
}

int aul_disk_sync_directory(aul_disk *disk, int directory) {
    int status, interruptions = 0;
    do status = disk->sync_directory(disk->context, directory);
    while (status == EINTR && ++interruptions < INTERRUPTIONS_MAX);
    atomic_fetch_add_explicit(&disk->directory_syncs, 1, memory_order_relaxed);
    return status;
}

int aul_disk_sync_directory_at(aul_disk *disk, const char *path) {
    int directory;
    int status = disk->open_directory(disk->context, path, &directory);
    if (status) return status;
    status = aul_disk_sync_directory(disk, directory);
    disk->close(disk->context, directory);
    return status;
}

int aul_disk_allocate(aul_disk *disk, int file, u64 bytes) {
    u64 size, space;
    int status, interruptions = 0;
    if (disk->size(disk->context, file, &size) == 0 &&
        disk->free_space(disk->context, file, &space) == 0 && bytes > size && bytes - size > space)
        return ENOSPC;
    do status = disk->allocate(disk->context, file, bytes);
    while (status == EINTR && ++interruptions < INTERRUPTIONS_MAX);
    return status;
}

int aul_disk_truncate(aul_disk *disk, int file, u64 bytes) {
    int status, interruptions = 0;
    do status = disk->truncate(disk->context, file, bytes);
    while (status == EINTR && ++interruptions < INTERRUPTIONS_MAX);
    return status;
}

void *aul_alloc(aul_disk *disk, size_t bytes) {
    return disk->allocate_memory(disk->context, bytes);
}

void *aul_alloc_zero(aul_disk *disk, size_t bytes) {
    void *memory = aul_alloc(disk, bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

void aul_release(aul_disk *disk, void *memory) {
    if (memory) disk->free_memory(disk->context, memory);
}

int aul_grow(aul_disk *disk, void **array, size_t *capacity, size_t needed, size_t size) {
    if (needed <= *capacity) return AUL_OK;
    size_t count = aul_max(needed, *capacity * 2);
    if (count < 16) count = 16;
    void *grown = aul_alloc(disk, count * size);
    if (!grown) return AUL_NO_MEMORY;
    if (*array) {
        memcpy(grown, *array, *capacity * size);
        aul_release(disk, *array);
    }
    *array = grown;
    *capacity = count;
    return AUL_OK;
}
