/* Strict JSON: what RFC 8259 allows is taken, everything else is refused at its own byte, and the
 * typed readers name what they refuse. */
#include "base/json.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_len(const char *text, size_t len, struct cJSON **out, struct rnn_err *err)
{
    char *exact = malloc(len ? len : 1); /* so that a sanitizer sees a read past the end */
    int rc;

    memcpy(exact, text, len);
    rc = json_parse(out, exact, len, 16, err);
    free(exact);
    return rc;
}

START_TEST(legal_texts_are_taken)
{
    static const char *const good[] = {"0",
                                       "-0",
                                       "1e5",
                                       "1E+5",
                                       "-1.25e-3",
                                       "true",
                                       "false",
                                       "null",
                                       "\"\"",
                                       "[]",
                                       "{}",
                                       "[ ]",
                                       " \t\r\n[1 , 2]\n",
                                       "{\"a\":{\"a\":[{\"a\":1}]},\"b\":1}",
                                       "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                                       "\"\\u00e9\\ud83d\\ude00\"",
                                       "\"\xC3\xA9\xF0\x9F\x98\x80\"",
                                       "\"\x7F\"",
                                       "1e-999",
                                       "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
                                       "123456789012345678901234567890",
                                       "{\"a\":1,\"A\":2,\"\":3}"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct cJSON *json = NULL;
        struct rnn_err err;

        if (parse_len(good[i], strlen(good[i]), &json, &err) != 0)
            ck_abort_msg("%s: %s", good[i], err.text);
        json_free(json);
    }
}
END_TEST

START_TEST(illegal_texts_are_refused_where_they_fail)
{
    static const struct {
        const char *text;
        int64_t offset;
    } bad[] = {{"", 0},
               {"  ", 2},
               {"[", 1},
               {"[1", 2},
               {"[1,]", 3},
               {"[,1]", 1},
               {"[1 2]", 3},
               {"{", 1},
               {"{\"a\"}", 4},
               {"{\"a\":}", 5},
               {"{\"a\":1,}", 7},
               {"{a:1}", 1},
               {"{1:1}", 1},
               {"{\"a\":1 \"b\":2}", 7},
               {"01", 0},
               {"-", 0},
               {"+1", 0},
               {".5", 0},
               {"1.", 0},
               {"1e", 0},
               {"1e+", 0},
               {"0x10", 1},
               {"-01", 0},
               {"NaN", 0},
               {"Infinity", 0},
               {"-Infinity", 0},
               {"1e999", 0},
               {"[-1e999]", 1},
               {"tru", 0},
               {"truee", 4},
               {"True", 0},
               {"nul", 0},
               {"'a'", 0},
               {"\"a", 0},
               {"\"\\", 1},
               {"\"\\x\"", 1},
               {"\"\\u12\"", 1},
               {"\"\\u00g0\"", 1},
               {"\"\\u0000\"", 1},
               {"\"\\ud800\"", 1},
               {"\"\\ud800\\n\"", 1},
               {"\"\\ud800\\u0041\"", 1},
               {"\"\\udc00\"", 1},
               {"\"a\nb\"", 2},
               {"\"a\tb\"", 2},
               {"\"\xFF\"", 1},
               {"\"\xC3\"", 1},
               {"\"\xED\xA0\x80\"", 1},
               {"\xEF\xBB\xBF{}", 0},
               {"[] []", 3},
               {"[]x", 2},
               {"/* */ 1", 0},
               {"[1] // x", 4},
               {"[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", 16},
               {"{\"a\":1,\"b\":2,\"a\":3}", 13},
               {"[{\"k\":{\"x\":0}},{\"a\":{\"q\":1,\"w\":2},\"b\":{\"c\":1,\"c\":2}}]", 45},
               {"{\"a\":1,\"\\u0061\":2}", 7}};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cJSON *json = NULL;
        struct rnn_err err = {0};

        if (parse_len(bad[i].text, strlen(bad[i].text), &json, &err) != RNN_EFORMAT)
            ck_abort_msg("taken: %s", bad[i].text);
        ck_assert_ptr_null(json);
        if (err.offset != bad[i].offset)
            ck_abort_msg("%s: offset %lld, want %lld (%s)", bad[i].text, (long long)err.offset,
                         (long long)bad[i].offset, err.text);
    }
}
END_TEST

START_TEST(nul_bytes_are_no_ending)
{
    struct cJSON *json = NULL;

    ck_assert_int_eq(parse_len("[1]\0", 4, &json, NULL), RNN_EFORMAT);
    ck_assert_int_eq(parse_len("\"a\0b\"", 5, &json, NULL), RNN_EFORMAT);
    ck_assert_int_eq(parse_len("\0", 1, &json, NULL), RNN_EFORMAT);
    ck_assert_int_eq(parse_len("[1]", 2, &json, NULL), RNN_EFORMAT);
}
END_TEST

/* Every proper prefix of a text that ends in a bracket is refused, and so is every long number. */
START_TEST(prefixes_and_long_numbers_are_refused)
{
    const char *text = "{\"a\":[1.5e3,true,null,\"x\\u00e9\xC3\xA9\\\"\"],\"b\":{}}";
    char number[80];
    struct cJSON *json = NULL;

    for (size_t len = 0; len < strlen(text); len++)
        ck_assert_int_eq(parse_len(text, len, &json, NULL), RNN_EFORMAT);
    memset(number, '1', sizeof number);
    ck_assert_int_eq(parse_len(number, 64, &json, NULL), RNN_EFORMAT);
    ck_assert_int_eq(parse_len(number, 63, &json, NULL), 0);
    json_free(json);
}
END_TEST

/* A million nested brackets and a hundred thousand keys cost neither stack nor minutes. */
START_TEST(hostile_sizes_are_cheap)
{
    enum { N = 1000000, KEYS = 100000 };
    char *text = malloc(N), *at;
    struct cJSON *json = NULL;
    struct rnn_err err;

    memset(text, '[', N);
    ck_assert_int_eq(json_parse(&json, text, N, 100000, &err), RNN_EFORMAT);
    ck_assert_str_ne(err.text, "");
    free(text);

    text = malloc(KEYS * 16 + 64);
    at = text;
    *at++ = '{';
    for (int i = 0; i < KEYS; i++)
        at += sprintf(at, "\"k%d\":0,", i);
    memcpy(at, "\"z\":0}", 6);
    ck_assert_int_eq(json_parse(&json, text, (size_t)(at - text) + 6, 2, &err), 0);
    json_free(json);
    memcpy(at, "\"k7\":0}", 7);
    ck_assert_int_eq(json_parse(&json, text, (size_t)(at - text) + 7, 2, &err), RNN_EFORMAT);
    ck_assert_str_eq(err.param, "k7");
    ck_assert(err.offset == at - text || err.offset < 100);
    free(text);
}
END_TEST

static struct cJSON *parsed(const char *text)
{
    struct cJSON *json = NULL;

    ck_assert_int_eq(json_parse(&json, text, strlen(text), 8, NULL), 0);
    return json;
}

START_TEST(absent_and_null_leave_the_default)
{
    struct cJSON *json = parsed("{\"n\":null}");
    bool flag = true;
    int64_t whole = 5;
    double real = 0.5;
    const char *text = "default";

    ck_assert_ptr_null(json_get(json, "n"));
    ck_assert_int_eq(json_read_bool(json, "", "n", &flag, NULL), 0);
    ck_assert_int_eq(json_read_int(json, "", "x", 0, 9, &whole, NULL), 0);
    ck_assert_int_eq(json_read_double(json, "", "n", 0, 1, &real, NULL), 0);
    ck_assert_int_eq(json_read_string(json, "", "x", &text, NULL), 0);
    ck_assert(flag && whole == 5 && real > 0.4);
    ck_assert_str_eq(text, "default");
    json_free(json);
}
END_TEST

START_TEST(values_are_read)
{
    struct cJSON *json =
        parsed("{\"b\":false,\"i\":-3,\"e\":1e3,\"d\":2.5,\"s\":\"x\",\"B\":true}");
    bool flag = true;
    int64_t whole = 0;
    double real = 0;
    const char *text = "";

    ck_assert_int_eq(json_read_bool(json, "", "b", &flag, NULL), 0);
    ck_assert(!flag);
    ck_assert_int_eq(json_read_int(json, "", "i", -3, 9, &whole, NULL), 0);
    ck_assert_int_eq(whole, -3);
    ck_assert_int_eq(json_read_int(json, "", "e", 0, 1000, &whole, NULL), 0);
    ck_assert_int_eq(whole, 1000);
    ck_assert_int_eq(json_read_double(json, "", "d", 0, 2.5, &real, NULL), 0);
    ck_assert(real == 2.5);
    ck_assert_int_eq(json_read_string(json, "", "s", &text, NULL), 0);
    ck_assert_str_eq(text, "x");
    json_free(json);
}
END_TEST

START_TEST(wrong_types_and_ranges_are_named)
{
    struct cJSON *json =
        parsed("{\"i\":1.5,\"big\":9007199254740994,\"huge\":1e300,\"s\":\"x\",\"d\":7}");
    struct rnn_err err;
    bool flag;
    int64_t whole = 42;
    double real;
    const char *text;

    ck_assert_int_eq(json_read_bool(json, "a[0]", "d", &flag, &err), RNN_ETYPE);
    ck_assert_str_eq(err.param, "a[0].d");
    ck_assert_int_eq(json_read_int(json, "", "i", 0, 9, &whole, &err), RNN_ETYPE);
    ck_assert_str_eq(err.param, "i");
    ck_assert_int_eq(json_read_int(json, "", "s", 0, 9, &whole, &err), RNN_ETYPE);
    ck_assert_int_eq(json_read_int(json, "", "d", 0, 6, &whole, &err), RNN_ERANGE);
    ck_assert_int_eq(json_read_int(json, "", "d", 8, 9, &whole, &err), RNN_ERANGE);
    ck_assert_int_eq(json_read_int(json, "", "big", INT64_MIN, INT64_MAX, &whole, &err),
                     RNN_ERANGE);
    ck_assert_int_eq(json_read_int(json, "", "huge", INT64_MIN, INT64_MAX, &whole, &err),
                     RNN_ERANGE);
    ck_assert_int_eq(json_read_double(json, "q", "d", 0, 6.5, &real, &err), RNN_ERANGE);
    ck_assert_str_eq(err.param, "q.d");
    ck_assert_int_eq(json_read_double(json, "", "s", 0, 1, &real, &err), RNN_ETYPE);
    ck_assert_int_eq(json_read_string(json, "", "d", &text, &err), RNN_ETYPE);
    ck_assert_int_eq(whole, 42);
    json_free(json);
}
END_TEST

START_TEST(unknown_members_are_refused_by_name)
{
    static const char *const allowed[] = {"a", "b", NULL};
    struct cJSON *json = parsed("{\"a\":1,\"oops\":2}"), *fine = parsed("{\"b\":1}");
    struct rnn_err err;

    ck_assert_int_eq(json_only(fine, "", allowed, &err), 0);
    ck_assert_int_eq(json_only(json, "rnn", allowed, &err), RNN_EFORMAT);
    ck_assert_str_eq(err.param, "rnn.oops");
    ck_assert_ptr_nonnull(strstr(err.text, "a, b"));
    json_free(json);
    json_free(fine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/json");
    TCase *tests = tcase_create("json");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, legal_texts_are_taken);
    tcase_add_test(tests, illegal_texts_are_refused_where_they_fail);
    tcase_add_test(tests, nul_bytes_are_no_ending);
    tcase_add_test(tests, prefixes_and_long_numbers_are_refused);
    tcase_add_test(tests, hostile_sizes_are_cheap);
    tcase_add_test(tests, absent_and_null_leave_the_default);
    tcase_add_test(tests, values_are_read);
    tcase_add_test(tests, wrong_types_and_ranges_are_named);
    tcase_add_test(tests, unknown_members_are_refused_by_name);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
