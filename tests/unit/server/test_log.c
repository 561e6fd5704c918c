/* Log lines, read back from a pipe in place of standard error: valid JSON whatever is put in,
 * levels kept, one write a line. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "server/log.h"

static int pipe_fds[2], stderr_before;
static char lines[1 << 16];

static void setup(void)
{
    ck_assert_int_eq(pipe(pipe_fds), 0);
    stderr_before = dup(STDERR_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
    log_start(CONFIG_LOG_INFO, CONFIG_LOG_JSON);
}

/* Everything logged since the last call, as text. */
static const char *logged(void)
{
    ssize_t n;

    (void)!write(pipe_fds[1], "", 1); /* so that the read never waits */
    n = read(pipe_fds[0], lines, sizeof(lines) - 1);
    ck_assert_int_ge(n, 1);
    lines[n - 1] = '\0';
    return lines;
}

static void teardown(void)
{
    dup2(stderr_before, STDERR_FILENO);
    close(stderr_before);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static struct cJSON *parse(const char *line)
{
    struct cJSON *json = NULL;
    struct rnn_err err = {0};
    size_t len = strlen(line);

    ck_assert_uint_gt(len, 0);
    ck_assert_int_eq(line[len - 1], '\n');
    ck_assert_msg(json_parse(&json, line, len, 8, &err) == 0, "%s in %s", err.text, line);
    return json;
}

START_TEST(a_line_is_one_json_object_with_its_fields)
{
    struct cJSON *json;
    const char *text = NULL;
    int64_t number = 0;

    log_line(CONFIG_LOG_WARNING, "model loaded", LOG_TEXT("model", "kjv"), LOG_NUMBER("rows", 12));
    json = parse(logged());
    ck_assert_int_eq(json_read_string(json, "", "message", &text, NULL), 0);
    ck_assert_str_eq(text, "model loaded");
    ck_assert_int_eq(json_read_string(json, "", "level", &text, NULL), 0);
    ck_assert_str_eq(text, "warning");
    ck_assert_int_eq(json_read_string(json, "", "model", &text, NULL), 0);
    ck_assert_str_eq(text, "kjv");
    ck_assert_int_eq(json_read_int(json, "", "rows", 0, 100, &number, NULL), 0);
    ck_assert_int_eq(number, 12);
    ck_assert_int_eq(json_read_string(json, "", "time", &text, NULL), 0);
    ck_assert_uint_eq(strlen(text), strlen("2000-01-01T00:00:00.000Z"));
    json_free(json);
}
END_TEST

START_TEST(hostile_text_stays_one_valid_line)
{
    static const char *const texts[] = {
        "\"},{\"", "a\nb\rc\td", "\xff\xfe",
        "\xc3",    "\x01\x7f\\", "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
        ""};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *line;

        log_line(CONFIG_LOG_INFO, texts[i], LOG_TEXT("field", texts[i]));
        line = logged();
        ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
        json_free(parse(line));
    }
}
END_TEST

START_TEST(what_is_too_long_is_cut_and_stays_valid)
{
    char *text = calloc(1, 100001);

    for (size_t len = 3900; len < 4200; len++) {
        memset(text, '"', len);
        text[len] = '\0';
        log_line(CONFIG_LOG_INFO, "long", LOG_TEXT("a", text), LOG_TEXT("b", text),
                 LOG_NUMBER("c", 1));
        json_free(parse(logged()));
    }
    memset(text, 'x', 100000);
    log_line(CONFIG_LOG_INFO, text, LOG_NUMBER("c", 1));
    json_free(parse(logged()));
    free(text);
}
END_TEST

START_TEST(numbers_are_json_numbers)
{
    static const double numbers[] = {0, -1, 0.1, 1e300, 123456789012.0, NAN, INFINITY};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        log_line(CONFIG_LOG_INFO, "n", LOG_NUMBER("n", numbers[i]));
        json_free(parse(logged()));
    }
}
END_TEST

START_TEST(lines_below_the_level_are_dropped)
{
    log_line(CONFIG_LOG_DEBUG, "no", LOG_NUMBER("n", 1));
    ck_assert_str_eq(logged(), "");
    log_set_level(CONFIG_LOG_ERROR);
    log_line(CONFIG_LOG_WARNING, "no", LOG_NUMBER("n", 1));
    ck_assert_str_eq(logged(), "");
    log_line(CONFIG_LOG_ERROR, "yes", LOG_NUMBER("n", 1));
    ck_assert_ptr_nonnull(strstr(logged(), "yes"));
    log_set_level(CONFIG_LOG_DEBUG);
    log_line(CONFIG_LOG_DEBUG, "yes", LOG_NUMBER("n", 1));
    ck_assert_ptr_nonnull(strstr(logged(), "yes"));
}
END_TEST

START_TEST(human_lines_quote_what_needs_it)
{
    const char *line;

    log_start(CONFIG_LOG_INFO, CONFIG_LOG_HUMAN);
    log_line(CONFIG_LOG_ERROR, "cannot open", LOG_TEXT("path", "/a/b"),
             LOG_TEXT("reason", "no \"x\""), LOG_NUMBER("n", 3));
    line = logged();
    ck_assert_ptr_nonnull(
        strstr(line, "error  cannot open  path=/a/b  reason=\"no \\\"x\\\"\"  n=3\n"));
}
END_TEST

static void *write_many(void *unused)
{
    for (int i = 0; i < 20; i++)
        log_line(CONFIG_LOG_INFO, "many", LOG_TEXT("a", "0123456789012345678901234567890123456789"),
                 LOG_NUMBER("i", i));
    return unused;
}

START_TEST(lines_of_several_threads_never_mix)
{
    pthread_t threads[4];
    const char *at;
    size_t n = 0;

    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, write_many, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (at = logged(); *at; n++) {
        const char *end = strchr(at, '\n');
        char one[512];

        ck_assert_ptr_nonnull(end);
        snprintf(one, sizeof(one), "%.*s\n", (int)(end - at), at);
        json_free(parse(one));
        at = end + 1;
    }
    ck_assert_uint_eq(n, 80);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tcase = tcase_create("lines");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_line_is_one_json_object_with_its_fields);
    tcase_add_test(tcase, hostile_text_stays_one_valid_line);
    tcase_add_test(tcase, what_is_too_long_is_cut_and_stays_valid);
    tcase_add_test(tcase, numbers_are_json_numbers);
    tcase_add_test(tcase, lines_below_the_level_are_dropped);
    tcase_add_test(tcase, human_lines_quote_what_needs_it);
    tcase_add_test(tcase, lines_of_several_threads_never_mix);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
