/* Layers of Keras that are not recurrent, and the walk along the chain.
 *
 * A batch normalisation that has learned is y = x * scale + shift: right above a dense layer
 * without an activation it is folded into that layer's weights, elsewhere it becomes an affine
 * module.  An activation of its own becomes the dense layer's below, or a dense module whose matrix
 * is the identity, which adds nothing but zeros to exact products. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/spec.h"
#include "import/keras_build.h"
#include "import/keras_classes.h"
#include "import/keras_numbers.h"

enum { IDENTITY_MAX = 4096 };

static int convert(struct keras_build *b, const struct keras_layer *layer);

/* ---- Dense layers and activations ---- */

/* The dense layer right below, if nothing has been done to its sums; NULL: none. */
struct keras_module *keras_bare_dense(struct keras_build *b)
{
    struct keras_module *top = b->n > 0 ? &b->modules[b->n - 1] : NULL;

    return top && top->kind == KERAS_MODULE_DENSE && strcmp(top->activation.name, "linear") == 0
               ? top
               : NULL;
}

static int push_dense(struct keras_build *b, const struct keras_layer *layer,
                      const struct keras_activation *activation,
                      const struct archive_tensor *weight, const struct archive_tensor *bias)
{
    struct keras_module *module = keras_push(b, KERAS_MODULE_DENSE, layer);

    if (!module)
        return RNN_ENOMEM;
    module->activation = *activation;
    module->size = weight->shape[0];
    keras_part(module, "weight", weight);
    if (bias)
        keras_part(module, "bias", bias);
    b->width = module->size;
    return 0;
}

static int convert_dense(struct keras_build *b, const struct keras_layer *layer)
{
    size_t units = keras_size(layer->config, "units", "output_dim");
    const struct archive_tensor *kernel, *bias = NULL;
    struct keras_activation activation;
    struct archive_tensor weight;
    int rc = keras_array(b, layer, 0, "kernel", 0, units, &kernel);

    if (rc == 0 && layer->n_weights > 1)
        rc = keras_array(b, layer, 1, "bias", kernel->shape[1], KERAS_VECTOR, &bias);
    if (rc == 0 && layer->n_weights > 2)
        rc = keras_layer_fail(b->err, RNN_ESHAPE, layer,
                              "the file has %zu arrays of it; want kernel and bias",
                              layer->n_weights);
    if (rc == 0)
        rc = keras_activation_of(b, layer, "activation", "linear", &activation);
    if (rc == 0)
        rc = keras_reads(b, layer, kernel->shape[0]);
    if (rc < 0)
        return rc;
    rc = keras_stack(b->archive, &weight, &(struct keras_block){kernel, 0, KERAS_PLAIN}, 1,
                     kernel->shape[1], kernel->shape[0], b->err);
    if (rc == 0)
        keras_note(b, layer, "kernel turned round%s%s", bias ? "" : ", no bias",
                   b->vector ? "" : "; the same at every step");
    return rc < 0 ? rc : push_dense(b, layer, &activation, &weight, bias);
}

static int convert_activation(struct keras_build *b, const struct keras_layer *layer)
{
    struct keras_module *below = keras_bare_dense(b);
    struct keras_activation activation;
    struct archive_tensor identity;
    int rc = keras_activation_layer(b, layer, &activation);

    if (rc < 0)
        return rc;
    if (strcmp(activation.name, "linear") == 0) {
        keras_note(b, layer, "changes nothing, left out");
        return 0;
    }
    if (below) {
        below->activation = activation;
        keras_note(b, layer, "is the activation of '%.80s'", below->layer.name);
        return 0;
    }
    if (!b->width || b->width > IDENTITY_MAX)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "it has no dense layer below it");
    rc = keras_identity(b->archive, &identity, b->width, b->err);
    if (rc == 0)
        keras_note(b, layer, "becomes a dense module whose matrix is the identity");
    return rc < 0 ? rc : push_dense(b, layer, &activation, &identity, NULL);
}

/* ---- Steps ---- */

static int convert_pool(struct keras_build *b, const struct keras_layer *layer)
{
    bool mean = layer->kind->kind == KERAS_POOL_MEAN;

    if (b->vector)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "there are no steps left");
    if (keras_flag(layer->config, "keepdims", false) ||
        strcmp(keras_word(layer->config, "data_format", "channels_last"), "channels_last") != 0)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "keepdims, or a data_format that is not channels_last");
    if (!mean && b->masks)
        keras_note(b, layer, "Keras looks at the steps of padding, too; here they are passed over");
    keras_note(b, layer, "the %s over all steps", mean ? "mean" : "maximum");
    return keras_read_out(b, layer, mean ? "mean" : "max");
}

/* All steps of the window side by side. */
static int flatten(struct keras_build *b, const struct keras_layer *layer)
{
    struct keras_module *module;
    int rc;

    if (!b->steps)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "it puts the numbers of all steps side by side, and the model's "
                                "input does not say how many there are");
    if (b->steps > RNN_STEPS_MAX || (b->width && b->steps > RNN_INPUT_MAX / b->width))
        return keras_layer_fail(b->err, RNN_ERANGE, layer,
                                "%zu steps of %zu numbers are more than are served", b->steps,
                                b->width);
    if (b->masks)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "it puts all steps side by side, and steps of %g are passed over",
                                b->mask);
    if (b->reversed)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "it is given the last step first (go_backwards)");
    rc = keras_read_out(b, layer, "flatten");
    if (rc < 0)
        return rc;
    module = &b->modules[b->n - 1];
    if (!cJSON_AddNumberToObject(module->json, "steps", (double)b->steps))
        return rnn_fail(b->err, RNN_ENOMEM, "out of memory");
    b->window = b->steps;
    b->width *= b->steps;
    keras_note(b, layer, "%zu steps side by side: every input has to have as many", b->window);
    return 0;
}

static int convert_flatten(struct keras_build *b, const struct keras_layer *layer)
{
    if (!b->vector && b->steps != 1)
        return flatten(b, layer);
    keras_note(b, layer, "%s, left out",
               b->vector ? "there is one vector already" : "there is one step");
    return b->vector ? 0 : keras_read_out(b, layer, "final");
}

/* The vector becomes the input of the layers above, at each of n steps. */
static int convert_repeat(struct keras_build *b, const struct keras_layer *layer)
{
    size_t n = keras_size(layer->config, "n", NULL);

    if (b->repeat)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "it is the second of its kind");
    if (!b->vector)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "what is below it gives steps, and no vector to be repeated");
    if (n < 1 || n > RNN_STEPS_MAX)
        return keras_layer_fail(b->err, RNN_ERANGE, layer, "n: want 1 to %zu", RNN_STEPS_MAX);
    b->repeat = b->steps = n;
    b->vector = b->readout_final = false;
    keras_note(b, layer, "the layers above are fed the vector %zu times", n);
    return 0;
}

static int convert_reshape(struct keras_build *b, const struct keras_layer *layer)
{
    const struct cJSON *shape = json_get(layer->config, "target_shape");
    double size =
        cJSON_IsArray(shape) && cJSON_GetArraySize(shape) == 1 && cJSON_IsNumber(shape->child)
            ? shape->child->valuedouble
            : 0;

    if (!b->vector || (size != -1 && size != (double)b->width))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "it changes what is a step and what is a number");
    keras_note(b, layer, "changes nothing, left out");
    return 0;
}

/* Steps of nothing but one number are padding. */
static void convert_masking(struct keras_build *b, const struct keras_layer *layer)
{
    double value = keras_number(layer->config, "mask_value", 0);

    if (b->n > 0 || b->normalize) {
        keras_note(b, layer,
                   "Keras passes over steps of nothing but %g here: leave them out of what "
                   "is sent",
                   value);
        return;
    }
    b->masks = true;
    b->mask = value;
    keras_note(b, layer, "steps of nothing but %g are passed over", value);
}

/* ---- The input ---- */

static int convert_embedding(struct keras_build *b, const struct keras_layer *layer)
{
    const struct archive_tensor *table;
    int rc;

    if (b->n > 0 || b->embedding_dim || b->normalize)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "it is not the lowest layer");
    rc = keras_array(b, layer, 0, "embeddings", keras_size(layer->config, "input_dim", NULL),
                     keras_size(layer->config, "output_dim", NULL), &table);
    if (rc == 0 && layer->n_weights > 1)
        rc = keras_layer_fail(b->err, RNN_ESHAPE, layer, "the file has %zu arrays of it; want one",
                              layer->n_weights);
    if (rc < 0)
        return rc;
    b->input_kind = "embedding";
    b->input_size = table->shape[0];
    b->embedding_dim = b->width = table->shape[1];
    b->input_parts[b->n_input_parts++] = (struct keras_part){"embedding.weight", *table};
    keras_note(b, layer, "%zu ids of %zu numbers", b->input_size, b->embedding_dim);
    if (keras_flag(layer->config, "mask_zero", false)) {
        b->masks = true;
        keras_note(b, layer, "mask_zero: steps of id 0 are passed over");
    }
    return 0;
}

/* [null, steps, numbers], or [null, steps] where ids are read. */
static int read_input(struct keras_build *b)
{
    const struct cJSON *shape = b->model->input_shape;
    int rank = shape ? cJSON_GetArraySize(shape) : 0;
    bool ids = false;

    b->input_kind = b->options && b->options->one_hot ? "onehot" : "dense";
    for (size_t i = 0; i < b->model->n; i++)
        ids |= b->model->layers[i].kind->kind == KERAS_EMBEDDING;
    if (ids && b->options && (b->options->one_hot || b->options->dense))
        return rnn_fail(b->err, RNN_EUNSUPPORTED, "--%s: the model has an embedding",
                        b->options->one_hot ? "one-hot" : "dense");
    if (!shape)
        return 0;
    if (rank != (ids ? 2 : 3))
        return rnn_fail(b->err, RNN_EUNSUPPORTED, "the model's input has %d dimensions; want %s",
                        rank, ids ? "[batch, steps] of ids" : "[batch, steps, numbers]");
    if (cJSON_IsNumber(cJSON_GetArrayItem(shape, 1)))
        b->steps = (size_t)fmax(0, fmin(1e9, cJSON_GetArrayItem(shape, 1)->valuedouble));
    if (!ids && cJSON_IsNumber(cJSON_GetArrayItem(shape, 2))) {
        double width = cJSON_GetArrayItem(shape, 2)->valuedouble;

        if (!(width >= 1 && width <= (double)RNN_INPUT_MAX))
            return rnn_fail(b->err, RNN_ERANGE, "the model's input has %g numbers at a step",
                            width);
        b->width = b->input_size = (size_t)width;
    }
    return 0;
}

static void note_window(const struct keras_build *b, size_t steps)
{
    if (steps > 1 && !b->window)
        archive_note(b->archive,
                     "the model was made for windows of %zu steps; it is not held to that", steps);
}

/* ---- The chain ---- */

static int convert_distributed(struct keras_build *b, const struct keras_layer *layer)
{
    struct keras_layer inner;
    int rc;

    if (b->vector)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "there are no steps left");
    if (!keras_inner(layer, "layer", &inner))
        return keras_layer_fail(b->err, RNN_EFORMAT, layer, "it wraps no layer");
    inner.weights = layer->weights;
    inner.n_weights = layer->n_weights;
    switch (inner.kind->kind) {
    case KERAS_DENSE:
    case KERAS_ACTIVATION:
    case KERAS_DROPPED:
    case KERAS_BATCH_NORM:
    case KERAS_LAYER_NORM:
        break;
    default:
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "what it does at every step, '%.40s', is not read", inner.class);
    }
    b->wrapped = true;
    rc = convert(b, &inner);
    b->wrapped = false;
    return rc;
}

static int convert(struct keras_build *b, const struct keras_layer *layer)
{
    switch (layer->kind->kind) {
    case KERAS_INPUT:
        return 0;
    case KERAS_EMBEDDING:
        return convert_embedding(b, layer);
    case KERAS_RECURRENT:
        return keras_recurrent(b, layer);
    case KERAS_BIDIRECTIONAL:
        return keras_bidirectional(b, layer);
    case KERAS_TIME_DISTRIBUTED:
        return convert_distributed(b, layer);
    case KERAS_DENSE:
        return convert_dense(b, layer);
    case KERAS_ACTIVATION:
        return convert_activation(b, layer);
    case KERAS_BATCH_NORM:
        return keras_batch_norm(b, layer);
    case KERAS_LAYER_NORM:
        return keras_layer_norm(b, layer);
    case KERAS_NORMALIZATION:
        return keras_normalization(b, layer);
    case KERAS_RESCALING:
        return keras_rescaling(b, layer);
    case KERAS_MASKING:
        convert_masking(b, layer);
        return 0;
    case KERAS_DROPPED:
        keras_note(b, layer, "does nothing outside of training, left out");
        return 0;
    case KERAS_FLATTEN:
        return convert_flatten(b, layer);
    case KERAS_RESHAPE:
        return convert_reshape(b, layer);
    case KERAS_POOL_MEAN:
    case KERAS_POOL_MAX:
        return convert_pool(b, layer);
    case KERAS_REPEAT:
        return convert_repeat(b, layer);
    default:
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "it has no place here");
    }
}

/* What a Keras file says itself is not asked of the user. */
static int check_options(const struct import_options *options, struct rnn_err *err)
{
    const struct {
        const char *name;
        bool given;
    } others[] = {{"cell", options->cell},
                  {"activation", options->activation || options->n_activations},
                  {"output", options->output},
                  {"part", options->part},
                  {"map", options->n_maps > 0},
                  {"source-eos", options->source_eos >= 0},
                  {"max-len", options->max_len >= 0}};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i].given)
            return rnn_fail(err, RNN_EUNSUPPORTED, "--%s: a Keras model says that itself",
                            others[i].name);
    return 0;
}

int keras_convert(struct archive *archive, const struct keras_model *model,
                  const struct import_options *options, struct rnn_err *err)
{
    struct keras_build build = {.archive = archive, .model = model, .options = options, .err = err};
    int rc = options ? check_options(options, err) : 0;
    size_t steps;

    if (rc == 0)
        rc = read_input(&build);
    steps = build.steps;
    for (size_t i = 0; i < model->n && rc == 0; i++)
        rc = convert(&build, &model->layers[i]);
    if (rc == 0) {
        note_window(&build, steps);
        rc = keras_finish(&build);
    }
    keras_build_free(&build);
    return rc;
}
