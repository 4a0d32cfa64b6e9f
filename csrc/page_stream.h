/* page_stream.h: the pages that have a record in a set of LSNs, ascending, each once.
 *
 * The segments' indexes are merged by page. The part of an unsealed segment is looked through when
 * the stream is opened, and the pages kept; the run of a sealed one is read block by block as the
 * stream comes to its pages. So a stream holds a block for each segment that it is reading, and
 * the steps of truncates, but no list of what is sealed. Segments outside of the set are not
 * touched.
 *
 * A stream holds nothing of the index but pointers: it is closed after the index, too, but asked
 * only while that is there. It is not moved. */
#ifndef AUL_PAGE_STREAM_H
#define AUL_PAGE_STREAM_H

#include "page_index.h"
#include "ranges.h"

/* Which records count: those with an LSN in `lsns` of a page from `page_low` on that no step says
 * to be emptied later. A step empties pages from its own on; the steps' pages and LSNs both
 * fall. */
typedef struct {
    aul_ranges lsns;
    u64 page_low;
    aul_truncate *steps;
    size_t step_count, step_capacity;
} aul_page_filter;

typedef struct aul_page_source aul_page_source;

typedef struct {
    aul_page_index *index;
    aul_page_filter changed, emptied;
    aul_page_source **heap; /* by page */
    size_t count, capacity;
    u64 next; /* pages below it have been given */
} aul_page_stream;

/* Pages with a record, or emptied by a truncate, whose LSN lies on exactly one of the two paths:
 * whose LSNs end with commits. Whatever the status, the stream is to be closed. */
int aul_page_stream_between(aul_page_stream *stream, aul_page_index *index, const aul_path *a,
                            const aul_path *b, aul_error *error);
/* Pages at or above `floor` that a truncate would empty behind `lsn`, which ends a batch on the
 * path. */
int aul_page_stream_emptied(aul_page_stream *stream, aul_page_index *index, const aul_path *path,
                            u64 lsn, u64 floor, aul_error *error);
/* The next pages, at most `capacity`, in `pages` unless that is NULL; *count says how many. AUL_END
 * with none when there are no more. A failure that comes behind some pages is told by the next
 * call. */
int aul_page_stream_next(aul_page_stream *stream, u64 *pages, size_t capacity, size_t *count,
                         aul_error *error);
void aul_page_stream_close(aul_page_stream *stream);
/* Sorts page numbers, and keeps one of each; returns how many are left. */
size_t aul_pages_sort(u64 *pages, size_t count);

#endif
