/* Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000):
 *
 *     i, f, g, o = W x + b + U h + b'        in PyTorch's order
 *     c' = σ(f) c + σ(i) tanh(g)
 *     h' = σ(o) tanh(c')                     then, where there is a projection, R h'
 *
 * Input and recurrent sums of a gate are added, so each has one slot. */
#include "core/cell.h"

static void finish(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                   const float *gates, const float *h, float *c, float *out, size_t n_vectors)
{
    (void)cell;
    (void)h;
    kernels->lstm(gates, c, out, n_vectors);
}

const struct rnn_cell_ops rnn_cell_lstm = {
    .name = "lstm",
    .n_gates = 4,
    .x_slot = {0, 1, 2, 3},
    .h_slot = {0, 1, 2, 3},
    .has_c = true,
    .may_project = true,
    .may_activate = true,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish,
};
