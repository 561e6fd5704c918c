/* Events on their way: what is written reads back, whatever stands in the JSON, and a piece that is
 * cut anywhere gives only whole events. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/event.h"

static void write_both(struct buf *out)
{
    event_begin(out, "token", "7-1-0");
    buf_puts(out, "{\"text\":");
    buf_json_string(out, "a\nb\r\t\"\\\x01 \xe2\x80\xa8", 12);
    buf_putc(out, '}');
    event_end(out);
    event_begin(out, "done", "");
    event_end(out);
}

START_TEST(what_is_written_reads_back)
{
    struct buf out = {0};
    struct event event;
    const char *at;
    size_t left;

    write_both(&out);
    at = out.data;
    left = out.len;
    ck_assert(event_next(&at, &left, &event));
    ck_assert_str_eq(event.name, "token");
    ck_assert_str_eq(event.id, "7-1-0");
    ck_assert_uint_gt(event.len, 12);
    ck_assert_int_eq(event.json[0], '{');
    ck_assert_int_eq(event.json[event.len - 1], '}');
    ck_assert(event_next(&at, &left, &event));
    ck_assert_str_eq(event.name, "done");
    ck_assert_str_eq(event.id, "");
    ck_assert_uint_eq(event.len, 0);
    ck_assert_uint_eq(left, 0);
    ck_assert(!event_next(&at, &left, &event));
    buf_free(&out);
}
END_TEST

START_TEST(a_cut_piece_has_whole_events_only)
{
    struct buf out = {0};
    size_t last = 0;

    write_both(&out);
    for (size_t len = 0; len <= out.len; len++) {
        char *piece = malloc(len + 1); /* so that a sanitizer sees a read beyond it */
        const char *at = piece;
        size_t left = len, n = 0;
        struct event event;

        ck_assert_ptr_nonnull(piece);
        memcpy(piece, out.data, len);
        while (event_next(&at, &left, &event))
            n++;
        ck_assert_uint_ge(n, last);
        last = n;
        free(piece);
    }
    ck_assert_uint_eq(last, 2);
    buf_free(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/event");
    TCase *tcase = tcase_create("event");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tcase, what_is_written_reads_back);
    tcase_add_test(tcase, a_cut_piece_has_whole_events_only);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
