/* page_index.c: see page_index.h. */
#include "page_index.h"

int aul_page_index_init(aul_page_index *index, aul_disk *disk, aul_files *files) {
    index->disk = disk;
    index->files = files;
    index->list = aul_alloc_zero(disk, sizeof *index->list);
    if (!index->list) return AUL_NO_MEMORY;
    atomic_init(&index->list->references, 1);
    if (pthread_rwlock_init(&index->lock, NULL) == 0) return AUL_OK;
    aul_release(disk, index->list);
    index->list = NULL;
    return AUL_NO_MEMORY;
}

void aul_segment_list_release(aul_page_index *index, aul_segment_list *list) {
    if (atomic_fetch_sub(&list->references, 1) == 1) aul_release(index->disk, list);
}

void aul_page_index_destroy(aul_page_index *index) {
    if (!index->list) return;
    for (size_t i = 0; i < index->list->count; i++)
        aul_segment_free(index->disk, index->list->items[i]);
    aul_segment_list_release(index, index->list);
    index->list = NULL;
    pthread_rwlock_destroy(&index->lock);
}

aul_segment_list *aul_page_index_list(aul_page_index *index) {
    pthread_rwlock_rdlock(&index->lock);
    aul_segment_list *list = index->list;
    atomic_fetch_add(&list->references, 1);
    pthread_rwlock_unlock(&index->lock);
    return list;
}

int aul_page_index_append(aul_page_index *index, aul_segment *segment) {
    aul_segment_list *old = index->list; /* only one thread appends */
    aul_segment_list *list =
        aul_alloc(index->disk, sizeof *list + (old->count + 1) * sizeof(aul_segment *));
    if (!list) return AUL_NO_MEMORY;
    atomic_init(&list->references, 1);
    list->count = old->count + 1;
    memcpy(list->items, old->items, old->count * sizeof(aul_segment *));
    list->items[old->count] = segment;
    pthread_rwlock_wrlock(&index->lock);
    index->list = list;
    pthread_rwlock_unlock(&index->lock);
    aul_segment_list_release(index, old);
    return AUL_OK;
}

void aul_page_index_seal(aul_page_index *index, aul_segment *segment, const aul_summary *summary) {
    pthread_rwlock_wrlock(&index->lock);
    aul_part *part = segment->part;
    u8 *image = segment->image;
    segment->summary = *summary;
    atomic_store(&segment->last_lsn, summary->last_lsn); /* a follower may not have read so far */
    segment->part = NULL;
    segment->image = NULL;
    atomic_store(&segment->sealed, true);
    pthread_rwlock_unlock(&index->lock);
    aul_part_free(part);
    aul_release(index->disk, image);
}

void aul_chain_init(aul_chain *chain, aul_disk *disk) {
    chain->disk = disk;
    chain->items = chain->local;
    chain->count = 0;
    chain->capacity = AUL_CHAIN_LOCAL;
    chain->version = 0;
    chain->from_above = false;
}

void aul_chain_free(aul_chain *chain) {
    if (chain->items != chain->local) aul_release(chain->disk, chain->items);
}

static int push(aul_chain *chain, aul_segment *segment, u64 lsn, u32 offset, u32 bytes) {
    if (chain->count == chain->capacity) {
        size_t capacity = chain->capacity * 2;
        aul_place *items = aul_alloc(chain->disk, capacity * sizeof *items);
        if (!items) return AUL_NO_MEMORY;
        memcpy(items, chain->items, chain->count * sizeof *items);
        aul_chain_free(chain);
        chain->items = items;
        chain->capacity = capacity;
    }
    if (chain->count == 0) chain->version = lsn;
    chain->items[chain->count++] = (aul_place){segment, lsn, offset, bytes};
    return AUL_OK;
}

/* One search, going back in time. `done` when no older record can matter. */
typedef struct {
    const aul_path *path;
    u64 page, above;
    bool all, done;
    aul_chain *chain;
} search;

/* The newest truncate among `truncates` that empties the page within the search, or 0. In an
 * `all` search each is a place. */
static int apply_truncates(search *s, aul_segment *segment, const aul_truncate *truncates,
                           size_t count, u64 *floor) {
    *floor = 0;
    for (size_t i = count; i-- > 0;) {
        u64 lsn = truncates[i].lsn;
        if (lsn > s->path->lsn || truncates[i].pages > s->page || aul_path_hole(s->path, lsn))
            continue;
        if (lsn <= s->above) break;
        if (!s->all) {
            *floor = lsn;
            break;
        }
        if (push(s->chain, segment, lsn, 0, 0)) return AUL_NO_MEMORY; /* no bytes: no record */
    }
    return AUL_OK;
}

/* Takes one entry of the page, newest first. True when the search in this segment is over. */
static bool take(search *s, aul_segment *segment, const aul_entry *entry, u64 floor, int *status) {
    if (entry->lsn < floor) return true; /* the truncate is newer than what the caller has */
    if (entry->lsn <= s->above) {
        s->chain->from_above = true;
        s->done = true;
        return true;
    }
    *status = push(s->chain, segment, entry->lsn, entry->offset, entry->bytes);
    if (*status) return true;
    s->done = !s->all && (entry->page_flags & AUL_ENTRY_WHOLE);
    return s->done;
}

/* Behind the segment in which a truncate emptied the page nothing counts. */
static void end_at_floor(search *s, u64 floor) {
    if (!floor || s->done) return;
    if (s->chain->count == 0) s->chain->version = floor;
    s->done = true;
}

static int search_part(search *s, aul_segment *segment) {
    const aul_part *part = segment->part;
    u64 floor;
    int status = apply_truncates(s, segment, part->truncates, part->truncate_count, &floor);
    if (status) return status;
    for (u32 at = aul_part_newest(part, s->page); at != AUL_NONE; at = part->older[at]) {
        const aul_entry *entry = &part->entries[at];
        if (entry->lsn > s->path->lsn || aul_path_hole(s->path, entry->lsn)) continue;
        if (take(s, segment, entry, floor, &status)) break;
    }
    end_at_floor(s, floor);
    return status;
}

static int search_run(search *s, aul_page_index *index, aul_segment *segment, aul_error *error) {
    const aul_summary *summary = &segment->summary;
    const aul_fences *fences;
    u64 floor = 0;
    int status = AUL_OK;
    if (summary->truncate_count && summary->truncate_low <= s->page) {
        status = aul_run_load(index->files, segment, &fences, error);
        if (!status)
            status = apply_truncates(s, segment, fences->truncates, fences->truncate_count, &floor);
        if (status) return status;
    }
    if (summary->page_low <= s->page && s->page < summary->page_high) {
        aul_run_cursor cursor = {.files = index->files, .segment = segment};
        status = aul_run_seek(&cursor, s->page, s->path->lsn, error);
        for (u64 below = UINT64_MAX; !status;) {
            const aul_entry *entry = &cursor.entries[cursor.at];
            if (AUL_UNLIKELY(entry->lsn >= below)) /* or the search would never end */
                return aul_run_fail_order(segment, entry->lsn, error);
            below = entry->lsn;
            const aul_hole *hole = aul_path_hole(s->path, entry->lsn);
            if (hole) {
                status =
                    hole->start ? aul_run_seek(&cursor, s->page, hole->start - 1, error) : AUL_END;
                continue;
            }
            if (take(s, segment, entry, floor, &status)) break;
            status = aul_run_older(&cursor, error);
        }
        if (status == AUL_END) status = AUL_OK;
    }
    end_at_floor(s, floor);
    return status;
}

int aul_page_index_collect(aul_page_index *index, const aul_path *path, u64 page, u64 above,
                           bool all, aul_chain *chain, aul_error *error) {
    search s = {.path = path, .page = page, .above = above, .all = all, .chain = chain};
    int status = AUL_OK;
    pthread_rwlock_rdlock(&index->lock);
    aul_segment_list *list = index->list;
    size_t at = list->count;
    for (; at > 0 && !s.done && !status; at--) {
        aul_segment *segment = list->items[at - 1];
        if (atomic_load_explicit(&segment->sealed, memory_order_relaxed)) break;
        if (segment->first_lsn > path->lsn) continue;
        if (atomic_load_explicit(&segment->last_lsn, memory_order_relaxed) <= above) {
            s.done = chain->from_above = true;
            break;
        }
        status = search_part(&s, segment);
    }
    bool runs = at > 0 && !s.done && !status;
    if (runs) atomic_fetch_add(&list->references, 1);
    pthread_rwlock_unlock(&index->lock);
    if (runs) {
        for (; at > 0 && !s.done && !status; at--) {
            aul_segment *segment = list->items[at - 1];
            if (segment->first_lsn > path->lsn) continue;
            if (segment->summary.last_lsn <= above) {
                chain->from_above = true;
                break;
            }
            status = search_run(&s, index, segment, error);
        }
        aul_segment_list_release(index, list);
    }
    if (status == AUL_NO_MEMORY)
        aul_fail(error, AUL_NO_MEMORY, "no memory for the records of page %llu",
                 (unsigned long long)page);
    return status;
}

/* The last commit of one segment at or below lsn, or with `of` the first at or above it. */
static int segment_commit(aul_page_index *index, aul_segment *segment, u64 lsn, bool of,
                          aul_commit *out, aul_error *error) {
    pthread_rwlock_rdlock(&index->lock);
    if (segment->part) {
        const aul_commit *commit =
            of ? aul_part_commit_of(segment->part, lsn) : aul_part_commit(segment->part, lsn);
        if (commit) *out = *commit;
        pthread_rwlock_unlock(&index->lock);
        return commit ? AUL_OK : AUL_END;
    }
    pthread_rwlock_unlock(&index->lock);
    return of ? aul_run_commit_of(index->files, segment, lsn, out, error)
              : aul_run_commit(index->files, segment, lsn, out, error);
}

size_t aul_segment_list_find(const aul_segment_list *list, u64 lsn) {
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list->items[middle]->first_lsn <= lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : 0;
}

int aul_page_index_commit(aul_page_index *index, const aul_path *path, u64 lsn, aul_commit *out,
                          aul_segment **segment, aul_error *error) {
    aul_segment_list *list = aul_page_index_list(index);
    int status = AUL_END;
    while (list->count && lsn && status == AUL_END) {
        const aul_hole *hole = aul_path_hole(path, lsn);
        if (hole) { /* none of the segments that it spans is looked at */
            lsn = hole->start ? hole->start - 1 : 0;
            continue;
        }
        size_t at = aul_segment_list_find(list, lsn);
        aul_segment *candidate = list->items[at];
        status = segment_commit(index, candidate, lsn, false, out, error);
        if (status == AUL_OK && aul_path_hole(path, out->lsn)) {
            lsn = out->lsn;
            status = AUL_END;
        } else if (status == AUL_OK) {
            if (segment) *segment = candidate;
        } else if (at == 0 || candidate->first_lsn == 0) { /* no segment is older */
            break;
        } else {
            lsn = candidate->first_lsn - 1;
        }
    }
    aul_segment_list_release(index, list);
    return status;
}

int aul_page_index_commit_of(aul_page_index *index, u64 lsn, aul_commit *out, aul_segment **segment,
                             aul_error *error) {
    aul_segment_list *list = aul_page_index_list(index);
    int status = AUL_END;
    for (size_t at = aul_segment_list_find(list, lsn); at < list->count && status == AUL_END;
         at++) {
        status = segment_commit(index, list->items[at], lsn, true, out, error);
        if (segment) *segment = list->items[at];
    }
    aul_segment_list_release(index, list);
    return status;
}

/* The newest commit in the segment or, when none ends there, in those before it. False: none. */
static bool newest_commit(aul_page_index *index, const aul_segment_list *list, size_t at,
                          aul_commit *out) {
    for (; at < list->count; at--) {
        const aul_segment *segment = list->items[at];
        bool found = false;
        pthread_rwlock_rdlock(&index->lock);
        const aul_part *part = segment->part;
        if (part && part->commit_count) {
            *out = part->commits[part->commit_count - 1];
            found = true;
        }
        pthread_rwlock_unlock(&index->lock);
        if (!part)
            *out = (aul_commit){.lsn = segment->summary.last_commit,
                                .time_ns = segment->summary.last_time_ns,
                                .end_pages = segment->summary.end_pages};
        if (found || !part) return out->lsn > 0;
    }
    return false;
}

/* The last commit of one segment at or below lsn that was made by the time. */
static int segment_commit_at(aul_page_index *index, aul_segment *segment, u64 time_ns, u64 lsn,
                             aul_commit *out, aul_error *error) {
    pthread_rwlock_rdlock(&index->lock);
    bool in_memory = segment->part != NULL;
    const aul_commit *commit = in_memory ? aul_part_commit_at(segment->part, time_ns, lsn) : NULL;
    if (commit) *out = *commit;
    pthread_rwlock_unlock(&index->lock);
    if (in_memory) return commit ? AUL_OK : AUL_END;
    return aul_run_commit_at(index->files, segment, time_ns, lsn, out, error);
}

int aul_page_index_commit_at(aul_page_index *index, u64 time_ns, u64 lsn, aul_commit *out,
                             aul_error *error) {
    aul_segment_list *list = aul_page_index_list(index);
    aul_commit newest;
    int status = AUL_END;
    size_t low = 0, high = list->count; /* below `low` every commit is early enough */
    while (low < high) {
        size_t middle = (low + high) / 2;
        bool any = newest_commit(index, list, middle, &newest);
        if (!any || aul_commit_is_by(&newest, time_ns, lsn))
            low = middle + 1;
        else
            high = middle;
    }
    if (low < list->count)
        status = segment_commit_at(index, list->items[low], time_ns, lsn, out, error);
    if (status == AUL_END && low && newest_commit(index, list, low - 1, out)) status = AUL_OK;
    aul_segment_list_release(index, list);
    return status;
}

/* How many commits of one segment are below lsn. */
static int segment_commits_below(aul_page_index *index, aul_segment *segment, u64 lsn, u64 *below,
                                 aul_error *error) {
    *below = 0;
    if (lsn <= segment->first_lsn) return AUL_OK;
    pthread_rwlock_rdlock(&index->lock);
    bool in_memory = segment->part != NULL;
    if (in_memory) *below = aul_part_commits_below(segment->part, lsn);
    pthread_rwlock_unlock(&index->lock);
    if (in_memory) return AUL_OK;
    if (lsn <= segment->summary.last_lsn)
        return aul_run_commits_below(index->files, segment, lsn, below, error);
    *below = segment->summary.commit_count;
    return AUL_OK;
}

int aul_page_index_commits_in(aul_page_index *index, u64 start, u64 end, u64 *count,
                              aul_error *error) {
    aul_segment_list *list = aul_page_index_list(index);
    int status = AUL_OK;
    *count = 0;
    for (size_t at = aul_segment_list_find(list, start); at < list->count && !status; at++) {
        aul_segment *segment = list->items[at];
        u64 before, after = 0;
        if (segment->first_lsn >= end) break;
        status = segment_commits_below(index, segment, start, &before, error);
        if (!status) status = segment_commits_below(index, segment, end, &after, error);
        if (!status && after > before) *count += after - before;
    }
    aul_segment_list_release(index, list);
    return status;
}

int aul_page_index_read(aul_page_index *index, aul_segment *segment, void *to, size_t bytes,
                        u64 offset, aul_error *error) {
    if (!atomic_load_explicit(&segment->sealed, memory_order_relaxed)) {
        pthread_rwlock_rdlock(&index->lock);
        if (segment->image && offset + bytes > segment->image_start) {
            /* What is below the image's start is in the file; what is above may not be yet. */
            u64 start = aul_max(offset, segment->image_start);
            memcpy((u8 *)to + (start - offset), segment->image + (start - segment->image_start),
                   offset + bytes - start);
            bytes = start - offset;
        }
        pthread_rwlock_unlock(&index->lock);
        if (bytes == 0) return AUL_OK;
    }
    return aul_files_read(index->files, segment, to, bytes, offset, error);
}
