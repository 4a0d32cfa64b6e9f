/* delta.c: what lies between two moments, and which commit a time means. See delta.h. */
#include "delta.h"

#include "page_stream.h"

#define COUNT_AT_ONCE (1u << 20)

struct aul_diff {
    aul_store *store;
    u64 highest; /* LSN of the two views */
    aul_page_stream stream;
};

/* What a failed disk took back cannot be looked at any more. */
static int check_visible(const aul_diff *diff, aul_error *error) {
    if (AUL_LIKELY(diff->highest <= atomic_load(&diff->store->log.visible))) return AUL_OK;
    aul_fail(error, AUL_UNKNOWN,
             "the disk failed before what is compared was durable: reopen the volume");
    if (error) error->lsn = diff->highest;
    return AUL_UNKNOWN;
}

static void free_diff(aul_diff *diff) {
    aul_store *store = diff->store;
    aul_page_stream_close(&diff->stream);
    aul_release(store->disk, diff);
    aul_store_unref(store);
}

static int open_diff(aul_diff *diff, const aul_view *a, const aul_view *b, aul_error *error) {
    aul_store *store = diff->store;
    aul_path path_a, path_b = {0};
    int status = aul_view_path(store, a, &path_a, error);
    if (!status) status = aul_view_path(store, b, &path_b, error);
    diff->highest = aul_max(path_a.lsn, path_b.lsn);
    if (!status)
        status = aul_page_stream_between(&diff->stream, &store->index, &path_a, &path_b, error);
    aul_path_free(store->disk, &path_a);
    aul_path_free(store->disk, &path_b);
    return status;
}

int aul_diff_open(aul_store *store, const aul_view *a, const aul_view *b, aul_diff **out,
                  aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    aul_diff *diff = aul_alloc_zero(store->disk, sizeof *diff);
    if (diff) {
        diff->store = store;
        aul_store_ref(store);
        status = open_diff(diff, a, b, error);
        if (status)
            free_diff(diff);
        else
            *out = diff;
    } else {
        status = aul_fail(error, AUL_NO_MEMORY, "no memory to compare two moments");
    }
    aul_store_leave(store);
    return status;
}

int aul_diff_next(aul_diff *diff, uint64_t *pages, size_t capacity, size_t *count,
                  aul_error *error) {
    *count = 0;
    int status = aul_store_enter(diff->store, error);
    if (status) return status;
    status = check_visible(diff, error);
    if (!status) status = aul_page_stream_next(&diff->stream, pages, capacity, count, error);
    aul_store_leave(diff->store);
    return status;
}

void aul_diff_close(aul_diff *diff) {
    if (diff && diff->store->fork_generation == aul_fork_generation()) free_diff(diff);
}

/* How many commits lie in the LSNs of one path that the other has not. */
static int commits_on_one(aul_store *store, const aul_path *a, const aul_path *b, u32 which,
                          u64 *commits, aul_error *error) {
    aul_ranges lsns = {.disk = store->disk};
    int status = AUL_OK;
    *commits = 0;
    if (aul_ranges_between(a, b, 1, which, &lsns))
        status = aul_fail(error, AUL_NO_MEMORY, "no memory to compare two moments");
    for (size_t i = 0; i < lsns.count && !status; i++) {
        u64 here;
        status = aul_page_index_commits_in(&store->index, lsns.items[i].start, lsns.items[i].end,
                                           &here, error);
        if (!status) *commits += here;
    }
    aul_ranges_free(&lsns);
    return status;
}

int aul_delta_commits(aul_store *store, const aul_path *a, const aul_path *b, u64 *only_a,
                      u64 *only_b, aul_error *error) {
    int status = commits_on_one(store, a, b, AUL_ONLY_A, only_a, error);
    return status ? status : commits_on_one(store, a, b, AUL_ONLY_B, only_b, error);
}

int aul_delta_pages(aul_store *store, const aul_path *a, const aul_path *b, u64 *pages,
                    aul_error *error) {
    aul_page_stream stream;
    int status = aul_page_stream_between(&stream, &store->index, a, b, error);
    *pages = 0;
    while (!status) {
        size_t count;
        status = aul_page_stream_next(&stream, NULL, COUNT_AT_ONCE, &count, error);
        *pages += count;
    }
    aul_page_stream_close(&stream);
    return status == AUL_END ? AUL_OK : status;
}

/* The last commit by the time at or below lsn that recovery has not cut; LSN 0: none. */
static int find_by_time(aul_store *store, u64 time_ns, u64 lsn, aul_commit_info *out,
                        aul_error *error) {
    *out = (aul_commit_info){0, 0, 0};
    for (;;) {
        aul_commit commit;
        int status = aul_page_index_commit_at(&store->index, time_ns, lsn, &commit, error);
        if (status) return status == AUL_END ? AUL_OK : status;
        aul_branch cut;
        if (!aul_past_cut_at(store, commit.lsn, &cut)) {
            *out = (aul_commit_info){commit.lsn, commit.time_ns, commit.end_pages};
            return AUL_OK;
        }
        lsn = cut.parent_at;
    }
}

int aul_lsn_at(aul_store *store, uint64_t time_ns, aul_commit_info *found, aul_commit_info *first,
               aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    u64 visible = atomic_load(&store->log.visible);
    aul_commit commit;
    *first = (aul_commit_info){0, 0, 0};
    status = find_by_time(store, time_ns, visible, found, error);
    if (!status) status = aul_page_index_commit_of(&store->index, 1, &commit, NULL, error);
    if (!status && commit.lsn <= visible)
        *first = (aul_commit_info){commit.lsn, commit.time_ns, commit.end_pages};
    aul_store_leave(store);
    return status == AUL_END ? AUL_OK : status;
}
