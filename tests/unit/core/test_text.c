/* Which tokenizer a text goes through: one for both sides, a source's and a target's, a target's
 * alone where frames go in, none at all.  The models here are texts only. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/model.h"
#include "core/tokenizer.h"
#include "models/vocab.h"

static struct rnn_model model;
static struct vocab vocab;

static void give(const char *text, enum rnn_input_kind input)
{
    memset(&model, 0, sizeof model);
    memset(&vocab, 0, sizeof vocab);
    if (text)
        ck_assert_int_eq(vocab_parse(&vocab, text, strlen(text), NULL), 0);
    model.texts.tokenizer = vocab.tokenizer;
    model.texts.source = vocab.source;
    model.info.input_kind = input;
}

static int encode(bool target, const char *text, uint32_t ids[4], struct rnn_err *err)
{
    struct rnn_encoder encoder = {0};
    size_t n = 0;
    int rc = (target ? rnn_encode_target : rnn_encode)(&model, &encoder, text, strlen(text), true,
                                                       ids, &n, err);

    return rc < 0 ? rc : (int)n;
}

/* Ids 0 and 1, joined; "" where there is no text. */
static const char *decode(bool source)
{
    static char out[32];
    struct rnn_decoder decoder = {0};
    size_t at = 0;

    for (uint32_t id = 0; id < 2; id++) {
        const char *piece = NULL;
        size_t len = (source ? rnn_decode_source : rnn_decode)(&model, &decoder, id, &piece);

        ck_assert_ptr_nonnull(piece);
        memcpy(out + at, piece, len);
        at += len;
    }
    out[at] = '\0';
    return out;
}

#define ONE  "{\"kind\":\"word\",\"tokens\":[\"to\",\"be\"]}"
#define PAIR "{\"kind\":\"char to symbol\",\"source\":[\"b\",\"a\"],\"target\":[\"K\",\"T\"]}"

START_TEST(one_vocabulary_is_both_sides)
{
    uint32_t ids[4];
    size_t len;

    give(ONE, RNN_INPUT_EMBEDDING);
    for (int side = 0; side < 2; side++) {
        ck_assert_int_eq(encode(side, "be to", ids, NULL), 2);
        ck_assert(ids[0] == 1 && ids[1] == 0);
        ck_assert_str_eq(decode(side), "to be");
    }
    ck_assert_str_eq(rnn_token_text(&model, 1, &len), "be");
    ck_assert_int_eq(rnn_token_id(&model, "be", 2), 1);
    vocab_free(&vocab);
}
END_TEST

START_TEST(each_side_has_its_own)
{
    uint32_t ids[4];
    struct rnn_err err = {0};
    size_t len;

    give(PAIR, RNN_INPUT_ONEHOT);
    ck_assert_int_eq(encode(false, "aab", ids, NULL), 3);
    ck_assert_int_eq(encode(true, "T K", ids, NULL), 2);
    ck_assert(ids[0] == 1 && ids[1] == 0);
    ck_assert_int_eq(encode(false, "K", ids, &err), RNN_ECHAR);
    ck_assert_int_eq(encode(true, "a", ids, &err), RNN_ECHAR);
    ck_assert_str_eq(decode(false), "K T");
    ck_assert_str_eq(decode(true), "ba");
    ck_assert_str_eq(rnn_token_text(&model, 1, &len), "T");
    ck_assert_int_eq(rnn_token_id(&model, "T", 1), 1);
    ck_assert_int_eq(rnn_token_id(&model, "a", 1), -1);
    vocab_free(&vocab);
}
END_TEST

START_TEST(frames_are_no_text)
{
    uint32_t ids[4];
    struct rnn_err err = {0};

    give(ONE, RNN_INPUT_DENSE);
    ck_assert_int_eq(encode(false, "to", ids, &err), RNN_EUNSUPPORTED);
    ck_assert_str_eq(err.text, "the model takes frames, not text");
    ck_assert_int_eq(encode(true, "to", ids, &err), 1);
    ck_assert_str_eq(decode(false), "to be");
    ck_assert_str_eq(decode(true), "");
    vocab_free(&vocab);
    give(NULL, RNN_INPUT_DENSE);
    ck_assert_int_eq(encode(false, "to", ids, &err), RNN_EUNSUPPORTED);
}
END_TEST

START_TEST(without_a_vocabulary_there_are_only_ids)
{
    uint32_t ids[4];
    struct rnn_err err = {0};
    size_t len;

    give(NULL, RNN_INPUT_ONEHOT);
    for (int side = 0; side < 2; side++) {
        ck_assert_int_eq(encode(side, "to", ids, &err), RNN_EUNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(err.text, "token ids"));
        ck_assert_str_eq(decode(side), "");
    }
    ck_assert_ptr_null(rnn_token_text(&model, 0, &len));
    ck_assert_int_eq(rnn_token_id(&model, "to", 2), -1);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {one_vocabulary_is_both_sides, each_side_has_its_own, frames_are_no_text,
                            without_a_vocabulary_there_are_only_ids};
    Suite *suite = suite_create("unit/core/text");
    TCase *tcase = tcase_create("text");
    SRunner *runner = srunner_create(suite);
    int failed;

    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
