/* The session endpoints: create, look, delete, reset, fork.
 *
 * A session lives on the shard that its id names, so every call is an operation that travels
 * (session_op.h).  The list is in api_session_list.c; snapshots and rewinding in
 * api_session_points.c; the state as a file in api_session_state.c. */
#include "server/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "server/answer.h"
#include "server/base64.h"
#include "server/metrics.h"
#include "server/session_op.h"

enum { FORK_MAX = 1024 };

/* ---- Reading ---- */

static int read_state(struct session_request *request, const struct cJSON *body,
                      struct rnn_err *err)
{
    const char *text = NULL;
    int rc = body_name(body, "initial_state", request->initial_state, sizeof request->initial_state,
                       err);

    if (rc == 0)
        rc = json_read_string(body, "", "state", &text, err);
    if (rc < 0 || !text)
        return rc;
    if (request->initial_state[0])
        return rnn_fail_at(err, RNN_EFORMAT, "state", -1, "state: excludes initial_state");
    return base64_decode(text, "state", &request->state, &request->state_len, err);
}

int api_new_session_fields(const struct cJSON *body, char id[SESSION_ID_MAX + 1], int64_t *ttl_s,
                           const struct config *config, struct rnn_err *err)
{
    int rc = body_name(body, "id", id, SESSION_ID_MAX + 1, err);

    if (rc == 0 && json_get(body, "id") && !session_id_valid(id))
        rc = rnn_fail_at(err, RNN_EFORMAT, "id", -1,
                         "id: want 1 to %d characters of A-Z a-z 0-9 . _ -", SESSION_ID_MAX);
    if (rc == 0)
        rc = json_read_int(body, "", "ttl_seconds", 1, config->session_ttl_max_s, ttl_s, err);
    return rc;
}

static int read_session(void *out, const struct cJSON *body, const struct config *config,
                        struct rnn_err *err)
{
    static const char *const allowed[] = {
        "model", "id", "ttl_seconds", "initial_state", "state", "penalty_memory", NULL};
    struct session_request *request = out;
    int rc = body_only(body, allowed, NULL, err);

    if (rc == 0)
        rc = body_name(body, "model", request->model, sizeof request->model, err);
    if (rc == 0)
        rc = api_new_session_fields(body, request->id, &request->ttl_s, config, err);
    request->penalty_memory = -1;
    if (rc == 0)
        rc = json_read_int(body, "", "penalty_memory", 0, config->penalty_memory_max,
                           &request->penalty_memory, err);
    return rc == 0 ? read_state(request, body, err) : rc;
}

int session_request_read(void *out, const char *text, size_t len, const struct config *config,
                         struct rnn_err *err)
{
    struct session_request *request = out;
    int rc;

    *request = (struct session_request){0};
    rc = body_read(request, text, len, true, read_session, config, err);
    if (rc < 0)
        session_request_free(request);
    return rc;
}

void session_request_free(struct session_request *request)
{
    free(request->state);
    *request = (struct session_request){0};
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

/* ---- Create ---- */

struct create_op {
    struct session_op op;
    char model_name[sizeof(((struct model_entry *)0)->name)];
    int64_t ttl_s;
    struct session_request what; /* how to begin, where there is no `state` yet */
    struct rnn_model *model;     /* a reference; NULL: what is served when the session is made */
    struct rnn_state *state;     /* [state_bytes] to begin with */
    size_t state_bytes;
    bool returns; /* and to reset to */
};

static void create_drop(struct session_op *op)
{
    struct create_op *create = (struct create_op *)op; /* its first member */

    if (create->state)
        explicit_bzero(create->state, create->state_bytes);
    free(create->state);
    rnn_model_unref(create->model);
    session_request_free(&create->what);
}

static void create_saved(struct session_op *op)
{
    op_release(op, NULL);
}

/* The store does not take it: it has never been. */
static void create_undo(struct session_op *op)
{
    session_release(op->work->sessions, &op->hold, NULL, NULL);
    (void)session_delete(op->work->sessions, op->id, op->key_name); /* made just now */
}

static int fresh_seed(uint64_t *seed, struct rnn_err *err)
{
    if (getrandom(seed, sizeof *seed, 0) != (ssize_t)sizeof *seed)
        return rnn_fail(err, RNN_EIO, "the system gives no random numbers");
    *seed &= (uint64_t)JSON_INT_MAX; /* survives a JSON reader that knows only doubles */
    return 0;
}

/* Memory for the state that a session with such a window begins with. */
static int take_memory(struct create_op *create, size_t window, struct rnn_err *err)
{
    create->state_bytes = rnn_state_bytes(create->model, window);
    create->state = calloc(1, create->state_bytes);
    return create->state ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* How many tokens penalties look back on, where the state comes with `kept`. */
static int choose_window(const struct create_op *create, size_t kept, size_t *window,
                         struct rnn_err *err)
{
    return api_window(rnn_model_info(create->model), shard_config(create->op.work),
                      create->what.penalty_memory, kept, window, err);
}

static int begin_at_file(struct create_op *create, struct rnn_err *err)
{
    const struct rnn_model *model = create->model;
    struct rnn_state *file = NULL;
    size_t bytes = 0, window = 0;
    int rc = rnn_state_read(model, create->what.state, create->what.state_len, &file, &bytes, err);

    if (rc < 0) {
        rnn_err_prefix(err, "state: ");
        snprintf(err->param, sizeof err->param, "state");
        return rc;
    }
    if (rnn_state_window(model, bytes, &window))
        rc = choose_window(create, window, &window, err);
    if (rc == 0)
        rc = take_memory(create, window, err);
    if (rc == 0)
        rnn_state_copy(model, create->state, create->state_bytes, file, bytes);
    explicit_bzero(file, bytes);
    free(file);
    return rc;
}

/* The state that the session begins with. */
static int first_state(struct create_op *create, struct rnn_err *err)
{
    const char *initial = create->what.initial_state;
    const struct rnn_model *model = create->model;
    size_t window = 0;
    uint64_t seed;
    int rc;

    if (create->what.state)
        return begin_at_file(create, err);
    rc = choose_window(create, 0, &window, err);
    if (rc == 0)
        rc = fresh_seed(&seed, err);
    if (rc == 0)
        rc = take_memory(create, window, err);
    if (rc < 0)
        return rc;
    rnn_state_init(model, create->state, seed);
    rnn_state_forget(model, create->state, create->state_bytes);
    return initial[0] ? rnn_state_init_named(model, initial, create->state, seed, err) : 0;
}

/* The model as it is served now, on the shard that makes the session: what has been replaced while
 * the request travelled nobody begins on.  Whoever begins before that is met by the walk over this
 * shard that follows a change (api_model_change.c).  The operation has failed where this has. */
static bool take_model(struct create_op *create)
{
    struct models *models = create->op.work->server->models;
    struct model_entry entry;
    struct rnn_err err = {0};
    const char *why_not;

    if (models_get(models, create->model_name, &entry, &err) < 0) {
        op_fail(&create->op, reply_error_of(&err), &err);
        return false;
    }
    create->model = entry.model;
    why_not = rnn_model_info(entry.model)->unsteppable;
    if (!why_not)
        return true;
    rnn_fail_at(&err, RNN_EUNSUPPORTED, "model", -1, "model: '%s' cannot hold a session: %s",
                entry.name, why_not);
    op_fail(&create->op, REPLY_NOT_POSSIBLE, &err);
    return false;
}

static bool begin(struct create_op *create)
{
    struct rnn_err err = {0};

    if (!take_model(create))
        return false;
    create->returns = create->what.state != NULL;
    if (first_state(create, &err) == 0)
        return true;
    metrics_count(create->op.work->metrics, M_REJECTED_INPUT, 1);
    op_fail(&create->op, reply_error_of_state(&err), &err);
    return false;
}

static void run_create(struct session_op *op)
{
    struct create_op *create = (struct create_op *)op; /* its first member */
    struct session_spec spec = {.id = op->id, .key_name = op->key_name, .ttl_s = create->ttl_s};
    bool granted = false;

    if (!create->model && !begin(create)) {
        op_return(op);
        return;
    }
    spec.model_name = create->model_name;
    spec.model = create->model;
    spec.state = create->state;
    spec.state_bytes = create->state_bytes;
    if (create->what.initial_state[0])
        spec.initial_name = create->what.initial_state;
    else if (create->returns)
        spec.initial = create->state;
    op->result = session_create(op->work->sessions, &spec, &op->views[0]);
    if (op->result == 0) {
        snprintf(op->id, sizeof op->id, "%s", op->views[0].id);
        op_hold(op);
        op->result =
            session_acquire(op->work->sessions, op->id, op->key_name, false, &op->hold, &granted);
    }
    if (op->result != 0)
        op_return(op);
    else
        op_wait(op, session_save_new(op->work->sessions, &op->hold), create_saved);
}

static void reply_created(const struct session_op *op)
{
    char location[sizeof "/sessions/" + SESSION_ID_MAX];
    struct buf body = {0};

    snprintf(location, sizeof location, "/sessions/%s", op->views[0].id);
    http_reply_header(op->request, "Location", location);
    op_put_view(op, &body, &op->views[0]);
    buf_putc(&body, '}');
    reply_json(op->request, 201, &body);
}

/* An operation that will make a session; NULL: answered. */
static struct create_op *create_new(struct request *request, const char *id, int64_t ttl_s,
                                    const char *model_name)
{
    struct create_op *create = op_new(request, sizeof *create, id, 1);

    if (!create)
        return NULL;
    create->op.drop = create_drop;
    create->op.run = run_create;
    create->op.undo = create_undo;
    create->op.reply = reply_created;
    snprintf(create->model_name, sizeof create->model_name, "%s", model_name);
    create->ttl_s = ttl_s;
    return create;
}

void api_session_open(struct request *request, const char *id, int64_t ttl_s,
                      struct rnn_model *model, const char *model_name,
                      const struct rnn_state *state, size_t state_bytes)
{
    struct create_op *create = create_new(request, id, ttl_s, model_name);
    struct rnn_err err = {0};

    if (!create)
        return;
    create->model = rnn_model_ref(model);
    create->state_bytes = state_bytes;
    create->returns = true;
    create->state = malloc(state_bytes);
    if (!create->state) {
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
    } else {
        memcpy(create->state, state, state_bytes);
        if (fresh_seed(&create->state->rng.seed, &err) == 0) {
            op_submit(&create->op);
            return;
        }
        reply_failure(request, &err);
    }
    op_free(&create->op);
}

void api_session_create(struct request *request, const char *arg)
{
    struct session_request what;
    struct create_op *create = NULL;
    struct model_entry entry;

    (void)arg;
    if (!api_read(request, session_request_read, &what))
        return;
    if (api_model(request, what.model, &entry)) { /* which one is meant */
        create = create_new(request, what.id, what.ttl_s, entry.name);
        rnn_model_unref(entry.model);
    }
    if (!create) {
        session_request_free(&what);
        return;
    }
    create->what = what;
    op_submit(&create->op);
}

/* ---- Get, delete ---- */

static void run_get(struct session_op *op)
{
    struct sessions *sessions = op->work->sessions;
    const struct rnn_model *model;
    const struct rnn_state *state;

    op->result = session_view(sessions, op->id, op->key_name, &op->views[0]);
    state = session_glance(sessions, op->id, op->key_name, &model);
    if (state)
        layers_put_summary(&op->out, model, state);
    op_return(op);
}

static void reply_got(const struct session_op *op)
{
    struct buf body = {0};

    op_put_view(op, &body, &op->views[0]);
    buf_put(&body, op->out.data, op->out.len);
    buf_putc(&body, '}');
    reply_json(op->request, 200, &body);
}

void api_session_get(struct request *request, const char *arg)
{
    struct session_op *op = op_new(request, sizeof *op, arg, 1);

    if (!op)
        return;
    op->run = run_get;
    op->reply = reply_got;
    op_submit(op);
}

static void delete_saved(struct session_op *op)
{
    op->result = session_delete(op->work->sessions, op->id, op->key_name);
    op_return(op);
}

static void delete_undo(struct session_op *op)
{
    (void)op; /* it is still there */
}

static void run_delete(struct session_op *op)
{
    bool waits;

    op_hold(op);
    op->undo = delete_undo;
    op->result = session_save_delete(op->work->sessions, op->id, op->key_name, &op->hold, &waits);
    if (op->result != 0)
        op_return(op);
    else
        op_wait(op, waits, delete_saved);
}

static void reply_deleted(const struct session_op *op)
{
    struct buf body = {0};

    buf_puts(&body, "{\"id\":");
    answer_text(&body, op->id);
    buf_puts(&body, ",\"deleted\":true}");
    reply_json(op->request, 200, &body);
}

void api_session_delete(struct request *request, const char *arg)
{
    struct session_op *op;

    if (!op_no_fields(request))
        return;
    op = op_new(request, sizeof *op, arg, 1);
    if (!op)
        return;
    op->run = run_delete;
    op->reply = reply_deleted;
    op_submit(op);
}

/* ---- Reset ---- */

/* The state that the model gives it: the one of that name, or its beginning. */
static int state_of_model(const struct session_op *op, const char *name, uint64_t seed,
                          struct rnn_state *state, struct rnn_err *err)
{
    const struct rnn_model *model = session_model(&op->hold);

    rnn_state_forget(model, state, session_state_bytes(&op->hold));
    if (name)
        return rnn_state_init_named(model, name, state, seed, err);
    rnn_state_init(model, state, seed);
    return 0;
}

static void reset_held(struct session_op *op)
{
    const char *name;
    const struct rnn_state *kept = session_initial(&op->hold, &name);
    struct rnn_state *fresh = NULL;
    struct session_view view;
    struct rnn_err err = {0};

    op->result = session_view(op->work->sessions, op->id, op->key_name, &view);
    if (op->result == 0 && !kept) {
        fresh = calloc(1, session_state_bytes(&op->hold));
        if (!fresh)
            op_fail(op, REPLY_NO_MEMORY, NULL);
        else if (state_of_model(op, name, view.seed, fresh, &err) < 0)
            op_fail(op, reply_error_of_state(&err), &err);
    }
    op_release(op, kept ? kept : fresh);
    free(fresh);
}

void api_session_reset(struct request *request, const char *arg)
{
    struct session_op *op;

    if (!op_no_fields(request))
        return;
    op = op_new(request, sizeof *op, arg, 1);
    if (!op)
        return;
    op->run = op_run_held;
    op->held = reset_held;
    op->reply = op_reply_view;
    op_submit(op);
}

/* ---- Fork ---- */

/* A new session, held until the store has it. */
struct child {
    struct session_hold hold;
    struct fork_op *fork;
};

struct fork_op {
    struct session_op op;
    struct child *children; /* [op.n_views] */
    size_t n_made, n_waiting;
};

static void fork_drop(struct session_op *op)
{
    free(((struct fork_op *)op)->children); /* its first member */
}

/* All of them or none. */
static void fork_end(struct fork_op *fork)
{
    struct session_op *op = &fork->op;
    struct sessions *sessions = op->work->sessions;

    for (size_t i = 0; i < fork->n_made; i++) {
        session_release(sessions, &fork->children[i].hold, NULL, NULL);
        if (op->result != 0)
            (void)session_delete(sessions, op->views[i].id, op->key_name); /* made just now */
    }
    if (op->result == 0)
        metrics_count(op->work->metrics, M_SESSION_FORKED, fork->n_made);
    session_release(sessions, &op->hold, NULL, NULL);
    op_return(op);
}

static void child_saved(struct session_hold *hold, session_result result)
{
    struct fork_op *fork = ((struct child *)hold)->fork; /* its first member */

    if (result != 0)
        fork->op.result = result;
    if (--fork->n_waiting == 0)
        fork_end(fork);
}

static void child_cancelled(struct session_hold *hold)
{
    (void)hold; /* its fork ends soon */
}

static session_result make_child(struct fork_op *fork, const struct session_spec *spec)
{
    struct session_op *op = &fork->op;
    struct sessions *sessions = op->work->sessions;
    struct session_view *view = &op->views[fork->n_made];
    struct child *child = &fork->children[fork->n_made];
    session_result rc = session_create(sessions, spec, view);
    bool granted;

    if (rc != 0)
        return rc;
    *child =
        (struct child){.hold = {.saved = child_saved, .cancelled = child_cancelled}, .fork = fork};
    (void)session_acquire(sessions, view->id, op->key_name, false, &child->hold, &granted);
    fork->n_made++;
    fork->n_waiting += session_save_new(sessions, &child->hold);
    return 0;
}

static void fork_held(struct session_op *op)
{
    struct fork_op *fork = (struct fork_op *)op; /* its first member */
    struct session_spec spec = {.key_name = op->key_name,
                                .model_name = session_model_name(&op->hold),
                                .model = session_model(&op->hold),
                                .state = session_state(&op->hold),
                                .state_bytes = session_state_bytes(&op->hold)};
    struct session_view parent;

    spec.initial = session_initial(&op->hold, &spec.initial_name);
    op->result = session_view(op->work->sessions, op->id, op->key_name, &parent);
    spec.ttl_s = parent.ttl_s;
    spec.seed = parent.seed;
    while (op->result == 0 && fork->n_made < op->n_views)
        op->result = make_child(fork, &spec);
    if (fork->n_waiting == 0)
        fork_end(fork);
}

static void reply_forked(const struct session_op *op)
{
    struct buf body = {0};

    op_put_views(op, &body);
    buf_putc(&body, '}');
    reply_json(op->request, 201, &body);
}

void api_session_fork(struct request *request, const char *arg)
{
    struct fork_op *fork;
    size_t count;

    if (!api_read(request, fork_request_read, &count))
        return;
    fork = op_new(request, sizeof *fork, arg, count);
    if (!fork)
        return;
    fork->op.drop = fork_drop;
    fork->op.run = op_run_held;
    fork->op.held = fork_held;
    fork->op.reply = reply_forked;
    fork->children = calloc(count, sizeof *fork->children);
    if (!fork->children) {
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
        op_free(&fork->op);
        return;
    }
    op_submit(&fork->op);
}
