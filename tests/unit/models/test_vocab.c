/* vocab.json: lists, special ids and labels are read, faults are named with their place, and a
 * vocabulary that does not fit its model is refused. */
#include "models/vocab.h"

#include "core/spec.h"
#include "core/tokenizer.h"
#include "folder.h"

static int parse(const char *text, struct vocab *vocab, struct rnn_err *err)
{
    return vocab_parse(vocab, text, strlen(text), err);
}

START_TEST(parts_are_read)
{
    struct vocab vocab;

    ck_assert_int_eq(parse("{\"kind\":\"char\",\"tokens\":[\"<unk>\",\"a\",\"b\"],\"unk\":0,"
                           "\"labels\":[\"no\",\"yes\"]}",
                           &vocab, NULL),
                     0);
    ck_assert_str_eq(vocab.tokenizer->ops->name, "char");
    ck_assert_uint_eq(vocab.tokenizer->n_tokens, 3);
    ck_assert_int_eq(vocab.specials.unk, 0);
    ck_assert_int_eq(vocab.specials.bos, -1);
    ck_assert_int_eq(vocab.specials.eos, -1);
    ck_assert_uint_eq(vocab.n_labels, 2);
    ck_assert_str_eq(vocab.labels[0], "no");
    ck_assert_str_eq(vocab.labels[1], "yes");
    ck_assert_ptr_null(vocab.labels[2]);
    vocab_free(&vocab);
    ck_assert_int_eq(parse("{\"labels\":[\"x\"]}", &vocab, NULL), 0);
    ck_assert_ptr_null(vocab.tokenizer);
    vocab_free(&vocab);
}
END_TEST

START_TEST(faults_are_named)
{
    static const struct {
        const char *text;
        int code;
        const char *words;
    } bad[] = {
        {"[]", RNN_ETYPE, "object"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"]", RNN_EFORMAT, "JSON"},
        {"{}", RNN_EFORMAT, "neither tokens nor labels"},
        {"{\"kind\":\"char\"}", RNN_EFORMAT, "neither tokens nor labels"},
        {"{\"tokens\":[\"a\"]}", RNN_EFORMAT, "kind is missing"},
        {"{\"kind\":\"bpe\",\"tokens\":[\"a\"]}", RNN_EUNSUPPORTED, "'bpe'"},
        {"{\"kind\":\"char\",\"tokens\":\"ab\"}", RNN_ETYPE, "tokens"},
        {"{\"kind\":\"char\",\"tokens\":[]}", RNN_EFORMAT, "empty list"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\",1]}", RNN_ETYPE, "tokens[1]"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\",\"\"]}", RNN_EFORMAT, "tokens[1]"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\",\"b\",\"c\",\"a\"]}", RNN_EFORMAT,
         "tokens[3]: \"a\" stands at 0"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"unk\":1}", RNN_ERANGE, "unk"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"bos\":-1}", RNN_ERANGE, "bos"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"eos\":\"a\"}", RNN_ETYPE, "eos"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\",\"b\"],\"unk\":1,\"eos\":1}", RNN_ESHAPE, "unk"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"labels\":[\"x\",\"x\"]}", RNN_EFORMAT,
         "labels[1]"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"labels\":{}}", RNN_ETYPE, "labels"},
        {"{\"labels\":[\"x\"],\"unk\":0}", RNN_ERANGE, "unk"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"merges\":[]}", RNN_EFORMAT, "merges"}};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vocab vocab;
        struct rnn_err err = {0};
        int rc = parse(bad[i].text, &vocab, &err);

        if (rc != bad[i].code || !strstr(err.text, bad[i].words))
            ck_abort_msg("%s: %s '%s', want %s '%s'", bad[i].text, rnn_error_name(rc), err.text,
                         rnn_error_name(bad[i].code), bad[i].words);
    }
}
END_TEST

/* A model of three ids or numbers in, and `outputs` out. */
static struct rnn_spec model_of(enum rnn_input_kind input, size_t outputs,
                                enum rnn_head_activation activation)
{
    struct rnn_spec spec = {.n_stacks = 1, .unk = -1, .bos = -1, .eos = -1};

    spec.stacks[0] = (struct rnn_stack_spec){
        .input_kind = input,
        .input_size = 3,
        .n_layers = 1,
        .layers = {{.hidden = 7, .directions = 1}},
        .head = {.present = outputs > 0, .size = outputs, .activation = activation}};
    return spec;
}

static int check(const char *text, const struct rnn_spec *spec)
{
    struct vocab vocab;
    struct rnn_err err = {0};
    int rc;

    ck_assert_int_eq(parse(text, &vocab, NULL), 0);
    rc = vocab_check(&vocab, spec, &err);
    ck_assert((rc < 0) == (err.text[0] != '\0'));
    vocab_free(&vocab);
    return rc;
}

START_TEST(it_must_fit_the_model)
{
    const char *three = "{\"kind\":\"char\",\"tokens\":[\"a\",\"b\",\"c\"]}";
    const char *two = "{\"kind\":\"char\",\"tokens\":[\"a\",\"b\"]}";
    const char *labelled = "{\"kind\":\"char\",\"tokens\":[\"a\",\"b\",\"c\"],\"labels\":[\"x\","
                           "\"y\"]}";
    const char *labels = "{\"labels\":[\"x\",\"y\"]}";
    struct rnn_spec language = model_of(RNN_INPUT_ONEHOT, 3, RNN_HEAD_SOFTMAX);
    struct rnn_spec tagger = model_of(RNN_INPUT_ONEHOT, 2, RNN_HEAD_SOFTMAX);
    struct rnn_spec sigmoid = model_of(RNN_INPUT_ONEHOT, 2, RNN_HEAD_SIGMOID);
    struct rnn_spec frames = model_of(RNN_INPUT_DENSE, 2, RNN_HEAD_SOFTMAX);
    struct rnn_spec headless = model_of(RNN_INPUT_ONEHOT, 0, RNN_HEAD_NONE);

    ck_assert_int_eq(check(three, &language), 0);
    ck_assert_int_eq(check(two, &language), RNN_ESHAPE);
    ck_assert_int_eq(check(labelled, &language), RNN_ESHAPE);
    ck_assert_int_eq(check(three, &tagger), RNN_ESHAPE);
    ck_assert_int_eq(check(labelled, &tagger), 0);
    ck_assert_int_eq(check(three, &sigmoid), 0);
    ck_assert_int_eq(check(three, &frames), RNN_ESHAPE);
    ck_assert_int_eq(check(labels, &frames), 0);
    ck_assert_int_eq(check(three, &headless), 0);
    ck_assert_int_eq(check(labels, &headless), RNN_ESHAPE);
    language.eos = 2;
    ck_assert_int_eq(
        check("{\"kind\":\"char\",\"tokens\":[\"a\",\"b\",\"c\"],\"eos\":2}", &language), 0);
    ck_assert_int_eq(
        check("{\"kind\":\"char\",\"tokens\":[\"a\",\"b\",\"c\"],\"eos\":1}", &language),
        RNN_ESHAPE);
}
END_TEST

/* A vocabulary of 300,000 entries, the last a duplicate: no quadratic search. */
START_TEST(large_vocabularies_are_cheap)
{
    enum { N = 300000 };
    char *text = malloc(N * 12 + 64), *at = text;
    struct vocab vocab;
    struct rnn_err err;
    size_t len;

    at += sprintf(at, "{\"kind\":\"char\",\"tokens\":[");
    for (int i = 0; i < N; i++)
        at += sprintf(at, "\"t%d\",", i);
    strcpy(at, "\"z\"]}");
    ck_assert_int_eq(parse(text, &vocab, NULL), 0);
    ck_assert_int_eq(vocab.tokenizer->ops->token_id(vocab.tokenizer, "t299999", 7), N - 1);
    ck_assert_str_eq(vocab.tokenizer->ops->token_text(vocab.tokenizer, 12345, &len), "t12345");
    vocab_free(&vocab);
    strcpy(at, "\"t5\"]}");
    ck_assert_int_eq(parse(text, &vocab, &err), RNN_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "tokens[300000]: \"t5\" stands at 5"));
    free(text);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {parts_are_read, faults_are_named, it_must_fit_the_model,
                            large_vocabularies_are_cheap, NULL};

    return run_tests("models/vocab", tests);
}
