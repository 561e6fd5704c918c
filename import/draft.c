/* Which tensors a model is made of, and under which names.  See draft.h.
 *
 * Three ways lead to a config: the reader knew it; the user gives one, and tensors are taken by
 * name, or, where the names are others, by what inference makes of them; or inference alone.  A
 * file may hold several dictionaries of tensors (a model and its moving average); the one with
 * recurrent weights is the model, and if there are two, the user says which (--part). */
#include "import/draft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "import/elements.h"
#include "import/infer.h"
#include "models/config_json.h"
#include "models/file.h"

enum { CONFIG_MAX = 1 << 22 };

/* ---- Tensors of a draft ---- */

static int push(struct draft *draft, const char *name, const struct archive_tensor *tensor,
                const void *data, struct rnn_err *err)
{
    struct draft_tensor *entry;

    if (strlen(name) >= sizeof entry->name)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor '%.80s': its name is too long",
                           name);
    if (draft->n == draft->cap) {
        size_t cap = draft->cap ? draft->cap * 2 : 64;
        struct draft_tensor *larger = realloc(draft->tensors, cap * sizeof *larger);

        if (!larger)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
        draft->tensors = larger;
        draft->cap = cap;
    }
    entry = &draft->tensors[draft->n++];
    *entry = (struct draft_tensor){.type = tensor->type, .rank = tensor->rank, .data = data};
    memcpy(entry->shape, tensor->shape, sizeof entry->shape);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    return 0;
}

int draft_add(struct draft *draft, const char *name, struct archive_tensor *tensor,
              struct rnn_err *err)
{
    tensor->used = true;
    return push(draft, name, tensor, tensor->data, err);
}

int draft_add_transposed(struct draft *draft, const char *name, struct archive_tensor *tensor,
                         struct rnn_err *err)
{
    size_t rows = tensor->shape[0], columns = tensor->shape[1], size = tensor->type->bytes;
    struct archive_tensor turned = *tensor;
    unsigned char *to = archive_alloc(draft->archive, tensor->elements * size, err);
    const unsigned char *from = tensor->data;

    if (!to)
        return err ? err->code : RNN_ENOMEM;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(to + (j * rows + i) * size, from + (i * columns + j) * size, size);
    turned.shape[0] = columns;
    turned.shape[1] = rows;
    tensor->used = true;
    return push(draft, name, &turned, to, err);
}

int draft_add_computed(struct draft *draft, const char *name, const double *values, size_t n,
                       struct rnn_err *err)
{
    struct archive_tensor tensor = {.type = archive_type("F32"), .rank = 1, .shape = {n}};
    float *to = archive_alloc(draft->archive, n * sizeof *to, err);

    if (!to)
        return err ? err->code : RNN_ENOMEM;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)values[i];
    return push(draft, name, &tensor, to, err);
}

/* ---- Parts ---- */

static bool is_recurrent(const struct archive_tensor *tensor)
{
    return name_parse(tensor->name + tensor->part).role == NAME_WEIGHT_HH;
}

static bool same_part(const struct archive_tensor *a, const struct archive_tensor *b)
{
    return a->part == b->part && memcmp(a->name, b->name, a->part) == 0;
}

static bool is_part(const struct archive_tensor *tensor, const char *word)
{
    size_t len = strlen(word);

    return tensor->part == len + (len > 0) && memcmp(tensor->name, word, len) == 0;
}

static int several_parts(const struct archive *archive, struct rnn_err *err)
{
    const struct archive_tensor *last = NULL;
    char list[160] = "";
    size_t used = 0;

    for (size_t i = 0; i < archive->n_tensors; i++) {
        const struct archive_tensor *t = &archive->tensors[i];

        if (!is_recurrent(t) || (last && same_part(t, last)) || used >= sizeof list)
            continue;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s--part %.*s",
                                 last ? " or " : "", (int)(t->part ? t->part - 1 : 0), t->name);
        last = t;
    }
    return rnn_fail(err, RNN_EFORMAT, "it holds more than one model; choose: %.160s", list);
}

/* One encoder and one decoder, each saved as a dictionary of its own. */
static bool are_sides(const struct archive_tensor *a, const struct archive_tensor *b)
{
    int left = name_side(a->name, a->part), right = name_side(b->name, b->part);

    return left && right && left != right;
}

/* The tensor whose part is the model's; NULL with no fault: the whole file is one. */
static int choose_part(const struct archive *archive, const struct import_options *options,
                       const struct archive_tensor **out, struct rnn_err *err)
{
    const struct archive_tensor *found = NULL;

    *out = NULL;
    for (size_t i = 0; i < archive->n_tensors; i++) {
        const struct archive_tensor *t = &archive->tensors[i];

        if (options->part ? !is_part(t, options->part) : !is_recurrent(t))
            continue;
        if (found && !same_part(found, t))
            return are_sides(found, t) ? 0 : several_parts(archive, err);
        found = t;
    }
    if (!found && options->part)
        return rnn_fail(err, RNN_ENOENT, "--part %s: the file has no such dictionary",
                        options->part);
    *out = found;
    return 0;
}

/* ---- Names ---- */

/* --map FROM=TO: a whole name or the beginning of one, up to a dot.  NULL: left out. */
static const char *map_name(struct draft *draft, const char *name, bool *mapped,
                            struct rnn_err *err)
{
    const struct import_options *options = draft->options;

    for (size_t i = 0; i < options->n_maps; i++) {
        const struct import_pair *map = &options->maps[i];
        const char *rest = name + map->from_len;
        char *text;
        size_t size;

        if (strncmp(name, map->from, map->from_len) != 0 || (*rest && !strchr("./_", *rest)))
            continue;
        *mapped = true;
        if (strcmp(map->to, "-") == 0)
            return NULL;
        size = strlen(map->to) + strlen(rest) + 1;
        text = archive_alloc(draft->archive, size, err);
        if (text)
            snprintf(text, size, "%s%s", map->to, rest);
        return text;
    }
    return name;
}

/* The tensors that may become the model, with the names they go by. */
static int name_tensors(struct draft *draft, struct named_tensor **out, size_t *n,
                        struct rnn_err *err)
{
    struct archive *archive = draft->archive;
    const struct archive_tensor *part = NULL;
    int rc = choose_part(archive, draft->options, &part, err);

    *n = 0;
    *out = rc < 0 ? NULL : calloc(archive->n_tensors + 1, sizeof **out);
    if (rc < 0)
        return rc;
    if (!*out)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < archive->n_tensors; i++) {
        struct archive_tensor *t = &archive->tensors[i];
        bool mapped = false;
        const char *name;

        if (part && !same_part(part, t))
            continue;
        name = map_name(draft, t->name + (part ? part->part : 0), &mapped, err);
        if (!name && !mapped)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
        if (name)
            (*out)[(*n)++] = (struct named_tensor){name, t};
    }
    if (part && part->part)
        archive_note(archive, "the model is what stands under '%.*s'", (int)part->part - 1,
                     part->name);
    return 0;
}

/* The first component of all names, with its dot, where they share one; 0: they do not. */
static size_t shared_prefix(const struct named_tensor *tensors, size_t n)
{
    const char *dot = n ? strchr(tensors[0].name, '.') : NULL;
    size_t len = dot ? (size_t)(dot - tensors[0].name) + 1 : 0;

    for (size_t i = 1; i < n; i++)
        if (strncmp(tensors[i].name, tensors[0].name, len) != 0)
            return 0;
    return len;
}

static void strip(struct draft *draft, struct named_tensor *tensors, size_t n, size_t len)
{
    archive_note(draft->archive, "'%.*s' is taken off every name", (int)len, tensors[0].name);
    for (size_t i = 0; i < n; i++)
        tensors[i].name += len;
}

/* What wrappers put in front of every name: DataParallel, torch.compile(). */
static void strip_wrappers(struct draft *draft, struct named_tensor *tensors, size_t n)
{
    for (;;) {
        size_t len = shared_prefix(tensors, n);

        if (len == 0 || (strncmp(tensors[0].name, "module.", len) != 0 &&
                         strncmp(tensors[0].name, "_orig_mod.", len) != 0))
            return;
        strip(draft, tensors, n, len);
    }
}

/* ---- A config that the user gives ---- */

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
        rc = push(draft, t->name, &tensor, t->data, err);
    }
    if (rc == 0 && guess->words.len > 0)
        buf_put(&draft->words, guess->words.data, guess->words.len);
    return rc;
}

/* Where names are others than the config's, modules found by shape take the config's names.  What
 * inference cannot make sense of is no fault here: what is missing is told when the model is
 * opened.
 */
static int take_by_shape(struct draft *draft, const struct rnn_spec *spec,
                         const struct named_tensor *tensors, size_t n, struct rnn_err *err)
{
    struct draft guess = {.archive = draft->archive, .options = draft->options};
    struct rnn_err ignored;
    struct elements elements;
    int rc = elements_find(&elements, tensors, n, &ignored);

    if (rc < 0)
        return rc == RNN_ENOMEM ? rnn_fail(err, rc, "out of memory") : 0;
    elements.ordered = draft->archive->ordered;
    rc = infer(&guess, &elements, &ignored);
    elements_free(&elements);
    if (rc == 0)
        rc = fill_gaps(draft, spec, &guess, err);
    else
        rc = rc == RNN_ENOMEM ? rnn_fail(err, rc, "out of memory") : 0;
    draft_free(&guess);
    return rc;
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

static int take_as_config_says(struct draft *draft, const struct rnn_spec *spec,
                               struct named_tensor *tensors, size_t n, struct rnn_err *err)
{
    size_t len, off = 0;
    int rc;

    while (!owns_weights(spec, tensors, n) && (len = shared_prefix(tensors, n)) > 0) {
        for (size_t i = 0; i < n; i++)
            tensors[i].name += len;
        off += len;
    }
    if (off && owns_weights(spec, tensors, n))
        archive_note(draft->archive, "'%.*s' is taken off every name", (int)off,
                     tensors[0].name - off);
    rc = take_by_name(draft, spec, tensors, n, err);
    if (rc == 0 && !is_complete(draft, spec))
        rc = take_by_shape(draft, spec, tensors, n, err);
    return rc;
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

static int make_as_told(struct draft *draft, struct named_tensor *tensors, size_t n,
                        struct rnn_err *err)
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

/* ---- Inference alone ---- */

static int make_by_inference(struct draft *draft, const struct named_tensor *tensors, size_t n,
                             struct rnn_err *err)
{
    struct elements elements;
    int rc = elements_find(&elements, tensors, n, err);

    if (rc < 0)
        return rc;
    elements.ordered = draft->archive->ordered;
    rc = infer(draft, &elements, err);
    elements_free(&elements);
    return rc;
}

/* ---- The whole ---- */

static int take_finished(struct draft *draft, struct rnn_err *err)
{
    struct archive *archive = draft->archive;
    int rc = 0;

    draft->config = archive->config;
    archive->config = NULL;
    for (size_t i = 0; i < archive->n_tensors && rc == 0; i++)
        rc = draft_add(draft, archive->tensors[i].name, &archive->tensors[i], err);
    return rc;
}

static int make(struct draft *draft, struct rnn_err *err)
{
    struct named_tensor *tensors = NULL;
    size_t n = 0;
    int rc;

    if (draft->archive->finished)
        return take_finished(draft, err);
    rc = name_tensors(draft, &tensors, &n, err);
    if (rc == 0) {
        strip_wrappers(draft, tensors, n);
        rc = draft->options->config ? make_as_told(draft, tensors, n, err)
                                    : make_by_inference(draft, tensors, n, err);
    }
    free(tensors);
    return rc;
}

int draft_make(struct draft *out, struct archive *archive, const struct import_options *options,
               struct rnn_err *err)
{
    struct draft draft = {.archive = archive, .options = options};
    int rc = make(&draft, err);

    if (rc == 0 && (draft.questions.failed || draft.words.failed))
        rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    if (rc < 0) {
        draft_free(&draft);
        return rc;
    }
    *out = draft;
    return 0;
}

void draft_free(struct draft *draft)
{
    json_free(draft->config);
    json_free(draft->vocab);
    free(draft->tensors);
    buf_free(&draft->questions);
    buf_free(&draft->words);
}
