/* The recurrent modules of a stack: their cells, their tensors, and whether all are one.  See
 * stack_inner.h. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "import/put.h"
#include "import/stack_inner.h"

int stack_no_memory(struct making *m)
{
    return rnn_fail(m->err, RNN_ENOMEM, "out of memory");
}

/* The module's class, where the file is a whole pickled model. */
static const struct archive_module *class_of(const struct making *m, const struct element *e)
{
    struct name name = name_parse(e->path);
    char path[ARCHIVE_NAME_MAX + 1];

    snprintf(path, sizeof path, "%.*s", (int)name.module, e->path);
    return archive_module(m->draft->archive, path);
}

const char *stack_activation(const struct import_options *options, const struct element *e)
{
    for (size_t i = 0; i < options->n_activations; i++)
        if (options->activations[i].from_len == e->name_len &&
            memcmp(options->activations[i].from, e->name, e->name_len) == 0)
            return options->activations[i].to;
    return NULL;
}

/* What the user says to stand behind a gated layer; NULL: nothing. */
const char *stack_activation_behind(const struct import_options *options, const struct element *e)
{
    const char *said = e->kind == ELEMENT_RNN && e->gates > 1 ? stack_activation(options, e) : NULL;

    return said && strcmp(said, "linear") != 0 ? said : NULL;
}

static bool is_cell(const struct import_options *options, const char *name)
{
    return options->cell && strcmp(options->cell, name) == 0;
}

/* The activation of a plain recurrent cell, as the options or the module's class say; NULL: nobody
 * does, or the cell is none. */
const char *stack_known_activation(const struct making *m, const struct element *e)
{
    const struct import_options *options = m->draft->options;
    const struct archive_module *class = class_of(m, e);
    const char *said = stack_activation(options, e);

    if (e->gates != 1)
        return NULL;
    if (said || options->activation)
        return said ? said : options->activation;
    if (is_cell(options, "rnn_relu") || is_cell(options, "rnn_tanh"))
        return is_cell(options, "rnn_relu") ? "relu" : "tanh";
    if (!class || !class->mode)
        return NULL;
    return strstr(class->mode, "RELU") ? "relu" : strstr(class->mode, "LINEAR") ? "linear" : "tanh";
}

static const char *activation_of(struct making *m, const struct element *e)
{
    const char *known = stack_known_activation(m, e);

    if (known)
        return known;
    buf_printf(&m->draft->questions,
               "  --activation tanh, --activation relu or --activation linear: '%.*s' is a plain "
               "RNN, and its weights do not say which\n",
               (int)e->name_len, e->name);
    return "tanh";
}

/* A GRU whose reset gate stands before the recurrent product. */
static bool resets_before(const struct making *m, const struct element *e)
{
    const struct archive_module *class = class_of(m, e);

    return e->gates == 3 && class && class->mode && strcmp(class->mode, "GRU_RESET_BEFORE") == 0;
}

/* "cell", and what else tells it from others of its kind. */
static bool put_cell(struct making *m, struct cJSON *rnn, const struct element *e)
{
    const char *activation;

    if (e->gates == 4)
        return put_text(rnn, "cell", "lstm");
    if (e->gates == 3)
        return put_text(rnn, "cell", "gru") &&
               (!resets_before(m, e) || put_text(rnn, "reset", "before"));
    activation = activation_of(m, e);
    if (strcmp(activation, "tanh") == 0 || strcmp(activation, "relu") == 0)
        return put_text(rnn, "cell", *activation == 't' ? "rnn_tanh" : "rnn_relu");
    return put_text(rnn, "cell", "rnn") && put_text(rnn, "activation", activation);
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

int stack_put_rnn(struct making *m, struct cJSON *rnn, const struct element *e, size_t layers)
{
    int rc = check_cell(m, e);

    if (rc < 0)
        return rc;
    if (!put_cell(m, rnn, e) || !put_number(rnn, "hidden_size", e->hidden) ||
        !put_number(rnn, "num_layers", layers) || !put_bool(rnn, "bidirectional", e->both) ||
        !put_bool(rnn, "bias", e->bias) || !put_number(rnn, "proj_size", e->proj))
        return stack_no_memory(m);
    return 0;
}

/* All parts of a recurrent module, its layers counted from `base`. */
int stack_add_rnn(struct making *m, const char *module, const struct element *e, size_t base)
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

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool alike(const struct making *m, const struct element *a, const struct element *b)
{
    return a->kind == ELEMENT_RNN && b->kind == ELEMENT_RNN && a->gates == b->gates &&
           a->hidden == b->hidden && a->proj == b->proj && a->bias == b->bias &&
           a->both == b->both && !stack_activation_behind(m->draft->options, a) &&
           !stack_activation_behind(m->draft->options, b) &&
           resets_before(m, a) == resets_before(m, b) &&
           same_text(stack_known_activation(m, a), stack_known_activation(m, b));
}

/* Everything under the head is one kind of recurrent layer. */
bool stack_is_uniform(const struct making *m)
{
    for (size_t i = 0; i < m->top; i++)
        if (!alike(m, m->chain->elements[0], m->chain->elements[i]))
            return false;
    return m->top > 0;
}

int stack_make_rnn(struct making *m)
{
    struct cJSON *rnn = put_object(m->json, "rnn");
    size_t layers = 0;
    int rc = rnn ? 0 : stack_no_memory(m);

    for (size_t i = 0; i < m->top && rc == 0; i++) {
        rc = stack_add_rnn(m, "rnn", m->chain->elements[i], layers);
        layers += m->chain->elements[i]->layers;
    }
    if (m->top > 1)
        archive_note(m->draft->archive, "%zu recurrent modules of one form are one of %zu layers",
                     m->top, layers);
    return rc < 0 ? rc : stack_put_rnn(m, rnn, m->chain->elements[0], layers);
}
