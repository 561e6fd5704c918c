/* The client's messages: ids come back as they were, bodies are read as the endpoints read them and
 * bound to the socket's session, and everything else is refused by name. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/ws_message.h"

static const struct config config = {.json_depth_max = 16,
                                     .input_steps_max = 1000,
                                     .inputs_max = 4,
                                     .output_tokens_max = 100,
                                     .choices_max = 8,
                                     .stop_max = 4};

static int read_text(struct ws_message *out, const char *text, struct rnn_err *err)
{
    *err = (struct rnn_err){0};
    memset(out, 0xee, sizeof *out);
    return ws_message_read(out, text, strlen(text), "s-1", &config, err);
}

static const struct {
    const char *id, *echoed; /* as JSON; NULL: refused */
} ids[] = {{"1", "1"},
           {"-7", "-7"},
           {"0", "0"},
           {"1e3", "1000"},
           {"9007199254740991", "9007199254740991"},
           {"\"\"", "\"\""},
           {"\"a\\u0041\"", "\"aA\""},
           {"\"\\u0001\\\"\"", "\"\\u0001\\\"\""},
           {"null", "null"},
           {"1.5", NULL},
           {"9007199254740993", NULL},
           {"true", NULL},
           {"[]", NULL},
           {"{}", NULL}};

START_TEST(ids_come_back)
{
    struct ws_message message;
    struct rnn_err err;
    char text[200];
    int rc;

    snprintf(text, sizeof text, "{\"id\":%s,\"predict\":{\"input\":\"x\"}}", ids[_i].id);
    rc = read_text(&message, text, &err);
    if (!ids[_i].echoed) {
        ck_assert_int_eq(rc, RNN_ETYPE);
        ck_assert_str_eq(err.param, "id");
        ck_assert_str_eq(message.id, "null");
        return;
    }
    ck_assert_int_eq(rc, 0);
    ck_assert_str_eq(message.id, ids[_i].echoed);
    ws_message_free(&message);
}
END_TEST

START_TEST(the_longest_id_fits)
{
    struct ws_message message;
    struct rnn_err err;
    struct buf text = {0};

    for (size_t n = WS_ID_CHARS; n <= WS_ID_CHARS + 1; n++) {
        buf_clear(&text);
        buf_puts(&text, "{\"cancel\":1,\"id\":\"");
        for (size_t i = 0; i < n; i++)
            buf_puts(&text, "\\u0001"); /* six bytes each, when it is written */
        buf_puts(&text, "\"}");
        buf_putc(&text, '\0');
        if (n > WS_ID_CHARS) {
            ck_assert_int_lt(read_text(&message, text.data, &err), 0);
            continue;
        }
        ck_assert_int_eq(read_text(&message, text.data, &err), 0);
        ck_assert_uint_eq(strlen(message.id), 6 * n + 2);
        ws_message_free(&message);
    }
    buf_free(&text);
}
END_TEST

START_TEST(bodies_are_bound_to_the_session)
{
    static const char *const texts[] = {
        "{\"predict\":{\"input\":\"x\"}}", "{\"predict\":{\"input\":\"x\",\"session\":null}}",
        "{\"predict\":{\"input\":\"x\",\"session\":\"s-1\"}}", "{\"predict\":{}}"};
    struct ws_message message;
    struct rnn_err err;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        ck_assert_msg(read_text(&message, texts[i], &err) == 0, "%s: %s", texts[i], err.text);
        ck_assert_int_eq(message.verb, WS_PREDICT);
        ck_assert_str_eq(message.predict.common.session, "s-1");
        ck_assert(message.predict.common.commit);
        ws_message_free(&message);
    }
    ck_assert_int_eq(
        read_text(&message, "{\"id\":4,\"predict\":{\"input\":\"x\",\"session\":\"s-2\"}}", &err),
        RNN_EFORMAT);
    ck_assert_str_eq(err.param, "session");
    ck_assert_str_eq(message.id, "4");
}
END_TEST

static const struct {
    const char *body;
    bool streams;
} generates[] = {{"{}", true},
                 {"{\"stream\":true}", true},
                 {"{\"stream\":null}", true},
                 {"{\"return\":[\"hidden\"]}", true},
                 {"{\"stream\":false}", false},
                 {"{\"n\":3,\"commit\":false}", true},
                 {"{\"n\":1,\"best_of\":3,\"commit\":false}", false},
                 {"{\"beam_width\":2,\"commit\":false}", false}};

START_TEST(a_generate_streams_where_it_can)
{
    struct ws_message message;
    struct rnn_err err;
    char text[200];

    snprintf(text, sizeof text, "{\"generate\":%s}", generates[_i].body);
    ck_assert_msg(read_text(&message, text, &err) == 0, "%s", err.text);
    ck_assert_int_eq(message.verb, WS_GENERATE);
    ck_assert_int_eq(message.generate.stream, generates[_i].streams);
    ws_message_free(&message);
}
END_TEST

START_TEST(a_generate_may_go_on_where_it_broke_off)
{
    struct ws_message message;
    struct rnn_err err;

    ck_assert_int_eq(read_text(&message,
                               "{\"generate\":{\"top_k\":3},\"last_event_id\":\"1f-2-3-0badcafe\"}",
                               &err),
                     0);
    ck_assert(message.generate.resume.given);
    ck_assert_uint_eq(message.generate.resume.start, 0x1f);
    ck_assert_uint_eq(message.generate.resume.check, 0x0badcafe);
    ck_assert_str_eq(message.generate.resume_by, "last_event_id");
    ck_assert_uint_ne(message.generate.check, 0);
    ws_message_free(&message);
}
END_TEST

START_TEST(the_same_request_has_the_same_check_value)
{
    static const struct {
        const char *body;
        bool same;
    } bodies[] = {{"{\"top_k\":3,\"stop\":[\"a\"]}", true},
                  {"{\"stop\":[\"a\"], \"top_k\":3.0}", true},
                  {"{\"stop\":[\"a\"],\"top_k\":3,\"stream\":true,\"input\":\"x\"}", true},
                  {"{\"stop\":[\"a\"],\"top_k\":3,\"seed\":null,\"deadline_ms\":9}", true},
                  {"{\"stop\":[\"a\"]}", false},
                  {"{\"stop\":[\"b\"],\"top_k\":3}", false},
                  {"{\"stop\":[\"a\",\"a\"],\"top_k\":3}", false},
                  {"{\"stop\":[\"a\"],\"max_tokens\":3}", false},
                  {"{\"stop\":[\"a\"],\"top_k\":3,\"echo\":false}", false}};
    struct ws_message message;
    struct rnn_err err;
    uint64_t check = 0;
    char text[200];

    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        snprintf(text, sizeof text, "{\"generate\":%s}", bodies[i].body);
        ck_assert_msg(read_text(&message, text, &err) == 0, "%s", err.text);
        check = i == 0 ? message.generate.check : check;
        ck_assert_int_eq(message.generate.check == check, bodies[i].same);
        ws_message_free(&message);
    }
}
END_TEST

START_TEST(cancels_name_an_id)
{
    struct ws_message message;
    struct rnn_err err;

    ck_assert_int_eq(read_text(&message, "{\"cancel\":\"a\"}", &err), 0);
    ck_assert_int_eq(message.verb, WS_CANCEL);
    ck_assert_str_eq(message.cancel, "\"a\"");
    ck_assert_str_eq(message.id, "null");
    ck_assert_int_eq(read_text(&message, "{\"cancel\":[]}", &err), RNN_ETYPE);
    ck_assert_str_eq(err.param, "cancel");
}
END_TEST

static const struct {
    const char *text, *id, *param;
    int rc;
} refused[] = {
    {"", "null", "", RNN_EFORMAT},
    {"{", "null", "", RNN_EFORMAT},
    {"[1]", "null", "", RNN_ETYPE},
    {"{}", "null", "", RNN_EFORMAT},
    {"{\"id\":1}", "1", "", RNN_EFORMAT},
    {"{\"id\":1,\"x\":{}}", "1", "x", RNN_EFORMAT},
    {"{\"id\":1,\"predict\":{},\"cancel\":1}", "1", "cancel", RNN_EFORMAT},
    {"{\"id\":1,\"predict\":[]}", "1", "predict", RNN_ETYPE},
    {"{\"id\":1,\"predict\":{\"max_tokens\":1}}", "1", "max_tokens", RNN_EFORMAT},
    {"{\"id\":1,\"generate\":{\"max_tokens\":101}}", "1", "max_tokens", RNN_ERANGE},
    {"{\"id\":1,\"generate\":{},\"last_event_id\":\"x\"}", "1", "last_event_id", RNN_EFORMAT},
    {"{\"id\":1,\"generate\":{},\"last_event_id\":1}", "1", "last_event_id", RNN_ETYPE},
    {"{\"id\":1,\"score\":{},\"last_event_id\":\"x\"}", "1", "last_event_id", RNN_EFORMAT},
    {"{\"id\":1,\"score\":{\"input\":\"x\",\"inputs\":[\"y\"]}}", "1", "inputs", RNN_EFORMAT},
};

START_TEST(all_else_is_refused_by_name)
{
    struct ws_message message;
    struct rnn_err err;

    ck_assert_int_eq(read_text(&message, refused[_i].text, &err), refused[_i].rc);
    ck_assert_str_eq(message.id, refused[_i].id);
    ck_assert_str_eq(err.param, refused[_i].param);
    ck_assert_str_ne(err.text, "");
}
END_TEST

START_TEST(binary_messages_are_frames)
{
    const float values[3] = {1, -2, 0.5f}, bad[1] = {1.0f / 0.0f};
    struct ws_message message;
    struct rnn_err err = {0};

    ck_assert_int_eq(
        ws_message_from_floats(&message, (const char *)values, sizeof values, "s-1", &config, &err),
        0);
    ck_assert_int_eq(message.verb, WS_PREDICT);
    ck_assert_str_eq(message.id, "null");
    ck_assert_str_eq(message.predict.common.session, "s-1");
    ck_assert_uint_eq(message.predict.common.inputs.n, 1);
    ck_assert_int_eq(message.predict.common.inputs.items[0].kind, INPUT_FLOATS);
    ck_assert_uint_eq(message.predict.common.inputs.items[0].n, 3);
    ck_assert_mem_eq(message.predict.common.inputs.items[0].frames, values, sizeof values);
    ws_message_free(&message);
    for (size_t len = 0; len < 12; len++)
        if (len % 4 != 0 || len == 0)
            ck_assert_int_eq(
                ws_message_from_floats(&message, (const char *)values, len, "s-1", &config, &err),
                RNN_EFORMAT);
    ck_assert_int_eq(
        ws_message_from_floats(&message, (const char *)bad, sizeof bad, "s-1", &config, &err),
        RNN_ERANGE);
}
END_TEST

#define LOOP(tcase, name, table) tcase_add_loop_test(tcase, name, 0, sizeof table / sizeof table[0])

int main(void)
{
    Suite *suite = suite_create("server/ws_message");
    TCase *tcase = tcase_create("ws_message");
    SRunner *runner = srunner_create(suite);
    int failed;

    LOOP(tcase, ids_come_back, ids);
    tcase_add_test(tcase, the_longest_id_fits);
    tcase_add_test(tcase, bodies_are_bound_to_the_session);
    LOOP(tcase, a_generate_streams_where_it_can, generates);
    tcase_add_test(tcase, a_generate_may_go_on_where_it_broke_off);
    tcase_add_test(tcase, the_same_request_has_the_same_check_value);
    tcase_add_test(tcase, cancels_name_an_id);
    LOOP(tcase, all_else_is_refused_by_name, refused);
    tcase_add_test(tcase, binary_messages_are_frames);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
