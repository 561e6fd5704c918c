/* Operators that move axes around, of data: Transpose, Squeeze, Unsqueeze, Reshape, Flatten, Expand
 * and Shape.
 *
 * A Reshape is understood where every dimension that it makes is a product of axes that there are,
 * in their order; one that would mix steps with features stops. */
#include <string.h>

#include "import/onnx_fold.h"

/* ---- Moving ---- */

int onnx_want_data(struct onnx_run *run, const struct onnx_node *node,
                   const struct onnx_value *const *inputs)
{
    if (node->n_inputs < 1 || node->n_outputs < 1 || !onnx_is_data(inputs[0]))
        return onnx_stop(run, node, "its input is no output of a layer");
    return 0;
}

int onnx_transpose(struct onnx_run *run, const struct onnx_node *node,
                   const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    size_t perm[ONNX_RANK_MAX];
    int rc = onnx_want_data(run, node, inputs);

    if (rc == 0)
        rc = onnx_permutation(run, node, inputs[0]->rank, perm);
    if (rc < 0)
        return rc;
    outputs[0] = *inputs[0];
    for (size_t d = 0; d < inputs[0]->rank; d++)
        outputs[0].dims[d] = inputs[0]->dims[perm[d]];
    return 0;
}

/* A dimension that is taken away must have one entry; one that is free is so from now on. */
static bool is_one(struct onnx_run *run, const struct onnx_dim *dim)
{
    for (size_t i = 0; i < dim->n; i++)
        if (!onnx_axis_is(run, dim->axes[i], 1))
            return false;
    return true;
}

int onnx_squeeze(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    bool drop[ONNX_RANK_MAX], all;
    int rc = onnx_want_data(run, node, inputs);
    const struct onnx_value *from = inputs[0];

    if (rc == 0)
        rc = onnx_squeezed(run, node, inputs, from->rank, drop);
    if (rc < 0)
        return rc;
    all = onnx_squeezes_all(node, inputs);
    outputs[0] = *from;
    outputs[0].rank = 0;
    for (size_t d = 0; d < from->rank; d++) {
        if (all)
            drop[d] = onnx_dim_is_one(run, &from->dims[d]);
        if (!drop[d])
            outputs[0].dims[outputs[0].rank++] = from->dims[d];
        else if (!is_one(run, &from->dims[d]))
            return onnx_stop(run, node, "it takes away a dimension of more than 1");
    }
    return 0;
}

int onnx_unsqueeze(struct onnx_run *run, const struct onnx_node *node,
                   const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    bool fresh[ONNX_RANK_MAX];
    size_t at = 0, rank = 0;
    int rc = onnx_want_data(run, node, inputs);

    if (rc == 0)
        rc = onnx_unsqueezed(run, node, inputs, inputs[0]->rank, fresh, &rank);
    if (rc < 0)
        return rc;
    outputs[0] = *inputs[0];
    outputs[0].rank = rank;
    for (size_t d = 0; d < rank; d++)
        outputs[0].dims[d] = fresh[d] ? (struct onnx_dim){0} : inputs[0]->dims[at++];
    return 0;
}

/* ---- Reshape ---- */

/* Axes of more than one entry, in row-major order. */
struct pool {
    uint32_t axes[ONNX_RANK_MAX * ONNX_PARTS_MAX];
    size_t from, to; /* those that no dimension has yet */
};

static void fill_pool(const struct onnx_run *run, const struct onnx_value *value, struct pool *pool)
{
    *pool = (struct pool){0};
    for (size_t d = 0; d < value->rank; d++)
        pool->to += onnx_dim_axes(run, &value->dims[d], pool->axes + pool->to);
}

/* Takes axes from the front (or the back) until they multiply to `size`. */
static bool take_size(const struct onnx_run *run, struct pool *pool, struct onnx_symbol size,
                      bool front, struct onnx_dim *out)
{
    int64_t left = size.n ? size.factor : size.more;

    *out = (struct onnx_dim){0};
    if (size.n && size.more)
        return false;
    for (size_t i = size.n; i-- > 0;) /* what is known by now counts as a number */
        if (run->axes[size.axes[i]] > 0) {
            if (__builtin_mul_overflow(left, run->axes[size.axes[i]], &left))
                return false;
            size.axes[i] = size.axes[--size.n];
        }
    while (left != 1 || size.n > 0) {
        uint32_t axis;
        size_t i = 0;

        if (pool->from == pool->to || out->n == ONNX_PARTS_MAX)
            return false;
        axis = front ? pool->axes[pool->from] : pool->axes[pool->to - 1];
        while (i < size.n && size.axes[i] != axis)
            i++;
        if (run->axes[axis] < 0 && i == size.n)
            return false;
        if (run->axes[axis] < 0)
            size.axes[i] = size.axes[--size.n];
        else if (left < run->axes[axis] || left % run->axes[axis])
            return false;
        else
            left /= run->axes[axis];
        if (!front)
            memmove(out->axes + 1, out->axes, out->n * sizeof *out->axes);
        out->axes[front ? out->n : 0] = axis;
        out->n++;
        pool->from += front;
        pool->to -= !front;
    }
    return true;
}

/* The sizes that the node asks for; 0 becomes the size of the same dimension. */
static int read_target(struct onnx_run *run, const struct onnx_node *node,
                       const struct onnx_value *const *inputs, struct onnx_symbol *sizes, size_t *n)
{
    const struct onnx_value *from = inputs[0];
    int rc = onnx_ends(run, node, inputs, 1, "shape", sizes, n);

    for (size_t d = 0; d < *n && rc == 0; d++)
        if (sizes[d].n == 0 && sizes[d].more == 0) {
            if (d >= from->rank || onnx_int(node, "allowzero", 0))
                return onnx_stop(run, node, "a shape with a 0 in it");
            sizes[d] = onnx_dim_symbol(&from->dims[d]);
        }
    return rc;
}

static int cannot_reshape(struct onnx_run *run, const struct onnx_node *node)
{
    return onnx_stop(run, node, "it does not keep steps, batch and features apart");
}

static int reshape_to(struct onnx_run *run, const struct onnx_node *node,
                      const struct onnx_symbol *sizes, size_t n, struct onnx_value *value)
{
    struct pool pool;
    size_t open = 0, back = n;

    fill_pool(run, value, &pool);
    value->rank = n;
    while (open < n && !(sizes[open].n == 0 && sizes[open].more == -1)) {
        if (!take_size(run, &pool, sizes[open], true, &value->dims[open]))
            return cannot_reshape(run, node);
        open++;
    }
    if (open == n)
        return pool.from == pool.to ? 0 : cannot_reshape(run, node);
    while (back > open + 1) {
        back--;
        if (!take_size(run, &pool, sizes[back], false, &value->dims[back]))
            return cannot_reshape(run, node);
    }
    if (pool.to - pool.from > ONNX_PARTS_MAX)
        return cannot_reshape(run, node);
    value->dims[open] = (struct onnx_dim){.n = pool.to - pool.from};
    memcpy(value->dims[open].axes, pool.axes + pool.from,
           (pool.to - pool.from) * sizeof *pool.axes);
    return 0;
}

int onnx_reshape(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_symbol sizes[ONNX_RANK_MAX];
    size_t n = 0;
    int rc = onnx_want_data(run, node, inputs);

    if (rc == 0)
        rc = read_target(run, node, inputs, sizes, &n);
    if (rc < 0)
        return rc;
    outputs[0] = *inputs[0];
    return reshape_to(run, node, sizes, n, &outputs[0]);
}

int onnx_flatten(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    int64_t axis = onnx_int(node, "axis", 1);
    int rc = onnx_want_data(run, node, inputs);
    const struct onnx_value *from = inputs[0];

    if (rc < 0)
        return rc;
    axis += axis < 0 ? (int64_t)from->rank : 0;
    if (axis < 0 || (size_t)axis > from->rank)
        return onnx_stop(run, node, "an axis that is not there");
    outputs[0] = *from;
    outputs[0].rank = 2;
    outputs[0].dims[0] = outputs[0].dims[1] = (struct onnx_dim){0};
    for (size_t d = 0; d < from->rank; d++) {
        struct onnx_dim *to = &outputs[0].dims[d >= (size_t)axis];
        uint32_t axes[ONNX_PARTS_MAX];
        size_t n = onnx_dim_axes(run, &from->dims[d], axes);

        if (to->n + n > ONNX_PARTS_MAX)
            return cannot_reshape(run, node);
        memcpy(to->axes + to->n, axes, n * sizeof *axes);
        to->n += n;
    }
    return 0;
}

/* Data that are made as large as they are. */
int onnx_expand(struct onnx_run *run, const struct onnx_node *node,
                const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_symbol sizes[ONNX_RANK_MAX];
    size_t n = 0;
    int rc = onnx_want_data(run, node, inputs);

    if (rc == 0)
        rc = onnx_ends(run, node, inputs, 1, NULL, sizes, &n);
    for (size_t d = 0; d < n && rc == 0; d++) {
        size_t own = inputs[0]->rank - n + d;
        struct onnx_dim dim;
        struct pool pool = {0};

        if (n > inputs[0]->rank || (sizes[d].n == 0 && sizes[d].more != 1))
            return onnx_stop(run, node, "it repeats data");
        pool.to = onnx_dim_axes(run, &inputs[0]->dims[own], pool.axes);
        if (!(sizes[d].n == 0 ||
              (take_size(run, &pool, sizes[d], true, &dim) && pool.from == pool.to)))
            return onnx_stop(run, node, "it repeats data");
    }
    outputs[0] = *inputs[0];
    return rc;
}

int onnx_shape(struct onnx_run *run, const struct onnx_node *node,
               const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_tensor *t = &outputs[0].tensor;
    struct onnx_symbol *list;
    int64_t start = onnx_int(node, "start", 0), end = onnx_int(node, "end", INT64_MAX), rank;
    int rc = onnx_want_data(run, node, inputs);

    if (rc < 0)
        return rc;
    rank = (int64_t)inputs[0]->rank;
    start = start < -rank ? 0 : start < 0 ? start + rank : start > rank ? rank : start;
    end = end < -rank ? 0 : end < 0 ? end + rank : end > rank ? rank : end;
    list = onnx_take(run, inputs[0]->rank, sizeof *list);
    if (!list)
        return run->err->code;
    outputs[0].kind = ONNX_CONSTANT;
    *t = (struct onnx_tensor){.type = ONNX_SYMBOL, .rank = 1, .data = list};
    for (int64_t d = start; d < end; d++)
        list[t->elements++] = onnx_dim_symbol(&inputs[0]->dims[d]);
    t->shape[0] = t->elements;
    return 0;
}
