/* volumes.c: see volumes.h. */
#include "volumes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../crash/crash_model.h"

#define FILE_BYTES_MAX (256u << 10)
#define COPY_BYTES_MAX 4096u
#define PROCESS 3 /* edits are another process's */

/* The volumes */

typedef enum {
    NOTHING,
    COMMIT,      /* and synced */
    COMMIT_OS,   /* and not synced */
    BULK,        /* over several segments */
    KEEP,        /* the background thread's work: sealing, the spare */
    CLOSE,       /* cleanly */
    KILL,        /* the process */
    CUT,         /* the power; some of what was not synced survives */
    CUT_IN_BULK, /* in the midst of a bulk commit */
    REWIND,      /* to the commit before the last */
    BACK,        /* to what the last rewind left behind */
    NAME,        /* the newest commit, and delete the name before it */
} step;

static const step lives[AUL_FUZZ_VOLUMES][16] = {
    {CLOSE},
    {COMMIT, COMMIT, CLOSE},
    {COMMIT, COMMIT, COMMIT_OS, COMMIT_OS, KILL},
    {COMMIT, COMMIT_OS, COMMIT_OS, COMMIT_OS, CUT},
    {COMMIT, BULK, COMMIT, BULK, CLOSE},
    {COMMIT, BULK, KEEP, COMMIT, BULK, COMMIT, KILL},
    {COMMIT, COMMIT_OS, KILL, COMMIT, COMMIT_OS, KILL, COMMIT, COMMIT_OS, KILL},
    {COMMIT, COMMIT_OS, KILL, COMMIT, BULK, COMMIT_OS, CUT, COMMIT, CLOSE},
    {COMMIT, CUT_IN_BULK},
    {COMMIT, CLOSE, COMMIT, KILL, COMMIT, KEEP, CLOSE, COMMIT, COMMIT_OS, KILL},
    {COMMIT, NAME, COMMIT, REWIND, COMMIT, NAME, BACK, NAME, COMMIT, CLOSE},
    {COMMIT, COMMIT, NAME, REWIND, COMMIT_OS, NAME, KILL, BACK, COMMIT, NAME, COMMIT_OS, KILL},
    {COMMIT, NAME, BULK, NAME, REWIND, BULK, KEEP, BACK, NAME, CLOSE, COMMIT, REWIND, COMMIT, CUT},
};

typedef struct {
    aul_simdisk *disk;
    aul_store *store;
    aul_random random;
    aul_model model;
    u64 left;       /* the newest commit before the last rewind */
    u32 names;      /* made */
    u64 syncs_left; /* until the power is cut */
    aul_simdisk *cut;
} life;

static void open_store(life *l) {
    aul_disk table = aul_simdisk_table(l->disk, 0);
    aul_options options = {
        .page_size = AUL_FUZZ_PAGE_SIZE, .create = 1, .cache_bytes = 8 * AUL_FUZZ_PAGE_SIZE};
    aul_error error = {0};
    int status = aul_open_on(&table, AUL_FUZZ_PATH, &options, &l->store, &error);
    AUL_FUZZ_MUST(!status, "a volume to start from does not open: %s", error.text);
}

static void commit(life *l, size_t bytes, u32 durability) {
    static u8 changes[AUL_MODEL_CHANGES_ROOM(64u << 10)];
    u64 records;
    size_t used =
        aul_model_random_changes(aul_model_push(&l->model), &l->random, changes, bytes, &records);
    aul_commit_options options = {
        .durability = durability, .note = (const u8 *)"note", .note_bytes = 4};
    aul_outcome outcome;
    aul_error error = {0};
    int status = aul_commit_changes(l->store, changes, used, &options, 1000, &outcome, &error);
    AUL_FUZZ_MUST(!status, "a commit to a volume to start from: %s", error.text);
}

/* The model's pages, from which changes are drawn, need not be the volume's. */
static void rewind_to(life *l, u64 lsn) {
    aul_commit_options options = {.note = (const u8 *)"rewind", .note_bytes = 6};
    aul_rewind_info info;
    aul_outcome outcome = {0};
    aul_error error = {0};
    int status = aul_backtrack(l->store, lsn, 0, &options, 1000, &info, &outcome, &error);
    AUL_FUZZ_MUST(!status, "a rewind of a volume to start from: %s", error.text);
    l->left = info.from_lsn;
}

static void make_name(life *l) {
    char name[16], before[16];
    aul_commit_options options = {0};
    aul_restore_point_info info;
    aul_outcome outcome = {0};
    size_t bytes = (size_t)snprintf(before, sizeof before, "name %u", l->names++);
    snprintf(name, sizeof name, "name %u", l->names);
    AUL_FUZZ_MUST(!aul_restore_point_make(l->store, name, bytes, AUL_NEWEST, &options, 1000, &info,
                                          &outcome, NULL));
    if (l->names % 2 == 0)
        AUL_FUZZ_MUST(
            !aul_restore_point_delete(l->store, before, bytes, &options, 1000, &outcome, NULL));
}

static void watch(void *argument, aul_sim_call call, const char *path) {
    life *l = argument;
    (void)path;
    if (call == AUL_SIM_SYNC && l->syncs_left && --l->syncs_left == 0)
        l->cut = aul_simdisk_cut(l->disk, AUL_CUT_ALL, 1);
}

/* The process ends, and the disk is what the cut leaves of it. */
static void end(life *l, aul_simdisk *left) {
    aul_free(l->store);
    l->store = NULL;
    aul_simdisk_free(l->disk);
    l->disk = left;
}

static void take_step(life *l, step what) {
    if (!l->store) open_store(l);
    switch (what) {
    case COMMIT:
        commit(l, 100, AUL_DURABILITY_SYNC);
        break;
    case COMMIT_OS:
        commit(l, 200, AUL_DURABILITY_OS);
        break;
    case BULK:
        commit(l, 40u << 10, AUL_DURABILITY_SYNC);
        break;
    case KEEP:
        aul_simdisk_wait(l->disk, 600000000);
        aul_keeper_work(l->store);
        break;
    case CLOSE:
        AUL_FUZZ_MUST(!aul_close(l->store, NULL));
        aul_free(l->store);
        l->store = NULL;
        break;
    case KILL:
        end(l, aul_simdisk_cut(l->disk, AUL_CUT_KILL, 1));
        break;
    case CUT:
        end(l, aul_simdisk_cut(l->disk, AUL_CUT_SUBSET, 7));
        break;
    case CUT_IN_BULK:
        aul_simdisk_observe(l->disk, watch, l);
        l->syncs_left = 2;
        commit(l, 60u << 10, AUL_DURABILITY_SYNC);
        AUL_FUZZ_MUST(l->cut, "the bulk commit has too few syncs");
        end(l, l->cut);
        break;
    case REWIND:
        rewind_to(l, aul_visible_lsn(l->store) - 1);
        break;
    case BACK:
        rewind_to(l, l->left);
        break;
    case NAME:
        make_name(l);
        break;
    case NOTHING:
        break;
    }
}

/* What the machine finds when it starts: all is on the disk. */
static aul_simdisk *live(size_t which) {
    life l = {.disk = aul_simdisk_new(which + 1), .random = {which + 1}};
    aul_model_init(&l.model);
    for (size_t i = 0; lives[which][i]; i++) take_step(&l, lives[which][i]);
    aul_simdisk *durable = aul_simdisk_cut(l.disk, AUL_CUT_ALL, which + 1);
    aul_simdisk_free(l.disk);
    aul_model_free(&l.model);
    aul_model_forget_pages(0);
    return durable;
}

/* Their files */

static void add_anchor(aul_fuzz_file *file, u64 offset) {
    if (file->anchor_count % 64 == 0) {
        file->anchors = realloc(file->anchors, (file->anchor_count + 64) * sizeof *file->anchors);
        if (!file->anchors) abort();
    }
    file->anchors[file->anchor_count++] = offset;
}

/* What the manifest lists. */
static void find_listed(aul_fuzz_file *file, const u8 *bytes) {
    u64 at = 256, points = at + get32(bytes + 112) * (u64)AUL_BRANCH_BYTES;
    aul_restore_point point;
    for (; at < points; at += AUL_BRANCH_BYTES) add_anchor(file, at);
    for (u32 i = 0; i < get32(bytes + 124); i++) {
        AUL_FUZZ_MUST(!aul_restore_point_decode(bytes + at, file->bytes - at, &point));
        add_anchor(file, at);
        at += aul_restore_point_bytes(&point);
    }
    for (; at < file->bytes; at += 192) add_anchor(file, at);
}

/* A frame, and the record of a control batch in it. */
static void find_frame(aul_fuzz_file *file, const u8 *bytes, u64 at) {
    const u8 *batch = bytes + at + AUL_FRAME_HEADER;
    add_anchor(file, at);
    if (at + AUL_FRAME_HEADER + AUL_BATCH_HEADER <= file->bytes && batch[6] == AUL_BATCH_CONTROL)
        add_anchor(file, at + AUL_FRAME_HEADER + get16(batch + 4));
}

/* Where structures begin: magics; what the manifest lists; the blocks of a footer. */
static void find_anchors(aul_fuzz_file *file, const u8 *bytes) {
    u64 log_end = AUL_BLOCK;
    add_anchor(file, 0);
    if (file->bytes >= 256 && memcmp(bytes, "AULMANIF", 8) == 0) find_listed(file, bytes);
    for (u64 at = 8; at + AUL_FRAME_HEADER <= file->bytes; at += 8) {
        if (get32(bytes + at) == AUL_FRAME_MAGIC) {
            find_frame(file, bytes, at);
            log_end = at + aul_frame_bytes(get32(bytes + at + 12));
        }
    }
    if (memcmp(bytes, "AULSEGMT", 8) == 0 && file->bytes > AUL_TRAILER_BYTES &&
        memcmp(bytes + file->bytes - AUL_TRAILER_BYTES, "AULTRAIL", 8) == 0) {
        file->sealed = true;
        add_anchor(file, 2048);
        for (u64 at = aul_round_up(log_end, AUL_BLOCK); at + AUL_TRAILER_BYTES < file->bytes;
             at += AUL_BLOCK)
            add_anchor(file, at);
        add_anchor(file, file->bytes - AUL_TRAILER_BYTES);
    }
    add_anchor(file, file->bytes);
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const aul_fuzz_file *)a)->path, ((const aul_fuzz_file *)b)->path);
}

static bool is_directory(const aul_simdisk *disk, const char *path) {
    u64 bytes;
    const char *other;
    for (size_t i = 0; (other = aul_simdisk_name(disk, i, &bytes)); i++)
        if (strncmp(other, path, strlen(path)) == 0 && other[strlen(path)] == '/') return true;
    return strcmp(path, AUL_FUZZ_PATH "/images") == 0;
}

static void list_files(aul_fuzz_volume *volume) {
    u64 bytes;
    const char *path;
    for (size_t i = 0; (path = aul_simdisk_name(volume->disk, i, &bytes)); i++) {
        if (is_directory(volume->disk, path) || strstr(path, "RESERVE")) continue;
        AUL_FUZZ_MUST(volume->file_count < AUL_FUZZ_FILES_MAX);
        aul_fuzz_file *file = &volume->files[volume->file_count++];
        snprintf(file->path, sizeof file->path, "%s", path);
        file->bytes = bytes;
        u8 *copy = malloc(bytes + AUL_BLOCK);
        if (!copy) abort();
        AUL_FUZZ_MUST(aul_simdisk_peek(volume->disk, path, 0, copy, bytes));
        find_anchors(file, copy);
        free(copy);
    }
    qsort(volume->files, volume->file_count, sizeof *volume->files, by_path);
}

const aul_fuzz_volume *aul_fuzz_volume_get(size_t which) {
    static aul_fuzz_volume volumes[AUL_FUZZ_VOLUMES];
    aul_fuzz_volume *volume = &volumes[which % AUL_FUZZ_VOLUMES];
    if (!volume->disk) {
        volume->disk = live(which % AUL_FUZZ_VOLUMES);
        list_files(volume);
    }
    return volume;
}

aul_simdisk *aul_fuzz_volume_disk(const aul_fuzz_volume *volume) {
    return aul_simdisk_cut(volume->disk, AUL_CUT_ALL, 1);
}

/* Edits */

typedef enum {
    PUT,      /* bytes */
    PUT_MORE, /* the same, more of them */
    ADD,      /* to a number of eight bytes: its neighbours */
    COPY,     /* bytes of any file's */
    ZERO,     /* a range */
    RESIZE,   /* the file ends here */
    RENAME,   /* to another segment's name */
    REMOVE,   /* the file */
    EDITS
} edit;

typedef struct {
    const aul_fuzz_file *file;
    u64 offset;
} place;

static const aul_fuzz_file *take_file(const aul_fuzz_volume *volume, const aul_fuzz_file *only,
                                      aul_fuzz_input *input) {
    size_t which = (size_t)aul_fuzz_take(input, 1);
    return only ? only : &volume->files[which % volume->file_count];
}

/* An anchor and how far from it: the last anchors are reached from 255 down. */
static place take_place(const aul_fuzz_volume *volume, const aul_fuzz_file *only,
                        aul_fuzz_input *input) {
    place p = {take_file(volume, only, input), 0};
    size_t n = (size_t)aul_fuzz_take(input, 1), count = p.file->anchor_count;
    int16_t distance = (int16_t)aul_fuzz_take(input, 2);
    u64 from = p.file->anchors[n < 128 ? n % count : count - 1 - (255 - n) % count];
    p.offset = distance < 0 && (u64)-distance > from ? 0 : from + (u64)(int64_t)distance;
    return p;
}

static void put(aul_simdisk *disk, const place *p, const u8 *bytes, size_t count) {
    aul_simdisk_damage(disk, p->file->path, p->offset, bytes, count);
}

static void add(aul_simdisk *disk, const place *p, int8_t value) {
    u8 number[8];
    if (!aul_simdisk_peek(disk, p->file->path, p->offset, number, sizeof number)) return;
    put64(number, get64(number) + (u64)(int64_t)value);
    put(disk, p, number, sizeof number);
}

static void copy(aul_simdisk *disk, const place *from, const place *to, size_t bytes) {
    u8 buffer[COPY_BYTES_MAX];
    bytes = (size_t)aul_min(bytes % (COPY_BYTES_MAX + 1),
                            from->file->bytes - aul_min(from->offset, from->file->bytes));
    bytes = (size_t)aul_min(bytes, to->file->bytes - aul_min(to->offset, to->file->bytes));
    if (aul_simdisk_peek(disk, from->file->path, from->offset, buffer, bytes))
        put(disk, to, buffer, bytes);
}

static void zero(aul_simdisk *disk, const place *p, size_t bytes) {
    static const u8 zeros[COPY_BYTES_MAX];
    bytes = (size_t)aul_min(bytes % (COPY_BYTES_MAX + 1),
                            p->file->bytes - aul_min(p->offset, p->file->bytes));
    put(disk, p, zeros, bytes);
}

static void resize(aul_disk *table, const place *p) {
    int file;
    if (table->open(table->context, p->file->path, AUL_DISK_WRITE, &file)) return;
    table->truncate(table->context, file, aul_min(p->offset, FILE_BYTES_MAX));
    table->close(table->context, file);
}

static void rename_to_segment(aul_disk *table, const aul_fuzz_file *file, u64 first_lsn,
                              u64 epoch) {
    char to[64];
    aul_segment named = {.first_lsn = first_lsn, .epoch = epoch};
    aul_segment_set_name(&named);
    snprintf(to, sizeof to, AUL_FUZZ_PATH "/log/%s", named.name);
    if (strcmp(to, file->path) != 0) table->rename(table->context, file->path, to);
}

static void edit_one(aul_simdisk *disk, const aul_fuzz_volume *volume, const aul_fuzz_file *only,
                     aul_fuzz_input *input) {
    aul_disk table = aul_simdisk_table(disk, PROCESS);
    edit what = (edit)(aul_fuzz_take(input, 1) % EDITS);
    if (what == RENAME || what == REMOVE) {
        const aul_fuzz_file *file = take_file(volume, only, input);
        u64 first_lsn = what == RENAME ? aul_fuzz_take(input, 4) : 0;
        if (what == RENAME)
            rename_to_segment(&table, file, first_lsn, aul_fuzz_take(input, 1));
        else
            table.unlink(table.context, file->path);
        return;
    }
    place p = take_place(volume, only, input);
    if (what == PUT || what == PUT_MORE) {
        size_t count = (size_t)aul_fuzz_take(input, 1);
        count = what == PUT ? 1 + count % 8 : 1 + count;
        const u8 *bytes = aul_fuzz_take_bytes(input, &count);
        put(disk, &p, bytes, count);
    } else if (what == ADD) {
        add(disk, &p, (int8_t)aul_fuzz_take(input, 1));
    } else if (what == COPY) {
        place to = take_place(volume, only, input);
        copy(disk, &p, &to, (size_t)aul_fuzz_take(input, 2));
    } else if (what == ZERO) {
        zero(disk, &p, (size_t)aul_fuzz_take(input, 2));
    } else {
        resize(&table, &p);
    }
}

void aul_fuzz_edit(aul_simdisk *disk, const aul_fuzz_volume *volume, const aul_fuzz_file *only,
                   aul_fuzz_input *input) {
    for (int i = 0; i < AUL_FUZZ_EDITS_MAX && input->left; i++) edit_one(disk, volume, only, input);
}

/* Mutations */

/* libFuzzer's; not there in a replay, which mutates nothing. */
__attribute__((weak)) size_t LLVMFuzzerMutate(u8 *data, size_t bytes, size_t room);

/* A number that is at some edge, or small, or any. */
static u64 choose_number(aul_random *random) {
    static const u64 edges[] = {0,          1,          UINT64_MAX, UINT64_MAX - 1, 1ull << 63,
                                1ull << 32, UINT32_MAX, 1u << 31,   1u << 20,       AUL_BLOCK};
    switch (aul_random_below(random, 3)) {
    case 0:
        return edges[aul_random_below(random, sizeof edges / sizeof *edges)];
    case 1:
        return aul_random_below(random, 300);
    default:
        return aul_random_next(random) >> aul_random_below(random, 64);
    }
}

/* Writes an edit of 14 bytes: eight of them at some multiple of four behind an anchor. */
static size_t write_put(aul_random *random, u8 *to) {
    to[0] = PUT;
    to[1] = (u8)aul_random_below(random, 24);
    to[2] = (u8)aul_random_next(random);
    put16(to + 3, 4 * aul_random_below(random, aul_random_chance(random, 80) ? 48 : 600));
    to[5] = aul_random_chance(random, 70) ? 7 : 3;
    put64(to + 6, choose_number(random));
    return 7 + (size_t)to[5];
}

/* And one that is shorter: a neighbour of the number there, or pieces of one file in another. */
static size_t write_other(aul_random *random, u8 *to) {
    write_put(random, to);
    if (aul_random_chance(random, 60)) {
        to[0] = ADD;
        to[5] = aul_random_chance(random, 50) ? 1 : 0xff;
        return 6;
    }
    to[0] = COPY;
    memmove(to + 5, to + 1, 4);
    to[5] = (u8)aul_random_below(random, 24);
    to[6] = (u8)aul_random_next(random);
    put16(to + 9, 8 * (1 + aul_random_below(random, 64)));
    return 11;
}

size_t aul_fuzz_mutate(u8 *data, size_t bytes, size_t room, u32 seed, size_t head) {
    aul_random random = {seed};
    u8 fresh[16];
    if (aul_random_chance(&random, 50)) return LLVMFuzzerMutate(data, bytes, room);
    size_t count = (aul_random_chance(&random, 70) ? write_put : write_other)(&random, fresh);
    if (bytes < head || bytes + count > room) return LLVMFuzzerMutate(data, bytes, room);
    /* At the front: the others stay what they are. */
    memmove(data + head + count, data + head, bytes - head);
    memcpy(data + head, fresh, count);
    return bytes + count;
}
