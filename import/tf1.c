/* TensorFlow 1's BasicLSTMCell into PyTorch's names and orders.  See tf1.h.
 *
 * One kernel [in + H, 4H] stands for both matrices, applied to concat(x, h), its columns in the
 * order i, j, f, o with j the candidate; forget_bias, by default 1, is added to f when the model
 * runs and is not in the file.  Here: rows i, f, g, o; the file's bias in bias_ih; the forget bias
 * alone in bias_hh, so that nothing is rounded. */
#include "import/tf1.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

/* Blocks of rows i, f, g, o: which block of columns each is. */
static const size_t source_block[4] = {0, 2, 1, 3};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);

    return n >= k && strcmp(text + n - k, end) == 0;
}

/* The other tensor of the same cell, under either of its two names. */
static struct archive_tensor *sibling(const struct archive *archive, const char *name, size_t cell,
                                      const char *one, const char *other)
{
    const char *const ends[] = {one, other};

    for (size_t i = 0; i < archive->n_tensors; i++)
        for (size_t k = 0; k < 2; k++)
            if (strncmp(archive->tensors[i].name, name, cell) == 0 &&
                strcmp(archive->tensors[i].name + cell, ends[k]) == 0)
                return &archive->tensors[i];
    return NULL;
}

/* Bytes of the name that lead to the cell, with the slash; 0: no kernel of one. */
static size_t cell_of(const char *name)
{
    const char *slash = strrchr(name, '/');

    if (!slash || (strcmp(slash, "/kernel") != 0 && strcmp(slash, "/weights") != 0))
        return 0;
    return (size_t)(slash - name) + 1;
}

static const char *make_name(struct archive *archive, const char *name, size_t len, const char *end,
                             struct rnn_err *err)
{
    size_t size = len + strlen(end) + 2;
    char *text = archive_alloc(archive, size, err);

    if (text)
        snprintf(text, size, "%.*s.%s", (int)len, name, end);
    return text;
}

/* ---- One cell ---- */

struct lstm {
    const struct archive_tensor *kernel, *bias;
    const char *name;
    size_t name_len; /* without the slash */
    size_t in, hidden;
};

static int measure(struct lstm *cell, struct rnn_err *err)
{
    const struct archive_tensor *k = cell->kernel, *b = cell->bias;

    if (k->rank != 2 || !k->type->usable || k->shape[1] % 4 || k->shape[1] == 0 ||
        k->shape[0] <= k->shape[1] / 4)
        return rnn_fail_at(err, RNN_ESHAPE, k->name, -1,
                           "tensor '%.80s': no kernel of an LSTM cell, which is [in + H, 4H]",
                           k->name);
    cell->hidden = k->shape[1] / 4;
    cell->in = k->shape[0] - cell->hidden;
    if (b->rank != 1 || b->type != k->type || b->shape[0] != k->shape[1])
        return rnn_fail_at(err, RNN_ESHAPE, b->name, -1,
                           "tensor '%.80s': want %zu numbers as in "
                           "the kernel's columns",
                           b->name, k->shape[1]);
    return 0;
}

/* Rows [from, from + n) of the kernel, transposed, its blocks in our order. */
static int add_matrix(struct archive *archive, const struct lstm *cell, const char *end,
                      size_t from, size_t n, struct rnn_err *err)
{
    size_t size = cell->kernel->type->bytes, columns = 4 * cell->hidden;
    struct archive_tensor tensor = {.type = cell->kernel->type, .rank = 2, .shape = {columns, n}};
    const unsigned char *data = cell->kernel->data;
    unsigned char *to = archive_alloc(archive, columns * n * size, err);

    tensor.name = to ? make_name(archive, cell->name, cell->name_len, end, err) : NULL;
    if (!tensor.name)
        return err ? err->code : RNN_ENOMEM;
    for (size_t row = 0; row < columns; row++) {
        size_t column = source_block[row / cell->hidden] * cell->hidden + row % cell->hidden;

        for (size_t i = 0; i < n; i++)
            memcpy(to + (row * n + i) * size, data + ((from + i) * columns + column) * size, size);
    }
    tensor.data = to;
    return archive_add(archive, &tensor, err);
}

static int add_bias(struct archive *archive, const struct lstm *cell, struct rnn_err *err)
{
    size_t size = cell->bias->type->bytes, h = cell->hidden;
    struct archive_tensor tensor = {.type = cell->bias->type, .rank = 1, .shape = {4 * h}};
    const unsigned char *data = cell->bias->data;
    unsigned char *to = archive_alloc(archive, 4 * h * size, err);

    tensor.name = to ? make_name(archive, cell->name, cell->name_len, "bias_ih", err) : NULL;
    if (!tensor.name)
        return err ? err->code : RNN_ENOMEM;
    for (size_t block = 0; block < 4; block++)
        memcpy(to + block * h * size, data + source_block[block] * h * size, h * size);
    tensor.data = to;
    return archive_add(archive, &tensor, err);
}

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

static int add_forget_bias(struct archive *archive, const struct lstm *cell, struct rnn_err *err)
{
    size_t size = cell->bias->type->bytes, h = cell->hidden;
    struct archive_tensor tensor = {.type = cell->bias->type, .rank = 1, .shape = {4 * h}};
    unsigned char *to = archive_alloc(archive, 4 * h * size, err);

    tensor.name = to ? make_name(archive, cell->name, cell->name_len, "bias_hh", err) : NULL;
    if (!tensor.name)
        return err ? err->code : RNN_ENOMEM;
    memset(to, 0, 4 * h * size);
    for (size_t i = h; i < 2 * h; i++)
        put_one(tensor.type, to + i * size);
    tensor.data = to;
    return archive_add(archive, &tensor, err);
}

/* The four new tensors are added behind; the two old ones become used. */
static int convert_cell(struct archive *archive, size_t index, size_t cell_len, struct rnn_err *err)
{
    struct archive_tensor kernel = archive->tensors[index], bias;
    struct archive_tensor *found = sibling(archive, kernel.name, cell_len, "bias", "biases");
    struct lstm cell = {.name = kernel.name, .name_len = cell_len - 1};
    int rc;

    if (!found)
        return rnn_fail_at(err, RNN_ESHAPE, kernel.name, -1, "tensor '%.80s' has no bias beside it",
                           kernel.name);
    bias = *found;
    found->used = archive->tensors[index].used = true;
    cell.kernel = &kernel;
    cell.bias = &bias;
    rc = measure(&cell, err);
    if (rc == 0)
        rc = add_matrix(archive, &cell, "weight_ih", 0, cell.in, err);
    if (rc == 0)
        rc = add_matrix(archive, &cell, "weight_hh", cell.in, cell.hidden, err);
    if (rc == 0)
        rc = add_bias(archive, &cell, err);
    if (rc == 0)
        rc = add_forget_bias(archive, &cell, err);
    if (rc == 0)
        archive_note(archive,
                     "'%.*s': kernel cut into weight_ih and weight_hh, transposed; gates i j f o "
                     "put in the order i f g o; forget bias 1.0, which TensorFlow adds when it "
                     "runs, put into bias_hh",
                     (int)cell.name_len, cell.name);
    return rc;
}

/* ---- All ---- */

/* "rnnlm/softmax_w" → "rnnlm/softmax.weight". */
static int rename_softmax(struct archive *archive, struct archive_tensor *tensor,
                          struct rnn_err *err)
{
    bool weight = ends_with(tensor->name, "softmax_w");

    if (!weight && !ends_with(tensor->name, "softmax_b"))
        return 0;
    tensor->name =
        make_name(archive, tensor->name, strlen(tensor->name) - 2, weight ? "kernel" : "bias", err);
    return tensor->name ? 0 : RNN_ENOMEM;
}

/* Takes out what has been replaced. */
static void drop_used(struct archive *archive)
{
    size_t kept = 0;

    for (size_t i = 0; i < archive->n_tensors; i++)
        if (!archive->tensors[i].used)
            archive->tensors[kept++] = archive->tensors[i];
    archive->n_tensors = kept;
}

int tf1_convert(struct archive *archive, struct rnn_err *err)
{
    size_t n = archive->n_tensors;
    bool any = false;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        const char *name = archive->tensors[i].name;
        size_t cell = cell_of(name);

        if (!cell)
            continue;
        if (strstr(name, "basic_lstm_cell/") || strstr(name, "BasicLSTMCell/") ||
            strstr(name, "/lstm_cell/")) {
            rc = convert_cell(archive, i, cell, err);
            any = true;
        } else if (strstr(name, "gru_cell/") || strstr(name, "GRUCell/")) {
            rc = rnn_fail_at(err, RNN_EUNSUPPORTED, name, -1,
                             "tensor '%.80s': TensorFlow's GRUCell is not read", name);
        }
    }
    for (size_t i = 0; i < archive->n_tensors && rc == 0 && any; i++)
        rc = rename_softmax(archive, &archive->tensors[i], err);
    drop_used(archive);
    return rc;
}
