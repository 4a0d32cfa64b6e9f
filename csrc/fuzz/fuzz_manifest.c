/* fuzz_manifest.c: the input is a MANIFEST. One that is read is written and read again, and is the
 * same; so is its history's path to anywhere. */
#include <stdlib.h>

#include "fuzz.h"
#include "volumes.h"

#define PATH "/m"

static void check_history(aul_disk *disk, const aul_history *history) {
    for (size_t i = 0; i <= history->count; i++) {
        aul_path path;
        u64 lsn = i < history->count ? history->items[i].resumed_at : UINT64_MAX;
        AUL_FUZZ_MUST(aul_history_path(history, lsn, &path) == AUL_OK);
        for (size_t hole = 0; hole < path.count; hole++) {
            const aul_hole *at = &path.holes[hole];
            AUL_FUZZ_MUST(at->start <= at->end && (at->end <= lsn || lsn == UINT64_MAX));
            AUL_FUZZ_MUST(hole == 0 || at->end < path.holes[hole - 1].start);
            AUL_FUZZ_MUST(at->start == at->end || aul_path_hole(&path, at->start) == at);
        }
        for (size_t cut = 0; cut < history->count; cut++) {
            const aul_branch *branch = &history->items[cut];
            AUL_FUZZ_MUST(branch->kind != AUL_BRANCH_CUT ||
                              branch->parent_at + 1 == branch->resumed_at ||
                              !aul_path_holds(&path, branch->parent_at + 1),
                          "a path leads through what was cut");
        }
        aul_history_cut_at(history, lsn);
        aul_path_free(disk, &path);
    }
}

/* The file's bytes in memory of the caller's. */
static u8 *contents(const aul_simdisk *disk, u64 *bytes) {
    const char *path;
    for (size_t i = 0; (path = aul_simdisk_name(disk, i, bytes)); i++) {
        if (strcmp(path, PATH "/MANIFEST") != 0) continue;
        u8 *copy = malloc(*bytes + 1);
        AUL_FUZZ_MUST(copy && aul_simdisk_peek(disk, path, 0, copy, *bytes));
        return copy;
    }
    aul_fuzz_wrong(__FILE__, __LINE__, "there is a MANIFEST", " ");
}

static u8 *write_again(aul_simdisk *disk, aul_disk *table, const aul_manifest *manifest,
                       u64 *bytes) {
    aul_error error = {0};
    int status = aul_manifest_write(table, PATH, manifest, &error);
    AUL_FUZZ_MUST(!status, "a manifest that was read cannot be written: %s", error.text);
    return contents(disk, bytes);
}

void aul_fuzz_run(aul_fuzz_input *input) {
    aul_simdisk *disk = aul_simdisk_new(1);
    aul_disk table = aul_fuzz_table(disk, 0);
    aul_manifest manifest, again;
    aul_error error = {0};
    table.make_directory(table.context, PATH);
    aul_fuzz_put_file(disk, PATH "/MANIFEST", input->at, input->left, 0);
    int status = aul_manifest_read(&table, PATH, &manifest, &error);
    AUL_FUZZ_MUST(status == AUL_OK || status == AUL_CORRUPT || status == AUL_FORMAT,
                  "status %d: %s", status, error.text);
    if (!status) {
        u64 bytes, bytes_again;
        check_history(&table, &manifest.history);
        u8 *first = write_again(disk, &table, &manifest, &bytes);
        AUL_FUZZ_MUST(!aul_manifest_read(&table, PATH, &again, NULL));
        u8 *second = write_again(disk, &table, &again, &bytes_again);
        AUL_FUZZ_MUST(bytes == bytes_again && memcmp(first, second, bytes) == 0,
                      "a manifest changes when it is read and written");
        AUL_FUZZ_MUST(again.segment_count == manifest.segment_count &&
                      again.history.count == manifest.history.count &&
                      again.names.count == manifest.names.count &&
                      again.durable_lsn == manifest.durable_lsn && again.epoch == manifest.epoch);
        free(first);
        free(second);
        aul_manifest_free(&table, &again);
        aul_manifest_free(&table, &manifest);
    }
    aul_fuzz_end_disk(disk);
}

size_t aul_fuzz_seed(size_t n, u8 to[AUL_FUZZ_INPUT_MAX]) {
    if (n >= AUL_FUZZ_VOLUMES) return 0;
    const aul_fuzz_volume *volume = aul_fuzz_volume_get(n);
    for (size_t i = 0; i < volume->file_count; i++) {
        const aul_fuzz_file *file = &volume->files[i];
        if (strcmp(file->path, AUL_FUZZ_PATH "/MANIFEST") != 0) continue;
        AUL_FUZZ_MUST(file->bytes <= AUL_FUZZ_INPUT_MAX &&
                      aul_simdisk_peek(volume->disk, file->path, 0, to, file->bytes));
        return file->bytes;
    }
    return 0;
}
