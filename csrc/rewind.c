/* rewind.c: the runs of an open volume, and going from one to another.
 *
 * A rewind is a branch point in the log: it costs one sync, whatever lies between, and no index
 * and no file is touched. What it leaves behind stays readable, and is gone back to by one branch
 * point more. A branch point is noted before it is logged, for whatever asks about the past asks as
 * of an LSN: below it nothing has changed. Readers go over to the new run when it is visible, that
 * is, durable; transactions build on it at once, and can become durable only after it. */
#include "delta.h"
#include "seeded.h"
#include "store.h"

static int find_path(aul_store *store, u64 lsn, aul_path *out) {
    const aul_past *past = &store->past;
    const aul_history *history = &store->manifest.history;
    u64 run = aul_history_run(history, lsn);
    if (run != past->newest.run && run != past->shown.run)
        return aul_history_path(history, lsn, out);
    aul_path_share(run == past->newest.run ? &past->newest : &past->shown, lsn, out);
    return AUL_OK;
}

int aul_past_path(aul_store *store, u64 lsn, aul_path *out, aul_error *error) {
    pthread_mutex_lock(&store->past.lock);
    int status = find_path(store, lsn, out);
    pthread_mutex_unlock(&store->past.lock);
    return status ? aul_fail(error, status, "no memory for the history") : AUL_OK;
}

int aul_past_shown(aul_store *store, aul_path *out, aul_error *error) {
    aul_past *past = &store->past;
    pthread_mutex_lock(&past->lock);
    u64 lsn = atomic_load(&store->log.visible);
    if (AUL_SEEDED(REWIND_SHOWN_EARLY)) lsn = aul_max(lsn, past->newest.lsn);
    int status = find_path(store, lsn, out);
    if (!status && out->run != past->shown.run) {
        aul_path_free(store->disk, &past->shown);
        aul_path_share(out, out->lsn, &past->shown);
        atomic_store(&past->shown_run, out->run);
    }
    pthread_mutex_unlock(&past->lock);
    return status ? aul_fail(error, status, "no memory for the history") : AUL_OK;
}

static void set_newest(aul_store *store, aul_path *path) {
    aul_past *past = &store->past;
    aul_path_free(store->disk, &past->newest);
    past->newest = *path;
    atomic_store(&past->newest_run, path->run);
}

int aul_past_resume(aul_store *store, u64 lsn, aul_error *error) {
    aul_path path;
    pthread_mutex_lock(&store->past.lock);
    int status = aul_history_path(&store->manifest.history, lsn, &path);
    if (!status) set_newest(store, &path);
    pthread_mutex_unlock(&store->past.lock);
    return status ? aul_fail(error, status, "no memory for the history") : AUL_OK;
}

void aul_past_destroy(aul_store *store) {
    aul_path_free(store->disk, &store->past.newest);
    aul_path_free(store->disk, &store->past.shown);
}

bool aul_past_cut_at(aul_store *store, u64 lsn, aul_branch *out) {
    pthread_mutex_lock(&store->past.lock);
    const aul_branch *cut = aul_history_cut_at(&store->manifest.history, lsn);
    if (cut) *out = *cut;
    pthread_mutex_unlock(&store->past.lock);
    return cut != NULL;
}

int aul_past_copy(aul_store *store, u64 lsn, aul_history *history, aul_names *names) {
    pthread_mutex_lock(&store->past.lock);
    u64 branches = AUL_SEEDED(BRANCH_LISTED_EARLY) ? UINT64_MAX : lsn;
    u64 points = AUL_SEEDED(NAME_LISTED_EARLY) ? UINT64_MAX : lsn;
    int status = aul_history_copy(&store->manifest.history, branches, history);
    if (!status) status = aul_names_copy(&store->manifest.names, points, names);
    pthread_mutex_unlock(&store->past.lock);
    if (status) aul_history_free(history);
    return status;
}

/* Rewinding */

/* Where a rewind begins and ends. */
typedef struct {
    aul_path from, to;
    aul_commit_info target;
} way;

static void free_way(aul_store *store, way *w) {
    aul_path_free(store->disk, &w->from);
    aul_path_free(store->disk, &w->to);
}

/* The commits on one way and not on the other, every branch point too. */
static int count_commits(aul_store *store, u64 from, u64 to, aul_rewind_info *out,
                         aul_error *error) {
    const aul_history *history = &store->manifest.history;
    aul_path left = {0}, regained = {0};
    pthread_mutex_lock(&store->past.lock);
    int status = aul_history_exact_path(history, from, &left);
    if (!status) status = aul_history_exact_path(history, to, &regained);
    pthread_mutex_unlock(&store->past.lock);
    if (status)
        aul_fail(error, status, "no memory for the history");
    else
        status = aul_delta_commits(store, &left, &regained, &out->commits, &out->regained, error);
    aul_path_free(store->disk, &left);
    aul_path_free(store->disk, &regained);
    return status;
}

/* From the end of the path `from` to the last commit at or below lsn on the path of that. */
static int find_way(aul_store *store, const aul_path *from, u64 lsn, way *w, aul_rewind_info *out,
                    aul_error *error) {
    int status = aul_check_lsn(store, lsn, error);
    memset(w, 0, sizeof *w);
    if (status) return status;
    aul_path_share(from, from->lsn, &w->from);
    if (AUL_SEEDED(TARGET_ON_OWN_PATH))
        aul_path_share(from, lsn, &w->to);
    else
        status = aul_past_path(store, lsn, &w->to, error);
    if (!status) status = aul_find_commit(store, &w->to, &w->target, error);
    w->to.lsn = w->target.lsn; /* its holes are those of lsn: no commit lies between */
    if (!status) status = count_commits(store, from->lsn, w->target.lsn, out, error);
    out->from_lsn = from->lsn;
    out->to_lsn = w->target.lsn;
    out->to_time_ns = w->target.time_ns;
    return status;
}

static int preview(aul_store *store, u64 lsn, aul_rewind_info *out, aul_error *error) {
    aul_path now;
    way w;
    int status = aul_past_shown(store, &now, error);
    if (status) return status;
    status = find_way(store, &now, lsn, &w, out, error);
    if (!status) status = aul_delta_pages(store, &w.from, &w.to, &out->pages, error);
    free_way(store, &w);
    aul_path_free(store->disk, &now);
    return status;
}

/* The note's beginning, cut where a character ends. */
static void set_reason(aul_branch *branch, const aul_commit_options *options) {
    size_t bytes = aul_min(options->note_bytes, AUL_REASON_BYTES);
    if (bytes < options->note_bytes)
        while (bytes && (options->note[bytes] & 0xc0) == 0x80) bytes--;
    if (bytes) memcpy(branch->reason, options->note, bytes);
}

/* Logs the branch point; the caller has the writer's place. */
static int log_rewind(aul_store *store, const way *w, const aul_commit_options *options,
                      aul_error *error) {
    aul_log *log = &store->log;
    aul_past *past = &store->past;
    u64 now = options->time_ns ? options->time_ns : store->disk->now(store->disk->context);
    aul_branch branch = {.parent_at = w->target.lsn,
                         .resumed_at = log->next_lsn,
                         .time_ns = aul_max(now, log->last_time_ns),
                         .kind = AUL_BRANCH_REWIND};
    aul_path path = {0};
    set_reason(&branch, options);
    int status = log->started ? AUL_OK : aul_start_epoch(store, error);
    if (status) return status;
    branch.epoch = store->epoch;
    pthread_mutex_lock(&past->lock);
    status = aul_history_add(&store->manifest.history, &branch);
    if (!status) {
        status = aul_history_path(&store->manifest.history, branch.resumed_at, &path);
        if (status) aul_history_cut(&store->manifest.history, branch.resumed_at - 1);
    }
    pthread_mutex_unlock(&past->lock);
    if (status) return aul_fail(error, status, "no memory for the history");
    u64 end_pages = AUL_SEEDED(REWIND_KEEPS_LENGTH) ? log->end_pages : w->target.end_pages;
    status = aul_log_branch(store, &branch, end_pages, options, error);
    pthread_mutex_lock(&past->lock);
    if (status == AUL_OK) {
        set_newest(store, &path);
        if (AUL_SEEDED(REWIND_TAKES_NAMES)) aul_names_cut(&store->manifest.names, w->target.lsn);
        if (AUL_SEEDED(BRANCH_LSN_AGAIN)) log->next_lsn--;
    } else {
        aul_path_free(store->disk, &path);
        aul_history_cut(&store->manifest.history, branch.resumed_at - 1);
    }
    pthread_mutex_unlock(&past->lock);
    return status;
}

/* Has the writer's place, whatever transaction had it between two of its calls. */
static int rewind_now(aul_store *store, u64 lsn, const aul_commit_options *options,
                      aul_rewind_info *out, aul_outcome *outcome, aul_error *error) {
    aul_log *log = &store->log;
    aul_path now = store->past.newest;
    way w;
    now.lsn = log->last_commit;
    int status = find_way(store, &now, lsn, &w, out, error);
    if (!status && w.target.lsn != log->last_commit) {
        u64 resumed_at = log->next_lsn;
        status = log_rewind(store, &w, options, error);
        if (status == AUL_OK || status == AUL_UNKNOWN) {
            out->lsn = outcome->lsn = resumed_at;
            outcome->logged = 1;
        }
    }
    free_way(store, &w);
    return status;
}

static int backtrack(aul_store *store, u64 lsn, const aul_commit_options *options, u32 wait_ms,
                     aul_rewind_info *out, aul_outcome *outcome, aul_error *error) {
    u64 me;
    int status = aul_check_note(options, error);
    if (!status) status = aul_check_writable(store, error);
    if (!status) status = aul_log_claim_writer(store, wait_ms, true, &me, error);
    if (status) return status;
    /* The log may have failed while we waited: what is newest is not known then. */
    status = aul_check_writable(store, error);
    if (!status) status = rewind_now(store, lsn, options, out, outcome, error);
    aul_log_end_taking(store, !outcome->logged); /* nothing was rewound: nobody is in conflict */
    return status || !outcome->logged || AUL_SEEDED(REWIND_UNSYNCED)
               ? status
               : aul_wait_for(store, outcome->lsn, options->durability, wait_ms, outcome, error);
}

int aul_backtrack(aul_store *store, uint64_t lsn, uint32_t dry_run,
                  const aul_commit_options *options, uint32_t wait_ms, aul_rewind_info *out,
                  aul_outcome *outcome, aul_error *error) {
    int status = aul_store_enter(store, error);
    if (status) return status;
    memset(out, 0, sizeof *out);
    status = dry_run ? preview(store, lsn, out, error)
                     : backtrack(store, lsn, options, wait_ms, out, outcome, error);
    aul_store_leave(store);
    return status;
}

/* Telling */

uint64_t aul_newest_run(aul_store *store) { return atomic_load(&store->past.newest_run); }

/* What run i of the history is: 0 is the first. */
static int describe_run(aul_store *store, const aul_history *history, size_t i, u64 visible,
                        aul_run_info *out, aul_error *error) {
    u64 end = i < history->count ? history->items[i].resumed_at - 1 : visible;
    aul_hole before = {0, 0};
    aul_path all = {.lsn = end, .count = 1, .holes = &before}, nothing = {0};
    aul_commit_info last;
    memset(out, 0, sizeof *out);
    if (i) {
        const aul_branch *branch = &history->items[i - 1];
        out->lsn = branch->resumed_at;
        out->parent_lsn = branch->parent_at;
        out->epoch = branch->epoch;
        out->time_ns = branch->time_ns;
        out->kind = branch->kind;
        memcpy(out->reason, branch->reason, sizeof branch->reason);
        before.end = branch->resumed_at;
    }
    int status = aul_find_commit(store, &all, &last, error);
    if (!status) status = aul_delta_commits(store, &all, &nothing, &out->commits, &end, error);
    out->last_lsn = last.lsn;
    out->last_time_ns = last.time_ns;
    return status;
}

int aul_runs(aul_store *store, aul_run_info *out, size_t capacity, size_t *count,
             aul_error *error) {
    aul_history history = {.disk = store->disk};
    int status = aul_store_enter(store, error);
    if (status) return status;
    u64 visible = atomic_load(&store->log.visible);
    pthread_mutex_lock(&store->past.lock);
    status = aul_history_copy(&store->manifest.history, visible, &history);
    pthread_mutex_unlock(&store->past.lock);
    if (status) aul_fail(error, status, "no memory for the history");
    *count = history.count + 1;
    for (size_t i = 0; i <= history.count && i < capacity && !status; i++)
        status = describe_run(store, &history, i, visible, &out[i], error);
    for (u64 at = visible; !status;) { /* the path of now */
        size_t i = aul_history_until(&history, at);
        if (i < capacity) out[i].current = 1;
        if (i == 0) break;
        at = history.items[i - 1].parent_at;
    }
    aul_history_free(&history);
    aul_store_leave(store);
    return status;
}
