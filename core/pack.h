/* Weight matrices into the order in which the kernels stream them.  Start-up or pool thread. */
#ifndef CORE_PACK_H
#define CORE_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/cell.h"
#include "core/kernels.h"

/* Memory that is laid out twice: once with base == NULL to learn its size, once for good. */
struct arena {
    float *base; /* 64-byte aligned; on huge pages where it is large */
    size_t used; /* in floats */
};

/* The next n floats, 64-byte aligned; NULL while only counting. */
float *arena_take(struct arena *arena, size_t n);

/* Zeroed memory for `used` floats, and used = 0.  False: out of memory. */
bool arena_allocate(struct arena *arena);
void arena_free(struct arena *arena);

/* Floats that `panels` takes; k, n_blocks and the widths are set. */
size_t panels_size(const struct rnn_panels *panels);

/* The shape of a plain matrix's panels: outputs in blocks of four vectors, the last one narrower.
 */
struct rnn_panels panels_of_matrix(size_t outputs, size_t k);

/* The products of a cell: over its input, over h, and over what its reset() leaves of h. */
enum rnn_product { RNN_PRODUCT_X, RNN_PRODUCT_H, RNN_PRODUCT_AGAIN };

/* The shape of one of them. */
struct rnn_panels panels_of_cell(const struct rnn_cell_ops *cell, size_t hidden, size_t k,
                                 enum rnn_product product);

/* Fills panels->w (in `memory`, zeroed, panels_size() floats) from a row-major [outputs][k]. */
void panels_pack_matrix(struct rnn_panels *panels, float *memory, const float *weights,
                        size_t outputs);

/* The same from PyTorch's [n_gates * hidden][k]. */
void panels_pack_cell(struct rnn_panels *panels, float *memory, const float *weights,
                      const struct rnn_cell_ops *cell, size_t hidden, enum rnn_product product);

/* out[…] += the column of input `i`: what a one-hot input's product comes to. */
void panels_add_column(const struct rnn_panels *panels, size_t i, float *out);

#endif
