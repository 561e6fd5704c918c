/* The nearest name: slips of the fingers are found, other words are not guessed at. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "config/nearest.h"

static const char *const names[] = {"workers", "models", "body_max_bytes", "listen", "log_level"};
#define N_NAMES (sizeof names / sizeof *names)

static const char *name_of(size_t i, const void *arg)
{
    (void)arg;
    return names[i];
}

static void means(const char *word, const char *name)
{
    int i = config_nearest(word, N_NAMES, name_of, NULL);

    ck_assert_msg(i >= 0, "nothing found for %s", word);
    ck_assert_str_eq(names[i], name);
}

START_TEST(one_slip)
{
    means("workers", "workers");
    means("worker", "workers");   /* lost */
    means("worrkers", "workers"); /* doubled */
    means("wrokers", "workers");  /* swapped */
    means("wozkers", "workers");  /* hit another key */
    means("WORKERS", "workers");
    means("body-max-byte", "body_max_bytes");
    means("mdoel", "models");
}
END_TEST

START_TEST(other_words)
{
    char longest[200];

    ck_assert_int_eq(config_nearest("", N_NAMES, name_of, NULL), -1);
    ck_assert_int_eq(config_nearest("temperature", N_NAMES, name_of, NULL), -1);
    ck_assert_int_eq(config_nearest("x", N_NAMES, name_of, NULL), -1);
    memset(longest, 'w', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    ck_assert_int_eq(config_nearest(longest, N_NAMES, name_of, NULL), -1);
    ck_assert_int_eq(config_nearest("workers", 0, name_of, NULL), -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config/nearest");
    TCase *tests = tcase_create("nearest");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_add_test(tests, one_slip);
    tcase_add_test(tests, other_words);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
