/* Weights into a model whose shape is laid out.
 *
 * One list says which tensors the shape asks for, how large each must be, and what becomes of it.
 * It goes in this order: every tensor of the list is there and of its shape, and none is left over
 * → one block of memory for everything packed → tensor by tensor, converted to float32 and put in
 * its place.  Sizes are thus bounded by what the file really holds before anything is allocated.
 *
 * Where a stack's input is a token, the product of its lowest layer is replaced by a table: row v
 * holds the bias and the product for token v, made with the very kernel that a step would use, so
 * both ways give the same bits. */
#include "core/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "core/fpmode.h"
#include "core/tensor.h"

struct wanted;

/* A loading in progress. */
struct loading {
    struct rnn_model *model;
    const struct rnn_format_ops *format;
    struct rnn_source *source;
    size_t table_max;
    struct wanted *list;
    size_t n;
    size_t elements_max;    /* of the largest tensor */
    float *values;          /* [elements_max] one tensor as float32 */
    struct arena temporary; /* what only the tables are made of */
    struct rnn_err *err;
};

/* A tensor that the shape asks for. */
struct wanted {
    char name[64];
    unsigned rank;
    size_t shape[2];
    bool counted; /* another entry of the list has counted its parameters */

    /* Puts l->values in its place. */
    int (*fill)(struct loading *l, const struct wanted *wanted);
    struct rnn_layer *layer;
    const float **vector; /* where a plain vector or matrix goes; lay_out() points it to memory */
    size_t at;            /* of the state: a learned initial state */
};

/* Packed memory is written in this file and nowhere else; to everyone else it is const. */
static float *writable(const float *weights)
{
    return (float *)(uintptr_t)weights;
}

/* ---- Ways into the model ---- */

static int fill_vector(struct loading *l, const struct wanted *w)
{
    size_t n = w->rank == 2 ? w->shape[0] * w->shape[1] : w->shape[0];

    memcpy(writable(*w->vector), l->values, n * sizeof(float));
    return 0;
}

/* A divisor. */
static int fill_std(struct loading *l, const struct wanted *w)
{
    for (size_t i = 0; i < w->shape[0]; i++)
        if (!(l->values[i] > 0))
            return rnn_fail_at(l->err, RNN_ERANGE, w->name, -1,
                               "%s[%zu]: %g; a standard deviation is more than 0", w->name, i,
                               (double)l->values[i]);
    return fill_vector(l, w);
}

static int fill_initial(struct loading *l, const struct wanted *w)
{
    memcpy(writable(l->model->initial) + w->at, l->values, w->shape[0] * sizeof(float));
    return 0;
}

static int fill_bias(struct loading *l, const struct wanted *w, const unsigned char *slots)
{
    const struct rnn_layer *layer = w->layer;
    const struct rnn_cell_ops *cell = layer->cell.ops;

    for (unsigned g = 0; g < cell->n_gates; g++)
        for (size_t u = 0; u < layer->hidden; u++)
            writable(layer->bias)[rnn_cell_place(cell, slots[g], u)] +=
                l->values[g * layer->hidden + u];
    return 0;
}

static int fill_bias_x(struct loading *l, const struct wanted *w)
{
    return fill_bias(l, w, w->layer->cell.ops->x_slot);
}

static int fill_bias_h(struct loading *l, const struct wanted *w)
{
    return fill_bias(l, w, w->layer->cell.ops->h_slot);
}

/* Columns [from, from + k) of each row of l->values, side by side at its beginning. */
static void narrow(struct loading *l, const struct wanted *w, size_t from, size_t k)
{
    for (size_t row = 0; row < w->shape[0]; row++)
        memmove(l->values + row * k, l->values + row * w->shape[1] + from, k * sizeof(float));
}

static int fill_x(struct loading *l, const struct wanted *w)
{
    struct rnn_layer *layer = w->layer;

    if (layer->context.k) /* the last columns are the context's */
        narrow(l, w, 0, layer->in_width);
    panels_pack_cell(&layer->x, writable(layer->x.w), l->values, layer->cell.ops, layer->hidden,
                     RNN_PRODUCT_X);
    return 0;
}

static int fill_context(struct loading *l, const struct wanted *w)
{
    struct rnn_layer *layer = w->layer;

    narrow(l, w, layer->in_width, layer->context.k);
    panels_pack_cell(&layer->context, writable(layer->context.w), l->values, layer->cell.ops,
                     layer->hidden, RNN_PRODUCT_X);
    return 0;
}

static int fill_h(struct loading *l, const struct wanted *w)
{
    struct rnn_layer *layer = w->layer;

    panels_pack_cell(&layer->h, writable(layer->h.w), l->values, layer->cell.ops, layer->hidden,
                     RNN_PRODUCT_H);
    if (layer->again.k)
        panels_pack_cell(&layer->again, writable(layer->again.w), l->values, layer->cell.ops,
                         layer->hidden, RNN_PRODUCT_AGAIN);
    return 0;
}

static int fill_peepholes(struct loading *l, const struct wanted *w)
{
    const struct rnn_layer *layer = w->layer;

    for (size_t i = 0; i < 3; i++)
        memcpy(writable(layer->cell.peephole[i]), l->values + i * layer->hidden,
               layer->hidden * sizeof(float));
    return 0;
}

static void pack_matrix(struct loading *l, struct rnn_panels *panels, size_t outputs)
{
    panels_pack_matrix(panels, writable(panels->w), l->values, outputs);
}

static int fill_proj(struct loading *l, const struct wanted *w)
{
    pack_matrix(l, &w->layer->proj, w->shape[0]);
    return 0;
}

static int fill_dense(struct loading *l, const struct wanted *w)
{
    if (w->layer->context.k)
        narrow(l, w, 0, w->layer->in_width);
    pack_matrix(l, &w->layer->x, w->shape[0]);
    return 0;
}

static int fill_dense_context(struct loading *l, const struct wanted *w)
{
    narrow(l, w, w->layer->in_width, w->layer->context.k);
    pack_matrix(l, &w->layer->context, w->shape[0]);
    return 0;
}

static int fill_query(struct loading *l, const struct wanted *w)
{
    pack_matrix(l, &l->model->attention.query, w->shape[0]);
    return 0;
}

static int fill_combine(struct loading *l, const struct wanted *w)
{
    pack_matrix(l, &l->model->attention.combine, w->shape[0]);
    return 0;
}

static int fill_head(struct loading *l, const struct wanted *w)
{
    pack_matrix(l, &l->model->top.head, w->shape[0]);
    return 0;
}

/* ---- The list ---- */

static struct wanted *add(struct loading *l, const char *prefix, const char *name, size_t rows,
                          size_t columns,
                          int (*fill)(struct loading *l, const struct wanted *wanted))
{
    struct wanted *w = &l->list[l->n++];

    *w = (struct wanted){.rank = columns ? 2 : 1, .shape = {rows, columns}, .fill = fill};
    snprintf(w->name, sizeof w->name, "%s%s", prefix, name);
    return w;
}

static void add_vector(struct loading *l, const char *prefix, const char *name, size_t rows,
                       size_t columns, const float **vector)
{
    add(l, prefix, name, rows, columns, fill_vector)->vector = vector;
}

/* The columns of a weight matrix that stand over an attention's context, the matrix being listed.
 */
static void add_context(struct loading *l, const char *prefix, const char *name, size_t rows,
                        struct rnn_layer *layer,
                        int (*fill)(struct loading *l, const struct wanted *wanted))
{
    struct wanted *w;

    if (layer->context.k == 0)
        return;
    w = add(l, prefix, name, rows, layer->in_width + layer->context.k, fill);
    w->layer = layer;
    w->counted = true;
}

/* One direction of a recurrent layer. */
static void add_recurrent(struct loading *l, const char *prefix, const struct rnn_layer_spec *spec,
                          struct rnn_layer *layer, bool reverse)
{
    const struct rnn_cell_ops *cell = spec->cell;
    size_t rows = cell->n_gates * spec->hidden, width = layer->width;
    char name[48];

#define NAME(KIND)                                                                                 \
    (snprintf(name, sizeof name, "%s." KIND "_l%u%s", spec->module, spec->index,                   \
              reverse ? "_reverse" : ""),                                                          \
     name)
    add(l, prefix, NAME("weight_ih"), rows, spec->input_width, fill_x)->layer = layer;
    add_context(l, prefix, name, rows, layer, fill_context);
    add(l, prefix, NAME("weight_hh"), rows, width, fill_h)->layer = layer;
    if (spec->bias) {
        add(l, prefix, NAME("bias_ih"), rows, 0, fill_bias_x)->layer = layer;
        add(l, prefix, NAME("bias_hh"), rows, 0, fill_bias_h)->layer = layer;
    }
    if (spec->proj)
        add(l, prefix, NAME("weight_hr"), spec->proj, spec->hidden, fill_proj)->layer = layer;
    if (spec->settings.peepholes)
        add(l, prefix, NAME("peephole"), 3 * spec->hidden, 0, fill_peepholes)->layer = layer;
    if (spec->learned_state) {
        add(l, prefix, NAME("h_0"), width, 0, fill_initial)->at = layer->h_at;
        if (cell->has_c)
            add(l, prefix, NAME("c_0"), spec->hidden, 0, fill_initial)->at = layer->c_at;
    }
#undef NAME
}

/* A layer of another kind. */
static void add_plain(struct loading *l, const char *prefix, const struct rnn_layer_spec *spec,
                      struct rnn_layer *layer)
{
    bool affine = spec->kind == RNN_LAYER_AFFINE;
    char name[48];

    snprintf(name, sizeof name, "%s.%s", spec->module, affine ? "scale" : "weight");
    if (spec->kind == RNN_LAYER_DENSE) {
        add(l, prefix, name, layer->out_width, layer->in_width + layer->context.k, fill_dense)
            ->layer = layer;
        add_context(l, prefix, name, layer->out_width, layer, fill_dense_context);
    } else {
        add_vector(l, prefix, name, layer->out_width, 0, &layer->scale);
    }
    snprintf(name, sizeof name, "%s.%s", spec->module, affine ? "shift" : "bias");
    if (spec->kind != RNN_LAYER_DENSE)
        add_vector(l, prefix, name, layer->out_width, 0, &layer->shift);
    else if (spec->bias)
        add_vector(l, prefix, name, layer->out_width, 0, &layer->bias);
}

static void add_layers(struct loading *l, const struct rnn_stack_spec *spec, size_t first, size_t n,
                       struct rnn_layer *layers, bool reverse)
{
    for (size_t i = 0; i < n; i++) {
        const struct rnn_layer_spec *layer = &spec->layers[first + i];

        if (layer->kind == RNN_LAYER_RECURRENT)
            add_recurrent(l, spec->prefix, layer, &layers[i], reverse);
        else
            add_plain(l, spec->prefix, layer, &layers[i]);
    }
}

/* Layers are const once the model is built; this is the builder. */
static struct rnn_layer *layers_of(const struct rnn_pass *pass)
{
    return (struct rnn_layer *)(uintptr_t)pass->layers;
}

static struct rnn_pass *pass_of(const struct rnn_pass *pass)
{
    return (struct rnn_pass *)(uintptr_t)pass;
}

static void add_input(struct loading *l, const struct rnn_stack_spec *spec,
                      const struct rnn_level *level)
{
    struct rnn_pass *pass = pass_of(level->forward);

    if (spec->input_kind == RNN_INPUT_EMBEDDING)
        add_vector(l, spec->prefix, "embedding.weight", spec->input_size, spec->embedding_dim,
                   &pass->embedding);
    if (spec->normalize) {
        add_vector(l, spec->prefix, "input.mean", spec->input_size, 0, &pass->mean);
        add(l, spec->prefix, "input.std", spec->input_size, 0, fill_std)->vector = &pass->std;
    }
}

static void add_stack(struct loading *l, const struct rnn_stack *stack)
{
    const struct rnn_stack_spec *spec = stack->spec;
    size_t at = 0;

    add_input(l, spec, &stack->levels[0]);
    for (size_t i = 0; i < stack->n_levels; i++) {
        const struct rnn_level *level = &stack->levels[i];

        add_layers(l, spec, at, level->forward->n_layers, layers_of(level->forward), false);
        if (level->backward)
            add_layers(l, spec, at, 1, layers_of(level->backward), true);
        at += level->forward->n_layers;
    }
}

static void add_attention(struct loading *l)
{
    struct rnn_model *model = l->model;
    const struct rnn_stack_spec *spec = &model->spec.stacks[0];
    struct rnn_attention *a = &model->attention;

    if (a->kind == RNN_ATTENTION_ADDITIVE)
        add(l, spec->prefix, "attention.query.weight", a->score_width, a->query_width, fill_query);
    if (model->keys)
        add(l, spec->prefix, "attention.key.weight", a->score_width, a->memory_width, fill_dense)
            ->layer = layers_of(model->keys);
    if (a->kind == RNN_ATTENTION_ADDITIVE) {
        if (spec->attention.bias)
            add_vector(l, spec->prefix, "attention.key.bias", a->score_width, 0,
                       &layers_of(model->keys)->bias);
        add_vector(l, spec->prefix, "attention.v", a->score_width, 0, &a->v);
    } else if (a->kind != RNN_ATTENTION_NONE) {
        add(l, spec->prefix, "attention.combine.weight", a->out_width,
            a->memory_width + a->query_width, fill_combine);
    }
}

static void add_top(struct loading *l)
{
    const struct rnn_stack_spec *spec = &l->model->spec.stacks[0];
    const struct rnn_head_spec *head = &spec->head;
    struct rnn_top *top = &l->model->top;

    add_layers(l, spec, spec->n_below, top->n_layers, top->layers, false);
    if (head->present)
        add(l, spec->prefix, head->tied ? "embedding.weight" : "head.weight", head->size,
            top->head.k, fill_head)
            ->counted = head->tied;
    if (head->present && head->bias)
        add_vector(l, spec->prefix, "head.bias", head->size, 0, &top->head_bias);
    if (head->denormalize) {
        add_vector(l, spec->prefix, "output.mean", rnn_head_values(head), 0, &top->mean);
        add(l, spec->prefix, "output.std", rnn_head_values(head), 0, fill_std)->vector = &top->std;
    }
}

static bool list_wanted(struct loading *l)
{
    struct rnn_model *model = l->model;

    l->list = calloc(16 + 10 * model->n_layers, sizeof *l->list);
    if (!l->list)
        return false;
    for (size_t i = 0; i < model->spec.n_stacks; i++)
        add_stack(l, &model->stacks[i]);
    add_attention(l);
    add_top(l);
    if (model->bridge) {
        struct rnn_layer *layer = layers_of(model->bridge);

        add(l, "", "bridge.weight", layer->out_width, layer->in_width, fill_dense)->layer = layer;
        add_vector(l, "", "bridge.bias", layer->out_width, 0, &layer->bias);
    }
    return true;
}

/* ---- The list against the file ---- */

static int refuse_unwanted(const struct loading *l)
{
    size_t n_tensors = l->format->n_tensors(l->source);

    for (size_t t = 0; t < n_tensors; t++) {
        struct rnn_tensor tensor;
        size_t i = 0;

        l->format->tensor_at(l->source, t, &tensor);
        while (i < l->n && strcmp(l->list[i].name, tensor.name) != 0)
            i++;
        if (i == l->n)
            return rnn_fail_at(l->err, RNN_ESHAPE, tensor.name, -1,
                               "%.80s: the shape of the model has no place for this tensor",
                               tensor.name);
    }
    return 0;
}

static int check_tensor(struct loading *l, const struct wanted *w)
{
    struct rnn_tensor tensor;
    size_t count;
    int rc;

    if (!l->format->tensor(l->source, w->name, &tensor))
        return rnn_fail_at(l->err, RNN_ESHAPE, w->name, -1, "%s: the file has no such tensor",
                           w->name);
    rc = rnn_tensor_check(&tensor, w->rank, w->shape, l->err);
    if (rc < 0)
        return rc;
    count = rnn_tensor_count(&tensor);
    if (!w->counted)
        l->model->info.parameters += count;
    if (count > l->elements_max)
        l->elements_max = count;
    return 0;
}

static int check_tensors(struct loading *l)
{
    int rc = 0;

    for (size_t i = 0; i < l->n && rc == 0; i++)
        rc = check_tensor(l, &l->list[i]);
    return rc == 0 ? refuse_unwanted(l) : rc;
}

/* ---- Memory ---- */

/* Whether the lowest product of a pass is looked up; *floats of its table. */
static bool is_tabled(const struct rnn_pass *pass, size_t max_bytes, size_t *floats)
{
    size_t bytes;

    return pass->n_tokens > 0 && pass->n_layers > 0 && pass->layers[0].gate_floats > 0 &&
           checked_mul(pass->n_tokens, pass->layers[0].gate_floats, floats) &&
           checked_mul(*floats, sizeof(float), &bytes) && bytes <= max_bytes;
}

static void take_panels(struct arena *arena, struct rnn_panels *panels)
{
    if (panels->k)
        panels->w = arena_take(arena, panels_size(panels));
}

static void lay_out_layer(struct loading *l, struct rnn_layer *layer, bool tabled)
{
    struct arena *arena = &l->model->weights;
    bool is_vector = layer->kind == RNN_LAYER_AFFINE || layer->kind == RNN_LAYER_NORM;

    if (is_vector) {
        layer->scale = arena_take(arena, layer->out_width);
        layer->shift = arena_take(arena, layer->out_width);
        return;
    }
    layer->bias = arena_take(arena, layer->gate_floats);
    take_panels(tabled ? &l->temporary : arena, &layer->x);
    take_panels(arena, &layer->context);
    if (layer->kind != RNN_LAYER_RECURRENT)
        return;
    take_panels(arena, &layer->h);
    take_panels(arena, &layer->again);
    take_panels(arena, &layer->proj);
    for (size_t i = 0; layer->cell.settings.peepholes && i < 3; i++)
        layer->cell.peephole[i] = arena_take(arena, layer->hidden);
}

/* A frame can stand in a token's place: the lowest product is then wanted beside the table. */
static bool keeps_product(const struct rnn_model *model, const struct rnn_pass *pass)
{
    return pass == model->passes && model->spec.bridge.present && model->spec.bridge.to_input;
}

static void lay_out_pass(struct loading *l, struct rnn_pass *pass)
{
    struct rnn_model *model = l->model;
    size_t floats;
    bool tabled = is_tabled(pass, l->table_max, &floats);

    if (tabled)
        pass->table = arena_take(&model->weights, floats);
    if (pass->n_tokens > 0 && !pass->onehot && !pass->reverse)
        pass->embedding =
            arena_take(tabled && !pass->needs_vector ? &l->temporary : &model->weights,
                       pass->n_tokens * pass->in_width);
    if (pass->normalizes && !pass->reverse) {
        pass->mean = arena_take(&model->weights, pass->in_width);
        pass->std = arena_take(&model->weights, pass->in_width);
    }
    for (size_t i = 0; i < pass->n_layers; i++)
        lay_out_layer(l, &layers_of(pass)[i], i == 0 && tabled && !keeps_product(model, pass));
}

static void lay_out_attention(struct rnn_model *model)
{
    struct rnn_attention *a = &model->attention;

    take_panels(&model->weights, &a->query);
    take_panels(&model->weights, &a->combine);
    if (a->kind == RNN_ATTENTION_ADDITIVE)
        a->v = arena_take(&model->weights, a->score_width);
}

static void lay_out_top(struct loading *l)
{
    struct rnn_model *model = l->model;
    struct rnn_top *top = &model->top;
    const struct rnn_head_spec *head = &model->spec.stacks[0].head;

    for (size_t i = 0; i < top->n_layers; i++)
        lay_out_layer(l, &top->layers[i], false);
    if (!head->present)
        return;
    top->head_bias = arena_take(&model->weights, head->size);
    take_panels(&model->weights, &top->head);
    if (head->denormalize) {
        top->mean = arena_take(&model->weights, rnn_head_values(head));
        top->std = arena_take(&model->weights, rnn_head_values(head));
    }
}

static bool learns_state(const struct rnn_spec *spec)
{
    for (size_t s = 0; s < spec->n_stacks; s++)
        for (size_t i = 0; i < spec->stacks[s].n_layers; i++)
            if (spec->stacks[s].layers[i].learned_state)
                return true;
    return false;
}

/* Everything, in the order in which a step streams it.  Run once to count, once for good; pointers
 * are then in place, their contents not yet. */
static void lay_out(struct loading *l)
{
    struct rnn_model *model = l->model;

    for (size_t i = 0; i < model->n_passes; i++)
        lay_out_pass(l, &model->passes[i]);
    lay_out_attention(model);
    lay_out_top(l);
    if (learns_state(&model->spec))
        model->initial = arena_take(&model->weights, model->memory_floats);
}

/* ---- Filling ---- */

static int fill_one(struct loading *l, const struct wanted *w)
{
    struct rnn_tensor tensor;
    int rc;

    if (!l->format->tensor(l->source, w->name, &tensor))
        return rnn_fail(l->err, RNN_EFORMAT, "%s: the file changed", w->name);
    rc = rnn_tensor_read(&tensor, l->values, l->err);
    return rc < 0 ? rc : w->fill(l, w);
}

/* Row v: the bias, then the lowest layer's input product for token v. */
static void fill_table(struct rnn_pass *pass)
{
    const struct rnn_layer *layer = &pass->layers[0];

    for (size_t v = 0; v < pass->n_tokens; v++) {
        float *row = writable(pass->table) + v * layer->gate_floats;

        memcpy(row, layer->bias, layer->gate_floats * sizeof *row);
        if (pass->onehot) {
            panels_add_column(&layer->x, v, row);
        } else {
            const float *x = pass->embedding + v * pass->in_width;

            rnn_kernels_current()->product(&layer->x, &x, &row, 1);
        }
    }
}

static bool is_in(const struct arena *arena, const float *pointer)
{
    return pointer >= arena->base && pointer < arena->base + arena->used;
}

/* Tables are made of what is then let go. */
static void finish_passes(struct loading *l)
{
    for (size_t i = 0; i < l->model->n_passes; i++)
        if (l->model->passes[i].table)
            fill_table(&l->model->passes[i]);
    for (size_t i = 0; i < l->model->n_passes; i++) {
        struct rnn_pass *pass = &l->model->passes[i];

        if (is_in(&l->temporary, pass->embedding))
            pass->embedding = NULL;
        if (pass->n_layers && is_in(&l->temporary, pass->layers[0].x.w))
            layers_of(pass)->x.w = NULL;
    }
}

/* A backward pass over the input reads what its forward twin reads. */
static void share_inputs(struct rnn_model *model)
{
    for (size_t s = 0; s < model->spec.n_stacks; s++) {
        const struct rnn_level *level = &model->stacks[s].levels[0];

        if (!level->backward)
            continue;
        pass_of(level->backward)->embedding = level->forward->embedding;
        pass_of(level->backward)->mean = level->forward->mean;
        pass_of(level->backward)->std = level->forward->std;
    }
}

static int fill(struct loading *l)
{
    struct fpmode mode = fpmode_enter();
    int rc = 0;

    for (size_t i = 0; i < l->n && rc == 0; i++)
        rc = fill_one(l, &l->list[i]);
    if (rc == 0) {
        share_inputs(l->model);
        finish_passes(l);
    }
    fpmode_leave(mode);
    return rc;
}

static int pack(struct loading *l)
{
    struct rnn_model *model = l->model;
    int rc;

    lay_out(l);
    model->info.weight_bytes = model->weights.used * sizeof(float);
    if (!arena_allocate(&model->weights) || !arena_allocate(&l->temporary))
        return rnn_fail(l->err, RNN_ENOMEM, "out of memory: the weights take %zu MiB",
                        model->info.weight_bytes >> 20);
    lay_out(l);
    l->values = malloc(l->elements_max * sizeof *l->values);
    if (!l->values)
        return rnn_fail(l->err, RNN_ENOMEM, "out of memory");
    rc = fill(l);
    free(l->values);
    for (size_t i = 0; i < model->n_passes; i++)
        if (model->passes[i].table)
            model->info.table_bytes +=
                model->passes[i].n_tokens * model->passes[i].layers[0].gate_floats * sizeof(float);
    return rc;
}

int model_load(struct rnn_model *model, const struct rnn_format_ops *format,
               struct rnn_source *source, size_t table_max_bytes, struct rnn_err *err)
{
    struct loading l = {.model = model,
                        .format = format,
                        .source = source,
                        .table_max = table_max_bytes,
                        .err = err};
    int rc;

    if (!list_wanted(&l))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = check_tensors(&l);
    if (rc == 0)
        rc = pack(&l);
    arena_free(&l.temporary);
    free(l.list);
    return rc;
}
