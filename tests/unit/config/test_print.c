/* The writers: the sample in the tree is what the table says, reads back to the defaults, and every
 * option is in every reference. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/table.h"

static char *printed(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    ck_assert_ptr_nonnull(out);
    print(out);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

static char *whole_file(const char *path)
{
    FILE *in = fopen(path, "r");
    char *text = calloc(1, 65536);

    ck_assert_msg(in != NULL, "%s cannot be opened", path);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_lt(fread(text, 1, 65535, in), 65535);
    fclose(in);
    return text;
}

/* The folder of models depends on the prefix of the build; the file in the tree has the usual one.
 */
static char *with_usual_folder(const char *text)
{
    static const char usual[] = "/usr/share/rnnd/models";
    char *out = calloc(1, 65536), *to = out;

    ck_assert_ptr_nonnull(out);
    while (*text) {
        if (strncmp(text, RNND_MODELS_DIR, strlen(RNND_MODELS_DIR)) == 0) {
            to = stpcpy(to, usual);
            text += strlen(RNND_MODELS_DIR);
        } else {
            *to++ = *text++;
        }
        ck_assert_int_lt(to - out, 65000);
    }
    return out;
}

START_TEST(sample_file_is_up_to_date)
{
    char *file = whole_file(SAMPLE_FILE), *now = printed(config_print_sample);
    char *usual = with_usual_folder(now);

    ck_assert_str_eq(file, usual);
    free(file);
    free(now);
    free(usual);
}
END_TEST

/* With its comment signs taken from the settings, the sample is a file that sets every option to
 * its default. */
START_TEST(sample_uncommented_is_the_defaults)
{
    char *sample = printed(config_print_sample), path[] = "/tmp/rnnd-sample-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    struct config *config = NULL, *preset = NULL;
    size_t n_set = 0;

    ck_assert_ptr_nonnull(file);
    for (char *line = strtok(sample, "\n"); line; line = strtok(NULL, "\n")) {
        bool setting = line[0] == '#' && line[1] != ' ' && line[1] != '\0';

        n_set += setting;
        fprintf(file, "%s\n", setting ? line + 1 : line);
    }
    fclose(file);
    ck_assert_uint_eq(n_set, OPTION_COUNT);
    ck_assert_int_eq(config_load(&config, path, NULL, 0, NULL, stderr), 0);
    ck_assert_int_eq(config_load(&preset, NULL, NULL, 0, NULL, stderr), 0);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char a[4096], b[4096];

        option_write(&config_table[i], config, a, sizeof a);
        option_write(&config_table[i], preset, b, sizeof b);
        ck_assert_str_eq(a, b);
    }
    config_free(config);
    config_free(preset);
    unlink(path);
    free(sample);
}
END_TEST

START_TEST(every_option_is_everywhere)
{
    char *help = printed(config_print_help), *markdown = printed(config_print_markdown),
         *roff = printed(config_print_roff);

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char flag[OPTION_NAME_MAX], line[128];

        option_flag_name(config_table[i].name, flag, sizeof flag);
        snprintf(line, sizeof line, "\n  --%s ", flag);
        ck_assert_msg(strstr(help, line) != NULL, "--help lacks %s", flag);
        snprintf(line, sizeof line, "\n| `%s` |", config_table[i].name);
        ck_assert_msg(strstr(markdown, line) != NULL, "Markdown lacks %s", flag);
    }
    ck_assert_ptr_nonnull(strstr(roff, "\\fB\\-\\-body\\-max\\-bytes\\fR \\fIBYTES\\fR\n"));
    ck_assert_ptr_nonnull(strstr(markdown, "one of auto\\|scalar\\|avx2\\|avx512"));
    free(help);
    free(markdown);
    free(roff);
}
END_TEST

START_TEST(lines_fit_their_width)
{
    char *help = printed(config_print_help), *sample = printed(config_print_sample);

    for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
        ck_assert_uint_le(strlen(line), 80);
    for (char *line = strtok(sample, "\n"); line; line = strtok(NULL, "\n"))
        ck_assert_uint_le(strlen(line), 100);
    free(help);
    free(sample);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config/print");
    TCase *tests = tcase_create("writers");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_add_test(tests, sample_file_is_up_to_date);
    tcase_add_test(tests, sample_uncommented_is_the_defaults);
    tcase_add_test(tests, every_option_is_everywhere);
    tcase_add_test(tests, lines_fit_their_width);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
