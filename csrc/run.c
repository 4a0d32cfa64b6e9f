/* run.c: see run.h for blocks and fences.
 *
 * Trailer, 512 bytes:
 *   0  8 bytes magic "AULTRAIL"
 *   8  u32 crc32c over the file id, the trailer's offset and bytes 12..512
 *  12  u32 format version
 *  16  u64 first LSN          24  u64 last LSN         32  u64 end of the frames
 *  40  u64 index entries      48  u64 commits          56  u64 truncates
 *  64  u64 lowest page        72  u64 highest page + 1 80  u64 lowest truncate
 *  88  u64 last commit's time 96  u64 end of page space after it
 * 104  u64 last commit LSN in or before the segment
 * 112  u64 durable_before: the last LSN, for only durable segments are sealed
 * 120  u32 crc32c of the fences and truncates
 * 124  u32 crc32c of bytes [0, end of the frames)
 * 128  u64 bytes of the file  136 u64 epoch, the rest is zero
 */
#include "run.h"

static const char MAGIC[8] = "AULTRAIL";

#define BLOCK_HEADER 16u
#define RADIX_BITS 8

_Static_assert(sizeof(aul_entry) == 24 && BLOCK_HEADER + AUL_RUN_ENTRIES * 24 <= AUL_BLOCK,
               "index block");
_Static_assert(sizeof(aul_commit) == 32 && BLOCK_HEADER + AUL_RUN_COMMITS * 32 <= AUL_BLOCK,
               "commit block");
_Static_assert(sizeof(aul_truncate) == 16, "truncate");

static size_t blocks_for(u64 items, u32 each) { return (size_t)((items + each - 1) / each); }

static size_t fence_bytes(u64 entries, u64 commits, u64 truncates) {
    return blocks_for(entries, AUL_RUN_ENTRIES) * 16 + blocks_for(commits, AUL_RUN_COMMITS) * 8 +
           (size_t)truncates * 16;
}

static u64 footer_start(const aul_summary *summary) {
    return aul_round_up(summary->log_end, AUL_BLOCK);
}

static u64 commits_start(const aul_summary *summary) {
    return footer_start(summary) +
           blocks_for(summary->entry_count, AUL_RUN_ENTRIES) * (u64)AUL_BLOCK;
}

static u64 fences_start(const aul_summary *summary) {
    return commits_start(summary) +
           blocks_for(summary->commit_count, AUL_RUN_COMMITS) * (u64)AUL_BLOCK;
}

u64 aul_run_footer_bytes(u64 entries, u64 commits, u64 truncates) {
    return AUL_BLOCK +
           (blocks_for(entries, AUL_RUN_ENTRIES) + blocks_for(commits, AUL_RUN_COMMITS)) *
               (u64)AUL_BLOCK +
           fence_bytes(entries, commits, truncates) + AUL_TRAILER_BYTES;
}

static u32 placed_crc(const aul_segment *segment, u64 offset, const u8 *data, size_t bytes) {
    u8 place[AUL_ID_BYTES + 8];
    memcpy(place, segment->id, AUL_ID_BYTES);
    put64(place + AUL_ID_BYTES, offset);
    return aul_crc32c(aul_crc32c(0, place, sizeof place), data, bytes);
}

/* Stable radix sort by page of entries in LSN order; the result is in *from. Bytes that all
 * pages share are skipped. */
static void sort_by_page(aul_entry **from, aul_entry **to, size_t count) {
    u64 differ = 0;
    for (size_t i = 1; i < count; i++) differ |= (*from)[i].page_flags ^ (*from)[0].page_flags;
    for (int shift = 8; shift < 64; shift += RADIX_BITS) {
        if ((differ >> shift & 255) == 0) continue;
        size_t starts[256] = {0}, sum = 0;
        for (size_t i = 0; i < count; i++) starts[(*from)[i].page_flags >> shift & 255]++;
        for (int digit = 0; digit < 256; digit++) {
            size_t here = starts[digit];
            starts[digit] = sum;
            sum += here;
        }
        for (size_t i = 0; i < count; i++)
            (*to)[starts[(*from)[i].page_flags >> shift & 255]++] = (*from)[i];
        aul_entry *sorted = *to;
        *to = *from;
        *from = sorted;
    }
}

/* Writes blocks of `each` items of `size` bytes; returns the number of blocks. */
static size_t write_blocks(const aul_segment *segment, u8 *to, u64 offset, const void *items,
                           size_t count, u32 each, size_t size) {
    size_t blocks = blocks_for(count, each);
    for (size_t block = 0; block < blocks; block++) {
        u32 here = (u32)aul_min(each, count - block * each);
        u8 *at = to + block * AUL_BLOCK;
        put32(at + 4, here);
        memcpy(at + BLOCK_HEADER, (const u8 *)items + block * each * size, here * size);
        put32(at, placed_crc(segment, offset + block * AUL_BLOCK, at + 4, AUL_BLOCK - 4));
    }
    return blocks;
}

static void write_trailer(const aul_segment *segment, const aul_summary *summary, u8 *at,
                          u32 fences_crc) {
    memcpy(at, MAGIC, 8);
    put32(at + 12, AUL_FORMAT_VERSION);
    put64(at + 16, segment->first_lsn);
    put64(at + 24, summary->last_lsn);
    put64(at + 32, summary->log_end);
    put64(at + 40, summary->entry_count);
    put64(at + 48, summary->commit_count);
    put64(at + 56, summary->truncate_count);
    put64(at + 64, summary->page_low);
    put64(at + 72, summary->page_high);
    put64(at + 80, summary->truncate_low);
    put64(at + 88, summary->last_time_ns);
    put64(at + 96, summary->end_pages);
    put64(at + 104, summary->last_commit);
    put64(at + 112, summary->last_lsn);
    put32(at + 120, fences_crc);
    put32(at + 124, summary->whole_crc);
    put64(at + 128, summary->file_bytes);
    put64(at + 136, segment->epoch);
    put32(at + 8, placed_crc(segment, summary->file_bytes - AUL_TRAILER_BYTES, at + 12,
                             AUL_TRAILER_BYTES - 12));
}

static void write_fences(u8 *at, const aul_entry *entries, const aul_part *part) {
    for (size_t i = 0; i < part->entry_count; i += AUL_RUN_ENTRIES, at += 16) {
        put64(at, entries[i].page_flags);
        put64(at + 8, entries[i].lsn);
    }
    for (size_t i = 0; i < part->commit_count; i += AUL_RUN_COMMITS, at += 8)
        put64(at, part->commits[i].lsn);
    if (part->truncate_count)
        memcpy(at, part->truncates, part->truncate_count * sizeof *part->truncates);
}

static void summarise(aul_summary *summary, const aul_entry *sorted, const aul_part *part) {
    summary->entry_count = part->entry_count;
    summary->commit_count = part->commit_count;
    summary->truncate_count = part->truncate_count;
    summary->page_low = part->entry_count ? sorted[0].page_flags >> 8 : 0;
    summary->page_high =
        part->entry_count ? (sorted[part->entry_count - 1].page_flags >> 8) + 1 : 0;
    summary->truncate_low = UINT64_MAX;
    for (size_t i = 0; i < part->truncate_count; i++)
        summary->truncate_low = aul_min(summary->truncate_low, part->truncates[i].pages);
    summary->file_bytes =
        fences_start(summary) +
        fence_bytes(summary->entry_count, summary->commit_count, summary->truncate_count) +
        AUL_TRAILER_BYTES;
}

int aul_run_build(aul_disk *disk, const aul_segment *segment, const aul_part *part,
                  aul_summary *summary, u8 **rest, size_t *bytes) {
    aul_entry *sorted = aul_alloc(disk, (part->entry_count + 1) * sizeof *sorted);
    aul_entry *scratch = aul_alloc(disk, (part->entry_count + 1) * sizeof *scratch);
    u8 *built = NULL;
    if (sorted && scratch) {
        if (part->entry_count) memcpy(sorted, part->entries, part->entry_count * sizeof *sorted);
        sort_by_page(&sorted, &scratch, part->entry_count);
        summarise(summary, sorted, part);
        *bytes = (size_t)(summary->file_bytes - summary->log_end);
        built = aul_alloc_zero(disk, *bytes);
    }
    if (built) {
        u64 end = summary->log_end, start = footer_start(summary), commits = commits_start(summary),
            fences_at = fences_start(summary) - end;
        write_blocks(segment, built + (start - end), start, sorted, part->entry_count,
                     AUL_RUN_ENTRIES, sizeof *sorted);
        write_blocks(segment, built + (commits - end), commits, part->commits, part->commit_count,
                     AUL_RUN_COMMITS, sizeof *part->commits);
        write_fences(built + fences_at, sorted, part);
        u64 trailer_at = *bytes - AUL_TRAILER_BYTES;
        write_trailer(segment, summary, built + trailer_at,
                      aul_crc32c(0, built + fences_at, trailer_at - fences_at));
    }
    aul_release(disk, sorted);
    aul_release(disk, scratch);
    *rest = built;
    return built ? AUL_OK : AUL_NO_MEMORY;
}

static int read_trailer_block(aul_files *files, aul_segment *segment, u8 *trailer, u64 *size,
                              aul_error *error) {
    int file;
    int status = aul_files_acquire(files, segment, false, &file, error);
    if (status) return status;
    int failed = files->disk->size(files->disk->context, file, size);
    aul_files_release(files, segment);
    if (failed)
        return aul_fail_os(error, failed, "looking at the size of a log segment", segment->name);
    if (*size < AUL_BLOCK + AUL_TRAILER_BYTES)
        return aul_fail_at(error, AUL_CORRUPT, segment->name, *size, segment->first_lsn,
                           "%s is too short", segment->name);
    return aul_files_read(files, segment, trailer, AUL_TRAILER_BYTES, *size - AUL_TRAILER_BYTES,
                          error);
}

int aul_run_read_trailer(aul_files *files, aul_segment *segment, aul_summary *summary,
                         aul_error *error) {
    u8 at[AUL_TRAILER_BYTES];
    u64 size;
    int status = read_trailer_block(files, segment, at, &size, error);
    if (status) return status;
    if (memcmp(at, MAGIC, 8) != 0 ||
        !aul_crc_fits(get32(at + 8), placed_crc(segment, size - AUL_TRAILER_BYTES, at + 12,
                                                AUL_TRAILER_BYTES - 12)))
        return aul_fail_at(error, AUL_CORRUPT, segment->name, size - AUL_TRAILER_BYTES,
                           segment->first_lsn, "%s has no valid trailer", segment->name);
    if (get32(at + 12) != AUL_FORMAT_VERSION)
        return aul_fail(error, AUL_FORMAT, "%s has format %u: use a newer aurolog", segment->name,
                        get32(at + 12));
    *summary = (aul_summary){.log_end = get64(at + 32),
                             .last_lsn = get64(at + 24),
                             .file_bytes = get64(at + 128),
                             .entry_count = get64(at + 40),
                             .commit_count = get64(at + 48),
                             .truncate_count = get64(at + 56),
                             .page_low = get64(at + 64),
                             .page_high = get64(at + 72),
                             .truncate_low = get64(at + 80),
                             .last_time_ns = get64(at + 88),
                             .end_pages = get64(at + 96),
                             .last_commit = get64(at + 104),
                             .whole_crc = get32(at + 124)};
    u64 limit = size / 8; /* no count is larger: keeps the sums below from overflowing */
    if (get64(at + 16) != segment->first_lsn || get64(at + 136) != segment->epoch ||
        summary->file_bytes != size || summary->entry_count > limit ||
        summary->commit_count > limit || summary->truncate_count > limit ||
        summary->log_end > size ||
        fences_start(summary) +
                fence_bytes(summary->entry_count, summary->commit_count, summary->truncate_count) +
                AUL_TRAILER_BYTES !=
            size)
        return aul_fail_at(error, AUL_CORRUPT, segment->name, size - AUL_TRAILER_BYTES,
                           segment->first_lsn, "the trailer of %s does not fit its file",
                           segment->name);
    return AUL_OK;
}

static void free_fences(aul_disk *disk, aul_fences *fences) {
    aul_release(disk, fences->fences);
    aul_release(disk, fences->commit_fences);
    aul_release(disk, fences->truncates);
    aul_release(disk, fences);
}

static int read_fences(aul_files *files, aul_segment *segment, aul_fences **out, aul_error *error) {
    aul_disk *disk = files->disk;
    const aul_summary *summary = &segment->summary;
    size_t blocks = blocks_for(summary->entry_count, AUL_RUN_ENTRIES);
    size_t commit_blocks = blocks_for(summary->commit_count, AUL_RUN_COMMITS);
    size_t bytes =
        fence_bytes(summary->entry_count, summary->commit_count, summary->truncate_count);
    u64 start = fences_start(summary);
    aul_fences *fences = aul_alloc_zero(disk, sizeof *fences);
    if (!fences) return aul_fail(error, AUL_NO_MEMORY, "no memory for an index run");
    fences->block_count = blocks;
    fences->commit_block_count = commit_blocks;
    fences->truncate_count = (size_t)summary->truncate_count;
    fences->fences = aul_alloc(disk, blocks * 16 + 1);
    fences->commit_fences = aul_alloc(disk, commit_blocks * 8 + 1);
    fences->truncates = aul_alloc(disk, fences->truncate_count * 16 + 1);
    u8 *raw = aul_alloc(disk, bytes + AUL_TRAILER_BYTES);
    int status = AUL_OK;
    if (!fences->fences || !fences->commit_fences || !fences->truncates || !raw)
        status = aul_fail(error, AUL_NO_MEMORY, "no memory for an index run");
    if (!status)
        status = aul_files_read(files, segment, raw, bytes + AUL_TRAILER_BYTES, start, error);
    if (!status && !aul_crc_fits(get32(raw + bytes + 120), aul_crc32c(0, raw, bytes)))
        status = aul_fail_at(
            error, AUL_CORRUPT, segment->name, start, segment->first_lsn,
            "the fences of the index run in %s are damaged: restore the file from a copy",
            segment->name);
    if (!status) {
        memcpy(fences->fences, raw, blocks * 16);
        memcpy(fences->commit_fences, raw + blocks * 16, commit_blocks * 8);
        memcpy(fences->truncates, raw + blocks * 16 + commit_blocks * 8,
               fences->truncate_count * 16);
        *out = fences;
    } else {
        free_fences(disk, fences);
    }
    aul_release(disk, raw);
    return status;
}

/* That the header is damaged is for verify to tell, the trailer vouches for what is read. */
int aul_run_check_features(aul_files *files, aul_segment *segment, aul_error *error) {
    u8 block[AUL_BLOCK];
    aul_segment header = {.file = -1};
    aul_error failure = {0};
    int status = aul_files_read(files, segment, block, AUL_BLOCK, 0, &failure);
    if (!status) status = aul_segment_decode_header(block, &header, &failure);
    if (!status || status == AUL_CORRUPT) return AUL_OK;
    if (error) *error = failure;
    return status;
}

int aul_run_load(aul_files *files, aul_segment *segment, const aul_fences **out, aul_error *error) {
    aul_fences *fences = atomic_load_explicit(&segment->fences, memory_order_acquire);
    if (!fences) {
        /* The trailer is checked once more here: it is what vouches for the fences' checksum. */
        aul_summary summary;
        int status = aul_run_check_features(files, segment, error);
        if (!status) status = aul_run_read_trailer(files, segment, &summary, error);
        if (!status && memcmp(&summary, &segment->summary, sizeof summary) != 0)
            status = aul_fail_at(error, AUL_CORRUPT, segment->name, summary.file_bytes,
                                 segment->first_lsn,
                                 "the trailer of %s says something else than the MANIFEST: restore "
                                 "the file from a copy",
                                 segment->name);
        if (!status) status = read_fences(files, segment, &fences, error);
        if (status) return status;
        aul_fences *other = NULL;
        if (!atomic_compare_exchange_strong(&segment->fences, &other, fences)) {
            free_fences(files->disk, fences);
            fences = other;
        }
    }
    *out = fences;
    return AUL_OK;
}

static int read_block(aul_files *files, aul_segment *segment, u64 offset, u8 block[AUL_BLOCK],
                      u32 most, u32 *count, aul_error *error) {
    int status = aul_files_read(files, segment, block, AUL_BLOCK, offset, error);
    if (status) return status;
    *count = get32(block + 4);
    if (!aul_crc_fits(get32(block), placed_crc(segment, offset, block + 4, AUL_BLOCK - 4)) ||
        *count == 0 || *count > most)
        return aul_fail_at(error, AUL_CORRUPT, segment->name, offset, segment->first_lsn,
                           "an index block of %s is damaged: restore the file from a copy",
                           segment->name);
    return AUL_OK;
}

int aul_run_read_block(aul_run_cursor *cursor, size_t block, aul_error *error) {
    u8 raw[AUL_BLOCK];
    u64 offset = footer_start(&cursor->segment->summary) + block * (u64)AUL_BLOCK;
    int status = read_block(cursor->files, cursor->segment, offset, raw, AUL_RUN_ENTRIES,
                            &cursor->count, error);
    if (status) return status;
    cursor->block = block;
    memcpy(cursor->entries, raw + BLOCK_HEADER, cursor->count * sizeof(aul_entry));
    return AUL_OK;
}

/* Whether the entry (page_flags, entry_lsn) is at or below (page, lsn). */
static inline bool at_or_below(u64 page_flags, u64 entry_lsn, u64 page, u64 lsn) {
    u64 entry_page = page_flags >> 8;
    return entry_page < page || (entry_page == page && entry_lsn <= lsn);
}

int aul_run_seek(aul_run_cursor *cursor, u64 page, u64 lsn, aul_error *error) {
    int status = aul_run_load(cursor->files, cursor->segment, &cursor->fences, error);
    if (status) return status;
    const u64 *fences = cursor->fences->fences;
    size_t low = 0, high = cursor->fences->block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (at_or_below(fences[middle * 2], fences[middle * 2 + 1], page, lsn))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return AUL_END;
    status = aul_run_read_block(cursor, low - 1, error);
    if (status) return status;
    u32 first = 0, last = cursor->count;
    while (first < last) {
        u32 middle = (first + last) / 2;
        const aul_entry *entry = &cursor->entries[middle];
        if (at_or_below(entry->page_flags, entry->lsn, page, lsn))
            first = middle + 1;
        else
            last = middle;
    }
    if (first == 0) return AUL_END;
    cursor->at = first - 1;
    return cursor->entries[cursor->at].page_flags >> 8 == page ? AUL_OK : AUL_END;
}

int aul_run_fail_order(const aul_segment *segment, u64 lsn, aul_error *error) {
    return aul_fail_at(error, AUL_CORRUPT, segment->name, 0, lsn,
                       "the index run of %s is not in order: restore the file from a copy",
                       segment->name);
}

int aul_run_older(aul_run_cursor *cursor, aul_error *error) {
    u64 page = cursor->entries[cursor->at].page_flags >> 8;
    if (cursor->at == 0) {
        if (cursor->block == 0) return AUL_END;
        int status = aul_run_read_block(cursor, cursor->block - 1, error);
        if (status) return status;
        cursor->at = cursor->count;
    }
    cursor->at--;
    return cursor->entries[cursor->at].page_flags >> 8 == page ? AUL_OK : AUL_END;
}

/* Whether the entry (page_flags, entry_lsn) is below (page, lsn). */
static inline bool is_below(u64 page_flags, u64 entry_lsn, u64 page, u64 lsn) {
    u64 entry_page = page_flags >> 8;
    return entry_page < page || (entry_page == page && entry_lsn < lsn);
}

static inline bool entry_is_below(const aul_run_cursor *cursor, u32 at, u64 page, u64 lsn) {
    const aul_entry *entry = &cursor->entries[at];
    return is_below(entry->page_flags, entry->lsn, page, lsn);
}

/* The block to look in for (page, lsn): the last that begins below it, from `low` on. */
static size_t block_for(const aul_fences *fences, size_t low, u64 page, u64 lsn) {
    size_t first = low, high = fences->block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (is_below(fences->fences[middle * 2], fences->fences[middle * 2 + 1], page, lsn))
            low = middle + 1;
        else
            high = middle;
    }
    return low > first ? low - 1 : first;
}

int aul_run_go_on(aul_run_cursor *cursor, u64 page, u64 lsn, aul_error *error) {
    bool begun = cursor->fences != NULL;
    int status =
        begun ? AUL_OK : aul_run_load(cursor->files, cursor->segment, &cursor->fences, error);
    if (status) return status;
    size_t block = begun ? cursor->block : 0;
    u32 low = begun ? cursor->at : 0;
    if (!begun || entry_is_below(cursor, cursor->count - 1, page, lsn)) {
        block = block_for(cursor->fences, block, page, lsn);
        if (block == cursor->fences->block_count) return AUL_END;
        if (!begun || block != cursor->block) status = aul_run_read_block(cursor, block, error);
        low = 0;
        if (!status && entry_is_below(cursor, cursor->count - 1, page, lsn)) {
            if (block + 1 == cursor->fences->block_count) return AUL_END;
            status = aul_run_read_block(cursor, block + 1, error);
        }
        if (status) return status;
    }
    /* Mostly it is the next one. */
    u32 high = cursor->count - 1;
    if (low < high && !entry_is_below(cursor, low + 1, page, lsn)) high = low + 1;
    while (low < high) {
        u32 middle = (low + high) / 2;
        if (entry_is_below(cursor, middle, page, lsn))
            low = middle + 1;
        else
            high = middle;
    }
    cursor->at = low;
    if (AUL_UNLIKELY(entry_is_below(cursor, low, page, lsn)))
        return aul_run_fail_order(cursor->segment, cursor->entries[low].lsn, error);
    return AUL_OK;
}

int aul_run_read_commits(aul_files *files, aul_segment *segment, size_t block,
                         aul_commit commits[AUL_RUN_COMMITS], u32 *count, aul_error *error) {
    u8 raw[AUL_BLOCK];
    u64 offset = commits_start(&segment->summary) + block * (u64)AUL_BLOCK;
    int status = read_block(files, segment, offset, raw, AUL_RUN_COMMITS, count, error);
    if (!status) memcpy(commits, raw + BLOCK_HEADER, *count * sizeof *commits);
    return status;
}

/* How many commit blocks begin at or below lsn. */
static size_t commit_blocks_to(const aul_fences *fences, u64 lsn) {
    size_t low = 0, high = fences->commit_block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (fences->commit_fences[middle] <= lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int aul_run_commit(aul_files *files, aul_segment *segment, u64 lsn, aul_commit *out,
                   aul_error *error) {
    const aul_fences *fences;
    aul_commit commits[AUL_RUN_COMMITS];
    u32 count;
    int status = aul_run_load(files, segment, &fences, error);
    if (status) return status;
    size_t block = commit_blocks_to(fences, lsn);
    if (block == 0) return AUL_END;
    status = aul_run_read_commits(files, segment, block - 1, commits, &count, error);
    if (status) return status;
    for (u32 i = count; i-- > 0;)
        if (commits[i].lsn <= lsn) {
            *out = commits[i];
            return AUL_OK;
        }
    return AUL_END;
}

int aul_run_commit_of(aul_files *files, aul_segment *segment, u64 lsn, aul_commit *out,
                      aul_error *error) {
    const aul_fences *fences;
    aul_commit commits[AUL_RUN_COMMITS];
    u32 count;
    int status = aul_run_load(files, segment, &fences, error);
    if (status) return status;
    size_t block = commit_blocks_to(fences, lsn);
    /* In the block that begins at or below lsn, or else first in the next. */
    for (size_t i = block ? block - 1 : 0; i < fences->commit_block_count && i <= block; i++) {
        status = aul_run_read_commits(files, segment, i, commits, &count, error);
        if (status) return status;
        for (u32 c = 0; c < count; c++)
            if (commits[c].lsn >= lsn) {
                *out = commits[c];
                return AUL_OK;
            }
    }
    return AUL_END;
}

int aul_run_commit_at(aul_files *files, aul_segment *segment, u64 time_ns, u64 lsn, aul_commit *out,
                      aul_error *error) {
    const aul_fences *fences;
    aul_commit commits[AUL_RUN_COMMITS];
    u32 count;
    bool found = false;
    int status = aul_run_load(files, segment, &fences, error);
    if (status) return status;
    /* Fences have no times: each step of the search reads a block. */
    size_t low = 0, high = commit_blocks_to(fences, lsn);
    while (low < high) {
        size_t middle = (low + high) / 2;
        status = aul_run_read_commits(files, segment, middle, commits, &count, error);
        if (status) return status;
        u32 by = 0;
        while (by < count && aul_commit_is_by(&commits[by], time_ns, lsn)) by++;
        if (by) *out = commits[by - 1];
        found |= by > 0;
        if (by > 0 && by < count) break;
        if (by)
            low = middle + 1;
        else
            high = middle;
    }
    return found ? AUL_OK : AUL_END;
}

int aul_run_commits_below(aul_files *files, aul_segment *segment, u64 lsn, u64 *below,
                          aul_error *error) {
    const aul_fences *fences;
    aul_commit commits[AUL_RUN_COMMITS];
    u32 count;
    *below = 0;
    int status = aul_run_load(files, segment, &fences, error);
    size_t blocks = status || lsn == 0 ? 0 : commit_blocks_to(fences, lsn - 1);
    if (blocks == 0) return status;
    status = aul_run_read_commits(files, segment, blocks - 1, commits, &count, error);
    if (status) return status;
    while (count && commits[count - 1].lsn >= lsn) count--;
    *below = (blocks - 1) * (u64)AUL_RUN_COMMITS + count;
    return AUL_OK;
}
