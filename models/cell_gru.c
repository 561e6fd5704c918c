/* Gated recurrent unit (Cho et al. 2014) with the reset gate after the product, as PyTorch and
 * cuDNN have it:
 *
 *     r = σ(W x + b + U h + b')              gates in PyTorch's order r, z, n
 *     z = σ(W x + b + U h + b')
 *     n = tanh(W x + b + r (U h + b'))
 *     h' = (1 - z) n + z h
 *
 * The two sums of n meet only under r, so they have slots of their own: n's input sum, r, z, n's
 * recurrent sum.  Three slots in a run for either product. */
#include "core/cell.h"

static void finish(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                   const float *gates, const float *h, float *c, float *out, size_t n_vectors)
{
    (void)cell;
    (void)c;
    kernels->gru(gates, h, out, n_vectors);
}

const struct rnn_cell_ops rnn_cell_gru = {
    .name = "gru",
    .n_gates = 3,
    .x_slot = {1, 2, 0},
    .h_slot = {1, 2, 3},
    .may_activate = true,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish,
};
