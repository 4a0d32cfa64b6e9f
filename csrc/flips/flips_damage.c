/* flips_damage.c: all damage to a volume, numbered. See flips.h.
 *
 * Flips come first: every bit of what the format gives a meaning to, one bit of every byte of what
 * it gives none to, one of every sector of files that are no part of the volume. Then sectors and
 * blocks: each zeroed, swapped with each other of its file, put over each other of its file,
 * replaced by the same place of each other file. Then whole files. */
#include <stdio.h>
#include <stdlib.h>

#include "flips.h"

#define SECTOR 512u

/* Of how many bits one is flipped. */
static u64 step_of(flips_region region, bool every_bit) {
    switch (region) {
    case FLIPS_DEAD:
    case FLIPS_RESERVE:
        return 8 * SECTOR;
    case FLIPS_HEADER_ZEROS:
    case FLIPS_GAP:
    case FLIPS_BLOCK_ZEROS:
    case FLIPS_BEHIND:
    case FLIPS_LOCK:
        return every_bit ? 1 : 8;
    default:
        return 1;
    }
}

static void *grow(void *items, size_t *capacity, size_t count, size_t size) {
    if (count < *capacity) return items;
    *capacity = *capacity ? 2 * *capacity : 256;
    items = realloc(items, *capacity * size);
    if (!items) abort();
    return items;
}

static void add_span(flips_volume *volume, u32 file, u64 from, u64 to) {
    flips_region region = (flips_region)volume->files[file].regions[from];
    u64 step = step_of(region, volume->every_bit), flips = ((to - from) * 8 + step - 1) / step;
    volume->spans =
        grow(volume->spans, &volume->span_capacity, volume->span_count, sizeof *volume->spans);
    volume->spans[volume->span_count++] =
        (flips_span){file, region, from, step, volume->flips, flips};
    volume->flips += flips;
}

static void add_spans(flips_volume *volume, u32 file) {
    const flips_file *f = &volume->files[file];
    for (u64 from = 0, to; from < f->size; from = to) {
        for (to = from + 1; to < f->size && f->regions[to] == f->regions[from];) to++;
        add_span(volume, file, from, to);
    }
}

static void add(flips_volume *volume, flips_damage damage) {
    volume->wide =
        grow(volume->wide, &volume->wide_capacity, volume->wide_count, sizeof *volume->wide);
    volume->wide[volume->wide_count++] = damage;
}

/* Whether its sectors are damaged: a segment's, or the manifest. */
static bool has_parts(const flips_file *file) {
    return file->regions[0] != FLIPS_LOCK && file->regions[0] != FLIPS_RESERVE &&
           file->regions[0] != FLIPS_DEAD;
}

static void add_parts(flips_volume *volume, u32 file, u64 bytes) {
    const flips_file *f = &volume->files[file];
    for (u64 at = 0; at + bytes <= f->size; at += bytes) {
        add(volume, (flips_damage){.kind = FLIPS_ZEROED, .file = file, .at = at, .bytes = bytes});
        for (u64 from = 0; from + bytes <= f->size; from += bytes) {
            flips_damage damage = {
                .kind = FLIPS_DUPLICATED, .file = file, .at = at, .other_at = from, .bytes = bytes};
            if (from != at) add(volume, damage);
            damage.kind = FLIPS_SWAPPED;
            if (from > at) add(volume, damage);
        }
        for (u32 other = 0; other < volume->file_count; other++)
            if (other != file && has_parts(&volume->files[other]) &&
                at + bytes <= volume->files[other].size)
                add(volume, (flips_damage){.kind = FLIPS_OF_ANOTHER,
                                           .file = file,
                                           .other = other,
                                           .at = at,
                                           .other_at = at,
                                           .bytes = bytes});
    }
}

static void add_wholes(flips_volume *volume, u32 file) {
    const flips_file *f = &volume->files[file];
    add(volume, (flips_damage){.kind = FLIPS_MISSING, .file = file});
    for (u64 size = 0; size < f->size; size += SECTOR)
        add(volume, (flips_damage){.kind = FLIPS_TRUNCATED, .file = file, .at = size});
    for (u64 bytes = 1; bytes <= 4096; bytes *= 8)
        for (u64 what = 0; what < 3; what++) /* zeros, random bytes, its own beginning */
            add(volume,
                (flips_damage){.kind = FLIPS_APPENDED, .file = file, .at = what, .bytes = bytes});
    for (u32 other = file + 1; other < volume->file_count; other++)
        add(volume, (flips_damage){.kind = FLIPS_EXCHANGED, .file = file, .other = other});
    for (u32 other = 0; other < volume->foreign_count; other++)
        if (f->regions[0] != FLIPS_MANIFEST) /* its log has other files, it is that volume's then */
            add(volume, (flips_damage){.kind = FLIPS_FOREIGN, .file = file, .other = other});
    for (u32 other = 0; other < volume->older_count; other++)
        if (strcmp(volume->older[other].path, f->path) == 0)
            add(volume, (flips_damage){.kind = FLIPS_OLDER, .file = file, .other = other});
}

void flips_damage_list(flips_volume *volume) {
    for (u32 i = 0; i < volume->file_count; i++) add_spans(volume, i);
    for (u32 i = 0; i < volume->file_count; i++) {
        if (has_parts(&volume->files[i])) add_parts(volume, i, SECTOR);
        if (has_parts(&volume->files[i])) add_parts(volume, i, AUL_BLOCK);
        add_wholes(volume, i);
    }
}

void flips_damage_at(const flips_volume *volume, u64 number, flips_damage *damage) {
    if (number >= volume->flips) {
        *damage = volume->wide[number - volume->flips];
        return;
    }
    size_t low = 0, high = volume->span_count - 1;
    while (low < high) {
        size_t middle = (low + high + 1) / 2;
        if (volume->spans[middle].first <= number)
            low = middle;
        else
            high = middle - 1;
    }
    const flips_span *span = &volume->spans[low];
    u64 bit = (number - span->first) * span->step;
    /* Any of the bits that it stands for. */
    u64 end = volume->files[span->file].size * 8 - span->from * 8;
    if (span->step > 1) bit += aul_mix(number) % aul_min(span->step, end - bit);
    *damage = (flips_damage){.kind = FLIPS_BIT,
                             .region = span->region,
                             .file = span->file,
                             .at = span->from + bit / 8,
                             .other_at = bit % 8};
}

bool flips_damage_is_rare(const flips_volume *volume, u64 number) {
    if (number < volume->flips) return false;
    flips_kind kind = volume->wide[number - volume->flips].kind;
    return kind == FLIPS_ZEROED || kind >= FLIPS_EXCHANGED;
}

static bool put(const flips_file *file, u64 at, const u8 *with, u64 bytes, aul_simdisk *image) {
    if (memcmp(file->bytes + at, with, bytes) == 0) return false;
    aul_simdisk_damage(image, file->path, at, with, bytes);
    return true;
}

static bool replace(const flips_file *file, const u8 *with, u64 bytes, aul_simdisk *image) {
    if (with && bytes == file->size && memcmp(file->bytes, with, bytes) == 0) return false;
    aul_simdisk_replace(image, file->path, with, bytes);
    return true;
}

static bool append(const flips_file *file, const flips_damage *damage, aul_simdisk *image) {
    u8 *bytes = calloc(1, file->size + damage->bytes);
    aul_random random = {file->size + damage->bytes};
    if (!bytes) abort();
    memcpy(bytes, file->bytes, file->size);
    for (u64 i = 0; i < damage->bytes && damage->at; i++)
        bytes[file->size + i] =
            damage->at == 1 ? (u8)aul_random_next(&random) : file->bytes[i % file->size];
    aul_simdisk_replace(image, file->path, bytes, file->size + damage->bytes);
    free(bytes);
    return true;
}

bool flips_damage_do(const flips_volume *volume, const flips_damage *damage, aul_simdisk *image) {
    static const u8 zeros[AUL_BLOCK];
    const flips_file *file = &volume->files[damage->file], *other = &volume->files[damage->other];
    const flips_file *foreign = &volume->foreign[damage->other],
                     *older = &volume->older[damage->other];
    switch (damage->kind) {
    case FLIPS_BIT:
        return put(file, damage->at, &(u8){file->bytes[damage->at] ^ (u8)(1u << damage->other_at)},
                   1, image);
    case FLIPS_ZEROED:
        return put(file, damage->at, zeros, damage->bytes, image);
    case FLIPS_SWAPPED:
        return put(file, damage->at, file->bytes + damage->other_at, damage->bytes, image) &&
               put(file, damage->other_at, file->bytes + damage->at, damage->bytes, image);
    case FLIPS_DUPLICATED:
        return put(file, damage->at, file->bytes + damage->other_at, damage->bytes, image);
    case FLIPS_OF_ANOTHER:
        return put(file, damage->at, other->bytes + damage->at, damage->bytes, image);
    case FLIPS_EXCHANGED:
        return replace(file, other->bytes, other->size, image) &&
               replace(other, file->bytes, file->size, image);
    case FLIPS_FOREIGN:
        return replace(file, foreign->bytes, foreign->size, image);
    case FLIPS_MISSING:
        return replace(file, NULL, 0, image);
    case FLIPS_TRUNCATED:
        return replace(file, file->bytes, damage->at, image);
    case FLIPS_APPENDED:
        return append(file, damage, image);
    case FLIPS_OLDER:
        return replace(file, older->bytes, older->size, image);
    default:
        return false;
    }
}

void flips_damage_tell(const flips_volume *volume, const flips_damage *damage, char *to,
                       size_t room) {
    static const char *const kinds[FLIPS_KINDS] = {
        "bit flipped in", "zeroed in",   "swapped in",         "duplicated in",
        "of another in",  "exchanged",   "another volume's",   "missing",
        "truncated",      "appended to", "an older version of"};
    const char *other = "";
    if (damage->kind == FLIPS_OF_ANOTHER || damage->kind == FLIPS_EXCHANGED)
        other = volume->files[damage->other].path;
    if (damage->kind == FLIPS_FOREIGN) other = volume->foreign[damage->other].path;
    snprintf(to, room, "%s: %s %s at %llu, %llu bytes, %s %llu", volume->name, kinds[damage->kind],
             volume->files[damage->file].path, (unsigned long long)damage->at,
             (unsigned long long)damage->bytes, other, (unsigned long long)damage->other_at);
}
