/* Exponential, normal quantile and normal deviates: against libm and
 * against the moments of the normal distribution. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "core/rnn.h"
#include "core/special.h"

START_TEST(exp_is_as_good_as_double_gets)
{
    double worst = 0.0;

    for (int i = -700000; i <= 700000; i += 7) {
        double x = i * 1e-3 + 1e-5, want = exp(x);

        if (x < 700.0)
            worst = fmax(worst, fabs(rnn_exp(x) - want) / want);
    }
    ck_assert_double_lt(worst, 4e-16);
    ck_assert_double_eq(rnn_exp(0.0), 1.0);
    ck_assert_double_eq(rnn_exp(-701.0), 0.0);
    ck_assert_double_eq(rnn_exp(-INFINITY), 0.0);
    ck_assert_double_eq(rnn_exp(INFINITY), rnn_exp(700.0));
    ck_assert(isfinite(rnn_exp(DBL_MAX)));
}
END_TEST

START_TEST(within_and_narrow_leave_nothing_infinite)
{
    ck_assert_double_eq(rnn_within(3.0, 2.0), 2.0);
    ck_assert_double_eq(rnn_within(-3.0, 2.0), -2.0);
    ck_assert_double_eq(rnn_within(NAN, 2.0), 2.0);
    ck_assert_double_eq(rnn_within(-INFINITY, 2.0), -2.0);
    ck_assert_float_eq(rnn_narrow(1e300), FLT_MAX);
    ck_assert_float_eq(rnn_narrow(-1e300), -FLT_MAX);
    ck_assert_float_eq(rnn_narrow(0.1), 0.1f);
}
END_TEST

START_TEST(quantiles_are_those_of_the_normal_distribution)
{
    static const double far[] = {0x1p-25, 0x1p-20, 1e-5, 0.07499, 0.07501};

    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        double x = rnn_normal_quantile(far[i]);

        ck_assert_double_eq_tol(erfc(-x / sqrt(2.0)) / 2.0 / far[i], 1.0, 1e-14);
    }
    for (int i = 1; i < 4096; i++) {
        double p = i / 4096.0, x = rnn_normal_quantile(p);

        ck_assert_double_eq_tol(erfc(-x / sqrt(2.0)) / 2.0, p, 1e-15);
        ck_assert_double_eq(rnn_normal_quantile(1.0 - p), -x);
    }
}
END_TEST

START_TEST(deviates_have_the_moments_of_the_normal_distribution)
{
    enum { N = 200000 };
    struct rnn_rng rng = {.seed = 41};
    double sums[5] = {0}, previous = 0.0, neighbours = 0.0;

    for (int i = 0; i < N; i++) {
        double x = rnn_rng_normal(&rng);

        for (int power = 1; power < 5; power++)
            sums[power] += pow(x, power) / N;
        neighbours += x * previous / N;
        previous = x;
    }
    ck_assert_uint_eq(rng.counter, N);
    /* Five standard errors: sqrt of 1, 2, 15 and 96 over N. */
    ck_assert_double_eq_tol(sums[1], 0.0, 0.0112);
    ck_assert_double_eq_tol(sums[2], 1.0, 0.0158);
    ck_assert_double_eq_tol(sums[3], 0.0, 0.0433);
    ck_assert_double_eq_tol(sums[4], 3.0, 0.1095);
    ck_assert_double_eq_tol(neighbours, 0.0, 0.0112);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/core/special");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(all, exp_is_as_good_as_double_gets);
    tcase_add_test(all, within_and_narrow_leave_nothing_infinite);
    tcase_add_test(all, quantiles_are_those_of_the_normal_distribution);
    tcase_add_test(all, deviates_have_the_moments_of_the_normal_distribution);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
