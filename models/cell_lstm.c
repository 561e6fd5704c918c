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

#include <math.h>

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

static const char *const gate_names[] = {"input", "forget", "candidate", "output"};

/* A gate's sum becomes the gate; `c` (may be NULL) is what it sees of the cell state. */
static void show_gate(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                      const struct rnn_activation *f, const float *peephole, const float *c,
                      float *gate, size_t hidden)
{
    for (size_t u = 0; peephole && u < hidden; u++)
        gate[u] = fmaf(peephole[u], c[u], gate[u]);
    if (cell->settings.clip > 0)
        kernels->clamp(gate, cell->settings.clip, gate, hidden);
    kernels->activate(f, gate, gate, hidden);
}

static void show(const struct rnn_kernels *kernels, const struct rnn_cell *cell, const float *gates,
                 const float *c_before, const float *c_after, float *shown, size_t hidden)
{
    const struct rnn_cell_settings *settings = &cell->settings;
    const struct rnn_activation *const f[] = {&settings->gate, &settings->gate,
                                              &settings->candidate, &settings->gate};
    const float *const peephole[] = {cell->peephole[0], cell->peephole[1], NULL, cell->peephole[2]};

    for (unsigned g = 0; g < 4; g++) { /* the output gate last: c_before may stand in its place */
        float *gate = shown + g * hidden;

        rnn_cell_gather(cell->ops, gates, g, gate, hidden);
        show_gate(kernels, cell, f[g], peephole[g], g == 3 ? c_after : c_before, gate, hidden);
    }
    for (size_t u = 0; settings->input_forget && u < hidden; u++)
        shown[hidden + u] = 1 - shown[u];
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
    .gate_names = gate_names,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish,
    .show = show,
};
