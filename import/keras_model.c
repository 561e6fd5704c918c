/* From a model's JSON to its layers in order.  See keras_model.h.
 *
 *     Keras 1, 2     {"class_name": "Sequential", "config": [LAYER, …]}
 *     since 2.2.3    {"class_name": "Sequential", "config": {"name": …, "layers": [LAYER, …]}}
 *     functional     {"class_name": "Model" or "Functional", "config": {"layers": […],
 *                     "input_layers": …, "output_layers": …}}; each layer has inbound_nodes
 *         Keras 1, 2     [[["lstm_1", node, tensor, {arguments}]]]
 *         Keras 3        [{"args": [{"class_name": "__keras_tensor__",
 *                          "config": {"keras_history": ["lstm_1", node, tensor]}}], "kwargs": {}}]
 *
 * A functional model is followed from its output back to its input.  A mask travels beside the
 * chain in Keras 3 (NotEqual, Any); those operations are stepped over. */
#include "import/keras_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "import/keras_classes.h"

enum { JSON_DEPTH = 64, FAULTS_NAMED = 2 };

/* ---- Words ---- */

int keras_layer_fail(struct rnn_err *err, int code, const struct keras_layer *layer,
                     const char *format, ...)
{
    char words[192];
    va_list list;

    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    return rnn_fail_at(err, code, layer->name, -1, "layer %zu '%.40s' (%.40s): %s", layer->place,
                       layer->name, layer->class, words);
}

bool keras_flag(const struct cJSON *config, const char *key, bool otherwise)
{
    const struct cJSON *value = json_get(config, key);

    return cJSON_IsBool(value) ? cJSON_IsTrue(value) : otherwise;
}

double keras_number(const struct cJSON *config, const char *key, double otherwise)
{
    const struct cJSON *value = json_get(config, key);

    return cJSON_IsNumber(value) ? value->valuedouble : otherwise;
}

const char *keras_word(const struct cJSON *config, const char *key, const char *otherwise)
{
    const struct cJSON *value = json_get(config, key);

    return cJSON_IsString(value) ? value->valuestring : otherwise;
}

size_t keras_size(const struct cJSON *config, const char *key, const char *older)
{
    double size = keras_number(config, key, older ? keras_number(config, older, 0) : 0);

    return size >= 1 && size <= 2147483648.0 && size == (double)(size_t)size ? (size_t)size : 0;
}

bool keras_since(const struct keras_model *model, int major, int minor, bool unknown)
{
    int found_major = 0, found_minor = 0;

    if (sscanf(model->version, "%d.%d", &found_major, &found_minor) < 1)
        return unknown;
    return found_major > major || (found_major == major && found_minor >= minor);
}

/* ---- Layers ---- */

/* Keras 3 writes "PACKAGE>CLASS" for what others have registered. */
static bool is_own(const struct cJSON *json)
{
    const char *registered = keras_word(json, "registered_name", "");

    return strchr(registered, '>') != NULL;
}

/* {"class_name", "config", "name"?}: a layer without a name is called by its class. */
static bool read_layer(const struct cJSON *json, size_t place, struct keras_layer *out)
{
    const struct cJSON *config = cJSON_IsObject(json) ? json_get(json, "config") : NULL;
    const char *class = cJSON_IsObject(json) ? keras_word(json, "class_name", NULL) : NULL;

    if (!class || !cJSON_IsObject(config))
        return false;
    *out = (struct keras_layer){.class = class, .config = config, .place = place};
    out->kind = is_own(json) ? keras_class("") : keras_class(class);
    out->name = keras_word(json, "name", keras_word(config, "name", class));
    return true;
}

bool keras_inner(const struct keras_layer *wrapper, const char *key, struct keras_layer *out)
{
    return read_layer(json_get(wrapper->config, key), wrapper->place, out);
}

static int bad(struct rnn_err *err, const char *what)
{
    return rnn_fail(err, RNN_EFORMAT, "the model's JSON: %s", what);
}

/* Every layer of the list, in the file's order. */
static int read_list(struct keras_model *model, const struct cJSON *list, struct rnn_err *err)
{
    size_t n = cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : 0;

    if (n == 0)
        return bad(err, "there are no layers in it");
    if (n > KERAS_LAYERS_MAX)
        return rnn_fail(err, RNN_ELIMIT, "the model's JSON: more than %d layers", KERAS_LAYERS_MAX);
    model->layers = calloc(n, sizeof *model->layers);
    if (!model->layers)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (const struct cJSON *item = list->child; item; item = item->next) {
        if (!read_layer(item, model->n + 1, &model->layers[model->n]))
            return rnn_fail(err, RNN_EFORMAT,
                            "the model's JSON: layer %zu is no object of class_name and config",
                            model->n + 1);
        model->n++;
    }
    return 0;
}

/* ---- Functional models ---- */

/* What one layer reads of others. */
struct inbound {
    const char *first; /* the layer's name */
    size_t n;          /* tensors */
    bool odd;          /* a layer's second call, or its second output */
};

static void add_history(struct inbound *in, const struct cJSON *history)
{
    const struct cJSON *node = history->child->next, *tensor = node ? node->next : NULL;

    if (in->n++ == 0)
        in->first = history->child->valuestring;
    in->odd |= (cJSON_IsNumber(node) && node->valuedouble != 0) ||
               (cJSON_IsNumber(tensor) && tensor->valuedouble != 0);
}

/* ["lstm_1", 0, 0, …] */
static bool is_history(const struct cJSON *json)
{
    return cJSON_IsArray(json) && cJSON_IsString(json->child) &&
           cJSON_IsNumber(json->child->next) && cJSON_IsNumber(json->child->next->next);
}

static void find_tensors(struct inbound *in, const struct cJSON *json);

static void find_in_arguments(struct inbound *in, const struct cJSON *arguments)
{
    for (const struct cJSON *item = arguments ? arguments->child : NULL; item; item = item->next)
        if (!item->string || strcmp(item->string, "mask") != 0)
            find_tensors(in, item);
}

/* Both forms of a node, whatever lies around the tensors. */
static void find_tensors(struct inbound *in, const struct cJSON *json)
{
    const struct cJSON *config = cJSON_IsObject(json) ? json_get(json, "config") : NULL;
    const struct cJSON *history = cJSON_IsObject(config) ? json_get(config, "keras_history") : NULL;

    if (is_history(history)) {
        add_history(in, history);
    } else if (is_history(json)) {
        add_history(in, json);
        if (cJSON_GetArraySize(json) > 3)
            find_in_arguments(in, cJSON_GetArrayItem(json, 3));
    } else if (cJSON_IsArray(json) || cJSON_IsObject(json)) {
        find_in_arguments(in, json);
    }
}

static struct inbound inbound_of(const struct cJSON *layer, size_t *n_calls)
{
    const struct cJSON *nodes = json_get(layer, "inbound_nodes");
    struct inbound in = {0};

    *n_calls = cJSON_IsArray(nodes) ? (size_t)cJSON_GetArraySize(nodes) : 0;
    if (nodes)
        find_tensors(&in, nodes);
    return in;
}

/* Operations that compare the input with what is to be masked. */
static bool makes_mask(const struct keras_layer *layer)
{
    return layer->kind->kind == KERAS_MASK_OPERATION;
}

static struct keras_layer *find_layer(const struct keras_model *model, const char *name, size_t *at)
{
    for (size_t i = 0; i < model->n; i++)
        if (strcmp(model->layers[i].name, name) == 0) {
            *at = i;
            return &model->layers[i];
        }
    return NULL;
}

/* The one tensor among a model's inputs or outputs; NULL: there are none, or more. */
static const char *single(const struct cJSON *config, const char *key)
{
    const struct cJSON *json = json_get(config, key);
    struct inbound in = {0};

    if (json)
        find_tensors(&in, json);
    return in.n == 1 && !in.odd ? in.first : NULL;
}

/* What is wrong with how a layer stands among the others, in words; NULL: nothing. */
static const char *graph_fault(const struct keras_layer *layer, const struct cJSON *json)
{
    size_t calls;
    struct inbound in = inbound_of(json, &calls);

    if (makes_mask(layer))
        return NULL;
    if (calls > 1)
        return "is used more than once";
    if (in.n > 1)
        return "reads more than one tensor";
    return in.odd ? "reads another output than a layer's first" : NULL;
}

/* Every layer that cannot be read, in one sentence, so that nobody has to find them one by one. */
static int check_layers(const struct keras_model *model, const struct cJSON *list,
                        struct rnn_err *err)
{
    const struct cJSON *item = list->child;
    struct buf words = {0};
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < model->n; i++, item = item->next) {
        const struct keras_layer *layer = &model->layers[i];
        const char *fault = layer->kind->words ? layer->kind->words : graph_fault(layer, item);

        if (fault && n++ < FAULTS_NAMED)
            buf_printf(&words, "%slayer %zu '%.24s' (%.32s) %s", n > 1 ? "; " : "", layer->place,
                       layer->name, layer->class, fault);
    }
    if (words.failed)
        rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    else if (n > 0)
        rc = rnn_fail(err, RNN_EUNSUPPORTED, "%.*s%s: only chains of known layers are read",
                      (int)words.len, words.data, n > FAULTS_NAMED ? "; …" : "");
    buf_free(&words);
    return rc;
}

/* Walks from the output back, and puts the layers that were met in order. */
static int follow(struct keras_model *model, const struct cJSON *list, const char *last,
                  struct rnn_err *err)
{
    bool *met = calloc(model->n, sizeof *met);
    struct keras_layer *chain = calloc(model->n, sizeof *chain);
    size_t n = 0, at = 0, calls;
    int rc = met && chain ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");

    while (rc == 0 && last) {
        const struct keras_layer *layer = find_layer(model, last, &at);

        if (!layer || met[at])
            rc = bad(err,
                     layer ? "its layers form a circle" : "a layer reads one that is not there");
        else {
            met[at] = true;
            chain[model->n - ++n] = *layer;
            last = inbound_of(cJSON_GetArrayItem(list, (int)at), &calls).first;
        }
    }
    for (size_t i = 0; rc == 0 && i < model->n; i++)
        if (!met[i] && !makes_mask(&model->layers[i]))
            rc = keras_layer_fail(err, RNN_EUNSUPPORTED, &model->layers[i],
                                  "it is a branch; only a chain of layers can be read");
    if (rc == 0) {
        memmove(chain, chain + model->n - n, n * sizeof *chain);
        free(model->layers);
        model->layers = chain;
        model->n = n;
        chain = NULL;
    }
    free(met);
    free(chain);
    return rc;
}

static int read_functional(struct keras_model *model, const struct cJSON *config,
                           struct rnn_err *err)
{
    const struct cJSON *list = json_get(config, "layers");
    const char *last;
    int rc = read_list(model, list, err);

    if (rc == 0)
        rc = check_layers(model, list, err);
    if (rc < 0)
        return rc;
    last = single(config, "output_layers");
    if (!single(config, "input_layers") || !last)
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "the model has more than one input or output; only a chain of layers can "
                        "be read");
    rc = follow(model, list, last, err);
    if (rc == 0 && model->layers[0].kind->kind != KERAS_INPUT)
        return keras_layer_fail(err, RNN_EUNSUPPORTED, &model->layers[0],
                                "it reads nothing, and is no input");
    return rc;
}

/* ---- The whole ---- */

static int read_sequential(struct keras_model *model, const struct cJSON *config,
                           struct rnn_err *err)
{
    const struct cJSON *list = cJSON_IsArray(config) ? config : json_get(config, "layers");
    int rc = read_list(model, list, err);

    return rc < 0 ? rc : check_layers(model, list, err);
}

static int read_model(struct keras_model *model, struct rnn_err *err)
{
    const struct cJSON *json = model->json;
    const struct cJSON *config = cJSON_IsObject(json) ? json_get(json, "config") : NULL;
    const char *class = cJSON_IsObject(json) ? keras_word(json, "class_name", NULL) : NULL;

    if (!class || !config)
        return bad(err, "want class_name and config, as model.to_json() writes");
    if (strcmp(class, "Sequential") == 0)
        return read_sequential(model, config, err);
    if (strcmp(class, "Model") == 0 || strcmp(class, "Functional") == 0)
        return read_functional(model, config, err);
    return rnn_fail(err, RNN_EUNSUPPORTED,
                    "the model is of a class of its own, '%.60s', which only its makers' code "
                    "knows; Sequential and Functional are read",
                    class);
}

static void read_version(struct keras_model *model, const char *version)
{
    const char *own =
        cJSON_IsObject(model->json) ? keras_word(model->json, "keras_version", NULL) : NULL;

    snprintf(model->version, sizeof model->version, "%s", own ? own : version ? version : "");
}

/* What the InputLayer says, or the first layer where there is none. */
static void read_input_shape(struct keras_model *model)
{
    static const char *const keys[] = {"batch_shape", "batch_input_shape", NULL};
    const struct cJSON *config = json_get(model->json, "config");

    for (size_t i = 0; keys[i] && !model->input_shape; i++)
        model->input_shape = json_get(model->layers[0].config, keys[i]);
    if (!model->input_shape && cJSON_IsObject(config))
        model->input_shape = json_get(config, "build_input_shape");
    if (!cJSON_IsArray(model->input_shape))
        model->input_shape = NULL;
}

int keras_model_parse(struct keras_model *out, const char *text, size_t len, const char *version,
                      struct rnn_err *err)
{
    struct keras_model model = {0};
    int rc = json_parse(&model.json, text, len, JSON_DEPTH, err);

    if (rc < 0) {
        rnn_err_prefix(err, "the model's JSON: ");
        return rc;
    }
    read_version(&model, version);
    rc = read_model(&model, err);
    if (rc < 0) {
        keras_model_free(&model);
        return rc;
    }
    read_input_shape(&model);
    *out = model;
    return 0;
}

void keras_model_free(struct keras_model *model)
{
    json_free(model->json);
    free(model->layers);
    *model = (struct keras_model){0};
}
