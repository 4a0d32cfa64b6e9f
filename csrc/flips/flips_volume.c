/* flips_volume.c: the volumes that are damaged. See flips.h.
 *
 * Each is made by a few of the engine's operations, one letter each:
 *   o  open                       x  close                  K  the process is killed
 *   c  a small commit             C  with durability "os"   P  power cut, nothing unsynced stays
 *   m  one of several frames      b  a bulk batch           A  power cut, everything stays
 *   t  a transaction              k  the background thread's work
 *   r  a rewind, two commits back R  to what the last one left      n  a name made, or deleted
 *   S  its work, and what the disk has while a footer is not in its place yet is the volume
 *   M  the same while the manifest is about to be replaced
 * One that is not closed at the end loses its power: all that was written is on the disk. */
#include "flips.h"

#include <stdio.h>
#include <stdlib.h>

#include "../run.h"

typedef struct {
    const char *name, *operations;
} recipe;

static const recipe recipes[FLIPS_VOLUMES] = {
    {"closed", "omcnmkrmtnckRx onrcmbkcnRcx"},
    {"closed after crashes", "omcnCmCP otrmnmkcK ocRbCA onrcx"},
    {"killed", "ocmnrx ommkmRmcnkbCrtcnckRC"},
    {"killed after recoveries", "omcnrCP otmRCnK ocrmnC"},
    {"killed while sealing", "ocmnmrmcRmnmS"},
    {"killed while listing", "ocmnmrmcRmnmM"},
};

/* The build */

typedef struct {
    aul_crash_run run;
    flips_volume *volume;
    aul_sim_call call; /* before it the disk is the volume */
    aul_simdisk *caught;
    aul_model caught_model;
} build;

static void catch (void *argument, aul_sim_call call, const char *path) {
    build *b = argument;
    bool wanted = call == b->call && !strstr(path, "spare");
    if (!wanted || b->caught) return;
    b->caught = aul_simdisk_cut(b->run.life.disk, AUL_CUT_ALL, 1);
    aul_model_copy(&b->run.life.model, &b->caught_model);
    b->caught_model.required =
        aul_max(b->run.life.model.required, aul_durable_lsn(b->run.life.store));
    b->caught_model.visible = b->caught_model.required;
    b->caught_model.issued = b->run.life.store->log.next_lsn - 1;
}

/* While the background thread does what it has to, until it has made the call. */
static void keep_and_catch(build *b, aul_sim_call call) {
    b->call = call;
    aul_simdisk_observe(b->run.life.disk, catch, b);
    for (int tries = 0; tries < 10 && !b->caught; tries++) aul_crash_keep(&b->run);
    aul_simdisk_observe(b->run.life.disk, NULL, NULL);
    if (!b->caught) aul_crash_wrong(&b->run, "the background thread has nothing to do");
}

static u64 two_back(const aul_model *model) {
    return model->states[model->count - aul_min(model->count, 3)].lsn;
}

static void operate(build *b, char what) {
    aul_crash_run *run = &b->run;
    aul_random *random = &run->random;
    if (what == 'o') aul_crash_open_session(run);
    if (what == 'x') aul_crash_close_session(run);
    if (what == 'c') aul_crash_commit(run, 1 + aul_random_below(random, 300), 0, 0);
    if (what == 'C') aul_crash_commit(run, 1 + aul_random_below(random, 300), AUL_DURABILITY_OS, 0);
    if (what == 'm') aul_crash_commit(run, 1500 + aul_random_below(random, 1000), 0, 0);
    if (what == 'b') aul_crash_commit(run, AUL_BULK_BYTES + aul_random_below(random, 2048), 0, 0);
    if (what == 't') aul_crash_transact(run, AUL_DURABILITY_SYNC);
    if (what == 'r') aul_crash_rewind_to(run, two_back(&run->life.model), 0);
    if (what == 'R') aul_crash_rewind_to(run, run->life.left_lsn, 0);
    if (what == 'n') aul_crash_name(run, 0);
    if (what == 'k') aul_crash_keep(run);
    if (what == 'K') aul_crash_end_session(run, AUL_CUT_KILL);
    if (what == 'P') aul_crash_end_session(run, AUL_CUT_NONE);
    if (what == 'A') aul_crash_end_session(run, AUL_CUT_ALL);
    if (what == 'S') keep_and_catch(b, AUL_SIM_TRUNCATE);
    if (what == 'M') keep_and_catch(b, AUL_SIM_RENAME);
}

static void *must(void *memory) {
    if (!memory) abort();
    return memory;
}

/* The disk's files, as long as there is room for them. */
static size_t read_files(const aul_simdisk *disk, flips_file *to, size_t room) {
    u64 size;
    const char *path;
    size_t count = 0;
    for (size_t i = 0; (path = aul_simdisk_name(disk, i, &size)) && count < room; i++) {
        u8 nothing;
        /* Directories have no bytes. */
        if (!size || !aul_simdisk_peek(disk, path, 0, &nothing, 1)) continue;
        flips_file *file = &to[count++];
        snprintf(file->path, sizeof file->path, "%s", path);
        file->size = size;
        file->bytes = must(malloc(size));
        file->regions = must(calloc(1, size));
        aul_simdisk_peek(disk, path, 0, file->bytes, size);
    }
    return count;
}

static void free_file(flips_file *file) {
    free(file->bytes);
    free(file->regions);
}

static bool is_part(const flips_file *file) {
    return !strstr(file->path, "/RESERVE") && !strstr(file->path, "/spare");
}

/* Older versions of the files that are there at the end: any that was not there before. */
static void note_older(flips_volume *volume, const aul_simdisk *disk) {
    flips_file now[FLIPS_FILES_MAX];
    size_t count = read_files(disk, now, FLIPS_FILES_MAX);
    for (size_t i = 0; i < count; i++) {
        bool known = !is_part(&now[i]) || volume->older_count == FLIPS_OLDER_MAX;
        for (size_t o = 0; o < volume->older_count && !known; o++)
            known = volume->older[o].size == now[i].size &&
                    strcmp(volume->older[o].path, now[i].path) == 0 &&
                    memcmp(volume->older[o].bytes, now[i].bytes, now[i].size) == 0;
        if (known)
            free_file(&now[i]);
        else
            volume->older[volume->older_count++] = now[i];
    }
}

static bool run_recipe(flips_volume *volume, const char *operations, u64 seed,
                       aul_crash_counts *counts) {
    build *b = must(calloc(1, sizeof *b));
    aul_crash_run *run = &b->run;
    run->seed = seed;
    run->counts = counts;
    run->random.state = aul_mix(seed);
    run->life.in_boundary = true; /* no crashes but those of the recipe */
    run->life.disk = aul_simdisk_new(aul_random_next(&run->random));
    snprintf(run->where[0], sizeof run->where[0], "the making of the volume \"%s\"", volume->name);
    aul_model_init(&run->life.model);
    for (const char *at = operations; *at && !run->failed; at++) {
        operate(b, *at);
        if (*at != ' ') note_older(volume, run->life.disk);
    }
    volume->clean = !run->life.store;
    if (run->life.store && !b->caught && !run->failed) aul_crash_end_session(run, AUL_CUT_ALL);
    aul_free(run->life.store);
    volume->disk = b->caught ? b->caught : run->life.disk;
    volume->model = b->caught ? b->caught_model : run->life.model;
    aul_simdisk_observe(volume->disk, NULL, NULL);
    if (b->caught) {
        aul_simdisk_free(run->life.disk);
        aul_model_free(&run->life.model);
    }
    bool right = !run->failed;
    free(b);
    return right;
}

/* Which byte is what */

static void mark(flips_file *file, u64 from, u64 to, flips_region region) {
    for (u64 at = from; at < to && at < file->size; at++) file->regions[at] = (u8)region;
}

/* Marks the frames; returns where they end. */
static u64 mark_frames(flips_file *file, const u8 id[AUL_ID_BYTES], u64 end) {
    u64 at = AUL_BLOCK;
    aul_frame frame;
    aul_batch batch;
    while (at + AUL_FRAME_HEADER <= end &&
           aul_frame_decode(file->bytes + at, id, at, &frame) == AUL_OK) {
        u64 payload = at + AUL_FRAME_HEADER, records = payload,
            padding = payload + frame.payload_bytes;
        if (frame.flags & AUL_FRAME_FIRST &&
            aul_batch_decode(file->bytes + payload, frame.payload_bytes, &batch) == AUL_OK)
            records += batch.header_bytes;
        mark(file, at, payload, FLIPS_FRAME_HEADER);
        mark(file, payload, records, FLIPS_BATCH_HEADER);
        mark(file, records, padding, FLIPS_RECORDS);
        at += aul_frame_bytes(frame.payload_bytes);
        mark(file, padding, at, FLIPS_PADDING);
    }
    return at;
}

static void mark_blocks(flips_file *file, u64 from, u64 to, u64 each, flips_region region) {
    for (u64 at = from; at < to; at += AUL_BLOCK) {
        u64 end = at + 16 + each * get32(file->bytes + at + 4);
        mark(file, at, end, region);
        mark(file, end, at + AUL_BLOCK, FLIPS_BLOCK_ZEROS);
    }
}

static void mark_footer(flips_file *file, u64 end) {
    const u8 *trailer = file->bytes + file->size - AUL_TRAILER_BYTES;
    u64 start = aul_round_up(end, AUL_BLOCK);
    u64 blocks = (get64(trailer + 40) + AUL_RUN_ENTRIES - 1) / AUL_RUN_ENTRIES;
    u64 commit_blocks = (get64(trailer + 48) + AUL_RUN_COMMITS - 1) / AUL_RUN_COMMITS;
    u64 commits = start + blocks * AUL_BLOCK, fences = commits + commit_blocks * AUL_BLOCK;
    mark(file, end, start, FLIPS_GAP);
    mark_blocks(file, start, commits, 24, FLIPS_INDEX);
    mark_blocks(file, commits, fences, 32, FLIPS_COMMITS);
    mark(file, fences, file->size - AUL_TRAILER_BYTES, FLIPS_FENCES);
    mark(file, file->size - AUL_TRAILER_BYTES, file->size, FLIPS_TRAILER);
}

static void mark_segment(flips_file *file, const aul_manifest *manifest) {
    aul_segment header = {0};
    const aul_segment *listed = NULL;
    aul_segment_decode_header(file->bytes, &header, NULL);
    for (size_t i = 0; i < manifest->segment_count; i++)
        if (strstr(file->path, manifest->segments[i]->name)) listed = manifest->segments[i];
    bool sealed = listed && listed->sealed, bounded = listed && listed->bounded;
    if (sealed && file->fate != FLIPS_CLOSED) file->fate = FLIPS_SEALED;
    mark(file, 0, AUL_BLOCK, FLIPS_HEADER_ZEROS);
    mark(file, 0, 512, FLIPS_HEADER);
    mark(file, 2048, 2048 + 512, FLIPS_HEADER_COPY);
    mark(file, AUL_BLOCK, file->size, FLIPS_BEHIND);
    u64 end =
        mark_frames(file, header.id, sealed || bounded ? listed->summary.log_end : file->size);
    if (sealed) mark_footer(file, end);
}

static bool mark_regions(flips_volume *volume) {
    aul_manifest manifest;
    aul_disk table = aul_simdisk_table(volume->disk, 1);
    if (aul_manifest_read(&table, AUL_CRASH_PATH, &manifest, NULL)) return false;
    for (size_t i = 0; i < volume->file_count; i++) {
        flips_file *file = &volume->files[i];
        const char *name = strrchr(file->path, '/') + 1;
        if (strcmp(name, "MANIFEST") == 0)
            mark(file, 0, file->size, FLIPS_MANIFEST);
        else if (strcmp(name, "LOCK") == 0)
            mark(file, 0, file->size, FLIPS_LOCK);
        else if (strcmp(name, "RESERVE") == 0)
            mark(file, 0, file->size, FLIPS_RESERVE);
        else if (strstr(name, ".log"))
            mark_segment(file, &manifest);
        else
            mark(file, 0, file->size, FLIPS_DEAD);
    }
    aul_manifest_free(&table, &manifest);
    return true;
}

/* Where the log ends when nothing is damaged, and which segments its recovery does without. */
static bool find_end(flips_volume *volume, aul_crash_run *run) {
    aul_store *store = NULL;
    aul_error error = {0};
    aul_simdisk *copy = aul_simdisk_cut(volume->disk, AUL_CUT_KILL, 1);
    int status = aul_crash_open(run, copy, 3, false, &store, &error);
    if (status) aul_crash_wrong(run, "the volume does not open: %d %s", status, error.text);
    volume->end = status ? 0 : store->info.last_lsn;
    for (size_t i = 0; i < volume->file_count && !status; i++) {
        u8 nothing;
        flips_file *file = &volume->files[i];
        bool kept = aul_simdisk_peek(copy, file->path, 0, &nothing, 1);
        file->fate = volume->clean ? FLIPS_CLOSED : kept ? FLIPS_UNSEALED : FLIPS_DROPPED;
    }
    aul_model model;
    aul_model_copy(&volume->model, &model);
    if (!status && aul_crash_accept(run, store, &model) &&
        aul_crash_check_all(run, store, &model, true, false))
        aul_crash_verify(run, store);
    aul_model_free(&model);
    aul_free(store);
    aul_simdisk_free(copy);
    return !run->failed;
}

/* The older versions of files that are not as they were; only of those that are still there. */
static void keep_older(flips_volume *volume) {
    size_t kept = 0;
    for (size_t o = 0; o < volume->older_count; o++) {
        bool keep = false;
        for (size_t i = 0; i < volume->file_count; i++)
            if (strcmp(volume->files[i].path, volume->older[o].path) == 0)
                keep = volume->files[i].size != volume->older[o].size ||
                       memcmp(volume->files[i].bytes, volume->older[o].bytes,
                              volume->files[i].size) != 0;
        if (keep)
            volume->older[kept++] = volume->older[o];
        else
            free_file(&volume->older[o]);
    }
    volume->older_count = kept;
}

bool flips_volume_make(flips_volume *volume, u64 seed, u32 number, bool every_bit,
                       aul_crash_counts *counts) {
    const recipe *like = &recipes[number];
    *volume = (flips_volume){.name = like->name, .every_bit = every_bit};
    /* Another volume that was made in the same way. */
    if (!run_recipe(volume, like->operations, aul_mix(seed + number) + 1, counts)) return false;
    volume->foreign_count = read_files(volume->disk, volume->foreign, FLIPS_FILES_MAX);
    aul_simdisk_free(volume->disk);
    aul_model_free(&volume->model);
    for (size_t i = 0; i < volume->older_count; i++) free_file(&volume->older[i]);
    volume->older_count = 0;
    if (!run_recipe(volume, like->operations, aul_mix(seed + number), counts)) return false;
    volume->file_count = read_files(volume->disk, volume->files, FLIPS_FILES_MAX);
    keep_older(volume);
    aul_crash_run *run = must(calloc(1, sizeof *run));
    run->seed = seed;
    run->counts = counts;
    snprintf(run->where[0], sizeof run->where[0], "the undamaged volume \"%s\"", volume->name);
    bool right = find_end(volume, run) && mark_regions(volume);
    free(run);
    if (right) flips_damage_list(volume);
    return right;
}

void flips_volume_free(flips_volume *volume) {
    aul_simdisk_free(volume->disk);
    aul_model_free(&volume->model);
    for (size_t i = 0; i < volume->file_count; i++) free_file(&volume->files[i]);
    for (size_t i = 0; i < volume->older_count; i++) free_file(&volume->older[i]);
    for (size_t i = 0; i < volume->foreign_count; i++) free_file(&volume->foreign[i]);
    free(volume->spans);
    free(volume->wide);
    aul_model_forget_pages(0);
}
