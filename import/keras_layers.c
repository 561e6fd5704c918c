/* Layers of Keras that are not recurrent, and the walk along the chain.
 *
 * A batch normalisation that has learned is y = x * scale + shift: right above a dense layer
 * without an activation it is folded into that layer's weights, elsewhere it becomes an affine
 * module.  An activation of its own becomes the dense layer's below, or a dense module whose matrix
 * is the identity, which adds nothing but zeros to exact products. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/spec.h"
#include "import/keras_build.h"
#include "import/keras_classes.h"
#include "import/keras_numbers.h"

enum { IDENTITY_MAX = 4096 };

static int convert(struct keras_build *b, const struct keras_layer *layer);

static int no_memory(struct keras_build *b)
{
    return rnn_fail(b->err, RNN_ENOMEM, "out of memory");
}

/* ---- Dense layers and activations ---- */

/* The dense layer right below, if nothing has been done to its sums; NULL: none. */
static struct keras_module *bare_dense(struct keras_build *b)
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
    struct keras_module *below = bare_dense(b);
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

/* ---- What is multiplied and added ---- */

static int push_affine(struct keras_build *b, const struct keras_layer *layer, const double *scale,
                       const double *shift, size_t n)
{
    struct keras_module *module = keras_push(b, KERAS_MODULE_AFFINE, layer);
    struct archive_tensor tensor;
    int rc = module ? keras_vector(b->archive, &tensor, scale, n, b->err) : RNN_ENOMEM;

    if (rc < 0)
        return rc;
    keras_part(module, "scale", &tensor);
    rc = keras_vector(b->archive, &tensor, shift, n, b->err);
    if (rc < 0)
        return rc;
    keras_part(module, "shift", &tensor);
    keras_note(b, layer, "becomes a scale and a shift");
    return cJSON_AddStringToObject(module->json, "kind", "affine") ? 0 : no_memory(b);
}

static int fold(struct keras_build *b, const struct keras_layer *layer, struct keras_module *dense,
                const double *scale, const double *shift)
{
    struct archive_tensor bias;
    int rc = keras_fold(b->archive, &dense->parts[0].tensor, &bias,
                        dense->n_parts > 1 ? &dense->parts[1].tensor : NULL, scale, shift, b->err);

    if (rc < 0)
        return rc;
    dense->n_parts = 1;
    keras_part(dense, "bias", &bias);
    keras_note(b, layer, "folded into the weights and bias of '%.80s'", dense->layer.name);
    return 0;
}

static int scale_and_shift(struct keras_build *b, const struct keras_layer *layer,
                           const double *scale, const double *shift, size_t n)
{
    struct keras_module *below = bare_dense(b);

    return below ? fold(b, layer, below, scale, shift) : push_affine(b, layer, scale, shift, n);
}

/* The numbers at a step lie along the last axis: -1, or as many as there are axes before it. */
static bool is_last_axis(const struct keras_build *b, const struct cJSON *config, int otherwise)
{
    const struct cJSON *axis = json_get(config, "axis");
    double last = b->vector || b->wrapped ? 1 : 2, found = otherwise;

    if (cJSON_IsArray(axis)) {
        if (cJSON_GetArraySize(axis) != 1)
            return false;
        axis = axis->child;
    }
    if (cJSON_IsNumber(axis))
        found = axis->valuedouble;
    return found == -1 || found == last;
}

/* Arrays one after the other, of which some may be left out. */
struct arrays {
    size_t next, width;
};

static int take(struct keras_build *b, const struct keras_layer *layer, struct arrays *arrays,
                bool there, const char *what, const struct archive_tensor **out)
{
    int rc;

    *out = NULL;
    if (!there)
        return 0;
    rc = keras_array(b, layer, arrays->next++, what, arrays->width, KERAS_VECTOR, out);
    if (rc == 0)
        arrays->width = (*out)->shape[0];
    return rc;
}

static int batch_norm_arrays(struct keras_build *b, const struct keras_layer *layer,
                             const struct archive_tensor *out[4])
{
    struct arrays arrays = {0};
    int rc = take(b, layer, &arrays, keras_flag(layer->config, "scale", true), "gamma", &out[0]);

    if (rc == 0)
        rc = take(b, layer, &arrays, keras_flag(layer->config, "center", true), "beta", &out[1]);
    if (rc == 0)
        rc = take(b, layer, &arrays, true, "moving_mean", &out[2]);
    if (rc == 0)
        rc = take(b, layer, &arrays, true, "moving_variance", &out[3]);
    return rc < 0 ? rc : keras_reads(b, layer, arrays.width);
}

static int convert_batch_norm(struct keras_build *b, const struct keras_layer *layer)
{
    const struct archive_tensor *arrays[4];
    double epsilon = keras_number(layer->config, "epsilon", 1e-3), *scale;
    int rc;

    if (!is_last_axis(b, layer->config, -1))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "its axis is not the last");
    if (keras_number(layer->config, "mode", 0) != 0)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "its mode is not 0: it looks at the batch that it is given");
    rc = batch_norm_arrays(b, layer, arrays);
    if (rc < 0)
        return rc;
    scale = calloc(2 * b->width, sizeof *scale);
    if (!scale)
        return no_memory(b);
    for (size_t i = 0; i < b->width; i++) {
        double gamma = arrays[0] ? archive_number(arrays[0], i) : 1;

        scale[i] = gamma / sqrt(archive_number(arrays[3], i) + epsilon);
        scale[b->width + i] = (arrays[1] ? archive_number(arrays[1], i) : 0) -
                              archive_number(arrays[2], i) * scale[i];
    }
    rc = scale_and_shift(b, layer, scale, scale + b->width, b->width);
    free(scale);
    return rc;
}

/* gamma or beta, or what stands for one that the layer does without. */
static int norm_part(struct keras_build *b, struct keras_module *module, const char *name,
                     const struct archive_tensor *array, double otherwise)
{
    struct archive_tensor made;
    double *values;
    int rc;

    if (array) {
        keras_part(module, name, array);
        return 0;
    }
    values = calloc(b->width, sizeof *values);
    if (!values)
        return no_memory(b);
    for (size_t i = 0; i < b->width; i++)
        values[i] = otherwise;
    rc = keras_vector(b->archive, &made, values, b->width, b->err);
    free(values);
    if (rc == 0)
        keras_part(module, name, &made);
    return rc;
}

static int convert_layer_norm(struct keras_build *b, const struct keras_layer *layer)
{
    const struct archive_tensor *gamma, *beta;
    struct keras_module *module;
    struct arrays arrays = {0};
    int rc;

    if (!is_last_axis(b, layer->config, -1) || keras_flag(layer->config, "rms_scaling", false))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "its axis is not the last, or it is of the kind rms_scaling");
    rc = take(b, layer, &arrays, keras_flag(layer->config, "scale", true), "gamma", &gamma);
    if (rc == 0)
        rc = take(b, layer, &arrays, keras_flag(layer->config, "center", true), "beta", &beta);
    if (rc == 0 && arrays.width)
        rc = keras_reads(b, layer, arrays.width);
    if (rc == 0 && !b->width)
        rc = keras_layer_fail(b->err, RNN_ESHAPE, layer, "it is not known how much it reads");
    if (rc < 0)
        return rc;
    module = keras_push(b, KERAS_MODULE_NORM, layer);
    if (!module)
        return RNN_ENOMEM;
    if (!cJSON_AddStringToObject(module->json, "kind", "layer_norm") ||
        !cJSON_AddNumberToObject(module->json, "epsilon",
                                 keras_number(layer->config, "epsilon", 1e-3)))
        return no_memory(b);
    rc = norm_part(b, module, "weight", gamma, 1);
    if (rc == 0)
        rc = norm_part(b, module, "bias", beta, 0);
    if (rc == 0)
        keras_note(b, layer, "gamma and beta are weight and bias");
    return rc;
}

/* ---- Numbers of a preprocessing layer ---- */

/* A number for all, or a list of one for each, however deep it is nested. */
static int config_numbers(struct keras_build *b, const struct keras_layer *layer, const char *key,
                          double otherwise, double *out)
{
    const struct cJSON *value = json_get(layer->config, key);

    while (cJSON_IsArray(value) && cJSON_GetArraySize(value) == 1)
        value = value->child;
    if (!value || cJSON_IsNumber(value)) {
        for (size_t i = 0; i < b->width; i++)
            out[i] = value ? value->valuedouble : otherwise;
        return 0;
    }
    if (!cJSON_IsArray(value) || (size_t)cJSON_GetArraySize(value) != b->width)
        return keras_layer_fail(b->err, RNN_ESHAPE, layer, "%s: want %zu numbers", key, b->width);
    value = value->child;
    for (size_t i = 0; i < b->width; i++, value = value->next) {
        if (!cJSON_IsNumber(value))
            return keras_layer_fail(b->err, RNN_ETYPE, layer, "%s: want numbers", key);
        out[i] = value->valuedouble;
    }
    return 0;
}

/* Mean and variance: learned, or in the config. */
static int statistics(struct keras_build *b, const struct keras_layer *layer, double *mean,
                      double *variance)
{
    int rc = 0;

    if (layer->n_weights == 0) {
        rc = config_numbers(b, layer, "mean", 0, mean);
        return rc < 0 ? rc : config_numbers(b, layer, "variance", 1, variance);
    }
    for (size_t k = 0; k < 2; k++) {
        double *to = k ? variance : mean;
        const struct archive_tensor *array = k < layer->n_weights ? &layer->weights[k] : NULL;

        if (!array || (array->elements != b->width && array->elements != 1))
            return keras_layer_fail(b->err, RNN_ESHAPE, layer, "its %s: want %zu numbers",
                                    k ? "variance" : "mean", b->width);
        for (size_t i = 0; i < b->width; i++)
            to[i] = archive_number(array, array->elements == 1 ? 0 : i);
    }
    return 0;
}

/* At the bottom: the input's own mean and deviation. */
static int normalize_input(struct keras_build *b, const struct keras_layer *layer,
                           const double *mean, const double *deviation)
{
    struct keras_part *parts = b->input_parts;
    int rc = keras_vector(b->archive, &parts[0].tensor, mean, b->width, b->err);

    if (rc == 0)
        rc = keras_vector(b->archive, &parts[1].tensor, deviation, b->width, b->err);
    if (rc < 0)
        return rc;
    parts[0].name = "input.mean";
    parts[1].name = "input.std";
    b->n_input_parts = 2;
    b->normalize = true;
    keras_note(b, layer, "the input's mean and standard deviation");
    return 0;
}

static int normalize(struct keras_build *b, const struct keras_layer *layer, double *mean,
                     double *deviation)
{
    bool back = keras_flag(layer->config, "invert", false);

    for (size_t i = 0; i < b->width; i++)
        deviation[i] = fmax(sqrt(deviation[i]), 1e-7); /* keras.backend.epsilon() */
    if (!back && b->n == 0 && !b->normalize)
        return normalize_input(b, layer, mean, deviation);
    for (size_t i = 0; i < b->width; i++) {
        deviation[i] = back ? deviation[i] : 1 / deviation[i];
        mean[i] = back ? mean[i] : -mean[i] * deviation[i];
    }
    return scale_and_shift(b, layer, deviation, mean, b->width);
}

static int convert_normalization(struct keras_build *b, const struct keras_layer *layer)
{
    double *numbers;
    int rc;

    if (json_get(layer->config, "axis") && !is_last_axis(b, layer->config, -1))
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "its axis is not the last");
    if (!b->width && layer->n_weights > 0)
        rc = keras_reads(b, layer, layer->weights[0].elements);
    else
        rc = b->width
                 ? 0
                 : keras_layer_fail(b->err, RNN_ESHAPE, layer, "it is not known how much it reads");
    numbers = rc == 0 ? calloc(2 * b->width, sizeof *numbers) : NULL;
    if (rc == 0 && !numbers)
        rc = no_memory(b);
    if (rc == 0)
        rc = statistics(b, layer, numbers, numbers + b->width);
    if (rc == 0)
        rc = normalize(b, layer, numbers, numbers + b->width);
    free(numbers);
    return rc;
}

static int convert_rescaling(struct keras_build *b, const struct keras_layer *layer)
{
    double *numbers = b->width ? calloc(2 * b->width, sizeof *numbers) : NULL;
    int rc = 0;

    if (!b->width)
        return keras_layer_fail(b->err, RNN_ESHAPE, layer, "it is not known how much it reads");
    if (!numbers)
        return no_memory(b);
    rc = config_numbers(b, layer, "scale", 1, numbers);
    if (rc == 0)
        rc = config_numbers(b, layer, "offset", 0, numbers + b->width);
    if (rc == 0)
        rc = scale_and_shift(b, layer, numbers, numbers + b->width, b->width);
    free(numbers);
    return rc;
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

static int convert_flatten(struct keras_build *b, const struct keras_layer *layer)
{
    if (!b->vector && b->steps != 1)
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "it puts the numbers of all steps of a fixed window side by side");
    keras_note(b, layer, "%s, left out",
               b->vector ? "there is one vector already" : "there is one step");
    return b->vector ? 0 : keras_read_out(b, layer, "final");
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
    if (b->steps > 1)
        archive_note(b->archive,
                     "the model was made for windows of %zu steps; it is not held to that",
                     b->steps);
    return 0;
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
        return convert_batch_norm(b, layer);
    case KERAS_LAYER_NORM:
        return convert_layer_norm(b, layer);
    case KERAS_NORMALIZATION:
        return convert_normalization(b, layer);
    case KERAS_RESCALING:
        return convert_rescaling(b, layer);
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
        return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer,
                                "a layer that reads one vector again at every step is not served");
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

    if (rc == 0)
        rc = read_input(&build);
    for (size_t i = 0; i < model->n && rc == 0; i++)
        rc = convert(&build, &model->layers[i]);
    if (rc == 0)
        rc = keras_finish(&build);
    keras_build_free(&build);
    return rc;
}
