/* The readers of a request's body, on the bodies of every endpoint: each field, its bounds, its
 * wrong types; what is refused by name; that null is absent and a default is kept. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/api.h"

static struct config *config;

static void setup(void)
{
    char *nothing[] = {NULL};

    ck_assert_int_eq(config_load(&config, NULL, nothing, 0, nothing, stderr), 0);
}

static void teardown(void)
{
    config_free(config);
}

/* ---- Reading any body, keeping only how it went ---- */

enum endpoint {
    PREDICT,
    GENERATE,
    SCORE,
    SESSION,
    FORK,
    SNAPSHOT,
    REWIND,
    BLEND,
    TOKENIZE,
    DETOKENIZE
};

static int read_body(enum endpoint endpoint, const char *text, size_t len, struct rnn_err *err)
{
    struct predict_request predict;
    struct generate_request generate;
    struct score_request score;
    struct session_request session;
    struct snapshot_request snapshot;
    struct rewind_request rewind;
    struct blend_request blend;
    struct tokens_request tokens;
    size_t count;
    int rc = 0;

    memset(err, 0, sizeof *err);
    switch (endpoint) {
    case PREDICT:
        if ((rc = predict_read(&predict, text, len, config, err)) == 0)
            predict_request_free(&predict);
        break;
    case GENERATE:
        if ((rc = generate_read(&generate, text, len, config, err)) == 0)
            generate_request_free(&generate);
        break;
    case SCORE:
        if ((rc = score_read(&score, text, len, config, err)) == 0)
            score_request_free(&score);
        break;
    case SESSION:
        if ((rc = session_request_read(&session, text, len, config, err)) == 0)
            session_request_free(&session);
        break;
    case FORK:
        rc = fork_request_read(&count, text, len, config, err);
        break;
    case SNAPSHOT:
        rc = snapshot_request_read(&snapshot, text, len, config, err);
        break;
    case REWIND:
        rc = rewind_request_read(&rewind, text, len, config, err);
        break;
    case BLEND:
        if ((rc = blend_request_read(&blend, text, len, config, err)) == 0)
            blend_request_free(&blend);
        break;
    case TOKENIZE:
        if ((rc = tokenize_read(&tokens, text, len, config, err)) == 0)
            tokens_request_free(&tokens);
        break;
    case DETOKENIZE:
        if ((rc = detokenize_read(&tokens, text, len, config, err)) == 0)
            tokens_request_free(&tokens);
        break;
    }
    return rc;
}

/* ---- Refusals ---- */

#define I "\"input\":\"a\""

static const struct {
    enum endpoint endpoint;
    const char *text;
    int code;
    const char *param;
} refused[] = {
    /* bodies */
    {PREDICT, "", RNN_EFORMAT, ""},
    {PREDICT, "[]", RNN_ETYPE, ""},
    {PREDICT, "\"a\"", RNN_ETYPE, ""},
    {PREDICT, "{" I, RNN_EFORMAT, ""},
    {PREDICT, "{" I "} {}", RNN_EFORMAT, ""},
    {PREDICT, "{" I "," I "}", RNN_EFORMAT, NULL},
    {PREDICT, "{\"input\":\"\xFF\"}", RNN_EFORMAT, ""},
    {PREDICT, "{\"input\":[NaN]}", RNN_EFORMAT, ""},
    {PREDICT, "{\"input\":[[1e999]]}", RNN_EFORMAT, ""},
    {PREDICT, "{\"input\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]", RNN_EFORMAT, ""},
    /* fields that all share */
    {PREDICT, "{" I ",\"modle\":\"x\"}", RNN_EFORMAT, "modle"},
    {PREDICT, "{" I ",\"model\":7}", RNN_ETYPE, "model"},
    {PREDICT, "{}", RNN_EFORMAT, "input"},
    {PREDICT, "{\"input\":[]}", RNN_EFORMAT, "input"},
    {PREDICT, "{\"session\":\"\"}", RNN_EFORMAT, "session"},
    {PREDICT, "{\"session\":\"a/b\"}", RNN_EFORMAT, "session"},
    {PREDICT, "{\"session\":5}", RNN_ETYPE, "session"},
    {PREDICT, "{\"session\":\"s\",\"inputs\":[\"a\"]}", RNN_EFORMAT, "inputs"},
    {PREDICT, "{" I ",\"commit\":1}", RNN_ETYPE, "commit"},
    {PREDICT, "{" I ",\"commit\":\"false\"}", RNN_ETYPE, "commit"},
    {PREDICT, "{" I ",\"if_busy\":\"wait\"}", RNN_EFORMAT, "if_busy"},
    {PREDICT, "{" I ",\"if_busy\":true}", RNN_ETYPE, "if_busy"},
    {PREDICT, "{" I ",\"expect_position\":0}", RNN_EFORMAT, "expect_position"},
    {PREDICT, "{\"session\":\"s\",\"expect_position\":-1}", RNN_ERANGE, "expect_position"},
    {PREDICT, "{\"session\":\"s\",\"expect_position\":1.5}", RNN_ETYPE, "expect_position"},
    {PREDICT, "{" I ",\"deadline_ms\":0}", RNN_ERANGE, "deadline_ms"},
    {PREDICT, "{" I ",\"deadline_ms\":86400001}", RNN_ERANGE, "deadline_ms"},
    {PREDICT, "{" I ",\"deadline_ms\":\"1\"}", RNN_ETYPE, "deadline_ms"},
    {PREDICT, "{" I ",\"state\":1}", RNN_ETYPE, "state"},
    {PREDICT, "{\"session\":\"s\",\"state\":\"a\"}", RNN_EFORMAT, "state"},
    {PREDICT, "{\"inputs\":[\"a\"],\"state\":\"a\"}", RNN_EFORMAT, "inputs"},
    {PREDICT, "{\"session\":\"s\",\"initial_state\":\"a\"}", RNN_EFORMAT, "initial_state"},
    {PREDICT, "{" I ",\"state\":\"a\",\"initial_state\":\"a\"}", RNN_EFORMAT, "initial_state"},
    {PREDICT, "{" I ",\"return_state\":\"yes\"}", RNN_ETYPE, "return_state"},
    /* predict */
    {PREDICT, "{" I ",\"candidates\":[\"a\",7]}", RNN_ETYPE, "candidates[1]"},
    {PREDICT, "{" I ",\"candidates\":[[1,\"b\"]]}", RNN_ETYPE, "candidates[0][1]"},
    {PREDICT, "{" I ",\"candidates\":[]}", RNN_ERANGE, "candidates"},
    {GENERATE, "{" I ",\"max_frames\":-1}", RNN_ERANGE, "max_frames"},
    {GENERATE, "{" I ",\"max_frames\":1,\"max_tokens\":1}", RNN_EFORMAT, "max_frames"},
    {GENERATE, "{" I ",\"max_frames\":1,\"beam_width\":1}", RNN_EFORMAT, "max_frames"},
    {PREDICT, "{" I ",\"candidates\":\"a\"}", RNN_ETYPE, "candidates"},
    {PREDICT, "{" I ",\"candidate\":[\"a\"]}", RNN_EFORMAT, "candidate"},
    {PREDICT, "{" I ",\"steps\":\"first\"}", RNN_EFORMAT, "steps"},
    {PREDICT, "{" I ",\"steps\":1}", RNN_ETYPE, "steps"},
    {PREDICT, "{" I ",\"top_k\":-1}", RNN_ERANGE, "top_k"},
    {PREDICT, "{" I ",\"top_k\":0.5}", RNN_ETYPE, "top_k"},
    {PREDICT, "{" I ",\"return\":\"logits\"}", RNN_ETYPE, "return"},
    {PREDICT, "{" I ",\"return\":[\"logits\",3]}", RNN_ETYPE, "return[1]"},
    {PREDICT, "{" I ",\"return\":[\"logit\"]}", RNN_EFORMAT, "return[0]"},
    {PREDICT, "{" I ",\"return\":[\"hidden\",\"gate\"]}", RNN_EFORMAT, "return[1]"},
    {GENERATE, "{" I ",\"return\":[\"cell\"]}", RNN_EFORMAT, "return"},
    {GENERATE, "{" I ",\"stream\":true,\"n\":2,\"return\":[\"cell\"]}", RNN_EFORMAT, "return"},
    {GENERATE, "{" I ",\"stream\":true,\"return\":[\"logits\"]}", RNN_EFORMAT, "return[0]"},
    {PREDICT, "{" I ",\"temperature\":1}", RNN_EFORMAT, "temperature"},
    /* generate */
    {GENERATE, "{" I ",\"best_of\":2,\"n\":3}", RNN_ERANGE, "best_of"},
    {GENERATE, "{" I ",\"best_of\":2,\"stream\":true}", RNN_EFORMAT, "best_of"},
    {GENERATE, "{" I ",\"length_penalty\":1}", RNN_EFORMAT, "length_penalty"},
    {GENERATE, "{" I ",\"beam_width\":0}", RNN_ERANGE, "beam_width"},
    {GENERATE, "{" I ",\"beam_width\":2,\"n\":3}", RNN_ERANGE, "n"},
    {GENERATE, "{" I ",\"beam_width\":2,\"max_tokens\":0}", RNN_ERANGE, "max_tokens"},
    {GENERATE, "{" I ",\"beam_width\":2,\"temperature\":0}", RNN_EFORMAT, "temperature"},
    {GENERATE, "{" I ",\"beam_width\":2,\"stream\":true}", RNN_EFORMAT, "stream"},
    {GENERATE, "{" I ",\"beam_width\":2,\"session\":\"s\"}", RNN_EFORMAT, "beam_width"},
    {GENERATE, "{" I ",\"steps\":\"all\"}", RNN_EFORMAT, "steps"},
    {GENERATE, "{" I ",\"max_tokens\":-1}", RNN_ERANGE, "max_tokens"},
    {GENERATE, "{" I ",\"max_tokens\":65537}", RNN_ERANGE, "max_tokens"},
    {GENERATE, "{" I ",\"max_tokens\":\"5\"}", RNN_ETYPE, "max_tokens"},
    {GENERATE, "{" I ",\"temperature\":-0.1}", RNN_ERANGE, "temperature"},
    {GENERATE, "{" I ",\"temperature\":100.5}", RNN_ERANGE, "temperature"},
    {GENERATE, "{" I ",\"temperature\":false}", RNN_ETYPE, "temperature"},
    {GENERATE, "{" I ",\"top_k\":-1}", RNN_ERANGE, "top_k"},
    {GENERATE, "{" I ",\"top_p\":0}", RNN_ERANGE, "top_p"},
    {GENERATE, "{" I ",\"top_p\":1e-300}", RNN_ERANGE, "top_p"},
    {GENERATE, "{" I ",\"top_p\":1.01}", RNN_ERANGE, "top_p"},
    {GENERATE, "{" I ",\"typical_p\":0}", RNN_ERANGE, "typical_p"},
    {GENERATE, "{" I ",\"min_p\":-0.1}", RNN_ERANGE, "min_p"},
    {GENERATE, "{" I ",\"min_p\":1.1}", RNN_ERANGE, "min_p"},
    {GENERATE, "{" I ",\"repetition_penalty\":0}", RNN_ERANGE, "repetition_penalty"},
    {GENERATE, "{" I ",\"presence_penalty\":101}", RNN_ERANGE, "presence_penalty"},
    {GENERATE, "{" I ",\"frequency_penalty\":-101}", RNN_ERANGE, "frequency_penalty"},
    {GENERATE, "{" I ",\"logit_bias\":[]}", RNN_ETYPE, "logit_bias"},
    {GENERATE, "{" I ",\"logit_bias\":{\"a\":true}}", RNN_ETYPE, "logit_bias"},
    {GENERATE, "{" I ",\"logit_bias\":{\"a\":null}}", RNN_ETYPE, "logit_bias"},
    {GENERATE, "{" I ",\"logit_bias\":{\"a\":1e5}}", RNN_ERANGE, "logit_bias"},
    {GENERATE, "{" I ",\"stop\":1}", RNN_ETYPE, "stop"},
    {GENERATE, "{" I ",\"stop\":[\"a\",1]}", RNN_ETYPE, "stop[1]"},
    {GENERATE, "{" I ",\"stop\":[\"a\",\"\"]}", RNN_ERANGE, "stop[1]"},
    {GENERATE, "{" I ",\"stop\":\"\"}", RNN_ERANGE, "stop"},
    {GENERATE,
     "{" I ",\"stop\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
     "\"a\",\"a\",\"a\",\"a\",\"a\"]}",
     RNN_ERANGE, "stop"},
    {GENERATE, "{" I ",\"seed\":-1}", RNN_ERANGE, "seed"},
    {GENERATE, "{" I ",\"seed\":9007199254740992}", RNN_ERANGE, "seed"},
    {GENERATE, "{" I ",\"seed\":1.5}", RNN_ETYPE, "seed"},
    {GENERATE, "{" I ",\"n\":0}", RNN_ERANGE, "n"},
    {GENERATE, "{" I ",\"n\":33}", RNN_ERANGE, "n"},
    {GENERATE, "{\"session\":\"s\",\"n\":2}", RNN_EFORMAT, "n"},
    {GENERATE, "{" I ",\"logprobs\":-1}", RNN_ERANGE, "logprobs"},
    {GENERATE, "{" I ",\"logprobs\":101}", RNN_ERANGE, "logprobs"},
    {GENERATE, "{" I ",\"logprobs\":true}", RNN_ETYPE, "logprobs"},
    {GENERATE, "{" I ",\"echo\":1}", RNN_ETYPE, "echo"},
    {GENERATE, "{" I ",\"stream\":\"true\"}", RNN_ETYPE, "stream"},
    /* score */
    {SCORE, "{" I ",\"top_k\":1}", RNN_EFORMAT, "top_k"},
    {SCORE, "{\"input\":\"\"}", RNN_EFORMAT, "input"},
    /* sessions */
    {SESSION, "{\"initial_state\":1}", RNN_ETYPE, "initial_state"},
    {SESSION, "{\"state\":{}}", RNN_ETYPE, "state"},
    {SESSION, "{\"state\":\"=?\"}", RNN_EFORMAT, "state"},
    {SESSION, "{\"state\":\"AAAA\",\"initial_state\":\"calm\"}", RNN_EFORMAT, "state"},
    {SESSION, "{\"name\":\"x\"}", RNN_EFORMAT, "name"},
    {SESSION, "{\"id\":\"\"}", RNN_EFORMAT, "id"},
    {SESSION, "{\"id\":\"a b\"}", RNN_EFORMAT, "id"},
    {SESSION, "{\"id\":7}", RNN_ETYPE, "id"},
    {SESSION, "{\"ttl_seconds\":0}", RNN_ERANGE, "ttl_seconds"},
    {SESSION, "{\"ttl_seconds\":1e15}", RNN_ERANGE, "ttl_seconds"},
    {SESSION, "{\"ttl_seconds\":\"1\"}", RNN_ETYPE, "ttl_seconds"},
    {FORK, "{\"count\":0}", RNN_ERANGE, "count"},
    {FORK, "{\"count\":1025}", RNN_ERANGE, "count"},
    {FORK, "{\"count\":\"2\"}", RNN_ETYPE, "count"},
    {FORK, "{\"n\":2}", RNN_EFORMAT, "n"},
    {FORK, "[]", RNN_ETYPE, ""},
    {SNAPSHOT, "{}", RNN_EFORMAT, "name"},
    {SNAPSHOT, "{\"name\":\"\"}", RNN_EFORMAT, "name"},
    {SNAPSHOT, "{\"name\":\"a b\"}", RNN_EFORMAT, "name"},
    {SNAPSHOT, "{\"name\":3}", RNN_ETYPE, "name"},
    {SNAPSHOT, "{\"name\":\"a\",\"replace\":1}", RNN_ETYPE, "replace"},
    {SNAPSHOT, "{\"name\":\"a\",\"to\":1}", RNN_EFORMAT, "to"},
    {BLEND, "{}", RNN_ETYPE, "sessions"},
    {BLEND, "{\"sessions\":[]}", RNN_ERANGE, "sessions"},
    {BLEND, "{\"sessions\":[1]}", RNN_ETYPE, "sessions[0]"},
    {BLEND, "{\"sessions\":[{\"id\":\"a\"}]}", RNN_EFORMAT, "sessions[0]"},
    {BLEND, "{\"sessions\":[{\"weight\":1}]}", RNN_EFORMAT, "sessions[0]"},
    {BLEND, "{\"sessions\":[{\"id\":\"a\",\"weight\":\"1\"}]}", RNN_ETYPE, "sessions[0].weight"},
    {BLEND, "{\"sessions\":[{\"id\":\"a\",\"weight\":1e9}]}", RNN_ERANGE, "sessions[0].weight"},
    {BLEND, "{\"sessions\":[{\"id\":\"a\",\"weight\":1,\"x\":1}]}", RNN_EFORMAT, "sessions[0].x"},
    {BLEND, "{\"sessions\":[{\"id\":\"a\",\"weight\":1}],\"id\":\"a b\"}", RNN_EFORMAT, "id"},
    {REWIND, "{}", RNN_EFORMAT, "to"},
    {REWIND, "{\"to\":\"a\",\"steps\":1}", RNN_EFORMAT, "to"},
    {REWIND, "{\"to\":\"a/b\"}", RNN_EFORMAT, "to"},
    {REWIND, "{\"steps\":-1}", RNN_ERANGE, "steps"},
    {REWIND, "{\"steps\":1.5}", RNN_ETYPE, "steps"},
    {REWIND, "{\"name\":\"a\"}", RNN_EFORMAT, "name"},
    /* text */
    {TOKENIZE, "{}", RNN_EFORMAT, "text"},
    {TOKENIZE, "{\"text\":\"a\",\"input\":\"a\"}", RNN_EFORMAT, "text"},
    {TOKENIZE, "{\"text\":[0]}", RNN_ETYPE, "text"},
    {TOKENIZE, "{\"input\":[0]}", RNN_ETYPE, "input"},
    {TOKENIZE, "{\"text\":\"a\",\"x\":0}", RNN_EFORMAT, "x"},
    {TOKENIZE, "{\"text\":\"a\",\"side\":0}", RNN_ETYPE, "side"},
    {TOKENIZE, "{\"text\":\"a\",\"side\":\"input\"}", RNN_EFORMAT, "side"},
    {DETOKENIZE, "{}", RNN_EFORMAT, "tokens"},
    {DETOKENIZE, "{\"tokens\":\"a\"}", RNN_ETYPE, "tokens"},
    {DETOKENIZE, "{\"tokens\":[0,\"a\"]}", RNN_ETYPE, "tokens[1]"},
    {DETOKENIZE, "{\"input\":[0.5]}", RNN_ETYPE, "input[0]"},
    {DETOKENIZE, "{\"tokens\":[0],\"text\":\"a\"}", RNN_EFORMAT, "text"},
    {DETOKENIZE, "{\"tokens\":[0],\"side\":\"both\"}", RNN_EFORMAT, "side"},
};

START_TEST(a_faulty_field_is_named)
{
    struct rnn_err err;
    int rc = read_body(refused[_i].endpoint, refused[_i].text, strlen(refused[_i].text), &err);

    ck_assert_msg(rc == refused[_i].code, "%s: want %s, got %s (%s)", refused[_i].text,
                  rnn_error_name(refused[_i].code), rnn_error_name(rc), err.text);
    if (refused[_i].param)
        ck_assert_str_eq(err.param, refused[_i].param);
    ck_assert_uint_gt(strlen(err.text), 0);
}
END_TEST

/* ---- What is read ---- */

static const char whole_generate[] =
    "{\"model\":\"m\",\"session\":\"s\",\"input\":\"ab\",\"commit\":false,\"if_busy\":\"reject\","
    "\"expect_position\":12,\"deadline_ms\":500,\"max_tokens\":7,\"temperature\":0.5,\"top_k\":3,"
    "\"top_p\":0.25,\"min_p\":0.125,\"typical_p\":0.75,\"repetition_penalty\":1.5,"
    "\"presence_penalty\":-2,\"frequency_penalty\":2,\"logit_bias\":{\"a\":-4.5,\"3\":false},"
    "\"stop\":[\"x\",\"yz\"],\"seed\":9007199254740991,\"n\":4,\"logprobs\":0,\"echo\":true,"
    "\"stream\":true}";

START_TEST(every_field_of_generate_arrives)
{
    struct generate_request g;
    struct rnn_err err = {0};

    ck_assert_msg(generate_read(&g, whole_generate, strlen(whole_generate), config, &err) == 0,
                  "%s", err.text);
    ck_assert_str_eq(g.common.model, "m");
    ck_assert_str_eq(g.common.session, "s");
    ck_assert(!g.common.commit && g.common.reject_busy && g.common.has_expect_position);
    ck_assert_uint_eq(g.common.expect_position, 12);
    ck_assert_int_eq(g.common.deadline_ms, 500);
    ck_assert_str_eq(g.common.inputs.items[0].text, "ab");
    ck_assert_uint_eq(g.max_tokens, 7);
    ck_assert(g.sampling.temperature == 0.5f && g.sampling.top_k == 3);
    ck_assert(g.sampling.top_p == 0.25f && g.sampling.min_p == 0.125f);
    ck_assert(g.sampling.typical_p == 0.75f && g.sampling.repetition_penalty == 1.5f);
    ck_assert(g.sampling.presence_penalty == -2 && g.sampling.frequency_penalty == 2);
    ck_assert_uint_eq(g.n_bias, 2);
    ck_assert(strcmp(g.bias[0].key, "a") == 0 && g.bias[0].bias == -4.5f && !g.bias[0].ban);
    ck_assert(strcmp(g.bias[1].key, "3") == 0 && g.bias[1].ban);
    ck_assert_uint_eq(g.n_stop, 2);
    ck_assert_str_eq(g.stop[1], "yz");
    ck_assert(g.has_seed && g.seed == 9007199254740991u);
    ck_assert(g.n == 4 && g.logprobs == 0 && g.echo && g.stream);
    generate_request_free(&g);
}
END_TEST

START_TEST(nulls_and_absence_leave_the_defaults)
{
    static const char *const texts[] = {
        "{" I "}", "{" I ",\"max_tokens\":null,\"temperature\":null,\"top_p\":null,\"seed\":null,"
                   "\"n\":null,\"logprobs\":null,\"stop\":null,\"logit_bias\":null,\"commit\":null,"
                   "\"session\":null,\"inputs\":null,\"stream\":null,\"expect_position\":null}"};

    for (size_t i = 0; i < 2; i++) {
        struct generate_request g;
        struct rnn_err err = {0};

        ck_assert_msg(generate_read(&g, texts[i], strlen(texts[i]), config, &err) == 0, "%s",
                      err.text);
        ck_assert(g.common.commit && !g.common.reject_busy && !g.common.has_expect_position);
        ck_assert(g.common.session[0] == '\0' && g.common.model[0] == '\0');
        ck_assert(g.max_tokens == 256 && g.n == 1 && g.logprobs == -1 && !g.has_seed);
        ck_assert(g.sampling.temperature == 1 && g.sampling.top_p == 1 && g.sampling.top_k == 0);
        ck_assert(g.n_stop == 0 && g.n_bias == 0 && !g.echo && !g.stream);
        generate_request_free(&g);
    }
}
END_TEST

START_TEST(predict_and_sessions_arrive)
{
    static const char text[] = "{\"inputs\":[\"a\",[1]],\"steps\":\"all\",\"top_k\":0,"
                               "\"return\":[\"hidden\",\"logits\",\"hidden\"]}";
    static const char session[] = "{\"model\":\"m\",\"id\":\"A-b_c.9\",\"ttl_seconds\":60}";
    struct predict_request p;
    struct session_request s;
    size_t count = 0;

    ck_assert_int_eq(predict_read(&p, text, strlen(text), config, NULL), 0);
    ck_assert(p.steps == PREDICT_STEPS_ALL && p.top_k == 0 && p.common.inputs.batch);
    ck_assert_uint_eq(p.returns, PREDICT_HIDDEN | PREDICT_LOGITS);
    predict_request_free(&p);
    ck_assert_int_eq(predict_read(&p, "{" I "}", strlen("{" I "}"), config, NULL), 0);
    ck_assert(p.steps == PREDICT_STEPS_MODEL && p.top_k == 5 && p.returns == 0);
    predict_request_free(&p);
    ck_assert_int_eq(session_request_read(&s, session, strlen(session), config, NULL), 0);
    ck_assert_str_eq(s.id, "A-b_c.9");
    ck_assert_int_eq(s.ttl_s, 60);
    ck_assert_int_eq(session_request_read(&s, NULL, 0, config, NULL), 0);
    ck_assert(s.id[0] == '\0' && s.ttl_s == 0);
    ck_assert_int_eq(fork_request_read(&count, NULL, 0, config, NULL), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(fork_request_read(&count, "{\"count\":9}", 11, config, NULL), 0);
    ck_assert_uint_eq(count, 9);
}
END_TEST

/* Whatever the place where a body is cut, it is refused and nothing leaks. */
START_TEST(a_cut_body_is_refused)
{
    for (size_t len = 0; len < strlen(whole_generate); len++) {
        char *copy = malloc(len ? len : 1); /* no byte behind: a reader over the end is seen */
        struct rnn_err err;

        memcpy(copy, whole_generate, len);
        ck_assert_int_eq(read_body(GENERATE, copy, len, &err), RNN_EFORMAT);
        free(copy);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/json");
    TCase *tests = tcase_create("json");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, a_faulty_field_is_named, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(tests, every_field_of_generate_arrives);
    tcase_add_test(tests, nulls_and_absence_leave_the_defaults);
    tcase_add_test(tests, predict_and_sessions_arrive);
    tcase_add_test(tests, a_cut_body_is_refused);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
