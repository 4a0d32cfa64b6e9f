/* cursor.c: looking at the log, batch by batch. A cursor sees what was visible when it was
 * opened, or, when it follows, what is durable at each call; that is in the files. */
#include "page_stream.h"
#include "store.h"

struct aul_cursor {
    aul_store *store;
    u64 next, last;
    bool follows;         /* `last` rises with the durable LSN */
    aul_segment *segment; /* that the scan reads, its file acquired */
    aul_scan scan;
    bool scanning;
    u32 at;  /* in the frame's payload: the next record */
    u64 lsn; /* of it */
    /* the batch that aul_cursor_batch gave last; LSN 0: none */
    aul_commit commit;
    aul_segment *commit_segment;
    bool records_read; /* some of them */
    u64 *pages;        /* that it changed, once they were asked for */
    size_t page_count, page_capacity;
    bool has_pages;
};

static void stop_scan(aul_cursor *cursor) {
    if (!cursor->scanning) return;
    aul_scan_close(&cursor->scan);
    aul_files_release(&cursor->store->files, cursor->segment);
    cursor->scanning = false;
}

static int start_scan(aul_cursor *cursor, aul_segment *segment, const aul_scan *continues,
                      aul_error *error) {
    aul_store *store = cursor->store;
    int file;
    u64 size;
    int status = aul_run_check_features(&store->files, segment, error);
    if (!status) status = aul_files_acquire(&store->files, segment, false, &file, error);
    if (status) return status;
    int failed = store->disk->size(store->disk->context, file, &size);
    if (cursor->follows) size = UINT64_MAX; /* it may grow yet */
    aul_scan scan;
    status = failed
                 ? aul_fail_os(error, failed, "looking at the size of a log segment", segment->name)
                 : aul_scan_open(&scan, store->disk, segment, file, size, continues, error);
    if (status) {
        aul_files_release(&store->files, segment);
        return status;
    }
    stop_scan(cursor);
    cursor->segment = segment;
    cursor->scan = scan;
    cursor->scanning = true;
    if (cursor->follows) aul_scan_look_again(&cursor->scan);
    return AUL_OK;
}

/* The segment that begins with or holds lsn, or NULL. */
static aul_segment *segment_at(aul_store *store, u64 lsn) {
    aul_segment *found = NULL;
    aul_segment_list *list = aul_page_index_list(&store->index);
    for (size_t i = list->count; i-- > 0 && !found;)
        if (list->items[i]->first_lsn <= lsn) found = list->items[i];
    aul_segment_list_release(&store->index, list);
    return found;
}

/* Reads the next frame; a batch goes on in the next segment where its segment ends. */
static int next_frame(aul_cursor *cursor, aul_error *error) {
    aul_scan *scan = &cursor->scan;
    int status = aul_scan_next(scan, error);
    if ((status == AUL_END || status == AUL_CORRUPT) && scan->in_batch) {
        aul_segment *following = segment_at(cursor->store, scan->next_lsn);
        if (following && following != cursor->segment && following->first_lsn == scan->next_lsn) {
            aul_scan before = *scan;
            status = start_scan(cursor, following, &before, error);
            if (!status) status = aul_scan_next(scan, error);
        }
    }
    if (status == AUL_END || status == AUL_CORRUPT) return aul_scan_fail(scan, error);
    if (status) return status;
    cursor->at = scan->records_at;
    cursor->lsn = scan->frame.first_lsn;
    return AUL_OK;
}

/* The index run does not tell what the log holds. */
static int cannot_be(const aul_segment *segment, const aul_commit *commit, aul_error *error) {
    return aul_fail_at(error, AUL_CORRUPT, segment->name, 0, commit->lsn,
                       "%s lists LSN %llu as a commit of %u records: restore it from a copy",
                       segment->name, (unsigned long long)commit->lsn, commit->records);
}

/* Brings the scan to the first frame of the batch that ends with `commit` in `segment`. */
static int go_to_batch(aul_cursor *cursor, aul_segment *segment, const aul_commit *commit,
                       aul_error *error) {
    u64 first_lsn = commit->lsn - commit->records + 1, offset = commit->offset;
    int status = AUL_OK;
    while (cursor->scanning && cursor->scan.in_batch && !status)
        status = next_frame(cursor, error); /* records not asked for */
    if (status) return status;
    if (offset == AUL_NO_OFFSET) {
        aul_segment *ends = segment;
        segment = segment_at(cursor->store, first_lsn);
        offset = AUL_BLOCK;
        if (!segment) return cannot_be(ends, commit, error);
    }
    if (!cursor->scanning || cursor->segment != segment)
        status = start_scan(cursor, segment, NULL, error);
    if (!status && (cursor->scan.offset != offset || cursor->scan.next_lsn != first_lsn))
        aul_scan_seek(&cursor->scan, offset, first_lsn);
    return status ? status : next_frame(cursor, error);
}

static int open_cursor(aul_store *store, u64 first, u64 last, bool follows, aul_cursor **out,
                       aul_error *error) {
    aul_cursor *cursor = aul_alloc_zero(store->disk, sizeof *cursor);
    if (!cursor) return aul_fail(error, AUL_NO_MEMORY, "no memory for a cursor");
    cursor->store = store;
    cursor->next = aul_max(first, 1);
    cursor->last = last;
    cursor->follows = follows;
    aul_store_ref(store);
    *out = cursor;
    return AUL_OK;
}

int aul_cursor_open(aul_store *store, uint64_t first, uint64_t last, aul_cursor **out,
                    aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    last = aul_min(last, atomic_load(&store->log.visible));
    status = open_cursor(store, first, last, false, out, error);
    aul_store_leave(store);
    return status;
}

int aul_cursor_follow(aul_store *store, uint64_t after, aul_cursor **out, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    status = aul_check_lsn(store, after, error);
    if (!status) status = open_cursor(store, after + 1, 0, true, out, error);
    aul_store_leave(store);
    return status;
}

void aul_cursor_close(aul_cursor *cursor) {
    if (!cursor) return;
    aul_store *store = cursor->store;
    if (store->fork_generation != aul_fork_generation()) return;
    if (aul_store_enter(store, NULL) == AUL_OK) {
        stop_scan(cursor);
        aul_store_leave(store);
    } else if (cursor->scanning) {
        aul_scan_close(&cursor->scan); /* the file went with the store */
    }
    aul_release(store->disk, cursor->pages);
    aul_release(store->disk, cursor);
    aul_store_unref(store);
}

static int next_batch(aul_cursor *cursor, aul_batch_info *out, aul_error *error) {
    aul_store *store = cursor->store;
    aul_commit commit;
    aul_segment *segment;
    u64 durable = atomic_load(&store->log.durable);
    if (cursor->follows && cursor->last < durable) {
        cursor->last = durable;
        aul_scan_look_again(&cursor->scan);
    }
    if (cursor->next > cursor->last) return AUL_END;
    int status = aul_page_index_commit_of(&store->index, cursor->next, &commit, &segment, error);
    if (status) return status;
    if (commit.records == 0 || commit.records > commit.lsn)
        return cannot_be(segment, &commit, error);
    if (commit.lsn - commit.records + 1 > cursor->last ||
        commit.lsn > atomic_load(&store->log.visible))
        return AUL_END;
    status = go_to_batch(cursor, segment, &commit, error);
    if (status) return status;
    const aul_batch *batch = &cursor->scan.batch;
    cursor->next = batch->last_lsn + 1;
    cursor->commit = commit;
    cursor->commit_segment = segment;
    cursor->records_read = cursor->has_pages = false;
    cursor->page_count = 0;
    *out = (aul_batch_info){.first_lsn = batch->first_lsn,
                            .lsn = batch->last_lsn,
                            .time_ns = batch->time_ns,
                            .epoch = batch->epoch,
                            .end_pages = batch->end_pages,
                            .bytes = batch->stream_bytes,
                            .records = batch->last_lsn - batch->first_lsn + 1,
                            .kind = batch->kind,
                            .note_bytes = batch->note_bytes};
    memcpy(out->note, cursor->scan.note, batch->note_bytes);
    return AUL_OK;
}

int aul_cursor_batch(aul_cursor *cursor, aul_batch_info *out, aul_error *error) {
    int status = aul_store_enter(cursor->store, error);
    if (status) return status;
    status = next_batch(cursor, out, error);
    aul_store_leave(cursor->store);
    return status;
}

static int next_record(aul_cursor *cursor, aul_record_info *out, aul_error *error) {
    aul_scan *scan = &cursor->scan;
    if (!cursor->scanning) return AUL_END;
    cursor->records_read = true;
    while (cursor->at == scan->frame.payload_bytes) {
        if (!scan->in_batch) return AUL_END;
        int status = next_frame(cursor, error);
        if (status) return status;
    }
    aul_change change;
    if (aul_record_decode(scan->payload + cursor->at, scan->frame.payload_bytes - cursor->at,
                          cursor->store->page_size, cursor->lsn, cursor->segment->record_seed,
                          &change))
        return aul_fail_at(
            error, AUL_CORRUPT, cursor->segment->name, scan->frame_offset, cursor->lsn,
            "the record with LSN %llu in %s is damaged: restore the file from a copy",
            (unsigned long long)cursor->lsn, cursor->segment->name);
    *out = (aul_record_info){.lsn = cursor->lsn,
                             .page = change.page,
                             .kind = change.kind,
                             .offset = change.offset,
                             .length = change.length,
                             .source = change.kind == AUL_MOVE ? change.extra : 0,
                             .byte = change.kind == AUL_FILL ? change.extra : 0,
                             .data_bytes = change.data_bytes,
                             .data = change.data};
    cursor->at += aul_record_bytes(&change);
    cursor->lsn++;
    return AUL_OK;
}

int aul_cursor_record(aul_cursor *cursor, aul_record_info *out, aul_error *error) {
    int status = aul_store_enter(cursor->store, error);
    if (status) return status;
    status = next_record(cursor, out, error);
    aul_store_leave(cursor->store);
    return status;
}

static int add_page(aul_cursor *cursor, u64 page, aul_error *error) {
    size_t count = cursor->page_count;
    if (count && cursor->pages[count - 1] == page) return AUL_OK;
    if (count == cursor->page_capacity) { /* a batch may have many records of few pages */
        count = cursor->page_count = aul_pages_sort(cursor->pages, count);
        if (count > cursor->page_capacity / 2 || count == 0) {
            int status = aul_grow(cursor->store->disk, (void **)&cursor->pages,
                                  &cursor->page_capacity, count + 1, sizeof *cursor->pages);
            if (status) return aul_fail(error, status, "no memory for the pages of a batch");
        }
    }
    cursor->pages[cursor->page_count++] = page;
    return AUL_OK;
}

/* Adds the pages that a truncate of the batch, down to `floor`, found with something in them. */
static int add_emptied(aul_cursor *cursor, u64 floor, aul_error *error) {
    aul_store *store = cursor->store;
    u64 before = cursor->commit.lsn - cursor->commit.records;
    aul_path path;
    aul_page_stream stream;
    int status = aul_past_path(store, cursor->commit.lsn, &path, error);
    if (status) return status;
    status = aul_page_stream_emptied(&stream, &store->index, &path, before, floor, error);
    while (!status) {
        u64 page;
        size_t count;
        status = aul_page_stream_next(&stream, &page, 1, &count, error);
        if (!status) status = add_page(cursor, page, error);
    }
    aul_page_stream_close(&stream);
    aul_path_free(store->disk, &path);
    return status == AUL_END ? AUL_OK : status;
}

static int collect_pages(aul_cursor *cursor, aul_error *error) {
    u64 floor = UINT64_MAX;
    int status = AUL_OK;
    if (cursor->records_read) /* or a collecting failed */
        status = go_to_batch(cursor, cursor->commit_segment, &cursor->commit, error);
    cursor->page_count = 0;
    while (!status) {
        aul_record_info record = {0};
        status = next_record(cursor, &record, error);
        if (status) break;
        if (record.kind == AUL_TRUNCATE)
            floor = aul_min(floor, record.page);
        else if (record.kind < AUL_TRUNCATE)
            status = add_page(cursor, record.page, error);
    }
    if (status == AUL_END) status = floor < UINT64_MAX ? add_emptied(cursor, floor, error) : AUL_OK;
    if (status) return status;
    cursor->page_count = aul_pages_sort(cursor->pages, cursor->page_count);
    cursor->has_pages = true;
    return AUL_OK;
}

int aul_cursor_pages(aul_cursor *cursor, uint64_t *out, size_t capacity, size_t *count,
                     aul_error *error) {
    *count = 0;
    int status = aul_store_enter(cursor->store, error);
    if (status) return status;
    if (cursor->commit.lsn == 0) status = AUL_END;
    if (!status && !cursor->has_pages) status = collect_pages(cursor, error);
    if (!status) {
        size_t copied = aul_min(capacity, cursor->page_count);
        if (copied) memcpy(out, cursor->pages, copied * sizeof *out);
        *count = cursor->page_count;
    }
    aul_store_leave(cursor->store);
    return status;
}
