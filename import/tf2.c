/* Keras layers in a TensorFlow 2 checkpoint, which names variables by the path of objects:
 *
 *     layer_with_weights-1/cell/kernel/.ATTRIBUTES/VARIABLE_VALUE
 *     layer_with_weights-1/cell/recurrent_kernel/…, …/bias/…
 *     optimizer/iter/…, …/.OPTIMIZER_SLOT/optimizer/m/…        not of the model
 *
 * Where the path ends in an attribute's name, that says what a variable is; a bare number
 * (variables/3) says nothing, and is left alone.  The cell follows from the shapes:
 *
 *     LSTM        kernel [in, 4H], recurrent_kernel [H, 4H], bias [4H]; i f c o, PyTorch's order
 *     GRU         3H; z r h; bias [2, 3H]: reset after, its rows of the two sums; [3H]: before
 *     SimpleRNN   H
 *
 * Activations are in no checkpoint: they are taken for Keras' defaults, and the note says so. */
#include <stdio.h>
#include <string.h>

#include "import/forms.h"

static const char value_end[] = "/.ATTRIBUTES/VARIABLE_VALUE";

/* ---- Names ---- */

/* Marks what is the optimizer's and gives the others their short names. */
static int shorten(struct archive *archive, size_t index, size_t *n_training, struct rnn_err *err)
{
    struct archive_tensor *t = &archive->tensors[index], copy = *t;
    size_t len = strlen(t->name) - strlen(value_end);
    char *text;

    if (!forms_ends_with(t->name, value_end))
        return 0;
    if (strstr(t->name, "/.OPTIMIZER_SLOT/") || strncmp(t->name, "optimizer", 9) == 0 ||
        strncmp(t->name, "_optimizer", 10) == 0 || strncmp(t->name, "save_counter", 12) == 0) {
        t->training = true;
        ++*n_training;
        return 0;
    }
    text = archive_alloc(archive, len + 1, err);
    if (!text)
        return err ? err->code : RNN_ENOMEM;
    snprintf(text, len + 1, "%s", t->name);
    t->used = true;
    copy.name = text;
    copy.made = true;
    return archive_add(archive, &copy, err);
}

/* ---- Cells ---- */

struct work {
    struct archive *archive;
    struct archive_cell cell; /* kernel, candidate: the recurrent kernel, bias */
    size_t gates;
    size_t blocks[4]; /* our rows' blocks among the file's columns */
    struct rnn_err *err;
};

static int make_part(struct work *w, const char *part, size_t rank, size_t columns,
                     unsigned char **bytes)
{
    struct archive_tensor proto = {.part = w->cell.kernel.part,
                                   .order = w->cell.kernel.order,
                                   .type = w->cell.kernel.type,
                                   .rank = rank,
                                   .shape = {w->gates * w->cell.hidden, columns}};
    char end[32];

    snprintf(end, sizeof end, ".%s", part);
    return forms_make(w->archive, &proto, w->cell.module, strlen(w->cell.module), end, bytes,
                      w->err);
}

/* The column of the file that row `row` of ours is. */
static size_t column_of(const struct work *w, size_t row)
{
    return w->blocks[row / w->cell.hidden] * w->cell.hidden + row % w->cell.hidden;
}

static int make_matrix(struct work *w, const char *part, const struct archive_tensor *from)
{
    size_t size = from->type->bytes, n = from->shape[0], rows = w->gates * w->cell.hidden;
    unsigned char *to;
    int rc = make_part(w, part, 2, n, &to);

    for (size_t row = 0; rc == 0 && row < rows; row++)
        for (size_t i = 0; i < n; i++)
            memcpy(to + (row * n + i) * size,
                   (const unsigned char *)from->data + (i * rows + column_of(w, row)) * size, size);
    return rc;
}

/* Row `line` of the bias; zeros where it has fewer. */
static int make_bias(struct work *w, const char *part, size_t line)
{
    size_t size = w->cell.kernel.type->bytes, rows = w->gates * w->cell.hidden;
    unsigned char *to;
    int rc = make_part(w, part, 1, 0, &to);

    for (size_t row = 0; rc == 0 && row < rows && (line + 1) * rows <= w->cell.bias.elements; row++)
        memcpy(to + row * size,
               (const unsigned char *)w->cell.bias.data + (line * rows + column_of(w, row)) * size,
               size);
    return rc;
}

static int measure(struct work *w)
{
    const struct archive_tensor *k = &w->cell.kernel, *u = &w->cell.candidate;
    const struct archive_tensor *b = &w->cell.bias;
    size_t h = u->rank == 2 ? u->shape[0] : 0, columns = u->rank == 2 ? u->shape[1] : 0;

    w->gates = h ? columns / h : 0;
    if (k->rank != 2 || !k->type->usable || u->type != k->type || h == 0 || columns % h ||
        (w->gates != 1 && w->gates != 3 && w->gates != 4) || k->shape[1] != columns ||
        k->shape[0] == 0)
        return rnn_fail_at(w->err, RNN_ESHAPE, k->name, -1,
                           "tensor '%.80s': no kernels of a Keras LSTM, GRU or SimpleRNN", k->name);
    if (b->type && (b->type != k->type ||
                    (b->elements != columns && !(w->gates == 3 && b->elements == 2 * columns))))
        return rnn_fail_at(w->err, RNN_ESHAPE, b->name, -1,
                           "tensor '%.80s': want %zu numbers as in the kernel's columns", b->name,
                           columns);
    w->cell.hidden = h;
    w->cell.in = k->shape[0];
    return 0;
}

static void choose_order(struct work *w)
{
    static const size_t lstm[] = {0, 1, 2, 3}, gru[] = {1, 0, 2}, rnn[] = {0};
    const size_t *order = w->gates == 4 ? lstm : w->gates == 3 ? gru : rnn;

    for (size_t i = 0; i < w->gates; i++)
        w->blocks[i] = order[i];
}

static int make_all(struct work *w)
{
    int rc = make_matrix(w, "weight_ih", &w->cell.kernel);

    if (rc == 0)
        rc = make_matrix(w, "weight_hh", &w->cell.candidate);
    if (rc == 0 && w->cell.bias.type)
        rc = make_bias(w, "bias_ih", 0);
    if (rc == 0 && w->cell.bias.type)
        rc = make_bias(w, "bias_hh", 1);
    return rc;
}

/* What the config must be told: a reset before; how a plain cell activates is asked. */
static int add_records(struct work *w)
{
    bool before = w->gates == 3 && w->cell.bias.type && w->cell.bias.elements == 3 * w->cell.hidden;
    const struct archive_module module = {w->cell.module, "Keras", "GRU_RESET_BEFORE"};
    int rc = before ? archive_add_module(w->archive, &module, w->err) : 0;

    w->cell.form = w->gates == 4 ? FORM_KERAS_LSTM : FORM_KERAS_GRU;
    if (rc == 0 && w->gates > 1)
        rc = archive_add_cell(w->archive, &w->cell, w->err);
    if (rc == 0)
        archive_note(w->archive,
                     "'%s': Keras kernels transposed%s%s; activations are in no checkpoint and "
                     "taken for Keras' defaults",
                     w->cell.module, w->gates == 3 ? "; gates z r h put in the order r z n" : "",
                     before ? "; reset before the product" : "");
    return rc;
}

/* The tensor under `len` bytes of the name, marked as used; without a type: there is none. */
static struct archive_tensor take(struct work *w, const char *name, size_t len, const char *end)
{
    struct archive_tensor *found = forms_find(w->archive, name, len, end);

    if (!found)
        return (struct archive_tensor){0};
    found->used = true;
    return *found;
}

static int convert_cell(struct archive *archive, size_t index, struct rnn_err *err)
{
    const char *name = archive->tensors[index].name;
    size_t len = strlen(name) - strlen("recurrent_kernel");
    struct work w = {.archive = archive, .err = err};
    int rc;

    if (!forms_find(archive, name, len, "kernel"))
        return 0;
    w.cell.module = archive_text(archive, name, len - 1, err);
    if (!w.cell.module)
        return err ? err->code : RNN_ENOMEM;
    w.cell.kernel = take(&w, name, len, "kernel");
    w.cell.candidate = take(&w, name, len, "recurrent_kernel");
    w.cell.bias = take(&w, name, len, "bias");
    rc = measure(&w);
    if (rc < 0)
        return rc;
    choose_order(&w);
    rc = make_all(&w);
    return rc < 0 ? rc : add_records(&w);
}

int convert_tf2(struct archive *archive, const struct import_options *options, struct rnn_err *err)
{
    size_t n = archive->n_tensors, n_training = 0;
    int rc = 0;

    (void)options;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = shorten(archive, i, &n_training, err);
    if (n_training > 0)
        archive_note(archive, "%zu variables of the training, passed over", n_training);
    n = archive->n_tensors;
    for (size_t i = 0; i < n && rc == 0; i++)
        if (forms_ends_with(archive->tensors[i].name, "/recurrent_kernel"))
            rc = convert_cell(archive, i, err);
    return rc;
}
