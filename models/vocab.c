/* vocab.json: read, judged by itself, then judged against the model.  See vocab.h.
 *
 * Tokens are compared after sorting, so that a list of millions costs n log n.  Immutable results;
 * any thread. */
#include "models/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "core/spec.h"
#include "core/tokenizer.h"

enum { DEPTH_MAX = 3 };

/* ---- Lists of strings ---- */

static int by_text(const void *a, const void *b)
{
    const struct cJSON *const *left = a, *const *right = b;
    int order = strcmp((*left)->valuestring, (*right)->valuestring);

    if (order != 0)
        return order;
    return (*left)->valueint < (*right)->valueint ? -1 : (*left)->valueint > (*right)->valueint;
}

static int check_strings(const struct cJSON *list, const char *key, size_t *n, struct rnn_err *err)
{
    size_t i = 0;

    if (!cJSON_IsArray(list))
        return rnn_fail_at(err, RNN_ETYPE, key, -1, "%s: want an array of strings", key);
    for (const struct cJSON *item = list->child; item; item = item->next, i++) {
        if (!cJSON_IsString(item))
            return rnn_fail_at(err, RNN_ETYPE, key, -1, "%s[%zu]: want a string", key, i);
        if (item->valuestring[0] == '\0')
            return rnn_fail_at(err, RNN_EFORMAT, key, -1, "%s[%zu]: an empty string", key, i);
    }
    if (i == 0)
        return rnn_fail_at(err, RNN_EFORMAT, key, -1, "%s: an empty list", key);
    if (i > RNN_INPUT_MAX)
        return rnn_fail_at(err, RNN_ELIMIT, key, -1, "%s: %zu entries, at most %zu", key, i,
                           RNN_INPUT_MAX);
    *n = i;
    return 0;
}

/* `items` is scratch; the order of equal strings is that of the list. */
static int check_unique(struct cJSON **items, size_t n, const char *key, struct rnn_err *err)
{
    qsort(items, n, sizeof *items, by_text);
    for (size_t i = 1; i < n; i++)
        if (strcmp(items[i - 1]->valuestring, items[i]->valuestring) == 0)
            return rnn_fail_at(err, RNN_EFORMAT, key, -1, "%s[%d]: \"%.32s\" stands at %d already",
                               key, items[i]->valueint, items[i]->valuestring,
                               items[i - 1]->valueint);
    return 0;
}

/* The number of entries; each keeps its place in valueint, which strings leave unused. */
static int read_strings(struct cJSON *list, const char *key, size_t *n, struct rnn_err *err)
{
    struct cJSON **items;
    size_t i = 0;
    int rc = check_strings(list, key, n, err);

    if (rc < 0)
        return rc;
    items = calloc(*n, sizeof *items);
    if (!items)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (struct cJSON *item = list->child; item; item = item->next, i++) {
        item->valueint = (int)i;
        items[i] = item;
    }
    rc = check_unique(items, *n, key, err);
    free(items);
    return rc;
}

/* ---- Parts ---- */

static int read_specials(const struct cJSON *json, size_t n_tokens, struct vocab_specials *out,
                         struct rnn_err *err)
{
    int64_t last = (int64_t)n_tokens - 1;
    int rc = json_read_int(json, "", "unk", 0, last, &out->unk, err);

    if (rc == 0)
        rc = json_read_int(json, "", "bos", 0, last, &out->bos, err);
    if (rc == 0)
        rc = json_read_int(json, "", "eos", 0, last, &out->eos, err);
    if (rc == 0 && out->unk >= 0 && (out->unk == out->bos || out->unk == out->eos))
        rc = rnn_fail_at(err, RNN_ESHAPE, "unk", -1, "unk: the same id as bos or eos");
    return rc;
}

static int read_kind(const struct cJSON *json, const struct vocab_kind **out, struct rnn_err *err)
{
    const char *name = NULL;
    int rc = json_read_string(json, "", "kind", &name, err);

    if (rc < 0)
        return rc;
    if (!name)
        return rnn_fail_at(err, RNN_EFORMAT, "kind", -1, "kind is missing");
    for (size_t i = 0; vocab_kinds[i]; i++)
        if (strcmp(vocab_kinds[i]->name, name) == 0) {
            *out = vocab_kinds[i];
            return 0;
        }
    return rnn_fail_at(err, RNN_EUNSUPPORTED, "kind", -1,
                       "kind: no tokenizer is called '%.32s'; there is 'char'", name);
}

static int read_tokenizer(struct cJSON *json, struct vocab *vocab, struct rnn_err *err)
{
    struct cJSON *tokens = cJSON_GetObjectItemCaseSensitive(json, "tokens");
    const struct vocab_kind *kind = NULL;
    size_t n_tokens = 0;
    int rc;

    rc = read_kind(json, &kind, err);
    if (rc == 0)
        rc = read_strings(tokens, "tokens", &n_tokens, err);
    if (rc == 0)
        rc = read_specials(json, n_tokens, &vocab->specials, err);
    if (rc == 0)
        rc = kind->make(&vocab->tokenizer, tokens, n_tokens, &vocab->specials, err);
    return rc;
}

/* Pointers first, then the bytes they point to. */
static int read_labels(struct cJSON *json, struct vocab *vocab, struct rnn_err *err)
{
    struct cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "labels");
    size_t n, total, i = 0;
    char *at;
    int rc = read_strings(list, "labels", &n, err);

    if (rc < 0)
        return rc;
    total = (n + 1) * sizeof *vocab->labels; /* n ≤ RNN_INPUT_MAX */
    for (const struct cJSON *label = list->child; label; label = label->next)
        total += strlen(label->valuestring) + 1;
    vocab->labels = malloc(total);
    if (!vocab->labels)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    at = (char *)(vocab->labels + n + 1);
    for (const struct cJSON *label = list->child; label; label = label->next) {
        size_t size = strlen(label->valuestring) + 1;

        vocab->labels[i++] = memcpy(at, label->valuestring, size);
        at += size;
    }
    vocab->labels[n] = NULL;
    vocab->n_labels = n;
    return 0;
}

/* ---- The whole ---- */

static int read_vocab(struct cJSON *json, struct vocab *vocab, struct rnn_err *err)
{
    static const char *const keys[] = {"kind", "tokens", "unk", "bos", "eos", "labels", NULL};
    bool has_labels;
    int rc;

    if (!cJSON_IsObject(json))
        return rnn_fail(err, RNN_ETYPE, "want an object");
    rc = json_only(json, "", keys, err);
    if (rc < 0)
        return rc;
    has_labels = json_get(json, "labels") != NULL;
    if (!json_get(json, "tokens")) {
        if (!has_labels)
            return rnn_fail_at(err, RNN_EFORMAT, "tokens", -1, "neither tokens nor labels");
        rc = read_specials(json, 0, &vocab->specials, err);
    } else {
        rc = read_tokenizer(json, vocab, err);
    }
    if (rc == 0 && has_labels)
        rc = read_labels(json, vocab, err);
    return rc;
}

int vocab_parse(struct vocab *out, const char *text, size_t len, struct rnn_err *err)
{
    struct vocab vocab = {.specials = {-1, -1, -1}};
    struct cJSON *json;
    int rc;

    rc = json_parse(&json, text, len, DEPTH_MAX, err);
    if (rc < 0)
        return rc;
    rc = read_vocab(json, &vocab, err);
    json_free(json);
    if (rc < 0) {
        vocab_free(&vocab);
        return rc;
    }
    *out = vocab;
    return 0;
}

void vocab_free(struct vocab *vocab)
{
    if (vocab->tokenizer)
        vocab->tokenizer->ops->free(vocab->tokenizer);
    free(vocab->labels);
    *vocab = (struct vocab){.specials = {-1, -1, -1}};
}

/* ---- Against the model ---- */

static int check_special(const char *key, int64_t here, int64_t in_config, struct rnn_err *err)
{
    if (here >= 0 && in_config >= 0 && here != in_config)
        return rnn_fail_at(err, RNN_ESHAPE, key, -1, "%s: %lld here, %lld in config.json", key,
                           (long long)here, (long long)in_config);
    return 0;
}

static int check_tokens(const struct vocab *vocab, const struct rnn_stack_spec *stack,
                        enum rnn_topology topology, struct rnn_err *err)
{
    size_t n = vocab->tokenizer->n_tokens;
    /* outputs without labels that are a distribution over something: over the tokens */
    bool writes_tokens = topology != RNN_MANY_TO_ONE && !vocab->labels && stack->head.present &&
                         stack->head.activation == RNN_HEAD_SOFTMAX;

    if (stack->input_kind == RNN_INPUT_DENSE)
        return rnn_fail_at(err, RNN_ESHAPE, "tokens", -1,
                           "tokens: %zu of them for a model that reads frames", n);
    if (n != stack->input_size)
        return rnn_fail_at(err, RNN_ESHAPE, "tokens", -1,
                           "tokens: %zu of them, config.json's input.size is %zu", n,
                           stack->input_size);
    if (writes_tokens && stack->head.size != n)
        return rnn_fail_at(err, RNN_ESHAPE, "tokens", -1,
                           "tokens: %zu of them, config.json's head.size is %zu (and there are no "
                           "labels for it)",
                           n, stack->head.size);
    return 0;
}

int vocab_check(const struct vocab *vocab, const struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *stack = &spec->stacks[0];
    size_t outputs = stack->head.present ? stack->head.size
                                         : rnn_layer_width(&stack->layers[stack->n_layers - 1]);
    int rc = 0;

    if (vocab->tokenizer)
        rc = check_tokens(vocab, stack, spec->topology, err);
    if (rc == 0 && vocab->labels && vocab->n_labels != outputs)
        rc =
            rnn_fail_at(err, RNN_ESHAPE, "labels", -1,
                        "labels: %zu of them, the model has %zu outputs", vocab->n_labels, outputs);
    if (rc == 0)
        rc = check_special("bos", vocab->specials.bos, spec->bos, err);
    if (rc == 0)
        rc = check_special("eos", vocab->specials.eos, spec->eos, err);
    return rc;
}
