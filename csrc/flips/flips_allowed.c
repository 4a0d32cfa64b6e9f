/* flips_allowed.c: what may become of a damage, by what the damaged bytes are for. See flips.h.
 *
 * The rules in flips_check.c hold whatever the damage is. They would let an engine pass that looks
 * at less than it should, as long as all reads are right: so each region has the outcomes that
 * damage to it may have, by what its file is to the next opening. Damage to several regions is told
 * as loudly as damage to each of them. */
#include "flips.h"

#define REFUSED (1u << FLIPS_REFUSED)
#define READ (1u << FLIPS_READ)
#define VERIFIED (1u << FLIPS_VERIFIED)
#define TORN (1u << FLIPS_TORN)
#define HARMLESS (1u << FLIPS_HARMLESS)
#define LOUD (REFUSED | READ | TORN) /* who opens or reads it notices */

/* 0: no such file has the region. */
static const u32 of_regions[FLIPS_REGIONS][FLIPS_FATES] = {
    /*                      closed, sealed, unsealed, dropped */
    [FLIPS_MANIFEST] = {REFUSED, 0, REFUSED, 0},
    [FLIPS_HEADER] = {VERIFIED, VERIFIED, VERIFIED, HARMLESS}, /* the copy is read */
    [FLIPS_HEADER_COPY] = {VERIFIED, VERIFIED, VERIFIED, HARMLESS},
    [FLIPS_HEADER_ZEROS] = {VERIFIED, VERIFIED, VERIFIED, HARMLESS},
    /* A sealed segment is read at opening where a batch goes on behind it. */
    [FLIPS_FRAME_HEADER] = {READ, READ | REFUSED, LOUD, REFUSED | TORN},
    [FLIPS_BATCH_HEADER] = {READ, READ | REFUSED, LOUD, REFUSED | TORN},
    [FLIPS_RECORDS] = {READ, READ | REFUSED, LOUD, REFUSED | TORN},
    [FLIPS_PADDING] = {VERIFIED, VERIFIED, HARMLESS, HARMLESS},
    [FLIPS_GAP] = {VERIFIED, VERIFIED, 0, 0},
    [FLIPS_INDEX] = {READ, READ, 0, 0},
    [FLIPS_COMMITS] = {READ, READ, 0, 0},
    [FLIPS_FENCES] = {READ, READ, 0, 0},
    [FLIPS_BLOCK_ZEROS] = {READ, READ, 0, 0},
    [FLIPS_TRAILER] = {READ, READ, 0, 0},
    [FLIPS_BEHIND] = {0, 0, HARMLESS, HARMLESS},
    [FLIPS_DEAD] = {HARMLESS, HARMLESS, HARMLESS, HARMLESS},
    [FLIPS_LOCK] = {HARMLESS, HARMLESS, HARMLESS, HARMLESS},
    [FLIPS_RESERVE] = {HARMLESS, HARMLESS, HARMLESS, HARMLESS},
};

/* Of whole files, [clean]. */
static const u32 of_kinds[FLIPS_KINDS][2] = {
    [FLIPS_EXCHANGED] = {LOUD | HARMLESS, REFUSED | READ},
    [FLIPS_FOREIGN] = {LOUD, READ},
    [FLIPS_MISSING] = {REFUSED | TORN, REFUSED},
    [FLIPS_APPENDED] = {REFUSED | READ | HARMLESS, REFUSED | READ},
    [FLIPS_OLDER] = {LOUD | HARMLESS, REFUSED | READ | HARMLESS},
};

static u32 loudness(u32 outcomes) { return outcomes & HARMLESS ? 0 : outcomes & VERIFIED ? 1 : 2; }

/* What may become of changes to several bytes. */
typedef struct {
    u32 outcomes, least;
    bool header, copy; /* are changed */
} changes;

/* `with` NULL: the bytes are gone. */
static void add(changes *all, const flips_file *file, u64 at, const u8 *with, u64 bytes) {
    for (u64 i = 0; i < bytes; i++) {
        if (with && file->bytes[at + i] == with[i]) continue;
        flips_region region = (flips_region)file->regions[at + i];
        u32 outcomes = of_regions[region][file->fate];
        all->outcomes |= outcomes;
        all->least = aul_max(all->least, loudness(outcomes));
        all->header |= region == FLIPS_HEADER;
        all->copy |= region == FLIPS_HEADER_COPY;
    }
}

/* `another`: what stands there is whole. */
static u32 of_changes(const changes *all, bool another) {
    u32 outcomes = all->outcomes;
    if (all->header && (all->copy || another)) outcomes |= LOUD; /* the copy is no help */
    if (all->least > 0) outcomes &= ~HARMLESS;
    /* Where the end is cut and verify tells, too, the outcome is what verify does. */
    if (all->least > 1 && !(outcomes & TORN)) outcomes &= ~VERIFIED;
    return outcomes;
}

bool flips_is_apart(const flips_volume *volume, u32 file) {
    flips_region region = (flips_region)volume->files[file].regions[0];
    return region == FLIPS_LOCK || region == FLIPS_RESERVE || region == FLIPS_DEAD;
}

static u32 may_become(const flips_volume *volume, const flips_damage *damage) {
    static const u8 zeros[AUL_BLOCK];
    const flips_file *file = &volume->files[damage->file], *other = &volume->files[damage->other];
    changes all = {.outcomes = 0};
    switch (damage->kind) {
    case FLIPS_BIT:
        return of_regions[damage->region][file->fate];
    case FLIPS_ZEROED:
        add(&all, file, damage->at, zeros, damage->bytes);
        return of_changes(&all, false);
    case FLIPS_SWAPPED:
        add(&all, file, damage->other_at, file->bytes + damage->at, damage->bytes);
        /* fall through */
    case FLIPS_DUPLICATED:
        add(&all, file, damage->at, file->bytes + damage->other_at, damage->bytes);
        return of_changes(&all, false);
    case FLIPS_OF_ANOTHER:
        add(&all, file, damage->at, other->bytes + damage->at, damage->bytes);
        return of_changes(&all, true);
    case FLIPS_TRUNCATED:
        add(&all, file, damage->at, NULL, file->size - damage->at);
        return of_changes(&all, false);
    default:
        return of_kinds[damage->kind][volume->clean];
    }
}

bool flips_allowed(const flips_volume *volume, const flips_damage *damage, flips_outcome outcome) {
    bool apart = flips_is_apart(volume, damage->file);
    if (damage->kind == FLIPS_EXCHANGED) apart = apart && flips_is_apart(volume, damage->other);
    u32 outcomes = apart ? HARMLESS : may_become(volume, damage);
    return outcomes & 1u << outcome;
}
