/* Heads of normal distributions: parameters and likelihoods against values from elsewhere
 * (mixture_values.py), samples against the moments that they must have, and the ends of the range.
 */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/gaussian.h"
#include "core/mixture.h"
#include "core/rnn.h"

#define PARAMETERS_MAX 128

struct mixture_case {
    size_t components;
    unsigned pen;
    bool scaled;
    float mean[2], std[2], raw[PARAMETERS_MAX], point[5];
    double want[PARAMETERS_MAX], offset_nll, pen_nll;
};

struct gaussian_case {
    size_t n;
    bool scaled;
    float mean[3], std[3], raw[6], values[3];
    double want[6], nll;
};

#include "mixture_values.h"

enum {
    N_MIXTURES = sizeof mixture_cases / sizeof *mixture_cases,
    N_GAUSSIANS = sizeof gaussian_cases / sizeof *gaussian_cases
};

static struct mixture mixture_of(const struct mixture_case *c)
{
    return (struct mixture){
        .components = c->components,
        .pen = c->pen,
        .mean = c->scaled ? c->mean : NULL,
        .std = c->scaled ? c->std : NULL,
    };
}

static struct gaussian gaussian_of(const struct gaussian_case *c)
{
    return (struct gaussian){
        .n = c->n,
        .mean = c->scaled ? c->mean : NULL,
        .std = c->scaled ? c->std : NULL,
    };
}

/* ---- Values from elsewhere ---- */

static void close_to(const float *got, const double *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_double_le(fabs((double)got[i] - want[i]), 1e-7 * (fabs(want[i]) + 1e-3));
}

START_TEST(a_mixtures_parameters_and_likelihood)
{
    const struct mixture_case *c = &mixture_cases[_i];
    struct mixture head = mixture_of(c);
    struct mixture_score score = mixture_nll(&head, c->raw, c->point);
    float got[PARAMETERS_MAX], in_place[PARAMETERS_MAX];

    mixture_parameters(&head, c->raw, got);
    close_to(got, c->want, mixture_size(&head));
    memcpy(in_place, c->raw, sizeof in_place);
    mixture_parameters(&head, in_place, in_place);
    ck_assert_mem_eq(in_place, got, mixture_size(&head) * sizeof *got);
    ck_assert_double_eq_tol(score.offset, c->offset_nll, 1e-12 * (1 + fabs(c->offset_nll)));
    ck_assert_double_eq_tol(score.pen, c->pen_nll, 1e-12);
}
END_TEST

START_TEST(a_gaussians_parameters_and_likelihood)
{
    const struct gaussian_case *c = &gaussian_cases[_i];
    struct gaussian head = gaussian_of(c);
    float got[6], in_place[6];

    gaussian_parameters(&head, c->raw, got);
    close_to(got, c->want, 2 * c->n);
    memcpy(in_place, c->raw, sizeof in_place);
    gaussian_parameters(&head, in_place, in_place);
    ck_assert_mem_eq(in_place, got, 2 * c->n * sizeof *got);
    ck_assert_double_eq_tol(gaussian_nll(&head, c->raw, c->values), c->nll,
                            1e-12 * (1 + fabs(c->nll)));
}
END_TEST

/* The negative log-likelihood is that of a density: its exponential adds up to one. */
START_TEST(a_mixtures_density_adds_up_to_one)
{
    const struct mixture_case *c = &mixture_cases[3];
    struct mixture head = mixture_of(c);
    const double step = 0.05;
    double total = 0.0;

    for (int x = -400; x < 400; x++)
        for (int y = -400; y < 400; y++) {
            const float point[5] = {(float)(x * step), (float)(y * step), 1.0f};

            total += exp(-mixture_nll(&head, c->raw, point).offset) * step * step;
        }
    ck_assert_double_eq_tol(total, 1.0, 1e-3);
}
END_TEST

/* ---- Samples ---- */

enum { SAMPLES = 100000 };

struct moments {
    double mean[2], variance[2], covariance;
    double variance_error[2];
    double pen[3];
};

static struct moments moments_of(const struct mixture *head, const float *raw, float temperature)
{
    struct rnn_rng rng = {.seed = 2017};
    static float points[SAMPLES][5];
    struct moments m = {0};

    for (size_t i = 0; i < SAMPLES; i++) {
        mixture_sample(head, raw, temperature, &rng, points[i]);
        for (unsigned k = 0; k < 2; k++)
            m.mean[k] += (double)points[i][k] / SAMPLES;
        for (unsigned k = 0; k < head->pen; k++)
            m.pen[k] += (double)points[i][2 + k] / SAMPLES;
    }
    ck_assert_uint_eq(rng.counter, 4 * SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) {
        double x = (double)points[i][0] - m.mean[0], y = (double)points[i][1] - m.mean[1];

        m.variance[0] += x * x / SAMPLES;
        m.variance[1] += y * y / SAMPLES;
        m.covariance += x * y / SAMPLES;
        m.variance_error[0] += x * x * x * x / SAMPLES;
        m.variance_error[1] += y * y * y * y / SAMPLES;
    }
    for (unsigned k = 0; k < 2; k++)
        m.variance_error[k] = sqrt(m.variance_error[k] / SAMPLES);
    return m;
}

static double powered(double probability, float temperature)
{
    return pow(probability, 1.0 / (double)temperature);
}

/* What the moments must be, off the parameters of the case. */
static struct moments moments_wanted(const struct mixture_case *c, float temperature)
{
    size_t n = c->components;
    const double *weight = c->want + c->pen, *mean[2] = {weight + n, weight + 2 * n};
    const double *deviation[2] = {weight + 3 * n, weight + 4 * n}, *correlation = weight + 5 * n;
    struct moments m = {0};
    double total = 0.0, pens = 0.0;

    for (size_t i = 0; i < n; i++)
        total += powered(weight[i], temperature);
    for (size_t i = 0; i < n; i++) {
        double w = powered(weight[i], temperature) / total;
        double x = mean[0][i], y = mean[1][i], t = (double)temperature;

        m.mean[0] += w * x;
        m.mean[1] += w * y;
        m.variance[0] += w * (x * x + t * deviation[0][i] * deviation[0][i]);
        m.variance[1] += w * (y * y + t * deviation[1][i] * deviation[1][i]);
        m.covariance += w * (x * y + t * correlation[i] * deviation[0][i] * deviation[1][i]);
    }
    m.covariance -= m.mean[0] * m.mean[1];
    m.variance[0] -= m.mean[0] * m.mean[0];
    m.variance[1] -= m.mean[1] * m.mean[1];
    for (unsigned k = 0; k < c->pen; k++)
        pens += powered(c->want[k], temperature);
    if (c->pen == 1)
        pens += powered(1.0 - c->want[0], temperature);
    for (unsigned k = 0; k < c->pen; k++)
        m.pen[k] = powered(c->want[k], temperature) / pens;
    return m;
}

START_TEST(samples_have_the_mixtures_moments)
{
    static const float temperatures[] = {1.0f, 0.4f, 2.0f};
    const struct mixture_case *c = &mixture_cases[_i / 3];
    float temperature = temperatures[_i % 3];
    struct mixture head = mixture_of(c);
    struct moments got = moments_of(&head, c->raw, temperature);
    struct moments want = moments_wanted(c, temperature);

    for (unsigned k = 0; k < 2; k++) {
        ck_assert_double_eq_tol(got.mean[k], want.mean[k], 5 * sqrt(want.variance[k] / SAMPLES));
        ck_assert_double_eq_tol(got.variance[k], want.variance[k], 5 * got.variance_error[k]);
    }
    ck_assert_double_eq_tol(got.covariance, want.covariance,
                            5 * sqrt(got.variance_error[0] * got.variance_error[1]));
    for (unsigned k = 0; k < c->pen; k++)
        ck_assert_double_eq_tol(got.pen[k], want.pen[k],
                                5 * sqrt(want.pen[k] * (1.0 - want.pen[k]) / SAMPLES));
}
END_TEST

START_TEST(greedy_takes_the_heaviest_mean_and_draws_nothing)
{
    const struct mixture_case *c = &mixture_cases[_i];
    struct mixture head = mixture_of(c);
    struct rnn_rng rng = {.seed = 1};
    size_t best = 0;
    float point[5], cold[5];

    for (size_t i = 1; i < c->components; i++)
        if (c->want[c->pen + i] > c->want[c->pen + best])
            best = i;
    mixture_sample(&head, c->raw, 0.0f, &rng, point);
    ck_assert_uint_eq(rng.counter, 0);
    for (size_t k = 0; k < 2; k++) {
        double want = c->want[c->pen + (1 + k) * c->components + best];

        ck_assert_double_eq_tol((double)point[k], want, 1e-6 * (1.0 + fabs(want)));
    }
    if (c->pen == 1)
        ck_assert_float_eq(point[2], c->want[0] > 0.5 ? 1.0f : 0.0f);
    for (size_t k = 0; k < c->pen && c->pen == 3; k++)
        ck_assert(point[2 + k] == 1.0f ||
                  c->want[k] < fmax(c->want[0], fmax(c->want[1], c->want[2])));
    /* What a temperature close to zero comes to. */
    mixture_sample(&head, c->raw, 1e-20f, &rng, cold);
    ck_assert_mem_eq(cold, point, (2 + c->pen) * sizeof *point);
    ck_assert_uint_eq(rng.counter, 4);
}
END_TEST

/* Bits that any compiler and CPU must give. */
START_TEST(samples_and_likelihoods_are_the_same_everywhere)
{
    static const float want[2][2] = {{0x1.0a6d92p-3f, 0x1.d5667cp+0f},
                                     {0x1.17824cp+3f, -0x1.6e05c4p+1f}};
    const struct mixture_case *c = &mixture_cases[5];
    struct mixture head = mixture_of(c);
    struct mixture_score score = mixture_nll(&head, c->raw, c->point);
    struct rnn_rng rng = {.seed = 1};
    float point[5];

    for (int i = 0; i < 2; i++) {
        mixture_sample(&head, c->raw, 0.7f, &rng, point);
        ck_assert_mem_eq(point, want[i], sizeof want[i]);
    }
    ck_assert_double_eq(score.offset, 0x1.c5228981987cep+2);
    ck_assert_double_eq(score.pen, 0x1.db9fb1497fb3cp+1);
}
END_TEST

START_TEST(samples_of_a_gaussian_have_its_moments)
{
    const struct gaussian_case *c = &gaussian_cases[1];
    struct gaussian head = gaussian_of(c);
    double sum[3] = {0}, squares[3] = {0};
    struct rnn_rng rng = {.seed = 8};
    float values[3];

    for (size_t i = 0; i < SAMPLES; i++) {
        gaussian_sample(&head, c->raw, 0.5f, &rng, values);
        for (size_t k = 0; k < 3; k++) {
            double off = (double)values[k] - c->want[k];

            sum[k] += off / SAMPLES;
            squares[k] += off * off / SAMPLES;
        }
    }
    ck_assert_uint_eq(rng.counter, 3 * SAMPLES);
    for (size_t k = 0; k < 3; k++) {
        double variance = 0.5 * c->want[3 + k] * c->want[3 + k];

        ck_assert_double_eq_tol(sum[k], 0.0, 5 * sqrt(variance / SAMPLES));
        ck_assert_double_eq_tol(squares[k], variance, 5 * variance * sqrt(2.0 / SAMPLES));
    }
    gaussian_sample(&head, c->raw, 0.0f, &rng, values);
    close_to(values, c->want, 3);
    ck_assert_uint_eq(rng.counter, 3 * SAMPLES);
}
END_TEST

/* ---- Ends of the range ---- */

static const float ends[] = {0.0f,     1.0f,      -1.0f, FLT_MAX, -FLT_MAX, 1e-30f,
                             INFINITY, -INFINITY, NAN,   100.0f,  -100.0f};
enum { N_ENDS = sizeof ends / sizeof *ends };

static void fill_with_ends(float *raw, size_t n, struct rnn_rng *rng)
{
    for (size_t i = 0; i < n; i++)
        raw[i] = ends[(size_t)(rnn_rng_uniform(rng) * N_ENDS)];
}

static bool all_finite(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

START_TEST(a_mixture_stays_finite)
{
    static const float temperatures[] = {0.0f, 1.0f, 1e-38f, FLT_MAX, 1e-45f};
    static const float units[][2] = {{1e-37f, FLT_MAX}, {1.0f, 2.0f}};
    struct rnn_rng rng = {.seed = 3};

    for (int i = 0; i < 4000; i++) {
        struct mixture head = {.components = 1 + (size_t)i % 5, .pen = i % 2 ? 1 : 3};
        float raw[64], out[64], point[5];
        struct mixture_score score;

        head.mean = i % 3 ? units[0] : NULL;
        head.std = i % 3 ? units[i % 3 - 1] : NULL;
        fill_with_ends(raw, mixture_size(&head), &rng);
        mixture_parameters(&head, raw, out);
        ck_assert(all_finite(out, mixture_size(&head)));
        mixture_sample(&head, raw, temperatures[i % 5], &rng, point);
        ck_assert(all_finite(point, 2 + head.pen));
        score = mixture_nll(&head, raw, point);
        ck_assert(isfinite(score.offset) && isfinite(score.pen));
        ck_assert_double_ge(score.pen, 0.0);
        point[0] = FLT_MAX;
        point[1] = -FLT_MAX;
        score = mixture_nll(&head, raw, point);
        ck_assert(isfinite(score.offset));
    }
}
END_TEST

START_TEST(a_gaussian_stays_finite)
{
    static const float temperatures[] = {0.0f, 1.0f, 1e-38f, FLT_MAX, 1e-45f};
    static const float mean[3] = {FLT_MAX, 0.0f, -1.0f}, std[3] = {FLT_MAX, 1e-37f, 1.0f};
    struct rnn_rng rng = {.seed = 4};

    for (int i = 0; i < 4000; i++) {
        struct gaussian head = {3, i % 2 ? mean : NULL, i % 2 ? std : NULL};
        float raw[6], out[6], values[3];

        fill_with_ends(raw, 6, &rng);
        gaussian_parameters(&head, raw, out);
        ck_assert(all_finite(out, 6));
        gaussian_sample(&head, raw, temperatures[i % 5], &rng, values);
        ck_assert(all_finite(values, 3));
        ck_assert(isfinite(gaussian_nll(&head, raw, values)));
    }
}
END_TEST

/* A stroke along a line: the density is high on it and finite, and a sample lies on it. */
START_TEST(a_correlation_of_one_is_a_line)
{
    const struct mixture head = {.components = 1, .pen = 1};
    const float raw[7] = {0, 0, 0, 0, 0, 0, 1e6f}, on[3] = {1.5f, 1.5f, 0}, off[3] = {1.5f, 1, 0};
    struct rnn_rng rng = {.seed = 6};
    float point[3];

    ck_assert_double_lt(mixture_nll(&head, raw, on).offset, 0.0);
    ck_assert_double_gt(mixture_nll(&head, raw, off).offset, 1e6);
    for (int i = 0; i < 1000; i++) {
        mixture_sample(&head, raw, 1.0f, &rng, point);
        ck_assert_double_eq_tol((double)point[0], (double)point[1], 1e-6);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/core/mixture");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_set_timeout(all, 120);
    tcase_add_loop_test(all, a_mixtures_parameters_and_likelihood, 0, N_MIXTURES);
    tcase_add_loop_test(all, a_gaussians_parameters_and_likelihood, 0, N_GAUSSIANS);
    tcase_add_test(all, a_mixtures_density_adds_up_to_one);
    tcase_add_loop_test(all, samples_have_the_mixtures_moments, 0, 3 * N_MIXTURES);
    tcase_add_loop_test(all, greedy_takes_the_heaviest_mean_and_draws_nothing, 0, N_MIXTURES);
    tcase_add_test(all, samples_and_likelihoods_are_the_same_everywhere);
    tcase_add_test(all, samples_of_a_gaussian_have_its_moments);
    tcase_add_test(all, a_mixture_stays_finite);
    tcase_add_test(all, a_gaussian_stays_finite);
    tcase_add_test(all, a_correlation_of_one_is_a_line);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
