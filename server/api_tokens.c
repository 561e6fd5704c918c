/* POST /tokenize and /detokenize: a model's own tokenizers, without a step. */
#include "server/api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "server/answer.h"

/* ---- Reading ---- */

static int check_length(size_t n, const char *key, const struct config *config, struct rnn_err *err)
{
    if (n <= (size_t)config->input_steps_max)
        return 0;
    return rnn_fail_at(err, RNN_ELIMIT, key, -1, "%s: want at most %lld (input_steps_max)", key,
                       (long long)config->input_steps_max);
}

/* Which of its two names the one field was sent by; RNN_EFORMAT unless it is exactly one. */
static int one_of_two(const struct cJSON *body, const char *name, const char *other,
                      const char **key, struct rnn_err *err)
{
    bool has = json_get(body, name), has_other = json_get(body, other);

    if (has == has_other)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1,
                           has ? "%s: excludes %s" : "%s: is missing (%s is taken, too)", name,
                           other);
    *key = has ? name : other;
    return 0;
}

/* What both bodies have: the model and the side. */
static int read_whose(struct tokens_request *out, const struct cJSON *body, struct rnn_err *err)
{
    static const char *const sides[] = {
        [SIDE_SOURCE] = "source", [SIDE_TARGET] = "target", [SIDE_UNSAID] = NULL};
    int rc = body_name(body, "model", out->model, sizeof out->model, err);

    out->side = SIDE_UNSAID;
    return rc == 0 ? body_word(body, "side", sides, &out->side, err) : rc;
}

static int read_text(void *out, const struct cJSON *body, const struct config *config,
                     struct rnn_err *err)
{
    struct tokens_request *request = out;
    static const char *const allowed[] = {"model", "text", "input", "side", NULL};
    const char *key = NULL;
    int rc = body_only(body, allowed, NULL, err);

    if (rc == 0)
        rc = read_whose(request, body, err);
    if (rc == 0)
        rc = one_of_two(body, "text", "input", &key, err);
    request->key = key;
    if (rc == 0)
        rc = body_text(body, key, &request->text, err);
    return rc == 0
               ? check_length(utf8_length(request->text, strlen(request->text)), key, config, err)
               : rc;
}

int tokenize_read(void *out, const char *text, size_t len, const struct config *config,
                  struct rnn_err *err)
{
    struct tokens_request *request = out;
    int rc;

    *request = (struct tokens_request){0};
    rc = body_read(request, text, len, false, read_text, config, err);
    if (rc < 0)
        tokens_request_free(request);
    return rc;
}

static int read_ids(struct tokens_request *out, const struct cJSON *tokens, const char *key,
                    struct rnn_err *err)
{
    const struct cJSON *item;
    char path[64];

    for (item = tokens->child; item; item = item->next) {
        double id = item->valuedouble;

        if (!cJSON_IsNumber(item) || id != floor(id)) {
            snprintf(path, sizeof path, "%.20s[%zu]", key, out->n);
            return rnn_fail_at(err, RNN_ETYPE, path, -1, "%s: want a token id (a whole number)",
                               path);
        }
        out->tokens[out->n++] = id >= 0 && id < UINT32_MAX ? (uint32_t)id : UINT32_MAX;
    }
    return 0;
}

static int read_tokens(void *out, const struct cJSON *body, const struct config *config,
                       struct rnn_err *err)
{
    struct tokens_request *request = out;
    static const char *const allowed[] = {"model", "tokens", "input", "side", NULL};
    const struct cJSON *tokens;
    const char *key = NULL;
    int rc = body_only(body, allowed, NULL, err);

    if (rc == 0)
        rc = read_whose(request, body, err);
    if (rc == 0)
        rc = one_of_two(body, "tokens", "input", &key, err);
    if (rc < 0)
        return rc;
    tokens = json_get(body, key);
    if (!cJSON_IsArray(tokens))
        return rnn_fail_at(err, RNN_ETYPE, key, -1, "%s: want an array of token ids", key);
    rc = check_length((size_t)cJSON_GetArraySize(tokens), key, config, err);
    if (rc < 0)
        return rc;
    request->key = key;
    request->tokens = calloc((size_t)cJSON_GetArraySize(tokens) + 1, sizeof *request->tokens);
    return request->tokens ? read_ids(request, tokens, key, err)
                           : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

int detokenize_read(void *out, const char *text, size_t len, const struct config *config,
                    struct rnn_err *err)
{
    struct tokens_request *request = out;
    int rc;

    *request = (struct tokens_request){0};
    rc = body_read(request, text, len, false, read_tokens, config, err);
    if (rc < 0)
        tokens_request_free(request);
    return rc;
}

void tokens_request_free(struct tokens_request *request)
{
    free(request->text);
    free(request->tokens);
    *request = (struct tokens_request){0};
}

/* ---- Answering ---- */

/* Whose vocabulary is meant: `usual` where the request does not say and the model has two.  Answers
 * and returns false where there is no such vocabulary. */
static bool choose_side(struct request *request, struct tokens_request *what,
                        const struct model_entry *entry, enum tokens_side usual)
{
    const struct rnn_model_info *info = rnn_model_info(entry->model);
    bool takes_frames = info->input_kind == RNN_INPUT_DENSE;

    if (!info->tokenizer) {
        reply_error(request, REPLY_NOT_POSSIBLE, "model", "model '%s' has no vocabulary",
                    entry->name);
        return false;
    }
    if (what->side == SIDE_SOURCE && takes_frames) {
        reply_error(request, REPLY_NOT_POSSIBLE, "side",
                    "side: model '%s' takes frames, not text; its vocabulary is the target's",
                    entry->name);
        return false;
    }
    if (what->side != SIDE_UNSAID && !takes_frames && !info->source_tokenizer) {
        reply_error(request, REPLY_NOT_POSSIBLE, "side",
                    "side: model '%s' has one vocabulary, for what it takes and gives",
                    entry->name);
        return false;
    }
    if (what->side == SIDE_UNSAID)
        what->side = takes_frames ? SIDE_TARGET : usual;
    return true;
}

static void put_ids(struct buf *out, const uint32_t *ids, size_t n)
{
    buf_puts(out, ",\"tokens\":[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_u64(out, ids[i]);
    }
    buf_puts(out, "],\"count\":");
    buf_u64(out, n);
}

static int encode(const struct rnn_model *model, const struct tokens_request *what, size_t len,
                  uint32_t *ids, size_t *n, struct rnn_err *err)
{
    struct rnn_encoder encoder = {0};

    if (what->side == SIDE_TARGET)
        return rnn_encode_target(model, &encoder, what->text, len, true, ids, n, err);
    return rnn_encode(model, &encoder, what->text, len, true, ids, n, err);
}

static void tokenize(struct request *request, const struct tokens_request *what,
                     const struct model_entry *entry)
{
    struct rnn_err err = {.offset = -1};
    struct buf body = {0};
    size_t n = 0, len = strlen(what->text);
    uint32_t *ids = calloc(len + 1, sizeof *ids);

    if (!ids) {
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
        return;
    }
    if (encode(entry->model, what, len, ids, &n, &err) < 0) {
        rnn_err_prefix(&err, "%s: ", what->key);
        snprintf(err.param, sizeof err.param, "%s", what->key);
        api_refuse(request, &err);
    } else {
        buf_puts(&body, "{\"model\":");
        answer_text(&body, entry->name);
        put_ids(&body, ids, n);
        buf_putc(&body, '}');
        reply_json(request, 200, &body);
    }
    free(ids);
}

void api_tokenize(struct request *request, const char *arg)
{
    struct tokens_request what;
    struct model_entry entry;

    (void)arg;
    if (!api_read(request, tokenize_read, &what))
        return;
    if (api_model(request, what.model, &entry)) {
        if (choose_side(request, &what, &entry, SIDE_SOURCE))
            tokenize(request, &what, &entry);
        rnn_model_unref(entry.model);
    }
    tokens_request_free(&what);
}

static void detokenize(struct request *request, const struct tokens_request *what,
                       const struct model_entry *entry)
{
    const struct rnn_model_info *info = rnn_model_info(entry->model);
    bool source = what->side == SIDE_SOURCE;
    size_t n_tokens = source ? info->input_size : info->decoder_size;
    struct rnn_decoder decoder = {0};
    struct buf text = {0}, body = {0};

    for (size_t i = 0; i < what->n; i++) {
        const char *piece = "";
        char path[64];
        size_t len;

        if (what->tokens[i] >= n_tokens) {
            snprintf(path, sizeof path, "%.20s[%zu]", what->key, i);
            reply_error(request, REPLY_NOT_POSSIBLE, path,
                        "%s: this model's token ids are 0 to %zu", path, n_tokens - 1);
            buf_free(&text);
            return;
        }
        len = (source ? rnn_decode_source : rnn_decode)(entry->model, &decoder, what->tokens[i],
                                                        &piece);
        buf_put(&text, piece, len);
    }
    buf_puts(&body, "{\"model\":");
    answer_text(&body, entry->name);
    buf_puts(&body, ",\"text\":");
    buf_json_string(&body, text.data ? text.data : "", text.len);
    buf_putc(&body, '}');
    body.failed |= text.failed;
    buf_free(&text);
    reply_json(request, 200, &body);
}

void api_detokenize(struct request *request, const char *arg)
{
    struct tokens_request what;
    struct model_entry entry;

    (void)arg;
    if (!api_read(request, detokenize_read, &what))
        return;
    if (api_model(request, what.model, &entry)) {
        if (choose_side(request, &what, &entry, SIDE_TARGET))
            detokenize(request, &what, &entry);
        rnn_model_unref(entry.model);
    }
    tokens_request_free(&what);
}
