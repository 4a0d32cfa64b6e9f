/* part.c: an open-addressing table of pages over arrays in LSN order. See part.h. */
#include "part.h"

#include "record.h"

static inline u64 hash_page(u64 page) {
    page *= 0x9e3779b97f4a7c15ull;
    return page ^ page >> 29;
}

aul_part *aul_part_new(aul_disk *disk) {
    aul_part *part = aul_alloc_zero(disk, sizeof *part);
    if (part) part->disk = disk;
    return part;
}

void aul_part_free(aul_part *part) {
    if (!part) return;
    aul_disk *disk = part->disk;
    aul_release(disk, part->entries);
    aul_release(disk, part->older);
    aul_release(disk, part->slots);
    aul_release(disk, part->truncates);
    aul_release(disk, part->commits);
    aul_release(disk, part);
}

static aul_slot *find_slot(const aul_part *part, u64 page) {
    size_t mask = part->slot_count - 1;
    for (size_t i = hash_page(page) & mask;; i = (i + 1) & mask) {
        aul_slot *slot = &part->slots[i];
        if (slot->page_plus_1 == 0 || slot->page_plus_1 == page + 1) return slot;
    }
}

static int grow_slots(aul_part *part, size_t pages) {
    if (pages * 2 <= part->slot_count) return AUL_OK;
    size_t count = part->slot_count ? part->slot_count : 64;
    while (count < pages * 2) count *= 2;
    aul_slot *slots = aul_alloc_zero(part->disk, count * sizeof *slots), *old = part->slots;
    if (!slots) return AUL_NO_MEMORY;
    size_t old_count = part->slot_count;
    part->slots = slots;
    part->slot_count = count;
    for (size_t i = 0; i < old_count; i++)
        if (old[i].page_plus_1) *find_slot(part, old[i].page_plus_1 - 1) = old[i];
    aul_release(part->disk, old);
    return AUL_OK;
}

int aul_part_reserve(aul_part *part, size_t entries, size_t truncates, size_t commits) {
    aul_disk *disk = part->disk;
    if (part->entry_count + entries >= AUL_NONE) return AUL_NO_MEMORY;
    int status = grow_slots(part, part->pages + entries);
    if (!status)
        status = aul_grow(disk, (void **)&part->entries, &part->entry_capacity,
                          part->entry_count + entries, sizeof *part->entries);
    if (!status)
        status = aul_grow(disk, (void **)&part->older, &part->older_capacity,
                          part->entry_count + entries, sizeof *part->older);
    if (!status)
        status = aul_grow(disk, (void **)&part->truncates, &part->truncate_capacity,
                          part->truncate_count + truncates, sizeof *part->truncates);
    if (!status)
        status = aul_grow(disk, (void **)&part->commits, &part->commit_capacity,
                          part->commit_count + commits, sizeof *part->commits);
    return status;
}

void aul_part_add(aul_part *part, u64 page, u32 flags, u64 lsn, u32 offset, u32 bytes) {
    aul_slot *slot = find_slot(part, page);
    u32 entry = (u32)part->entry_count++;
    part->entries[entry] = (aul_entry){page << 8 | flags, lsn, offset, bytes};
    if (slot->page_plus_1 == 0) {
        slot->page_plus_1 = page + 1;
        slot->newest = AUL_NONE;
        part->pages++;
    }
    part->older[entry] = slot->newest;
    slot->newest = entry;
}

void aul_part_add_truncate(aul_part *part, u64 lsn, u64 pages) {
    part->truncates[part->truncate_count++] = (aul_truncate){lsn, pages};
}

void aul_part_add_commit(aul_part *part, const aul_commit *commit) {
    part->commits[part->commit_count++] = *commit;
}

bool aul_part_add_records(aul_part *part, u32 page_size, const u8 *payload, u32 bytes, u32 at,
                          u64 first_lsn, u32 records, u64 payload_offset) {
    u64 lsn = first_lsn, end = first_lsn + records;
    for (; at < bytes && lsn < end; lsn++) {
        aul_change change;
        if (aul_record_parse(payload + at, bytes - at, page_size, &change) ||
            change.kind > AUL_TRUNCATE)
            return false;
        u32 size = aul_record_bytes(&change);
        if (change.kind == AUL_TRUNCATE)
            aul_part_add_truncate(part, lsn, change.page);
        else
            aul_part_add(part, change.page,
                         aul_change_is_whole(&change, page_size) ? AUL_ENTRY_WHOLE : 0, lsn,
                         (u32)(payload_offset + at), size);
        at += size;
    }
    return at == bytes && lsn == end;
}

void aul_part_cut(aul_part *part, u64 lsn) {
    while (part->entry_count && part->entries[part->entry_count - 1].lsn > lsn) {
        u32 entry = (u32)--part->entry_count;
        find_slot(part, part->entries[entry].page_flags >> 8)->newest = part->older[entry];
    }
    while (part->truncate_count && part->truncates[part->truncate_count - 1].lsn > lsn)
        part->truncate_count--;
    while (part->commit_count && part->commits[part->commit_count - 1].lsn > lsn)
        part->commit_count--;
}

u32 aul_part_newest(const aul_part *part, u64 page) {
    if (part->slot_count == 0) return AUL_NONE;
    const aul_slot *slot = find_slot(part, page);
    return slot->page_plus_1 ? slot->newest : AUL_NONE;
}

size_t aul_part_entries_below(const aul_part *part, u64 lsn) {
    size_t low = 0, high = part->entry_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (part->entries[middle].lsn < lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t aul_part_commits_below(const aul_part *part, u64 lsn) {
    size_t low = 0, high = part->commit_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (part->commits[middle].lsn < lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const aul_commit *aul_part_commit(const aul_part *part, u64 lsn) {
    size_t below = aul_part_commits_below(part, lsn + 1);
    return below ? &part->commits[below - 1] : NULL;
}

const aul_commit *aul_part_commit_of(const aul_part *part, u64 lsn) {
    size_t below = aul_part_commits_below(part, lsn);
    return below < part->commit_count ? &part->commits[below] : NULL;
}

const aul_commit *aul_part_commit_at(const aul_part *part, u64 time_ns, u64 lsn) {
    size_t low = 0, high = part->commit_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (aul_commit_is_by(&part->commits[middle], time_ns, lsn))
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &part->commits[low - 1] : NULL;
}
