/* crash_model.h: the plain model that a volume is compared with: the pages after each commit.
 *
 * A state is the volume after one commit. States are kept oldest first, and only those on the path
 * that leads to now; what a recovery cut is remembered apart, since nobody may ever see it again.
 * Page versions live in an arena as long as the whole program, so that a model is copied, for the
 * life of one crash image, by copying its list of states. */
#ifndef AUL_CRASH_MODEL_H
#define AUL_CRASH_MODEL_H

#include "../frame.h"
#include "../record.h"
#include "../simdisk/random.h"

#define AUL_MODEL_PAGES 12u
#define AUL_MODEL_PAGE_SIZE 512u
#define AUL_MODEL_CUT_MAX 16u

typedef struct {
    u64 first_lsn, lsn, time_ns, end_pages;
    u64 epoch;   /* for data that look like a frame */
    u64 durable; /* what was, when the commit was begun */
    u32 touched; /* pages with a record, or a truncate of what had records */
    u32 written; /* pages with a record since their last truncate */
    const u8 *pages[AUL_MODEL_PAGES];
} aul_model_state;

typedef struct {
    aul_model_state *states; /* the first is the empty volume */
    size_t count, capacity;
    u64 issued;   /* the highest LSN that was given to anybody */
    u64 required; /* up to here nothing may be lost, whatever happens */
    u64 visible;  /* and up to here, as long as the machine goes on; no less than `required` */
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
