/* What becomes of a shard's sessions when the weights of their model change.
 *
 * A walk over all sessions of the shard, in slices, so that no other work waits for it.  A session
 * of the model that is not on the new weights is, by the policy, left where it stands, moved over,
 * or ended.  Whoever is being used is told, and follows when it is let go; it is counted as busy
 * and not waited for.  Where there is a store, a move and an end are on disk before they count.
 *
 * Beside the policy: a session whose weights are the same as the new ones, by their fingerprint,
 * goes over in any case but an end, because nothing changes for it and the old copy can go; and one
 * of the store that was orphaned, and that the new weights fit, is adopted.
 *
 * Own shard's thread. */
#ifndef SERVER_SESSION_CHANGE_H
#define SERVER_SESSION_CHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/rnn.h"
#include "server/session.h"

enum sessions_policy {
    SESSIONS_PIN,     /* they keep the weights that they stand on */
    SESSIONS_MIGRATE, /* those whose state has the same parts go over; the others are pinned */
    SESSIONS_CLOSE    /* they end, as if they had expired */
};

struct sessions_change {
    /* By the caller: as long as the change. */
    const char *model_name;
    struct rnn_model *model; /* the new weights; NULL: the name is served no more */
    enum sessions_policy policy;
    void (*task_ended)(struct sessions_change *change); /* n_tasks has become less */

    /* What has become of them. */
    size_t n_pinned, n_migrated, n_closed;
    size_t n_same;   /* their weights are the same; and orphans that were adopted */
    size_t n_busy;   /* ordered to go over or to end, when they are let go */
    size_t n_failed; /* pinned, because the store or memory did not allow more */
    size_t n_tasks;  /* of the store, under way */

    /* Where the walk stands. */
    char owner[65];
    char id[SESSION_ID_MAX + 1];
};

/* Looks at up to n further sessions; false: it has been at all of them. */
bool sessions_change_some(struct sessions *sessions, struct sessions_change *change, size_t n);

/* For session_store.c: a task of the change has come back. */
void sessions_change_task_end(struct sessions_change *change);

#endif
