/* Keras' activations under our names.
 *
 * A layer's config has a name; or, since Keras 2, an object of a class of its own or of a function.
 * hard_sigmoid changed its formula with Keras 3. */
#include <string.h>

#include "import/keras_build.h"

struct known {
    const char *keras, *ours;
    bool has_alpha;
    double alpha;
};

static const struct known by_name[] = {
    {"linear", "linear", false, 0},
    {"tanh", "tanh", false, 0},
    {"relu", "relu", false, 0},
    {"sigmoid", "sigmoid", false, 0},
    {"softmax", "softmax", false, 0},
    {"elu", "elu", false, 0},
    {"softsign", "softsign", false, 0},
    {"hard_sigmoid", "hard_sigmoid", false, 0},
    {"leaky_relu", "leaky_relu", true, 0.2},
};

static int refuse(struct keras_build *b, const struct keras_layer *layer, const char *name)
{
    return keras_layer_fail(b->err, RNN_EUNSUPPORTED, layer, "its activation '%.40s' is not served",
                            name);
}

static int from_name(struct keras_build *b, const struct keras_layer *layer, const char *name,
                     struct keras_activation *out)
{
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++) {
        const struct known *known = &by_name[i];

        if (strcmp(known->keras, name) != 0)
            continue;
        *out = (struct keras_activation){known->ours, known->has_alpha, known->alpha};
        if (strcmp(name, "hard_sigmoid") == 0 && keras_since(b->model, 3, 0, false))
            out->name = "hard_sigmoid6";
        return 0;
    }
    return refuse(b, layer, name);
}

/* x above `threshold` up to max_value, and negative_slope times the rest. */
static int from_relu(struct keras_build *b, const struct keras_layer *layer,
                     const struct cJSON *config, struct keras_activation *out)
{
    double slope = keras_number(config, "negative_slope", 0);

    if (json_get(config, "max_value") || keras_number(config, "threshold", 0) != 0)
        return refuse(b, layer, "ReLU with a max_value or threshold");
    *out = (struct keras_activation){slope != 0 ? "leaky_relu" : "relu", slope != 0, slope};
    return 0;
}

/* An activation that is a layer. */
static int from_class(struct keras_build *b, const struct keras_layer *layer, const char *class,
                      const struct cJSON *config, struct keras_activation *out)
{
    if (strcmp(class, "ReLU") == 0)
        return from_relu(b, layer, config, out);
    if (strcmp(class, "Softmax") == 0) {
        if (cJSON_IsArray(json_get(config, "axis")) || keras_number(config, "axis", -1) != -1)
            return refuse(b, layer, "softmax along another axis than the last");
        *out = (struct keras_activation){.name = "softmax"};
    } else if (strcmp(class, "LeakyReLU") == 0) {
        double slope = keras_number(config, "negative_slope", keras_number(config, "alpha", 0.3));

        *out = (struct keras_activation){"leaky_relu", true, slope};
    } else if (strcmp(class, "ELU") == 0) {
        *out = (struct keras_activation){"elu", true, keras_number(config, "alpha", 1)};
    } else if (strcmp(class, "ThresholdedReLU") == 0) {
        *out =
            (struct keras_activation){"thresholded_relu", true, keras_number(config, "theta", 1)};
    } else {
        return refuse(b, layer, class);
    }
    return 0;
}

int keras_activation_of(struct keras_build *b, const struct keras_layer *layer, const char *key,
                        const char *otherwise, struct keras_activation *out)
{
    const struct cJSON *value = cJSON_GetObjectItemCaseSensitive(layer->config, key);
    const struct cJSON *config = cJSON_IsObject(value) ? json_get(value, "config") : NULL;

    if (!value)
        return from_name(b, layer, otherwise, out);
    if (cJSON_IsNull(value))
        return from_name(b, layer, "linear", out);
    if (cJSON_IsString(value))
        return from_name(b, layer, value->valuestring, out);
    if (cJSON_IsString(config)) /* {"class_name": "function", "config": "relu"} */
        return from_name(b, layer, config->valuestring, out);
    if (cJSON_IsObject(config))
        return from_class(b, layer, keras_word(value, "class_name", "?"), config, out);
    return refuse(b, layer, "of no known form");
}

int keras_activation_layer(struct keras_build *b, const struct keras_layer *layer,
                           struct keras_activation *out)
{
    if (strcmp(layer->class, "Activation") == 0)
        return keras_activation_of(b, layer, "activation", "linear", out);
    return from_class(b, layer, layer->class, layer->config, out);
}

bool keras_activation_put(struct cJSON *object, const char *key,
                          const struct keras_activation *activation)
{
    struct cJSON *json;

    if (!activation->has_alpha)
        return cJSON_AddStringToObject(object, key, activation->name) != NULL;
    json = cJSON_AddObjectToObject(object, key);
    return json && cJSON_AddStringToObject(json, "kind", activation->name) &&
           cJSON_AddNumberToObject(json, "alpha", activation->alpha);
}
