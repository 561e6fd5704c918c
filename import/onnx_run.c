/* The walk over a graph: each node's inputs are looked up, and its operator tells what comes out.
 *
 * An operator that is not known, or used in a way that no layer here can follow, does not end the
 * walk: its outputs carry the reason, and so does all that depends on them.  Only where the model's
 * output is among that, the file is refused, with the first node on the way (see onnx_value.h). */
#include "import/onnx_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Values by name ---- */

struct onnx_slot {
    const char *name; /* NULL: free */
    struct onnx_value *value;
};

static size_t hash_of(const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return (size_t)(hash ^ hash >> 32);
}

static struct onnx_slot *slot_of(const struct onnx_run *run, const char *name)
{
    size_t i = hash_of(name) & (run->n_slots - 1);

    while (run->slots[i].name && strcmp(run->slots[i].name, name) != 0)
        i = (i + 1) & (run->n_slots - 1);
    return &run->slots[i];
}

struct onnx_value *onnx_value(const struct onnx_run *run, const char *name)
{
    return slot_of(run, name)->value;
}

static int define(struct onnx_run *run, const char *name, const struct onnx_value *value)
{
    struct onnx_slot *slot = slot_of(run, name);
    struct onnx_value *copy;

    if (slot->name)
        return rnn_fail(run->err, RNN_EFORMAT, "two values of the graph are called '%.80s'", name);
    copy = onnx_take(run, 1, sizeof *copy);
    if (!copy)
        return run->err->code;
    *copy = *value;
    *slot = (struct onnx_slot){name, copy};
    return 0;
}

static int make_slots(struct onnx_run *run)
{
    const struct onnx_graph *g = run->graph;
    size_t names = g->n_constants + g->n_inputs;

    for (size_t i = 0; i < g->n_nodes; i++)
        names += g->nodes[i].n_outputs;
    for (run->n_slots = 16; run->n_slots < 2 * names;)
        run->n_slots *= 2;
    run->slots = onnx_take(run, run->n_slots, sizeof *run->slots);
    return run->slots ? 0 : run->err->code;
}

static int make_lists(struct onnx_run *run)
{
    const struct onnx_graph *g = run->graph;

    run->axes_max = 4 * g->n_nodes + ONNX_RANK_MAX * (g->n_inputs + 2);
    run->stages_max = 4 * (g->n_nodes + g->n_outputs) + 8;
    run->layers_max = 2 * (g->n_nodes + g->n_outputs) + 2;
    run->axes = onnx_take(run, run->axes_max, sizeof *run->axes);
    run->stages = onnx_take(run, run->stages_max, sizeof *run->stages);
    run->layers = onnx_take(run, run->layers_max, sizeof *run->layers);
    return run->axes && run->stages && run->layers ? make_slots(run) : run->err->code;
}

/* ---- What operators use ---- */

void *onnx_take(struct onnx_run *run, size_t n, size_t size)
{
    void *memory = archive_alloc(run->archive, (n ? n : 1) * size, run->err);

    if (memory)
        memset(memory, 0, (n ? n : 1) * size);
    return memory;
}

int onnx_stop(struct onnx_run *run, const struct onnx_node *node, const char *format, ...)
{
    char words[160];
    va_list list;

    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    if (*node->name == '\0')
        return rnn_fail(run->err, RNN_EUNSUPPORTED, "node %zu (%.40s): %s", node->place, node->op,
                        words);
    return rnn_fail_at(run->err, RNN_EUNSUPPORTED, node->name, -1, "node %zu '%.60s' (%.40s): %s",
                       node->place, node->name, node->op, words);
}

bool onnx_is_data(const struct onnx_value *value)
{
    return value->kind == ONNX_INPUT || value->kind == ONNX_DATA;
}

int onnx_axis_new(struct onnx_run *run, int64_t size, uint32_t *out)
{
    if (run->n_axes == run->axes_max)
        return rnn_fail(run->err, RNN_ELIMIT, "more than %zu axes", run->axes_max);
    run->axes[run->n_axes] = size;
    *out = (uint32_t)run->n_axes++;
    return 0;
}

bool onnx_axis_is(struct onnx_run *run, uint32_t axis, int64_t size)
{
    if (run->axes[axis] < 0)
        run->axes[axis] = size;
    return run->axes[axis] == size;
}

bool onnx_symbol_number(const struct onnx_run *run, const struct onnx_symbol *symbol, int64_t *out)
{
    int64_t product = symbol->factor;

    for (size_t i = 0; i < symbol->n; i++)
        if (run->axes[symbol->axes[i]] < 0 ||
            __builtin_mul_overflow(product, run->axes[symbol->axes[i]], &product))
            return false;
    return !__builtin_add_overflow(symbol->n ? product : 0, symbol->more, out);
}

bool onnx_symbol_same(const struct onnx_symbol *a, const struct onnx_symbol *b)
{
    return a->n == b->n && a->more == b->more && (a->n == 0 || a->factor == b->factor) &&
           memcmp(a->axes, b->axes, a->n * sizeof *a->axes) == 0;
}

struct onnx_symbol onnx_dim_symbol(const struct onnx_dim *dim)
{
    struct onnx_symbol symbol = {.factor = 1, .n = (uint32_t)dim->n};

    if (dim->n == 0)
        symbol = (struct onnx_symbol){.more = 1};
    memcpy(symbol.axes, dim->axes, dim->n * sizeof *dim->axes);
    return symbol;
}

size_t onnx_dim_axes(const struct onnx_run *run, const struct onnx_dim *dim, uint32_t *out)
{
    size_t n = 0;

    for (size_t i = 0; i < dim->n; i++)
        if (run->axes[dim->axes[i]] != 1)
            out[n++] = dim->axes[i];
    return n;
}

bool onnx_dim_is_one(const struct onnx_run *run, const struct onnx_dim *dim)
{
    uint32_t axes[ONNX_PARTS_MAX];

    return onnx_dim_axes(run, dim, axes) == 0;
}

bool onnx_dim_is_features(const struct onnx_run *run, const struct onnx_value *value,
                          const struct onnx_dim *dim)
{
    struct onnx_dim features = {.n = value->n_features};
    uint32_t wanted[ONNX_PARTS_MAX], found[ONNX_PARTS_MAX];
    size_t n_wanted, n_found = onnx_dim_axes(run, dim, found);

    memcpy(features.axes, value->features, value->n_features * sizeof *value->features);
    n_wanted = onnx_dim_axes(run, &features, wanted);
    return value->n_features > 0 && n_wanted == n_found &&
           memcmp(wanted, found, n_found * sizeof *found) == 0;
}

bool onnx_dim_is_axis(const struct onnx_run *run, const struct onnx_dim *dim, int64_t axis)
{
    uint32_t axes[ONNX_PARTS_MAX];

    return onnx_dim_axes(run, dim, axes) == 1 && axes[0] == axis;
}

/* Features of both, or directions of both, or the very same axes. */
static bool same_dim(const struct onnx_run *run, const struct onnx_value *a,
                     const struct onnx_dim *left, const struct onnx_value *b,
                     const struct onnx_dim *right)
{
    uint32_t of_a[ONNX_PARTS_MAX], of_b[ONNX_PARTS_MAX];
    size_t n_a = onnx_dim_axes(run, left, of_a), n_b = onnx_dim_axes(run, right, of_b);

    for (size_t i = 0; i < n_a; i++)
        for (size_t k = 0; k < a->n_features; k++)
            if (of_a[i] == a->features[k])
                of_a[i] = UINT32_MAX;
    for (size_t i = 0; i < n_b; i++)
        for (size_t k = 0; k < b->n_features; k++)
            if (of_b[i] == b->features[k])
                of_b[i] = UINT32_MAX;
    while (n_a > 0 && of_a[n_a - 1] == UINT32_MAX)
        n_a--;
    while (n_b > 0 && of_b[n_b - 1] == UINT32_MAX)
        n_b--;
    return n_a == n_b && memcmp(of_a, of_b, n_a * sizeof *of_a) == 0;
}

bool onnx_same_dims(const struct onnx_run *run, const struct onnx_value *value,
                    const struct onnx_value *other)
{
    for (size_t d = 0; d < value->rank; d++)
        if (!same_dim(run, value, &value->dims[d], other, &other->dims[d]))
            return false;
    return value->rank == other->rank;
}

int onnx_stage_new(struct onnx_run *run, const struct onnx_stage *stage, size_t *out)
{
    if (run->n_stages == run->stages_max)
        return rnn_fail(run->err, RNN_ELIMIT, "more than %zu stages", run->stages_max);
    run->stages[run->n_stages] = *stage;
    *out = run->n_stages++;
    return 0;
}

/* ---- Operators ---- */

static const struct {
    const char *op;
    onnx_operator *read;
} operators[] = {
    {"RNN", onnx_recurrent},
    {"LSTM", onnx_recurrent},
    {"GRU", onnx_recurrent},
    {"Gather", onnx_gather},
    {"OneHot", onnx_one_hot},
    {"MatMul", onnx_matmul},
    {"Gemm", onnx_gemm},
    {"Add", onnx_binary},
    {"Sub", onnx_binary},
    {"Mul", onnx_binary},
    {"Div", onnx_binary},
    {"Softmax", onnx_softmax},
    {"LogSoftmax", onnx_softmax},
    {"Log", onnx_log},
    {"Sigmoid", onnx_activate},
    {"Tanh", onnx_activate},
    {"Relu", onnx_activate},
    {"LeakyRelu", onnx_activate},
    {"ThresholdedRelu", onnx_activate},
    {"Elu", onnx_activate},
    {"HardSigmoid", onnx_activate},
    {"Softsign", onnx_activate},
    {"BatchNormalization", onnx_batch_norm},
    {"LayerNormalization", onnx_layer_norm},
    {"Transpose", onnx_transpose},
    {"Squeeze", onnx_squeeze},
    {"Unsqueeze", onnx_unsqueeze},
    {"Reshape", onnx_reshape},
    {"Flatten", onnx_flatten},
    {"Slice", onnx_slice},
    {"Split", onnx_split},
    {"Concat", onnx_concat},
    {"Expand", onnx_expand},
    {"Shape", onnx_shape},
    {"ReduceMean", onnx_reduce},
    {"ReduceSum", onnx_reduce},
    {"ReduceMax", onnx_reduce},
    {"GlobalAveragePool", onnx_global_pool},
    {"GlobalMaxPool", onnx_global_pool},
    {"Identity", onnx_pass},
    {"Dropout", onnx_pass},
    {"Cast", onnx_pass},
};

static bool is_own(const struct onnx_node *node)
{
    return *node->domain == '\0' || strcmp(node->domain, "ai.onnx") == 0;
}

static int apply(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    bool known = false;
    int rc;

    if (!is_own(node))
        return onnx_stop(run, node, "an operator of '%.60s', not of ONNX", node->domain);
    for (size_t i = 0; i < node->n_attributes; i++)
        if (node->attributes[i].kind == ONNX_GRAPH)
            return onnx_stop(run, node, "an operator with a graph of its own");
    rc = onnx_fold(run, node, inputs, outputs, &known);
    if (!known && rc == 0)
        rc = onnx_moments(run, node, inputs, outputs, &known);
    if (known || rc < 0)
        return rc;
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (strcmp(operators[i].op, node->op) == 0)
            return operators[i].read(run, node, inputs, outputs);
    return onnx_stop(run, node, "an operator that is not read");
}

/* ---- Nodes ---- */

static struct onnx_value stopped(const char *why)
{
    return (struct onnx_value){.kind = ONNX_STOPPED, .why = why};
}

/* Inputs of a node; *why is the reason if one of them is not understood. */
static int look_up(struct onnx_run *run, const struct onnx_node *node,
                   const struct onnx_value **inputs, const char **why)
{
    static const struct onnx_value absent = {.kind = ONNX_ABSENT};

    for (size_t i = 0; i < node->n_inputs; i++) {
        const char *name = node->inputs[i];
        const struct onnx_value *value = *name ? onnx_value(run, name) : &absent;

        if (!value)
            return rnn_fail(run->err, RNN_EFORMAT,
                            "node %zu '%.60s' (%.40s): nothing before it gives its input '%.60s'",
                            node->place, node->name, node->op, name);
        inputs[i] = value;
        if (value->kind == ONNX_STOPPED && !*why)
            *why = value->why;
    }
    return 0;
}

/* A stop becomes the value of all outputs; other faults end the walk. */
static int stop_outputs(struct onnx_run *run, const struct onnx_node *node,
                        struct onnx_value *outputs, const char *why)
{
    if (!why) {
        why = archive_text(run->archive, run->err->text, strlen(run->err->text), run->err);
        if (!why)
            return RNN_ENOMEM;
    }
    for (size_t i = 0; i < node->n_outputs; i++)
        outputs[i] = stopped(why);
    return 0;
}

static int run_node(struct onnx_run *run, const struct onnx_node *node)
{
    const struct onnx_value *inputs[ONNX_PORTS_MAX];
    struct onnx_value *outputs = calloc(node->n_outputs + 1, sizeof *outputs);
    const char *why = NULL;
    int rc = outputs ? look_up(run, node, inputs, &why)
                     : rnn_fail(run->err, RNN_ENOMEM, "out of memory");

    if (rc == 0 && !why)
        rc = apply(run, node, inputs, outputs);
    if (rc == RNN_EUNSUPPORTED || why)
        rc = stop_outputs(run, node, outputs, why);
    for (size_t i = 0; i < node->n_outputs && rc == 0; i++) {
        if (outputs[i].kind == ONNX_ABSENT)
            outputs[i] = stopped("an output of a node that is not read");
        if (*node->outputs[i])
            rc = define(run, node->outputs[i], &outputs[i]);
    }
    free(outputs);
    return rc;
}

/* ---- The graph ---- */

static int define_constants(struct onnx_run *run)
{
    int rc = 0;

    for (size_t i = 0; i < run->graph->n_constants && rc == 0; i++) {
        const struct onnx_constant *c = &run->graph->constants[i];
        struct onnx_value value = {.kind = ONNX_CONSTANT, .tensor = c->tensor};

        if (!c->readable)
            value = stopped(c->why);
        rc = define(run, c->name, &value);
    }
    return rc;
}

static int define_unknown(struct onnx_run *run, const struct onnx_port *port)
{
    struct onnx_value value;
    char why[200];

    snprintf(why, sizeof why,
             "input '%.80s' of the graph does not say how many dimensions it has, or is no tensor",
             port->name);
    value = stopped(archive_text(run->archive, why, strlen(why), run->err));
    return value.why ? define(run, port->name, &value) : run->err->code;
}

/* Files of IR version 3 name constants among the inputs, too. */
static int define_input(struct onnx_run *run, size_t i)
{
    const struct onnx_port *port = &run->graph->inputs[i];
    struct onnx_value value = {.kind = ONNX_INPUT, .input = i, .rank = port->rank};
    int rc = 0;

    if (onnx_value(run, port->name))
        return 0;
    if (!port->has_shape || port->type == 0)
        return define_unknown(run, port);
    for (size_t d = 0; d < value.rank && rc == 0; d++) {
        value.dims[d].n = 1;
        rc = onnx_axis_new(run, port->shape[d], &value.dims[d].axes[0]);
    }
    return rc < 0 ? rc : define(run, port->name, &value);
}

int onnx_run_graph(struct onnx_run *run)
{
    int rc = make_lists(run);

    run->time = run->batch = ONNX_NO_AXIS;
    if (rc == 0)
        rc = define_constants(run);
    for (size_t i = 0; i < run->graph->n_inputs && rc == 0; i++)
        rc = define_input(run, i);
    for (size_t i = 0; i < run->graph->n_nodes && rc == 0; i++)
        rc = run_node(run, &run->graph->nodes[i]);
    return rc;
}
