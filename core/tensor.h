/* Tensors of a checkpoint into float32.  Any thread. */
#ifndef CORE_TENSOR_H
#define CORE_TENSOR_H

#include <stddef.h>

#include "base/err.h"
#include "core/format.h"

const char *rnn_dtype_name(enum rnn_dtype dtype); /* "F32", … */
size_t rnn_dtype_size(enum rnn_dtype dtype);      /* bytes of one number */

/* Number of elements; the format has checked that it does not wrap. */
size_t rnn_tensor_count(const struct rnn_tensor *tensor);

/* Compares with the wanted shape.  RNN_ESHAPE with the tensor's name, what was wanted and what the
 * file has. */
int rnn_tensor_check(const struct rnn_tensor *tensor, unsigned rank, const size_t *shape,
                     struct rnn_err *err);

/* Converts all elements, rounding to nearest; numbers under the smallest normal float become zero.
 * out holds rnn_tensor_count() floats.  RNN_ERANGE with the tensor's name and index for a NaN, an
 * infinity, or a number that float32 cannot hold; out is then undefined. */
int rnn_tensor_read(const struct rnn_tensor *tensor, float *out, struct rnn_err *err);

#endif
