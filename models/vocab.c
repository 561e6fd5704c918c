/* vocab.json: read, judged by itself, then judged against the model.  See vocab.h.
 *
 * Tokens are compared after sorting, so that a list of millions costs n log n.  Immutable results;
 * any thread. */
#include "models/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "core/format.h"
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

/* ---- Kinds ---- */

/* "char, word, symbol": what there is. */
static void list_kinds(char *out, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; vocab_kinds[i] && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%s", i ? ", " : "", vocab_kinds[i]->name);
}

/* `name` need not end after len bytes. */
static int find_kind(const struct vocab_kind **out, const char *name, size_t len,
                     struct rnn_err *err)
{
    char known[64];

    for (size_t i = 0; vocab_kinds[i]; i++) {
        const char *const names[] = {vocab_kinds[i]->name, vocab_kinds[i]->synonym};

        for (int n = 0; n < 2; n++)
            if (names[n] && strlen(names[n]) == len && memcmp(names[n], name, len) == 0) {
                *out = vocab_kinds[i];
                return 0;
            }
    }
    list_kinds(known, sizeof known);
    return rnn_fail_at(err, RNN_EUNSUPPORTED, "kind", -1,
                       "kind: no tokenizer is called '%.*s'; there are: %s",
                       (int)(len < 32 ? len : 32), name, known);
}

static int read_kind(const struct cJSON *json, const char **name, struct rnn_err *err)
{
    int rc = json_read_string(json, "", "kind", name, err);

    if (rc < 0)
        return rc;
    return *name ? 0 : rnn_fail_at(err, RNN_EFORMAT, "kind", -1, "kind is missing");
}

/* Both names of "A to B"; false: there is no such pair. */
static bool two_kinds(const char *name, size_t *left_len, const char **right)
{
    const char *to = strstr(name, " to ");

    if (!to)
        return false;
    *left_len = (size_t)(to - name);
    *right = to + strlen(" to ");
    return true;
}

/* ---- One side ---- */

/* The keys of one side; NULL: it has no such key. */
struct side_keys {
    const char *tokens, *unk, *bos, *eos, *lowercase, *split;
};

static const struct side_keys only_keys = {"tokens", "unk", "bos", "eos", "lowercase", "split"};
static const struct side_keys target_keys = {"target",           "unk",         "bos", "eos",
                                             "target_lowercase", "target_split"};
static const struct side_keys source_keys = {"source",     "source_unk", NULL,
                                             "source_eos", "lowercase",  "split"};

static int read_specials(const struct cJSON *json, const struct side_keys *keys, size_t n_tokens,
                         struct vocab_specials *out, struct rnn_err *err)
{
    int64_t last = (int64_t)n_tokens - 1;
    int rc = json_read_int(json, "", keys->unk, 0, last, &out->unk, err);

    if (rc == 0 && keys->bos)
        rc = json_read_int(json, "", keys->bos, 0, last, &out->bos, err);
    if (rc == 0)
        rc = json_read_int(json, "", keys->eos, 0, last, &out->eos, err);
    if (rc == 0 && out->unk >= 0 && (out->unk == out->bos || out->unk == out->eos))
        rc = rnn_fail_at(err, RNN_ESHAPE, keys->unk, -1, "%s: the same id as %s", keys->unk,
                         out->unk == out->eos ? keys->eos : keys->bos);
    return rc;
}

static int read_split(const struct cJSON *json, const char *key, const struct vocab_kind *kind,
                      enum vocab_split *out, struct rnn_err *err)
{
    const char *name = NULL;
    int rc = json_read_string(json, "", key, &name, err);

    if (rc < 0 || !name)
        return rc;
    if (!kind->splits)
        return rnn_fail_at(err, RNN_ESHAPE, key, -1, "%s: not for kind '%s'", key, kind->name);
    if (strcmp(name, "words") == 0)
        *out = VOCAB_SPLIT_WORDS;
    else if (strcmp(name, "whitespace") != 0)
        return rnn_fail_at(err, RNN_EUNSUPPORTED, key, -1,
                           "%s: want 'whitespace' or 'words', found '%.32s'", key, name);
    return 0;
}

static int read_side(struct cJSON *json, const struct side_keys *keys,
                     const struct vocab_kind *kind, struct rnn_tokenizer **out,
                     struct vocab_specials *specials, struct rnn_err *err)
{
    struct cJSON *tokens = cJSON_GetObjectItemCaseSensitive(json, keys->tokens);
    struct vocab_rules rules = {.specials = {-1, -1, -1}};
    size_t n_tokens = 0;
    int rc;

    if (!tokens)
        return rnn_fail_at(err, RNN_EFORMAT, keys->tokens, -1, "%s is missing", keys->tokens);
    rc = read_strings(tokens, keys->tokens, &n_tokens, err);
    if (rc == 0)
        rc = read_specials(json, keys, n_tokens, &rules.specials, err);
    if (rc == 0)
        rc = json_read_bool(json, "", keys->lowercase, &rules.lowercase, err);
    if (rc == 0)
        rc = read_split(json, keys->split, kind, &rules.split, err);
    if (rc == 0)
        rc = kind->make(out, tokens, n_tokens, &rules, err);
    *specials = rules.specials;
    return rc;
}

/* ---- Labels ---- */

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

static int read_two_sides(struct cJSON *json, struct vocab *vocab, const char *name,
                          struct rnn_err *err)
{
    static const char *const keys[] = {"kind",      "source", "target",           "unk",
                                       "bos",       "eos",    "source_unk",       "source_eos",
                                       "lowercase", "split",  "target_lowercase", "target_split",
                                       NULL};
    const struct vocab_kind *source = NULL, *target = NULL;
    const char *right = "";
    size_t left_len = 0;
    int rc = json_only(json, "", keys, err);

    if (rc == 0 && !two_kinds(name, &left_len, &right))
        rc = rnn_fail_at(err, RNN_EFORMAT, "kind", -1,
                         "kind: want 'A to B' for source and target, found '%.32s'", name);
    if (rc == 0)
        rc = find_kind(&source, name, left_len, err);
    if (rc == 0)
        rc = find_kind(&target, right, strlen(right), err);
    if (rc == 0)
        rc = read_side(json, &source_keys, source, &vocab->source, &vocab->source_specials, err);
    if (rc == 0)
        rc = read_side(json, &target_keys, target, &vocab->tokenizer, &vocab->specials, err);
    return rc;
}

static int read_one_side(struct cJSON *json, struct vocab *vocab, struct rnn_err *err)
{
    static const char *const keys[] = {"kind",      "tokens", "unk",    "bos", "eos",
                                       "lowercase", "split",  "labels", NULL};
    const struct vocab_kind *kind = NULL;
    const char *name = NULL;
    int rc = json_only(json, "", keys, err);

    if (rc == 0)
        rc = read_kind(json, &name, err);
    if (rc == 0)
        rc = find_kind(&kind, name, strlen(name), err);
    return rc < 0 ? rc
                  : read_side(json, &only_keys, kind, &vocab->tokenizer, &vocab->specials, err);
}

static int read_labels_only(struct cJSON *json, struct vocab *vocab, struct rnn_err *err)
{
    static const char *const keys[] = {"kind", "unk", "bos", "eos", "labels", NULL};

    int rc = json_only(json, "", keys, err);

    if (rc == 0 && !json_get(json, "labels"))
        rc = rnn_fail_at(err, RNN_EFORMAT, "tokens", -1, "neither tokens nor labels");
    return rc < 0 ? rc : read_specials(json, &only_keys, 0, &vocab->specials, err);
}

static int read_vocab(struct cJSON *json, struct vocab *vocab, struct rnn_err *err)
{
    const char *kind = NULL;
    int rc;

    if (!cJSON_IsObject(json))
        return rnn_fail(err, RNN_ETYPE, "want an object");
    if (json_get(json, "source") || json_get(json, "target")) {
        rc = read_kind(json, &kind, err);
        return rc < 0 ? rc : read_two_sides(json, vocab, kind, err);
    }
    rc = json_get(json, "tokens") ? read_one_side(json, vocab, err)
                                  : read_labels_only(json, vocab, err);
    if (rc == 0 && json_get(json, "labels"))
        rc = read_labels(json, vocab, err);
    return rc;
}

static const struct vocab no_vocab = {.specials = {-1, -1, -1}, .source_specials = {-1, -1, -1}};

int vocab_parse(struct vocab *out, const char *text, size_t len, struct rnn_err *err)
{
    struct vocab vocab = no_vocab;
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
    if (vocab->source)
        vocab->source->ops->free(vocab->source);
    free(vocab->labels);
    *vocab = no_vocab;
}

/* ---- Against the model ---- */

static int check_special(const char *key, int64_t here, int64_t in_config, struct rnn_err *err)
{
    if (here >= 0 && in_config >= 0 && here != in_config)
        return rnn_fail_at(err, RNN_ESHAPE, key, -1, "%s: %lld here, %lld in config.json", key,
                           (long long)here, (long long)in_config);
    return 0;
}

/* Whether a stack reads as many ids as the list has tokens. */
static int check_reads(const char *key, size_t n, const struct rnn_stack_spec *stack,
                       struct rnn_err *err)
{
    const char *dot = strchr(stack->prefix, '.'); /* the prefix is "", or names the part */
    int part_len = dot ? (int)(dot - stack->prefix) + 1 : 0;

    if (stack->input_kind == RNN_INPUT_DENSE)
        return rnn_fail_at(err, RNN_ESHAPE, key, -1,
                           "%s: %zu of them for %s that reads frames (config.json's %.*sinput)",
                           key, n, dot ? "a part" : "a model", part_len, stack->prefix);
    if (n != stack->input_size)
        return rnn_fail_at(err, RNN_ESHAPE, key, -1,
                           "%s: %zu of them, config.json's %.*sinput.size is %zu", key, n, part_len,
                           stack->prefix, stack->input_size);
    return 0;
}

/* Whether outputs that are a distribution over tokens are as many as there are tokens. */
static int check_writes(const char *key, size_t n, const struct vocab *vocab,
                        const struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *stack = &spec->stacks[0];
    /* outputs without labels that are a distribution over something: over the tokens */
    bool writes_tokens = spec->topology != RNN_MANY_TO_ONE && !vocab->labels &&
                         stack->head.present && stack->head.activation == RNN_HEAD_SOFTMAX;

    if (writes_tokens && stack->head.size != n)
        return rnn_fail_at(err, RNN_ESHAPE, key, -1,
                           "%s: %zu of them, config.json's %shead.size is %zu%s", key, n,
                           stack->prefix, stack->head.size,
                           vocab->source ? "" : " (and there are no labels for it)");
    return 0;
}

static int check_two_sides(const struct vocab *vocab, const struct rnn_spec *spec,
                           struct rnn_err *err)
{
    int rc;

    if (spec->n_stacks < 2 || spec->topology == RNN_REPEAT)
        return rnn_fail_at(err, RNN_ESHAPE, "kind", -1,
                           "kind: source and target are for an encoder and its decoder of tokens; "
                           "config.json's topology has none");
    rc = check_reads("source", vocab->source->n_tokens, &spec->stacks[1], err);
    if (rc == 0)
        rc = check_reads("target", vocab->tokenizer->n_tokens, &spec->stacks[0], err);
    if (rc == 0)
        rc = check_writes("target", vocab->tokenizer->n_tokens, vocab, spec, err);
    return rc;
}

/* One list for both stacks, or for the decoder of an encoder that reads frames. */
static int check_one_side(const struct vocab *vocab, const struct rnn_spec *spec,
                          struct rnn_err *err)
{
    size_t n = vocab->tokenizer->n_tokens;
    bool repeats = spec->topology == RNN_REPEAT; /* its decoder reads what no one sees */
    bool both = !repeats && spec->n_stacks == 2 && spec->stacks[1].input_kind != RNN_INPUT_DENSE;
    int rc = check_reads("tokens", n, &spec->stacks[repeats], err);

    if (rc == 0 && both)
        rc = check_reads("tokens", n, &spec->stacks[1], err);
    if (rc == 0)
        rc = check_writes("tokens", n, vocab, spec, err);
    return rc;
}

static int check_labels(const struct vocab *vocab, const struct rnn_spec *spec, struct rnn_err *err)
{
    const struct rnn_stack_spec *stack = &spec->stacks[0];
    size_t outputs = stack->head.present ? stack->head.size : rnn_stack_head_width(stack);

    if (vocab->labels && vocab->n_labels != outputs)
        return rnn_fail_at(err, RNN_ESHAPE, "labels", -1,
                           "labels: %zu of them, the model has %zu outputs", vocab->n_labels,
                           outputs);
    return 0;
}

int vocab_check(const struct vocab *vocab, const struct rnn_spec *spec, struct rnn_err *err)
{
    int rc = 0;

    if (vocab->source)
        rc = check_two_sides(vocab, spec, err);
    else if (vocab->tokenizer)
        rc = check_one_side(vocab, spec, err);
    if (rc == 0)
        rc = check_labels(vocab, spec, err);
    if (rc == 0)
        rc = check_special("bos", vocab->specials.bos, spec->bos, err);
    if (rc == 0)
        rc = check_special("eos", vocab->specials.eos, spec->eos, err);
    if (rc == 0)
        rc = check_special("source_eos", vocab->source_specials.eos, spec->source_eos, err);
    return rc;
}

void vocab_give(struct vocab *vocab, struct rnn_texts *texts, struct rnn_spec *spec)
{
    texts->tokenizer = vocab->tokenizer;
    texts->source = vocab->source;
    texts->labels = vocab->labels;
    texts->n_labels = vocab->n_labels;
    spec->unk = vocab->specials.unk;
    if (vocab->specials.bos >= 0)
        spec->bos = vocab->specials.bos;
    if (vocab->specials.eos >= 0)
        spec->eos = vocab->specials.eos;
    if (vocab->source_specials.eos >= 0)
        spec->source_eos = vocab->source_specials.eos;
    *vocab = no_vocab;
}
