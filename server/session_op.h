/* An operation on a session: from the handler that read the request to the shard of the session and
 * back.
 *
 *   home                               work
 *   op_new, op_submit ── message ────▶ run: looks, or waits in the session's line until `held`
 *   reply           ◀─── message ───── op_return
 *
 * On the own shard it runs at once.  A client that leaves only takes the request away: the
 * operation finishes without an answer, but one that still waits in a line then does nothing.  A
 * handler's file embeds `struct session_op` first in a struct of its own, where it needs more. */
#ifndef SERVER_SESSION_OP_H
#define SERVER_SESSION_OP_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "server/http.h"
#include "server/models.h"
#include "server/session.h"
#include "server/shard.h"

struct session_op {
    struct message message;
    struct shard *home, *work;
    struct request *request; /* home; NULL: the client is gone */
    atomic_bool gone;
    void (*run)(struct session_op *op);         /* on `work`; ends with op_return() */
    void (*held)(struct session_op *op);        /* op_run_held: on `work`, the session is held; ends
                                                   with op_release() */
    void (*reply)(const struct session_op *op); /* at home, where somebody waits and it went well */
    void (*after)(struct session_op *op);       /* op_wait: what comes when it is on disk */
    void (*undo)(struct session_op *op);        /* op_wait: what comes where it cannot be; NULL: the
                                                   session is released */
    struct rnn_state *pending;                  /* what a release that waits will commit */
    size_t pending_bytes;
    void (*drop)(struct session_op *op); /* frees what the embedding struct owns; may be NULL */
    char id[SESSION_ID_MAX + 1];         /* "": mint */
    char *key_name;
    struct session_hold hold;
    session_result result;
    struct rnn_err err;         /* words that go with a failed result, or "" */
    struct session_view *views; /* [n_views] */
    size_t n_views;
    struct buf out; /* what `work` has to say, for reply */
};

/* An operation on session `id` in a zeroed struct of `size` bytes, with room for n views; answers
 * and returns NULL on failure. */
void *op_new(struct request *request, size_t size, const char *id, size_t n_views);

/* Hands it over: the request will be answered, and the operation freed, whatever happens. */
void op_submit(struct session_op *op);

/* For a handler that has answered by itself. */
void op_free(struct session_op *op);

/* ---- On `work` ---- */

/* Fills in the hold's calls; for a `run` that takes or saves a session in its own way. */
void op_hold(struct session_op *op);

/* A `run` that takes its place in the session's line. */
void op_run_held(struct session_op *op);

/* What session_save… has said: where it `waits`, `after` comes once it is on disk, on `work`; else
 * at once. */
void op_wait(struct session_op *op, bool waits, void (*after)(struct session_op *op));

/* The last that `held` does: lets go of the session, which stands at `commit` from now on if the
 * operation went well and the store has it, and fills views[0]. */
void op_release(struct session_op *op, const struct rnn_state *commit);

/* The operation has failed, with the words of `err` (may be NULL) to be said. */
void op_fail(struct session_op *op, enum reply_error error, const struct rnn_err *err);

/* The last that `run` does. */
void op_return(struct session_op *op);

/* ---- Replies, at home ---- */

void op_reply_view(const struct session_op *op); /* 200, views[0] */
void op_reply_json(const struct session_op *op); /* 200, op->out */

/* What is the matter with session `id`, which came by the field or path `param`. */
void op_reply_failure(struct request *request, enum reply_error error, const char *param,
                      const char *id);

/* A session as GET /sessions/{id} shows it, without the '}'; and `{"sessions":[…]` of all views. */
void op_put_view(const struct session_op *op, struct buf *body, const struct session_view *view);
void op_put_views(const struct session_op *op, struct buf *body);

/* ---- Bodies ---- */

/* A body where none is needed: nothing, or an empty object; answers and returns false otherwise. */
bool op_no_fields(struct request *request);

#endif
