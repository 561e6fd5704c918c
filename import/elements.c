/* Tensors into modules.  See elements.h.
 *
 * The cell follows from shapes: with H from the recurrent matrix, its rows are 4H, 3H or H. */
#include "import/elements.h"

#include <stdlib.h>
#include <string.h>

static int contradiction(const struct element *e, const char *what, struct rnn_err *err)
{
    return rnn_fail(err, RNN_ESHAPE, "module '%.*s': %s", (int)e->name_len, e->name, what);
}

/* ---- Grouping ---- */

static struct element *element_of(struct elements *elements, const char *text, size_t len)
{
    for (size_t i = 0; i < elements->n; i++) {
        struct element *e = &elements->list[i];

        if (e->name_len == len && memcmp(e->name, text, len) == 0)
            return e;
    }
    if (elements->n == ELEMENTS_MAX)
        return NULL;
    elements->list[elements->n] = (struct element){.name = text, .name_len = len};
    return &elements->list[elements->n++];
}

static int place(struct element *e, const struct name *name, struct archive_tensor *tensor,
                 struct rnn_err *err)
{
    struct archive_tensor **slot;

    if (name->role < NAME_RECURRENT_ROLES) {
        if (name->layer >= ELEMENT_LAYERS_MAX)
            return contradiction(e, "more than 64 layers", err);
        slot = &e->parts[name->layer][name->reverse][name->role];
    } else {
        slot = &e->tensors[name->role];
    }
    if (*slot)
        return contradiction(e, "two tensors are the same part of it", err);
    *slot = tensor;
    return 0;
}

static int group(struct elements *elements, const struct named_tensor *tensors, size_t n,
                 struct rnn_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct name name = name_parse(tensors[i].name);
        bool fresh = elements->n < ELEMENTS_MAX;
        size_t before = elements->n;
        struct element *e;

        if (tensors[i].tensor->rank == 0 || (name.bare && tensors[i].tensor->rank != 2))
            continue;
        e = element_of(elements, tensors[i].name, name.module);
        if (!e)
            return rnn_fail(err, RNN_ELIMIT, "more than %d modules", ELEMENTS_MAX);
        if (fresh && elements->n > before) {
            e->first = tensors[i].tensor->order;
            e->path = tensors[i].tensor->name;
        }
        rc = place(e, &name, tensors[i].tensor, err);
    }
    return rc;
}

/* ---- Recurrent modules ---- */

static bool is_recurrent(const struct element *e)
{
    for (size_t k = 0; k < ELEMENT_LAYERS_MAX; k++)
        if (e->parts[k][0][NAME_WEIGHT_IH] || e->parts[k][0][NAME_WEIGHT_HH] ||
            e->parts[k][1][NAME_WEIGHT_IH])
            return true;
    return false;
}

static bool has_shape(const struct archive_tensor *t, size_t rows, size_t columns)
{
    return t && t->type->usable && t->rank == (columns ? 2u : 1u) && t->shape[0] == rows &&
           (columns == 0 || t->shape[1] == columns);
}

/* Hidden size, projection and gates from the lowest layer. */
static int measure(struct element *e, struct rnn_err *err)
{
    const struct archive_tensor *ih = e->parts[0][0][NAME_WEIGHT_IH];
    const struct archive_tensor *hh = e->parts[0][0][NAME_WEIGHT_HH];
    const struct archive_tensor *hr = e->parts[0][0][NAME_WEIGHT_HR];

    if (!ih || !hh || ih->rank != 2 || hh->rank != 2 || hh->shape[1] == 0 || ih->shape[1] == 0)
        return contradiction(e, "its lowest layer has no weight_ih and weight_hh", err);
    e->proj = hr && hr->rank == 2 ? hr->shape[0] : 0;
    e->hidden = e->proj ? hr->shape[1] : hh->shape[1];
    e->reads = ih->shape[1];
    if (e->hidden == 0 || hh->shape[0] % e->hidden ||
        (hh->shape[0] / e->hidden != 1 && hh->shape[0] / e->hidden != 3 &&
         hh->shape[0] / e->hidden != 4))
        return rnn_fail(err, RNN_ESHAPE,
                        "module '%.*s': weight_hh is %zux%zu, which is no LSTM (4Hx%zu), GRU "
                        "(3Hx%zu) or plain RNN (Hx%zu)",
                        (int)e->name_len, e->name, hh->shape[0], hh->shape[1], hh->shape[1],
                        hh->shape[1], hh->shape[1]);
    e->gates = (unsigned)(hh->shape[0] / e->hidden);
    e->bias = e->parts[0][0][NAME_BIAS_IH] != NULL;
    e->both = e->parts[0][1][NAME_WEIGHT_IH] != NULL;
    return 0;
}

static int check_part(const struct element *e, size_t k, int direction, size_t reads,
                      struct rnn_err *err)
{
    struct archive_tensor *const *parts = e->parts[k][direction];
    size_t rows = e->gates * e->hidden, state = e->proj ? e->proj : e->hidden;
    static const char *const words[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh",
                                        "weight_hr"};
    const size_t shapes[][2] = {
        {rows, reads}, {rows, state}, {rows, 0}, {rows, 0}, {e->proj, e->hidden}};
    const bool wanted[] = {true, true, e->bias, e->bias, e->proj != 0};

    for (size_t i = 0; i < NAME_RECURRENT_ROLES; i++) {
        char shape[96];

        if (!parts[i] && !wanted[i])
            continue;
        if (wanted[i] && has_shape(parts[i], shapes[i][0], shapes[i][1]))
            continue;
        if (!parts[i])
            return rnn_fail(err, RNN_ESHAPE, "module '%.*s': %s of layer %zu%s is missing",
                            (int)e->name_len, e->name, words[i], k, direction ? ", reverse" : "");
        archive_shape_text(shape, sizeof shape, parts[i]);
        return rnn_fail_at(err, RNN_ESHAPE, parts[i]->name, -1,
                           "tensor '%.80s': found %s %s, want %zux%zu floats", parts[i]->name,
                           parts[i]->type->name, shape, shapes[i][0], shapes[i][1]);
    }
    return 0;
}

static bool has_layer(const struct element *e, size_t k)
{
    for (size_t i = 0; i < NAME_RECURRENT_ROLES; i++)
        if (e->parts[k][0][i] || e->parts[k][1][i])
            return true;
    return false;
}

static int judge_recurrent(struct element *e, struct rnn_err *err)
{
    size_t reads;
    int rc = measure(e, err);

    e->kind = ELEMENT_RNN;
    e->gives = (e->proj ? e->proj : e->hidden) * (e->both ? 2 : 1);
    reads = e->reads;
    for (size_t k = 0; k < ELEMENT_LAYERS_MAX && rc == 0 && has_layer(e, k); k++) {
        e->layers++;
        for (int d = 0; d <= (int)e->both && rc == 0; d++)
            rc = check_part(e, k, d, reads, err);
        reads = e->gives;
    }
    for (size_t k = e->layers; k < ELEMENT_LAYERS_MAX && rc == 0; k++)
        if (has_layer(e, k))
            return contradiction(e, "its layers are not numbered from 0 without a gap", err);
    return rc;
}

/* ---- The others ---- */

/* A convolution over one step: a dense layer under another name, [out, in, 1]. */
static bool is_pointwise(const struct archive_tensor *weight)
{
    bool ones = weight->rank > 2;

    for (size_t i = 2; i < weight->rank; i++)
        ones = ones && weight->shape[i] == 1;
    return ones;
}

static bool judge_plain(struct element *e)
{
    const struct archive_tensor *weight = e->tensors[NAME_WEIGHT], *bias = e->tensors[NAME_BIAS];

    if (!weight || !weight->type->usable || weight->elements == 0)
        return false;
    if (weight->rank == 2 || is_pointwise(weight)) {
        e->kind = ELEMENT_MATRIX;
        e->reads = weight->shape[1];
        e->gives = weight->shape[0];
        if (weight->rank > 2)
            return !bias || has_shape(bias, e->gives, 0);
        if (name_parse(weight->name).kernel || (bias && has_shape(bias, weight->shape[1], 0) &&
                                                weight->shape[0] != weight->shape[1])) {
            e->transposed = true;
            e->reads = weight->shape[0];
            e->gives = weight->shape[1];
        }
        return !bias || has_shape(bias, e->gives, 0);
    }
    if (weight->rank != 1 || !bias || !has_shape(bias, weight->shape[0], 0))
        return false;
    e->reads = e->gives = weight->shape[0];
    e->kind = e->tensors[NAME_MEAN] ? ELEMENT_BATCH_NORM : ELEMENT_NORM;
    return e->kind == ELEMENT_NORM || (has_shape(e->tensors[NAME_MEAN], e->reads, 0) &&
                                       has_shape(e->tensors[NAME_VARIANCE], e->reads, 0));
}

static bool is_embedding(const struct element *e)
{
    return e->kind == ELEMENT_MATRIX && !e->tensors[NAME_BIAS] &&
           name_hint(e->name, e->name_len) == HINT_EMBEDDING;
}

/* An embedding that is there under two names, as some wrappers save it. */
static bool is_copy(const struct elements *elements, size_t n, const struct element *e)
{
    for (size_t i = 0; i < n && is_embedding(e); i++)
        if (is_embedding(&elements->list[i]) &&
            archive_same(elements->list[i].tensors[NAME_WEIGHT], e->tensors[NAME_WEIGHT])) {
            e->tensors[NAME_WEIGHT]->used = true;
            return true;
        }
    return false;
}

static int judge(struct elements *elements, struct rnn_err *err)
{
    size_t kept = 0;
    int rc = 0;

    for (size_t i = 0; i < elements->n && rc == 0; i++) {
        struct element *e = &elements->list[i];
        bool keep = true;

        if (is_recurrent(e))
            rc = judge_recurrent(e, err);
        else
            keep = judge_plain(e) && !is_copy(elements, kept, e);
        if (keep && rc == 0)
            elements->list[kept++] = *e;
    }
    elements->n = kept;
    return rc;
}

size_t elements_shared_prefix(const struct named_tensor *tensors, size_t n)
{
    const char *dot = n ? strchr(tensors[0].name, '.') : NULL;
    size_t len = dot ? (size_t)(dot - tensors[0].name) + 1 : 0;

    for (size_t i = 1; i < n; i++)
        if (strncmp(tensors[i].name, tensors[0].name, len) != 0)
            return 0;
    return len;
}

int elements_find(struct elements *out, const struct named_tensor *tensors, size_t n,
                  struct rnn_err *err)
{
    struct elements elements = {.list = calloc(ELEMENTS_MAX, sizeof *elements.list)};
    int rc;

    if (!elements.list)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = group(&elements, tensors, n, err);
    if (rc == 0)
        rc = judge(&elements, err);
    if (rc < 0) {
        elements_free(&elements);
        return rc;
    }
    *out = elements;
    return 0;
}

void elements_free(struct elements *elements)
{
    free(elements->list);
    *elements = (struct elements){0};
}
