/* Activations, log-sum-exp, ranking and scores against plain double computations. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

enum { WIDE = 1000 };

static float values[WIDE];

static void fill(float scale, uint64_t seed)
{
    for (int i = 0; i < WIDE; i++)
        values[i] = scale * fake_random(&seed);
}

static double true_lse(const float *x, size_t n)
{
    double max = -INFINITY, sum = 0.0;

    for (size_t i = 0; i < n; i++)
        max = fmax(max, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

START_TEST(log_sum_exp)
{
    for (size_t n = 1; n < WIDE; n = n * 3 / 2 + 1)
        for (int scale = 1; scale <= 1000; scale *= 10) {
            double want;

            fill((float)scale, n);
            want = true_lse(values, n);
            ck_assert_double_eq_tol(rnn_log_sum_exp(values, n), want, 5e-7 + 1e-9 * fabs(want));
        }
    values[0] = FLT_MAX;
    values[1] = -FLT_MAX;
    ck_assert_double_eq(rnn_log_sum_exp(values, 2), (double)FLT_MAX);
}
END_TEST

START_TEST(top_is_a_sort_with_ties_by_id)
{
    for (size_t n = 1; n <= 60; n++) {
        for (size_t i = 0; i < n; i++)
            values[i] = (float)((i * 7 + n) % 13) - 6.0f;
        for (size_t k = 0; k <= n + 2; k++) {
            uint32_t ids[64] = {0};
            size_t got = rnn_top(values, n, k, ids);

            ck_assert_uint_eq(got, k < n ? k : n);
            for (size_t i = 0; i < got; i++) {
                size_t ahead = 0;

                for (size_t j = 0; j < n; j++)
                    ahead +=
                        values[j] > values[ids[i]] || (values[j] == values[ids[i]] && j < ids[i]);
                ck_assert_uint_eq(ahead, i);
            }
        }
    }
}
END_TEST

START_TEST(scores)
{
    for (int scale = 1; scale <= 100; scale *= 10) {
        double lse, entropy = 0.0;

        fill((float)scale, 3);
        values[10] = values[20];
        lse = true_lse(values, WIDE);
        for (int i = 0; i < WIDE; i++)
            entropy -= exp((double)values[i] - lse) * ((double)values[i] - lse);
        for (uint32_t token = 0; token < WIDE; token += 10) {
            struct rnn_token_score score;
            uint32_t rank = 1;

            rnn_score_token(values, WIDE, token, &score);
            for (uint32_t i = 0; i < WIDE; i++)
                rank += values[i] > values[token] || (values[i] == values[token] && i < token);
            ck_assert_uint_eq(score.rank, rank);
            ck_assert_double_eq_tol(score.logprob, (double)values[token] - lse, 1e-6);
            ck_assert_double_eq_tol(score.entropy, entropy, 1e-6);
        }
    }
}
END_TEST

START_TEST(activations)
{
    for (int a = 0; a < 3; a++)
        for (size_t n = 1; n < 100; n = n * 2 + 1) {
            const struct fake_shape shape = {.cell = &rnn_cell_gru,
                                             .input = RNN_INPUT_ONEHOT,
                                             .input_size = 3,
                                             .layers = 1,
                                             .hidden = 4,
                                             .outputs = n,
                                             .activation = (enum rnn_head_activation)a};
            struct rnn_model *model = fake_model(&shape, 1, true);
            float out[100];
            double lse, sum = 0.0;

            fill(30.0f, n);
            lse = true_lse(values, n);
            rnn_activate(model, values, out);
            for (size_t i = 0; i < n; i++) {
                double x = (double)values[i];
                double want = a == RNN_HEAD_SOFTMAX   ? exp(x - lse)
                              : a == RNN_HEAD_SIGMOID ? 1.0 / (1.0 + exp(-x))
                                                      : x;

                ck_assert_double_eq_tol((double)out[i], want, 4e-6 * fabs(want) + 1e-30);
                sum += (double)out[i];
            }
            if (a == RNN_HEAD_SOFTMAX)
                ck_assert_double_eq_tol(sum, 1.0, 1e-6);
            rnn_activate(model, values, values); /* in place */
            ck_assert_mem_eq(values, out, n * sizeof *out);
            rnn_model_unref(model);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/core/distribution");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(all, log_sum_exp);
    tcase_add_test(all, top_is_a_sort_with_ties_by_id);
    tcase_add_test(all, scores);
    tcase_add_test(all, activations);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
