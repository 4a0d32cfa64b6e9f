/* simfile.h: the bytes of one simulated file, twice: as the page cache shows them, and as they are
 * on the disk. Between the two stand the changes that no sync has made durable yet.
 *
 * What is believed of a real disk (docs/format.md, "What the media are assumed to do"):
 *   - a change is made of sectors of 512 bytes, each written whole or not at all; a sector on its
 *     way to the disk has everything that was written to it before;
 *   - without a sync any subset of the changes may be on the disk, in any order: sectors, sizes
 *     and truncations;
 *   - a sync that succeeds makes all of them durable. One that fails leaves some on the disk and
 *     forgets the other sectors: the cache still shows them, calls them clean, and no later sync
 *     writes them. Sizes are not forgotten: they go through the file system's journal, and where
 *     that fails no later sync succeeds.
 *
 * Bytes are kept in blocks that are shared until one is written to, so that an image of a whole
 * disk costs little more than its list of blocks. */
#ifndef AUL_SIMFILE_H
#define AUL_SIMFILE_H

#include "random.h"

#define AUL_SIM_SECTOR 512u
#define AUL_SIM_BLOCK 4096u

typedef struct {
    u32 references;
    u64 hash; /* 0: not known */
    u8 bytes[AUL_SIM_BLOCK];
} aul_sim_block;

/* Bytes behind `size` are zeros; NULL is a block of zeros. */
typedef struct {
    aul_sim_block **blocks;
    size_t count;
    u64 size;
} aul_sim_bytes;

typedef enum { AUL_CHANGE_SECTORS, AUL_CHANGE_GROW, AUL_CHANGE_SHRINK } aul_sim_change_kind;

typedef struct {
    u32 references;
    aul_sim_change_kind kind;
    u64 order;       /* among all changes of the disk */
    u64 start, size; /* of whole sectors; or the new size of the file */
    u64 hash;        /* 0: not known */
    u8 data[];
} aul_sim_change;

typedef struct aul_sim_file {
    u32 references;
    u64 number; /* inode */
    bool is_directory;
    bool ever_synced;
    bool forgotten; /* the cache has clean pages that are not on the disk */
    int locked_by;  /* handle, or -1 */
    aul_sim_bytes cache, disk;
    aul_sim_change **pending;
    size_t pending_count, pending_capacity;
    struct aul_sim_file *copy; /* while an image is made */
} aul_sim_file;

/* What of the pending changes reaches the disk in a cut. */
typedef struct {
    aul_random *random;
    u64 whole_before; /* changes ordered before this are there */
    u64 torn;         /* this one is there in part */
    u32 percent;      /* of the others, at random; and of their sectors */
    bool garbage;     /* what never was durable may be anything */
    const u8 *stale;  /* a block of an old file, or NULL */
} aul_sim_fate;

aul_sim_file *aul_sim_file_new(u64 number, bool is_directory);
void aul_sim_file_unref(aul_sim_file *file);

size_t aul_sim_file_read(const aul_sim_file *file, void *to, size_t bytes, u64 offset);
void aul_sim_file_write(aul_sim_file *file, const void *from, size_t bytes, u64 offset, u64 order);
/* The drive says that it has written it, and has not: the cache shows it, until it is gone. */
void aul_sim_file_write_lost(aul_sim_file *file, const void *from, size_t bytes, u64 offset,
                             u64 order);
/* And these sectors of it stand in another place, of this file or another. */
void aul_sim_file_misplace(const aul_sim_file *file, u64 offset, size_t bytes, aul_sim_file *other,
                           u64 to);
void aul_sim_file_resize(aul_sim_file *file, u64 size, u64 order);
void aul_sim_file_sync(aul_sim_file *file);
/* A sync that fails. With `evict` the cache is dropped, too: what is read next is the disk's. */
void aul_sim_file_fail_sync(aul_sim_file *file, aul_random *random, bool evict);
/* Leaves the newest few changes pending; older ones have reached the disk. For files that are
 * written often and never synced. */
void aul_sim_file_bound_pending(aul_sim_file *file, size_t most);

/* A copy with cache and changes: the process has died, the machine has not. */
aul_sim_file *aul_sim_file_copy(const aul_sim_file *file);
/* What the disk has after a loss of power. */
aul_sim_file *aul_sim_file_image(const aul_sim_file *file, const aul_sim_fate *fate);
/* Flips, or whatever `with` has, in cache and disk alike. */
void aul_sim_file_damage(aul_sim_file *file, u64 offset, const u8 *with, size_t bytes);
/* Of what the cache shows. */
u64 aul_sim_file_hash(aul_sim_file *file);
/* Of all that may become of the file: the cache, the disk, and what stands between them. */
u64 aul_sim_file_hash_fate(aul_sim_file *file);

#endif
