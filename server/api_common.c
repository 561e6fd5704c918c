/* Fields and checks that the compute endpoints share.  See api.h. */
#include "server/api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "server/metrics.h"

static int read_place(struct api_common *out, const struct cJSON *body, struct rnn_err *err)
{
    static const char *const busy[] = {"queue", "reject", NULL};
    int64_t position = -1;
    unsigned if_busy = 0;
    int rc = body_name(body, "model", out->model, sizeof out->model, err);

    if (rc == 0)
        rc = body_name(body, "session", out->session, sizeof out->session, err);
    if (rc == 0)
        rc = json_read_bool(body, "", "commit", &out->commit, err);
    if (rc == 0)
        rc = body_word(body, "if_busy", busy, &if_busy, err);
    if (rc == 0)
        rc = json_read_int(body, "", "expect_position", 0, JSON_INT_MAX, &position, err);
    if (rc == 0)
        rc = json_read_int(body, "", "deadline_ms", 1, 86400000, &out->deadline_ms, err);
    out->reject_busy = if_busy == 1;
    out->has_expect_position = position >= 0;
    out->expect_position = position >= 0 ? (uint64_t)position : 0;
    return rc;
}

/* Where a sequence without a session begins, and whether its end is wanted back. */
static int read_states(struct api_common *out, const struct cJSON *body,
                       const struct config *config, struct rnn_err *err)
{
    int rc = body_name(body, "initial_state", out->initial_state, sizeof out->initial_state, err);

    if (rc == 0)
        rc = json_read_bool(body, "", "return_state", &out->return_state, err);
    if (rc == 0)
        rc = body_text(body, "state", &out->state, err);
    out->penalty_memory = -1;
    if (rc == 0)
        rc = json_read_int(body, "", "penalty_memory", 0, config->penalty_memory_max,
                           &out->penalty_memory, err);
    if (rc < 0)
        return rc;
    if (out->initial_state[0] && (out->state || out->session[0]))
        return rnn_fail_at(err, RNN_EFORMAT, "initial_state", -1,
                           "initial_state: excludes state and session");
    if (out->state && out->session[0])
        return rnn_fail_at(err, RNN_EFORMAT, "state", -1, "state: excludes session");
    if (out->penalty_memory >= 0 && out->session[0])
        return rnn_fail_at(err, RNN_EFORMAT, "penalty_memory", -1,
                           "penalty_memory: excludes session, which is opened with its own");
    return 0;
}

static bool begins_somewhere(const struct api_common *common)
{
    return common->session[0] || common->state || common->initial_state[0];
}

static int read_common(struct api_common *out, const struct cJSON *body,
                       const struct config *config, struct rnn_err *err)
{
    int rc = read_place(out, body, err);

    if (rc < 0)
        return rc;
    if (json_get(body, "session") && !session_id_valid(out->session))
        return rnn_fail_at(err, RNN_EFORMAT, "session", -1,
                           "session: want 1 to %d characters of A-Z a-z 0-9 . _ -", SESSION_ID_MAX);
    if (out->has_expect_position && !out->session[0])
        return rnn_fail_at(err, RNN_EFORMAT, "expect_position", -1,
                           "expect_position: only with a session");
    rc = read_states(out, body, config, err);
    if (rc == 0)
        rc = input_read(&out->inputs, "input", body, config, err);
    if (rc < 0)
        return rc;
    if (out->inputs.batch && (out->session[0] || out->state))
        return rnn_fail_at(err, RNN_EFORMAT, "inputs", -1, "inputs: excludes session and state");
    if (!begins_somewhere(out) && out->inputs.items[0].kind == INPUT_EMPTY)
        return rnn_fail_at(err, RNN_EFORMAT, "input", -1,
                           "input: is missing or empty, which only a session or a state allows");
    return 0;
}

int api_common_read(struct api_common *out, const struct cJSON *body, const struct config *config,
                    struct rnn_err *err)
{
    int rc;

    *out = (struct api_common){.commit = true};
    rc = read_common(out, body, config, err);
    if (rc < 0)
        api_common_free(out);
    return rc;
}

void api_common_free(struct api_common *common)
{
    input_list_free(&common->inputs);
    if (common->state)
        explicit_bzero(common->state, strlen(common->state));
    free(common->state);
    common->state = NULL;
}

static int apply_window(const struct api_common *common, struct job *job, struct rnn_err *err)
{
    job->has_window = common->penalty_memory >= 0;
    if (!job->has_window)
        return 0;
    return api_window(rnn_model_info(job->model), shard_config(job->home), common->penalty_memory,
                      0, &job->window, err);
}

/* Fills in the job's fields; finds the model where no session names it. */
static int apply(const struct api_common *common, struct job *job, enum reply_error *error,
                 struct rnn_err *err)
{
    struct model_entry entry;
    int rc;

    memcpy(job->model_name, common->model, sizeof job->model_name);
    memcpy(job->session_id, common->session, sizeof job->session_id);
    job->commit = common->commit;
    job->reject_busy = common->reject_busy;
    job->has_expect_position = common->has_expect_position;
    job->expect_position = common->expect_position;
    job->deadline_ms = common->deadline_ms;
    memcpy(job->initial_state, common->initial_state, sizeof job->initial_state);
    job->return_state = common->return_state;
    if (common->state) {
        job->sealed = strdup(common->state);
        if (!job->sealed)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    if (common->session[0])
        return 0;
    rc = models_get(job->home->server->models, common->model, &entry, err);
    if (rc < 0) {
        *error = rc == RNN_ENOENT && !common->model[0] ? REPLY_MALFORMED : reply_error_of(err);
        snprintf(err->param, sizeof err->param, "model");
        return rc;
    }
    job->model = entry.model;
    memcpy(job->model_name, entry.name, sizeof job->model_name);
    rc = apply_window(common, job, err);
    if (rc < 0)
        *error = reply_error_of(err);
    return rc;
}

static int check_walks(const struct job *job, struct rnn_err *err)
{
    uint64_t max = shard_config(job->work)->walk_max_bytes;
    size_t total = 0;

    for (size_t i = 0; i < job->n_sequences; i++) {
        size_t n = job->sequences[i].input.n;

        if (!checked_add(total, rnn_walk_bytes(job->model, n), &total) || total > max)
            return rnn_fail_at(err, RNN_ELIMIT, "input", -1,
                               "input: %zu steps of a model that keeps them all would take more "
                               "than %llu bytes (walk_max_bytes)",
                               n, (unsigned long long)max);
    }
    return 0;
}

struct job *api_job(struct sink *sink, size_t size, const struct job_ops *ops,
                    const struct api_common *common)
{
    enum reply_error error = REPLY_NO_MEMORY;
    struct rnn_err err = {0};
    struct job *job = calloc(1, size);

    if (!job) {
        sink_fail(sink, error, NULL, "out of memory");
        return NULL;
    }
    if (job_init(job, ops, sink, &err) == 0 && apply(common, job, &error, &err) == 0)
        return job;
    sink_fail(sink, error, err.param, "%s", err.text);
    job_drop(job);
    return NULL;
}

int api_sequences(struct job *job, struct input_list *inputs, size_t each, uint64_t *input_steps,
                  struct rnn_err *err)
{
    size_t n;
    int rc;

    if (!checked_mul(inputs->n, each, &n))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = job_sequences(job, n, err);
    for (size_t i = 0; rc == 0 && i < inputs->n; i++) {
        struct job_sequence *sequence = &job->sequences[i * each];

        rc = input_resolve(inputs, i, job->model, err);
        sequence->input = input_walk(&inputs->items[i]);
        *input_steps += inputs->items[i].n;
    }
    return rc == 0 ? check_walks(job, err) : rc;
}

bool api_decodes(const struct rnn_model_info *info)
{
    return info->topology == RNN_ONE_TO_MANY || info->topology == RNN_SEQ2SEQ;
}

bool api_answers_steps(const struct rnn_model_info *info)
{
    return info->topology == RNN_SYNCED || info->topology == RNN_REPEAT;
}

int api_want_writer(const struct rnn_model_info *info, const char *verb, struct rnn_err *err)
{
    if (info->language_model || api_decodes(info))
        return 0;
    return rnn_fail_at(err, REPLY_EINPUT, "model", -1,
                       "model: only a model that predicts its own next token can %s", verb);
}

size_t api_window_preset(const struct rnn_model_info *info, const struct config *config)
{
    int64_t window = config->penalty_memory, max = config->penalty_memory_max;

    return info->language_model ? (size_t)(window < max ? window : max) : 0;
}

int api_window(const struct rnn_model_info *info, const struct config *config, int64_t asked,
               size_t kept, size_t *window, struct rnn_err *err)
{
    if (asked > 0 && !info->language_model)
        return rnn_fail_at(err, REPLY_EINPUT, "penalty_memory", -1,
                           "penalty_memory: only of a model that goes on with its own text");
    if (asked < 0 && kept > (uint64_t)config->penalty_memory_max)
        return rnn_fail_at(err, REPLY_EINPUT, "penalty_memory", -1,
                           "penalty_memory: the state comes with %zu, at most %lld are allowed "
                           "here (penalty_memory_max)",
                           kept, (long long)config->penalty_memory_max);
    if (asked >= 0)
        *window = (size_t)asked;
    else
        *window = kept > 0 ? kept : api_window_preset(info, config);
    return 0;
}

void api_refuse(struct request *request, const struct rnn_err *err)
{
    metrics_count(request->shard->metrics, M_REJECTED_INPUT, 1);
    reply_failure(request, err);
}

bool api_model(struct request *request, const char *name, struct model_entry *out)
{
    struct rnn_err err = {0};
    int rc = models_get(request->shard->server->models, name, out, &err);

    if (rc == 0)
        return true;
    reply_error(request, rc == RNN_ENOENT && !name[0] ? REPLY_MALFORMED : reply_error_of(&err),
                "model", "%s", err.text);
    return false;
}

/* application/json and application/…+json; text/json; and the type that curl and HTML forms put on
 * data of which they know nothing. */
static bool json_type(const char *type)
{
    size_t len = strcspn(type, "; \t");
    static const char *const accepted[] = {"application/json", "text/json", "text/plain",
                                           "application/x-www-form-urlencoded"};

    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        if (strlen(accepted[i]) == len && strncasecmp(type, accepted[i], len) == 0)
            return true;
    }
    return len > 17 && strncasecmp(type, "application/", 12) == 0 &&
           strncasecmp(type + len - 5, "+json", 5) == 0;
}

bool api_accepts(struct request *request)
{
    const char *type = http_header(request, "Content-Type");
    const char *encoding = http_header(request, "Content-Encoding");

    if (encoding && *encoding && strcasecmp(encoding, "identity") != 0) {
        reply_error(request, REPLY_MEDIA_TYPE, "Content-Encoding",
                    "Content-Encoding: want none, found '%.40s'", encoding);
        return false;
    }
    if (request->body_len > 0 && type && *type && !json_type(type)) {
        reply_error(request, REPLY_MEDIA_TYPE, "Content-Type",
                    "Content-Type: want application/json, found '%.40s'", type);
        return false;
    }
    return true;
}

bool api_read(struct request *request, api_reader *read, void *out)
{
    struct rnn_err err = {0};

    if (!api_accepts(request))
        return false;
    if (read(out, request->body, request->body_len, shard_config(request->shard), &err) == 0)
        return true;
    api_refuse(request, &err);
    return false;
}
