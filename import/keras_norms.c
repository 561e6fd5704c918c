/* Layers of Keras that scale and shift.
 *
 * A batch normalisation that has learned is y = x * scale + shift: right above a dense layer
 * without an activation it is folded into that layer's weights, elsewhere it becomes an affine
 * module. Normalization at the bottom is the input's own mean and deviation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "import/keras_build.h"
#include "import/keras_numbers.h"

static int no_memory(struct keras_build *b)
{
    return rnn_fail(b->err, RNN_ENOMEM, "out of memory");
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
    struct keras_module *below = keras_bare_dense(b);

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

int keras_batch_norm(struct keras_build *b, const struct keras_layer *layer)
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

int keras_layer_norm(struct keras_build *b, const struct keras_layer *layer)
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

int keras_normalization(struct keras_build *b, const struct keras_layer *layer)
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

int keras_rescaling(struct keras_build *b, const struct keras_layer *layer)
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
