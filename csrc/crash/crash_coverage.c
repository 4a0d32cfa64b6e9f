/* crash_coverage.c: the calls of the disk before which the power was cut, by operation and file,
 * and those before which it has to be. See crash.h. */
#include <stdio.h>

#include "crash.h"

static const char *const ops[] = {"open", "recover",     "commit", "commit os",
                                  "bulk", "transaction", "rewind", "name",
                                  "keep", "sync",        "close",  "read-only"};
static const char *const ons[] = {"segment", "spare", "manifest", "lock", "reserve", "directory"};

const char *aul_crash_op_name(aul_crash_op op) { return ops[op]; }

static void print(const char *what, int op, int call, int on) {
    printf("%s: %s / %s / %s", what, ops[op], aul_sim_call_name((aul_sim_call)call), ons[on]);
}

void aul_crash_print_coverage(const aul_crash_hits hits) {
    for (int op = 0; op < AUL_OPS; op++)
        for (int call = 0; call < AUL_SIM_CALLS; call++)
            for (int on = 0; on < AUL_ONS; on++) {
                if (!hits[op][call][on]) continue;
                print("boundary", op, call, on);
                printf(": %llu\n", (unsigned long long)hits[op][call][on]);
            }
}

#define CREATE (1u << AUL_SIM_CREATE)
#define WRITE (1u << AUL_SIM_WRITE)
#define SYNC (1u << AUL_SIM_SYNC)
#define SYNC_DIRECTORY (1u << AUL_SIM_SYNC_DIRECTORY)
#define ALLOCATE (1u << AUL_SIM_ALLOCATE)
#define TRUNCATE (1u << AUL_SIM_TRUNCATE)
#define RENAME (1u << AUL_SIM_RENAME)
#define UNLINK (1u << AUL_SIM_UNLINK)
#define MAKE_DIRECTORY (1u << AUL_SIM_MAKE_DIRECTORY)
#define OTHER (1u << AUL_SIM_OTHER)              /* between two operations */
#define REPLACE (CREATE | WRITE | SYNC | RENAME) /* of the manifest */
#define MAKE (CREATE | WRITE | SYNC | ALLOCATE)  /* of a segment */

/* What each operation does, however rarely: to end a segment and begin another, to be the session's
 * first that logs, to find no room. All of it happens in a campaign of a minute. */
static const u32 wanted[AUL_OPS][AUL_ONS] = {
    [AUL_OP_OPEN] = {[AUL_ON_MANIFEST] = REPLACE,
                     [AUL_ON_LOCK] = CREATE | WRITE | ALLOCATE,
                     [AUL_ON_RESERVE] = CREATE | ALLOCATE,
                     [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | MAKE_DIRECTORY},
    [AUL_OP_RECOVER] = {[AUL_ON_SEGMENT] = MAKE | UNLINK,
                        [AUL_ON_SPARE] = UNLINK,
                        [AUL_ON_MANIFEST] = REPLACE | UNLINK,
                        [AUL_ON_LOCK] = WRITE,
                        [AUL_ON_RESERVE] = CREATE,
                        [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | MAKE_DIRECTORY},
    [AUL_OP_COMMIT] = {[AUL_ON_SEGMENT] = MAKE | TRUNCATE | RENAME,
                       [AUL_ON_MANIFEST] = REPLACE,
                       [AUL_ON_LOCK] = WRITE,
                       [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_COMMIT_OS] = {[AUL_ON_SEGMENT] = MAKE | RENAME,
                          [AUL_ON_MANIFEST] = REPLACE,
                          [AUL_ON_LOCK] = WRITE,
                          [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_BULK] = {[AUL_ON_SEGMENT] = MAKE | UNLINK,
                     [AUL_ON_MANIFEST] = WRITE | SYNC,
                     [AUL_ON_LOCK] = WRITE,
                     [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_TRANSACTION] = {[AUL_ON_SEGMENT] = WRITE | SYNC | ALLOCATE,
                            [AUL_ON_LOCK] = WRITE,
                            [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_REWIND] = {[AUL_ON_SEGMENT] = WRITE | SYNC | RENAME,
                       [AUL_ON_MANIFEST] = REPLACE,
                       [AUL_ON_LOCK] = WRITE,
                       [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_NAME] = {[AUL_ON_SEGMENT] = WRITE | SYNC | RENAME,
                     [AUL_ON_MANIFEST] = REPLACE,
                     [AUL_ON_LOCK] = WRITE,
                     [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_KEEP] = {[AUL_ON_SEGMENT] = WRITE | SYNC | TRUNCATE,
                     [AUL_ON_SPARE] = CREATE | WRITE | ALLOCATE | UNLINK,
                     [AUL_ON_MANIFEST] = REPLACE,
                     [AUL_ON_LOCK] = WRITE,
                     [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_SYNC] = {[AUL_ON_SEGMENT] = WRITE | SYNC,
                     [AUL_ON_LOCK] = WRITE,
                     [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_CLOSE] = {[AUL_ON_SEGMENT] = WRITE | SYNC | TRUNCATE,
                      [AUL_ON_MANIFEST] = REPLACE,
                      [AUL_ON_LOCK] = WRITE,
                      [AUL_ON_RESERVE] = CREATE,
                      [AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
    [AUL_OP_READ_ONLY] = {[AUL_ON_DIRECTORY] = SYNC_DIRECTORY | OTHER},
};

/* What it may do besides, where much comes together: no room, faults, threads. A short campaign may
 * miss it. What is in neither table is looked into before it is listed. */
#define MAY_OPEN                                           \
    {[AUL_ON_SEGMENT] = MAKE | RENAME | TRUNCATE | UNLINK, \
     [AUL_ON_SPARE] = UNLINK,                              \
     [AUL_ON_MANIFEST] = REPLACE | UNLINK,                 \
     [AUL_ON_LOCK] = CREATE | WRITE | ALLOCATE,            \
     [AUL_ON_RESERVE] = CREATE | ALLOCATE | UNLINK,        \
     [AUL_ON_DIRECTORY] = MAKE_DIRECTORY | SYNC_DIRECTORY}
#define MAY_LOG                                            \
    {[AUL_ON_SEGMENT] = MAKE | RENAME | TRUNCATE | UNLINK, \
     [AUL_ON_MANIFEST] = REPLACE | UNLINK,                 \
     [AUL_ON_RESERVE] = CREATE | ALLOCATE | UNLINK}
static const u32 rare[AUL_OPS][AUL_ONS] = {
    [AUL_OP_OPEN] = MAY_OPEN,
    [AUL_OP_RECOVER] = MAY_OPEN,
    [AUL_OP_COMMIT] = MAY_LOG,
    [AUL_OP_COMMIT_OS] = MAY_LOG,
    [AUL_OP_BULK] = MAY_LOG,
    [AUL_OP_TRANSACTION] = MAY_LOG,
    [AUL_OP_REWIND] = MAY_LOG,
    [AUL_OP_NAME] = MAY_LOG,
    [AUL_OP_KEEP] = {[AUL_ON_MANIFEST] = UNLINK, [AUL_ON_RESERVE] = CREATE | ALLOCATE | UNLINK},
    [AUL_OP_CLOSE] = {[AUL_ON_SEGMENT] = MAKE | RENAME | TRUNCATE | UNLINK,
                      [AUL_ON_SPARE] = UNLINK,
                      [AUL_ON_MANIFEST] = REPLACE | UNLINK,
                      [AUL_ON_RESERVE] = CREATE | ALLOCATE | UNLINK},
};

size_t aul_crash_count_holes(const aul_crash_hits hits, bool prints) {
    size_t holes = 0;
    for (int op = 0; op < AUL_OPS; op++)
        for (int on = 0; on < AUL_ONS; on++)
            for (int call = 0; call < AUL_SIM_CALLS; call++) {
                if (!(wanted[op][on] & 1u << call) || hits[op][call][on]) continue;
                holes++;
                if (!prints) continue;
                print("no power cut", op, call, on);
                printf("\n");
            }
    return holes;
}

size_t aul_crash_print_strangers(const aul_crash_hits hits) {
    size_t strangers = 0;
    for (int op = 0; op < AUL_OPS; op++)
        for (int on = 0; on < AUL_ONS; on++)
            for (int call = 0; call < AUL_SIM_CALLS; call++) {
                if ((wanted[op][on] | rare[op][on]) & 1u << call || !hits[op][call][on]) continue;
                strangers++;
                print("not listed", op, call, on);
                printf("\n");
            }
    return strangers;
}
