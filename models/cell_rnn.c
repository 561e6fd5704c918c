/* The plain recurrent cell (Elman 1990): h' = φ(W x + b + U h + b').
 *
 * One sum for each unit, so the gate row holds the units in order.  "rnn_tanh" and "rnn_relu" name
 * their φ, "rnn" takes any.  All saturate at the largest float: a growing network stays finite. */
#include "core/cell.h"

static void finish(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                   const float *gates, const float *h, float *c, float *out, size_t n_vectors)
{
    const struct rnn_cell_settings *settings = &cell->settings;
    size_t n = n_vectors * RNN_LANES;

    (void)h;
    (void)c;
    if (settings->clip > 0) {
        kernels->clamp(gates, settings->clip, out, n);
        gates = out;
    }
    kernels->activate(&settings->candidate, gates, out, n);
}

const struct rnn_cell_ops rnn_cell_tanh = {
    .name = "rnn_tanh",
    .n_gates = 1,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish,
};

const struct rnn_cell_ops rnn_cell_relu = {
    .name = "rnn_relu",
    .n_gates = 1,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_RELU, 0, 0},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish,
};

const struct rnn_cell_ops rnn_cell_rnn = {
    .name = "rnn",
    .n_gates = 1,
    .may_activate = true,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish,
};
