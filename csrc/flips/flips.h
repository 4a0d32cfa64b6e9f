/* flips.h: every bit of a few small volumes flipped, and larger damage, one at a time.
 *
 *   flips.c          the command: options, processes, the report
 *   flips_volume.c   the volumes: what the engine does to make them, and which byte is what
 *   flips_damage.c   the list of all damage to a volume
 *   flips_allowed.c  what may become of each
 *   flips_check.c    what becomes of a damaged volume
 *
 * Volumes are made by the crash campaign's operations and compared with its model (../crash). All
 * is a function of seed, volume and number of the damage. */
#ifndef AUL_FLIPS_H
#define AUL_FLIPS_H

#include "../crash/crash.h"

#define FLIPS_VOLUMES 6u
#define FLIPS_FILES_MAX 40u
#define FLIPS_OLDER_MAX 120u

/* What a byte is for. */
typedef enum {
    FLIPS_MANIFEST,
    FLIPS_HEADER,
    FLIPS_HEADER_COPY,
    FLIPS_HEADER_ZEROS,
    FLIPS_FRAME_HEADER,
    FLIPS_BATCH_HEADER,
    FLIPS_RECORDS,
    FLIPS_PADDING,
    FLIPS_GAP,
    FLIPS_INDEX,
    FLIPS_COMMITS,
    FLIPS_FENCES,
    FLIPS_BLOCK_ZEROS, /* behind the entries of an index or commit block */
    FLIPS_TRAILER,
    FLIPS_BEHIND,
    FLIPS_DEAD, /* MANIFEST.new, the spare */
    FLIPS_LOCK,
    FLIPS_RESERVE,
    FLIPS_REGIONS
} flips_region;

/* What is done to it. */
typedef enum {
    FLIPS_BIT,
    FLIPS_ZEROED,
    FLIPS_SWAPPED,
    FLIPS_DUPLICATED,
    FLIPS_OF_ANOTHER, /* the same place of another file stands here */
    FLIPS_EXCHANGED,  /* two files */
    FLIPS_FOREIGN,    /* another volume's file */
    FLIPS_MISSING,
    FLIPS_TRUNCATED,
    FLIPS_APPENDED,
    FLIPS_OLDER, /* the file as it was before */
    FLIPS_KINDS
} flips_kind;

/* Rows of the report: regions for flips, then the other kinds. */
#define FLIPS_ROWS (FLIPS_REGIONS + FLIPS_KINDS - 1)

typedef enum {
    FLIPS_REFUSED,  /* the volume does not open, and says why */
    FLIPS_READ,     /* a read fails, and says why; all others are right */
    FLIPS_VERIFIED, /* all reads are right, verify tells */
    FLIPS_TORN,     /* the log ends earlier, where nothing says that more was durable */
    FLIPS_HARMLESS, /* all is there, and verify finds nothing */
    FLIPS_OUTCOMES
} flips_outcome;

/* What a file is to the next opening. */
typedef enum {
    FLIPS_CLOSED,   /* of a volume that was closed cleanly */
    FLIPS_SEALED,   /* a segment that is listed as sealed */
    FLIPS_UNSEALED, /* one that the log ends in, or that is bounded */
    FLIPS_DROPPED,  /* one whose log is written again, in another file */
    FLIPS_FATES
} flips_fate;

typedef struct {
    char path[64];
    u64 size;
    u8 *bytes;
    u8 *regions; /* of each byte */
    flips_fate fate;
} flips_file;

/* Bytes of one region, in a row. Of each `step` bits one is flipped. */
typedef struct {
    u32 file;
    flips_region region;
    u64 from, step, first, flips; /* `first`: the number of the span's first flip */
} flips_span;

typedef struct {
    flips_kind kind;
    flips_region region; /* of a flip */
    u32 file, other;     /* files, or an older version */
    u64 at, other_at, bytes;
} flips_damage;

typedef struct {
    const char *name;
    bool every_bit; /* of zeros too */
    bool clean;
    aul_simdisk *disk;
    aul_model model;
    flips_file files[FLIPS_FILES_MAX];
    size_t file_count;
    flips_file older[FLIPS_OLDER_MAX];
    size_t older_count;
    flips_file foreign[FLIPS_FILES_MAX];
    size_t foreign_count;
    u64 end; /* of the log, undamaged */

    flips_span *spans;
    size_t span_count, span_capacity;
    u64 flips;
    flips_damage *wide;
    size_t wide_count, wide_capacity;
} flips_volume;

/* What the processes share. */
typedef struct {
    aul_crash_counts crash;
    _Atomic u64 outcomes[2][FLIPS_ROWS][FLIPS_OUTCOMES]; /* [clean] */
} flips_counts;

/* flips_volume.c: makes volume `number` and reads it. False when something was wrong. */
bool flips_volume_make(flips_volume *volume, u64 seed, u32 number, bool every_bit,
                       aul_crash_counts *counts);
void flips_volume_free(flips_volume *volume);

/* flips_damage.c: lists the damage; then there are flips + wide_count pieces of it. */
void flips_damage_list(flips_volume *volume);
void flips_damage_at(const flips_volume *volume, u64 number, flips_damage *damage);
/* False when it would change nothing. */
bool flips_damage_do(const flips_volume *volume, const flips_damage *damage, aul_simdisk *image);
void flips_damage_tell(const flips_volume *volume, const flips_damage *damage, char *to,
                       size_t room);

/* Whether it is done whatever the share: kinds of which there are few. */
bool flips_damage_is_rare(const flips_volume *volume, u64 number);

/* flips_allowed.c: whether this may become of it. */
bool flips_allowed(const flips_volume *volume, const flips_damage *damage, flips_outcome outcome);
/* No part of the volume, or a leftover. */
bool flips_is_apart(const flips_volume *volume, u32 file);

/* flips_check.c: does the damage and looks at everything. False when something is wrong. */
bool flips_check(const flips_volume *volume, u64 seed, u64 number, flips_counts *counts);

#endif
