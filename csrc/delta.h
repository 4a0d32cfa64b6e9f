/* delta.h: what lies between two moments, told from their paths (aul_diff_open and aul_lsn_at in
 * aurolog.h are the public part). */
#ifndef AUL_DELTA_H
#define AUL_DELTA_H

#include "store.h"

/* How many commits, control batches too, lie on one path and not on the other. Whole segments are
 * counted by their summaries, the ends of a range by a block each. */
int aul_delta_commits(aul_store *store, const aul_path *a, const aul_path *b, u64 *only_a,
                      u64 *only_b, aul_error *error);
/* How many pages aul_diff_next would give between two paths, whose LSNs end with commits. */
int aul_delta_pages(aul_store *store, const aul_path *a, const aul_path *b, u64 *pages,
                    aul_error *error);

#endif
