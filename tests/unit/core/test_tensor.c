/* Conversion of every type of tensor: all half and bfloat16 values, doubles, odd alignment, refusal
 * of what is not finite, shapes in words. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/tensor.h"

/* One element at an odd address. */
static int read_one(enum rnn_dtype dtype, const void *bytes, size_t size, float *out,
                    struct rnn_err *err)
{
    unsigned char room[16];
    struct rnn_tensor tensor = {
        .name = "one", .dtype = dtype, .rank = 1, .shape = {1}, .data = room + 1, .bytes = size};

    memcpy(room + 1, bytes, size);
    return rnn_tensor_read(&tensor, out, err);
}

START_TEST(every_half_is_exact)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        unsigned char bytes[2] = {(unsigned char)bits, (unsigned char)(bits >> 8)};
        int exponent = (int)(bits >> 10 & 0x1f);
        double fraction = (bits & 0x3ff) / 1024.0;
        double want = exponent ? ldexp(1.0 + fraction, exponent - 15) : ldexp(fraction, -14);
        float got = 7.0f;
        int rc = read_one(RNN_F16, bytes, 2, &got, NULL);

        if (exponent == 31) {
            ck_assert_int_eq(rc, RNN_ERANGE);
            continue;
        }
        ck_assert_int_eq(rc, 0);
        ck_assert_double_eq((double)got, bits & 0x8000 ? -want : want);
    }
}
END_TEST

START_TEST(every_bfloat16_is_exact_or_flushed)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        unsigned char bytes[2] = {(unsigned char)bits, (unsigned char)(bits >> 8)};
        int exponent = (int)(bits >> 7 & 0xff);
        double want = ldexp(1.0 + (bits & 0x7f) / 128.0, exponent - 127);
        float got = 7.0f;
        int rc = read_one(RNN_BF16, bytes, 2, &got, NULL);

        ck_assert_int_eq(rc, exponent == 255 ? RNN_ERANGE : 0);
        if (exponent == 0)
            ck_assert_float_eq(got, 0.0f);
        else if (exponent < 255)
            ck_assert_double_eq((double)got, bits & 0x8000 ? -want : want);
    }
}
END_TEST

START_TEST(doubles_and_floats)
{
    static const struct {
        double from;
        int rc;
        float to;
    } cases[] = {{0.1, 0, 0.1f},
                 {-3.5, 0, -3.5f},
                 {1e-40, 0, 0.0f},
                 {3.4e38, 0, 3.4e38f},
                 {1e39, RNN_ERANGE, 0},
                 {-1e300, RNN_ERANGE, 0},
                 {NAN, RNN_ERANGE, 0},
                 {INFINITY, RNN_ERANGE, 0},
                 {FLT_MIN, 0, FLT_MIN},
                 {1.0 + 0x1p-24, 0, 1.0f},
                 {1.0 + 0x1.8p-24, 0, 1.0f + FLT_EPSILON}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float got = 7.0f, single = (float)cases[i].from;

        ck_assert_int_eq(read_one(RNN_F64, &cases[i].from, 8, &got, NULL), cases[i].rc);
        if (cases[i].rc == 0)
            ck_assert_float_eq(got, cases[i].to);
        ck_assert_int_eq(read_one(RNN_F32, &single, 4, &got, NULL), cases[i].rc);
        if (cases[i].rc == 0)
            ck_assert_float_eq(got, cases[i].to);
    }
}
END_TEST

START_TEST(a_fault_is_named_with_its_place)
{
    const float values[] = {1.0f, 2.0f, NAN, 4.0f};
    const size_t want[] = {1024, 256};
    struct rnn_tensor tensor = {
        .name = "rnn.weight_hh_l1", .rank = 2, .shape = {2, 2}, .data = values, .bytes = 16};
    struct rnn_err err = {0};
    float out[4];

    ck_assert_int_eq(rnn_tensor_read(&tensor, out, &err), RNN_ERANGE);
    ck_assert_str_eq(err.param, "rnn.weight_hh_l1");
    ck_assert_str_eq(err.text, "rnn.weight_hh_l1: element 2 is no finite float32");
    tensor.shape[0] = 1024;
    tensor.shape[1] = 512;
    ck_assert_int_eq(rnn_tensor_check(&tensor, 2, want, &err), RNN_ESHAPE);
    ck_assert_str_eq(err.text, "rnn.weight_hh_l1: want [1024, 256], file has [1024, 512]");
    tensor.rank = 0;
    ck_assert_int_eq(rnn_tensor_check(&tensor, 2, want, &err), RNN_ESHAPE);
    ck_assert_str_eq(err.text, "rnn.weight_hh_l1: want [1024, 256], file has []");
    tensor.rank = 8;
    for (int i = 0; i < 8; i++)
        tensor.shape[i] = SIZE_MAX;
    ck_assert_int_eq(rnn_tensor_check(&tensor, 2, want, &err), RNN_ESHAPE);
    ck_assert_int_eq(rnn_tensor_check(&tensor, 8, tensor.shape, &err), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unit/core/tensor");
    TCase *all = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(all, every_half_is_exact);
    tcase_add_test(all, every_bfloat16_is_exact_or_flushed);
    tcase_add_test(all, doubles_and_floats);
    tcase_add_test(all, a_fault_is_named_with_its_place);
    suite_add_tcase(suite, all);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
