/* The plain recurrent cell: h' = tanh(W x + b + U h + b'), or max(0, ·) in place of tanh.
 *
 * One sum for each unit, so the gate row holds the units in order.  The relu saturates at the
 * largest float: a growing network stays finite. */
#include "core/cell.h"

static void finish_tanh(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                        const float *gates, const float *h, float *c, float *out, size_t n_vectors)
{
    (void)cell;
    (void)h;
    (void)c;
    kernels->tanh(gates, out, n_vectors * RNN_LANES);
}

static void finish_relu(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                        const float *gates, const float *h, float *c, float *out, size_t n_vectors)
{
    (void)cell;
    (void)h;
    (void)c;
    kernels->relu(gates, out, n_vectors * RNN_LANES);
}

const struct rnn_cell_ops rnn_cell_tanh = {
    .name = "rnn_tanh",
    .n_gates = 1,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish_tanh,
};

const struct rnn_cell_ops rnn_cell_relu = {
    .name = "rnn_relu",
    .n_gates = 1,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_RELU, 0, 0},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish_relu,
};
