/* Random models of every shape that config.json can say, for the laws of walks: drawn from a seed,
 * written as a model folder, and computed a second time in double, straight from the equations
 * (net_reference.c) with no line of the engine.  One thread; faults of the helpers end the test. */
#ifndef TESTS_PROPS_NET_H
#define TESTS_PROPS_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NET_MODULES_MAX = 6, NET_LAYERS_MAX = 3, NET_TENSORS_MAX = 360, NET_STATES_MAX = 60 };

struct net_activation {
    const char *name; /* NULL: the default of its place */
    double alpha, beta;
    bool tells; /* alpha and beta are written out */
};

enum net_kind { NET_RNN, NET_DENSE, NET_AFFINE, NET_NORM, NET_READOUT };

struct net_module {
    enum net_kind kind;
    size_t in, out; /* floats at a step; in: without a context */
    bool bias, residual;
    struct net_activation activation; /* recurrent: of the candidate; dense */

    const char *cell; /* "rnn_tanh", … */
    size_t hidden, layers, proj;
    bool both, reset_before, peepholes, input_forget, learned;
    const char *merge; /* NULL: concat */
    struct net_activation gate, output;
    double clip; /* 0: none */

    double epsilon; /* normalisation */
};

struct net_attention {
    const char *kind; /* NULL: none */
    size_t size, combine;
    bool bias, concat;
};

struct net_stack {
    const char *prefix; /* "", "encoder.", "decoder." */
    const char *input;  /* "dense", "onehot", "embedding" */
    size_t size, dim;
    bool normalize, as_rnn; /* as_rnn: its one module is written as "rnn" */
    struct net_module modules[NET_MODULES_MAX];
    size_t n, n_below; /* modules; those under the readout */
    struct net_attention attention;
    size_t memory; /* floats of a step of what an attention looks at */
};

struct net_tensor {
    char name[64];
    size_t rank, shape[2];
    float *values;
};

struct net {
    uint64_t random;
    const char *topology, *pool, *transfer;
    struct net_stack encoder, decoder; /* decoder: the only one, too */
    size_t window;                     /* steps of an input whose pool is flatten; 0: any */
    size_t repeat;                     /* steps of a decoder that reads one vector; 0: none */
    size_t features;
    struct net_activation bridge;
    bool bridge_to_input;
    int bos, eos, source_eos; /* -1: none */

    const char *head; /* its activation; NULL: no head */
    size_t outputs;
    bool head_bias, tied, denormalize;

    struct net_tensor tensors[NET_TENSORS_MAX];
    size_t n_tensors;
    char folder[64]; /* "": not written */
};

/* ---- Numbers ---- */

uint64_t net_next(struct net *net);
size_t net_below(struct net *net, size_t n); /* uniform in [0, n) */
bool net_chance(struct net *net, unsigned tenths);
float net_number(struct net *net); /* uniform in [-1, 1) */

/* ---- Models ---- */

/* The topology is the seed's last two bits: synced, many to one or repeat, one to many,
 * encoder–decoder. */
void net_draw(struct net *net, uint64_t seed);
void net_shake(struct net *net); /* every weight to a float beside it */
void net_free(struct net *net);  /* the folder goes, too */

bool net_has(const struct net *net, const char *prefix, const char *name);
const float *net_values(const struct net *net, const char *prefix, const char *name);
bool net_takes_frames(const struct net *net); /* what a client gives */
size_t net_input_size(const struct net *net); /* of a client's frame, or number of ids */
bool net_decodes(const struct net *net);
size_t net_window(const struct net *net); /* steps that are read out side by side; 1: no window */
size_t net_layer_width(const struct net_module *module); /* of each of its layers, merged */
bool net_is_residual(const struct net_module *module, size_t k, size_t in);

/* config.json and model.safetensors in a folder of their own. */
void net_write(struct net *net);
char *net_config(const struct net *net); /* the caller frees it */

/* ---- The reference ---- */

/* What goes through a net: tokens or frames, and what its decoder is fed after bos. */
struct net_input {
    const uint32_t *tokens;
    const float *frames;
    size_t n;
    const uint32_t *target;
    size_t n_target;
};

/* What comes out; net_result_free().  States: every h, then every c, in the order of modules,
 * layers and directions. */
struct net_state {
    double *v[NET_STATES_MAX];
    size_t size[NET_STATES_MAX];
    size_t n_h, n; /* of them h; all */
};

struct net_result {
    size_t n, outputs, width;          /* outputs of the head; floats in each; under the readout */
    double *logits;                    /* [n][outputs] */
    double *activated;                 /* [n][outputs]; not for a mixture */
    double *hidden;                    /* [n][width] */
    struct net_state decoder, encoder; /* at the end */
};

void net_compute(const struct net *net, const struct net_input *input, struct net_result *result);
void net_result_free(struct net_result *result);

#endif
