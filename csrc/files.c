/* files.c: see files.h. */
#include "files.h"

#include <errno.h>
#include <stdio.h>

#define PATH_MAX_BYTES 4096

int aul_files_init(aul_files *files, aul_disk *disk, const char *directory) {
    memset(files, 0, sizeof *files);
    files->disk = disk;
    files->directory = directory;
    return pthread_mutex_init(&files->lock, NULL) ? AUL_NO_MEMORY : AUL_OK;
}

static void close_at(aul_files *files, size_t at) {
    aul_segment *segment = files->open[at];
    files->disk->close(files->disk->context, segment->file);
    segment->file = -1;
    files->open[at] = files->open[--files->count];
}

void aul_files_destroy(aul_files *files) {
    while (files->count) close_at(files, 0);
    aul_release(files->disk, files->open);
    pthread_mutex_destroy(&files->lock);
}

void aul_files_path(const aul_files *files, const char *name, char *to, size_t bytes) {
    snprintf(to, bytes, "%s/%s", files->directory, name);
}

/* Closes the file idle for longest when there are more than enough. */
static void keep_bound(aul_files *files) {
    if (files->count < AUL_FILES_MAX) return;
    size_t oldest = files->count;
    for (size_t i = 0; i < files->count; i++) {
        if (files->open[i]->file_users) continue;
        if (oldest == files->count || files->open[i]->file_used < files->open[oldest]->file_used)
            oldest = i;
    }
    if (oldest < files->count) close_at(files, oldest);
}

static int adopt(aul_files *files, aul_segment *segment, int file, bool writable) {
    keep_bound(files);
    int status = aul_grow(files->disk, (void **)&files->open, &files->capacity, files->count + 1,
                          sizeof *files->open);
    if (status) return status;
    files->open[files->count++] = segment;
    segment->file = file;
    segment->file_writable = writable;
    segment->file_used = ++files->clock;
    return AUL_OK;
}

int aul_files_adopt(aul_files *files, aul_segment *segment, int file) {
    pthread_mutex_lock(&files->lock);
    int status = adopt(files, segment, file, true);
    if (!status) segment->file_users = 1;
    if (!status) segment->kept_open = true;
    pthread_mutex_unlock(&files->lock);
    return status;
}

static int open_file(aul_files *files, aul_segment *segment, bool writable, aul_error *error) {
    char path[PATH_MAX_BYTES];
    int file;
    aul_files_path(files, segment->name, path, sizeof path);
    int status =
        files->disk->open(files->disk->context, path, writable ? AUL_DISK_WRITE : 0, &file);
    if (status == ENOENT)
        return aul_fail_at(error, AUL_CORRUPT, segment->name, 0, segment->first_lsn,
                           "the log segment %s is missing: restore it from a copy", segment->name);
    if (status) return aul_fail_os(error, status, "opening a log segment", segment->name);
    if (adopt(files, segment, file, writable)) {
        files->disk->close(files->disk->context, file);
        return aul_fail(error, AUL_NO_MEMORY, "no memory for an open file");
    }
    return AUL_OK;
}

/* Exchanges a file open for reading for one open for writing; its readers go on with the new
 * one. */
static int make_writable(aul_files *files, aul_segment *segment, aul_error *error) {
    char path[PATH_MAX_BYTES];
    int file;
    aul_files_path(files, segment->name, path, sizeof path);
    int status = files->disk->open(files->disk->context, path, AUL_DISK_WRITE, &file);
    if (status)
        return aul_fail_os(error, status, "opening a log segment for writing", segment->name);
    files->disk->close(files->disk->context, segment->file);
    segment->file = file;
    segment->file_writable = true;
    return AUL_OK;
}

int aul_files_acquire(aul_files *files, aul_segment *segment, bool writable, int *file,
                      aul_error *error) {
    int status = AUL_OK;
    pthread_mutex_lock(&files->lock);
    if (segment->file < 0)
        status = open_file(files, segment, writable, error);
    else if (writable && !segment->file_writable && segment->file_users == 0)
        status = make_writable(files, segment, error);
    else if (writable && !segment->file_writable)
        status = AUL_BUSY; /* somebody reads through it this moment */
    if (!status) {
        segment->file_users++;
        segment->file_used = ++files->clock;
        *file = segment->file;
    }
    pthread_mutex_unlock(&files->lock);
    return status;
}

void aul_files_release(aul_files *files, aul_segment *segment) {
    pthread_mutex_lock(&files->lock);
    segment->file_users--;
    pthread_mutex_unlock(&files->lock);
}

void aul_files_forget(aul_files *files, aul_segment *segment) {
    pthread_mutex_lock(&files->lock);
    for (size_t i = 0; i < files->count; i++)
        if (files->open[i] == segment) close_at(files, i--);
    pthread_mutex_unlock(&files->lock);
}

int aul_files_read(aul_files *files, aul_segment *segment, void *to, size_t bytes, u64 offset,
                   aul_error *error) {
    int file;
    size_t done = 0;
    int status = aul_files_acquire(files, segment, false, &file, error);
    if (status) return status;
    int failed = aul_disk_read(files->disk, file, to, bytes, offset, &done);
    aul_files_release(files, segment);
    if (failed) return aul_fail_os(error, failed, "reading a log segment", segment->name);
    if (done < bytes)
        return aul_fail_at(error, AUL_CORRUPT, segment->name, offset, 0,
                           "the log segment %s ends too early: restore it from a copy",
                           segment->name);
    return AUL_OK;
}
