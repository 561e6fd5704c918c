/* The input of a request: what is read as what, which item is named where it is wrong, and what a
 * model then takes.  Models are the shipped ones' shapes: a fake of the engine's three calls. */
#include <check.h>
#include <string.h>

#include "server/input.h"
#include "server/reply.h"

/* ---- A fake engine: characters 'a'..'e' are ids 0..4 ---- */

static struct rnn_model_info info;

const struct rnn_model_info *rnn_model_info(const struct rnn_model *model)
{
    (void)model;
    return &info;
}

int rnn_encode(const struct rnn_model *model, struct rnn_encoder *encoder, const char *text,
               size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    (void)model;
    (void)encoder;
    ck_assert(last);
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 'a' || text[i] > 'e')
            return rnn_fail_at(err, RNN_ECHAR, NULL, (int64_t)i, "no '%c' at byte %zu", text[i], i);
        ids[i] = (uint32_t)(text[i] - 'a');
    }
    *n_ids = len;
    return 0;
}

int rnn_encode_target(const struct rnn_model *model, struct rnn_encoder *encoder, const char *text,
                      size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    return rnn_encode(model, encoder, text, len, last, ids, n_ids, err);
}

static const struct config config = {.input_steps_max = 6, .inputs_max = 3, .json_depth_max = 32};
static struct input_list list;
static struct rnn_err err;

static int read_body(const char *text, bool candidates)
{
    struct cJSON *json = NULL;
    int rc;

    memset(&err, 0, sizeof err);
    ck_assert_int_eq(json_parse(&json, text, strlen(text), 8, NULL), 0);
    rc = candidates ? input_read_candidates(&list, json, &config, &err)
                    : input_read(&list, "input", json, &config, &err);
    json_free(json);
    if (rc < 0)
        ck_assert_uint_eq(list.n, 0); /* empty on failure */
    return rc;
}

static int read_text(const char *text)
{
    return read_body(text, false);
}

static void token_model(void)
{
    info = (struct rnn_model_info){
        .tokenizer = "char", .input_kind = RNN_INPUT_ONEHOT, .input_size = 5};
}

static void frame_model(size_t width)
{
    info = (struct rnn_model_info){.input_kind = RNN_INPUT_DENSE, .input_size = width};
}

/* ---- Reading ---- */

START_TEST(each_kind_is_told_by_its_form)
{
    ck_assert_int_eq(read_text("{\"input\":\"abc\"}"), 0);
    ck_assert_int_eq(list.items[0].kind, INPUT_TEXT);
    ck_assert_uint_eq(list.items[0].text_len, 3);
    input_list_free(&list);
    ck_assert_int_eq(read_text("{\"input\":[0,4,2.0]}"), 0);
    ck_assert_int_eq(list.items[0].kind, INPUT_TOKENS);
    ck_assert_uint_eq(list.items[0].n, 3);
    ck_assert_uint_eq(list.items[0].tokens[1], 4);
    input_list_free(&list);
    ck_assert_int_eq(read_text("{\"input\":[[0.5,1],[2,-3e-3]]}"), 0);
    ck_assert_int_eq(list.items[0].kind, INPUT_FRAMES);
    ck_assert_uint_eq(list.items[0].n, 2);
    ck_assert_uint_eq(list.items[0].width, 2);
    ck_assert(list.items[0].frames[3] == -3e-3f);
    input_list_free(&list);
}
END_TEST

START_TEST(nothing_is_an_empty_input)
{
    static const char *const texts[] = {"{}", "{\"input\":null}", "{\"input\":\"\"}",
                                        "{\"input\":[]}"};

    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(read_text(texts[i]), 0);
        ck_assert_uint_eq(list.n, 1);
        ck_assert_int_eq(list.items[0].kind, INPUT_EMPTY);
        ck_assert(!list.batch);
        input_list_free(&list);
    }
}
END_TEST

START_TEST(candidates_are_a_list_of_their_own)
{
    char path[32];

    ck_assert_int_eq(read_body("{\"input\":\"a\"}", true), 0);
    ck_assert(!list.given && list.n == 1);
    input_list_free(&list);
    ck_assert_int_eq(read_body("{\"candidates\":[\"ab\",[],[4,1]]}", true), 0);
    ck_assert(list.given && list.n == 3);
    ck_assert_int_eq(list.items[0].kind, INPUT_TEXT);
    ck_assert_int_eq(list.items[1].kind, INPUT_EMPTY); /* a model may know what to do with it */
    ck_assert_int_eq(list.items[2].kind, INPUT_TOKENS);
    input_path(&list, 2, path, sizeof path);
    ck_assert_str_eq(path, "candidates[2]");
    input_list_free(&list);
    ck_assert_int_eq(read_body("{\"candidates\":[\"aaa\",[0,0,0,0]]}", true), RNN_ELIMIT);
    ck_assert_str_eq(err.param, "candidates[1]");
}
END_TEST

static const struct {
    const char *text;
    int code;
    const char *param;
} refused[] = {
    {"{\"input\":5}", RNN_ETYPE, "input"},
    {"{\"input\":true}", RNN_ETYPE, "input"},
    {"{\"input\":{}}", RNN_ETYPE, "input"},
    {"{\"input\":[\"a\"]}", RNN_ETYPE, "input[0]"},
    {"{\"input\":[null]}", RNN_ETYPE, "input[0]"},
    {"{\"input\":[1,\"a\"]}", RNN_ETYPE, "input[1]"},
    {"{\"input\":[1,0.5]}", RNN_ETYPE, "input[1]"},
    {"{\"input\":[1,[2]]}", RNN_ETYPE, "input[1]"},
    {"{\"input\":[[1],2]}", RNN_ETYPE, "input[1]"},
    {"{\"input\":[[1],[2,null]]}", RNN_ETYPE, "input[1][1]"},
    {"{\"input\":[[1],[2],[[3]]]}", RNN_ETYPE, "input[2][0]"},
    {"{\"input\":[[1,1e39]]}", RNN_ERANGE, "input[0][1]"},
    {"{\"input\":[[-3.5e38]]}", RNN_ERANGE, "input[0][0]"},
    {"{\"input\":[0,0,0,0,0,0,0]}", RNN_ELIMIT, "input"},
    {"{\"input\":\"aaaaaaa\"}", RNN_ELIMIT, "input"},
    {"{\"inputs\":[]}", RNN_ERANGE, "inputs"},
    {"{\"inputs\":\"a\"}", RNN_ETYPE, "inputs"},
    {"{\"inputs\":[\"a\"],\"input\":\"a\"}", RNN_EFORMAT, "inputs"},
    {"{\"inputs\":[\"a\",\"\"]}", RNN_ERANGE, "inputs[1]"},
    {"{\"inputs\":[\"a\",7]}", RNN_ETYPE, "inputs[1]"},
    {"{\"inputs\":[[0],[[1],[false]]]}", RNN_ETYPE, "inputs[1][1][0]"},
    {"{\"inputs\":[\"a\",\"a\",\"a\",\"a\"]}", RNN_ELIMIT, "inputs"},
    {"{\"inputs\":[\"aaa\",[0,0,0,0]]}", RNN_ELIMIT, "inputs[1]"},
};

START_TEST(a_fault_is_named_by_its_path)
{
    ck_assert_int_eq(read_text(refused[_i].text), refused[_i].code);
    ck_assert_str_eq(err.param, refused[_i].param);
    ck_assert_int_eq(strncmp(err.text, refused[_i].param, strlen(refused[_i].param)), 0);
}
END_TEST

START_TEST(characters_count_not_bytes)
{
    ck_assert_int_eq(read_text("{\"input\":\"\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\"}"), 0);
    input_list_free(&list);
}
END_TEST

/* A narrow first frame before wide ones, and the other way, may not be multiplied out. */
START_TEST(uneven_frames_cost_what_they_hold)
{
    ck_assert_int_eq(read_text("{\"input\":[[1,2,3],[1],[1,2,3,4]]}"), 0);
    ck_assert_uint_eq(list.items[0].odd_at, 1);
    ck_assert_uint_eq(list.items[0].odd_width, 1);
    input_list_free(&list);
    ck_assert_int_eq(read_text("{\"input\":[[],[1]]}"), 0);
    ck_assert_uint_eq(list.items[0].odd_at, 1);
    input_list_free(&list);
}
END_TEST

/* ---- Fitting ---- */

static int resolve(const char *text, size_t i)
{
    int rc;

    ck_assert_int_eq(read_text(text), 0);
    rc = input_resolve(&list, i, NULL, &err);
    return rc;
}

START_TEST(text_becomes_ids)
{
    token_model();
    ck_assert_int_eq(resolve("{\"inputs\":[\"a\",\"bed\"]}", 1), 0);
    ck_assert_int_eq(list.items[1].kind, INPUT_TOKENS);
    ck_assert_uint_eq(list.items[1].n, 3);
    ck_assert_uint_eq(list.items[1].tokens[1], 4);
    input_list_free(&list);
}
END_TEST

static const struct {
    const char *text;
    size_t frame_width; /* 0: the model of tokens */
    size_t item;
    int code;
    const char *param;
} unfit[] = {
    {"{\"input\":\"abz\"}", 0, 0, RNN_ECHAR, "input"},
    {"{\"inputs\":[\"a\",\"z\"]}", 0, 1, RNN_ECHAR, "inputs[1]"},
    {"{\"input\":[0,5]}", 0, 0, REPLY_EINPUT, "input[1]"},
    {"{\"input\":[0,-1]}", 0, 0, REPLY_EINPUT, "input[1]"},
    {"{\"input\":[1e300]}", 0, 0, REPLY_EINPUT, "input[0]"},
    {"{\"input\":[4294967296]}", 0, 0, REPLY_EINPUT, "input[0]"},
    {"{\"inputs\":[[0],[0,0,9]]}", 0, 1, REPLY_EINPUT, "inputs[1][2]"},
    {"{\"input\":[[1]]}", 0, 0, REPLY_EINPUT, "input"},
    {"{\"input\":\"abc\"}", 2, 0, REPLY_EINPUT, "input"},
    {"{\"input\":[1,2]}", 2, 0, REPLY_EINPUT, "input"},
    {"{\"input\":[[1,2],[1]]}", 2, 0, RNN_ESHAPE, "input[1]"},
    {"{\"input\":[[1],[1,2]]}", 2, 0, RNN_ESHAPE, "input[0]"},
    {"{\"input\":[[1,2,3]]}", 2, 0, RNN_ESHAPE, "input[0]"},
    {"{\"input\":[[1,2],[1,2],[]]}", 2, 0, RNN_ESHAPE, "input[2]"},
};

START_TEST(what_a_model_cannot_take_is_named)
{
    if (unfit[_i].frame_width > 0)
        frame_model(unfit[_i].frame_width);
    else
        token_model();
    ck_assert_int_eq(resolve(unfit[_i].text, unfit[_i].item), unfit[_i].code);
    ck_assert_str_eq(err.param, unfit[_i].param);
    ck_assert_int_eq(strncmp(err.text, unfit[_i].param, strlen(unfit[_i].param)), 0);
    input_list_free(&list);
}
END_TEST

START_TEST(what_fits_passes)
{
    frame_model(2);
    ck_assert_int_eq(resolve("{\"input\":[[1,2],[3,4]]}", 0), 0);
    input_list_free(&list);
    token_model();
    ck_assert_int_eq(resolve("{\"input\":[0,4]}", 0), 0);
    input_list_free(&list);
    info.tokenizer = NULL;
    ck_assert_int_eq(resolve("{\"input\":[0,4]}", 0), 0);
    input_list_free(&list);
    ck_assert_int_eq(resolve("{\"input\":\"abc\"}", 0), REPLY_EINPUT);
    input_list_free(&list);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/input");
    TCase *tests = tcase_create("input");
    SRunner *runner;
    int failed;

    tcase_add_test(tests, each_kind_is_told_by_its_form);
    tcase_add_test(tests, nothing_is_an_empty_input);
    tcase_add_test(tests, candidates_are_a_list_of_their_own);
    tcase_add_loop_test(tests, a_fault_is_named_by_its_path, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(tests, characters_count_not_bytes);
    tcase_add_test(tests, uneven_frames_cost_what_they_hold);
    tcase_add_test(tests, text_becomes_ids);
    tcase_add_loop_test(tests, what_a_model_cannot_take_is_named, 0,
                        sizeof unfit / sizeof unfit[0]);
    tcase_add_test(tests, what_fits_passes);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
