/* Ids of events: what is written reads back, and nothing else is read; and the check value in them
 * notices what it is there to notice. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/resume.h"

static const uint64_t numbers[] = {0, 1, 9, 10, 255, 4096, UINT64_C(9007199254740991), UINT64_MAX};

#define N_NUMBERS (sizeof numbers / sizeof numbers[0])

START_TEST(what_is_written_reads_back)
{
    for (size_t i = 0; i < N_NUMBERS * N_NUMBERS * 3; i++) {
        const struct resume want = {.start = numbers[i % N_NUMBERS],
                                    .seen = numbers[i / N_NUMBERS % N_NUMBERS],
                                    .stream = numbers[(i + 3) % N_NUMBERS],
                                    .check = (uint32_t)numbers[(i + 5) % N_NUMBERS],
                                    .cut = (enum resume_cut)(i / N_NUMBERS / N_NUMBERS)};
        struct resume got;
        char id[RESUME_BYTES];

        resume_write(id, &want);
        ck_assert_uint_lt(strlen(id) + 1, RESUME_BYTES);
        ck_assert(resume_read(&got, id));
        ck_assert(got.given);
        ck_assert_uint_eq(got.start, want.start);
        ck_assert_uint_eq(got.seen, want.seen);
        ck_assert_uint_eq(got.stream, want.stream);
        ck_assert_uint_eq(got.check, want.check);
        ck_assert_int_eq((int)got.cut, (int)want.cut);
    }
}
END_TEST

static const char *const bad[] = {"",
                                  "1",
                                  "1-1",
                                  "1-1-1",
                                  "1-1-1-",
                                  "-1-1-1-00000000",
                                  "1--1-00000000",
                                  "1-1--00000000",
                                  "1-1-1-0000000",
                                  "1-1-1-000000000",
                                  "1-1-1-00000000-",
                                  "1-1-1-00000000-e",
                                  "1-1-1-00000000-dd",
                                  "1-1-1-00000000d",
                                  "1-1-1-00000000-1",
                                  "g-1-1-00000000",
                                  "A-1-1-00000000",
                                  "0x1-1-1-00000000",
                                  "1-1-1-00000000 ",
                                  " 1-1-1-00000000",
                                  "+1-1-1-00000000",
                                  "00000000000000001-1-1-00000000",
                                  "1-11111111111111111-1-00000000"};

START_TEST(nothing_else_is_read)
{
    struct resume got = {.seen = 7};

    ck_assert_msg(!resume_read(&got, bad[_i]), "'%s'", bad[_i]);
    ck_assert_uint_eq(got.seen, 7);
}
END_TEST

START_TEST(the_check_value_notices_every_bit_and_the_order)
{
    unsigned char bytes[64] = {0};
    uint32_t whole = resume_fold(resume_check(RESUME_CHECK, bytes, sizeof bytes));

    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        ck_assert_uint_ne(resume_fold(resume_check(RESUME_CHECK, bytes, sizeof bytes)), whole);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    ck_assert_uint_ne(resume_fold(resume_check(RESUME_CHECK, bytes, sizeof bytes - 1)), whole);
    ck_assert_uint_ne(resume_check(RESUME_CHECK, "ab", 2), resume_check(RESUME_CHECK, "ba", 2));
    ck_assert_uint_eq(resume_check(resume_check(RESUME_CHECK, "a", 1), "b", 1),
                      resume_check(RESUME_CHECK, "ab", 2));
    /* the published value: FNV-1a of "foobar" */
    ck_assert_uint_eq(resume_check(RESUME_CHECK, "foobar", 6), UINT64_C(0x85944171f73967e8));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/resume");
    TCase *tcase = tcase_create("resume");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tcase, what_is_written_reads_back);
    tcase_add_loop_test(tcase, nothing_else_is_read, 0, sizeof bad / sizeof bad[0]);
    tcase_add_test(tcase, the_check_value_notices_every_bit_and_the_order);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
