/* Snapshots of a session, and the ways back to them: POST, GET and DELETE
 * /sessions/{id}/snapshots, POST /sessions/{id}/rewind.
 *
 * All take their place in the session's line. */
#include "server/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/answer.h"
#include "server/metrics.h"
#include "server/session_op.h"

/* ---- Reading ---- */

static int read_point_name(const struct cJSON *body, const char *key, char *out,
                           struct rnn_err *err)
{
    int rc = body_name(body, key, out, SESSION_ID_MAX + 1, err);

    if (rc == 0 && json_get(body, key) && !session_id_valid(out))
        return rnn_fail_at(err, RNN_EFORMAT, key, -1,
                           "%s: want 1 to %d characters of A-Z a-z 0-9 . _ -", key, SESSION_ID_MAX);
    return rc;
}

static int read_snapshot(void *out, const struct cJSON *body, const struct config *config,
                         struct rnn_err *err)
{
    static const char *const allowed[] = {"name", "replace", NULL};
    struct snapshot_request *request = out;
    int rc = body_only(body, allowed, NULL, err);

    (void)config;
    if (rc == 0)
        rc = read_point_name(body, "name", request->name, err);
    if (rc == 0 && !request->name[0])
        rc = rnn_fail_at(err, RNN_EFORMAT, "name", -1, "name: is missing");
    return rc == 0 ? json_read_bool(body, "", "replace", &request->replace, err) : rc;
}

int snapshot_request_read(void *out, const char *text, size_t len, const struct config *config,
                          struct rnn_err *err)
{
    *(struct snapshot_request *)out = (struct snapshot_request){0};
    return body_read(out, text, len, false, read_snapshot, config, err);
}

static int read_rewind(void *out, const struct cJSON *body, const struct config *config,
                       struct rnn_err *err)
{
    static const char *const allowed[] = {"to", "steps", NULL};
    struct rewind_request *request = out;
    int rc = body_only(body, allowed, NULL, err);

    (void)config;
    request->steps = -1;
    if (rc == 0)
        rc = read_point_name(body, "to", request->to, err);
    if (rc == 0)
        rc = json_read_int(body, "", "steps", 0, JSON_INT_MAX, &request->steps, err);
    if (rc == 0 && (request->to[0] != '\0') == (request->steps >= 0))
        rc = rnn_fail_at(err, RNN_EFORMAT, "to", -1,
                         "to: want either the name of a snapshot, or steps");
    return rc;
}

int rewind_request_read(void *out, const char *text, size_t len, const struct config *config,
                        struct rnn_err *err)
{
    *(struct rewind_request *)out = (struct rewind_request){0};
    return body_read(out, text, len, false, read_rewind, config, err);
}

/* ---- Snapshots ---- */

struct snapshot_op {
    struct session_op op;
    struct snapshot_request what;
};

static void fail_point(struct session_op *op, session_result result, const char *name)
{
    struct rnn_err err = {.param = "name"};

    op->result = result;
    switch (SESSION_REPLY(result)) {
    case REPLY_NO_SNAPSHOT:
        snprintf(err.text, sizeof err.text, "session '%s' has no snapshot '%s'", op->id, name);
        break;
    case REPLY_SNAPSHOT_EXISTS:
        snprintf(err.text, sizeof err.text,
                 "session '%s' has a snapshot '%s' already; replace: true moves it", op->id, name);
        break;
    case REPLY_SNAPSHOT_LIMIT:
        metrics_count(op->work->metrics, M_REJECTED_LIMIT, 1);
        snprintf(err.text, sizeof err.text, "session '%s' has as many snapshots as it may have",
                 op->id);
        break;
    default:
        return;
    }
    op->err = err;
}

static void put_point(struct buf *out, const char *name, uint64_t position)
{
    buf_puts(out, "{\"name\":");
    answer_text(out, name);
    buf_puts(out, ",\"position\":");
    buf_u64(out, position);
    buf_putc(out, '}');
}

static void snapshot_saved(struct session_op *op)
{
    const struct snapshot_request *what = &((struct snapshot_op *)op)->what;
    session_result result =
        session_snapshot(op->work->sessions, &op->hold, what->name, what->replace);

    if (result != 0) {
        fail_point(op, result, what->name);
    } else {
        metrics_count(op->work->metrics, M_SESSION_SNAPSHOT, 1);
        put_point(&op->out, what->name, session_state(&op->hold)->position);
    }
    op_release(op, NULL);
}

static void snapshot_held(struct session_op *op)
{
    const struct snapshot_request *what = &((struct snapshot_op *)op)->what;
    session_result result =
        session_may_snapshot(op->work->sessions, &op->hold, what->name, what->replace);

    if (result != 0) {
        fail_point(op, result, what->name);
        op_release(op, NULL);
        return;
    }
    op_wait(op, session_save_point(op->work->sessions, &op->hold, what->name), snapshot_saved);
}

static void reply_created(const struct session_op *op)
{
    struct buf body = {0};

    buf_put(&body, op->out.data, op->out.len);
    reply_json(op->request, 201, &body);
}

void api_session_snapshot(struct request *request, const char *arg)
{
    struct snapshot_request what;
    struct snapshot_op *snapshot;

    if (!api_read(request, snapshot_request_read, &what))
        return;
    snapshot = op_new(request, sizeof *snapshot, arg, 1);
    if (!snapshot)
        return;
    snapshot->what = what;
    snapshot->op.run = op_run_held;
    snapshot->op.held = snapshot_held;
    snapshot->op.reply = reply_created;
    op_submit(&snapshot->op);
}

static void put_points(struct buf *out, const struct session_point_view *points, size_t n)
{
    size_t i = 0;

    buf_puts(out, "{\"snapshots\":[");
    for (; i < n && points[i].name[0]; i++) {
        if (i > 0)
            buf_putc(out, ',');
        put_point(out, points[i].name, points[i].position);
    }
    buf_puts(out, "],\"trail\":[");
    for (bool first = true; i < n; i++, first = false) {
        if (!first)
            buf_putc(out, ',');
        buf_u64(out, points[i].position);
    }
    buf_puts(out, "]}");
}

static void list_held(struct session_op *op)
{
    size_t n = session_points(&op->hold, NULL, 0);
    struct session_point_view *points = calloc(n + 1, sizeof *points);

    if (points) {
        (void)session_points(&op->hold, points, n);
        put_points(&op->out, points, n);
    } else {
        op->result = SESSION_FAIL(REPLY_NO_MEMORY);
    }
    free(points);
    op_release(op, NULL);
}

void api_session_snapshot_list(struct request *request, const char *arg)
{
    struct session_op *op = op_new(request, sizeof *op, arg, 1);

    if (!op)
        return;
    op->run = op_run_held;
    op->held = list_held;
    op->reply = op_reply_json;
    op_submit(op);
}

static void forget_saved(struct session_op *op)
{
    const struct snapshot_request *what = &((struct snapshot_op *)op)->what;
    session_result result = session_forget(&op->hold, what->name);

    if (result != 0)
        fail_point(op, result, what->name);
    op_release(op, NULL);
}

static void forget_held(struct session_op *op)
{
    const char *name = ((struct snapshot_op *)op)->what.name;

    if (session_point(&op->hold, name))
        op_wait(op, session_save_forget(op->work->sessions, &op->hold, name), forget_saved);
    else
        forget_saved(op); /* which says so */
}

static void reply_forgotten(const struct session_op *op)
{
    struct buf body = {0};

    buf_puts(&body, "{\"name\":");
    answer_text(&body, ((const struct snapshot_op *)op)->what.name);
    buf_puts(&body, ",\"deleted\":true}");
    reply_json(op->request, 200, &body);
}

void api_session_snapshot_delete(struct request *request, const char *arg)
{
    const char *slash = strchr(arg, '/'); /* id/name */
    char id[2 * SESSION_ID_MAX];
    struct snapshot_op *forget;

    if (!op_no_fields(request))
        return;
    snprintf(id, sizeof id, "%.*s", (int)(slash - arg), arg);
    forget = op_new(request, sizeof *forget, id, 1);
    if (!forget)
        return;
    snprintf(forget->what.name, sizeof forget->what.name, "%.64s", slash + 1);
    forget->op.run = op_run_held;
    forget->op.held = forget_held;
    forget->op.reply = reply_forgotten;
    op_submit(&forget->op);
}

/* ---- Rewind ---- */

struct rewind_op {
    struct session_op op;
    struct rewind_request what;
};

static const struct rnn_state *find_point(struct session_op *op, const struct rewind_request *what)
{
    const struct rnn_state *state;
    struct rnn_err err = {0};

    if (what->to[0]) {
        state = session_point(&op->hold, what->to);
        if (!state)
            fail_point(op, SESSION_FAIL(REPLY_NO_SNAPSHOT), what->to);
        return state;
    }
    state = session_past(&op->hold, (uint64_t)what->steps);
    if (state) {
        session_lay_trail(&op->hold, NULL);
        return state;
    }
    rnn_fail_at(
        &err, RNN_ERANGE, "steps", -1,
        "session '%s' stands at %" PRIu64 ", and of %" PRIi64
        " steps before that nothing is kept (session_trail, session_memory_bytes; a snapshot "
        "stays)",
        op->id, session_state(&op->hold)->position, what->steps);
    op_fail(op, REPLY_NO_POINT, &err);
    return NULL;
}

static void rewind_held(struct session_op *op)
{
    const struct rnn_state *state = find_point(op, &((struct rewind_op *)op)->what);

    if (state)
        metrics_count(op->work->metrics, M_SESSION_REWOUND, 1);
    op_release(op, state);
}

void api_session_rewind(struct request *request, const char *arg)
{
    struct rewind_request what;
    struct rewind_op *rewind;

    if (!api_read(request, rewind_request_read, &what))
        return;
    rewind = op_new(request, sizeof *rewind, arg, 1);
    if (!rewind)
        return;
    rewind->what = what;
    rewind->op.run = op_run_held;
    rewind->op.held = rewind_held;
    rewind->op.reply = op_reply_view;
    op_submit(&rewind->op);
}
