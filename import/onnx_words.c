/* Words of config.json for what an ONNX graph says of a layer. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "import/onnx_modules.h"

bool onnx_has_learned(const struct onnx_layer *layer)
{
    for (size_t d = 0; d < layer->n_directions; d++)
        if (layer->directions[d].h.values || layer->directions[d].c.values)
            return true;
    return false;
}

bool onnx_put(struct cJSON *object, const char *key, struct cJSON *value)
{
    if (object && value && cJSON_AddItemToObject(object, key, value))
        return true;
    cJSON_Delete(value);
    return false;
}

/* The shortest decimal number that is this float. */
double onnx_plain(float value)
{
    char text[32];

    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return strtod(text, NULL);
}

struct cJSON *onnx_activation_json(const struct rnn_activation *a)
{
    static const struct {
        const char *name;
        bool alpha, beta;
    } kinds[] = {[RNN_TANH] = {"tanh", false, false},
                 [RNN_RELU] = {"relu", false, false},
                 [RNN_SIGMOID] = {"sigmoid", false, false},
                 [RNN_LINEAR] = {"linear", true, true},
                 [RNN_HARD_SIGMOID] = {"hard_sigmoid", true, true},
                 [RNN_LEAKY_RELU] = {"leaky_relu", true, false},
                 [RNN_THRESHOLDED_RELU] = {"thresholded_relu", true, false},
                 [RNN_SCALED_TANH] = {"scaled_tanh", true, true},
                 [RNN_ELU] = {"elu", true, false},
                 [RNN_SOFTSIGN] = {"softsign", false, false}};
    struct cJSON *json;
    bool good;

    if (!kinds[a->kind].alpha)
        return cJSON_CreateString(kinds[a->kind].name);
    json = cJSON_CreateObject();
    good = onnx_put(json, "kind", cJSON_CreateString(kinds[a->kind].name)) &&
           onnx_put(json, "alpha", cJSON_CreateNumber(onnx_plain(a->alpha)));
    if (good && kinds[a->kind].beta)
        good = onnx_put(json, "beta", cJSON_CreateNumber(onnx_plain(a->beta)));
    if (!good) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}

static bool is_plain(const struct rnn_activation *a, enum rnn_activation_kind kind)
{
    return a->kind == kind;
}

static bool put_activations(struct cJSON *json, const struct onnx_layer *layer)
{
    const struct rnn_activation *f = layer->activations;
    bool good = true;

    if (layer->gates == 1)
        return is_plain(&f[0], RNN_TANH) || is_plain(&f[0], RNN_RELU) ||
               onnx_put(json, "activation", onnx_activation_json(&f[0]));
    if (!is_plain(&f[0], RNN_SIGMOID))
        good = onnx_put(json, "gate_activation", onnx_activation_json(&f[0]));
    if (!is_plain(&f[1], RNN_TANH) || (layer->gates == 4 && !is_plain(&f[2], RNN_TANH)))
        good = good && onnx_put(json, "activation", onnx_activation_json(&f[1]));
    if (layer->gates == 4 && (!is_plain(&f[1], RNN_TANH) || !is_plain(&f[2], RNN_TANH)))
        good = good && onnx_put(json, "output_activation", onnx_activation_json(&f[2]));
    return good;
}

static const char *cell_name(const struct onnx_layer *layer)
{
    if (layer->gates > 1)
        return layer->gates == 4 ? "lstm" : "gru";
    return is_plain(&layer->activations[0], RNN_TANH)   ? "rnn_tanh"
           : is_plain(&layer->activations[0], RNN_RELU) ? "rnn_relu"
                                                        : "rnn";
}

/* All that the config says of a recurrent layer, but for how many there are. */
struct cJSON *onnx_layer_json(const struct module *m)
{
    static const char *const merges[] = {"concat", "sum", "average", "multiply"};
    const struct onnx_layer *layer = m->layers[0];
    bool both = layer->n_directions == 2 || layer->backwards;
    struct cJSON *json = cJSON_CreateObject();
    bool good = onnx_put(json, "cell", cJSON_CreateString(cell_name(layer))) &&
                onnx_put(json, "hidden_size", cJSON_CreateNumber((double)layer->hidden)) &&
                onnx_put(json, "bidirectional", cJSON_CreateBool(both)) &&
                onnx_put(json, "bias", cJSON_CreateBool(layer->directions[0].has_bias));

    if (good && both && (layer->backwards || m->merge != RNN_MERGE_CONCAT))
        good = onnx_put(json, "merge",
                        cJSON_CreateString(layer->backwards ? "sum" : merges[m->merge]));
    if (good && layer->gates == 3)
        good = onnx_put(json, "reset", cJSON_CreateString(layer->reset_after ? "after" : "before"));
    good = good && put_activations(json, layer);
    if (good && layer->directions[0].has_peepholes)
        good = onnx_put(json, "peepholes", cJSON_CreateTrue());
    if (good && layer->input_forget && layer->gates == 4)
        good = onnx_put(json, "input_forget", cJSON_CreateTrue());
    if (good && layer->clip > 0)
        good = onnx_put(json, "clip", cJSON_CreateNumber(onnx_plain(layer->clip)));
    if (good && onnx_has_learned(layer))
        good = onnx_put(json, "initial_state", cJSON_CreateString("learned"));
    if (good && m->residual)
        good = onnx_put(json, "residual", cJSON_CreateTrue());
    if (!good) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}
