/* Operators that move the numbers of constants around: Transpose, Squeeze, Unsqueeze, Reshape,
 * Flatten, Slice, Gather, Concat, Split, Expand and Tile.
 *
 * Most are a view, by a stride for each axis, that is written out; a change of shape alone shares
 * the numbers. */
#include <string.h>

#include "base/checked.h"
#include "import/onnx_fold.h"

/* ---- Views ---- */

/* Row-major strides, in elements. */
static void strides_of(const struct onnx_tensor *t, int64_t *out)
{
    int64_t stride = 1;

    for (size_t i = t->rank; i-- > 0;) {
        out[i] = stride;
        stride *= (int64_t)t->shape[i];
    }
}

int onnx_copy_view(struct onnx_run *run, const struct onnx_tensor *from, int64_t offset,
                   const int64_t *strides, struct onnx_tensor *out)
{
    size_t size = onnx_type_bytes(out->type), index[ONNX_RANK_MAX] = {0};
    const unsigned char *source = from->data;
    unsigned char *to = onnx_allot(run, out);

    if (!to)
        return run->err->code;
    for (size_t i = 0; i < out->elements; i++) {
        memcpy(to + i * size, source + (size_t)offset * size, size);
        for (size_t d = out->rank; d-- > 0;) {
            offset += strides[d];
            if (++index[d] < out->shape[d])
                break;
            offset -= strides[d] * (int64_t)out->shape[d];
            index[d] = 0;
        }
    }
    return 0;
}

/* ---- Where numbers stand ---- */

int onnx_fold_transpose(struct fold *f)
{
    struct onnx_tensor t = *f->tensors[0];
    int64_t from[ONNX_RANK_MAX], to[ONNX_RANK_MAX];
    size_t perm[ONNX_RANK_MAX];
    int rc = onnx_permutation(f->run, f->node, t.rank, perm);

    if (rc < 0)
        return rc;
    strides_of(f->tensors[0], from);
    for (size_t d = 0; d < t.rank; d++) {
        t.shape[d] = f->tensors[0]->shape[perm[d]];
        to[d] = from[perm[d]];
    }
    rc = onnx_copy_view(f->run, f->tensors[0], 0, to, &t);
    f->out[0] = onnx_constant(&t);
    return rc;
}

int onnx_fold_squeeze(struct fold *f)
{
    struct onnx_tensor t = *f->tensors[0];
    bool drop[ONNX_RANK_MAX];
    int rc = onnx_squeezed(f->run, f->node, f->inputs, t.rank, drop);
    size_t rank = 0;

    for (size_t d = 0; d < t.rank && rc == 0; d++) {
        if (onnx_squeezes_all(f->node, f->inputs))
            drop[d] = t.shape[d] == 1;
        if (drop[d] && t.shape[d] != 1)
            return onnx_stop(f->run, f->node, "it takes away a dimension of %zu", t.shape[d]);
        if (!drop[d])
            t.shape[rank++] = t.shape[d];
    }
    t.rank = rank;
    f->out[0] = onnx_constant(&t);
    return rc;
}

int onnx_fold_unsqueeze(struct fold *f)
{
    struct onnx_tensor t = *f->tensors[0];
    bool fresh[ONNX_RANK_MAX];
    size_t at = 0;
    int rc = onnx_unsqueezed(f->run, f->node, f->inputs, f->tensors[0]->rank, fresh, &t.rank);

    for (size_t d = 0; d < t.rank && rc == 0; d++)
        t.shape[d] = fresh[d] ? 1 : f->tensors[0]->shape[at++];
    f->out[0] = onnx_constant(&t);
    return rc;
}

/* The shape's entries as numbers; 0 copies, one -1 follows from the others. */
int onnx_fold_reshape(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0];
    struct onnx_tensor t = *from;
    const int64_t *sizes;
    size_t known = 1, n, open = SIZE_MAX;
    bool present, zeros = onnx_int(f->node, "allowzero", 0) != 0;
    int rc = onnx_integers(f->run, f->node, f->inputs, 1, "shape", &present, &sizes, &n);

    if (rc < 0)
        return rc;
    if (!present || n > ONNX_RANK_MAX)
        return onnx_stop(f->run, f->node, "a shape of %zu dimensions", n);
    t.rank = n;
    for (size_t d = 0; d < n; d++) {
        int64_t size =
            sizes[d] == 0 && !zeros && d < from->rank ? (int64_t)from->shape[d] : sizes[d];

        if (size == -1 && open == SIZE_MAX)
            open = d;
        else if (size < 0 || !checked_mul(known, (size_t)size, &known))
            return onnx_stop(f->run, f->node, "a shape with a size of %lld", (long long)size);
        t.shape[d] = (size_t)size;
    }
    if (open != SIZE_MAX)
        t.shape[open] = known && from->elements % known == 0 ? from->elements / known : SIZE_MAX;
    if (open == SIZE_MAX ? known != from->elements : t.shape[open] == SIZE_MAX)
        return onnx_stop(f->run, f->node, "a shape that does not hold the %zu numbers",
                         from->elements);
    f->out[0] = onnx_constant(&t);
    return 0;
}

int onnx_fold_flatten(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0];
    struct onnx_tensor t = *from;
    int64_t axis = onnx_int(f->node, "axis", 1);

    axis += axis < 0 ? (int64_t)from->rank : 0;
    if (axis < 0 || (size_t)axis > from->rank)
        return onnx_stop(f->run, f->node, "an axis that is not there");
    t.rank = 2;
    t.shape[0] = t.shape[1] = 1;
    for (size_t d = 0; d < from->rank; d++)
        t.shape[d >= (size_t)axis] *= from->shape[d];
    f->out[0] = onnx_constant(&t);
    return 0;
}

/* One axis from `start` on by `step`, `n` entries. */
static int cut_axis(struct onnx_run *run, struct onnx_tensor *t, size_t axis, int64_t start,
                    int64_t step, size_t n)
{
    const struct onnx_tensor from = *t;
    int64_t strides[ONNX_RANK_MAX], offset;

    strides_of(&from, strides);
    offset = start * strides[axis];
    strides[axis] *= step;
    t->shape[axis] = n;
    return onnx_copy_view(run, &from, n ? offset : 0, strides, t);
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* As NumPy: negative ends count from behind, and both are brought into the axis. */
static void clamp_range(int64_t size, int64_t *start, int64_t *end, int64_t step, size_t *n)
{
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? size - 1 : size, span;

    *start = clamp(*start + (*start < 0 ? size : 0), low, high);
    *end = clamp(*end + (*end < 0 ? size : 0), low, high);
    span = step < 0 ? *start - *end : *end - *start;
    *n = span > 0 ? (size_t)((span - 1) / (step < 0 ? -step : step) + 1) : 0;
}

int onnx_fold_slice(struct fold *f)
{
    struct onnx_tensor t = *f->tensors[0];
    struct onnx_ranges ranges;
    int rc = onnx_ranges(f->run, f->node, f->inputs, t.rank, &ranges);

    for (size_t i = 0; i < ranges.n && rc == 0; i++) {
        struct onnx_range *r = &ranges.list[i];
        int64_t start, end;
        size_t n;

        if (!onnx_symbol_number(f->run, &r->start, &start) ||
            !onnx_symbol_number(f->run, &r->end, &end))
            return onnx_stop(f->run, f->node, "its ends depend on the input's length");
        if (t.shape[r->axis] > INT32_MAX)
            return onnx_stop(f->run, f->node, "an axis of %zu", t.shape[r->axis]);
        clamp_range((int64_t)t.shape[r->axis], &start, &end, r->step, &n);
        rc = cut_axis(f->run, &t, r->axis, start, r->step, n);
    }
    f->out[0] = onnx_constant(&t);
    return rc;
}

int onnx_fold_gather(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0], *index = f->tensors[1];
    struct onnx_tensor t = {.type = from->type};
    size_t axis, block = onnx_type_bytes(from->type), outer = 1, size;
    unsigned char *to;
    int rc = onnx_axis(f->run, f->node, onnx_int(f->node, "axis", 0), from->rank, &axis);

    if (rc < 0)
        return rc;
    if (index->type != ONNX_I64 || from->rank - 1 + index->rank > ONNX_RANK_MAX)
        return onnx_stop(f->run, f->node, "places that are not known");
    size = from->shape[axis];
    for (size_t d = 0; d < from->rank; d++) {
        if (d == axis)
            for (size_t k = 0; k < index->rank; k++)
                t.shape[t.rank++] = index->shape[k];
        else
            t.shape[t.rank++] = from->shape[d];
        if (d < axis)
            outer *= from->shape[d];
        else if (d > axis)
            block *= from->shape[d];
    }
    to = onnx_allot(f->run, &t);
    if (!to)
        return f->run->err->code;
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < index->elements; i++) {
            int64_t at = (int64_t)onnx_number(index, i);

            at += at < 0 ? (int64_t)size : 0;
            if (at < 0 || (size_t)at >= size)
                return onnx_stop(f->run, f->node, "a place past the end");
            memcpy(to, (const unsigned char *)from->data + (o * size + (size_t)at) * block, block);
            to += block;
        }
    f->out[0] = onnx_constant(&t);
    return 0;
}

/* Integers as symbols, so that both may stand in one tensor. */
static int as_symbols(struct onnx_run *run, const struct onnx_tensor *from, struct onnx_tensor *out)
{
    struct onnx_symbol *list;

    *out = *from;
    if (from->type == ONNX_SYMBOL)
        return 0;
    out->type = ONNX_SYMBOL;
    list = onnx_allot(run, out);
    if (!list)
        return run->err->code;
    for (size_t i = 0; i < out->elements; i++)
        list[i] = onnx_symbol_at(from, i);
    return 0;
}

static int join(struct fold *f, const struct onnx_tensor *parts, size_t axis, struct onnx_tensor *t)
{
    size_t block = onnx_type_bytes(t->type), outer = 1;
    unsigned char *to = onnx_allot(f->run, t);

    if (!to)
        return f->run->err->code;
    for (size_t d = 0; d < t->rank; d++)
        if (d < axis)
            outer *= t->shape[d];
        else if (d > axis)
            block *= t->shape[d];
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < f->node->n_inputs; i++) {
            size_t bytes = parts[i].shape[axis] * block;

            memcpy(to, (const unsigned char *)parts[i].data + o * bytes, bytes);
            to += bytes;
        }
    return 0;
}

int onnx_fold_concat(struct fold *f)
{
    size_t n = f->node->n_inputs, axis = 0;
    struct onnx_tensor *parts = n ? onnx_take(f->run, n, sizeof *parts) : NULL, t = *f->tensors[0];
    bool symbols = false;
    int rc = onnx_axis(f->run, f->node, onnx_int(f->node, "axis", 1), t.rank, &axis);

    if (!parts)
        return f->run->err->code;
    for (size_t i = 0; i < n; i++)
        symbols |= f->tensors[i]->type == ONNX_SYMBOL;
    t.type = symbols ? ONNX_SYMBOL : t.type;
    t.shape[axis] = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct onnx_tensor *from = f->tensors[i];

        if (from->rank != t.rank || onnx_is_float(from->type) != onnx_is_float(t.type) ||
            (onnx_is_float(t.type) && from->type != t.type))
            return onnx_stop(f->run, f->node, "its inputs are of different kinds");
        for (size_t d = 0; d < t.rank; d++)
            if (d != axis && from->shape[d] != t.shape[d])
                return onnx_stop(f->run, f->node, "its inputs do not fit one another");
        if (!checked_add(t.shape[axis], from->shape[axis], &t.shape[axis]))
            return onnx_stop(f->run, f->node, "its inputs are too long");
        parts[i] = *from;
        if (symbols)
            rc = as_symbols(f->run, from, &parts[i]);
    }
    if (rc == 0)
        rc = join(f, parts, axis, &t);
    f->out[0] = onnx_constant(&t);
    return rc;
}

int onnx_fold_split(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0];
    size_t sizes[ONNX_PORTS_MAX], axis;
    int64_t at = 0;
    int rc = onnx_axis(f->run, f->node, onnx_int(f->node, "axis", 0), from->rank, &axis);

    if (rc == 0)
        rc = onnx_split_sizes(f->run, f->node, f->inputs, from->shape[axis], sizes);
    for (size_t i = 0; i < f->node->n_outputs && rc == 0; i++) {
        struct onnx_tensor t = *from;

        rc = cut_axis(f->run, &t, axis, at, 1, sizes[i]);
        at += (int64_t)sizes[i];
        f->out[i] = onnx_constant(&t);
    }
    return rc;
}

/* A constant made larger.  A dimension of 1 whose target is not a number yet stays 1: whatever
 * comes out of it repeats. */
static int widen_to(struct fold *f, const struct onnx_symbol *sizes, size_t n)
{
    const struct onnx_tensor *from = f->tensors[0];
    struct onnx_tensor t = {.type = from->type, .rank = n > from->rank ? n : from->rank};
    int64_t strides[ONNX_RANK_MAX], own[ONNX_RANK_MAX];
    int rc;

    if (t.rank > ONNX_RANK_MAX)
        return onnx_stop(f->run, f->node, "more than 8 dimensions");
    strides_of(from, own);
    for (size_t d = 0; d < t.rank; d++) {
        size_t before = t.rank - from->rank, skip = t.rank - n;
        size_t size = d < before ? 1 : from->shape[d - before];
        int64_t wanted = 1;

        strides[d] = d < before || size == 1 ? 0 : own[d - before];
        if (d >= skip && !onnx_symbol_number(f->run, &sizes[d - skip], &wanted))
            wanted = 1;
        if (wanted < 1 || (size != 1 && wanted != 1 && (size_t)wanted != size))
            return onnx_stop(f->run, f->node, "its sizes do not fit");
        t.shape[d] = size == 1 ? (size_t)wanted : size;
    }
    rc = onnx_copy_view(f->run, from, 0, strides, &t);
    f->out[0] = onnx_constant(&t);
    return rc;
}

int onnx_fold_expand(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0], *shape = f->tensors[1];
    struct onnx_symbol sizes[ONNX_RANK_MAX];

    if (onnx_is_float(shape->type) || shape->rank > 1 || shape->elements > ONNX_RANK_MAX)
        return onnx_stop(f->run, f->node, "a shape of more than 8 dimensions");
    for (size_t d = 0; d < shape->elements; d++)
        sizes[d] = onnx_symbol_at(shape, d);
    if (from->elements == 1 && (onnx_is_float(from->type) || shape->elements > 1)) {
        f->out[0] = onnx_uniform(from);
        return 0;
    }
    return widen_to(f, sizes, shape->elements);
}

int onnx_fold_tile(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0], *repeats = f->tensors[1];
    struct onnx_symbol sizes[ONNX_RANK_MAX];

    if (onnx_is_float(repeats->type) || repeats->rank != 1 || repeats->elements != from->rank)
        return onnx_stop(f->run, f->node, "repetitions that are not known");
    if (from->elements == 1) {
        f->out[0] = onnx_uniform(from);
        return 0;
    }
    for (size_t d = 0; d < from->rank; d++) {
        int64_t number = 0;

        sizes[d] = onnx_symbol_at(repeats, d);
        if (from->shape[d] != 1 && (!onnx_symbol_number(f->run, &sizes[d], &number) || number != 1))
            return onnx_stop(f->run, f->node, "it repeats a dimension of more than 1");
    }
    return widen_to(f, sizes, from->rank);
}
