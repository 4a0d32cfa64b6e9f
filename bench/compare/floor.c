/*
 * floor.c: what the disk allows, with no engine in between.
 *
 * The writes and syncs that any durable engine must at least do, issued one after the other from
 * one C thread. No checksums, no index, no locks: a bound to hold a figure against, not an engine.
 *
 * Every function returns 0 or an errno. Latencies are nanoseconds of the monotonic clock, taken
 * here so that no interpreter is inside them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int sync_data(int fd) {
#ifdef __APPLE__
    return fcntl(fd, F_FULLFSYNC) < 0 ? errno : 0;
#else
    return fdatasync(fd) < 0 ? errno : 0;
#endif
}

static int write_all(int fd, const uint8_t *data, size_t length, off_t offset) {
    while (length > 0) {
        ssize_t n = pwrite(fd, data, length, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : EIO;
        data += n;
        length -= (size_t)n;
        offset += n;
    }
    return 0;
}

/* Closes fd and passes on the first error. */
static int finish(int fd, int status) { return close(fd) < 0 && status == 0 ? errno : status; }

/* Makes a file whose blocks have all been written (zeros) and synced once: a recycled log file. */
int floor_prepare(const char *path, uint64_t bytes) {
    enum { PIECE = 64 << 10 }; /* of pages cached in larger pieces a sync takes longer */
    uint8_t *zeros = calloc(1, PIECE);
    if (!zeros) return ENOMEM;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int status = fd < 0 ? errno : 0;
    for (uint64_t at = 0; at < bytes && status == 0; at += PIECE) {
        uint64_t length = bytes - at < PIECE ? bytes - at : PIECE;
        status = write_all(fd, zeros, (size_t)length, (off_t)at);
    }
    free(zeros);
    if (fd < 0) return status;
    if (status == 0 && fsync(fd) < 0) status = errno;
    return finish(fd, status);
}

/*
 * `count` commits of `commit_bytes` each, packed byte by byte behind one another into a prepared
 * file, one fdatasync after each. Payload is taken from `data`, round and round.
 */
int floor_commits(const char *path, const uint8_t *data, uint64_t data_bytes, uint64_t commit_bytes,
                  uint64_t count, uint64_t *latencies_ns) {
    if (commit_bytes == 0 || commit_bytes > data_bytes) return EINVAL;
    int fd = open(path, O_WRONLY);
    if (fd < 0) return errno;
    int status = 0;
    uint64_t from = 0;
    for (uint64_t i = 0; i < count && status == 0; i++) {
        if (from + commit_bytes > data_bytes) from = 0;
        uint64_t start = now_ns();
        status = write_all(fd, data + from, (size_t)commit_bytes, (off_t)(i * commit_bytes));
        if (status == 0) status = sync_data(fd);
        latencies_ns[i] = now_ns() - start;
        from += commit_bytes;
    }
    return finish(fd, status);
}

/* `total` bytes into a new file by pieces of `piece` bytes, one fdatasync at the end. */
int floor_bulk(const char *path, const uint8_t *data, uint64_t data_bytes, uint64_t piece,
               uint64_t total, uint64_t *elapsed_ns) {
    if (piece == 0 || data_bytes % piece != 0) return EINVAL;
    uint64_t start = now_ns();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return errno;
    int status = 0;
    for (uint64_t at = 0; at < total && status == 0; at += piece) {
        uint64_t length = total - at < piece ? total - at : piece;
        status = write_all(fd, data + at % data_bytes, (size_t)length, (off_t)at);
    }
    if (status == 0) status = sync_data(fd);
    *elapsed_ns = now_ns() - start;
    return finish(fd, status);
}

/* `count` reads of a page each, from a file that the operating system has in memory. */
int floor_reads(const char *path, uint64_t page_bytes, const uint64_t *pages, uint64_t count,
                uint64_t *elapsed_ns) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) return errno;
    uint8_t *page = malloc((size_t)page_bytes);
    int status = page ? 0 : ENOMEM;
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < count && status == 0; i++) {
        ssize_t n = pread(fd, page, (size_t)page_bytes, (off_t)(pages[i] * page_bytes));
        if (n != (ssize_t)page_bytes) status = n < 0 ? errno : EIO;
    }
    *elapsed_ns = now_ns() - start;
    free(page);
    return finish(fd, status);
}

/*
 * `count` pages copied out of `data` behind one another into a buffer of 256 pages, round and
 * round: what memory allows to a call that reads many pages.
 */
int floor_copies(const uint8_t *data, uint64_t page_bytes, const uint64_t *pages, uint64_t count,
                 uint64_t *elapsed_ns) {
    enum { OUT_PAGES = 256 };
    uint8_t *out = malloc((size_t)(OUT_PAGES * page_bytes));
    if (!out) return ENOMEM;
    memset(out, 0, (size_t)(OUT_PAGES * page_bytes)); /* the system has given all of it */
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        memcpy(out + i % OUT_PAGES * page_bytes, data + pages[i] * page_bytes, (size_t)page_bytes);
        __asm__ volatile("" ::"r"(out) : "memory"); /* or nothing would be copied */
    }
    *elapsed_ns = now_ns() - start;
    free(out);
    return 0;
}
