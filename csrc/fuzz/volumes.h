/* volumes.h: volumes to start from, made by the engine when the program starts, and edits of them.
 *
 * With the bytes of a whole directory as input no mutation would get anywhere. So an input says
 * which volume, and what to do to its files: each edit is a few bytes, and its place is a distance
 * from an anchor, where a structure begins. */
#ifndef AUL_FUZZ_VOLUMES_H
#define AUL_FUZZ_VOLUMES_H

#include "fuzz.h"

#define AUL_FUZZ_PATH "/v"
#define AUL_FUZZ_PAGE_SIZE 512u
#define AUL_FUZZ_VOLUMES 13
#define AUL_FUZZ_FILES_MAX 32
#define AUL_FUZZ_EDITS_MAX 64

typedef struct {
    char path[64];
    u64 bytes;
    u64 *anchors; /* the last is the file's end */
    size_t anchor_count;
    bool sealed; /* a segment with a footer */
} aul_fuzz_file;

typedef struct {
    aul_simdisk *disk;
    aul_fuzz_file files[AUL_FUZZ_FILES_MAX];
    size_t file_count;
} aul_fuzz_volume;

const aul_fuzz_volume *aul_fuzz_volume_get(size_t which);
/* A copy of its disk, for the caller to change and free. */
aul_simdisk *aul_fuzz_volume_disk(const aul_fuzz_volume *volume);
/* Does to the disk all the edits that are left in the input; to this one file, if it is given. */
void aul_fuzz_edit(aul_simdisk *disk, const aul_fuzz_volume *volume, const aul_fuzz_file *only,
                   aul_fuzz_input *input);

/* Mutates an input whose edits begin behind `head` bytes: as libFuzzer does by itself, or by an
 * edit that puts a number where one may stand. What LLVMFuzzerCustomMutator has to do. */
size_t aul_fuzz_mutate(u8 *data, size_t bytes, size_t room, u32 seed, size_t head);

#endif
