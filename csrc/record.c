/* record.c: see record.h for the format. */
#include "record.h"

static int check_page(u32 page_size, u64 page, aul_error *error) {
    u64 pages_max = aul_pages_max(page_size);
    if (AUL_LIKELY(page < pages_max)) return AUL_OK;
    aul_fail(error, AUL_INPUT, "page %llu is outside the volume, whose pages are 0 to %llu",
             (unsigned long long)page, (unsigned long long)pages_max - 1);
    if (error) error->limit = pages_max;
    return AUL_INPUT;
}

static int check_range(u32 page_size, const char *what, u64 offset, u64 length, aul_error *error) {
    if (AUL_LIKELY(offset + length <= page_size)) return AUL_OK;
    return aul_fail(error, AUL_INPUT, "%s of %llu bytes at offset %llu passes the page's end at %u",
                    what, (unsigned long long)length, (unsigned long long)offset, page_size);
}

/* Ranges of a change whose fields are read already; the same rules hold for callers' changes and
 * for records of the log. */
static int check_change(u32 page_size, aul_change *change, aul_error *error) {
    u64 length = change->length;
    change->data_bytes = 0;
    switch (change->kind) {
    case AUL_WRITE:
        change->data_bytes = change->length;
        if (check_range(page_size, "a write", change->offset, length, error)) return AUL_INPUT;
        break;
    case AUL_MOVE:
        if (check_range(page_size, "a move to", change->offset, length, error)) return AUL_INPUT;
        if (check_range(page_size, "a move from", change->extra, length, error)) return AUL_INPUT;
        break;
    case AUL_FILL:
        if (change->extra > 255)
            return aul_fail(error, AUL_INPUT, "a fill's byte is 0 to 255, not %u", change->extra);
        if (check_range(page_size, "a fill", change->offset, length, error)) return AUL_INPUT;
        break;
    case AUL_IMAGE:
        if (change->offset != 0 || length != page_size)
            return aul_fail(error, AUL_INPUT,
                            "an image has offset 0 and the page size %u as length", page_size);
        change->data_bytes = page_size;
        break;
    case AUL_TRUNCATE:
        if (change->page > aul_pages_max(page_size))
            return aul_fail(error, AUL_INPUT, "truncate to %llu pages: a volume has at most %llu",
                            (unsigned long long)change->page,
                            (unsigned long long)aul_pages_max(page_size));
        return AUL_OK;
    default:
        return aul_fail(error, AUL_INPUT, "%u is no kind of change", change->kind);
    }
    return check_page(page_size, change->page, error);
}

int aul_change_parse(u32 page_size, const u8 *changes, size_t left, aul_change *out, size_t *used,
                     aul_error *error) {
    if (left < AUL_CHANGE_HEADER)
        return aul_fail(error, AUL_INPUT, "a packed change needs %u header bytes, %zu are left",
                        AUL_CHANGE_HEADER, left);
    out->kind = changes[0];
    out->offset = get16(changes + 2);
    out->length = get16(changes + 4);
    if (out->length == 0 && out->kind != AUL_TRUNCATE) out->length = 65536;
    out->extra = get16(changes + 6);
    out->page = get64(changes + 8);
    if (changes[1] != 0)
        return aul_fail(error, AUL_INPUT, "byte 1 of a packed change is zero, not %u", changes[1]);
    bool put = out->kind == AUL_PUT;
    if (put) out->kind = AUL_IMAGE; /* and so it is checked */
    int status = check_change(page_size, out, error);
    if (status) return status;
    if (put) out->kind = AUL_PUT;
    if (left - AUL_CHANGE_HEADER < out->data_bytes)
        return aul_fail(error, AUL_INPUT, "a packed change has %u data bytes, %zu are left",
                        out->data_bytes, left - AUL_CHANGE_HEADER);
    out->data = changes + AUL_CHANGE_HEADER;
    *used = AUL_CHANGE_HEADER + out->data_bytes;
    if (out->kind == AUL_WRITE && out->length == page_size) out->kind = AUL_IMAGE;
    return AUL_OK;
}

static u32 record_crc(const u8 *record, u32 bytes, u64 lsn, u32 seed) {
    u8 number[8];
    put64(number, lsn);
    return aul_crc32c(aul_crc32c(seed, number, 8), record + 4, bytes - 4);
}

void aul_record_encode(u8 *to, const aul_change *change, u64 lsn, u32 seed) {
    put64(to + 4,
          (u64)change->kind | change->page << 8); /* bytes 10 and 11 are written over next */
    put16(to + 10, change->offset);
    put16(to + 12, change->length);
    put16(to + 14, change->extra);
    if (change->data_bytes) memcpy(to + AUL_RECORD_HEADER, change->data, change->data_bytes);
    put32(to, record_crc(to, aul_record_bytes(change), lsn, seed));
}

int aul_record_parse(const u8 *from, size_t left, u32 page_size, aul_change *out) {
    if (left < AUL_RECORD_HEADER) return AUL_CORRUPT;
    u64 word = get64(from + 4);
    out->kind = word & 255;
    out->page = word >> 8 & 0xffffffffffull;
    out->offset = get16(from + 10);
    out->length = get16(from + 12);
    out->extra = get16(from + 14);
    out->data = from + AUL_RECORD_HEADER;
    if (out->kind >= AUL_BRANCH_POINT && out->kind <= AUL_CLEAN_CLOSE) {
        out->data_bytes = out->length;
    } else {
        if (out->length == 0 && out->kind != AUL_TRUNCATE) out->length = 65536;
        if (check_change(page_size, out, NULL)) return AUL_CORRUPT;
    }
    return left - AUL_RECORD_HEADER < out->data_bytes ? AUL_CORRUPT : AUL_OK;
}

int aul_record_decode(const u8 *from, size_t left, u32 page_size, u64 lsn, u32 seed,
                      aul_change *out) {
    if (aul_record_parse(from, left, page_size, out)) return AUL_CORRUPT;
    if (!aul_crc_fits(get32(from), record_crc(from, aul_record_bytes(out), lsn, seed)))
        return AUL_CORRUPT;
    return AUL_OK;
}

void aul_record_redo(u8 *page, u32 page_size, const aul_change *change) {
    switch (change->kind) {
    case AUL_WRITE:
        memcpy(page + change->offset, change->data, change->length);
        break;
    case AUL_MOVE:
        memmove(page + change->offset, page + change->extra, change->length);
        break;
    case AUL_FILL:
        memset(page + change->offset, (int)change->extra, change->length);
        break;
    case AUL_IMAGE:
        memcpy(page, change->data, page_size);
        break;
    default:
        break; /* TRUNCATE and control records change no page */
    }
}
