/* From a spec to the shape of a model: which layers, in which passes, and where in the state each
 * keeps what it remembers.  Weights come later (core/load.c).
 *
 * The state lists the decoder's (or the only stack's) parts first, layer by layer and direction by
 * direction, h before c, each padded to whole vectors; the encoder's follow.  Where what the head
 * reads is no h, the state also keeps that vector, so that it can be read between steps. */
#include <stdlib.h>

#include "core/model.h"

/* A layout in progress. */
struct layout {
    struct rnn_model *model;
    struct rnn_stack *stack; /* the one being laid out */
    unsigned stack_index;
    unsigned recurrent; /* recurrent layers of it so far */
    size_t offset;      /* floats of the state given away */
    size_t shown;       /* floats of gates given away */
};

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- The state ---- */

static size_t add_part(struct layout *l, const char *kind, unsigned layer, unsigned direction,
                       size_t size)
{
    struct rnn_model *model = l->model;
    size_t at = l->offset;

    model->parts[model->n_parts++] = (struct rnn_state_part){.kind = kind,
                                                             .stack = l->stack_index,
                                                             .layer = layer,
                                                             .direction = direction,
                                                             .offset = at,
                                                             .size = size};
    l->offset += RNN_PAD_LANES(size);
    return at;
}

/* ---- Layers ---- */

/* Places for the gates of a layer, for those who want to look at them. */
static void add_gates(struct layout *l, struct rnn_layer *layer, unsigned direction)
{
    const struct rnn_cell_ops *cell = layer->cell.ops;
    struct rnn_model *model = l->model;

    layer->shown_at = RNN_NOWHERE;
    if (!cell->gate_names)
        return;
    layer->shown_at = l->shown;
    for (unsigned g = 0; g < cell->n_gates; g++) {
        model->gates[model->n_gates++] = (struct rnn_gate){.name = cell->gate_names[g],
                                                           .stack = l->stack_index,
                                                           .layer = l->recurrent,
                                                           .direction = direction,
                                                           .offset = l->shown,
                                                           .size = layer->hidden};
        l->shown += layer->hidden;
    }
}

static void shape_recurrent(struct layout *l, struct rnn_layer *layer,
                            const struct rnn_layer_spec *spec, unsigned direction)
{
    const struct rnn_cell_ops *cell = spec->cell;

    layer->cell = (struct rnn_cell){.ops = cell, .settings = spec->settings};
    layer->hidden = spec->hidden;
    layer->width = layer->out_width = rnn_layer_state_width(spec);
    layer->gate_floats = cell->n_gates == 1 ? RNN_PAD_BLOCK(spec->hidden)
                                            : RNN_PAD_LANES(spec->hidden) / RNN_LANES * RNN_BLOCK;
    layer->x = panels_of_cell(cell, spec->hidden, layer->in_width, RNN_PRODUCT_X);
    if (spec->input_width > layer->in_width)
        layer->context =
            panels_of_cell(cell, spec->hidden, spec->input_width - layer->in_width, RNN_PRODUCT_X);
    layer->h = panels_of_cell(cell, spec->hidden, layer->width, RNN_PRODUCT_H);
    if (cell->n_again)
        layer->again = panels_of_cell(cell, spec->hidden, layer->width, RNN_PRODUCT_AGAIN);
    if (spec->proj)
        layer->proj = panels_of_matrix(spec->proj, spec->hidden);
    layer->h_at = add_part(l, "h", l->recurrent, direction, layer->width);
    if (cell->has_c)
        layer->c_at = add_part(l, "c", l->recurrent, direction, layer->hidden);
    add_gates(l, layer, direction);
}

static void shape_dense(struct rnn_layer *layer, size_t in_width, size_t out_width)
{
    layer->kind = RNN_LAYER_DENSE;
    layer->in_width = in_width;
    layer->out_width = layer->hidden = out_width;
    layer->gate_floats = RNN_PAD_LANES(out_width);
    layer->x = panels_of_matrix(out_width, in_width);
}

static void shape_layer(struct layout *l, struct rnn_layer *layer,
                        const struct rnn_layer_spec *spec, size_t in_width, unsigned direction)
{
    layer->kind = spec->kind;
    layer->in_width = in_width;
    layer->residual = spec->residual && spec->directions != 2;
    layer->activation = spec->activation;
    layer->epsilon = spec->epsilon;
    switch (spec->kind) {
    case RNN_LAYER_RECURRENT:
        shape_recurrent(l, layer, spec, direction);
        break;
    case RNN_LAYER_DENSE:
        shape_dense(layer, in_width, spec->hidden);
        if (spec->input_width > in_width)
            layer->context = panels_of_matrix(spec->hidden, spec->input_width - in_width);
        break;
    case RNN_LAYER_AFFINE:
    case RNN_LAYER_NORM:
        layer->out_width = layer->hidden = in_width;
        break;
    }
}

static struct rnn_layer *next_layer(struct rnn_model *model)
{
    return &model->layers[model->n_layers++];
}

/* ---- Passes ---- */

static struct rnn_pass *add_pass(struct layout *l, size_t first, size_t n, unsigned direction)
{
    const struct rnn_stack_spec *spec = l->stack->spec;
    struct rnn_model *model = l->model;
    struct rnn_pass *pass = &model->passes[model->n_passes++];
    size_t width =
        first == 0 ? rnn_stack_input_width(spec) : rnn_layer_width(&spec->layers[first - 1]);

    pass->input = first > 0                             ? PASS_VECTORS
                  : spec->input_kind == RNN_INPUT_DENSE ? PASS_FRAMES
                                                        : PASS_TOKENS;
    pass->onehot = pass->input == PASS_TOKENS && spec->input_kind == RNN_INPUT_ONEHOT;
    pass->n_tokens = pass->input == PASS_TOKENS ? spec->input_size : 0;
    pass->normalizes = pass->input == PASS_FRAMES && spec->normalize;
    pass->reverse = direction == 1;
    pass->layers = model->layers + model->n_layers;
    pass->n_layers = n;
    pass->in_width = width;
    for (size_t i = first; i < first + n; i++) {
        shape_layer(l, next_layer(model), &spec->layers[i], width, direction);
        width = pass->layers[i - first].out_width;
        l->recurrent += spec->layers[i].kind == RNN_LAYER_RECURRENT &&
                        direction + 1 == spec->layers[i].directions;
    }
    pass->out_width = width;
    pass->needs_vector = n == 0 || pass->layers[0].gate_floats == 0 || pass->layers[0].residual;
    return pass;
}

static size_t run_of_one_direction(const struct rnn_stack_spec *spec, size_t first)
{
    size_t n = 0;

    while (first + n < spec->n_below && spec->layers[first + n].directions != 2)
        n++;
    return n;
}

static void add_level(struct layout *l, size_t first, size_t n)
{
    const struct rnn_layer_spec *layer = &l->stack->spec->layers[first];
    struct rnn_level *level = &l->stack->levels[l->stack->n_levels++];

    if (n > 0 || l->stack->spec->n_below == 0) {
        level->forward = add_pass(l, first, n, 0);
        level->width = level->forward->out_width;
        return;
    }
    level->forward = add_pass(l, first, 1, 0);
    level->backward = add_pass(l, first, 1, 1);
    level->merge = layer->merge;
    level->width = rnn_layer_width(layer);
    level->residual = layer->residual;
    if (layer->residual && first == 0) /* the walk adds it */
        ((struct rnn_pass *)level->forward)->needs_vector = true;
}

static void shape_stack(struct layout *l, unsigned index)
{
    struct rnn_model *model = l->model;
    const struct rnn_stack_spec *spec = &model->spec.stacks[index];
    size_t n;

    l->stack = &model->stacks[index];
    l->stack_index = index;
    l->recurrent = 0;
    l->stack->spec = spec;
    if (spec->n_below == 0)
        add_level(l, 0, 0);
    for (size_t at = 0; at < spec->n_below; at += n ? n : 1) {
        n = run_of_one_direction(spec, at);
        add_level(l, at, n);
    }
}

/* ---- Above and beside the stacks ---- */

/* Where the top finds its vector between steps. */
static void place_readout(struct layout *l)
{
    struct rnn_model *model = l->model;
    const struct rnn_stack *stack = &model->stacks[0];
    const struct rnn_level *level = &stack->levels[stack->n_levels - 1];
    const struct rnn_pass *pass = level->forward;
    const struct rnn_layer *last = pass->n_layers ? &pass->layers[pass->n_layers - 1] : NULL;
    bool to_one = model->spec.topology == RNN_MANY_TO_ONE;
    bool pools = to_one && (model->spec.pool == RNN_POOL_MEAN || model->spec.pool == RNN_POOL_MAX);
    bool of_state = to_one && model->spec.pool == RNN_POOL_FINAL;

    model->readout_at = model->output_at = model->pool_at = RNN_NOWHERE;
    if (stack->n_levels > 1 || level->backward || stack->spec->window || model->spec.repeat)
        return; /* a walk brings it */
    l->stack_index = 0;
    if (pools)
        model->pool_at = model->readout_at = add_part(l, "pool", 0, 0, pass->out_width);
    else if (last && last->kind == RNN_LAYER_RECURRENT && (of_state || !last->residual))
        model->readout_at = last->h_at;
    else
        model->output_at = model->readout_at = add_part(l, "y", 0, 0, pass->out_width);
}

static void shape_top(struct layout *l)
{
    struct rnn_model *model = l->model;
    const struct rnn_stack_spec *spec = &model->spec.stacks[0];
    size_t width = rnn_stack_top_width(spec);
    struct rnn_top *top = &model->top;

    top->in_width = width;
    top->layers = model->layers + model->n_layers;
    for (size_t i = spec->n_below; i < spec->n_layers; i++) {
        struct rnn_layer *layer = next_layer(model);

        shape_layer(l, layer, &spec->layers[i], width, 0);
        width = layer->out_width;
        top->n_layers++;
    }
    if (spec->head.present)
        top->head = panels_of_matrix(spec->head.size, width);
}

static struct rnn_pass *add_dense_pass(struct rnn_model *model, size_t reads, size_t writes,
                                       const struct rnn_activation *activation)
{
    struct rnn_pass *pass = &model->passes[model->n_passes++];
    struct rnn_layer *layer = next_layer(model);

    shape_dense(layer, reads, writes);
    layer->activation = *activation;
    *pass = (struct rnn_pass){.input = PASS_VECTORS,
                              .layers = layer,
                              .n_layers = 1,
                              .in_width = reads,
                              .out_width = writes};
    return pass;
}

/* Where the h of the highest recurrent layer is, of a decoder that has one. */
static size_t top_state(const struct rnn_stack *stack)
{
    const struct rnn_pass *pass = stack->levels[stack->n_levels - 1].forward;

    return pass->layers[pass->n_layers - 1].h_at;
}

static void shape_attention(struct rnn_model *model)
{
    const struct rnn_activation linear = {.kind = RNN_LINEAR, .alpha = 1};
    const struct rnn_attention_spec *spec = &model->spec.stacks[0].attention;
    const struct rnn_stack *stack = &model->stacks[0];
    size_t top = rnn_stack_readout_width(stack->spec);
    struct rnn_attention *a = &model->attention;

    if (spec->kind == RNN_ATTENTION_NONE)
        return;
    a->kind = spec->kind;
    a->memory_width = spec->memory_width;
    a->query_width = top;
    a->s_at = top_state(stack);
    a->concat = spec->concat;
    a->out_width = rnn_stack_top_width(stack->spec);
    a->score_width = spec->kind == RNN_ATTENTION_ADDITIVE ? spec->size : top;
    if (spec->kind == RNN_ATTENTION_ADDITIVE)
        a->query = panels_of_matrix(spec->size, top);
    else
        a->combine = panels_of_matrix(spec->combine, spec->memory_width + top);
    if (spec->kind != RNN_ATTENTION_DOT)
        model->keys = add_dense_pass(model, spec->memory_width, a->score_width, &linear);
    model->passes[0].attends = true;
}

/* ---- Scratch ---- */

static void measure_layer(struct rnn_model *model, const struct rnn_layer *layer)
{
    model->gate_floats_max = max_size(model->gate_floats_max, layer->gate_floats);
    model->vector_floats_max = max_size(model->vector_floats_max,
                                        RNN_PAD_LANES(max_size(layer->in_width, layer->out_width)));
    if (layer->proj.k || layer->again.k)
        model->hidden_floats_max = max_size(model->hidden_floats_max, RNN_PAD_LANES(layer->hidden));
}

static void measure(struct rnn_model *model)
{
    const struct rnn_attention *a = &model->attention;
    size_t vector = max_size(model->top.in_width, a->memory_width + a->query_width);

    for (size_t i = 0; i < model->n_layers; i++)
        measure_layer(model, &model->layers[i]);
    for (size_t i = 0; i < model->n_passes; i++)
        vector = max_size(vector, model->passes[i].in_width);
    vector = max_size(vector, a->score_width);
    model->vector_floats_max = max_size(model->vector_floats_max, RNN_PAD_LANES(vector));
}

/* ---- The whole ---- */

static bool allocate(struct rnn_model *model)
{
    size_t n_layers = 2, n_levels;

    for (size_t i = 0; i < model->spec.n_stacks; i++) {
        n_levels = model->spec.stacks[i].n_layers + 1;
        n_layers += 2 * n_levels;
        model->stacks[i].levels = calloc(n_levels, sizeof *model->stacks[i].levels);
        if (!model->stacks[i].levels)
            return false;
    }
    model->layers = calloc(n_layers, sizeof *model->layers);
    model->passes = calloc(n_layers, sizeof *model->passes);
    model->parts = calloc(2 * n_layers, sizeof *model->parts);
    model->gates = calloc(RNN_GATES_MAX * n_layers, sizeof *model->gates);
    return model->layers && model->passes && model->parts && model->gates;
}

int model_lay_out(struct rnn_model *model, struct rnn_err *err)
{
    const struct rnn_bridge_spec *bridge = &model->spec.bridge;
    struct layout l = {.model = model};

    if (!allocate(model))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    shape_stack(&l, 0);
    model->passes[0].counts = true;
    place_readout(&l);
    shape_top(&l);
    shape_attention(model);
    if (model->spec.n_stacks > 1)
        shape_stack(&l, 1);
    if (bridge->present)
        model->bridge = add_dense_pass(model, bridge->reads, bridge->writes, &bridge->activation);
    measure(model);
    model->memory_floats = l.offset;
    model->info.gates_width = l.shown;
    return 0;
}
