/* The sessions of one shard: named states with an owner, a life span, and a line of requests.
 *
 * Ids are up to 64 characters of [A-Za-z0-9._-].  session_shard() says which shard an id belongs
 * to; minted ids (32 hexadecimal digits, 128 random bits) are drawn until they fall on the shard
 * that mints.  A session belongs to the key that made it; to another key it does not exist.
 *
 * One request at a time holds a session (a reset and a fork do, too); others wait in order of
 * arrival.  A holder works on a copy of the state and commits it at the end, so that a request that
 * fails has changed nothing.  Expiry is checked on use and by a timer. */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rnn.h"
#include "server/reply.h"

struct sessions;
struct session;
struct trail;
struct config;
struct server;
struct shard;

#define SESSION_ID_MAX 64

unsigned session_shard(const struct server *server, const char *id);
bool session_id_valid(const char *id);

int sessions_new(struct sessions **out, struct shard *shard, struct rnn_err *err);
void sessions_free(struct sessions *sessions);

/* What a client may know of a session.  Plain data, so that it can cross shards. */
struct session_view {
    char id[SESSION_ID_MAX + 1];
    char model[128];
    char fingerprint[65]; /* of the weights that it stands on */
    uint64_t position;
    uint64_t seed;
    int64_t created_unix_ms, used_unix_ms, expires_unix_ms;
    int64_t ttl_s;
    size_t bytes;  /* of its state, and of all that it can go back to; 0: on disk only */
    size_t window; /* tokens that its penalties look back on; 0: none, or not known (usable) */
    bool resident; /* in memory */
    bool usable;   /* its model is served */
    bool busy;
    size_t waiting;
};

/* Outcome of every call that looks a session up: 0, or the reply_error to send (+1, so that 0 is
 * success). */
typedef int session_result;
#define SESSION_FAIL(reply)   ((session_result)(reply) + 1)
#define SESSION_REPLY(result) ((enum reply_error)((result)-1))

/* What is the matter with a session that is there and cannot be used, behind its name: "was made
 * with …". */
const char *session_fault(enum reply_error error);

struct session_spec {
    const char *id;       /* NULL or "": mint */
    const char *key_name; /* owner; "" without keys */
    const char *model_name;
    struct rnn_model *model;         /* the session takes its own reference */
    int64_t ttl_s;                   /* 0: the configured one */
    uint64_t seed;                   /* of resets; 0 with a state: the state's */
    const struct rnn_state *state;   /* copied; NULL: initial */
    size_t state_bytes;              /* of all its states; 0: info->state_bytes */
    const char *initial_name;        /* a reset goes to the model's state of that name; NULL: to */
    const struct rnn_state *initial; /* this one, copied; or NULL: to the model's own beginning */
    bool transient;                  /* ends with whoever makes it: never stored */
};
session_result session_create(struct sessions *sessions, const struct session_spec *spec,
                              struct session_view *view);
session_result session_view(struct sessions *sessions, const char *id, const char *key_name,
                            struct session_view *view);

/* As if it had been used now. */
session_result session_keep(struct sessions *sessions, const char *id, const char *key_name);

/* The state as it stands, where it is in memory, and its model; NULL otherwise.  Good until the
 * next call. */
const struct rnn_state *session_glance(struct sessions *sessions, const char *id,
                                       const char *key_name, const struct rnn_model **model);
session_result session_delete(struct sessions *sessions, const char *id, const char *key_name);

/* Views of up to `max` sessions of this key whose id sorts after `after` ("" for the first), in
 * order of id. */
size_t session_list(struct sessions *sessions, const char *key_name, const char *after, size_t max,
                    struct session_view *views);

/* A place in a session's line.  Embedded in the job that waits. */
struct session_hold {
    struct session *session; /* set while held */
    void (*granted)(struct session_hold
                        *hold); /* the session is yours: on the shard, not inside session_acquire */
    void (*refused)(struct session_hold *hold,
                    enum reply_error reason); /* it was deleted or expired while you waited */
    struct session_hold *next;
    bool waiting;
    bool cancel_asked;
    uint64_t stream; /* what it commits is of the stream of that number: the session then remembers
                        where that began, until something else is committed.  0: of none */
    bool resumes;    /* it goes on with that stream: whoever holds the session or waits for it with
                        an older part of the same is asked to stop, and it takes that one's place */
    bool superseded; /* asked so */
    void (*supersede)(struct session_hold *hold); /* another goes on with the stream: stop soon and
                                                     release; also while it waits.  Called inside
                                                     session_acquire; NULL: it cannot */
    void (*cancelled)(struct session_hold *hold); /* the session is being deleted while you hold it:
                                                     stop soon and release */
    void (*saved)(struct session_hold *hold,
                  session_result result); /* what session_save… asked for is on disk, or cannot be:
                                             on the shard, not inside that call */
};

/* Takes the session, or a place in its line (*granted = false; hold->granted is called later), or
 * fails: busy where `queue` is false, queue full, expired, unknown. */
session_result session_acquire(struct sessions *sessions, const char *id, const char *key_name,
                               bool queue, struct session_hold *hold, bool *granted);

/* While held.  The pointers are good until release. */
const struct rnn_state *session_state(const struct session_hold *hold);
size_t session_state_bytes(const struct session_hold *hold); /* of that one and all its points */

/* Where the stream hold->stream began: as the session remembers it, or else (it has committed
 * nothing yet, or something else has been since) as the session stands. */
const struct rnn_state *session_begin(const struct session_hold *hold);

/* Where a reset goes: a state that the session keeps; or NULL, and *name is one of the model's, or
 * NULL as well: the model's own beginning, with the session's seed. */
const struct rnn_state *session_initial(const struct session_hold *hold, const char **name);
struct rnn_model *session_model(const struct session_hold *hold); /* no extra reference */
const char *session_model_name(const struct session_hold *hold);

/* The session as session_release with `commit` (may be NULL) would leave it now. */
void session_look(struct sessions *sessions, const struct session_hold *hold,
                  const struct rnn_state *commit, struct session_view *view);

/* ---- The store (session_store.c).  While held.
 *
 * What a session is to become is written before it becomes it.  Each call says whether to wait:
 * true, and hold->saved comes later, with 0 or REPLY_STORAGE; false: nothing has to be waited for,
 * because there is no store, nothing changes, or the configured durability is none. ---- */

bool session_save(struct sessions *sessions, struct session_hold *hold,
                  const struct rnn_state *commit);
/* Of a session that was made just now. */
bool session_save_new(struct sessions *sessions, struct session_hold *hold);
/* A snapshot of it as it stands, before session_snapshot(); and before session_forget(). */
bool session_save_point(struct sessions *sessions, struct session_hold *hold, const char *name);
bool session_save_forget(struct sessions *sessions, struct session_hold *hold, const char *name);
/* Before session_delete().  Not held; `hold` hears of the end where *waits, and is in no line. */
session_result session_save_delete(struct sessions *sessions, const char *id, const char *key_name,
                                   struct session_hold *hold, bool *waits);

/* Memory that all states together may take, over all workers, as the settings stand; and what a
 * session of a model, with such a window, takes at rest, without snapshots and trail. */
uint64_t session_budget(const struct server *server);
size_t session_footprint(const struct rnn_model *model, size_t window);

/* Tasks of this shard's sessions that the store has not given back: none may be left when the shard
 * ends. */
size_t sessions_saving(const struct sessions *sessions);

/* At start, before the shard's thread runs: a session that the store has.  `model` (the session
 * takes its own reference) is NULL where what it was made with is not served.  One whose time has
 * come is taken out of the store instead. */
struct store_facts;
void sessions_restore(struct sessions *sessions, const struct store_facts *facts,
                      struct rnn_model *model, int64_t now_unix_ms);

/* There are no more: from now on the sessions may be listed. */
void sessions_restore_end(struct sessions *sessions);

/* Ends the hold or leaves the line; with `commit` (may be NULL) the session stands at that state
 * from now on.  Fills `view` (may be NULL) with the session after that.  The next in line is
 * granted in a later message of the shard. */
void session_release(struct sessions *sessions, struct session_hold *hold,
                     const struct rnn_state *commit, struct session_view *view);

/* ---- Points: states that it can go back to.  While held. ---- */

/* The last positions on the way to the state that the session is about to be released with; the
 * session takes them over.  NULL: that state is itself of the session's trail.  A commit without
 * this call ends the trail. */
void session_lay_trail(struct session_hold *hold, struct trail *trail);

/* Remembers the session as it stands under a name that session_id_valid() finds good.
 * REPLY_SNAPSHOT_EXISTS unless `replace`; REPLY_SNAPSHOT_LIMIT; REPLY_NO_MEMORY.  The first call
 * only says whether it may be. */
session_result session_may_snapshot(struct sessions *sessions, const struct session_hold *hold,
                                    const char *name, bool replace);
session_result session_snapshot(struct sessions *sessions, struct session_hold *hold,
                                const char *name, bool replace);
session_result session_forget(struct session_hold *hold, const char *name); /* REPLY_NO_SNAPSHOT */

/* The state under that name; or as it was `steps` positions ago.  NULL: there is none.  Good until
 * release, or until the point is forgotten. */
const struct rnn_state *session_point(const struct session_hold *hold, const char *name);
const struct rnn_state *session_past(const struct session_hold *hold, uint64_t steps);

/* What there is to go back to: a snapshot, in order of names; or a position without one. */
struct session_point_view {
    char name[SESSION_ID_MAX + 1]; /* "": of the trail */
    uint64_t position;
};

/* Writes up to `max` of them, snapshots first; returns how many there are. */
size_t session_points(const struct session_hold *hold, struct session_point_view *out, size_t max);

/* Ends sessions whose time has come, forgets tombstones; called by the shard's timer about once a
 * second.  True: there is more to do, which wants another call; so that many that end at once do
 * not hold up the turn. */
bool sessions_expire(struct sessions *sessions, int64_t now_unix_ms);

#endif
