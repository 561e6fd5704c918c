/* Opens a model: asks the formats, checks every tensor against the spec, packs the weights once.
 *
 * Opening goes in this order: spec within what is built → tensors complete, of the right shape,
 * none left over → one block of memory for everything packed → tensor by tensor, converted to
 * float32 and packed.  Sizes are thus bounded by what the file really holds before anything is
 * allocated.
 *
 * The x-product of layer 0 is replaced by a table where the input is a token: row v holds the bias
 * and the product for token v, made with the very kernel that a step would use, so both ways give
 * the same bits.  A model is immutable from then on. */
#include "core/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "core/fpmode.h"
#include "core/tensor.h"
#include "core/tokenizer.h"

#define TABLE_BYTES_DEFAULT ((size_t)256 << 20)

/* An opening in progress. */
struct opening {
    struct rnn_model *model;
    const struct rnn_format_ops *format;
    struct rnn_source *source;
    size_t table_max;
    size_t elements_max; /* of the largest tensor */
    float *values;       /* [elements_max] one tensor as float32 */
    bool with_table;
    struct rnn_err *err;
};

/* ---- The tensors that a spec asks for ---- */

struct wanted {
    char name[64];
    unsigned rank;
    size_t shape[2];
};

static struct wanted want(const struct rnn_stack_spec *stack, const char *name, size_t rows,
                          size_t columns)
{
    struct wanted w = {.rank = columns ? 2 : 1, .shape = {rows, columns}};

    snprintf(w.name, sizeof w.name, "%s%s", stack->prefix, name);
    return w;
}

static struct wanted want_layer(const struct rnn_stack_spec *stack, const char *kind, size_t layer,
                                size_t rows, size_t columns)
{
    char name[40];

    snprintf(name, sizeof name, "rnn.%s_l%zu", kind, layer);
    return want(stack, name, rows, columns);
}

enum { WANTED_MAX = 3 + 5 * RNN_LAYERS_MAX };

/* Fills list[WANTED_MAX]; returns how many. */
static size_t list_wanted(const struct rnn_stack_spec *stack, struct wanted *list)
{
    const struct rnn_head_spec *head = &stack->head;
    size_t n = 0;

    if (stack->input_kind == RNN_INPUT_EMBEDDING)
        list[n++] = want(stack, "embedding.weight", stack->input_size, stack->embedding_dim);
    for (size_t k = 0; k < stack->n_layers; k++) {
        const struct rnn_layer_spec *layer = &stack->layers[k];
        size_t rows = layer->cell->n_gates * layer->hidden;
        size_t width = layer->proj ? layer->proj : layer->hidden;

        list[n++] = want_layer(stack, "weight_ih", k, rows, layer->input_width);
        list[n++] = want_layer(stack, "weight_hh", k, rows, width);
        if (layer->bias) {
            list[n++] = want_layer(stack, "bias_ih", k, rows, 0);
            list[n++] = want_layer(stack, "bias_hh", k, rows, 0);
        }
        if (layer->proj)
            list[n++] = want_layer(stack, "weight_hr", k, layer->proj, layer->hidden);
    }
    if (head->present && !head->tied)
        list[n++] = want(stack, "head.weight", head->size,
                         rnn_layer_width(&stack->layers[stack->n_layers - 1]));
    if (head->present && head->bias)
        list[n++] = want(stack, "head.bias", head->size, 0);
    return n;
}

static int refuse_unwanted(const struct opening *o, const struct wanted *list, size_t n)
{
    size_t n_tensors = o->format->n_tensors(o->source);

    for (size_t t = 0; t < n_tensors; t++) {
        struct rnn_tensor tensor;
        size_t i = 0;

        o->format->tensor_at(o->source, t, &tensor);
        while (i < n && strcmp(list[i].name, tensor.name) != 0)
            i++;
        if (i == n)
            return rnn_fail_at(o->err, RNN_ESHAPE, tensor.name, -1,
                               "%.80s: the shape of the model has no place for this tensor",
                               tensor.name);
    }
    return 0;
}

static int check_tensors(struct opening *o)
{
    struct wanted *list = malloc(WANTED_MAX * sizeof *list);
    size_t n, i;
    int rc = 0;

    if (!list)
        return rnn_fail(o->err, RNN_ENOMEM, "out of memory");
    n = list_wanted(&o->model->spec.stacks[0], list);
    for (i = 0; i < n && rc == 0; i++) {
        struct rnn_tensor tensor;

        if (!o->format->tensor(o->source, list[i].name, &tensor)) {
            rc = rnn_fail_at(o->err, RNN_ESHAPE, list[i].name, -1,
                             "%s: the file has no such tensor", list[i].name);
            break;
        }
        rc = rnn_tensor_check(&tensor, list[i].rank, list[i].shape, o->err);
        if (rc == 0) {
            size_t count = rnn_tensor_count(&tensor);

            o->model->info.parameters += count;
            o->elements_max = count > o->elements_max ? count : o->elements_max;
        }
    }
    if (rc == 0)
        rc = refuse_unwanted(o, list, n);
    free(list);
    return rc;
}

/* ---- The spec ---- */

static int check_layer(const struct rnn_stack_spec *stack, size_t k, struct rnn_err *err)
{
    const struct rnn_layer_spec *layer = &stack->layers[k];
    size_t below =
        stack->input_kind == RNN_INPUT_EMBEDDING ? stack->embedding_dim : stack->input_size;

    if (k > 0)
        below = rnn_layer_width(&stack->layers[k - 1]);
    if (layer->directions != 1)
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "layer %zu runs in both directions; only one direction is served", k);
    if (layer->hidden < 1 || layer->hidden > RNN_HIDDEN_MAX || layer->proj > RNN_HIDDEN_MAX)
        return rnn_fail(err, RNN_ERANGE, "layer %zu has %zu units; 1 to %zu are served", k,
                        layer->hidden, RNN_HIDDEN_MAX);
    if (layer->input_width != below)
        return rnn_fail(err, RNN_ESHAPE, "layer %zu reads %zu numbers, what is below it gives %zu",
                        k, layer->input_width, below);
    if (layer->proj && !layer->cell->may_project)
        return rnn_fail(err, RNN_EUNSUPPORTED, "%s has no projection", layer->cell->name);
    return 0;
}

static int check_head(const struct rnn_stack_spec *stack, struct rnn_err *err)
{
    const struct rnn_head_spec *head = &stack->head;
    size_t width = rnn_layer_width(&stack->layers[stack->n_layers - 1]);

    if (!head->present)
        return 0;
    if (head->size < 1 || head->size > RNN_OUTPUT_MAX)
        return rnn_fail(err, RNN_ERANGE, "the head has %zu outputs; 1 to %zu are served",
                        head->size, RNN_OUTPUT_MAX);
    if (!head->tied)
        return 0;
    if (stack->input_kind != RNN_INPUT_EMBEDDING || head->size != stack->input_size ||
        width != stack->embedding_dim)
        return rnn_fail(err, RNN_ESHAPE,
                        "a tied head wants an embedding of [%zu, %zu], the model has [%zu, %zu]",
                        head->size, width, stack->input_size, stack->embedding_dim);
    return 0;
}

static int check_spec(const struct rnn_spec *spec, struct rnn_err *err)
{
    static const char *const topologies[] = {"synced", "many_to_one", "one_to_many", "seq2seq"};
    const struct rnn_stack_spec *stack = &spec->stacks[0];
    int rc = 0;

    if (spec->topology != RNN_SYNCED || spec->n_stacks != 1)
        return rnn_fail(err, RNN_EUNSUPPORTED, "topology %s is not served; synced is",
                        topologies[spec->topology]);
    if (stack->n_layers < 1 || stack->n_layers > RNN_LAYERS_MAX)
        return rnn_fail(err, RNN_ERANGE, "%zu layers; 1 to %d are served", stack->n_layers,
                        RNN_LAYERS_MAX);
    if (stack->input_size < 1 || stack->input_size > RNN_INPUT_MAX ||
        stack->embedding_dim > RNN_HIDDEN_MAX)
        return rnn_fail(err, RNN_ERANGE, "an input of %zu; 1 to %zu are served", stack->input_size,
                        RNN_INPUT_MAX);
    for (size_t k = 0; k < stack->n_layers && rc == 0; k++)
        rc = check_layer(stack, k, err);
    return rc < 0 ? rc : check_head(stack, err);
}

/* ---- Layout ---- */

static void shape_layer(struct rnn_layer *layer, const struct rnn_layer_spec *spec)
{
    const struct rnn_cell_ops *cell = spec->cell;

    layer->cell = cell;
    layer->hidden = spec->hidden;
    layer->width = spec->proj ? spec->proj : spec->hidden;
    layer->gate_floats = cell->n_gates == 1 ? RNN_PAD_BLOCK(spec->hidden)
                                            : RNN_PAD_LANES(spec->hidden) / RNN_LANES * RNN_BLOCK;
    layer->x = panels_of_cell(cell, spec->hidden, spec->input_width, false);
    layer->h = panels_of_cell(cell, spec->hidden, layer->width, true);
    if (spec->proj)
        layer->proj = panels_of_matrix(spec->proj, spec->hidden);
}

static void add_part(struct rnn_model *model, const char *kind, size_t layer, size_t size,
                     size_t *at, size_t *offset)
{
    *at = *offset;
    model->parts[model->n_parts++] = (struct rnn_state_part){
        .kind = kind, .layer = (unsigned)layer, .offset = *offset, .size = size};
    *offset += RNN_PAD_LANES(size);
}

/* Layers' shapes and the state's layout: for each layer h, then c, each padded to whole vectors. */
static int shape_model(struct rnn_model *model, struct rnn_err *err)
{
    const struct rnn_stack_spec *stack = &model->spec.stacks[0];
    size_t offset = 0;

    model->n_layers = stack->n_layers;
    model->layers = calloc(stack->n_layers, sizeof *model->layers);
    model->parts = calloc(2 * stack->n_layers, sizeof *model->parts);
    if (!model->layers || !model->parts)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t k = 0; k < stack->n_layers; k++) {
        struct rnn_layer *layer = &model->layers[k];

        shape_layer(layer, &stack->layers[k]);
        add_part(model, "h", k, layer->width, &layer->h_at, &offset);
        if (layer->cell->has_c)
            add_part(model, "c", k, layer->hidden, &layer->c_at, &offset);
        if (layer->gate_floats > model->gate_floats_max)
            model->gate_floats_max = layer->gate_floats;
        if (layer->proj.k && RNN_PAD_LANES(layer->hidden) > model->hidden_floats_max)
            model->hidden_floats_max = RNN_PAD_LANES(layer->hidden);
    }
    model->info.state_bytes = sizeof(struct rnn_state) + offset * sizeof(float);
    return 0;
}

static void decide_table(struct opening *o)
{
    const struct rnn_stack_spec *stack = &o->model->spec.stacks[0];
    size_t floats, bytes;

    o->with_table = stack->input_kind != RNN_INPUT_DENSE &&
                    checked_mul(stack->input_size, o->model->layers[0].gate_floats, &floats) &&
                    checked_mul(floats, sizeof(float), &bytes) && bytes <= o->table_max;
    o->model->info.table_bytes = o->with_table ? bytes : 0;
}

/* Everything packed, in the order in which a step streams it.  Run once to count, once for good;
 * pointers are then in place, their contents not yet. */
static void lay_out(struct opening *o)
{
    struct rnn_model *model = o->model;
    const struct rnn_stack_spec *stack = &model->spec.stacks[0];
    struct arena *arena = &model->weights;

    if (o->with_table)
        model->table = arena_take(arena, stack->input_size * model->layers[0].gate_floats);
    else if (stack->input_kind == RNN_INPUT_EMBEDDING)
        model->embedding = arena_take(arena, stack->input_size * stack->embedding_dim);
    for (size_t k = 0; k < model->n_layers; k++) {
        struct rnn_layer *layer = &model->layers[k];

        layer->bias = arena_take(arena, layer->gate_floats);
        if (k > 0 || !o->with_table)
            layer->x.w = arena_take(arena, panels_size(&layer->x));
        layer->h.w = arena_take(arena, panels_size(&layer->h));
        if (layer->proj.k)
            layer->proj.w = arena_take(arena, panels_size(&layer->proj));
    }
    if (stack->head.present) {
        model->head = panels_of_matrix(stack->head.size, model->layers[model->n_layers - 1].width);
        model->head_bias = arena_take(arena, RNN_PAD_LANES(stack->head.size));
        model->head.w = arena_take(arena, panels_size(&model->head));
    }
}

/* ---- Filling ---- */

/* The tensor as float32 in o->values. */
static int read_values(struct opening *o, const struct wanted *wanted)
{
    struct rnn_tensor tensor;

    if (!o->format->tensor(o->source, wanted->name, &tensor))
        return rnn_fail(o->err, RNN_EFORMAT, "%s: the file changed", wanted->name);
    return rnn_tensor_read(&tensor, o->values, o->err);
}

static int read_layer_values(struct opening *o, const char *kind, size_t layer)
{
    struct wanted wanted = want_layer(&o->model->spec.stacks[0], kind, layer, 1, 1);

    return read_values(o, &wanted);
}

/* Packed memory is written here and nowhere else; to everyone else it is const. */
static float *writable(const float *weights)
{
    return (float *)(uintptr_t)weights;
}

static int fill_bias(struct opening *o, size_t k, bool recurrent)
{
    const struct rnn_layer *layer = &o->model->layers[k];
    const struct rnn_cell_ops *cell = layer->cell;
    const unsigned char *slots = recurrent ? cell->h_slot : cell->x_slot;
    int rc = read_layer_values(o, recurrent ? "bias_hh" : "bias_ih", k);

    for (unsigned g = 0; g < cell->n_gates && rc == 0; g++)
        for (size_t u = 0; u < layer->hidden; u++)
            writable(layer->bias)[rnn_cell_place(cell, slots[g], u)] +=
                o->values[g * layer->hidden + u];
    return rc;
}

/* `panels` may be on its way to the table instead of in the model. */
static int fill_input(struct opening *o, size_t k, struct rnn_panels *panels, float *memory)
{
    const struct rnn_layer *layer = &o->model->layers[k];
    int rc = read_layer_values(o, "weight_ih", k);

    if (rc == 0)
        panels_pack_cell(panels, memory, o->values, layer->cell, layer->hidden, false);
    return rc;
}

static int fill_layer(struct opening *o, size_t k)
{
    struct rnn_layer *layer = &o->model->layers[k];
    int rc = 0;

    if (o->model->spec.stacks[0].layers[k].bias) {
        rc = fill_bias(o, k, false);
        if (rc == 0)
            rc = fill_bias(o, k, true);
    }
    if (rc == 0 && layer->x.w)
        rc = fill_input(o, k, &layer->x, writable(layer->x.w));
    if (rc == 0)
        rc = read_layer_values(o, "weight_hh", k);
    if (rc < 0)
        return rc;
    panels_pack_cell(&layer->h, writable(layer->h.w), o->values, layer->cell, layer->hidden, true);
    if (!layer->proj.k)
        return 0;
    rc = read_layer_values(o, "weight_hr", k);
    if (rc == 0)
        panels_pack_matrix(&layer->proj, writable(layer->proj.w), o->values, layer->width);
    return rc;
}

static int read_stack_values(struct opening *o, const char *name)
{
    struct wanted wanted = want(&o->model->spec.stacks[0], name, 1, 1);

    return read_values(o, &wanted);
}

static int fill_head(struct opening *o)
{
    struct rnn_model *model = o->model;
    const struct rnn_head_spec *head = &model->spec.stacks[0].head;
    int rc;

    if (!head->present)
        return 0;
    rc = read_stack_values(o, head->tied ? "embedding.weight" : "head.weight");
    if (rc < 0)
        return rc;
    panels_pack_matrix(&model->head, writable(model->head.w), o->values, head->size);
    if (!head->bias)
        return 0;
    rc = read_stack_values(o, "head.bias");
    if (rc == 0)
        memcpy(writable(model->head_bias), o->values, head->size * sizeof(float));
    return rc;
}

/* Row v of the table: the bias, then layer 0's input product for token v.  o->values holds the
 * embedding, or nothing for one-hot input. */
static void fill_table_rows(struct opening *o, const struct rnn_panels *panels)
{
    const struct rnn_model *model = o->model;
    const struct rnn_stack_spec *stack = &model->spec.stacks[0];
    size_t floats = model->layers[0].gate_floats;

    for (size_t v = 0; v < stack->input_size; v++) {
        float *row = writable(model->table) + v * floats;
        const float *x = o->values + v * stack->embedding_dim;

        memcpy(row, model->layers[0].bias, floats * sizeof *row);
        if (stack->input_kind == RNN_INPUT_ONEHOT)
            panels_add_column(panels, v, row);
        else
            rnn_kernels_current()->product(panels, &x, &row, 1);
    }
}

static int fill_table(struct opening *o)
{
    struct rnn_panels panels = o->model->layers[0].x;
    struct arena arena = {0};
    int rc;

    (void)arena_take(&arena, panels_size(&panels));
    if (!arena_allocate(&arena))
        return rnn_fail(o->err, RNN_ENOMEM, "out of memory for the token table");
    rc = fill_input(o, 0, &panels, arena.base);
    if (rc == 0 && o->model->spec.stacks[0].input_kind == RNN_INPUT_EMBEDDING)
        rc = read_stack_values(o, "embedding.weight");
    if (rc == 0)
        fill_table_rows(o, &panels);
    arena_free(&arena);
    return rc;
}

static int fill_embedding(struct opening *o)
{
    const struct rnn_stack_spec *stack = &o->model->spec.stacks[0];
    int rc = read_stack_values(o, "embedding.weight");

    if (rc == 0)
        memcpy(writable(o->model->embedding), o->values,
               stack->input_size * stack->embedding_dim * sizeof(float));
    return rc;
}

static int fill(struct opening *o)
{
    struct rnn_model *model = o->model;
    int rc = 0;

    for (size_t k = 0; k < model->n_layers && rc == 0; k++)
        rc = fill_layer(o, k);
    if (rc == 0 && model->table)
        rc = fill_table(o);
    if (rc == 0 && model->embedding)
        rc = fill_embedding(o);
    return rc < 0 ? rc : fill_head(o);
}

static int pack(struct opening *o)
{
    struct fpmode mode;
    int rc;

    decide_table(o);
    lay_out(o);
    o->model->info.weight_bytes = o->model->weights.used * sizeof(float);
    if (!arena_allocate(&o->model->weights))
        return rnn_fail(o->err, RNN_ENOMEM, "out of memory: the weights take %zu MiB",
                        o->model->info.weight_bytes >> 20);
    lay_out(o);
    o->values = malloc(o->elements_max * sizeof *o->values);
    if (!o->values)
        return rnn_fail(o->err, RNN_ENOMEM, "out of memory");
    mode = fpmode_enter();
    rc = fill(o);
    fpmode_leave(mode);
    free(o->values);
    return rc;
}

/* ---- Texts and facts ---- */

static int take_texts(struct opening *o)
{
    struct rnn_model *model = o->model;
    const struct rnn_texts *texts = &model->texts;

    o->format->take_texts(o->source, &model->texts);
    if (texts->tokenizer && texts->tokenizer->n_tokens != model->info.input_size)
        return rnn_fail(o->err, RNN_ESHAPE, "the vocabulary has %zu entries, the model's input %zu",
                        texts->tokenizer->n_tokens, model->info.input_size);
    if (texts->labels && texts->n_labels != model->info.output_size)
        return rnn_fail(o->err, RNN_ESHAPE, "%zu labels for %zu outputs", texts->n_labels,
                        model->info.output_size);
    model->info.tokenizer = texts->tokenizer ? texts->tokenizer->ops->name : NULL;
    model->info.labels = (const char *const *)texts->labels;
    model->info.metrics_json = texts->metrics_json;
    return 0;
}

static void fill_info(struct opening *o)
{
    const struct rnn_spec *spec = &o->model->spec;
    const struct rnn_stack_spec *stack = &spec->stacks[0];
    const struct rnn_layer_spec *top = &stack->layers[stack->n_layers - 1];
    struct rnn_model_info *info = &o->model->info;

    info->name = spec->name;
    info->cell = top->cell->name;
    info->dtype = rnn_dtype_name(spec->dtype);
    info->topology = spec->topology;
    info->input_kind = stack->input_kind;
    info->input_size = stack->input_size;
    info->embedding_dim = stack->embedding_dim;
    info->layers = stack->n_layers;
    info->hidden_size = top->hidden;
    info->proj_size = top->proj;
    info->bidirectional = top->directions == 2;
    info->has_head = stack->head.present;
    info->activation = stack->head.present ? stack->head.activation : RNN_HEAD_NONE;
    info->hidden_width = rnn_layer_width(top);
    info->output_size = stack->head.present ? stack->head.size : info->hidden_width;
    info->unk = spec->unk;
    info->bos = spec->bos;
    info->eos = spec->eos;
    o->format->fingerprint(o->source, info->fingerprint);
}

/* ---- The calls ---- */

static void destroy(struct rnn_model *model)
{
    arena_free(&model->weights);
    free(model->layers);
    free(model->parts);
    if (model->texts.tokenizer)
        model->texts.tokenizer->ops->free(model->texts.tokenizer);
    if (model->texts.source)
        model->texts.source->ops->free(model->texts.source);
    free(model->texts.labels);
    free(model->texts.metrics_json);
    free(model);
}

static int build(struct opening *o)
{
    int rc = check_spec(&o->model->spec, o->err);

    if (rc == 0)
        rc = check_tensors(o);
    if (rc == 0)
        rc = shape_model(o->model, o->err);
    if (rc < 0)
        return rc;
    fill_info(o);
    rc = take_texts(o);
    return rc < 0 ? rc : pack(o);
}

static const struct rnn_format_ops *find_format(const char *path)
{
    for (size_t i = 0; rnn_formats[i]; i++)
        if (rnn_formats[i]->probe(path))
            return rnn_formats[i];
    return NULL;
}

int rnn_model_open(struct rnn_model **out, const char *path, const struct rnn_open_options *options,
                   struct rnn_err *err)
{
    struct opening o = {.format = find_format(path),
                        .table_max = options ? options->table_max_bytes : TABLE_BYTES_DEFAULT,
                        .err = err};
    int rc;

    if (!o.format)
        return rnn_fail(err, RNN_ENOENT, "%.200s: no model folder of a known form", path);
    rc = o.format->open(&o.source, path, err);
    if (rc < 0)
        return rc;
    o.model = calloc(1, sizeof *o.model);
    if (!o.model) {
        o.format->close(o.source);
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    atomic_init(&o.model->refs, 1);
    o.model->spec = *o.format->spec(o.source);
    rc = build(&o);
    o.format->close(o.source);
    if (rc < 0) {
        destroy(o.model);
        return rc;
    }
    *out = o.model;
    return 0;
}

struct rnn_model *rnn_model_ref(struct rnn_model *model)
{
    atomic_fetch_add_explicit(&model->refs, 1, memory_order_relaxed);
    return model;
}

void rnn_model_unref(struct rnn_model *model)
{
    if (model && atomic_fetch_sub_explicit(&model->refs, 1, memory_order_acq_rel) == 1)
        destroy(model);
}

const struct rnn_model_info *rnn_model_info(const struct rnn_model *model)
{
    return &model->info;
}

void rnn_state_init(const struct rnn_model *model, struct rnn_state *state, uint64_t seed)
{
    memset(state, 0, model->info.state_bytes);
    state->rng.seed = seed;
}

const struct rnn_state_part *rnn_state_parts(const struct rnn_model *model, size_t *n_parts)
{
    *n_parts = model->n_parts;
    return model->parts;
}
