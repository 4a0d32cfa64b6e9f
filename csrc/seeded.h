/* seeded.h: deliberate bugs, to test the tests. In a build with AUL_SEEDED_BUGS one of them can be
 * switched on, and the campaign that does not find it is no proof of anything (make seeded-bugs).
 * In every other build AUL_SEEDED is the constant false, and costs nothing. */
#ifndef AUL_SEEDED_H
#define AUL_SEEDED_H

#ifdef AUL_SEEDED_BUGS
extern int aul_seeded_bug; /* the one that is switched on, or 0 */
#define AUL_SEEDED(bug) (aul_seeded_bug == AUL_SEEDED_##bug)
#else
#define AUL_SEEDED(bug) false
#endif

enum {
    AUL_SEEDED_NONE,
    AUL_SEEDED_ACKNOWLEDGED_UNSYNCED, /* log.c: durable without a sync */
    AUL_SEEDED_SYNC_RETRIED,          /* log.c: a failed sync is asked for again */
    AUL_SEEDED_DIRECTORY_UNSYNCED,    /* log.c: a new segment's name is not made durable */
    AUL_SEEDED_LAST_SEGMENT_ONLY,     /* log.c: a sync leaves out the segments before the last */
    AUL_SEEDED_TARGET_AFTER_SYNC,     /* log.c: what was written during a sync counts as in it */
    AUL_SEEDED_WORD_BEFORE_SYNC,      /* log.c: readers are told too early */
    AUL_SEEDED_VISIBLE_AFTER_FAILURE, /* log.c: what may be lost stays visible */
    AUL_SEEDED_LISTED_BEFORE_NAMED,   /* store.c: the manifest lists names not yet durable */
    AUL_SEEDED_CLEAN_MARK_LEFT,       /* store.c: the clean mark outlives the next commit */
    AUL_SEEDED_DURABLE_OVERSTATED,    /* store.c: the manifest calls durable what is logged */
    AUL_SEEDED_PARENT_UNSYNCED,       /* store.c: the new volume's own name is not durable */
    AUL_SEEDED_FOOTER_UNSYNCED,       /* keeper.c: listed as sealed before the footer is durable */
    AUL_SEEDED_SEALED_TOO_EARLY,      /* keeper.c: a segment is sealed before it is durable */
    AUL_SEEDED_BUGS_END
};

#endif
