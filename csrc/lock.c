/* lock.c: one writer at a time.
 *
 * The file LOCK carries a record lock of the writer's open file; it ends with the process, whatever
 * ends it. Where a system knows only locks of a process, they do not hold between handles of one
 * process, and closing any descriptor of the file drops them. So a registry keeps the process's own
 * volumes by device and inode: a second writer is refused there, and a reader borrows the writer's
 * descriptor. A forked child closes its copies at once: they would keep the lock.
 *
 * LOCK, one block: 0 "AULLOCK1", 8 u64 pid, 16 u64 since, 24 host (64 bytes), 88 volume id (16
 * bytes), 104 u64 epoch, 112 u64 durable LSN: the word that the writer keeps up to date, only ever
 * after the sync that made it true, 120 u64 its complement, for it is read while it is written.
 * It is written, not mapped: where a disk fails, or is full, a write says so, while a store into
 * a mapping ends the process. */
#include <errno.h>
#include <stdio.h>

#include "seeded.h"
#include "store.h"

#define MAGIC "AULLOCK1"
#define WORD_AT 112
#define WORD_TRIES \
    100 /* it is there in part for an instant only, but for a writer that died in it */
#define LOCK_BYTES 4096
#define VOLUMES_MAX 4096 /* open for writing in one process */

typedef struct {
    u64 device, inode;
    aul_disk *disk;
    int file;
    bool used;
    aul_lock_holder holder;
} slot;

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static slot registry[VOLUMES_MAX];

/* Around fork(): no slot is half taken, and the child has none. */
static void before_fork(void) { pthread_mutex_lock(&registry_lock); }

static void after_fork(void) { pthread_mutex_unlock(&registry_lock); }

static void in_child(void) {
    for (int i = 0; i < VOLUMES_MAX; i++) {
        if (!registry[i].used) continue;
        registry[i].disk->close(registry[i].disk->context, registry[i].file);
        registry[i].used = false;
    }
    pthread_mutex_unlock(&registry_lock);
}

__attribute__((constructor)) static void watch(void) {
    pthread_atfork(before_fork, after_fork, in_child);
}

static slot *find(u64 device, u64 inode) {
    for (int i = 0; i < VOLUMES_MAX; i++) {
        slot *candidate = &registry[i];
        if (candidate->used && candidate->device == device && candidate->inode == inode)
            return candidate;
    }
    return NULL;
}

static slot *find_free(void) {
    for (int i = 0; i < VOLUMES_MAX; i++)
        if (!registry[i].used) return &registry[i];
    return NULL;
}

static int locked_by(const aul_lock_holder *holder, const char *path, aul_error *error) {
    aul_fail(
        error, AUL_LOCKED,
        "%s is open for writing by process %llu on %s: close it there, or open with read_only=True",
        path, (unsigned long long)holder->pid, holder->host);
    if (error) {
        error->pid = holder->pid;
        error->since_ns = holder->since_ns;
        memcpy(error->host, holder->host, sizeof error->host);
    }
    return AUL_LOCKED;
}

static int read_holder(aul_disk *disk, int file, aul_lock_holder *holder) {
    u8 block[LOCK_BYTES] = {0};
    size_t done;
    int failed = aul_disk_read(disk, file, block, sizeof block, 0, &done);
    memset(holder, 0, sizeof *holder);
    if (failed || memcmp(block, MAGIC, 8) != 0) return failed;
    holder->pid = get64(block + 8);
    holder->since_ns = get64(block + 16);
    memcpy(holder->host, block + 24, sizeof holder->host - 1);
    return 0;
}

/* Opens LOCK, takes the record lock and writes who holds it. */
static int take_file(aul_store *store, const char *what, slot *mine, aul_error *error) {
    aul_disk *disk = store->disk;
    char path[AUL_PATH_BYTES];
    snprintf(path, sizeof path, "%s/LOCK", store->path);
    int failed = disk->open(disk->context, path, AUL_DISK_WRITE, &mine->file);
    if (failed == ENOENT) {
        failed = disk->open(disk->context, path, AUL_DISK_WRITE | AUL_DISK_CREATE, &mine->file);
        if (failed == EEXIST) /* another has made it meanwhile */
            failed = disk->open(disk->context, path, AUL_DISK_WRITE, &mine->file);
    }
    if (failed) return aul_fail_os(error, failed, what, path);
    failed = AUL_SEEDED(LOCK_NOT_ASKED) ? 0 : disk->lock(disk->context, mine->file);
    if (failed == EAGAIN) {
        aul_lock_holder holder;
        read_holder(disk, mine->file, &holder);
        disk->close(disk->context, mine->file);
        return locked_by(&holder, store->path, error);
    }
    if (!failed) failed = disk->self(disk->context, &mine->holder);
    u8 who[80];
    put64(who, mine->holder.pid);
    put64(who + 8, mine->holder.since_ns);
    memcpy(who + 16, mine->holder.host, 64);
    u64 size = 0;
    if (!failed) failed = disk->size(disk->context, mine->file, &size);
    if (!failed && size < LOCK_BYTES) failed = aul_disk_allocate(disk, mine->file, LOCK_BYTES);
    if (!failed) failed = aul_disk_write(disk, mine->file, who, sizeof who, 8);
    if (!failed) failed = aul_disk_write(disk, mine->file, MAGIC, 8, 0);
    if (!failed) return AUL_OK;
    disk->close(disk->context, mine->file);
    return aul_fail_os(error, failed, "taking the volume's lock", path);
}

int aul_lock_take(aul_store *store, const char *what, aul_error *error) {
    aul_disk *disk = store->disk;
    u64 device, inode;
    int failed = disk->identity(disk->context, store->path, &device, &inode);
    if (failed) return aul_fail_os(error, failed, "looking at the volume's directory", store->path);
    pthread_mutex_lock(&registry_lock);
    slot *other = find(device, inode), *mine = find_free();
    int status;
    if (other)
        status = locked_by(&other->holder, store->path, error);
    else if (!mine)
        status = aul_fail(error, AUL_NO_MEMORY,
                          "more than %d volumes are open for writing in this process", VOLUMES_MAX);
    else
        status = take_file(store, what, mine, error);
    if (!status) {
        mine->device = device;
        mine->inode = inode;
        mine->disk = disk;
        mine->used = true;
        store->lock_slot = mine;
        if (AUL_SEEDED(WORD_BEFORE_EPOCH)) store->log.tells_durable = true;
    }
    pthread_mutex_unlock(&registry_lock);
    return status;
}

void aul_lock_drop(aul_store *store) {
    slot *mine = store->lock_slot;
    if (!mine) return;
    store->log.tells_durable = false;
    pthread_mutex_lock(&registry_lock);
    store->disk->unlock(store->disk->context, mine->file);
    store->disk->close(store->disk->context, mine->file);
    mine->used = false;
    pthread_mutex_unlock(&registry_lock);
    store->lock_slot = NULL;
}

static void put_word(u8 *to, u64 lsn) {
    put64(to, lsn);
    put64(to + 8, ~lsn);
}

int aul_lock_publish(aul_store *store, aul_error *error) {
    slot *mine = store->lock_slot;
    u8 which[40];
    memcpy(which, store->manifest.volume_id, AUL_ID_BYTES);
    put64(which + 16, store->epoch);
    put_word(which + 24, atomic_load(&store->log.durable));
    int failed = aul_disk_write(store->disk, mine->file, which, sizeof which, 88);
    if (failed) return aul_fail_os(error, failed, "writing the lock file", store->path);
    /* Only now: under an older epoch the word would speak of LSNs that its log does not have. */
    pthread_mutex_lock(&store->log.lock);
    store->log.tells_durable = true;
    pthread_mutex_unlock(&store->log.lock);
    return AUL_OK;
}

void aul_lock_tell_durable(aul_store *store, u64 lsn) {
    const slot *mine = store->lock_slot;
    u8 word[16];
    put_word(word, lsn);
    aul_disk_write(store->disk, mine->file, word, sizeof word, WORD_AT);
}

/* The block, its word whole. */
static int read_block(aul_disk *disk, int file, u8 block[LOCK_BYTES]) {
    for (int i = 0; i < WORD_TRIES; i++) {
        size_t done = 0;
        memset(block, 0, LOCK_BYTES);
        int failed = aul_disk_read(disk, file, block, LOCK_BYTES, 0, &done);
        if (failed || get64(block + WORD_AT) == ~get64(block + WORD_AT + 8)) return failed;
    }
    put64(block + WORD_AT, 0);
    return 0;
}

int aul_lock_read(aul_store *store, aul_lock_told *out, aul_error *error) {
    aul_disk *disk = store->disk;
    u64 device, inode;
    u8 block[LOCK_BYTES] = {0};
    memset(out, 0, sizeof *out);
    int failed = disk->identity(disk->context, store->path, &device, &inode);
    if (failed) return aul_fail_os(error, failed, "looking at the volume's directory", store->path);
    pthread_mutex_lock(&registry_lock);
    slot *writer = find(device, inode);
    if (writer) {
        failed = read_block(disk, writer->file, block);
        out->alive = true;
    } else {
        char path[AUL_PATH_BYTES];
        int file;
        snprintf(path, sizeof path, "%s/LOCK", store->path);
        failed = disk->open(disk->context, path, 0, &file);
        if (!failed) {
            failed = read_block(disk, file, block);
            out->alive = disk->is_locked(disk->context, file);
            disk->close(disk->context, file);
        } else if (failed == ENOENT) {
            failed = 0; /* copied without it: what the log itself says has to do */
        }
    }
    pthread_mutex_unlock(&registry_lock);
    if (failed) return aul_fail_os(error, failed, "reading the lock file", store->path);
    memcpy(out->volume_id, block + 88, AUL_ID_BYTES);
    out->epoch = get64(block + 104);
    out->durable = get64(block + WORD_AT);
    return AUL_OK;
}

u64 aul_lock_believed(const aul_lock_told *told, const aul_manifest *manifest) {
    bool ours = memcmp(told->volume_id, manifest->volume_id, AUL_ID_BYTES) == 0 &&
                told->epoch == manifest->epoch;
    return ours ? told->durable : 0;
}

int aul_lock_read_durable(aul_store *store, u64 *lsn, bool *alive, aul_error *error) {
    aul_lock_told told;
    int status = aul_lock_read(store, &told, error);
    *lsn = aul_lock_believed(&told, &store->manifest);
    *alive = told.alive;
    return status;
}
