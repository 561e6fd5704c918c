/* A recurrent cell, as the step sees it: where each gate's sums go, and what is done with them.
 *
 * A step first fills, for each row, a *gate row*: 64 floats for each block, four slots of sixteen
 *
 *     cells of several gates        block b = units 16b … 16b + 15, one slot for each sum
 *     cells of one gate             block b = units 64b … 64b + 63, slots in a row
 *
 * by two packed products, over the input (x) and over the old h, both starting from the bias.  A
 * gate whose two parts are simply added names one slot for both; the chain of multiply-adds then
 * runs over x first and h after it.  A gate that needs them apart (GRU's candidate) names two.
 * Then finish() turns the gate row into the new state.
 *
 * A cell is one file in models/ and one line in models/registry.c.  Constant; any thread. */
#ifndef CORE_CELL_H
#define CORE_CELL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/activation.h"
#include "core/kernels.h"

#define RNN_GATES_MAX 4

struct rnn_cell_ops;

/* A cell with its settings, as a layer has it. */
struct rnn_cell {
    const struct rnn_cell_ops *ops;
    struct rnn_cell_settings settings;
    const float *peephole[3]; /* of i, f and o, each [16 * n_vectors], zero past hidden; or NULL */
};

struct rnn_cell_ops {
    const char *name;                    /* "rnn_tanh", "rnn_relu", "rnn", "lstm", "gru" */
    unsigned n_gates;                    /* groups of `hidden` rows in weight_ih and weight_hh */
    unsigned char x_slot[RNN_GATES_MAX]; /* slot of gate g's input sum: n_gates slots in a run … */
    unsigned char h_slot[RNN_GATES_MAX]; /* … and of its recurrent sum: the same */
    unsigned n_again;      /* the last n_again gates' recurrent product runs over what reset() gives
                              instead of over h: 0, or 1 for a reset gate before the product */
    bool resets_before;    /* tells two cells of one name apart */
    bool has_c;            /* keeps a cell state beside h */
    bool may_project;      /* proj_size is allowed */
    bool may_activate;     /* activation is allowed: the name does not fix it */
    bool may_peephole;     /* peepholes are allowed */
    bool may_input_forget; /* input_forget is allowed */
    const char *const *gate_names; /* [n_gates], what show() writes, in PyTorch's order; NULL: the
                                      cell has no gates to show */
    struct rnn_cell_settings preset;

    /* One row.  gates [n_blocks * 64] in; h [16 * n_vectors] the old hidden state, not read by
     * cells whose h is wholly in the gates; c in and out, NULL without has_c; out [16 * n_vectors]
     * the new h (before the projection), which may be h itself.  n_vectors = ⌈hidden / 16⌉; lanes
     * past `hidden` come in as zero; what goes out there is cleared by the caller. */
    void (*finish)(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                   const float *gates, const float *h, float *c, float *out, size_t n_vectors);

    /* With gate_names: what each gate was, after its activation, to shown[n_gates][hidden].  Called
     * after finish() with the gate row that it had; c_before [hidden] may be the last gate's own
     * place.  For looking at, not for computing with: a gate is rounded once more than in finish().
     */
    void (*show)(const struct rnn_kernels *kernels, const struct rnn_cell *cell, const float *gates,
                 const float *c_before, const float *c_after, float *shown, size_t hidden);

    /* With n_again: what its product runs over, after the first recurrent product.  out
     * [16 * n_vectors] is not h. */
    void (*reset)(const struct rnn_kernels *kernels, const struct rnn_cell *cell,
                  const float *gates, const float *h, float *out, size_t n_vectors);
};

/* Place in a gate row of unit `unit` of the sum that goes to `slot`. */
static inline size_t rnn_cell_place(const struct rnn_cell_ops *cell, unsigned slot, size_t unit)
{
    if (cell->n_gates == 1)
        return unit;
    return unit / RNN_LANES * RNN_BLOCK + slot * RNN_LANES + unit % RNN_LANES;
}

/* Gathers the sums of a slot: out [hidden]. */
static inline void rnn_cell_gather(const struct rnn_cell_ops *cell, const float *gates,
                                   unsigned slot, float *out, size_t hidden)
{
    for (size_t u = 0; u < hidden; u++)
        out[u] = gates[rnn_cell_place(cell, slot, u)];
}

/* All cells; NULL-ended.  Stands in models/registry.c. */
extern const struct rnn_cell_ops *const rnn_cells[];

/* One of them, or NULL. */
const struct rnn_cell_ops *rnn_cell_find(const char *name, bool resets_before);

/* models/cell_*.c */
extern const struct rnn_cell_ops rnn_cell_tanh;
extern const struct rnn_cell_ops rnn_cell_relu;
extern const struct rnn_cell_ops rnn_cell_lstm;
extern const struct rnn_cell_ops rnn_cell_gru;
extern const struct rnn_cell_ops rnn_cell_gru_before;
extern const struct rnn_cell_ops rnn_cell_rnn;

#endif
