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

/* What many sessions have in common: kept likewise.  The texts are of session_name_keep(). */
struct session_kind {
    struct session_kind *next;
    const char *owner, *model_name;
    const char *orphan_of; /* fingerprint of what was not served at start; or NULL */
};

/* What a session needs only while it is in use: it is made for that, and goes when the session
 * rests. */
struct session_use {
    struct session_hold *holder;
    struct session_hold *first, **last; /* the line */
    struct session *next_grant;
    struct rnn_model *next_model; /* a reference: to go over to when it is let go; or NULL */
    struct rnn_model *moving_to;  /* a reference: the store is about it; or NULL */
    uint32_t n_waiting;
    bool granting; /* in sessions->grants */
    bool loading;
    bool closing; /* to end when it is let go */
};

/* A million of them lie idle: what can be derived is, and what stands in one place of the union is
 * not there while the other is. */
struct session {
    struct session *chain;        /* hash table */
    struct session *left, *right; /* treap; of live sessions only */
    struct wheel_entry due;
    union {
        struct { /* linked: in the order of last use of those that may leave memory */
            struct session *older, *newer;
        };
        struct {
            struct session_use *use; /* by session_use() */
            uint64_t away;           /* its position while it is on disk only */
        };
    };
    const struct session_kind *kind;
    struct rnn_model *model;       /* a reference; NULL: what it was made with is not served */
    struct rnn_state *state;       /* [state_bytes]; NULL: on disk only */
    struct session_points *points; /* NULL: there are none */
    uint64_t seed;
    int64_t row; /* in the store; 0: not there */
    int64_t created_ms, used_ms;
    uint32_t ttl_s; /* a tombstone: until it is forgotten */
    uint32_t state_bytes;
    uint32_t n_tasks : 26; /* of the store, under way; it lives until they are back */
    bool deleted : 1;      /* out of all tables; lives until its holder lets go */
    bool tombstone : 1;    /* expired */
    bool unsaved : 1;      /* the store lacks its state: it must not leave memory */
    bool unsent : 1;       /* so it does, and what is under way does not change that */
    bool pinned : 1;       /* the store lacks a point of it: it must not leave memory any more */
    bool linked : 1;       /* says which of the union is there */
    char id[];             /* NUL-terminated */
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
    struct session_kind *kinds[NAMES_BUCKETS];
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

/* The kind of these texts, `orphan_of` may be NULL; NULL without memory. */
const struct session_kind *session_kind_keep(struct sessions *sessions, const char *owner,
                                             const char *model_name, const char *orphan_of);

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

static inline struct session_use *session_use(const struct session *session)
{
    return session->linked ? NULL : session->use;
}

static inline bool session_in_use(const struct session *session)
{
    const struct session_use *use = session_use(session);

    return use != NULL && (use->holder != NULL || use->first != NULL || use->granting ||
                           use->loading || use->moving_to != NULL);
}

/* Before it comes into use: false without memory.  And what session_use() is, where nobody uses it
 * any more. */
bool session_use_begin(struct sessions *sessions, struct session *session);
void session_use_end(struct session *session);

static inline uint64_t session_position(const struct session *session)
{
    return session->state != NULL ? session->state->position : session->away;
}

/* Of a tombstone: when it is forgotten. */
static inline int64_t session_expires_ms(const struct session *session)
{
    return session->used_ms + (int64_t)session->ttl_s * 1000;
}

/* The live session of that owner and id; buries one whose time has come. */
session_result session_find(struct sessions *sessions, const char *id, const char *owner,
                            struct session **out);

/* It was used now. */
void session_touch(struct sessions *sessions, struct session *session);

/* Of the weights that it stands on, served or not. */
static inline const char *session_fingerprint(const struct session *session)
{
    return session->model != NULL ? rnn_model_info(session->model)->fingerprint
                                  : session->kind->orphan_of;
}

void session_view_fill(const struct session *session, struct session_view *view);

/* It has ended, and nobody uses it: a tombstone from now on, or gone. */
void session_bury(struct sessions *sessions, struct session *session);

/* Frees one that is in no table any more, unless someone still points to it. */
void session_free(struct session *session);

/* ---- session_points.c ---- */

/* Memory of a session's points, as it was counted last, and counted now; and their end. */
size_t session_points_counted(const struct session *session);
size_t session_points_count(struct session *session);
void session_points_free(struct session *session);

/* The snapshots that were loaded, in order of name; the session takes their states over.  False
 * without memory. */
struct store_point;
bool session_points_restore(struct session *session, const struct store_point *points, size_t n);

/* Where the stream began that the session's last words are of once `commit` is true, and its
 * number; NULL: nobody knows. */
const struct rnn_state *session_begin_after(const struct session *session,
                                            const struct session_hold *hold,
                                            const struct rnn_state *commit, uint64_t *stream);

/* `commit` is about to become the session's state.  And the end of what it remembers so. */
void session_begin_commit(struct session *session, const struct session_hold *hold,
                          const struct rnn_state *commit);
void session_begin_forget(struct session *session);

/* What was loaded of it; the session takes the state over.  False without memory. */
bool session_begin_restore(struct session *session, uint64_t stream, struct rnn_state *begin);

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

/* Brings the count of bytes up to date where points have come or gone; and what stands in it of the
 * session. */
void session_recount(struct sessions *sessions, struct session *session);
size_t session_bytes(const struct session *session);

/* Its memory is there, or about to go: into the count, or out of it. */
void session_count_in(struct sessions *sessions, const struct session *session);
void session_count_out(struct sessions *sessions, const struct session *session);

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

/* It is used, and nothing is written: before session_touch(). */
void session_store_touch(struct sessions *sessions, struct session *session);

/* ---- session_line.c ---- */

/* The next in line is granted, in a later message. */
void session_grant_next(struct sessions *sessions, struct session *session);

/* Everyone who waits is refused. */
void session_refuse_line(struct session *session, enum reply_error reason);

/* At the end: frees deleted ones that only a message not yet run still points to. */
void session_grants_free(struct sessions *sessions);

#endif
