/* diff.h: the smallest way to log a whole page: what changed in it, or all of it. Pure. */
#ifndef AUL_DIFF_H
#define AUL_DIFF_H

#include "record.h"

#define AUL_DIFF_CHANGES_MAX 64

/* Changes that turn `before` into `after`, at most AUL_DIFF_CHANGES_MAX; returns how many. One
 * IMAGE or FILL when that takes fewer log bytes than writing the differences. Their data point
 * into `after`. */
size_t aul_page_changes(u32 page_size, u64 page, const u8 *before, const u8 *after,
                        aul_change out[AUL_DIFF_CHANGES_MAX]);

#endif
