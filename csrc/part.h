/* part.h: the index of one unsealed segment, in memory: for each page its records, newest first;
 * the segment's truncates and commits. Sealing sorts it into the segment's index run (run.h) and
 * drops it.
 *
 * Not locked here: page_index.h says who may touch it when. Room is reserved before a batch is
 * logged, so that adding it cannot fail. */
#ifndef AUL_PART_H
#define AUL_PART_H

#include "disk.h"

#define AUL_ENTRY_WHOLE 1u /* the page does not depend on older versions */
#define AUL_NONE 0xffffffffu

/* One record's place: the form in memory and in an index block. */
typedef struct {
    u64 page_flags; /* page << 8 | flags */
    u64 lsn;
    u32 offset; /* of the record in its segment */
    u32 bytes;  /* of the record with its header */
} aul_entry;

typedef struct {
    u64 lsn, pages;
} aul_truncate;

typedef struct {
    u64 lsn, time_ns, end_pages;
    u32 offset; /* of the batch's first frame; AUL_NO_OFFSET: in an older segment */
    u32 records;
} aul_commit;

/* Whether the commit is at or below lsn and was made at or before the time. Neither falls along
 * the log, so where it is false it is so of every later commit. */
static inline bool aul_commit_is_by(const aul_commit *commit, u64 time_ns, u64 lsn) {
    return commit->lsn <= lsn && commit->time_ns <= time_ns;
}

typedef struct {
    u64 page_plus_1; /* 0: free */
    u32 newest;      /* entry, AUL_NONE when all are cut away */
    u32 unused;
} aul_slot;

typedef struct {
    aul_disk *disk;
    aul_entry *entries; /* in LSN order */
    u32 *older;         /* for each entry the page's entry before it */
    size_t entry_count, entry_capacity, older_capacity;
    aul_slot *slots;
    size_t slot_count, pages; /* slot_count is a power of two, at most half of them used */
    aul_truncate *truncates;  /* in LSN order */
    size_t truncate_count, truncate_capacity;
    aul_commit *commits; /* in LSN order */
    size_t commit_count, commit_capacity;
} aul_part;

aul_part *aul_part_new(aul_disk *disk);
void aul_part_free(aul_part *part);
/* Makes room for so many more; AUL_NO_MEMORY leaves the part as it was. */
int aul_part_reserve(aul_part *part, size_t entries, size_t truncates, size_t commits);
void aul_part_add(aul_part *part, u64 page, u32 flags, u64 lsn, u32 offset, u32 bytes);
void aul_part_add_truncate(aul_part *part, u64 lsn, u64 pages);
void aul_part_add_commit(aul_part *part, const aul_commit *commit);
/* Adds the records of a frame's payload, whose first record starts at `at` in it and has LSN
 * first_lsn; room for `records` is reserved. False when the payload does not hold exactly that
 * many, or one that is no change of pages. */
bool aul_part_add_records(aul_part *part, u32 page_size, const u8 *payload, u32 bytes, u32 at,
                          u64 first_lsn, u32 records, u64 payload_offset);
/* Forgets everything above lsn. */
void aul_part_cut(aul_part *part, u64 lsn);
/* The page's newest entry, or AUL_NONE. */
u32 aul_part_newest(const aul_part *part, u64 page);
/* How many entries, or commits, are below lsn. */
size_t aul_part_entries_below(const aul_part *part, u64 lsn);
size_t aul_part_commits_below(const aul_part *part, u64 lsn);
/* The last commit at or below lsn, or NULL. */
const aul_commit *aul_part_commit(const aul_part *part, u64 lsn);
/* The first commit at or above lsn, or NULL. */
const aul_commit *aul_part_commit_of(const aul_part *part, u64 lsn);
/* The last commit at or below lsn that was made at or before the time, or NULL. */
const aul_commit *aul_part_commit_at(const aul_part *part, u64 time_ns, u64 lsn);

#endif
