/* fuzz_frame.c: the input is what stands behind a segment's header: frames, batches, records. They
 * are read as recovery reads the log's tail, and indexed; evidence and anchors are looked for. What
 * decodes is encoded again, and is the same. From the index that they make a footer is built, and
 * every record and commit is found in it. */
#include "fuzz.h"
#include "volumes.h"

#define DIRECTORY "/s"
#define ANCHORS_MAX 8

typedef struct {
    aul_disk table;
    aul_files files;
    aul_segment segment;
    aul_scan scan;
    u32 page_size;
} frames;

/* What the header and the manifest would say: what the first frame says. */
static void describe_segment(frames *f, const u8 *bytes, size_t count) {
    aul_segment *segment = &f->segment;
    segment->file = -1;
    segment->page_size = f->page_size;
    segment->first_lsn = 1;
    segment->epoch = 1;
    if (count >= AUL_FRAME_HEADER) {
        segment->first_lsn = get64(bytes + 16);
        segment->epoch = get64(bytes + 24);
    }
    if (count >= AUL_FRAME_HEADER + AUL_BATCH_HEADER)
        memcpy(segment->volume_id, bytes + AUL_FRAME_HEADER + 64, AUL_ID_BYTES);
    segment->record_seed = aul_record_seed(segment->volume_id);
    memset(segment->id, 7, AUL_ID_BYTES);
    aul_segment_set_name(segment);
}

/* The header read once more through its encoding. */
static void check_segment_header(const aul_segment *segment) {
    u8 block[AUL_BLOCK];
    aul_segment found = {.file = -1};
    aul_segment_encode_header(block, segment);
    AUL_FUZZ_MUST(aul_segment_decode_header(block, &found, NULL) == AUL_OK);
    AUL_FUZZ_MUST(found.first_lsn == segment->first_lsn && found.epoch == segment->epoch &&
                  found.page_size == segment->page_size &&
                  memcmp(found.volume_id, segment->volume_id, AUL_ID_BYTES) == 0);
    block[0] ^= 1; /* the copy stands in */
    AUL_FUZZ_MUST(aul_segment_decode_header(block, &found, NULL) == AUL_OK);
}

static void check_frame(const frames *f) {
    u8 header[AUL_FRAME_HEADER];
    const aul_scan *scan = &f->scan;
    aul_frame_encode(header, &scan->frame, f->segment.id, scan->frame_offset);
    AUL_FUZZ_MUST(memcmp(header + 8, scan->payload - AUL_FRAME_HEADER + 8, 38) == 0,
                  "a frame changes when it is decoded and encoded");
    if (!(scan->frame.flags & AUL_FRAME_FIRST)) return;
    u8 batch[AUL_BATCH_HEADER + 256];
    AUL_FUZZ_MUST(scan->batch.header_bytes <= sizeof batch);
    aul_batch again;
    aul_batch_encode(batch, &scan->batch);
    AUL_FUZZ_MUST(aul_batch_decode(batch, sizeof batch, &again) == AUL_OK);
    AUL_FUZZ_MUST(memcmp(batch + 4, scan->payload + 4, 84) == 0 &&
                      memcmp(batch + AUL_BATCH_HEADER, scan->payload + AUL_BATCH_HEADER,
                             scan->batch.note_bytes) == 0,
                  "a batch changes when it is decoded and encoded");
}

/* The same straight from the input, whose end the sanitizer knows: a scan's buffer goes on. */
static void decode_anywhere(const aul_fuzz_input *input, u32 page_size) {
    static const u8 id[AUL_ID_BYTES];
    for (size_t at = 0; at < input->left; at += AUL_FRAME_ALIGN) {
        const u8 *from = input->at + at;
        size_t left = input->left - at;
        aul_frame frame;
        aul_batch batch;
        aul_change change;
        if (left >= AUL_FRAME_HEADER) aul_frame_decode(from, id, at, &frame);
        aul_batch_decode(from, left, &batch);
        aul_record_decode(from, left, page_size, at, 0, &change);
    }
}

/* The frame's records, as verify and materialising take them. */
static void check_records(const frames *f) {
    static u8 page[AUL_PAGE_SIZE_MAX];
    const aul_scan *scan = &f->scan;
    u64 lsn = scan->frame.first_lsn;
    for (u32 at = scan->records_at; at < scan->frame.payload_bytes; lsn++) {
        aul_change change;
        u8 again[AUL_RECORD_HEADER + AUL_PAGE_SIZE_MAX];
        if (aul_record_decode(scan->payload + at, scan->frame.payload_bytes - at, f->page_size, lsn,
                              f->segment.record_seed, &change))
            return;
        aul_record_encode(again, &change, lsn, f->segment.record_seed);
        AUL_FUZZ_MUST(memcmp(again + 4, scan->payload + at + 4, aul_record_bytes(&change) - 4) == 0,
                      "a record changes when it is decoded and encoded");
        aul_record_redo(page, f->page_size, &change);
        at += aul_record_bytes(&change);
    }
}

/* A control record, encoded again. Of the padding nothing is kept. */
static void check_control(const frames *f) {
    aul_control_record control;
    u8 again[AUL_NAME_BYTES + AUL_NAME_MAX + 8];
    const aul_scan *scan = &f->scan;
    if (aul_scan_control(scan, &control) || control.kind == AUL_CLEAN_CLOSE) return;
    const u8 *data = scan->payload + scan->records_at + AUL_RECORD_HEADER;
    if (control.kind == AUL_BRANCH_POINT) {
        aul_branch_encode(again, &control.branch);
        AUL_FUZZ_MUST(memcmp(again, data, AUL_BRANCH_BYTES) == 0,
                      "a branch point changes when it is decoded and encoded");
    } else {
        aul_restore_point_encode(again, &control.point);
        AUL_FUZZ_MUST(
            memcmp(again, data, 36) == 0 &&
                memcmp(again + AUL_NAME_BYTES, data + AUL_NAME_BYTES, control.point.bytes) == 0,
            "a restore point changes when it is decoded and encoded");
    }
}

static void read_frames(frames *f, aul_part *part) {
    aul_scan *scan = &f->scan;
    int status;
    while (!(status = aul_scan_next(scan, NULL))) {
        AUL_FUZZ_MUST(scan->offset <= scan->end && scan->offset % AUL_FRAME_ALIGN == 0);
        check_frame(f);
        check_records(f);
        check_control(f);
        status = aul_scan_index(scan, part);
        AUL_FUZZ_MUST(status == AUL_OK || status == AUL_CORRUPT);
        if (status) break;
    }
    AUL_FUZZ_MUST(status == AUL_END || status == AUL_CORRUPT);
}

static void look_behind(frames *f) {
    aul_scan *scan = &f->scan;
    u64 lsns[] = {1, scan->next_lsn, UINT64_MAX}, used_end;
    bool found;
    for (size_t i = 0; i < sizeof lsns / sizeof *lsns; i++) {
        AUL_FUZZ_MUST(!aul_scan_find_evidence(scan, lsns[i], &found, &used_end, NULL));
        AUL_FUZZ_MUST(used_end >= scan->offset && used_end <= aul_max(scan->end, scan->offset));
    }
    u64 offset = AUL_BLOCK;
    for (int i = 0; i < ANCHORS_MAX; i++) {
        u8 id[AUL_ID_BYTES];
        AUL_FUZZ_MUST(!aul_scan_find_anchor(scan, &offset, id, &found, NULL));
        if (!found) break;
        memcpy(f->segment.id, id, AUL_ID_BYTES);
    }
}

/* Everything in the part is in the run. */
static void search_run(frames *f, const aul_part *part) {
    aul_segment *segment = &f->segment;
    for (size_t i = 0; i < part->entry_count; i++) {
        const aul_entry *entry = &part->entries[i];
        aul_run_cursor cursor = {.files = &f->files, .segment = segment};
        AUL_FUZZ_MUST(!aul_run_seek(&cursor, entry->page_flags >> 8, entry->lsn, NULL) &&
                          memcmp(&cursor.entries[cursor.at], entry, sizeof *entry) == 0,
                      "a record is not found in the index run");
        int status = aul_run_older(&cursor, NULL);
        AUL_FUZZ_MUST(part->older[i] == AUL_NONE
                          ? status == AUL_END
                          : status == AUL_OK &&
                                cursor.entries[cursor.at].lsn == part->entries[part->older[i]].lsn);
    }
    for (size_t i = 0; i < part->commit_count; i++) {
        const aul_commit *commit = &part->commits[i];
        aul_commit at, of;
        AUL_FUZZ_MUST(!aul_run_commit(&f->files, segment, commit->lsn, &at, NULL) &&
                          !aul_run_commit_of(&f->files, segment, commit->lsn, &of, NULL) &&
                          memcmp(&at, commit, sizeof at) == 0 &&
                          memcmp(&of, commit, sizeof of) == 0,
                      "a commit is not found in the index run");
    }
}

/* Seals what was read: builds the footer, and searches it. */
static void seal(frames *f, aul_part *part, u64 log_end, u64 last_lsn) {
    aul_segment *segment = &f->segment;
    aul_disk *disk = &f->table;
    u8 *footer;
    size_t bytes;
    int file;
    aul_summary summary = {.log_end = log_end, .last_lsn = last_lsn}, found;
    AUL_FUZZ_MUST(!aul_run_build(disk, segment, part, &summary, &footer, &bytes));
    AUL_FUZZ_MUST(
        bytes <= aul_run_footer_bytes(part->entry_count, part->commit_count, part->truncate_count));
    AUL_FUZZ_MUST(!aul_files_acquire(&f->files, segment, true, &file, NULL));
    AUL_FUZZ_MUST(!aul_disk_write(disk, file, footer, bytes, summary.file_bytes - bytes));
    AUL_FUZZ_MUST(!disk->truncate(disk->context, file, summary.file_bytes));
    aul_files_release(&f->files, segment);
    aul_release(disk, footer);
    AUL_FUZZ_MUST(!aul_run_read_trailer(&f->files, segment, &found, NULL));
    AUL_FUZZ_MUST(memcmp(&found, &summary, sizeof found) == 0,
                  "a trailer changes when it is encoded and decoded");
    segment->summary = summary;
    search_run(f, part);
}

void aul_fuzz_run(aul_fuzz_input *input) {
    static const u32 sizes[] = {512, 4096, 65536};
    aul_simdisk *disk = aul_simdisk_new(1);
    frames f = {.table = aul_fuzz_table(disk, 0)};
    char path[64];
    u8 header[AUL_BLOCK];
    int file;
    f.page_size = sizes[aul_fuzz_take(input, 1) % 3];
    decode_anywhere(input, f.page_size);
    describe_segment(&f, input->at, input->left);
    check_segment_header(&f.segment);
    f.table.make_directory(f.table.context, DIRECTORY);
    AUL_FUZZ_MUST(!aul_files_init(&f.files, &f.table, DIRECTORY));
    aul_files_path(&f.files, f.segment.name, path, sizeof path);
    aul_segment_encode_header(header, &f.segment);
    aul_fuzz_put_file(disk, path, input->at, input->left, AUL_BLOCK);
    AUL_FUZZ_MUST(!aul_files_acquire(&f.files, &f.segment, false, &file, NULL));
    AUL_FUZZ_MUST(!aul_scan_open(&f.scan, &f.table, &f.segment, file,
                                 AUL_BLOCK + aul_max(input->left, 1), NULL, NULL));
    aul_part *part = aul_part_new(&f.table);
    read_frames(&f, part);
    u64 log_end = f.scan.offset, last_lsn = f.scan.next_lsn - 1;
    look_behind(&f);
    aul_scan_close(&f.scan);
    aul_files_release(&f.files, &f.segment);
    seal(&f, part, log_end, last_lsn);
    aul_part_free(part);
    aul_files_forget(&f.files, &f.segment);
    aul_files_destroy(&f.files);
    aul_fences *fences = atomic_load(&f.segment.fences);
    if (fences) {
        aul_release(&f.table, fences->fences);
        aul_release(&f.table, fences->commit_fences);
        aul_release(&f.table, fences->truncates);
        aul_release(&f.table, fences);
    }
    aul_fuzz_end_disk(disk);
}

/* The frames of every segment, as many as fit; and each once more, ended within the first note. */
size_t aul_fuzz_seed(size_t n, u8 to[AUL_FUZZ_INPUT_MAX]) {
    bool ended = n % 2;
    n /= 2;
    for (size_t which = 0; which < AUL_FUZZ_VOLUMES; which++) {
        const aul_fuzz_volume *volume = aul_fuzz_volume_get(which);
        for (size_t i = 0; i < volume->file_count; i++) {
            const aul_fuzz_file *file = &volume->files[i];
            if (!strstr(file->path, ".log") || file->bytes <= AUL_BLOCK || n--) continue;
            size_t bytes = (size_t)aul_min(file->bytes - AUL_BLOCK, 6000);
            AUL_FUZZ_MUST(aul_simdisk_peek(volume->disk, file->path, AUL_BLOCK, to + 1, bytes));
            to[0] = 0;
            while (bytes && !to[bytes]) bytes--;
            if (ended) bytes = aul_min(bytes, AUL_FRAME_HEADER + AUL_BATCH_HEADER + 2);
            return bytes + 1;
        }
    }
    return 0;
}
