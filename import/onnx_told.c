/* How operators that move axes around are told to; the same for data and for constants.
 *
 * Sources: onnx/defs/tensor/defs.cc and old.cc of ONNX 1.12.  What was an attribute in one version
 * of an operator is an input in the next; both are read wherever they stand. */
#include <string.h>

#include "import/onnx_fold.h"

int onnx_permutation(struct onnx_run *run, const struct onnx_node *node, size_t rank, size_t *perm)
{
    const struct onnx_attribute *a = onnx_attribute(node, "perm");
    bool seen[ONNX_RANK_MAX] = {false};

    for (size_t d = 0; d < rank; d++) {
        int64_t from = a ? -1 : (int64_t)(rank - 1 - d);

        if (a && a->kind == ONNX_INTS && a->n == rank)
            from = a->ints[d];
        if (from < 0 || (size_t)from >= rank || seen[from])
            return onnx_stop(run, node, "perm is no order of %zu dimensions", rank);
        seen[from] = true;
        perm[d] = (size_t)from;
    }
    return 0;
}

bool onnx_squeezes_all(const struct onnx_node *node, const struct onnx_value *const *inputs)
{
    return !onnx_attribute(node, "axes") && (node->n_inputs < 2 || inputs[1]->kind == ONNX_ABSENT);
}

static int mark_axes(struct onnx_run *run, const struct onnx_node *node,
                     const struct onnx_value *const *inputs, size_t rank, bool *marks)
{
    const int64_t *axes = NULL;
    size_t n, axis;
    bool present;
    int rc = onnx_integers(run, node, inputs, 1, "axes", &present, &axes, &n);

    memset(marks, 0, ONNX_RANK_MAX * sizeof *marks);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = onnx_axis(run, node, axes[i], rank, &axis);
        if (rc == 0 && marks[axis])
            rc = onnx_stop(run, node, "an axis is named twice");
        if (rc == 0)
            marks[axis] = true;
    }
    return rc;
}

int onnx_squeezed(struct onnx_run *run, const struct onnx_node *node,
                  const struct onnx_value *const *inputs, size_t rank, bool *drop)
{
    return mark_axes(run, node, inputs, rank, drop);
}

int onnx_unsqueezed(struct onnx_run *run, const struct onnx_node *node,
                    const struct onnx_value *const *inputs, size_t rank, bool *fresh,
                    size_t *rank_out)
{
    const int64_t *axes = NULL;
    size_t n;
    bool present;
    int rc = onnx_integers(run, node, inputs, 1, "axes", &present, &axes, &n);

    *rank_out = rank + n;
    if (rc == 0 && *rank_out > ONNX_RANK_MAX)
        rc = onnx_stop(run, node, "more than 8 dimensions");
    return rc < 0 ? rc : mark_axes(run, node, inputs, *rank_out, fresh);
}

int onnx_ends(struct onnx_run *run, const struct onnx_node *node,
              const struct onnx_value *const *inputs, size_t place, const char *attribute,
              struct onnx_symbol *out, size_t *n)
{
    const struct onnx_attribute *a = attribute ? onnx_attribute(node, attribute) : NULL;
    const struct onnx_tensor *t;

    if (place >= node->n_inputs || inputs[place]->kind == ONNX_ABSENT) {
        if (!a || a->kind != ONNX_INTS || a->n > ONNX_RANK_MAX)
            return onnx_stop(run, node, "it does not say where it begins and ends");
        *n = a->n;
        for (size_t i = 0; i < a->n; i++)
            out[i] = (struct onnx_symbol){.more = a->ints[i]};
        return 0;
    }
    t = &inputs[place]->tensor;
    if (inputs[place]->kind != ONNX_CONSTANT || (t->type != ONNX_I64 && t->type != ONNX_SYMBOL) ||
        t->elements > ONNX_RANK_MAX)
        return onnx_stop(run, node, "where it begins or ends depends on the data");
    *n = t->elements;
    for (size_t i = 0; i < t->elements; i++)
        out[i] = onnx_symbol_at(t, i);
    return 0;
}

int onnx_ranges(struct onnx_run *run, const struct onnx_node *node,
                const struct onnx_value *const *inputs, size_t rank, struct onnx_ranges *out)
{
    struct onnx_symbol starts[ONNX_RANK_MAX], ends[ONNX_RANK_MAX];
    size_t n_starts = 0, n_ends = 0, n_axes = 0, n_steps = 0;
    const int64_t *axes = NULL, *steps = NULL;
    bool has_axes = false, has_steps = false;
    int rc = onnx_ends(run, node, inputs, 1, "starts", starts, &n_starts);

    *out = (struct onnx_ranges){0};
    if (rc == 0)
        rc = onnx_ends(run, node, inputs, 2, "ends", ends, &n_ends);
    if (rc == 0)
        rc = onnx_integers(run, node, inputs, 3, "axes", &has_axes, &axes, &n_axes);
    if (rc == 0)
        rc = onnx_integers(run, node, inputs, 4, NULL, &has_steps, &steps, &n_steps);
    if (rc < 0)
        return rc;
    if (n_starts != n_ends || n_starts > rank || (has_axes && n_axes != n_starts) ||
        (has_steps && n_steps != n_starts))
        return onnx_stop(run, node, "its lists are of different lengths");
    for (size_t i = 0; i < n_starts && rc == 0; i++) {
        struct onnx_range *r = &out->list[out->n++];

        r->start = starts[i];
        r->end = ends[i];
        r->step = has_steps ? steps[i] : 1;
        r->axis = i;
        if (r->step == 0 || r->step > INT32_MAX || r->step < -INT32_MAX)
            return onnx_stop(run, node, "a step of %lld", (long long)r->step);
        if (has_axes)
            rc = onnx_axis(run, node, axes[i], rank, &r->axis);
    }
    return rc;
}

int onnx_split_sizes(struct onnx_run *run, const struct onnx_node *node,
                     const struct onnx_value *const *inputs, size_t size, size_t *out)
{
    size_t parts = node->n_outputs, n, sum = 0, each = parts ? (size + parts - 1) / parts : 0;
    const int64_t *sizes = NULL;
    bool present;
    int rc = onnx_integers(run, node, inputs, 1, "split", &present, &sizes, &n);

    if (rc == 0 && present && n != parts)
        rc = onnx_stop(run, node, "%zu sizes for %zu outputs", n, parts);
    for (size_t i = 0; i < parts && rc == 0; i++) {
        size_t left = size - sum;

        out[i] = each < left ? each : left;
        if (present && (sizes[i] < 0 || (size_t)sizes[i] > left))
            return onnx_stop(run, node, "its sizes do not add up to %zu", size);
        if (present)
            out[i] = (size_t)sizes[i];
        sum += out[i];
    }
    return rc == 0 && sum != size ? onnx_stop(run, node, "its sizes do not add up to %zu", size)
                                  : rc;
}
