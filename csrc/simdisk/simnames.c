/* simnames.c: the names of the simulated disk. See simdisk_inside.h. */
#include <stdio.h>
#include <stdlib.h>

#include "simdisk_inside.h"

static aul_sim_entry *find(const aul_sim_names *names, const char *path) {
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i].path, path) == 0) return &names->items[i];
    return NULL;
}

aul_sim_file *aul_sim_names_find(const aul_sim_names *names, const char *path) {
    aul_sim_entry *entry = find(names, path);
    return entry ? entry->file : NULL;
}

void aul_sim_names_put(aul_sim_names *names, const char *path, aul_sim_file *file) {
    aul_sim_entry *entry = find(names, path);
    file->references++;
    if (entry) {
        aul_sim_file_unref(entry->file);
        entry->file = file;
        return;
    }
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? 2 * names->capacity : 16;
        names->items = realloc(names->items, names->capacity * sizeof *names->items);
        if (!names->items) abort();
    }
    entry = &names->items[names->count++];
    snprintf(entry->path, sizeof entry->path, "%s", path);
    entry->file = file;
}

void aul_sim_names_remove(aul_sim_names *names, const char *path) {
    aul_sim_entry *entry = find(names, path);
    if (!entry) return;
    aul_sim_file_unref(entry->file);
    *entry = names->items[--names->count];
}

void aul_sim_names_free(aul_sim_names *names) {
    for (size_t i = 0; i < names->count; i++) aul_sim_file_unref(names->items[i].file);
    free(names->items);
    *names = (aul_sim_names){0};
}

bool aul_sim_is_in(const char *path, const char *directory) {
    size_t bytes = strlen(directory);
    return strncmp(path, directory, bytes) == 0 && path[bytes] == '/' &&
           !strchr(path + bytes + 1, '/');
}

bool aul_sim_is_reachable(const aul_sim_names *names, const char *path) {
    char above[AUL_SIM_PATH];
    snprintf(above, sizeof above, "%s", path);
    for (char *slash; (slash = strrchr(above, '/')) && slash != above;) {
        *slash = 0;
        aul_sim_file *file = aul_sim_names_find(names, above);
        if (!file || !file->is_directory) return false;
    }
    return true;
}

void aul_sim_apply_naming(aul_sim_names *names, const aul_sim_naming *naming) {
    if (naming->kind != AUL_NAME_REMOVED)
        aul_sim_names_put(names, naming->kind == AUL_NAME_MOVED ? naming->to : naming->path,
                          naming->file);
    if (naming->kind != AUL_NAME_ADDED) aul_sim_names_remove(names, naming->path);
}

void aul_sim_add_naming(aul_simdisk *disk, aul_sim_naming_kind kind, const char *path,
                        const char *to, aul_sim_file *file) {
    if (disk->naming_count == disk->naming_capacity) {
        disk->naming_capacity = disk->naming_capacity ? 2 * disk->naming_capacity : 16;
        disk->namings = realloc(disk->namings, disk->naming_capacity * sizeof *disk->namings);
        if (!disk->namings) abort();
    }
    aul_sim_naming *naming = &disk->namings[disk->naming_count++];
    naming->kind = kind;
    naming->order = ++disk->order;
    snprintf(naming->path, sizeof naming->path, "%s", path);
    snprintf(naming->to, sizeof naming->to, "%s", to ? to : "");
    naming->file = file;
    file->references++;
    aul_sim_apply_naming(&disk->now, naming);
}

void aul_sim_sync_names(aul_simdisk *disk, const char *directory, bool fails) {
    size_t kept = 0;
    for (size_t i = 0; i < disk->naming_count; i++) {
        aul_sim_naming *naming = &disk->namings[i];
        bool chosen = !fails || aul_random_chance(&disk->random, 30);
        if (!chosen || !aul_sim_is_in(naming->path, directory)) {
            disk->namings[kept++] = *naming;
            continue;
        }
        aul_sim_apply_naming(&disk->durable, naming);
        aul_sim_file_unref(naming->file);
    }
    disk->naming_count = kept;
}
