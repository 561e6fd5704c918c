/* Inside of a model: what core/model.c builds and core/step.c runs.  For core only.
 *
 * A *layer* here is one direction of one layer of the spec.  A *pass* is a run of layers that can
 * be stepped together, from an input to an output: a stack whose layers all run forwards is one
 * pass; a layer of two directions makes a pass of each, and everything above it waits for both.
 * Pass 0 is the first pass of the only stack, or of the decoder; an encoder's, the attention's keys
 * and the bridge follow.  The *top* is what stands above the readout: layers without a state, and
 * the head. */
#ifndef CORE_MODEL_H
#define CORE_MODEL_H

#include <stdatomic.h>

#include "core/cell.h"
#include "core/format.h"
#include "core/pack.h"
#include "core/rnn.h"
#include "core/spec.h"

#define RNN_NOWHERE SIZE_MAX /* an offset into the state that there is none of */

struct rnn_layer {
    enum rnn_layer_kind kind;
    size_t in_width, out_width;
    bool residual;
    size_t gate_floats;        /* what the products of a row fill; 0: no products */
    struct rnn_panels x;       /* over the input; w == NULL: it is looked up in the pass's table */
    struct rnn_panels context; /* over an additive attention's context; k == 0: none */
    const float *bias;         /* [gate_floats]: both biases, where the cell adds them */

    struct rnn_cell cell; /* recurrent */
    size_t hidden;
    size_t width;            /* of h: proj or hidden */
    struct rnn_panels h;     /* k = width */
    struct rnn_panels again; /* over what the cell's reset() gives; k == 0: none */
    struct rnn_panels proj;  /* k == 0: none */
    size_t h_at, c_at;       /* in floats from the state's memory */
    size_t shown_at;         /* of its gates in a row's `gates`; cells without: RNN_NOWHERE */

    struct rnn_activation activation; /* dense */
    const float *scale, *shift;       /* [out_width], affine and normalisation */
    float epsilon;
};

enum pass_input {
    PASS_TOKENS, /* ids of the stack's input; or frames of in_width in their place */
    PASS_FRAMES, /* the stack's input */
    PASS_VECTORS /* what another pass gave */
};

struct rnn_pass {
    enum pass_input input;
    bool onehot; /* PASS_TOKENS without an embedding */
    bool normalizes;
    bool reverse;
    bool counts; /* a step of it moves the state's position on */
    const struct rnn_layer *layers;
    size_t n_layers;
    size_t in_width, out_width;
    const float *table;      /* [ids][layers[0].gate_floats] with the bias, or NULL */
    const float *embedding;  /* [ids][in_width], or NULL */
    const float *mean, *std; /* [in_width] of a normalised input, or NULL */
    bool attends;            /* the attention belongs to this pass */
    bool needs_vector;       /* the input is wanted as a vector, not only for its product */
    size_t n_tokens;
};

/* The passes of a stack, bottom up. */
struct rnn_level {
    const struct rnn_pass *forward, *backward; /* backward NULL: one direction */
    enum rnn_merge merge;
    size_t width; /* merged */
    bool residual;
};

struct rnn_stack {
    const struct rnn_stack_spec *spec;
    struct rnn_level *levels;
    size_t n_levels;
    size_t embedding_ids;
};

struct rnn_attention {
    enum rnn_attention_kind kind;
    size_t memory_width; /* M */
    size_t score_width;  /* floats in a key */
    size_t query_width;  /* top h */
    size_t out_width;    /* what the top reads */
    bool concat;
    struct rnn_panels query; /* additive; k == 0: none */
    const float *v;          /* [score_width] */
    struct rnn_panels combine;
    size_t s_at; /* the top h, in the state */
};

struct rnn_top {
    struct rnn_layer *layers;
    size_t n_layers;
    size_t in_width;         /* floats that the lowest of them reads */
    struct rnn_panels head;  /* k == 0: none */
    const float *head_bias;  /* [RNN_PAD_LANES(head size)] */
    const float *mean, *std; /* [rnn_head_values] or NULL */
};

struct rnn_model {
    _Atomic(unsigned) refs;
    struct rnn_spec spec;
    struct rnn_texts texts;
    struct rnn_model_info info;

    struct rnn_layer *layers; /* of all passes */
    size_t n_layers;
    struct rnn_pass *passes;
    size_t n_passes;
    struct rnn_stack stacks[RNN_STACKS_MAX];
    struct rnn_top top;
    struct rnn_attention attention;
    const struct rnn_pass *keys;   /* memory → attention's keys; NULL: the memory is the keys */
    const struct rnn_pass *bridge; /* or NULL */
    const float *initial;          /* [memory floats] where states are learned, or NULL: zero */
    struct arena weights;          /* what all of the above points into */

    struct rnn_state_part *parts;
    size_t n_parts;
    struct rnn_gate *gates;
    size_t n_gates;
    size_t memory_floats;
    char **state_names; /* [n_states + 1], NULL at the end: the initial states that it ships */
    struct rnn_state **states; /* [n_states] */
    size_t n_states;

    /* Where the readout finds its vector between steps. */
    size_t readout_at; /* in the state: the top h, the last output, or what the pool holds */
    size_t output_at;  /* where a step's last output is kept, as no h is it; or RNN_NOWHERE */
    size_t pool_at;    /* mean and maximum of one direction; or RNN_NOWHERE */

    /* Scratch of a row, in floats. */
    size_t gate_floats_max, hidden_floats_max, vector_floats_max;
};

/* What an attending decoder looks at: the encoder's outputs of one source.  Made by a walk; read by
 * the steps of every row that points to it, on one thread. */
struct rnn_memory {
    size_t n;
    const float *values; /* [n][memory_width] */
    const float *keys;   /* [n][score_width] */
    float *weights;      /* [n] scratch: the last row's */
    float *energy;       /* [RNN_PAD_LANES(score_width)] scratch */
};

/* core/layout.c: shapes of layers, passes and state, from the spec.  RNN_ENOMEM. */
int model_lay_out(struct rnn_model *model, struct rnn_err *err);

/* core/state.c: the initial states that the checkpoint ships, once the model is laid out; and their
 * end. */
int model_take_states(struct rnn_model *model, const struct rnn_format_ops *format,
                      const struct rnn_source *source, struct rnn_err *err);
void model_free_states(struct rnn_model *model);

/* core/step.c: a row's input to a pass as a vector, made in `made` [in_width] where it has to be;
 * NULL where it is a token that only a product looks at. */
const float *pass_input_vector(const struct rnn_pass *pass, const struct rnn_row *row, float *made);

/* core/step.c: the vector that the top reads, of a state between steps; and one more output, the
 * step-th from 1, into a mean or maximum. */
const float *model_readout(const struct rnn_model *model, const struct rnn_state *state);
void pool_add(enum rnn_pool pool, float *into, const float *output, uint64_t step, size_t n);

#endif
