/* Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000):
 *
 *     i, f, g, o = W x + b + U h + b'        in PyTorch's order
 *     c' = σ(f) c + σ(i) φ(g)
 *     h' = σ(o) φ'(c')                       then, where there is a projection, R h'
 *
 * With peepholes (Gers and Schmidhuber 2000) i and f also see p c, and o sees p c'.  With
 * input_forget the forget gate is 1 - σ(i), and its own sum is left alone.
 *
 * Input and recurrent sums of a gate are added, so each has one slot. */
#include "core/cell.h"

static bool is_plain(const struct rnn_cell_settings *settings)
{
    return settings->gate.kind == RNN_SIGMOID && settings->candidate.kind == RNN_TANH &&
           settings->output.kind == RNN_TANH && settings->clip == 0 && !settings->input_forget &&
           !settings->peepholes;
}

static void finish(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                   const float *gates, const float *h, float *c, float *out, size_t n_vectors)
{
    (void)h;
    if (is_plain(&cell->settings))
        kernels->lstm(gates, c, out, n_vectors);
    else
        kernels->lstm_any(&cell->settings, cell->peephole, gates, c, out, n_vectors);
}

const struct rnn_cell_ops rnn_cell_lstm = {
    .name = "lstm",
    .n_gates = 4,
    .x_slot = {0, 1, 2, 3},
    .h_slot = {0, 1, 2, 3},
    .has_c = true,
    .may_project = true,
    .may_activate = true,
    .may_peephole = true,
    .may_input_forget = true,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish,
};
