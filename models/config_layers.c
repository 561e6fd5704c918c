/* The layers of a stack: "rnn" (one kind of recurrent layer, num_layers deep) or "layers" (a list
 * of modules of any kind), into a spec's flat list.
 *
 * The readout of a many-to-one model stands after the highest recurrent layer, or where a module
 * {"kind": "readout"} says.  What stands above it works on the one vector that was read out. */
#include <stdio.h>
#include <string.h>

#include "core/cell.h"
#include "models/config_read.h"

/* A stack being filled. */
struct stacking {
    struct rnn_spec *spec;
    struct rnn_stack_spec *stack;
    const char *path; /* of the present module */
    char module[16];  /* what its tensors' names begin with */
    size_t width;     /* floats that the next layer reads */
    bool read_out;    /* a readout module has been met */
    bool pool_said;   /* beside the layers, what is read out */
    struct rnn_err *err;
};

/* Floats of an additive attention's context that the next layer reads beside its input. */
static size_t context_width(const struct stacking *s)
{
    const struct rnn_attention_spec *attention = &s->stack->attention;

    return s->stack->n_layers == 0 && attention->kind == RNN_ATTENTION_ADDITIVE
               ? attention->memory_width
               : 0;
}

static int push(struct stacking *s, struct rnn_layer_spec *layer)
{
    struct rnn_stack_spec *stack = s->stack;

    if (context_width(s) && layer->kind != RNN_LAYER_RECURRENT && layer->kind != RNN_LAYER_DENSE)
        return config_contradiction(s->err, s->path, "kind",
                                    "the lowest layer under an additive attention reads the "
                                    "context, too: want rnn or dense");
    if (stack->n_layers == RNN_LAYERS_MAX)
        return rnn_fail_at(s->err, RNN_ERANGE, s->path, -1, "%s: more than %d layers", s->path,
                           RNN_LAYERS_MAX);
    memcpy(layer->module, s->module, sizeof layer->module);
    layer->input_width = s->width + context_width(s);
    stack->layers[stack->n_layers++] = *layer;
    s->width = rnn_layer_width(layer);
    return 0;
}

/* ---- Recurrent modules ---- */

static int unknown_cell(const char *path, const char *name, struct rnn_err *err)
{
    char place[CONFIG_PATH_BYTES], list[96] = "";
    size_t used = 0;

    for (size_t i = 0; rnn_cells[i]; i++)
        if (!rnn_cells[i]->resets_before && used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                     rnn_cells[i]->name);
    config_join(place, path, "cell");
    return rnn_fail_at(err, RNN_EUNSUPPORTED, place, -1, "%s: want one of %s, found '%.32s'", place,
                       list, name);
}

static int read_cell(const struct cJSON *rnn, const char *path, const struct rnn_cell_ops **out,
                     struct rnn_err *err)
{
    static const char *const resets[] = {"after", "before", NULL};
    const char *name = NULL;
    int reset = 0, rc = json_read_string(rnn, path, "cell", &name, err);

    if (rc < 0)
        return rc;
    if (!name)
        return config_missing(path, "cell", err);
    if (!rnn_cell_find(name, false))
        return unknown_cell(path, name, err);
    rc = config_choice(rnn, path, "reset", resets, true, &reset, err);
    if (rc < 0)
        return rc;
    if (json_get(rnn, "reset") && !rnn_cell_find(name, true))
        return config_contradiction(err, path, "reset", "only a gru has a reset gate, found '%s'",
                                    name);
    *out = rnn_cell_find(name, reset == 1);
    return 0;
}

/* One activation of a cell; refused where the cell has none of that kind. */
static int read_cell_activation(const struct cJSON *rnn, const char *path, const char *key,
                                const struct rnn_cell_ops *cell, bool has_it,
                                struct rnn_activation *out, struct rnn_err *err)
{
    if (json_get(rnn, key) && !has_it)
        return config_contradiction(
            err, path, key, "cell '%s' has none to choose%s", cell->name,
            cell->n_gates == 1 && !cell->may_activate ? ": want cell rnn and its activation" : "");
    return config_activation(rnn, path, key, out, err);
}

static int read_flag(const struct cJSON *rnn, const char *path, const char *key,
                     const struct rnn_cell_ops *cell, bool may, bool *out, struct rnn_err *err)
{
    int rc = json_read_bool(rnn, path, key, out, err);

    if (rc == 0 && *out && !may)
        return config_contradiction(err, path, key, "only an lstm can have that, found '%s'",
                                    cell->name);
    return rc;
}

static int read_clip(const struct cJSON *rnn, const char *path, float *out, struct rnn_err *err)
{
    double clip = 0;
    int rc = json_read_double(rnn, path, "clip", 0, 1e30, &clip, err);
    char place[CONFIG_PATH_BYTES];

    if (rc == 0 && json_get(rnn, "clip") && !((float)clip > 0)) {
        config_join(place, path, "clip");
        return rnn_fail_at(err, RNN_ERANGE, place, -1, "%s: want a number greater than 0, found %g",
                           place, clip);
    }
    *out = (float)clip;
    return rc;
}

static int read_settings(const struct cJSON *rnn, const char *path, struct rnn_layer_spec *layer,
                         struct rnn_err *err)
{
    const struct rnn_cell_ops *cell = layer->cell;
    struct rnn_cell_settings *settings = &layer->settings;
    bool gated = cell->n_gates > 1;
    int rc;

    *settings = cell->preset;
    rc = read_cell_activation(rnn, path, "gate_activation", cell, gated, &settings->gate, err);
    if (rc == 0)
        rc = read_cell_activation(rnn, path, "activation", cell, cell->may_activate,
                                  &settings->candidate, err);
    if (rc == 0 && json_get(rnn, "activation"))
        settings->output = settings->candidate;
    if (rc == 0)
        rc = read_cell_activation(rnn, path, "output_activation", cell, cell->has_c,
                                  &settings->output, err);
    if (rc == 0)
        rc = read_clip(rnn, path, &settings->clip, err);
    if (rc == 0)
        rc = read_flag(rnn, path, "peepholes", cell, cell->may_peephole, &settings->peepholes, err);
    if (rc == 0)
        rc = read_flag(rnn, path, "input_forget", cell, cell->may_input_forget,
                       &settings->input_forget, err);
    return rc;
}

static int read_directions(const struct cJSON *rnn, const char *path, struct rnn_layer_spec *layer,
                           struct rnn_err *err)
{
    static const char *const merges[] = {"concat", "sum", "average", "multiply", NULL};
    bool bidirectional = false;
    int merge = 0, rc;

    rc = json_read_bool(rnn, path, "bidirectional", &bidirectional, err);
    if (rc == 0)
        rc = config_choice(rnn, path, "merge", merges, true, &merge, err);
    if (rc == 0 && json_get(rnn, "merge") && !bidirectional)
        return config_contradiction(err, path, "merge",
                                    "there is one direction: want bidirectional true");
    layer->directions = bidirectional ? 2 : 1;
    layer->merge = (enum rnn_merge)merge;
    return rc;
}

static int read_sizes(const struct cJSON *rnn, const char *path, struct rnn_layer_spec *layer,
                      size_t *n_layers, struct rnn_err *err)
{
    static const char *const states[] = {"zero", "learned", NULL};
    int state = 0, rc;
    int64_t proj = 0;

    rc = config_size(rnn, path, "hidden_size", RNN_HIDDEN_MAX, &layer->hidden, err);
    if (rc == 0)
        rc = config_size(rnn, path, "num_layers", RNN_LAYERS_MAX, n_layers, err);
    if (rc == 0)
        rc = json_read_bool(rnn, path, "bias", &layer->bias, err);
    if (rc == 0)
        rc = json_read_int(rnn, path, "proj_size", 0, RNN_HIDDEN_MAX, &proj, err);
    if (rc == 0)
        rc = config_choice(rnn, path, "initial_state", states, true, &state, err);
    if (rc == 0 && proj && !layer->cell->may_project)
        return config_contradiction(err, path, "proj_size",
                                    "only an lstm can have a projection, found '%s'",
                                    layer->cell->name);
    layer->proj = (size_t)proj;
    layer->learned_state = state == 1;
    return rc;
}

/* "residual" of a module holds for its layers whose two sides are equally wide. */
static int push_recurrent(struct stacking *s, struct rnn_layer_spec *layer, size_t n, bool residual)
{
    bool fits = false;
    int rc = 0;

    for (size_t k = 0; k < n && rc == 0; k++) {
        layer->index = (unsigned)k;
        layer->residual = residual && !context_width(s) && rnn_layer_width(layer) == s->width;
        fits |= layer->residual;
        rc = push(s, layer);
    }
    if (rc == 0 && residual && !fits)
        return config_contradiction(s->err, s->path, "residual",
                                    "no layer gives as many numbers as it reads: want false");
    return rc;
}

static int read_recurrent(struct stacking *s, const struct cJSON *json, bool has_kind)
{
    static const char *const keys[] = {"kind",
                                       "cell",
                                       "hidden_size",
                                       "num_layers",
                                       "bias",
                                       "bidirectional",
                                       "proj_size",
                                       "merge",
                                       "reset",
                                       "activation",
                                       "gate_activation",
                                       "output_activation",
                                       "peepholes",
                                       "input_forget",
                                       "clip",
                                       "initial_state",
                                       "residual",
                                       NULL};
    struct rnn_layer_spec layer = {.kind = RNN_LAYER_RECURRENT, .bias = true};
    bool residual = false;
    size_t n = 0;
    int rc;

    rc = json_only(json, s->path, has_kind ? keys : keys + 1, s->err);
    if (rc == 0)
        rc = read_cell(json, s->path, &layer.cell, s->err);
    if (rc == 0)
        rc = read_sizes(json, s->path, &layer, &n, s->err);
    if (rc == 0)
        rc = read_directions(json, s->path, &layer, s->err);
    if (rc == 0)
        rc = read_settings(json, s->path, &layer, s->err);
    if (rc == 0)
        rc = json_read_bool(json, s->path, "residual", &residual, s->err);
    if (rc == 0 && s->read_out)
        return config_contradiction(
            s->err, s->path, "kind",
            "a recurrent layer above the readout: want it before the module "
            "of kind readout");
    return rc < 0 ? rc : push_recurrent(s, &layer, n, residual);
}

/* ---- Modules without a state ---- */

static int read_dense(struct stacking *s, const struct cJSON *json)
{
    static const char *const keys[] = {"kind", "size", "bias", "activation", "residual", NULL};
    struct rnn_layer_spec layer = {
        .kind = RNN_LAYER_DENSE, .bias = true, .activation = {.kind = RNN_LINEAR, .alpha = 1}};
    int rc = json_only(json, s->path, keys, s->err);

    if (rc == 0)
        rc = config_size(json, s->path, "size", RNN_HIDDEN_MAX, &layer.hidden, s->err);
    if (rc == 0)
        rc = json_read_bool(json, s->path, "bias", &layer.bias, s->err);
    if (rc == 0)
        rc = config_activation(json, s->path, "activation", &layer.activation, s->err);
    if (rc == 0)
        rc = json_read_bool(json, s->path, "residual", &layer.residual, s->err);
    if (rc == 0 && layer.residual && context_width(s))
        return config_contradiction(s->err, s->path, "residual",
                                    "the layer reads an attention's context, too; want false");
    if (rc == 0 && layer.residual && layer.hidden != s->width)
        return config_contradiction(s->err, s->path, "residual",
                                    "the layer reads %zu numbers and gives %zu; want as many",
                                    s->width, layer.hidden);
    return rc < 0 ? rc : push(s, &layer);
}

static int read_affine(struct stacking *s, const struct cJSON *json)
{
    static const char *const keys[] = {"kind", NULL};
    struct rnn_layer_spec layer = {.kind = RNN_LAYER_AFFINE, .hidden = s->width};
    int rc = json_only(json, s->path, keys, s->err);

    return rc < 0 ? rc : push(s, &layer);
}

static int read_norm(struct stacking *s, const struct cJSON *json)
{
    static const char *const keys[] = {"kind", "epsilon", NULL};
    struct rnn_layer_spec layer = {.kind = RNN_LAYER_NORM, .hidden = s->width};
    double epsilon = 1e-5;
    int rc = json_only(json, s->path, keys, s->err);

    if (rc == 0)
        rc = json_read_double(json, s->path, "epsilon", 1e-12, 1, &epsilon, s->err);
    layer.epsilon = (float)epsilon;
    return rc < 0 ? rc : push(s, &layer);
}

static const char *const pools[] = {"final", "last", "mean", "max", "flatten", NULL};

/* "pool", and the "steps" of a window that is read out whole. */
static int read_pool(const struct cJSON *json, const char *path, int *pool, size_t *window,
                     struct rnn_err *err)
{
    int rc = config_choice(json, path, "pool", pools, true, pool, err);

    if (rc < 0)
        return rc;
    if (*pool == RNN_POOL_FLATTEN)
        return config_size(json, path, "steps", RNN_STEPS_MAX, window, err);
    if (json_get(json, "steps"))
        return config_contradiction(err, path, "steps",
                                    "only pool flatten reads a window of so many, found '%s'",
                                    pools[*pool]);
    return 0;
}

/* What is said beside the layers. */
static int read_stack_pool(struct stacking *s, const struct cJSON *object, const char *path)
{
    int pool = RNN_POOL_FINAL, rc;

    rc = read_pool(object, path, &pool, &s->stack->window, s->err);
    s->spec->pool = (enum rnn_pool)pool;
    s->pool_said = json_get(object, "pool") != NULL;
    return rc;
}

/* A module says what it reads out, or leaves it to what is said beside the layers. */
static int take_pool(struct stacking *s, int pool, size_t window)
{
    if (!s->pool_said) {
        s->spec->pool = (enum rnn_pool)pool;
        s->stack->window = window;
        return 0;
    }
    if (pool != RNN_POOL_FINAL && pool != (int)s->spec->pool)
        return config_contradiction(s->err, "", "pool", "the module of kind readout says '%s'",
                                    pools[pool]);
    if (window && window != s->stack->window)
        return config_contradiction(s->err, "", "steps", "the module of kind readout says %zu",
                                    window);
    return 0;
}

/* What stands above reads the whole of what is read out. */
static int check_vector(const struct rnn_stack_spec *stack, const char *path, struct rnn_err *err)
{
    size_t width = rnn_stack_vector_width(stack);

    if (width <= RNN_INPUT_MAX)
        return 0;
    return config_contradiction(err, path, "steps",
                                "%zu steps of %zu numbers are %zu side by side; up to %zu are "
                                "served",
                                stack->window, rnn_stack_readout_width(stack), width,
                                RNN_INPUT_MAX);
}

static int read_readout(struct stacking *s, const struct cJSON *json)
{
    static const char *const keys[] = {"kind", "pool", "steps", NULL};
    int pool = RNN_POOL_FINAL, rc = json_only(json, s->path, keys, s->err);
    size_t window = 0;

    if (rc == 0)
        rc = read_pool(json, s->path, &pool, &window, s->err);
    if (rc < 0)
        return rc;
    if (s->spec->topology != RNN_MANY_TO_ONE)
        return config_contradiction(s->err, s->path, "kind",
                                    "only a model of topology many_to_one has a readout");
    if (s->read_out)
        return config_contradiction(s->err, s->path, "kind",
                                    "a second readout: want one module of that kind");
    s->read_out = true;
    s->stack->n_below = s->stack->n_layers;
    rc = take_pool(s, pool, window);
    if (rc == 0)
        rc = check_vector(s->stack, s->path, s->err);
    s->width = rnn_stack_vector_width(s->stack);
    return rc;
}

static int read_module(struct stacking *s, const struct cJSON *json)
{
    static const char *const kinds[] = {"rnn", "dense", "affine", "layer_norm", "readout", NULL};
    int kind = 0, rc;

    if (!cJSON_IsObject(json))
        return rnn_fail_at(s->err, RNN_ETYPE, s->path, -1, "%s: want an object", s->path);
    rc = config_choice(json, s->path, "kind", kinds, false, &kind, s->err);
    if (rc < 0)
        return rc;
    switch (kind) {
    case 0:
        return read_recurrent(s, json, true);
    case 1:
        return read_dense(s, json);
    case 2:
        return read_affine(s, json);
    case 3:
        return read_norm(s, json);
    default:
        return read_readout(s, json);
    }
}

/* ---- The stack ---- */

static int read_modules(struct stacking *s, const struct cJSON *list, const char *path)
{
    const struct cJSON *json;
    char place[CONFIG_PATH_BYTES];
    size_t m = 0;
    int rc = 0;

    config_join(place, path, "layers");
    if (!cJSON_IsArray(list))
        return rnn_fail_at(s->err, RNN_ETYPE, place, -1, "%s: want an array", place);
    for (json = list->child; json && rc == 0; json = json->next, m++) {
        char item[CONFIG_PATH_BYTES];

        snprintf(item, sizeof item, "%.40s[%zu]", place, m);
        snprintf(s->module, sizeof s->module, "layers.%zu", m);
        s->path = item;
        if (m == 1000)
            return rnn_fail_at(s->err, RNN_ERANGE, place, -1, "%s: more than 1000 modules", place);
        rc = read_module(s, json);
    }
    return rc;
}

/* Above the highest recurrent layer nothing is kept from step to step. */
static void place_readout(struct rnn_stack_spec *stack)
{
    stack->n_below = stack->n_layers;
    while (stack->n_below > 0 && stack->layers[stack->n_below - 1].kind != RNN_LAYER_RECURRENT)
        stack->n_below--;
}

void config_widen_top(struct rnn_stack_spec *stack)
{
    size_t width = rnn_stack_top_width(stack);

    for (size_t k = stack->n_below; k < stack->n_layers; k++) {
        struct rnn_layer_spec *layer = &stack->layers[k];

        layer->input_width = width;
        if (layer->kind != RNN_LAYER_DENSE)
            layer->hidden = width;
        width = layer->hidden;
    }
}

/* Where no module says, the readout is known only after what stands above it has been read. */
static int settle_readout(struct stacking *s, const char *path)
{
    struct rnn_stack_spec *stack = s->stack;
    int rc;

    place_readout(stack);
    if (stack == &s->spec->stacks[1])
        stack->n_below = stack->n_layers; /* no layer of an encoder stands above its readout */
    if (!stack->window)
        return 0;
    rc = check_vector(stack, path, s->err);
    config_widen_top(stack);
    for (size_t k = stack->n_below; k < stack->n_layers && rc == 0; k++)
        if (stack->layers[k].residual && stack->layers[k].input_width != stack->layers[k].hidden)
            rc = config_layer_fault(s->err, path, &stack->layers[k], "residual",
                                    "the layer reads %zu numbers and gives %zu; want as many",
                                    stack->layers[k].input_width, stack->layers[k].hidden);
    return rc;
}

static bool reads_out(const struct rnn_spec *spec, const struct rnn_stack_spec *stack)
{
    return spec->topology == RNN_MANY_TO_ONE ||
           (spec->topology == RNN_REPEAT && stack == &spec->stacks[1]);
}

int config_layers(const struct cJSON *object, const char *path, struct rnn_spec *spec,
                  struct rnn_stack_spec *stack, struct rnn_err *err)
{
    const struct cJSON *rnn = json_get(object, "rnn"), *layers = json_get(object, "layers");
    char place[CONFIG_PATH_BYTES];
    struct stacking s = {.spec = spec,
                         .stack = stack,
                         .module = "rnn",
                         .width = rnn_stack_input_width(stack),
                         .err = err};
    int rc = 0;

    if (!rnn && !layers && !json_get(object, "head"))
        return config_missing(path, "rnn", err);
    if (rnn && layers)
        return config_contradiction(err, path, "layers", "there is rnn, too; want one of them");
    config_join(place, path, "rnn");
    s.path = place;
    if (reads_out(spec, stack))
        rc = read_stack_pool(&s, object, path);
    if (rnn && rc == 0)
        rc = config_object(object, path, "rnn", &rnn, err);
    if (rnn && rc == 0)
        rc = read_recurrent(&s, rnn, false);
    if (layers && rc == 0)
        rc = read_modules(&s, layers, path);
    return rc < 0 || s.read_out ? rc : settle_readout(&s, path);
}
