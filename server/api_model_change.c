/* POST /models/{name}/load, unload and reload: other weights, while everything runs.
 *
 *   home shard                pool thread            every shard
 *   ask, begin a change ────▶ open the folder
 *   put it in the table ◀────
 *             ── message ──────────────────────────▶ walk its sessions, in slices
 *   answer    ◀── message ─────────────────────────── done
 *
 * Until the table is changed, nothing is; a folder that cannot be opened changes nothing.  Requests
 * hold their own references, so those in flight end on the weights they began with.  There is one
 * change at a time.  A client that leaves does not stop it.  Once shards are being walked, none of
 * them may close (server->changing). */
#include "server/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/answer.h"
#include "server/keys.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/session_change.h"
#include "server/shard.h"

#define SLICE 256u /* sessions that a shard looks at between two turns */

enum kind { KIND_LOAD, KIND_UNLOAD, KIND_RELOAD };
static const char *const kind_names[] = {"load", "unload", "reload"};
static const char *const kind_events[] = {"model loaded", "model unloaded", "model reloaded"};

struct walk {
    struct message message;
    struct sessions_change sessions; /* of the shard that it is on */
    struct shard *shard;
    struct change *change;
    bool more;
};

struct change {
    uv_work_t work;
    struct shard *home;
    struct request *request; /* NULL: the client is gone */
    enum kind kind;
    enum sessions_policy policy;
    char name[128];
    char key_name[65];
    struct model_entry fresh, old; /* references; .model NULL where there is none */
    int rc;
    struct rnn_err err;
    uint64_t began_ns;
    unsigned n_walking;
    struct walk walks[]; /* [n_shards] */
};

/* ---- The end ---- */

static void change_free(struct change *change)
{
    rnn_model_unref(change->fresh.model);
    rnn_model_unref(change->old.model);
    free(change);
}

/* Nobody waits for the answer any more, or it is to be given now. */
static struct request *request_of(struct change *change)
{
    struct request *request = change->request;

    if (request) {
        request->hooks = NULL;
        request->user = NULL;
    }
    change->request = NULL;
    return request;
}

static enum reply_error error_of(const struct change *change)
{
    switch (change->rc) {
    case RNN_ENOMEM:
        return REPLY_NO_MEMORY;
    case RNN_EBUSY:
        return REPLY_DRAINING;
    case RNN_EIO:
        return REPLY_INTERNAL;
    case RNN_ENOENT:
        return change->kind == KIND_RELOAD ? REPLY_MODEL_INVALID : REPLY_NO_MODEL;
    default:
        return REPLY_MODEL_INVALID;
    }
}

static void fail(struct change *change)
{
    struct request *request = request_of(change);

    metrics_count(change->home->metrics, M_MODEL_FAILED, 1);
    log_line(CONFIG_LOG_ERROR, "model change failed, nothing has changed",
             LOG_TEXT("model", change->name), LOG_TEXT("change", kind_names[change->kind]),
             LOG_TEXT("where", change->err.param), LOG_TEXT("why", change->err.text));
    if (request)
        reply_error(request, error_of(change), change->err.param, "%s", change->err.text);
    models_change_end(change->home->server->models);
    change_free(change);
}

static struct sessions_change totals(const struct change *change)
{
    struct sessions_change sum = {0};

    for (unsigned i = 0; i < change->home->server->n_shards; i++) {
        const struct sessions_change *one = &change->walks[i].sessions;

        sum.n_pinned += one->n_pinned;
        sum.n_migrated += one->n_migrated;
        sum.n_same += one->n_same;
        sum.n_closed += one->n_closed;
        sum.n_busy += one->n_busy;
        sum.n_failed += one->n_failed;
    }
    return sum;
}

static const char *fingerprint_of(const struct model_entry *entry)
{
    return entry->model ? rnn_model_info(entry->model)->fingerprint : NULL;
}

static uint64_t bytes_of(const struct model_entry *entry)
{
    return entry->model ? rnn_model_info(entry->model)->weight_bytes : 0;
}

/* Of all versions under that name that sessions keep. */
static uint64_t old_bytes(const struct change *change)
{
    struct model_entry *old;
    uint64_t sum = 0;
    size_t n;

    if (models_list_old(change->home->server->models, &old, &n, NULL) < 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(old[i].name, change->name) == 0)
            sum += bytes_of(&old[i]);
    models_list_free(old, n);
    return sum;
}

static void put_number(struct buf *out, const char *name, uint64_t value)
{
    buf_printf(out, ",\"%s\":", name);
    buf_u64(out, value);
}

static void put_sessions(struct buf *out, const struct change *change,
                         const struct sessions_change *sum)
{
    static const char *const policies[] = {"pin", "migrate", "close"};

    buf_printf(out, ",\"sessions\":{\"policy\":\"%s\"", policies[change->policy]);
    put_number(out, "pinned", sum->n_pinned);
    put_number(out, "migrated", sum->n_migrated);
    put_number(out, "same_weights", sum->n_same);
    put_number(out, "closed", sum->n_closed);
    put_number(out, "busy", sum->n_busy);
    put_number(out, "failed", sum->n_failed);
    buf_putc(out, '}');
}

static void answer(struct change *change, struct request *request,
                   const struct sessions_change *sum, double seconds)
{
    struct buf body = {0};

    buf_puts(&body, "{\"model\":");
    answer_text(&body, change->name);
    buf_printf(&body, ",\"change\":\"%s\",\"fingerprint\":", kind_names[change->kind]);
    answer_text(&body, fingerprint_of(&change->fresh));
    buf_puts(&body, ",\"old_fingerprint\":");
    answer_text(&body, fingerprint_of(&change->old));
    put_sessions(&body, change, sum);
    put_number(&body, "weight_bytes", bytes_of(&change->fresh));
    put_number(&body, "old_weight_bytes", old_bytes(change));
    buf_puts(&body, ",\"load_seconds\":");
    buf_f64(&body, change->fresh.load_seconds);
    buf_puts(&body, ",\"seconds\":");
    buf_f64(&body, seconds);
    buf_putc(&body, '}');
    reply_json(request, 200, &body);
}

static void succeed(struct change *change)
{
    static const enum metric_counter counters[] = {M_MODEL_LOADED, M_MODEL_UNLOADED,
                                                   M_MODEL_RELOADED};
    struct sessions_change sum = totals(change);
    struct request *request = request_of(change);
    double seconds = (double)(change->home->now_ns - change->began_ns) * 1e-9;

    metrics_count(change->home->metrics, counters[change->kind], 1);
    log_line(CONFIG_LOG_INFO, kind_events[change->kind], LOG_TEXT("model", change->name),
             LOG_TEXT("fingerprint", fingerprint_of(&change->fresh)),
             LOG_TEXT("old_fingerprint", fingerprint_of(&change->old)),
             LOG_TEXT("key", change->key_name), LOG_NUMBER("pinned", sum.n_pinned),
             LOG_NUMBER("migrated", sum.n_migrated), LOG_NUMBER("same_weights", sum.n_same),
             LOG_NUMBER("closed", sum.n_closed), LOG_NUMBER("busy", sum.n_busy),
             LOG_NUMBER("failed", sum.n_failed), LOG_NUMBER("seconds", seconds));
    if (request)
        answer(change, request, &sum, seconds);
    models_change_end(change->home->server->models);
    atomic_store(&change->home->server->changing, false);
    change_free(change);
}

/* ---- The walk ---- */

static void on_walked(struct shard *home, struct message *message)
{
    struct walk *walk = (struct walk *)message; /* its first member */

    (void)home;
    if (--walk->change->n_walking == 0)
        succeed(walk->change);
}

static void walk_some(struct shard *shard, struct message *message);

/* When the store has done with what a slice asked of it, the next one follows. */
static void walk_on(struct walk *walk)
{
    if (walk->sessions.n_tasks > 0)
        return;
    walk->message.run = walk->more ? walk_some : on_walked;
    shard_post(walk->more ? walk->shard : walk->change->home, &walk->message);
}

static void on_task_ended(struct sessions_change *sessions)
{
    walk_on((struct walk *)(void *)((char *)sessions - offsetof(struct walk, sessions)));
}

static void walk_some(struct shard *shard, struct message *message)
{
    struct walk *walk = (struct walk *)message; /* its first member */

    walk->more = sessions_change_some(shard->sessions, &walk->sessions, SLICE);
    walk_on(walk);
}

static void walk_all(struct change *change)
{
    struct server *server = change->home->server;

    change->n_walking = server->n_shards;
    for (unsigned i = 0; i < server->n_shards; i++) {
        struct walk *walk = &change->walks[i];

        *walk = (struct walk){.message = {.run = walk_some},
                              .sessions = {.model_name = change->name,
                                           .model = change->fresh.model,
                                           .policy = change->policy,
                                           .task_ended = on_task_ended},
                              .shard = server->shards[i],
                              .change = change};
        shard_post(walk->shard, &walk->message);
    }
}

/* ---- The change ---- */

static int change_table(struct change *change)
{
    struct models *models = change->home->server->models;
    int rc;

    if (change->kind == KIND_UNLOAD)
        return models_retire(models, change->name, &change->old, &change->err);
    rc = models_serve(models, &change->fresh, &change->old, &change->err);
    if (rc == 0)
        (void)rnn_model_ref(change->fresh.model); /* the table has the other */
    return rc;
}

/* What is to be served is open.  On the way out, nothing is begun that shards would wait for. */
static void go(struct change *change)
{
    struct server *server = change->home->server;

    atomic_store(&server->changing, true);
    if (atomic_load(&server->draining))
        change->rc = rnn_fail(&change->err, RNN_EBUSY, "the server is shutting down");
    else
        change->rc = change_table(change);
    if (change->rc == 0) {
        walk_all(change);
        return;
    }
    atomic_store(&server->changing, false);
    fail(change);
}

static void open_folder(uv_work_t *work)
{
    struct change *change = work->data;

    change->rc =
        models_open_again(change->home->server->models, change->name, &change->fresh, &change->err);
}

static void on_opened(uv_work_t *work, int status)
{
    struct change *change = work->data;

    (void)status; /* it is never cancelled */
    shard_clock(change->home);
    shard_keep_turning(change->home); /* what is answered here leaves in a turn */
    if (change->rc < 0)
        fail(change);
    else
        go(change);
}

/* ---- The request ---- */

static void on_gone(struct request *request)
{
    struct change *change = request->user;

    change->request = NULL;
}

static const struct request_hooks hooks = {.gone = on_gone};

/* A page of any site could ask in the name of a browser on this machine, where no key is asked for.
 */
static bool may_change(struct request *request)
{
    const char *admins = shard_config(request->shard)->admin_keys;

    if (!keys_admin(admins, request->key_name)) {
        metrics_count(request->shard->metrics, M_REJECTED_KEY, 1);
        if (*request->key_name)
            reply_error(request, REPLY_NOT_ADMIN, NULL,
                        "key '%s' may not change models (admin_keys)", request->key_name);
        else
            reply_error(request, REPLY_NOT_ADMIN, NULL,
                        "without keys nobody may change models, unless admin_keys is *");
        return false;
    }
    if (!*request->key_name && http_header(request, "Origin")) {
        reply_error(request, REPLY_ORIGIN, "Origin",
                    "Origin: pages may change models only with a key");
        return false;
    }
    return true;
}

static int read_policy(void *out, const struct cJSON *body, const struct config *config,
                       struct rnn_err *err)
{
    static const char *const allowed[] = {"sessions", NULL};
    static const char *const policies[] = {"pin", "migrate", "close", NULL};
    unsigned policy = SESSIONS_PIN;
    int rc = body_only(body, allowed, NULL, err);

    (void)config;
    if (rc == 0)
        rc = body_word(body, "sessions", policies, &policy, err);
    *(enum sessions_policy *)out = (enum sessions_policy)policy;
    return rc;
}

static bool read_body(struct request *request, enum sessions_policy *policy)
{
    struct rnn_err err = {0};

    if (!api_accepts(request))
        return false;
    if (body_read(policy, request->body, request->body_len, true, read_policy,
                  shard_config(request->shard), &err) == 0)
        return true;
    api_refuse(request, &err);
    return false;
}

/* Whether the table is such that this change makes sense; answers otherwise. */
static bool is_due(struct request *request, enum kind kind, const char *name,
                   enum sessions_policy policy)
{
    struct model_entry entry;

    if (kind == KIND_UNLOAD && policy == SESSIONS_MIGRATE) {
        reply_error(request, REPLY_NOT_POSSIBLE, "sessions",
                    "sessions: an unload has no weights to migrate to; want pin or close");
        return false;
    }
    if (kind != KIND_LOAD) {
        if (!api_model(request, name, &entry))
            return false;
    } else if (models_get(request->shard->server->models, name, &entry, NULL) < 0) {
        return true;
    } else {
        reply_error(request, REPLY_MODEL_EXISTS, "name", "'%.128s' is served already; want reload",
                    name);
    }
    rnn_model_unref(entry.model);
    return kind != KIND_LOAD;
}

static struct change *change_new(struct request *request, enum kind kind, const char *name,
                                 enum sessions_policy policy)
{
    unsigned n_shards = request->shard->server->n_shards;
    struct change *change = calloc(1, sizeof *change + n_shards * sizeof *change->walks);

    if (!change)
        return NULL;
    change->work.data = change;
    change->home = request->shard;
    change->kind = kind;
    change->policy = policy;
    change->began_ns = request->shard->now_ns;
    snprintf(change->name, sizeof change->name, "%s", name);
    snprintf(change->key_name, sizeof change->key_name, "%s", request->key_name);
    change->request = request;
    return change;
}

/* With the table's only change begun. */
static void start(struct request *request, enum kind kind, const char *name,
                  enum sessions_policy policy)
{
    struct change *change = change_new(request, kind, name, policy);

    if (!change) {
        models_change_end(request->shard->server->models);
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
        return;
    }
    request->user = change;
    request->hooks = &hooks;
    if (kind == KIND_UNLOAD)
        go(change);
    else /* cannot fail with a callback */
        (void)uv_queue_work(request->shard->loop, &change->work, open_folder, on_opened);
}

static void change_model(struct request *request, enum kind kind, const char *name)
{
    struct models *models = request->shard->server->models;
    enum sessions_policy policy;
    struct rnn_err err = {0};

    if (!may_change(request) || !read_body(request, &policy))
        return;
    if (models_change_begin(models, &err) < 0)
        reply_error(request, REPLY_MODEL_BUSY, NULL, "%s", err.text);
    else if (is_due(request, kind, name, policy))
        start(request, kind, name, policy);
    else
        models_change_end(models);
}

void api_model_load(struct request *request, const char *arg)
{
    change_model(request, KIND_LOAD, arg);
}

void api_model_unload(struct request *request, const char *arg)
{
    change_model(request, KIND_UNLOAD, arg);
}

void api_model_reload(struct request *request, const char *arg)
{
    change_model(request, KIND_RELOAD, arg);
}
