/* simdisk_inside.h: the simulated disk as its own files see it: simdisk.c (the table), simnames.c
 * (names and directories), simcut.c (power cuts). */
#ifndef AUL_SIMDISK_INSIDE_H
#define AUL_SIMDISK_INSIDE_H

#include "simdisk.h"
#include "simfile.h"

#define AUL_SIM_PATH 64
#define AUL_SIM_HANDLES 192

typedef struct {
    char path[AUL_SIM_PATH];
    aul_sim_file *file; /* owned */
} aul_sim_entry;

typedef struct {
    aul_sim_entry *items;
    size_t count, capacity;
} aul_sim_names;

typedef enum { AUL_NAME_ADDED, AUL_NAME_REMOVED, AUL_NAME_MOVED } aul_sim_naming_kind;

/* A change of a directory that no sync has made durable. */
typedef struct {
    aul_sim_naming_kind kind;
    u64 order;
    char path[AUL_SIM_PATH], to[AUL_SIM_PATH];
    aul_sim_file *file; /* owned */
} aul_sim_naming;

typedef struct {
    aul_simdisk *disk;
    u32 process;
} aul_sim_view;

struct aul_simdisk {
    u64 id, order, inodes, time, trace;
    u64 room; /* UINT64_MAX: without end */
    aul_random random;
    aul_sim_view views[AUL_SIM_PROCESSES];
    aul_sim_names now, durable;
    aul_sim_naming *namings;
    size_t naming_count, naming_capacity;
    struct {
        aul_sim_file *file; /* owned; NULL: free */
        char path[AUL_SIM_PATH];
    } handles[AUL_SIM_HANDLES];
    u64 open_handles, memory;
    aul_sim_observer *observer;
    void *observer_argument;
    aul_sim_fault fault;
    u64 fault_hits;
    u8 stale[AUL_SIM_BLOCK]; /* of the file last removed */
    bool has_stale;
};

/* simnames.c */
aul_sim_file *aul_sim_names_find(const aul_sim_names *names, const char *path);
/* Takes another reference. An older file of that name goes. */
void aul_sim_names_put(aul_sim_names *names, const char *path, aul_sim_file *file);
void aul_sim_names_remove(aul_sim_names *names, const char *path);
void aul_sim_names_free(aul_sim_names *names);
/* Whether `path` is an entry of `directory` itself. */
bool aul_sim_is_in(const char *path, const char *directory);
/* Whether every directory above is there. */
bool aul_sim_is_reachable(const aul_sim_names *names, const char *path);
void aul_sim_apply_naming(aul_sim_names *names, const aul_sim_naming *naming);
void aul_sim_add_naming(aul_simdisk *disk, aul_sim_naming_kind kind, const char *path,
                        const char *to, aul_sim_file *file);
/* Makes the directory's changes durable, at random only some of them when it fails. The others are
 * not forgotten, as data is: names and sizes go through a file system's journal, and where that
 * fails no later sync succeeds. */
void aul_sim_sync_names(aul_simdisk *disk, const char *directory, bool fails);

#endif
