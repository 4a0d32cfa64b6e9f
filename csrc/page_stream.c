/* page_stream.c: see page_stream.h.
 *
 * Two paths part once: up to some LSN both hold the same, above it none is on both. A truncate
 * above it empties what is there when it comes. Of that, pages with a record above the parting are
 * found as changed; so what is left is what existed at the parting, and is the same for all
 * truncates above it: one enumeration, from the lowest of them on. */
#include "page_stream.h"

#include "seeded.h"

#include <stdlib.h>

/* Entries of a part looked at under one lock: a writer waits for no more. */
#define LOOK_AT 4096u

/* One segment under one filter. */
struct aul_page_source {
    u64 page; /* its next, or while `begun` is not set no more than that */
    bool begun;
    const aul_page_filter *filter;
    aul_run_cursor *run; /* of a sealed segment; while it is being read */
    aul_segment *segment;
    u64 *pages; /* of an unsealed one */
    size_t count, at;
};

/* The lowest LSN at or above `lsn` at which a record of the page counts; UINT64_MAX: none. */
static u64 next_wanted(const aul_page_filter *filter, u64 page, u64 lsn) {
    size_t low = 0, high = filter->step_count;
    while (low < high) { /* the newest step that empties the page */
        size_t middle = (low + high) / 2;
        if (filter->steps[middle].pages <= page)
            high = middle;
        else
            low = middle + 1;
    }
    if (low < filter->step_count) lsn = aul_max(lsn, filter->steps[low].lsn + 1);
    return aul_ranges_next(&filter->lsns, lsn);
}

static bool is_wanted(const aul_page_filter *filter, const aul_entry *entry) {
    u64 page = entry->page_flags >> 8;
    return filter->page_low <= page && next_wanted(filter, page, entry->lsn) == entry->lsn;
}

static int no_memory(aul_error *error) {
    return aul_fail(error, AUL_NO_MEMORY, "no memory to look for changed pages");
}

static int ascending(const void *a, const void *b) {
    u64 left = *(const u64 *)a, right = *(const u64 *)b;
    return left < right ? -1 : left > right;
}

size_t aul_pages_sort(u64 *pages, size_t count) {
    if (count == 0) return 0;
    qsort(pages, count, sizeof *pages, ascending);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++)
        if (pages[i] != pages[kept - 1]) pages[kept++] = pages[i];
    return kept;
}

/* The heap */

static void sift_down(aul_page_stream *stream, size_t at) {
    aul_page_source **heap = stream->heap, *moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < stream->count; at = child) {
        if (child + 1 < stream->count && heap[child + 1]->page < heap[child]->page) child++;
        if (heap[child]->page >= moving->page) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static void free_source(aul_disk *disk, aul_page_source *source) {
    aul_release(disk, source->run);
    aul_release(disk, source->pages);
    aul_release(disk, source);
}

/* Takes over the source. */
static int add_source(aul_page_stream *stream, aul_page_source *source, aul_error *error) {
    aul_disk *disk = stream->index->disk;
    if (aul_grow(disk, (void **)&stream->heap, &stream->capacity, stream->count + 1,
                 sizeof(aul_page_source *))) {
        free_source(disk, source);
        return no_memory(error);
    }
    aul_page_source **heap = stream->heap;
    size_t at = stream->count++;
    for (; at && heap[(at - 1) / 2]->page > source->page; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = source;
    return AUL_OK;
}

/* Sources */

/* Looks through some of the part from entry *at on, up to LSN `end`; there is room for LOOK_AT
 * pages. A page whose entry before is wanted too is there already. */
static size_t look_through(const aul_page_filter *filter, const aul_part *part, u64 end, size_t *at,
                           u64 *found) {
    size_t count = 0, stop = aul_min(aul_part_entries_below(part, end), *at + LOOK_AT);
    for (; *at < stop; ++*at) {
        u32 older = part->older[*at];
        if (is_wanted(filter, &part->entries[*at]) &&
            (older == AUL_NONE || !is_wanted(filter, &part->entries[older])))
            found[count++] = part->entries[*at].page_flags >> 8;
    }
    return count;
}

/* Copies the pages of an unsealed segment. It may be sealed meanwhile: then its run has them. */
static int copy_part(aul_page_stream *stream, aul_page_source *source, u64 start, u64 end,
                     bool *sealed, aul_error *error) {
    aul_page_index *index = stream->index;
    size_t capacity = 0, at = 0;
    for (bool more = true; more;) {
        if (aul_grow(index->disk, (void **)&source->pages, &capacity, source->count + LOOK_AT,
                     sizeof *source->pages))
            return no_memory(error);
        pthread_rwlock_rdlock(&index->lock);
        const aul_part *part = source->segment->part;
        *sealed = part == NULL;
        if (part && at == 0) at = aul_part_entries_below(part, start);
        if (part)
            source->count +=
                look_through(source->filter, part, end, &at, source->pages + source->count);
        more = part && at < aul_part_entries_below(part, end);
        pthread_rwlock_unlock(&index->lock);
    }
    if (*sealed) {
        aul_release(index->disk, source->pages);
        source->pages = NULL;
        source->count = 0;
    }
    source->count = aul_pages_sort(source->pages, source->count);
    return AUL_OK;
}

/* Where in a segment's log its records in the filter's LSNs are. */
typedef struct {
    u64 first_lsn, end_lsn; /* from the first batch on, behind the last record */
    u64 start, end;         /* bytes */
} stretch;

/* Finds it by the commit blocks. `few` when it is much less to read than the index run: of LSNs and
 * of bytes. */
static int find_stretch(aul_page_index *index, aul_segment *segment, const aul_ranges *lsns,
                        stretch *out, bool *few, aul_error *error) {
    const aul_summary *summary = &segment->summary;
    u64 from = aul_ranges_next(lsns, segment->first_lsn);
    u64 last = aul_ranges_last(lsns, summary->last_lsn);
    aul_commit first, behind;
    *few = last >= from && (last - from + 1) * 2 < summary->entry_count;
    if (!*few) return AUL_OK;
    *few = false;
    int status = aul_run_commit_of(index->files, segment, from, &first, error);
    /* One that began in an older segment is not worth the trouble. */
    if (status == AUL_END || (!status && first.offset == AUL_NO_OFFSET)) return AUL_OK;
    if (!status && last < summary->last_lsn)
        status = aul_run_commit_of(index->files, segment, last + 1, &behind, error);
    else if (!status)
        status = AUL_END;
    if (status && status != AUL_END) return status;
    *out = (stretch){.first_lsn = first.lsn - first.records + 1,
                     .end_lsn = last + 1,
                     .start = first.offset,
                     .end = status == AUL_END ? summary->log_end : behind.offset};
    *few = out->start < out->end &&
           (out->end - out->start) * 2 < summary->entry_count * sizeof(aul_entry);
    return AUL_OK;
}

/* Indexes a stretch of log, as recovery does. */
static int index_stretch(aul_page_index *index, aul_segment *segment, const stretch *at,
                         aul_part *part, aul_error *error) {
    int file;
    aul_scan scan;
    int status = aul_files_acquire(index->files, segment, false, &file, error);
    if (status) return status;
    status = aul_scan_open(&scan, index->disk, segment, file, at->end, NULL, error);
    if (!status) {
        aul_scan_seek(&scan, at->start, at->first_lsn);
        while (!status && (status = aul_scan_next(&scan, error)) == AUL_OK) {
            status = aul_scan_index(&scan, part);
            if (status == AUL_NO_MEMORY) no_memory(error);
        }
        if (status == AUL_CORRUPT) aul_scan_fail(&scan, error);
        aul_scan_close(&scan);
    }
    aul_files_release(index->files, segment);
    return status == AUL_END ? AUL_OK : status;
}

/* Copies the pages of a sealed segment from its log, where few of its records count: its run is
 * by page, and would have to be read whole. */
static int copy_stretch(aul_page_stream *stream, aul_page_source *source, aul_error *error) {
    aul_page_index *index = stream->index;
    stretch at;
    bool few;
    int status = find_stretch(index, source->segment, &source->filter->lsns, &at, &few, error);
    if (status || !few) return status;
    aul_part *part = aul_part_new(index->disk);
    if (!part) return no_memory(error);
    status = index_stretch(index, source->segment, &at, part, error);
    if (!status) {
        source->pages = aul_alloc(index->disk, (part->entry_count + 1) * sizeof *source->pages);
        if (!source->pages) status = no_memory(error);
    }
    for (size_t i = 0; !status && i < aul_part_entries_below(part, at.end_lsn);)
        source->count +=
            look_through(source->filter, part, at.end_lsn, &i, source->pages + source->count);
    source->count = aul_pages_sort(source->pages, source->count);
    aul_part_free(part);
    return status;
}

static int add_source_of(aul_page_stream *stream, aul_segment *segment,
                         const aul_page_filter *filter, aul_error *error) {
    const aul_ranges *lsns = &filter->lsns;
    aul_disk *disk = stream->index->disk;
    aul_page_source *source = aul_alloc_zero(disk, sizeof *source);
    if (!source) return no_memory(error);
    source->segment = segment;
    source->filter = filter;
    bool sealed = false;
    int status = copy_part(stream, source, lsns->items[0].start, lsns->items[lsns->count - 1].end,
                           &sealed, error);
    const aul_summary *summary = &segment->summary;
    if (!status && sealed && summary->page_high > filter->page_low)
        status = copy_stretch(stream, source, error);
    source->begun = source->pages != NULL;
    bool none = source->begun ? source->count == 0 : summary->page_high <= filter->page_low;
    if (!status && !none) {
        source->page =
            source->begun ? source->pages[0] : aul_max(filter->page_low, summary->page_low);
        return add_source(stream, source, error);
    }
    free_source(disk, source);
    return status;
}

/* Goes to the source's first page at or above `page`; AUL_END when it has none. */
static int go_to(aul_page_stream *stream, aul_page_source *source, u64 page, aul_error *error) {
    const aul_page_filter *filter = source->filter;
    if (source->pages) {
        while (source->at < source->count && source->pages[source->at] < page) source->at++;
        if (source->at == source->count) return AUL_END;
        source->page = source->pages[source->at];
        return AUL_OK;
    }
    aul_run_cursor *run = source->run;
    if (!run) {
        run = source->run = aul_alloc(stream->index->disk, sizeof *run);
        if (!run) return no_memory(error);
        run->files = stream->index->files;
        run->segment = source->segment;
        run->fences = NULL;
    }
    u64 lsn = next_wanted(filter, page, 0);
    while (lsn != UINT64_MAX) {
        int status = aul_run_go_on(run, page, lsn, error);
        if (status && status != AUL_END) { /* asked again, it begins again */
            aul_release(stream->index->disk, run);
            source->run = NULL;
        }
        if (status) return status;
        const aul_entry *entry = &run->entries[run->at];
        page = entry->page_flags >> 8;
        lsn = next_wanted(filter, page, entry->lsn);
        if (lsn == entry->lsn) {
            source->page = page;
            source->begun = true;
            return AUL_OK;
        }
        /* None of the page's counts any more. Where none of the next page's would, none of any
         * higher one's does: the higher the page, the later it was emptied. */
        if (lsn == UINT64_MAX) lsn = next_wanted(filter, ++page, 0);
    }
    return AUL_END;
}

/* Truncates */

/* The lowest page that a truncate of the segment within the LSNs empties. */
static int lowest_truncate(aul_page_index *index, aul_segment *segment, const aul_ranges *lsns,
                           u64 *floor, aul_error *error) {
    pthread_rwlock_rdlock(&index->lock);
    const aul_part *part = segment->part;
    const aul_truncate *truncates = part ? part->truncates : NULL;
    size_t count = part ? part->truncate_count : 0;
    for (size_t i = 0; i < count; i++)
        if (aul_ranges_next(lsns, truncates[i].lsn) == truncates[i].lsn)
            *floor = aul_min(*floor, truncates[i].pages);
    pthread_rwlock_unlock(&index->lock);
    if (part || segment->summary.truncate_low >= *floor) return AUL_OK;
    const aul_fences *fences;
    int status = aul_run_load(index->files, segment, &fences, error);
    for (size_t i = 0; !status && i < fences->truncate_count; i++)
        if (aul_ranges_next(lsns, fences->truncates[i].lsn) == fences->truncates[i].lsn)
            *floor = aul_min(*floor, fences->truncates[i].pages);
    return status;
}

/* Adds a source for each segment that overlaps the filter's LSNs, and finds the lowest of their
 * truncates there, unless `floor` is NULL. */
static int add_segments(aul_page_stream *stream, const aul_segment_list *list,
                        const aul_page_filter *filter, u64 *floor, aul_error *error) {
    int status = AUL_OK;
    size_t from = 0; /* segments before it have been added, or need not be */
    for (size_t i = 0; i < filter->lsns.count && !status; i++) {
        const aul_range *range = &filter->lsns.items[i];
        size_t at = aul_max(from, aul_segment_list_find(list, range->start));
        for (; at < list->count && list->items[at]->first_lsn < range->end && !status; at++) {
            aul_segment *segment = list->items[at];
            from = at + 1;
            if (atomic_load(&segment->last_lsn) < range->start) continue;
            status = add_source_of(stream, segment, filter, error);
            if (!status && floor)
                status = lowest_truncate(stream->index, segment, &filter->lsns, floor, error);
        }
    }
    return status;
}

static u64 lowest_step(const aul_page_filter *filter) {
    return filter->step_count ? filter->steps[filter->step_count - 1].pages : UINT64_MAX;
}

/* Adds a segment's truncates on the path, newest first, that empty pages which no newer one
 * does. */
static int add_steps(aul_page_filter *filter, const aul_path *path, const aul_truncate *truncates,
                     size_t count) {
    for (size_t i = count; i-- > 0;) {
        u64 lsn = truncates[i].lsn;
        if (lsn > path->lsn || truncates[i].pages >= lowest_step(filter) ||
            aul_path_hole(path, lsn))
            continue;
        if (aul_grow(filter->lsns.disk, (void **)&filter->steps, &filter->step_capacity,
                     filter->step_count + 1, sizeof *filter->steps))
            return AUL_NO_MEMORY;
        filter->steps[filter->step_count++] = truncates[i];
    }
    return AUL_OK;
}

static int add_steps_of(aul_page_index *index, aul_segment *segment, const aul_path *path,
                        aul_page_filter *filter, aul_error *error) {
    int status = AUL_OK;
    pthread_rwlock_rdlock(&index->lock);
    const aul_part *part = segment->part;
    if (part) status = add_steps(filter, path, part->truncates, part->truncate_count);
    pthread_rwlock_unlock(&index->lock);
    if (!part && segment->summary.truncate_low < lowest_step(filter)) {
        const aul_fences *fences;
        status = aul_run_load(index->files, segment, &fences, error);
        if (status) return status;
        status = add_steps(filter, path, fences->truncates, fences->truncate_count);
    }
    return status ? no_memory(error) : AUL_OK;
}

/* Adds what a truncate down to `floor` behind the end of the path would empty. What an older one
 * has emptied is not looked at again. */
static int add_emptied(aul_page_stream *stream, const aul_segment_list *list, const aul_path *path,
                       u64 floor, aul_error *error) {
    aul_page_filter *filter = &stream->emptied;
    int status = AUL_OK;
    filter->page_low = floor;
    for (size_t at = aul_segment_list_find(list, path->lsn) + 1;
         at-- > 0 && lowest_step(filter) > floor && !status;)
        status = add_steps_of(stream->index, list->items[at], path, filter, error);
    if (status) return status;
    u64 from = lowest_step(filter) <= floor ? filter->steps[filter->step_count - 1].lsn + 1 : 1;
    if (aul_ranges_between(path, NULL, from, AUL_ONLY_A, &filter->lsns)) return no_memory(error);
    return add_segments(stream, list, filter, NULL, error);
}

static void begin(aul_page_stream *stream, aul_page_index *index) {
    *stream = (aul_page_stream){.index = index};
    stream->changed.lsns.disk = stream->emptied.lsns.disk = index->disk;
}

int aul_page_stream_between(aul_page_stream *stream, aul_page_index *index, const aul_path *a,
                            const aul_path *b, aul_error *error) {
    const aul_ranges *lsns = &stream->changed.lsns;
    u64 floor = UINT64_MAX;
    begin(stream, index);
    u32 which = AUL_SEEDED(DIFFERENCE_ONE_SIDED) ? AUL_ONLY_B : AUL_ONLY_ONE;
    if (aul_ranges_between(a, b, 1, which, &stream->changed.lsns)) return no_memory(error);
    aul_segment_list *list = aul_page_index_list(index);
    int status = add_segments(stream, list, &stream->changed, &floor, error);
    if (!status && floor < UINT64_MAX) {
        aul_path both = *a;
        both.lsn = aul_min(a->lsn, lsns->items[0].start - 1);
        status = add_emptied(stream, list, &both, floor, error);
    }
    aul_segment_list_release(index, list);
    return status;
}

int aul_page_stream_emptied(aul_page_stream *stream, aul_page_index *index, const aul_path *path,
                            u64 lsn, u64 floor, aul_error *error) {
    aul_path before = *path;
    before.lsn = lsn;
    begin(stream, index);
    aul_segment_list *list = aul_page_index_list(index);
    int status = add_emptied(stream, list, &before, floor, error);
    aul_segment_list_release(index, list);
    return status;
}

int aul_page_stream_next(aul_page_stream *stream, u64 *pages, size_t capacity, size_t *count,
                         aul_error *error) {
    int status = AUL_OK;
    size_t found = 0;
    while (stream->count && found < capacity && !status) {
        aul_page_source *first = stream->heap[0];
        if (first->begun && first->page >= stream->next) {
            if (pages) pages[found] = first->page;
            stream->next = first->page + 1;
            found++;
        }
        status = go_to(stream, first, aul_max(stream->next, first->page), error);
        if (status == AUL_END) {
            free_source(stream->index->disk, first);
            stream->heap[0] = stream->heap[--stream->count];
            status = AUL_OK;
        }
        if (!status && stream->count) sift_down(stream, 0);
    }
    *count = found;
    if (status && found == 0) return status;
    return found || capacity == 0 ? AUL_OK : AUL_END;
}

void aul_page_stream_close(aul_page_stream *stream) {
    aul_disk *disk = stream->changed.lsns.disk;
    while (stream->count) free_source(disk, stream->heap[--stream->count]);
    aul_release(disk, stream->heap);
    stream->heap = NULL;
    aul_ranges_free(&stream->changed.lsns);
    aul_ranges_free(&stream->emptied.lsns);
    aul_release(disk, stream->emptied.steps);
    stream->emptied.steps = NULL;
}
