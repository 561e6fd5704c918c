/* Constants of an ONNX graph as numbers, and lists of integers as operators take them. */
#include <string.h>

#include "import/onnx_fold.h"

void *onnx_allot(struct onnx_run *run, struct onnx_tensor *t)
{
    void *data;

    if (!onnx_tensor_count(t)) {
        (void)rnn_fail(run->err, RNN_ELIMIT, "the file unfolds into more than any memory holds");
        return NULL;
    }
    data = archive_alloc(run->archive, t->elements * onnx_type_bytes(t->type) + 1, run->err);
    t->data = data;
    return data;
}

struct onnx_value onnx_constant(const struct onnx_tensor *t)
{
    return (struct onnx_value){.kind = ONNX_CONSTANT, .tensor = *t};
}

struct onnx_value onnx_uniform(const struct onnx_tensor *t)
{
    struct onnx_value value = {.kind = ONNX_UNIFORM};

    if (onnx_is_float(t->type)) {
        value.number = onnx_number(t, 0);
    } else {
        value.symbol = onnx_symbol_at(t, 0);
        value.symbolic = value.symbol.n > 0;
        value.number = (double)value.symbol.more;
    }
    return value;
}

size_t onnx_type_bytes(enum onnx_type type)
{
    switch (type) {
    case ONNX_F32:
        return 4;
    case ONNX_F16:
    case ONNX_BF16:
        return 2;
    case ONNX_SYMBOL:
        return sizeof(struct onnx_symbol);
    default:
        return 8;
    }
}

const struct archive_type *onnx_archive_type(enum onnx_type type)
{
    static const char *const names[] = {"F32", "F16", "BF16", "F64"};

    return archive_type(names[type]);
}

bool onnx_is_float(enum onnx_type type)
{
    return type != ONNX_I64 && type != ONNX_SYMBOL;
}

double onnx_number(const struct onnx_tensor *tensor, size_t i)
{
    struct archive_tensor t = {.data = tensor->data};
    int64_t value;

    if (onnx_is_float(tensor->type)) {
        t.type = onnx_archive_type(tensor->type);
        return archive_number(&t, i);
    }
    memcpy(&value, (const unsigned char *)tensor->data + i * 8, 8);
    return (double)value;
}

struct onnx_symbol onnx_symbol_at(const struct onnx_tensor *tensor, size_t i)
{
    struct onnx_symbol symbol = {0};

    if (tensor->type == ONNX_SYMBOL)
        memcpy(&symbol, (const unsigned char *)tensor->data + i * sizeof symbol, sizeof symbol);
    else
        memcpy(&symbol.more, (const unsigned char *)tensor->data + i * 8, 8);
    return symbol;
}

bool onnx_is_everywhere(const struct onnx_value *value, double number)
{
    const struct onnx_tensor *t = &value->tensor;

    if (value->kind == ONNX_UNIFORM)
        return !value->symbolic && value->number == number;
    if (value->kind != ONNX_CONSTANT || t->type == ONNX_SYMBOL)
        return false;
    for (size_t i = 0; i < t->elements; i++)
        if (onnx_number(t, i) != number)
            return false;
    return true;
}

/* ---- Lists of integers ---- */

static int take_integers(struct onnx_run *run, const struct onnx_node *node,
                         const struct onnx_value *value, const int64_t **out, size_t *n)
{
    const struct onnx_tensor *t = &value->tensor;
    int64_t *list;

    if (value->kind != ONNX_CONSTANT || onnx_is_float(t->type) || t->rank > 1)
        return onnx_stop(run, node, "its sizes or axes depend on the data");
    list = onnx_take(run, t->elements, sizeof *list);
    if (!list)
        return run->err->code;
    for (size_t i = 0; i < t->elements; i++) {
        struct onnx_symbol symbol = onnx_symbol_at(t, i);

        if (!onnx_symbol_number(run, &symbol, &list[i]))
            return onnx_stop(run, node, "its sizes or axes depend on the input's length");
    }
    *out = list;
    *n = t->elements;
    return 0;
}

int onnx_integers(struct onnx_run *run, const struct onnx_node *node,
                  const struct onnx_value *const *inputs, size_t place, const char *attribute,
                  bool *present, const int64_t **out, size_t *n)
{
    const struct onnx_attribute *a = attribute ? onnx_attribute(node, attribute) : NULL;

    *present = false;
    *n = 0;
    if (place < node->n_inputs && inputs[place]->kind != ONNX_ABSENT) {
        *present = true;
        return take_integers(run, node, inputs[place], out, n);
    }
    if (a && a->kind == ONNX_INTS) {
        *present = true;
        *out = a->ints;
        *n = a->n;
    }
    return 0;
}

int64_t onnx_int(const struct onnx_node *node, const char *name, int64_t otherwise)
{
    const struct onnx_attribute *a = onnx_attribute(node, name);

    return a && a->kind == ONNX_INT ? a->i : otherwise;
}

float onnx_float(const struct onnx_node *node, const char *name, float otherwise)
{
    const struct onnx_attribute *a = onnx_attribute(node, name);

    return a && a->kind == ONNX_FLOAT ? a->f : otherwise;
}

int onnx_axis(struct onnx_run *run, const struct onnx_node *node, int64_t axis, size_t rank,
              size_t *out)
{
    if (axis < 0 && axis >= -(int64_t)rank)
        axis += (int64_t)rank;
    if (axis < 0 || (size_t)axis >= rank)
        return onnx_stop(run, node, "axis %lld of a value of %zu dimensions", (long long)axis,
                         rank);
    *out = (size_t)axis;
    return 0;
}
