/* POST /sessions/blend: a new session whose state is a weighted sum of others'.
 *
 * Each source is asked for its state on its own shard, in its place in the line; home adds them up
 * and opens the session.  All sources must be of one model with the same weights.  The sum is taken
 * in double and rounded once; one that is no finite number is refused.  Tokens cannot be added up:
 * what penalties look back on is what the source with the largest weight remembers, and all must
 * remember as many. */
#include "server/api.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/answer.h"
#include "server/metrics.h"
#include "server/session_op.h"

enum { SOURCES_MAX = 64 };

/* One source: travels to its shard and comes back with a copy of the state. */
struct source {
    struct message message;
    struct blend *blend;
    struct shard *work;
    struct session_hold hold;
    session_result result;
    struct rnn_model *model; /* a reference */
    char model_name[128];
    struct rnn_state *state; /* [state_bytes] */
    size_t state_bytes;
};

struct blend {
    struct shard *home;
    struct request *request; /* NULL: the client is gone */
    atomic_bool gone;
    char *key_name;
    struct blend_request what;
    size_t n_away;
    struct source sources[];
};

/* ---- Reading ---- */

static int read_source(struct blend_source *out, const struct cJSON *json, size_t i,
                       struct rnn_err *err)
{
    static const char *const allowed[] = {"id", "weight", NULL};
    const char *id = "";
    char path[32];
    int rc;

    snprintf(path, sizeof path, "sessions[%zu]", i);
    if (!cJSON_IsObject(json))
        return rnn_fail_at(err, RNN_ETYPE, path, -1, "%s: want an object with id and weight", path);
    rc = json_only(json, path, allowed, err);
    if (rc == 0)
        rc = json_read_string(json, path, "id", &id, err);
    if (rc == 0 && !session_id_valid(id))
        rc = rnn_fail_at(err, RNN_EFORMAT, path, -1, "%s.id: want the id of a session", path);
    if (rc == 0)
        strcpy(out->id, id); /* it fits: it is valid */
    out->weight = NAN;
    if (rc == 0)
        rc = json_read_double(json, path, "weight", -1e6, 1e6, &out->weight, err);
    if (rc == 0 && isnan(out->weight))
        rc = rnn_fail_at(err, RNN_EFORMAT, path, -1, "%s.weight: is missing", path);
    return rc;
}

static int read_sources(struct blend_request *out, const struct cJSON *body, struct rnn_err *err)
{
    const struct cJSON *list = json_get(body, "sessions");
    size_t n = cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : 0;
    int rc = 0;

    if (n < 1 || n > SOURCES_MAX)
        return rnn_fail_at(err, cJSON_IsArray(list) ? RNN_ERANGE : RNN_ETYPE, "sessions", -1,
                           "sessions: want an array of 1 to %d objects with id and weight",
                           SOURCES_MAX);
    out->sources = calloc(n, sizeof *out->sources);
    if (!out->sources)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (const struct cJSON *json = list->child; rc == 0 && json; json = json->next, out->n++)
        rc = read_source(&out->sources[out->n], json, out->n, err);
    return rc;
}

static int read_blend(void *out, const struct cJSON *body, const struct config *config,
                      struct rnn_err *err)
{
    static const char *const allowed[] = {"sessions", "id", "ttl_seconds", NULL};
    struct blend_request *request = out;
    int rc = body_only(body, allowed, NULL, err);

    if (rc == 0)
        rc = api_new_session_fields(body, request->id, &request->ttl_s, config, err);
    return rc == 0 ? read_sources(request, body, err) : rc;
}

int blend_request_read(void *out, const char *text, size_t len, const struct config *config,
                       struct rnn_err *err)
{
    struct blend_request *request = out;
    int rc;

    *request = (struct blend_request){0};
    rc = body_read(request, text, len, false, read_blend, config, err);
    if (rc < 0)
        blend_request_free(request);
    return rc;
}

void blend_request_free(struct blend_request *request)
{
    free(request->sources);
    *request = (struct blend_request){0};
}

/* ---- The sum ---- */

static void blend_free(struct blend *blend)
{
    for (size_t i = 0; i < blend->what.n; i++) {
        struct source *source = &blend->sources[i];

        if (source->state)
            explicit_bzero(source->state, source->state_bytes);
        free(source->state);
        rnn_model_unref(source->model);
    }
    blend_request_free(&blend->what);
    free(blend->key_name);
    free(blend);
}

/* The first of those with the largest weight. */
static const struct source *heaviest(const struct blend *blend)
{
    size_t best = 0;

    for (size_t k = 1; k < blend->what.n; k++)
        if (blend->what.sources[k].weight > blend->what.sources[best].weight)
            best = k;
    return &blend->sources[best];
}

/* Σ weight × memory, at the largest position, with a generator of its own.  False where a number
 * would not be finite. */
static bool add_up(const struct blend *blend, struct rnn_state *state)
{
    const struct source *first = &blend->sources[0];
    size_t n_floats = (rnn_model_info(first->model)->state_bytes - sizeof *state) / sizeof(float);

    memcpy(state, heaviest(blend)->state, first->state_bytes);
    state->rng = (struct rnn_rng){0};
    for (size_t i = 0; i < n_floats; i++) {
        double sum = 0;

        for (size_t k = 0; k < blend->what.n; k++)
            sum += blend->what.sources[k].weight * (double)blend->sources[k].state->memory[i];
        state->memory[i] = (float)sum;
        if (!isfinite(state->memory[i]))
            return false;
        if (fpclassify(state->memory[i]) == FP_SUBNORMAL)
            state->memory[i] = 0;
    }
    state->position = 0;
    for (size_t k = 0; k < blend->what.n; k++)
        if (blend->sources[k].state->position > state->position)
            state->position = blend->sources[k].state->position;
    return true;
}

/* Whether all came back, of one model and with one window; answers otherwise. */
static bool sources_fit(const struct blend *blend)
{
    const struct source *first = &blend->sources[0];

    for (size_t i = 0; i < blend->what.n; i++) {
        const struct source *source = &blend->sources[i];
        const char *id = blend->what.sources[i].id;
        char path[32];

        snprintf(path, sizeof path, "sessions[%zu]", i);
        if (source->result != 0) {
            op_reply_failure(blend->request, SESSION_REPLY(source->result), path, id);
            return false;
        }
        if (strcmp(rnn_model_info(source->model)->fingerprint,
                   rnn_model_info(first->model)->fingerprint) != 0) {
            reply_error(blend->request, REPLY_NOT_POSSIBLE, path,
                        "%s: session '%s' is of other weights than '%s'", path, id,
                        blend->what.sources[0].id);
            return false;
        }
        if (source->state_bytes != first->state_bytes) {
            reply_error(blend->request, REPLY_NOT_POSSIBLE, path,
                        "%s: session '%s' has another penalty_memory than '%s'", path, id,
                        blend->what.sources[0].id);
            return false;
        }
    }
    return true;
}

/* Home: all sources are back. */
static void finish(struct blend *blend)
{
    const struct source *first = &blend->sources[0];
    struct rnn_state *state;

    if (!sources_fit(blend))
        return;
    state = calloc(1, first->state_bytes);
    if (!state) {
        reply_error(blend->request, REPLY_NO_MEMORY, NULL, "out of memory");
        return;
    }
    if (add_up(blend, state))
        api_session_open(blend->request, blend->what.id, blend->what.ttl_s, first->model,
                         first->model_name, state, first->state_bytes);
    else
        reply_error(
            blend->request, REPLY_NOT_POSSIBLE, "sessions",
            "sessions: with these weights the state would hold a number that is not finite");
    explicit_bzero(state, first->state_bytes);
    free(state);
}

/* ---- There and back ---- */

static void come_home(struct shard *home, struct message *message)
{
    struct blend *blend = ((struct source *)message)->blend; /* its first member */

    (void)home;
    if (--blend->n_away > 0)
        return;
    if (blend->request) {
        blend->request->hooks = NULL;
        blend->request->user = NULL;
        finish(blend);
    }
    blend_free(blend);
}

static void go_home(struct source *source)
{
    source->message.run = come_home;
    shard_post(source->blend->home, &source->message);
}

static struct source *source_of(struct session_hold *hold)
{
    return (struct source *)(void *)((char *)hold - offsetof(struct source, hold));
}

static void on_granted(struct session_hold *hold)
{
    struct source *source = source_of(hold);
    struct rnn_model *model = session_model(hold);
    size_t bytes = session_state_bytes(hold);

    if (!atomic_load(&source->blend->gone)) {
        source->model = rnn_model_ref(model);
        snprintf(source->model_name, sizeof source->model_name, "%s", session_model_name(hold));
        source->state_bytes = bytes;
        source->state = malloc(bytes);
        if (source->state)
            memcpy(source->state, session_state(hold), bytes);
        else
            source->result = SESSION_FAIL(REPLY_NO_MEMORY);
    }
    session_release(source->work->sessions, hold, NULL, NULL);
    go_home(source);
}

static void on_refused(struct session_hold *hold, enum reply_error reason)
{
    struct source *source = source_of(hold);

    source->result = SESSION_FAIL(reason);
    go_home(source);
}

static void arrive(struct shard *work, struct message *message)
{
    struct source *source = (struct source *)message; /* its first member */
    struct blend *blend = source->blend;
    const char *id = blend->what.sources[source - blend->sources].id;
    bool granted = false;

    source->hold.granted = on_granted;
    source->hold.refused = on_refused;
    source->result =
        session_acquire(work->sessions, id, blend->key_name, true, &source->hold, &granted);
    if (source->result != 0)
        go_home(source);
    else if (granted)
        on_granted(&source->hold);
}

static void on_gone(struct request *request)
{
    struct blend *blend = request->user;

    blend->request = NULL;
    atomic_store(&blend->gone, true);
}

static const struct request_hooks hooks = {.gone = on_gone};

void api_session_blend(struct request *request, const char *arg)
{
    struct server *server = request->shard->server;
    struct blend_request what;
    struct blend *blend;

    (void)arg;
    if (!api_read(request, blend_request_read, &what))
        return;
    blend = calloc(1, sizeof *blend + what.n * sizeof blend->sources[0]);
    if (blend)
        blend->key_name = strdup(request->key_name);
    if (!blend || !blend->key_name) {
        free(blend);
        blend_request_free(&what);
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
        return;
    }
    blend->home = request->shard;
    blend->request = request;
    blend->what = what;
    blend->n_away = what.n;
    request->user = blend;
    request->hooks = &hooks;
    for (size_t i = 0; i < what.n; i++) {
        struct source *source = &blend->sources[i];

        source->blend = blend;
        source->work = server->shards[session_shard(server, what.sources[i].id)];
        source->message.run = arrive;
        shard_post(source->work, &source->message);
    }
}
