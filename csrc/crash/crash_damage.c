/* crash_damage.c: images with a damaged sector, and disks that fail while a volume is recovered.
 * See crash.h.
 *
 * Damage is found, or it hurts nothing: an open fails, or reads are right or fail. What it must
 * never do is to shorten the log silently below what something on the disk says was durable. A disk
 * that fails gives no licence to remove or to cut anything. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "crash.h"

static bool is_log_file(const char *path) { return strstr(path, ".log") != NULL; }

/* Whether the LSN is of a commit that is on the path. */
static bool is_live(const aul_model *model, u64 lsn) {
    for (size_t i = 1; i < model->count; i++)
        if (lsn >= model->states[i].first_lsn && lsn <= model->states[i].lsn) return true;
    return false;
}

/* The file's bytes, for the caller to free; NULL when it is not there. */
static u8 *read_file(const aul_simdisk *disk, const char *path, u64 size) {
    u8 *bytes = malloc(size + AUL_BLOCK);
    if (!bytes) abort();
    if (aul_simdisk_peek(disk, path, 0, bytes, size)) return bytes;
    free(bytes);
    return NULL;
}

/* The last LSN that the file's trailer says, or 0 when it has none. */
static u64 sealed_at(const u8 *bytes, u64 size, const u8 id[AUL_ID_BYTES]) {
    u8 place[AUL_ID_BYTES + 8];
    const u8 *at = bytes + size - AUL_TRAILER_BYTES;
    memcpy(place, id, AUL_ID_BYTES);
    put64(place + AUL_ID_BYTES, size - AUL_TRAILER_BYTES);
    u32 crc = aul_crc32c(aul_crc32c(0, place, sizeof place), at + 12, AUL_TRAILER_BYTES - 12);
    return memcmp(at, "AULTRAIL", 8) == 0 && get32(at + 8) == crc ? get64(at + 24) : 0;
}

/* Without a header the file's id is lost, and with it most of what its frames could say. What has a
 * newer epoch than the manifest may be of an interrupted recovery, and no part of the log; unless
 * it says that something was durable of what it holds itself. Another volume's file says nothing of
 * this one: `volume` is its id, or NULL when it is not known. */
static u64 witnessed_by(const char *path, const u8 *bytes, u64 size, const u8 *volume, u64 epoch,
                        const aul_model *model) {
    aul_segment segment = {0}, named = {0};
    aul_frame frame;
    u64 highest = 0;
    if (size < AUL_BLOCK + AUL_TRAILER_BYTES || aul_segment_decode_header(bytes, &segment, NULL))
        return 0;
    if (volume && memcmp(segment.volume_id, volume, AUL_ID_BYTES) != 0) return 0;
    /* Under the name of an older segment nobody looks for it. */
    aul_segment_parse_name(strrchr(path, '/') + 1, &named.first_lsn, &named.epoch);
    if (named.epoch < segment.epoch || named.first_lsn < segment.first_lsn) return 0;
    u64 sealed = aul_model_at(model, sealed_at(bytes, size, segment.id))->lsn;
    if (sealed >= segment.first_lsn) highest = sealed;
    for (u64 at = AUL_BLOCK; at + AUL_FRAME_HEADER <= size; at += AUL_FRAME_ALIGN) {
        if (memcmp(bytes + at, "AULF", 4) != 0 ||
            aul_frame_decode(bytes + at, segment.id, at, &frame))
            continue;
        bool counts = frame.epoch <= epoch || frame.durable_before >= segment.first_lsn;
        if (counts && frame.durable_before < frame.first_lsn && is_live(model, frame.first_lsn))
            highest = aul_max(highest, frame.durable_before);
    }
    return highest;
}

u64 aul_crash_witnessed(const aul_simdisk *disk, const aul_model *model) {
    const char *path;
    u64 size, highest = 0, epoch = UINT64_MAX;
    u8 id[AUL_ID_BYTES], *volume = NULL;
    for (size_t i = 0; (path = aul_simdisk_name(disk, i, &size)); i++) {
        if (strcmp(path, AUL_CRASH_PATH "/MANIFEST") != 0) continue;
        u8 *bytes = read_file(disk, path, size);
        if (bytes && size >= 256 && get32(bytes + 8) == aul_crc32c(0, bytes + 12, size - 12)) {
            epoch = get64(bytes + 56);
            highest = get64(bytes + 104);
            volume = memcpy(id, bytes + 32, AUL_ID_BYTES);
        }
        free(bytes);
    }
    if (highest >= model->required) return highest; /* more is never asked for */
    for (size_t i = 0; (path = aul_simdisk_name(disk, i, &size)); i++) {
        u8 *bytes = is_log_file(path) ? read_file(disk, path, size) : NULL;
        if (bytes)
            highest = aul_max(highest, witnessed_by(path, bytes, size, volume, epoch, model));
        free(bytes);
    }
    return highest;
}

/* Damages a sector somewhere in log or manifest; *path and *at say which. */
static bool spoil(aul_crash_run *run, aul_simdisk *image, char *path, size_t room, u64 *at) {
    u8 sector[512];
    u64 size;
    size_t count = 0;
    while (aul_simdisk_name(image, count, &size)) count++;
    for (int tries = 0; tries < 20; tries++) {
        const char *name = aul_simdisk_name(image, aul_random_below(&run->random, count), &size);
        bool eligible = is_log_file(name) || (strstr(name, "MANIFEST") && tries > 4);
        if (!eligible || size < sizeof sector) continue;
        *at = aul_random_below(&run->random, size / 512) * 512;
        snprintf(path, room, "%s", name);
        if (!aul_simdisk_peek(image, path, *at, sector, sizeof sector)) continue;
        u64 how = aul_random_below(&run->random, 4), bit;
        if (how == 0) memset(sector, 0, sizeof sector);
        if (how == 1) /* another sector of the same file stands here */
            aul_simdisk_peek(image, path, aul_random_below(&run->random, size / 512) * 512, sector,
                             sizeof sector);
        if (how >= 2) {
            bit = aul_random_below(&run->random, 8 * sizeof sector);
            sector[bit / 8] ^= (u8)(1u << bit % 8);
        }
        aul_simdisk_damage(image, path, *at, sector, sizeof sector);
        return true;
    }
    return false;
}

/* The log ends no earlier than it may; *now is what is left of the model. */
static void look_where_it_ends(aul_crash_run *run, aul_store *store, const aul_model *model,
                               u64 witnessed, aul_model *now) {
    u64 last = aul_max(store->info.last_lsn, store->log.visible);
    if (last < witnessed)
        aul_crash_wrong(run, "damage cut the log at LSN %llu, %llu was known durable",
                        (unsigned long long)last, (unsigned long long)witnessed);
    aul_model_copy(model, now);
    if (!aul_crash_see(run, store, now)) return;
    now->cut_count = 0;
    if (now->kept < witnessed && aul_model_at(model, witnessed)->lsn > now->kept)
        aul_crash_wrong(run, "damage cut LSN %llu, which was known durable",
                        (unsigned long long)witnessed);
}

int aul_crash_open_damaged(aul_crash_run *run, aul_simdisk *image, const aul_model *model,
                           u64 witnessed, bool read_only, aul_store **store, aul_model *now,
                           aul_error *error) {
    int status = aul_crash_open(run, image, 3, read_only, store, error);
    if (status) {
        atomic_fetch_add(&run->counts->refused, 1);
        if (status != AUL_CORRUPT && status != AUL_FORMAT && status != AUL_NOT_A_VOLUME)
            aul_crash_wrong(run, "a damaged volume: %d %s", status, error->text);
        if (status == AUL_CORRUPT && !error->file[0])
            aul_crash_wrong(run, "damage is told without a place: %s", error->text);
        return status;
    }
    look_where_it_ends(run, *store, model, witnessed, now);
    return AUL_OK;
}

void aul_crash_damage(aul_crash_run *run, aul_simdisk *image, const aul_model *model) {
    char path[64] = "";
    u64 at = 0;
    aul_store *store = NULL;
    aul_model now;
    aul_error error = {0};
    if (!aul_crash_lied(run) && !spoil(run, image, path, sizeof path, &at)) return;
    size_t end = strlen(run->where[run->life.depth]);
    snprintf(run->where[run->life.depth] + end, sizeof run->where[0] - end, "; damaged: %s at %llu",
             path, (unsigned long long)at);
    atomic_fetch_add(&run->counts->damaged, 1);
    /* A reader shows only what it knows to be durable from what it can read: that may be less. */
    bool read_only = aul_random_chance(&run->random, 20);
    u64 witnessed = read_only ? 0 : aul_min(model->required, aul_crash_witnessed(image, model));
    if (!aul_crash_open_damaged(run, image, model, witnessed, read_only, &store, &now, &error)) {
        if (!run->failed) aul_crash_check(run, store, &now, true);
        aul_model_free(&now);
        aul_free(store);
    }
    if (!run->failed) run->where[run->life.depth][end] = 0;
}

/* How far the log of a copy of the image reaches, and how it was to open. */
static int recover_copy(aul_crash_run *run, aul_simdisk *copy, const aul_model *model, u64 *end,
                        aul_error *error) {
    aul_store *store;
    aul_model now;
    int status = aul_crash_open(run, copy, 3, false, &store, error);
    if (status) return status;
    aul_model_copy(model, &now);
    if (aul_crash_accept(run, store, &now)) aul_crash_check(run, store, &now, true);
    *end = now.kept;
    aul_model_free(&now);
    aul_free(store);
    return AUL_OK;
}

/* A fault somewhere in the recovery, mostly of something that is read. */
static aul_sim_fault choose_fault(aul_random *random) {
    static const int whats[] = {EINTR, EIO, EIO, EIO, EIO, ENOSPC, ENOMEM, AUL_FAULT_SHORT};
    const u32 reads =
        1u << AUL_SIM_READ | 1u << AUL_SIM_OPEN | 1u << AUL_SIM_LIST | 1u << AUL_SIM_OTHER;
    bool any = aul_random_chance(random, 40);
    aul_sim_fault fault = {.calls = any ? ~(1u << AUL_SIM_MEMORY) : reads,
                           .at = 1 + aul_random_below(random, any ? 120 : 40),
                           .what = whats[aul_random_below(random, 8)],
                           .for_ever = aul_random_chance(random, 30)};
    if (fault.what == EINTR) {
        fault.calls = AUL_SIM_MAY_INTERRUPT;
        fault.for_ever = false;
    }
    if (fault.what == ENOSPC) fault.calls = AUL_SIM_MAY_FILL;
    if (fault.what == ENOMEM) fault.calls = 1u << AUL_SIM_MEMORY;
    return fault;
}

void aul_crash_fail_recovery(aul_crash_run *run, aul_simdisk *image, const aul_model *model) {
    aul_random *random = &run->random;
    aul_simdisk *good = aul_simdisk_cut(image, AUL_CUT_KILL, aul_random_next(random));
    aul_simdisk *bad = aul_simdisk_cut(image, AUL_CUT_KILL, aul_random_next(random));
    u64 end = 0, end_bad = 0;
    aul_error error = {0};
    aul_sim_fault fault = choose_fault(random);
    bool silent = fault.what == AUL_FAULT_SHORT || fault.what == EINTR;
    aul_simdisk_inject(bad, &fault);
    atomic_fetch_add(&run->counts->faulted, 1);
    int status = recover_copy(run, good, model, &end, &error);
    if (status) aul_crash_wrong(run, "the volume does not open: %d %s", status, error.text);
    aul_error *told = fault.at % 4 ? &error : NULL; /* which a caller may do without */
    status = run->failed ? AUL_OK : recover_copy(run, bad, model, &end_bad, told);
    if (status == AUL_CORRUPT || (status && (silent || !aul_simdisk_faults(bad))))
        aul_crash_wrong(run, "a failing disk (%d, call %llu) in recovery: %d %s", fault.what,
                        (unsigned long long)fault.at, status, error.text);
    aul_simdisk_inject(bad, &(aul_sim_fault){.at = 0});
    if (status && !run->failed) {
        status = recover_copy(run, bad, model, &end_bad, &error);
        if (status) aul_crash_wrong(run, "after a failed recovery: %d %s", status, error.text);
    }
    if (!run->failed && end_bad != end)
        aul_crash_wrong(run, "after a disk failed in recovery the log ends at LSN %llu, not %llu",
                        (unsigned long long)end_bad, (unsigned long long)end);
    if (!run->failed && aul_simdisk_leaks(bad))
        aul_crash_wrong(run, "a failed recovery leaves %llu files or pieces of memory",
                        (unsigned long long)aul_simdisk_leaks(bad));
    aul_simdisk_free(good);
    aul_simdisk_free(bad);
}
