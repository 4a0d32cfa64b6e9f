/* simfile.c: see simfile.h. */
#include "simfile.h"

#include <stdlib.h>

/* A test has nothing to do without memory. */
static void *must(void *memory) {
    if (!memory) abort();
    return memory;
}

/* Blocks */

static void block_unref(aul_sim_block *block) {
    if (block && --block->references == 0) free(block);
}

static aul_sim_block *block_ref(aul_sim_block *block) {
    if (block) block->references++;
    return block;
}

static void bytes_free(aul_sim_bytes *bytes) {
    for (size_t i = 0; i < bytes->count; i++) block_unref(bytes->blocks[i]);
    free(bytes->blocks);
    *bytes = (aul_sim_bytes){0};
}

static void bytes_share(const aul_sim_bytes *from, aul_sim_bytes *to) {
    *to = (aul_sim_bytes){.count = from->count, .size = from->size};
    if (!from->count) return;
    to->blocks = must(malloc(from->count * sizeof *to->blocks));
    for (size_t i = 0; i < from->count; i++) to->blocks[i] = block_ref(from->blocks[i]);
}

static void bytes_reach(aul_sim_bytes *bytes, u64 end) {
    size_t count = (size_t)((end + AUL_SIM_BLOCK - 1) / AUL_SIM_BLOCK);
    if (count <= bytes->count) return;
    bytes->blocks = must(realloc(bytes->blocks, count * sizeof *bytes->blocks));
    while (bytes->count < count) bytes->blocks[bytes->count++] = NULL;
}

/* The block, for nobody but us to write to. */
static u8 *bytes_own(aul_sim_bytes *bytes, size_t at) {
    aul_sim_block *block = bytes->blocks[at];
    if (!block || block->references > 1) {
        aul_sim_block *fresh = must(malloc(sizeof *fresh));
        fresh->references = 1;
        if (block)
            memcpy(fresh->bytes, block->bytes, AUL_SIM_BLOCK);
        else
            memset(fresh->bytes, 0, AUL_SIM_BLOCK);
        block_unref(block);
        bytes->blocks[at] = block = fresh;
    }
    block->hash = 0;
    return block->bytes;
}

/* Puts bytes where they belong, whatever the size is. */
static void bytes_put(aul_sim_bytes *bytes, const u8 *from, u64 count, u64 offset) {
    bytes_reach(bytes, offset + count);
    while (count) {
        u64 within = offset % AUL_SIM_BLOCK, step = aul_min(count, AUL_SIM_BLOCK - within);
        memcpy(bytes_own(bytes, (size_t)(offset / AUL_SIM_BLOCK)) + within, from, step);
        from += step;
        offset += step;
        count -= step;
    }
}

static void bytes_get(const aul_sim_bytes *bytes, u8 *to, u64 count, u64 offset) {
    while (count) {
        u64 within = offset % AUL_SIM_BLOCK, step = aul_min(count, AUL_SIM_BLOCK - within);
        size_t at = (size_t)(offset / AUL_SIM_BLOCK);
        const aul_sim_block *block = at < bytes->count ? bytes->blocks[at] : NULL;
        if (block)
            memcpy(to, block->bytes + within, step);
        else
            memset(to, 0, step);
        to += step;
        offset += step;
        count -= step;
    }
}

/* Zeros behind `size`. */
static void bytes_clip(aul_sim_bytes *bytes, u64 size) {
    size_t whole = (size_t)((size + AUL_SIM_BLOCK - 1) / AUL_SIM_BLOCK);
    while (bytes->count > whole) block_unref(bytes->blocks[--bytes->count]);
    u64 within = size % AUL_SIM_BLOCK;
    if (within && bytes->count == whole && bytes->blocks[whole - 1])
        memset(bytes_own(bytes, whole - 1) + within, 0, AUL_SIM_BLOCK - within);
}

static void bytes_resize(aul_sim_bytes *bytes, u64 size) {
    if (size < bytes->size) bytes_clip(bytes, size);
    bytes->size = size;
}

/* Files */

aul_sim_file *aul_sim_file_new(u64 number, bool is_directory) {
    aul_sim_file *file = must(calloc(1, sizeof *file));
    file->references = 1;
    file->number = number;
    file->is_directory = is_directory;
    file->locked_by = -1;
    return file;
}

static void change_unref(aul_sim_change *change) {
    if (--change->references == 0) free(change);
}

static void drop_pending(aul_sim_file *file, size_t count) {
    if (!count) return;
    for (size_t i = 0; i < count; i++) change_unref(file->pending[i]);
    file->pending_count -= count;
    memmove(file->pending, file->pending + count, file->pending_count * sizeof *file->pending);
}

void aul_sim_file_unref(aul_sim_file *file) {
    if (--file->references) return;
    drop_pending(file, file->pending_count);
    free(file->pending);
    bytes_free(&file->cache);
    bytes_free(&file->disk);
    free(file);
}

static aul_sim_change *add_change(aul_sim_file *file, aul_sim_change_kind kind, u64 start, u64 size,
                                  u64 order) {
    size_t data = kind == AUL_CHANGE_SECTORS ? (size_t)size : 0;
    aul_sim_change *change = must(malloc(sizeof *change + data));
    *change = (aul_sim_change){1, kind, order, start, size, 0};
    if (file->pending_count == file->pending_capacity) {
        file->pending_capacity = file->pending_capacity ? 2 * file->pending_capacity : 8;
        file->pending =
            must(realloc(file->pending, file->pending_capacity * sizeof *file->pending));
    }
    return file->pending[file->pending_count++] = change;
}

size_t aul_sim_file_read(const aul_sim_file *file, void *to, size_t bytes, u64 offset) {
    if (offset >= file->cache.size) return 0;
    bytes = (size_t)aul_min(bytes, file->cache.size - offset);
    bytes_get(&file->cache, to, bytes, offset);
    return bytes;
}

void aul_sim_file_write(aul_sim_file *file, const void *from, size_t bytes, u64 offset, u64 order) {
    u64 start = offset / AUL_SIM_SECTOR * AUL_SIM_SECTOR;
    u64 end = aul_round_up(offset + bytes, AUL_SIM_SECTOR);
    bytes_put(&file->cache, from, bytes, offset);
    bool grows = offset + bytes > file->cache.size;
    if (grows) file->cache.size = offset + bytes;
    aul_sim_change *change = add_change(file, AUL_CHANGE_SECTORS, start, end - start, order);
    bytes_get(&file->cache, change->data, end - start, start);
    if (grows) add_change(file, AUL_CHANGE_GROW, 0, offset + bytes, order);
}

void aul_sim_file_write_lost(aul_sim_file *file, const void *from, size_t bytes, u64 offset,
                             u64 order) {
    bool grows = offset + bytes > file->cache.size;
    bytes_put(&file->cache, from, bytes, offset);
    if (grows) file->cache.size = offset + bytes;
    if (grows) add_change(file, AUL_CHANGE_GROW, 0, offset + bytes, order);
    file->forgotten = true;
}

void aul_sim_file_misplace(const aul_sim_file *file, u64 offset, size_t bytes, aul_sim_file *other,
                           u64 to) {
    u8 sector[AUL_SIM_SECTOR];
    to = to / AUL_SIM_SECTOR * AUL_SIM_SECTOR;
    for (u64 at = offset / AUL_SIM_SECTOR * AUL_SIM_SECTOR; at < offset + bytes;
         at += AUL_SIM_SECTOR, to += AUL_SIM_SECTOR) {
        bytes_get(&file->cache, sector, sizeof sector, at);
        bytes_put(&other->disk, sector, sizeof sector, to);
    }
    other->forgotten = true;
}

void aul_sim_file_resize(aul_sim_file *file, u64 size, u64 order) {
    if (size == file->cache.size) return;
    bool grows = size > file->cache.size;
    bytes_resize(&file->cache, size);
    add_change(file, grows ? AUL_CHANGE_GROW : AUL_CHANGE_SHRINK, 0, size, order);
}

/* Makes one change, or `sectors` of it, on the disk. */
static void apply(aul_sim_bytes *disk, const aul_sim_change *change) {
    if (change->kind == AUL_CHANGE_SECTORS)
        bytes_put(disk, change->data, change->size, change->start);
    else if (change->kind == AUL_CHANGE_SHRINK)
        bytes_resize(disk, change->size);
    else if (change->size > disk->size)
        disk->size = change->size;
}

void aul_sim_file_sync(aul_sim_file *file) {
    if (!file->forgotten) {
        bytes_free(&file->disk);
        bytes_share(&file->cache, &file->disk);
    } else {
        for (size_t i = 0; i < file->pending_count; i++) apply(&file->disk, file->pending[i]);
        bytes_clip(&file->disk, file->disk.size);
    }
    drop_pending(file, file->pending_count);
    file->ever_synced = true;
}

/* The sectors of a change that reach the disk: some at random, a beginning, or an end. */
static void apply_torn(aul_sim_bytes *disk, const aul_sim_change *change, aul_random *random,
                       u32 percent) {
    u64 sectors = change->size / AUL_SIM_SECTOR, cut = aul_random_below(random, sectors + 1);
    u64 how = aul_random_below(random, 3);
    for (u64 i = 0; i < sectors; i++) {
        bool there = how == 0 ? i < cut : how == 1 ? i >= cut : aul_random_chance(random, percent);
        if (there)
            bytes_put(disk, change->data + i * AUL_SIM_SECTOR, AUL_SIM_SECTOR,
                      change->start + i * AUL_SIM_SECTOR);
    }
}

void aul_sim_file_fail_sync(aul_sim_file *file, aul_random *random, bool evict) {
    u32 percent = (u32)aul_random_below(random, 3) * 45;
    size_t kept = 0;
    for (size_t i = 0; i < file->pending_count; i++) {
        aul_sim_change *change = file->pending[i];
        if (change->kind != AUL_CHANGE_SECTORS) {
            file->pending[kept++] = change;
            continue;
        }
        if (aul_random_chance(random, percent)) apply_torn(&file->disk, change, random, percent);
        change_unref(change);
    }
    file->pending_count = kept;
    file->forgotten = true;
    if (!evict) return;
    u64 size = file->cache.size;
    bytes_free(&file->cache);
    bytes_share(&file->disk, &file->cache);
    bytes_clip(&file->cache, size);
    file->cache.size = size;
}

void aul_sim_file_bound_pending(aul_sim_file *file, size_t most) {
    if (file->pending_count <= most) return;
    size_t count = file->pending_count - most;
    for (size_t i = 0; i < count; i++) apply(&file->disk, file->pending[i]);
    drop_pending(file, count);
}

aul_sim_file *aul_sim_file_copy(const aul_sim_file *file) {
    aul_sim_file *copy = aul_sim_file_new(file->number, file->is_directory);
    copy->ever_synced = file->ever_synced;
    copy->forgotten = file->forgotten;
    bytes_share(&file->cache, &copy->cache);
    bytes_share(&file->disk, &copy->disk);
    if (!file->pending_count) return copy;
    copy->pending = must(malloc(file->pending_count * sizeof *copy->pending));
    copy->pending_count = copy->pending_capacity = file->pending_count;
    for (size_t i = 0; i < file->pending_count; i++) {
        copy->pending[i] = file->pending[i];
        copy->pending[i]->references++;
    }
    return copy;
}

/* Sectors that were given to the file and never written durably may show what was there before. */
static void spoil(aul_sim_bytes *disk, const aul_sim_change *change, const aul_sim_fate *fate) {
    for (u64 at = change->start; at < change->start + change->size; at += AUL_SIM_SECTOR) {
        u8 sector[AUL_SIM_SECTOR];
        u64 how = aul_random_below(fate->random, 3);
        if (how == 0) continue;
        if (how == 1 && fate->stale)
            memcpy(sector, fate->stale + at % AUL_SIM_BLOCK, sizeof sector);
        else
            for (size_t i = 0; i < sizeof sector; i += 8)
                put64(sector + i, aul_random_next(fate->random));
        bytes_put(disk, sector, sizeof sector, at);
    }
}

aul_sim_file *aul_sim_file_image(const aul_sim_file *file, const aul_sim_fate *fate) {
    aul_sim_file *image = aul_sim_file_new(file->number, file->is_directory);
    bytes_share(&file->disk, &image->disk);
    image->ever_synced = true; /* what it has now is on the disk */
    for (size_t i = 0; i < file->pending_count; i++) {
        const aul_sim_change *change = file->pending[i];
        bool sectors = change->kind == AUL_CHANGE_SECTORS;
        if (sectors && fate->garbage && !file->ever_synced) spoil(&image->disk, change, fate);
        if (change->order < fate->whole_before)
            apply(&image->disk, change);
        else if (change->order == fate->torn && sectors)
            apply_torn(&image->disk, change, fate->random, 50);
        else if (fate->percent && aul_random_chance(fate->random, fate->percent)) {
            if (sectors && aul_random_chance(fate->random, 50))
                apply_torn(&image->disk, change, fate->random, fate->percent);
            else
                apply(&image->disk, change);
        }
    }
    bytes_clip(&image->disk, image->disk.size);
    bytes_share(&image->disk, &image->cache);
    return image;
}

void aul_sim_file_damage(aul_sim_file *file, u64 offset, const u8 *with, size_t bytes) {
    if (offset + bytes <= file->cache.size) bytes_put(&file->cache, with, bytes, offset);
    if (offset + bytes <= file->disk.size) bytes_put(&file->disk, with, bytes, offset);
}

static u64 hash_block(aul_sim_block *block) {
    static const u64 zeros = 0x1d8e4e27c47d124full;
    if (!block) return zeros;
    if (block->hash) return block->hash;
    u64 hash = 0x9e3779b97f4a7c15ull, any = 0;
    for (size_t i = 0; i < AUL_SIM_BLOCK; i += 8) {
        u64 word = get64(block->bytes + i);
        any |= word;
        hash = (hash ^ word) * 0xbf58476d1ce4e5b9ull;
        hash ^= hash >> 29;
    }
    return block->hash = any ? hash | 1 : zeros;
}

static u64 hash_bytes(const aul_sim_bytes *bytes) {
    u64 hash = aul_mix(bytes->size + 1), blocks = bytes->size / AUL_SIM_BLOCK + 1;
    for (u64 i = 0; i < blocks; i++)
        hash = aul_mix(hash + hash_block(i < bytes->count ? bytes->blocks[i] : NULL));
    return hash;
}

static u64 hash_change(aul_sim_change *change) {
    if (change->hash) return change->hash;
    u64 hash = aul_mix(aul_mix(change->start + change->kind) ^ change->size);
    u64 data = change->kind == AUL_CHANGE_SECTORS ? change->size : 0;
    for (u64 i = 0; i < data; i += 8) hash = aul_mix(hash + get64(change->data + i));
    return change->hash = hash | 1;
}

u64 aul_sim_file_hash(aul_sim_file *file) { return hash_bytes(&file->cache); }

u64 aul_sim_file_hash_fate(aul_sim_file *file) {
    u64 hash = hash_bytes(&file->cache) + 2 * file->forgotten + file->ever_synced;
    if (file->pending_count || file->forgotten) hash = aul_mix(hash) + hash_bytes(&file->disk);
    for (size_t i = 0; i < file->pending_count; i++)
        hash = aul_mix(hash + hash_change(file->pending[i]));
    return hash;
}
