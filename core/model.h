/* Inside of a model: what core/model.c builds and core/step.c reads.  For core only. */
#ifndef CORE_MODEL_H
#define CORE_MODEL_H

#include <stdatomic.h>

#include "core/cell.h"
#include "core/format.h"
#include "core/pack.h"
#include "core/rnn.h"
#include "core/spec.h"

struct rnn_layer {
    const struct rnn_cell_ops *cell;
    size_t hidden;
    size_t width;           /* of h: proj or hidden */
    size_t gate_floats;     /* a gate row */
    struct rnn_panels x;    /* w == NULL: the input product is in the table */
    struct rnn_panels h;    /* k = width */
    struct rnn_panels proj; /* w == NULL: none */
    const float *bias;      /* [gate_floats]: both biases, where the cell adds them */
    size_t h_at, c_at;      /* in floats from the state's memory */
};

struct rnn_model {
    _Atomic(unsigned) refs;
    struct rnn_spec spec;
    struct rnn_texts texts;
    struct rnn_model_info info;

    struct rnn_layer *layers; /* [n_layers]; of the only stack */
    size_t n_layers;
    const float *table;     /* [input_size][layers[0].gate_floats] with the bias, or NULL */
    const float *embedding; /* [input_size][embedding_dim], where it is looked up in a step */
    struct rnn_panels head; /* w == NULL: none */
    const float *head_bias; /* [RNN_PAD_LANES(head size)] */
    struct arena weights;   /* what all of the above points into */

    struct rnn_state_part *parts;
    size_t n_parts;
    size_t gate_floats_max;   /* of any layer */
    size_t hidden_floats_max; /* of any projected layer's h before the projection; 0: none */
};

#endif
