/* format.h: the sizes and limits of every format. The layouts stand beside the code that reads
 * and writes them (record.c, frame.c, segment.c, run.c, manifest.c); docs/format.md has them
 * all, byte by byte.
 *
 * All numbers are little-endian. LSNs are 1, 2, 3 ...; 0 is the volume before its first record.
 * Ranges are half-open. */
#ifndef AUL_FORMAT_H
#define AUL_FORMAT_H

#include "common.h"

#define AUL_FORMAT_VERSION 1
/* Features a reader has to know to read right. Those to come have their bits already, from 0 on, so
 * that this build can say by name what it lacks. */
#define AUL_FEATURE_REWINDS (1ull << 3)
#define AUL_FEATURE_RESTORE_POINTS (1ull << 4)
#define AUL_FEATURES_KNOWN (AUL_FEATURE_REWINDS | AUL_FEATURE_RESTORE_POINTS)
#define AUL_FEATURE_NAMES "image segments", "encryption", "clones", "rewinds", "restore points"

#define AUL_PAGE_SIZE_MIN 512u
#define AUL_PAGE_SIZE_MAX 65536u
#define AUL_PAGE_SIZE_DEFAULT 4096u
#define AUL_VOLUME_BYTES_MAX (1ull << 47) /* 128 TiB of page space */

#define AUL_BLOCK 4096u /* header of a segment, index blocks, commit blocks */

#define AUL_RECORD_HEADER 16u
#define AUL_CHANGE_HEADER 16u
#define AUL_BATCH_HEADER 96u
#define AUL_NOTE_MAX 255u
#define AUL_FRAME_HEADER 64u
#define AUL_FRAME_ALIGN 8u

/* Log segments. Small commits go to prepared segments, whose blocks were written before; a batch
 * that does not fit the active segment and is at least AUL_BULK_BYTES appends to unprepared
 * ones. They are the writer's choice, and a reader takes any: a test build may choose small ones
 * (make crash), all of them together. */
#ifndef AUL_SEGMENT_BYTES
#define AUL_SEGMENT_BYTES (16u << 20)
#define AUL_SEGMENT_BYTES_FIRST (1u << 20)
#define AUL_SEGMENT_BYTES_LEAST (64u << 10)
#define AUL_SEGMENT_BYTES_BULK (64u << 20)
#define AUL_BULK_BYTES (1u << 20)
#define AUL_PREPARE_AFTER_BYTES (256u << 10) /* a session that logs less prepares no spare */
#define AUL_FRAME_PAYLOAD_MAX (256u << 10)
#define AUL_SCAN_BYTES (1u << 20) /* of a segment, read at once; any frame fits */
#define AUL_IN_FLIGHT_LSNS (1ull << 32)
#define AUL_IN_FLIGHT_BYTES (256ull << 20) /* delays transactions, refuses none */
#endif

#define AUL_BATCH_BYTES_MAX (1ull << 30) /* a transaction is held in memory until its commit */

#define AUL_RETENTION_DEFAULT (24ull * 3600 * 1000000000)
#define AUL_RETENTION_MAX (35ull * 24 * 3600 * 1000000000)

#define AUL_NO_OFFSET 0xffffffffu

#endif
