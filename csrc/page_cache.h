/* page_cache.h: materialised pages, each under its version LSN, with the LSN through which it was
 * `checked` and the run of that: no newer record of the page was found up to there on that LSN's
 * path. So a cached page serves every view of the same run from its version up to `checked`. A view
 * of another run may begin with it where its version is on the view's path, and has to look for
 * records since; a rewind touches nothing here. Commits do not, either: a reader beyond `checked`
 * moves the bound on. The cache is only ever a function of the log.
 *
 * Pages are spread over shards, each with a lock, a hash table and a clock hand. A pinned page
 * is not evicted and its bytes do not change; the cache outlives its owner until the last pin is
 * released. */
#ifndef AUL_PAGE_CACHE_H
#define AUL_PAGE_CACHE_H

#include <pthread.h>

#include "history.h"

typedef struct aul_page_cache aul_page_cache;

typedef struct {
    u64 cached, capacity, pinned, hits, misses;
} aul_cache_stats;

/* At most `bytes` of pages, at least AUL_CACHE_PAGES_MIN of them. NULL: no memory. */
#define AUL_CACHE_PAGES_MIN 16
aul_page_cache *aul_page_cache_new(aul_disk *disk, u64 bytes, u32 page_size);
void aul_page_cache_unref(aul_page_cache *cache);

/* The page will be asked for soon: its way through the memory begins now. */
void aul_page_cache_expect(aul_page_cache *cache, u64 page);
/* Copies `page` as of lsn, in `run`, where it is cached as just that. Whether it is. */
bool aul_page_cache_get_in_run(aul_page_cache *cache, u64 page, u64 run, u64 lsn, u8 *out);
/* Copies the newest cached version of `page` on the path to `out`. AUL_OK: it is the page as of the
 * path's LSN. AUL_PENDING: it is the page as of *checked, records since may change it. AUL_END:
 * nothing is cached, *checked is 0. */
int aul_page_cache_get(aul_page_cache *cache, u64 page, const aul_path *path, u8 *out, u64 *version,
                       u64 *checked);
/* Takes a copy of the page as of the path's LSN, or, where that version is cached, notes that it is
 * right up to there. With `keep_older` false it may replace other versions of the page. When every
 * page is pinned the copy is not taken. */
void aul_page_cache_put(aul_page_cache *cache, u64 page, u64 version, const aul_path *path,
                        const u8 *data, bool keep_older);
/* Pins a cached page that is right as of the path's LSN; AUL_END when there is none. */
int aul_page_cache_pin(aul_page_cache *cache, u64 page, const aul_path *path, const u8 **data,
                       aul_pin **out);
/* Forgets every page and every knowledge above lsn. */
void aul_page_cache_drop_above(aul_page_cache *cache, u64 lsn);
void aul_page_cache_stats(aul_page_cache *cache, aul_cache_stats *out);

#endif
