/* GET and PUT /sessions/{id}/state: the whole state as one safetensors file.
 *
 * Both take their place in the session's line, so that the file is of one moment.  A file that is
 * damaged or of another model is refused, and changes nothing. */
#include "server/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/answer.h"
#include "server/metrics.h"
#include "server/session_op.h"

/* ---- Get ---- */

static void get_held(struct session_op *op)
{
    struct rnn_err err = {0};

    if (rnn_state_write(session_model(&op->hold), session_state(&op->hold),
                        session_state_bytes(&op->hold), &op->out, &err) < 0)
        op_fail(op, reply_error_of(&err), &err);
    op_release(op, NULL);
}

static void reply_file(const struct session_op *op)
{
    char name[sizeof "attachment; filename=\"rnnd-.safetensors\"" + SESSION_ID_MAX];
    struct buf body = {0};

    snprintf(name, sizeof name, "attachment; filename=\"%s.safetensors\"", op->id);
    buf_put(&body, op->out.data, op->out.len);
    if (body.failed) {
        reply_error(op->request, REPLY_NO_MEMORY, NULL, "out of memory");
        buf_free(&body);
        return;
    }
    http_reply_header(op->request, "Content-Disposition", name);
    http_reply(op->request, 200, "application/octet-stream", &body);
}

void api_session_state_get(struct request *request, const char *arg)
{
    struct session_op *op = op_new(request, sizeof *op, arg, 1);

    if (!op)
        return;
    op->run = op_run_held;
    op->held = get_held;
    op->reply = reply_file;
    op_submit(op);
}

/* ---- Put ---- */

struct put_op {
    struct session_op op;
    struct buf file;
};

static void put_drop(struct session_op *op)
{
    buf_free(&((struct put_op *)op)->file); /* its first member */
}

/* The session's own window stays: it is as long as that of its points. */
static struct rnn_state *fit(const struct session_op *op, const struct rnn_state *file,
                             size_t file_bytes)
{
    size_t bytes = session_state_bytes(&op->hold);
    struct rnn_state *state = malloc(bytes);

    if (state)
        rnn_state_copy(session_model(&op->hold), state, bytes, file, file_bytes);
    return state;
}

static void put_held(struct session_op *op)
{
    const struct buf *sent = &((struct put_op *)op)->file;
    struct rnn_state *file = NULL, *state = NULL;
    struct rnn_err err = {0};
    size_t bytes = 0;

    if (rnn_state_read(session_model(&op->hold), sent->data, sent->len, &file, &bytes, &err) < 0) {
        metrics_count(op->work->metrics, M_REJECTED_INPUT, 1);
        op_fail(op, reply_error_of_state(&err), &err);
    } else {
        state = fit(op, file, bytes);
        if (!state)
            op->result = SESSION_FAIL(REPLY_NO_MEMORY);
        explicit_bzero(file, bytes);
        free(file);
    }
    bytes = session_state_bytes(&op->hold);
    op_release(op, state);
    if (state)
        explicit_bzero(state, bytes);
    free(state);
}

void api_session_state_put(struct request *request, const char *arg)
{
    struct put_op *put;

    if (request->body_len == 0) {
        reply_error(request, REPLY_MALFORMED, NULL,
                    "the body is empty: want the file that GET %.200s gave", request->path);
        return;
    }
    put = op_new(request, sizeof *put, arg, 1);
    if (!put)
        return;
    put->op.drop = put_drop;
    put->op.run = op_run_held;
    put->op.held = put_held;
    put->op.reply = op_reply_view;
    buf_put(&put->file, request->body, request->body_len);
    if (put->file.failed) {
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
        op_free(&put->op);
        return;
    }
    op_submit(&put->op);
}
