/* What a model is, as numbers: its topology, its stacks, their layers and heads.
 *
 * A checkpoint format (core/format.h) fills a spec from its files; core checks the tensors against
 * it and builds the model from it.  Plain values without pointers to own: copy it.  Any thread. */
#ifndef CORE_SPEC_H
#define CORE_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/activation.h"
#include "core/rnn.h"

struct rnn_cell_ops;

/* Limits of a spec; with them no product of two sizes below can wrap. */
#define RNN_LAYERS_MAX 64
#define RNN_HIDDEN_MAX ((size_t)1 << 16) /* hidden_size, proj_size, embedding dim */
#define RNN_INPUT_MAX  ((size_t)1 << 22) /* frame width or number of token ids */
#define RNN_OUTPUT_MAX ((size_t)1 << 22) /* head size */
#define RNN_STACKS_MAX 2
#define RNN_STEPS_MAX  ((size_t)1 << 16) /* of a flattened window, or a repeated vector */
#define RNN_NAME_MAX   128

/* Types of the numbers in a checkpoint; all are little-endian. */
enum rnn_dtype { RNN_F32, RNN_F16, RNN_BF16, RNN_F64 };

/* ---- Layers ---- */

enum rnn_layer_kind {
    RNN_LAYER_RECURRENT,
    RNN_LAYER_DENSE,  /* y = f(W x + b) */
    RNN_LAYER_AFFINE, /* y = x * scale + shift: a batch normalisation that has learned */
    RNN_LAYER_NORM    /* layer normalisation (Ba et al. 2016) */
};

/* How the outputs of two directions become one. */
enum rnn_merge { RNN_MERGE_CONCAT, RNN_MERGE_SUM, RNN_MERGE_AVERAGE, RNN_MERGE_MULTIPLY };

struct rnn_layer_spec {
    enum rnn_layer_kind kind;
    char module[16];    /* "rnn" or "layers.7": its tensors' names begin so, behind the prefix */
    unsigned index;     /* k of the names' "_l{k}": its place in the module */
    size_t input_width; /* floats that it reads: of the input or of the layer below, merged; and
                           behind them the context, where it stands under an additive attention */
    size_t hidden;      /* units of one direction; the outputs of a layer of another kind */
    bool bias;
    bool residual; /* what it reads is added to what it gives */

    /* Recurrent layers. */
    const struct rnn_cell_ops *cell;
    struct rnn_cell_settings settings;
    size_t proj;         /* width of h after the projection; 0: none */
    unsigned directions; /* 1 or 2 */
    enum rnn_merge merge;
    bool learned_state; /* the initial state is in the file, not zero */

    struct rnn_activation activation; /* of a dense layer */
    float epsilon;                    /* of a normalisation */
};

/* Floats in h of one direction. */
static inline size_t rnn_layer_state_width(const struct rnn_layer_spec *layer)
{
    return layer->proj ? layer->proj : layer->hidden;
}

/* Floats in one step's output of a layer, all directions merged. */
static inline size_t rnn_layer_width(const struct rnn_layer_spec *layer)
{
    if (layer->kind != RNN_LAYER_RECURRENT)
        return layer->hidden;
    return rnn_layer_state_width(layer) *
           (layer->merge == RNN_MERGE_CONCAT ? layer->directions : 1);
}

/* ---- Stacks ---- */

struct rnn_head_spec {
    bool present;
    size_t size; /* outputs */
    bool bias;
    bool tied; /* weight is the stack's embedding.weight */
    enum rnn_head_activation activation;
    bool denormalize;  /* values come out as y * output.std + output.mean */
    size_t components; /* of a mixture */
    unsigned pen;      /* its pen logits: 1 or 3 */
};

enum rnn_attention_kind {
    RNN_ATTENTION_NONE,
    RNN_ATTENTION_ADDITIVE, /* Bahdanau et al. 2015 */
    RNN_ATTENTION_DOT,      /* Luong et al. 2015 */
    RNN_ATTENTION_GENERAL
};

/* With m_j the encoder's top output at source step j, and a the softmax of e over j:
 *     additive       e_j = v · tanh(Wq s + Wk m_j + b), s the top h before the step;
 *                    layer 0 reads [x ; Σ a_j m_j], the head reads h, or [h ; Σ a_j m_j]
 *     dot, general   e_j = h · m_j or h · (Wk m_j), h the top layer's output at the step;
 *                    the head reads tanh(Wc [Σ a_j m_j ; h]) */
struct rnn_attention_spec {
    enum rnn_attention_kind kind;
    size_t memory_width; /* M, floats in m_j */
    size_t size;         /* A, additive: floats in Wq s */
    bool bias;           /* additive: b is there */
    bool concat;         /* additive: the head reads the context, too */
    size_t combine;      /* S, dot and general: floats that the head reads */
};

/* One pile of layers with its input and its head.  Its tensors' names are `prefix` followed by
 *     embedding.weight                        [input_size, embedding_dim]   (embedded input)
 *     input.mean, input.std                   [input_size]                  (normalize)
 *     rnn.weight_ih_l{k}                      [gates * hidden, input_width]
 *     rnn.weight_hh_l{k}                      [gates * hidden, proj or hidden]
 *     rnn.bias_ih_l{k}, rnn.bias_hh_l{k}      [gates * hidden]              (bias)
 *     rnn.weight_hr_l{k}                      [proj, hidden]                (proj)
 *     rnn.peephole_l{k}                       [3 * hidden]                  (peepholes; i, f, o)
 *     rnn.h_0_l{k}, rnn.c_0_l{k}              [proj or hidden], [hidden]    (learned_state)
 *     layers.{m}.weight, .bias                [hidden, input_width], …      (dense)
 *     layers.{m}.scale, .shift                [hidden]                      (affine)
 *     layers.{m}.weight, .bias                [hidden]                      (normalisation)
 *     attention.query.weight                  [A, top hidden]               (additive)
 *     attention.key.weight                    [A, M] or [top hidden, M]     (additive, general)
 *     attention.key.bias, attention.v         [A]                           (additive)
 *     attention.combine.weight                [S, M + top hidden]           (dot, general)
 *     head.weight                             [head.size, what it reads]    (present, not tied)
 *     head.bias                               [head.size]                   (bias)
 *     output.mean, output.std                 [number of values]            (denormalize)
 * with "_reverse" at the end of a recurrent layer's names for the second direction, and
 * "layers.{m}." for "rnn." where the layers are given as a list of modules. */
struct rnn_stack_spec {
    char prefix[16]; /* "", "encoder." or "decoder." */
    enum rnn_input_kind input_kind;
    size_t input_size;    /* frame width, or number of token ids */
    size_t embedding_dim; /* 0 unless embedded */
    bool normalize;
    bool masks; /* steps of the id `mask`, or of frames of nothing but that number, are passed over
                 */
    float mask;
    size_t n_layers;
    size_t n_below; /* of them under the readout; those above it keep no state */
    size_t window;  /* steps that are read out side by side (flatten); 0: one vector's worth */
    struct rnn_layer_spec layers[RNN_LAYERS_MAX];
    struct rnn_attention_spec attention;
    struct rnn_head_spec head;
};

/* Floats that the lowest layer reads of the input alone. */
static inline size_t rnn_stack_input_width(const struct rnn_stack_spec *stack)
{
    return stack->embedding_dim ? stack->embedding_dim : stack->input_size;
}

/* Floats under the readout: the merged output of layer n_below - 1, or the input. */
static inline size_t rnn_stack_readout_width(const struct rnn_stack_spec *stack)
{
    return stack->n_below ? rnn_layer_width(&stack->layers[stack->n_below - 1])
                          : rnn_stack_input_width(stack);
}

/* Floats in what is read out: of one step, or of all steps of the window. */
static inline size_t rnn_stack_vector_width(const struct rnn_stack_spec *stack)
{
    return rnn_stack_readout_width(stack) * (stack->window ? stack->window : 1);
}

/* Floats that the first layer above the readout, or the head, reads. */
static inline size_t rnn_stack_top_width(const struct rnn_stack_spec *stack)
{
    const struct rnn_attention_spec *attention = &stack->attention;
    size_t width = rnn_stack_vector_width(stack);

    if (attention->kind == RNN_ATTENTION_ADDITIVE && attention->concat)
        return width + attention->memory_width;
    return attention->kind == RNN_ATTENTION_DOT || attention->kind == RNN_ATTENTION_GENERAL
               ? attention->combine
               : width;
}

/* Floats that the head reads. */
static inline size_t rnn_stack_head_width(const struct rnn_stack_spec *stack)
{
    return stack->n_layers > stack->n_below ? rnn_layer_width(&stack->layers[stack->n_layers - 1])
                                            : rnn_stack_top_width(stack);
}

/* Numbers that are denormalised: means of Gaussians, or plain values. */
static inline size_t rnn_head_values(const struct rnn_head_spec *head)
{
    switch (head->activation) {
    case RNN_HEAD_GAUSSIAN:
        return head->size / 2;
    case RNN_HEAD_MIXTURE:
        return 2;
    default:
        return head->size;
    }
}

/* ---- Models ---- */

/* How the steps of a many-to-one model, or of a repeating one's encoder, become one vector: the
 * final states h of the layer under the readout (forward after the last step, backward after the
 * first; nothing residual is added; where that layer is not recurrent, as LAST), its output at the
 * last step, the mean, the maximum, or its outputs at all steps of a window side by side, the first
 * step first. */
enum rnn_pool { RNN_POOL_FINAL, RNN_POOL_LAST, RNN_POOL_MEAN, RNN_POOL_MAX, RNN_POOL_FLATTEN };

/* How the encoder's final states become the decoder's initial ones. */
enum rnn_transfer {
    RNN_TRANSFER_COPY,   /* layer by layer, direction by direction */
    RNN_TRANSFER_CONCAT, /* both directions side by side */
    RNN_TRANSFER_BRIDGE, /* through the bridge */
    RNN_TRANSFER_NONE    /* not at all */
};

/* A dense layer beside the stacks, tensors bridge.weight and bridge.bias.  It reads the features of
 * a one-to-many model, or all of the encoder's final h, then c; it writes all of the decoder's h,
 * then c, or its first input. */
struct rnn_bridge_spec {
    bool present;
    bool to_input;
    size_t reads, writes; /* floats */
    struct rnn_activation activation;
};

struct rnn_spec {
    char name[RNN_NAME_MAX]; /* what the folder calls itself, valid UTF-8; "": it has no name */
    enum rnn_topology topology;
    enum rnn_dtype dtype; /* as declared; tensors carry their own */
    size_t n_stacks;
    struct rnn_stack_spec
        stacks[RNN_STACKS_MAX]; /* [0] the only one, or the decoder; [1] the encoder */
    enum rnn_pool pool;         /* many to one, repeat */
    size_t repeat;              /* repeat: how often the decoder is fed the vector; else 0 */
    size_t features;            /* one to many: floats in the frame that is told of */
    enum rnn_transfer transfer; /* encoder–decoder */
    struct rnn_bridge_spec bridge;
    int64_t unk, bos, eos; /* token ids of the output's side, -1: none */
    int64_t source_eos;    /* the id that ends every source, -1: none */
    size_t max_len; /* tokens that the decoder writes at most, as its makers say; 0: unsaid */
};

#endif
