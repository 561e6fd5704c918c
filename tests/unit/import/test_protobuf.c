/* The wire format of protocol buffers: fields, packed numbers, and bytes that are no fields. */
#include "import/protobuf.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct proto over(const void *bytes, size_t len)
{
    return (struct proto){bytes, (const unsigned char *)bytes + len};
}

#define OVER(text) over(text, sizeof(text) - 1)

START_TEST(fields_of_every_kind)
{
    struct proto message = OVER("\x08\x96\x01" /* 1: 150 */
                                "\x12\x03"
                                "abc"                                  /* 2: "abc" */
                                "\x1D\x01\x02\x03\x04"                 /* 3: 32 bits */
                                "\x21\x01\x02\x03\x04\x05\x06\x07\x08" /* 4: 64 bits */
                                "\xF8\x01\x00");                       /* 31: 0 */
    struct proto_field field;

    ck_assert_int_eq(proto_next(&message, &field, NULL), 1);
    ck_assert_uint_eq(field.number, 1);
    ck_assert_uint_eq(field.value, 150);
    ck_assert_int_eq(proto_next(&message, &field, NULL), 1);
    ck_assert_uint_eq(field.number, 2);
    ck_assert_int_eq(field.bytes.end - field.bytes.at, 3);
    ck_assert_mem_eq(field.bytes.at, "abc", 3);
    ck_assert_int_eq(proto_next(&message, &field, NULL), 1);
    ck_assert_uint_eq(field.value, 0x04030201);
    ck_assert_int_eq(proto_next(&message, &field, NULL), 1);
    ck_assert_uint_eq(field.value, 0x0807060504030201);
    ck_assert_int_eq(proto_next(&message, &field, NULL), 1);
    ck_assert_uint_eq(field.number, 31);
    ck_assert_uint_eq(field.value, 0);
    ck_assert_int_eq(proto_next(&message, &field, NULL), 0);
}
END_TEST

START_TEST(negative_numbers_have_ten_bytes)
{
    struct proto message = OVER("\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01");
    struct proto_field field;

    ck_assert_int_eq(proto_next(&message, &field, NULL), 1);
    ck_assert_int_eq((int64_t)field.value, -1);
}
END_TEST

START_TEST(bytes_that_are_no_fields)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {{"\x08", 1},     /* no value */
                 {"\x08\x80", 2}, /* a varint that goes on */
                 {"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12}, /* eleven bytes */
                 {"\x12\x05"
                  "abc",
                  5}, /* longer than what is left */
                 {"\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11}, /* far longer */
                 {"\x1D\x01\x02", 3},                                  /* half a number */
                 {"\x21\x01\x02\x03", 4},                              /* half a number */
                 {"\x0B", 1},                                          /* a group */
                 {"\x0C", 1},                                          /* its end */
                 {"\x0E\x01", 2},                                      /* no wire type */
                 {"\x00\x01", 2},                                      /* field 0 */
                 {"\x80\x80\x80\x80\x80\x80\x01\x00", 8}}; /* a number past the last field */

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct proto message = over(cases[i].bytes, cases[i].len);
        struct proto_field field;
        struct rnn_err err = {0};

        ck_assert_msg(proto_next(&message, &field, &err) == RNN_EFORMAT, "case %zu", i);
        ck_assert_int_eq(err.code, RNN_EFORMAT);
        ck_assert_ptr_nonnull(strstr(err.text, "it is cut"));
    }
}
END_TEST

START_TEST(numbers_packed_and_single_count_alike)
{
    struct proto message = OVER("\x38\x07"             /* 7: 7 */
                                "\x3A\x03\x01\x96\x01" /* 7: packed 1, 150 */
                                "\x40\x01");           /* 8: 1 */
    struct proto walk = message;
    struct proto_field field;
    size_t n = 0, fields = 0;
    uint64_t value;

    ck_assert_int_eq(proto_count(message, 7, &fields, NULL), 0);
    ck_assert_uint_eq(fields, 2);
    while (proto_next(&walk, &field, NULL) > 0)
        if (field.number == 7)
            ck_assert_int_eq(proto_count_numbers(&field, PROTO_VARINT, &n, NULL), 0);
    ck_assert_uint_eq(n, 3);
    walk = OVER("\x01\x96\x01");
    ck_assert_int_eq(proto_next_number(&walk, PROTO_VARINT, &value, NULL), 1);
    ck_assert_uint_eq(value, 1);
    ck_assert_int_eq(proto_next_number(&walk, PROTO_VARINT, &value, NULL), 1);
    ck_assert_uint_eq(value, 150);
    ck_assert_int_eq(proto_next_number(&walk, PROTO_VARINT, &value, NULL), 0);
}
END_TEST

START_TEST(packed_numbers_of_another_size_are_refused)
{
    struct proto message = OVER("\x22\x06\x01\x02\x03\x04\x05\x06"); /* one float and a half */
    struct proto_field field;
    struct rnn_err err = {0};
    size_t n = 0;

    ck_assert_int_eq(proto_next(&message, &field, NULL), 1);
    ck_assert_int_eq(proto_count_numbers(&field, PROTO_32, &n, &err), RNN_EFORMAT);
    field.wire = PROTO_64;
    ck_assert_int_eq(proto_count_numbers(&field, PROTO_32, &n, &err), RNN_EFORMAT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("protobuf");
    TCase *tests = tcase_create("wire");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tests, fields_of_every_kind);
    tcase_add_test(tests, negative_numbers_have_ten_bytes);
    tcase_add_test(tests, bytes_that_are_no_fields);
    tcase_add_test(tests, numbers_packed_and_single_count_alike);
    tcase_add_test(tests, packed_numbers_of_another_size_are_refused);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
