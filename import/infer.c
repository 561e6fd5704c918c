/* An architecture from names and shapes, and questions about what they leave open.  See infer.h.
 *
 * What shapes tell: the cell (4H, 3H, H), layers, directions, projection, the widths of embedding
 * and outputs, and with them which module follows which.  What they do not: the activation of a
 * plain RNN, whether outputs are probabilities, whether there is one for each step or one at the
 * end, whether the numbers that a model reads are one-hot ids.  Those are taken from the pickled
 * classes where there are any, from the options, or asked. */
#include "import/infer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "import/chain.h"

/* A stack being made. */
struct making {
    struct draft *draft;
    struct cJSON *json; /* where input, rnn or layers, and head go; the draft's */
    const char *prefix; /* "", "encoder.", "decoder." */
    const struct chain *chain;
    size_t top; /* the chain's elements under the head */
    const struct element *head;
    struct rnn_err *err;
};

static int no_memory(struct making *m)
{
    return rnn_fail(m->err, RNN_ENOMEM, "out of memory");
}

/* ---- JSON ---- */

static bool put(struct cJSON *object, const char *key, struct cJSON *value)
{
    if (value && cJSON_AddItemToObject(object, key, value))
        return true;
    cJSON_Delete(value);
    return false;
}

static bool put_number(struct cJSON *object, const char *key, size_t value)
{
    return put(object, key, cJSON_CreateNumber((double)value));
}

static bool put_bool(struct cJSON *object, const char *key, bool value)
{
    return put(object, key, cJSON_CreateBool(value));
}

static bool put_text(struct cJSON *object, const char *key, const char *value)
{
    return put(object, key, cJSON_CreateString(value));
}

/* A new object under `key`; NULL: out of memory. */
static struct cJSON *put_object(struct cJSON *object, const char *key)
{
    struct cJSON *value = cJSON_CreateObject();

    return put(object, key, value) ? value : NULL;
}

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

    if (options->one_hot || options->dense)
        return options->one_hot;
    if (!m->head || m->head->gives != width)
        return false;
    if (vocab_of_size(m->draft->archive, width) > 0) {
        archive_note(m->draft->archive,
                     "input: it is as wide as the output, and there is a vocabulary of that size: "
                     "taken for one-hot ids (--dense: they are numbers)");
        return true;
    }
    buf_printf(&m->draft->questions,
               "  --one-hot or --dense: are the %zu numbers that it reads at a step one-hot token "
               "ids, or numbers?\n",
               width);
    return true;
}

static int make_input(struct making *m)
{
    const struct element *embedding = m->chain->embedding;
    struct cJSON *input = put_object(m->json, "input");
    size_t width = m->chain->elements[0]->reads;
    char name[64];
    bool good;

    if (!input)
        return no_memory(m);
    if (embedding) {
        const struct archive_tensor *weight = embedding->tensors[NAME_WEIGHT];

        good = put_text(input, "kind", "embedding") &&
               put_number(input, "size", weight->shape[0]) &&
               put_number(input, "dim", weight->shape[1]);
        if (!good)
            return no_memory(m);
        snprintf(name, sizeof name, "%sembedding.weight", m->prefix);
        return draft_add(m->draft, name, embedding->tensors[NAME_WEIGHT], m->err);
    }
    good = put_text(input, "kind", reads_one_hot(m, width) ? "onehot" : "dense") &&
           put_number(input, "size", width);
    return good ? 0 : no_memory(m);
}

/* ---- Recurrent modules ---- */

/* The module's class, where the file is a whole pickled model. */
static const struct archive_module *class_of(const struct making *m, const struct element *e)
{
    struct name name = name_parse(e->path);
    char path[ARCHIVE_NAME_MAX + 1];

    snprintf(path, sizeof path, "%.*s", (int)name.module, e->path);
    return archive_module(m->draft->archive, path);
}

static const char *activation_for(const struct import_options *options, const struct element *e)
{
    for (size_t i = 0; i < options->n_activations; i++)
        if (options->activations[i].from_len == e->name_len &&
            memcmp(options->activations[i].from, e->name, e->name_len) == 0)
            return options->activations[i].to;
    return NULL;
}

static const char *plain_cell(struct making *m, const struct element *e)
{
    const struct import_options *options = m->draft->options;
    const struct archive_module *class = class_of(m, e);
    const char *said = activation_for(options, e);

    said = said ? said : options->activation;
    if (!said && class && class->mode)
        said = strstr(class->mode, "RELU") ? "relu" : "tanh";
    if (!said && options->cell && strcmp(options->cell, "rnn") != 0)
        said = strcmp(options->cell, "rnn_relu") == 0 ? "relu" : "tanh";
    if (!said) {
        buf_printf(&m->draft->questions,
                   "  --activation tanh or --activation relu: '%.*s' is a plain RNN, and its "
                   "weights do not say which\n",
                   (int)e->name_len, e->name);
        said = "tanh";
    }
    return strcmp(said, "relu") == 0 ? "rnn_relu" : "rnn_tanh";
}

static const char *cell_of(struct making *m, const struct element *e)
{
    return e->gates == 4 ? "lstm" : e->gates == 3 ? "gru" : plain_cell(m, e);
}

static int check_cell(struct making *m, const struct element *e)
{
    const char *want = m->draft->options->cell;
    const char *is = e->gates == 4 ? "lstm" : e->gates == 3 ? "gru" : "rnn";

    if (!want || strncmp(want, is, strlen(is)) == 0)
        return 0;
    return rnn_fail(m->err, RNN_ESHAPE,
                    "--cell %s: the weights of '%.*s' have %u blocks of %zu rows, as a %s has",
                    want, (int)e->name_len, e->name, e->gates, e->hidden, is);
}

static int put_rnn(struct making *m, struct cJSON *rnn, const struct element *e, size_t layers)
{
    int rc = check_cell(m, e);

    if (rc < 0)
        return rc;
    if (!put_text(rnn, "cell", cell_of(m, e)) || !put_number(rnn, "hidden_size", e->hidden) ||
        !put_number(rnn, "num_layers", layers) || !put_bool(rnn, "bidirectional", e->both) ||
        !put_bool(rnn, "bias", e->bias) || !put_number(rnn, "proj_size", e->proj))
        return no_memory(m);
    return 0;
}

/* All parts of a recurrent module, its layers counted from `base`. */
static int add_rnn_tensors(struct making *m, const char *module, const struct element *e,
                           size_t base)
{
    static const char *const words[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh",
                                        "weight_hr"};
    char name[96];
    int rc = 0;

    for (size_t k = 0; k < e->layers; k++)
        for (int d = 0; d < 2; d++)
            for (size_t i = 0; i < NAME_RECURRENT_ROLES && rc == 0; i++) {
                struct archive_tensor *tensor = e->parts[k][d][i];

                if (!tensor)
                    continue;
                snprintf(name, sizeof name, "%s%s.%s_l%zu%s", m->prefix, module, words[i], base + k,
                         d ? "_reverse" : "");
                rc = draft_add(m->draft, name, tensor, m->err);
            }
    return rc;
}

static bool alike(const struct element *a, const struct element *b)
{
    return a->kind == ELEMENT_RNN && b->kind == ELEMENT_RNN && a->gates == b->gates &&
           a->hidden == b->hidden && a->proj == b->proj && a->bias == b->bias && a->both == b->both;
}

/* Everything under the head is one kind of recurrent layer. */
static bool is_uniform(const struct making *m)
{
    for (size_t i = 0; i < m->top; i++)
        if (!alike(m->chain->elements[0], m->chain->elements[i]))
            return false;
    return m->top > 0;
}

static int make_rnn(struct making *m)
{
    struct cJSON *rnn = put_object(m->json, "rnn");
    size_t layers = 0;
    int rc = rnn ? 0 : no_memory(m);

    for (size_t i = 0; i < m->top && rc == 0; i++) {
        rc = add_rnn_tensors(m, "rnn", m->chain->elements[i], layers);
        layers += m->chain->elements[i]->layers;
    }
    if (m->top > 1)
        archive_note(m->draft->archive, "%zu recurrent modules of one form are one of %zu layers",
                     m->top, layers);
    return rc < 0 ? rc : put_rnn(m, rnn, m->chain->elements[0], layers);
}

/* ---- Other modules ---- */

static int add_matrix(struct making *m, const char *module, const struct element *e)
{
    char name[96];
    int rc;

    snprintf(name, sizeof name, "%s%s.weight", m->prefix, module);
    if (e->transposed)
        archive_note(m->draft->archive, "'%.*s': transposed, the file has [in, out]",
                     (int)e->name_len, e->name);
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
    const char *activation = activation_for(m->draft->options, e);

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
        return no_memory(m);
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
        return no_memory(m);
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
        return put_text(json, "kind", "affine") ? add_affine(m, module, e) : no_memory(m);
    if (!put_text(json, "kind", "layer_norm") || !put(json, "epsilon", cJSON_CreateNumber(1e-5)))
        return no_memory(m);
    archive_note(m->draft->archive, "'%.*s': layer normalisation with epsilon 1e-5",
                 (int)e->name_len, e->name);
    return add_matrix(m, module, e);
}

static int make_module(struct making *m, struct cJSON *list, size_t index)
{
    const struct element *e = m->chain->elements[index];
    struct cJSON *json = cJSON_CreateObject();
    char module[32];
    int rc;

    if (!json || !cJSON_AddItemToArray(list, json)) {
        cJSON_Delete(json);
        return no_memory(m);
    }
    snprintf(module, sizeof module, "layers.%zu", index);
    if (e->kind == ELEMENT_MATRIX)
        return make_dense(m, json, module, e);
    if (e->kind != ELEMENT_RNN)
        return make_norm(m, json, module, e);
    rc = put_text(json, "kind", "rnn") ? put_rnn(m, json, e, e->layers) : no_memory(m);
    return rc < 0 ? rc : add_rnn_tensors(m, module, e, 0);
}

static int make_layers(struct making *m)
{
    struct cJSON *list = cJSON_CreateArray();
    int rc = put(m->json, "layers", list) ? 0 : no_memory(m);

    for (size_t i = 0; i < m->top && rc == 0; i++)
        rc = make_module(m, list, i);
    return rc;
}

/* ---- Head ---- */

static const char *output_of(struct making *m, size_t size)
{
    const char *said = m->draft->options->output;
    const struct cJSON *kind = json_get(json_get(m->json, "input"), "kind");
    bool reads_ids = kind && strcmp(kind->valuestring, "dense") != 0;

    if (said)
        return said;
    if (reads_ids && size > 1) {
        if (!m->draft->options->config)
            archive_note(m->draft->archive, "outputs: taken for the logits of a softmax (--output "
                                            "says otherwise)");
        return "softmax";
    }
    buf_printf(&m->draft->questions,
               "  --output softmax, --output sigmoid or --output none: are the %zu outputs one "
               "distribution, probabilities each, or numbers?\n",
               size);
    return "none";
}

static int make_head(struct making *m)
{
    const struct element *e = m->head;
    struct cJSON *head;
    char name[64];

    if (!e)
        return put(m->json, "head", cJSON_CreateNull()) ? 0 : no_memory(m);
    head = put_object(m->json, "head");
    if (!head || !put_number(head, "size", e->gives) ||
        !put_bool(head, "bias", e->tensors[NAME_BIAS] != NULL) ||
        !put_bool(head, "tied", m->chain->tied == e) ||
        !put_text(head, "activation", output_of(m, e->gives)))
        return no_memory(m);
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

static int make_stack(struct draft *draft, struct cJSON *json, const char *prefix,
                      const struct element *const *elements, size_t n, bool ordered,
                      struct making *m, struct rnn_err *err)
{
    struct chain_ways *ways = malloc(sizeof *ways);
    int rc;

    *m = (struct making){.draft = draft, .json = json, .prefix = prefix, .err = err};
    if (!ways)
        return no_memory(m);
    rc = chain_find(ways, elements, n, ordered, err);
    if (rc < 0)
        goto free_ways;
    m->chain = &ways->ways[0];
    if (ways->n > 1)
        ask_way(draft, ways);
    buf_puts(&draft->words, *prefix ? prefix : "model: ");
    if (*prefix)
        buf_putc(&draft->words, ' ');
    chain_words(&draft->words, m->chain);
    buf_putc(&draft->words, '\n');
    find_head(m);
    rc = make_input(m);
    if (rc == 0)
        rc = is_uniform(m) ? make_rnn(m) : make_layers(m);
    if (rc == 0 && strcmp(prefix, "encoder.") != 0)
        rc = make_head(m);

free_ways:
    m->chain = NULL;
    free(ways);
    return rc;
}

/* ---- Topologies ---- */

/* How many outputs there are, and how many different inputs; 0: they are numbers. */
static size_t size_in(const struct cJSON *config, const char *part, const char *kind)
{
    const struct cJSON *object = json_get(config, part);
    const struct cJSON *size = object ? json_get(object, "size") : NULL;
    const struct cJSON *name = object ? json_get(object, "kind") : NULL;

    if (!cJSON_IsNumber(size) || (kind && name && strcmp(name->valuestring, kind) == 0))
        return 0;
    return (size_t)size->valuedouble;
}

static const char *topology_of(struct draft *draft)
{
    const char *said = draft->options->topology;
    size_t outputs = size_in(draft->config, "head", NULL);
    size_t ids = size_in(draft->config, "input", "dense");

    if (said)
        return said;
    if (outputs && outputs != ids)
        buf_printf(&draft->questions,
                   "  --topology synced or --topology many_to_one: are there %zu outputs at every "
                   "step, or once for a whole input?\n",
                   outputs);
    return "synced";
}

static int infer_one(struct draft *draft, const struct elements *elements, struct rnn_err *err)
{
    const struct element **list = calloc(elements->n + 1, sizeof *list);
    struct making m;
    int rc;

    if (!list)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < elements->n; i++)
        list[i] = &elements->list[i];
    rc = make_stack(draft, draft->config, "", list, elements->n, elements->ordered, &m, err);
    free(list);
    if (rc == 0 && !put_text(draft->config, "topology", topology_of(draft)))
        rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    return rc;
}

static int put_ids(struct draft *draft, struct rnn_err *err)
{
    const struct import_options *o = draft->options;
    const struct {
        const char *key, *option;
        int64_t value;
        bool wanted;
    } ids[] = {{"bos", "bos", o->bos, true},
               {"eos", "eos", o->eos, true},
               {"source_eos", "source-eos", o->source_eos, false},
               {"max_len", "max-len", o->max_len, false}};

    for (size_t i = 0; i < 4; i++) {
        if (ids[i].value < 0 && ids[i].wanted)
            buf_printf(&draft->questions, "  --%s ID: the token that %s a text of the decoder's\n",
                       ids[i].option, i == 0 ? "begins" : "ends");
        if (ids[i].value >= 0 &&
            !put(draft->config, ids[i].key, cJSON_CreateNumber((double)ids[i].value)))
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    return 0;
}

/* Modules of the encoder; all others are the decoder's. */
static size_t pick_side(const struct elements *elements, bool encoder, const struct element **list)
{
    size_t n = 0;

    for (size_t i = 0; i < elements->n; i++) {
        const struct element *e = &elements->list[i];

        if ((name_side(e->name, e->name_len) == 'e') == encoder)
            list[n++] = e;
    }
    return n;
}

static bool has_recurrent(const struct element *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->kind == ELEMENT_RNN)
            return true;
    return false;
}

static int infer_pair(struct draft *draft, const struct elements *elements,
                      const struct element **list, struct rnn_err *err)
{
    struct cJSON *encoder = put_object(draft->config, "encoder");
    struct cJSON *decoder = put_object(draft->config, "decoder");
    struct making m;
    size_t n = pick_side(elements, true, list);
    int rc;

    if (!encoder || !decoder || !put_text(draft->config, "topology", "seq2seq") ||
        !put_text(draft->config, "state_transfer", "copy"))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = make_stack(draft, encoder, "encoder.", list, n, elements->ordered, &m, err);
    n = pick_side(elements, false, list);
    if (rc == 0)
        rc = make_stack(draft, decoder, "decoder.", list, n, elements->ordered, &m, err);
    return rc < 0 ? rc : put_ids(draft, err);
}

int infer(struct draft *draft, const struct elements *elements, struct rnn_err *err)
{
    const struct element **list = calloc(elements->n + 1, sizeof *list);
    bool pair;
    int rc;

    if (!list)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    draft->config = cJSON_CreateObject();
    if (!draft->config || !put_text(draft->config, "schema", "rnnd-ref-1")) {
        free(list);
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    pair = has_recurrent(list, pick_side(elements, true, list)) &&
           has_recurrent(list, pick_side(elements, false, list));
    rc = pair ? infer_pair(draft, elements, list, err) : infer_one(draft, elements, err);
    free(list);
    return rc;
}
