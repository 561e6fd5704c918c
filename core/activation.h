/* Activations, and what a recurrent cell can be told beside its weights.  Plain values. */
#ifndef CORE_ACTIVATION_H
#define CORE_ACTIVATION_H

#include <stdbool.h>

enum rnn_activation_kind {
    RNN_TANH,
    RNN_RELU,             /* max(0, x) */
    RNN_SIGMOID,          /* 1 / (1 + e^-x) */
    RNN_LINEAR,           /* alpha x + beta */
    RNN_HARD_SIGMOID,     /* alpha x + beta, within [0, 1] */
    RNN_LEAKY_RELU,       /* x, or alpha x where x < 0 */
    RNN_THRESHOLDED_RELU, /* x, or 0 where x ≤ alpha */
    RNN_SCALED_TANH,      /* alpha tanh(beta x) */
    RNN_ELU,              /* x, or alpha (e^x - 1) where x < 0 */
    RNN_SOFTSIGN          /* x / (1 + |x|) */
};

struct rnn_activation {
    enum rnn_activation_kind kind;
    float alpha, beta; /* where the kind has them */
};

struct rnn_cell_settings {
    struct rnn_activation gate;      /* of the gates; usually the sigmoid */
    struct rnn_activation candidate; /* of what comes in; usually tanh */
    struct rnn_activation output;    /* of the cell state on its way to h; usually tanh */
    float clip;        /* inputs of all activations stay within ± this; 0: no bound */
    bool input_forget; /* the forget gate is 1 - the input gate */
    bool peepholes;    /* the gates see the cell state (Gers & Schmidhuber 2000) */
};

#endif
