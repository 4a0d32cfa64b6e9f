/* disk.h: the one door to the outside. Every system call on a file, the clock, randomness and
 * memory pass through this table, so that a simulated disk can stand in its place and no storage
 * logic can go around it.
 *
 * The entries are single calls: they may come back short or interrupted, as the kernel's do. The
 * aul_disk_* helpers below loop over that, once, for everybody. An entry that has no helper is not
 * asked again: an interrupted rename or unlink may be done or not. Entries return 0 or an errno
 * value. */
#ifndef AUL_DISK_H
#define AUL_DISK_H

#include "common.h"

#define AUL_DISK_WRITE 1  /* open for reading and writing */
#define AUL_DISK_CREATE 2 /* make the file; it must not exist */

/* Who holds a lock: written into the lock file by its holder. */
typedef struct {
    u64 pid, since_ns;
    char host[64];
} aul_lock_holder;

typedef struct aul_disk aul_disk;
struct aul_disk {
    void *context;
    /* Whether threads may be started. Where they may not, as in a simulation that has to repeat
     * itself, the keeper's work waits until somebody calls aul_keeper_work. */
    bool threads;

    int (*open)(void *context, const char *path, int flags, int *file);
    int (*close)(void *context, int file);
    int (*read)(void *context, int file, void *buffer, size_t bytes, u64 offset, size_t *done);
    int (*write)(void *context, int file, const void *data, size_t bytes, u64 offset, size_t *done);
    int (*sync)(void *context, int file); /* contents and what is needed to find them */
    int (*open_directory)(void *context, const char *path, int *directory); /* to be synced */
    int (*sync_directory)(void *context, int directory);
    /* Has the disk take the bytes now, and waits for it if asked to. Promises nothing: only a
     * sync makes them durable. */
    int (*write_back)(void *context, int file, u64 offset, u64 bytes, bool wait);
    int (*allocate)(void *context, int file, u64 bytes);    /* secures space, sets the size */
    int (*free_space)(void *context, int file, u64 *bytes); /* of its file system, for us */
    int (*truncate)(void *context, int file, u64 bytes);
    int (*size)(void *context, int file, u64 *bytes);
    int (*rename)(void *context, const char *from, const char *to);
    int (*unlink)(void *context, const char *path);
    int (*make_directory)(void *context, const char *path);
    int (*list)(void *context, const char *path, int (*name)(void *argument, const char *name),
                void *argument);

    /* Locking: an exclusive lock of the open file on all of it, EAGAIN when another has one. */
    int (*lock)(void *context, int file);
    int (*unlock)(void *context, int file);
    bool (*is_locked)(void *context, int file); /* by another process */
    int (*identity)(void *context, const char *path, u64 *device, u64 *inode);
    int (*self)(void *context, aul_lock_holder *self);

    /* Being told when a file is written to: `wait_change` comes back after a change, a `wake` by
     * another thread, the time, or for no reason. ESTALE: the file is not at the path any more.
     * NULL where the system cannot do that: then it has to be looked at again and again. */
    int (*watch)(void *context, const char *path, void **watch);
    int (*wait_change)(void *context, void *watch, u64 ns);
    void (*wake)(void *context, void *watch);
    void (*unwatch)(void *context, void *watch);

    u64 (*now)(void *context);       /* nanoseconds since the Unix epoch */
    u64 (*monotonic)(void *context); /* nanoseconds, never back */
    int (*random)(void *context, void *buffer, size_t bytes);
    void *(*allocate_memory)(void *context, size_t bytes);
    void (*free_memory)(void *context, void *memory);

    _Atomic u64 reads, read_bytes, writes, write_bytes, syncs, directory_syncs;
};

/* The operating system's. One table serves all stores of the process. */
aul_disk *aul_disk_posix(void);

/* Whether the errno value says that there is no space: of the disk, of the quota, in a file of
 * the largest size. */
bool aul_disk_is_full(int failed);
/* Reads until `bytes` or the end of the file; *done says how far it came. */
int aul_disk_read(aul_disk *disk, int file, void *buffer, size_t bytes, u64 offset, size_t *done);
/* Writes everything or fails. */
int aul_disk_write(aul_disk *disk, int file, const void *data, size_t bytes, u64 offset);
int aul_disk_sync(aul_disk *disk, int file);
int aul_disk_sync_directory(aul_disk *disk, int directory);
int aul_disk_sync_directory_at(aul_disk *disk, const char *path);
/* Asks first: a refused attempt takes, for a moment or for good, all that is left. */
int aul_disk_allocate(aul_disk *disk, int file, u64 bytes);
int aul_disk_truncate(aul_disk *disk, int file, u64 bytes);

void *aul_alloc(aul_disk *disk, size_t bytes);      /* not cleared */
void *aul_alloc_zero(aul_disk *disk, size_t bytes); /* cleared */
/* Makes room for `needed` items in an array of `*capacity` items of `size` bytes; AUL_NO_MEMORY
 * leaves it as it was. */
int aul_grow(aul_disk *disk, void **array, size_t *capacity, size_t needed, size_t size);
void aul_release(aul_disk *disk, void *memory);

#endif
