/* verify.c: every byte, every checksum, every index entry, one segment a step.
 *
 * The frames of a segment are read and checked down to each record; from them the index is built
 * a second time, and for a sealed segment the whole footer, which has to be the one on disk to
 * the last byte. Branch points and restore points are gone through from the first, and have to make
 * those that the store has. Memory is that of one segment's index and of the restore points,
 * whatever the volume's size. */
#include <errno.h>
#include <stdio.h>

#include "store.h"

#define PROBLEMS_MAX 64 /* kept of one step; the report counts all */

struct aul_verification {
    aul_store *store;
    aul_segment_list *list;
    size_t at;
    u64 visible; /* when it began: what the active segment is checked up to */
    aul_scan scan;
    bool scanning;
    /* After the batches read so far; not known behind damage, until the next whole batch. */
    u64 last_commit, last_time_ns, end_pages;
    bool state_known;
    u64 records_end; /* of page space, after the records read so far */
    bool lost;       /* frames before these could not be read: whose these are is not known */
    bool complete;   /* all batches from the first one on were read */
    u64 branches;    /* branch points read, */
    aul_names names; /* and the restore points that the log has led to */
    aul_names shown; /* those of the store, as of `visible` */
    aul_verify_report report;
    aul_error problems[PROBLEMS_MAX];
    size_t problem_count, problem_at;
};

static void add_problem(aul_verification *v, const aul_segment *segment, u64 offset, u64 lsn,
                        const char *what) {
    v->report.problems++;
    if (v->problem_count == PROBLEMS_MAX) return;
    aul_fail_at(&v->problems[v->problem_count++], AUL_CORRUPT, segment ? segment->name : "MANIFEST",
                offset, lsn, "%s", what);
}

/* Damage becomes a problem, what the disk cannot read too: there may be more in other segments. Any
 * other failure ends the verification. */
static int note_failure(aul_verification *v, const aul_segment *segment, int status,
                        const aul_error *failure, aul_error *error) {
    bool unreadable = status == AUL_IO && failure->os_errno == EIO;
    if (status == AUL_CORRUPT || status == AUL_FORMAT || unreadable) {
        add_problem(v, segment, failure->offset, failure->lsn, failure->text);
        return AUL_OK;
    }
    if (error && status) *error = *failure;
    return status;
}

/* What follows is not known to follow what was read. */
static void lose_place(aul_verification *v) {
    v->state_known = v->complete = false;
    v->lost = true;
}

/* The commit at exactly this LSN. False when there is none; true, too, when that cannot be told:
 * then it is told where its segment is checked. */
static bool find_commit(aul_verification *v, u64 lsn, aul_commit *out, bool *known) {
    aul_path all = {.lsn = lsn};
    aul_error failure = {0};
    *out = (aul_commit){.lsn = 0};
    int status = aul_page_index_commit(&v->store->index, &all, lsn, out, NULL, &failure);
    *known = status == AUL_OK || status == AUL_END;
    return !*known || out->lsn == lsn;
}

/* The volume goes on as it was at the branch point's parent. */
static void follow_branch(aul_verification *v, const aul_segment *segment,
                          const aul_branch *branch) {
    aul_store *store = v->store;
    aul_commit parent;
    u64 at = v->scan.frame_offset, lsn = branch->resumed_at;
    bool known;
    if (!find_commit(v, branch->parent_at, &parent, &known))
        add_problem(v, segment, at, lsn, "a branch point goes on from what is no commit");
    if (!known) v->state_known = false;
    v->last_commit = branch->parent_at;
    v->records_end = parent.end_pages;
    if (lsn > v->visible) return;
    u8 said[AUL_BRANCH_BYTES], listed[AUL_BRANCH_BYTES] = {0};
    aul_branch_encode(said, branch);
    pthread_mutex_lock(&store->past.lock);
    const aul_history *history = &store->manifest.history;
    if (v->branches < history->count) aul_branch_encode(listed, &history->items[v->branches]);
    pthread_mutex_unlock(&store->past.lock);
    if (v->complete && memcmp(said, listed, sizeof said) != 0)
        add_problem(v, segment, at, lsn, "the MANIFEST has another branch point than the log");
    v->branches++;
}

static int follow_point(aul_verification *v, const aul_segment *segment,
                        const aul_control_record *control, aul_error *error) {
    const aul_restore_point *point = &control->point;
    u64 at = v->scan.frame_offset, lsn = v->scan.frame.first_lsn;
    aul_commit named;
    bool known;
    if (!find_commit(v, point->lsn, &named, &known) || (known && named.time_ns != point->time_ns))
        add_problem(v, segment, at, lsn, "a restore point names what is no commit");
    if (!v->complete || lsn > v->visible) return AUL_OK;
    const aul_restore_point *there = aul_names_find(&v->names, point->name, point->bytes, lsn);
    bool deletes = control->kind == AUL_DELETE_RESTORE_POINT;
    if (deletes != (there != NULL) || (there && there->made_lsn != point->made_lsn))
        add_problem(v, segment, at, lsn,
                    deletes ? "a restore point is deleted that is not there"
                            : "a restore point is made whose name another one has");
    if (!deletes && aul_names_add(&v->names, point))
        return aul_fail(error, AUL_NO_MEMORY, "no memory to verify %s", segment->name);
    if (deletes) aul_names_delete(&v->names, point->made_lsn, lsn);
    aul_names_prune(&v->names, lsn);
    return AUL_OK;
}

/* What a control batch does. */
static int follow_control(aul_verification *v, const aul_segment *segment, aul_error *error) {
    aul_control_record control;
    int status = aul_scan_control(&v->scan, &control);
    if (status == AUL_CORRUPT) {
        add_problem(v, segment, v->scan.frame_offset, v->scan.frame.first_lsn,
                    "a control record says what it cannot");
        v->state_known = v->complete = false;
        return AUL_OK;
    }
    if (status == AUL_END || control.kind == AUL_CLEAN_CLOSE) return AUL_OK;
    if (control.kind != AUL_BRANCH_POINT) return follow_point(v, segment, &control, error);
    follow_branch(v, segment, &control.branch);
    return AUL_OK;
}

/* The restore points and branch points that the log makes, all of it read, against those that the
 * store has. */
static void check_past(aul_verification *v) {
    aul_store *store = v->store;
    bool same = v->names.count == v->shown.count;
    if (!v->complete) return;
    pthread_mutex_lock(&store->past.lock);
    u64 branches = aul_history_until(&store->manifest.history, v->visible);
    pthread_mutex_unlock(&store->past.lock);
    for (size_t i = 0; i < v->names.count && same; i++) {
        u8 read[AUL_NAME_BYTES + AUL_NAME_MAX + 8] = {0}, shown[sizeof read] = {0};
        aul_restore_point_encode(read, &v->names.items[i]);
        aul_restore_point_encode(shown, &v->shown.items[i]);
        same = memcmp(read, shown, sizeof read) == 0;
    }
    if (branches > v->branches)
        add_problem(v, NULL, 0, v->visible, "the MANIFEST has branch points that the log has not");
    if (!same)
        add_problem(v, NULL, 0, v->visible, "the MANIFEST has other restore points than the log");
}

/* What a record does to the end of page space. */
static void follow_end(aul_verification *v, const aul_change *change) {
    if (change->kind == AUL_TRUNCATE)
        v->records_end = aul_min(v->records_end, change->page);
    else if (change->kind < AUL_TRUNCATE)
        v->records_end = aul_max(v->records_end, change->page + 1);
}

/* What the batch says of the volume before and after it, once its last frame is read. */
static void check_batch(aul_verification *v, aul_segment *segment) {
    const aul_batch *batch = &v->scan.batch;
    u64 at = v->scan.frame_offset;
    if (batch->epoch == 0 || batch->epoch > segment->epoch)
        add_problem(v, segment, at, batch->last_lsn, "a batch has an epoch that was not yet");
    if (v->state_known && batch->previous_lsn != v->last_commit)
        add_problem(v, segment, at, batch->last_lsn,
                    "a batch follows another commit than the one before it");
    if (v->state_known && batch->time_ns < v->last_time_ns)
        add_problem(v, segment, at, batch->last_lsn, "a commit is older than the one before it");
    if (v->state_known && batch->end_pages != v->records_end)
        add_problem(v, segment, at, batch->last_lsn,
                    "the end of page space is not the one that the records make");
    v->last_commit = batch->last_lsn;
    v->last_time_ns = batch->time_ns;
    v->end_pages = v->records_end = batch->end_pages;
    v->state_known = true;
}

static int check_records(aul_verification *v, aul_segment *segment, aul_error *error) {
    aul_scan *scan = &v->scan;
    bool control = scan->batch.kind == AUL_BATCH_CONTROL;
    u64 lsn = scan->frame.first_lsn;
    for (u32 at = scan->records_at; at < scan->frame.payload_bytes; lsn++) {
        aul_change change;
        if (aul_record_decode(scan->payload + at, scan->frame.payload_bytes - at,
                              segment->page_size, lsn, segment->record_seed, &change)) {
            add_problem(v, segment, scan->frame_offset + AUL_FRAME_HEADER + at, lsn,
                        "a record is damaged inside a valid frame");
            v->state_known = v->complete = false;
            return AUL_OK;
        }
        if (!control && change.kind > AUL_TRUNCATE)
            add_problem(v, segment, scan->frame_offset, lsn, "a control record is among pages");
        follow_end(v, &change);
        at += aul_record_bytes(&change);
        v->report.records++;
    }
    if (lsn != scan->next_lsn)
        add_problem(v, segment, scan->frame_offset, lsn,
                    "a frame holds another number of records than it says");
    return control ? follow_control(v, segment, error) : AUL_OK;
}

/* Takes a frame into the part that is built a second time. */
static int rebuild(aul_verification *v, aul_segment *segment, aul_part *part, aul_error *error) {
    int status = aul_scan_index(&v->scan, part);
    if (status == AUL_NO_MEMORY)
        return aul_fail(error, status, "no memory to verify %s", segment->name);
    v->report.frames++;
    if (!v->scan.in_batch) v->report.batches++;
    return AUL_OK; /* a frame with another number of records was told already */
}

/* The scan of a segment goes on with the batch that the one before ended in. Behind what could not
 * be read the batch may be over, how much of it is left is not known, and where it began there is
 * nothing to go on with. */
static const aul_scan *batch_before(aul_verification *v, aul_scan *before, u64 first_lsn) {
    if (!v->lost || !before->in_batch) return before;
    before->batch_left = AUL_UNKNOWN_LEFT;
    before->in_batch = first_lsn <= before->batch.last_lsn;
    return before;
}

/* A sound frame of a batch whose beginning could not be read. */
static bool is_of_lost_batch(const aul_verification *v) {
    const aul_scan *scan = &v->scan;
    return v->lost && !scan->in_batch && scan->frame_offset == scan->offset &&
           !(scan->frame.flags & AUL_FRAME_FIRST);
}

static void pass_frame(aul_scan *scan) {
    scan->offset += aul_frame_bytes(scan->frame.payload_bytes);
    scan->next_lsn = scan->frame.first_lsn + scan->frame.records;
}

/* Reads the frames up to `end` and `last_lsn`. *whole says whether all of them were right. */
static int check_frames(aul_verification *v, aul_segment *segment, int file, u64 end, u64 last_lsn,
                        aul_part *part, bool *whole, aul_error *error) {
    aul_scan before = v->scan;
    aul_error failure = {0};
    bool had = v->scanning, all = true;
    v->scanning = false;
    int status = aul_scan_open(&v->scan, v->store->disk, segment, file, end,
                               had ? batch_before(v, &before, segment->first_lsn) : NULL, error);
    if (had) aul_scan_close(&before);
    if (status) return status;
    v->scanning = true;
    u64 problems = v->report.problems;
    while (v->scan.next_lsn <= last_lsn && !status) {
        status = aul_scan_next(&v->scan, &failure);
        if (status == AUL_CORRUPT && is_of_lost_batch(v)) {
            pass_frame(&v->scan);
            all = v->complete = false;
            status = AUL_OK;
        } else if (!status) {
            v->lost = false;
            status = check_records(v, segment, error);
            if (!status && !v->scan.in_batch) check_batch(v, segment);
            if (!status) status = rebuild(v, segment, part, error);
            if (status) return status;
        }
    }
    if (status == AUL_CORRUPT || status == AUL_END)
        status = aul_fail_at(&failure, AUL_CORRUPT, segment->name, v->scan.offset, v->scan.next_lsn,
                             "a frame is damaged or missing");
    if (status) lose_place(v);
    status = note_failure(v, segment, status, &failure, error);
    *whole = all && v->report.problems == problems;
    return status;
}

static int read_at(aul_verification *v, aul_segment *segment, u8 *to, size_t bytes, u64 offset,
                   bool *missing, aul_error *error) {
    aul_error failure = {0};
    int status = aul_files_read(&v->store->files, segment, to, bytes, offset, &failure);
    *missing = status != AUL_OK;
    return note_failure(v, segment, status, &failure, error);
}

static int check_whole_crc(aul_verification *v, aul_segment *segment, aul_error *error) {
    u8 *buffer = aul_alloc(v->store->disk, AUL_SCAN_BYTES);
    if (!buffer) return aul_fail(error, AUL_NO_MEMORY, "no memory to verify %s", segment->name);
    u32 crc = 0;
    int status = AUL_OK;
    bool missing = false;
    for (u64 at = 0; at < segment->summary.log_end && !status && !missing; at += AUL_SCAN_BYTES) {
        size_t step = (size_t)aul_min(AUL_SCAN_BYTES, segment->summary.log_end - at);
        status = read_at(v, segment, buffer, step, at, &missing, error);
        if (!status && !missing) crc = aul_crc32c(crc, buffer, step);
    }
    aul_release(v->store->disk, buffer);
    if (!status && !missing && !aul_crc_fits((u32)segment->summary.whole_crc, crc))
        add_problem(v, segment, 0, segment->first_lsn,
                    "the checksum of the whole segment is wrong");
    return status;
}

/* What follows the frames, built from them, against what is on disk. */
static int check_footer(aul_verification *v, aul_segment *segment, const aul_part *part,
                        aul_error *error) {
    aul_disk *disk = v->store->disk;
    aul_summary summary = segment->summary;
    u8 *built = NULL, *found = NULL;
    size_t bytes = 0;
    bool missing = false;
    int status = aul_run_build(disk, segment, part, &summary, &built, &bytes);
    if (!status && !(found = aul_alloc(disk, bytes))) status = AUL_NO_MEMORY;
    if (status) status = aul_fail(error, status, "no memory to verify %s", segment->name);
    if (!status && summary.file_bytes != segment->summary.file_bytes) {
        add_problem(v, segment, summary.log_end, segment->first_lsn,
                    "the index run has another size than its records need");
    } else if (!status) {
        status = read_at(v, segment, found, bytes, summary.log_end, &missing, error);
        if (!status && !missing && memcmp(built, found, bytes) != 0) {
            size_t at = 0;
            while (built[at] == found[at]) at++;
            u64 offset = summary.log_end + at;
            bool behind = offset < aul_round_up(summary.log_end, AUL_BLOCK);
            add_problem(v, segment, offset, segment->first_lsn,
                        behind ? "there is something between the frames and the index run"
                               : "the index run differs from the records that it lists");
        }
        v->report.index_entries += part->entry_count;
    }
    aul_release(disk, built);
    aul_release(disk, found);
    return status;
}

/* What trailer and manifest say of the last commit, against the batches read so far. */
static void check_state(aul_verification *v, const aul_segment *segment) {
    const aul_summary *summary = &segment->summary;
    if (v->state_known &&
        (summary->last_commit != v->last_commit || summary->last_time_ns != v->last_time_ns ||
         summary->end_pages != v->end_pages))
        add_problem(v, segment, summary->log_end, summary->last_lsn,
                    "the last commit is not the one that the manifest says");
}

static bool are_same(const void *a, const void *b, size_t count, size_t size) {
    return count == 0 || memcmp(a, b, count * size) == 0;
}

/* The index in memory against the records on disk; both are in LSN order. */
static void check_part(aul_verification *v, aul_segment *segment, const aul_part *rebuilt) {
    bool same = true;
    pthread_rwlock_rdlock(&v->store->index.lock);
    const aul_part *part = segment->part;
    if (part) {
        same =
            part->entry_count >= rebuilt->entry_count &&
            part->commit_count >= rebuilt->commit_count &&
            part->truncate_count >= rebuilt->truncate_count &&
            are_same(part->entries, rebuilt->entries, rebuilt->entry_count, sizeof(aul_entry)) &&
            are_same(part->commits, rebuilt->commits, rebuilt->commit_count, sizeof(aul_commit)) &&
            are_same(part->truncates, rebuilt->truncates, rebuilt->truncate_count,
                     sizeof(aul_truncate));
    }
    pthread_rwlock_unlock(&v->store->index.lock);
    v->report.index_entries += rebuilt->entry_count;
    if (!same)
        add_problem(v, segment, 0, segment->first_lsn,
                    "the index in memory differs from the records on disk");
}

static int check_header(aul_verification *v, aul_segment *segment, aul_error *error) {
    u8 block[AUL_BLOCK], expected[AUL_BLOCK];
    bool missing;
    int status = read_at(v, segment, block, AUL_BLOCK, 0, &missing, error);
    if (status || missing) return status;
    aul_segment found = {.previous_lsn = 0};
    aul_error failure = {0};
    status = aul_segment_decode_header(block, &found, &failure);
    if (status) return note_failure(v, segment, status, &failure, error);
    aul_segment_encode_header(expected, &found);
    if (memcmp(block, expected, AUL_BLOCK) != 0 ||
        memcmp(found.id, segment->id, AUL_ID_BYTES) != 0 || found.first_lsn != segment->first_lsn ||
        found.epoch != segment->epoch)
        add_problem(v, segment, 0, segment->first_lsn,
                    "the segment's header is damaged, or another's");
    return AUL_OK;
}

static int check_segment(aul_verification *v, aul_segment *segment, aul_error *error) {
    aul_store *store = v->store;
    bool sealed = atomic_load(&segment->sealed), whole = false;
    u64 end = sealed ? segment->summary.log_end : atomic_load(&segment->written);
    u64 last_lsn =
        sealed ? segment->summary.last_lsn : aul_min(v->visible, atomic_load(&segment->last_lsn));
    if (!sealed && end <= AUL_BLOCK) return AUL_OK; /* nothing written */
    int file;
    aul_error failure = {0};
    int status = aul_files_acquire(&store->files, segment, false, &file, &failure);
    if (status) {
        lose_place(v);
        return note_failure(v, segment, status, &failure, error);
    }
    aul_part *part = aul_part_new(store->disk);
    if (!part) status = aul_fail(error, AUL_NO_MEMORY, "no memory to verify %s", segment->name);
    if (!status) status = check_header(v, segment, error);
    if (!status) status = check_frames(v, segment, file, end, last_lsn, part, &whole, error);
    if (!status && sealed) {
        aul_summary trailer;
        status = aul_run_read_trailer(&store->files, segment, &trailer, &failure);
        if (status)
            status = note_failure(v, segment, status, &failure, error);
        else if (memcmp(&trailer, &segment->summary, sizeof trailer) != 0)
            add_problem(v, segment, trailer.file_bytes, segment->first_lsn,
                        "the trailer says something else than the manifest");
        if (!status) status = check_whole_crc(v, segment, error);
        if (!status && whole) check_state(v, segment);
        if (!status && whole) status = check_footer(v, segment, part, error);
    } else if (!status && whole) {
        check_part(v, segment, part);
    }
    aul_part_free(part);
    aul_files_release(&store->files, segment);
    v->report.bytes += sealed ? segment->summary.file_bytes : end;
    v->report.segments++;
    return status;
}

static int check_manifest(aul_verification *v, aul_error *error) {
    aul_store *store = v->store;
    aul_manifest manifest;
    aul_error failure = {0};
    int status = aul_manifest_read(store->disk, store->path, &manifest, &failure);
    if (!status && memcmp(manifest.volume_id, store->manifest.volume_id, AUL_ID_BYTES) != 0)
        add_problem(v, NULL, 32, 0, "the MANIFEST is another volume's");
    if (!status) aul_manifest_free(store->disk, &manifest);
    if (status == AUL_NOT_A_VOLUME) {
        add_problem(v, NULL, 0, 0, "the MANIFEST is missing");
        return AUL_OK;
    }
    return note_failure(v, NULL, status, &failure, error);
}

/* What of the store it is about: as of now, whatever is committed meanwhile. */
static int begin(aul_verification *v, aul_store *store) {
    v->store = store;
    v->names.disk = store->disk;
    /* Under the lock: a name deleted above it is forgotten some time after that is durable. */
    pthread_mutex_lock(&store->past.lock);
    v->visible = atomic_load(&store->log.visible);
    int status = aul_names_copy(&store->manifest.names, v->visible, &v->shown);
    pthread_mutex_unlock(&store->past.lock);
    if (status) return status;
    v->list = aul_page_index_list(&store->index);
    v->state_known = v->complete = v->list->count && v->list->items[0]->first_lsn == 1;
    pthread_mutex_lock(&store->log.lock);
    for (size_t i = 0; i < v->list->count; i++) {
        const aul_segment *segment = v->list->items[i];
        v->report.total_bytes +=
            atomic_load(&segment->sealed) ? segment->summary.file_bytes : segment->filled;
    }
    pthread_mutex_unlock(&store->log.lock);
    aul_store_ref(store);
    return AUL_OK;
}

int aul_verify_open(aul_store *store, aul_verification **out, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    aul_verification *v = aul_alloc_zero(store->disk, sizeof *v);
    status = v ? begin(v, store) : AUL_NO_MEMORY;
    if (status) {
        aul_release(store->disk, v);
        aul_fail(error, status, "no memory to verify");
    } else {
        *out = v;
    }
    aul_store_leave(store);
    return status;
}

int aul_verify_step(aul_verification *v, aul_verify_report *report, aul_error *error) {
    int status = aul_store_enter(v->store, error);
    if (status) return status;
    v->problem_count = v->problem_at = 0;
    if (v->at == 0 && v->report.segments == 0) status = check_manifest(v, error);
    if (!status) {
        if (v->at < v->list->count) {
            status = check_segment(v, v->list->items[v->at++], error);
        } else {
            check_past(v);
            status = AUL_END;
        }
    }
    *report = v->report;
    aul_store_leave(v->store);
    return status;
}

int aul_verify_problem(aul_verification *v, aul_error *problem) {
    if (v->problem_at == v->problem_count) return AUL_END;
    *problem = v->problems[v->problem_at++];
    return AUL_OK;
}

void aul_verify_close(aul_verification *v) {
    if (!v) return;
    aul_store *store = v->store;
    if (store->fork_generation != aul_fork_generation()) return;
    if (v->scanning) aul_scan_close(&v->scan);
    if (aul_store_enter(store, NULL) == AUL_OK) {
        aul_segment_list_release(&store->index, v->list);
        aul_store_leave(store);
    } else if (atomic_fetch_sub(&v->list->references, 1) == 1) {
        aul_release(store->disk, v->list);
    }
    aul_names_free(&v->names);
    aul_names_free(&v->shown);
    aul_release(store->disk, v);
    aul_store_unref(store);
}
