/* flips_check.c: what becomes of a damaged volume. See flips.h.
 *
 * What must hold, whatever the damage:
 *   - every open and every read succeeds and is right, or fails and names the damaged file;
 *   - an open that is refused changes nothing; a reader is not refused where a writer is not;
 *   - nothing is missing of which something else on the disk says that it was durable: of a volume
 *     that was closed cleanly nothing at all;
 *   - what a read finds damaged, verify finds too;
 *   - it is told in a way that the damage may be told in (flips_allowed.c);
 *   - where verify finds nothing, all is as if nothing had happened: another commit, a clean close
 *     and another open find every commit. */
#include <stdio.h>
#include <stdlib.h>

#include "flips.h"

#define EVERY_PAGE_PERCENT 6

static const char *const outcomes[FLIPS_OUTCOMES] = {
    "an open is refused", "a read fails", "only verify tells", "the end of the log is cut",
    "nothing is told"};

/* A read-only open: refused, or right. Returns its status. */
static int look(aul_crash_run *run, aul_simdisk *image) {
    aul_store *store = NULL;
    aul_model now;
    aul_error error = {0};
    int status =
        aul_crash_open_damaged(run, image, &run->life.model, 0, true, &store, &now, &error);
    if (status) return status;
    if (!run->failed) aul_crash_check_view(run, store, NULL, aul_model_top(&now), true);
    aul_model_free(&now);
    aul_free(store);
    return AUL_OK;
}

/* All that can be read, then verified. */
static flips_outcome examine(aul_crash_run *run, const flips_volume *volume) {
    aul_error first = {0};
    run->excused = 0;
    bool every_page = aul_random_chance(&run->random, EVERY_PAGE_PERCENT);
    if (!aul_crash_check_all(run, run->life.store, &run->life.model, every_page, true))
        return FLIPS_READ;
    u64 failures = run->excused, problems = aul_crash_problems(run, run->life.store, &first);
    if (problems && !first.file[0])
        aul_crash_wrong(run, "verify tells damage without a place: %s", first.text);
    if (failures && !problems && !run->failed)
        aul_crash_wrong(run, "%llu reads fail, and verify finds nothing",
                        (unsigned long long)failures);
    if (failures) return FLIPS_READ;
    if (problems) return FLIPS_VERIFIED;
    return run->life.store->info.last_lsn < volume->end ? FLIPS_TORN : FLIPS_HARMLESS;
}

/* Nothing is to be found: then all goes on. */
static void go_on(aul_crash_run *run) {
    aul_crash_use(run);
    if (!run->failed) aul_crash_close_and_look(run);
    if (!run->failed && aul_crash_check_all(run, run->life.store, &run->life.model, false, false))
        aul_crash_verify(run, run->life.store);
}

/* The damaged file is the one that is named. One that is missing may be known to nobody: then it is
 * the one before it, whose log does not go on. */
static void check_place(aul_crash_run *run, const flips_volume *volume, const flips_damage *damage,
                        const aul_error *error) {
    const char *file = strrchr(volume->files[damage->file].path, '/') + 1;
    bool other = damage->kind == FLIPS_EXCHANGED || damage->kind == FLIPS_MISSING;
    if (!other && strcmp(error->file, file) != 0)
        aul_crash_wrong(run, "%s is damaged, and %s named: %s", file, error->file, error->text);
}

static flips_outcome open_and_examine(aul_crash_run *run, const flips_volume *volume,
                                      const flips_damage *damage) {
    aul_error error = {0};
    aul_model now, whole = run->life.model;
    u64 before = aul_simdisk_hash(run->life.disk);
    u64 witnessed = aul_min(whole.required, aul_crash_witnessed(run->life.disk, &whole));
    int status = aul_crash_open_damaged(run, run->life.disk, &whole, witnessed, false,
                                        &run->life.store, &now, &error);
    if (status) {
        if (aul_simdisk_hash(run->life.disk) != before)
            aul_crash_wrong(run, "an open that is refused changes the disk: %s", error.text);
        if (!run->failed) check_place(run, volume, damage, &error);
        return FLIPS_REFUSED;
    }
    run->life.model = now;
    flips_outcome outcome = FLIPS_HARMLESS;
    if (!run->failed) outcome = examine(run, volume);
    if (!run->failed && outcome >= FLIPS_TORN) go_on(run);
    aul_free(run->life.store);
    aul_model_free(&run->life.model);
    run->life.model = whole;
    return outcome;
}

/* What is no part of the volume, or dead, has a row for all its damage. */
static u32 row_of(const flips_volume *volume, const flips_damage *damage) {
    bool apart = flips_is_apart(volume, damage->file);
    if (damage->kind == FLIPS_EXCHANGED) apart = apart && flips_is_apart(volume, damage->other);
    if (damage->kind == FLIPS_BIT) return damage->region;
    if (apart) return volume->files[damage->file].regions[0];
    return FLIPS_REGIONS + damage->kind - 1;
}

bool flips_check(const flips_volume *volume, u64 seed, u64 number, flips_counts *counts) {
    flips_damage damage;
    u64 pages = aul_model_page_count();
    flips_damage_at(volume, number, &damage);
    aul_crash_run *run = calloc(1, sizeof *run);
    if (!run) abort();
    run->seed = seed;
    run->counts = &counts->crash;
    run->random.state = aul_mix(aul_mix(seed) + number);
    run->life.model = volume->model;
    run->life.in_boundary = true;
    run->life.disk = aul_simdisk_cut(volume->disk, AUL_CUT_KILL, run->random.state);
    flips_damage_tell(volume, &damage, run->where[0], sizeof run->where[0]);
    if (flips_damage_do(volume, &damage, run->life.disk)) {
        int status = look(run, run->life.disk);
        flips_outcome outcome = FLIPS_HARMLESS;
        if (!run->failed) outcome = open_and_examine(run, volume, &damage);
        if (status && outcome != FLIPS_REFUSED && !run->failed)
            aul_crash_wrong(run, "a reader is refused, a writer is not: %d", status);
        if (!run->failed && !flips_allowed(volume, &damage, outcome))
            aul_crash_wrong(run, "of this it must not become that %s", outcomes[outcome]);
        atomic_fetch_add_explicit(
            &counts->outcomes[volume->clean][row_of(volume, &damage)][outcome], 1,
            memory_order_relaxed);
        if (!run->failed && aul_simdisk_leaks(run->life.disk))
            aul_crash_wrong(run, "%llu files or pieces of memory are left",
                            (unsigned long long)aul_simdisk_leaks(run->life.disk));
    }
    bool right = !run->failed;
    aul_simdisk_free(run->life.disk);
    aul_model_forget_pages(pages);
    free(run);
    return right;
}
