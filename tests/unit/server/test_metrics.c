/* The metrics page: shards add up, buckets are cumulative, and the text keeps to its format. */
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/metrics.h"
#include "server/shard.h"

static struct shard shards[2];
static struct shard *pointers[2] = {&shards[0], &shards[1]};
static struct server server;
static struct buf page;

static void setup(void)
{
    memset(shards, 0, sizeof(shards));
    memset(&server, 0, sizeof(server));
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_nonnull(shards[i].metrics = metrics_new());
    server.shards = pointers;
    server.n_shards = 2;
}

static void teardown(void)
{
    for (int i = 0; i < 2; i++)
        metrics_free(shards[i].metrics);
    buf_free(&page);
}

static const char *render(void)
{
    buf_clear(&page);
    metrics_page(&page, &server);
    buf_putc(&page, '\0');
    ck_assert(!page.failed);
    return page.data;
}

static void has(const char *text, const char *line)
{
    char want[256];

    snprintf(want, sizeof(want), "\n%s\n", line);
    ck_assert_msg(strstr(text, want), "no line '%s' in:\n%s", line, text);
}

START_TEST(shards_add_up)
{
    const char *text;

    metrics_count(shards[0].metrics, M_STEPS, 3);
    metrics_count(shards[1].metrics, M_STEPS, 4);
    metrics_gauge_add(shards[0].metrics, G_SESSIONS, 5);
    metrics_gauge_add(shards[1].metrics, G_SESSIONS, -2);
    metrics_request(shards[0].metrics, "/predict", 200, 0.001);
    metrics_request(shards[1].metrics, "/predict", 200, 0.1);
    metrics_request(shards[1].metrics, "/predict", 429, 0.1);
    metrics_request(shards[1].metrics, "/score", 200, 0.1);
    text = render();
    has(text, "rnnd_steps_total 7");
    has(text, "rnnd_sessions 3");
    has(text, "rnnd_requests_total{endpoint=\"/predict\",code=\"200\"} 2");
    has(text, "rnnd_requests_total{endpoint=\"/predict\",code=\"429\"} 1");
    has(text, "rnnd_requests_total{endpoint=\"/score\",code=\"200\"} 1");
    has(text, "rnnd_request_duration_seconds_count{endpoint=\"/predict\"} 3");
    has(text, "rnnd_request_duration_seconds_count{endpoint=\"/score\"} 1");
}
END_TEST

START_TEST(buckets_hold_what_is_at_most_their_bound)
{
    const char *text;

    metrics_observe(shards[0].metrics, H_BATCH, 1);
    metrics_observe(shards[0].metrics, H_BATCH, 2);
    metrics_observe(shards[1].metrics, H_BATCH, 3);
    metrics_observe(shards[1].metrics, H_BATCH, 5000);
    text = render();
    has(text, "rnnd_batch_rows_bucket{le=\"1\"} 1");
    has(text, "rnnd_batch_rows_bucket{le=\"2\"} 2");
    has(text, "rnnd_batch_rows_bucket{le=\"4\"} 3");
    has(text, "rnnd_batch_rows_bucket{le=\"1024\"} 3");
    has(text, "rnnd_batch_rows_bucket{le=\"+Inf\"} 4");
    has(text, "rnnd_batch_rows_sum 5006");
    has(text, "rnnd_batch_rows_count 4");
}
END_TEST

START_TEST(the_process_tells_its_memory_and_time)
{
    const char *text = render();
    const char *memory = strstr(text, "\nprocess_resident_memory_bytes ");
    const char *time = strstr(text, "\nprocess_cpu_seconds_total ");

    ck_assert_ptr_nonnull(memory);
    ck_assert_ptr_nonnull(time);
    ck_assert_double_gt(strtod(memory + 31, NULL), 100000);
    ck_assert_double_gt(strtod(time + 27, NULL), 0);
}
END_TEST

START_TEST(more_routes_than_there_is_room_for_do_no_harm)
{
    static char names[600][16];

    for (int i = 0; i < 600; i++) {
        snprintf(names[i], sizeof(names[i]), "/r%d", i);
        metrics_request(shards[0].metrics, names[i], 200, 0.1);
    }
    has(render(), "rnnd_requests_total{endpoint=\"/r0\",code=\"200\"} 1");
}
END_TEST

/* name{labels} number, with names as Prometheus wants them and no series twice. */
static void check_sample(const char *line, char *name, size_t cap)
{
    size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyz_");
    const char *at = line + n;
    char *end;

    ck_assert_msg((n > 5 && strncmp(line, "rnnd_", 5) == 0) ||
                      (n > 8 && strncmp(line, "process_", 8) == 0),
                  "bad name: %s", line);
    if (*at == '{') {
        at = strstr(at, "\"} "); /* braces may stand in a label's value */
        ck_assert_ptr_nonnull(at);
        at += 2;
    }
    ck_assert_int_eq(*at, ' ');
    snprintf(name, cap, "%.*s", (int)(at - line), line);
    (void)strtod(at + 1, &end);
    ck_assert_msg(end != at + 1 && *end == '\0', "bad number: %s", line);
}

START_TEST(the_page_keeps_to_the_text_format)
{
    static char seen[2000][160];
    char family[128] = "", *rest, *line;
    size_t n = 0;

    metrics_request(shards[0].metrics, "/predict", 200, 0.001);
    metrics_request(shards[1].metrics, "/sessions/{id}", 404, 0.001);
    render();
    rest = page.data;
    while ((line = strsep(&rest, "\n")) && *line) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            char was[128];

            ck_assert_int_eq(sscanf(line, "# HELP %127s", was), 1);
            ck_assert_msg(strlen(line) > 8 + strlen(was), "no help: %s", line);
            ck_assert_str_ne(was, family);
            snprintf(family, sizeof(family), "%s", was);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            ck_assert_int_eq(strncmp(line + 7, family, strlen(family)), 0);
        } else {
            ck_assert_uint_lt(n, 2000);
            check_sample(line, seen[n], sizeof(seen[n]));
            ck_assert_int_eq(strncmp(line, family, strlen(family)), 0);
            for (size_t i = 0; i < n; i++)
                ck_assert_str_ne(seen[i], seen[n]);
            n++;
        }
    }
    ck_assert_uint_gt(n, 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("metrics");
    TCase *tcase = tcase_create("page");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, shards_add_up);
    tcase_add_test(tcase, buckets_hold_what_is_at_most_their_bound);
    tcase_add_test(tcase, more_routes_than_there_is_room_for_do_no_harm);
    tcase_add_test(tcase, the_process_tells_its_memory_and_time);
    tcase_add_test(tcase, the_page_keeps_to_the_text_format);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
