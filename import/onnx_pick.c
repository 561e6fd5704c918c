/* Operators that take a part of data, or put parts together: Slice, Gather, Split and Concat.
 *
 * What can be taken: states and directions of layers, which lie one behind the other along an axis
 * of their own; the first or the last step; rows of a matrix, by the ids of the input.  A state
 * input of several layers may be cut into those of each. */
#include <string.h>

#include "import/onnx_fold.h"

/* ---- Picking ---- */

/* Where a step or an entry is counted from. */
enum place { PLACE_FIRST, PLACE_LAST, PLACE_OTHER };

/* Of an axis whose length may be free. */
static enum place place_of(const struct onnx_run *run, const struct onnx_symbol *index,
                           int64_t size, uint32_t axis)
{
    int64_t number;

    if (index->n == 1 && index->axes[0] == axis && index->factor == 1 && index->more == -1)
        return PLACE_LAST;
    if (!onnx_symbol_number(run, index, &number))
        return PLACE_OTHER;
    if (number == -1 || (size > 0 && number == size - 1))
        return PLACE_LAST;
    return number == 0 ? PLACE_FIRST : PLACE_OTHER;
}

/* Entries from `start` on, `n` of them, along the first axis of features. */
static int pick_entries(struct onnx_run *run, struct onnx_value *value, struct onnx_dim *dim,
                        size_t start, size_t n)
{
    int rc = 0;

    value->entries += start;
    value->n_entries = n;
    if (n == 1) {
        value->features[0] = value->features[1];
        value->n_features = 1;
        *dim = (struct onnx_dim){0};
    } else {
        rc = onnx_axis_new(run, (int64_t)n, &value->features[0]);
        *dim = (struct onnx_dim){1, {value->features[0]}};
    }
    return rc;
}

/* The dimension along which entries lie one behind the other. */
static bool holds_entries(const struct onnx_run *run, const struct onnx_value *value,
                          const struct onnx_dim *dim)
{
    return value->kind == ONNX_DATA && value->n_entries > 1 && value->n_features == 2 &&
           onnx_dim_is_axis(run, dim, value->features[0]);
}

/* One step of data: of a recurrent layer's own outputs, or of what stands above it. */
static int pick_step(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
                     enum place place)
{
    struct onnx_entry *entries;
    struct onnx_stage stage = {.kind = ONNX_STAGE_READOUT, .node = node, .pool = RNN_POOL_LAST};

    if (value->reversed && place != PLACE_OTHER)
        place = place == PLACE_FIRST ? PLACE_LAST : PLACE_FIRST;
    value->reversed = false;
    if (value->n_entries == 0) {
        if (place != PLACE_LAST)
            return onnx_stop(run, node, "it takes a step that is not the last");
        stage.below = value->stage;
        stage.width = run->stages[value->stage].width;
        return onnx_stage_new(run, &stage, &value->stage);
    }
    if (place == PLACE_OTHER)
        return onnx_stop(run, node, "it takes a step that is neither the first nor the last");
    entries = onnx_take(run, value->n_entries, sizeof *entries);
    if (!entries)
        return run->err->code;
    for (size_t i = 0; i < value->n_entries; i++) {
        const struct onnx_layer *layer = &run->layers[value->entries[i].layer];
        bool backwards = layer->backwards || value->entries[i].direction == 1;

        entries[i] = value->entries[i];
        if (entries[i].what != ONNX_STEPS)
            return onnx_stop(run, node, "it takes a step of what has none");
        entries[i].what = place == PLACE_LAST ? ONNX_LAST : ONNX_FIRST;
        if (backwards == (place == PLACE_FIRST))
            entries[i].what = ONNX_H;
    }
    value->entries = entries;
    return 0;
}

/* An input of which a part is taken: a state of one of several layers. */
static int cut_input(struct onnx_run *run, const struct onnx_node *node, struct onnx_value *value,
                     size_t axis, const struct onnx_symbol *start, const struct onnx_symbol *end)
{
    struct onnx_symbol size = onnx_dim_symbol(&value->dims[axis]);
    int64_t from, to, all;
    uint32_t fresh;
    int rc;

    if (value->is_cut || value->reversed || !onnx_symbol_number(run, start, &from) ||
        !onnx_symbol_number(run, end, &to) || !onnx_symbol_number(run, &size, &all))
        return onnx_stop(run, node, "it takes a part of the input '%.60s'",
                         run->graph->inputs[value->input].name);
    from += from < 0 ? all : 0;
    to += to < 0 ? all : 0;
    to = to > all ? all : to;
    if (from < 0 || from >= to)
        return onnx_stop(run, node, "it takes nothing of the input");
    rc = onnx_axis_new(run, to - from, &fresh);
    value->dims[axis] = (struct onnx_dim){1, {fresh}};
    value->is_cut = true;
    value->cut = (size_t)from;
    return rc;
}

/* Whether the range is all of the dimension. */
static bool is_whole(const struct onnx_run *run, const struct onnx_range *r,
                     const struct onnx_dim *dim)
{
    struct onnx_symbol size = onnx_dim_symbol(dim);
    int64_t start, end, number;

    if (r->step != 1 || !onnx_symbol_number(run, &r->start, &start) || start != 0)
        return false;
    if (r->end.n > 0 && onnx_symbol_same(&r->end, &size))
        return true;
    if (!onnx_symbol_number(run, &r->end, &end))
        return false;
    return onnx_symbol_number(run, &size, &number) ? end >= number : end >= INT32_MAX;
}

/* The one entry that there is, counted from behind. */
static bool is_all_of_one(const struct onnx_run *run, const struct onnx_range *r)
{
    int64_t start, end;

    return r->step == 1 && onnx_symbol_number(run, &r->start, &start) &&
           onnx_symbol_number(run, &r->end, &end) && start == -1 && end >= 1;
}

/* Backwards, from the last to the first. */
static bool is_flip(const struct onnx_run *run, const struct onnx_range *r)
{
    int64_t start, end;

    return r->step == -1 && onnx_symbol_number(run, &r->start, &start) &&
           onnx_symbol_number(run, &r->end, &end) && (start == -1 || start >= INT32_MAX) &&
           end <= -INT32_MAX;
}

static int slice_entries(struct onnx_run *run, const struct onnx_node *node,
                         const struct onnx_range *r, struct onnx_value *value, struct onnx_dim *dim)
{
    int64_t n = (int64_t)value->n_entries, start, end;

    if (r->step != 1 || !onnx_symbol_number(run, &r->start, &start) ||
        !onnx_symbol_number(run, &r->end, &end))
        return onnx_stop(run, node, "it takes states or directions in another order");
    start = start < -n ? 0 : start < 0 ? start + n : start;
    end = end < -n ? 0 : end < 0 ? end + n : end > n ? n : end;
    if (start >= end)
        return onnx_stop(run, node, "it takes nothing");
    return pick_entries(run, value, dim, (size_t)start, (size_t)(end - start));
}

/* One step out of the dimension of time: [start, start + 1). */
static bool is_one_step(const struct onnx_run *run, const struct onnx_range *r, int64_t size,
                        enum place place)
{
    int64_t start, end;

    if (r->step != 1)
        return false;
    if (place == PLACE_LAST && r->start.n > 0)
        return true; /* from the last one on, to whatever end behind it */
    if (!onnx_symbol_number(run, &r->start, &start) || !onnx_symbol_number(run, &r->end, &end))
        return place == PLACE_LAST && r->end.n > 0;
    return place == PLACE_LAST ? end >= INT32_MAX || (size > 0 && end >= size) : end == 1;
}

static int slice_range(struct onnx_run *run, const struct onnx_node *node,
                       const struct onnx_range *r, struct onnx_value *value)
{
    struct onnx_dim *dim = &value->dims[r->axis];
    uint32_t axes[ONNX_PARTS_MAX];
    size_t n = onnx_dim_axes(run, dim, axes);
    bool is_time = n == 1 && run->has_layer && axes[0] == run->time;
    enum place place;

    if (is_whole(run, r, dim))
        return 0;
    if (holds_entries(run, value, dim))
        return slice_entries(run, node, r, value, dim);
    if (n == 1 && is_flip(run, r) && (is_time || !run->has_layer) &&
        !onnx_dim_is_features(run, value, dim)) {
        if (value->reversed && value->reversed_axis != axes[0])
            return onnx_stop(run, node, "it turns a second axis around");
        value->reversed = !value->reversed;
        value->reversed_axis = axes[0];
        return 0;
    }
    if (n == 0 && is_all_of_one(run, r))
        return 0;
    if (value->kind == ONNX_INPUT && r->step == 1)
        return cut_input(run, node, value, r->axis, &r->start, &r->end);
    if (value->kind != ONNX_DATA || !is_time)
        return onnx_stop(run, node,
                         onnx_dim_is_features(run, value, dim) ? "it takes a part of the features"
                                                               : "it takes a part of the data");
    place = place_of(run, &r->start, run->axes[axes[0]], axes[0]);
    if (place == PLACE_OTHER || !is_one_step(run, r, run->axes[axes[0]], place))
        return onnx_stop(run, node, "it takes several of the steps, or one in the middle");
    *dim = (struct onnx_dim){0};
    return pick_step(run, node, value, place);
}

int onnx_slice(struct onnx_run *run, const struct onnx_node *node,
               const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    struct onnx_ranges ranges = {0};
    int rc = onnx_want_data(run, node, inputs);

    if (rc == 0)
        rc = onnx_ranges(run, node, inputs, inputs[0]->rank, &ranges);
    outputs[0] = *inputs[0];
    for (size_t i = 0; i < ranges.n && rc == 0; i++)
        rc = slice_range(run, node, &ranges.list[i], &outputs[0]);
    return rc;
}

/* Rows of a constant, by ids of the input: an embedding. */
static int embed(struct onnx_run *run, const struct onnx_node *node,
                 const struct onnx_value *const *inputs, struct onnx_value *out)
{
    const struct onnx_tensor *rows = &inputs[0]->tensor;
    struct onnx_stage stage = {.kind = ONNX_STAGE_EMBEDDING, .node = node, .tensor = *rows};
    int rc;

    if (rows->rank != 2 || onnx_int(node, "axis", 0) != 0 || rows->type > ONNX_F64)
        return onnx_stop(run, node, "it looks up something other than rows of a matrix");
    if (inputs[1]->kind != ONNX_INPUT || inputs[1]->is_cut || inputs[1]->rank == ONNX_RANK_MAX)
        return onnx_stop(run, node, "it looks up by what is no input of the model");
    *out = *inputs[1];
    rc = onnx_settle(run, node, out, SIZE_MAX);
    stage.below = out->stage;
    stage.width = rows->shape[1];
    if (rc == 0)
        rc = onnx_stage_new(run, &stage, &out->stage);
    if (rc == 0)
        rc = onnx_axis_new(run, (int64_t)rows->shape[1], &out->features[0]);
    out->n_features = 1;
    out->dims[out->rank++] = (struct onnx_dim){1, {out->features[0]}};
    return rc;
}

/* Puts dimensions of an index in the place of the one that it picks from. */
static void replace_dim(struct onnx_value *value, size_t axis, bool scalar)
{
    if (!scalar) {
        value->dims[axis] = (struct onnx_dim){0};
        return;
    }
    memmove(value->dims + axis, value->dims + axis + 1,
            (value->rank - axis - 1) * sizeof *value->dims);
    value->rank--;
}

static int gather_entries(struct onnx_run *run, const struct onnx_node *node,
                          const struct onnx_tensor *index, struct onnx_value *value, size_t axis)
{
    struct onnx_entry *entries = onnx_take(run, index->elements, sizeof *entries);
    struct onnx_dim dim = {0};
    int rc;

    if (!entries)
        return run->err->code;
    if (index->elements == 0)
        return onnx_stop(run, node, "it takes nothing");
    for (size_t i = 0; i < index->elements; i++) {
        struct onnx_symbol symbol = onnx_symbol_at(index, i);
        int64_t at, n = (int64_t)value->n_entries;

        if (!onnx_symbol_number(run, &symbol, &at) || at < -n || at >= n)
            return onnx_stop(run, node, "a place past the end");
        entries[i] = value->entries[at < 0 ? at + n : at];
    }
    value->entries = entries;
    rc = pick_entries(run, value, &dim, 0, index->elements);
    value->dims[axis] = dim;
    if (index->rank == 0)
        replace_dim(value, axis, true);
    return rc;
}

static int gather_data(struct onnx_run *run, const struct onnx_node *node,
                       const struct onnx_tensor *index, struct onnx_value *value)
{
    struct onnx_symbol at = onnx_symbol_at(index, 0), behind = at;
    uint32_t axes[ONNX_PARTS_MAX];
    size_t axis, n;
    int rc = onnx_axis(run, node, onnx_int(node, "axis", 0), value->rank, &axis);

    if (rc < 0)
        return rc;
    if (holds_entries(run, value, &value->dims[axis]))
        return gather_entries(run, node, index, value, axis);
    n = onnx_dim_axes(run, &value->dims[axis], axes);
    if (index->elements != 1)
        return onnx_stop(run, node, "it takes several steps or features");
    behind.more = at.n == 0 && at.more == -1 ? INT64_MAX : at.more < INT32_MAX ? at.more + 1 : 0;
    if (value->kind == ONNX_INPUT)
        rc = cut_input(run, node, value, axis, &at, &behind);
    else if (n == 0 && place_of(run, &at, 1, UINT32_MAX) == PLACE_OTHER)
        return onnx_stop(run, node, "a place past the end");
    else if (n == 1 && run->has_layer && axes[0] == run->time)
        rc = pick_step(run, node, value, place_of(run, &at, run->axes[axes[0]], axes[0]));
    else if (n > 0)
        return onnx_stop(run, node, "it takes a part of the data");
    replace_dim(value, axis, index->rank == 0);
    return rc;
}

int onnx_gather(struct onnx_run *run, const struct onnx_node *node,
                const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    const struct onnx_tensor *index;

    if (node->n_inputs < 2 || node->n_outputs < 1)
        return onnx_stop(run, node, "it lacks an input");
    if (inputs[0]->kind == ONNX_CONSTANT)
        return embed(run, node, inputs, &outputs[0]);
    index = &inputs[1]->tensor;
    if (inputs[1]->kind != ONNX_CONSTANT || index->rank > 1 || index->elements == 0 ||
        (index->type != ONNX_I64 && index->type != ONNX_SYMBOL))
        return onnx_stop(run, node, "what it takes depends on the data");
    outputs[0] = *inputs[0];
    return gather_data(run, node, index, &outputs[0]);
}

/* Of states and directions, one behind the other; of inputs that hold several states. */
int onnx_split(struct onnx_run *run, const struct onnx_node *node,
               const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    size_t sizes[ONNX_PORTS_MAX], axis = 0, at = 0;
    struct onnx_symbol size;
    int64_t number;
    int rc = onnx_want_data(run, node, inputs);
    const struct onnx_value *from = inputs[0];

    if (rc == 0)
        rc = onnx_axis(run, node, onnx_int(node, "axis", 0), from->rank, &axis);
    if (rc < 0)
        return rc;
    size = onnx_dim_symbol(&from->dims[axis]);
    if (!onnx_symbol_number(run, &size, &number))
        return onnx_stop(run, node, "it splits along an axis of free length");
    rc = onnx_split_sizes(run, node, inputs, (size_t)number, sizes);
    for (size_t i = 0; i < node->n_outputs && rc == 0; i++) {
        struct onnx_symbol start = {.more = (int64_t)at};
        struct onnx_symbol end = {.more = (int64_t)(at + sizes[i])};

        outputs[i] = *from;
        if (holds_entries(run, from, &from->dims[axis]) && sizes[i] > 0)
            rc = pick_entries(run, &outputs[i], &outputs[i].dims[axis], at, sizes[i]);
        else if (from->kind == ONNX_INPUT)
            rc = cut_input(run, node, &outputs[i], axis, &start, &end);
        else
            rc = onnx_stop(run, node, "it splits steps or features");
        at += sizes[i];
    }
    return rc;
}

/* ---- Concat ---- */

/* Whether entries of that value lie along the dimension, or there is one and the dimension is 1:
 * `apart`; or along the features as one product. */
static bool lies_along(const struct onnx_run *run, const struct onnx_value *value, size_t axis,
                       bool apart)
{
    if (value->kind != ONNX_DATA || value->n_entries == 0 || value->reversed)
        return false;
    if (!apart)
        return onnx_dim_is_features(run, value, &value->dims[axis]);
    return value->n_entries == 1 ? onnx_dim_is_one(run, &value->dims[axis])
                                 : holds_entries(run, value, &value->dims[axis]);
}

static int join_entries(struct onnx_run *run, const struct onnx_value *const *inputs, size_t n,
                        struct onnx_value *out)
{
    struct onnx_entry *entries;
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        total += inputs[i]->n_entries;
    entries = onnx_take(run, total, sizeof *entries);
    if (!entries)
        return run->err->code;
    out->entries = entries;
    out->n_entries = total;
    for (size_t i = 0; i < n; i++) {
        memcpy(entries, inputs[i]->entries, inputs[i]->n_entries * sizeof *entries);
        entries += inputs[i]->n_entries;
    }
    return 0;
}

int onnx_concat(struct onnx_run *run, const struct onnx_node *node,
                const struct onnx_value *const *inputs, struct onnx_value *outputs)
{
    bool apart = true, along = true;
    size_t axis = 0;
    int rc = onnx_want_data(run, node, inputs);
    struct onnx_value *out = &outputs[0];

    if (rc == 0)
        rc = onnx_axis(run, node, onnx_int(node, "axis", 1), inputs[0]->rank, &axis);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < node->n_inputs; i++) {
        size_t width, first;

        if (inputs[i]->kind != ONNX_DATA || inputs[i]->n_entries == 0 ||
            inputs[i]->rank != inputs[0]->rank)
            return onnx_stop(run, node, "it joins what are no states or directions of layers");
        width = run->layers[inputs[i]->entries[0].layer].hidden;
        first = run->layers[inputs[0]->entries[0].layer].hidden;
        if (width != first)
            return onnx_stop(run, node, "it joins states of %zu and of %zu numbers", first, width);
        if (!onnx_same_dims(run, inputs[0], inputs[i]))
            return onnx_stop(run, node, "its inputs are laid out in different ways");
        apart &= lies_along(run, inputs[i], axis, true);
        along &= lies_along(run, inputs[i], axis, false);
    }
    if (!apart && !along)
        return onnx_stop(run, node, "it joins what are no states or directions of layers");
    *out = *inputs[0];
    if (node->n_inputs == 1)
        return 0;
    rc = join_entries(run, inputs, node->n_inputs, out);
    out->features[1] = inputs[0]->features[inputs[0]->n_features - 1];
    out->n_features = 2;
    if (rc == 0)
        rc = onnx_axis_new(run, (int64_t)out->n_entries, &out->features[0]);
    out->dims[axis] = apart ? (struct onnx_dim){1, {out->features[0]}}
                            : (struct onnx_dim){2, {out->features[0], out->features[1]}};
    return rc;
}
