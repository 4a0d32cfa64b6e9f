/* names.c: see names.h.
 *
 * Restore point, 40 bytes and the name (data of both control records, and entry of the manifest):
 *   0 u64 LSN that it names, 8 u64 time of that commit, 16 u64 LSN of the record that made it,
 *  24 u64 time of that, 32 u32 bytes of the name, 36 u32 zero, 40 name, UTF-8, zero-padded to a
 *   multiple of 8 */
#include "names.h"

void aul_restore_point_encode(u8 *to, const aul_restore_point *point) {
    memset(to, 0, aul_restore_point_bytes(point));
    put64(to, point->lsn);
    put64(to + 8, point->time_ns);
    put64(to + 16, point->made_lsn);
    put64(to + 24, point->made_ns);
    put32(to + 32, point->bytes);
    memcpy(to + AUL_NAME_BYTES, point->name, point->bytes);
}

int aul_restore_point_decode(const u8 *from, size_t left, aul_restore_point *out) {
    if (left < AUL_NAME_BYTES) return AUL_CORRUPT;
    *out = (aul_restore_point){.lsn = get64(from),
                               .time_ns = get64(from + 8),
                               .made_lsn = get64(from + 16),
                               .made_ns = get64(from + 24),
                               .bytes = get32(from + 32)};
    if (out->bytes == 0 || out->bytes > AUL_NAME_MAX || left < aul_restore_point_bytes(out) ||
        out->lsn >= out->made_lsn)
        return AUL_CORRUPT;
    memcpy(out->name, from + AUL_NAME_BYTES, out->bytes);
    return memchr(out->name, 0, out->bytes) ? AUL_CORRUPT : AUL_OK;
}

int aul_names_add(aul_names *names, const aul_restore_point *point) {
    if (names->count && names->items[names->count - 1].made_lsn >= point->made_lsn) return AUL_OK;
    int status = aul_grow(names->disk, (void **)&names->items, &names->capacity, names->count + 1,
                          sizeof *names->items);
    if (!status) names->items[names->count++] = *point;
    return status;
}

void aul_names_delete(aul_names *names, u64 made_lsn, u64 deleted_lsn) {
    for (size_t i = names->count; i-- > 0;)
        if (names->items[i].made_lsn == made_lsn) names->items[i].deleted_lsn = deleted_lsn;
}

const aul_restore_point *aul_names_find(const aul_names *names, const char *name, size_t bytes,
                                        u64 lsn) {
    for (size_t i = names->count; i-- > 0;) {
        const aul_restore_point *point = &names->items[i];
        if (aul_names_has(point, lsn) && point->bytes == bytes &&
            memcmp(point->name, name, bytes) == 0)
            return point;
    }
    return NULL;
}

size_t aul_names_count(const aul_names *names, u64 lsn) {
    size_t count = 0;
    for (size_t i = 0; i < names->count; i++) count += aul_names_has(&names->items[i], lsn);
    return count;
}

void aul_names_cut(aul_names *names, u64 lsn) {
    while (names->count && names->items[names->count - 1].made_lsn > lsn) names->count--;
    for (size_t i = 0; i < names->count; i++)
        if (names->items[i].deleted_lsn > lsn) names->items[i].deleted_lsn = 0;
}

void aul_names_prune(aul_names *names, u64 lsn) {
    size_t kept = 0;
    for (size_t i = 0; i < names->count; i++)
        if (names->items[i].deleted_lsn == 0 || names->items[i].deleted_lsn > lsn)
            names->items[kept++] = names->items[i];
    names->count = kept;
}

int aul_names_copy(const aul_names *names, u64 lsn, aul_names *out) {
    size_t count = aul_names_count(names, lsn);
    *out = (aul_names){.disk = names->disk};
    if (count == 0) return AUL_OK;
    int status =
        aul_grow(out->disk, (void **)&out->items, &out->capacity, count, sizeof *out->items);
    for (size_t i = 0; i < names->count && !status; i++)
        if (aul_names_has(&names->items[i], lsn)) out->items[out->count++] = names->items[i];
    return status;
}

void aul_names_free(aul_names *names) {
    aul_release(names->disk, names->items);
    names->items = NULL;
    names->count = names->capacity = 0;
}
