/* Layer normalisation as exporters write it out for operators before version 17:
 *
 *     ReduceMean, Sub, Pow (or Mul), ReduceMean, Add, Sqrt, Div        (x - mean) / √(variance + ε)
 *
 * Each step has a meaning of its own with regard to the stage that it began at, so the nodes need
 * not stand together; what leaves the path stops. */
#include <string.h>

#include "import/onnx_value.h"

struct operands {
    struct onnx_run *run;
    const struct onnx_node *node;
    const struct onnx_value *const *in;
    struct onnx_value *out;
};

static bool is_moment(const struct onnx_value *value, enum onnx_moment moment)
{
    return value->kind == ONNX_MOMENT && value->moment == moment;
}

static bool same_stage(const struct onnx_value *a, const struct onnx_value *b)
{
    return a->stage == b->stage && a->rank == b->rank;
}

static int become(struct operands *o, const struct onnx_value *from, enum onnx_moment moment)
{
    *o->out = *from;
    o->out->kind = ONNX_MOMENT;
    o->out->moment = moment;
    return 0;
}

static int no_moment(struct operands *o)
{
    return onnx_stop(o->run, o->node, "a mean or a deviation of the features, in no normalisation");
}

/* Whether a ReduceMean goes over the features and keeps their dimension. */
static int goes_over_features(struct operands *o, bool *out)
{
    const struct onnx_value *from = o->in[0];
    const int64_t *axes = NULL;
    bool present;
    size_t n, axis;
    int rc = onnx_integers(o->run, o->node, o->in, 1, "axes", &present, &axes, &n);

    *out = false;
    if (rc < 0 || n != 1 || !onnx_int(o->node, "keepdims", 1))
        return rc;
    rc = onnx_axis(o->run, o->node, axes[0], from->rank, &axis);
    *out = rc == 0 && axis == from->rank - 1 && !onnx_dim_is_one(o->run, &from->dims[axis]) &&
           onnx_dim_is_features(o->run, from, &from->dims[axis]);
    return rc;
}

static int mean(struct operands *o, bool *known)
{
    struct onnx_value from = *o->in[0];
    int rc;

    *known = false;
    if (from.kind == ONNX_INPUT || from.rank == 0)
        return 0; /* which dimension has the features is not known yet */
    rc = goes_over_features(o, known);
    if (rc < 0 || !*known)
        return rc;
    if (is_moment(&from, ONNX_SQUARED)) {
        from.number = 0;
        return become(o, &from, ONNX_VARIANCE);
    }
    if (from.kind != ONNX_DATA)
        return no_moment(o);
    rc = onnx_settle(o->run, o->node, &from, from.rank - 1);
    return rc < 0 ? rc : become(o, &from, ONNX_MEAN);
}

static int centre(struct operands *o)
{
    struct onnx_value from = *o->in[0];
    int rc = is_moment(o->in[1], ONNX_MEAN) && from.kind == ONNX_DATA && from.rank > 0
                 ? onnx_settle(o->run, o->node, &from, from.rank - 1)
                 : no_moment(o);

    if (rc < 0)
        return rc;
    return same_stage(&from, o->in[1]) ? become(o, &from, ONNX_CENTRED) : no_moment(o);
}

static int add_epsilon(struct operands *o)
{
    size_t at = is_moment(o->in[0], ONNX_VARIANCE) ? 0 : 1;
    const struct onnx_value *more = o->in[1 - at];
    double epsilon = 0;
    int rc;

    if (!is_moment(o->in[at], ONNX_VARIANCE))
        return no_moment(o);
    if (more->kind == ONNX_CONSTANT && more->tensor.elements == 1 && more->tensor.type <= ONNX_F64)
        epsilon = onnx_number(&more->tensor, 0);
    if (!(epsilon >= 1e-12 && epsilon <= 1))
        return no_moment(o);
    rc = become(o, o->in[at], ONNX_VARIANCE);
    o->out->number = epsilon;
    return rc;
}

/* What has been centred, divided by its deviation: a stage without parameters. */
static int normalise(struct operands *o)
{
    struct onnx_stage stage = {.kind = ONNX_STAGE_NORM, .node = o->node};

    if (!is_moment(o->in[0], ONNX_CENTRED) || !is_moment(o->in[1], ONNX_DEVIATION) ||
        !same_stage(o->in[0], o->in[1]))
        return no_moment(o);
    *o->out = *o->in[0];
    o->out->kind = ONNX_DATA;
    stage.below = o->out->stage;
    stage.width = o->run->stages[stage.below].width;
    stage.epsilon = (float)o->in[1]->number;
    return onnx_stage_new(o->run, &stage, &o->out->stage);
}

static bool are_squared(const struct operands *o)
{
    if (o->node->op[0] == 'P')
        return is_moment(o->in[0], ONNX_CENTRED) && onnx_is_everywhere(o->in[1], 2);
    return o->node->op[0] == 'M' && is_moment(o->in[0], ONNX_CENTRED) &&
           is_moment(o->in[1], ONNX_CENTRED) && same_stage(o->in[0], o->in[1]);
}

int onnx_moments(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *outputs, bool *known)
{
    struct operands o = {run, node, inputs, outputs};
    bool any = false;

    *known = false;
    if (node->n_inputs < 1 || node->n_outputs < 1)
        return 0;
    if (strcmp(node->op, "ReduceMean") == 0)
        return mean(&o, known);
    for (size_t i = 0; i < node->n_inputs; i++)
        any |= inputs[i]->kind == ONNX_MOMENT;
    *known = any;
    if (!any)
        return 0;
    if (strcmp(node->op, "Sqrt") == 0 && is_moment(inputs[0], ONNX_VARIANCE) &&
        inputs[0]->number > 0)
        return become(&o, inputs[0], ONNX_DEVIATION);
    if (node->n_inputs != 2)
        return no_moment(&o);
    if (are_squared(&o))
        return become(&o, inputs[0], ONNX_SQUARED);
    if (strcmp(node->op, "Sub") == 0)
        return centre(&o);
    if (strcmp(node->op, "Add") == 0)
        return add_epsilon(&o);
    return strcmp(node->op, "Div") == 0 ? normalise(&o) : no_moment(&o);
}
