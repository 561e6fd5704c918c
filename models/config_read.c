/* Reading one key of config.json, with its path in every fault.  Pure functions. */
#include "models/config_read.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void config_join(char out[CONFIG_PATH_BYTES], const char *path, const char *key)
{
    snprintf(out, CONFIG_PATH_BYTES, "%.40s%s%.20s", path, *path ? "." : "", key);
}

int config_missing(const char *path, const char *key, struct rnn_err *err)
{
    char place[CONFIG_PATH_BYTES];

    config_join(place, path, key);
    return rnn_fail_at(err, RNN_EFORMAT, place, -1, "%s is missing", place);
}

static int __attribute__((format(printf, 4, 0)))
contradict(struct rnn_err *err, const char *path, const char *key, const char *format,
           va_list arguments)
{
    char place[CONFIG_PATH_BYTES], words[192];

    vsnprintf(words, sizeof words, format, arguments);
    config_join(place, path, key);
    return rnn_fail_at(err, RNN_ESHAPE, place, -1, "%s: %s", place, words);
}

int config_contradiction(struct rnn_err *err, const char *path, const char *key, const char *format,
                         ...)
{
    va_list arguments;
    int rc;

    va_start(arguments, format);
    rc = contradict(err, path, key, format, arguments);
    va_end(arguments);
    return rc;
}

int config_layer_fault(struct rnn_err *err, const char *path, const struct rnn_layer_spec *layer,
                       const char *key, const char *format, ...)
{
    const char *number = strchr(layer->module, '.');
    char module[32], place[CONFIG_PATH_BYTES];
    va_list arguments;
    int rc;

    snprintf(module, sizeof module, number ? "layers[%s]" : "rnn", number ? number + 1 : "");
    config_join(place, path, module);
    va_start(arguments, format);
    rc = contradict(err, place, key, format, arguments);
    va_end(arguments);
    return rc;
}

int config_object(const struct cJSON *object, const char *path, const char *key,
                  const struct cJSON **out, struct rnn_err *err)
{
    const struct cJSON *value = json_get(object, key);
    char place[CONFIG_PATH_BYTES];

    if (!value)
        return config_missing(path, key, err);
    config_join(place, path, key);
    if (!cJSON_IsObject(value))
        return rnn_fail_at(err, RNN_ETYPE, place, -1, "%s: want an object", place);
    *out = value;
    return 0;
}

int config_size(const struct cJSON *object, const char *path, const char *key, size_t max,
                size_t *out, struct rnn_err *err)
{
    int64_t value = 0;
    int rc = json_read_int(object, path, key, 1, (int64_t)max, &value, err);

    if (rc < 0)
        return rc;
    if (value == 0)
        return config_missing(path, key, err);
    *out = (size_t)value;
    return 0;
}

/* The place of `value` among the names, or a fault that lists them. */
static int choose(const char *value, const char *place, const char *const *names, int *out,
                  struct rnn_err *err)
{
    char list[160] = "";
    size_t used = 0;

    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return 0;
        }
        if (used < sizeof list)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    }
    return rnn_fail_at(err, RNN_EUNSUPPORTED, place, -1, "%s: want one of %s, found '%.32s'", place,
                       list, value);
}

int config_choice(const struct cJSON *object, const char *path, const char *key,
                  const char *const *names, bool optional, int *out, struct rnn_err *err)
{
    char place[CONFIG_PATH_BYTES];
    const char *value = NULL;
    int rc = json_read_string(object, path, key, &value, err);

    if (rc < 0)
        return rc;
    if (!value)
        return optional ? 0 : config_missing(path, key, err);
    config_join(place, path, key);
    return choose(value, place, names, out, err);
}

/* ---- Activations ---- */

/* Names, and the parameters that stand behind them where the file gives none. */
static const struct rnn_activation activations[] = {{RNN_TANH, 1, 1},
                                                    {RNN_RELU, 0, 0},
                                                    {RNN_SIGMOID, 1, 0},
                                                    {RNN_LINEAR, 1, 0},
                                                    {RNN_HARD_SIGMOID, 0.2f, 0.5f},
                                                    {RNN_HARD_SIGMOID, 1.0f / 6.0f, 0.5f},
                                                    {RNN_LEAKY_RELU, 0.01f, 0},
                                                    {RNN_THRESHOLDED_RELU, 1, 0},
                                                    {RNN_SCALED_TANH, 1, 1},
                                                    {RNN_ELU, 1, 0},
                                                    {RNN_SOFTSIGN, 1, 1}};
static const char *const activation_names[] = {
    "tanh",         "relu",          "sigmoid",    "linear",
    "hard_sigmoid", "hard_sigmoid6", "leaky_relu", "thresholded_relu",
    "scaled_tanh",  "elu",           "softsign",   NULL};

static bool takes_alpha(enum rnn_activation_kind kind)
{
    return kind != RNN_TANH && kind != RNN_RELU && kind != RNN_SIGMOID && kind != RNN_SOFTSIGN;
}

static bool takes_beta(enum rnn_activation_kind kind)
{
    return kind == RNN_LINEAR || kind == RNN_HARD_SIGMOID || kind == RNN_SCALED_TANH;
}

static int read_parameter(const struct cJSON *object, const char *path, const char *key, bool takes,
                          float *out, struct rnn_err *err)
{
    double value = (double)*out;
    int rc;

    if (!takes && json_get(object, key))
        return config_contradiction(err, path, key, "this activation takes none");
    rc = json_read_double(object, path, key, -1e6, 1e6, &value, err);
    *out = (float)value;
    return rc;
}

int config_activation(const struct cJSON *object, const char *path, const char *key,
                      struct rnn_activation *out, struct rnn_err *err)
{
    static const char *const keys[] = {"kind", "alpha", "beta", NULL};
    const struct cJSON *json = json_get(object, key);
    char place[CONFIG_PATH_BYTES];
    int kind = 0, rc;

    if (!json)
        return 0;
    if (!cJSON_IsObject(json)) {
        rc = config_choice(object, path, key, activation_names, false, &kind, err);
        if (rc == 0)
            *out = activations[kind];
        return rc;
    }
    config_join(place, path, key);
    rc = json_only(json, place, keys, err);
    if (rc == 0)
        rc = config_choice(json, place, "kind", activation_names, false, &kind, err);
    if (rc < 0)
        return rc;
    *out = activations[kind];
    rc = read_parameter(json, place, "alpha", takes_alpha(out->kind), &out->alpha, err);
    if (rc == 0)
        rc = read_parameter(json, place, "beta", takes_beta(out->kind), &out->beta, err);
    return rc;
}
