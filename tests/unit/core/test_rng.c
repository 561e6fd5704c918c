/* Philox against the known answers published with Random123, and the generator built on it. */
#include <check.h>
#include <math.h>

#include "core/rng.h"
#include "core/rnn.h"

START_TEST(published_answers)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t got[4];

        rnn_philox(cases[i].counter, cases[i].key, got);
        ck_assert_mem_eq(got, cases[i].want, sizeof got);
    }
}
END_TEST

START_TEST(a_draw_is_a_function_of_seed_stream_and_number)
{
    struct rnn_rng a = {.seed = 42, .counter = 0xffffffff}, b = a, other = a;
    float first = rnn_rng_uniform(&a);

    ck_assert_uint_eq(a.counter, 0x100000000u);
    ck_assert_float_eq(rnn_rng_uniform(&b), first);
    ck_assert_float_eq(rnn_rng_uniform(&b), rnn_rng_uniform(&a));
    other.stream = 1;
    ck_assert_float_ne(rnn_rng_uniform(&other), first);
    other = (struct rnn_rng){.seed = 42 + ((uint64_t)1 << 32), .counter = 0xffffffff};
    ck_assert_float_ne(rnn_rng_uniform(&other), first);
}
END_TEST

START_TEST(draws_are_uniform)
{
    struct rnn_rng rng = {.seed = 1};
    unsigned bins[16] = {0};
    double sum = 0.0, squares = 0.0;

    for (int i = 0; i < 160000; i++) {
        float u = rnn_rng_uniform(&rng);

        ck_assert(u >= 0.0f && u < 1.0f);
        bins[(int)(u * 16.0f)]++;
        sum += (double)u;
    }
    for (int b = 0; b < 16; b++)
        squares += pow(bins[b] - 10000.0, 2.0) / 10000.0;
    ck_assert_double_lt(squares, 37.7); /* chi square, 15 degrees of freedom, 0.1 % */
    ck_assert_double_eq_tol(sum / 160000, 0.5, 0.003);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/core/rng");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(all, published_answers);
    tcase_add_test(all, a_draw_is_a_function_of_seed_stream_and_number);
    tcase_add_test(all, draws_are_uniform);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
