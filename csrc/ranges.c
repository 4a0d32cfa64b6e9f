/* ranges.c: see ranges.h. */
#include "ranges.h"

/* A path as the borders at which, going down from its LSN, it begins and ends, by turns: above the
 * LSN, at a hole's end, at that hole's start, ..., at `from`. */
static size_t border_count(const aul_path *path) { return path ? 2 * path->count + 2 : 0; }

static u64 border(const aul_path *path, size_t i, u64 from) {
    u64 top = path->lsn + 1, at = top;
    if (i) {
        size_t hole = (i - 1) / 2;
        at = hole == path->count ? from : i % 2 ? path->holes[hole].end : path->holes[hole].start;
    }
    return aul_max(from, aul_min(at, top));
}

/* Adds a range below the last one. */
static int add_below(aul_ranges *ranges, u64 start, u64 end) {
    if (start == end) return AUL_OK;
    if (ranges->count && ranges->items[ranges->count - 1].start == end) {
        ranges->items[ranges->count - 1].start = start;
        return AUL_OK;
    }
    int status = aul_grow(ranges->disk, (void **)&ranges->items, &ranges->capacity,
                          ranges->count + 1, sizeof *ranges->items);
    if (!status) ranges->items[ranges->count++] = (aul_range){start, end};
    return status;
}

static void turn_round(aul_ranges *ranges) {
    for (size_t low = 0, high = ranges->count; low + 1 < high; low++) {
        aul_range lower = ranges->items[low];
        ranges->items[low] = ranges->items[--high];
        ranges->items[high] = lower;
    }
}

int aul_ranges_between(const aul_path *a, const aul_path *b, u64 from, u32 which, aul_ranges *out) {
    size_t a_count = border_count(a), b_count = border_count(b), a_at = 0, b_at = 0;
    u64 above = 0; /* the border last passed */
    int status = AUL_OK;
    while ((a_at < a_count || b_at < b_count) && !status) {
        u64 next_a = a_at < a_count ? border(a, a_at, from) : 0;
        u64 next_b = b_at < b_count ? border(b, b_at, from) : 0;
        u64 at = aul_max(next_a, next_b);
        u32 here = (a_at % 2 ? AUL_ONLY_A : 0) | (b_at % 2 ? AUL_ONLY_B : 0);
        if (here != AUL_ONLY_ONE && here & which) status = add_below(out, at, above);
        if (next_a >= next_b)
            a_at++;
        else
            b_at++;
        above = at;
    }
    turn_round(out);
    return status;
}

void aul_ranges_free(aul_ranges *ranges) {
    aul_release(ranges->disk, ranges->items);
    ranges->items = NULL;
    ranges->count = ranges->capacity = 0;
}

/* The first range that ends above lsn. */
static size_t find(const aul_ranges *ranges, u64 lsn) {
    size_t low = 0, high = ranges->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges->items[middle].end <= lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

u64 aul_ranges_next(const aul_ranges *ranges, u64 lsn) {
    size_t at = find(ranges, lsn);
    return at < ranges->count ? aul_max(ranges->items[at].start, lsn) : UINT64_MAX;
}

u64 aul_ranges_last(const aul_ranges *ranges, u64 lsn) {
    size_t at = find(ranges, lsn);
    if (at < ranges->count && ranges->items[at].start <= lsn) return lsn;
    return at ? ranges->items[at - 1].end - 1 : 0;
}
