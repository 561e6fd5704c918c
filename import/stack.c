/* One stack of a model: input, recurrent layers and others, head, out of a chain of modules.  See
 * stack.h.
 *
 * What shapes tell: the cell (4H, 3H, H), layers, directions, projection, the widths of embedding
 * and outputs, and with them which module follows which.  What they do not: the activation of a
 * plain RNN and of dense layers, whether outputs are probabilities, whether the numbers that a
 * model reads are one-hot ids.  Those are taken from the pickled classes where there are any, from
 * the options, or asked. */
#include "import/stack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "import/opinion.h"
#include "import/put.h"
#include "import/stack_inner.h"

/* ---- Input ---- */

static size_t vocab_of_size(const struct archive *archive, size_t n)
{
    size_t found = 0;

    for (size_t i = 0; i < archive->n_vocabs; i++)
        found += archive->vocabs[i].n == n;
    return found;
}

/* Whether a stack without an embedding reads ids. */
static bool reads_one_hot(struct making *m, size_t width)
{
    const struct import_options *options = m->draft->options;
    struct archive *archive = m->draft->archive;
    bool as_wide = m->head && m->head->gives == width;

    if (options->one_hot || options->dense)
        return options->one_hot;
    if (width == 1)
        return false; /* there is nothing to choose from */
    if (options->vocab && strcmp(options->vocab, "none") != 0) {
        archive_note(archive, "input: there is a vocabulary: taken for one-hot ids (--dense: they "
                              "are numbers)");
        return true;
    }
    if (vocab_of_size(archive, width) > 0) {
        archive_note(archive,
                     "input: there is a vocabulary as large as it is wide: taken for one-hot ids "
                     "(--dense: they are numbers)");
        return true;
    }
    if (as_wide)
        buf_printf(&m->draft->questions,
                   "  --one-hot or --dense: are the %zu numbers that it reads at a step one-hot "
                   "token ids, or numbers?\n",
                   width);
    else
        archive_note(archive, "input: %zu numbers at a step (--one-hot: they are token ids)",
                     width);
    return as_wide;
}

static int make_input(struct making *m)
{
    const struct element *embedding = m->chain->embedding;
    struct cJSON *input = put_object(m->json, "input");
    size_t width = m->chain->elements[0]->reads;
    char name[64];
    bool good;

    if (!input)
        return stack_no_memory(m);
    if (embedding) {
        const struct archive_tensor *weight = embedding->tensors[NAME_WEIGHT];

        good = put_text(input, "kind", "embedding") &&
               put_number(input, "size", weight->shape[0]) &&
               put_number(input, "dim", weight->shape[1]);
        if (!good)
            return stack_no_memory(m);
        snprintf(name, sizeof name, "%sembedding.weight", m->prefix);
        return draft_add(m->draft, name, embedding->tensors[NAME_WEIGHT], m->err);
    }
    good = put_text(input, "kind", reads_one_hot(m, width) ? "onehot" : "dense") &&
           put_number(input, "size", width);
    return good ? 0 : stack_no_memory(m);
}

/* ---- Other modules ---- */

/* A convolution over one step, [out, in, 1]. */
static int add_pointwise(struct making *m, const char *name, struct archive_tensor *weight)
{
    struct archive_tensor matrix = *weight;

    weight->used = true;
    matrix.rank = 2;
    archive_note(m->draft->archive, "'%s': a convolution over one step, which is a dense layer",
                 weight->name);
    return draft_push(m->draft, name, &matrix, weight->data, m->err);
}

static int add_matrix(struct making *m, const char *module, const struct element *e)
{
    char name[96];
    int rc;

    snprintf(name, sizeof name, "%s%s.weight", m->prefix, module);
    if (e->transposed)
        archive_note(m->draft->archive, "'%.*s': transposed, the file has [in, out]",
                     (int)e->name_len, e->name);
    if (e->tensors[NAME_WEIGHT]->rank > 2)
        rc = add_pointwise(m, name, e->tensors[NAME_WEIGHT]);
    else
        rc = e->transposed ? draft_add_transposed(m->draft, name, e->tensors[NAME_WEIGHT], m->err)
                           : draft_add(m->draft, name, e->tensors[NAME_WEIGHT], m->err);
    if (rc < 0 || !e->tensors[NAME_BIAS])
        return rc;
    snprintf(name, sizeof name, "%s%s.bias", m->prefix, module);
    return draft_add(m->draft, name, e->tensors[NAME_BIAS], m->err);
}

static int make_dense(struct making *m, struct cJSON *json, const char *module,
                      const struct element *e)
{
    const char *activation = stack_activation(m->draft->options, e);

    if (!activation) {
        buf_printf(&m->draft->questions,
                   "  --activation %.*s=NAME: what follows the dense layer '%.*s' (linear, relu, "
                   "tanh, sigmoid, …)?\n",
                   (int)e->name_len, e->name, (int)e->name_len, e->name);
        activation = "linear";
    }
    if (!put_text(json, "kind", "dense") || !put_number(json, "size", e->gives) ||
        !put_bool(json, "bias", e->tensors[NAME_BIAS] != NULL) ||
        !put_text(json, "activation", activation))
        return stack_no_memory(m);
    return add_matrix(m, module, e);
}

/* y = (x - mean) / sqrt(variance + epsilon) * weight + bias, as x * scale + shift. */
static int add_affine(struct making *m, const char *module, const struct element *e)
{
    const double epsilon = 1e-5; /* PyTorch's, and not in the file */
    size_t n = e->gives;
    double *values = calloc(n * 2, sizeof *values);
    char name[96];
    int rc;

    if (!values)
        return stack_no_memory(m);
    for (size_t i = 0; i < n; i++) {
        double variance = archive_number(e->tensors[NAME_VARIANCE], i);

        values[i] = archive_number(e->tensors[NAME_WEIGHT], i) / sqrt(variance + epsilon);
        values[n + i] = archive_number(e->tensors[NAME_BIAS], i) -
                        archive_number(e->tensors[NAME_MEAN], i) * values[i];
    }
    snprintf(name, sizeof name, "%s%s.scale", m->prefix, module);
    rc = draft_add_computed(m->draft, name, values, n, m->err);
    snprintf(name, sizeof name, "%s%s.shift", m->prefix, module);
    if (rc == 0)
        rc = draft_add_computed(m->draft, name, values + n, n, m->err);
    free(values);
    for (size_t i = NAME_WEIGHT; i < NAME_ROLES; i++)
        if (e->tensors[i])
            e->tensors[i]->used = true;
    archive_note(m->draft->archive,
                 "'%.*s': batch normalisation folded into a scale and a shift, with epsilon 1e-5",
                 (int)e->name_len, e->name);
    return rc;
}

static int make_norm(struct making *m, struct cJSON *json, const char *module,
                     const struct element *e)
{
    if (e->kind == ELEMENT_BATCH_NORM)
        return put_text(json, "kind", "affine") ? add_affine(m, module, e) : stack_no_memory(m);
    if (!put_text(json, "kind", "layer_norm") || !put(json, "epsilon", cJSON_CreateNumber(1e-5)))
        return stack_no_memory(m);
    archive_note(m->draft->archive, "'%.*s': layer normalisation with epsilon 1e-5",
                 (int)e->name_len, e->name);
    return add_matrix(m, module, e);
}

/* A new module at the end of `list`; NULL: out of memory. */
static struct cJSON *add_module(struct cJSON *list)
{
    struct cJSON *json = cJSON_CreateObject();

    if (json && cJSON_AddItemToArray(list, json))
        return json;
    cJSON_Delete(json);
    return NULL;
}

/* An activation that the user says to stand behind a gated layer: a dense layer of ones. */
static int make_activation(struct making *m, struct cJSON *list, const struct element *e)
{
    size_t n = e->gives, index = (size_t)cJSON_GetArraySize(list);
    const char *activation = stack_activation_behind(m->draft->options, e);
    struct archive_tensor unit = {.type = archive_type("F32"), .rank = 2, .shape = {n, n}};
    struct cJSON *json = add_module(list);
    float *ones =
        n <= RNN_HIDDEN_MAX ? archive_alloc(m->draft->archive, n * n * sizeof *ones, m->err) : NULL;
    char name[64];

    if (!ones || !json || !put_text(json, "kind", "dense") || !put_number(json, "size", n) ||
        !put_bool(json, "bias", false) || !put_text(json, "activation", activation))
        return stack_no_memory(m);
    for (size_t i = 0; i < n * n; i++)
        ones[i] = i / n == i % n ? 1.0F : 0.0F;
    snprintf(name, sizeof name, "%slayers.%zu.weight", m->prefix, index);
    archive_note(m->draft->archive,
                 "'%.*s': %s behind it, as said; it became a dense layer of ones", (int)e->name_len,
                 e->name, activation);
    return draft_push(m->draft, name, &unit, ones, m->err);
}

static int make_recurrent(struct making *m, struct cJSON *list, struct cJSON *json,
                          const char *module, const struct element *e)
{
    int rc =
        put_text(json, "kind", "rnn") ? stack_put_rnn(m, json, e, e->layers) : stack_no_memory(m);

    if (rc == 0)
        rc = stack_add_rnn(m, module, e, 0);
    if (rc == 0 && stack_activation_behind(m->draft->options, e))
        rc = make_activation(m, list, e);
    return rc;
}

static int make_module(struct making *m, struct cJSON *list, const struct element *e)
{
    char module[32];
    struct cJSON *json;

    snprintf(module, sizeof module, "layers.%d", cJSON_GetArraySize(list));
    json = add_module(list);
    if (!json)
        return stack_no_memory(m);
    if (e->kind == ELEMENT_RNN)
        return make_recurrent(m, list, json, module, e);
    return e->kind == ELEMENT_MATRIX ? make_dense(m, json, module, e)
                                     : make_norm(m, json, module, e);
}

static int make_layers(struct making *m)
{
    struct cJSON *list = cJSON_CreateArray();
    int rc = put(m->json, "layers", list) ? 0 : stack_no_memory(m);

    for (size_t i = 0; i < m->top && rc == 0; i++)
        rc = make_module(m, list, m->chain->elements[i]);
    return rc;
}

/* ---- Head ---- */

/* What a pickled model's own classes say of its outputs; NULL: nothing, or contradictions. */
static const char *output_of_class(const struct archive *archive)
{
    static const struct {
        const char *class, *output;
    } classes[] = {{"torch.nn.modules.activation.Softmax", "softmax"},
                   {"torch.nn.modules.activation.LogSoftmax", "softmax"},
                   {"torch.nn.modules.activation.Sigmoid", "sigmoid"}};
    const char *found = NULL;

    for (size_t i = 0; i < archive->n_modules; i++)
        for (size_t k = 0; k < sizeof classes / sizeof *classes; k++) {
            if (strcmp(archive->modules[i].class, classes[k].class) != 0)
                continue;
            if (found && strcmp(found, classes[k].output) != 0)
                return NULL;
            found = classes[k].output;
        }
    return found;
}

static void ask_output(struct making *m, size_t size)
{
    if (size == 1)
        buf_puts(&m->draft->questions, "  --output sigmoid or --output none: is the output a "
                                       "probability, or a number?\n");
    else
        buf_printf(&m->draft->questions,
                   "  --output softmax, --output sigmoid or --output none: are the %zu outputs one "
                   "distribution, probabilities each, or numbers?\n",
                   size);
}

static const char *output_of(struct making *m, size_t size)
{
    const char *said = m->draft->options->output;
    const char *of_class = output_of_class(m->draft->archive);
    const struct cJSON *kind = json_get(json_get(m->json, "input"), "kind");
    bool reads_ids = kind && strcmp(kind->valuestring, "dense") != 0;

    if (said)
        return said;
    if (of_class) {
        archive_note(m->draft->archive, "outputs: %s, which is among the model's modules",
                     of_class);
        return of_class;
    }
    if (reads_ids && size > 1) {
        archive_note(m->draft->archive, "outputs: taken for the logits of a softmax (--output says "
                                        "otherwise)");
        return "softmax";
    }
    ask_output(m, size);
    return "none";
}

static int make_head(struct making *m)
{
    const struct element *e = m->head;
    struct cJSON *head;
    char name[64];

    if (!e)
        return put(m->json, "head", cJSON_CreateNull()) ? 0 : stack_no_memory(m);
    head = put_object(m->json, "head");
    if (!head || !put_number(head, "size", e->gives) ||
        !put_bool(head, "bias", e->tensors[NAME_BIAS] != NULL) ||
        !put_bool(head, "tied", m->chain->tied == e) ||
        !put_text(head, "activation", output_of(m, e->gives)))
        return stack_no_memory(m);
    if (m->chain->tied != e)
        return add_matrix(m, "head", e);
    e->tensors[NAME_WEIGHT]->used = true;
    archive_note(m->draft->archive, "'%.*s': its weight is the embedding's, kept once",
                 (int)e->name_len, e->name);
    if (!e->tensors[NAME_BIAS])
        return 0;
    snprintf(name, sizeof name, "%shead.bias", m->prefix);
    return draft_add(m->draft, name, e->tensors[NAME_BIAS], m->err);
}

/* ---- A stack ---- */

/* The matrix above the highest recurrent module, where it is the last. */
static void find_head(struct making *m)
{
    const struct chain *chain = m->chain;
    const struct element *last = chain->elements[chain->n - 1];

    m->top = chain->n;
    m->head = NULL;
    if (last->kind == ELEMENT_MATRIX && chain->n > 1) {
        m->head = last;
        m->top--;
    }
}

static void put_words(struct making *m)
{
    struct buf *words = &m->draft->words;

    buf_puts(words, *m->prefix ? m->prefix : "model:");
    buf_putc(words, ' ');
    chain_words(words, m->chain);
    buf_putc(words, '\n');
}

static void ask_way(struct draft *draft, const struct chain_ways *ways)
{
    buf_puts(&draft->questions, "  --map NAME=embedding, --map NAME=head or --map NAME=-: its "
                                "modules could follow one another in several ways:\n");
    for (size_t i = 0; i < ways->n; i++) {
        buf_puts(&draft->questions, "      ");
        chain_words(&draft->questions, &ways->ways[i]);
        buf_putc(&draft->questions, '\n');
    }
    if (ways->more)
        buf_puts(&draft->questions, "      …\n");
}

/* The activations of the chain's modules under the head; NULL: none of its own. */
static void list_activations(const struct making *m, const char **list)
{
    const struct import_options *options = m->draft->options;

    for (size_t i = 0; i < m->top; i++) {
        const struct element *e = m->chain->elements[i];

        if (e->kind == ELEMENT_RNN)
            list[i] =
                e->gates == 1 ? stack_known_activation(m, e) : stack_activation_behind(options, e);
        else if (e->kind == ELEMENT_MATRIX)
            list[i] = stack_activation(options, e);
    }
}

static bool is_in(const struct chain *chain, const struct element *e)
{
    for (size_t i = 0; i < chain->n; i++)
        if (chain->elements[i] == e)
            return true;
    return chain->embedding == e;
}

/* Modules that could not be put into the chain: a second head, an attention. */
static void ask_left_out(struct making *m, const struct element *const *elements, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_in(m->chain, elements[i]))
            buf_printf(
                &m->draft->questions,
                "  --map %.*s=-: '%.*s' reads %zu numbers and gives %zu, and has no place in "
                "the chain; leave it out, or say with --config how it is connected\n",
                (int)elements[i]->name_len, elements[i]->name, (int)elements[i]->name_len,
                elements[i]->name, elements[i]->reads, elements[i]->gives);
}

/* A pickled model's activations without tensors, which stand somewhere. */
static void ask_activations(struct making *m)
{
    static const char before[] = "torch.nn.modules.activation.";
    static const char *const words[] = {"ReLU", "Tanh", "LeakyReLU", "ELU", "SELU", "GELU", NULL};
    const struct archive *archive = m->draft->archive;

    for (size_t i = 0; i < archive->n_modules && m->draft->options->n_activations == 0; i++) {
        const struct archive_module *module = &archive->modules[i];

        for (size_t k = 0; words[k]; k++)
            if (strncmp(module->class, before, strlen(before)) == 0 &&
                strcmp(module->class + strlen(before), words[k]) == 0)
                buf_printf(&m->draft->questions,
                           "  --activation MODULE=NAME: behind which module does '%s' (%s) stand? "
                           "MODULE=linear: it has no effect\n",
                           module->path, words[k]);
    }
}

static int ask_opinion(struct making *m)
{
    const struct cJSON *kind = json_get(json_get(m->json, "input"), "kind");
    const char *activations[CHAIN_MAX] = {0};

    list_activations(m, activations);
    return opinion_form(&m->draft->opinion, m->draft->archive, m->chain, activations,
                        strcmp(kind->valuestring, "dense") != 0, m->err);
}

int stack_make(struct draft *draft, struct cJSON *json, const char *prefix,
               const struct element *const *elements, size_t n, bool ordered, struct rnn_err *err)
{
    struct making m = {.draft = draft, .json = json, .prefix = prefix, .err = err};
    struct chain_ways *ways = malloc(sizeof *ways);
    int rc;

    if (!ways)
        return stack_no_memory(&m);
    rc = chain_find(ways, elements, n, ordered, err);
    if (rc < 0)
        goto free_ways;
    m.chain = &ways->ways[0];
    if (ways->n > 1)
        ask_way(draft, ways);
    put_words(&m);
    ask_left_out(&m, elements, n);
    ask_activations(&m);
    find_head(&m);
    rc = make_input(&m);
    if (rc == 0)
        rc = stack_is_uniform(&m) ? stack_make_rnn(&m) : make_layers(&m);
    if (rc == 0 && strcmp(prefix, "encoder.") != 0)
        rc = make_head(&m);
    if (rc == 0 && *prefix == '\0')
        rc = ask_opinion(&m);

free_ways:
    free(ways);
    return rc;
}
