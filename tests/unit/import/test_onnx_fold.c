/* Folding of constants: NumPy's results, and sizes that are not numbers yet. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "import/onnx_value.h"

enum { T, B, AXES }; /* axes of free length */

static struct archive archive;
static struct onnx_run run;
static struct rnn_err err;
static int64_t axes[AXES];

static void setup(void)
{
    archive = (struct archive){0};
    err = (struct rnn_err){0};
    axes[T] = axes[B] = -1;
    run = (struct onnx_run){.archive = &archive, .err = &err, .axes = axes, .n_axes = AXES};
}

static void teardown(void)
{
    archive_deinit(&archive);
}

/* ---- Making values ---- */

static struct onnx_value tensor_of(enum onnx_type type, const void *data, size_t rank,
                                   const size_t *shape)
{
    struct onnx_value value = {.kind = ONNX_CONSTANT};

    value.tensor = (struct onnx_tensor){.type = type, .rank = rank, .data = data};
    memcpy(value.tensor.shape, shape, rank * sizeof *shape);
    ck_assert(onnx_tensor_count(&value.tensor));
    return value;
}

#define FLOATS(name, shape_, ...)                                                                  \
    static const float name##_data[] = {__VA_ARGS__};                                              \
    const struct onnx_value name = tensor_of(                                                      \
        ONNX_F32, name##_data, sizeof(size_t[]) shape_ / sizeof(size_t), (const size_t[])shape_)
#define INTS(name, ...)                                                                            \
    static const int64_t name##_data[] = {__VA_ARGS__};                                            \
    const struct onnx_value name = tensor_of(                                                      \
        ONNX_I64, name##_data, 1, (const size_t[]){sizeof name##_data / sizeof *name##_data})
#define SHAPE(...)                                                                                 \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static struct onnx_value symbols(const struct onnx_symbol *list, size_t n)
{
    return tensor_of(ONNX_SYMBOL, list, 1, &n);
}

static struct onnx_attribute int_attribute(const char *name, int64_t value)
{
    return (struct onnx_attribute){.name = name, .kind = ONNX_INT, .i = value};
}

/* Runs one operator; the result is in out[0]. */
static int fold_with(const char *op, const struct onnx_attribute *attributes, size_t n_attributes,
                     const struct onnx_value *const *inputs, size_t n, struct onnx_value *out)
{
    static const char *const outputs[] = {"out"};
    struct onnx_node node = {.name = "n",
                             .op = op,
                             .domain = "",
                             .n_inputs = n,
                             .outputs = outputs,
                             .n_outputs = 1,
                             .attributes = attributes,
                             .n_attributes = n_attributes};
    bool known = false;
    int rc = onnx_fold(&run, &node, inputs, out, &known);

    ck_assert(known);
    return rc;
}

#define FOLD(out, op, ...)                                                                         \
    fold_with(op, NULL, 0, (const struct onnx_value *const[]){__VA_ARGS__},                        \
              sizeof((const void *[]){__VA_ARGS__}) / sizeof(void *), out)

static void expect(const struct onnx_value *value, const size_t *shape, size_t rank,
                   const double *numbers)
{
    const struct onnx_tensor *t = &value->tensor;
    size_t n = 1;

    ck_assert_int_eq(value->kind, ONNX_CONSTANT);
    ck_assert_uint_eq(t->rank, rank);
    for (size_t d = 0; d < rank; d++) {
        ck_assert_uint_eq(t->shape[d], shape[d]);
        n *= shape[d];
    }
    ck_assert_uint_eq(t->elements, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(onnx_number(t, i) == numbers[i], "number %zu: %g, want %g", i,
                      onnx_number(t, i), numbers[i]);
}

#define EXPECT(value, shape_, ...)                                                                 \
    expect(value, (const size_t[])shape_, sizeof(size_t[]) shape_ / sizeof(size_t),                \
           (const double[]){__VA_ARGS__})

static void expect_symbol(const struct onnx_value *value, size_t i, int64_t factor, int64_t more,
                          size_t n)
{
    struct onnx_symbol symbol = onnx_symbol_at(&value->tensor, i);

    ck_assert_uint_eq(symbol.n, n);
    if (n > 0)
        ck_assert_int_eq(symbol.factor, factor);
    ck_assert_int_eq(symbol.more, more);
}

/* ---- Where numbers stand ---- */

START_TEST(slices)
{
    FLOATS(x, SHAPE(2, 4), 0, 1, 2, 3, 10, 11, 12, 13);
    static const struct {
        int64_t start, end, step;
        size_t n;
        double row[4];
    } cases[] = {{1, 3, 1, 2, {1, 2}},
                 {-2, INT64_MAX, 1, 2, {2, 3}},
                 {0, -1, 1, 3, {0, 1, 2}},
                 {-1, INT64_MIN, -1, 4, {3, 2, 1, 0}},
                 {3, 0, -2, 2, {3, 1}},
                 {INT64_MAX, -5, -3, 2, {3, 0}},
                 {0, 4, 3, 2, {0, 3}},
                 {2, 2, 1, 0, {0}},
                 {3, 1, 1, 0, {0}},
                 {INT64_MIN, INT64_MAX, 1, 4, {0, 1, 2, 3}},
                 {-1, INT64_MIN, -INT32_MAX, 1, {3}}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t one = 1;
        int64_t axis = -1;
        const struct onnx_value start = tensor_of(ONNX_I64, &cases[i].start, 1, &one);
        const struct onnx_value end = tensor_of(ONNX_I64, &cases[i].end, 1, &one);
        const struct onnx_value step = tensor_of(ONNX_I64, &cases[i].step, 1, &one);
        const struct onnx_value along = tensor_of(ONNX_I64, &axis, 1, &one);
        struct onnx_value out = {0};

        ck_assert_int_eq(FOLD(&out, "Slice", &x, &start, &end, &along, &step), 0);
        ck_assert_uint_eq(out.tensor.shape[1], cases[i].n);
        for (size_t k = 0; k < 2 * cases[i].n; k++)
            ck_assert_msg(onnx_number(&out.tensor, k) ==
                              cases[i].row[k % cases[i].n] + (k < cases[i].n ? 0 : 10),
                          "case %zu, number %zu", i, k);
    }
}
END_TEST

START_TEST(moves)
{
    FLOATS(x, SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    INTS(open, -1, 2);
    INTS(kept, 0, 1, -1);
    INTS(wrong, 4, -1);
    INTS(first, 0);
    INTS(rows, 2, 1, -1);
    struct onnx_attribute along[] = {int_attribute("axis", 1)};
    const struct onnx_value *const two[] = {&x, &x}, *const gathered[] = {&x, &rows};
    struct onnx_value out = {0};

    ck_assert_int_eq(FOLD(&out, "Transpose", &x), 0);
    EXPECT(&out, SHAPE(3, 2), 1, 4, 2, 5, 3, 6);
    ck_assert_int_eq(FOLD(&out, "Reshape", &x, &open), 0);
    EXPECT(&out, SHAPE(3, 2), 1, 2, 3, 4, 5, 6);
    ck_assert_int_eq(FOLD(&out, "Reshape", &x, &kept), 0);
    EXPECT(&out, SHAPE(2, 1, 3), 1, 2, 3, 4, 5, 6);
    ck_assert_int_eq(FOLD(&out, "Reshape", &x, &wrong), RNN_EUNSUPPORTED);
    ck_assert_int_eq(FOLD(&out, "Unsqueeze", &x, &first), 0);
    EXPECT(&out, SHAPE(1, 2, 3), 1, 2, 3, 4, 5, 6);
    ck_assert_int_eq(fold_with("Concat", along, 1, two, 2, &out), 0);
    EXPECT(&out, SHAPE(2, 6), 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6);
    ck_assert_int_eq(fold_with("Gather", along, 1, gathered, 2, &out), 0);
    EXPECT(&out, SHAPE(2, 3), 3, 2, 3, 6, 5, 6);
    ck_assert_int_eq(FOLD(&out, "Gather", &x, &rows), RNN_EUNSUPPORTED); /* row 2 of 2 */
    ck_assert_ptr_nonnull(strstr(err.text, "node 0 'n' (Gather): a place past the end"));
}
END_TEST

START_TEST(larger_constants)
{
    FLOATS(x, SHAPE(2, 1), 1, 2);
    INTS(wide, 2, 3);
    INTS(narrow, 3, 1);
    const struct onnx_symbol list[] = {{.more = 2}, {.factor = 1, .n = 1, .axes = {B}}};
    const struct onnx_value open = symbols(list, 2);
    struct onnx_value out = {0};

    ck_assert_int_eq(FOLD(&out, "Expand", &x, &wide), 0);
    EXPECT(&out, SHAPE(2, 3), 1, 1, 1, 2, 2, 2);
    ck_assert_int_eq(FOLD(&out, "Expand", &x, &narrow), RNN_EUNSUPPORTED);
    ck_assert_int_eq(FOLD(&out, "Expand", &x, &open), 0); /* repeats, however often */
    EXPECT(&out, SHAPE(2, 1), 1, 2);
}
END_TEST

/* ---- Arithmetic ---- */

START_TEST(broadcasting)
{
    FLOATS(x, SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    FLOATS(row, SHAPE(3), 10, 20, 30);
    FLOATS(column, SHAPE(2, 1), 2, 4);
    FLOATS(other, SHAPE(2), 1, 2);
    struct onnx_value out = {0};

    ck_assert_int_eq(FOLD(&out, "Add", &x, &row), 0);
    EXPECT(&out, SHAPE(2, 3), 11, 22, 33, 14, 25, 36);
    ck_assert_int_eq(FOLD(&out, "Sub", &row, &x), 0);
    EXPECT(&out, SHAPE(2, 3), 9, 18, 27, 6, 15, 24);
    ck_assert_int_eq(FOLD(&out, "Div", &x, &column), 0);
    EXPECT(&out, SHAPE(2, 3), 0.5, 1, 1.5, 1, 1.25, 1.5);
    ck_assert_int_eq(FOLD(&out, "Mul", &column, &row), 0);
    EXPECT(&out, SHAPE(2, 3), 20, 40, 60, 40, 80, 120);
    ck_assert_int_eq(FOLD(&out, "Add", &x, &other), RNN_EUNSUPPORTED);
}
END_TEST

START_TEST(integers_are_exact)
{
    INTS(a, 7, -7, INT64_MAX);
    INTS(two, 2);
    INTS(zero, 0);
    INTS(minus, -1);
    struct onnx_value out = {0};

    ck_assert_int_eq(FOLD(&out, "Div", &a, &two), 0);
    EXPECT(&out, SHAPE(3), 3, -3, (double)(INT64_MAX / 2));
    ck_assert_int_eq(FOLD(&out, "Add", &a, &two), RNN_EUNSUPPORTED); /* past the largest */
    ck_assert_int_eq(FOLD(&out, "Mul", &a, &two), RNN_EUNSUPPORTED);
    ck_assert_int_eq(FOLD(&out, "Div", &a, &zero), RNN_EUNSUPPORTED);
    ck_assert_int_eq(FOLD(&out, "Div", &a, &minus), RNN_EUNSUPPORTED);
}
END_TEST

/* ---- Sizes ---- */

START_TEST(sizes_that_are_not_numbers_yet)
{
    const struct onnx_symbol list[] = {{.factor = 1, .n = 1, .axes = {T}},
                                       {.factor = 1, .n = 1, .axes = {B}}};
    const struct onnx_value shape = symbols(list, 2), length = symbols(list, 1);
    INTS(one, 1);
    INTS(three, 3);
    INTS(minus, -1);
    INTS(ones, 1, 1);
    struct onnx_value out = {0}, less = {0}, equal = {0};

    ck_assert_int_eq(FOLD(&less, "Sub", &length, &one), 0);
    expect_symbol(&less, 0, 1, -1, 1);
    ck_assert_int_eq(FOLD(&out, "Mul", &shape, &three), 0);
    expect_symbol(&out, 1, 3, 0, 1);
    ck_assert_int_eq(FOLD(&out, "Div", &out, &three), 0);
    expect_symbol(&out, 1, 1, 0, 1);
    ck_assert_int_eq(FOLD(&out, "Div", &shape, &three), RNN_EUNSUPPORTED); /* may leave a rest */
    ck_assert_int_eq(FOLD(&out, "Sub", &less, &length), 0);
    expect_symbol(&out, 0, 0, -1, 0);
    ck_assert_int_eq(FOLD(&out, "ReduceProd", &shape), 0);
    expect_symbol(&out, 0, 1, 0, 2);
    /* as PyTorch writes expand(-1, …): where a size is -1, 1, else the size */
    ck_assert_int_eq(FOLD(&equal, "Equal", &shape, &minus), 0);
    EXPECT(&equal, SHAPE(2), 0, 0);
    ck_assert_int_eq(FOLD(&out, "Where", &equal, &ones, &shape), 0);
    expect_symbol(&out, 0, 1, 0, 1);
    ck_assert_int_eq(FOLD(&out, "Equal", &shape, &three), RNN_EUNSUPPORTED); /* it may be 3 */
}
END_TEST

START_TEST(sizes_become_numbers)
{
    const struct onnx_symbol list[] = {{.factor = 1, .n = 1, .axes = {T}}};
    const struct onnx_value length = symbols(list, 1);
    INTS(one, 1);
    struct onnx_value out = {0};

    axes[T] = 6;
    ck_assert_int_eq(FOLD(&out, "Sub", &length, &one), 0);
    EXPECT(&out, SHAPE(1), 5);
}
END_TEST

START_TEST(one_number_everywhere)
{
    const struct onnx_symbol list[] = {{.more = 2}, {.factor = 1, .n = 1, .axes = {B}}};
    const struct onnx_value shape = symbols(list, 2);
    INTS(first, 0);
    INTS(second, 1);
    FLOATS(zeros, SHAPE(1, 2), 0, 0);
    FLOATS(others, SHAPE(1, 2), 0, 1);
    struct onnx_attribute along[] = {int_attribute("axis", 0)};
    struct onnx_value zero = {0}, out = {0};
    const struct onnx_value *const same[] = {&zero, &zeros}, *const other[] = {&zero, &others};

    ck_assert_int_eq(FOLD(&zero, "ConstantOfShape", &shape), 0);
    ck_assert_int_eq(zero.kind, ONNX_UNIFORM);
    ck_assert(onnx_is_everywhere(&zero, 0));
    ck_assert_int_eq(FOLD(&out, "Slice", &zero, &first, &second), 0);
    ck_assert(onnx_is_everywhere(&out, 0));
    ck_assert_int_eq(fold_with("Concat", along, 1, same, 2, &out), 0);
    ck_assert(onnx_is_everywhere(&out, 0));
    ck_assert_int_eq(fold_with("Concat", along, 1, other, 2, &out), RNN_EUNSUPPORTED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("onnx_fold");
    TCase *tests = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, slices);
    tcase_add_test(tests, moves);
    tcase_add_test(tests, larger_constants);
    tcase_add_test(tests, broadcasting);
    tcase_add_test(tests, integers_are_exact);
    tcase_add_test(tests, sizes_that_are_not_numbers_yet);
    tcase_add_test(tests, sizes_become_numbers);
    tcase_add_test(tests, one_number_everywhere);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
