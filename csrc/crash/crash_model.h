/* crash_model.h: the plain model that a volume is compared with: the pages after each commit.
 *
 * A state is the volume after one commit, control batches too. States are kept in the order of the
 * log, whatever the runs; each knows the one before it on its path, which a rewind makes another
 * than the one before it in the log. What a recovery cut is remembered apart, since nobody may ever
 * see it again. Page versions live in an arena as long as the whole program, so that a model is
 * copied, for the life of one crash image, by copying its list of states. */
#ifndef AUL_CRASH_MODEL_H
#define AUL_CRASH_MODEL_H

#include "../frame.h"
#include "../record.h"
#include "../simdisk/random.h"

#define AUL_MODEL_PAGES 12u
#define AUL_MODEL_PAGE_SIZE 512u
#define AUL_MODEL_CUT_MAX 16u
#define AUL_MODEL_NAMES 8u /* that restore points may have */

typedef struct {
    u64 first_lsn, lsn, time_ns, end_pages;
    u64 epoch;               /* for data that look like a frame */
    u64 durable;             /* what was, when the commit was begun */
    u32 touched;             /* pages with a record, or a truncate of what had records */
    u32 written;             /* pages with a record since their last truncate */
    u32 names;               /* restore points that there are, whatever the path: a bit for each */
    u32 kind;                /* of a control batch its record's; 0: pages were changed */
    u32 branch;              /* AUL_BRANCH_POINT: which kind of it */
    u32 name;                /* AUL_RESTORE_POINT, AUL_DELETE_RESTORE_POINT: which one */
    bool pending;            /* it is not known to be logged, and may be taken back */
    u64 serial;              /* of all that were ever pushed */
    u64 run;                 /* the first LSN of it */
    size_t parent;           /* the state before it on its path */
    u64 named_lsn, named_ns; /* AUL_RESTORE_POINT: the commit that it names */
    const u8 *pages[AUL_MODEL_PAGES];
} aul_model_state;

typedef struct {
    aul_model_state *states; /* the first is the empty volume */
    size_t count, capacity;
    u64 issued;   /* the highest LSN that was given to anybody */
    u64 required; /* up to here nothing may be lost, whatever happens */
    u64 visible;  /* and up to here, as long as the machine goes on; no less than `required` */
    u64 kept;     /* the last commit that the last recovery has kept, before its own */
    u64 serials;
    u64 cut[AUL_MODEL_CUT_MAX]; /* LSNs that a recovery has cut */
    size_t cut_count;
} aul_model;

void aul_model_init(aul_model *model);
void aul_model_free(aul_model *model);
/* How many page versions there are, of all models, and forgetting all but the first of them. */
u64 aul_model_page_count(void);
void aul_model_forget_pages(u64 but);
void aul_model_copy(const aul_model *from, aul_model *to);

aul_model_state *aul_model_top(const aul_model *model);
/* The state that a view of `lsn` shows. */
const aul_model_state *aul_model_at(const aul_model *model, u64 lsn);
/* A state like the last one, to be changed by aul_model_change. */
aul_model_state *aul_model_push(aul_model *model);
/* A control batch of that kind: what it does to the state is the caller's to say. */
aul_model_state *aul_model_push_control(aul_model *model, u32 kind, u64 lsn, u64 time_ns);
/* It goes on from the state number `parent`. */
void aul_model_branch(aul_model *model, aul_model_state *state, u32 branch, size_t parent);
/* The name of a restore point: its bytes, and how many there are. */
const char *aul_model_name(u32 name, size_t *bytes);
/* Which of them has these bytes; AUL_MODEL_NAMES: none. */
u32 aul_model_find_name(const char *bytes, size_t count);
/* The state that made the name which there is as of `state`. */
const aul_model_state *aul_model_maker(const aul_model_state *state, u32 name);

/* What lies between two states, on the path of one of them only. */
typedef struct {
    u64 only_a, only_b;     /* commits */
    u32 touched, different; /* pages */
} aul_model_between;
aul_model_between aul_model_compare(const aul_model *model, const aul_model_state *a,
                                    const aul_model_state *b);
/* The log ends at `lsn`: later states are gone for good. */
void aul_model_cut(aul_model *model, u64 lsn);

/* Does to the state what the change does to the volume. */
void aul_model_change(aul_model_state *state, const aul_change *change);

/* Packs random changes of about `bytes` bytes into `to`, and does them to the state. Returns the
 * bytes used; *records says how many changes. */
size_t aul_model_random_changes(aul_model_state *state, aul_random *random, u8 *to, size_t bytes,
                                u64 *records);
/* Room that a buffer for so many bytes of changes needs. */
#define AUL_MODEL_CHANGES_ROOM(bytes) ((bytes) + AUL_MODEL_PAGE_SIZE + 64u)

#endif
