/* page_cache.c: see page_cache.h. */
#include "page_cache.h"

#include "fork.h"
#include "seeded.h"

#define SHARDS_MAX 16u
#define SHARD_PAGES_MIN 64u /* smaller caches have fewer shards */
#define SLAB_BYTES (2u << 20)
#define NONE 0xffffffffu
#define FETCH_BYTES 1024u

typedef struct {
    u64 page, version, checked, run;
    u32 next; /* in its bucket */
    u32 pins;
    bool used, referenced;
} cached_page;

typedef struct {
    pthread_mutex_t lock;
    cached_page *pages;
    u32 count, capacity, hand;
    u32 *buckets;
    u32 bucket_mask;
    u8 **slabs;
    u32 slab_count;
    u64 hits, misses, pinned, live;
} shard;

struct aul_page_cache {
    aul_disk *disk;
    aul_disk disk_table; /* its own copy: a pin may outlive the store */
    _Atomic u64 references;
    u32 page_size, slab_shift, shard_count, fork_generation;
    shard shards[SHARDS_MAX];
};

struct aul_pin {
    aul_page_cache *cache;
    shard *shard;
    cached_page *page;
};

static inline u64 hash_page(u64 page) { return (page * 0x9e3779b97f4a7c15ull) >> 20; }

/* Asks the processor for the beginning of a page; the rest follows by itself. */
static inline void fetch(const u8 *data, u32 page_size) {
    for (u32 at = 0; at < FETCH_BYTES && at < page_size; at += 64) AUL_PREFETCH(data + at);
}

static inline shard *shard_of(aul_page_cache *cache, u64 hash) {
    return &cache->shards[hash & (cache->shard_count - 1)];
}

static inline u32 *bucket_of(shard *s, u64 hash) { return &s->buckets[hash >> 4 & s->bucket_mask]; }

/* The bytes of the shard's page number `at`. */
static inline u8 *data_of(const aul_page_cache *cache, const shard *s, u32 at) {
    size_t within = at & ((1u << cache->slab_shift) - 1);
    return s->slabs[at >> cache->slab_shift] + within * cache->page_size;
}

static int init_shard(aul_page_cache *cache, shard *s, u32 capacity) {
    aul_disk *disk = cache->disk;
    u32 buckets = 16;
    while (buckets < capacity) buckets *= 2;
    s->capacity = capacity;
    s->bucket_mask = buckets - 1;
    s->pages = aul_alloc(disk, capacity * sizeof *s->pages);
    s->buckets = aul_alloc(disk, buckets * sizeof *s->buckets);
    s->slabs = aul_alloc_zero(disk, ((capacity >> cache->slab_shift) + 1) * sizeof *s->slabs);
    if (!s->pages || !s->buckets || !s->slabs) return AUL_NO_MEMORY;
    memset(s->buckets, 0xff, buckets * sizeof *s->buckets);
    return pthread_mutex_init(&s->lock, NULL) ? AUL_NO_MEMORY : AUL_OK;
}

static void free_cache(aul_page_cache *cache) {
    for (u32 i = 0; i < cache->shard_count; i++) {
        shard *s = &cache->shards[i];
        for (u32 slab = 0; slab < s->slab_count; slab++) aul_release(cache->disk, s->slabs[slab]);
        aul_release(cache->disk, s->slabs);
        aul_release(cache->disk, s->buckets);
        aul_release(cache->disk, s->pages);
    }
    void (*free_memory)(void *, void *) = cache->disk->free_memory;
    free_memory(cache->disk->context, cache);
}

aul_page_cache *aul_page_cache_new(aul_disk *disk, u64 bytes, u32 page_size) {
    aul_page_cache *cache = aul_alloc_zero(disk, sizeof *cache);
    if (!cache) return NULL;
    u64 pages = aul_min(aul_max(bytes / page_size, AUL_CACHE_PAGES_MIN), 1u << 31);
    memcpy(&cache->disk_table, disk, sizeof *disk);
    cache->disk = &cache->disk_table;
    atomic_init(&cache->references, 1);
    cache->page_size = page_size;
    cache->fork_generation = aul_fork_generation();
    cache->shard_count = 1;
    while (cache->shard_count < SHARDS_MAX && pages / (cache->shard_count * 2) >= SHARD_PAGES_MIN)
        cache->shard_count *= 2;
    u64 each = pages / cache->shard_count;
    while ((u64)page_size << (cache->slab_shift + 1) <= SLAB_BYTES &&
           2ull << cache->slab_shift <= each)
        cache->slab_shift++;
    for (u32 i = 0; i < cache->shard_count; i++)
        if (init_shard(cache, &cache->shards[i], (u32)each)) {
            free_cache(cache);
            return NULL;
        }
    return cache;
}

void aul_page_cache_unref(aul_page_cache *cache) {
    if (cache && atomic_fetch_sub(&cache->references, 1) == 1) free_cache(cache);
}

/* The newest version of the page at or below lsn that was checked in the run. */
static cached_page *find_in_run(const aul_page_cache *cache, shard *s, u64 hash, u64 page, u64 run,
                                u64 lsn) {
    cached_page *best = NULL;
    for (u32 at = *bucket_of(s, hash); at != NONE; at = s->pages[at].next) {
        cached_page *candidate = &s->pages[at];
        /* Where its bytes are is known before it is: both are on their way at once. */
        fetch(data_of(cache, s, at), cache->page_size);
        bool in_run = candidate->run == run || AUL_SEEDED(CACHED_IN_ANY_RUN);
        if (candidate->page == page && in_run && candidate->version <= lsn &&
            (!best || candidate->version > best->version))
            best = candidate;
    }
    return best;
}

/* The newest version of the page on the path, of whatever run. */
static cached_page *find_on_path(shard *s, u64 hash, u64 page, const aul_path *path) {
    cached_page *best = NULL;
    for (u32 at = *bucket_of(s, hash); at != NONE; at = s->pages[at].next) {
        cached_page *candidate = &s->pages[at];
        if (candidate->page == page && (!best || candidate->version > best->version) &&
            aul_path_holds(path, candidate->version))
            best = candidate;
    }
    return best;
}

void aul_page_cache_expect(aul_page_cache *cache, u64 page) {
    u64 hash = hash_page(page);
    shard *s = shard_of(cache, hash);
    pthread_mutex_lock(&s->lock);
    u32 at = *bucket_of(s, hash);
    if (at != NONE) {
        AUL_PREFETCH(&s->pages[at]);
        fetch(data_of(cache, s, at), cache->page_size);
    }
    pthread_mutex_unlock(&s->lock);
}

bool aul_page_cache_get_in_run(aul_page_cache *cache, u64 page, u64 run, u64 lsn, u8 *out) {
    u64 hash = hash_page(page);
    shard *s = shard_of(cache, hash);
    pthread_mutex_lock(&s->lock);
    cached_page *found = find_in_run(cache, s, hash, page, run, lsn);
    bool right = found && lsn <= found->checked;
    if (right) {
        found->referenced = true;
        memcpy(out, data_of(cache, s, (u32)(found - s->pages)), cache->page_size);
        s->hits++;
    }
    pthread_mutex_unlock(&s->lock);
    return right;
}

/* What a view of the path may begin with: *checked says up to where it is right. */
static cached_page *find(const aul_page_cache *cache, shard *s, u64 hash, u64 page,
                         const aul_path *path, u64 *checked) {
    cached_page *found = find_in_run(cache, s, hash, page, path->run, path->lsn);
    *checked = found ? found->checked : 0;
    if (found || !(found = find_on_path(s, hash, page, path))) return found;
    /* Checked on another path it is known to be right only where that has led to ours. */
    bool holds = aul_path_holds(path, found->checked) || AUL_SEEDED(CHECKED_IN_ANY_RUN);
    *checked = holds ? found->checked : found->version;
    return found;
}

int aul_page_cache_get(aul_page_cache *cache, u64 page, const aul_path *path, u8 *out, u64 *version,
                       u64 *checked) {
    u64 hash = hash_page(page);
    shard *s = shard_of(cache, hash);
    int status = AUL_END;
    pthread_mutex_lock(&s->lock);
    cached_page *found = find(cache, s, hash, page, path, checked);
    if (found) {
        found->referenced = true;
        memcpy(out, data_of(cache, s, (u32)(found - s->pages)), cache->page_size);
        *version = found->version;
        bool right = path->lsn <= *checked || AUL_SEEDED(CACHED_IS_NEWEST);
        status = right ? AUL_OK : AUL_PENDING;
        s->hits++;
    } else {
        s->misses++;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

static void unlink_page(shard *s, cached_page *page) {
    u32 at = (u32)(page - s->pages);
    u32 *link = bucket_of(s, hash_page(page->page));
    while (*link != at) link = &s->pages[*link].next;
    *link = page->next;
    page->used = false;
    s->live--;
}

/* A page's memory never used before, or NULL when the shard is full or there is no memory. */
static cached_page *take_new(aul_page_cache *cache, shard *s) {
    if (s->count == s->capacity) return NULL;
    u32 slab = s->count >> cache->slab_shift;
    if (slab == s->slab_count) {
        s->slabs[slab] = aul_alloc(cache->disk, (size_t)cache->page_size << cache->slab_shift);
        if (!s->slabs[slab]) return NULL;
        s->slab_count++;
    }
    cached_page *page = &s->pages[s->count];
    memset(page, 0, sizeof *page);
    s->count++;
    return page;
}

/* The clock: pages referenced since the hand last came by get another round. */
static cached_page *evict(shard *s) {
    for (u64 steps = 0; s->count && steps < 2ull * s->count; steps++) {
        cached_page *page = &s->pages[s->hand];
        s->hand = (s->hand + 1) % s->count;
        if (page->pins) continue;
        if (page->used && page->referenced) {
            page->referenced = false;
            continue;
        }
        if (page->used) unlink_page(s, page);
        return page;
    }
    return NULL;
}

/* Where the page's version is cached already: checked in the run, or else in another. The bytes are
 * the same: they depend on the version alone. */
static cached_page *find_version(shard *s, u64 hash, u64 page, u64 version, u64 run) {
    cached_page *found = NULL;
    for (u32 at = *bucket_of(s, hash); at != NONE; at = s->pages[at].next) {
        cached_page *candidate = &s->pages[at];
        if (candidate->page != page || candidate->version != version) continue;
        found = candidate;
        if (candidate->run == run) break;
    }
    return found;
}

/* A version of the page that is no longer asked for, and that nobody has pinned, or NULL: what is
 * newer in the same run is a transaction's. */
static cached_page *find_outdated(shard *s, u64 hash, u64 page, u64 version, u64 run) {
    for (u32 at = *bucket_of(s, hash); at != NONE; at = s->pages[at].next) {
        cached_page *candidate = &s->pages[at];
        bool outdated = candidate->run != run || candidate->version < version;
        if (candidate->page == page && candidate->pins == 0 && outdated) return candidate;
    }
    return NULL;
}

static void put_locked(aul_page_cache *cache, shard *s, u64 page, u64 version, const aul_path *path,
                       const u8 *data, bool keep_older) {
    u64 hash = hash_page(page);
    cached_page *same = find_version(s, hash, page, version, path->run), *to = NULL;
    bool in_run = same && same->run == path->run;
    if (!in_run && (keep_older || !same)) {
        if (!keep_older && (to = find_outdated(s, hash, page, version, path->run)))
            unlink_page(s, to);
        if (!to) to = take_new(cache, s);
        if (!to) to = evict(s);
    }
    if (!to) {
        if (same) same->checked = in_run ? aul_max(same->checked, path->lsn) : path->lsn;
        if (same) same->run = path->run;
        return;
    }
    memcpy(data_of(cache, s, (u32)(to - s->pages)), data, cache->page_size);
    to->page = page;
    to->version = version;
    to->checked = path->lsn;
    to->run = path->run;
    to->used = to->referenced = true;
    u32 *bucket = bucket_of(s, hash);
    to->next = *bucket;
    *bucket = (u32)(to - s->pages);
    s->live++;
}

void aul_page_cache_put(aul_page_cache *cache, u64 page, u64 version, const aul_path *path,
                        const u8 *data, bool keep_older) {
    shard *s = shard_of(cache, hash_page(page));
    pthread_mutex_lock(&s->lock);
    put_locked(cache, s, page, version, path, data, keep_older);
    pthread_mutex_unlock(&s->lock);
}

int aul_page_cache_pin(aul_page_cache *cache, u64 page, const aul_path *path, const u8 **data,
                       aul_pin **out) {
    u64 hash = hash_page(page);
    shard *s = shard_of(cache, hash);
    aul_pin *pin = aul_alloc(cache->disk, sizeof *pin);
    if (!pin) return AUL_NO_MEMORY;
    pthread_mutex_lock(&s->lock);
    u64 checked;
    cached_page *found = find(cache, s, hash, page, path, &checked);
    if (found && path->lsn > checked) found = NULL;
    if (found) {
        if (found->pins++ == 0) s->pinned++;
        found->referenced = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (!found) {
        aul_release(cache->disk, pin);
        return AUL_END;
    }
    atomic_fetch_add(&cache->references, 1);
    *pin = (aul_pin){cache, s, found};
    *data = data_of(cache, s, (u32)(found - s->pages));
    *out = pin;
    return AUL_OK;
}

void aul_pin_release(aul_pin *pin) {
    if (!pin) return;
    aul_page_cache *cache = pin->cache;
    if (cache->fork_generation != aul_fork_generation())
        return; /* the parent's; its locks may be held for ever here */
    pthread_mutex_lock(&pin->shard->lock);
    if (--pin->page->pins == 0) pin->shard->pinned--;
    pthread_mutex_unlock(&pin->shard->lock);
    aul_release(cache->disk, pin);
    aul_page_cache_unref(cache);
}

void aul_page_cache_drop_above(aul_page_cache *cache, u64 lsn) {
    for (u32 i = 0; i < cache->shard_count; i++) {
        shard *s = &cache->shards[i];
        pthread_mutex_lock(&s->lock);
        for (u32 at = 0; at < s->count; at++) {
            cached_page *page = &s->pages[at];
            if (page->used && (page->version > lsn || page->run > lsn)) unlink_page(s, page);
            if (page->checked > lsn) page->checked = lsn;
        }
        pthread_mutex_unlock(&s->lock);
    }
}

void aul_page_cache_stats(aul_page_cache *cache, aul_cache_stats *out) {
    memset(out, 0, sizeof *out);
    for (u32 i = 0; i < cache->shard_count; i++) {
        shard *s = &cache->shards[i];
        pthread_mutex_lock(&s->lock);
        out->cached += s->live;
        out->capacity += s->capacity;
        out->pinned += s->pinned;
        out->hits += s->hits;
        out->misses += s->misses;
        pthread_mutex_unlock(&s->lock);
    }
}
