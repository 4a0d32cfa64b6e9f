/* disk_posix.c: the disk table over Linux and macOS. The only file that calls the operating
 * system. See disk.h. */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* rename() lives there */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__)
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/random.h>
#endif

static int posix_open(void *context, const char *path, int flags, int *file) {
    (void)context;
    int mode = flags & AUL_DISK_WRITE ? O_RDWR : O_RDONLY;
    if (flags & AUL_DISK_CREATE) mode |= O_CREAT | O_EXCL;
    int opened = open(path, mode | O_CLOEXEC, 0666);
    if (opened < 0) return errno;
    *file = opened;
    return 0;
}

static int posix_close(void *context, int file) {
    (void)context;
    return close(file) < 0 && errno != EINTR ? errno : 0;
}

static int posix_read(void *context, int file, void *buffer, size_t bytes, u64 offset,
                      size_t *done) {
    (void)context;
    ssize_t step = pread(file, buffer, bytes, (off_t)offset);
    if (step < 0) return errno;
    *done = (size_t)step;
    return 0;
}

static int posix_write(void *context, int file, const void *data, size_t bytes, u64 offset,
                       size_t *done) {
    (void)context;
    ssize_t step = pwrite(file, data, bytes, (off_t)offset);
    if (step < 0) return errno;
    *done = (size_t)step;
    return 0;
}

static int posix_sync(void *context, int file) {
    (void)context;
#if defined(__APPLE__)
    /* fsync on macOS stops at the drive's cache; only the full flush is a promise. */
    return fcntl(file, F_FULLFSYNC) < 0 ? errno : 0;
#else
    return fdatasync(file) < 0 ? errno : 0;
#endif
}

static int posix_open_directory(void *context, const char *path, int *directory) {
    (void)context;
    *directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *directory < 0 ? errno : 0;
}

static int posix_sync_directory(void *context, int directory) {
    (void)context;
    return fsync(directory) < 0 ? errno : 0;
}

static int posix_write_back(void *context, int file, u64 offset, u64 bytes, bool wait) {
    (void)context;
#if defined(__linux__)
    unsigned flags = SYNC_FILE_RANGE_WRITE;
    if (wait) flags |= SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
    return sync_file_range(file, (off_t)offset, (off_t)bytes, flags) < 0 ? errno : 0;
#else
    (void)offset, (void)bytes;
    return wait && fsync(file) < 0 ? errno : 0;
#endif
}

static int posix_allocate(void *context, int file, u64 bytes) {
    (void)context;
#if defined(__APPLE__)
    fstore_t store = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, (off_t)bytes, 0};
    if (fcntl(file, F_PREALLOCATE, &store) < 0) return errno;
    return ftruncate(file, (off_t)bytes) < 0 ? errno : 0;
#else
    return posix_fallocate(file, 0, (off_t)bytes);
#endif
}

static int posix_free_space(void *context, int file, u64 *bytes) {
    (void)context;
    struct statvfs status;
    if (fstatvfs(file, &status) < 0) return errno;
    if (status.f_blocks == 0) return ENOSYS; /* it has no bound, or does not tell */
    *bytes = (u64)status.f_bavail * status.f_frsize;
    return 0;
}

static int posix_truncate(void *context, int file, u64 bytes) {
    (void)context;
    return ftruncate(file, (off_t)bytes) < 0 ? errno : 0;
}

static int posix_size(void *context, int file, u64 *bytes) {
    (void)context;
    struct stat status;
    if (fstat(file, &status) < 0) return errno;
    *bytes = (u64)status.st_size;
    return 0;
}

static int posix_rename(void *context, const char *from, const char *to) {
    (void)context;
    return rename(from, to) < 0 ? errno : 0;
}

static int posix_unlink(void *context, const char *path) {
    (void)context;
    return unlink(path) < 0 ? errno : 0;
}

static int posix_make_directory(void *context, const char *path) {
    (void)context;
    return mkdir(path, 0777) < 0 ? errno : 0;
}

static int posix_list(void *context, const char *path, int (*name)(void *, const char *),
                      void *argument) {
    (void)context;
    DIR *directory = opendir(path);
    if (!directory) return errno;
    int status = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (!entry) {
            status = errno;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        status = name(argument, entry->d_name);
        if (status) break;
    }
    closedir(directory);
    return status;
}

/* The lock belongs to the open file where the system can do that: to the process, it would end
 * as soon as anybody in it closes the file, a copying of the directory for one. */
static int lock_whole(int file, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
#if defined(F_OFD_SETLK)
    if (fcntl(file, F_OFD_SETLK, &lock) == 0) return 0;
    if (errno != EINVAL) return errno == EACCES ? EAGAIN : errno;
#endif
    if (fcntl(file, F_SETLK, &lock) == 0) return 0;
    return errno == EACCES ? EAGAIN : errno;
}

static int posix_lock(void *context, int file) {
    (void)context;
    return lock_whole(file, F_WRLCK);
}

static int posix_unlock(void *context, int file) {
    (void)context;
    return lock_whole(file, F_UNLCK);
}

static bool posix_is_locked(void *context, int file) {
    (void)context;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    return fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int posix_identity(void *context, const char *path, u64 *device, u64 *inode) {
    (void)context;
    struct stat status;
    if (stat(path, &status) < 0) return errno;
    *device = (u64)status.st_dev;
    *inode = (u64)status.st_ino;
    return 0;
}

#if defined(__linux__)
typedef struct {
    int changes, wakes; /* an inotify instance, an event counter */
} file_watch;

static void posix_unwatch(void *context, void *opened) {
    (void)context;
    file_watch *watch = opened;
    if (watch->changes >= 0) close(watch->changes);
    if (watch->wakes >= 0) close(watch->wakes);
    free(watch);
}

static int posix_watch(void *context, const char *path, void **out) {
    file_watch *watch = malloc(sizeof *watch);
    if (!watch) return ENOMEM;
    watch->changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    watch->wakes = watch->changes < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch->wakes < 0 ||
        inotify_add_watch(watch->changes, path,
                          IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF) < 0) {
        int failed = errno;
        posix_unwatch(context, watch);
        return failed;
    }
    *out = watch;
    return 0;
}

/* Takes the events that have come. Only what happens to the name, or may have, is more than a
 * change. */
static int take_events(int changes) {
    _Alignas(struct inotify_event) char events[4096];
    int status = 0;
    for (;;) {
        ssize_t bytes = read(changes, events, sizeof events);
        if (bytes <= 0) return status;
        for (ssize_t at = 0; at < bytes;) {
            struct inotify_event event;
            memcpy(&event, events + at, sizeof event);
            if (event.mask & ~(u32)IN_MODIFY) status = ESTALE;
            at += (ssize_t)(sizeof event + event.len);
        }
    }
}

static int posix_wait_change(void *context, void *opened, u64 ns) {
    (void)context;
    file_watch *watch = opened;
    struct pollfd both[2] = {{.fd = watch->changes, .events = POLLIN},
                             {.fd = watch->wakes, .events = POLLIN}};
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    u64 wakes;
    if (ppoll(both, 2, &time, NULL) < 0) return errno == EINTR ? 0 : errno;
    if (both[1].revents && read(watch->wakes, &wakes, sizeof wakes) < 0 && errno != EAGAIN)
        return errno;
    return both[0].revents ? take_events(watch->changes) : 0;
}

static void posix_wake(void *context, void *opened) {
    (void)context;
    const file_watch *watch = opened;
    u64 one = 1;
    ssize_t written = write(watch->wakes, &one, sizeof one);
    (void)written; /* it cannot fail but for a full counter, and then it wakes */
}
#endif

static u64 read_clock(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (u64)time.tv_sec * 1000000000u + (u64)time.tv_nsec;
}

static u64 posix_now(void *context) {
    (void)context;
    return read_clock(CLOCK_REALTIME);
}

static u64 posix_monotonic(void *context) {
    (void)context;
    return read_clock(CLOCK_MONOTONIC);
}

static int posix_self(void *context, aul_lock_holder *self) {
    memset(self, 0, sizeof *self);
    self->pid = (u64)getpid();
    self->since_ns = posix_now(context);
    if (gethostname(self->host, sizeof self->host - 1) < 0) strcpy(self->host, "unknown");
    return 0;
}

static int posix_random(void *context, void *buffer, size_t bytes) {
    (void)context;
#if defined(__linux__)
    return getrandom(buffer, bytes, 0) == (ssize_t)bytes ? 0 : EIO;
#else
    arc4random_buf(buffer, bytes);
    return 0;
#endif
}

/* Large blocks (the page cache, log images) are aligned so that the kernel can back them with
 * large pages. */
static void *posix_allocate_memory(void *context, size_t bytes) {
    (void)context;
    const size_t large = 2u << 20;
    if (bytes < large) return malloc(bytes);
    void *memory = NULL;
    if (posix_memalign(&memory, large, bytes)) return NULL;
#if defined(__linux__)
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

static void posix_free_memory(void *context, void *memory) {
    (void)context;
    free(memory);
}

aul_disk *aul_disk_posix(void) {
    static aul_disk disk = {
        .threads = true,
        .open = posix_open,
        .close = posix_close,
        .read = posix_read,
        .write = posix_write,
        .sync = posix_sync,
        .open_directory = posix_open_directory,
        .sync_directory = posix_sync_directory,
        .write_back = posix_write_back,
        .allocate = posix_allocate,
        .free_space = posix_free_space,
        .truncate = posix_truncate,
        .size = posix_size,
        .rename = posix_rename,
        .unlink = posix_unlink,
        .make_directory = posix_make_directory,
        .list = posix_list,
        .lock = posix_lock,
        .unlock = posix_unlock,
        .is_locked = posix_is_locked,
        .identity = posix_identity,
        .self = posix_self,
#if defined(__linux__)
        .watch = posix_watch,
        .wait_change = posix_wait_change,
        .wake = posix_wake,
        .unwatch = posix_unwatch,
#endif
        .now = posix_now,
        .monotonic = posix_monotonic,
        .random = posix_random,
        .allocate_memory = posix_allocate_memory,
        .free_memory = posix_free_memory,
    };
    return &disk;
}
