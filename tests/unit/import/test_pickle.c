/* The pickle machine: values, containers, memo, records of calls; and what it refuses. */
#include "import/pickle.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct pickle *read_all(const void *bytes, size_t len)
{
    struct pickle *pickle = NULL;
    struct rnn_err err = {0};
    size_t used = 0;

    ck_assert_msg(pickle_read(&pickle, bytes, len, &used, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(used, len);
    return pickle;
}

#define READ(text) read_all(text, sizeof(text) - 1)

static void refused(const void *bytes, size_t len, int code, const char *words)
{
    struct pickle *pickle = NULL;
    struct rnn_err err = {0};
    size_t used = 0;

    ck_assert_int_eq(pickle_read(&pickle, bytes, len, &used, &err), code);
    ck_assert_ptr_null(pickle);
    ck_assert_ptr_nonnull(strstr(err.text, words));
}

#define REFUSED(text, code, words) refused(text, sizeof(text) - 1, code, words)

START_TEST(whole_numbers)
{
    static const struct {
        const char *bytes;
        size_t len;
        int64_t value;
    } cases[] = {{"K\xff.", 3, 255},
                 {"M\x01\x02.", 4, 513},
                 {"J\xff\xff\xff\xff.", 6, -1},
                 {"\x8a\x00.", 3, 0},
                 {"\x8a\x01\xff.", 4, -1},
                 {"\x8a\x02\xff\x00.", 5, 255},
                 {"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", 11, INT64_MIN}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pickle *pickle = read_all(cases[i].bytes, cases[i].len);

        ck_assert_int_eq(pickle_root(pickle)->kind, PICKLE_INT);
        ck_assert_int_eq(pickle_root(pickle)->whole, cases[i].value);
        pickle_free(pickle);
    }
}
END_TEST

START_TEST(other_values)
{
    struct pickle *pickle = READ("\x80\x02(G\x3f\xf8\x00\x00\x00\x00\x00\x00\x88\x89NX\x02\x00\x00"
                                 "\x00hi\x8a\x09"
                                 "123456789t.");
    const struct pickle_node *root = pickle_root(pickle);

    ck_assert_int_eq(root->kind, PICKLE_TUPLE);
    ck_assert_uint_eq(root->n_items, 6);
    ck_assert_double_eq(pickle_item(root, 0)->real, 1.5);
    ck_assert(pickle_item(root, 1)->truth);
    ck_assert(!pickle_item(root, 2)->truth);
    ck_assert_int_eq(pickle_item(root, 3)->kind, PICKLE_NONE);
    ck_assert(pickle_is_text(pickle_item(root, 4), "hi"));
    ck_assert(!pickle_is_text(pickle_item(root, 4), "hit"));
    ck_assert_int_eq(pickle_item(root, 5)->kind, PICKLE_BIG);
    ck_assert_ptr_null(pickle_item(root, 6));
    pickle_free(pickle);
}
END_TEST

START_TEST(dictionaries)
{
    struct pickle *pickle = READ("\x80\x02}(U\x01"
                                 "aK\x01U\x01"
                                 "bK\x02uU\x01"
                                 "aK\x03s.");
    const struct pickle_node *root = pickle_root(pickle);

    ck_assert_int_eq(pickle_get(root, "b")->whole, 2);
    ck_assert_int_eq(pickle_get(root, "a")->whole, 3); /* the last one counts */
    ck_assert_ptr_null(pickle_get(root, "c"));
    pickle_free(pickle);
}
END_TEST

START_TEST(calls_are_records)
{
    struct pickle *pickle = READ("\x80\x02"
                                 "cposix\nsystem\nU\x02ls\x85R}U\x01xK\x07sb.");
    const struct pickle_node *root = pickle_root(pickle);

    ck_assert_int_eq(root->kind, PICKLE_OBJECT);
    ck_assert(pickle_is_global(root->object.callee, "posix", "system"));
    ck_assert(pickle_is_text(pickle_item(root->object.args, 0), "ls"));
    ck_assert_int_eq(pickle_get(root->object.state, "x")->whole, 7);
    pickle_free(pickle);
    pickle = READ("\x80\x02"
                  "ccollections\nOrderedDict\n)RU\x01"
                  "aK\x01s}U\x09_metadataNsb.");
    ck_assert_int_eq(pickle_root(pickle)->kind, PICKLE_DICT);
    ck_assert_int_eq(pickle_get(pickle_root(pickle), "a")->whole, 1);
    pickle_free(pickle);
}
END_TEST

START_TEST(the_memo_may_be_sparse_and_lead_back)
{
    struct pickle *pickle = READ("\x80\x02]r\xff\xff\xff\xffj\xff\xff\xff\xff"
                                 "a.");
    const struct pickle_node *root = pickle_root(pickle);

    ck_assert_ptr_eq(pickle_item(root, 0), root);
    pickle_free(pickle);
}
END_TEST

START_TEST(protocol_four)
{
    struct pickle *pickle = READ("\x80\x04\x8c\x05"
                                 "torch\x94\x8c\x04Size\x94\x93\x94(K\x02K\x03t\x94\x85\x94R.");
    const struct pickle_node *root = pickle_root(pickle);

    ck_assert(pickle_is_global(root->object.callee, "torch", "Size"));
    ck_assert_int_eq(pickle_item(pickle_item(root->object.args, 0), 1)->whole, 3);
    pickle_free(pickle);
}
END_TEST

START_TEST(faults_have_a_place)
{
    REFUSED("", RNN_EFORMAT, "byte 0: it is cut");
    REFUSED("\x80\x02K", RNN_EFORMAT, "byte 2: it is cut");
    REFUSED("a.", RNN_EFORMAT, "too few values");
    REFUSED("R.", RNN_EFORMAT, "no value");
    REFUSED("(R.", RNN_EFORMAT, "no value");
    REFUSED("t.", RNN_EFORMAT, "no mark");
    REFUSED("(K\x01"
            "d.",
            RNN_EFORMAT, "a key without a value");
    REFUSED("h\x01.", RNN_EFORMAT, "never made");
    REFUSED("K\x01(K\x02"
            "e.",
            RNN_EFORMAT, "holds none of that kind");
    REFUSED("}K\x01"
            "a.",
            RNN_EFORMAT, "holds none of that kind");
    REFUSED("(o.", RNN_EFORMAT, "no class");
    REFUSED("\x80\x06.", RNN_EFORMAT, "after 5");
    REFUSED("S'x'\n.", RNN_EUNSUPPORTED, "0x53");
    REFUSED("X\xff\xff\xff\xff", RNN_ELIMIT, "bytes in a string");
}
END_TEST

/* Twice the memo's first size, and a stack and a list that have to grow. */
START_TEST(growth)
{
    enum { N = 1000 };
    char *bytes = malloc(8 * N + 10);
    size_t at = 0;
    struct pickle *pickle;

    ck_assert_ptr_nonnull(bytes);
    bytes[at++] = ']';
    bytes[at++] = '(';
    for (size_t i = 0; i < N; i++) {
        bytes[at++] = 'M';
        bytes[at++] = (char)(i & 0xFF);
        bytes[at++] = (char)(i >> 8);
        bytes[at++] = 'r';
        bytes[at++] = (char)(i & 0xFF);
        bytes[at++] = (char)(i >> 8);
        bytes[at++] = 0;
        bytes[at++] = 0;
    }
    memcpy(bytes + at,
           "ej\xe7\x03\0\0"
           "a.",
           8);
    pickle = read_all(bytes, at + 8);
    ck_assert_uint_eq(pickle_root(pickle)->n_items, N + 1);
    ck_assert_int_eq(pickle_item(pickle_root(pickle), N)->whole, N - 1);
    ck_assert_int_eq(pickle_item(pickle_root(pickle), 500)->whole, 500);
    pickle_free(pickle);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pickle");
    TCase *tcase = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, whole_numbers);
    tcase_add_test(tcase, other_values);
    tcase_add_test(tcase, dictionaries);
    tcase_add_test(tcase, calls_are_records);
    tcase_add_test(tcase, the_memo_may_be_sparse_and_lead_back);
    tcase_add_test(tcase, protocol_four);
    tcase_add_test(tcase, faults_have_a_place);
    tcase_add_test(tcase, growth);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
