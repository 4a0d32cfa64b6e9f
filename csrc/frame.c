/* frame.c: see frame.h for the formats. */
#include "frame.h"
#include "seeded.h"

static u32 header_crc(const u8 *header, const u8 *file_id, u64 offset) {
    u8 place[AUL_ID_BYTES + 8];
    memcpy(place, file_id, AUL_ID_BYTES);
    put64(place + AUL_ID_BYTES, offset);
    return aul_crc32c(aul_crc32c(0, place, sizeof place), header + 8, AUL_FRAME_HEADER - 8);
}

void aul_frame_stand_in_id(const u8 *header, u64 offset, u8 file_id[AUL_ID_BYTES]) {
    memset(file_id, 0, AUL_ID_BYTES);
    u32 differ = get32(header + 4) ^ header_crc(header, file_id, offset);
    /* What its last four bytes have to be, for they and all behind them to make that difference. */
    put32(file_id + AUL_ID_BYTES - 4, aul_crc32c_unwind(differ, 4 + 8 + AUL_FRAME_HEADER - 8));
}

void aul_frame_encode(u8 *to, const aul_frame *frame, const u8 file_id[AUL_ID_BYTES], u64 offset) {
    memset(to, 0, AUL_FRAME_HEADER);
    put32(to, AUL_FRAME_MAGIC);
    put32(to + 8, frame->payload_crc);
    put32(to + 12, frame->payload_bytes);
    put64(to + 16, frame->first_lsn);
    put64(to + 24, frame->epoch);
    put64(to + 32, frame->durable_before);
    put32(to + 40, frame->records);
    put16(to + 44, frame->flags);
    put32(to + 4, header_crc(to, file_id, offset));
}

int aul_frame_decode(const u8 *from, const u8 file_id[AUL_ID_BYTES], u64 offset, aul_frame *out) {
    if (get32(from) != AUL_FRAME_MAGIC) return AUL_CORRUPT;
    if (!aul_crc_fits(get32(from + 4), header_crc(from, file_id, offset)) &&
        !AUL_SEEDED(HEADER_UNCHECKED))
        return AUL_CORRUPT;
    out->payload_crc = get32(from + 8);
    out->payload_bytes = get32(from + 12);
    out->first_lsn = get64(from + 16);
    out->epoch = get64(from + 24);
    out->durable_before = get64(from + 32);
    out->records = get32(from + 40);
    out->flags = get16(from + 44);
    if (out->payload_bytes > AUL_FRAME_PAYLOAD_MAX || out->records > out->payload_bytes)
        return AUL_CORRUPT;
    if (get32(from + 48) != 0)
        return AUL_CORRUPT; /* encrypted: its feature bit refuses such a volume at opening */
    return AUL_OK;
}

void aul_batch_encode(u8 *to, const aul_batch *batch) {
    memset(to, 0, batch->header_bytes);
    put16(to + 4, batch->header_bytes);
    to[6] = (u8)batch->kind;
    to[7] = (u8)batch->note_bytes;
    put64(to + 8, batch->stream_bytes);
    put64(to + 16, batch->first_lsn);
    put64(to + 24, batch->last_lsn);
    put64(to + 32, batch->previous_lsn);
    put64(to + 40, batch->epoch);
    put64(to + 48, batch->time_ns);
    put64(to + 56, batch->end_pages);
    memcpy(to + 64, batch->volume_id, AUL_ID_BYTES);
    if (batch->note_bytes) memcpy(to + AUL_BATCH_HEADER, batch->note, batch->note_bytes);
    put32(to, aul_crc32c(0, to + 4, batch->header_bytes - 4));
}

int aul_batch_decode(const u8 *from, size_t left, aul_batch *out) {
    if (left < AUL_BATCH_HEADER) return AUL_CORRUPT;
    out->header_bytes = get16(from + 4);
    out->kind = from[6];
    out->note_bytes = from[7];
    if (out->header_bytes != aul_batch_header_bytes(out->note_bytes) || out->header_bytes > left)
        return AUL_CORRUPT;
    if (!aul_crc_fits(get32(from), aul_crc32c(0, from + 4, out->header_bytes - 4)))
        return AUL_CORRUPT;
    out->stream_bytes = get64(from + 8);
    out->first_lsn = get64(from + 16);
    out->last_lsn = get64(from + 24);
    out->previous_lsn = get64(from + 32);
    out->epoch = get64(from + 40);
    out->time_ns = get64(from + 48);
    out->end_pages = get64(from + 56);
    memcpy(out->volume_id, from + 64, AUL_ID_BYTES);
    out->note = from + AUL_BATCH_HEADER;
    if (out->kind != AUL_BATCH_PAGES && out->kind != AUL_BATCH_CONTROL) return AUL_CORRUPT;
    if (get64(from + 80) != 0) return AUL_CORRUPT;
    if (out->first_lsn == 0 || out->last_lsn < out->first_lsn ||
        out->stream_bytes < out->header_bytes)
        return AUL_CORRUPT;
    return AUL_OK;
}
