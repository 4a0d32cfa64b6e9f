/* restore_point.c: making, deleting and listing restore points (names.h). Each is a control batch,
 * ordered with everything else in the log, whatever the path. */
#include "seeded.h"
#include "store.h"

/* Logs what makes or deletes a restore point; the caller has the writer's place. */
static int log_point(aul_store *store, u32 kind, const aul_restore_point *point, u64 time_ns,
                     const aul_commit_options *options, aul_outcome *outcome, aul_error *error) {
    aul_log *log = &store->log;
    u8 data[AUL_NAME_BYTES + AUL_NAME_MAX + 8];
    aul_restore_point_encode(data, point);
    aul_control control = {.kind = kind,
                           .data = data,
                           .data_bytes = aul_restore_point_bytes(point),
                           .note_bytes = options->note_bytes,
                           .note = options->note,
                           .previous_lsn = log->last_commit,
                           .end_pages = log->end_pages,
                           .time_ns = time_ns};
    u64 lsn = log->next_lsn;
    int status = log->started ? AUL_OK : aul_start_epoch(store, error);
    if (!status) status = aul_log_control(store, &control, error);
    if (status == AUL_OK || status == AUL_UNKNOWN) {
        outcome->lsn = lsn;
        outcome->logged = 1;
    }
    return status;
}

static u64 time_of(const aul_store *store, const aul_commit_options *options) {
    u64 now = options->time_ns ? options->time_ns : store->disk->now(store->disk->context);
    return aul_max(now, store->log.last_time_ns);
}

/* The commit to name: the last one at or below lsn on its path, or the newest. */
static int find_named(aul_store *store, u64 lsn, aul_commit_info *out, aul_error *error) {
    aul_path path = store->past.newest;
    path.lsn = store->log.last_commit;
    if (lsn == AUL_NEWEST) return aul_find_commit(store, &path, out, error);
    int status = aul_check_lsn(store, lsn, error);
    if (status) return status;
    status = aul_past_path(store, lsn, &path, error);
    if (status) return status;
    status = aul_find_commit(store, &path, out, error);
    aul_path_free(store->disk, &path);
    return status;
}

static int make(aul_store *store, aul_restore_point *point, const aul_commit_options *options,
                aul_outcome *outcome, aul_error *error) {
    aul_names *names = &store->manifest.names;
    pthread_mutex_lock(&store->past.lock);
    u64 as_of = AUL_SEEDED(NAME_GIVEN_TWICE) ? atomic_load(&store->log.visible) : UINT64_MAX;
    const aul_restore_point *other = aul_names_find(names, point->name, point->bytes, as_of);
    u64 other_lsn = other ? other->lsn : 0;
    size_t count = aul_names_count(names, UINT64_MAX);
    int status = AUL_OK;
    if (other)
        status = aul_fail(error, AUL_NAME,
                          "there is a restore point %s already, of LSN %llu: delete it first, or "
                          "choose another name",
                          point->name, (unsigned long long)other_lsn);
    else if (count >= AUL_NAMES_MAX)
        status = aul_fail(error, AUL_TOO_LARGE,
                          "a volume has at most %u restore points: delete some", AUL_NAMES_MAX);
    else if (aul_names_add(names, point))
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for a restore point");
    pthread_mutex_unlock(&store->past.lock);
    if (status) return status;
    status = log_point(store, AUL_RESTORE_POINT, point, point->made_ns, options, outcome, error);
    if (status) { /* not logged, or nobody knows: it is not shown */
        pthread_mutex_lock(&store->past.lock);
        aul_names_cut(names, point->made_lsn - 1);
        pthread_mutex_unlock(&store->past.lock);
    }
    return status;
}

static int delete (aul_store *store, const char *name, size_t bytes, aul_restore_point *point,
                   const aul_commit_options *options, aul_outcome *outcome, aul_error *error) {
    aul_names *names = &store->manifest.names;
    pthread_mutex_lock(&store->past.lock);
    const aul_restore_point *found = aul_names_find(names, name, bytes, UINT64_MAX);
    if (found) {
        *point = *found;
        aul_names_delete(names, found->made_lsn, store->log.next_lsn);
    }
    pthread_mutex_unlock(&store->past.lock);
    if (!found)
        return aul_fail(error, AUL_NAME, "there is no restore point %.*s: see which there are",
                        (int)aul_min(bytes, AUL_NAME_MAX), name);
    int status = log_point(store, AUL_DELETE_RESTORE_POINT, point, time_of(store, options), options,
                           outcome, error);
    if (status) {
        pthread_mutex_lock(&store->past.lock);
        aul_names_delete(names, point->made_lsn, 0);
        pthread_mutex_unlock(&store->past.lock);
    }
    return status;
}

static void tell(const aul_restore_point *point, aul_restore_point_info *out) {
    memset(out, 0, sizeof *out);
    out->lsn = point->lsn;
    out->time_ns = point->time_ns;
    out->made_lsn = point->made_lsn;
    out->made_ns = point->made_ns;
    out->name_bytes = point->bytes;
    memcpy(out->name, point->name, point->bytes);
}

static int check_name(const char *name, size_t bytes, aul_error *error) {
    if (bytes >= 1 && bytes <= AUL_NAME_MAX && !memchr(name, 0, bytes)) return AUL_OK;
    return aul_fail(error, AUL_INPUT, "a restore point's name has 1 to %u bytes, none of them 0",
                    AUL_NAME_MAX);
}

/* Takes the writer's place for a control batch. */
static int claim(aul_store *store, const char *name, size_t bytes,
                 const aul_commit_options *options, u32 wait_ms, aul_error *error) {
    u64 me;
    int status = check_name(name, bytes, error);
    if (!status) status = aul_check_note(options, error);
    if (!status) status = aul_check_writable(store, error);
    if (!status) status = aul_log_claim_writer(store, wait_ms, false, &me, error);
    if (status) return status;
    /* The log may have failed while we waited: what is newest is not known then. */
    status = aul_check_writable(store, error);
    if (status) aul_log_release_writer(store);
    return status;
}

int aul_restore_point_make(aul_store *store, const char *name, size_t bytes, uint64_t lsn,
                           const aul_commit_options *options, uint32_t wait_ms,
                           aul_restore_point_info *out, aul_outcome *outcome, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = claim(store, name, bytes, options, wait_ms, error);
    if (!status) {
        aul_commit_info named = {0, 0, 0};
        aul_restore_point point = {.bytes = (u32)bytes, .made_lsn = store->log.next_lsn};
        memcpy(point.name, name, bytes);
        status = find_named(store, lsn, &named, error);
        point.lsn = named.lsn;
        point.time_ns = named.time_ns;
        point.made_ns = time_of(store, options);
        if (!status) status = make(store, &point, options, outcome, error);
        aul_log_release_writer(store);
        tell(&point, out);
        if (!status)
            status =
                aul_wait_for(store, outcome->lsn, options->durability, wait_ms, outcome, error);
    }
    aul_store_leave(store);
    return status;
}

int aul_restore_point_delete(aul_store *store, const char *name, size_t bytes,
                             const aul_commit_options *options, uint32_t wait_ms,
                             aul_outcome *outcome, aul_error *error) {
    aul_restore_point point;
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = claim(store, name, bytes, options, wait_ms, error);
    if (!status) {
        status = delete (store, name, bytes, &point, options, outcome, error);
        aul_log_release_writer(store);
        if (!status)
            status =
                aul_wait_for(store, outcome->lsn, options->durability, wait_ms, outcome, error);
    }
    aul_store_leave(store);
    return status;
}

int aul_restore_point_find(aul_store *store, const char *name, size_t bytes,
                           aul_restore_point_info *out, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    u64 visible = atomic_load(&store->log.visible);
    pthread_mutex_lock(&store->past.lock);
    const aul_restore_point *found = aul_names_find(&store->manifest.names, name, bytes, visible);
    if (found) tell(found, out);
    pthread_mutex_unlock(&store->past.lock);
    if (!found)
        status = aul_fail(error, AUL_NAME, "there is no restore point %.*s: see which there are",
                          (int)aul_min(bytes, AUL_NAME_MAX), name);
    aul_store_leave(store);
    return status;
}

int aul_restore_points(aul_store *store, aul_restore_point_info *out, size_t capacity,
                       size_t *count, aul_error *error) {
    const aul_names *names = &store->manifest.names;
    int status = aul_store_enter(store, error);
    if (status) return status;
    u64 visible = atomic_load(&store->log.visible);
    size_t found = 0;
    pthread_mutex_lock(&store->past.lock);
    for (size_t i = 0; i < names->count; i++) {
        if (!aul_names_has(&names->items[i], visible)) continue;
        if (found < capacity) tell(&names->items[i], &out[found]);
        found++;
    }
    pthread_mutex_unlock(&store->past.lock);
    *count = found;
    aul_store_leave(store);
    return AUL_OK;
}
