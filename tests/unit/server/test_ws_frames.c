/* Frames: what a client sends comes out whole, however it is cut into segments; what it may not
 * send ends the connection with the code of the standard; what is sent reads back.  The cases over
 * real sockets are in tests/http/test_ws_protocol.py. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/ws_frames.h"

#define MAX 1000

/* ---- A client ---- */

static struct buf sent;

static void put_frame(unsigned first, size_t announced, const void *payload, size_t len)
{
    static const unsigned char mask[4] = {1, 2, 3, 0xff};
    const unsigned char *bytes = payload;

    buf_putc(&sent, (char)first);
    if (announced < 126) {
        buf_putc(&sent, (char)(0x80 | announced));
    } else if (announced < 65536) {
        buf_putc(&sent, (char)(0x80 | 126));
        buf_putc(&sent, (char)(announced >> 8));
        buf_putc(&sent, (char)announced);
    } else {
        buf_putc(&sent, (char)(0x80 | 127));
        for (int i = 7; i >= 0; i--)
            buf_putc(&sent, (char)(announced >> 8 * i));
    }
    buf_put(&sent, mask, 4);
    for (size_t i = 0; i < len; i++)
        buf_putc(&sent, (char)(bytes[i] ^ mask[i % 4]));
}

static void put_text(const char *text)
{
    put_frame(0x81, strlen(text), text, strlen(text));
}

/* ---- What comes out ---- */

static struct buf heard; /* a letter for the kind, the bytes, a bar */

static void hear(void *user, enum ws_kind kind, const char *bytes, size_t len)
{
    ck_assert_ptr_eq(user, &heard);
    buf_putc(&heard, "tbpq"[kind]);
    buf_put(&heard, bytes, len);
    buf_putc(&heard, '|');
}

static void feed(struct ws_frames *frames, size_t step)
{
    for (size_t at = 0; at < sent.len;) {
        size_t len = sent.len - at < step ? sent.len - at : step;
        char *piece = malloc(len); /* so that a sanitizer sees a read beyond it */

        ck_assert_ptr_nonnull(piece);
        memcpy(piece, sent.data + at, len);
        for (size_t n = 0; n < len;) {
            size_t taken = ws_frames_feed(frames, piece + n, len - n);

            ck_assert_uint_gt(taken, 0);
            ck_assert_uint_le(taken, len - n);
            n += taken;
        }
        at += len;
        free(piece);
    }
}

static void setup(void)
{
    sent = heard = (struct buf){0};
}

static void teardown(void)
{
    buf_free(&sent);
    buf_free(&heard);
}

static void expect_heard(const char *want)
{
    buf_putc(&heard, '\0');
    ck_assert_str_eq(heard.data, want);
    buf_clear(&heard);
}

/* The server's close frame is the last that is pending. */
static void expect_close(const struct ws_frames *frames, unsigned code)
{
    size_t len;
    const unsigned char *out = (const unsigned char *)ws_frames_pending(frames, &len);
    size_t at = 0, body;

    ck_assert(ws_frames_closing(frames));
    ck_assert_uint_eq((unsigned)ws_frames_code(frames), code);
    for (;;) {
        ck_assert_uint_ge(len - at, 2);
        body = out[at + 1];
        ck_assert_uint_lt(body, 126); /* tests send nothing long */
        if (out[at] == 0x88)
            break;
        at += 2 + body;
    }
    ck_assert_uint_eq(at + 2 + body, len);
    ck_assert_uint_ge(body, 2);
    ck_assert_uint_eq((unsigned)out[at + 2] << 8 | out[at + 3], code);
}

/* ---- Messages ---- */

START_TEST(messages_come_whole_however_they_are_cut)
{
    struct ws_frames *frames = ws_frames_new(MAX, hear, &heard);
    char long_text[MAX + 1];

    ck_assert_ptr_nonnull(frames);
    memset(long_text, 'x', MAX);
    long_text[MAX] = '\0';
    put_text("one");
    put_text("");
    put_frame(0x01, 2, "tw", 2);
    put_frame(0x89, 4, "ping", 4);
    put_frame(0x00, 0, "", 0);
    put_frame(0x80, 1, "o", 1);
    put_frame(0x82, 3, "\0\xff\x01", 3);
    put_frame(0x8a, 0, "", 0);
    put_text(long_text);
    feed(frames, (size_t)_i);
    ck_assert(!ws_frames_closing(frames));
    ck_assert_uint_eq(heard.len, strlen("tone|t|pping|ttwo|b123|q|t|") + MAX);
    ck_assert_mem_eq(heard.data, "tone|t|pping|ttwo|b\0\xff\x01|q|tx", 27);
    ws_frames_free(frames);
}
END_TEST

START_TEST(feeding_stops_between_frames)
{
    struct ws_frames *frames = ws_frames_new(MAX, hear, &heard);
    size_t first;

    put_text("one");
    first = sent.len;
    put_text("two");
    ck_assert_uint_eq(ws_frames_feed(frames, sent.data, sent.len), first);
    expect_heard("tone|");
    ck_assert_uint_eq(ws_frames_feed(frames, sent.data + first, sent.len - first),
                      sent.len - first);
    expect_heard("ttwo|");
    ws_frames_free(frames);
}
END_TEST

/* ---- Faults ---- */

static const struct {
    unsigned char bytes[20];
    size_t len;
    unsigned code;
    const char *heard;
} faults[] = {
    {{0x91, 0x80}, 2, 1002, ""},         /* a reserved bit */
    {{0x83, 0x80}, 2, 1002, ""},         /* a reserved opcode */
    {{0x8b, 0x80}, 2, 1002, ""},         /* another */
    {{0x81, 0x03}, 2, 1002, ""},         /* unmasked */
    {{0x89, 0xfe, 0, 126}, 4, 1002, ""}, /* a long ping */
    {{0x09, 0x80}, 2, 1002, ""},         /* a ping in fragments */
    {{0x88, 0x81}, 2, 1002, ""},         /* half a close code */
    {{0x81, 0xfe, 0, 125}, 4, 1002, ""}, /* not the shortest form */
    {{0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 10, 1002, ""},
    {{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, 10, 1002, ""}, /* the top bit */
    {{0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0}, 10, 1009, ""},    /* too big, announced */
    {{0x81, 0xfe, 3, 0xe9}, 4, 1009, ""},                    /* by one */
    {{0x80, 0x80, 0, 0, 0, 0}, 6, 1002, ""},                 /* a continuation of nothing */
    {{0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0}, 12, 1002, ""}, /* a message in a message */
    {{0x81, 0x80, 0, 0, 0, 0, 0x80, 0x80, 0, 0, 0, 0}, 12, 1002, "t|"},
    {{0x81, 0x82, 0, 0, 0, 0, 0xc0, 0x80}, 8, 1007, ""}, /* no UTF-8 */
    {{0x81, 0x81, 0, 0, 0, 0, 0xc3}, 7, 1007, ""},       /* unfinished */
    {{0x88, 0x82, 0, 0, 0, 0, 3, 0xed}, 8, 1002, ""},    /* close with 1005 */
    {{0x88, 0x83, 0, 0, 0, 0, 3, 0xe8, 0xff}, 9, 1007, ""},
};

START_TEST(faults_end_with_their_code)
{
    for (size_t step = 1; step <= faults[_i].len; step++) {
        struct ws_frames *frames = ws_frames_new(MAX, hear, &heard);

        buf_put(&sent, faults[_i].bytes, faults[_i].len);
        feed(frames, step);
        ck_assert(ws_frames_failed(frames));
        expect_close(frames, faults[_i].code);
        expect_heard(faults[_i].heard);
        buf_clear(&sent);
        put_text("what comes behind a fault means nothing");
        feed(frames, step);
        expect_heard("");
        buf_clear(&sent);
        ws_frames_free(frames);
    }
}
END_TEST

START_TEST(a_message_counts_with_all_its_fragments)
{
    char half[MAX / 2] = "";

    for (size_t last = 0; last <= 1; last++) {
        struct ws_frames *frames = ws_frames_new(MAX, hear, &heard);

        buf_clear(&sent);
        put_frame(0x02, sizeof half, half, sizeof half);
        put_frame(0x00, sizeof half, half, sizeof half);
        put_frame(0x89, 1, "x", 1); /* no part of it */
        put_frame(0x80, last, "y", last);
        put_frame(0x82, sizeof half, half, sizeof half); /* counts anew */
        feed(frames, 77);
        if (last == 0)
            ck_assert(!ws_frames_closing(frames));
        else
            ck_assert_uint_eq((unsigned)ws_frames_code(frames), 1009);
        ws_frames_free(frames);
    }
}
END_TEST

/* ---- Closing ---- */

START_TEST(a_close_is_answered_with_its_code)
{
    struct ws_frames *frames = ws_frames_new(MAX, hear, &heard);

    put_frame(0x88, 4, "\x0f\xa0ok", 4);
    put_text("too late");
    feed(frames, 3);
    ck_assert(ws_frames_close_received(frames) && !ws_frames_failed(frames));
    expect_close(frames, 4000);
    expect_heard("");
    ws_frames_send(frames, WS_TEXT, "no", 2);
    expect_close(frames, 4000); /* still the last */
    ws_frames_free(frames);
}
END_TEST

START_TEST(our_close_waits_for_theirs)
{
    struct ws_frames *frames = ws_frames_new(MAX, hear, &heard);

    ws_frames_send(frames, WS_TEXT, "last", 4);
    ws_frames_close(frames, WS_GOING_AWAY, "good night");
    ws_frames_close(frames, WS_POLICY, "no second one");
    expect_close(frames, 1001);
    put_text("on its way"); /* dropped */
    put_frame(0x89, 1, "x", 1);
    feed(frames, 5);
    expect_heard("");
    ck_assert(!ws_frames_close_received(frames));
    buf_clear(&sent);
    put_frame(0x88, 2, "\x03\xe8", 2);
    feed(frames, 5);
    ck_assert(ws_frames_close_received(frames) && !ws_frames_failed(frames));
    expect_close(frames, 1001);
    ws_frames_free(frames);
}
END_TEST

/* ---- Out ---- */

START_TEST(what_is_sent_reads_back)
{
    static const size_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 70000};
    struct ws_frames *frames = ws_frames_new(MAX, hear, &heard);
    char *payload = malloc(70000);
    size_t len, at = 0, want = 0;
    const unsigned char *out;

    ck_assert_ptr_nonnull(payload);
    memset(payload, 'z', 70000);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        ws_frames_send(frames, i % 2 ? WS_BINARY : WS_TEXT, payload, lengths[i]);
        want += lengths[i] + (lengths[i] < 126 ? 2 : lengths[i] < 65536 ? 4 : 10);
    }
    out = (const unsigned char *)ws_frames_pending(frames, &len);
    ck_assert_uint_eq(len, want);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t n = out[at + 1], head = 2;

        ck_assert_uint_eq(out[at], i % 2 ? 0x82 : 0x81);
        for (size_t k = 0, width = n == 126 ? 2 : n == 127 ? 8 : 0; k < width; k++, head++)
            n = (k == 0 ? 0 : n << 8) | out[at + head];
        ck_assert_uint_eq(n, lengths[i]);
        at += head + n;
    }
    free(payload);
    ws_frames_free(frames);
}
END_TEST

START_TEST(bytes_are_taken_off_in_any_pieces)
{
    struct ws_frames *frames = ws_frames_new(MAX, hear, &heard);
    struct buf taken = {0};
    size_t len;

    for (int i = 0; i < 300; i++) {
        const char *out;

        ws_frames_send(frames, WS_TEXT, "0123456789", 10);
        out = ws_frames_pending(frames, &len);
        len = len < (size_t)(i % 23) ? len : (size_t)(i % 23);
        buf_put(&taken, out, len);
        ws_frames_sent(frames, len);
    }
    while (ws_frames_pending(frames, &len), len > 0) {
        buf_put(&taken, ws_frames_pending(frames, &len), 1);
        ws_frames_sent(frames, 1);
    }
    ck_assert_uint_eq(taken.len, 300 * 12);
    for (size_t i = 0; i < 300; i++)
        ck_assert_mem_eq(taken.data + 12 * i,
                         "\x81\x0a"
                         "0123456789",
                         12);
    buf_free(&taken);
    ws_frames_free(frames);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/ws_frames");
    TCase *tcase = tcase_create("ws_frames");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, messages_come_whole_however_they_are_cut, 1, 40);
    tcase_add_test(tcase, feeding_stops_between_frames);
    tcase_add_loop_test(tcase, faults_end_with_their_code, 0, sizeof faults / sizeof faults[0]);
    tcase_add_test(tcase, a_message_counts_with_all_its_fragments);
    tcase_add_test(tcase, a_close_is_answered_with_its_code);
    tcase_add_test(tcase, our_close_waits_for_theirs);
    tcase_add_test(tcase, what_is_sent_reads_back);
    tcase_add_test(tcase, bytes_are_taken_off_in_any_pieces);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
