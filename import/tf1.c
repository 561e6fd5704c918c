/* Variables of TensorFlow 1 in PyTorch's names and orders.
 *
 * A cell's kernel [in + H, gates * H] stands for both matrices and is applied to concat(x, h).
 *
 *     BasicLSTMCell, LSTMCell   columns i, j, f, o with j the candidate; forget_bias, by default 1,
 *                               is added to f when the model runs and is not in the file
 *     GRUCell                   gates r, u and a candidate over concat(x, r h): reset before;
 *                               h' = u h + (1 - u) c
 *     BasicRNNCell              tanh
 *
 * Here: rows i f g o or r z n; the file's bias in bias_ih; the forget bias alone in bias_hh, so
 * that nothing is rounded.  Directions "fw" and "bw" of one path become one module.  Older versions
 * said weights and biases, or Linear/Matrix and Linear/Bias; an optimizer keeps its own variables
 * behind the name of each (kernel/Adam, kernel/Adam_1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import/forms.h"

/* ---- Names ---- */

static const char *const kernel_ends[] = {"kernel", "weights", "Linear/Matrix", NULL};
static const char *const bias_ends[] = {"bias", "biases", "Linear/Bias", NULL};

/* The tensor under `len` bytes of `name` with one of the endings; NULL: none. */
static struct archive_tensor *find_any(const struct archive *archive, const char *name, size_t len,
                                       const char *const *ends)
{
    for (size_t i = 0; ends[i]; i++) {
        struct archive_tensor *found = forms_find(archive, name, len, ends[i]);

        if (found)
            return found;
    }
    return NULL;
}

/* Bytes of the name that lead to the cell, with the slash; 0: no kernel of one. */
static size_t cell_of(const char *name)
{
    for (size_t i = 0; kernel_ends[i]; i++) {
        size_t len = strlen(name), end = strlen(kernel_ends[i]);

        if (len > end && forms_ends_with(name, kernel_ends[i]) && name[len - end - 1] == '/')
            return len - end;
    }
    return 0;
}

/* Where the path has a component `word`, and whether it has. */
static bool has_component(const char *path, size_t len, const char *word, size_t *at)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n < len; i++)
        if ((i == 0 || path[i - 1] == '/') && memcmp(path + i, word, n) == 0 &&
            path[i + n] == '/') {
            *at = i;
            return true;
        }
    return false;
}

/* The module's name: the path without its last slash and without its direction. */
static const char *module_of(struct archive *archive, const char *path, size_t len, bool *reverse,
                             struct rnn_err *err)
{
    char name[ARCHIVE_NAME_MAX + 1];
    size_t at;

    *reverse = has_component(path, len, "bw", &at);
    if (!*reverse && !has_component(path, len, "fw", &at))
        return archive_text(archive, path, len - 1, err);
    snprintf(name, sizeof name, "%.*s%.*s", (int)at, path, (int)(len - at - 3 - 1), path + at + 3);
    return archive_text(archive, name, strlen(name), err);
}

/* ---- Numbers ---- */

/* 1 in the type's own bytes, as the last ones of a little-endian number. */
static void put_one(const struct archive_type *type, unsigned char *to)
{
    static const struct {
        enum rnn_dtype dtype;
        uint16_t top;
    } ones[] = {{RNN_F64, 0x3FF0}, {RNN_F32, 0x3F80}, {RNN_BF16, 0x3F80}, {RNN_F16, 0x3C00}};

    for (size_t i = 0; i < 4; i++)
        if (ones[i].dtype == type->dtype) {
            to[type->bytes - 2] = (unsigned char)(ones[i].top & 0xFF);
            to[type->bytes - 1] = (unsigned char)(ones[i].top >> 8);
        }
}

/* A cell being converted.  `blocks` says for each block of our rows which block of the file's
 * columns it is; the blocks from `n_first` on are of the candidate, which has one. */
struct work {
    struct archive *archive;
    struct archive_cell cell;
    const size_t *blocks;
    size_t n_blocks, n_first;
    struct rnn_err *err;
};

/* Where row `row` of ours stands: the tensor that holds it, and its column. */
static const struct archive_tensor *source_of(const struct work *w, bool bias, size_t row,
                                              size_t *column)
{
    size_t block = row / w->cell.hidden;

    *column = w->blocks[block] * w->cell.hidden + row % w->cell.hidden;
    if (block < w->n_first)
        return bias ? &w->cell.bias : &w->cell.kernel;
    return bias ? &w->cell.candidate_bias : &w->cell.candidate;
}

static int make_part(struct work *w, const char *part, size_t rank, size_t columns,
                     unsigned char **bytes)
{
    struct archive_tensor proto = {.part = w->cell.kernel.part,
                                   .order = w->cell.kernel.order,
                                   .type = w->cell.kernel.type,
                                   .rank = rank,
                                   .shape = {w->n_blocks * w->cell.hidden, columns}};
    char end[32];

    snprintf(end, sizeof end, ".%s%s", part, w->cell.reverse ? "_reverse" : "");
    return forms_make(w->archive, &proto, w->cell.module, strlen(w->cell.module), end, bytes,
                      w->err);
}

/* Rows [from, from + n) of the kernel, transposed, its blocks in our order. */
static int make_matrix(struct work *w, const char *part, size_t from, size_t n)
{
    size_t size = w->cell.kernel.type->bytes;
    unsigned char *to;
    int rc = make_part(w, part, 2, n, &to);

    for (size_t row = 0; rc == 0 && row < w->n_blocks * w->cell.hidden; row++) {
        size_t column;
        const struct archive_tensor *from_tensor = source_of(w, false, row, &column);
        const unsigned char *data = from_tensor->data;

        for (size_t i = 0; i < n; i++)
            memcpy(to + (row * n + i) * size,
                   data + ((from + i) * from_tensor->shape[1] + column) * size, size);
    }
    return rc;
}

static int make_bias(struct work *w)
{
    size_t size = w->cell.kernel.type->bytes;
    unsigned char *to;
    int rc = make_part(w, "bias_ih", 1, 0, &to);

    for (size_t row = 0; rc == 0 && row < w->n_blocks * w->cell.hidden; row++) {
        size_t column;
        const struct archive_tensor *from = source_of(w, true, row, &column);

        memcpy(to + row * size, (const unsigned char *)from->data + column * size, size);
    }
    return rc;
}

/* Zero but for an LSTM's forget bias. */
static int make_second_bias(struct work *w)
{
    size_t size = w->cell.kernel.type->bytes, h = w->cell.hidden;
    unsigned char *to;
    int rc = make_part(w, "bias_hh", 1, 0, &to);

    for (size_t i = h; rc == 0 && w->cell.form == FORM_TF_LSTM && i < 2 * h; i++)
        put_one(w->cell.kernel.type, to + i * size);
    return rc;
}

static int make_all(struct work *w)
{
    int rc = make_matrix(w, "weight_ih", 0, w->cell.in);

    if (rc == 0)
        rc = make_matrix(w, "weight_hh", w->cell.in, w->cell.hidden);
    if (rc == 0)
        rc = make_bias(w);
    if (rc == 0)
        rc = make_second_bias(w);
    return rc == 0 ? archive_add_cell(w->archive, &w->cell, w->err) : rc;
}

/* ---- Cells ---- */

static int check_shape(const struct archive_tensor *t, const struct archive_type *type, size_t rows,
                       size_t columns, struct rnn_err *err)
{
    char found[96];

    if (t->type == type && type->usable && t->rank == (columns ? 2u : 1u) && t->shape[0] == rows &&
        (!columns || t->shape[1] == columns))
        return 0;
    archive_shape_text(found, sizeof found, t);
    return rnn_fail_at(err, RNN_ESHAPE, t->name, -1,
                       columns ? "tensor '%.80s': found %s %s, want %zux%zu floats"
                               : "tensor '%.80s': found %s %s, want %zu floats",
                       t->name, t->type->name, found, rows, columns);
}

/* [in + H, blocks * H] */
static int measure(struct archive_cell *cell, size_t blocks, struct rnn_err *err)
{
    const struct archive_tensor *k = &cell->kernel;
    int rc;

    if (k->rank != 2 || !k->type->usable || k->shape[1] % blocks || k->shape[1] == 0 ||
        k->shape[0] <= k->shape[1] / blocks)
        return rnn_fail_at(err, RNN_ESHAPE, k->name, -1,
                           "tensor '%.80s': no kernel of a cell of %zu block%s, which is [in + H, "
                           "%zuH]",
                           k->name, blocks, blocks == 1 ? "" : "s", blocks);
    cell->hidden = k->shape[1] / blocks;
    cell->in = k->shape[0] - cell->hidden;
    rc = check_shape(&cell->bias, k->type, k->shape[1], 0, err);
    if (rc == 0 && cell->form == FORM_TF_GRU)
        rc = check_shape(&cell->candidate, k->type, k->shape[0], cell->hidden, err);
    if (rc == 0 && cell->form == FORM_TF_GRU)
        rc = check_shape(&cell->candidate_bias, k->type, cell->hidden, 0, err);
    return rc;
}

static int take(const struct archive *archive, const char *name, size_t len,
                const char *const *ends, struct archive_tensor *out, struct rnn_err *err)
{
    struct archive_tensor *found = find_any(archive, name, len, ends);

    if (!found)
        return rnn_fail_at(err, RNN_ESHAPE, name, -1, "there is no '%.*s%s'", (int)len, name,
                           ends[0]);
    *out = *found;
    found->used = true;
    return 0;
}

/* What such a cell may have and we do not. */
static int refuse_extras(const struct archive *archive, const char *path, size_t len,
                         struct rnn_err *err)
{
    static const char *const extras[] = {"w_i_diag", "w_f_diag", "w_o_diag", "projection/kernel",
                                         NULL};

    for (size_t i = 0; extras[i]; i++)
        if (forms_find(archive, path, len, extras[i]))
            return rnn_fail_at(err, RNN_EUNSUPPORTED, path, -1,
                               "'%.*s%s': peepholes and projections of TensorFlow's LSTMCell are "
                               "not read",
                               (int)len, path, extras[i]);
    return 0;
}

static int convert_lstm(struct work *w, const char *path, size_t len)
{
    static const size_t blocks[] = {0, 2, 1, 3}; /* our i f g o among the file's i j f o */
    int rc = refuse_extras(w->archive, path, len, w->err);

    w->cell.form = FORM_TF_LSTM;
    w->blocks = blocks;
    w->n_blocks = w->n_first = 4;
    if (rc == 0)
        rc = take(w->archive, path, len, kernel_ends, &w->cell.kernel, w->err);
    if (rc == 0)
        rc = take(w->archive, path, len, bias_ends, &w->cell.bias, w->err);
    if (rc == 0)
        rc = measure(&w->cell, 4, w->err);
    if (rc == 0)
        rc = make_all(w);
    if (rc == 0)
        archive_note(w->archive,
                     "'%s': kernel cut into weight_ih and weight_hh, transposed; gates i j f o put "
                     "in the order i f g o; forget bias 1.0, which TensorFlow adds when it runs, "
                     "put into bias_hh",
                     w->cell.module);
    return rc;
}

/* Reset before: the module says so to whoever makes the config. */
static int convert_gru(struct work *w, const char *path, size_t len)
{
    static const size_t blocks[] = {0, 1, 0};
    const struct archive_module module = {w->cell.module, "GRUCell", "GRU_RESET_BEFORE"};
    static const char *const candidate[] = {"candidate/kernel", "candidate/weights", NULL};
    static const char *const candidate_bias[] = {"candidate/bias", "candidate/biases", NULL};
    static const char *const gates[] = {"gates/kernel", "gates/weights", NULL};
    static const char *const gates_bias[] = {"gates/bias", "gates/biases", NULL};
    int rc = take(w->archive, path, len, gates, &w->cell.kernel, w->err);

    w->cell.form = FORM_TF_GRU;
    w->blocks = blocks;
    w->n_blocks = 3;
    w->n_first = 2;
    if (rc == 0)
        rc = take(w->archive, path, len, gates_bias, &w->cell.bias, w->err);
    if (rc == 0)
        rc = take(w->archive, path, len, candidate, &w->cell.candidate, w->err);
    if (rc == 0)
        rc = take(w->archive, path, len, candidate_bias, &w->cell.candidate_bias, w->err);
    if (rc == 0)
        rc = measure(&w->cell, 2, w->err);
    if (rc == 0)
        rc = make_all(w);
    if (rc == 0)
        rc = archive_add_module(w->archive, &module, w->err);
    if (rc == 0)
        archive_note(w->archive,
                     "'%s': kernels cut into weight_ih and weight_hh, transposed; gates r u and "
                     "candidate put in the order r z n; reset before the product",
                     w->cell.module);
    return rc;
}

static int convert_rnn(struct work *w, const char *path, size_t len)
{
    static const size_t blocks[] = {0};
    const struct archive_module module = {w->cell.module, "BasicRNNCell", "RNN_TANH"};
    int rc = take(w->archive, path, len, kernel_ends, &w->cell.kernel, w->err);

    w->cell.form = FORM_TF_RNN;
    w->blocks = blocks;
    w->n_blocks = w->n_first = 1;
    if (rc == 0)
        rc = take(w->archive, path, len, bias_ends, &w->cell.bias, w->err);
    if (rc == 0)
        rc = measure(&w->cell, 1, w->err);
    if (rc == 0)
        rc = make_all(w);
    if (rc == 0)
        rc = archive_add_module(w->archive, &module, w->err);
    if (rc == 0)
        archive_note(w->archive,
                     "'%s': kernel cut into weight_ih and weight_hh, transposed; tanh, "
                     "as TensorFlow's BasicRNNCell has it",
                     w->cell.module);
    return rc;
}

static bool contains(const char *text, size_t len, const char *word)
{
    const char *at = strstr(text, word);

    return at && (size_t)(at - text) + strlen(word) <= len;
}

/* A kernel of a cell; any: one was found. */
static int convert_one(struct archive *archive, size_t index, bool *any, struct rnn_err *err)
{
    const char *name = archive->tensors[index].name;
    size_t len = cell_of(name);
    struct work work = {.archive = archive, .err = err};
    bool lstm = contains(name, len, "lstm_cell") || contains(name, len, "LSTMCell");
    bool gru = contains(name, len, "gru_cell") || contains(name, len, "GRUCell");
    bool rnn = contains(name, len, "basic_rnn_cell") || contains(name, len, "BasicRNNCell");

    if (len == 0 || archive->tensors[index].used || (!lstm && !gru && !rnn))
        return 0;
    if (gru && len > 6 && strncmp(name + len - 6, "gates/", 6) == 0)
        len -= 6;
    else if (gru)
        return 0; /* the candidate's, which goes with its gates */
    *any = true;
    work.cell.module = module_of(archive, name, len, &work.cell.reverse, err);
    if (!work.cell.module)
        return err ? err->code : RNN_ENOMEM;
    return lstm  ? convert_lstm(&work, name, len)
           : gru ? convert_gru(&work, name, len)
                 : convert_rnn(&work, name, len);
}

/* ---- The others ---- */

/* Variables of an optimizer, by what stands behind the name of a variable that is there. */
static void mark_slots(struct archive *archive)
{
    static const char *const slots[] = {"/Adam",      "/Adam_1",  "/Momentum",        "/RMSProp",
                                        "/RMSProp_1", "/Adagrad", "/Adadelta",        "/Adadelta_1",
                                        "/Ftrl",      "/Ftrl_1",  "/GradientDescent", NULL};
    size_t n = 0;

    for (size_t i = 0; i < archive->n_tensors; i++) {
        const char *name = archive->tensors[i].name;

        for (size_t k = 0; slots[k]; k++)
            if (forms_ends_with(name, slots[k]) &&
                forms_find(archive, name, strlen(name) - strlen(slots[k]), "")) {
                archive->tensors[i].training = true;
                n++;
            }
    }
    if (n > 0)
        archive_note(archive, "%zu variables of the optimizer, passed over", n);
}

/* "rnnlm/softmax_w" → "rnnlm/softmax.kernel": TensorFlow keeps matrices as [in, out]. */
static int rename_matrix(struct archive *archive, size_t index, struct rnn_err *err)
{
    static const struct {
        const char *weight, *bias;
    } pairs[] = {{"_w", "_b"}, {"/weights", "/biases"}, {"/W", "/b"}, {"/w", "/b"}, {"_W", "_b"}};
    struct archive_tensor *weight = &archive->tensors[index], *bias, copy;
    const char *name = weight->name;
    size_t len = strlen(name);

    if (weight->rank != 2 || weight->used || weight->made || weight->training)
        return 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        size_t stem = len - strlen(pairs[i].weight);
        unsigned char *bytes;
        int rc;

        if (!forms_ends_with(name, pairs[i].weight))
            continue;
        bias = forms_find(archive, name, stem, pairs[i].bias);
        if (!bias)
            continue;
        copy = *bias;
        bias->used = true;
        rc = forms_make(archive, &copy, name, stem, ".bias", &bytes, err);
        if (rc < 0)
            return rc;
        memcpy(bytes, copy.data, copy.elements * copy.type->bytes);
        copy = archive->tensors[index];
        archive->tensors[index].used = true;
        rc = forms_make(archive, &copy, name, stem, ".kernel", &bytes, err);
        if (rc == 0)
            memcpy(bytes, copy.data, copy.elements * copy.type->bytes);
        return rc;
    }
    return 0;
}

int convert_tf1(struct archive *archive, const struct import_options *options, struct rnn_err *err)
{
    size_t n = archive->n_tensors;
    bool any = false;
    int rc = 0;

    (void)options;
    mark_slots(archive);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = convert_one(archive, i, &any, err);
    for (size_t i = 0; i < n && rc == 0 && any; i++)
        rc = rename_matrix(archive, i, err);
    return rc;
}
