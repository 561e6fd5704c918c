/* What the files of sessions share, and nobody else.
 *
 *   session.c        life: making, looking, ending, expiry
 *   session_line.c   the line of requests
 *   session_points.c the states that a session can go back to
 *   session_change.c going over to other weights of their model, when that changes
 *   session_store.c  the way to disk and back, and which ones stay in memory
 *   session_table.c  finding: hash table, order, names
 *
 * Own shard's thread. */
#ifndef SERVER_SESSION_INNER_H
#define SERVER_SESSION_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/session.h"
#include "server/shard.h"
#include "server/wheel.h"

#define NAMES_BUCKETS 64u

/* Names of keys and models: few, shared by many sessions, kept until the shard ends. */
struct name {
    struct name *next;
    char text[];
};

struct session {
    uint64_t hash;
    struct session *chain;         /* hash table */
    struct session *left, *right;  /* treap; of live sessions only */
    struct session *older, *newer; /* those that may leave memory, by last use */
    const char *owner, *model_name;
    struct rnn_model *model;       /* a reference; NULL: what it was made with is not served */
    const char *orphan_of;         /* fingerprint of what is not served */
    struct rnn_model *next_model;  /* a reference: to go over to when it is let go; or NULL */
    struct rnn_model *moving_to;   /* a reference: the store is about it; or NULL */
    struct rnn_state *state;       /* [state_bytes]; NULL: on disk only */
    struct session_points *points; /* NULL: there are none */
    size_t state_bytes;
    size_t bytes; /* of the state and the points, as counted on the metrics page */
    uint64_t seed, position;
    int64_t row;       /* in the store; 0: not there */
    int64_t stored_ms; /* used_ms as the store has it */
    int64_t created_ms, used_ms, ttl_ms;
    int64_t expires_ms; /* a tombstone: when it is forgotten */
    struct wheel_entry due;
    struct session_hold *holder;
    struct session_hold *first, **last; /* the line */
    uint32_t n_waiting;
    uint32_t n_tasks; /* of the store, under way; it lives until they are back */
    bool granting;    /* in sessions->grants */
    bool deleted;     /* out of all tables; lives until its holder lets go */
    bool tombstone;   /* expired */
    bool loading;
    bool closing; /* to end when it is let go */
    bool unsaved; /* the store lacks its state: it must not leave memory */
    bool unsent;  /* so it does, and what is under way does not change that */
    bool pinned;  /* the store lacks a point of it: it must not leave memory any more */
    bool linked;  /* in the order of last use */
    struct session *next_grant;
    char id[]; /* NUL-terminated */
};

struct sessions {
    struct shard *shard;
    uint64_t secret[2];
    struct session **buckets; /* [mask + 1 + split] in use of [cap] */
    size_t cap, mask, split;
    size_t n_entries; /* live ones and tombstones */
    size_t n_tombstones;
    struct session *root;
    struct wheel wheel;
    struct name *names[NAMES_BUCKETS];
    struct session *oldest, *newest;                    /* of those that may leave memory */
    struct session_points *trail_oldest, *trail_newest; /* of those at rest that have a trail */
    size_t resident_bytes;
    size_t n_tasks;
    struct session *grants;
    struct message grant;
    bool grant_posted;
};

/* ---- session_table.c ---- */

/* An empty table with a key drawn for its hash.  RNN_ENOMEM, RNN_EIO; deinit either way. */
int session_table_init(struct sessions *sessions, struct rnn_err *err);

/* Frees the table and the names, not the sessions. */
void session_table_deinit(struct sessions *sessions);

/* SipHash-1-3 (Aumasson and Bernstein 2012) over both texts, each with its end marked. */
uint64_t session_hash(const struct sessions *sessions, const char *owner, const char *id);

/* A copy of the text that lives as long as the table; NULL without memory. */
const char *session_name_keep(struct sessions *sessions, const char *text);

/* By owner and id: live ones and tombstones.  Inserting cannot fail; remove wants it to be there.
 */
void session_table_insert(struct sessions *sessions, struct session *session);
void session_table_remove(struct sessions *sessions, struct session *session);
struct session *session_table_find(const struct sessions *sessions, const char *owner,
                                   const char *id);

/* Takes all of them out; `taken` may free its session. */
void session_table_clear(struct sessions *sessions,
                         void (*taken)(struct sessions *sessions, struct session *session));

/* The first behind (owner, id) in that order; NULL: none. */
struct session *session_order_after(const struct sessions *sessions, const char *owner,
                                    const char *id);

/* In order of owner and id, from sessions->root: live ones only. */
void session_order_insert(struct sessions *sessions, struct session *session);
void session_order_remove(struct sessions *sessions, struct session *session);

/* The order of all live ones in the table, anew: sorted, which takes a million of them a quarter of
 * the time of a million insertions. */
void session_order_build(struct sessions *sessions);

/* Below 0 where the session comes before (owner, id), 0 where it is that one. */
int session_order(const struct session *session, const char *owner, const char *id);

/* ---- session.c ---- */

static inline bool session_in_use(const struct session *session)
{
    return session->holder != NULL || session->first != NULL || session->granting ||
           session->loading || session->moving_to != NULL;
}

/* The live session of that owner and id; buries one whose time has come. */
session_result session_find(struct sessions *sessions, const char *id, const char *owner,
                            struct session **out);

/* It was used now. */
void session_touch(const struct sessions *sessions, struct session *session);

/* Of the weights that it stands on, served or not. */
static inline const char *session_fingerprint(const struct session *session)
{
    return session->model != NULL ? rnn_model_info(session->model)->fingerprint
                                  : session->orphan_of;
}

void session_view_fill(const struct session *session, struct session_view *view);

/* It has ended, and nobody uses it: a tombstone from now on, or gone. */
void session_bury(struct sessions *sessions, struct session *session);

/* Frees one that is in no table any more, unless someone still points to it. */
void session_free(struct session *session);

/* ---- session_points.c ---- */

/* Memory of a session's points; and their end. */
size_t session_points_bytes(const struct session *session);
void session_points_free(struct session *session);

/* The snapshots that were loaded, in order of name; the session takes their states over.  False
 * without memory. */
struct store_point;
bool session_points_restore(struct session *session, const struct store_point *points, size_t n);

/* Where a reset goes, kept beside the points: a name (of session_name_keep(); may be NULL) or a
 * state, which the session takes over (may be NULL).  False without memory. */
bool session_initial_set(struct session *session, const char *name, struct rnn_state *state);
void session_initial_get(const struct session *session, const char **name,
                         const struct rnn_state **state);

/* The session is let go: with a commit, the trail that was laid counts, or what there was has
 * ended.
 */
void session_points_release(struct session *session, bool committed);

/* It is at rest, or in use again: whether its trail may be given up. */
void session_trail_rest(struct sessions *sessions, struct session *session);
void session_trail_wake(struct sessions *sessions, struct session *session);

/* Drops the trail of the session at rest that was used longest ago.  False: none has any. */
bool session_trail_give_up(struct sessions *sessions);

/* ---- session.c ---- */

/* Brings the count of bytes up to date. */
void session_recount(struct sessions *sessions, struct session *session);

/* A session that is on disk only; the order lacks it until it is built.  NULL: no memory, or there
 * is one of that name. */
struct store_facts;
struct session *session_restore(struct sessions *sessions, const struct store_facts *facts,
                                struct rnn_model *model);

/* ---- session_change.c ---- */

/* Nobody holds it any more: it ends or goes over where that was ordered, the next in line is
 * granted, or it rests. */
void session_let_go(struct sessions *sessions, struct session *session);

/* The store has done with its move to moving_to; `change` (may be NULL) ordered it. */
struct sessions_change;
void session_moved(struct sessions *sessions, struct session *session,
                   struct sessions_change *change, int rc);

/* ---- session_store.c ---- */

/* Rewrites what the store has of it to the weights of moving_to, which ends in session_moved(); or
 * takes it out of the store, which ends in sessions_change_task_end() where there is a change.
 * False without memory: nothing was sent. */
bool session_store_move(struct sessions *sessions, struct session *session,
                        struct sessions_change *change);
bool session_store_remove(struct sessions *sessions, struct session *session,
                          struct sessions_change *change);

/* Gives a new session a row in the store, where there is one. */
void session_store_enter(struct sessions *sessions, struct session *session);

/* It has ended: out of the store, too. */
void session_store_leave(struct sessions *sessions, struct session *session);

/* Reads its state; whoever waits in its line is granted, or refused. */
void session_load(struct sessions *sessions, struct session *session);

/* It is idle, or in use again: whether it may leave memory, and its trail.  As long as there is too
 * much, trails are dropped, then sessions leave; those that were used longest ago first. */
void session_rest(struct sessions *sessions, struct session *session);
void session_wake(struct sessions *sessions, struct session *session);

/* It was used, and nothing was written. */
void session_store_touch(struct sessions *sessions, struct session *session);

/* ---- session_line.c ---- */

/* The next in line is granted, in a later message. */
void session_grant_next(struct sessions *sessions, struct session *session);

/* Everyone who waits is refused. */
void session_refuse_line(struct session *session, enum reply_error reason);

/* At the end: frees deleted ones that only a message not yet run still points to. */
void session_grants_free(struct sessions *sessions);

#endif
