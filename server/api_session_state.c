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

/* ---- What any reader of a state says ---- */

int api_state_read(const struct rnn_model *model, const void *bytes, size_t len, const char *field,
                   struct rnn_state *state, struct rnn_err *err)
{
    struct rnn_err fault = {0};
    int rc = rnn_state_read(model, bytes, len, state, &fault);

    if (rc == 0)
        return 0;
    rnn_err_prefix(&fault, "%s: ", field);
    snprintf(fault.param, sizeof fault.param, "%s", field);
    *err = fault;
    return rc;
}

void api_state_refuse(struct request *request, const struct rnn_err *err)
{
    metrics_count(request->shard->metrics, M_REJECTED_INPUT, 1);
    reply_error(request, reply_error_of_state(err), err->param, "%s", err->text);
}

/* ---- Get ---- */

static void get_held(struct session_op *op)
{
    struct rnn_err err = {0};

    if (rnn_state_write(session_model(&op->hold), session_state(&op->hold), &op->out, &err) < 0)
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

static void put_held(struct session_op *op)
{
    const struct buf *file = &((struct put_op *)op)->file;
    struct rnn_model *model = session_model(&op->hold);
    size_t size = rnn_model_info(model)->state_bytes;
    struct rnn_state *state = calloc(1, size);
    struct rnn_err err = {0};

    if (!state) {
        op->result = SESSION_FAIL(REPLY_NO_MEMORY);
    } else if (rnn_state_read(model, file->data, file->len, state, &err) < 0) {
        metrics_count(op->work->metrics, M_REJECTED_INPUT, 1);
        op_fail(op, reply_error_of_state(&err), &err);
    }
    op_release(op, state);
    if (state)
        explicit_bzero(state, size);
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
