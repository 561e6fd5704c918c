/* POST /generate: reads the request.  What is computed and answered is in task_generate.c,
 * or by a beam search in task_beam.c. */
#include "server/api.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS_PRESET = 256, LOGPROBS_MAX = 100, BIAS_MAX = 10000, PENALTY_MAX = 100 };

static const char *const allowed[] = {API_COMMON_FIELDS,
                                      "max_tokens",
                                      "max_frames",
                                      "temperature",
                                      "top_k",
                                      "top_p",
                                      "min_p",
                                      "typical_p",
                                      "repetition_penalty",
                                      "presence_penalty",
                                      "frequency_penalty",
                                      "logit_bias",
                                      "stop",
                                      "seed",
                                      "n",
                                      "logprobs",
                                      "echo",
                                      "stream",
                                      "return",
                                      "best_of",
                                      "beam_width",
                                      "length_penalty",
                                      NULL};

/* Of these, what frames have no use for. */
static const char *const of_tokens[] = {"top_k",
                                        "top_p",
                                        "min_p",
                                        "typical_p",
                                        "repetition_penalty",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "logit_bias",
                                        "stop",
                                        "logprobs",
                                        "echo",
                                        "best_of",
                                        NULL};

/* The first of `names` that the body has; NULL: none. */
static const char *given(const struct cJSON *body, const char *const *names)
{
    while (*names && !json_get(body, *names))
        names++;
    return *names;
}

static int read_float(const struct cJSON *body, const char *key, double min, double max, float *out,
                      struct rnn_err *err)
{
    double value = (double)*out;
    int rc = json_read_double(body, "", key, min, max, &value, err);

    *out = (float)value;
    return rc;
}

static int read_share(const struct cJSON *body, const char *key, float *out, struct rnn_err *err)
{
    double value = (double)*out;
    int rc = body_share(body, key, &value, err);

    *out = (float)value;
    return rc;
}

static int read_penalties(struct rnn_sampling *s, const struct cJSON *body, struct rnn_err *err)
{
    int rc = read_float(body, "repetition_penalty", 0, PENALTY_MAX, &s->repetition_penalty, err);

    if (rc == 0 && s->repetition_penalty <= 0)
        rc = rnn_fail_at(err, RNN_ERANGE, "repetition_penalty", -1,
                         "repetition_penalty: want more than 0 and at most %d", PENALTY_MAX);
    if (rc == 0)
        rc = read_float(body, "presence_penalty", -PENALTY_MAX, PENALTY_MAX, &s->presence_penalty,
                        err);
    if (rc == 0)
        rc = read_float(body, "frequency_penalty", -PENALTY_MAX, PENALTY_MAX, &s->frequency_penalty,
                        err);
    return rc;
}

static int read_sampling(struct rnn_sampling *s, const struct cJSON *body, struct rnn_err *err)
{
    int64_t top_k = 0;
    int rc = read_float(body, "temperature", 0, 100, &s->temperature, err);

    if (rc == 0)
        rc = json_read_int(body, "", "top_k", 0, INT32_MAX, &top_k, err);
    if (rc == 0)
        rc = read_share(body, "top_p", &s->top_p, err);
    if (rc == 0)
        rc = read_float(body, "min_p", 0, 1, &s->min_p, err);
    if (rc == 0)
        rc = read_share(body, "typical_p", &s->typical_p, err);
    s->top_k = (uint32_t)top_k;
    return rc == 0 ? read_penalties(s, body, err) : rc;
}

/* One member of logit_bias: a number, or false. */
static int read_bias(struct bias_entry *out, const struct cJSON *json, struct rnn_err *err)
{
    if (cJSON_IsFalse(json)) {
        out->ban = true;
    } else if (!cJSON_IsNumber(json)) {
        return rnn_fail_at(err, RNN_ETYPE, "logit_bias", -1,
                           "logit_bias: '%.40s': want a number, or false to ban the token",
                           json->string);
    } else if (json->valuedouble < -BIAS_MAX || json->valuedouble > BIAS_MAX) {
        return rnn_fail_at(err, RNN_ERANGE, "logit_bias", -1,
                           "logit_bias: '%.40s': want a number of -%d to %d", json->string,
                           BIAS_MAX, BIAS_MAX);
    } else {
        out->bias = (float)json->valuedouble;
    }
    out->key = strdup(json->string);
    return out->key ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

static int read_biases(struct generate_request *out, const struct cJSON *body, struct rnn_err *err)
{
    const struct cJSON *object = json_get(body, "logit_bias"), *member;
    int rc = 0;

    if (!object)
        return 0;
    if (!cJSON_IsObject(object))
        return rnn_fail_at(err, RNN_ETYPE, "logit_bias", -1,
                           "logit_bias: want an object of token or id to number");
    out->bias = calloc((size_t)cJSON_GetArraySize(object) + 1, sizeof *out->bias);
    if (!out->bias)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (member = object->child; member && rc == 0; member = member->next)
        rc = read_bias(&out->bias[out->n_bias++], member, err);
    return rc;
}

static int read_counts(struct generate_request *out, const struct cJSON *body,
                       const struct config *config, struct rnn_err *err)
{
    int64_t max_tokens = MAX_TOKENS_PRESET, seed = -1, n = 1, best_of = -1, logprobs = -1;
    int rc;

    out->max_name = json_get(body, "max_frames") ? "max_frames" : "max_tokens";
    out->has_max_tokens = json_get(body, out->max_name) != NULL;
    if (json_get(body, "max_frames") && json_get(body, "max_tokens"))
        return rnn_fail_at(err, RNN_EFORMAT, "max_frames", -1, "max_frames: excludes max_tokens");
    if (max_tokens > config->output_tokens_max)
        max_tokens = config->output_tokens_max;
    rc = json_read_int(body, "", out->max_name, 0, config->output_tokens_max, &max_tokens, err);
    if (rc == 0)
        rc = json_read_int(body, "", "seed", 0, JSON_INT_MAX, &seed, err);
    if (rc == 0)
        rc = json_read_int(body, "", "n", 1, config->choices_max, &n, err);
    if (rc == 0)
        rc = json_read_int(body, "", "best_of", n, config->choices_max, &best_of, err);
    if (rc == 0)
        rc = json_read_int(body, "", "logprobs", 0, LOGPROBS_MAX, &logprobs, err);
    out->max_tokens = (uint64_t)max_tokens;
    out->has_seed = seed >= 0;
    out->seed = seed >= 0 ? (uint64_t)seed : 0;
    out->n = (size_t)(best_of > n ? best_of : n);
    out->n_best = (size_t)n;
    out->logprobs = (int)logprobs;
    return rc;
}

/* A beam search draws nothing, and knows its texts only at its end. */
static int read_beam(struct generate_request *out, const struct cJSON *body,
                     const struct config *config, struct rnn_err *err)
{
    static const char *const excluded[] = {"temperature",
                                           "top_k",
                                           "top_p",
                                           "min_p",
                                           "typical_p",
                                           "repetition_penalty",
                                           "presence_penalty",
                                           "frequency_penalty",
                                           "logit_bias",
                                           "seed",
                                           "stop",
                                           "logprobs",
                                           "echo",
                                           "stream",
                                           "max_frames",
                                           NULL};
    int64_t width = 0;
    int rc = json_read_int(body, "", "beam_width", 1, config->choices_max, &width, err);

    out->length_penalty = 1;
    if (rc == 0)
        rc = json_read_double(body, "", "length_penalty", 0, 10, &out->length_penalty, err);
    if (rc < 0)
        return rc;
    if (width == 0 && json_get(body, "length_penalty"))
        return rnn_fail_at(err, RNN_EFORMAT, "length_penalty", -1,
                           "length_penalty: only with beam_width");
    if (width > 0 && given(body, excluded))
        return rnn_fail_at(err, RNN_EFORMAT, given(body, excluded), -1,
                           "%s: excluded by beam_width", given(body, excluded));
    out->beam_width = (size_t)width;
    if (width > 0 && out->n_best > out->beam_width)
        return rnn_fail_at(err, RNN_ERANGE, "n", -1, "n: want at most beam_width, %zu",
                           out->beam_width);
    if (width > 0 && out->max_tokens == 0)
        return rnn_fail_at(err, RNN_ERANGE, "max_tokens", -1,
                           "max_tokens: want at least 1 with beam_width");
    return 0;
}

/* What the events of a stream show beside their token. */
static int read_returns(struct generate_request *out, const struct cJSON *body, struct rnn_err *err)
{
    static const char *const words[] = {"hidden", "cell", "gates", NULL};
    static const unsigned bits[] = {PREDICT_HIDDEN, PREDICT_CELL, PREDICT_GATES};
    unsigned set = 0;
    int rc = body_words(body, "return", words, NULL, &set, err);

    for (unsigned i = 0; i < 3; i++)
        out->returns |= set & 1u << i ? bits[i] : 0;
    if (rc < 0 || set == 0)
        return rc;
    if (!out->stream)
        return rnn_fail_at(err, RNN_EFORMAT, "return", -1,
                           "return: only with stream; POST /predict with steps: all looks at a "
                           "text that is there");
    if (out->n > 1)
        return rnn_fail_at(err, RNN_EFORMAT, "return", -1, "return: want n to be 1");
    return 0;
}

static int check_best_of(const struct generate_request *request, struct rnn_err *err)
{
    if (request->n > request->n_best && request->stream)
        return rnn_fail_at(err, RNN_EFORMAT, "best_of", -1,
                           "best_of: which texts are the best is known at their end; want no "
                           "stream, or best_of equal to n");
    return 0;
}

static int check_session(const struct generate_request *request, struct rnn_err *err)
{
    const char *field = request->n > request->n_best ? "best_of" : "n";

    if (request->n > 1 && request->common.session[0] && request->common.commit)
        return rnn_fail_at(err, RNN_EFORMAT, field, -1,
                           "%s: want 1 with a session that is to be advanced; commit false allows "
                           "more",
                           field);
    if (request->beam_width > 0 && request->common.session[0] && request->common.commit)
        return rnn_fail_at(err, RNN_EFORMAT, "beam_width", -1,
                           "beam_width: not with a session that is to be advanced; commit false "
                           "allows it");
    return 0;
}

/* A check value of the fields that only generate has, whatever their order.  What all requests have
 * says where a text begins, which is looked at itself, or how its answer is waited for. */
static int check_fields(struct generate_request *request, const struct cJSON *body,
                        struct rnn_err *err)
{
    static const char *const others[] = {API_COMMON_FIELDS, "stream", NULL};

    if (!generate_may_resume(request))
        return 0;
    for (const struct cJSON *field = body->child; field; field = field->next) {
        uint64_t check = resume_check(RESUME_CHECK, field->string, strlen(field->string) + 1);
        char *text;

        if (cJSON_IsNull(field) || word_in(field->string, others, NULL))
            continue;
        text = cJSON_PrintUnformatted(field);
        if (!text)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
        request->check += resume_check(check, text, strlen(text));
        cJSON_free(text);
    }
    return 0;
}

static int read_fields(void *out, const struct cJSON *body, const struct config *config,
                       struct rnn_err *err)
{
    struct generate_request *request = out;
    int rc = body_only(body, allowed, NULL, err);

    request->has_temperature = json_get(body, "temperature") != NULL;
    request->token_field = given(body, of_tokens);
    if (rc == 0)
        rc = read_counts(request, body, config, err);
    if (rc == 0)
        rc = read_sampling(&request->sampling, body, err);
    if (rc == 0)
        rc = read_biases(request, body, err);
    if (rc == 0)
        rc = body_strings(body, "stop", (size_t)config->stop_max, &request->stop, &request->n_stop,
                          err);
    if (rc == 0)
        rc = json_read_bool(body, "", "echo", &request->echo, err);
    if (rc == 0)
        rc = json_read_bool(body, "", "stream", &request->stream, err);
    if (rc == 0)
        rc = read_returns(request, body, err);
    if (rc == 0)
        rc = read_beam(request, body, config, err);
    if (rc == 0)
        rc = api_common_read(&request->common, body, config, err);
    if (rc == 0)
        rc = check_best_of(request, err);
    if (rc == 0)
        rc = check_fields(request, body, err);
    return rc == 0 ? check_session(request, err) : rc;
}

int generate_fields(void *out, const struct cJSON *body, const struct config *config,
                    struct rnn_err *err)
{
    struct generate_request *request = out;
    int rc;

    *request = (struct generate_request){.sampling = RNN_SAMPLING_DEFAULT};
    rc = read_fields(request, body, config, err);
    if (rc < 0)
        generate_request_free(request);
    return rc;
}

int generate_read(void *out, const char *text, size_t len, const struct config *config,
                  struct rnn_err *err)
{
    return body_read(out, text, len, false, generate_fields, config, err);
}

void generate_request_free(struct generate_request *request)
{
    for (size_t i = 0; i < request->n_bias; i++)
        free(request->bias[i].key);
    free(request->bias);
    body_strings_free(request->stop, request->n_stop);
    api_common_free(&request->common);
    *request = (struct generate_request){0};
}

bool generate_may_resume(const struct generate_request *request)
{
    return request->stream && request->n == 1 && request->common.inputs.n == 1 &&
           request->beam_width == 0;
}

int generate_take_up(struct generate_request *request, const char *name, const char *id,
                     struct rnn_err *err)
{
    if (!generate_may_resume(request))
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "%s: only with stream, and one text", name);
    if (!resume_read(&request->resume, id))
        return rnn_fail_at(err, RNN_EFORMAT, name, -1,
                           "%s: want the id of an event of such a stream", name);
    request->resume_by = name;
    return 0;
}

static bool take_up(struct request *request, struct generate_request *what)
{
    const char *id = http_header(request, "Last-Event-ID");
    struct rnn_err err = {0};

    if (!id || !*id || generate_take_up(what, "Last-Event-ID", id, &err) == 0)
        return true;
    api_refuse(request, &err);
    return false;
}

void api_generate(struct request *request, const char *arg)
{
    struct generate_request what;

    (void)arg;
    if (!api_read(request, generate_read, &what))
        return;
    if (take_up(request, &what)) {
        if (what.beam_width > 0)
            task_beam(sink_of_request(request), &what);
        else
            task_generate(sink_of_request(request), &what);
    }
    generate_request_free(&what);
}
