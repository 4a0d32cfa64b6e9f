/* fuzz_footer.c: a sealed segment, edited (volumes.h): its trailer is read, and its index run
 * searched for every page and commit. Whatever the blocks say, a search ends, and what it finds is
 * what was asked for. Damage is an error of its own, and nothing else is. */
#include "fuzz.h"
#include "volumes.h"

#define PAGES 16
#define STEPS_MAX 4096

typedef struct {
    aul_disk table;
    aul_files files;
    aul_segment *segment;
} sealed;

static bool is_damage(int status) { return status == AUL_CORRUPT || status == AUL_FORMAT; }

static void search_page(sealed *s, u64 page, u64 lsn) {
    aul_run_cursor cursor = {.files = &s->files, .segment = s->segment};
    int status = aul_run_seek(&cursor, page, lsn, NULL);
    for (int steps = 0; !status; steps++) {
        AUL_FUZZ_MUST(cursor.at < cursor.count && cursor.count <= AUL_RUN_ENTRIES);
        const aul_entry *entry = &cursor.entries[cursor.at];
        AUL_FUZZ_MUST(entry->page_flags >> 8 == page, "another page's entry is found");
        AUL_FUZZ_MUST(steps || entry->lsn <= lsn, "a later entry is found");
        AUL_FUZZ_MUST(steps < STEPS_MAX, "the search does not end");
        status = aul_run_older(&cursor, NULL);
    }
    AUL_FUZZ_MUST(status == AUL_END || is_damage(status));
}

/* Forwards through all pages, each once. */
static void walk_pages(sealed *s) {
    aul_run_cursor cursor = {.files = &s->files, .segment = s->segment};
    int status = aul_run_go_on(&cursor, 0, 0, NULL);
    for (u64 next = 0; !status;) {
        AUL_FUZZ_MUST(cursor.at < cursor.count && cursor.count <= AUL_RUN_ENTRIES);
        u64 page = cursor.entries[cursor.at].page_flags >> 8;
        AUL_FUZZ_MUST(page >= next, "the walk goes back");
        next = page + 1;
        status = aul_run_go_on(&cursor, next, 0, NULL);
    }
    AUL_FUZZ_MUST(status == AUL_END || is_damage(status));
}

static void search_commit(sealed *s, u64 lsn) {
    aul_commit commit;
    int status = aul_run_commit(&s->files, s->segment, lsn, &commit, NULL);
    AUL_FUZZ_MUST(status == AUL_OK ? commit.lsn <= lsn : status == AUL_END || is_damage(status));
    status = aul_run_commit_of(&s->files, s->segment, lsn, &commit, NULL);
    AUL_FUZZ_MUST(status == AUL_OK ? commit.lsn >= lsn : status == AUL_END || is_damage(status));
    u64 time_ns = status == AUL_OK ? commit.time_ns : lsn, below;
    status = aul_run_commit_at(&s->files, s->segment, time_ns, lsn, &commit, NULL);
    AUL_FUZZ_MUST(status == AUL_OK ? aul_commit_is_by(&commit, time_ns, lsn)
                                   : status == AUL_END || is_damage(status));
    status = aul_run_commits_below(&s->files, s->segment, lsn, &below, NULL);
    AUL_FUZZ_MUST(!status || is_damage(status));
}

static void search(sealed *s) {
    const aul_summary *summary = &s->segment->summary;
    u64 lsns[] = {0, s->segment->first_lsn, summary->last_lsn / 2, summary->last_lsn, UINT64_MAX};
    for (size_t i = 0; i < sizeof lsns / sizeof *lsns; i++) {
        for (u64 page = 0; page < PAGES; page++) search_page(s, page, lsns[i]);
        search_page(s, summary->page_low, lsns[i]);
        search_page(s, summary->page_high - 1, lsns[i]);
        search_commit(s, lsns[i]);
    }
    walk_pages(s);
    for (u64 lsn = s->segment->first_lsn; lsn < s->segment->first_lsn + 8; lsn++)
        search_commit(s, lsn);
}

/* The segment as the manifest lists it: by what its header and its trailer say. */
static void look(sealed *s) {
    u8 block[AUL_BLOCK];
    aul_error error = {0};
    int status = aul_files_read(&s->files, s->segment, block, AUL_BLOCK, 0, &error);
    if (!status) status = aul_segment_decode_header(block, s->segment, &error);
    AUL_FUZZ_MUST(!status || is_damage(status), "status %d: %s", status, error.text);
    if (status) return;
    status = aul_run_read_trailer(&s->files, s->segment, &s->segment->summary, &error);
    AUL_FUZZ_MUST(!status || is_damage(status), "status %d: %s", status, error.text);
    if (status) return;
    atomic_store(&s->segment->sealed, true);
    search(s);
}

/* The n-th sealed segment there is, counted around. */
static const aul_fuzz_file *sealed_file(size_t n, const aul_fuzz_volume **volume, size_t *count) {
    const aul_fuzz_file *found = NULL;
    *count = 0;
    for (size_t which = 0; which < AUL_FUZZ_VOLUMES; which++) {
        const aul_fuzz_volume *candidate = aul_fuzz_volume_get(which);
        for (size_t i = 0; i < candidate->file_count; i++) {
            if (!candidate->files[i].sealed || (*count)++ != n) continue;
            found = &candidate->files[i];
            *volume = candidate;
        }
    }
    return found;
}

void aul_fuzz_run(aul_fuzz_input *input) {
    static size_t count;
    const aul_fuzz_volume *volume = NULL;
    if (!count) sealed_file(SIZE_MAX, &volume, &count);
    size_t ignored, n = (size_t)aul_fuzz_take(input, 1) % count;
    const aul_fuzz_file *file = sealed_file(n, &volume, &ignored);
    aul_simdisk *disk = aul_fuzz_volume_disk(volume);
    aul_fuzz_edit(disk, volume, file, input);
    sealed s = {.table = aul_fuzz_table(disk, 0)};
    AUL_FUZZ_MUST(!aul_files_init(&s.files, &s.table, AUL_FUZZ_PATH "/log"));
    s.segment = aul_segment_new(&s.table);
    AUL_FUZZ_MUST(aul_segment_parse_name(strrchr(file->path, '/') + 1, &s.segment->first_lsn,
                                         &s.segment->epoch));
    aul_segment_set_name(s.segment);
    look(&s);
    aul_files_forget(&s.files, s.segment);
    aul_segment_free(&s.table, s.segment);
    aul_files_destroy(&s.files);
    aul_fuzz_end_disk(disk);
}

size_t aul_fuzz_seed(size_t n, u8 to[AUL_FUZZ_INPUT_MAX]) {
    const aul_fuzz_volume *volume = NULL;
    size_t count;
    sealed_file(SIZE_MAX, &volume, &count);
    to[0] = (u8)n;
    return n < count ? 1 : 0;
}

size_t LLVMFuzzerCustomMutator(u8 *data, size_t bytes, size_t room, unsigned seed);

size_t LLVMFuzzerCustomMutator(u8 *data, size_t bytes, size_t room, unsigned seed) {
    return aul_fuzz_mutate(data, bytes, room, seed, 1);
}
