/* page_index.h: which records make a page: an ordered set of (page, version LSN) -> place, cut
 * into segments. The unsealed segments' parts are in memory, the sealed ones' runs on disk,
 * immutable. A rewind touches none of it: a search takes a path and steps over its holes.
 *
 * Locking. `lock` guards the list, the parts and the images of unsealed segments: readers hold
 * it for reading while they look into memory, never across disk I/O; who adds records or seals
 * holds it for writing. A list is immutable and counted, so that runs are searched without the
 * lock. Segments are sealed oldest first: behind the first sealed one, going back in time, all
 * are. Segments live as long as the index. */
#ifndef AUL_PAGE_INDEX_H
#define AUL_PAGE_INDEX_H

#include "files.h"
#include "history.h"
#include "run.h"

typedef struct {
    _Atomic u32 references;
    size_t count;
    aul_segment *items[]; /* oldest first */
} aul_segment_list;

typedef struct {
    aul_disk *disk;
    aul_files *files;
    pthread_rwlock_t lock;
    aul_segment_list *list;
} aul_page_index;

/* A record of the page, found. */
typedef struct {
    aul_segment *segment;
    u64 lsn;
    u32 offset, bytes;
} aul_place;

#define AUL_CHAIN_LOCAL 24

/* What a page is made of, newest record first. */
typedef struct {
    aul_disk *disk;
    aul_place *items;
    size_t count, capacity;
    /* Of the page: its newest record or the truncate that emptied it; 0: none above `above`. */
    u64 version;
    bool from_above; /* the chain goes on below `above`: the caller has the page as of there */
    aul_place local[AUL_CHAIN_LOCAL];
} aul_chain;

int aul_page_index_init(aul_page_index *index, aul_disk *disk, aul_files *files);
/* Frees the segments too. */
void aul_page_index_destroy(aul_page_index *index);
/* Appends a newer segment, which the index then owns. AUL_NO_MEMORY leaves it the caller's. */
int aul_page_index_append(aul_page_index *index, aul_segment *segment);
aul_segment_list *aul_page_index_list(aul_page_index *index);
/* The position in the list of the segment that holds lsn: the last that begins at or below it. 0,
 * too, when none does. */
size_t aul_segment_list_find(const aul_segment_list *list, u64 lsn);
void aul_segment_list_release(aul_page_index *index, aul_segment_list *list);
/* Exchanges a segment's part for its run on disk, described by `summary`. */
void aul_page_index_seal(aul_page_index *index, aul_segment *segment, const aul_summary *summary);

void aul_chain_init(aul_chain *chain, aul_disk *disk);
void aul_chain_free(aul_chain *chain);
/* Collects the records of `page` on the path, newest first, down to the first that needs no
 * older one, or to those at or below `above`. With `all` it goes on to the beginning: every
 * record that ever changed the page, and truncates as places of 0 bytes, segment by segment, in
 * a segment the truncates before the records. */
int aul_page_index_collect(aul_page_index *index, const aul_path *path, u64 page, u64 above,
                           bool all, aul_chain *chain, aul_error *error);

/* The last commit at or below lsn on the path; AUL_END when there is none. *segment (may be
 * NULL) is where it ends. */
int aul_page_index_commit(aul_page_index *index, const aul_path *path, u64 lsn, aul_commit *out,
                          aul_segment **segment, aul_error *error);

/* The commit whose batch holds the record lsn: the first at or above it. *segment (may be NULL)
 * is where it ends. AUL_END when there is none. */
int aul_page_index_commit_of(aul_page_index *index, u64 lsn, aul_commit *out, aul_segment **segment,
                             aul_error *error);

/* The last commit in the order of the log, whatever path it is on, that was made at or before the
 * time and is at or below lsn; AUL_END when there is none. */
int aul_page_index_commit_at(aul_page_index *index, u64 time_ns, u64 lsn, aul_commit *out,
                             aul_error *error);
/* How many commits lie in [start, end), whatever path they are on. Of segments in between their
 * summaries tell. */
int aul_page_index_commits_in(aul_page_index *index, u64 start, u64 end, u64 *count,
                              aul_error *error);

/* Copies a record's bytes from the image or the file of its segment. */
int aul_page_index_read(aul_page_index *index, aul_segment *segment, void *to, size_t bytes,
                        u64 offset, aul_error *error);

#endif
