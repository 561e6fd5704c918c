/* What is known of each value of an ONNX graph, without running it.
 *
 * A value is a constant (numbers, or sizes that follow from the inputs' shapes), an input as it
 * came, or data: the output of a stage of the model, with each of its dimensions written as a
 * product of axes.  Time, batch, features and directions are axes, so that whatever transposes,
 * squeezes or reshapes between two layers has an effect that can be told exactly, in whichever way
 * an exporter has spelled it.  What cannot be told stops the value, with the reason and the node;
 * a stop is a fault only where the model's output depends on it.
 *
 * One run reads one graph; one thread.  All memory is the archive's but the run's own. */
#ifndef IMPORT_ONNX_VALUE_H
#define IMPORT_ONNX_VALUE_H

#include "core/spec.h"
#include "import/onnx_graph.h"

struct onnx_run;

/* ---- Axes and sizes ---- */

enum { ONNX_PARTS_MAX = 4, ONNX_NO_AXIS = -1 };

/* A dimension: the product of axes, row-major; of none: 1. */
struct onnx_dim {
    size_t n;
    uint32_t axes[ONNX_PARTS_MAX];
};

/* A size: factor × the sizes of axes + more.  What has no axes is a plain number. */
struct onnx_symbol {
    int64_t factor, more;
    uint32_t n;
    uint32_t axes[ONNX_PARTS_MAX];
};

/* ---- Values ---- */

enum onnx_kind {
    ONNX_ABSENT,   /* an optional input that is left out */
    ONNX_STOPPED,  /* not understood: `why` */
    ONNX_CONSTANT, /* `tensor` */
    ONNX_UNIFORM, /* one number everywhere, `symbol` or `number`, of a shape that does not matter */
    ONNX_INPUT,   /* an input of the graph, as it came but for the order of its axes */
    ONNX_DATA,    /* what a stage gives, or states */
    ONNX_MOMENT   /* a step of a layer normalisation of what a stage gives (`moment`) */
};

enum onnx_moment { ONNX_MEAN, ONNX_CENTRED, ONNX_SQUARED, ONNX_VARIANCE, ONNX_DEVIATION };

enum onnx_what {
    ONNX_STEPS, /* outputs of all steps */
    ONNX_FIRST, /* of the first one */
    ONNX_LAST,  /* of the last one */
    ONNX_H,     /* h after all steps */
    ONNX_C      /* c after all steps */
};

/* One direction of a recurrent layer. */
struct onnx_entry {
    size_t layer;
    unsigned direction; /* 0, or 1 for the second one of a bidirectional node */
    enum onnx_what what;
};

struct onnx_value {
    enum onnx_kind kind;
    const char *why;           /* stopped */
    struct onnx_tensor tensor; /* constant */
    bool symbolic;             /* uniform: `symbol`, else `number` */
    struct onnx_symbol symbol;
    double number;
    size_t rank; /* input, data */
    struct onnx_dim dims[ONNX_RANK_MAX];
    size_t input; /* input: which one, */
    bool is_cut;  /* and of one of its axes entries from `cut` on only */
    size_t cut;

    enum onnx_moment moment; /* with `number` the ε of a variance or deviation */

    /* Data: either of a stage, or entries of recurrent nodes, one behind the other along the axis
     * features[0] where there are several.  The features are the product of one or two axes. */
    size_t stage;
    const struct onnx_entry *entries; /* [n_entries] */
    size_t n_entries;
    bool reversed; /* its entries along axis `reversed_axis` stand last to first */
    uint32_t reversed_axis;
    uint32_t features[2];
    size_t n_features;
};

/* ---- The model as it is found ---- */

enum onnx_stage_kind {
    ONNX_STAGE_INPUT,
    ONNX_STAGE_EMBEDDING, /* `tensor` [ids, width] */
    ONNX_STAGE_ONE_HOT,
    ONNX_STAGE_LAYER,   /* `layer` */
    ONNX_STAGE_MERGE,   /* `merge`, of the layer below */
    ONNX_STAGE_PRODUCT, /* `tensor` [in, out] */
    ONNX_STAGE_SHIFT,   /* x + tensor, a vector or one number */
    ONNX_STAGE_SCALE,   /* x × tensor */
    ONNX_STAGE_ACTIVATION,
    ONNX_STAGE_NORM,     /* layer normalisation, × `tensor` + `second`; empty: neither */
    ONNX_STAGE_RESIDUAL, /* + what stage `skip` gives */
    ONNX_STAGE_SOFTMAX,
    ONNX_STAGE_LOG_SOFTMAX,
    ONNX_STAGE_READOUT /* `pool` */
};

struct onnx_stage {
    enum onnx_stage_kind kind;
    const struct onnx_node *node; /* NULL: the input */
    size_t below;                 /* the stage that it reads */
    size_t width;                 /* features that it gives; 0: not known */
    struct onnx_tensor tensor, second;
    bool out_in; /* a product's tensor is [out, in] */
    struct rnn_activation activation;
    size_t layer, skip;
    enum rnn_merge merge;
    enum rnn_pool pool;
    float epsilon;
};

/* Where a layer's initial state comes from. */
struct onnx_state {
    bool given; /* it is entry `at` of input `input` */
    size_t input, at;
    const double *values; /* not given: [hidden]; NULL: zeros */
};

struct onnx_direction {
    struct onnx_tensor w, r, b, p; /* of the node: [directions, …] */
    size_t index;                  /* the direction in them */
    bool has_bias, has_peepholes;
    struct onnx_state h, c;
};

struct onnx_layer {
    const struct onnx_node *node;
    unsigned gates; /* 1: RNN, 3: GRU, 4: LSTM */
    size_t reads, hidden;
    unsigned n_directions;
    bool backwards; /* the only direction runs from the last step to the first */
    struct onnx_direction directions[2];
    struct rnn_activation activations[3];
    float clip;
    bool input_forget, reset_after;
    size_t below, stage;
    bool is_joined; /* made of two nodes, one for each direction */
    size_t joined[2];
};

struct onnx_slot;
struct import_options;

struct onnx_run {
    struct archive *archive;
    const struct import_options *options; /* what the user says; NULL: nothing */
    const struct onnx_graph *graph;
    struct onnx_source source;
    struct rnn_err *err;
    struct onnx_slot *slots; /* [n_slots], values by name */
    size_t n_slots;
    int64_t *axes; /* [n_axes], their sizes; -1: free */
    size_t n_axes, axes_max;
    struct onnx_stage *stages;
    size_t n_stages, stages_max;
    struct onnx_layer *layers;
    size_t n_layers, layers_max;
    int64_t time, batch; /* axes, once a recurrent node has told; ONNX_NO_AXIS */
    bool has_layer;      /* time and batch are told */
    bool has_data;       /* `data` is the input that the model reads */
    size_t data;
};

/* RNN_EUNSUPPORTED with the node's name, operator and place in front of the words. */
int onnx_stop(struct onnx_run *run, const struct onnx_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether the value is an input or data; the other stops where a node's first input is not. */
bool onnx_is_data(const struct onnx_value *value);
int onnx_want_data(struct onnx_run *run, const struct onnx_node *node,
                   const struct onnx_value *const *inputs);

/* Memory of the archive; NULL: `err` is filled. */
void *onnx_take(struct onnx_run *run, size_t n, size_t size);

/* A new axis, of `size` or -1.  RNN_ELIMIT. */
int onnx_axis_new(struct onnx_run *run, int64_t size, uint32_t *out);

/* The axis has that size, or gets it; false: it has another one. */
bool onnx_axis_is(struct onnx_run *run, uint32_t axis, int64_t size);

/* Whether the symbol is a number by now, and which. */
bool onnx_symbol_number(const struct onnx_run *run, const struct onnx_symbol *symbol, int64_t *out);

bool onnx_symbol_same(const struct onnx_symbol *a, const struct onnx_symbol *b);

/* The size of a dimension, as a symbol. */
struct onnx_symbol onnx_dim_symbol(const struct onnx_dim *dim);

/* Axes of the dimension whose size is not 1, into out[ONNX_PARTS_MAX]; how many. */
size_t onnx_dim_axes(const struct onnx_run *run, const struct onnx_dim *dim, uint32_t *out);

bool onnx_dim_is_one(const struct onnx_run *run, const struct onnx_dim *dim);

/* Whether the dimension holds the features of the value, all and in order. */
bool onnx_dim_is_features(const struct onnx_run *run, const struct onnx_value *value,
                          const struct onnx_dim *dim);

/* Whether the value's other dimensions are those of `other`, but for the features. */
bool onnx_same_dims(const struct onnx_run *run, const struct onnx_value *value,
                    const struct onnx_value *other);

/* Whether the axis is the dimension's only one (but for axes of size 1). */
bool onnx_dim_is_axis(const struct onnx_run *run, const struct onnx_dim *dim, int64_t axis);

/* A new stage above `below`; its place in *out.  RNN_ELIMIT. */
int onnx_stage_new(struct onnx_run *run, const struct onnx_stage *stage, size_t *out);

/* A data value of two entries becomes one of half the features: two directions, merged. */
int onnx_merge(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
               enum rnn_merge merge);

/* Makes the value data of one stage: states and directions become what is read out of a layer, an
 * input becomes the model's, whose features are its dimension `features`.  Stops where it is
 * neither. */
int onnx_settle(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
                size_t features);

/* ---- Constants ---- */

double onnx_number(const struct onnx_tensor *tensor, size_t i);
struct onnx_symbol onnx_symbol_at(const struct onnx_tensor *tensor, size_t i);
size_t onnx_type_bytes(enum onnx_type type);
const struct archive_type *onnx_archive_type(enum onnx_type type); /* of floats */

/* All elements of a constant or uniform value are `number`. */
bool onnx_is_everywhere(const struct onnx_value *value, double number);

/* The list of integers that an operator takes as input `place` or as an attribute of that name.
 * *present tells whether there is one; *out is [*n].  Stops where it depends on the data. */
int onnx_integers(struct onnx_run *run, const struct onnx_node *node,
                  const struct onnx_value *const *inputs, size_t place, const char *attribute,
                  bool *present, const int64_t **out, size_t *n);

/* Attributes with what stands for an absent one. */
int64_t onnx_int(const struct onnx_node *node, const char *name, int64_t otherwise);
float onnx_float(const struct onnx_node *node, const char *name, float otherwise);

/* An axis of `rank`, from -rank to rank - 1. */
int onnx_axis(struct onnx_run *run, const struct onnx_node *node, int64_t axis, size_t rank,
              size_t *out);

/* ---- Operators ---- */

/* inputs[n_inputs] as many as the node has, outputs[n_outputs] zeroed, to be filled. */
typedef int onnx_operator(struct onnx_run *run, const struct onnx_node *node,
                          const struct onnx_value *const *inputs, struct onnx_value *outputs);

/* import/onnx_fold.c: of constants alone.  RNN_EUNSUPPORTED without words where it is no such
 * operator; *known says so. */
int onnx_fold(struct onnx_run *run, const struct onnx_node *node,
              const struct onnx_value *const *inputs, struct onnx_value *outputs, bool *known);

/* import/onnx_axes.c, import/onnx_pick.c: of data. */
onnx_operator onnx_transpose, onnx_squeeze, onnx_unsqueeze, onnx_reshape, onnx_flatten, onnx_shape,
    onnx_expand;
onnx_operator onnx_slice, onnx_gather, onnx_split, onnx_concat;

/* import/onnx_layers.c: RNN, LSTM, GRU. */
onnx_operator onnx_recurrent;

/* import/onnx_dense.c: what has no state. */
onnx_operator onnx_matmul, onnx_gemm, onnx_binary, onnx_activate, onnx_softmax, onnx_log,
    onnx_one_hot, onnx_reduce, onnx_global_pool, onnx_batch_norm, onnx_layer_norm, onnx_pass;

/* An activation by its name in ONNX, of nodes and of the `activations` of recurrent ones, in
 * letters of any case; false: none that a layer here can have.  *alpha and *beta tell whether it
 * takes them; where it has no defaults for them, they are NAN. */
bool onnx_activation(const char *name, struct rnn_activation *out, bool *alpha, bool *beta);

/* import/onnx_moments.c: layer normalisation, written out.  *known: the node is a step of it, or
 * reads one. */
int onnx_moments(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *outputs, bool *known);

/* The value of that name; NULL: none. */
struct onnx_value *onnx_value(const struct onnx_run *run, const char *name);

#endif
