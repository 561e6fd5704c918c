/* A model made as the user's config.json says.  See told.h.
 *
 * Tensors are taken by the config's names; prefixes that all of them share are taken off until they
 * fit.  What is not found by its name is looked for by what inference makes of the shapes. */
#include "import/told.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "import/infer.h"
#include "models/config_json.h"
#include "models/file.h"

enum { CONFIG_MAX = 1 << 22 };

static bool owns_weights(const struct rnn_spec *spec, const struct named_tensor *tensors, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(tensors[i].name, "weight_hh") && model_config_owns_tensor(spec, tensors[i].name))
            return true;
    return false;
}

static const struct rnn_stack_spec *tied_stack(const struct rnn_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_stacks; i++) {
        const struct rnn_stack_spec *stack = &spec->stacks[i];
        size_t len = strlen(stack->prefix);

        if (stack->head.present && stack->head.tied && strncmp(name, stack->prefix, len) == 0 &&
            strcmp(name + len, "head.weight") == 0)
            return stack;
    }
    return NULL;
}

/* A tied head has no tensor of its own; where the file has one, it must be the embedding's. */
static int check_tied(struct draft *draft, const struct rnn_stack_spec *stack,
                      const struct named_tensor *tensors, size_t n, struct archive_tensor *head,
                      struct rnn_err *err)
{
    char name[64];

    snprintf(name, sizeof name, "%sembedding.weight", stack->prefix);
    for (size_t i = 0; i < n; i++) {
        const struct archive_tensor *t = tensors[i].tensor;

        if (strcmp(tensors[i].name, name) != 0)
            continue;
        if (t->type != head->type || t->elements != head->elements ||
            memcmp(t->data, head->data, t->elements * t->type->bytes) != 0)
            return rnn_fail_at(err, RNN_ESHAPE, head->name, -1,
                               "tensor '%.80s' is not the embedding's, and config.json says that "
                               "the head is tied to it",
                               head->name);
        head->used = true;
        archive_note(draft->archive, "'%s' is the embedding's weight, kept once", head->name);
    }
    return 0;
}

static int take_by_name(struct draft *draft, const struct rnn_spec *spec,
                        const struct named_tensor *tensors, size_t n, struct rnn_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct rnn_stack_spec *tied = tied_stack(spec, tensors[i].name);

        if (tied)
            rc = check_tied(draft, tied, tensors, n, tensors[i].tensor, err);
        else if (tensors[i].tensor->type->usable && model_config_owns_tensor(spec, tensors[i].name))
            rc = draft_add(draft, tensors[i].name, tensors[i].tensor, err);
    }
    return rc;
}

static bool has_tensor(const struct draft *draft, const char *name)
{
    for (size_t i = 0; i < draft->n; i++)
        if (strcmp(draft->tensors[i].name, name) == 0)
            return true;
    return false;
}

/* Whether a part of an embedding, a head or plain recurrent layers has a place in the model. */
static bool has_place(const struct rnn_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_stacks; i++) {
        const struct rnn_stack_spec *stack = &spec->stacks[i];
        const char *rest = name + strlen(stack->prefix);

        if (strncmp(name, stack->prefix, strlen(stack->prefix)) != 0)
            continue;
        if (strncmp(rest, "embedding.", 10) == 0)
            return stack->input_kind == RNN_INPUT_EMBEDDING;
        if (strcmp(rest, "head.weight") == 0)
            return stack->head.present && !stack->head.tied;
        if (strcmp(rest, "head.bias") == 0)
            return stack->head.present && stack->head.bias;
        if (strncmp(rest, "rnn.", 4) == 0)
            return stack->n_layers > 0 && strcmp(stack->layers[0].module, "rnn") == 0;
    }
    return false;
}

static int fill_gaps(struct draft *draft, const struct rnn_spec *spec, const struct draft *guess,
                     struct rnn_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < guess->n && rc == 0; i++) {
        const struct draft_tensor *t = &guess->tensors[i];
        struct archive_tensor tensor = {.type = t->type, .rank = t->rank};

        if (has_tensor(draft, t->name) || !has_place(spec, t->name))
            continue;
        memcpy(tensor.shape, t->shape, sizeof tensor.shape);
        rc = draft_push(draft, t->name, &tensor, t->data, err);
    }
    if (rc == 0 && guess->words.len > 0)
        buf_put(&draft->words, guess->words.data, guess->words.len);
    return rc;
}

/* ---- A guess beside it ---- */

/* What the config says and inference would have to ask. */
static void answer(struct import_options *options, const struct cJSON *config)
{
    const struct cJSON *input = json_get(config, "input"), *rnn = json_get(config, "rnn");
    const struct cJSON *kind = input ? json_get(input, "kind") : NULL;
    const struct cJSON *cell = rnn ? json_get(rnn, "cell") : NULL;

    if (kind) {
        options->one_hot = strcmp(kind->valuestring, "onehot") == 0;
        options->dense = strcmp(kind->valuestring, "dense") == 0;
    }
    if (cell && strncmp(cell->valuestring, "rnn_", 4) == 0 && !options->activation)
        options->activation = strcmp(cell->valuestring, "rnn_relu") == 0 ? "relu" : "tanh";
}

/* What inference makes of the same tensors, with the config for an answer.  That it can make
 * nothing of them is no fault: *out is then empty.  Leaves no notes. */
static int guess(struct draft *out, const struct draft *draft, struct import_options *options,
                 const struct named_tensor *tensors, size_t n, struct rnn_err *err)
{
    struct archive *archive = draft->archive;
    size_t n_notes = archive->n_notes;
    struct rnn_err ignored;
    struct elements elements;
    int rc;

    *options = *draft->options;
    answer(options, draft->config);
    *out = (struct draft){.archive = archive, .options = options};
    rc = elements_find(&elements, tensors, n, &ignored);
    if (rc == 0) {
        elements.ordered = archive->ordered;
        rc = infer(out, &elements, &ignored);
        elements_free(&elements);
    }
    while (archive->n_notes > n_notes)
        free(archive->notes[--archive->n_notes]);
    if (rc < 0)
        draft_free(out);
    return rc == RNN_ENOMEM ? rnn_fail(err, rc, "out of memory") : 0;
}

static bool same_value(const struct cJSON *a, const struct cJSON *b, const char *key)
{
    const struct cJSON *left = json_get(a, key), *right = json_get(b, key);

    return !left || (right && cJSON_Compare(left, right, true));
}

/* Whether everything that the config says of a part, but for the key `aside`, the guess says, too.
 */
static bool same_part(const struct cJSON *config, const struct cJSON *guessed, const char *part,
                      const char *aside)
{
    const struct cJSON *left = json_get(config, part), *right = json_get(guessed, part);

    if (!cJSON_IsObject(left) || !cJSON_IsObject(right))
        return !cJSON_IsObject(left) && !cJSON_IsObject(right);
    for (const struct cJSON *item = left->child; item; item = item->next)
        if (strcmp(item->string, aside) != 0 && !same_value(left, right, item->string))
            return false;
    return true;
}

/* The guess's second opinion holds for the config's model where both are one. */
static void take_opinion(struct draft *draft, struct draft *guessed)
{
    bool plain = !json_get(draft->config, "layers") && !json_get(draft->config, "encoder") &&
                 !json_get(draft->config, "pool") && !json_get(draft->config, "bridge");

    if (!plain || !guessed->config || !same_part(draft->config, guessed->config, "input", "") ||
        !same_part(draft->config, guessed->config, "rnn", "") ||
        !same_part(draft->config, guessed->config, "head", "activation"))
        return;
    draft->opinion = guessed->opinion;
    guessed->opinion = (struct opinion){0};
}

/* Recurrent layers, embedding and head are all there. */
static bool is_complete(const struct draft *draft, const struct rnn_spec *spec)
{
    for (size_t i = 0; i < spec->n_stacks; i++) {
        const struct rnn_stack_spec *stack = &spec->stacks[i];
        const struct {
            const char *name;
            bool wanted;
        } parts[] = {{"embedding.weight", stack->input_kind == RNN_INPUT_EMBEDDING},
                     {"head.weight", stack->head.present && !stack->head.tied},
                     {"rnn.weight_hh_l0",
                      stack->n_layers > 0 && strcmp(stack->layers[0].module, "rnn") == 0}};

        for (size_t k = 0; k < 3; k++) {
            char name[64];

            snprintf(name, sizeof name, "%s%s", stack->prefix, parts[k].name);
            if (parts[k].wanted && !has_tensor(draft, name))
                return false;
        }
    }
    return true;
}

/* Where names are others than the config's, modules found by shape take the config's names.  What
 * is still missing then is told when the model is opened. */
static int complete(struct draft *draft, const struct rnn_spec *spec,
                    const struct named_tensor *tensors, size_t n, struct rnn_err *err)
{
    struct import_options *options = malloc(sizeof *options);
    bool *used = calloc(draft->archive->n_tensors + 1, sizeof *used);
    bool whole = is_complete(draft, spec);
    struct draft guessed = {0};
    int rc = options && used ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");

    for (size_t i = 0; rc == 0 && i < draft->archive->n_tensors; i++)
        used[i] = draft->archive->tensors[i].used;
    if (rc == 0)
        rc = guess(&guessed, draft, options, tensors, n, err);
    if (rc == 0 && !whole)
        rc = fill_gaps(draft, spec, &guessed, err);
    if (rc == 0)
        take_opinion(draft, &guessed);
    for (size_t i = 0; whole && rc == 0 && i < draft->archive->n_tensors; i++)
        draft->archive->tensors[i].used = used[i];
    draft_free(&guessed);
    free(options);
    free(used);
    return rc;
}

static int take_as_config_says(struct draft *draft, const struct rnn_spec *spec,
                               struct named_tensor *tensors, size_t n, struct rnn_err *err)
{
    size_t len, off = 0;
    int rc;

    while (!owns_weights(spec, tensors, n) && (len = elements_shared_prefix(tensors, n)) > 0) {
        for (size_t i = 0; i < n; i++)
            tensors[i].name += len;
        off += len;
    }
    if (off && owns_weights(spec, tensors, n))
        archive_note(draft->archive, "'%.*s' is taken off every name", (int)off,
                     tensors[0].name - off);
    rc = take_by_name(draft, spec, tensors, n, err);
    return rc < 0 ? rc : complete(draft, spec, tensors, n, err);
}

static int load_config(struct draft *draft, struct model_config *config, struct rnn_err *err)
{
    char *text;
    size_t len;
    int rc = file_load(&text, &len, draft->options->config, CONFIG_MAX, err);

    if (rc == 0) {
        rc = model_config_parse(config, text, len, err);
        free(text);
    }
    if (rc < 0)
        rnn_err_prefix(err, "%s: ", draft->options->config);
    return rc;
}

int draft_as_told(struct draft *draft, struct named_tensor *tensors, size_t n, struct rnn_err *err)
{
    struct model_config *config = calloc(1, sizeof *config);
    int rc = config ? load_config(draft, config, err) : rnn_fail(err, RNN_ENOMEM, "out of memory");

    if (rc == 0) {
        draft->config = config->json;
        rc = take_as_config_says(draft, &config->spec, tensors, n, err);
    }
    free(config);
    return rc;
}
