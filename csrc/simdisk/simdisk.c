/* simdisk.c: the calls of the simulated disk. See simdisk.h.
 *
 * Each call begins with enter(), where the observer and the faults come in. Nothing that was looked
 * up before is used after it: the observer may have used the disk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "simdisk_inside.h"

#define LOCK_CHANGES_MAX 6 /* the durable word is never synced */
#define TICK_NS 1000u
#define CACHE_STAYS 70 /* of 100 writes that get lost, until the power does */

#define CHANGES                                                                             \
    ((1u << AUL_SIM_CREATE) | (1u << AUL_SIM_WRITE) | (1u << AUL_SIM_SYNC) |                \
     (1u << AUL_SIM_SYNC_DIRECTORY) | (1u << AUL_SIM_ALLOCATE) | (1u << AUL_SIM_TRUNCATE) | \
     (1u << AUL_SIM_RENAME) | (1u << AUL_SIM_UNLINK) | (1u << AUL_SIM_MAKE_DIRECTORY))

const char *aul_sim_call_name(aul_sim_call call) {
    static const char *const names[] = {
        "open",           "create",         "read",     "write",    "sync",
        "sync directory", "write back",     "allocate", "truncate", "rename",
        "unlink",         "make directory", "list",     "other",    "memory"};
    return names[call];
}

static aul_simdisk *of(void *context) { return ((aul_sim_view *)context)->disk; }

static void trace(aul_simdisk *disk, u64 value) { disk->trace = aul_mix(disk->trace + value); }

static void trace_path(aul_simdisk *disk, const char *path) {
    u64 hash = 0;
    for (; *path; path++) hash = hash * 31 + (u8)*path;
    trace(disk, hash);
}

/* Whether the fault strikes this call. */
static bool strikes(aul_simdisk *disk, aul_sim_call call) {
    aul_sim_fault *fault = &disk->fault;
    if (!fault->at || !(fault->calls & 1u << call)) return false;
    if (fault->at > 1) {
        fault->at--;
        return false;
    }
    if (!fault->for_ever) fault->at = 0;
    disk->fault_hits++;
    return true;
}

/* Begins a call: 0, or the errno value or AUL_FAULT_… that it is to have. */
static int enter(aul_simdisk *disk, aul_sim_call call, const char *path) {
    if (disk->observer && (CHANGES & 1u << call))
        disk->observer(disk->observer_argument, call, path);
    disk->time += TICK_NS;
    trace(disk, call);
    trace_path(disk, path);
    return strikes(disk, call) ? disk->fault.what : 0;
}

/* Names without "..". */
static void normal(const char *path, char to[AUL_SIM_PATH]) {
    snprintf(to, AUL_SIM_PATH, "%s", path);
    size_t length = strlen(to);
    if (length <= 3 || strcmp(to + length - 3, "/..") != 0) return;
    to[length - 3] = 0;
    char *slash = strrchr(to, '/');
    if (slash) *slash = 0;
}

/* Handles */

static int give_handle(aul_simdisk *disk, const char *path, aul_sim_file *file, int *handle) {
    for (int i = 0; i < AUL_SIM_HANDLES; i++) {
        if (disk->handles[i].file) continue;
        disk->handles[i].file = file;
        snprintf(disk->handles[i].path, AUL_SIM_PATH, "%s", path);
        file->references++;
        disk->open_handles++;
        *handle = i;
        return 0;
    }
    return EMFILE;
}

static aul_sim_file *file_of(aul_simdisk *disk, int handle) {
    if (handle < 0 || handle >= AUL_SIM_HANDLES || !disk->handles[handle].file) abort();
    return disk->handles[handle].file;
}

static int sim_open(void *context, const char *path, int flags, int *file) {
    aul_simdisk *disk = of(context);
    bool create = flags & AUL_DISK_CREATE;
    int failed = enter(disk, create ? AUL_SIM_CREATE : AUL_SIM_OPEN, path);
    if (failed > 0) return failed;
    aul_sim_file *found = aul_sim_names_find(&disk->now, path);
    if (found && create) return EEXIST;
    if (!found && (!create || !aul_sim_is_reachable(&disk->now, path))) return ENOENT;
    if (found)
        return found->is_directory && (flags & AUL_DISK_WRITE)
                   ? EISDIR
                   : give_handle(disk, path, found, file);
    aul_sim_file *fresh = aul_sim_file_new(++disk->inodes, false);
    aul_sim_add_naming(disk, AUL_NAME_ADDED, path, NULL, fresh);
    failed = give_handle(disk, path, fresh, file);
    aul_sim_file_unref(fresh);
    return failed;
}

static int sim_close(void *context, int handle) {
    aul_simdisk *disk = of(context);
    aul_sim_file *file = file_of(disk, handle);
    if (file->locked_by == handle) file->locked_by = -1;
    disk->handles[handle].file = NULL;
    disk->open_handles--;
    aul_sim_file_unref(file);
    return 0;
}

static int sim_read(void *context, int handle, void *buffer, size_t bytes, u64 offset,
                    size_t *done) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_READ, disk->handles[handle].path);
    if (failed == AUL_FAULT_SHORT)
        bytes = bytes > 1 ? bytes / 2 : bytes;
    else if (failed > 0)
        return failed;
    aul_sim_file *file = file_of(disk, handle);
    if (file->is_directory) return EISDIR;
    *done = aul_sim_file_read(file, buffer, bytes, offset);
    trace(disk, offset);
    trace(disk, *done);
    return 0;
}

/* Gives bytes back to the disk. */
static void give_room(aul_simdisk *disk, u64 bytes) {
    if (disk->room != UINT64_MAX) disk->room += bytes;
}

/* Room for a file of `size` bytes to become one of `wanted`. ENOSPC, and *wanted is what there is
 * room for. */
static int take_room(aul_simdisk *disk, u64 size, u64 *wanted) {
    if (disk->room == UINT64_MAX || *wanted <= size) return 0;
    u64 more = aul_min(*wanted - size, disk->room);
    disk->room -= more;
    if (size + more == *wanted) return 0;
    *wanted = size + more;
    return ENOSPC;
}

/* Where a write goes that the disk puts in the wrong place: another block, of any file. */
static aul_sim_file *misdirect(aul_simdisk *disk, aul_sim_file *file, u64 *offset) {
    for (int tries = 0; tries < 4 && aul_random_chance(&disk->random, 50); tries++) {
        aul_sim_file *other =
            disk->now.items[aul_random_below(&disk->random, disk->now.count)].file;
        if (!other->is_directory && other->locked_by < 0) file = other;
    }
    u64 blocks = file->cache.size / AUL_SIM_SECTOR + 1;
    *offset = aul_random_below(&disk->random, blocks) * AUL_SIM_SECTOR + *offset % AUL_SIM_SECTOR;
    return file;
}

/* A drive that lies: its own cache, and ours, show what it has not written, or not there. */
static void write_elsewhere(aul_simdisk *disk, aul_sim_file *file, const void *data, size_t bytes,
                            u64 offset, int lie) {
    u64 to = offset;
    aul_sim_file_write_lost(file, data, bytes, offset, ++disk->order);
    aul_sim_file *other = lie == AUL_FAULT_MISDIRECTED ? misdirect(disk, file, &to) : NULL;
    if (other) aul_sim_file_misplace(file, offset, bytes, other, to);
}

static int sim_write(void *context, int handle, const void *data, size_t bytes, u64 offset,
                     size_t *done) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_WRITE, disk->handles[handle].path);
    aul_sim_file *file = file_of(disk, handle);
    bool lies = failed == AUL_FAULT_LOST || failed == AUL_FAULT_MISDIRECTED;
    size_t part = bytes;
    if (failed == AUL_FAULT_SHORT) part = bytes > 1 ? bytes / 2 : bytes;
    /* A write that fails may have got some of its bytes into the cache. */
    if (failed == EIO || failed == ENOSPC)
        part = aul_random_chance(&disk->random, 50) ? (size_t)aul_random_below(&disk->random, bytes)
                                                    : 0;
    if (failed == EINTR || failed == AUL_FAULT_LOST) part = 0;
    trace(disk, offset);
    trace(disk, aul_crc32c((u32)bytes, data, bytes));
    *done = bytes;
    if (lies && aul_random_chance(&disk->random, CACHE_STAYS)) {
        write_elsewhere(disk, file, data, bytes, offset, failed);
        return 0;
    }
    if (failed == AUL_FAULT_MISDIRECTED) file = misdirect(disk, file, &offset);
    u64 end = offset + part;
    if (part && take_room(disk, file->cache.size, &end)) {
        failed = ENOSPC;
        part = end > offset ? (size_t)(end - offset) : 0;
    }
    if (part) aul_sim_file_write(file, data, part, offset, ++disk->order);
    if (file->locked_by >= 0) aul_sim_file_bound_pending(file, LOCK_CHANGES_MAX);
    *done = failed == AUL_FAULT_SHORT ? part : bytes;
    return failed > 0 ? failed : 0;
}

static int sim_sync(void *context, int handle) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_SYNC, disk->handles[handle].path);
    aul_sim_file *file = file_of(disk, handle);
    if (failed == EINTR) return failed;
    if (failed > 0) {
        aul_sim_file_fail_sync(file, &disk->random, aul_random_chance(&disk->random, 25));
        return failed;
    }
    aul_sim_file_sync(file);
    return 0;
}

static int sim_open_directory(void *context, const char *path, int *directory) {
    aul_simdisk *disk = of(context);
    char name[AUL_SIM_PATH];
    normal(path, name);
    int failed = enter(disk, AUL_SIM_OPEN, name);
    if (failed > 0) return failed;
    aul_sim_file *found = aul_sim_names_find(&disk->now, name);
    if (!found && name[0] == 0) return give_handle(disk, name, disk->now.items[0].file, directory);
    if (!found) return ENOENT;
    return found->is_directory ? give_handle(disk, name, found, directory) : ENOTDIR;
}

static int sim_sync_directory(void *context, int handle) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_SYNC_DIRECTORY, disk->handles[handle].path);
    if (failed == EINTR) return failed;
    aul_sim_sync_names(disk, disk->handles[handle].path, failed > 0);
    return failed > 0 ? failed : 0;
}

/* Promises nothing, so does nothing: what was written may be on the disk at any time anyhow. */
static int sim_write_back(void *context, int handle, u64 offset, u64 bytes, bool wait) {
    aul_simdisk *disk = of(context);
    (void)offset, (void)bytes, (void)wait;
    int failed = enter(disk, AUL_SIM_WRITE_BACK, disk->handles[handle].path);
    return failed > 0 ? failed : 0;
}

static int sim_allocate(void *context, int handle, u64 bytes) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_ALLOCATE, disk->handles[handle].path);
    aul_sim_file *file = file_of(disk, handle);
    u64 size = file->cache.size;
    trace(disk, bytes);
    /* Some file systems keep what a refused attempt got. */
    if (failed > 0 && failed != EINTR && bytes > size && aul_random_chance(&disk->random, 50))
        bytes = size + aul_random_below(&disk->random, bytes - size);
    else if (failed > 0)
        return failed;
    if (take_room(disk, size, &bytes)) failed = ENOSPC;
    if (bytes > size) aul_sim_file_resize(file, bytes, ++disk->order);
    return failed > 0 ? failed : 0;
}

static int sim_free_space(void *context, int handle, u64 *bytes) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_OTHER, disk->handles[handle].path);
    *bytes = aul_min(disk->room, 1ull << 40);
    return failed > 0 ? failed : 0;
}

static int sim_truncate(void *context, int handle, u64 bytes) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_TRUNCATE, disk->handles[handle].path);
    trace(disk, bytes);
    if (failed > 0) return failed;
    aul_sim_file *file = file_of(disk, handle);
    u64 size = file->cache.size, wanted = bytes;
    if (take_room(disk, size, &wanted)) return ENOSPC;
    if (bytes < size) give_room(disk, size - bytes);
    aul_sim_file_resize(file, bytes, ++disk->order);
    return 0;
}

static int sim_size(void *context, int handle, u64 *bytes) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_OTHER, disk->handles[handle].path);
    *bytes = file_of(disk, handle)->cache.size;
    return failed > 0 ? failed : 0;
}

/* Names */

/* Where the file's bytes were, another file may be next. */
static void keep_stale(aul_simdisk *disk, const aul_sim_file *file) {
    if (file->cache.count < 2 || !file->cache.blocks[1]) return;
    memcpy(disk->stale, file->cache.blocks[1]->bytes, AUL_SIM_BLOCK);
    disk->has_stale = true;
}

static int sim_rename(void *context, const char *from, const char *to) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_RENAME, to);
    aul_sim_file *file = aul_sim_names_find(&disk->now, from);
    if (!file) return ENOENT;
    /* One that fails with an error of the disk may have been done all the same. */
    bool done = failed <= 0 || (failed == EIO && aul_random_chance(&disk->random, 50));
    aul_sim_file *replaced = aul_sim_names_find(&disk->now, to);
    if (done && replaced && replaced != file) give_room(disk, replaced->cache.size);
    if (done) aul_sim_add_naming(disk, AUL_NAME_MOVED, from, to, file);
    return failed > 0 ? failed : 0;
}

static int sim_unlink(void *context, const char *path) {
    aul_simdisk *disk = of(context);
    if (!aul_sim_names_find(&disk->now, path)) return ENOENT;
    int failed = enter(disk, AUL_SIM_UNLINK, path);
    aul_sim_file *file = aul_sim_names_find(&disk->now, path);
    if (!file) return ENOENT;
    if (file->is_directory) return EISDIR;
    if (failed > 0) return failed;
    keep_stale(disk, file);
    give_room(disk, file->cache.size);
    aul_sim_add_naming(disk, AUL_NAME_REMOVED, path, NULL, file);
    return 0;
}

static int sim_make_directory(void *context, const char *path) {
    aul_simdisk *disk = of(context);
    if (aul_sim_names_find(&disk->now, path)) return EEXIST;
    int failed = enter(disk, AUL_SIM_MAKE_DIRECTORY, path);
    if (failed > 0) return failed;
    if (aul_sim_names_find(&disk->now, path)) return EEXIST;
    if (!aul_sim_is_reachable(&disk->now, path)) return ENOENT;
    aul_sim_file *directory = aul_sim_file_new(++disk->inodes, true);
    aul_sim_add_naming(disk, AUL_NAME_ADDED, path, NULL, directory);
    aul_sim_file_unref(directory);
    return 0;
}

static int sim_list(void *context, const char *path, int (*name)(void *argument, const char *name),
                    void *argument) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_LIST, path);
    if (failed > 0) return failed;
    failed = 0;
    aul_sim_file *directory = aul_sim_names_find(&disk->now, path);
    if (!directory) return ENOENT;
    if (!directory->is_directory) return ENOTDIR;
    for (size_t i = 0; i < disk->now.count && !failed; i++)
        if (aul_sim_is_in(disk->now.items[i].path, path))
            failed = name(argument, disk->now.items[i].path + strlen(path) + 1);
    return failed;
}

/* Locks */

static int sim_lock(void *context, int handle) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_OTHER, disk->handles[handle].path);
    if (failed > 0) return failed;
    aul_sim_file *file = file_of(disk, handle);
    if (file->locked_by >= 0 && file->locked_by != handle) return EAGAIN;
    file->locked_by = handle;
    return 0;
}

static int sim_unlock(void *context, int handle) {
    aul_sim_file *file = file_of(of(context), handle);
    if (file->locked_by == handle) file->locked_by = -1;
    return 0;
}

static bool sim_is_locked(void *context, int handle) {
    aul_sim_file *file = file_of(of(context), handle);
    return file->locked_by >= 0 && file->locked_by != handle;
}

/* Another device for each process: the engine's registry is one process's. */
static int sim_identity(void *context, const char *path, u64 *device, u64 *inode) {
    aul_sim_view *view = context;
    aul_simdisk *disk = view->disk;
    int failed = enter(disk, AUL_SIM_OTHER, path);
    if (failed > 0) return failed;
    aul_sim_file *file = aul_sim_names_find(&disk->now, path);
    if (!file) return ENOENT;
    *device = disk->id * AUL_SIM_PROCESSES + view->process;
    *inode = file->number;
    return 0;
}

static int sim_self(void *context, aul_lock_holder *self) {
    aul_sim_view *view = context;
    memset(self, 0, sizeof *self);
    self->pid = 1000 + view->process;
    self->since_ns = view->disk->time;
    snprintf(self->host, sizeof self->host, "simulation");
    return 0;
}

/* Clock, randomness, memory */

static u64 sim_now(void *context) { return of(context)->time += TICK_NS; }

static int sim_random(void *context, void *buffer, size_t bytes) {
    aul_simdisk *disk = of(context);
    int failed = enter(disk, AUL_SIM_OTHER, "");
    if (failed > 0) return failed;
    u8 *to = buffer;
    for (size_t i = 0; i < bytes; i++) to[i] = (u8)aul_random_next(&disk->random);
    return 0;
}

static void *sim_allocate_memory(void *context, size_t bytes) {
    aul_simdisk *disk = of(context);
    if (strikes(disk, AUL_SIM_MEMORY)) return NULL;
    void *memory = malloc(bytes);
    if (memory) disk->memory++;
    return memory;
}

static void sim_free_memory(void *context, void *memory) {
    if (memory) of(context)->memory--;
    free(memory);
}

/* The disk */

aul_simdisk *aul_simdisk_new(u64 seed) {
    static u64 ids;
    aul_simdisk *disk = calloc(1, sizeof *disk);
    if (!disk) abort();
    disk->id = ++ids;
    disk->random.state = seed;
    disk->room = UINT64_MAX;
    disk->time = 1700000000ull * 1000000000u;
    for (u32 i = 0; i < AUL_SIM_PROCESSES; i++) disk->views[i] = (aul_sim_view){disk, i};
    return disk;
}

void aul_simdisk_free(aul_simdisk *disk) {
    for (int i = 0; i < AUL_SIM_HANDLES; i++)
        if (disk->handles[i].file) aul_sim_file_unref(disk->handles[i].file);
    for (size_t i = 0; i < disk->naming_count; i++) aul_sim_file_unref(disk->namings[i].file);
    free(disk->namings);
    aul_sim_names_free(&disk->now);
    aul_sim_names_free(&disk->durable);
    free(disk);
}

aul_disk aul_simdisk_table(aul_simdisk *disk, u32 process) {
    return (aul_disk){.context = &disk->views[process],
                      .threads = false,
                      .open = sim_open,
                      .close = sim_close,
                      .read = sim_read,
                      .write = sim_write,
                      .sync = sim_sync,
                      .open_directory = sim_open_directory,
                      .sync_directory = sim_sync_directory,
                      .write_back = sim_write_back,
                      .allocate = sim_allocate,
                      .free_space = sim_free_space,
                      .truncate = sim_truncate,
                      .size = sim_size,
                      .rename = sim_rename,
                      .unlink = sim_unlink,
                      .make_directory = sim_make_directory,
                      .list = sim_list,
                      .lock = sim_lock,
                      .unlock = sim_unlock,
                      .is_locked = sim_is_locked,
                      .identity = sim_identity,
                      .self = sim_self,
                      .now = sim_now,
                      .monotonic = sim_now,
                      .random = sim_random,
                      .allocate_memory = sim_allocate_memory,
                      .free_memory = sim_free_memory};
}

u64 aul_simdisk_leaks(const aul_simdisk *disk) { return disk->open_handles + disk->memory; }

void aul_simdisk_wait(aul_simdisk *disk, u64 ns) { disk->time += ns; }

void aul_simdisk_observe(aul_simdisk *disk, aul_sim_observer *observer, void *argument) {
    disk->observer = observer;
    disk->observer_argument = argument;
}

void aul_simdisk_inject(aul_simdisk *disk, const aul_sim_fault *fault) {
    disk->fault = *fault;
    disk->fault_hits = 0;
}

void aul_simdisk_limit(aul_simdisk *disk, u64 bytes) { disk->room = bytes; }

u64 aul_simdisk_faults(const aul_simdisk *disk) { return disk->fault_hits; }

u64 aul_simdisk_trace(const aul_simdisk *disk) { return disk->trace; }

const char *aul_simdisk_name(const aul_simdisk *disk, size_t i, u64 *bytes) {
    if (i >= disk->now.count) return NULL;
    *bytes = disk->now.items[i].file->cache.size;
    return disk->now.items[i].path;
}

bool aul_simdisk_peek(const aul_simdisk *disk, const char *path, u64 offset, u8 *to, size_t bytes) {
    aul_sim_file *file = aul_sim_names_find(&disk->now, path);
    return file && aul_sim_file_read(file, to, bytes, offset) == bytes;
}

void aul_simdisk_damage(aul_simdisk *disk, const char *path, u64 offset, const u8 *with,
                        size_t bytes) {
    aul_sim_file *file = aul_sim_names_find(&disk->now, path);
    if (file) aul_sim_file_damage(file, offset, with, bytes);
}

void aul_simdisk_replace(aul_simdisk *disk, const char *path, const u8 *with, size_t bytes) {
    if (!with) {
        aul_sim_names_remove(&disk->now, path);
        aul_sim_names_remove(&disk->durable, path);
        return;
    }
    aul_sim_file *file = aul_sim_file_new(++disk->inodes, false);
    aul_sim_file_write(file, with, bytes, 0, ++disk->order);
    aul_sim_file_sync(file);
    aul_sim_names_put(&disk->now, path, file);
    aul_sim_names_put(&disk->durable, path, file);
    aul_sim_file_unref(file);
}
