/* Operators whose inputs are all known: numbers, and sizes that follow from the inputs' shapes.
 *
 * Exporters write a good part of a model as arithmetic: initial states as zeros of a shape that is
 * computed of the input's, weights as slices of larger ones, shapes put together entry by entry.
 * All of it is computed here.  A tensor of symbols is moved around by the same code as one of
 * numbers; only arithmetic tells them apart. */
#include "import/onnx_fold.h"

#include <string.h>

/* ---- Making ---- */

static int fold_constant(struct fold *f)
{
    const struct onnx_attribute *a = onnx_attribute(f->node, "value");
    struct onnx_tensor t = {0};
    int rc;

    if (a && a->tensor.at) {
        rc = onnx_tensor_read(&t, &f->run->source, a->tensor, f->run->err);
        if (rc == RNN_EUNSUPPORTED)
            rc = onnx_stop(f->run, f->node, "numbers of a type that is not read");
        f->out[0] = onnx_constant(&t);
        return rc;
    }
    t.elements = 1;
    if ((a = onnx_attribute(f->node, "value_float")) ||
        (a = onnx_attribute(f->node, "value_floats"))) {
        t.type = ONNX_F32;
        t.data = a->kind == ONNX_FLOAT ? &a->f : a->floats;
    } else if ((a = onnx_attribute(f->node, "value_int")) ||
               (a = onnx_attribute(f->node, "value_ints"))) {
        t.type = ONNX_I64;
        t.data = a->kind == ONNX_INT ? (const void *)&a->i : a->ints;
    } else {
        return onnx_stop(f->run, f->node, "it holds something other than numbers");
    }
    if (a->kind == ONNX_FLOATS || a->kind == ONNX_INTS) {
        t.rank = 1;
        t.shape[0] = t.elements = a->n;
    }
    if (!t.data && t.elements > 0)
        return onnx_stop(f->run, f->node, "it holds nothing");
    f->out[0] = onnx_constant(&t);
    return 0;
}

/* Floats stay one number of any shape; short lists of integers are written out. */
static int fold_constant_of_shape(struct fold *f)
{
    static const float zero;
    const struct onnx_attribute *a = onnx_attribute(f->node, "value");
    const struct onnx_tensor *shape = f->tensors[0];
    struct onnx_tensor one = {.type = ONNX_F32, .elements = 1, .data = &zero}, t;
    int64_t stride = 0, n = -1;
    int rc =
        a && a->tensor.at ? onnx_tensor_read(&one, &f->run->source, a->tensor, f->run->err) : 0;

    if (rc < 0 || one.elements != 1 || onnx_is_float(shape->type))
        return rc < 0 ? rc : onnx_stop(f->run, f->node, "its value is not one number");
    f->out[0] = onnx_uniform(&one);
    if (shape->elements == 1) {
        struct onnx_symbol size = onnx_symbol_at(shape, 0);

        if (!onnx_symbol_number(f->run, &size, &n))
            n = -1;
    }
    if (one.type != ONNX_I64 || n < 0 || n > ONNX_PORTS_MAX)
        return 0;
    t = one;
    t.rank = 1;
    t.shape[0] = (size_t)n;
    rc = onnx_copy_view(f->run, &one, 0, &stride, &t);
    f->out[0] = onnx_constant(&t);
    return rc;
}

static int fold_shape(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0];
    struct onnx_tensor t = {.type = ONNX_I64, .rank = 1, .shape = {from->rank}};
    int64_t *list = onnx_allot(f->run, &t);

    if (!list)
        return f->run->err->code;
    for (size_t d = 0; d < from->rank; d++)
        list[d] = (int64_t)from->shape[d];
    f->out[0] = onnx_constant(&t);
    return 0;
}

static int fold_size(struct fold *f)
{
    struct onnx_tensor t = {.type = ONNX_I64};
    int64_t *one = onnx_allot(f->run, &t);

    if (!one)
        return f->run->err->code;
    *one = (int64_t)f->tensors[0]->elements;
    f->out[0] = onnx_constant(&t);
    return 0;
}

/* To FLOAT (1), DOUBLE (11) or an integer type. */
static int fold_cast(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0];
    struct onnx_tensor t = *from;
    int64_t to = onnx_int(f->node, "to", 0);
    void *data;

    t.type = to == 1    ? ONNX_F32
             : to == 11 ? ONNX_F64
             : to == 10 ? ONNX_F16
             : to == 16 ? ONNX_BF16
                        : ONNX_I64;
    if (t.type == from->type || (t.type == ONNX_I64 && from->type == ONNX_SYMBOL)) {
        f->out[0] = onnx_constant(from);
        return 0;
    }
    if (from->type == ONNX_SYMBOL || t.type == ONNX_F16 || t.type == ONNX_BF16)
        return onnx_stop(f->run, f->node, "a conversion that is not read");
    data = onnx_allot(f->run, &t);
    if (!data)
        return f->run->err->code;
    for (size_t i = 0; i < t.elements; i++) {
        double value = onnx_number(from, i);

        if (t.type == ONNX_F32)
            ((float *)data)[i] = (float)value;
        else if (t.type == ONNX_F64)
            ((double *)data)[i] = value;
        else if (value > -9e18 && value < 9e18)
            ((int64_t *)data)[i] = to == 9 ? value != 0 : (int64_t)value;
        else
            return onnx_stop(f->run, f->node, "a number that is no integer");
    }
    f->out[0] = onnx_constant(&t);
    return 0;
}

static int fold_identity(struct fold *f)
{
    f->out[0] = *f->inputs[0];
    return 0;
}

/* ---- The table ---- */

static const struct {
    const char *op;
    size_t least; /* inputs */
    bool moves;   /* of one number everywhere, one number everywhere comes out */
    int (*fold)(struct fold *f);
} folds[] = {
    {"Identity", 1, true, fold_identity},
    {"Dropout", 1, true, fold_identity},
    {"Cast", 1, true, fold_cast},
    {"Constant", 0, false, fold_constant},
    {"ConstantOfShape", 1, false, fold_constant_of_shape},
    {"Shape", 1, false, fold_shape},
    {"Size", 1, false, fold_size},
    {"Transpose", 1, true, onnx_fold_transpose},
    {"Squeeze", 1, true, onnx_fold_squeeze},
    {"Unsqueeze", 1, true, onnx_fold_unsqueeze},
    {"Reshape", 1, true, onnx_fold_reshape},
    {"Flatten", 1, true, onnx_fold_flatten},
    {"Slice", 1, true, onnx_fold_slice},
    {"Gather", 2, true, onnx_fold_gather},
    {"Split", 1, true, onnx_fold_split},
    {"Concat", 1, false, onnx_fold_concat},
    {"Expand", 2, true, onnx_fold_expand},
    {"Tile", 2, true, onnx_fold_tile},
    {"Add", 2, false, onnx_fold_binary},
    {"Sub", 2, false, onnx_fold_binary},
    {"Mul", 2, false, onnx_fold_binary},
    {"Div", 2, false, onnx_fold_binary},
    {"Pow", 2, false, onnx_fold_binary},
    {"Equal", 2, false, onnx_fold_binary},
    {"Where", 3, false, onnx_fold_where},
    {"Neg", 1, false, onnx_fold_unary},
    {"Sqrt", 1, false, onnx_fold_unary},
    {"Reciprocal", 1, false, onnx_fold_unary},
    {"Floor", 1, false, onnx_fold_unary},
    {"Ceil", 1, false, onnx_fold_unary},
    {"ReduceProd", 1, false, onnx_fold_product},
};

/* The one number that all inputs of a Concat are everywhere. */
static bool same_everywhere(const struct fold *f)
{
    const struct onnx_value *first = NULL;

    for (size_t i = 0; i < f->node->n_inputs; i++)
        if (f->inputs[i]->kind == ONNX_UNIFORM)
            first = f->inputs[i];
    for (size_t i = 0; first && !first->symbolic && i < f->node->n_inputs; i++)
        if (!onnx_is_everywhere(f->inputs[i], first->number))
            return false;
    return first && !first->symbolic;
}

/* A uniform value as a constant without dimensions. */
static const struct onnx_tensor *as_scalar(struct onnx_run *run, const struct onnx_value *value)
{
    struct onnx_tensor *t = onnx_take(run, 1, sizeof *t);
    double *number;
    struct onnx_symbol *symbol;

    if (!t)
        return NULL;
    t->type = value->symbolic ? ONNX_SYMBOL : ONNX_F64;
    if (!onnx_allot(run, t))
        return NULL;
    number = (double *)(uintptr_t)t->data;
    symbol = (struct onnx_symbol *)(uintptr_t)t->data;
    if (value->symbolic)
        *symbol = value->symbol;
    else
        *number = value->number;
    return t;
}

static int spread_uniform(struct fold *f)
{
    for (size_t i = 0; i < f->node->n_outputs; i++)
        f->out[i] = *f->inputs[0];
    return 0;
}

static int take_tensors(struct fold *f)
{
    for (size_t i = 0; i < f->node->n_inputs; i++) {
        const struct onnx_value *value = f->inputs[i];

        f->tensors[i] = &value->tensor;
        if (value->kind == ONNX_UNIFORM)
            f->tensors[i] = as_scalar(f->run, value);
        if (!f->tensors[i])
            return f->run->err->code;
    }
    return 0;
}

static int run_fold(struct fold *f, size_t entry)
{
    bool loose = false;
    int rc;

    for (size_t i = 0; i < f->node->n_inputs; i++)
        loose |= f->inputs[i]->kind == ONNX_UNIFORM;
    if (f->node->n_inputs < folds[entry].least || f->node->n_outputs < 1)
        return onnx_stop(f->run, f->node, "it lacks inputs or outputs");
    for (size_t i = 0; i < folds[entry].least; i++)
        if (f->inputs[i]->kind == ONNX_ABSENT)
            return onnx_stop(f->run, f->node, "it lacks an input");
    if (folds[entry].moves && f->inputs[0]->kind == ONNX_UNIFORM)
        return spread_uniform(f);
    if (strcmp(f->node->op, "Concat") == 0 && loose) {
        if (!same_everywhere(f))
            return onnx_stop(f->run, f->node, "its inputs' shapes are not known");
        f->out[0] = (struct onnx_value){.kind = ONNX_UNIFORM};
        for (size_t i = 0; i < f->node->n_inputs; i++)
            if (f->inputs[i]->kind == ONNX_UNIFORM)
                f->out[0] = *f->inputs[i];
        return 0;
    }
    if (folds[entry].fold == fold_shape && loose)
        return onnx_stop(f->run, f->node, "a shape that is not known");
    rc = take_tensors(f);
    return rc < 0 ? rc : folds[entry].fold(f);
}

int onnx_fold(struct onnx_run *run, const struct onnx_node *node,
              const struct onnx_value *const *inputs, struct onnx_value *outputs, bool *known)
{
    struct fold f = {.run = run, .node = node, .inputs = inputs, .out = outputs};

    *known = false;
    for (size_t i = 0; i < node->n_inputs; i++)
        if (onnx_is_data(inputs[i]) || inputs[i]->kind == ONNX_MOMENT)
            return 0;
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++) {
        if (strcmp(folds[i].op, node->op) != 0)
            continue;
        *known = true;
        f.tensors = onnx_take(run, node->n_inputs, sizeof *f.tensors);
        return f.tensors ? run_fold(&f, i) : run->err->code;
    }
    return 0;
}
