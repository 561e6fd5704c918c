/* Server-sent events: what is written reads back, by the rules of the standard, as what was meant.
 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "server/sse.h"

/* ---- A reader, after WHATWG HTML 9.2.6 ---- */

struct reading {
    struct {
        char name[32];
        char data[256];
    } events[8];
    size_t n;
};

static void take_line(struct reading *r, char *name, char *data, bool *has_data, const char *line,
                      size_t len)
{
    if (len == 0) {
        if (*has_data) {
            ck_assert_uint_lt(r->n, 8);
            strcpy(r->events[r->n].name, name);
            strcpy(r->events[r->n++].data, data);
        }
        name[0] = data[0] = '\0';
        *has_data = false;
    } else if (len >= 5 && memcmp(line, "data:", 5) == 0) {
        size_t skip = len > 5 && line[5] == ' ' ? 6 : 5;

        if (*has_data)
            strcat(data, "\n");
        strncat(data, line + skip, len - skip);
        *has_data = true;
    } else if (len >= 6 && memcmp(line, "event:", 6) == 0) {
        size_t skip = len > 6 && line[6] == ' ' ? 7 : 6;

        snprintf(name, 32, "%.*s", (int)(len - skip), line + skip);
    } else {
        ck_assert_msg(line[0] == ':', "no field and no comment: %.*s", (int)len, line);
    }
}

static struct reading read_back(const struct buf *buf)
{
    struct reading r = {0};
    char name[32] = "", data[256] = "";
    bool has_data = false;

    for (size_t i = 0; i < buf->len;) {
        size_t end = i;

        while (end < buf->len && buf->data[end] != '\n' && buf->data[end] != '\r')
            end++;
        ck_assert_uint_lt(end, buf->len); /* every line is ended */
        take_line(&r, name, data, &has_data, buf->data + i, end - i);
        i = end +
            (buf->data[end] == '\r' && end + 1 < buf->len && buf->data[end + 1] == '\n' ? 2 : 1);
    }
    ck_assert(!has_data); /* nothing hangs */
    return r;
}

/* ---- Tests ---- */

static const struct {
    const char *data, *want;
} texts[] = {
    {"", ""},           {"one", "one"},       {"two\nlines", "two\nlines"}, {"\n", "\n"},
    {"a\r\nb", "a\nb"}, {"a\rb\r", "a\nb\n"}, {" leading", " leading"},     {"data: x", "data: x"},
    {"\n\n", "\n\n"},   {": c", ": c"},
};

START_TEST(any_text_reads_back)
{
    struct buf out = {0};
    struct reading r;

    sse_event(&out, "token", texts[_i].data, strlen(texts[_i].data));
    sse_event(&out, "done", "{}", 2);
    r = read_back(&out);
    ck_assert_uint_eq(r.n, 2);
    ck_assert_str_eq(r.events[0].name, "token");
    ck_assert_str_eq(r.events[0].data, texts[_i].want);
    ck_assert_str_eq(r.events[1].name, "done");
    buf_free(&out);
}
END_TEST

START_TEST(begin_and_end_frame_what_stands_between)
{
    struct buf out = {0};

    sse_begin(&out, "token");
    buf_json_string(&out, "a\nb", 3);
    sse_end(&out);
    ck_assert_uint_eq(read_back(&out).n, 1);
    ck_assert_str_eq(read_back(&out).events[0].data, "\"a\\nb\"");
    buf_free(&out);
}
END_TEST

START_TEST(a_comment_is_no_event)
{
    struct buf out = {0};

    sse_comment(&out, "keep\nevent: x\r\n\ndata: y");
    sse_event(&out, "done", "1", 1);
    ck_assert_uint_eq(read_back(&out).n, 1);
    ck_assert_str_eq(read_back(&out).events[0].name, "done");
    buf_free(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/sse");
    TCase *tests = tcase_create("sse");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tests, any_text_reads_back, 0, sizeof texts / sizeof texts[0]);
    tcase_add_test(tests, begin_and_end_frame_what_stands_between);
    tcase_add_test(tests, a_comment_is_no_event);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
