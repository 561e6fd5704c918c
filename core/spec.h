/* What a model is, as numbers: its topology, its stacks, their layers and heads.
 *
 * A checkpoint format (core/format.h) fills a spec from its files; core checks the tensors against
 * it and builds the model from it.  Plain values without pointers to own: copy it.  The layout
 * holds two directions and an encoder beside the decoder; what rnn_model_open() builds is less, and
 * it refuses the rest in words.  Any thread. */
#ifndef CORE_SPEC_H
#define CORE_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rnn.h"

struct rnn_cell_ops;

/* Limits of a spec; with them no product of two sizes below can wrap. */
#define RNN_LAYERS_MAX 64
#define RNN_HIDDEN_MAX ((size_t)1 << 16) /* hidden_size, proj_size, embedding dim */
#define RNN_INPUT_MAX  ((size_t)1 << 22) /* frame width or number of token ids */
#define RNN_OUTPUT_MAX ((size_t)1 << 22) /* head size */
#define RNN_STACKS_MAX 2
#define RNN_NAME_MAX   128

/* Types of the numbers in a checkpoint; all are little-endian. */
enum rnn_dtype { RNN_F32, RNN_F16, RNN_BF16, RNN_F64 };

struct rnn_layer_spec {
    const struct rnn_cell_ops *cell;
    size_t
        input_width; /* floats that it reads: of the input or of the layer below, all directions */
    size_t hidden;   /* units of one direction */
    size_t proj;     /* width of h after the projection; 0: none */
    bool bias;
    unsigned directions; /* 1 or 2 */
};

struct rnn_head_spec {
    bool present;
    size_t size; /* outputs */
    bool bias;
    bool tied; /* weight is the stack's embedding.weight */
    enum rnn_head_activation activation;
};

/* One pile of recurrent layers with its input and its head.  Its tensors' names are `prefix`
 * followed by
 *     embedding.weight                        [input_size, embedding_dim]   (embedded input)
 *     rnn.weight_ih_l{k}                      [gates * hidden, input_width]
 *     rnn.weight_hh_l{k}                      [gates * hidden, proj or hidden]
 *     rnn.bias_ih_l{k}, rnn.bias_hh_l{k}      [gates * hidden]              (bias)
 *     rnn.weight_hr_l{k}                      [proj, hidden]                (proj)
 *     head.weight                             [head.size, hidden_width]     (present, not tied)
 *     head.bias                               [head.size]                   (bias)
 * with "_reverse" at the end of the rnn.* names for the second direction. */
struct rnn_stack_spec {
    char prefix[16]; /* "" or "decoder." */
    enum rnn_input_kind input_kind;
    size_t input_size;    /* frame width, or number of token ids */
    size_t embedding_dim; /* 0 unless embedded */
    size_t n_layers;
    struct rnn_layer_spec layers[RNN_LAYERS_MAX];
    struct rnn_head_spec head;
};

struct rnn_spec {
    char name[RNN_NAME_MAX]; /* what the folder calls itself, valid UTF-8; "": it has no name */
    enum rnn_topology topology;
    enum rnn_dtype dtype; /* as declared; tensors carry their own */
    size_t n_stacks;
    struct rnn_stack_spec
        stacks[RNN_STACKS_MAX]; /* [0] the only one, or the decoder; [1] encoder */
    int64_t unk, bos, eos;      /* token ids, -1: none */
};

/* Floats in one step's output of a layer: (proj or hidden) * directions. */
static inline size_t rnn_layer_width(const struct rnn_layer_spec *layer)
{
    return (layer->proj ? layer->proj : layer->hidden) * layer->directions;
}

#endif
