/* Ids of events: what is written reads back, and nothing else is read. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/resume.h"

START_TEST(what_is_written_reads_back)
{
    for (unsigned flags = 0; flags < 16; flags++) {
        const struct resume want = {.position = UINT64_C(9007199254740991) >> (flags % 3 * 20),
                                    .n_drawn = flags + 1,
                                    .written = flags & 1,
                                    .joined = flags & 2,
                                    .quoted = flags & 4,
                                    .ended = flags & 8};
        struct resume got;
        char id[RESUME_BYTES];

        resume_write(id, &want);
        ck_assert(resume_read(&got, id));
        ck_assert(got.given);
        ck_assert_uint_eq(got.position, want.position);
        ck_assert_uint_eq(got.n_drawn, want.n_drawn);
        ck_assert(got.written == want.written && got.joined == want.joined);
        ck_assert(got.quoted == want.quoted && got.ended == want.ended);
    }
}
END_TEST

static const char *const bad[] = {"",
                                  "1",
                                  "1-1",
                                  "1-1-",
                                  "-1-1",
                                  "1--1",
                                  "1-1-16",
                                  "1-1-1-1",
                                  "5-0-0",
                                  "2-3-0",
                                  "a-1-0",
                                  "1-1-0 ",
                                  " 1-1-0",
                                  "+1-1-0",
                                  "1-1-0x10",
                                  "9007199254740992-1-0",
                                  "99999999999999999999999999-1-0"};

START_TEST(nothing_else_is_read)
{
    struct resume got;

    ck_assert_msg(!resume_read(&got, bad[_i]), "'%s'", bad[_i]);
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
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
