/* Plain recurrent cells that people write by hand, out of dense layers.
 *
 *     i2h, h2h          h' = f(i2h x + h2h h)                     PyTorch's tutorial since 2022
 *     i2h               h' = f(i2h [x, h])                        [H, in + H]
 *     i2h, i2o          h' = i2h [x, h], y = i2o [x, h]           PyTorch's first tutorial: no
 *     i2h, i2o, o2o     the same, then o2o [h', y]                activation, y sees the old h
 *     Wxh, Whh, bh      h' = tanh(Wxh x + Whh h + bh), then Why, by      min-char-rnn
 *
 * Where y sees the old state it becomes a part of the new one: a linear cell of H + O units whose
 * last O are y, of which nothing flows back, and a head that picks them out.  That is exact.  With
 * an activation in the cell it would not be, and is refused. */
#include <stdio.h>
#include <string.h>

#include "import/forms.h"

/* Tensors of one such cell; copies, as the archive's list moves. */
struct cell {
    struct archive *archive;
    const char *path; /* bytes [0, len) lead to the modules */
    size_t len;
    size_t in, hidden;
    struct rnn_err *err;
};

static int odd_shape(const struct cell *c, const struct archive_tensor *t, const char *what)
{
    char found[96];

    archive_shape_text(found, sizeof found, t);
    return rnn_fail_at(c->err, RNN_ESHAPE, t->name, -1, "tensor '%.80s': %s; found %s %s", t->name,
                       what, t->type->name, found);
}

static bool is_matrix(const struct archive_tensor *t)
{
    return t && t->rank == 2 && t->type->usable && t->elements > 0;
}

/* A vector of n numbers, also as a column. */
static bool is_vector(const struct archive_tensor *t, size_t n)
{
    return t && t->type->usable && t->elements == n &&
           (t->rank == 1 || (t->rank == 2 && t->shape[1] == 1));
}

/* The tensor, marked as used; false: there is none. */
static bool take(const struct cell *c, const char *end, struct archive_tensor *out)
{
    struct archive_tensor *found = forms_find(c->archive, c->path, c->len, end);

    if (!found)
        return false;
    found->used = true;
    *out = *found;
    return true;
}

static int make(const struct cell *c, const struct archive_tensor *like, const char *end,
                size_t rows, size_t columns, unsigned char **bytes)
{
    struct archive_tensor proto = {.part = like->part,
                                   .order = like->order,
                                   .type = like->type,
                                   .rank = columns ? 2 : 1,
                                   .shape = {rows, columns}};

    return forms_make(c->archive, &proto, c->path, c->len, end, bytes, c->err);
}

/* Columns [first, first + n) of all rows of `from`, into rows of `width` from row `row` on. */
static void put_columns(const struct archive_tensor *from, size_t first, size_t n,
                        unsigned char *to, size_t row, size_t width)
{
    size_t size = from->type->bytes;
    const unsigned char *data = from->data;

    for (size_t i = 0; i < from->shape[0]; i++)
        memcpy(to + (row + i) * width * size, data + (i * from->shape[1] + first) * size, n * size);
}

static int note_activation(const struct cell *c, const char *module, const char *class,
                           const char *mode)
{
    struct archive_module record = {.class = class, .mode = mode};
    char path[ARCHIVE_NAME_MAX + 1];

    snprintf(path, sizeof path, "%.*s%s", (int)c->len, c->path, module);
    record.path = archive_text(c->archive, path, strlen(path), c->err);
    return record.path ? archive_add_module(c->archive, &record, c->err) : RNN_ENOMEM;
}

/* ---- i2h over [x, h] ---- */

/* Cuts i2h [H, in + H] at its columns. */
static int make_joined(const struct cell *c, const struct archive_tensor *weight,
                       const struct archive_tensor *bias)
{
    size_t h = c->hidden;
    unsigned char *bytes;
    int rc = make(c, weight, "i2h.weight_ih", h, c->in, &bytes);

    if (rc == 0) {
        put_columns(weight, 0, c->in, bytes, 0, c->in);
        rc = make(c, weight, "i2h.weight_hh", h, h, &bytes);
    }
    if (rc == 0) {
        put_columns(weight, c->in, h, bytes, 0, h);
        archive_note(c->archive,
                     "'%.*si2h' reads the input and the state side by side: cut into "
                     "weight_ih and weight_hh",
                     (int)c->len, c->path);
    }
    if (rc < 0 || !bias)
        return rc;
    rc = make(c, bias, "i2h.bias_ih", h, 0, &bytes);
    if (rc < 0)
        return rc;
    memcpy(bytes, bias->data, h * bias->type->bytes);
    return make(c, bias, "i2h.bias_hh", h, 0, &bytes);
}

/* ---- i2h and i2o over [x, h] ---- */

struct pair {
    struct archive_tensor i2h, i2h_bias, i2o, i2o_bias;
    bool bias;
    size_t outputs;
};

static int check_pair(const struct cell *c, const struct pair *p)
{
    const struct archive_tensor *o2o = forms_find(c->archive, c->path, c->len, "o2o.weight");

    if (p->i2o.type != p->i2h.type || p->i2o.shape[1] != p->i2h.shape[1])
        return odd_shape(c, &p->i2o, "want as many columns as i2h has");
    if (p->bias && (!is_vector(&p->i2h_bias, c->hidden) || !is_vector(&p->i2o_bias, p->outputs) ||
                    p->i2h_bias.type != p->i2h.type || p->i2o_bias.type != p->i2h.type))
        return odd_shape(c, &p->i2h_bias, "the biases of i2h and i2o do not fit them");
    if (o2o && (o2o->rank != 2 || o2o->shape[1] != c->hidden + p->outputs))
        return odd_shape(c, o2o, "want the columns of the state and the output together");
    return 0;
}

static int make_pair_weights(const struct cell *c, const struct pair *p)
{
    size_t h = c->hidden, n = h + p->outputs, size = p->i2h.type->bytes;
    unsigned char *bytes;
    int rc = make(c, &p->i2h, "i2h.weight_ih", n, c->in, &bytes);

    if (rc == 0) {
        put_columns(&p->i2h, 0, c->in, bytes, 0, c->in);
        put_columns(&p->i2o, 0, c->in, bytes, h, c->in);
        rc = make(c, &p->i2h, "i2h.weight_hh", n, n, &bytes);
    }
    if (rc == 0) {
        put_columns(&p->i2h, c->in, h, bytes, 0, n);
        put_columns(&p->i2o, c->in, h, bytes, h, n);
    }
    if (rc < 0 || !p->bias)
        return rc;
    rc = make(c, &p->i2h, "i2h.bias_ih", n, 0, &bytes);
    if (rc < 0)
        return rc;
    memcpy(bytes, p->i2h_bias.data, h * size);
    memcpy(bytes + h * size, p->i2o_bias.data, p->outputs * size);
    return make(c, &p->i2h, "i2h.bias_hh", n, 0, &bytes);
}

/* [0 | 1]: picks the outputs out of the state. */
static int make_pick(const struct cell *c, const struct pair *p)
{
    struct archive_tensor like = {
        .part = p->i2o.part, .order = p->i2o.order, .type = forms_computed(p->i2o.type)};
    size_t n = c->hidden + p->outputs;
    unsigned char *bytes;
    int rc;

    if (forms_find(c->archive, c->path, c->len, "o2o.weight"))
        return 0;
    rc = make(c, &like, "output.weight", p->outputs, n, &bytes);
    for (size_t i = 0; rc == 0 && i < p->outputs; i++)
        forms_put(like.type, bytes, i * n + c->hidden + i, 1);
    return rc;
}

/* What the user says that i2h's activation is; NULL: nothing. */
static const char *said_activation(const struct cell *c, const struct import_options *options)
{
    const char *said = options->activation;

    for (size_t i = 0; i < options->n_activations; i++) {
        const struct import_pair *pair = &options->activations[i];

        if (pair->from_len == c->len + 3 && memcmp(pair->from, c->path, pair->from_len) == 0)
            said = pair->to;
    }
    return said;
}

/* The cell as the file has it, for the second opinion. */
static int keep_original(const struct cell *c, const struct pair *p)
{
    struct archive_cell original = {.form = FORM_JOINED,
                                    .in = c->in,
                                    .hidden = c->hidden,
                                    .kernel = p->i2h,
                                    .bias = p->i2h_bias,
                                    .candidate = p->i2o,
                                    .candidate_bias = p->i2o_bias};

    original.module = archive_text(c->archive, c->path, c->len + strlen("i2h"), c->err);
    return original.module ? archive_add_cell(c->archive, &original, c->err) : RNN_ENOMEM;
}

static int convert_pair(struct cell *c, const struct import_options *options)
{
    const char *said = said_activation(c, options);
    struct pair p = {0};
    bool other;
    int rc;

    if (said && strcmp(said, "linear") != 0)
        return rnn_fail(c->err, RNN_EUNSUPPORTED,
                        "'%.*si2o' reads the state before the step; with an activation in i2h "
                        "(--activation %s) no model of rnnd computes that",
                        (int)c->len, c->path, said);
    (void)take(c, "i2h.weight", &p.i2h);
    (void)take(c, "i2o.weight", &p.i2o);
    p.bias = take(c, "i2h.bias", &p.i2h_bias);
    other = take(c, "i2o.bias", &p.i2o_bias);
    p.outputs = p.i2o.shape[0];
    rc = p.bias == other ? check_pair(c, &p)
                         : odd_shape(c, &p.i2h, "of i2h and i2o, one has a bias and one has none");
    if (rc == 0)
        rc = make_pair_weights(c, &p);
    if (rc == 0)
        rc = make_pick(c, &p);
    if (rc == 0)
        rc = note_activation(c, "i2h", "i2h, i2o", "RNN_LINEAR");
    if (rc == 0)
        rc = keep_original(c, &p);
    if (rc == 0)
        archive_note(c->archive,
                     "'%.*si2h' and 'i2o' read the input and the state before the step: taken for "
                     "the cell of PyTorch's tutorial, without an activation; the outputs became a "
                     "part of the state, %zu + %zu units",
                     (int)c->len, c->path, c->hidden, p.outputs);
    return rc;
}

/* ---- i2h and h2h ---- */

static int put_bias(struct cell *c, const struct archive_tensor *bias, const char *end,
                    const struct archive_tensor *like)
{
    unsigned char *bytes;
    int rc = make(c, bias->type ? bias : like, end, c->hidden, 0, &bytes);

    if (rc == 0 && bias->type)
        memcpy(bytes, bias->data, c->hidden * bias->type->bytes);
    return rc;
}

static int convert_two(struct cell *c)
{
    struct archive_tensor ih, hh, ih_bias = {0}, hh_bias = {0};
    unsigned char *bytes;
    bool bias;
    int rc;

    (void)take(c, "i2h.weight", &ih);
    (void)take(c, "h2h.weight", &hh);
    c->hidden = hh.shape[1];
    c->in = ih.shape[1];
    if (ih.shape[0] != hh.shape[0] || hh.shape[0] != c->hidden)
        return odd_shape(c, &hh,
                         "a cell written by hand; want HxH, as a plain RNN has, because the order "
                         "of an LSTM's or GRU's gates is not in the file");
    bias = take(c, "i2h.bias", &ih_bias);
    bias |= take(c, "h2h.bias", &hh_bias);
    if ((ih_bias.type && !is_vector(&ih_bias, c->hidden)) ||
        (hh_bias.type && !is_vector(&hh_bias, c->hidden)))
        return odd_shape(c, ih_bias.type ? &ih_bias : &hh_bias, "the bias does not fit its weight");
    rc = make(c, &ih, "i2h.weight_ih", c->hidden, c->in, &bytes);
    if (rc == 0) {
        put_columns(&ih, 0, c->in, bytes, 0, c->in);
        rc = make(c, &hh, "i2h.weight_hh", c->hidden, c->hidden, &bytes);
    }
    if (rc < 0)
        return rc;
    put_columns(&hh, 0, c->hidden, bytes, 0, c->hidden);
    archive_note(c->archive, "'%.*si2h' and 'h2h' are the two halves of a plain RNN", (int)c->len,
                 c->path);
    if (!bias)
        return 0;
    rc = put_bias(c, &ih_bias, "i2h.bias_ih", &ih);
    return rc < 0 ? rc : put_bias(c, &hh_bias, "i2h.bias_hh", &hh);
}

/* ---- min-char-rnn ---- */

/* A matrix as it is, or transposed. */
static int put_matrix(const struct cell *c, const struct archive_tensor *from, bool turned,
                      const char *end)
{
    size_t rows = from->shape[turned], columns = from->shape[!turned], size = from->type->bytes;
    unsigned char *to;
    int rc = make(c, from, end, rows, columns, &to);

    for (size_t i = 0; rc == 0 && i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy(to + (i * columns + j) * size,
                   (const unsigned char *)from->data +
                       (turned ? j * rows + i : i * columns + j) * size,
                   size);
    return rc;
}

static int put_vector(const struct cell *c, const char *from, size_t n, const char *end)
{
    struct archive_tensor bias;
    unsigned char *bytes;
    int rc;

    if (!take(c, from, &bias))
        return 0;
    if (!is_vector(&bias, n))
        return odd_shape(c, &bias, "the bias does not fit its weight");
    rc = make(c, &bias, end, n, 0, &bytes);
    if (rc == 0)
        memcpy(bytes, bias.data, n * bias.type->bytes);
    return rc;
}

static int convert_letters(struct cell *c)
{
    struct archive_tensor xh, hh, hy;
    struct archive_tensor *why = forms_find(c->archive, c->path, c->len, "Why");
    bool turned;
    int rc;

    (void)take(c, "Wxh", &xh);
    (void)take(c, "Whh", &hh);
    if (!is_matrix(&xh) || !is_matrix(&hh) || !is_matrix(why) || hh.shape[0] != hh.shape[1])
        return odd_shape(c, &hh, "of Wxh, Whh, Why; want HxV, HxH, VxH");
    c->hidden = hh.shape[0];
    turned = xh.shape[0] != c->hidden;
    if (xh.shape[turned] != c->hidden || why->shape[!turned] != c->hidden)
        return odd_shape(c, &xh, "of Wxh, Whh, Why; want HxV, HxH, VxH");
    why->used = true;
    hy = *why;
    rc = put_matrix(c, &xh, turned, "rnn.weight_ih");
    if (rc == 0)
        rc = put_matrix(c, &hh, turned, "rnn.weight_hh");
    if (rc == 0)
        rc = put_vector(c, "bh", c->hidden, "rnn.bias_ih");
    if (rc == 0 && forms_find(c->archive, c->path, c->len, "bh")) {
        unsigned char *zeros;

        rc = make(c, &hh, "rnn.bias_hh", c->hidden, 0, &zeros);
    }
    if (rc == 0)
        rc = put_matrix(c, &hy, turned, "output.weight");
    if (rc == 0)
        rc = put_vector(c, "by", hy.shape[turned], "output.bias");
    if (rc == 0)
        rc = note_activation(c, "rnn", "min-char-rnn", "RNN_TANH");
    if (rc == 0)
        archive_note(c->archive,
                     "Wxh, Whh and Why: taken for min-char-rnn, whose activation is "
                     "tanh (--activation says otherwise)%s",
                     turned ? "; transposed" : "");
    return rc;
}

/* ---- Finding them ---- */

static int convert_i2h(struct archive *archive, size_t index, const struct import_options *options,
                       struct rnn_err *err)
{
    struct archive_tensor weight = archive->tensors[index], bias;
    struct cell c = {.archive = archive,
                     .path = weight.name,
                     .len = strlen(weight.name) - strlen("i2h.weight"),
                     .err = err};
    bool has_bias;

    if (!is_matrix(&weight))
        return 0;
    if (is_matrix(forms_find(archive, c.path, c.len, "h2h.weight")))
        return convert_two(&c);
    if (weight.shape[1] <= weight.shape[0])
        return 0;
    c.hidden = weight.shape[0];
    c.in = weight.shape[1] - c.hidden;
    if (is_matrix(forms_find(archive, c.path, c.len, "i2o.weight")))
        return convert_pair(&c, options);
    (void)take(&c, "i2h.weight", &weight);
    has_bias = take(&c, "i2h.bias", &bias);
    if (has_bias && !is_vector(&bias, c.hidden))
        return odd_shape(&c, &bias, "the bias does not fit its weight");
    return make_joined(&c, &weight, has_bias ? &bias : NULL);
}

static bool is_component(const char *name, const char *end)
{
    size_t at = strlen(name) - strlen(end);

    return forms_ends_with(name, end) && (at == 0 || name[at - 1] == '.' || name[at - 1] == '/');
}

int convert_handmade(struct archive *archive, const struct import_options *options,
                     struct rnn_err *err)
{
    size_t n = archive->n_tensors;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct archive_tensor *t = &archive->tensors[i];
        struct cell c = {.archive = archive, .path = t->name, .err = err};

        if (t->training || t->made)
            continue;
        if (is_component(t->name, "i2h.weight")) {
            rc = convert_i2h(archive, i, options, err);
        } else if (is_component(t->name, "Wxh")) {
            c.len = strlen(t->name) - strlen("Wxh");
            if (forms_find(archive, c.path, c.len, "Whh") &&
                forms_find(archive, c.path, c.len, "Why"))
                rc = convert_letters(&c);
        }
    }
    return rc;
}
