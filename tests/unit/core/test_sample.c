/* The sampler: each setting alone, their order, ties, bans, penalties, replay, and the frequencies
 * of what it draws. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rnn.h"

enum { N = 5, DRAWS = 20000 };

/* Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625. */
static const float logits[N] = {0.0f, -0.69314718f, -1.38629436f, -2.07944154f, -2.07944154f};
static const double p[N] = {0.5, 0.25, 0.125, 0.0625, 0.0625};

static struct rnn_sampler *make(size_t n, struct rnn_sampling set)
{
    struct rnn_sampler *sampler = NULL;

    ck_assert_int_eq(rnn_sampler_new(&sampler, n, &set, NULL), 0);
    return sampler;
}

/* Shares of DRAWS draws. */
static void shares(struct rnn_sampler *sampler, const float *from, size_t n, double *out)
{
    struct rnn_rng rng = {.seed = 9};

    memset(out, 0, n * sizeof *out);
    for (int i = 0; i < DRAWS; i++) {
        uint32_t token = UINT32_MAX;

        ck_assert_int_eq(rnn_sample(sampler, from, &rng, &token), 0);
        ck_assert_uint_lt(token, n);
        out[token] += 1.0 / DRAWS;
    }
    ck_assert_uint_eq(rng.counter, DRAWS);
}

/* The shares that these settings draw are `want` over its sum; a zero is never drawn. */
static void expect(struct rnn_sampling set, const double *want)
{
    struct rnn_sampler *sampler = make(N, set);
    double got[N], sum = 0.0;

    shares(sampler, logits, N, got);
    for (int i = 0; i < N; i++)
        sum += want[i];
    for (int i = 0; i < N; i++) {
        double share = want[i] / sum;

        if (share == 0.0)
            ck_assert_double_eq(got[i], 0.0);
        ck_assert_double_eq_tol(got[i], share, 4.5 * sqrt(share * (1.0 - share) / DRAWS) + 1e-12);
    }
    rnn_sampler_free(sampler);
}

START_TEST(plain_draws_follow_the_distribution)
{
    expect(RNN_SAMPLING_DEFAULT, p);
}
END_TEST

START_TEST(temperature)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
    double want[N];

    set.temperature = 0.5f;
    for (int i = 0; i < N; i++)
        want[i] = p[i] * p[i];
    expect(set, want);
    set.temperature = 2.0f;
    for (int i = 0; i < N; i++)
        want[i] = sqrt(p[i]);
    expect(set, want);
    set.temperature = 1e-30f;
    expect(set, (double[N]){1, 0, 0, 0, 0});
}
END_TEST

START_TEST(top_k)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;

    set.top_k = 2;
    expect(set, (double[N]){4, 2, 0, 0, 0});
    set.top_k = 4; /* the fourth and fifth are equal: the smaller id stays */
    expect(set, (double[N]){8, 4, 2, 1, 0});
    set.top_k = 1000;
    expect(set, p);
}
END_TEST

START_TEST(top_p)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;

    set.top_p = 0.1f;
    expect(set, (double[N]){1, 0, 0, 0, 0});
    set.top_p = 0.7f;
    expect(set, (double[N]){2, 1, 0, 0, 0});
    set.top_p = 0.8f;
    expect(set, (double[N]){4, 2, 1, 0, 0});
}
END_TEST

START_TEST(min_p)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;

    set.min_p = 0.24f;
    expect(set, (double[N]){4, 2, 1, 0, 0});
    set.min_p = 0.3f;
    expect(set, (double[N]){2, 1, 0, 0, 0});
    set.min_p = 1.0f;
    expect(set, (double[N]){1, 0, 0, 0, 0});
}
END_TEST

/* The entropy is 1.875 bits; surprises 1, 2, 3, 4, 4: the second token is the most typical (0.125
 * off), then the first (0.875), the third (1.125), the others (2.125). */
START_TEST(typical_p)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;

    set.typical_p = 0.2f;
    expect(set, (double[N]){0, 1, 0, 0, 0});
    set.typical_p = 0.5f;
    expect(set, (double[N]){2, 1, 0, 0, 0});
    set.typical_p = 0.8f;
    expect(set, (double[N]){4, 2, 1, 0, 0});
}
END_TEST

START_TEST(stages_come_in_their_order)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
    const struct rnn_logit_bias bias = {.token = 4, .bias = 10.0f};

    /* top_k leaves 2/3 and 1/3; over that, top_p 0.6 keeps one.  Before it, it would keep two. */
    set.top_k = 2;
    set.top_p = 0.6f;
    expect(set, (double[N]){1, 0, 0, 0, 0});
    /* Temperature first: at 0.5 the first token has 0.73 of the mass. */
    set = RNN_SAMPLING_DEFAULT;
    set.temperature = 0.5f;
    set.top_p = 0.6f;
    expect(set, (double[N]){1, 0, 0, 0, 0});
    /* typical_p 0.2 removes the first token, the rest of min_p works on what is left. */
    set = RNN_SAMPLING_DEFAULT;
    set.typical_p = 0.2f;
    set.min_p = 0.9f;
    expect(set, (double[N]){0, 1, 0, 0, 0});
    /* Bias before everything. */
    set = RNN_SAMPLING_DEFAULT;
    set.bias = &bias;
    set.n_bias = 1;
    set.top_k = 1;
    expect(set, (double[N]){0, 0, 0, 0, 1});
}
END_TEST

static uint32_t greedy(struct rnn_sampler *sampler, const float *from)
{
    struct rnn_rng rng = {.seed = 1, .counter = 5};
    uint32_t token = UINT32_MAX;

    ck_assert_int_eq(rnn_sample(sampler, from, &rng, &token), 0);
    ck_assert_uint_eq(rng.counter, 5);
    return token;
}

START_TEST(greedy_takes_the_largest_and_the_smaller_id_on_a_tie)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
    struct rnn_sampler *sampler;

    set.temperature = 0.0f;
    sampler = make(N, set);
    ck_assert_uint_eq(greedy(sampler, logits), 0);
    ck_assert_uint_eq(greedy(sampler, (float[N]){-3, 2, 1, 2, 2}), 1);
    ck_assert_uint_eq(greedy(sampler, (float[N]){NAN, -5, -4, NAN, -4}), 2);
    ck_assert_uint_eq(greedy(sampler, (float[N]){0, FLT_MAX, INFINITY, 1, 2}), 1);
    rnn_sampler_free(sampler);
}
END_TEST

START_TEST(bias_and_bans)
{
    struct rnn_logit_bias bias[] = {{.token = 0, .ban = true}, {.token = 2, .bias = 0.69314718f}};
    struct rnn_logit_bias all[N];
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
    struct rnn_sampler *sampler;
    struct rnn_rng rng = {.seed = 3};
    uint32_t token = 77;

    set.bias = bias;
    set.n_bias = 2;
    expect(set, (double[N]){0, 4, 4, 1, 1});
    for (uint32_t i = 0; i < N; i++)
        all[i] = (struct rnn_logit_bias){.token = i, .ban = true};
    set.bias = all;
    set.n_bias = N;
    for (int hot = 0; hot < 2; hot++) {
        set.temperature = (float)hot;
        sampler = make(N, set);
        ck_assert_int_eq(rnn_sample(sampler, logits, &rng, &token), RNN_ERANGE);
        ck_assert_uint_eq(token, 77);
        ck_assert_uint_eq(rng.counter, 0);
        rnn_sampler_free(sampler);
    }
}
END_TEST

START_TEST(the_bias_list_is_copied)
{
    struct rnn_logit_bias bias = {.token = 0, .ban = true};
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
    struct rnn_sampler *sampler;

    set.temperature = 0.0f;
    set.bias = &bias;
    set.n_bias = 1;
    sampler = make(N, set);
    bias = (struct rnn_logit_bias){.token = 1, .bias = 100.0f};
    ck_assert_uint_eq(greedy(sampler, logits), 1); /* the second largest, as 0 is banned */
    ck_assert_uint_eq(greedy(sampler, (float[N]){9, 0, 1, 0, 0}), 2);
    rnn_sampler_free(sampler);
}
END_TEST

START_TEST(repetition_penalty_over_prompt_and_text)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
    struct rnn_sampler *sampler;
    const float from[N] = {4.0f, 3.0f, -1.0f, -1.5f, -9.0f};
    const float below[N] = {-4.0f, -3.0f, -1.0f, -1.5f, -9.0f};

    set.temperature = 0.0f;
    set.repetition_penalty = 2.0f;
    sampler = make(N, set);
    ck_assert_uint_eq(greedy(sampler, from), 0);
    rnn_sampler_observe(sampler, 0, false); /* 4 / 2 < 3 */
    ck_assert_uint_eq(greedy(sampler, from), 1);
    rnn_sampler_observe(sampler, 1, true); /* 3 / 2 < 4 / 2 */
    rnn_sampler_observe(sampler, 1, true); /* once or twice is the same */
    ck_assert_uint_eq(greedy(sampler, from), 0);
    rnn_sampler_observe(sampler, 2, true); /* -1 * 2 < -1.5 */
    ck_assert_uint_eq(greedy(sampler, below), 3);
    rnn_sampler_free(sampler);
}
END_TEST

START_TEST(presence_and_frequency_penalty_over_the_text_only)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
    struct rnn_sampler *sampler;
    const float from[N] = {4.0f, 3.5f, 0.0f, 0.0f, 0.0f};

    set.temperature = 0.0f;
    set.presence_penalty = 0.4f;
    set.frequency_penalty = 0.07f;
    sampler = make(N, set);
    for (int i = 0; i < 10; i++)
        rnn_sampler_observe(sampler, 0, false);
    ck_assert_uint_eq(greedy(sampler, from), 0);
    rnn_sampler_observe(sampler, 0, true); /* 4 - 0.47 > 3.5 */
    ck_assert_uint_eq(greedy(sampler, from), 0);
    rnn_sampler_observe(sampler, 0, true); /* 4 - 0.54 < 3.5 */
    ck_assert_uint_eq(greedy(sampler, from), 1);
    rnn_sampler_observe(sampler, 1, true);
    ck_assert_uint_eq(greedy(sampler, from), 0);
    rnn_sampler_free(sampler);
}
END_TEST

START_TEST(a_filter_that_removes_nothing_changes_nothing)
{
    struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
    struct rnn_sampler *plain = make(N, set), *filtered;
    struct rnn_rng a = {.seed = 4}, b = a;

    set.top_k = N - 1;
    set.min_p = 1e-6f;
    set.top_p = 0.999999f;
    set.repetition_penalty = 1.5f;
    filtered = make(N, set);
    for (int i = 0; i < 1000; i++) {
        const float from[N] = {0.0f, 0.3f, -0.4f, 0.1f, -200.0f};
        uint32_t x, y;

        ck_assert_int_eq(rnn_sample(plain, from, &a, &x), 0);
        ck_assert_int_eq(rnn_sample(filtered, from, &b, &y), 0);
        ck_assert_uint_eq(x, y);
    }
    rnn_sampler_free(plain);
    rnn_sampler_free(filtered);
}
END_TEST

START_TEST(every_instruction_set_draws_the_same)
{
    static const enum rnn_isa isas[] = {RNN_ISA_SCALAR, RNN_ISA_AVX2, RNN_ISA_AVX512};
    enum { WIDE = 300, TIMES = 200 };
    static float from[WIDE];
    uint32_t first[TIMES];

    for (int i = 0; i < WIDE; i++)
        from[i] = (float)((i * 37) % 101) / 17.0f;
    for (int isa = 0; isa < 3; isa++) {
        struct rnn_sampling set = RNN_SAMPLING_DEFAULT;
        struct rnn_rng rng = {.seed = 8};
        struct rnn_sampler *sampler;

        if (rnn_kernels_select(isas[isa], NULL) < 0)
            continue;
        set.temperature = 1.3f;
        set.typical_p = 0.95f;
        set.top_p = 0.9f;
        sampler = make(WIDE, set);
        for (int i = 0; i < TIMES; i++) {
            uint32_t token;

            ck_assert_int_eq(rnn_sample(sampler, from, &rng, &token), 0);
            if (isa == 0)
                first[i] = token;
            ck_assert_uint_eq(token, first[i]);
        }
        rnn_sampler_free(sampler);
    }
}
END_TEST

START_TEST(settings_out_of_range_are_named)
{
    const struct rnn_logit_bias wrong[] = {{.token = N}, {.token = 0, .bias = NAN}};
    struct rnn_sampling bad[12];
    static const char *const names[] = {"temperature",
                                        "temperature",
                                        "top_p",
                                        "top_p",
                                        "min_p",
                                        "typical_p",
                                        "typical_p",
                                        "repetition_penalty",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "logit_bias",
                                        "logit_bias"};

    for (int i = 0; i < 12; i++)
        bad[i] = RNN_SAMPLING_DEFAULT;
    bad[0].temperature = -0.1f;
    bad[1].temperature = NAN;
    bad[2].top_p = 0.0f;
    bad[3].top_p = 1.1f;
    bad[4].min_p = -0.1f;
    bad[5].typical_p = 0.0f;
    bad[6].typical_p = NAN;
    bad[7].repetition_penalty = 0.0f;
    bad[8].presence_penalty = INFINITY;
    bad[9].frequency_penalty = NAN;
    bad[10].bias = &wrong[0];
    bad[11].bias = &wrong[1];
    bad[10].n_bias = bad[11].n_bias = 1;
    for (int i = 0; i < 12; i++) {
        struct rnn_sampler *sampler = NULL;
        struct rnn_err err = {0};

        ck_assert_int_eq(rnn_sampler_new(&sampler, N, &bad[i], &err), RNN_ERANGE);
        ck_assert_str_eq(err.param, names[i]);
        ck_assert_ptr_null(sampler);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/core/sample");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_set_timeout(all, 60);
    tcase_add_test(all, plain_draws_follow_the_distribution);
    tcase_add_test(all, temperature);
    tcase_add_test(all, top_k);
    tcase_add_test(all, top_p);
    tcase_add_test(all, min_p);
    tcase_add_test(all, typical_p);
    tcase_add_test(all, stages_come_in_their_order);
    tcase_add_test(all, greedy_takes_the_largest_and_the_smaller_id_on_a_tie);
    tcase_add_test(all, bias_and_bans);
    tcase_add_test(all, the_bias_list_is_copied);
    tcase_add_test(all, repetition_penalty_over_prompt_and_text);
    tcase_add_test(all, presence_and_frequency_penalty_over_the_text_only);
    tcase_add_test(all, a_filter_that_removes_nothing_changes_nothing);
    tcase_add_test(all, every_instruction_set_draws_the_same);
    tcase_add_test(all, settings_out_of_range_are_named);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
