/* Errors: code, place and words arrive as given, and never as broken UTF-8. */
#include "base/err.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

START_TEST(words_and_place_are_kept)
{
    struct rnn_err err;

    ck_assert_int_eq(rnn_fail_at(&err, RNN_ERANGE, "a.b", 7, "want %d", 5), RNN_ERANGE);
    ck_assert_int_eq(err.code, RNN_ERANGE);
    ck_assert_str_eq(err.param, "a.b");
    ck_assert_int_eq(err.offset, 7);
    rnn_err_prefix(&err, "file %s: ", "x");
    ck_assert_str_eq(err.text, "file x: want 5");
    ck_assert_str_eq(err.param, "a.b");
    ck_assert_int_eq(rnn_fail(&err, RNN_EIO, "gone"), RNN_EIO);
    ck_assert_str_eq(err.param, "");
    ck_assert_int_eq(err.offset, -1);
    ck_assert_int_eq(rnn_fail(NULL, RNN_EIO, "gone"), RNN_EIO);
    rnn_err_prefix(NULL, "nobody listens");
}
END_TEST

START_TEST(cut_characters_are_mended)
{
    char text[600];
    struct rnn_err err;

    for (size_t lead = 0; lead < 4; lead++) {
        memset(text, 'x', lead);
        for (size_t i = lead; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xF0\x9F\x98\x80", 5);
        rnn_fail_at(&err, RNN_EFORMAT, text, -1, "%s", text);
        ck_assert(utf8_valid(err.text, strlen(err.text), NULL));
        ck_assert(utf8_valid(err.param, strlen(err.param), NULL));
        ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
        rnn_err_prefix(&err, "y");
        ck_assert(utf8_valid(err.text, strlen(err.text), NULL));
    }
    rnn_fail(&err, RNN_EFORMAT, "%s", "a\xFFz");
    ck_assert_str_eq(err.text, "a?z");
}
END_TEST

START_TEST(every_code_has_a_name)
{
#define HAS_NAME(symbol, value, meaning)                                                           \
    ck_assert_str_eq(rnn_error_name(symbol), #symbol);                                             \
    ck_assert_str_eq(rnn_error_meaning(value), meaning);
    RNN_ERRORS(HAS_NAME)
#undef HAS_NAME
    ck_assert_str_eq(rnn_error_name(1), "?");
    ck_assert_str_eq(rnn_error_meaning(-1000), "?");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/err");
    TCase *tests = tcase_create("err");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tests, words_and_place_are_kept);
    tcase_add_test(tests, cut_characters_are_mended);
    tcase_add_test(tests, every_code_has_a_name);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
