/* record.h: one redo record: encode, decode, redo. Pure: no I/O, no memory of its own.
 *
 * A record changes one page and needs nothing but the page before it (the exception is TRUNCATE,
 * which is of no page). Its checksum covers the LSN and the volume's seed, so that no other
 * record can be taken for it wherever it is found.
 *
 *   0  u32  crc32c over LSN (8 bytes), bytes 4..16 and the data, continued from the volume's seed
 *   4  u8   kind
 *   5  u40  page (TRUNCATE: the new end of page space; control records: 0)
 *  10  u16  offset in the page (MOVE: destination)
 *  12  u16  length, 0 stands for 65,536; of control records the length of the data
 *  14  u16  MOVE: source, FILL: byte value
 *  16  data: WRITE and control records `length` bytes, IMAGE a whole page */
#ifndef AUL_RECORD_H
#define AUL_RECORD_H

#include "format.h"

/* A change, parsed from a caller's packed buffer or from a record of the log. */
typedef struct {
    u64 page;
    u32 kind, offset, length, extra;
    u32 data_bytes;
    const u8 *data;
} aul_change;

/* The seed of all record checksums of a volume. */
static inline u32 aul_record_seed(const u8 volume_id[AUL_ID_BYTES]) {
    return aul_crc32c(0, volume_id, AUL_ID_BYTES);
}

static inline u64 aul_pages_max(u32 page_size) { return AUL_VOLUME_BYTES_MAX / page_size; }

static inline u32 aul_record_bytes(const aul_change *change) {
    return AUL_RECORD_HEADER + change->data_bytes;
}

/* True when the page after the change does not depend on the page before it. */
static inline bool aul_change_is_whole(const aul_change *change, u32 page_size) {
    return change->kind == AUL_IMAGE || (change->kind == AUL_FILL && change->length == page_size);
}

/* Parses the change at `changes` (docs/api.md, packed changes) and checks every range. *used is
 * its size. A WRITE of a whole page comes out as IMAGE. AUL_INPUT says what is wrong. */
int aul_change_parse(u32 page_size, const u8 *changes, size_t left, aul_change *out, size_t *used,
                     aul_error *error);

/* Writes the record to `to`, which has aul_record_bytes(change) bytes. */
void aul_record_encode(u8 *to, const aul_change *change, u64 lsn, u32 seed);

/* Parses a record with `left` bytes before it ends, without its checksum: of bytes that are
 * known to be right. */
int aul_record_parse(const u8 *from, size_t left, u32 page_size, aul_change *out);

/* Parses a record with `left` bytes before it ends. AUL_CORRUPT when it is cut short, is no
 * valid record of this page size, or its checksum does not fit. */
int aul_record_decode(const u8 *from, size_t left, u32 page_size, u64 lsn, u32 seed,
                      aul_change *out);

/* Applies a decoded change to the page. */
void aul_record_redo(u8 *page, u32 page_size, const aul_change *change);

#endif
