/* Gated recurrent unit (Cho et al. 2014), with the reset gate after the product, as PyTorch and
 * cuDNN have it, or before it, as in the paper:
 *
 *     r = σ(W x + b + U h + b')              gates in PyTorch's order r, z, n
 *     z = σ(W x + b + U h + b')
 *     n = φ(W x + b + r (U h + b'))          after;    before: n = φ(W x + b + U (r h) + b')
 *     h' = (1 - z) n + z h
 *
 * After: the two sums of n meet only under r, so they have slots of their own: n's input sum, r, z,
 * n's recurrent sum.  Three slots in a run for either product.
 *
 * Before: all sums are added.  Slots r, z, n: all three for the input, the first two for h, the
 * last for r h. */
#include "core/cell.h"

static bool is_plain(const struct rnn_cell_settings *settings)
{
    return settings->gate.kind == RNN_SIGMOID && settings->candidate.kind == RNN_TANH &&
           settings->clip == 0;
}

static void finish_after(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                         const float *gates, const float *h, float *c, float *out, size_t n_vectors)
{
    (void)c;
    if (is_plain(&cell->settings))
        kernels->gru(gates, h, out, n_vectors);
    else
        kernels->gru_any(&cell->settings, gates, h, out, n_vectors);
}

static void reset(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                  const float *gates, const float *h, float *out, size_t n_vectors)
{
    kernels->gru_reset(&cell->settings, gates, h, out, n_vectors);
}

static void finish_before(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                          const float *gates, const float *h, float *c, float *out,
                          size_t n_vectors)
{
    (void)c;
    kernels->gru_before(&cell->settings, gates, h, out, n_vectors);
}

/* ---- To look at ---- */

static const char *const gate_names[] = {"reset", "update", "candidate"};

static void show_gate(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                      const struct rnn_activation *f, float *gate, size_t hidden)
{
    if (cell->settings.clip > 0)
        kernels->clamp(gate, cell->settings.clip, gate, hidden);
    kernels->activate(f, gate, gate, hidden);
}

/* n's two sums have slots of their own where the reset comes after the product. */
static void show(const struct rnn_kernels *kernels, const struct rnn_cell *cell, const float *gates,
                 const float *c_before, const float *c_after, float *shown, size_t hidden)
{
    const struct rnn_cell_settings *settings = &cell->settings;
    const unsigned char *slot = cell->ops->x_slot;
    float *candidate = shown + 2 * hidden;

    (void)c_before;
    (void)c_after;
    for (unsigned g = 0; g < 3; g++)
        rnn_cell_gather(cell->ops, gates, slot[g], shown + g * hidden, hidden);
    show_gate(kernels, cell, &settings->gate, shown, hidden);
    show_gate(kernels, cell, &settings->gate, shown + hidden, hidden);
    for (size_t u = 0; !cell->ops->resets_before && u < hidden; u++)
        candidate[u] += shown[u] * gates[rnn_cell_place(cell->ops, cell->ops->h_slot[2], u)];
    show_gate(kernels, cell, &settings->candidate, candidate, hidden);
}

const struct rnn_cell_ops rnn_cell_gru = {
    .name = "gru",
    .n_gates = 3,
    .x_slot = {1, 2, 0},
    .h_slot = {1, 2, 3},
    .may_activate = true,
    .gate_names = gate_names,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish_after,
    .show = show,
};

const struct rnn_cell_ops rnn_cell_gru_before = {
    .name = "gru",
    .n_gates = 3,
    .x_slot = {0, 1, 2},
    .h_slot = {0, 1, 2},
    .n_again = 1,
    .resets_before = true,
    .may_activate = true,
    .gate_names = gate_names,
    .preset = {.gate = {RNN_SIGMOID, 1, 0},
               .candidate = {RNN_TANH, 1, 1},
               .output = {RNN_TANH, 1, 1}},
    .finish = finish_before,
    .reset = reset,
    .show = show,
};
