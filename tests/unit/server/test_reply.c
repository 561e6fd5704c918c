/* Error bodies and the table behind them.  HTTP is a fake that keeps the last answer. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "server/http.h"
#include "server/reply.h"

/* ---- The fake ---- */

static unsigned last_status;
static char last_body[2048], last_headers[256];

void http_reply(struct request *request, unsigned status, const char *content_type,
                struct buf *body)
{
    (void)request;
    ck_assert_str_eq(content_type, "application/json");
    last_status = status;
    snprintf(last_body, sizeof last_body, "%.*s", (int)body->len, body->data);
    buf_free(body);
}

void http_reply_header(struct request *request, const char *name, const char *value)
{
    size_t used = strlen(last_headers);

    (void)request;
    snprintf(last_headers + used, sizeof last_headers - used, "%s=%s;", name, value);
}

static void reset(void)
{
    last_status = 0;
    last_body[0] = last_headers[0] = '\0';
}

/* A member of the last answer's error object; NULL for null. */
static const char *member(const char *key)
{
    static char text[1024];
    struct cJSON *json = NULL;
    const struct cJSON *value;

    ck_assert_int_eq(json_parse(&json, last_body, strlen(last_body), 4, NULL), 0);
    ck_assert(cJSON_HasObjectItem(json_get(json, "error"), key));
    value = json_get(json_get(json, "error"), key);
    if (value)
        snprintf(text, sizeof text, "%s", value->valuestring);
    json_free(json);
    return value ? text : NULL;
}

/* ---- Tests ---- */

START_TEST(every_error_has_its_own_code_and_a_true_body)
{
    reset();
    reply_error(NULL, (enum reply_error)_i, "input[3]", "input[3]: want %d", 4);
    ck_assert_uint_eq(last_status, reply_status((enum reply_error)_i));
    ck_assert(last_status >= 400 && last_status < 600);
    ck_assert_str_eq(member("message"), "input[3]: want 4");
    ck_assert_str_eq(member("param"), "input[3]");
    ck_assert_str_eq(member("code"), reply_code((enum reply_error)_i));
    ck_assert_ptr_nonnull(member("type"));
    for (int other = 0; other < _i; other++)
        ck_assert_str_ne(reply_code((enum reply_error)_i), reply_code((enum reply_error)other));
    ck_assert_int_eq(strstr(last_headers, "Retry-After=") != NULL,
                     last_status == 429 || last_status == 503);
    ck_assert_int_eq(strstr(last_headers, "WWW-Authenticate=") != NULL, last_status == 401);
}
END_TEST

START_TEST(no_param_is_null)
{
    reset();
    reply_error(NULL, REPLY_NO_ROUTE, NULL, "no");
    ck_assert_ptr_null(member("param"));
    reply_error(NULL, REPLY_NO_ROUTE, "", "no");
    ck_assert_ptr_null(member("param"));
}
END_TEST

START_TEST(what_a_client_sent_cannot_break_the_body)
{
    reset();
    reply_error(NULL, REPLY_MALFORMED, "a\"b\n", "field \"%s\": \\ \x01", "a\"b\n");
    ck_assert_str_eq(member("param"), "a\"b\n");
    ck_assert_str_eq(member("message"), "field \"a\"b\n\": \\ \x01");
}
END_TEST

START_TEST(a_message_cut_in_a_character_stays_valid)
{
    char longer[1200];
    size_t n = 0;

    reset();
    longer[n++] = 'x';
    while (n + 3 < sizeof longer) {
        memcpy(longer + n, "\xE2\x82\xAC", 3);
        n += 3;
    }
    longer[n] = '\0';
    reply_error(NULL, REPLY_MALFORMED, NULL, "%s", longer);
    ck_assert_uint_gt(strlen(member("message")), 300);
    ck_assert_int_eq(strncmp(member("message"), longer, strlen(member("message"))), 0);
}
END_TEST

START_TEST(bytes_that_are_no_text_are_shown_as_such)
{
    reset();
    reply_error(NULL, REPLY_NO_ROUTE, NULL, "there is nothing at %s here", "/\xFF\xC3[");
    ck_assert_str_eq(member("message"), "there is nothing at /?\?[ here");
}
END_TEST

static const struct {
    int code;
    unsigned status;
    const char *name;
} failures[] = {
    {RNN_EFORMAT, 400, "malformed"},     {RNN_ETYPE, 400, "malformed"},
    {RNN_ERANGE, 400, "out_of_range"},   {RNN_ECHAR, 422, "unknown_character"},
    {RNN_ESHAPE, 422, "frame_width"},    {RNN_EUNSUPPORTED, 422, "not_supported"},
    {REPLY_EINPUT, 422, "not_possible"}, {RNN_ELIMIT, 413, "too_large"},
    {RNN_ENOENT, 404, "no_model"},       {RNN_EEXIST, 409, "session_exists"},
    {RNN_EBUSY, 409, "session_busy"},    {RNN_ENOMEM, 503, "no_memory"},
    {RNN_EIO, 500, "internal"},
};

START_TEST(a_failed_call_becomes_its_answer)
{
    struct rnn_err err = {0};

    reset();
    rnn_fail_at(&err, failures[_i].code, "input", 7, "words");
    reply_failure(NULL, &err);
    ck_assert_uint_eq(last_status, failures[_i].status);
    ck_assert_str_eq(member("code"), failures[_i].name);
    ck_assert_str_eq(member("param"), "input");
    ck_assert_str_eq(member("message"), "words");
}
END_TEST

START_TEST(a_body_that_failed_is_no_success)
{
    struct buf body = {.max = 4};

    reset();
    buf_puts(&body, "{\"too\":\"long\"}");
    reply_json(NULL, 200, &body);
    ck_assert_uint_eq(last_status, 503);
    ck_assert_str_eq(member("code"), "no_memory");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/reply");
    TCase *tests = tcase_create("reply");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tests, every_error_has_its_own_code_and_a_true_body, 0, REPLY_N_ERRORS);
    tcase_add_test(tests, no_param_is_null);
    tcase_add_test(tests, what_a_client_sent_cannot_break_the_body);
    tcase_add_test(tests, a_message_cut_in_a_character_stays_valid);
    tcase_add_test(tests, bytes_that_are_no_text_are_shown_as_such);
    tcase_add_loop_test(tests, a_failed_call_becomes_its_answer, 0,
                        sizeof failures / sizeof failures[0]);
    tcase_add_test(tests, a_body_that_failed_is_no_success);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
