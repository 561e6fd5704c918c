/* The session endpoints.
 *
 * A session lives on the shard that its id names, so every call is an operation that travels there
 * as a message and comes back with its result; on the own shard it runs at once.  Fork and reset
 * take their place in the session's line.  The list is in api_session_list.c.
 *
 * A client that leaves only takes the request away: the operation finishes without an answer, but
 * one that still waits in a line then does nothing. */
#include "server/api.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "server/answer.h"
#include "server/metrics.h"

enum { FORK_MAX = 1024 };

struct session_op {
    struct message message;
    struct shard *home, *work;
    struct request *request; /* home; NULL: the client is gone */
    atomic_bool gone;
    void (*run)(struct session_op *op);         /* on `work`; ends with op_return() */
    void (*reply)(const struct session_op *op); /* at home, where somebody waits */
    void (*held)(struct session_op *op);        /* on `work`, while the session is held */
    char id[SESSION_ID_MAX + 1];                /* "": mint */
    char model_name[sizeof(((struct model_entry *)0)->name)];
    char *key_name;
    struct rnn_model *model; /* a reference; create */
    int64_t ttl_s;
    struct session_hold hold;
    session_result result;
    struct session_view *views; /* [n_views] */
    size_t n_views;
};

/* ---- Reading ---- */

static int read_session(void *out, const struct cJSON *body, const struct config *config,
                        struct rnn_err *err)
{
    static const char *const allowed[] = {"model", "id", "ttl_seconds", NULL};
    static const char *const later[] = {"initial_state", "state", NULL};
    struct session_request *request = out;
    int rc = body_only(body, allowed, later, err);

    if (rc == 0)
        rc = body_name(body, "model", request->model, sizeof request->model, err);
    if (rc == 0)
        rc = body_name(body, "id", request->id, sizeof request->id, err);
    if (rc == 0 && json_get(body, "id") && !session_id_valid(request->id))
        rc = rnn_fail_at(err, RNN_EFORMAT, "id", -1,
                         "id: want 1 to %d characters of A-Z a-z 0-9 . _ -", SESSION_ID_MAX);
    if (rc == 0)
        rc = json_read_int(body, "", "ttl_seconds", 1, config->session_ttl_max_s, &request->ttl_s,
                           err);
    return rc;
}

int session_request_read(void *out, const char *text, size_t len, const struct config *config,
                         struct rnn_err *err)
{
    *(struct session_request *)out = (struct session_request){0};
    return body_read(out, text, len, true, read_session, config, err);
}

static int read_fork(void *out, const struct cJSON *body, const struct config *config,
                     struct rnn_err *err)
{
    static const char *const allowed[] = {"count", NULL};
    int64_t n = 1;
    int rc = body_only(body, allowed, NULL, err);

    (void)config;
    if (rc == 0)
        rc = json_read_int(body, "", "count", 1, FORK_MAX, &n, err);
    *(size_t *)out = (size_t)n;
    return rc;
}

int fork_request_read(void *count, const char *text, size_t len, const struct config *config,
                      struct rnn_err *err)
{
    return body_read(count, text, len, true, read_fork, config, err);
}

static int read_nothing(void *out, const struct cJSON *body, const struct config *config,
                        struct rnn_err *err)
{
    static const char *const allowed[] = {NULL};

    (void)out;
    (void)config;
    return body_only(body, allowed, NULL, err);
}

/* A body where none is needed: nothing, or an empty object. */
static bool no_fields(struct request *request)
{
    struct rnn_err err = {0};
    int rc = body_read(NULL, request->body, request->body_len, true, read_nothing,
                       shard_config(request->shard), &err);

    if (rc < 0)
        api_refuse(request, &err);
    return rc == 0;
}

/* ---- Operations ---- */

static void op_free(struct session_op *op)
{
    if (!op)
        return;
    rnn_model_unref(op->model);
    free(op->key_name);
    free(op->views);
    free(op);
}

static void op_finish(struct shard *home, struct message *message)
{
    struct session_op *op = (struct session_op *)message; /* its first member */

    (void)home;
    if (op->request) {
        op->request->hooks = NULL;
        op->request->user = NULL;
        op->reply(op);
    }
    op_free(op);
}

static void op_return(struct session_op *op)
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

/* An operation on session `id` with room for n results; answers and returns NULL on failure. */
static struct session_op *op_new(struct request *request, const char *id, size_t n)
{
    struct session_op *op;

    if (*id && !session_id_valid(id)) {
        reply_error(request, REPLY_NO_SESSION, "id", "there is no session '%.64s'", id);
        return NULL;
    }
    op = calloc(1, sizeof *op);
    if (op) {
        op->views = calloc(n, sizeof *op->views);
        op->key_name = strdup(request->key_name);
    }
    if (!op || !op->views || !op->key_name) {
        op_free(op);
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
        return NULL;
    }
    op->home = op->work = request->shard;
    op->request = request;
    op->n_views = n;
    snprintf(op->id, sizeof op->id, "%s", id);
    return op;
}

static void op_submit(struct session_op *op)
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

static void on_granted(struct session_hold *hold)
{
    struct session_op *op =
        (struct session_op *)(void *)((char *)hold - offsetof(struct session_op, hold));

    if (atomic_load(&op->gone)) {
        op->result = SESSION_FAIL(REPLY_SESSION_BUSY); /* nobody reads it */
        session_release(op->work->sessions, &op->hold, NULL, NULL);
    } else {
        op->held(op);
    }
    op_return(op);
}

static void on_refused(struct session_hold *hold, enum reply_error reason)
{
    struct session_op *op =
        (struct session_op *)(void *)((char *)hold - offsetof(struct session_op, hold));

    op->result = SESSION_FAIL(reason);
    op_return(op);
}

static void run_held(struct session_op *op)
{
    bool granted = false;

    op->hold.granted = on_granted;
    op->hold.refused = on_refused;
    op->result =
        session_acquire(op->work->sessions, op->id, op->key_name, true, &op->hold, &granted);
    if (op->result != 0)
        op_return(op);
    else if (granted)
        on_granted(&op->hold);
}

/* ---- Replies ---- */

static bool replied_failure(const struct session_op *op)
{
    enum reply_error error;

    if (op->result == 0)
        return false;
    error = SESSION_REPLY(op->result);
    switch (error) {
    case REPLY_NO_SESSION:
        reply_error(op->request, error, "id", "there is no session '%s'", op->id);
        break;
    case REPLY_SESSION_EXPIRED:
        reply_error(op->request, error, "id", "session '%s' has expired", op->id);
        break;
    case REPLY_SESSION_EXISTS:
        reply_error(op->request, error, "id", "there is a session '%s' already", op->id);
        break;
    case REPLY_SESSION_BUSY:
        reply_error(op->request, error, "id", "session '%s' is busy with another request", op->id);
        break;
    case REPLY_SESSION_LIMIT:
        metrics_count(op->home->metrics, M_REJECTED_LIMIT, 1);
        reply_error(op->request, error, NULL, "there are as many sessions as there may be");
        break;
    case REPLY_QUEUE_FULL:
        metrics_count(op->home->metrics, M_REJECTED_QUEUE, 1);
        reply_error(op->request, error, "id", "too many requests wait for session '%s'", op->id);
        break;
    default:
        reply_error(op->request, error, NULL, "the session could not be served");
    }
    return true;
}

static void reply_view(const struct session_op *op)
{
    struct buf body = {0};

    if (replied_failure(op))
        return;
    answer_session(&body, &op->views[0]);
    reply_json(op->request, 200, &body);
}

static void put_views(struct buf *body, const struct session_view *views, size_t n)
{
    buf_puts(body, "{\"sessions\":[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putc(body, ',');
        answer_session(body, &views[i]);
    }
    buf_putc(body, ']');
}

/* ---- Create ---- */

static void run_create(struct session_op *op)
{
    struct session_spec spec = {.id = op->id,
                                .key_name = op->key_name,
                                .model_name = op->model_name,
                                .model = op->model,
                                .ttl_s = op->ttl_s};

    if (getrandom(&spec.seed, sizeof spec.seed, 0) != (ssize_t)sizeof spec.seed) {
        op->result = SESSION_FAIL(REPLY_INTERNAL);
    } else {
        spec.seed &= (uint64_t)JSON_INT_MAX; /* survives a JSON reader that knows only doubles */
        op->result = session_create(op->work->sessions, &spec, &op->views[0]);
    }
    op_return(op);
}

static void reply_created(const struct session_op *op)
{
    char location[sizeof "/sessions/" + SESSION_ID_MAX];
    struct buf body = {0};

    if (replied_failure(op))
        return;
    snprintf(location, sizeof location, "/sessions/%s", op->views[0].id);
    http_reply_header(op->request, "Location", location);
    answer_session(&body, &op->views[0]);
    reply_json(op->request, 201, &body);
}

void api_session_create(struct request *request, const char *arg)
{
    struct session_request what;
    struct model_entry entry;
    struct session_op *op;
    const char *why_not;

    (void)arg;
    if (!api_read(request, session_request_read, &what))
        return;
    if (!api_model(request, what.model, &entry))
        return;
    why_not = rnn_model_info(entry.model)->unsteppable;
    if (why_not) {
        reply_error(request, REPLY_NOT_POSSIBLE, "model", "model: '%s' cannot hold a session: %s",
                    entry.name, why_not);
        rnn_model_unref(entry.model);
        return;
    }
    op = op_new(request, what.id, 1);
    if (!op) {
        rnn_model_unref(entry.model);
        return;
    }
    op->model = entry.model;
    memcpy(op->model_name, entry.name, sizeof op->model_name);
    op->ttl_s = what.ttl_s;
    op->run = run_create;
    op->reply = reply_created;
    op_submit(op);
}

/* ---- Get, delete ---- */

static void run_get(struct session_op *op)
{
    op->result = session_view(op->work->sessions, op->id, op->key_name, &op->views[0]);
    op_return(op);
}

void api_session_get(struct request *request, const char *arg)
{
    struct session_op *op = op_new(request, arg, 1);

    if (!op)
        return;
    op->run = run_get;
    op->reply = reply_view;
    op_submit(op);
}

static void run_delete(struct session_op *op)
{
    op->result = session_delete(op->work->sessions, op->id, op->key_name);
    op_return(op);
}

static void reply_deleted(const struct session_op *op)
{
    struct buf body = {0};

    if (replied_failure(op))
        return;
    buf_puts(&body, "{\"id\":");
    answer_text(&body, op->id);
    buf_puts(&body, ",\"deleted\":true}");
    reply_json(op->request, 200, &body);
}

void api_session_delete(struct request *request, const char *arg)
{
    struct session_op *op;

    if (!no_fields(request))
        return;
    op = op_new(request, arg, 1);
    if (!op)
        return;
    op->run = run_delete;
    op->reply = reply_deleted;
    op_submit(op);
}

/* ---- Reset ---- */

static void reset_held(struct session_op *op)
{
    struct rnn_model *model = session_model(&op->hold);
    struct rnn_state *fresh = calloc(1, rnn_model_info(model)->state_bytes);
    struct session_view view;

    op->result = session_view(op->work->sessions, op->id, op->key_name, &view);
    if (op->result == 0 && !fresh)
        op->result = SESSION_FAIL(REPLY_NO_MEMORY);
    if (op->result == 0)
        rnn_state_init(model, fresh, view.seed);
    session_release(op->work->sessions, &op->hold, op->result == 0 ? fresh : NULL, &op->views[0]);
    free(fresh);
}

void api_session_reset(struct request *request, const char *arg)
{
    struct session_op *op;

    if (!no_fields(request))
        return;
    op = op_new(request, arg, 1);
    if (!op)
        return;
    op->run = run_held;
    op->held = reset_held;
    op->reply = reply_view;
    op_submit(op);
}

/* ---- Fork ---- */

/* All of them or none. */
static void fork_held(struct session_op *op)
{
    struct sessions *sessions = op->work->sessions;
    struct session_view parent;
    struct session_spec spec = {.key_name = op->key_name,
                                .model_name = session_model_name(&op->hold),
                                .model = session_model(&op->hold),
                                .state = session_state(&op->hold)};
    size_t made = 0;

    op->result = session_view(sessions, op->id, op->key_name, &parent);
    spec.ttl_s = parent.ttl_s;
    spec.seed = parent.seed;
    for (; op->result == 0 && made < op->n_views; made += op->result == 0)
        op->result = session_create(sessions, &spec, &op->views[made]);
    if (op->result == 0) {
        metrics_count(op->work->metrics, M_SESSION_FORKED, made);
    } else {
        while (made > 0)
            (void)session_delete(sessions, op->views[--made].id, op->key_name); /* just made */
    }
    session_release(sessions, &op->hold, NULL, NULL);
}

static void reply_forked(const struct session_op *op)
{
    struct buf body = {0};

    if (replied_failure(op))
        return;
    put_views(&body, op->views, op->n_views);
    buf_putc(&body, '}');
    reply_json(op->request, 201, &body);
}

void api_session_fork(struct request *request, const char *arg)
{
    struct session_op *op;
    size_t count;

    if (!api_read(request, fork_request_read, &count))
        return;
    op = op_new(request, arg, count);
    if (!op)
        return;
    op->run = run_held;
    op->held = fork_held;
    op->reply = reply_forked;
    op_submit(op);
}
