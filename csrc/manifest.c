/* manifest.c: see manifest.h.
 *
 * Header, 256 bytes:
 *   0  8 bytes magic "AULMANIF"
 *   8  u32 crc32c of bytes 12..end      12 u32 format version
 *  16  u64 required features            24 u64 bytes of the manifest
 *  32  16 bytes volume id               48 u32 page size       52 u32 flags: 1 closed cleanly
 *  56  u64 epoch last raised            64 16 bytes id of the writer that raised it
 *  80  u64 retention, ns                88 u64 in-flight limit in LSNs
 *  96  u64 time of creation            104 u64 durable LSN when written
 * 112  u32 branch points               116 u32 segments       120 u32 inherited volume ids, zero
 * 124  u32 restore points
 * Branch points of 64 bytes (history.c), then restore points (names.c), then segments of 192 bytes:
 *   0  16 bytes file id, 16 volume id, 32 file id of the segment before
 *  48  u64 first LSN, 56 LSN before it, 64 epoch, 72 time of creation
 *  80  u32 state: 0 appended to, 1 sealed, 2 bounded     84 u32 crc32c of the frames' bytes
 *  (sealed)
 *  88  u64 end of frames, 96 last LSN, 104 file bytes, 112 index entries, 120 commits, 128
 *  truncates, 136 lowest page,
 * 144  u64 highest page + 1, 152 lowest truncate, 160 last commit's time, 168 end of page space,
 * 176 last commit LSN */
#include "manifest.h"
#include "seeded.h"

#include <errno.h>
#include <stdio.h>

static const char MAGIC[8] = "AULMANIF";

#define HEADER_BYTES 256u
#define SEGMENT_BYTES 192u
#define MANIFEST_BYTES_MAX (1ull << 30)
#define DAMAGED "the MANIFEST is damaged: restore it from a copy"
#define STATE_APPENDED 0u
#define STATE_SEALED 1u
#define STATE_BOUNDED 2u
#define PATH_MAX_BYTES 4096
#define IN_FLIGHT_LSNS_MAX (1ull << 32) /* commits count their records in 32 bits */

static void encode_segment(u8 *at, const aul_segment *segment) {
    const aul_summary *summary = &segment->summary;
    memcpy(at, segment->id, AUL_ID_BYTES);
    memcpy(at + 16, segment->volume_id, AUL_ID_BYTES);
    memcpy(at + 32, segment->previous_id, AUL_ID_BYTES);
    put64(at + 48, segment->first_lsn);
    put64(at + 56, segment->previous_lsn);
    put64(at + 64, segment->epoch);
    put64(at + 72, segment->created_ns);
    bool sealed = atomic_load(&segment->sealed);
    bool bounded = segment->bounded && !AUL_SEEDED(BOUND_FORGOTTEN);
    put32(at + 80, sealed ? STATE_SEALED : bounded ? STATE_BOUNDED : STATE_APPENDED);
    if (!sealed && !segment->bounded) return;
    put32(at + 84, summary->whole_crc);
    put64(at + 88, summary->log_end);
    put64(at + 96, summary->last_lsn);
    put64(at + 104, summary->file_bytes);
    put64(at + 112, summary->entry_count);
    put64(at + 120, summary->commit_count);
    put64(at + 128, summary->truncate_count);
    put64(at + 136, summary->page_low);
    put64(at + 144, summary->page_high);
    put64(at + 152, summary->truncate_low);
    put64(at + 160, summary->last_time_ns);
    put64(at + 168, summary->end_pages);
    put64(at + 176, summary->last_commit);
}

static int decode_segment(const u8 *at, u32 page_size, aul_segment *segment) {
    memcpy(segment->id, at, AUL_ID_BYTES);
    memcpy(segment->volume_id, at + 16, AUL_ID_BYTES);
    memcpy(segment->previous_id, at + 32, AUL_ID_BYTES);
    segment->first_lsn = get64(at + 48);
    segment->previous_lsn = get64(at + 56);
    segment->epoch = get64(at + 64);
    segment->created_ns = get64(at + 72);
    segment->page_size = page_size;
    segment->record_seed = aul_crc32c(0, segment->volume_id, AUL_ID_BYTES);
    u32 state = get32(at + 80);
    segment->summary = (aul_summary){.whole_crc = get32(at + 84),
                                     .log_end = get64(at + 88),
                                     .last_lsn = get64(at + 96),
                                     .file_bytes = get64(at + 104),
                                     .entry_count = get64(at + 112),
                                     .commit_count = get64(at + 120),
                                     .truncate_count = get64(at + 128),
                                     .page_low = get64(at + 136),
                                     .page_high = get64(at + 144),
                                     .truncate_low = get64(at + 152),
                                     .last_time_ns = get64(at + 160),
                                     .end_pages = get64(at + 168),
                                     .last_commit = get64(at + 176)};
    atomic_store(&segment->last_lsn, segment->summary.last_lsn);
    segment->bounded = state == STATE_BOUNDED;
    atomic_store(&segment->sealed, state == STATE_SEALED);
    aul_segment_set_name(segment);
    return state <= STATE_BOUNDED ? AUL_OK : AUL_CORRUPT;
}

/* What a reader has to know to read the volume right. */
static u64 features(const aul_manifest *manifest) {
    u64 required = manifest->names.count ? AUL_FEATURE_RESTORE_POINTS : 0;
    for (size_t i = 0; i < manifest->history.count; i++)
        if (manifest->history.items[i].kind == AUL_BRANCH_REWIND) required |= AUL_FEATURE_REWINDS;
    return required;
}

static int encode(aul_disk *disk, const aul_manifest *manifest, u8 **out, size_t *bytes) {
    size_t branches = manifest->history.count, segments = manifest->segment_count;
    size_t points = manifest->names.count;
    *bytes = HEADER_BYTES + branches * AUL_BRANCH_BYTES + segments * SEGMENT_BYTES;
    for (size_t i = 0; i < points; i++)
        *bytes += aul_restore_point_bytes(&manifest->names.items[i]);
    u8 *at = aul_alloc_zero(disk, *bytes);
    *out = at;
    if (!at) return AUL_NO_MEMORY;
    memcpy(at, MAGIC, 8);
    put32(at + 12, AUL_FORMAT_VERSION);
    put64(at + 16, features(manifest));
    put64(at + 24, *bytes);
    memcpy(at + 32, manifest->volume_id, AUL_ID_BYTES);
    put32(at + 48, manifest->page_size);
    put32(at + 52, manifest->flags);
    put64(at + 56, manifest->epoch);
    memcpy(at + 64, manifest->writer_id, AUL_ID_BYTES);
    put64(at + 80, manifest->retention_ns);
    put64(at + 88, manifest->in_flight_lsns);
    put64(at + 96, manifest->created_ns);
    put64(at + 104, manifest->durable_lsn);
    put32(at + 112, branches);
    put32(at + 116, segments);
    put32(at + 124, points);
    u8 *to = at + HEADER_BYTES;
    for (size_t i = 0; i < branches; i++, to += AUL_BRANCH_BYTES)
        aul_branch_encode(to, &manifest->history.items[i]);
    for (size_t i = 0; i < points; i++) {
        aul_restore_point_encode(to, &manifest->names.items[i]);
        to += aul_restore_point_bytes(&manifest->names.items[i]);
    }
    for (size_t i = 0; i < segments; i++, to += SEGMENT_BYTES)
        encode_segment(to, manifest->segments[i]);
    put32(at + 8, aul_crc32c(0, at + 12, *bytes - 12));
    return AUL_OK;
}

static int check_version(const u8 *at, aul_error *error) {
    if (get32(at + 12) != AUL_FORMAT_VERSION)
        return aul_fail(error, AUL_FORMAT,
                        "the volume has format %u, this aurolog reads %u: use a newer aurolog",
                        get32(at + 12), AUL_FORMAT_VERSION);
    return aul_check_features(get64(at + 16), "the volume", error);
}

/* Whether the segment can follow the one before it (NULL: none): LSNs and epochs rise, and sealed
 * ones come first, then bounded ones. What is searched relies on it. */
static bool follows(const aul_manifest *manifest, const aul_segment *before,
                    const aul_segment *segment) {
    const aul_summary *summary = &segment->summary;
    bool sealed = atomic_load(&segment->sealed), ended = sealed || segment->bounded;
    if (!sealed && manifest->flags & AUL_MANIFEST_CLEAN) return false;
    if (segment->first_lsn == 0 || segment->epoch == 0 || segment->epoch > manifest->epoch)
        return false;
    if (ended &&
        (summary->last_lsn < segment->first_lsn - 1 || summary->last_commit > summary->last_lsn ||
         summary->log_end < AUL_BLOCK || summary->log_end > UINT32_MAX))
        return false;
    if (!before) return true;
    bool before_sealed = atomic_load(&before->sealed);
    if ((sealed && !before_sealed) || (segment->bounded && !before_sealed && !before->bounded))
        return false;
    u64 before_last = before_sealed || before->bounded ? before->summary.last_lsn : 0;
    return segment->epoch >= before->epoch && segment->first_lsn >= before->first_lsn &&
           segment->first_lsn > before_last;
}

/* So many restore points, which take all of `bytes`; none is made at the LSN of one before. */
static int decode_names(const u8 *from, u64 points, size_t bytes, aul_manifest *out) {
    u64 made_lsn = 0;
    for (u64 i = 0; i < points; i++) {
        aul_restore_point point;
        int status = aul_restore_point_decode(from, bytes, &point);
        if (!status && point.made_lsn <= made_lsn) status = AUL_CORRUPT;
        if (!status) status = aul_names_add(&out->names, &point);
        if (status) return status;
        made_lsn = point.made_lsn;
        from += aul_restore_point_bytes(&point);
        bytes -= aul_restore_point_bytes(&point);
    }
    return bytes ? AUL_CORRUPT : AUL_OK;
}

static int decode(aul_disk *disk, const u8 *at, size_t bytes, aul_manifest *out, aul_error *error) {
    if (bytes < HEADER_BYTES || memcmp(at, MAGIC, 8) != 0 ||
        !aul_crc_fits(get32(at + 8), aul_crc32c(0, at + 12, bytes - 12)))
        return aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, 0, "%s", DAMAGED);
    int status = check_version(at, error);
    if (status) return status;
    memcpy(out->volume_id, at + 32, AUL_ID_BYTES);
    out->page_size = get32(at + 48);
    out->flags = get32(at + 52);
    out->epoch = get64(at + 56);
    memcpy(out->writer_id, at + 64, AUL_ID_BYTES);
    out->retention_ns = get64(at + 80);
    out->in_flight_lsns = get64(at + 88);
    out->created_ns = get64(at + 96);
    out->durable_lsn = get64(at + 104);
    u64 branches = get32(at + 112), segments = get32(at + 116), points = get32(at + 124);
    u64 fixed = HEADER_BYTES + branches * AUL_BRANCH_BYTES + segments * SEGMENT_BYTES;
    u32 size = out->page_size;
    bool sized = size >= AUL_PAGE_SIZE_MIN && size <= AUL_PAGE_SIZE_MAX && (size & (size - 1)) == 0;
    /* Recovery goes on above it: a wrong one would assign LSNs again that somebody saw. */
    bool limited = out->in_flight_lsns >= 1 && out->in_flight_lsns <= IN_FLIGHT_LSNS_MAX;
    bool raisable = out->epoch < UINT64_MAX;
    if (!sized || !limited || !raisable || get64(at + 24) != bytes || fixed > bytes)
        return aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, 0, "%s", DAMAGED);
    const u8 *from = at + HEADER_BYTES;
    for (u64 i = 0; i < branches && !status; i++, from += AUL_BRANCH_BYTES) {
        aul_branch branch;
        status = aul_branch_decode(from, AUL_BRANCH_BYTES, &branch);
        if (branch.epoch == 0 || branch.epoch > out->epoch) status = AUL_CORRUPT;
        if (!status) status = aul_history_add(&out->history, &branch);
    }
    if (!status) status = decode_names(from, points, bytes - fixed, out);
    from += bytes - fixed;
    out->segments = aul_alloc(disk, (segments + 1) * sizeof *out->segments);
    if (!out->segments) status = AUL_NO_MEMORY;
    for (u64 i = 0; i < segments && !status; i++, from += SEGMENT_BYTES) {
        aul_segment *segment = aul_segment_new(disk);
        if (!segment) {
            status = AUL_NO_MEMORY;
            break;
        }
        out->segments[out->segment_count++] = segment;
        status = decode_segment(from, out->page_size, segment);
        if (!follows(out, i ? out->segments[i - 1] : NULL, segment)) status = AUL_CORRUPT;
    }
    if (status == AUL_NO_MEMORY) return aul_fail(error, status, "no memory to read the manifest");
    if (status) return aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, 0, "%s", DAMAGED);
    return AUL_OK;
}

void aul_manifest_free(aul_disk *disk, aul_manifest *manifest) {
    for (size_t i = 0; i < manifest->segment_count; i++)
        aul_segment_free(disk, manifest->segments[i]);
    aul_release(disk, manifest->segments);
    manifest->segments = NULL;
    manifest->segment_count = 0;
    if (manifest->history.disk) aul_history_free(&manifest->history);
    if (manifest->names.disk) aul_names_free(&manifest->names);
}

int aul_manifest_read(aul_disk *disk, const char *path, aul_manifest *out, aul_error *error) {
    char name[PATH_MAX_BYTES];
    int file;
    u64 size = 0;
    memset(out, 0, sizeof *out);
    out->history.disk = out->names.disk = disk;
    snprintf(name, sizeof name, "%s/MANIFEST", path);
    int failed = disk->open(disk->context, name, 0, &file);
    if (failed == ENOENT || failed == ENOTDIR)
        return aul_fail(error, AUL_NOT_A_VOLUME,
                        "%s is no aurolog volume: it has no MANIFEST. Check the path", path);
    if (failed) return aul_fail_os(error, failed, "opening the MANIFEST", name);
    failed = disk->size(disk->context, file, &size);
    size_t done = 0;
    bool sized = !failed && size <= MANIFEST_BYTES_MAX;
    u8 *bytes = sized ? aul_alloc(disk, size + 1) : NULL;
    if (bytes) failed = aul_disk_read(disk, file, bytes, size, 0, &done);
    disk->close(disk->context, file);
    int status;
    if (failed)
        status = aul_fail_os(error, failed, "reading the MANIFEST", name);
    else if (!sized)
        status = aul_fail_at(error, AUL_CORRUPT, "MANIFEST", 0, 0, "%s", DAMAGED);
    else if (!bytes)
        status = aul_fail(error, AUL_NO_MEMORY, "no memory to read a MANIFEST of %llu bytes",
                          (unsigned long long)size);
    else
        status = decode(disk, bytes, done, out, error);
    aul_release(disk, bytes);
    if (status) aul_manifest_free(disk, out);
    return status;
}

/* Writes the new manifest beside the old one and makes it durable. */
static int write_beside(aul_disk *disk, const char *name, const u8 *bytes, size_t count,
                        aul_error *error) {
    int file;
    int failed = disk->unlink(disk->context, name);
    if (failed && failed != ENOENT)
        return aul_fail_os(error, failed, "removing an old MANIFEST.new", name);
    failed = disk->open(disk->context, name, AUL_DISK_WRITE | AUL_DISK_CREATE, &file);
    if (failed) return aul_fail_os(error, failed, "creating MANIFEST.new", name);
    failed = aul_disk_write(disk, file, bytes, count, 0);
    if (!failed && !AUL_SEEDED(MANIFEST_UNSYNCED)) failed = aul_disk_sync(disk, file);
    disk->close(disk->context, file);
    if (failed) disk->unlink(disk->context, name);
    return failed ? aul_fail_os(error, failed, "writing MANIFEST.new", name) : AUL_OK;
}

int aul_manifest_write(aul_disk *disk, const char *path, const aul_manifest *manifest,
                       aul_error *error) {
    char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES];
    u8 *bytes;
    size_t count;
    snprintf(from, sizeof from, "%s/MANIFEST.new", path);
    snprintf(to, sizeof to, "%s/MANIFEST", path);
    int status = encode(disk, manifest, &bytes, &count);
    if (status) return aul_fail(error, status, "no memory for the manifest");
    status = write_beside(disk, from, bytes, count, error);
    aul_release(disk, bytes);
    if (status) return status;
    int failed = disk->rename(disk->context, from, to);
    if (failed) return aul_fail_os(error, failed, "renaming MANIFEST.new", to);
    failed = AUL_SEEDED(RENAME_UNSYNCED) ? 0 : aul_disk_sync_directory_at(disk, path);
    if (failed) {
        aul_fail_os(error, failed, "syncing the volume's directory", path);
        return AUL_IO;
    }
    return AUL_OK;
}
