/* segment.h: one log segment: its header, its place in the chain, and reading its frames.
 *
 * A segment is active while appended to, then full, then sealed: immutable, with a footer
 * (run.h). Its file is named log/<first LSN>-<epoch>.log, both in hex. Header, one block of
 * 4,096 bytes: the following 512 bytes, and a copy of them at byte 2,048, so that no damage to
 * one sector hides what is behind it; the rest is zero:
 *   0  8 bytes magic "AULSEGMT"
 *   8  u32  crc32c of bytes 12..512
 *  12  u32  format version, 1
 *  16  u64  required features
 *  24  16 bytes file id, random: under the checksum of every frame, block and trailer in the file
 *  40  16 bytes volume id
 *  56  16 bytes file id of the segment before it in the log, zero for the first
 *  72  u64  first LSN
 *  80  u64  last LSN before it (differs from first LSN - 1 behind a branch point)
 *  88  u64  epoch of every frame in it
 *  96  u64  time of creation
 * 104  u32  page size
 *
 * Frames follow from byte 4,096 without gaps. Bytes behind the last frame mean nothing until the
 * segment is sealed. */
#ifndef AUL_SEGMENT_H
#define AUL_SEGMENT_H

#include <pthread.h>

#include "control.h"
#include "part.h"

#define AUL_SEGMENT_NAME 40 /* "0123456789abcdef-0123456789abcdef.log" and its end */

/* The footer's summary: what the manifest lists of a segment, and what its trailer says (run.h). */
typedef struct {
    u64 log_end; /* end of the frames */
    u64 last_lsn;
    u64 file_bytes;
    u64 entry_count, commit_count, truncate_count;
    u64 page_low, page_high;     /* pages of its records, half-open; equal when it has none */
    u64 truncate_low;            /* lowest end of page space any truncate set */
    u64 last_time_ns, end_pages; /* after its last commit, or carried on */
    u64 last_commit;             /* the last commit LSN in it or before it */
    u64 whole_crc; /* of bytes [0, log_end); a u64, so that there is no padding to compare */
} aul_summary;

/* The parts of a run kept in memory once it has been searched (run.h). */
typedef struct {
    u64 *fences; /* page and LSN of the first entry of each index block: two numbers a block */
    u64 *commit_fences;
    aul_truncate *truncates;
    size_t block_count, commit_block_count, truncate_count;
} aul_fences;

typedef struct aul_segment {
    u8 id[AUL_ID_BYTES], previous_id[AUL_ID_BYTES], volume_id[AUL_ID_BYTES];
    u64 first_lsn, previous_lsn, epoch, created_ns;
    u32 page_size;
    u32 record_seed;
    char name[AUL_SEGMENT_NAME];

    /* Sealed or unsealed. `sealed` is set once, under the index lock, after `summary` is
     * complete. */
    _Atomic bool sealed;
    aul_summary summary;
    _Atomic(aul_fences *) fences; /* loaded by the first search; owned */
    aul_part *part;               /* while unsealed; under the index lock */

    /* Appending (log.h): under the writer's place and the log lock as said there. */
    _Atomic u64 last_lsn;
    struct aul_segment *next;   /* the one after it in the log */
    u64 filled, synced;         /* bytes: claimed, durable */
    _Atomic u64 written;        /* in the file; read by others than who has the turn, too */
    u64 capacity;               /* bytes the file has been given */
    u32 crc;                    /* of the bytes written so far */
    bool prepared;              /* its blocks were written before */
    _Atomic bool name_unsynced; /* its directory entry may not be durable */
    bool bounded;               /* from an older epoch; recovery bounded it, nothing is appended */
    u8 *image; /* of bytes [image_start, capacity), or NULL; under the index lock to drop */
    u64 image_start;

    /* The open file (files.h), under the file table's lock. */
    int file; /* -1: not open */
    u32 file_users;
    bool kept_open; /* one of the users is the log, until the segment is sealed */
    bool file_writable;
    u64 file_used;
} aul_segment;

aul_segment *aul_segment_new(aul_disk *disk);
void aul_segment_free(aul_disk *disk, aul_segment *segment);
void aul_segment_set_name(aul_segment *segment);
/* First LSN and epoch from a file name; false when it is not a segment's. */
bool aul_segment_parse_name(const char *name, u64 *first_lsn, u64 *epoch);

void aul_segment_encode_header(u8 block[AUL_BLOCK], const aul_segment *segment);
/* AUL_CORRUPT when the block is no segment header, AUL_FORMAT when it is a newer one. Fills all
 * fields that the header has. */
int aul_segment_decode_header(const u8 *block, aul_segment *out, aul_error *error);

/* A batch whose earlier segments were not read: where it ends is known by its last LSN alone. */
#define AUL_UNKNOWN_LEFT UINT64_MAX

/* Reads frames in order. Batches are put together again: each frame is checked as a part of its
 * batch. */
typedef struct {
    aul_disk *disk;
    const aul_segment *segment;
    int file;
    u8 *buffer;
    u64 buffer_offset;
    size_t buffered;
    size_t read_bytes; /* at the next read, and twice as many at each one after it */
    u64 end;           /* no frame passes it */
    u64 offset, next_lsn;
    u64 durable_before; /* the highest seen */
    /* the frame last read */
    aul_frame frame;
    u64 frame_offset;
    const u8 *payload;
    u32 records_at; /* in the payload: behind the batch header in a first frame */
    /* the batch it belongs to */
    bool in_batch;
    aul_batch batch;
    u8 note[AUL_NOTE_MAX + 1];
    u64 batch_offset; /* of its first frame in this segment, AUL_NO_OFFSET when in an older one */
    u64 batch_left;   /* stream bytes still to come, or AUL_UNKNOWN_LEFT */
} aul_scan;

/* Starts at the segment's first frame. A batch that began in the segment before goes on when
 * `continues` is its scan. */
int aul_scan_open(aul_scan *scan, aul_disk *disk, const aul_segment *segment, int file, u64 end,
                  const aul_scan *continues, aul_error *error);
/* AUL_OK with a valid frame; AUL_END at the end; AUL_CORRUPT when there is no valid frame at
 * scan->offset (torn or damaged: the caller has to tell which); other codes when the disk fails. */
int aul_scan_next(aul_scan *scan, aul_error *error);
/* AUL_CORRUPT, in words: where a valid frame must be there is none. */
int aul_scan_fail(const aul_scan *scan, aul_error *error);
/* What the frame last read says, which is a control batch: AUL_CORRUPT when it can say no such
 * thing, AUL_END when it is none. */
int aul_scan_control(const aul_scan *scan, aul_control_record *out);
/* Adds the frame last read to the part, and its commit when it ends a batch. AUL_CORRUPT, and the
 * part is as before, when the payload does not hold exactly the records that the frame says, of
 * kinds that its batch can have. */
int aul_scan_index(const aul_scan *scan, aul_part *part);
/* Goes to a frame known to be at `offset` with first LSN `lsn`, which begins a batch. */
void aul_scan_seek(aul_scan *scan, u64 offset, u64 lsn);
/* Looks behind scan->offset for the header of a valid frame that says LSN `lsn` was durable;
 * *found tells. When there is none, *used_end is the end of the last word that is not zero. */
int aul_scan_find_evidence(aul_scan *scan, u64 lsn, bool *found, u64 *used_end, aul_error *error);
/* For a segment without a valid header, of which only volume id, first LSN and epoch are known:
 * looks from *offset on for a frame that shows by itself to be the segment's, and that gives
 * another stand-in id (frame.h) than the segment has. Then *found, and *id is that id. */
int aul_scan_find_anchor(aul_scan *scan, u64 *offset, u8 id[AUL_ID_BYTES], bool *found,
                         aul_error *error);
/* Forgets what was read ahead, of which the writer may have changed all behind scan->offset, and
 * reads little at first: the end is near. */
void aul_scan_look_again(aul_scan *scan);
void aul_scan_close(aul_scan *scan);

#endif
