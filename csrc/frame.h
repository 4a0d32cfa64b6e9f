/* frame.h: frames, which carry the log through files, and batches, which are what they carry.
 * Pure: no I/O.
 *
 * A batch is one transaction (or one control record): a header and its records, a byte stream
 * that is complete without any frame. The stream is cut into frames at record boundaries; only
 * the frame marked LAST makes the batch valid.
 *
 * Frame header, 64 bytes, at a multiple of 8 in a segment; the payload follows, padded with
 * zeros to a multiple of 8:
 *   0  u32  magic "AULF"
 *   4  u32  crc32c over the segment's file id (16 bytes), the frame's offset (8 bytes) and bytes
 *   8..64
 *   8  u32  crc32c of the payload
 *  12  u32  payload bytes
 *  16  u64  LSN of the first record in the frame
 *  24  u64  epoch
 *  32  u64  durable_before: the durable LSN when the frame was written
 *  40  u32  records in the frame
 *  44  u16  flags: 1 first frame of its batch, 2 last
 *  46  u16  zero
 *  48  u32  key id, zero: not encrypted
 *  52  12 bytes nonce, zero
 *
 * Batch header, 96 bytes and the note:
 *   0  u32  crc32c of bytes 4..header bytes
 *   4  u16  header bytes: 96 and the note, padded to a multiple of 8
 *   6  u8   kind: 1 pages, 2 control
 *   7  u8   note bytes
 *   8  u64  stream bytes: header and records
 *  16  u64  first LSN
 *  24  u64  last LSN: the commit LSN
 *  32  u64  the volume's previous commit LSN on this path
 *  40  u64  epoch
 *  48  u64  commit time, nanoseconds since the Unix epoch
 *  56  u64  end of page space after the batch
 *  64  16 bytes volume id
 *  80  u64  required features, zero
 *  88  u64  zero
 *  96  note, UTF-8 */
#ifndef AUL_FRAME_H
#define AUL_FRAME_H

#include "format.h"

#define AUL_FRAME_MAGIC 0x464c5541u /* "AULF" */
#define AUL_FRAME_FIRST 1u
#define AUL_FRAME_LAST 2u

typedef struct {
    u64 first_lsn, epoch, durable_before;
    u32 payload_bytes, payload_crc, records, flags;
} aul_frame;

typedef struct {
    u32 kind, header_bytes, note_bytes;
    u64 stream_bytes, first_lsn, last_lsn, previous_lsn, epoch, time_ns, end_pages;
    u8 volume_id[AUL_ID_BYTES];
    const u8 *note;
} aul_batch;

/* Bytes of a frame in a file. */
static inline u64 aul_frame_bytes(u32 payload_bytes) {
    return aul_round_up(AUL_FRAME_HEADER + (u64)payload_bytes, AUL_FRAME_ALIGN);
}

void aul_frame_encode(u8 *to, const aul_frame *frame, const u8 file_id[AUL_ID_BYTES], u64 offset);
/* Parses and checks a frame's header, not its payload. AUL_CORRUPT when it is none. */
int aul_frame_decode(const u8 *from, const u8 file_id[AUL_ID_BYTES], u64 offset, aul_frame *out);
/* An id under which the frame's header has the checksum that it says. When the header is whole,
 * it stands in for the id of a file whose header is lost: all placed checksums depend on the
 * checksum of the id alone, so under it those of the file's other frames and of its trailer fit,
 * and no others. Of this frame's own header it proves nothing. */
void aul_frame_stand_in_id(const u8 *header, u64 offset, u8 file_id[AUL_ID_BYTES]);

static inline u32 aul_batch_header_bytes(u32 note_bytes) {
    return (u32)aul_round_up(AUL_BATCH_HEADER + note_bytes, 8);
}

/* Writes batch->header_bytes bytes. */
void aul_batch_encode(u8 *to, const aul_batch *batch);
int aul_batch_decode(const u8 *from, size_t left, aul_batch *out);

#endif
