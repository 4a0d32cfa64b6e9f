/* segment.c: see segment.h. */
#include "segment.h"

#include <stdio.h>
#include <stdlib.h>

#include "record.h"
#include "seeded.h"

static const char MAGIC[8] = "AULSEGMT";

#define COPY_AT 2048
#define TAIL_READ_BYTES (4u << 10)

aul_segment *aul_segment_new(aul_disk *disk) {
    aul_segment *segment = aul_alloc_zero(disk, sizeof *segment);
    if (segment) segment->file = -1;
    return segment;
}

void aul_segment_free(aul_disk *disk, aul_segment *segment) {
    if (!segment) return;
    aul_fences *fences = atomic_load(&segment->fences);
    if (fences) {
        aul_release(disk, fences->fences);
        aul_release(disk, fences->commit_fences);
        aul_release(disk, fences->truncates);
        aul_release(disk, fences);
    }
    aul_part_free(segment->part);
    aul_release(disk, segment->image);
    aul_release(disk, segment);
}

void aul_segment_set_name(aul_segment *segment) {
    snprintf(segment->name, sizeof segment->name, "%016llx-%016llx.log",
             (unsigned long long)segment->first_lsn, (unsigned long long)segment->epoch);
}

bool aul_segment_parse_name(const char *name, u64 *first_lsn, u64 *epoch) {
    if (strlen(name) != 37 || name[16] != '-' || strcmp(name + 33, ".log") != 0) return false;
    if (strspn(name, "0123456789abcdef") != 16 || strspn(name + 17, "0123456789abcdef") != 16)
        return false;
    *first_lsn = strtoull(name, NULL, 16);
    *epoch = strtoull(name + 17, NULL, 16);
    return true;
}

void aul_segment_encode_header(u8 block[AUL_BLOCK], const aul_segment *segment) {
    memset(block, 0, AUL_BLOCK);
    memcpy(block, MAGIC, 8);
    put32(block + 12, AUL_FORMAT_VERSION);
    memcpy(block + 24, segment->id, AUL_ID_BYTES);
    memcpy(block + 40, segment->volume_id, AUL_ID_BYTES);
    memcpy(block + 56, segment->previous_id, AUL_ID_BYTES);
    put64(block + 72, segment->first_lsn);
    put64(block + 80, segment->previous_lsn);
    put64(block + 88, segment->epoch);
    put64(block + 96, segment->created_ns);
    put32(block + 104, segment->page_size);
    put32(block + 8, aul_crc32c(0, block + 12, 500));
    memcpy(block + COPY_AT, block, 512);
}

static bool is_header(const u8 *at) {
    return memcmp(at, MAGIC, 8) == 0 && aul_crc_fits(get32(at + 8), aul_crc32c(0, at + 12, 500));
}

int aul_segment_decode_header(const u8 *block, aul_segment *out, aul_error *error) {
    if (!is_header(block)) block += COPY_AT;
    if (!is_header(block)) return aul_fail(error, AUL_CORRUPT, "not the header of a log segment");
    if (get32(block + 12) != AUL_FORMAT_VERSION)
        return aul_fail(error, AUL_FORMAT,
                        "a log segment has format %u, this aurolog reads %u: use a newer aurolog",
                        get32(block + 12), AUL_FORMAT_VERSION);
    int status = aul_check_features(get64(block + 16), "a log segment", error);
    if (status) return status;
    memcpy(out->id, block + 24, AUL_ID_BYTES);
    memcpy(out->volume_id, block + 40, AUL_ID_BYTES);
    memcpy(out->previous_id, block + 56, AUL_ID_BYTES);
    out->first_lsn = get64(block + 72);
    out->previous_lsn = get64(block + 80);
    out->epoch = get64(block + 88);
    out->created_ns = get64(block + 96);
    out->page_size = get32(block + 104);
    out->record_seed = aul_record_seed(out->volume_id);
    return AUL_OK;
}

int aul_scan_open(aul_scan *scan, aul_disk *disk, const aul_segment *segment, int file, u64 end,
                  const aul_scan *continues, aul_error *error) {
    bool goes_on = continues && continues->in_batch;
    aul_scan fresh = {.disk = disk,
                      .segment = segment,
                      .file = file,
                      .read_bytes = AUL_SCAN_BYTES,
                      .end = end,
                      .offset = AUL_BLOCK,
                      .next_lsn = segment->first_lsn,
                      .batch_offset = AUL_NO_OFFSET};
    fresh.buffer = aul_alloc(disk, AUL_SCAN_BYTES);
    if (!fresh.buffer) return aul_fail(error, AUL_NO_MEMORY, "no memory to read the log");
    if (goes_on) {
        fresh.in_batch = true;
        fresh.batch = continues->batch;
        fresh.batch_left = continues->batch_left;
        memcpy(fresh.note, continues->note, sizeof fresh.note);
        fresh.batch.note = NULL;
    }
    *scan = fresh;
    return AUL_OK;
}

void aul_scan_close(aul_scan *scan) {
    aul_release(scan->disk, scan->buffer);
    scan->buffer = NULL;
}

void aul_scan_look_again(aul_scan *scan) {
    scan->buffered = 0;
    scan->read_bytes = TAIL_READ_BYTES;
}

void aul_scan_seek(aul_scan *scan, u64 offset, u64 lsn) {
    scan->offset = offset;
    scan->next_lsn = lsn;
    scan->in_batch = false;
}

/* Makes `bytes` at `offset` present in the buffer; *at points to them and *have says how many
 * there are before the end. */
static int fetch(aul_scan *scan, u64 offset, size_t bytes, const u8 **at, size_t *have,
                 aul_error *error) {
    u64 buffer_end = scan->buffer_offset + scan->buffered;
    *at = NULL;
    *have = 0;
    if (offset < scan->buffer_offset || offset + bytes > buffer_end) {
        size_t want = (size_t)aul_min(aul_max(bytes, scan->read_bytes),
                                      scan->end > offset ? scan->end - offset : 0);
        scan->read_bytes = (size_t)aul_min(2 * scan->read_bytes, AUL_SCAN_BYTES);
        int status =
            aul_disk_read(scan->disk, scan->file, scan->buffer, want, offset, &scan->buffered);
        if (status) return aul_fail_os(error, status, "reading the log", scan->segment->name);
        scan->buffer_offset = offset;
        buffer_end = offset + scan->buffered;
    }
    *at = scan->buffer + (offset - scan->buffer_offset);
    *have = (size_t)aul_min(bytes, buffer_end - offset);
    return AUL_OK;
}

/* The frame's place in its batch. False when it does not fit. */
static bool enter_batch(aul_scan *scan) {
    const aul_frame *frame = &scan->frame;
    bool first = frame->flags & AUL_FRAME_FIRST, last = frame->flags & AUL_FRAME_LAST;
    if (first == scan->in_batch) return false;
    scan->records_at = 0;
    if (first) {
        if (aul_batch_decode(scan->payload, frame->payload_bytes, &scan->batch)) return false;
        if (scan->batch.first_lsn != frame->first_lsn) return false;
        if (memcmp(scan->batch.volume_id, scan->segment->volume_id, AUL_ID_BYTES) != 0)
            return false;
        memcpy(scan->note, scan->batch.note, scan->batch.note_bytes);
        scan->note[scan->batch.note_bytes] = 0;
        scan->records_at = scan->batch.header_bytes;
        scan->batch_offset = scan->frame_offset;
        scan->batch_left = scan->batch.stream_bytes;
    }
    if (last != (frame->first_lsn + frame->records == scan->batch.last_lsn + 1)) return false;
    if (scan->batch_left != AUL_UNKNOWN_LEFT) {
        if (frame->payload_bytes > scan->batch_left) return false;
        scan->batch_left -= frame->payload_bytes;
        if (last != (scan->batch_left == 0)) return false;
    }
    scan->in_batch = !last;
    return true;
}

int aul_scan_next(aul_scan *scan, aul_error *error) {
    const u8 *at;
    size_t have;
    u64 offset = scan->offset;
    if (offset == scan->end) return AUL_END;
    int status = fetch(scan, offset, AUL_FRAME_HEADER, &at, &have, error);
    if (status) return status;
    if (have < AUL_FRAME_HEADER || aul_frame_decode(at, scan->segment->id, offset, &scan->frame))
        return AUL_CORRUPT;
    const aul_frame *frame = &scan->frame;
    if (frame->epoch != scan->segment->epoch || frame->first_lsn != scan->next_lsn)
        return AUL_CORRUPT;
    if (frame->durable_before >= frame->first_lsn) return AUL_CORRUPT;
    u64 bytes = aul_frame_bytes(frame->payload_bytes);
    status = fetch(scan, offset, bytes, &at, &have, error);
    if (status) return status;
    if (have < bytes) return AUL_CORRUPT;
    scan->payload = at + AUL_FRAME_HEADER;
    if (!aul_crc_fits(frame->payload_crc, aul_crc32c(0, scan->payload, frame->payload_bytes)) &&
        !AUL_SEEDED(PAYLOAD_UNCHECKED))
        return AUL_CORRUPT;
    scan->frame_offset = offset;
    if (!enter_batch(scan)) return AUL_CORRUPT;
    scan->durable_before = aul_max(scan->durable_before, frame->durable_before);
    scan->next_lsn = frame->first_lsn + frame->records;
    scan->offset = offset + bytes;
    return AUL_OK;
}

int aul_scan_fail(const aul_scan *scan, aul_error *error) {
    return aul_fail_at(error, AUL_CORRUPT, scan->segment->name, scan->offset, scan->next_lsn,
                       "no valid frame in %s at offset %llu: restore the file from a copy",
                       scan->segment->name, (unsigned long long)scan->offset);
}

int aul_scan_control(const aul_scan *scan, aul_control_record *out) {
    if (scan->batch.kind != AUL_BATCH_CONTROL) return AUL_END;
    return aul_control_decode(&scan->batch, scan->payload + scan->records_at,
                              scan->frame.payload_bytes - scan->records_at,
                              scan->segment->page_size, out);
}

int aul_scan_index(const aul_scan *scan, aul_part *part) {
    const aul_frame *frame = &scan->frame;
    aul_control_record control;
    if (aul_part_reserve(part, frame->records, frame->records, 1)) return AUL_NO_MEMORY;
    int status = aul_scan_control(scan, &control);
    if (status == AUL_CORRUPT) return status;
    if (status == AUL_END &&
        !aul_part_add_records(part, scan->segment->page_size, scan->payload, frame->payload_bytes,
                              scan->records_at, frame->first_lsn, frame->records,
                              scan->frame_offset + AUL_FRAME_HEADER)) {
        aul_part_cut(part, frame->first_lsn - 1);
        return AUL_CORRUPT;
    }
    if (scan->in_batch) return AUL_OK;
    const aul_batch *batch = &scan->batch;
    aul_commit commit = {.lsn = batch->last_lsn,
                         .time_ns = batch->time_ns,
                         .end_pages = batch->end_pages,
                         .offset = (u32)scan->batch_offset,
                         .records = (u32)(batch->last_lsn - batch->first_lsn + 1)};
    aul_part_add_commit(part, &commit);
    return AUL_OK;
}

int aul_scan_find_evidence(aul_scan *scan, u64 lsn, bool *found, u64 *used_end, aul_error *error) {
    u64 offset = scan->offset;
    *found = false;
    *used_end = offset;
    while (offset + AUL_FRAME_HEADER <= scan->end) {
        const u8 *at;
        size_t have;
        int status = fetch(scan, offset, AUL_FRAME_HEADER, &at, &have, error);
        if (status) return status;
        const u8 *end = scan->buffer + scan->buffered;
        if (have < AUL_FRAME_HEADER) break;
        for (; at + AUL_FRAME_HEADER <= end; at += AUL_FRAME_ALIGN, offset += AUL_FRAME_ALIGN) {
            aul_frame frame;
            if (AUL_LIKELY(get64(at) == 0)) continue;
            *used_end = offset + AUL_FRAME_ALIGN;
            if (get32(at) != AUL_FRAME_MAGIC) continue;
            if (aul_frame_decode(at, scan->segment->id, offset, &frame)) continue;
            if (frame.epoch != scan->segment->epoch || frame.durable_before < lsn) continue;
            *found = true;
            return AUL_OK;
        }
    }
    u8 rest[AUL_FRAME_HEADER]; /* less than a header: no evidence, but written */
    size_t left = scan->end > offset ? (size_t)aul_min(scan->end - offset, sizeof rest) : 0,
           done = 0;
    int failed = aul_disk_read(scan->disk, scan->file, rest, left, offset, &done);
    if (failed) return aul_fail_os(error, failed, "reading the log", scan->segment->name);
    for (size_t i = 0; i < done; i++)
        if (rest[i]) *used_end = offset + done;
    return AUL_OK;
}

/* Whether the frame at `offset`, whose file id is not known, is the segment's: by epoch, payload,
 * and its batch's volume id, or else by its place and LSN. */
static int is_anchor(aul_scan *scan, const u8 *at, u64 offset, u8 id[AUL_ID_BYTES], bool *is,
                     aul_error *error) {
    const aul_segment *segment = scan->segment;
    aul_frame frame;
    aul_batch batch;
    size_t have;
    *is = false;
    aul_frame_stand_in_id(at, offset, id);
    if (memcmp(id, segment->id, AUL_ID_BYTES) == 0 || aul_frame_decode(at, id, offset, &frame))
        return AUL_OK;
    bool first = frame.flags & AUL_FRAME_FIRST;
    bool at_start = offset == AUL_BLOCK && frame.first_lsn == segment->first_lsn;
    if (frame.epoch != segment->epoch || frame.first_lsn < segment->first_lsn ||
        frame.durable_before >= frame.first_lsn || !(first || at_start))
        return AUL_OK;
    u64 bytes = aul_frame_bytes(frame.payload_bytes);
    int status = fetch(scan, offset, bytes, &at, &have, error);
    if (status || have < bytes) return status;
    at += AUL_FRAME_HEADER;
    if (!aul_crc_fits(frame.payload_crc, aul_crc32c(0, at, frame.payload_bytes))) return AUL_OK;
    *is = !first || (aul_batch_decode(at, frame.payload_bytes, &batch) == AUL_OK &&
                     batch.first_lsn == frame.first_lsn &&
                     memcmp(batch.volume_id, segment->volume_id, AUL_ID_BYTES) == 0);
    return AUL_OK;
}

int aul_scan_find_anchor(aul_scan *scan, u64 *offset, u8 id[AUL_ID_BYTES], bool *found,
                         aul_error *error) {
    *found = false;
    for (; *offset + AUL_FRAME_HEADER <= scan->end && !*found; *offset += AUL_FRAME_ALIGN) {
        const u8 *at;
        size_t have;
        int status = fetch(scan, *offset, AUL_FRAME_HEADER, &at, &have, error);
        if (status) return status;
        if (have < AUL_FRAME_HEADER) break;
        if (AUL_LIKELY(get32(at) != AUL_FRAME_MAGIC)) continue;
        status = is_anchor(scan, at, *offset, id, found, error);
        if (status) return status;
    }
    return AUL_OK;
}
