/* Operators without a state: products, sums, activations, normalisations, readouts.
 *
 * Each acts on the features of a value, wherever these stand among its dimensions, and becomes a
 * stage of the model.  Sources: onnx/defs/math/defs.cc, nn/defs.cc, reduction/defs.cc. */
#include <math.h>
#include <string.h>

#include "import/onnx_value.h"

static int want(struct onnx_run *run, const struct onnx_node *node, size_t n)
{
    if (node->n_inputs < n || node->n_outputs < 1)
        return onnx_stop(run, node, "it lacks an input");
    return 0;
}

/* A stage above the value's; the features stay. */
static int add_stage(struct onnx_run *run, struct onnx_value *value, struct onnx_stage *stage)
{
    stage->below = value->stage;
    if (stage->width == 0)
        stage->width = run->stages[value->stage].width;
    return onnx_stage_new(run, stage, &value->stage);
}

/* The features' number; an axis of free size gets it. */
static int check_width(struct onnx_run *run, const struct onnx_node *node,
                       const struct onnx_value *value, const struct onnx_dim *dim, size_t width)
{
    struct onnx_symbol size = onnx_dim_symbol(dim);
    int64_t number;

    if (!onnx_dim_is_features(run, value, dim))
        return onnx_stop(run, node, "it does not act on the features");
    if (dim->n == 1)
        (void)onnx_axis_is(run, dim->axes[0], (int64_t)width);
    if (!onnx_symbol_number(run, &size, &number) || (size_t)number != width)
        return onnx_stop(run, node, "it wants %zu features", width);
    if (run->stages[value->stage].width == 0)
        run->stages[value->stage].width = width;
    return 0;
}

/* ---- Products ---- */

static int product(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
                   const struct onnx_tensor *t, bool out_in)
{
    struct onnx_stage stage = {
        .kind = ONNX_STAGE_PRODUCT, .node = node, .tensor = *t, .out_in = out_in};
    struct onnx_dim *dim = &value->dims[value->rank - 1];
    size_t reads = t->shape[out_in ? 1 : 0];
    uint32_t axis = 0;
    int rc;

    stage.width = t->shape[out_in ? 0 : 1];
    if (t->type > ONNX_F64 || reads == 0 || stage.width == 0)
        return onnx_stop(run, node, "its matrix holds no fractions");
    rc = onnx_settle(run, node, value, value->rank - 1);
    if (rc == 0)
        rc = check_width(run, node, value, dim, reads);
    if (rc == 0)
        rc = add_stage(run, value, &stage);
    if (rc == 0)
        rc = onnx_axis_new(run, (int64_t)stage.width, &axis);
    *dim = (struct onnx_dim){1, {axis}};
    value->features[0] = axis;
    value->n_features = 1;
    return rc;
}

int onnx_matmul(struct onnx_run *run, const struct onnx_node *node,
                const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_tensor t;
    int rc = want(run, node, 2);

    if (rc < 0)
        return rc;
    if (!onnx_is_data(inputs[0]) || inputs[1]->kind != ONNX_CONSTANT || inputs[0]->rank == 0)
        return onnx_stop(run, node, "it is not the product of data with a matrix of the file");
    t = inputs[1]->tensor;
    while (t.rank > 2 && t.rank <= inputs[0]->rank && t.shape[0] == 1)
        memmove(t.shape, t.shape + 1, --t.rank * sizeof *t.shape);
    if (t.rank != 2)
        return onnx_stop(run, node, "its second factor is no matrix");
    outputs[0] = *inputs[0];
    return product(run, node, &outputs[0], &t, false);
}

/* ---- Shifts and scales ---- */

/* Numbers as floats of the file's precision. */
static int computed(struct onnx_run *run, const double *values, size_t n, struct onnx_tensor *out)
{
    float *data = onnx_take(run, n, sizeof *data);

    if (!data)
        return run->err->code;
    for (size_t i = 0; i < n; i++)
        data[i] = (float)values[i];
    *out = (struct onnx_tensor){
        .name = "", .type = ONNX_F32, .rank = 1, .shape = {n}, .elements = n, .data = data};
    return 0;
}

/* A number for each feature, or one for all: `values`. */
static int apply_vector(struct onnx_run *run, const struct onnx_node *node,
                        struct onnx_value *value, enum onnx_stage_kind kind, const double *values,
                        size_t n)
{
    struct onnx_stage stage = {.kind = kind, .node = node};
    bool idle = true;
    int rc;

    for (size_t i = 0; i < n; i++)
        idle &= values[i] == (kind == ONNX_STAGE_SCALE ? 1 : 0);
    if (idle)
        return 0;
    rc = computed(run, values, n, &stage.tensor);
    return rc < 0 ? rc : add_stage(run, value, &stage);
}

/* The one dimension of the data along which the constant changes; SIZE_MAX: it has one number. */
static int find_dim(struct onnx_run *run, const struct onnx_node *node,
                    const struct onnx_value *data, const struct onnx_value *constant, size_t *out)
{
    const struct onnx_tensor *t = &constant->tensor;

    *out = SIZE_MAX;
    if (constant->kind == ONNX_UNIFORM || t->elements == 1)
        return constant->symbolic ? onnx_stop(run, node, "it adds sizes to data") : 0;
    if (t->type > ONNX_F64 || t->rank > data->rank || t->elements == 0)
        return onnx_stop(run, node, "its constant does not fit the data");
    for (size_t d = 0; d < t->rank; d++) {
        if (t->shape[d] == 1)
            continue;
        if (*out != SIZE_MAX)
            return onnx_stop(run, node, "its constant changes along two dimensions");
        *out = data->rank - t->rank + d;
    }
    return 0;
}

static double element(const struct onnx_value *value, size_t i)
{
    return value->kind == ONNX_UNIFORM ? value->number : onnx_number(&value->tensor, i);
}

/* data (op) constant, or constant (op) data where `turned`. */
static int with_constant(struct onnx_run *run, const struct onnx_node *node,
                         struct onnx_value *value, const struct onnx_value *constant, bool turned)
{
    char op = node->op[0]; /* Add, Sub, Mul, Div */
    size_t dim, n = constant->kind == ONNX_UNIFORM ? 1 : constant->tensor.elements;
    static const double minus = -1;
    double *values;
    int rc = find_dim(run, node, value, constant, &dim);

    if (rc == 0 && constant->kind == ONNX_CONSTANT && constant->tensor.type > ONNX_F64)
        rc = onnx_stop(run, node, "its constant holds no fractions");
    if (rc == 0)
        rc = onnx_settle(run, node, value, dim == SIZE_MAX ? value->rank - 1 : dim);
    if (rc == 0 && dim != SIZE_MAX)
        rc = check_width(run, node, value, &value->dims[dim], n);
    if (rc < 0)
        return rc;
    values = onnx_take(run, n, sizeof *values);
    if (!values)
        return run->err->code;
    for (size_t i = 0; i < n; i++) {
        values[i] = element(constant, i);
        if (op == 'S' && !turned)
            values[i] = -values[i];
        if (op == 'D')
            values[i] = 1 / values[i];
    }
    if (op == 'D' && turned)
        return onnx_stop(run, node, "it divides by data");
    if (op == 'S' && turned)
        rc = apply_vector(run, node, value, ONNX_STAGE_SCALE, &minus, 1);
    return rc < 0 ? rc
                  : apply_vector(run, node, value,
                                 op == 'A' || op == 'S' ? ONNX_STAGE_SHIFT : ONNX_STAGE_SCALE,
                                 values, n);
}

/* A sum of what a module gives and what it reads. */
static int add_residual(struct onnx_run *run, const struct onnx_node *node,
                        struct onnx_value *value, struct onnx_value *other)
{
    struct onnx_stage stage = {.kind = ONNX_STAGE_RESIDUAL, .node = node};
    size_t high, low, at;
    int rc = onnx_settle(run, node, value, value->rank - 1);

    if (rc == 0)
        rc = onnx_settle(run, node, other, other->rank - 1);
    if (rc < 0)
        return rc;
    if (value->stage < other->stage) { /* stages are numbered from below */
        struct onnx_value swap = *value;

        *value = *other;
        *other = swap;
    }
    high = value->stage;
    low = other->stage;
    for (at = high; at > low; at = run->stages[at].below)
        ;
    if (at != low || high == low || value->reversed || other->reversed ||
        !onnx_same_dims(run, value, other) || run->stages[high].width != run->stages[low].width)
        return onnx_stop(run, node, "it adds data that are not input and output of one layer");
    stage.skip = low;
    return add_stage(run, value, &stage);
}

static int merge_two(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
                     const struct onnx_value *other)
{
    struct onnx_entry *entries = onnx_take(run, 2, sizeof *entries);
    size_t a = value->entries[0].layer, b = other->entries[0].layer;

    if (!entries)
        return run->err->code;
    entries[0] = value->entries[0];
    entries[1] = other->entries[0];
    if (a == b ? entries[0].direction == 1 : run->layers[a].backwards) {
        entries[0] = other->entries[0];
        entries[1] = value->entries[0];
    }
    value->entries = entries;
    value->n_entries = 2;
    value->features[1] = value->features[0];
    return onnx_merge(run, node, value, node->op[0] == 'M' ? RNN_MERGE_MULTIPLY : RNN_MERGE_SUM);
}

/* Whether both are one direction each of what may be one layer. */
static bool are_directions(const struct onnx_run *run, const struct onnx_value *a,
                           const struct onnx_value *b)
{
    const struct onnx_layer *left, *right;

    if (a->kind != ONNX_DATA || b->kind != ONNX_DATA || a->n_entries != 1 || b->n_entries != 1 ||
        a->reversed || b->reversed || !onnx_same_dims(run, a, b))
        return false;
    left = &run->layers[a->entries[0].layer];
    right = &run->layers[b->entries[0].layer];
    return left->below == right->below && (left == right || left->backwards != right->backwards);
}

int onnx_binary(struct onnx_run *run, const struct onnx_node *node,
                const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_value other;
    int rc = want(run, node, 2);

    if (rc < 0)
        return rc;
    if (inputs[0]->kind == ONNX_ABSENT || inputs[1]->kind == ONNX_ABSENT)
        return onnx_stop(run, node, "it lacks an input");
    if (onnx_int(node, "broadcast", 0) && onnx_attribute(node, "axis"))
        return onnx_stop(run, node, "broadcasting as before version 7");
    outputs[0] = *inputs[onnx_is_data(inputs[0]) ? 0 : 1];
    other = *inputs[1];
    if (outputs[0].rank == 0)
        return onnx_stop(run, node, "it acts on no features");
    if (!onnx_is_data(inputs[0]) || !onnx_is_data(inputs[1]))
        return with_constant(run, node, &outputs[0], inputs[onnx_is_data(inputs[0]) ? 1 : 0],
                             !onnx_is_data(inputs[0]));
    if (other.rank == 0 || (node->op[0] != 'A' && node->op[0] != 'M'))
        return onnx_stop(run, node, "it combines data with data");
    if (are_directions(run, inputs[0], inputs[1]))
        return merge_two(run, node, &outputs[0], inputs[1]);
    if (node->op[0] == 'M')
        return onnx_stop(run, node, "it combines data with data");
    return add_residual(run, node, &outputs[0], &other);
}

int onnx_gemm(struct onnx_run *run, const struct onnx_node *node,
              const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    double alpha = (double)onnx_float(node, "alpha", 1), beta = (double)onnx_float(node, "beta", 1);
    struct onnx_value *value = &outputs[0];
    const struct onnx_value *c;
    double *values;
    size_t dim, n;
    int rc = want(run, node, 2);

    if (rc < 0)
        return rc;
    if (!onnx_is_data(inputs[0]) || inputs[0]->rank != 2 || inputs[1]->kind != ONNX_CONSTANT ||
        inputs[1]->tensor.rank != 2 || onnx_int(node, "transA", 0))
        return onnx_stop(run, node, "it is not the product of data with a matrix of the file");
    *value = *inputs[0];
    rc = product(run, node, value, &inputs[1]->tensor, onnx_int(node, "transB", 0) != 0);
    if (rc == 0)
        rc = apply_vector(run, node, value, ONNX_STAGE_SCALE, &alpha, 1);
    if (rc < 0 || node->n_inputs < 3 || inputs[2]->kind == ONNX_ABSENT)
        return rc;
    c = inputs[2];
    if (onnx_is_data(c))
        return onnx_stop(run, node, "what it adds is not in the file");
    rc = find_dim(run, node, value, c, &dim);
    n = c->kind == ONNX_UNIFORM ? 1 : c->tensor.elements;
    if (rc == 0 && dim != SIZE_MAX)
        rc = check_width(run, node, value, &value->dims[dim], n);
    if (rc < 0)
        return rc;
    values = onnx_take(run, n, sizeof *values);
    if (!values)
        return run->err->code;
    for (size_t i = 0; i < n; i++)
        values[i] = beta * element(c, i);
    return apply_vector(run, node, value, ONNX_STAGE_SHIFT, values, n);
}

/* ---- Activations ---- */

int onnx_activate(struct onnx_run *run, const struct onnx_node *node,
                  const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_stage stage = {.kind = ONNX_STAGE_ACTIVATION, .node = node};
    bool alpha, beta;
    int rc = want(run, node, 1);

    if (rc < 0)
        return rc;
    if (!onnx_is_data(inputs[0]) || inputs[0]->rank == 0 ||
        !onnx_activation(node->op, &stage.activation, &alpha, &beta))
        return onnx_stop(run, node, "an operator that is not read");
    if (alpha)
        stage.activation.alpha = onnx_float(node, "alpha", stage.activation.alpha);
    if (beta)
        stage.activation.beta = onnx_float(node, "beta", stage.activation.beta);
    if (!(fabsf(stage.activation.alpha) <= 1e6f && fabsf(stage.activation.beta) <= 1e6f))
        return onnx_stop(run, node, "alpha or beta is out of range");
    outputs[0] = *inputs[0];
    rc = onnx_settle(run, node, &outputs[0], outputs[0].rank - 1);
    return rc < 0 ? rc : add_stage(run, &outputs[0], &stage);
}

/* Up to version 12 all dimensions from `axis` on are one. */
static bool acts_on_features(struct onnx_run *run, const struct onnx_node *node,
                             const struct onnx_value *value)
{
    bool old = run->graph->opset < 13;
    int64_t axis = onnx_int(node, "axis", old ? 1 : -1);
    struct onnx_dim all = {0};

    axis += axis < 0 ? (int64_t)value->rank : 0;
    if (axis < 0 || (size_t)axis >= value->rank)
        return false;
    for (size_t d = (size_t)axis; d < (old ? value->rank : (size_t)axis + 1); d++) {
        uint32_t axes[ONNX_PARTS_MAX];
        size_t n = onnx_dim_axes(run, &value->dims[d], axes);

        if (all.n + n > ONNX_PARTS_MAX)
            return false;
        memcpy(all.axes + all.n, axes, n * sizeof *axes);
        all.n += n;
    }
    return onnx_dim_is_features(run, value, &all);
}

int onnx_softmax(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_stage stage = {
        .kind = node->op[0] == 'L' ? ONNX_STAGE_LOG_SOFTMAX : ONNX_STAGE_SOFTMAX, .node = node};
    int rc = want(run, node, 1);

    if (rc < 0)
        return rc;
    outputs[0] = *inputs[0];
    if (!onnx_is_data(inputs[0]) || inputs[0]->rank == 0)
        return onnx_stop(run, node, "its input is no output of a layer");
    rc = onnx_settle(run, node, &outputs[0], outputs[0].rank - 1);
    if (rc == 0 && !acts_on_features(run, node, &outputs[0]))
        rc = onnx_stop(run, node, "its axis is not that of the features");
    return rc < 0 ? rc : add_stage(run, &outputs[0], &stage);
}

/* Of a softmax only. */
int onnx_log(struct onnx_run *run, const struct onnx_node *node,
             const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_stage stage;
    int rc = want(run, node, 1);

    if (rc < 0)
        return rc;
    if (inputs[0]->kind != ONNX_DATA || inputs[0]->n_entries > 0 ||
        run->stages[inputs[0]->stage].kind != ONNX_STAGE_SOFTMAX)
        return onnx_stop(run, node, "it takes the logarithm of something other than a softmax");
    stage = run->stages[inputs[0]->stage];
    stage.kind = ONNX_STAGE_LOG_SOFTMAX;
    stage.node = node;
    outputs[0] = *inputs[0];
    return onnx_stage_new(run, &stage, &outputs[0].stage);
}

/* ---- Normalisations ---- */

static int vector_of(struct onnx_run *run, const struct onnx_node *node,
                     const struct onnx_value *value, size_t n)
{
    if (value->kind != ONNX_CONSTANT || value->tensor.type > ONNX_F64 || value->tensor.rank != 1 ||
        value->tensor.elements != n)
        return onnx_stop(run, node, "its parameters are not one number for each feature");
    return 0;
}

/* With what it has learned: x × scale / √(variance + ε) + … */
int onnx_batch_norm(struct onnx_run *run, const struct onnx_node *node,
                    const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    double epsilon = (double)onnx_float(node, "epsilon", 1e-5f), *scale, *shift;
    struct onnx_value *value = &outputs[0];
    size_t n;
    int rc = want(run, node, 5);

    if (rc < 0)
        return rc;
    if (!onnx_is_data(inputs[0]) || inputs[0]->rank < 2 || onnx_int(node, "training_mode", 0))
        return onnx_stop(run, node, "a use that is not read");
    n = inputs[1]->tensor.elements;
    for (size_t i = 1; i < 5 && rc == 0; i++)
        rc = vector_of(run, node, inputs[i], n);
    *value = *inputs[0];
    if (rc == 0)
        rc = onnx_settle(run, node, value, 1);
    if (rc == 0)
        rc = check_width(run, node, value, &value->dims[1], n);
    if (rc < 0)
        return rc;
    scale = onnx_take(run, 2 * n, sizeof *scale);
    if (!scale)
        return run->err->code;
    shift = scale + n;
    for (size_t i = 0; i < n; i++) {
        scale[i] = element(inputs[1], i) / sqrt(element(inputs[4], i) + epsilon);
        shift[i] = element(inputs[2], i) - element(inputs[3], i) * scale[i];
    }
    rc = apply_vector(run, node, value, ONNX_STAGE_SCALE, scale, n);
    return rc < 0 ? rc : apply_vector(run, node, value, ONNX_STAGE_SHIFT, shift, n);
}

int onnx_layer_norm(struct onnx_run *run, const struct onnx_node *node,
                    const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_stage stage = {
        .kind = ONNX_STAGE_NORM, .node = node, .epsilon = onnx_float(node, "epsilon", 1e-5f)};
    int64_t axis = onnx_int(node, "axis", -1);
    struct onnx_value *value = &outputs[0];
    double *zeros;
    size_t n;
    int rc = want(run, node, 2);

    if (rc < 0)
        return rc;
    n = inputs[1]->tensor.elements;
    if (!onnx_is_data(inputs[0]) || inputs[0]->rank == 0 || n == 0 ||
        (axis != -1 && axis != (int64_t)inputs[0]->rank - 1))
        return onnx_stop(run, node, "a use that is not read");
    rc = vector_of(run, node, inputs[1], n);
    if (rc < 0)
        return rc;
    stage.tensor = inputs[1]->tensor;
    if (node->n_inputs > 2 && inputs[2]->kind != ONNX_ABSENT) {
        rc = vector_of(run, node, inputs[2], n);
        stage.second = inputs[2]->tensor;
    } else {
        zeros = onnx_take(run, n, sizeof *zeros);
        rc = zeros ? computed(run, zeros, n, &stage.second) : run->err->code;
    }
    *value = *inputs[0];
    if (rc == 0)
        rc = onnx_settle(run, node, value, value->rank - 1);
    if (rc == 0)
        rc = check_width(run, node, value, &value->dims[value->rank - 1], n);
    return rc < 0 ? rc : add_stage(run, value, &stage);
}

/* ---- Tokens ---- */

int onnx_one_hot(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_stage stage = {.kind = ONNX_STAGE_ONE_HOT, .node = node};
    int64_t axis = onnx_int(node, "axis", -1), depth = 0;
    struct onnx_value *value = &outputs[0];
    int rc = want(run, node, 3);

    if (rc < 0)
        return rc;
    if (inputs[0]->kind != ONNX_INPUT || inputs[0]->rank == ONNX_RANK_MAX ||
        inputs[1]->kind != ONNX_CONSTANT || inputs[1]->tensor.elements != 1 ||
        inputs[1]->tensor.type == ONNX_SYMBOL || inputs[2]->kind != ONNX_CONSTANT ||
        inputs[2]->tensor.elements != 2 || element(inputs[2], 0) != 0 ||
        element(inputs[2], 1) != 1 || (axis != -1 && axis != (int64_t)inputs[0]->rank))
        return onnx_stop(run, node, "a use that is not read");
    if (element(inputs[1], 0) >= 1 && element(inputs[1], 0) <= (double)RNN_INPUT_MAX)
        depth = (int64_t)element(inputs[1], 0);
    if (depth == 0)
        return onnx_stop(run, node, "a depth that is out of range");
    *value = *inputs[0];
    rc = onnx_settle(run, node, value, SIZE_MAX);
    stage.below = value->stage;
    stage.width = (size_t)depth;
    if (rc == 0)
        rc = onnx_stage_new(run, &stage, &value->stage);
    if (rc == 0)
        rc = onnx_axis_new(run, depth, &value->features[0]);
    value->n_features = 1;
    value->dims[value->rank++] = (struct onnx_dim){1, {value->features[0]}};
    return rc;
}

/* ---- Readouts ---- */

static int pool_steps(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
                      enum rnn_pool pool)
{
    struct onnx_stage stage = {.kind = ONNX_STAGE_READOUT, .node = node, .pool = pool};
    int rc = onnx_settle(run, node, value, value->rank - 1);

    value->reversed = false;
    return rc < 0 ? rc : add_stage(run, value, &stage);
}

/* One dimension: of the steps, of the directions, or of 1. */
static int reduce_dim(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
                      size_t d)
{
    struct onnx_dim *dim = &value->dims[d];
    bool sum = strcmp(node->op, "ReduceSum") == 0, max = strcmp(node->op, "ReduceMax") == 0;
    uint32_t axes[ONNX_PARTS_MAX];
    int rc;

    if (onnx_dim_axes(run, dim, axes) == 0)
        return 0;
    if (value->kind == ONNX_DATA && run->has_layer && !sum && onnx_dim_is_axis(run, dim, run->time))
        rc = pool_steps(run, node, value, max ? RNN_POOL_MAX : RNN_POOL_MEAN);
    else if (value->kind == ONNX_DATA && value->n_entries == 2 && !max && !value->reversed &&
             onnx_dim_is_axis(run, dim, value->features[0]))
        rc = onnx_merge(run, node, value, sum ? RNN_MERGE_SUM : RNN_MERGE_AVERAGE);
    else
        return onnx_stop(run, node, "it reduces neither steps nor directions");
    *dim = (struct onnx_dim){0};
    return rc;
}

int onnx_reduce(struct onnx_run *run, const struct onnx_node *node,
                const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    const int64_t *axes = NULL;
    struct onnx_value *value = &outputs[0];
    bool present = false, drop[ONNX_RANK_MAX] = {false};
    size_t n = 0, rank = 0, d;
    int rc = want(run, node, 1);

    if (rc == 0)
        rc = onnx_integers(run, node, inputs, 1, "axes", &present, &axes, &n);
    if (rc < 0)
        return rc;
    if (!present || n != 1 || !onnx_is_data(inputs[0]))
        return onnx_stop(run, node, "it reduces other than one dimension of data");
    *value = *inputs[0];
    rc = onnx_axis(run, node, axes[0], value->rank, &d);
    if (rc == 0)
        rc = reduce_dim(run, node, value, d);
    if (rc < 0 || onnx_int(node, "keepdims", 1))
        return rc;
    drop[d] = true;
    for (size_t i = 0; i < value->rank; i++)
        if (!drop[i])
            value->dims[rank++] = value->dims[i];
    value->rank = rank;
    return 0;
}

/* Over all dimensions behind the second, which holds the features. */
int onnx_global_pool(struct onnx_run *run, const struct onnx_node *node,
                     const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_value *value = &outputs[0];
    int rc = want(run, node, 1);

    if (rc < 0)
        return rc;
    *value = *inputs[0];
    if (value->kind != ONNX_DATA || value->rank != 3 || !run->has_layer ||
        !onnx_dim_is_axis(run, &value->dims[2], run->time))
        return onnx_stop(run, node, "it pools something other than steps");
    rc = pool_steps(run, node, value,
                    strcmp(node->op, "GlobalMaxPool") == 0 ? RNN_POOL_MAX : RNN_POOL_MEAN);
    value->dims[2] = (struct onnx_dim){0};
    return rc;
}

/* ---- What changes nothing ---- */

/* Identity; Dropout, which is idle when a model is used; Cast between floats, or of ids. */
int onnx_pass(struct onnx_run *run, const struct onnx_node *node,
              const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    int64_t to = onnx_int(node, "to", 1);
    int rc = want(run, node, 1);

    if (rc < 0)
        return rc;
    if (inputs[0]->kind == ONNX_DATA && to != 1 && to != 10 && to != 11 && to != 16)
        return onnx_stop(run, node, "it rounds data to integers");
    outputs[0] = *inputs[0];
    return 0;
}
