/* read.c: materialising pages, and views.
 *
 * A page as of an LSN on a path is its records, oldest first, applied to the newest page below
 * them that needs no older one: an image, a cached version, or zeros. Records that lie close
 * together in a file are read in one go; each is checked by its own checksum. */
#include <stdlib.h>

#include "seeded.h"
#include "store.h"

#define GATHER_BYTES (256u << 10)
#define GATHER_GAP 2048u

struct aul_view {
    aul_store *store;
    aul_path path;
    aul_commit_info commit;
};

static int damaged(const aul_place *place, u64 page, aul_error *error) {
    return aul_fail_at(error, AUL_CORRUPT, place->segment->name, place->offset, place->lsn,
                       "the record of page %llu with LSN %llu in %s at offset %u is damaged: "
                       "restore the file from a copy",
                       (unsigned long long)page, (unsigned long long)place->lsn,
                       place->segment->name, place->offset);
}

/* Applies the record at `bytes` to the page. */
static int redo_one(aul_store *store, const aul_place *place, const u8 *bytes, u64 page, u8 *out,
                    aul_error *error) {
    aul_change change;
    if (aul_record_decode(bytes, place->bytes, store->page_size, place->lsn,
                          place->segment->record_seed, &change) ||
        change.page != page || aul_record_bytes(&change) != place->bytes)
        return damaged(place, page, error);
    aul_record_redo(out, store->page_size, &change);
    return AUL_OK;
}

/* How many places, oldest first from `i` down, one read can bring. */
static size_t gather(const aul_chain *chain, size_t i) {
    const aul_place *first = &chain->items[i];
    u64 end = (u64)first->offset + first->bytes;
    size_t n = 1;
    while (i >= n) {
        const aul_place *next = &chain->items[i - n];
        if (next->segment != first->segment || next->offset < end ||
            next->offset - end > GATHER_GAP)
            break;
        if ((u64)next->offset + next->bytes - first->offset > GATHER_BYTES) break;
        end = (u64)next->offset + next->bytes;
        n++;
    }
    return n;
}

/* Applies the chain's records to `out`, which holds the page before them. */
static int redo_chain(aul_store *store, const aul_chain *chain, u64 page, u8 *out,
                      aul_error *error) {
    u8 local[4096 + AUL_RECORD_HEADER];
    u8 *buffer = local;
    size_t room = sizeof local;
    int status = AUL_OK;
    for (size_t left = chain->count; left > 0 && !status;) {
        size_t n = gather(chain, left - 1);
        const aul_place *first = &chain->items[left - 1], *last = &chain->items[left - n];
        if (first->bytes < AUL_RECORD_HEADER ||
            first->bytes > AUL_RECORD_HEADER + store->page_size) {
            status = damaged(first, page, error);
            break;
        }
        size_t bytes = (size_t)last->offset + last->bytes - first->offset;
        if (bytes > room) {
            u8 *larger =
                aul_alloc(store->disk, GATHER_BYTES + AUL_PAGE_SIZE_MAX + AUL_RECORD_HEADER);
            if (!larger) {
                status = aul_fail(error, AUL_NO_MEMORY, "no memory to materialise page %llu",
                                  (unsigned long long)page);
                break;
            }
            if (buffer != local) aul_release(store->disk, buffer);
            buffer = larger;
            room = GATHER_BYTES + AUL_PAGE_SIZE_MAX + AUL_RECORD_HEADER;
        }
        status =
            aul_page_index_read(&store->index, first->segment, buffer, bytes, first->offset, error);
        for (size_t i = 0; i < n && !status; i++) {
            const aul_place *place = &chain->items[left - 1 - i];
            status =
                redo_one(store, place, buffer + (place->offset - first->offset), page, out, error);
        }
        left -= n;
    }
    if (buffer != local) aul_release(store->disk, buffer);
    return status;
}

int aul_read_page(aul_store *store, const aul_path *path, u64 page, u8 *out, aul_error *error) {
    u64 version = 0, checked = 0;
    int cached = aul_page_cache_get(store->cache, page, path, out, &version, &checked);
    if (cached == AUL_OK) return AUL_OK;
    aul_chain chain;
    aul_chain_init(&chain, store->disk);
    int status = aul_page_index_collect(&store->index, path, page, checked, false, &chain, error);
    bool unchanged = cached == AUL_PENDING && chain.version == 0;
    if (!status && !unchanged) {
        bool on_cached = cached == AUL_PENDING && chain.from_above;
        if (!on_cached) memset(out, 0, store->page_size);
        status = redo_chain(store, &chain, page, out, error);
        version = chain.version;
    }
    if (!status)
        aul_page_cache_put(store->cache, page, version, path, out, atomic_load(&store->views) > 0);
    aul_chain_free(&chain);
    return status;
}

int aul_view_path(aul_store *store, const aul_view *view, aul_path *path, aul_error *error) {
    *path = (aul_path){0};
    if (!view) return aul_past_shown(store, path, error);
    *path = view->path;
    path->shared = NULL; /* borrowed */
    if (AUL_SEEDED(LOST_VIEW_READS)) return AUL_OK;
    if (AUL_UNLIKELY(path->lsn > atomic_load_explicit(&store->log.visible, memory_order_relaxed))) {
        aul_fail(error, AUL_UNKNOWN,
                 "the disk failed before what this view shows was durable: reopen the volume");
        if (error) error->lsn = path->lsn;
        return AUL_UNKNOWN;
    }
    return AUL_OK;
}

static int check_page(aul_store *store, u64 page, aul_error *error) {
    if (AUL_LIKELY(page < store->pages_max)) return AUL_OK;
    return aul_fail(error, AUL_INPUT, "page %llu is outside the volume, whose pages are 0 to %llu",
                    (unsigned long long)page, (unsigned long long)store->pages_max - 1);
}

/* A plain read of a page that is in the cache as it is now needs no path: its run says enough. */
static bool read_cached(aul_store *store, const aul_view *view, u64 page, u8 *out) {
    u64 run = atomic_load_explicit(&store->past.shown_run, memory_order_acquire);
    u64 visible = atomic_load(&store->log.visible);
    /* A run above is one that a failed disk took back. */
    return !view && run <= visible &&
           aul_page_cache_get_in_run(store->cache, page, run, visible, out);
}

int aul_read(aul_store *store, const aul_view *view, uint64_t page, uint8_t *out,
             aul_error *error) {
    aul_path path;
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = check_page(store, page, error);
    if (!status && !read_cached(store, view, page, out)) {
        status = aul_view_path(store, view, &path, error);
        if (!status) status = aul_read_page(store, &path, page, out, error);
        aul_path_free(store->disk, &path);
    }
    aul_store_leave(store);
    return status;
}

int aul_read_many(aul_store *store, const aul_view *view, const uint64_t *pages, size_t count,
                  uint8_t *out, aul_error *error) {
    aul_path path;
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = aul_view_path(store, view, &path, error);
    for (size_t i = 0; i < count && !status; i++) status = check_page(store, pages[i], error);
    for (size_t i = 0; i < count && !status; i++) {
        if (i + 2 < count) aul_page_cache_expect(store->cache, pages[i + 2]);
        status = aul_read_page(store, &path, pages[i], out + i * store->page_size, error);
    }
    aul_path_free(store->disk, &path);
    aul_store_leave(store);
    return status;
}

/* The page as of the path's LSN, if it is cached and nothing newer is found; AUL_END. */
static int find_cached(aul_store *store, const aul_path *path, u64 page, u8 *out,
                       aul_error *error) {
    u64 version = 0, checked = 0;
    int cached = aul_page_cache_get(store->cache, page, path, out, &version, &checked);
    if (cached != AUL_PENDING) return cached;
    aul_chain chain;
    aul_chain_init(&chain, store->disk);
    int status = aul_page_index_collect(&store->index, path, page, checked, false, &chain, error);
    if (!status && chain.version != 0) status = AUL_END;
    if (!status)
        aul_page_cache_put(store->cache, page, version, path, out, atomic_load(&store->views) > 0);
    aul_chain_free(&chain);
    return status;
}

int aul_read_cached(aul_store *store, const aul_view *view, const uint64_t *pages, size_t count,
                    uint8_t *out, aul_error *error) {
    aul_path path;
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = aul_view_path(store, view, &path, error);
    for (size_t i = 0; i < count && !status; i++) {
        status = check_page(store, pages[i], error);
        if (!status)
            status = find_cached(store, &path, pages[i], out + i * store->page_size, error);
    }
    aul_path_free(store->disk, &path);
    aul_store_leave(store);
    return status;
}

static int pin_page(aul_store *store, const aul_path *path, u64 page, const u8 **data,
                    aul_pin **out, aul_error *error) {
    int status = aul_page_cache_pin(store->cache, page, path, data, out);
    if (status != AUL_END) return status;
    u8 *copy = aul_alloc(store->disk, store->page_size);
    if (!copy) return AUL_NO_MEMORY;
    /* Another reader may evict the page between the two: once more is then as likely to succeed
     * as not. */
    for (int tries = 0; tries < 8 && status == AUL_END; tries++) {
        status = aul_read_page(store, path, page, copy, error);
        if (!status) status = aul_page_cache_pin(store->cache, page, path, data, out);
    }
    aul_release(store->disk, copy);
    if (status == AUL_END)
        return aul_fail(
            error, AUL_CACHE_FULL,
            "every cached page is pinned: drop page views, or open with a larger cache_bytes");
    return status;
}

int aul_pin_page(aul_store *store, const aul_view *view, uint64_t page, const uint8_t **data,
                 aul_pin **out, aul_error *error) {
    aul_path path;
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = check_page(store, page, error);
    if (!status) {
        status = aul_view_path(store, view, &path, error);
        if (!status) status = pin_page(store, &path, page, data, out, error);
        aul_path_free(store->disk, &path);
    }
    if (status == AUL_NO_MEMORY) aul_fail(error, status, "no memory to pin a page");
    aul_store_leave(store);
    return status;
}

int aul_find_commit(aul_store *store, const aul_path *path, aul_commit_info *out,
                    aul_error *error) {
    aul_commit commit;
    int status = aul_page_index_commit(&store->index, path, path->lsn, &commit, NULL, error);
    *out = (aul_commit_info){0, 0, 0};
    if (status == AUL_OK) *out = (aul_commit_info){commit.lsn, commit.time_ns, commit.end_pages};
    return status == AUL_END ? AUL_OK : status;
}

int aul_end_pages(aul_store *store, uint64_t *pages, aul_error *error) {
    aul_path path;
    aul_commit_info commit;
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = aul_view_path(store, NULL, &path, error);
    if (!status) status = aul_find_commit(store, &path, &commit, error);
    if (!status) *pages = commit.end_pages;
    aul_path_free(store->disk, &path);
    aul_store_leave(store);
    return status;
}

int aul_check_lsn(aul_store *store, u64 lsn, aul_error *error) {
    u64 visible = atomic_load(&store->log.visible);
    aul_branch cut;
    if (lsn > visible)
        aul_fail(error, AUL_LSN, "LSN %llu is above the visible LSN %llu", (unsigned long long)lsn,
                 (unsigned long long)visible);
    else if (aul_past_cut_at(store, lsn, &cut))
        aul_fail(error, AUL_LSN,
                 "LSN %llu lies in a range that recovery cut: ask for %llu, or %llu and above",
                 (unsigned long long)lsn, (unsigned long long)cut.parent_at,
                 (unsigned long long)cut.resumed_at);
    else
        return AUL_OK;
    if (error) {
        error->lsn = lsn;
        error->limit = visible;
    }
    return AUL_LSN;
}

int aul_view_open(aul_store *store, uint64_t lsn, aul_view **out, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    aul_view *view = NULL;
    status = aul_check_lsn(store, lsn, error);
    if (!status && !(view = aul_alloc_zero(store->disk, sizeof *view)))
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for a view");
    if (!status) status = aul_past_path(store, lsn, &view->path, error);
    if (!status) status = aul_find_commit(store, &view->path, &view->commit, error);
    if (!status) {
        view->store = store;
        view->path.lsn = view->commit.lsn; /* its holes are those of lsn: no commit lies between */
        aul_store_ref(store);
        atomic_fetch_add(&store->views, 1);
        *out = view;
    } else if (view) {
        aul_path_free(store->disk, &view->path);
        aul_release(store->disk, view);
    }
    aul_store_leave(store);
    return status;
}

void aul_view_describe(const aul_view *view, aul_commit_info *out) { *out = view->commit; }

void aul_view_close(aul_view *view) {
    if (!view) return;
    aul_store *store = view->store;
    aul_path_free(store->disk, &view->path);
    aul_release(store->disk, view);
    atomic_fetch_sub(&store->views, 1);
    aul_store_unref(store);
}

static int newest_first(const void *a, const void *b) {
    u64 left = ((const aul_place *)a)->lsn, right = ((const aul_place *)b)->lsn;
    return left < right ? 1 : left > right ? -1 : 0;
}

/* Whether place i, of a chain with the newest first, is a truncate of a page that was zeros: no
 * record lies between it and the truncate before. */
static bool empties_nothing(const aul_chain *chain, size_t i) {
    return chain->items[i].bytes == 0 && (i + 1 == chain->count || chain->items[i + 1].bytes == 0);
}

int aul_versions(aul_store *store, const aul_view *view, uint64_t page, aul_commit_info *out,
                 size_t capacity, size_t *count, aul_error *error) {
    aul_path path;
    aul_chain chain;
    int status = aul_store_enter(store, error);
    if (status) return status;
    aul_chain_init(&chain, store->disk);
    status = check_page(store, page, error);
    path = (aul_path){0};
    if (!status) status = aul_view_path(store, view, &path, error);
    if (!status)
        status = aul_page_index_collect(&store->index, &path, page, 0, true, &chain, error);
    if (!status) qsort(chain.items, chain.count, sizeof *chain.items, newest_first);
    size_t found = 0;
    u64 from =
        UINT64_MAX; /* first LSN of the commit last listed: its other records are the same change */
    for (size_t i = 0; i < chain.count && !status; i++) {
        aul_commit commit;
        if (chain.items[i].lsn >= from || empties_nothing(&chain, i)) continue;
        /* The commit that a record belongs to is the first at or above it. */
        status = aul_page_index_commit_of(&store->index, chain.items[i].lsn, &commit, NULL, error);
        if (status == AUL_END)
            status = aul_fail_at(
                error, AUL_CORRUPT, chain.items[i].segment->name, chain.items[i].offset,
                chain.items[i].lsn,
                "the record of page %llu with LSN %llu in %s belongs to no commit: restore the "
                "log's files from a copy",
                (unsigned long long)page, (unsigned long long)chain.items[i].lsn,
                chain.items[i].segment->name);
        if (status) break;
        if (found < capacity)
            out[found] = (aul_commit_info){commit.lsn, commit.time_ns, commit.end_pages};
        found++;
        from = commit.lsn - commit.records + 1;
    }
    aul_chain_free(&chain);
    aul_path_free(store->disk, &path);
    *count = found;
    aul_store_leave(store);
    return status;
}
