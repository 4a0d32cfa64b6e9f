/* names.h: restore points: names for LSNs. Pure.
 *
 * Names belong to the volume, not to a path: no rewind removes one or brings one back. Making and
 * deleting are records of the log, so each has its LSN, and the set is known as of any of them:
 * what is not durable yet is noted here already, and in no manifest. */
#ifndef AUL_NAMES_H
#define AUL_NAMES_H

#include "disk.h"

#define AUL_NAME_MAX 255u
#define AUL_NAME_BYTES 40u /* of an encoded restore point, before its name */
#define AUL_NAMES_MAX 65536u

typedef struct {
    u64 lsn, time_ns;            /* of the commit that it names */
    u64 made_lsn, made_ns;       /* its own record's */
    u64 deleted_lsn;             /* the record's that deleted it, or 0 */
    u32 bytes;                   /* of the name */
    char name[AUL_NAME_MAX + 1]; /* UTF-8, zero-terminated */
} aul_restore_point;

typedef struct {
    aul_disk *disk;
    aul_restore_point *items; /* by made_lsn */
    size_t count, capacity;
} aul_names;

static inline u32 aul_restore_point_bytes(const aul_restore_point *point) {
    return (u32)aul_round_up(AUL_NAME_BYTES + point->bytes, 8);
}

/* Writes aul_restore_point_bytes(point) bytes. */
void aul_restore_point_encode(u8 *to, const aul_restore_point *point);
/* Parses one with `left` bytes before the end; AUL_CORRUPT when there is none. */
int aul_restore_point_decode(const u8 *from, size_t left, aul_restore_point *out);

/* Adds one made later than all others; one that is there already is not added again. */
int aul_names_add(aul_names *names, const aul_restore_point *point);
/* Notes that the one made at made_lsn is deleted by the record deleted_lsn, or, with 0, that it is
 * not. Nothing, where there is none. */
void aul_names_delete(aul_names *names, u64 made_lsn, u64 deleted_lsn);
/* The one with this name as of lsn, or NULL. */
const aul_restore_point *aul_names_find(const aul_names *names, const char *name, size_t bytes,
                                        u64 lsn);
/* How many there are as of lsn. */
size_t aul_names_count(const aul_names *names, u64 lsn);
static inline bool aul_names_has(const aul_restore_point *point, u64 lsn) {
    return point->made_lsn <= lsn && (point->deleted_lsn == 0 || point->deleted_lsn > lsn);
}
/* Forgets what is above lsn: both makings and deletions. */
void aul_names_cut(aul_names *names, u64 lsn);
/* Forgets those that were deleted at or below lsn. */
void aul_names_prune(aul_names *names, u64 lsn);
/* Copies those that are there as of lsn to `out`, which is empty. AUL_NO_MEMORY. */
int aul_names_copy(const aul_names *names, u64 lsn, aul_names *out);
void aul_names_free(aul_names *names);

#endif
