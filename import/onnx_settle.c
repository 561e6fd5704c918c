/* Data of one stage out of what is an input, states, or directions.  See onnx_value.h.
 *
 * Two nodes that read the same sequence, one forwards and one backwards, become one layer of two
 * directions where their outputs meet. */
#include <string.h>

#include "import/onnx_value.h"

static int settle_input(struct onnx_run *run, const struct onnx_node *node,
                        struct onnx_value *value, size_t features)
{
    const struct onnx_port *inputs = run->graph->inputs;
    struct onnx_stage stage = {.kind = ONNX_STAGE_INPUT};
    int rc = 0;

    if (value->is_cut)
        return onnx_stop(run, node, "it reads a part of the input '%.60s'",
                         inputs[value->input].name);
    if (run->has_data && run->data != value->input)
        return onnx_stop(run, node, "it reads a second input, '%.40s', beside '%.40s'",
                         inputs[value->input].name, inputs[run->data].name);
    if (features != SIZE_MAX) {
        if (features >= value->rank || value->dims[features].n > 1)
            return onnx_stop(run, node, "which dimension of '%.60s' holds the features?",
                             inputs[value->input].name);
        if (value->dims[features].n == 0)
            rc = onnx_axis_new(run, 1, &value->dims[features].axes[0]);
        value->dims[features].n = 1;
        value->features[0] = value->dims[features].axes[0];
        value->n_features = 1;
        if (value->reversed && value->reversed_axis == value->features[0])
            return onnx_stop(run, node, "it reads the features in another order");
    }
    run->has_data = true;
    run->data = value->input;
    value->kind = ONNX_DATA;
    if (rc == 0 && run->n_stages == 0)
        rc = onnx_stage_new(run, &stage, &value->stage);
    value->stage = 0;
    return rc;
}

static bool same_activation(const struct rnn_activation *a, const struct rnn_activation *b)
{
    return a->kind == b->kind && a->alpha == b->alpha && a->beta == b->beta;
}

/* One node runs forwards, the other backwards, and they differ in their weights only. */
static bool can_join(const struct onnx_layer *a, const struct onnx_layer *b)
{
    for (size_t i = 0; i < 3; i++)
        if (!same_activation(&a->activations[i], &b->activations[i]))
            return false;
    return a->n_directions == 1 && b->n_directions == 1 && !a->backwards && b->backwards &&
           a->below == b->below && a->gates == b->gates && a->hidden == b->hidden &&
           a->reads == b->reads && a->clip == b->clip && a->input_forget == b->input_forget &&
           a->reset_after == b->reset_after &&
           a->directions[0].has_bias == b->directions[0].has_bias &&
           a->directions[0].has_peepholes == b->directions[0].has_peepholes;
}

static int join_layers(struct onnx_run *run, size_t a, size_t b, size_t *out)
{
    struct onnx_layer *layer;
    struct onnx_stage stage = {.kind = ONNX_STAGE_LAYER};

    for (size_t i = 0; i < run->n_layers; i++)
        if (run->layers[i].is_joined && run->layers[i].joined[0] == a &&
            run->layers[i].joined[1] == b) {
            *out = i;
            return 0;
        }
    if (run->n_layers == run->layers_max)
        return rnn_fail(run->err, RNN_ELIMIT, "more than %zu layers", run->layers_max);
    *out = run->n_layers;
    layer = &run->layers[run->n_layers++];
    *layer = run->layers[a];
    layer->n_directions = 2;
    layer->directions[1] = run->layers[b].directions[0];
    layer->is_joined = true;
    layer->joined[0] = a;
    layer->joined[1] = b;
    stage.node = layer->node;
    stage.below = layer->below;
    stage.layer = *out;
    stage.width = 2 * layer->hidden;
    return onnx_stage_new(run, &stage, &layer->stage);
}

/* The layer whose directions are the entries, all and in order. */
static int find_layer(struct onnx_run *run, const struct onnx_node *node,
                      const struct onnx_value *value, size_t *out)
{
    const struct onnx_entry *e = value->entries;
    const struct onnx_layer *first = &run->layers[e[0].layer];

    for (size_t i = 0; i < value->n_entries; i++)
        if (e[i].what == ONNX_C)
            return onnx_stop(run, node, "it reads the cell state of a layer");
    *out = e[0].layer;
    if (value->n_entries == 1 && first->n_directions == 1)
        return 0;
    if (value->n_entries == 2 && e[0].layer == e[1].layer && first->n_directions == 2 &&
        e[0].direction == 0 && e[1].direction == 1)
        return 0;
    if (value->n_entries == 2 && e[0].layer != e[1].layer &&
        can_join(first, &run->layers[e[1].layer]))
        return join_layers(run, e[0].layer, e[1].layer, out);
    if (value->n_entries == 1)
        return onnx_stop(run, node, "it reads one direction of a layer without the other");
    return onnx_stop(run, node, "it reads states or directions that are not those of one layer");
}

/* What the entries are of their layer: its steps, or what is read out. */
static int find_pool(struct onnx_run *run, const struct onnx_node *node,
                     const struct onnx_value *value, bool *steps, enum rnn_pool *pool)
{
    size_t n_steps = 0;

    *pool = RNN_POOL_FINAL;
    for (size_t i = 0; i < value->n_entries; i++) {
        n_steps += value->entries[i].what == ONNX_STEPS;
        if (value->entries[i].what == ONNX_FIRST)
            return onnx_stop(run, node, "it reads the first step of a layer that runs forwards");
        if (value->entries[i].what == ONNX_LAST)
            *pool = RNN_POOL_LAST;
    }
    *steps = n_steps > 0;
    if (n_steps > 0 && n_steps < value->n_entries)
        return onnx_stop(run, node, "it reads all steps of one direction, one of the other");
    return 0;
}

/* The same stage again, where the same has been read of a layer a short while ago. */
static int stage_once(struct onnx_run *run, const struct onnx_stage *stage, size_t *out)
{
    size_t least = run->n_stages > 64 ? run->n_stages - 64 : 0;

    for (size_t i = run->n_stages; i-- > least;) {
        const struct onnx_stage *s = &run->stages[i];

        if (s->kind == stage->kind && s->below == stage->below && s->merge == stage->merge &&
            s->pool == stage->pool) {
            *out = i;
            return 0;
        }
    }
    return onnx_stage_new(run, stage, out);
}

/* `merge` NULL: side by side. */
static int settle_entries(struct onnx_run *run, const struct onnx_node *node,
                          struct onnx_value *value, const enum rnn_merge *merge)
{
    struct onnx_stage stage = {.node = node};
    enum rnn_pool pool = RNN_POOL_FINAL;
    bool steps = false;
    size_t layer = 0;
    int rc = find_layer(run, node, value, &layer);

    if (rc == 0)
        rc = find_pool(run, node, value, &steps, &pool);
    if (rc < 0)
        return rc;
    value->n_entries = 0;
    value->stage = run->layers[layer].stage;
    stage.width = run->stages[value->stage].width;
    if (merge) {
        stage.kind = ONNX_STAGE_MERGE;
        stage.merge = *merge;
        stage.below = value->stage;
        stage.width = run->layers[layer].hidden;
        rc = stage_once(run, &stage, &value->stage);
    }
    stage.kind = ONNX_STAGE_READOUT;
    stage.pool = pool;
    stage.below = value->stage;
    return rc < 0 || steps ? rc : stage_once(run, &stage, &value->stage);
}

int onnx_settle(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
                size_t features)
{
    if (value->kind == ONNX_INPUT)
        return settle_input(run, node, value, features);
    if (value->kind != ONNX_DATA)
        return onnx_stop(run, node, "it reads what is no output of a layer");
    return value->n_entries > 0 ? settle_entries(run, node, value, NULL) : 0;
}

int onnx_merge(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
               enum rnn_merge merge)
{
    int rc = settle_entries(run, node, value, &merge);

    value->features[0] = value->features[1];
    value->n_features = 1;
    return rc;
}
