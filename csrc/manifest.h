/* manifest.h: the one small file that says which segments make the volume. What it does not name
 * does not exist, except the segments that follow its last one by their headers (same epoch,
 * previous file id). It is replaced whole: written beside, synced, renamed, and the directory
 * synced. */
#ifndef AUL_MANIFEST_H
#define AUL_MANIFEST_H

#include "history.h"
#include "names.h"
#include "segment.h"

#define AUL_MANIFEST_CLEAN 1u

typedef struct {
    u8 volume_id[AUL_ID_BYTES], writer_id[AUL_ID_BYTES];
    u32 page_size, flags;
    u64 epoch, retention_ns, in_flight_lsns, created_ns;
    u64 durable_lsn; /* known durable when the manifest was written */
    aul_history history;
    aul_names names;
    /* Oldest first. When reading, each is newly allocated and passes to the caller. */
    aul_segment **segments;
    size_t segment_count;
} aul_manifest;

/* Reads <path>/MANIFEST. AUL_NOT_A_VOLUME when there is none. */
int aul_manifest_read(aul_disk *disk, const char *path, aul_manifest *out, aul_error *error);
/* Replaces it. AUL_DISK_FULL leaves the old one in force; any other failure leaves it unknown
 * which one is. */
int aul_manifest_write(aul_disk *disk, const char *path, const aul_manifest *manifest,
                       aul_error *error);
/* Frees the history, the names, the list and the segments that are still in it. */
void aul_manifest_free(aul_disk *disk, aul_manifest *manifest);

#endif
