/* The way of an operation on a session.  See session_op.h. */
#include "server/session_op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/answer.h"
#include "server/api.h"
#include "server/metrics.h"

/* ---- There and back ---- */

void op_free(struct session_op *op)
{
    if (!op)
        return;
    if (op->drop)
        op->drop(op);
    if (op->pending)
        explicit_bzero(op->pending, op->pending_bytes);
    free(op->pending);
    free(op->key_name);
    free(op->views);
    buf_free(&op->out);
    free(op);
}

void op_reply_failure(struct request *request, enum reply_error error, const char *param,
                      const char *id)
{
    switch (error) {
    case REPLY_NO_SESSION:
        reply_error(request, error, param, "there is no session '%s'", id);
        break;
    case REPLY_SESSION_EXPIRED:
        reply_error(request, error, param, "session '%s' has expired", id);
        break;
    case REPLY_SESSION_EXISTS:
        reply_error(request, error, param, "there is a session '%s' already", id);
        break;
    case REPLY_SESSION_BUSY:
        reply_error(request, error, param, "session '%s' is busy with another request", id);
        break;
    case REPLY_SESSION_LIMIT:
        metrics_count(request->shard->metrics, M_REJECTED_LIMIT, 1);
        reply_error(request, error, NULL, "there are as many sessions as there may be");
        break;
    case REPLY_QUEUE_FULL:
        metrics_count(request->shard->metrics, M_REJECTED_QUEUE, 1);
        reply_error(request, error, param, "too many requests wait for session '%s'", id);
        break;
    case REPLY_NO_MEMORY:
        reply_error(request, error, NULL, "out of memory");
        break;
    default:
        reply_error(request, error, param, "session '%s' %s", id, session_fault(error));
    }
}

static void reply_failure_of(const struct session_op *op)
{
    enum reply_error error = SESSION_REPLY(op->result);

    if (op->err.text[0])
        reply_error(op->request, error, op->err.param, "%s", op->err.text);
    else
        op_reply_failure(op->request, error, "id", op->id);
}

static void op_finish(struct shard *home, struct message *message)
{
    struct session_op *op = (struct session_op *)message; /* its first member */

    (void)home;
    if (op->request) {
        op->request->hooks = NULL;
        op->request->user = NULL;
        if (op->result != 0)
            reply_failure_of(op);
        else
            op->reply(op);
    }
    op_free(op);
}

void op_return(struct session_op *op)
{
    if (op->home == op->work) {
        op_finish(op->home, &op->message);
        return;
    }
    op->message.run = op_finish;
    shard_post(op->home, &op->message);
}

static void op_arrive(struct shard *work, struct message *message)
{
    struct session_op *op = (struct session_op *)message; /* its first member */

    (void)work;
    op->run(op);
}

static void on_gone(struct request *request)
{
    struct session_op *op = request->user;

    op->request = NULL;
    atomic_store(&op->gone, true);
}

static const struct request_hooks hooks = {.gone = on_gone};

void *op_new(struct request *request, size_t size, const char *id, size_t n_views)
{
    struct session_op *op;

    if (*id && !session_id_valid(id)) {
        reply_error(request, REPLY_NO_SESSION, "id", "there is no session '%.64s'", id);
        return NULL;
    }
    op = calloc(1, size);
    if (op) {
        op->views = calloc(n_views, sizeof *op->views);
        op->key_name = strdup(request->key_name);
    }
    if (!op || !op->views || !op->key_name) {
        op_free(op);
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
        return NULL;
    }
    op->home = op->work = request->shard;
    op->request = request;
    op->n_views = n_views;
    snprintf(op->id, sizeof op->id, "%s", id);
    return op;
}

void op_submit(struct session_op *op)
{
    struct server *server = op->home->server;

    if (op->id[0])
        op->work = server->shards[session_shard(server, op->id)];
    op->request->user = op;
    op->request->hooks = &hooks;
    if (op->work == op->home) {
        op->run(op);
        return;
    }
    op->message.run = op_arrive;
    shard_post(op->work, &op->message);
}

/* ---- In the session's line ---- */

static struct session_op *op_of(struct session_hold *hold)
{
    return (struct session_op *)(void *)((char *)hold - offsetof(struct session_op, hold));
}

static void on_granted(struct session_hold *hold)
{
    struct session_op *op = op_of(hold);

    if (atomic_load(&op->gone)) {
        op->result = SESSION_FAIL(REPLY_SESSION_BUSY); /* nobody reads it */
        session_release(op->work->sessions, &op->hold, NULL, NULL);
        op_return(op);
        return;
    }
    op->held(op);
}

static void on_refused(struct session_hold *hold, enum reply_error reason)
{
    struct session_op *op = op_of(hold);

    op->result = SESSION_FAIL(reason);
    op_return(op);
}

static void on_cancelled(struct session_hold *hold)
{
    (void)hold; /* what it waits for comes in any case, and soon */
}

static void on_saved(struct session_hold *hold, session_result result)
{
    struct session_op *op = op_of(hold);

    if (result == 0) {
        op->after(op);
        return;
    }
    op->result = result;
    if (op->undo)
        op->undo(op);
    else
        session_release(op->work->sessions, &op->hold, NULL, NULL);
    op_return(op);
}

void op_hold(struct session_op *op)
{
    op->hold.granted = on_granted;
    op->hold.refused = on_refused;
    op->hold.cancelled = on_cancelled;
    op->hold.saved = on_saved;
}

void op_run_held(struct session_op *op)
{
    bool granted = false;

    op_hold(op);
    op->result =
        session_acquire(op->work->sessions, op->id, op->key_name, true, &op->hold, &granted);
    if (op->result != 0)
        op_return(op);
    else if (granted)
        on_granted(&op->hold);
}

void op_wait(struct session_op *op, bool waits, void (*after)(struct session_op *op))
{
    op->after = after;
    if (!waits)
        after(op);
}

static void release(struct session_op *op, const struct rnn_state *commit)
{
    session_release(op->work->sessions, &op->hold, op->result == 0 ? commit : NULL, &op->views[0]);
    op_return(op);
}

static void release_pending(struct session_op *op)
{
    release(op, op->pending);
}

void op_release(struct session_op *op, const struct rnn_state *commit)
{
    size_t size = session_state_bytes(&op->hold);

    if (op->result != 0 || !commit) {
        release(op, NULL);
        return;
    }
    op->pending_bytes = size;
    op->pending = malloc(size);
    if (!op->pending) {
        op->result = SESSION_FAIL(REPLY_NO_MEMORY);
        release(op, NULL);
        return;
    }
    memcpy(op->pending, commit, size);
    op_wait(op, session_save(op->work->sessions, &op->hold, op->pending), release_pending);
}

void op_fail(struct session_op *op, enum reply_error error, const struct rnn_err *err)
{
    op->result = SESSION_FAIL(error);
    if (err)
        op->err = *err;
}

/* ---- Replies ---- */

void op_reply_view(const struct session_op *op)
{
    struct buf body = {0};

    op_put_view(op, &body, &op->views[0]);
    buf_putc(&body, '}');
    reply_json(op->request, 200, &body);
}

void op_reply_json(const struct session_op *op)
{
    struct buf body = {0};

    buf_put(&body, op->out.data, op->out.len);
    reply_json(op->request, 200, &body);
}

void op_put_view(const struct session_op *op, struct buf *body, const struct session_view *view)
{
    answer_session(body, view, op->home->server->models);
}

void op_put_views(const struct session_op *op, struct buf *body)
{
    buf_puts(body, "{\"sessions\":[");
    for (size_t i = 0; i < op->n_views; i++) {
        if (i > 0)
            buf_putc(body, ',');
        op_put_view(op, body, &op->views[i]);
        buf_putc(body, '}');
    }
    buf_putc(body, ']');
}

/* ---- Bodies ---- */

static int read_nothing(void *out, const struct cJSON *body, const struct config *config,
                        struct rnn_err *err)
{
    static const char *const allowed[] = {NULL};

    (void)out;
    (void)config;
    return body_only(body, allowed, NULL, err);
}

bool op_no_fields(struct request *request)
{
    struct rnn_err err = {0};
    int rc = body_read(NULL, request->body, request->body_len, true, read_nothing,
                       shard_config(request->shard), &err);

    if (rc < 0)
        api_refuse(request, &err);
    return rc == 0;
}
