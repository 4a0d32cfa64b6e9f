/* store.c: the life of a volume's handle: creating, opening, closing. See store.h for what it is
 * made of. */
#include "store.h"

#include <errno.h>
#include <stdio.h>

#include "seeded.h"

#define CLOSE_WAIT_MS 3600000u
#define RESERVE_BYTES \
    (256u << 10) /* given up when the disk is full, so that the manifest can still be written */

/* Calls and references */

int aul_store_enter(aul_store *store, aul_error *error) {
    if (AUL_UNLIKELY(store->fork_generation != aul_fork_generation()))
        return aul_fail(
            error, AUL_FORKED,
            "this handle belongs to the parent process: open the volume again after fork()");
    atomic_fetch_add(&store->calls, 1);
    if (AUL_LIKELY(atomic_load(&store->state) == AUL_STATE_OPEN)) return AUL_OK;
    aul_store_leave(store);
    return aul_fail(error, AUL_CLOSED, "the volume is closed: open it again");
}

void aul_store_leave(aul_store *store) {
    if (AUL_LIKELY(atomic_fetch_sub(&store->calls, 1) != 1 ||
                   atomic_load(&store->state) == AUL_STATE_OPEN))
        return;
    pthread_mutex_lock(&store->life_lock);
    pthread_cond_broadcast(&store->life_changed);
    pthread_mutex_unlock(&store->life_lock);
}

void aul_store_ref(aul_store *store) { atomic_fetch_add(&store->references, 1); }

/* With the disk table that lies in it. */
static void free_store(aul_store *store) { store->disk->free_memory(store->disk->context, store); }

void aul_store_unref(aul_store *store) {
    if (atomic_fetch_sub(&store->references, 1) != 1) return;
    pthread_mutex_destroy(&store->life_lock);
    pthread_mutex_destroy(&store->past.lock);
    pthread_cond_destroy(&store->life_changed);
    free_store(store);
}

/* The manifest */

static void reserve_path(aul_store *store, char *to, size_t bytes) {
    snprintf(to, bytes, "%s/RESERVE", store->path);
}

static void make_reserve(aul_store *store) {
    char path[AUL_PATH_BYTES];
    int file;
    reserve_path(store, path, sizeof path);
    aul_disk *disk = store->disk;
    if (disk->open(disk->context, path, AUL_DISK_WRITE | AUL_DISK_CREATE, &file)) return;
    if (aul_disk_allocate(disk, file, RESERVE_BYTES)) disk->unlink(disk->context, path);
    disk->close(disk->context, file);
}

/* What a sync of a directory of the volume has come to: AUL_IO, whatever the reason. */
static int directory_synced(int failed, const char *path, aul_error *error) {
    if (!failed) return AUL_OK;
    aul_fail_os(error, failed, "syncing a directory of the volume", path);
    if (error) error->code = AUL_IO; /* a failed sync is final */
    return AUL_IO;
}

static int sync_directory(aul_store *store, const char *path, aul_error *error) {
    return directory_synced(aul_disk_sync_directory_at(store->disk, path), path, error);
}

int aul_store_write_manifest(aul_store *store, u32 flags, aul_error *error) {
    char path[AUL_PATH_BYTES];
    aul_segment_list *list = aul_page_index_list(&store->index);
    pthread_mutex_lock(&store->past.lock);
    aul_manifest now = store->manifest;
    pthread_mutex_unlock(&store->past.lock);
    /* First the list, then what is durable: a segment that it calls sealed was durable, and so are
     * its branch points and names, which nobody reads there again. */
    now.durable_lsn = atomic_load(&store->log.durable);
    u64 past = AUL_SEEDED(PAST_UNLISTED) ? store->manifest.durable_lsn : now.durable_lsn;
    if (aul_past_copy(store, past, &now.history, &now.names)) {
        aul_segment_list_release(&store->index, list);
        return aul_fail(error, AUL_NO_MEMORY, "no memory for the manifest");
    }
    now.epoch = store->epoch;
    now.flags = flags | (AUL_SEEDED(CLEAN_MARK_LEFT) ? store->manifest.flags : 0);
    now.segments = list->items;
    now.segment_count = list->count;
    if (AUL_SEEDED(DURABLE_OVERSTATED)) now.durable_lsn = store->log.logged;
    /* Named is there: a segment that the manifest lists and the directory has not is a lost one. */
    bool new_names = false;
    for (size_t i = 0; i < list->count; i++) new_names |= list->items[i]->name_unsynced;
    if (AUL_SEEDED(LISTED_BEFORE_NAMED)) new_names = false;
    int failed = new_names ? aul_disk_sync_directory(store->disk, store->log.directory) : 0;
    int status = directory_synced(failed, store->log_path, error);
    if (!status) status = aul_manifest_write(store->disk, store->path, &now, error);
    if (status == AUL_DISK_FULL) { /* the manifest's own: a directory's sync has no such status */
        reserve_path(store, path, sizeof path);
        if (store->disk->unlink(store->disk->context, path) == 0)
            status = aul_manifest_write(store->disk, store->path, &now, error);
    }
    aul_segment_list_release(&store->index, list);
    aul_history_free(&now.history);
    aul_names_free(&now.names);
    if (status) return status;
    store->manifest.epoch = store->epoch;
    pthread_mutex_lock(&store->past.lock);
    aul_names_prune(&store->manifest.names, now.durable_lsn);
    pthread_mutex_unlock(&store->past.lock);
    return status;
}

/* Creating */

static int check_page_size(u32 page_size, aul_error *error) {
    if (page_size >= AUL_PAGE_SIZE_MIN && page_size <= AUL_PAGE_SIZE_MAX &&
        (page_size & (page_size - 1)) == 0)
        return AUL_OK;
    return aul_fail(error, AUL_INPUT, "a page size is a power of two from %u to %u, not %u",
                    AUL_PAGE_SIZE_MIN, AUL_PAGE_SIZE_MAX, page_size);
}

static int make_directory(aul_store *store, const char *path, aul_error *error) {
    int failed = store->disk->make_directory(store->disk->context, path);
    return failed && failed != EEXIST
               ? aul_fail_os(error, failed, "making a directory of the volume", path)
               : AUL_OK;
}

/* Only what an interrupted creation leaves. */
static int look_for_strangers(void *argument, const char *name) {
    static const char *const ours[] = {"log",     "images",       "LOCK",
                                       "RESERVE", "MANIFEST.new", "MANIFEST"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strcmp(name, ours[i]) == 0) return 0;
    snprintf(argument, 256, "%s", name);
    return EEXIST;
}

static int sync_parent(aul_store *store, aul_error *error) {
    char parent[AUL_PATH_BYTES];
    if (AUL_SEEDED(PARENT_UNSYNCED)) return AUL_OK;
    snprintf(parent, sizeof parent, "%s/..", store->path);
    int failed = aul_disk_sync_directory_at(store->disk, parent);
    if (failed == EACCES || failed == EPERM)
        return AUL_OK; /* a parent that we may not read is its owner's to sync */
    return failed ? aul_fail_os(error, failed, "syncing the directory above the volume", parent)
                  : AUL_OK;
}

static int find_segment(void *argument, const char *name) {
    u64 first_lsn, epoch;
    if (!aul_segment_parse_name(name, &first_lsn, &epoch)) return 0;
    snprintf(argument, 256, "%s", name);
    return EEXIST;
}

/* A creation that stopped early leaves no segment: the manifest comes before the first one. */
static int check_no_log(aul_store *store, aul_error *error) {
    char name[256] = "";
    int failed = store->disk->list(store->disk->context, store->log_path, find_segment, name);
    if (failed == EEXIST)
        return aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, 0,
                           "%s has a log (%s) but its MANIFEST is missing: restore it from a copy",
                           store->path, name);
    return failed && failed != ENOENT && failed != ENOTDIR
               ? aul_fail_os(error, failed, "listing the log's directory", store->log_path)
               : AUL_OK;
}

static int create_volume(aul_store *store, const aul_options *options, aul_error *error) {
    aul_disk *disk = store->disk;
    char images[AUL_PATH_BYTES], stranger[256] = "";
    u32 page_size = options->page_size ? options->page_size : AUL_PAGE_SIZE_DEFAULT;
    int failed = disk->list(disk->context, store->path, look_for_strangers, stranger);
    if (failed == EEXIST)
        return aul_fail(error, AUL_NOT_A_VOLUME,
                        "%s has no MANIFEST, and is not empty: it holds %s. Choose another path",
                        store->path, stranger);
    if (failed) return aul_fail_os(error, failed, "listing the directory", store->path);
    int status = check_no_log(store, error);
    if (status) return status;
    snprintf(images, sizeof images, "%s/images", store->path);
    status = make_directory(store, store->log_path, error);
    if (!status) status = make_directory(store, images, error);
    if (!status) status = sync_directory(store, store->path, error); /* a manifest needs its log */
    if (status) return status;
    aul_manifest *manifest = &store->manifest;
    manifest->history.disk = manifest->names.disk = disk;
    manifest->page_size = page_size;
    manifest->retention_ns = options->retention_ns ? options->retention_ns : AUL_RETENTION_DEFAULT;
    manifest->in_flight_lsns = AUL_IN_FLIGHT_LSNS;
    manifest->created_ns = disk->now(disk->context);
    manifest->flags = AUL_MANIFEST_CLEAN;
    failed = disk->random(disk->context, manifest->volume_id, AUL_ID_BYTES);
    if (failed) return aul_fail_os(error, failed, "drawing a volume id", store->path);
    make_reserve(store);
    status = aul_manifest_write(disk, store->path, manifest, error);
    return status ? status : sync_parent(store, error);
}

/* Opening */

static int check_options(const aul_options *options, aul_error *error) {
    if (options->page_size && check_page_size(options->page_size, error)) return AUL_INPUT;
    if (options->retention_ns > AUL_RETENTION_MAX)
        return aul_fail(error, AUL_INPUT, "a retention window is at most 35 days");
    return AUL_OK;
}

static char *join(aul_disk *disk, const char *path, const char *name) {
    size_t bytes = strlen(path) + strlen(name) + 2;
    char *joined = aul_alloc(disk, bytes);
    if (joined) snprintf(joined, bytes, "%s%s%s", path, *name ? "/" : "", name);
    return joined;
}

static int new_store(const aul_disk *disk, const char *path, const aul_options *options,
                     aul_store **out, aul_error *error) {
    if (strlen(path) + 64 > AUL_PATH_BYTES)
        return aul_fail(error, AUL_INPUT, "the path is too long");
    aul_store *store = disk->allocate_memory(disk->context, sizeof *store);
    if (!store) return aul_fail(error, AUL_NO_MEMORY, "no memory for a volume");
    memset(store, 0, sizeof *store);
    memcpy(&store->disk_table, disk, sizeof store->disk_table);
    store->disk = &store->disk_table;
    store->fork_generation = aul_fork_generation();
    store->read_only = options->read_only != 0;
    atomic_init(&store->references, 1);
    atomic_init(&store->state, AUL_STATE_CLOSED);
    store->path = join(store->disk, path, "");
    store->log_path = join(store->disk, path, "log");
    if (!store->path || !store->log_path || pthread_mutex_init(&store->life_lock, NULL) ||
        pthread_mutex_init(&store->past.lock, NULL) || aul_cond_init(&store->life_changed)) {
        aul_release(store->disk, store->path);
        aul_release(store->disk, store->log_path);
        free_store(store);
        return aul_fail(error, AUL_NO_MEMORY, "no memory for a volume");
    }
    *out = store;
    return AUL_OK;
}

/* Finds the manifest, or creates the volume. The lock comes first: what we read is then ours. */
static int find_volume(aul_store *store, const aul_options *options, aul_error *error) {
    aul_disk *disk = store->disk;
    u64 device, inode;
    bool may_create = options->create && !store->read_only;
    const char *doing = "looking at the volume's directory";
    int failed = disk->identity(disk->context, store->path, &device, &inode);
    if (failed == ENOENT && may_create) {
        failed = disk->make_directory(disk->context, store->path);
        if (failed == ENOENT)
            return aul_fail(error, AUL_NOT_A_VOLUME,
                            "the directory that %s is to be made in does not exist: make it first",
                            store->path);
        doing = "making the volume's directory";
        if (failed == EEXIST) /* made meanwhile, or a link to nothing */
            failed = disk->identity(disk->context, store->path, &device, &inode);
    }
    if (failed == ENAMETOOLONG) return aul_fail(error, AUL_INPUT, "the path is too long");
    if (failed == ENOENT || failed == ENOTDIR)
        return aul_fail(error, AUL_NOT_A_VOLUME, "%s does not exist: check the path", store->path);
    if (failed) return aul_fail_os(error, failed, doing, store->path);
    int status = aul_manifest_read(disk, store->path, &store->manifest, error);
    if (status && (status != AUL_NOT_A_VOLUME || !may_create)) {
        int log_there = status == AUL_NOT_A_VOLUME ? check_no_log(store, error) : AUL_OK;
        return log_there ? log_there : status;
    }
    if (store->read_only) return AUL_OK;
    if (status) {
        char stranger[256] = "";
        failed = disk->list(disk->context, store->path, look_for_strangers, stranger);
        if (failed == ENOTDIR)
            return aul_fail(error, AUL_NOT_A_VOLUME, "%s is no directory: check the path",
                            store->path);
        if (failed == EEXIST)
            return create_volume(store, options,
                                 error); /* refuses, before a lock file is left behind */
    } else {
        aul_manifest_free(disk, &store->manifest);
    }
    status = aul_lock_take(store, status ? "making a volume" : "opening the lock file", error);
    if (!status) status = aul_manifest_read(disk, store->path, &store->manifest, error);
    /* Whoever created it may have been killed before it was sure of its place. */
    if (!status && store->manifest.segment_count == 0) {
        status = sync_directory(store, store->path, error);
        return status ? status : sync_parent(store, error);
    }
    if (status != AUL_NOT_A_VOLUME || !may_create) return status;
    status = create_volume(store, options, error);
    return status ? status : aul_manifest_read(disk, store->path, &store->manifest, error);
}

static int take_geometry(aul_store *store, const aul_options *options, aul_error *error) {
    aul_manifest *manifest = &store->manifest;
    if (options->page_size && options->page_size != manifest->page_size)
        return aul_fail(error, AUL_INPUT, "%s has pages of %u bytes, not %u: leave page_size out",
                        store->path, manifest->page_size, options->page_size);
    store->page_size = manifest->page_size;
    store->pages_max = aul_pages_max(store->page_size);
    store->record_seed = aul_record_seed(manifest->volume_id);
    store->epoch = manifest->epoch;
    store->cache = aul_page_cache_new(store->disk, options->cache_bytes, store->page_size);
    return store->cache ? AUL_OK
                        : aul_fail(error, AUL_NO_MEMORY, "no memory for a page cache of %llu bytes",
                                   (unsigned long long)options->cache_bytes);
}

static void describe(aul_store *store) {
    aul_store_info *info = &store->info;
    memcpy(info->volume_id, store->manifest.volume_id, AUL_ID_BYTES);
    info->page_size = store->page_size;
    info->read_only = store->read_only;
    info->retention_ns = store->manifest.retention_ns;
    info->pages_max = store->pages_max;
}

/* Gives back all that a closed store does not need; the struct itself lives until the last
 * reference. */
static void tear_down(aul_store *store) {
    aul_disk *disk = store->disk;
    aul_keeper_stop(store);
    aul_follow_destroy(store);
    if (store->files.disk) aul_files_destroy(&store->files);
    if (store->index.list) aul_page_index_destroy(&store->index);
    aul_lock_drop(store);
    aul_manifest_free(disk, &store->manifest);
    aul_past_destroy(store);
    aul_page_cache_unref(store->cache);
    store->cache = NULL;
    for (size_t i = 0; i < store->tx_frame_capacity; i++)
        aul_release(disk, store->tx_frames[i].memory);
    aul_release(disk, store->tx_frames);
    aul_log_destroy(store);
    aul_release(disk, store->path);
    aul_release(disk, store->log_path);
    store->path = store->log_path = NULL;
}

int aul_open_on(const aul_disk *disk, const char *path, const aul_options *options, aul_store **out,
                aul_error *error) {
    aul_store *store = NULL;
    *out = NULL;
    int status = check_options(options, error);
    if (!status) status = new_store(disk, path, options, &store, error);
    if (status) return status;
    u64 started = store->disk->monotonic(store->disk->context);
    if (aul_log_init(store) || aul_follow_init(store) ||
        aul_files_init(&store->files, store->disk, store->log_path) ||
        aul_page_index_init(&store->index, store->disk, &store->files))
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for a volume");
    if (!status) status = find_volume(store, options, error);
    if (!status) status = take_geometry(store, options, error);
    if (!status) status = aul_recover(store, error);
    if (!status && store->read_only) aul_follow_begin(store);
    if (!status && !store->read_only && options->retention_ns &&
        options->retention_ns != store->manifest.retention_ns) {
        store->manifest.retention_ns = options->retention_ns;
        status =
            aul_store_write_manifest(store, store->log.started ? 0 : store->manifest.flags, error);
    }
    if (!status && !store->read_only && aul_keeper_start(store))
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for the background thread");
    if (status) {
        tear_down(store);
        aul_store_unref(store);
        return status;
    }
    describe(store);
    store->info.open_ns = store->disk->monotonic(store->disk->context) - started;
    atomic_store(&store->state, AUL_STATE_OPEN);
    aul_keeper_wake(store); /* what recovery found unsealed */
    *out = store;
    return AUL_OK;
}

int aul_open(const char *path, const aul_options *options, aul_store **out, aul_error *error) {
    return aul_open_on(aul_disk_posix(), path, options, out, error);
}

/* Closing */

static int log_clean_close(aul_store *store, aul_error *error) {
    aul_log *log = &store->log;
    aul_control control = {.kind = AUL_CLEAN_CLOSE,
                           .previous_lsn = log->last_commit,
                           .end_pages = log->end_pages,
                           .time_ns = log->last_time_ns}; /* the volume's clock may not be ours */
    u64 lsn = log->next_lsn;
    int status = aul_log_control(store, &control, error);
    if (AUL_SEEDED(CLOSE_UNSYNCED)) return status;
    return status ? status : aul_log_wait_durable(store, lsn, CLOSE_WAIT_MS, error);
}

/* Makes everything durable, seals what is left, and says so in the manifest. */
static int close_cleanly(aul_store *store, aul_error *error) {
    aul_log *log = &store->log;
    if (log->failed) return AUL_OK; /* its callers know; the next open will find an unclean end */
    if (!log->started) return AUL_OK;
    int status = log_clean_close(store, error);
    aul_segment_list *list = store->index.list;
    for (size_t i = 0; i < list->count && !status; i++) {
        aul_segment *segment = list->items[i];
        if (atomic_load(&segment->sealed)) continue;
        if (i) {
            segment->summary.last_commit = list->items[i - 1]->summary.last_commit;
            segment->summary.last_time_ns = list->items[i - 1]->summary.last_time_ns;
            segment->summary.end_pages = list->items[i - 1]->summary.end_pages;
        }
        status = aul_keeper_seal(store, segment, error);
    }
    if (!status) status = aul_store_write_manifest(store, AUL_MANIFEST_CLEAN, error);
    if (!status) make_reserve(store); /* it may have been given up */
    return status;
}

static void remove_spare(aul_store *store) {
    char path[AUL_PATH_BYTES];
    aul_files_path(&store->files, "spare", path, sizeof path);
    store->disk->unlink(store->disk->context, path);
}

static int close_store(aul_store *store, bool cleanly, aul_error *error) {
    int open = AUL_STATE_OPEN, status = AUL_OK;
    if (store->fork_generation != aul_fork_generation()) return AUL_OK; /* the parent's to close */
    if (!atomic_compare_exchange_strong(&store->state, &open, AUL_STATE_CLOSING)) return AUL_OK;
    pthread_mutex_lock(&store->log.lock);
    pthread_cond_broadcast(&store->log.writer_free);
    pthread_mutex_unlock(&store->log.lock);
    aul_follow_tell_all(store);
    pthread_mutex_lock(&store->life_lock);
    while (atomic_load(&store->calls)) pthread_cond_wait(&store->life_changed, &store->life_lock);
    pthread_mutex_unlock(&store->life_lock);
    aul_log_stop_syncer(store); /* it wakes the keeper */
    aul_keeper_stop(store);
    if (!store->read_only) {
        if (cleanly) status = close_cleanly(store, error);
        /* Without the mark, what was committed is made durable all the same. */
        if (!cleanly || status) aul_log_wait_durable(store, store->log.logged, CLOSE_WAIT_MS, NULL);
        remove_spare(store);
    }
    tear_down(store);
    atomic_store(&store->state, AUL_STATE_CLOSED);
    return status;
}

int aul_close(aul_store *store, aul_error *error) { return close_store(store, true, error); }

void aul_free(aul_store *store) {
    if (!store) return;
    close_store(store, false, NULL);
    if (store->fork_generation == aul_fork_generation()) aul_store_unref(store);
}

/* Telling */

void aul_store_describe(aul_store *store, aul_store_info *out) {
    *out = store->info;
    out->epoch = store->epoch;
}

uint64_t aul_durable_lsn(aul_store *store) { return atomic_load(&store->log.durable); }

uint64_t aul_visible_lsn(aul_store *store) { return atomic_load(&store->log.visible); }

int aul_store_stats(aul_store *store, aul_stats *out, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    aul_log *log = &store->log;
    aul_disk *disk = store->disk;
    aul_cache_stats cache;
    aul_segment_list *list = aul_page_index_list(&store->index);
    memset(out, 0, sizeof *out);
    out->segments = list->count;
    for (size_t i = 0; i < list->count; i++)
        out->sealed_segments += atomic_load(&list->items[i]->sealed);
    aul_segment_list_release(&store->index, list);
    pthread_mutex_lock(&log->lock);
    out->unsynced_bytes = log->logged_bytes - log->durable_bytes;
    pthread_mutex_unlock(&log->lock);
    out->commits = atomic_load(&log->commits);
    out->records = atomic_load(&log->records);
    out->log_bytes = atomic_load(&log->bytes);
    aul_page_cache_stats(store->cache, &cache);
    out->cached_pages = cache.cached;
    out->cache_capacity_pages = cache.capacity;
    out->pinned_pages = cache.pinned;
    out->cache_hits = cache.hits;
    out->cache_misses = cache.misses;
    out->disk_reads = atomic_load(&disk->reads);
    out->disk_read_bytes = atomic_load(&disk->read_bytes);
    out->disk_writes = atomic_load(&disk->writes);
    out->disk_write_bytes = atomic_load(&disk->write_bytes);
    out->disk_syncs = atomic_load(&disk->syncs);
    out->dir_syncs = atomic_load(&disk->directory_syncs);
    aul_store_leave(store);
    return AUL_OK;
}
