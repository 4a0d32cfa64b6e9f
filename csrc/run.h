/* run.h: the footer of a sealed segment: an index run, the commits, the truncates and a trailer.
 *
 * The footer begins at the frames' end, rounded up to 4,096 (zeros lie between), and ends the file:
 *   index blocks   4,096 bytes each: u32 crc, u32 count, u64 zero, then up to 170 entries of 24
 *   bytes by (page, LSN):
 *                  u64 page << 8 | flags, u64 LSN, u32 offset of the record, u32 bytes of the
 *                  record
 *   commit blocks  4,096 bytes each: u32 crc, u32 count, u64 zero, then up to 127 entries of 32
 *   bytes by LSN:
 *                  u64 commit LSN, u64 time, u64 end of page space, u32 offset of the batch's
 *                  first frame, u32 records
 *   fences         for each index block page << 8 | flags and LSN of its first entry, for each
 *   commit block its first LSN, then
 *                  the truncates (u64 LSN, u64 pages) by LSN
 *   trailer        the last 512 bytes of the file, see run.c
 *
 * A block's crc covers the file id, the block's offset and bytes 4..4096; so no block is taken
 * for another. */
#ifndef AUL_RUN_H
#define AUL_RUN_H

#include "files.h"

#define AUL_RUN_ENTRIES 170u
#define AUL_RUN_COMMITS 127u
#define AUL_TRAILER_BYTES 512u

/* Size of the footer for so many entries, at most. */
u64 aul_run_footer_bytes(u64 entries, u64 commits, u64 truncates);

/* Builds what follows the frames of a full, durable segment, from its part: zeros up to the footer,
 * and the footer; fills in `summary` (whose log_end, last_lsn, whole_crc, last_time_ns, end_pages
 * and last_commit the caller has set). *rest is for the caller to release. */
int aul_run_build(aul_disk *disk, const aul_segment *segment, const aul_part *part,
                  aul_summary *summary, u8 **rest, size_t *bytes);

/* Reads and checks a trailer. AUL_CORRUPT when the file has none: it is not sealed. */
int aul_run_read_trailer(aul_files *files, aul_segment *segment, aul_summary *summary,
                         aul_error *error);

/* Refuses a segment that needs a feature which this build does not know: its header says so. */
int aul_run_check_features(aul_files *files, aul_segment *segment, aul_error *error);

/* Loads the fences and truncates, once. */
int aul_run_load(aul_files *files, aul_segment *segment, const aul_fences **fences,
                 aul_error *error);

/* An entry of a run and the block around it. */
typedef struct {
    aul_files *files;
    aul_segment *segment;
    const aul_fences *fences;
    size_t block;
    u32 count, at;
    aul_entry entries[AUL_RUN_ENTRIES];
} aul_run_cursor;

/* Reads and checks one index block. */
int aul_run_read_block(aul_run_cursor *cursor, size_t block, aul_error *error);
/* The last entry of `page` at or below lsn; AUL_END when there is none. */
int aul_run_seek(aul_run_cursor *cursor, u64 page, u64 lsn, aul_error *error);
/* AUL_CORRUPT: the entry with that LSN does not stand where it belongs. */
int aul_run_fail_order(const aul_segment *segment, u64 lsn, aul_error *error);
/* The entry before it of the same page; AUL_END when there is none. */
int aul_run_older(aul_run_cursor *cursor, aul_error *error);
/* Goes on to the first entry at or above (page, lsn), which is above where the cursor is; from the
 * beginning when it has no fences yet. What lies between is passed without reading it. AUL_END when
 * there is none. */
int aul_run_go_on(aul_run_cursor *cursor, u64 page, u64 lsn, aul_error *error);

/* Reads and checks one commit block. */
int aul_run_read_commits(aul_files *files, aul_segment *segment, size_t block,
                         aul_commit commits[AUL_RUN_COMMITS], u32 *count, aul_error *error);
/* The last commit at or below lsn; AUL_END when there is none. */
int aul_run_commit(aul_files *files, aul_segment *segment, u64 lsn, aul_commit *out,
                   aul_error *error);
/* The first commit at or above lsn; AUL_END when there is none. */
int aul_run_commit_of(aul_files *files, aul_segment *segment, u64 lsn, aul_commit *out,
                      aul_error *error);
/* The last commit at or below lsn that was made at or before the time; AUL_END when there is
 * none. */
int aul_run_commit_at(aul_files *files, aul_segment *segment, u64 time_ns, u64 lsn, aul_commit *out,
                      aul_error *error);
/* How many commits are below lsn. */
int aul_run_commits_below(aul_files *files, aul_segment *segment, u64 lsn, u64 *count,
                          aul_error *error);

#endif
