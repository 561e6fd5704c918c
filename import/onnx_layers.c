/* The operators RNN, LSTM and GRU, with all that can be said of them.
 *
 * Source: onnx/defs/rnn/defs.cc of ONNX 1.12, "Recurrent Operators" 7 and 14.  Where it leaves the
 * order of activation_alpha and activation_beta open, they are dealt out as ONNX Runtime does: in
 * the order of the activations, to those that take one.  Both directions must have the same
 * activations, as a layer here has one set of them. */
#include <ctype.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "import/onnx_value.h"

enum { X, W, R, B, LENGTHS, INITIAL_H, INITIAL_C, PEEPHOLES, N_PORTS };

/* A node being read. */
struct reading {
    struct onnx_run *run;
    const struct onnx_node *node;
    const struct onnx_value *ports[N_PORTS];
    struct onnx_layer layer;
    bool batch_first;
    struct onnx_value x;
};

/* ---- Activations ---- */

/* What each is, and its parameters where the file gives none; ONNX has none for NAN. */
static const struct {
    const char *name;
    struct rnn_activation activation;
    bool alpha, beta; /* whether it takes them */
} activations[] = {
    {"tanh", {RNN_TANH, 1, 1}, false, false},
    {"relu", {RNN_RELU, 0, 0}, false, false},
    {"sigmoid", {RNN_SIGMOID, 1, 0}, false, false},
    {"affine", {RNN_LINEAR, NAN, NAN}, true, true},
    {"hardsigmoid", {RNN_HARD_SIGMOID, 0.2f, 0.5f}, true, true},
    {"leakyrelu", {RNN_LEAKY_RELU, 0.01f, 0}, true, false},
    {"thresholdedrelu", {RNN_THRESHOLDED_RELU, 1, 0}, true, false},
    {"scaledtanh", {RNN_SCALED_TANH, NAN, NAN}, true, true},
    {"elu", {RNN_ELU, 1, 0}, true, false},
    {"softsign", {RNN_SOFTSIGN, 1, 1}, false, false},
};

bool onnx_activation(const char *name, struct rnn_activation *out, bool *alpha, bool *beta)
{
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcasecmp(activations[i].name, name) == 0) {
            *out = activations[i].activation;
            *alpha = activations[i].alpha;
            *beta = activations[i].beta;
            return true;
        }
    return false;
}

/* Parameters that are still to be dealt out. */
struct parameters {
    const float *list;
    size_t n;
};

static struct parameters parameters_of(const struct onnx_node *node, const char *name)
{
    const struct onnx_attribute *a = onnx_attribute(node, name);

    return a && a->kind == ONNX_FLOATS ? (struct parameters){a->floats, a->n}
                                       : (struct parameters){0};
}

static void deal(struct parameters *from, bool takes, float *out)
{
    if (takes && from->n > 0) {
        *out = *from->list++;
        from->n--;
    }
}

static int read_activation(struct reading *r, const char *name, struct parameters *alphas,
                           struct parameters *betas, struct rnn_activation *out)
{
    bool alpha, beta;

    if (!onnx_activation(name, out, &alpha, &beta))
        return onnx_stop(r->run, r->node, "activation '%.40s' is not read", name);
    deal(alphas, alpha, &out->alpha);
    deal(betas, beta, &out->beta);
    if (!isfinite(out->alpha) || !isfinite(out->beta) || fabsf(out->alpha) > 1e6f ||
        fabsf(out->beta) > 1e6f)
        return onnx_stop(r->run, r->node,
                         "activation '%.40s' wants its activation_alpha and activation_beta", name);
    return 0;
}

/* f (and g, and h) of each direction; absent: Sigmoid, Tanh, Tanh. */
static int read_activations(struct reading *r)
{
    static const struct rnn_activation tanh = {RNN_TANH, 1, 1}, sigmoid = {RNN_SIGMOID, 1, 0};
    const struct onnx_attribute *a = onnx_attribute(r->node, "activations");
    struct parameters alphas = parameters_of(r->node, "activation_alpha");
    struct parameters betas = parameters_of(r->node, "activation_beta");
    struct onnx_layer *layer = &r->layer;
    size_t each = layer->gates == 1 ? 1 : layer->gates - 1;
    int rc = 0;

    layer->activations[0] = layer->gates == 1 ? tanh : sigmoid;
    layer->activations[1] = layer->activations[2] = tanh;
    if (!a || (a->kind == ONNX_STRINGS && a->n == 0))
        return 0;
    each = layer->gates == 4 ? 3 : layer->gates == 3 ? 2 : 1;
    if (a->kind != ONNX_STRINGS || a->n != each * layer->n_directions)
        return onnx_stop(r->run, r->node, "activations: want %zu names",
                         each * layer->n_directions);
    for (size_t i = 0; i < a->n && rc == 0; i++) {
        struct rnn_activation found;

        rc = read_activation(r, a->strings[i], &alphas, &betas, &found);
        if (rc == 0 && i < each)
            layer->activations[i] = found;
        else if (rc == 0 && (found.kind != layer->activations[i - each].kind ||
                             found.alpha != layer->activations[i - each].alpha ||
                             found.beta != layer->activations[i - each].beta))
            return onnx_stop(r->run, r->node, "its two directions have different activations");
    }
    if (rc == 0 && (alphas.n > 0 || betas.n > 0))
        return onnx_stop(r->run, r->node, "more activation_alpha or _beta than activations take");
    return rc;
}

/* ---- Attributes ---- */

static int check_attributes(struct reading *r)
{
    static const struct {
        const char *name;
        unsigned gates; /* 0: any */
    } known[] = {
        {"activation_alpha", 0},    {"activation_beta", 0}, {"activations", 0}, {"clip", 0},
        {"direction", 0},           {"hidden_size", 0},     {"layout", 0},      {"input_forget", 4},
        {"linear_before_reset", 3}, {"output_sequence", 0}};

    for (size_t i = 0; i < r->node->n_attributes; i++) {
        const char *name = r->node->attributes[i].name;
        size_t k = 0, n = sizeof known / sizeof *known;

        while (k < n && (strcmp(known[k].name, name) != 0 ||
                         (known[k].gates && known[k].gates != r->layer.gates)))
            k++;
        if (k == n)
            return onnx_stop(r->run, r->node, "attribute '%.40s' is not known", name);
    }
    return 0;
}

static int read_attributes(struct reading *r)
{
    const struct onnx_attribute *a = onnx_attribute(r->node, "direction");
    const char *direction = a && a->s ? a->s : "forward";
    struct onnx_layer *layer = &r->layer;
    int rc = check_attributes(r);

    if (rc < 0)
        return rc;
    layer->n_directions = 1;
    if (strcmp(direction, "bidirectional") == 0)
        layer->n_directions = 2;
    else if (strcmp(direction, "reverse") == 0)
        layer->backwards = true;
    else if (strcmp(direction, "forward") != 0)
        return onnx_stop(r->run, r->node, "direction '%.40s' is not known", direction);
    layer->clip = onnx_float(r->node, "clip", 0);
    if (!isfinite(layer->clip) || layer->clip < 0 || layer->clip > 1e30f)
        return onnx_stop(r->run, r->node, "clip: want a number greater than 0");
    layer->input_forget = onnx_int(r->node, "input_forget", 0) != 0;
    layer->reset_after = onnx_int(r->node, "linear_before_reset", 0) != 0;
    r->batch_first = onnx_int(r->node, "layout", 0) != 0;
    return read_activations(r);
}

/* ---- Weights ---- */

static int want_weights(struct reading *r, size_t port, size_t rank, const char *what,
                        struct onnx_tensor *out)
{
    const struct onnx_value *value = r->ports[port];

    if (value->kind != ONNX_CONSTANT || value->tensor.type > ONNX_F64)
        return onnx_stop(r->run, r->node, "its %s are not in the file as numbers", what);
    *out = value->tensor;
    if (out->rank != rank || out->shape[0] != r->layer.n_directions || out->elements == 0)
        return onnx_stop(r->run, r->node, "its %s are not of %u direction%s", what,
                         r->layer.n_directions, r->layer.n_directions == 1 ? "" : "s");
    return 0;
}

static int read_matrices(struct reading *r, struct onnx_tensor *w, struct onnx_tensor *recurrent)
{
    struct onnx_layer *layer = &r->layer;
    int64_t hidden = onnx_int(r->node, "hidden_size", 0);
    int rc = want_weights(r, W, 3, "weights W", w);

    if (rc == 0)
        rc = want_weights(r, R, 3, "weights R", recurrent);
    if (rc < 0)
        return rc;
    layer->hidden = recurrent->shape[2];
    layer->reads = w->shape[2];
    if (layer->hidden > RNN_HIDDEN_MAX || layer->reads > RNN_INPUT_MAX)
        return onnx_stop(r->run, r->node, "%zu units that read %zu numbers are too many",
                         layer->hidden, layer->reads);
    if (w->shape[1] != layer->gates * layer->hidden ||
        recurrent->shape[1] != layer->gates * layer->hidden ||
        (hidden && (size_t)hidden != layer->hidden))
        return onnx_stop(r->run, r->node,
                         "W has %zu rows, R is %zux%zu, hidden_size %lld: they do not fit",
                         w->shape[1], recurrent->shape[1], recurrent->shape[2], (long long)hidden);
    return 0;
}

static bool is_given(const struct reading *r, size_t port)
{
    return r->ports[port]->kind != ONNX_ABSENT && !onnx_is_everywhere(r->ports[port], 0);
}

static int read_weights(struct reading *r)
{
    struct onnx_layer *layer = &r->layer;
    struct onnx_tensor w = {0}, recurrent = {0}, bias = {0}, peepholes = {0};
    bool has_bias = r->ports[B]->kind == ONNX_CONSTANT || is_given(r, B);
    bool has_peepholes = is_given(r, PEEPHOLES);
    int rc = read_matrices(r, &w, &recurrent);

    if (rc == 0 && has_bias)
        rc = want_weights(r, B, 2, "biases", &bias);
    if (rc == 0 && has_bias && bias.shape[1] != 2 * layer->gates * layer->hidden)
        rc = onnx_stop(r->run, r->node, "its biases are not twice %zu numbers",
                       layer->gates * layer->hidden);
    if (rc == 0 && has_peepholes && layer->gates != 4)
        rc = onnx_stop(r->run, r->node, "an input too many");
    if (rc == 0 && has_peepholes)
        rc = want_weights(r, PEEPHOLES, 2, "peepholes", &peepholes);
    if (rc == 0 && has_peepholes && peepholes.shape[1] != 3 * layer->hidden)
        rc = onnx_stop(r->run, r->node, "its peepholes are not three times %zu numbers",
                       layer->hidden);
    for (size_t d = 0; d < layer->n_directions; d++)
        layer->directions[d] = (struct onnx_direction){.w = w,
                                                       .r = recurrent,
                                                       .b = bias,
                                                       .p = peepholes,
                                                       .index = d,
                                                       .has_bias = has_bias,
                                                       .has_peepholes = has_peepholes};
    return rc;
}

/* ---- What goes in ---- */

/* The one axis of a dimension: one of several entries, else one of 1, else none. */
static int axis_of(struct reading *r, size_t d, int64_t *out)
{
    const struct onnx_dim *dim = &r->x.dims[d];
    uint32_t axes[ONNX_PARTS_MAX];
    size_t n = onnx_dim_axes(r->run, dim, axes);

    if (n > 1)
        return onnx_stop(r->run, r->node, "steps and batch are one dimension of its input");
    *out = ONNX_NO_AXIS;
    if (n == 1)
        *out = axes[0];
    if (n == 0 && dim->n > 0)
        *out = dim->axes[0];
    return 0;
}

static bool is_long(const struct onnx_run *run, int64_t axis)
{
    return axis != ONNX_NO_AXIS && run->axes[axis] != 1;
}

/* Which axes are time and batch is told by the first layer, and must hold for the others. */
static int check_axes(struct reading *r)
{
    struct onnx_run *run = r->run;
    int64_t time, batch;
    int rc = axis_of(r, r->batch_first ? 1 : 0, &time);

    if (rc == 0)
        rc = axis_of(r, r->batch_first ? 0 : 1, &batch);
    if (rc < 0)
        return rc;
    if (!run->has_layer) {
        run->has_layer = true;
        run->time = time;
        run->batch = batch;
    }
    if ((is_long(run, time) || is_long(run, run->time)) && time != run->time)
        return onnx_stop(run, r->node, "it steps along another axis than the layers before it");
    if ((is_long(run, batch) || is_long(run, run->batch)) && batch != run->batch)
        return onnx_stop(run, r->node, "its batch is another axis than that of the layers before");
    if (r->x.reversed && r->x.reversed_axis != (uint32_t)time)
        return onnx_stop(run, r->node, "an axis other than time is turned around");
    return 0;
}

static int read_x(struct reading *r)
{
    struct onnx_run *run = r->run;
    struct onnx_dim *dim;
    int64_t size;
    struct onnx_symbol symbol;
    int rc;

    r->x = *r->ports[X];
    if ((r->x.kind != ONNX_INPUT && r->x.kind != ONNX_DATA) || r->x.rank != 3)
        return onnx_stop(run, r->node, "its input X is no sequence of features");
    rc = onnx_settle(run, r->node, &r->x, 2);
    if (rc < 0)
        return rc;
    dim = &r->x.dims[2];
    if (!onnx_dim_is_features(run, &r->x, dim))
        return onnx_stop(run, r->node, "the last dimension of its input is not the features");
    if (dim->n == 1)
        (void)onnx_axis_is(run, dim->axes[0], (int64_t)r->layer.reads);
    symbol = onnx_dim_symbol(dim);
    if (!onnx_symbol_number(run, &symbol, &size) || (size_t)size != r->layer.reads)
        return onnx_stop(run, r->node, "its W wants %zu features", r->layer.reads);
    if (run->stages[r->x.stage].width == 0)
        run->stages[r->x.stage].width = r->layer.reads;
    r->layer.below = r->x.stage;
    if (r->x.reversed && r->layer.n_directions == 2)
        return onnx_stop(run, r->node, "a sequence turned around, read in both directions");
    r->layer.backwards ^= r->x.reversed;
    return check_axes(r);
}

static bool is_length(const struct onnx_run *run, const struct onnx_symbol *symbol)
{
    struct onnx_symbol time = {.factor = 1, .n = 1, .axes = {(uint32_t)run->time}};

    return run->time != ONNX_NO_AXIS && onnx_symbol_same(symbol, &time);
}

/* Whether all sequences are as long as the input. */
static bool is_whole_length(const struct onnx_run *run, const struct onnx_value *value)
{
    int64_t steps = run->time == ONNX_NO_AXIS ? 1 : run->axes[run->time];
    const struct onnx_tensor *t = &value->tensor;

    if (value->kind == ONNX_UNIFORM && value->symbolic)
        return is_length(run, &value->symbol);
    if (value->kind != ONNX_CONSTANT || t->type != ONNX_SYMBOL)
        return steps > 0 && onnx_is_everywhere(value, (double)steps);
    for (size_t i = 0; i < t->elements; i++) {
        struct onnx_symbol symbol = onnx_symbol_at(t, i);

        if (!is_length(run, &symbol))
            return false;
    }
    return true;
}

/* Lengths of sequences: an input of the graph, which are the lengths of requests here; or the
 * length of all, computed. */
static int check_lengths(struct reading *r)
{
    const struct onnx_value *value = r->ports[LENGTHS];

    if (value->kind == ONNX_ABSENT || (value->kind == ONNX_INPUT && !value->is_cut) ||
        is_whole_length(r->run, value))
        return 0;
    return onnx_stop(r->run, r->node, "sequence_lens is neither an input nor the whole length");
}

/* ---- Initial states ---- */

/* Row [d, b] of a constant [directions, batch, hidden] (or [batch, directions, hidden]); every b
 * must have the same. */
static int read_constant_state(struct reading *r, const struct onnx_tensor *t, size_t d,
                               struct onnx_state *out)
{
    size_t hidden = r->layer.hidden, at = r->batch_first ? 1 : 0;
    size_t batch = t->rank == 3 ? t->shape[1 - at] : 0;
    size_t step = r->batch_first ? t->shape[1] * hidden : hidden;
    size_t first = r->batch_first ? d * hidden : d * batch * hidden;
    bool zero = true;
    double *values;

    if (t->rank != 3 || t->shape[at] != r->layer.n_directions || t->shape[2] != hidden ||
        batch == 0 || t->type > ONNX_F64)
        return onnx_stop(r->run, r->node, "an initial state of a shape that does not fit");
    values = onnx_take(r->run, hidden, sizeof *values);
    if (!values)
        return r->run->err->code;
    for (size_t i = 0; i < hidden; i++) {
        values[i] = onnx_number(t, first + i);
        zero &= values[i] == 0;
        for (size_t b = 1; b < batch; b++)
            if (onnx_number(t, first + b * step + i) != values[i])
                return onnx_stop(r->run, r->node, "initial states that differ within a batch");
    }
    out->values = zero ? NULL : values;
    return 0;
}

static int read_uniform_state(struct reading *r, double number, struct onnx_state *out)
{
    double *values = number != 0 ? onnx_take(r->run, r->layer.hidden, sizeof *values) : NULL;

    if (number != 0 && !values)
        return r->run->err->code;
    for (size_t i = 0; values && i < r->layer.hidden; i++)
        values[i] = number;
    out->values = values;
    return 0;
}

static int check_given_state(struct reading *r, const struct onnx_value *value)
{
    size_t wanted[2] = {r->layer.n_directions, r->layer.hidden};
    size_t dims[2] = {r->batch_first ? 1 : 0, 2};
    bool fits = value->rank == 3;

    for (size_t i = 0; i < 2 && fits; i++) {
        struct onnx_symbol size = onnx_dim_symbol(&value->dims[dims[i]]);
        int64_t number;

        fits = !onnx_symbol_number(r->run, &size, &number) || (size_t)number == wanted[i];
    }
    if (fits && r->run->has_data && value->input == r->run->data)
        fits = false;
    return fits ? 0
                : onnx_stop(r->run, r->node, "the initial state '%.60s' does not fit",
                            r->run->graph->inputs[value->input].name);
}

static int read_state(struct reading *r, size_t port, size_t d, struct onnx_state *out)
{
    const struct onnx_value *value = r->ports[port];
    int rc;

    *out = (struct onnx_state){0};
    switch (value->kind) {
    case ONNX_ABSENT:
        return 0;
    case ONNX_UNIFORM:
        if (value->symbolic)
            return onnx_stop(r->run, r->node, "an initial state that depends on the input's size");
        return read_uniform_state(r, value->number, out);
    case ONNX_CONSTANT:
        return read_constant_state(r, &value->tensor, d, out);
    case ONNX_INPUT:
        rc = check_given_state(r, value);
        *out = (struct onnx_state){.given = true, .input = value->input, .at = value->cut + d};
        return rc;
    default:
        return onnx_stop(r->run, r->node, "its initial state is computed of the data");
    }
}

static int read_states(struct reading *r)
{
    int rc = 0;

    for (size_t d = 0; d < r->layer.n_directions && rc == 0; d++) {
        rc = read_state(r, INITIAL_H, d, &r->layer.directions[d].h);
        if (rc == 0 && r->layer.gates == 4)
            rc = read_state(r, INITIAL_C, d, &r->layer.directions[d].c);
    }
    return rc;
}

/* ---- What comes out ---- */

static int make_output(struct reading *r, enum onnx_what what, uint32_t directions, uint32_t units,
                       struct onnx_value *out)
{
    struct onnx_entry *entries = onnx_take(r->run, r->layer.n_directions, sizeof *entries);
    bool first = r->batch_first, both = r->layer.n_directions == 2, steps = what == ONNX_STEPS;
    struct onnx_dim side = {both, {directions}}, width = {1, {units}};
    const struct onnx_dim *time = &r->x.dims[first ? 1 : 0], *batch = &r->x.dims[first ? 0 : 1];

    if (!entries)
        return r->run->err->code;
    for (unsigned d = 0; d < r->layer.n_directions; d++)
        entries[d] = (struct onnx_entry){r->run->n_layers - 1, d, what};
    *out = (struct onnx_value){.kind = ONNX_DATA,
                               .entries = entries,
                               .n_entries = r->layer.n_directions,
                               .reversed = steps && r->x.reversed,
                               .reversed_axis = r->x.reversed_axis,
                               .features = {both ? directions : units, units},
                               .n_features = both ? 2 : 1};
    if (first)
        out->dims[out->rank++] = *batch;
    if (steps)
        out->dims[out->rank++] = *time;
    out->dims[out->rank++] = side;
    if (!first)
        out->dims[out->rank++] = *batch;
    out->dims[out->rank++] = width;
    return 0;
}

static int make_outputs(struct reading *r, struct onnx_value *outputs)
{
    static const enum onnx_what what[] = {ONNX_STEPS, ONNX_H, ONNX_C};
    size_t most = r->layer.gates == 4 ? 3 : 2;
    uint32_t directions = 0, units = 0;
    int rc = onnx_axis_new(r->run, r->layer.n_directions, &directions);

    if (rc == 0)
        rc = onnx_axis_new(r->run, (int64_t)r->layer.hidden, &units);
    for (size_t i = 0; i < r->node->n_outputs && i < most && rc == 0; i++)
        rc = make_output(r, what[i], directions, units, &outputs[i]);
    return rc;
}

static int add_layer(struct reading *r)
{
    struct onnx_run *run = r->run;
    struct onnx_stage stage = {.kind = ONNX_STAGE_LAYER,
                               .node = r->node,
                               .below = r->layer.below,
                               .layer = run->n_layers,
                               .width = r->layer.n_directions * r->layer.hidden};
    int rc;

    if (run->n_layers == run->layers_max)
        return rnn_fail(run->err, RNN_ELIMIT, "more than %zu layers", run->layers_max);
    rc = onnx_stage_new(run, &stage, &r->layer.stage);
    if (rc == 0)
        run->layers[run->n_layers++] = r->layer;
    return rc;
}

int onnx_recurrent(struct onnx_run *run, const struct onnx_node *node,
                   const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    static const struct onnx_value absent = {.kind = ONNX_ABSENT};
    struct reading r = {.run = run, .node = node};
    int rc;

    r.layer.node = node;
    r.layer.gates = node->op[0] == 'L' ? 4 : node->op[0] == 'G' ? 3 : 1;
    for (size_t i = 0; i < N_PORTS; i++)
        r.ports[i] = i < node->n_inputs ? inputs[i] : &absent;
    if (node->n_inputs > (r.layer.gates == 4 ? 8u : 6u))
        return onnx_stop(run, node, "an input too many");
    rc = read_attributes(&r);
    if (rc == 0)
        rc = read_weights(&r);
    if (rc == 0)
        rc = read_x(&r);
    if (rc == 0)
        rc = check_lengths(&r);
    if (rc == 0)
        rc = read_states(&r);
    if (rc == 0)
        rc = add_layer(&r);
    return rc < 0 ? rc : make_outputs(&r, outputs);
}
