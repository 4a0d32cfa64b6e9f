/* simcut.c: what a power cut, or the end of a process, leaves. See simdisk.h. */
#include <stdlib.h>

#include "simdisk_inside.h"

const char *aul_sim_cut_name(aul_sim_cut cut) {
    static const char *const names[] = {"kill", "none", "all", "prefix", "subset", "garbage"};
    return names[cut];
}

/* How much of what is pending survives. */
static aul_sim_fate choose_fate(aul_simdisk *disk, aul_sim_cut cut, u64 oldest,
                                aul_random *random) {
    static const u32 percents[] = {10, 50, 85};
    aul_sim_fate fate = {.random = random};
    if (cut == AUL_CUT_ALL) fate.whole_before = UINT64_MAX;
    if (cut == AUL_CUT_PREFIX) {
        fate.whole_before = oldest + aul_random_below(random, disk->order - oldest + 2);
        fate.torn = fate.whole_before;
    }
    if (cut == AUL_CUT_SUBSET || cut == AUL_CUT_GARBAGE)
        fate.percent = percents[aul_random_below(random, 3)];
    fate.garbage = cut == AUL_CUT_GARBAGE;
    fate.stale = disk->has_stale ? disk->stale : NULL;
    return fate;
}

/* The first change that is pending anywhere. */
static u64 oldest_pending(const aul_simdisk *disk) {
    u64 oldest = disk->order;
    for (size_t i = 0; i < disk->naming_count; i++)
        oldest = aul_min(oldest, disk->namings[i].order);
    for (size_t i = 0; i < disk->now.count; i++) {
        const aul_sim_file *file = disk->now.items[i].file;
        /* LOCK's are never synced, and so as old as the disk. */
        if (file->pending_count && file->locked_by < 0)
            oldest = aul_min(oldest, file->pending[0]->order);
    }
    return oldest;
}

/* Which names survive. They follow the data's fate, or one of their own. */
static void cut_names(aul_simdisk *disk, const aul_sim_fate *fate, aul_sim_names *names) {
    static const u32 percents[] = {0, 50, 100};
    u32 percent = fate->percent ? percents[aul_random_below(fate->random, 3)] : 0;
    for (size_t i = 0; i < disk->durable.count; i++)
        aul_sim_names_put(names, disk->durable.items[i].path, disk->durable.items[i].file);
    for (size_t i = 0; i < disk->naming_count; i++) {
        const aul_sim_naming *naming = &disk->namings[i];
        if (naming->order < fate->whole_before || aul_random_chance(fate->random, percent))
            aul_sim_apply_naming(names, naming);
    }
    for (size_t i = 0; i < names->count;) {
        if (aul_sim_is_reachable(names, names->items[i].path)) {
            i++;
            continue;
        }
        aul_sim_names_remove(names, names->items[i].path);
        i = 0;
    }
}

/* The file's place on the new disk; `fate` NULL copies all that is pending, too. */
static aul_sim_file *bring(aul_sim_file *file, const aul_sim_fate *fate) {
    if (!file->copy)
        file->copy = fate ? aul_sim_file_image(file, fate) : aul_sim_file_copy(file);
    else
        file->copy->references++;
    return file->copy;
}

static void bring_names(const aul_sim_names *from, aul_sim_names *to, const aul_sim_fate *fate) {
    for (size_t i = 0; i < from->count; i++) {
        aul_sim_file *copy = bring(from->items[i].file, fate);
        aul_sim_names_put(to, from->items[i].path, copy);
        aul_sim_file_unref(copy);
    }
}

static void forget_copies(const aul_sim_names *names) {
    for (size_t i = 0; i < names->count; i++) names->items[i].file->copy = NULL;
}

static void kill_process(aul_simdisk *disk, aul_simdisk *image) {
    bring_names(&disk->now, &image->now, NULL);
    bring_names(&disk->durable, &image->durable, NULL);
    image->namings = malloc((disk->naming_count + 1) * sizeof *image->namings);
    if (!image->namings) abort();
    image->naming_count = disk->naming_count;
    image->naming_capacity = disk->naming_count + 1;
    for (size_t i = 0; i < disk->naming_count; i++) {
        image->namings[i] = disk->namings[i];
        image->namings[i].file = bring(disk->namings[i].file, NULL);
    }
    for (size_t i = 0; i < disk->naming_count; i++) disk->namings[i].file->copy = NULL;
    forget_copies(&disk->now);
    forget_copies(&disk->durable);
}

static void cut_power(aul_simdisk *disk, aul_sim_cut cut, aul_random *random, aul_simdisk *image) {
    aul_sim_fate fate = choose_fate(disk, cut, oldest_pending(disk), random);
    aul_sim_names names = {0};
    cut_names(disk, &fate, &names);
    bring_names(&names, &image->now, &fate);
    forget_copies(&names);
    aul_sim_names_free(&names);
    for (size_t i = 0; i < image->now.count; i++)
        aul_sim_names_put(&image->durable, image->now.items[i].path, image->now.items[i].file);
}

aul_simdisk *aul_simdisk_cut(aul_simdisk *disk, aul_sim_cut cut, u64 seed) {
    aul_simdisk *image = aul_simdisk_new(seed);
    aul_random random = {aul_mix(seed)};
    image->order = disk->order;
    image->inodes = disk->inodes;
    image->time = disk->time;
    memcpy(image->stale, disk->stale, sizeof image->stale);
    image->has_stale = disk->has_stale;
    if (cut == AUL_CUT_KILL)
        kill_process(disk, image);
    else
        cut_power(disk, cut, &random, image);
    return image;
}

static bool is_part(const char *path) {
    const char *name = strrchr(path, '/');
    return strcmp(name, "/LOCK") != 0 && strcmp(name, "/RESERVE") != 0;
}

static u64 hash_name(const char *path) {
    u64 hash = 1;
    for (; *path; path++) hash = aul_mix(hash + (u8)*path);
    return hash;
}

u64 aul_simdisk_hash(aul_simdisk *disk) {
    u64 hash = 1;
    for (size_t i = 0; i < disk->now.count; i++) {
        const aul_sim_entry *entry = &disk->now.items[i];
        if (is_part(entry->path)) /* in whatever order */
            hash += aul_mix(hash_name(entry->path) ^ aul_sim_file_hash(entry->file));
    }
    return hash;
}

static u64 hash_names(const aul_sim_names *names) {
    u64 hash = 1;
    for (size_t i = 0; i < names->count; i++)
        hash +=
            aul_mix(hash_name(names->items[i].path) ^ aul_sim_file_hash_fate(names->items[i].file));
    return hash;
}

u64 aul_simdisk_hash_fate(aul_simdisk *disk) {
    u64 hash = hash_names(&disk->now);
    if (disk->naming_count) hash = aul_mix(hash) + hash_names(&disk->durable);
    for (size_t i = 0; i < disk->naming_count; i++) {
        const aul_sim_naming *naming = &disk->namings[i];
        hash = aul_mix(hash + naming->kind + hash_name(naming->path)) ^ hash_name(naming->to);
        hash += aul_sim_file_hash_fate(naming->file);
    }
    return hash;
}
