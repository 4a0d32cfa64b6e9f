/* recovery.c: what opening finds, and mends.
 *
 * After a clean close the manifest lists every segment, sealed, and there is nothing to do.
 * Otherwise the log's tail is read: the segments that the manifest lists as unsealed, and those
 * that follow them by their headers. It ends at the first place with no valid frame, at LSN e.
 * That is
 *   corruption, exactly when something valid says that e was durable: a frame's durable_before
 *   or a trailer in this segment or a later one of the chain's epoch, the manifest; then
 *   opening fails and names the place; the torn tail, otherwise: all from e on is cut,
 *   good-looking frames included, down to the last complete batch, at LSN L.
 * Only what is not there says nothing: evidence that could not be read fails the opening, too.
 * What lies above D, the highest durable_before found, may be in the page cache and not on the
 * disk: it is written again into a new segment and synced before anybody sees it. Then a branch
 * point of kind CUT is logged behind it, above every LSN that the dead writer may have assigned,
 * and one replacement of the manifest makes all of it true: old segments bounded at D, the new
 * ones named, the epoch raised. Until then nothing has changed, and recovery may crash and begin
 * again.
 *
 * A read-only open changes nothing: it shows the volume up to the durable LSN that it can be
 * sure of. */
#include <errno.h>
#include <stdio.h>

#include "seeded.h"
#include "store.h"

#define READ_ONLY_TRIES 5 /* a writer may replace the manifest while we look */
#define ANCHORS_MAX 8     /* frames that a segment without a header is asked by */

/* One unsealed segment as the scan left it. */
typedef struct {
    aul_segment *segment;
    u64 frames_end; /* of all valid frames */
    u64 last_lsn;
    u64 whole_end; /* of the last complete batch that ends here */
    u64 used_end;  /* where zeros begin */
} tail_segment;

typedef struct {
    aul_store *store;
    aul_segment **listed; /* of the manifest */
    size_t listed_count;
    char **names; /* files in log/ */
    size_t name_count, name_capacity;
    tail_segment *tail;
    size_t tail_count, tail_capacity;
    u64 durable;     /* D */
    u64 next_lsn;    /* e: the LSN after the last valid frame */
    u64 last_commit; /* L */
    u64 last_time_ns, end_pages;
    aul_summary passed; /* of the last sealed or bounded segment that was listed */
    u64 limit;          /* a read-only open looks no further */
    u64 dropped_bytes;  /* of later files, once the log is found torn */
    bool torn;
    bool batch_may_be_open; /* while the log is read; not in a segment that recovery makes */
    aul_scan scan;          /* of the last segment read: its batch may go on in the next */
    bool scanning;
} recovery;

static void close_scan(recovery *r) {
    if (r->scanning) aul_scan_close(&r->scan);
    r->scanning = false;
}

static void free_recovery(recovery *r) {
    aul_disk *disk = r->store->disk;
    close_scan(r);
    for (size_t i = 0; i < r->name_count; i++) aul_release(disk, r->names[i]);
    aul_release(disk, r->names);
    aul_release(disk, r->tail);
}

static int note_name(void *argument, const char *name) {
    recovery *r = argument;
    aul_disk *disk = r->store->disk;
    if (aul_grow(disk, (void **)&r->names, &r->name_capacity, r->name_count + 1, sizeof *r->names))
        return ENOMEM;
    size_t bytes = strlen(name) + 1;
    char *copy = aul_alloc(disk, bytes);
    if (!copy) return ENOMEM;
    memcpy(copy, name, bytes);
    r->names[r->name_count++] = copy;
    return 0;
}

static int list_names(recovery *r, aul_error *error) {
    aul_store *store = r->store;
    int failed = store->disk->list(store->disk->context, store->log_path, note_name, r);
    return failed ? aul_fail_os(error, failed, "listing the log's directory", store->log_path)
                  : AUL_OK;
}

static bool has_name(const recovery *r, const char *name) {
    for (size_t i = 0; i < r->name_count; i++)
        if (strcmp(r->names[i], name) == 0) return true;
    return false;
}

static int corrupt(const aul_segment *segment, u64 offset, u64 lsn, const char *what,
                   aul_error *error) {
    return aul_fail_at(
        error, AUL_CORRUPT, segment->name, offset, lsn,
        "%s in %s at offset %llu, LSN %llu, which was durable: restore the file from a copy", what,
        segment->name, (unsigned long long)offset, (unsigned long long)lsn);
}

/* Reads the segment's header. AUL_CORRUPT also when it is another file's. */
static int check_header(aul_store *store, aul_segment *segment, aul_error *error) {
    u8 block[AUL_BLOCK];
    aul_segment found = {0};
    int status = aul_files_read(&store->files, segment, block, AUL_BLOCK, 0, error);
    if (!status) status = aul_segment_decode_header(block, &found, error);
    if (status == AUL_CORRUPT)
        return aul_fail_at(error, status, segment->name, 0, segment->first_lsn,
                           "%s has no valid header: restore the file from a copy", segment->name);
    if (status) return status;
    if (memcmp(found.id, segment->id, AUL_ID_BYTES) != 0 ||
        memcmp(found.volume_id, segment->volume_id, AUL_ID_BYTES) != 0 ||
        found.first_lsn != segment->first_lsn || found.epoch != segment->epoch ||
        found.page_size != segment->page_size)
        return aul_fail_at(error, AUL_CORRUPT, segment->name, 0, segment->first_lsn,
                           "%s has another segment's header", segment->name);
    return AUL_OK;
}

/* Keeps the volume's newest commit, and the durable LSN that a sealed or bounded segment stands
 * for. */
static void pass_summary(recovery *r, const aul_segment *segment) {
    const aul_summary *summary = &segment->summary;
    r->next_lsn = summary->last_lsn + 1;
    r->durable = aul_max(r->durable, summary->last_commit);
    r->last_commit = summary->last_commit;
    r->last_time_ns = summary->last_time_ns;
    r->end_pages = summary->end_pages;
    r->passed = *summary;
}

/* Takes the frame that the scan has just read into the segment's part. AUL_CORRUPT: it is none. */
static int index_scanned(recovery *r, aul_segment *segment, tail_segment *tail, aul_error *error) {
    aul_scan *scan = &r->scan;
    int status = aul_scan_index(scan, segment->part);
    if (status == AUL_NO_MEMORY)
        return aul_fail(error, status, "no memory for the index of the log's tail");
    if (status) return status;
    tail->frames_end = scan->offset;
    tail->last_lsn = scan->next_lsn - 1;
    r->next_lsn = scan->next_lsn;
    r->durable = aul_max(r->durable, scan->frame.durable_before);
    if (scan->in_batch && !AUL_SEEDED(BATCH_IN_PART)) return AUL_OK;
    tail->whole_end = scan->offset;
    r->last_commit = scan->batch.last_lsn;
    r->last_time_ns = scan->batch.time_ns;
    r->end_pages = scan->batch.end_pages;
    return AUL_OK;
}

int aul_recover_note(aul_store *store, const aul_scan *scan, aul_error *error) {
    aul_history *history = &store->manifest.history;
    aul_names *names = &store->manifest.names;
    aul_control_record control;
    u64 lsn = scan->frame.first_lsn;
    if (aul_scan_control(scan, &control)) return AUL_OK; /* of pages */
    int status = AUL_OK;
    bool begins = control.kind == AUL_BRANCH_POINT && !AUL_SEEDED(BRANCHES_UNREAD);
    if (begins && aul_history_run(history, UINT64_MAX) < lsn)
        status = control.branch.epoch > scan->segment->epoch
                     ? AUL_CORRUPT
                     : aul_history_add(history, &control.branch);
    if (control.kind == AUL_RESTORE_POINT) status = aul_names_add(names, &control.point);
    if (control.kind == AUL_DELETE_RESTORE_POINT && !AUL_SEEDED(DELETIONS_UNREAD))
        aul_names_delete(names, control.point.made_lsn, lsn);
    return status == AUL_NO_MEMORY ? aul_fail(error, status, "no memory for the history") : status;
}

static tail_segment *add_tail(recovery *r, aul_segment *segment) {
    aul_disk *disk = r->store->disk;
    if (aul_grow(disk, (void **)&r->tail, &r->tail_capacity, r->tail_count + 1, sizeof *r->tail))
        return NULL;
    if (!segment->part) segment->part = aul_part_new(disk);
    if (!segment->part) return NULL;
    tail_segment *tail = &r->tail[r->tail_count++];
    *tail = (tail_segment){segment, AUL_BLOCK, segment->first_lsn - 1, AUL_BLOCK, AUL_BLOCK};
    return tail;
}

/* Such a batch begins with the first frame of a segment. A sealed segment in which no batch ends
 * has frames of one that goes on: where none is found to begin, the damaged frame is there, and not
 * in the segment that cannot be gone on with. */
int aul_recover_open_batch(aul_store *store, size_t at, aul_scan *carrier, aul_error *error) {
    aul_segment_list *list = store->index.list;
    const aul_segment *damaged = NULL;
    *carrier = (aul_scan){.disk = store->disk};
    for (size_t i = at; i-- > 0 && !carrier->in_batch;) {
        aul_segment *before = list->items[i];
        if (before->summary.last_commit >= before->first_lsn) break; /* a batch ends in it */
        int file;
        aul_scan scan = {.frame_offset = 0};
        int status = aul_files_acquire(&store->files, before, false, &file, error);
        if (status) return status;
        status =
            aul_scan_open(&scan, store->disk, before, file, before->summary.log_end, NULL, error);
        if (!status) {
            status = aul_scan_next(&scan, error);
            if (!status && scan.batch.last_lsn > before->summary.last_lsn) *carrier = scan;
            aul_scan_close(&scan);
        }
        aul_files_release(&store->files, before);
        /* corrupt, or no frame at all: no batch begins here */
        if (status && status != AUL_CORRUPT && status != AUL_END) return status;
        bool sound = scan.frame_offset && !(scan.frame.flags & AUL_FRAME_FIRST); /* goes on */
        if (status == AUL_CORRUPT && !sound && !damaged) damaged = before;
        carrier->batch_left = AUL_UNKNOWN_LEFT;
    }
    if (damaged && !carrier->in_batch)
        return corrupt(damaged, AUL_BLOCK, damaged->first_lsn, "a damaged frame", error);
    return AUL_OK;
}

/* Starts to read the segment, in the middle of a batch where the ones before it end in one. */
static int open_segment_scan(recovery *r, aul_segment *segment, int file, u64 end,
                             aul_error *error) {
    aul_scan before = r->scan;
    bool had = r->scanning;
    int status = AUL_OK;
    if (!had && r->batch_may_be_open)
        status = aul_recover_open_batch(r->store, r->store->index.list->count - 1, &before, error);
    if (!had && !r->batch_may_be_open) before.in_batch = false;
    r->scanning = false;
    if (!status)
        status = aul_scan_open(&r->scan, r->store->disk, segment, file, end, &before, error);
    if (had) aul_scan_close(&before);
    r->scanning = !status;
    return status;
}

/* Scans an unsealed segment from its first frame to the last valid one. `bound` is where its frames
 * must reach, or 0. */
static int scan_segment(recovery *r, aul_segment *segment, u64 bound, aul_error *error) {
    aul_store *store = r->store;
    tail_segment *tail = add_tail(r, segment);
    if (!tail) return aul_fail(error, AUL_NO_MEMORY, "no memory to read the log");
    int file;
    u64 size;
    int status = aul_files_acquire(&store->files, segment, !store->read_only, &file, error);
    if (status) return status;
    if (segment->kept_open) aul_files_release(&store->files, segment); /* once is enough */
    segment->kept_open = true;
    int failed = store->disk->size(store->disk->context, file, &size);
    if (failed)
        return aul_fail_os(error, failed, "looking at the size of a log segment", segment->name);
    if (bound && size < bound)
        return corrupt(segment, size, segment->summary.last_lsn, "the file ends", error);
    status = open_segment_scan(r, segment, file, bound ? bound : size, error);
    if (status) return status;
    u64 limit = bound ? UINT64_MAX : r->limit;
    bool indexed = true;
    while (!(status = aul_scan_next(&r->scan, error)) && r->scan.frame.first_lsn <= limit) {
        status = aul_recover_note(store, &r->scan, error);
        if (!status) status = index_scanned(r, segment, tail, error);
        indexed = status == AUL_OK;
        if (status) break;
    }
    /* A frame that cannot be indexed is none: the log ends before it. */
    if (!indexed && status == AUL_CORRUPT)
        aul_scan_seek(&r->scan, r->scan.frame_offset, r->next_lsn);
    store->info.scanned_bytes += tail->frames_end;
    atomic_store(&segment->last_lsn, tail->last_lsn);
    if (status && status != AUL_CORRUPT && status != AUL_END) return status;
    if (bound && (status == AUL_CORRUPT || r->scan.offset != bound))
        return corrupt(segment, r->scan.offset, r->scan.next_lsn, "a damaged frame", error);
    return status == AUL_CORRUPT || status == AUL_END ? AUL_OK : status;
}

/* A directory that has a segment's name: no file of ours. */
static bool is_directory(int status, const aul_error *failure) {
    return status == AUL_IO && failure->os_errno == EISDIR;
}

/* Does the segment say by its trailer, or by a frame behind the place, that `lsn` was durable? */
static int ask_segment(recovery *r, aul_segment *segment, aul_scan *scan, u64 lsn, bool *found,
                       u64 *used_end, aul_error *error) {
    aul_summary summary;
    aul_error failure = {0};
    int status = aul_run_read_trailer(&r->store->files, segment, &summary, &failure);
    if (status && status != AUL_CORRUPT) {
        if (error) *error = failure;
        return status;
    }
    *found = status == AUL_OK && summary.last_lsn >= lsn;
    return *found ? AUL_OK : aul_scan_find_evidence(scan, lsn, found, used_end, error);
}

/* The same of a segment whose header, and with it the file id, is lost. */
static int ask_headless(recovery *r, aul_segment *segment, aul_scan *scan, u64 lsn, bool *found,
                        u64 *used_end, aul_error *error) {
    u64 offset = AUL_BLOCK;
    memset(segment->id, 0, AUL_ID_BYTES);
    /* Whatever comes of it: how much is there. */
    int status = aul_scan_find_evidence(scan, UINT64_MAX, found, used_end, error);
    /* Ids differ only where a frame is damaged, or data looks like one: not for ever, then. */
    for (int i = 0; i < ANCHORS_MAX && !status && !*found; i++) {
        u8 id[AUL_ID_BYTES];
        bool anchored;
        status = aul_scan_find_anchor(scan, &offset, id, &anchored, error);
        if (status || !anchored) break;
        memcpy(segment->id, id, AUL_ID_BYTES);
        status = ask_segment(r, segment, scan, lsn, found, used_end, error);
    }
    return status;
}

/* Reads the header of a file that has a segment's name: AUL_CORRUPT when it is none, or says
 * something else than the name. */
static int read_named_header(recovery *r, aul_segment *segment, aul_error *error) {
    u8 block[AUL_BLOCK];
    aul_segment named = {.first_lsn = segment->first_lsn, .epoch = segment->epoch};
    int status = aul_files_read(&r->store->files, segment, block, AUL_BLOCK, 0, error);
    if (!status) status = aul_segment_decode_header(block, segment, error);
    if (!status && (segment->first_lsn != named.first_lsn || segment->epoch != named.epoch))
        status = AUL_CORRUPT;
    segment->first_lsn = named.first_lsn;
    segment->epoch = named.epoch;
    return status;
}

/* Does a file that the manifest does not list say that `lsn` was durable? `headless`: even without
 * a valid header. *bytes is how much is in it, when it does not. */
static int ask_unlisted(recovery *r, aul_segment *later, u64 lsn, bool headless, bool *found,
                        u64 *bytes, aul_error *error) {
    aul_store *store = r->store;
    aul_error failure = {0};
    *bytes = 0;
    int file, status = read_named_header(r, later, &failure);
    if (status == AUL_CORRUPT && !headless) return AUL_OK;
    headless = status == AUL_CORRUPT;
    if (is_directory(status, &failure)) return AUL_OK;
    /* AUL_CORRUPT the second time: there is no such file any more. */
    if (!status || headless)
        status = aul_files_acquire(&store->files, later, false, &file, &failure);
    if (status && status != AUL_CORRUPT && error) *error = failure;
    if (status) return status == AUL_CORRUPT ? AUL_OK : status;
    u64 size = 0, used_end = AUL_BLOCK;
    aul_scan scan = {.buffer = NULL};
    int failed = store->disk->size(store->disk->context, file, &size);
    if (failed)
        status = aul_fail_os(error, failed, "looking at the size of a log segment", later->name);
    else if (memcmp(later->volume_id, store->manifest.volume_id, AUL_ID_BYTES) == 0)
        status =
            aul_scan_open(&scan, store->disk, later, file, aul_max(size, AUL_BLOCK), NULL, error);
    if (scan.buffer) {
        status =
            (headless ? ask_headless : ask_segment)(r, later, &scan, lsn, found, &used_end, error);
        aul_scan_close(&scan);
    }
    aul_files_release(&store->files, later);
    *bytes = used_end - AUL_BLOCK;
    return status;
}

/* The i-th name in log/ as a segment of this volume, its file not open. False when it is none. */
static bool name_segment(const recovery *r, size_t i, aul_segment *segment) {
    *segment = (aul_segment){.file = -1, .page_size = r->store->page_size};
    if (!aul_segment_parse_name(r->names[i], &segment->first_lsn, &segment->epoch)) return false;
    memcpy(segment->volume_id, r->store->manifest.volume_id, AUL_ID_BYTES);
    aul_segment_set_name(segment);
    return true;
}

/* A segment of a newer epoch than the manifest's is what an interrupted opening leaves, and no part
 * of the log. But nothing that it holds was durable before the manifest with its epoch was: where
 * one says so, that manifest was there, and this is an older one. */
static int check_manifest_is_newest(recovery *r, aul_error *error) {
    bool found = false;
    int status = AUL_OK;
    for (size_t i = 0; i < r->name_count && !status; i++) {
        aul_segment newer;
        u64 bytes;
        if (!name_segment(r, i, &newer) || newer.epoch <= r->store->manifest.epoch) continue;
        /* Where the header is lost, frames of another opening that was interrupted under the same
         * epoch may stand here, and look like its own. */
        status = ask_unlisted(r, &newer, newer.first_lsn, false, &found, &bytes, error);
        aul_files_forget(&r->store->files, &newer);
        if (!status && found)
            status = aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 56, newer.first_lsn,
                                 "the MANIFEST is older than the log: its epoch is %llu, and of %s "
                                 "something was durable; restore the newest MANIFEST from a copy",
                                 (unsigned long long)r->store->manifest.epoch, newer.name);
    }
    return status;
}

/* LSN e was durable and is not where the log ends. The segment that should begin with it, if it is
 * there, has been found unfit to follow: then that is the damaged one. */
static int tell_damage(const recovery *r, const aul_segment *segment, u64 offset,
                       aul_error *error) {
    aul_segment next = {.first_lsn = r->next_lsn, .epoch = segment->epoch};
    aul_segment_set_name(&next);
    if (strcmp(next.name, segment->name) != 0 && has_name(r, next.name))
        return corrupt(&next, 0, r->next_lsn, "a damaged header", error);
    return corrupt(segment, offset, r->next_lsn, "a damaged or missing frame", error);
}

/* The log ends in `segment` at LSN e. Was e durable? Looks through the rest of this segment and
 * through all later ones. What cannot be read may hold the evidence: then there is no verdict. */
static int judge(recovery *r, const aul_segment *segment, u64 offset, bool look_here,
                 aul_error *error) {
    aul_store *store = r->store;
    bool found = r->durable >= r->next_lsn;
    int status = AUL_OK;
    if (!found && look_here) {
        tail_segment *tail = &r->tail[r->tail_count - 1];
        status =
            ask_segment(r, tail->segment, &r->scan, r->next_lsn, &found, &tail->used_end, error);
    }
    for (size_t i = 0; i < r->name_count && !found && !status; i++) {
        aul_segment later;
        u64 bytes;
        if (AUL_SEEDED(LATER_FILES_UNASKED)) break;
        if (!name_segment(r, i, &later) || later.first_lsn <= segment->first_lsn ||
            later.epoch < segment->epoch ||
            (later.epoch > store->manifest.epoch && !AUL_SEEDED(EPOCH_UNCHECKED)))
            continue;
        status = ask_unlisted(r, &later, r->next_lsn, true, &found, &bytes, error);
        r->dropped_bytes += bytes; /* when nothing speaks for it, it is dropped */
        aul_files_forget(&store->files, &later);
    }
    if (status) return status;
    if (found && !AUL_SEEDED(EVIDENCE_UNASKED)) return tell_damage(r, segment, offset, error);
    r->torn = true;
    return AUL_OK;
}

int aul_recover_next(aul_store *store, const aul_segment *last, u64 first_lsn, aul_segment **next,
                     aul_error *error) {
    u8 block[AUL_BLOCK];
    *next = NULL;
    aul_segment *candidate = aul_segment_new(store->disk);
    if (!candidate) return aul_fail(error, AUL_NO_MEMORY, "no memory for a log segment");
    candidate->first_lsn = first_lsn;
    candidate->epoch = last->epoch;
    aul_segment_set_name(candidate);
    int status = AUL_END;
    if (strcmp(candidate->name, last->name) != 0) {
        aul_error failure = {0};
        status = aul_files_read(&store->files, candidate, block, AUL_BLOCK, 0, &failure);
        if (!status) status = aul_segment_decode_header(block, candidate, &failure);
        if (is_directory(status, &failure)) status = AUL_END;
        if (status && error) *error = failure;
        if (!status && (memcmp(candidate->previous_id, last->id, AUL_ID_BYTES) != 0 ||
                        candidate->first_lsn != first_lsn || candidate->epoch != last->epoch ||
                        candidate->page_size != store->page_size ||
                        memcmp(candidate->volume_id, store->manifest.volume_id, AUL_ID_BYTES) != 0))
            status = AUL_CORRUPT;
    }
    if (status == AUL_OK) {
        *next = candidate;
        return AUL_OK;
    }
    aul_files_forget(&store->files, candidate);
    aul_segment_free(store->disk, candidate);
    return status == AUL_END || status == AUL_CORRUPT ? AUL_OK : status;
}

static int find_next(recovery *r, const aul_segment *last, aul_segment **next, aul_error *error) {
    aul_segment named = {.first_lsn = r->next_lsn, .epoch = last->epoch};
    aul_segment_set_name(&named);
    *next = NULL;
    return has_name(r, named.name) ? aul_recover_next(r->store, last, r->next_lsn, next, error)
                                   : AUL_OK;
}

/* Reads a segment that an earlier recovery bounded: all of it was durable. */
static int read_bounded(recovery *r, aul_segment *segment, aul_error *error) {
    int status = check_header(r->store, segment, error);
    if (!status) status = scan_segment(r, segment, segment->summary.log_end, error);
    if (status) return status;
    if (!r->scan.in_batch) close_scan(r);
    pass_summary(r, segment);
    return AUL_OK;
}

/* A segment without a valid header: never durable, or damaged. The manifest has its file id,
 * with which its frames can be told from nothing. */
static int judge_headless(recovery *r, aul_segment *segment, aul_error *error) {
    aul_store *store = r->store;
    int file;
    u64 size;
    if (!add_tail(r, segment)) return aul_fail(error, AUL_NO_MEMORY, "no memory to read the log");
    int status = aul_files_acquire(&store->files, segment, false, &file, error);
    if (status) return status;
    int failed = store->disk->size(store->disk->context, file, &size);
    if (failed)
        status = aul_fail_os(error, failed, "looking at the size of a log segment", segment->name);
    if (!status) status = open_segment_scan(r, segment, file, aul_max(size, AUL_BLOCK), error);
    if (!status) status = judge(r, segment, 0, true, error);
    aul_files_release(&store->files, segment);
    return status;
}

/* Reads one segment that the manifest lists as appended to, or that follows by its header. */
static int read_appended(recovery *r, aul_segment *segment, aul_error *error) {
    aul_store *store = r->store;
    aul_error ignored;
    int status = check_header(store, segment, &ignored);
    if (status == AUL_CORRUPT) return judge_headless(r, segment, error);
    if (status) {
        if (error) *error = ignored;
        return status;
    }
    return scan_segment(r, segment, 0, error);
}

static int append_to_index(recovery *r, aul_segment *segment, aul_error *error) {
    if (!aul_page_index_append(&r->store->index, segment)) return AUL_OK;
    return aul_fail(error, AUL_NO_MEMORY, "no memory for a log segment");
}

/* Reads all the log that there is: sealed segments by the manifest, the tail frame by frame. */
static int read_log(recovery *r, aul_error *error) {
    aul_store *store = r->store;
    aul_segment *last = NULL;
    int status = AUL_OK;
    for (size_t i = 0; i < r->listed_count && !status; i++) {
        aul_segment *segment = r->listed[i];
        if (r->torn) break; /* looked at already */
        status = append_to_index(r, segment, error);
        if (status) break;
        r->listed[i] = NULL;
        if (atomic_load(&segment->sealed)) {
            if (!has_name(r, segment->name))
                status = aul_fail_at(error, AUL_CORRUPT, segment->name, 0, segment->first_lsn,
                                     "the log segment %s is missing: restore it from a copy",
                                     segment->name);
            else
                pass_summary(r, segment);
        } else if (segment->bounded) {
            status = read_bounded(r, segment, error);
        } else {
            status = read_appended(r, segment, error);
            bool follows = i + 1 == r->listed_count || r->listed[i + 1]->first_lsn == r->next_lsn;
            if (!status && !r->torn && !follows && r->limit == UINT64_MAX)
                status = judge(r, segment, r->scan.offset, true, error);
        }
        last = segment;
    }
    while (!status && last && !r->torn && !last->bounded && last->epoch == store->manifest.epoch &&
           !(store->manifest.flags & AUL_MANIFEST_CLEAN)) {
        aul_segment *next;
        status = find_next(r, last, &next, error);
        if (status || !next) break;
        status = append_to_index(r, next, error);
        if (status) { /* its file is open since its header was read */
            aul_files_forget(&store->files, next);
            aul_segment_free(store->disk, next);
            break;
        }
        status = read_appended(r, next, error);
        last = next;
    }
    if (status || r->torn || !last || r->limit != UINT64_MAX) return status;
    if (atomic_load(&last->sealed) || last->bounded) {
        bool clean = store->manifest.flags & AUL_MANIFEST_CLEAN;
        return clean ? AUL_OK : judge(r, last, last->summary.log_end, false, error);
    }
    return judge(r, last, r->scan.offset, true, error);
}

/* Ends the index at `lsn`, a commit: parts are cut, segments beyond it leave the list. */
static void cut_index(recovery *r, u64 lsn) {
    aul_page_index *index = &r->store->index;
    aul_segment_list *list = index->list; /* nobody else sees it yet */
    for (size_t i = 0; i < r->tail_count; i++) {
        tail_segment *tail = &r->tail[i];
        aul_part *part = tail->segment->part;
        if (tail->last_lsn <= lsn && tail->frames_end == tail->whole_end) continue;
        bool whole = tail->last_lsn <= lsn || AUL_SEEDED(TAIL_NOT_CUT);
        u64 end = whole ? tail->frames_end : tail->whole_end;
        for (size_t c = 0; c < part->commit_count; c++)
            if (part->commits[c].lsn > lsn && part->commits[c].offset != AUL_NO_OFFSET) {
                end = part->commits[c].offset;
                break;
            }
        aul_part_cut(part, lsn);
        tail->frames_end = end;
        tail->last_lsn = aul_min(tail->last_lsn, lsn);
    }
    while (list->count && list->items[list->count - 1]->first_lsn > lsn) {
        aul_segment *dropped = list->items[--list->count];
        aul_files_forget(&r->store->files, dropped);
        for (size_t i = 0; i < r->tail_count; i++)
            if (r->tail[i].segment == dropped) r->tail[i] = r->tail[--r->tail_count];
        aul_segment_free(r->store->disk, dropped);
    }
    for (size_t i = 0; i < r->tail_count; i++) {
        tail_segment *tail = &r->tail[i];
        aul_segment *segment = tail->segment;
        atomic_store(&segment->last_lsn, tail->last_lsn);
        segment->bounded |= !r->store->read_only; /* a reader may go on in it, when it has grown */
        segment->written = segment->filled = segment->synced = tail->frames_end;
        segment->summary.log_end = tail->frames_end;
        segment->summary.last_lsn = tail->last_lsn;
    }
}

/* The state of the volume after the last commit at or below `lsn`: what *out has of it. Where a
 * segment ends is known from its summary: opening needs no index of one that is sealed, whose
 * damage the reads tell that come upon it. */
static int find_state(const recovery *r, u64 lsn, aul_summary *out, aul_error *error) {
    aul_path path = {.lsn = lsn};
    aul_commit commit;
    *out = (aul_summary){0};
    if (lsn == 0) return AUL_OK;
    if (lsn == r->last_commit) {
        out->last_commit = r->last_commit;
        out->last_time_ns = r->last_time_ns;
        out->end_pages = r->end_pages;
        return AUL_OK;
    }
    if (lsn == r->passed.last_commit) {
        *out = r->passed;
        return AUL_OK;
    }
    int status = aul_history_path(&r->store->manifest.history, lsn, &path);
    if (status) return aul_fail(error, status, "no memory for the history");
    status = aul_page_index_commit(&r->store->index, &path, lsn, &commit, NULL, error);
    aul_path_free(r->store->disk, &path);
    if (status) return status == AUL_END ? AUL_OK : status;
    out->last_commit = commit.lsn;
    out->last_time_ns = commit.time_ns;
    out->end_pages = commit.end_pages;
    return AUL_OK;
}

static void resume(recovery *r, const aul_summary *state) {
    aul_segment_list *list = r->store->index.list;
    u64 listed = list->count ? atomic_load(&list->items[list->count - 1]->last_lsn) : 0;
    aul_log_resume(r->store, aul_max(state->last_commit, listed), state);
    if (list->count) memcpy(r->store->log.last_id, list->items[list->count - 1]->id, AUL_ID_BYTES);
}

/* A bounded segment's summary has to say what was the volume's newest commit at its end. */
static int summarise_bounded(recovery *r, aul_error *error) {
    for (size_t i = 0; i < r->tail_count; i++) {
        aul_segment *segment = r->tail[i].segment;
        aul_summary state;
        int status = find_state(r, segment->summary.last_lsn, &state, error);
        if (status) return status;
        segment->summary.last_commit = state.last_commit;
        segment->summary.last_time_ns = state.last_time_ns;
        segment->summary.end_pages = state.end_pages;
    }
    return AUL_OK;
}

/* Batches (D, L], read before the index was cut: copied frame by frame, with new headers, into a
 * segment of the new epoch. */
typedef struct {
    u8 *bytes; /* frames, headers still the old ones */
    size_t count, capacity;
    u64 first_lsn, last_lsn, records;
    u64 entries, commits, truncates; /* what the footer has to hold */
} kept_tail;

/* What of a part lies in (durable, last]. */
static void count_kept(kept_tail *kept, const aul_part *part, u64 durable, u64 last) {
    for (size_t i = 0; i < part->entry_count; i++)
        kept->entries += part->entries[i].lsn > durable && part->entries[i].lsn <= last;
    for (size_t i = 0; i < part->commit_count; i++)
        kept->commits += part->commits[i].lsn > durable && part->commits[i].lsn <= last;
    for (size_t i = 0; i < part->truncate_count; i++)
        kept->truncates += part->truncates[i].lsn > durable && part->truncates[i].lsn <= last;
}

static int keep_frame(recovery *r, aul_scan *scan, kept_tail *kept, aul_error *error) {
    u64 bytes = aul_frame_bytes(scan->frame.payload_bytes);
    if (aul_grow(r->store->disk, (void **)&kept->bytes, &kept->capacity, kept->count + bytes, 1))
        return aul_fail(error, AUL_NO_MEMORY, "no memory to secure the log's tail");
    memcpy(kept->bytes + kept->count, scan->payload - AUL_FRAME_HEADER, bytes);
    kept->count += bytes;
    kept->last_lsn = scan->next_lsn - 1;
    kept->records += scan->frame.records;
    return AUL_OK;
}

static int keep_tail(recovery *r, u64 durable, u64 last, kept_tail *kept, aul_error *error) {
    memset(kept, 0, sizeof *kept);
    kept->first_lsn = durable + 1;
    if (last <= durable) return AUL_OK;
    int status = AUL_OK;
    aul_scan carried = {0};
    for (size_t i = 0; i < r->tail_count && !status && kept->last_lsn < last; i++) {
        tail_segment *tail = &r->tail[i];
        if (tail->last_lsn <= durable) continue;
        count_kept(kept, tail->segment->part, durable, last);
        aul_scan scan = {.buffer = NULL};
        status = aul_scan_open(&scan, r->store->disk, tail->segment, tail->segment->file,
                               tail->frames_end, carried.in_batch ? &carried : NULL, error);
        const aul_commit *first =
            status ? NULL : aul_part_commit_of(tail->segment->part, durable + 1);
        if (first && first->offset != AUL_NO_OFFSET)
            aul_scan_seek(&scan, first->offset, first->lsn - first->records + 1);
        while (!status && scan.next_lsn <= last) {
            status = aul_scan_next(&scan, error);
            if (!status && scan.frame.first_lsn > durable)
                status = keep_frame(r, &scan, kept, error);
        }
        if (scan.buffer) {
            carried = scan;
            aul_scan_close(&scan);
        }
        if (status == AUL_END || status == AUL_CORRUPT) status = AUL_OK; /* told below */
    }
    if (!status && last > durable && kept->last_lsn != last)
        return aul_fail_bug(error, __FILE__, __LINE__,
                            "the log's tail reads differently a second time");
    return status;
}

/* Writes the kept frames into a new segment, which is then bounded like an old one. */
static int secure_tail(recovery *r, const kept_tail *kept, aul_error *error) {
    aul_store *store = r->store;
    aul_log *log = &store->log;
    aul_segment *segment;
    u64 entries = AUL_SEEDED(TAIL_WITHOUT_FOOTER) ? 0 : kept->entries;
    u64 footer = aul_run_footer_bytes(entries, kept->commits, kept->truncates);
    u64 capacity = aul_round_up(AUL_BLOCK + kept->count + footer, AUL_BLOCK);
    log->next_lsn = kept->first_lsn;
    int status = aul_log_new_segment(store, capacity, capacity, false, &segment, error);
    if (status) return status;
    u64 offset = AUL_BLOCK;
    for (size_t at = 0; at < kept->count;) {
        aul_frame frame = {0};
        const u8 *old = kept->bytes + at;
        frame.payload_crc = get32(old + 8);
        frame.payload_bytes = get32(old + 12);
        frame.first_lsn = get64(old + 16);
        frame.records = get32(old + 40);
        frame.flags = get16(old + 44);
        frame.epoch = store->epoch;
        frame.durable_before = kept->first_lsn - 1;
        u64 bytes = aul_frame_bytes(frame.payload_bytes);
        memcpy(segment->image + offset, old, bytes);
        aul_frame_encode(segment->image + offset, &frame, segment->id, offset);
        at += bytes;
        offset += bytes;
    }
    int failed = aul_disk_write(store->disk, segment->file, segment->image, offset, 0);
    if (!failed && !AUL_SEEDED(TAIL_UNSECURED)) failed = aul_disk_sync(store->disk, segment->file);
    if (failed) return aul_fail_os(error, failed, "securing the log's tail", segment->name);
    segment->written = segment->filled = segment->synced = offset;
    log->write_head = log->sync_head = NULL;
    log->active = NULL;
    r->next_lsn = kept->first_lsn;
    close_scan(r);
    r->batch_may_be_open = false;
    size_t count = r->tail_count;
    status =
        scan_segment(r, segment, offset, error); /* builds its part, and proves what was written */
    if (status) return status;
    AUL_MUST(r->tail_count == count + 1 && r->next_lsn == kept->last_lsn + 1, error);
    segment->bounded = true;
    segment->summary.log_end = offset;
    segment->summary.last_lsn = kept->last_lsn;
    store->info.resecured_records = kept->records;
    return AUL_OK;
}

/* A directory: it stays, whatever its name. Not every system says EISDIR when one is unlinked. */
static bool is_directory_there(aul_disk *disk, int failed, const char *path) {
    int file, opened;
    if (failed == EISDIR) return true;
    if (failed != EPERM) return false;
    opened = disk->open(disk->context, path, AUL_DISK_WRITE, &file);
    if (!opened) disk->close(disk->context, file);
    return opened == EISDIR;
}

/* Files in log/ named like ours that are no part of the volume: what was cut, spares, what an
 * interrupted recovery left. What has another name is not ours to remove. With `newer_only` just
 * those that no manifest can ever have named: the old segments are still the only copy of the
 * log's tail. */
static int remove_strays(recovery *r, bool newer_only, aul_error *error) {
    aul_store *store = r->store;
    aul_segment_list *list = store->index.list;
    for (size_t i = 0; i < r->name_count; i++) {
        u64 first_lsn, epoch;
        bool is_segment = aul_segment_parse_name(r->names[i], &first_lsn, &epoch);
        bool known = newer_only && is_segment && epoch <= store->manifest.epoch;
        known |= !is_segment && strcmp(r->names[i], "spare") != 0;
        for (size_t s = 0; s < list->count && !known; s++)
            known = strcmp(list->items[s]->name, r->names[i]) == 0;
        if (known || !r->names[i][0]) continue;
        char path[AUL_PATH_BYTES];
        aul_files_path(&store->files, r->names[i], path, sizeof path);
        int failed = store->disk->unlink(store->disk->context, path);
        if (failed && failed != ENOENT && !is_directory_there(store->disk, failed, path))
            return aul_fail_os(error, failed, "removing a file that is no part of the log", path);
    }
    return AUL_OK;
}

/* The manifest is replaced: the segments of older epochs that it does not name are dead. */
static int remove_dead(recovery *r, u64 epoch, aul_error *error) {
    for (size_t i = 0; i < r->name_count; i++) {
        u64 first_lsn, of_epoch;
        if (aul_segment_parse_name(r->names[i], &first_lsn, &of_epoch) && of_epoch <= epoch)
            continue;
        r->names[i][0] =
            0; /* looked after before, or made since by this recovery under the same name */
    }
    return remove_strays(r, false, error);
}

/* Logs the branch point behind the cut and makes it durable. */
static int log_cut(recovery *r, aul_error *error) {
    aul_store *store = r->store;
    aul_log *log = &store->log;
    u64 time_ns = log->last_time_ns; /* the volume's clock may not be ours */
    if (!time_ns) time_ns = store->disk->now(store->disk->context);
    aul_branch branch = {.parent_at = r->last_commit,
                         .resumed_at = log->next_lsn,
                         .epoch = store->epoch,
                         .time_ns = time_ns,
                         .kind = AUL_BRANCH_CUT,
                         .reason = "unclean end"};
    int status = aul_log_branch(store, &branch, log->end_pages, NULL, error);
    if (!status) status = aul_log_wait_durable(store, branch.resumed_at, 3600000, error);
    if (!status && aul_history_add(&store->manifest.history, &branch))
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for the history");
    return status;
}

/* Whether what is behind the segment's frames is the footer that they make, or pieces of it: a
 * crash in the middle of sealing. The trailer is left out, it says more than is known here. */
static int is_footer(recovery *r, const tail_segment *tail, bool *is, aul_error *error) {
    aul_disk *disk = r->store->disk;
    aul_segment *segment = tail->segment;
    aul_summary summary = {.log_end = tail->frames_end};
    size_t bytes, done = 0;
    u8 *built, *found = NULL;
    int status = aul_run_build(disk, segment, segment->part, &summary, &built, &bytes);
    if (!status && !(found = aul_alloc(disk, bytes))) status = AUL_NO_MEMORY;
    if (status) status = aul_fail(error, status, "no memory to look at the log's tail");
    int file;
    if (!status) status = aul_files_acquire(&r->store->files, segment, false, &file, error);
    if (!status) {
        int failed = aul_disk_read(disk, file, found, bytes, tail->frames_end, &done);
        aul_files_release(&r->store->files, segment);
        if (failed) status = aul_fail_os(error, failed, "reading the log", segment->name);
    }
    bool some = false, other = tail->used_end > tail->frames_end + bytes;
    for (size_t i = 0; i < done && i < bytes - AUL_TRAILER_BYTES; i++) {
        some |= found[i] != 0;
        other |= found[i] != 0 && found[i] != built[i];
    }
    *is = some && !other;
    aul_release(disk, built);
    aul_release(disk, found);
    return status;
}

/* Bytes behind the last commit that is kept: what was torn, and the later files. No footer, for
 * that can be made again. */
static int count_cut(recovery *r, u64 last, aul_error *error) {
    aul_store_info *info = &r->store->info;
    info->cut_bytes = r->dropped_bytes;
    for (size_t i = 0; i < r->tail_count; i++) {
        const tail_segment *tail = &r->tail[i];
        u64 kept = tail->last_lsn <= last ? tail->frames_end : tail->whole_end;
        u64 end = aul_max(tail->used_end, tail->frames_end);
        if (end > tail->frames_end) {
            bool footer;
            int status = is_footer(r, tail, &footer, error);
            if (status) return status;
            if (footer) end = tail->frames_end;
        }
        if (end > kept) info->cut_bytes += end - kept;
    }
    if (info->cut_bytes) info->cut_lsn = last + 1;
    return AUL_OK;
}

/* What is durable ends with a commit, whether a frame says so or the manifest. */
static int check_durable(const recovery *r, aul_error *error) {
    aul_summary state;
    int status = find_state(r, r->durable, &state, error);
    if (status || state.last_commit == r->durable) return status;
    return aul_fail_at(error, AUL_CORRUPT, "log", 0, r->durable,
                       "LSN %llu is said to be durable, and is no commit: restore the log's files "
                       "from a copy",
                       (unsigned long long)r->durable);
}

/* Everything above D is secured in a new epoch, a cut is logged, and the manifest made to say
 * so. */
static int mend(recovery *r, aul_error *error) {
    aul_store *store = r->store;
    aul_log *log = &store->log;
    u64 last = r->last_commit, durable = AUL_SEEDED(TAIL_KEPT_IN_PLACE) ? last : r->durable;
    kept_tail kept;
    aul_segment *segment;
    aul_summary state;
    int status = check_durable(r, error);
    if (status) return status;
    status = keep_tail(r, durable, last, &kept, error);
    if (!status) status = count_cut(r, last, error);
    if (!status) {
        cut_index(r, durable);
        status = remove_strays(r, !AUL_SEEDED(STRAYS_REMOVED_EARLY), error);
    }
    if (!status) {
        store->epoch = store->manifest.epoch + !AUL_SEEDED(EPOCH_NOT_RAISED);
        /* The manifest below raises the epoch; until then these files are no part of the log. */
        log->started = true;
        status = find_state(r, durable, &state, error);
    }
    if (!status) resume(r, &state);
    if (!status && kept.records) status = secure_tail(r, &kept, error);
    aul_release(store->disk, kept.bytes);
    if (!status) status = summarise_bounded(r, error);
    if (!status) status = find_state(r, last, &state, error);
    if (status) return status;
    resume(r, &state);
    log->next_lsn = last + (AUL_SEEDED(LSN_GIVEN_AGAIN) ? 0 : store->manifest.in_flight_lsns) + 1;
    status = aul_log_new_segment(store, AUL_SEGMENT_BYTES_FIRST, AUL_SEGMENT_BYTES_LEAST, false,
                                 &segment, error);
    if (!status && !AUL_SEEDED(CUT_UNLOGGED)) status = log_cut(r, error);
    u64 epoch = store->manifest.epoch;
    if (!status) status = aul_store_write_manifest(store, 0, error);
    /* That made the names durable, the secured segment's too, which no commit syncs. */
    for (size_t i = 0; i < store->index.list->count && !status; i++)
        store->index.list->items[i]->name_unsynced = false;
    if (!status) status = aul_lock_publish(store, error);
    if (!status && !AUL_SEEDED(DEAD_LEFT)) status = remove_dead(r, epoch, error);
    return status;
}

/* A read-only open: up to the durable LSN known, and not a byte changed. */
static int show_durable(recovery *r, aul_error *error) {
    u64 shown = AUL_SEEDED(READER_SHOWS_ALL) ? r->last_commit : aul_min(r->limit, r->last_commit);
    shown = aul_max(shown, r->durable);
    cut_index(r, shown);
    aul_summary state;
    int status = find_state(r, shown, &state, error);
    r->store->info.last_lsn = state.last_commit;
    if (!status) resume(r, &state);
    return status;
}

/* A writer needs LSNs above the last one, and above the gap that an unclean end leaves; and the
 * newest branch point and restore point, which are batches in the log, have to be below them. */
static int check_room(const recovery *r, aul_error *error) {
    const aul_segment_list *list = r->store->index.list;
    const aul_history *history = &r->store->manifest.history;
    u64 room = 2 * r->store->manifest.in_flight_lsns + 2, last = r->last_commit;
    if (list->count) last = aul_max(last, atomic_load(&list->items[list->count - 1]->last_lsn));
    const aul_names *names = &r->store->manifest.names;
    u64 resumed_at = history->count ? history->items[history->count - 1].resumed_at : 0;
    u64 made_lsn = names->count ? names->items[names->count - 1].made_lsn : 0;
    if (made_lsn > r->last_commit)
        return aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, made_lsn,
                           "the log ends at LSN %llu, before the last restore point was made at "
                           "%llu",
                           (unsigned long long)r->last_commit, (unsigned long long)made_lsn);
    if (resumed_at > r->last_commit)
        return aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, resumed_at,
                           "the log ends at LSN %llu, before the last branch point at %llu",
                           (unsigned long long)r->last_commit, (unsigned long long)resumed_at);
    if (last <= UINT64_MAX - room) return AUL_OK;
    return aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, last, "no LSN is left above %llu",
                       (unsigned long long)last);
}

/* The word in the lock file was written after the sync that made it true. No checksum says whether
 * it is whole: D has to be a commit, whatever the word is. */
static int believe_word(recovery *r, u64 told, aul_error *error) {
    aul_summary state;
    if (told <= r->durable || told > r->last_commit) return AUL_OK;
    int status = find_state(r, told, &state, error);
    if (!status) r->durable = aul_max(r->durable, state.last_commit);
    return status;
}

static int recover_once(aul_store *store, aul_error *error) {
    u64 told;
    bool alive;
    recovery r = {.store = store, .limit = UINT64_MAX, .batch_may_be_open = true};
    int status = AUL_OK;
    status = aul_lock_read_durable(store, &told, &alive, error);
    if (store->read_only) {
        /* A dead process may have renamed the manifest in the cache only. As far as we may. */
        if (!status && !alive && !AUL_SEEDED(READER_UNSYNCED))
            (void)aul_disk_sync_directory_at(store->disk, store->path);
        if (!status && alive) r.limit = aul_max(told, store->manifest.durable_lsn);
    }
    r.listed = store->manifest.segments;
    r.listed_count = store->manifest.segment_count;
    r.durable = store->manifest.durable_lsn;
    r.next_lsn = 1;
    if (!status) status = list_names(&r, error);
    if (!status && !(store->read_only && alive)) status = check_manifest_is_newest(&r, error);
    if (!status) status = read_log(&r, error);
    if (!status && !store->read_only) status = check_room(&r, error);
    bool clean = store->manifest.flags & AUL_MANIFEST_CLEAN;
    if (!status && r.durable > r.last_commit)
        status = aul_fail_at(
            error, AUL_CORRUPT,
            store->index.list->count ? store->index.list->items[store->index.list->count - 1]->name
                                     : "log",
            0, r.last_commit + 1,
            "the log ends at LSN %llu, %llu was durable: restore its files from a copy",
            (unsigned long long)r.last_commit, (unsigned long long)r.durable);
    if (!status && store->read_only && alive && r.last_commit < told)
        status = aul_fail_at(error, AUL_CORRUPT, "log", 0, r.last_commit + 1,
                             "the log ends at LSN %llu, its writer says that %llu is durable",
                             (unsigned long long)r.last_commit, (unsigned long long)told);
    if (!status && !store->read_only && !clean) status = believe_word(&r, told, error);
    store->info.was_clean = clean;
    store->info.last_lsn = r.last_commit;
    if (!status && store->read_only) {
        if (!clean && !alive) r.limit = aul_max(told, r.durable);
        if (clean) r.limit = r.last_commit;
        status = show_durable(&r, error);
    } else if (!status && !clean) {
        status = mend(&r, error);
    } else if (!status) {
        aul_summary state;
        status = find_state(&r, r.last_commit, &state, error);
        resume(&r, &state);
        status = remove_strays(&r, false, error);
    }
    if (!store->epoch) store->epoch = store->manifest.epoch;
    free_recovery(&r);
    return status;
}

int aul_recover(aul_store *store, aul_error *error) {
    int status = AUL_OK;
    for (int tries = 1;; tries++) {
        status = recover_once(store, error);
        if (status != AUL_CORRUPT || !store->read_only) break;
        /* A writer may have sealed, recovered or rolled meanwhile: look again at what there is
         * now. */
        u64 told;
        bool alive;
        if (tries == READ_ONLY_TRIES || aul_lock_read_durable(store, &told, &alive, NULL)) break;
        aul_manifest again;
        int failed = aul_manifest_read(store->disk, store->path, &again, alive ? error : NULL);
        if (failed) return alive ? failed : status;
        if (!alive && again.epoch == store->manifest.epoch) { /* nor has one come and gone */
            aul_manifest_free(store->disk, &again);
            break;
        }
        for (size_t s = 0; s < store->index.list->count; s++) {
            aul_files_forget(&store->files, store->index.list->items[s]);
            aul_segment_free(store->disk, store->index.list->items[s]);
        }
        store->index.list->count = 0;
        aul_manifest_free(store->disk, &store->manifest);
        store->manifest = again;
    }
    if (status) return status;
    u64 shown = atomic_load(&store->log.visible);
    if (store->read_only && !AUL_SEEDED(READER_PAST_AHEAD)) { /* it may have read further */
        aul_history_cut(&store->manifest.history, shown);
        aul_names_cut(&store->manifest.names, shown);
    }
    return AUL_SEEDED(RUN_NOT_RESUMED) ? AUL_OK : aul_past_resume(store, shown, error);
}

int aul_start_epoch(aul_store *store, aul_error *error) {
    aul_log *log = &store->log;
    aul_segment *segment;
    int status = AUL_OK;
    if (!log->active) {
        store->epoch = store->manifest.epoch + 1;
        status = aul_log_new_segment(store, AUL_SEGMENT_BYTES_FIRST, AUL_SEGMENT_BYTES_LEAST, false,
                                     &segment, error);
    }
    if (status) return status;
    if (!AUL_SEEDED(EPOCH_UNANNOUNCED)) status = aul_store_write_manifest(store, 0, error);
    if (aul_log_is_final(status, error)) { /* which manifest is in force is not known any more */
        pthread_mutex_lock(&log->lock);
        aul_log_fail(store, error && error->os_errno ? error->os_errno : EIO);
        pthread_mutex_unlock(&log->lock);
    }
    if (!status) status = aul_lock_publish(store, error);
    if (!status) log->started = true;
    return status;
}
