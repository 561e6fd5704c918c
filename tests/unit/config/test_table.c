/* One value: every type, its bounds, what is said of a wrong one; and writing then reading back. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "config/table.h"

/* A row of each type over a field of that type. */
#define ROW(type_, field, help_, min_, max_)                                                       \
    ((struct option_row){.section = "s",                                                           \
                         .name = #field,                                                           \
                         .preset = "",                                                             \
                         .help = help_,                                                            \
                         .type = type_,                                                            \
                         .min = min_,                                                              \
                         .max = max_,                                                              \
                         .offset = offsetof(struct config, field)})

static struct config config;
static struct rnn_err err;

static int reads(struct option_row row, const char *text)
{
    memset(&err, 0, sizeof err);
    return option_read(&row, text, &config, &err);
}

START_TEST(whole_numbers)
{
    struct option_row row = ROW(OPTION_int, workers, "", -3, 256);

    ck_assert_int_eq(reads(row, "256"), 0);
    ck_assert_int_eq(config.workers, 256);
    ck_assert_int_eq(reads(row, "-3"), 0);
    ck_assert_int_eq(config.workers, -3);
    ck_assert_int_eq(reads(row, "007"), 0);
    ck_assert_int_eq(config.workers, 7);
}
END_TEST

START_TEST(numbers_out_of_bounds)
{
    struct option_row row = ROW(OPTION_int, workers, "", 1, 256);
    static const char *const bad[] = {
        "0", "257", "-1", "9223372036854775807", "9223372036854775808", "-99999999999999999999"};

    config.workers = 5;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(reads(row, bad[i]), RNN_ERANGE);
        ck_assert_int_eq(config.workers, 5);
        ck_assert_ptr_nonnull(strstr(err.text, "want a whole number of 1 to 256, found '"));
        ck_assert_ptr_nonnull(strstr(err.text, bad[i]));
    }
}
END_TEST

START_TEST(no_numbers)
{
    static const char *const bad[] = {"", "many", "1.5", "1e3", "0x10", "+1", "--1", "1 2", "1K"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(reads(ROW(OPTION_int, workers, "", 0, 256), bad[i]), RNN_EFORMAT);
        ck_assert_int_eq(reads(ROW(OPTION_seconds, grace_s, "", 0, 256), bad[i]), RNN_EFORMAT);
        ck_assert_int_eq(reads(ROW(OPTION_millis, deadline_ms, "", 0, 256), bad[i]), RNN_EFORMAT);
    }
    ck_assert_ptr_nonnull(strstr(err.text, "milliseconds"));
}
END_TEST

START_TEST(sizes)
{
    struct option_row row = ROW(OPTION_bytes, body_max_bytes, "", 0, INT64_MAX);
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"1000", 1000},
                {"8K", 8192},
                {"8k", 8192},
                {"4M", 4194304},
                {"64G", 68719476736},
                {"1T", 1099511627776},
                {"8388607T", 8388607ULL << 40}};
    static const char *const bad[] = {"", "K", "4Q", "4KB", "4 K", "4.5M", "4KK"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_int_eq(reads(row, good[i].text), 0);
        ck_assert_uint_eq(config.body_max_bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(reads(row, bad[i]), RNN_EFORMAT);
    ck_assert_int_eq(reads(row, "8388608T"), RNN_ERANGE); /* 2^63 */
    ck_assert_int_eq(reads(row, "99999999999999999999T"), RNN_ERANGE);
    ck_assert_int_eq(reads(row, "-1K"), RNN_ERANGE);
    row.min = 1024;
    row.max = 8192;
    ck_assert_int_eq(reads(row, "9K"), RNN_ERANGE);
    ck_assert_ptr_nonnull(strstr(err.text, "1K to 8K"));
}
END_TEST

START_TEST(truth)
{
    /* no option of the daemon is a bool at present: the field is the first byte of another */
    struct option_row row = ROW(OPTION_bool, workers, "", 0, 0);
    static const char *const yes[] = {"yes", "true", "on", "1", "YES"};
    static const char *const no[] = {"no", "false", "off", "0", "False"};
    static const char *const bad[] = {"", "y", "2", "maybe", "yes "};
    const bool *got = (const bool *)&config.workers;
    char text[16];

    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(reads(row, yes[i]), 0);
        ck_assert(*got);
        option_write(&row, &config, text, sizeof text);
        ck_assert_str_eq(text, "yes");
        ck_assert_int_eq(reads(row, no[i]), 0);
        ck_assert(!*got);
        ck_assert_int_eq(reads(row, bad[i]), RNN_EFORMAT);
        ck_assert_ptr_nonnull(strstr(err.text, "want yes or no"));
    }
}
END_TEST

START_TEST(choices)
{
    struct option_row row = ROW(OPTION_choice, isa, "auto|avx2|avx512: kernels", 0, 0);
    static const char *const words[] = {"auto", "avx2", "avx512"};
    static const char *const bad[] = {"", "avx", "avx5122", "Auto", "auto|avx2", " kernels"};
    char text[16];

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(reads(row, words[i]), 0);
        ck_assert_int_eq(config.isa, i);
        option_write(&row, &config, text, sizeof text);
        ck_assert_str_eq(text, words[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(reads(row, bad[i]), RNN_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "want one of auto|avx2|avx512, found"));
    ck_assert_str_eq(option_help(&row), "kernels");
}
END_TEST

START_TEST(enums_follow_the_table)
{
    const struct option_row *isa = &config_table[OPTION_INDEX_isa];
    const struct option_row *level = &config_table[OPTION_INDEX_log_level];
    const struct option_row *format = &config_table[OPTION_INDEX_log_format];

    ck_assert_int_eq(reads(*isa, "avx512"), 0);
    ck_assert_int_eq(config.isa, CONFIG_ISA_AVX512);
    ck_assert_int_eq(reads(*level, "error"), 0);
    ck_assert_int_eq(config.log_level, CONFIG_LOG_ERROR);
    ck_assert_int_eq(reads(*format, "json"), 0);
    ck_assert_int_eq(config.log_format, CONFIG_LOG_JSON);
}
END_TEST

START_TEST(texts)
{
    struct option_row row = ROW(OPTION_text, listen, "", 0, 0);

    ck_assert_int_eq(reads(row, "one"), 0);
    ck_assert_int_eq(reads(row, "two words"), 0); /* frees the one before */
    ck_assert_str_eq(option_text(&row, &config), "two words");
    free(config.listen);
    config.listen = NULL;
}
END_TEST

START_TEST(every_default_is_in_bounds_and_reads_back)
{
    char text[4096];

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *row = &config_table[i];

        ck_assert_msg(reads(*row, row->preset) == 0, "%s: %s", row->name, err.text);
        option_write(row, &config, text, sizeof text);
        ck_assert_str_eq(text, row->preset);
        if (option_is_string(row))
            free((void *)(uintptr_t)option_text(row, &config));
    }
}
END_TEST

START_TEST(what_was_found_is_shown_safely)
{
    char shown[96], text[300];

    option_show("a\x1b[2J\nb\x7f", shown, sizeof shown);
    ck_assert_str_eq(shown, "a?[2J?b?");
    memset(text, 'x', 79);
    strcpy(text + 79, "\xc3\xa4 and more"); /* the cut at 80 bytes would split the character */
    option_show(text, shown, sizeof shown);
    ck_assert_uint_eq(strlen(shown), 79);
}
END_TEST

START_TEST(names)
{
    char name[OPTION_NAME_MAX];

    option_env_name("body_max_bytes", name, sizeof name);
    ck_assert_str_eq(name, "RNND_BODY_MAX_BYTES");
    option_flag_name("body_max_bytes", name, sizeof name);
    ck_assert_str_eq(name, "body-max-bytes");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config/table");
    TCase *tests = tcase_create("values");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_add_test(tests, whole_numbers);
    tcase_add_test(tests, numbers_out_of_bounds);
    tcase_add_test(tests, no_numbers);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, truth);
    tcase_add_test(tests, choices);
    tcase_add_test(tests, enums_follow_the_table);
    tcase_add_test(tests, texts);
    tcase_add_test(tests, every_default_is_in_bounds_and_reads_back);
    tcase_add_test(tests, what_was_found_is_shown_safely);
    tcase_add_test(tests, names);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
