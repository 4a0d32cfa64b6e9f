/* diff.c: see diff.h. Two differing ranges are one when the equal bytes between them cost less
 * than a record's header. */
#include "diff.h"

#define GAP_MAX AUL_RECORD_HEADER

static bool is_one_byte(const u8 *page, u32 page_size) {
    return memcmp(page, page + 1, page_size - 1) == 0;
}

/* First position at or after `at` where the pages differ; page_size when there is none. */
static u32 next_difference(const u8 *before, const u8 *after, u32 at, u32 page_size) {
    while (at < page_size && at % 8 != 0) {
        if (before[at] != after[at]) return at;
        at++;
    }
    while (at < page_size && get64(before + at) == get64(after + at)) at += 8;
    while (at < page_size && before[at] == after[at]) at++;
    return at;
}

#define STRIDE 32u

/* Whether the pages differ in each byte of a stride: no byte of their exclusive or is zero. */
static bool all_differ(const u8 *before, const u8 *after) {
    u64 zeros = 0;
    for (u32 i = 0; i < STRIDE; i += 8) {
        u64 different = get64(before + i) ^ get64(after + i);
        zeros |= (different - 0x0101010101010101u) & ~different;
    }
    return (zeros & 0x8080808080808080u) == 0;
}

/* End of the differing range that begins at `at`: behind it at least GAP_MAX bytes are equal, or
 * the page ends. */
static u32 range_end(const u8 *before, const u8 *after, u32 at, u32 page_size) {
    u32 end = at + 1;
    for (u32 i = at + 1; i < page_size && i - end < GAP_MAX;) {
        if (i + STRIDE <= page_size && all_differ(before + i, after + i)) {
            end = i += STRIDE;
            continue;
        }
        u32 stop = aul_min(page_size, i + STRIDE);
        for (; i < stop && i - end < GAP_MAX; i++)
            if (before[i] != after[i]) end = i + 1;
    }
    return end;
}

static size_t whole_page(u32 page_size, u64 page, const u8 *after, aul_change *out) {
    if (is_one_byte(after, page_size))
        *out = (aul_change){.kind = AUL_FILL, .page = page, .length = page_size, .extra = after[0]};
    else
        *out = (aul_change){.kind = AUL_IMAGE,
                            .page = page,
                            .length = page_size,
                            .data_bytes = page_size,
                            .data = after};
    return 1;
}

size_t aul_page_changes(u32 page_size, u64 page, const u8 *before, const u8 *after,
                        aul_change out[AUL_DIFF_CHANGES_MAX]) {
    size_t count = 0;
    u32 cost = 0;
    for (u32 at = next_difference(before, after, 0, page_size); at < page_size;) {
        u32 end = range_end(before, after, at, page_size);
        cost += AUL_RECORD_HEADER + (end - at);
        if (count == AUL_DIFF_CHANGES_MAX || cost >= AUL_RECORD_HEADER + page_size)
            return whole_page(page_size, page, after, out);
        out[count++] = (aul_change){.kind = AUL_WRITE,
                                    .page = page,
                                    .offset = at,
                                    .length = end - at,
                                    .data_bytes = end - at,
                                    .data = after + at};
        at = next_difference(before, after, end, page_size);
    }
    if (cost > AUL_RECORD_HEADER && is_one_byte(after, page_size))
        return whole_page(page_size, page, after, out);
    return count;
}
