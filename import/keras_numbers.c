/* Rearranging numbers.  See keras_numbers.h.
 *
 * cuDNN keeps a gate's matrix the other way round from Keras.  Keras' CuDNN layers store a kernel
 * in a shape [in, 4 H] that does not tell so: each gate's columns, read row after row, are cuDNN's
 * matrix [H, in], which is ours (keras-team/keras, _convert_rnn_weights in engine/saving.py). */
#include "import/keras_numbers.h"

#include <string.h>

#include "base/checked.h"

static int make(struct archive *archive, struct archive_tensor *out,
                const struct archive_type *type, size_t rows, size_t columns, struct rnn_err *err)
{
    size_t bytes, elements = rows;
    void *data;

    if ((columns && !checked_mul(rows, columns, &elements)) ||
        !checked_mul(elements, type->bytes, &bytes))
        return rnn_fail(err, RNN_ELIMIT, "a matrix of %zu by %zu is too large", rows, columns);
    data = archive_alloc(archive, bytes, err);
    if (!data)
        return err ? err->code : RNN_ENOMEM;
    *out = (struct archive_tensor){.name = "",
                                   .type = type,
                                   .rank = columns ? 2 : 1,
                                   .shape = {rows, columns},
                                   .elements = elements,
                                   .data = data};
    return 0;
}

static unsigned char *bytes_of(const struct archive_tensor *tensor)
{
    return (unsigned char *)(uintptr_t)tensor->data; /* ours, just made */
}

static void copy_block(const struct keras_block *block, size_t units, size_t inputs,
                       unsigned char *to)
{
    const unsigned char *from = block->tensor->data;
    size_t columns = block->tensor->shape[1], size = block->tensor->type->bytes;

    for (size_t q = 0; q < units; q++)
        for (size_t p = 0; p < inputs; p++) {
            size_t row = p, column = q;

            if (block->layout == KERAS_TURNED) {
                row = q;
                column = p;
            } else if (block->layout == KERAS_FOLDED) {
                row = (q * inputs + p) / units;
                column = (q * inputs + p) % units;
            }
            memcpy(to, from + (row * columns + block->column + column) * size, size);
            to += size;
        }
}

int keras_stack(struct archive *archive, struct archive_tensor *out,
                const struct keras_block *blocks, size_t n, size_t units, size_t inputs,
                struct rnn_err *err)
{
    const struct archive_type *type = blocks[0].tensor->type;
    int rc = make(archive, out, type, n * units, inputs, err);

    for (size_t i = 0; i < n && rc == 0; i++)
        copy_block(&blocks[i], units, inputs, bytes_of(out) + i * units * inputs * type->bytes);
    return rc;
}

int keras_stack_bias(struct archive *archive, struct archive_tensor *out,
                     const struct keras_block *blocks, size_t n, size_t units, struct rnn_err *err)
{
    const struct archive_type *type = blocks[0].tensor->type;
    int rc = make(archive, out, type, n * units, 0, err);

    for (size_t i = 0; i < n && rc == 0; i++)
        memcpy(bytes_of(out) + i * units * type->bytes,
               (const unsigned char *)blocks[i].tensor->data + blocks[i].column * type->bytes,
               units * type->bytes);
    return rc;
}

int keras_zeros(struct archive *archive, struct archive_tensor *out,
                const struct archive_type *type, size_t rows, size_t columns, struct rnn_err *err)
{
    int rc = make(archive, out, type, rows, columns, err);

    if (rc == 0)
        memset(bytes_of(out), 0, out->elements * type->bytes);
    return rc;
}

static void put(const struct archive_tensor *tensor, size_t i, double value)
{
    float single = (float)value;

    memcpy(bytes_of(tensor) + i * sizeof single, &single, sizeof single);
}

int keras_vector(struct archive *archive, struct archive_tensor *out, const double *values,
                 size_t n, struct rnn_err *err)
{
    int rc = make(archive, out, archive_type("F32"), n, 0, err);

    for (size_t i = 0; i < n && rc == 0; i++)
        put(out, i, values[i]);
    return rc;
}

int keras_identity(struct archive *archive, struct archive_tensor *out, size_t n,
                   struct rnn_err *err)
{
    int rc = keras_zeros(archive, out, archive_type("F32"), n, n, err);

    for (size_t i = 0; i < n && rc == 0; i++)
        put(out, i * n + i, 1);
    return rc;
}

int keras_fold(struct archive *archive, struct archive_tensor *weight, struct archive_tensor *bias,
               const struct archive_tensor *old_bias, const double *scale, const double *shift,
               struct rnn_err *err)
{
    const struct archive_tensor old = *weight;
    size_t rows = old.shape[0], columns = old.shape[1];
    int rc = make(archive, weight, archive_type("F32"), rows, columns, err);

    if (rc == 0)
        rc = make(archive, bias, archive_type("F32"), rows, 0, err);
    for (size_t i = 0; i < rows && rc == 0; i++) {
        for (size_t j = 0; j < columns; j++)
            put(weight, i * columns + j, archive_number(&old, i * columns + j) * scale[i]);
        put(bias, i, (old_bias ? archive_number(old_bias, i) * scale[i] : 0) + shift[i]);
    }
    return rc;
}
