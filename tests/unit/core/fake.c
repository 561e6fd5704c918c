/* A checkpoint in memory; see fake.h.  The path given to rnn_model_open() is only a word: the
 * source that opens is the fake set aside by fake_open(). */
#include "fake.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake *next_to_open;

struct rnn_source {
    struct fake *fake;
};

static bool probe(const char *path)
{
    return strcmp(path, "fake") == 0;
}

static int open_source(struct rnn_source **out, const char *path, struct rnn_err *err)
{
    (void)path;
    *out = malloc(sizeof **out);
    if (!*out)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    (*out)->fake = next_to_open;
    next_to_open->opened++;
    return 0;
}

static void close_source(struct rnn_source *source)
{
    source->fake->closed++;
    free(source);
}

static const struct rnn_spec *source_spec(const struct rnn_source *source)
{
    return &source->fake->spec;
}

static size_t source_n_tensors(const struct rnn_source *source)
{
    return source->fake->n_tensors;
}

static void source_tensor_at(const struct rnn_source *source, size_t i, struct rnn_tensor *out)
{
    *out = source->fake->tensors[i];
    out->name = source->fake->names[i];
}

static bool source_tensor(const struct rnn_source *source, const char *name, struct rnn_tensor *out)
{
    for (size_t i = 0; i < source->fake->n_tensors; i++)
        if (strcmp(source->fake->names[i], name) == 0) {
            source_tensor_at(source, i, out);
            return true;
        }
    return false;
}

static void source_take_texts(struct rnn_source *source, struct rnn_texts *out)
{
    *out = source->fake->texts;
    source->fake->texts = (struct rnn_texts){0};
}

static size_t source_n_states(const struct rnn_source *source)
{
    (void)source;
    return 0;
}

static void source_fingerprint(const struct rnn_source *source, char out[65])
{
    (void)source;
    memset(out, 'f', 64);
    out[64] = '\0';
}

static const struct rnn_format_ops fake_format = {
    .name = "fake",
    .probe = probe,
    .open = open_source,
    .close = close_source,
    .spec = source_spec,
    .n_tensors = source_n_tensors,
    .tensor_at = source_tensor_at,
    .tensor = source_tensor,
    .take_texts = source_take_texts,
    .n_states = source_n_states,
    .fingerprint = source_fingerprint,
};

const struct rnn_format_ops *const rnn_formats[] = {&fake_format, NULL};
const struct rnn_state_format *const rnn_state_format = NULL; /* no test of core writes states */
const struct rnn_cell_ops *const rnn_cells[] = {
    &rnn_cell_tanh, &rnn_cell_relu,       &rnn_cell_rnn, &rnn_cell_lstm,
    &rnn_cell_gru,  &rnn_cell_gru_before, NULL};

float fake_random(uint64_t *seed)
{
    uint64_t x = *seed * 2 + 1;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *seed = x;
    return (float)(int32_t)(x >> 32) * 0x1p-31f;
}

static void add_tensor(struct fake *fake, const char *name, size_t rows, size_t columns,
                       float scale, uint64_t *seed)
{
    struct rnn_tensor *tensor = &fake->tensors[fake->n_tensors];
    size_t n = rows * (columns ? columns : 1);
    float *values = malloc(n * sizeof *values);

    if (!values)
        abort();
    for (size_t i = 0; i < n; i++)
        values[i] = scale * fake_random(seed);
    snprintf(fake->names[fake->n_tensors++], sizeof fake->names[0], "%s", name);
    *tensor = (struct rnn_tensor){.dtype = RNN_F32,
                                  .rank = columns ? 2 : 1,
                                  .shape = {rows, columns},
                                  .data = values,
                                  .bytes = n * sizeof *values};
}

static void add_named(struct fake *fake, const struct rnn_layer_spec *layer, const char *kind,
                      size_t rows, size_t columns, float scale, uint64_t *seed)
{
    char name[64];

    if (layer->kind == RNN_LAYER_RECURRENT)
        snprintf(name, sizeof name, "%s.%s_l%u", layer->module, kind, layer->index);
    else
        snprintf(name, sizeof name, "%s.%s", layer->module, kind);
    add_tensor(fake, name, rows, columns, scale, seed);
}

static void add_recurrent(struct fake *fake, const struct rnn_layer_spec *layer, float scale,
                          uint64_t *seed)
{
    size_t rows = layer->cell->n_gates * layer->hidden, width = rnn_layer_width(layer);

    add_named(fake, layer, "weight_ih", rows, layer->input_width, scale, seed);
    add_named(fake, layer, "weight_hh", rows, width, scale, seed);
    if (layer->bias) {
        add_named(fake, layer, "bias_ih", rows, 0, scale, seed);
        add_named(fake, layer, "bias_hh", rows, 0, scale, seed);
    }
    if (layer->proj)
        add_named(fake, layer, "weight_hr", layer->proj, layer->hidden, scale, seed);
    if (layer->settings.peepholes)
        add_named(fake, layer, "peephole", 3 * layer->hidden, 0, scale, seed);
    if (layer->learned_state) {
        add_named(fake, layer, "h_0", width, 0, scale, seed);
        if (layer->cell->has_c)
            add_named(fake, layer, "c_0", layer->hidden, 0, scale, seed);
    }
}

static void add_plain(struct fake *fake, const struct rnn_layer_spec *layer, float scale,
                      uint64_t *seed)
{
    size_t n = layer->hidden;
    bool dense = layer->kind == RNN_LAYER_DENSE, affine = layer->kind == RNN_LAYER_AFFINE;

    add_named(fake, layer, affine ? "scale" : "weight", n, dense ? layer->input_width : 0,
              dense ? scale : 1.0f, seed);
    if (layer->bias || !dense)
        add_named(fake, layer, affine ? "shift" : "bias", n, 0, scale, seed);
}

/* The next layer of the stack, over `below` floats. */
static struct rnn_layer_spec *push(struct fake *fake, const struct fake_shape *shape, size_t below)
{
    struct rnn_stack_spec *stack = &fake->spec.stacks[0];
    struct rnn_layer_spec *layer = &stack->layers[stack->n_layers];

    *layer = (struct rnn_layer_spec){.input_width = below,
                                     .index = shape->mixed ? 0 : (unsigned)stack->n_layers,
                                     .bias = !shape->no_bias,
                                     .directions = 1};
    if (shape->mixed)
        snprintf(layer->module, sizeof layer->module, "layers.%u", (unsigned)stack->n_layers);
    else
        snprintf(layer->module, sizeof layer->module, "rnn");
    stack->n_layers++;
    return layer;
}

static size_t push_recurrent(struct fake *fake, const struct fake_shape *shape, size_t below,
                             float scale, uint64_t *seed)
{
    struct rnn_layer_spec *layer = push(fake, shape, below);

    layer->cell = shape->cell;
    layer->settings = shape->settings ? *shape->settings : shape->cell->preset;
    layer->hidden = shape->hidden;
    layer->proj = shape->proj;
    layer->learned_state = shape->learned_state;
    layer->residual = shape->residual && below == rnn_layer_width(layer);
    add_recurrent(fake, layer, scale, seed);
    return rnn_layer_width(layer);
}

/* Dense, affine, normalising in turn. */
static size_t push_plain(struct fake *fake, const struct fake_shape *shape, size_t below,
                         float scale, uint64_t *seed)
{
    static const enum rnn_layer_kind kinds[] = {RNN_LAYER_DENSE, RNN_LAYER_AFFINE, RNN_LAYER_NORM};
    size_t at = fake->spec.stacks[0].n_layers;
    struct rnn_layer_spec *layer = push(fake, shape, below);

    layer->kind = kinds[at / 2 % 3];
    layer->hidden = at ? below : shape->hidden + 1;
    layer->activation = (struct rnn_activation){RNN_ELU, 0.5f, 0};
    layer->epsilon = 1e-5f;
    layer->residual = shape->residual && layer->kind == RNN_LAYER_DENSE && below == layer->hidden;
    add_plain(fake, layer, scale, seed);
    return layer->hidden;
}

static size_t push_layers(struct fake *fake, const struct fake_shape *shape, size_t below,
                          float scale, uint64_t *seed)
{
    struct rnn_stack_spec *stack = &fake->spec.stacks[0];

    for (size_t k = 0; k < shape->layers; k++) {
        if (shape->mixed)
            below = push_plain(fake, shape, below, scale, seed);
        below = push_recurrent(fake, shape, below, scale, seed);
    }
    stack->n_below = stack->n_layers;
    return shape->mixed ? push_plain(fake, shape, below, scale, seed) : below;
}

void fake_make(struct fake *fake, const struct fake_shape *shape, uint64_t seed)
{
    struct rnn_stack_spec *stack = &fake->spec.stacks[0];
    size_t below = shape->input == RNN_INPUT_EMBEDDING ? shape->embedding_dim : shape->input_size;
    float scale = shape->scale != 0.0f ? shape->scale : 1.0f / sqrtf((float)shape->hidden);

    *fake = (struct fake){
        .spec = {.name = "fake", .n_stacks = 1, .unk = -1, .bos = -1, .eos = -1, .source_eos = -1}};
    stack->input_kind = shape->input;
    stack->input_size = shape->input_size;
    stack->embedding_dim = shape->embedding_dim;
    below = push_layers(fake, shape, below, scale, &seed);
    stack->head = (struct rnn_head_spec){.present = shape->outputs > 0,
                                         .size = shape->outputs,
                                         .bias = !shape->no_head_bias,
                                         .tied = shape->tied,
                                         .activation = shape->activation};
    if (shape->input == RNN_INPUT_EMBEDDING)
        add_tensor(fake, "embedding.weight", shape->input_size, shape->embedding_dim, 1.0f, &seed);
    if (shape->outputs > 0 && !shape->tied)
        add_tensor(fake, "head.weight", shape->outputs, below, 2.0f * scale, &seed);
    if (shape->outputs > 0 && !shape->no_head_bias)
        add_tensor(fake, "head.bias", shape->outputs, 0, scale, &seed);
}

void fake_free(struct fake *fake)
{
    for (size_t i = 0; i < fake->n_tensors; i++)
        free((void *)(uintptr_t)fake->tensors[i].data);
    fake->n_tensors = 0;
}

float *fake_values(struct fake *fake, const char *name)
{
    for (size_t i = 0; i < fake->n_tensors; i++)
        if (strcmp(fake->names[i], name) == 0)
            return (float *)(uintptr_t)fake->tensors[i].data;
    return NULL;
}

int fake_open(struct fake *fake, struct rnn_model **out, const struct rnn_open_options *options,
              struct rnn_err *err)
{
    next_to_open = fake;
    return rnn_model_open(out, "fake", options, err);
}

struct rnn_model *fake_model(const struct fake_shape *shape, uint64_t seed, bool table)
{
    const struct rnn_open_options options = {.table_max_bytes = table ? (size_t)1 << 30 : 0};
    struct rnn_model *model = NULL;
    struct rnn_err err = {0};
    struct fake fake;

    fake_make(&fake, shape, seed);
    if (fake_open(&fake, &model, &options, &err) < 0) {
        fprintf(stderr, "fake model: %s\n", err.text);
        abort();
    }
    fake_free(&fake);
    return model;
}
