/* The arithmetic of the kernels: accuracy against libm in double, special values, the same bits on
 * every instruction set, activations and arrays against their formulas, products against plain
 * loops through the packer. */
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

enum { ARRAY = 2001 };

static void random_array(float *x, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * fake_random(&seed);
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

/* ---- Activations ---- */

static double within(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

static double true_activation(const struct rnn_activation *f, double x)
{
    double a = (double)f->alpha, b = (double)f->beta;

    switch (f->kind) {
    case RNN_TANH:
        return tanh(x);
    case RNN_RELU:
        return fmax(x, 0);
    case RNN_SIGMOID:
        return true_sigmoid(x);
    case RNN_LINEAR:
        return a * x + b;
    case RNN_HARD_SIGMOID:
        return within(a * x + b, 0, 1);
    case RNN_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case RNN_THRESHOLDED_RELU:
        return x > a ? x : 0;
    case RNN_SCALED_TANH:
        return a * tanh(b * x);
    case RNN_ELU:
        return x < 0 ? a * expm1(x) : x;
    case RNN_SOFTSIGN:
        return x / (1 + fabs(x));
    }
    return NAN;
}

static const struct rnn_activation activations[] = {
    {RNN_TANH, 1, 1},
    {RNN_RELU, 0, 0},
    {RNN_SIGMOID, 1, 0},
    {RNN_LINEAR, 1, 0},
    {RNN_LINEAR, -2.5f, 0.75f},
    {RNN_HARD_SIGMOID, 0.2f, 0.5f},
    {RNN_HARD_SIGMOID, 1.0f / 6.0f, 0.5f},
    {RNN_LEAKY_RELU, 0.01f, 0},
    {RNN_LEAKY_RELU, 3.0f, 0},
    {RNN_THRESHOLDED_RELU, 1.0f, 0},
    {RNN_THRESHOLDED_RELU, -0.5f, 0},
    {RNN_SCALED_TANH, 1.7159f, 0.6667f},
    {RNN_ELU, 1.0f, 0},
    {RNN_ELU, 0.3f, 0},
    {RNN_SOFTSIGN, 0, 0},
};
enum { N_ACTIVATIONS = sizeof activations / sizeof *activations };

START_TEST(every_activation_is_its_formula)
{
    const struct rnn_activation *f = &activations[_i];
    float *x = malloc(POINTS * sizeof *x), *y = malloc(POINTS * sizeof *y);

    for (int i = 0; i < 3; i++) {
        const struct rnn_kernels *k = kernels_at(i);
        double most = -1.0;

        if (!k)
            continue;
        points(x, 20.0f);
        k->activate(f, x, y, POINTS);
        for (int j = 0; j < POINTS; j++) {
            double want = true_activation(f, (double)x[j]);
            double scale = fmax(fabs(want), fabs((double)f->beta)); /* linear pieces may cancel */

            most = fmax(most, fabs((double)y[j] - want) - 4e-7 * scale);
        }
        ck_assert_double_le(most, 0.0);
    }
    free(x);
    free(y);
}
END_TEST

START_TEST(activations_are_finite_whatever_comes_in)
{
    static const float shapes[] = {0.0f, -1.0f, FLT_MAX, -FLT_MAX, 1e-30f};
    const float x[] = {0.0f,     -0.0f,     1e30f, -1e30f, FLT_MAX, -FLT_MAX,
                       INFINITY, -INFINITY, NAN,   -NAN,   FLT_MIN};
    enum { N = sizeof x / sizeof *x };
    float y[N], want[N];

    for (int kind = RNN_TANH; kind <= RNN_SOFTSIGN; kind++)
        for (int shape = 0; shape < 25; shape++)
            for (int i = 0; i < 3; i++) {
                const struct rnn_kernels *k = kernels_at(i);
                struct rnn_activation f = {(enum rnn_activation_kind)kind, shapes[shape / 5],
                                           shapes[shape % 5]};

                if (!k)
                    continue;
                k->activate(&f, x, i == 0 ? want : y, N);
                for (int j = 0; j < N; j++)
                    ck_assert_msg(isfinite(i == 0 ? want[j] : y[j]), "kind %d of %g", kind,
                                  (double)x[j]);
                if (i > 0)
                    ck_assert_mem_eq(y, want, sizeof y);
            }
}
END_TEST

START_TEST(activate_gives_the_bits_of_the_plain_three)
{
    static float x[ARRAY], want[ARRAY], got[ARRAY];
    const struct rnn_kernels *k = kernels_at(_i);

    if (!k)
        return;
    random_array(x, ARRAY, 30.0f, 5);
    k->tanh(x, want, ARRAY);
    k->activate(&activations[0], x, got, ARRAY);
    ck_assert_mem_eq(got, want, sizeof got);
    k->relu(x, want, ARRAY);
    k->activate(&activations[1], x, got, ARRAY);
    ck_assert_mem_eq(got, want, sizeof got);
    k->sigmoid(x, want, ARRAY);
    k->activate(&activations[2], x, got, ARRAY);
    ck_assert_mem_eq(got, want, sizeof got);
}
END_TEST

/* ---- The same bits ---- */

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

/* ---- Arrays of two and three ---- */

enum { N_JOINS = 7 };

static void join(const struct rnn_kernels *k, int which, float *const x[3], float *out, size_t n)
{
    switch (which) {
    case 0:
        k->add(x[0], x[1], out, n);
        break;
    case 1:
        k->multiply(x[0], x[1], out, n);
        break;
    case 2:
        k->larger(x[0], x[1], out, n);
        break;
    case 3:
        k->affine(x[0], x[1], x[2], out, n);
        break;
    case 4:
        k->standardize(x[0], x[1], x[2], out, n);
        break;
    case 5:
        memmove(out, x[1], n * sizeof *out);
        k->add_scaled(0.37f, x[0], out, n);
        break;
    default:
        k->clamp(x[0], 1.5f, out, n);
    }
}

static float joined(int which, float a, float b, float c)
{
    switch (which) {
    case 0:
        return a + b;
    case 1:
        return a * b;
    case 2:
        return a > b ? a : b;
    case 3:
        return fmaf(a, b, c);
    case 4:
        return (a - b) / c;
    case 5:
        return fmaf(a, 0.37f, b);
    default:
        return fminf(fmaxf(a, -1.5f), 1.5f);
    }
}

START_TEST(arrays_are_joined_element_by_element)
{
    static float x[3][ARRAY], got[ARRAY + 1];
    float *const in[] = {x[0], x[1], x[2]};

    for (int j = 0; j < 3; j++)
        random_array(x[j], ARRAY, 3.0f, (uint64_t)j + 70);
    for (size_t n = 0; n < 70; n++)
        for (int i = 0; i < 3; i++) {
            const struct rnn_kernels *k = kernels_at(i);

            if (!k)
                continue;
            got[n] = 42.0f;
            join(k, _i, in, got, n);
            ck_assert_float_eq(got[n], 42.0f);
            for (size_t j = 0; j < n; j++)
                ck_assert_float_eq(got[j], joined(_i, x[0][j], x[1][j], x[2][j]));
        }
}
END_TEST

START_TEST(joins_saturate)
{
    static const float ends[] = {FLT_MAX, -FLT_MAX, 0.0f, 1.0f};
    float x[3][64], got[64];
    float *const in[] = {x[0], x[1], x[2]};

    for (int j = 0; j < 64; j++) {
        x[0][j] = ends[j % 4];
        x[1][j] = ends[j / 4 % 4];
        x[2][j] = ends[j / 16];
    }
    for (int i = 0; i < 3; i++) {
        const struct rnn_kernels *k = kernels_at(i);

        if (!k)
            continue;
        join(k, _i, in, got, 64);
        for (int j = 0; j < 64; j++)
            ck_assert(isfinite(got[j]));
        ck_assert(isfinite(k->dot(x[0], x[1], 64)));
        for (int j = 0; j < 64; j++)
            x[1][j] = FLT_MAX;
        ck_assert_float_eq(k->dot(x[1], x[1], 64), FLT_MAX);
        k->layer_norm(x[1], x[1], x[1], 0.0f, got, 64);
        ck_assert_float_eq(got[5], FLT_MAX);
        k->layer_norm(x[0], x[1], x[1], 0.0f, got, 64);
        for (int j = 0; j < 64; j++)
            ck_assert(isfinite(got[j]));
    }
}
END_TEST

START_TEST(dot_is_sixteen_chains_folded)
{
    static float x[2][ARRAY];

    random_array(x[0], ARRAY, 1.0f, 4);
    random_array(x[1], ARRAY, 1.0f, 5);
    for (size_t n = 0; n < ARRAY; n = n * 5 / 4 + 1) {
        float lanes[RNN_LANES] = {0};

        for (size_t j = 0; j < n; j++)
            lanes[j % RNN_LANES] = fmaf(x[0][j], x[1][j], lanes[j % RNN_LANES]);
        for (size_t half = RNN_LANES / 2; half > 0; half /= 2)
            for (size_t l = 0; l < half; l++)
                lanes[l] += lanes[l + half];
        for (int i = 0; i < 3; i++) {
            const struct rnn_kernels *k = kernels_at(i);

            if (k)
                ck_assert_float_eq(k->dot(x[0], x[1], n), lanes[0]);
        }
    }
}
END_TEST

START_TEST(layer_norm_is_its_formula)
{
    static float x[3][ARRAY], want[ARRAY], got[ARRAY];
    const float offset = _i == 0 ? 0.0f : 1000.0f;

    for (int j = 0; j < 3; j++)
        random_array(x[j], ARRAY, 2.0f, (uint64_t)j + 90);
    for (size_t j = 0; j < ARRAY; j++)
        x[0][j] += offset;
    for (size_t n = 1; n < ARRAY; n = n * 5 / 4 + 1) {
        double mean = 0.0, variance = 0.0;

        for (size_t j = 0; j < n; j++)
            mean += (double)x[0][j] / (double)n;
        for (size_t j = 0; j < n; j++)
            variance += ((double)x[0][j] - mean) * ((double)x[0][j] - mean) / (double)n;
        for (int i = 0; i < 3; i++) {
            const struct rnn_kernels *k = kernels_at(i);
            float *out = i == 0 ? want : got;

            if (!k)
                continue;
            k->layer_norm(x[0], x[1], x[2], 1e-5f, out, n);
            ck_assert_mem_eq(out, want, n * sizeof *out);
            for (size_t j = 0; j < n; j++)
                ck_assert_double_eq_tol((double)out[j],
                                        ((double)x[0][j] - mean) / sqrt(variance + 1e-5) *
                                                (double)x[1][j] +
                                            (double)x[2][j],
                                        1e-6);
        }
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
    tcase_add_loop_test(all, every_activation_is_its_formula, 0, N_ACTIVATIONS);
    tcase_add_test(all, activations_are_finite_whatever_comes_in);
    tcase_add_loop_test(all, activate_gives_the_bits_of_the_plain_three, 0, 3);
    tcase_add_loop_test(all, arrays_are_joined_element_by_element, 0, N_JOINS);
    tcase_add_loop_test(all, joins_saturate, 0, N_JOINS);
    tcase_add_test(all, dot_is_sixteen_chains_folded);
    tcase_add_loop_test(all, layer_norm_is_its_formula, 0, 2);
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
