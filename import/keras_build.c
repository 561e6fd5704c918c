/* Modules, and the config.json and tensors that they become.  See keras_build.h. */
#include "import/keras_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct rnn_err *err)
{
    return rnn_fail(err, RNN_ENOMEM, "out of memory");
}

void keras_note(struct keras_build *build, const struct keras_layer *layer, const char *format, ...)
{
    char words[256];
    va_list list;

    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    archive_note(build->archive, "layer %zu '%.80s' (%.40s): %s", layer->place, layer->name,
                 layer->class, words);
}

struct keras_module *keras_push(struct keras_build *build, enum keras_module_kind kind,
                                const struct keras_layer *layer)
{
    struct keras_module *module;

    if (build->n == build->cap) {
        size_t cap = build->cap ? build->cap * 2 : 16;
        struct keras_module *larger = realloc(build->modules, cap * sizeof *larger);

        if (!larger) {
            (void)no_memory(build->err);
            return NULL;
        }
        build->modules = larger;
        build->cap = cap;
    }
    module = &build->modules[build->n];
    *module = (struct keras_module){.kind = kind, .layer = *layer};
    if (kind != KERAS_MODULE_DENSE) {
        module->json = cJSON_CreateObject();
        if (!module->json) {
            (void)no_memory(build->err);
            return NULL;
        }
    }
    build->n++;
    return module;
}

void keras_part(struct keras_module *module, const char *name, const struct archive_tensor *tensor)
{
    module->parts[module->n_parts++] = (struct keras_part){name, *tensor};
}

int keras_reads(struct keras_build *build, const struct keras_layer *layer, size_t width)
{
    if (build->width && build->width != width)
        return keras_layer_fail(build->err, RNN_ESHAPE, layer,
                                "its arrays read %zu numbers, and it is given %zu", width,
                                build->width);
    build->width = width;
    if (build->n == 0 && !build->input_size)
        build->input_size = width;
    return 0;
}

int keras_array(struct keras_build *build, const struct keras_layer *layer, size_t index,
                const char *what, size_t rows, size_t columns, const struct archive_tensor **out)
{
    const struct archive_tensor *array;
    bool vector = columns == KERAS_VECTOR;
    char found[80], want[64];

    if (index >= layer->n_weights)
        return keras_layer_fail(build->err, RNN_ESHAPE, layer,
                                "the file has %zu arrays of it; there is no %s", layer->n_weights,
                                what);
    array = &layer->weights[index];
    *out = array;
    if (array->rank == (vector ? 1 : 2) && array->elements > 0 &&
        (rows == 0 || array->shape[0] == rows) &&
        (vector || columns == 0 || array->shape[1] == columns))
        return 0;
    archive_shape_text(found, sizeof found, array);
    snprintf(want, sizeof want, rows ? "%zu" : "N", rows);
    if (!vector)
        snprintf(want + strlen(want), sizeof want - strlen(want), columns ? "x%zu" : "xN", columns);
    return keras_layer_fail(build->err, RNN_ESHAPE, layer, "its %s is %s; want %s", what, found,
                            want);
}

int keras_read_out(struct keras_build *build, const struct keras_layer *layer, const char *pool)
{
    struct keras_module *module;

    if (build->repeat)
        return keras_layer_fail(build->err, RNN_EUNSUPPORTED, layer,
                                "it gives one vector of the steps that a RepeatVector has made");
    module = keras_push(build, KERAS_MODULE_READOUT, layer);
    if (!module || !cJSON_AddStringToObject(module->json, "kind", "readout") ||
        !cJSON_AddStringToObject(module->json, "pool", pool))
        return no_memory(build->err);
    build->vector = true;
    build->readout_final = strcmp(pool, "final") == 0;
    build->reversed = false;
    return 0;
}

void keras_build_free(struct keras_build *build)
{
    for (size_t i = 0; i < build->n; i++)
        json_free(build->modules[i].json);
    free(build->modules);
}

/* ---- Topology ---- */

static bool runs_forwards(const struct keras_build *build)
{
    for (size_t i = 0; i < build->n; i++)
        if (build->modules[i].both_ways)
            return false;
    return true;
}

/* A model that gives what stands at its last step may as well give it at every step. */
static bool could_be_synced(const struct keras_build *build)
{
    return build->vector && build->readout_final && runs_forwards(build);
}

static void drop_readout(struct keras_build *build)
{
    for (size_t i = 0; i < build->n; i++)
        if (build->modules[i].kind == KERAS_MODULE_READOUT) {
            json_free(build->modules[i].json);
            memmove(&build->modules[i], &build->modules[i + 1],
                    (build->n - i - 1) * sizeof *build->modules);
            build->n--;
            return;
        }
}

static int choose_topology(struct keras_build *build)
{
    const char *wish = build->options ? build->options->topology : NULL;

    if (build->reversed)
        return rnn_fail(build->err, RNN_EUNSUPPORTED,
                        "the model gives its outputs last step first (go_backwards), which is not "
                        "served");
    if (wish && build->repeat)
        return rnn_fail(build->err, RNN_EUNSUPPORTED,
                        "--topology %s: the model gives an output at each of %zu steps that it is "
                        "fed (RepeatVector)",
                        wish, build->repeat);
    if (!wish || strcmp(wish, build->vector ? "many_to_one" : "synced") == 0)
        return 0;
    if (strcmp(wish, "synced") != 0 || !could_be_synced(build))
        return rnn_fail(build->err, RNN_EUNSUPPORTED, "--topology %s: the model gives %s", wish,
                        build->vector ? "one output for a whole input, which is not the last step's"
                                      : "an output at every step");
    drop_readout(build);
    build->vector = false;
    archive_note(build->archive, "--topology synced: the model gives an output at every step, of "
                                 "which Keras gives the last");
    return 0;
}

/* ---- config.json ---- */

static bool is_head(const struct keras_module *module)
{
    const char *name = module->activation.name;

    return module->kind == KERAS_MODULE_DENSE &&
           (strcmp(name, "softmax") == 0 || strcmp(name, "sigmoid") == 0 ||
            strcmp(name, "linear") == 0);
}

static bool put_input(const struct keras_build *build, struct cJSON *config)
{
    struct cJSON *input = cJSON_AddObjectToObject(config, "input");
    bool good = input && cJSON_AddStringToObject(input, "kind", build->input_kind) &&
                cJSON_AddNumberToObject(input, "size", (double)build->input_size);

    if (good && build->embedding_dim)
        good = cJSON_AddNumberToObject(input, "dim", (double)build->embedding_dim);
    if (good && build->normalize)
        good = cJSON_AddTrueToObject(input, "normalize");
    if (good && build->masks)
        good = cJSON_AddNumberToObject(input, "mask", build->mask);
    return good;
}

static bool has_bias(const struct keras_module *module)
{
    return module->n_parts > 1;
}

static struct cJSON *dense_json(const struct keras_module *module)
{
    struct cJSON *json = cJSON_CreateObject();

    if (json && cJSON_AddStringToObject(json, "kind", "dense") &&
        cJSON_AddNumberToObject(json, "size", (double)module->size) &&
        cJSON_AddBoolToObject(json, "bias", has_bias(module)) &&
        keras_activation_put(json, "activation", &module->activation))
        return json;
    cJSON_Delete(json);
    return NULL;
}

/* Modules [from, to). */
static bool put_layers(struct keras_build *build, struct cJSON *config, size_t from, size_t to)
{
    struct cJSON *list = cJSON_AddArrayToObject(config, "layers");

    for (size_t i = from; i < to; i++) {
        struct keras_module *module = &build->modules[i];
        struct cJSON *json = module->kind == KERAS_MODULE_DENSE ? dense_json(module) : module->json;

        module->json = NULL; /* the list's from here on */
        if (!list || !json || !cJSON_AddItemToArray(list, json)) {
            cJSON_Delete(json);
            return false;
        }
    }
    return list != NULL;
}

/* "head": null where the top layer's outputs are the model's. */
static bool put_head(struct cJSON *config, const struct keras_module *module)
{
    const char *name;
    struct cJSON *head;

    if (!module)
        return cJSON_AddNullToObject(config, "head") != NULL;
    name = strcmp(module->activation.name, "linear") == 0 ? "none" : module->activation.name;
    head = cJSON_AddObjectToObject(config, "head");
    return head && cJSON_AddNumberToObject(head, "size", (double)module->size) &&
           cJSON_AddBoolToObject(head, "bias", has_bias(module)) &&
           cJSON_AddFalseToObject(head, "tied") &&
           cJSON_AddStringToObject(head, "activation", name);
}

static bool put_specials(const struct keras_build *build, struct cJSON *config)
{
    const struct import_options *options = build->options;
    bool good = true;

    if (options && options->bos >= 0)
        good = cJSON_AddNumberToObject(config, "bos", (double)options->bos);
    if (good && options && options->eos >= 0)
        good = cJSON_AddNumberToObject(config, "eos", (double)options->eos);
    return good;
}

/* The module at which a vector is read out; build->n: there is none. */
static size_t readout_of(const struct keras_build *build)
{
    size_t i = 0;

    while (i < build->n && build->modules[i].kind != KERAS_MODULE_READOUT)
        i++;
    return i;
}

/* How the encoder's steps become the vector: what the readout's module says. */
static bool put_pool(const struct keras_build *build, struct cJSON *encoder)
{
    const struct cJSON *readout = build->modules[readout_of(build)].json;

    return cJSON_AddStringToObject(encoder, "pool", keras_word(readout, "pool", "final")) &&
           (!build->window ||
            cJSON_AddNumberToObject(encoder, "steps", (double)build->window) != NULL);
}

/* Layers between the readout and the repetition do the same at every step of the decoder. */
static bool put_two_stacks(struct keras_build *build, struct cJSON *config,
                           const struct keras_module *head)
{
    struct cJSON *encoder = cJSON_AddObjectToObject(config, "encoder");
    struct cJSON *decoder = cJSON_AddObjectToObject(config, "decoder");
    size_t readout = readout_of(build);

    return encoder && decoder && put_input(build, encoder) && put_pool(build, encoder) &&
           put_layers(build, encoder, 0, readout) &&
           cJSON_AddNumberToObject(decoder, "repeat", (double)build->repeat) &&
           put_layers(build, decoder, readout + 1, build->n - (head ? 1 : 0)) &&
           put_head(decoder, head);
}

static bool put_one_stack(struct keras_build *build, struct cJSON *config,
                          const struct keras_module *head)
{
    return put_input(build, config) && put_layers(build, config, 0, build->n - (head ? 1 : 0)) &&
           put_head(config, head);
}

static const char *topology_of(const struct keras_build *build)
{
    return build->repeat ? "repeat" : build->vector ? "many_to_one" : "synced";
}

static int write_config(struct keras_build *build, const struct keras_module *head)
{
    struct cJSON *config = cJSON_CreateObject();

    build->archive->config = config;
    if (config && cJSON_AddStringToObject(config, "schema", "rnnd-ref-1") &&
        cJSON_AddStringToObject(config, "topology", topology_of(build)) &&
        (build->repeat ? put_two_stacks(build, config, head)
                       : put_one_stack(build, config, head)) &&
        put_specials(build, config))
        return 0;
    return no_memory(build->err);
}

/* ---- Tensors ---- */

static int add_parts(struct keras_build *build, const char *prefix, const struct keras_part *parts,
                     size_t n)
{
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct archive_tensor tensor = parts[i].tensor;
        char name[96];

        snprintf(name, sizeof name, "%s%s", prefix, parts[i].name);
        tensor.part = 0;
        tensor.name = archive_text(build->archive, name, strlen(name), build->err);
        rc = tensor.name ? archive_add(build->archive, &tensor, build->err) : no_memory(build->err);
    }
    return rc;
}

static int write_tensors(struct keras_build *build, const struct keras_module *head)
{
    size_t readout = build->repeat ? readout_of(build) : build->n;
    const char *below = build->repeat ? "encoder." : "", *above = build->repeat ? "decoder." : "";
    int rc = add_parts(build, below, build->input_parts, build->n_input_parts);

    for (size_t i = 0; i < build->n && rc == 0; i++) {
        const struct keras_module *module = &build->modules[i];
        char prefix[48];

        if (module == head)
            snprintf(prefix, sizeof prefix, "%shead.", above);
        else if (i < readout)
            snprintf(prefix, sizeof prefix, "%slayers.%zu.", below, i);
        else
            snprintf(prefix, sizeof prefix, "%slayers.%zu.", above, i - readout - 1);
        rc = add_parts(build, prefix, module->parts, module->n_parts);
    }
    return rc;
}

/* A softmax has its place in the head alone. */
static int check_softmax(const struct keras_build *build, const struct keras_module *head)
{
    for (size_t i = 0; i < build->n; i++) {
        const struct keras_module *module = &build->modules[i];

        if (module != head && module->kind == KERAS_MODULE_DENSE &&
            strcmp(module->activation.name, "softmax") == 0)
            return keras_layer_fail(build->err, RNN_EUNSUPPORTED, &module->layer,
                                    "a softmax that is not the model's output");
    }
    return 0;
}

static void note_generator(struct keras_build *build, const struct keras_module *head)
{
    if (head && could_be_synced(build) && head->size == build->input_size && head->size > 1 &&
        strcmp(head->activation.name, "softmax") == 0)
        archive_note(build->archive,
                     "one output for a whole input, as in Keras; with --topology synced%s it "
                     "becomes a model that writes on",
                     strcmp(build->input_kind, "dense") == 0 ? " --one-hot" : "");
}

/* What a layer of two directions gives at a step that is passed over is not served. */
static void settle_mask(struct keras_build *build)
{
    if (!build->masks || build->vector || build->repeat || runs_forwards(build))
        return;
    build->masks = false;
    archive_note(build->archive,
                 "steps of %g are passed over by Keras, and not by a model with an "
                 "output at every step that runs both ways: leave them out of what "
                 "is sent",
                 build->mask);
}

int keras_finish(struct keras_build *build)
{
    struct keras_module *last;
    int rc;

    if (!build->input_size)
        return rnn_fail(
            build->err, RNN_ESHAPE,
            "neither the input's shape nor any array tells how many numbers a step has");
    rc = choose_topology(build);
    last = build->n > 0 ? &build->modules[build->n - 1] : NULL;
    if (last && !is_head(last))
        last = NULL;
    if (rc == 0)
        rc = check_softmax(build, last);
    if (rc < 0)
        return rc;
    settle_mask(build);
    note_generator(build, last);
    rc = write_tensors(build, last);
    if (rc == 0)
        rc = write_config(build, last);
    build->archive->finished = rc == 0;
    return rc;
}
