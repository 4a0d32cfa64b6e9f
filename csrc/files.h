/* files.h: the open files of sealed and unsealed segments: opened at first use, at most
 * AUL_FILES_MAX idle ones kept. An acquired file stays open until it is released, whatever the
 * bound. */
#ifndef AUL_FILES_H
#define AUL_FILES_H

#include "segment.h"

#define AUL_FILES_MAX 128u

typedef struct {
    aul_disk *disk;
    const char *directory; /* of the log; owned by the store */
    pthread_mutex_t lock;
    aul_segment **open; /* those with an open file */
    size_t count, capacity;
    u64 clock;
} aul_files;

int aul_files_init(aul_files *files, aul_disk *disk, const char *directory);
void aul_files_destroy(aul_files *files);
/* Opens the segment's file if need be. `writable` reopens it for writing when it was open for
 * reading only. */
int aul_files_acquire(aul_files *files, aul_segment *segment, bool writable, int *file,
                      aul_error *error);
void aul_files_release(aul_files *files, aul_segment *segment);
/* Takes over a file just created, open for writing, and keeps it open until it is released. */
int aul_files_adopt(aul_files *files, aul_segment *segment, int file);
/* Closes the segment's file; nobody has it acquired. */
void aul_files_forget(aul_files *files, aul_segment *segment);
/* Exactly `bytes` at `offset`; AUL_CORRUPT when the file ends before. */
int aul_files_read(aul_files *files, aul_segment *segment, void *to, size_t bytes, u64 offset,
                   aul_error *error);
/* "<directory>/<name>" for messages and calls. */
void aul_files_path(const aul_files *files, const char *name, char *to, size_t bytes);

#endif
