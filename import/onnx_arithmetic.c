/* Arithmetic of constants, element by element: floats in double precision, rounded to their type;
 * integers and sizes exactly.  See onnx_fold.h.
 *
 * A size that is not a number yet can be added to, multiplied, divided where nothing is left over,
 * and compared with numbers that no size can be. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "import/onnx_fold.h"

/* ---- Broadcasting ---- */

struct pairs {
    size_t rank, shape[ONNX_RANK_MAX], index[ONNX_RANK_MAX];
    size_t strides[3][ONNX_RANK_MAX], at[3]; /* of up to three inputs */
    size_t n, elements;
};

static int pairs_init(struct fold *f, struct pairs *p, size_t n)
{
    *p = (struct pairs){.n = n, .elements = 1};
    for (size_t i = 0; i < n; i++)
        p->rank = f->tensors[i]->rank > p->rank ? f->tensors[i]->rank : p->rank;
    for (size_t d = 0; d < p->rank; d++)
        p->shape[d] = 1;
    for (size_t i = 0; i < n; i++) {
        const struct onnx_tensor *t = f->tensors[i];
        size_t stride = 1;

        for (size_t k = t->rank; k-- > 0;) {
            size_t d = k + p->rank - t->rank;

            if (t->shape[k] != 1 && p->shape[d] != 1 && t->shape[k] != p->shape[d])
                return onnx_stop(f->run, f->node, "its inputs do not fit one another");
            if (t->shape[k] != 1)
                p->shape[d] = t->shape[k];
            p->strides[i][d] = t->shape[k] == 1 ? 0 : stride;
            stride *= t->shape[k];
        }
    }
    for (size_t d = 0; d < p->rank; d++)
        if (!checked_mul(p->elements, p->shape[d], &p->elements))
            return onnx_stop(f->run, f->node, "its inputs are too large");
    return 0;
}

static void pairs_next(struct pairs *p)
{
    for (size_t d = p->rank; d-- > 0;) {
        for (size_t i = 0; i < p->n; i++)
            p->at[i] += p->strides[i][d];
        if (++p->index[d] < p->shape[d])
            return;
        for (size_t i = 0; i < p->n; i++)
            p->at[i] -= p->strides[i][d] * p->shape[d];
        p->index[d] = 0;
    }
}

static void *allot(struct fold *f, const struct pairs *p, enum onnx_type type,
                   struct onnx_tensor *t)
{
    *t = (struct onnx_tensor){.type = type, .rank = p->rank};
    memcpy(t->shape, p->shape, sizeof t->shape);
    return onnx_allot(f->run, t);
}

/* ---- Sizes ---- */

static bool same_axes(const struct onnx_symbol *a, const struct onnx_symbol *b)
{
    return a->n == b->n && memcmp(a->axes, b->axes, a->n * sizeof *a->axes) == 0;
}

static struct onnx_symbol plain(int64_t number)
{
    return (struct onnx_symbol){.more = number};
}

/* What has become a number is one. */
static void settle_symbol(const struct onnx_run *run, struct onnx_symbol *symbol)
{
    int64_t number;

    if (symbol->n > 0 && onnx_symbol_number(run, symbol, &number))
        *symbol = plain(number);
}

static bool add(const struct onnx_symbol *a, const struct onnx_symbol *b, int64_t sign,
                struct onnx_symbol *out)
{
    int64_t more, factor;

    if (__builtin_mul_overflow(b->more, sign, &more) ||
        __builtin_add_overflow(a->more, more, &more) ||
        __builtin_mul_overflow(b->factor, sign, &factor) ||
        __builtin_add_overflow(a->factor, factor, &factor))
        return false;
    if (a->n > 0 && b->n > 0 && !same_axes(a, b))
        return false;
    *out = a->n > 0 ? *a : *b;
    out->factor = factor;
    out->more = more;
    if (factor == 0)
        out->n = 0;
    return true;
}

static bool multiply(const struct onnx_symbol *a, const struct onnx_symbol *b,
                     struct onnx_symbol *out)
{
    if (a->n == 0) {
        const struct onnx_symbol *swap = a;

        a = b;
        b = swap;
    }
    *out = *a;
    if (b->n == 0)
        return !__builtin_mul_overflow(a->more, b->more, &out->more) &&
               !__builtin_mul_overflow(a->factor, b->more, &out->factor);
    if (a->more || b->more || a->n + b->n > ONNX_PARTS_MAX)
        return false;
    for (size_t i = 0; i < b->n; i++)
        out->axes[out->n++] = b->axes[i];
    return !__builtin_mul_overflow(a->factor, b->factor, &out->factor);
}

static bool divide(const struct onnx_symbol *a, const struct onnx_symbol *b,
                   struct onnx_symbol *out)
{
    int64_t by = b->n ? b->factor : b->more;

    *out = *a;
    if (by == 0 || by == -1 || (b->n && (b->more || a->more || !same_axes(a, b))))
        return false;
    if (a->n > 0 && (a->factor % by || a->more % by))
        return false;
    out->factor = a->factor / by;
    out->more = a->more / by;
    if (b->n)
        *out = plain(out->factor);
    return true;
}

/* A size that is not known is at least 1. */
static bool compare(const struct onnx_symbol *a, const struct onnx_symbol *b,
                    struct onnx_symbol *out)
{
    const struct onnx_symbol *number = a->n == 0 ? a : b, *size = a->n == 0 ? b : a;

    if (size->n == 0 || (same_axes(a, b) && a->factor == b->factor)) {
        *out = plain(a->more == b->more);
        return true;
    }
    *out = plain(0);
    return number->n == 0 && size->factor > 0 && number->more < size->factor + size->more;
}

static bool combine(const char *op, const struct onnx_symbol *a, const struct onnx_symbol *b,
                    struct onnx_symbol *out)
{
    switch (op[0]) {
    case 'A':
        return add(a, b, 1, out);
    case 'S':
        return add(a, b, -1, out);
    case 'M':
        return multiply(a, b, out);
    case 'D':
        return divide(a, b, out);
    case 'E':
        return compare(a, b, out);
    default:
        return false;
    }
}

/* ---- Floats ---- */

static double compute(const char *op, double a, double b)
{
    switch (op[0]) {
    case 'A':
        return a + b;
    case 'S':
        return a - b;
    case 'M':
        return a * b;
    case 'D':
        return a / b;
    case 'E':
        return a == b;
    default:
        return pow(a, b);
    }
}

static enum onnx_type float_type(const struct fold *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (f->inputs[i]->kind == ONNX_CONSTANT && f->tensors[i]->type == ONNX_F64)
            return ONNX_F64;
    return ONNX_F32;
}

static void put(void *data, enum onnx_type type, size_t i, double value)
{
    if (type == ONNX_F64)
        ((double *)data)[i] = value;
    else
        ((float *)data)[i] = (float)value;
}

/* ---- Operators ---- */

/* A tensor of symbols that are all numbers is one of integers. */
static int finish_symbols(struct fold *f, struct onnx_tensor *t)
{
    const struct onnx_symbol *list = t->data;
    int64_t *numbers;

    for (size_t i = 0; i < t->elements; i++)
        if (list[i].n > 0) {
            f->out[0] = (struct onnx_value){.kind = ONNX_CONSTANT, .tensor = *t};
            return 0;
        }
    numbers = onnx_take(f->run, t->elements, sizeof *numbers);
    if (!numbers)
        return f->run->err->code;
    for (size_t i = 0; i < t->elements; i++)
        numbers[i] = list[i].more;
    t->type = ONNX_I64;
    t->data = numbers;
    f->out[0] = (struct onnx_value){.kind = ONNX_CONSTANT, .tensor = *t};
    return 0;
}

static int binary_symbols(struct fold *f, struct pairs *p)
{
    struct onnx_tensor t;
    struct onnx_symbol *out = allot(f, p, ONNX_SYMBOL, &t);

    if (!out)
        return f->run->err->code;
    for (size_t i = 0; i < p->elements; i++, pairs_next(p)) {
        struct onnx_symbol a = onnx_symbol_at(f->tensors[0], p->at[0]);
        struct onnx_symbol b = onnx_symbol_at(f->tensors[1], p->at[1]);

        settle_symbol(f->run, &a);
        settle_symbol(f->run, &b);
        if (!combine(f->node->op, &a, &b, &out[i]))
            return onnx_stop(f->run, f->node, "a size that cannot be told beforehand");
    }
    return finish_symbols(f, &t);
}

int onnx_fold_binary(struct fold *f)
{
    enum onnx_type type = float_type(f, 2);
    struct onnx_tensor t;
    struct pairs p;
    void *out;
    int rc = pairs_init(f, &p, 2);

    if (rc < 0)
        return rc;
    if (!onnx_is_float(f->tensors[0]->type) && !onnx_is_float(f->tensors[1]->type))
        return binary_symbols(f, &p);
    if (f->tensors[0]->type == ONNX_SYMBOL || f->tensors[1]->type == ONNX_SYMBOL)
        return onnx_stop(f->run, f->node, "sizes and fractions in one");
    out = allot(f, &p, type, &t);
    if (!out)
        return f->run->err->code;
    for (size_t i = 0; i < p.elements; i++, pairs_next(&p))
        put(out, type, i,
            compute(f->node->op, onnx_number(f->tensors[0], p.at[0]),
                    onnx_number(f->tensors[1], p.at[1])));
    f->out[0] = (struct onnx_value){.kind = ONNX_CONSTANT, .tensor = t};
    return 0;
}

static double compute_unary(const char *op, double a)
{
    switch (op[0]) {
    case 'N':
        return -a;
    case 'S':
        return sqrt(a);
    case 'R':
        return 1 / a;
    case 'F':
        return floor(a);
    default:
        return ceil(a);
    }
}

int onnx_fold_unary(struct fold *f)
{
    enum onnx_type type = float_type(f, 1);
    struct onnx_tensor t;
    struct pairs p;
    void *out;
    int rc = pairs_init(f, &p, 1);

    if (rc < 0)
        return rc;
    if (!onnx_is_float(f->tensors[0]->type))
        return onnx_stop(f->run, f->node, "of integers");
    out = allot(f, &p, type, &t);
    if (!out)
        return f->run->err->code;
    for (size_t i = 0; i < p.elements; i++)
        put(out, type, i, compute_unary(f->node->op, onnx_number(f->tensors[0], i)));
    f->out[0] = (struct onnx_value){.kind = ONNX_CONSTANT, .tensor = t};
    return 0;
}

/* Of integers and sizes: shapes with a -1 in them are put together in this way. */
int onnx_fold_where(struct fold *f)
{
    struct onnx_tensor t;
    struct onnx_symbol *out;
    struct pairs p;
    int rc = pairs_init(f, &p, 3);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < 3; i++)
        if (onnx_is_float(f->tensors[i]->type))
            return onnx_stop(f->run, f->node, "of fractions");
    out = allot(f, &p, ONNX_SYMBOL, &t);
    if (!out)
        return f->run->err->code;
    for (size_t i = 0; i < p.elements; i++, pairs_next(&p)) {
        struct onnx_symbol condition = onnx_symbol_at(f->tensors[0], p.at[0]);
        size_t from = condition.more ? 1 : 2;

        if (condition.n > 0)
            return onnx_stop(f->run, f->node, "a condition that cannot be told beforehand");
        out[i] = onnx_symbol_at(f->tensors[from], p.at[from]);
    }
    return finish_symbols(f, &t);
}

/* Of all sizes in a list. */
int onnx_fold_product(struct fold *f)
{
    const struct onnx_tensor *from = f->tensors[0];
    struct onnx_symbol product = plain(1);
    struct onnx_tensor t;
    struct pairs p = {.elements = 1};
    struct onnx_symbol *out;

    if (onnx_is_float(from->type) || from->rank > 1)
        return onnx_stop(f->run, f->node, "of something other than a list of sizes");
    if (onnx_int(f->node, "keepdims", 1)) {
        p.rank = 1;
        p.shape[0] = 1;
    }
    out = allot(f, &p, ONNX_SYMBOL, &t);
    if (!out)
        return f->run->err->code;
    for (size_t i = 0; i < from->elements; i++) {
        struct onnx_symbol next = onnx_symbol_at(from, i), result;

        if (!multiply(&product, &next, &result))
            return onnx_stop(f->run, f->node, "a size that cannot be told beforehand");
        product = result;
    }
    out[0] = product;
    return finish_symbols(f, &t);
}
