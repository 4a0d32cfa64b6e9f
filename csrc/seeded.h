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
    AUL_SEEDED_WOKEN_IS_DURABLE,      /* log.c: a sync wakes followers whose LSNs are not in it */
    AUL_SEEDED_FOLLOWER_LEFT_ASLEEP,  /* log.c: who leaves the line wakes nobody */
    AUL_SEEDED_OS_UNWRITTEN,          /* log.c: an "os" commit does not wait for its write */
    AUL_SEEDED_OS_FAILS_WITH_LATER,   /* log.c: it fails with a write of what came behind it */
    AUL_SEEDED_OS_AFTER_FAILURE,      /* log.c: it is acknowledged, and its write has failed */
    AUL_SEEDED_LISTED_BEFORE_NAMED,   /* store.c: the manifest lists names not yet durable */
    AUL_SEEDED_CLEAN_MARK_LEFT,       /* store.c: the clean mark outlives the next commit */
    AUL_SEEDED_DURABLE_OVERSTATED,    /* store.c: the manifest calls durable what is logged */
    AUL_SEEDED_PARENT_UNSYNCED,       /* store.c: the new volume's own name is not durable */
    AUL_SEEDED_CLOSE_UNSYNCED,        /* store.c: a clean close seals before it syncs */
    AUL_SEEDED_FOOTER_UNSYNCED,       /* keeper.c: listed as sealed before the footer is durable */
    AUL_SEEDED_SEALED_TOO_EARLY,      /* keeper.c: a segment is sealed before it is durable */
    AUL_SEEDED_FOOTER_OVER_FRAMES,    /* keeper.c: the footer begins before its segment's end */
    AUL_SEEDED_OS_NEVER_SYNCED,       /* keeper.c: nothing syncs "os" commits */
    AUL_SEEDED_LSN_GIVEN_AGAIN,       /* recovery.c: after a cut the next LSN is the last one's */
    AUL_SEEDED_TAIL_UNSECURED,        /* recovery.c: the tail is shown before it is synced again */
    AUL_SEEDED_TAIL_KEPT_IN_PLACE,    /* recovery.c: what no sync confirmed counts as durable */
    AUL_SEEDED_TAIL_NOT_CUT,          /* recovery.c: a torn batch's first frames are kept */
    AUL_SEEDED_BATCH_IN_PART,         /* recovery.c: a batch counts without its last frame */
    AUL_SEEDED_EVIDENCE_UNASKED,      /* recovery.c: corruption is taken for a torn tail */
    AUL_SEEDED_LATER_FILES_UNASKED,   /* recovery.c: later files are not asked for evidence */
    AUL_SEEDED_EPOCH_UNCHECKED,       /* recovery.c: files of an interrupted recovery are asked */
    AUL_SEEDED_STRAYS_REMOVED_EARLY, /* recovery.c: old files go before the new manifest is there */
    AUL_SEEDED_EPOCH_NOT_RAISED,     /* recovery.c: recovery goes on in the old epoch */
    AUL_SEEDED_EPOCH_UNANNOUNCED,    /* recovery.c: a session appends before its manifest */
    AUL_SEEDED_CUT_UNLOGGED,         /* recovery.c: no branch point is logged behind the cut */
    AUL_SEEDED_READER_SHOWS_ALL,     /* recovery.c: a reader shows what may not be durable */
    AUL_SEEDED_READER_UNSYNCED,      /* recovery.c: a reader shows what a lost rename has made so */
    AUL_SEEDED_TAIL_WITHOUT_FOOTER,  /* recovery.c: the tail has no room for its footer */
    AUL_SEEDED_DEAD_LEFT,            /* recovery.c: files that are cut stay */
    AUL_SEEDED_PAYLOAD_UNCHECKED,    /* segment.c: a frame's payload is not checked */
    AUL_SEEDED_HEADER_UNCHECKED,     /* frame.c: a frame's header is not checked */
    AUL_SEEDED_MANIFEST_UNSYNCED,    /* manifest.c: renamed before it is synced */
    AUL_SEEDED_RENAME_UNSYNCED,      /* manifest.c: the directory is not synced after it */
    AUL_SEEDED_BOUND_FORGOTTEN,      /* manifest.c: a stale tail stays part of the log */
    AUL_SEEDED_DURABLE_BEFORE_OVERSTATED, /* log_append.c: frames call durable what is logged */
    AUL_SEEDED_DURABLE_BEFORE_LOST,   /* log_append.c: frames say of nothing that it is durable */
    AUL_SEEDED_FOOTER_ROOM_FORGOTTEN, /* log_append.c: no room is kept for the footer */
    AUL_SEEDED_ENTRY_LOST_AT_ROLL,    /* log_append.c: a new segment's first frame is not indexed */
    AUL_SEEDED_IN_FLIGHT_UNLIMITED,   /* log_append.c: LSNs run ahead without a limit */
    AUL_SEEDED_TIME_GOES_BACK,        /* log_append.c: commit times follow the caller's clock */
    AUL_SEEDED_NAME_COUNTS_AS_SYNCED, /* log_segment.c: a new segment counts as named */
    AUL_SEEDED_WORD_BEFORE_EPOCH,     /* lock.c: the durable word changes under the old epoch */
    AUL_SEEDED_LOCK_NOT_ASKED,        /* lock.c: a second writer is let in */
    AUL_SEEDED_TRUNCATE_KEEPS_LENGTH, /* tx.c: a truncate does not lower the end of page space */
    AUL_SEEDED_REFUSED_KEEPS_LENGTH,  /* tx.c: changes that are refused leave the length behind */
    AUL_SEEDED_BEGUN_ON_FAILED,       /* tx.c: who waited begins on a log that has failed */
    AUL_SEEDED_READ_UNCONFIRMED,      /* tx.c: what a transaction read need not be visible */
    AUL_SEEDED_LOST_VIEW_READS,       /* read.c: a view of what was lost still reads */
    AUL_SEEDED_CACHED_IS_NEWEST,      /* page_cache.c: a cached page counts as the newest */
    AUL_SEEDED_FOLLOWER_AHEAD,        /* follow.c: a reader moves on to all that is in the files */
    AUL_SEEDED_FOLLOWER_MISSES_RUNS,  /* follow.c: branch points and names are passed over */
    AUL_SEEDED_HOLE_BEGINS_LATE,     /* history.c: a path shows the first LSN that it left behind */
    AUL_SEEDED_ONE_HOLE_ONLY,        /* history.c: a path has no hole but the newest */
    AUL_SEEDED_HOLES_MERGED,         /* history.c: holes merge over what lies between them */
    AUL_SEEDED_BRANCHES_UNCOUNTED,   /* history.c: swallowed branch points are not counted */
    AUL_SEEDED_REWIND_UNSYNCED,      /* rewind.c: a rewind is acknowledged before its sync */
    AUL_SEEDED_REWIND_SHOWN_EARLY,   /* rewind.c: plain reads follow a rewind that is not durable */
    AUL_SEEDED_REWIND_KEEPS_LENGTH,  /* rewind.c: a rewind does not change the end of page space */
    AUL_SEEDED_REWIND_TAKES_NAMES,   /* rewind.c: a rewind makes names what they were */
    AUL_SEEDED_TARGET_ON_OWN_PATH,   /* rewind.c: the target is looked for on the path of now */
    AUL_SEEDED_BRANCH_LSN_AGAIN,     /* rewind.c: the next commit gets the branch point's LSN */
    AUL_SEEDED_NAME_LISTED_EARLY,    /* rewind.c: the manifest has names that are not durable */
    AUL_SEEDED_BRANCH_LISTED_EARLY,  /* rewind.c: the manifest has branch points that are not */
    AUL_SEEDED_PAST_UNLISTED,        /* store.c: the manifest has none of this session's past */
    AUL_SEEDED_CONFLICT_UNNOTICED,   /* log.c: a transaction goes on after a rewind */
    AUL_SEEDED_RUN_UNASKED,          /* tx.c: changes made for another run are committed */
    AUL_SEEDED_CACHED_IN_ANY_RUN,    /* page_cache.c: a cached page is served in every run */
    AUL_SEEDED_CHECKED_IN_ANY_RUN,   /* page_cache.c: one counts as checked on every path */
    AUL_SEEDED_NAME_GIVEN_TWICE,     /* restore_point.c: a name that is not durable is free */
    AUL_SEEDED_BRANCHES_UNREAD,      /* recovery.c: branch points of the tail are not noted */
    AUL_SEEDED_DELETIONS_UNREAD,     /* recovery.c: deletions in the tail are not noted */
    AUL_SEEDED_RUN_NOT_RESUMED,      /* recovery.c: a session begins with the first run's path */
    AUL_SEEDED_READER_PAST_AHEAD,    /* recovery.c: a reader notes what may not be durable */
    AUL_SEEDED_DIFFERENCE_ONE_SIDED, /* page_stream.c: what the other path changed is left out */
    AUL_SEEDED_FOLLOWER_READS_STALE, /* follow.c: what a reader has read ahead stays as it was */
    AUL_SEEDED_FOLLOWER_SKIPS_PAST,  /* follow.c: those of segments that are sealed are lost */
    AUL_SEEDED_BUGS_END
};

#endif
