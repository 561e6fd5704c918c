/* The arithmetic of the kernels: accuracy against libm in double, special values, the same bits on
 * every instruction set, products against plain loops through the packer. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/distribution.h"
#include "core/kernels.h"
#include "core/pack.h"
#include "fake.h"

static const enum rnn_isa isas[] = {RNN_ISA_SCALAR, RNN_ISA_AVX2, RNN_ISA_AVX512};

/* The kernels of isas[i], or NULL where this CPU lacks them. */
static const struct rnn_kernels *kernels_at(int i)
{
    return rnn_kernels_select(isas[i], NULL) < 0 ? NULL : rnn_kernels_current();
}

/* ---- Accuracy ---- */

/* Distance in units in the last place of the true value (which is normal). */
static double ulps(float got, double want)
{
    int exponent;

    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1.0, exponent - 24);
}

static double true_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

enum { POINTS = 200000 };

/* Points from -limit to limit, and as many spread over all magnitudes below it. */
static void points(float *x, float limit)
{
    for (int i = 0; i < POINTS; i++) {
        float at = (float)i / POINTS;
        float sign = i % 2 ? 1.0f : -1.0f;

        x[i] = i % 4 < 2 ? limit * (2.0f * at - 1.0f) : sign * limit * powf(10.0f, -30.0f * at);
    }
}

static double worst(const float *x, const float *got, double (*want)(double))
{
    double most = 0.0;

    for (int i = 0; i < POINTS; i++)
        most = fmax(most, ulps(got[i], want((double)x[i])));
    return most;
}

START_TEST(sigmoid_tanh_and_exp_are_within_a_few_ulp)
{
    const struct rnn_kernels *k = kernels_at(_i);
    float *x = malloc(POINTS * sizeof *x), *y = malloc(POINTS * sizeof *y);

    if (k) {
        points(x, 86.9f);
        k->sigmoid(x, y, POINTS);
        ck_assert_double_lt(worst(x, y, true_sigmoid), 3.0);
        points(x, 20.0f);
        k->tanh(x, y, POINTS);
        ck_assert_double_lt(worst(x, y, tanh), 4.0);
        points(x, 86.9f);
        for (int i = 0; i < POINTS; i++)
            x[i] = -fabsf(x[i]);
        k->exp_shifted(x, 0.0f, y, POINTS);
        ck_assert_double_lt(worst(x, y, exp), 2.0);
    }
    free(x);
    free(y);
}
END_TEST

START_TEST(log_is_as_good_as_double_gets)
{
    for (int e = -126; e < 1000; e += 3)
        for (int i = 0; i < 200; i++) {
            double x = ldexp(1.0 + i / 200.0, e), want = log(x);

            ck_assert_double_le(fabs(rnn_log(x) - want), 4e-16 * fmax(fabs(want), 1e-3));
        }
    ck_assert_double_eq(rnn_log(1.0), 0.0);
}
END_TEST

START_TEST(ends_of_the_range)
{
    const struct rnn_kernels *k = kernels_at(_i);
    const float x[] = {0.0f, -0.0f, 1e30f, -1e30f, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX};
    float y[8];

    if (!k)
        return;
    k->tanh(x, y, 8);
    for (int i = 0; i < 8; i++)
        ck_assert_float_eq(y[i], x[i] == 0.0f ? 0.0f : copysignf(1.0f, x[i]));
    ck_assert(!signbit(y[0]) && signbit(y[1]));
    k->sigmoid(x, y, 8);
    ck_assert_float_eq(y[0], 0.5f);
    for (int i = 2; i < 8; i++)
        ck_assert(x[i] > 0.0f ? y[i] == 1.0f : y[i] >= 0.0f && y[i] < 1e-37f);
    k->relu(x, y, 8);
    for (int i = 0; i < 8; i++)
        ck_assert_float_eq(y[i], fminf(fmaxf(x[i], 0.0f), FLT_MAX));
    k->exp_shifted(x, 0.0f, y, 8);
    ck_assert_float_eq(y[0], 1.0f);
    ck_assert_float_eq(y[2], 1.0f);
    ck_assert_float_eq(y[3], 0.0f);
    ck_assert_float_eq(y[5], 0.0f);
}
END_TEST

/* ---- The same bits ---- */

enum { ARRAY = 2001 };

static void random_array(float *x, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * fake_random(&seed);
}

typedef void array_fn(const float *in, float *out, size_t n);

START_TEST(arrays_of_any_length_give_the_same_bits)
{
    static float x[ARRAY], want[ARRAY + 1], got[ARRAY + 1];

    random_array(x, ARRAY, _i % 2 ? 3.0f : 100.0f, 7);
    for (size_t n = 0; n < 70; n++)
        for (int which = 0; which < 3; which++)
            for (int i = 0; i < 3; i++) {
                const struct rnn_kernels *k = kernels_at(i);
                array_fn *const map[] = {k ? k->tanh : NULL, k ? k->sigmoid : NULL,
                                         k ? k->relu : NULL};
                float *out = i == 0 ? want : got;

                if (!k)
                    continue;
                out[n] = 42.0f;
                map[which](x + n, out, n);
                ck_assert_float_eq(out[n], 42.0f);
                ck_assert_mem_eq(out, want, n * sizeof *out);
            }
}
END_TEST

START_TEST(reductions_give_the_same_bits)
{
    static float x[ARRAY];

    random_array(x, ARRAY, 20.0f, (uint64_t)_i + 1);
    for (size_t n = 1; n < ARRAY; n = n * 5 / 4 + 1) {
        float max = 0.0f, sum = 0.0f, sum_exp = 0.0f;

        for (int i = 0; i < 3; i++) {
            const struct rnn_kernels *k = kernels_at(i);
            float m, s, e;

            if (!k)
                continue;
            m = k->max(x, n);
            s = k->sum(x, n);
            e = k->sum_exp_shifted(x, m, n);
            if (i > 0) {
                ck_assert_mem_eq(&m, &max, sizeof m);
                ck_assert_mem_eq(&s, &sum, sizeof s);
                ck_assert_mem_eq(&e, &sum_exp, sizeof e);
            }
            max = m;
            sum = s;
            sum_exp = e;
        }
        for (size_t j = 0; j < n; j++)
            ck_assert_float_le(x[j], max);
    }
}
END_TEST

/* ---- Products ---- */

START_TEST(a_packed_product_is_one_chain_over_the_inputs)
{
    static const size_t sizes[] = {1, 5, 16, 17, 48, 64, 65, 100, 129, 200};
    size_t outputs = sizes[_i];

    for (size_t k = 1; k < 40; k += 13) {
        struct rnn_panels panels = panels_of_matrix(outputs, k);
        struct arena arena = {0};
        float *weights = malloc(outputs * k * sizeof *weights);
        float x[7][40], want[256];
        float *out = malloc(7 * 256 * sizeof *out), *rows[7];
        const float *in[7];

        random_array(weights, outputs * k, 1.0f, outputs);
        (void)arena_take(&arena, panels_size(&panels));
        ck_assert(arena_allocate(&arena));
        panels_pack_matrix(&panels, arena.base, weights, outputs);
        for (int i = 0; i < 3; i++) {
            const struct rnn_kernels *kernels = kernels_at(i);

            if (!kernels)
                continue;
            for (size_t r = 0; r < 7; r++) {
                random_array(x[r], k, 1.0f, r + 1);
                in[r] = x[r];
                rows[r] = out + r * 256;
                for (size_t j = 0; j < 256; j++)
                    rows[r][j] = (float)j;
            }
            kernels->product(&panels, in, rows, 7);
            for (size_t r = 0; r < 7; r++) {
                for (size_t j = 0; j < 256; j++) {
                    want[j] = (float)j;
                    for (size_t n = 0; n < k && j < outputs; n++)
                        want[j] = fmaf(x[r][n], weights[j * k + n], want[j]);
                }
                ck_assert_mem_eq(rows[r], want, sizeof want);
            }
        }
        for (size_t n = 0; n < k; n++) {
            float column[256] = {0};

            panels_add_column(&panels, n, column);
            for (size_t j = 0; j < 256; j++)
                ck_assert_float_eq(column[j], j < outputs ? weights[j * k + n] : 0.0f);
        }
        arena_free(&arena);
        free(weights);
        free(out);
    }
}
END_TEST

START_TEST(an_unknown_level_is_refused_and_the_choice_stays)
{
    struct rnn_err err = {0};

    ck_assert_int_eq(rnn_kernels_select(RNN_ISA_SCALAR, &err), 0);
    ck_assert_str_eq(rnn_kernels_name(), "scalar");
    ck_assert_int_eq(rnn_kernels_select((enum rnn_isa)77, &err), RNN_EUNSUPPORTED);
    ck_assert_str_eq(rnn_kernels_name(), "scalar");
    ck_assert_int_eq(rnn_kernels_select(RNN_ISA_AUTO, &err), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/core/kernels");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, sigmoid_tanh_and_exp_are_within_a_few_ulp, 0, 3);
    tcase_add_test(all, log_is_as_good_as_double_gets);
    tcase_add_loop_test(all, ends_of_the_range, 0, 3);
    tcase_add_loop_test(all, arrays_of_any_length_give_the_same_bits, 0, 2);
    tcase_add_loop_test(all, reductions_give_the_same_bits, 0, 3);
    tcase_add_loop_test(all, a_packed_product_is_one_chain_over_the_inputs, 0, 10);
    tcase_add_test(all, an_unknown_level_is_refused_and_the_choice_stays);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
