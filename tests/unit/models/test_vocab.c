/* vocab.json: lists, special ids and labels are read, faults are named with their place, and a
 * vocabulary that does not fit its model is refused. */
#include "models/vocab.h"

#include "core/format.h"
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

static size_t encode(const struct rnn_tokenizer *tokenizer, const char *text, uint32_t *ids)
{
    struct rnn_encoder encoder = {0};
    size_t n = 0;

    ck_assert_int_eq(
        tokenizer->ops->encode(tokenizer, &encoder, text, strlen(text), true, ids, &n, NULL), 0);
    return n;
}

START_TEST(rules_reach_the_tokenizer)
{
    struct vocab vocab;
    uint32_t ids[16];

    ck_assert_int_eq(parse("{\"kind\":\"word\",\"tokens\":[\"a\",\".\"],\"lowercase\":true,"
                           "\"split\":\"words\"}",
                           &vocab, NULL),
                     0);
    ck_assert_str_eq(vocab.tokenizer->ops->name, "word");
    ck_assert_uint_eq(encode(vocab.tokenizer, "A.a", ids), 3);
    vocab_free(&vocab);
    ck_assert_int_eq(parse("{\"kind\":\"word\",\"tokens\":[\"A.a\",\".\"],\"lowercase\":false,"
                           "\"split\":\"whitespace\"}",
                           &vocab, NULL),
                     0);
    ck_assert_uint_eq(encode(vocab.tokenizer, "A.a", ids), 1);
    vocab_free(&vocab);
    ck_assert_int_eq(parse("{\"kind\":\"char\",\"tokens\":[\"a\",\"\xC3\xA9\"],\"lowercase\":true}",
                           &vocab, NULL),
                     0);
    ck_assert_uint_eq(encode(vocab.tokenizer, "aA\xC3\x89", ids), 3);
    ck_assert_uint_eq(ids[2], 1);
    vocab_free(&vocab);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(parse(i ? "{\"kind\":\"symbol\",\"tokens\":[\"AE1\"]}"
                                 : "{\"kind\":\"phoneme\",\"tokens\":[\"AE1\"]}",
                               &vocab, NULL),
                         0);
        ck_assert_str_eq(vocab.tokenizer->ops->name, "symbol");
        vocab_free(&vocab);
    }
}
END_TEST

#define LISTS "\"source\":[\"<u>\",\"</s>\",\"c\"],\"target\":[\"<s>\",\"</s>\",\"K\",\"T\"]"

START_TEST(two_sides_are_read)
{
    struct vocab vocab;
    uint32_t ids[16];

    ck_assert_int_eq(parse("{\"kind\":\"char to phoneme\"," LISTS
                           ",\"bos\":0,\"eos\":1,\"source_unk\":0,"
                           "\"source_eos\":1,\"lowercase\":true}",
                           &vocab, NULL),
                     0);
    ck_assert_str_eq(vocab.tokenizer->ops->name, "symbol");
    ck_assert_str_eq(vocab.source->ops->name, "char");
    ck_assert_uint_eq(vocab.tokenizer->n_tokens, 4);
    ck_assert_uint_eq(vocab.source->n_tokens, 3);
    ck_assert(vocab.specials.unk == -1 && vocab.specials.bos == 0 && vocab.specials.eos == 1);
    ck_assert(vocab.source_specials.unk == 0 && vocab.source_specials.bos == -1 &&
              vocab.source_specials.eos == 1);
    ck_assert_uint_eq(encode(vocab.source, "cCx", ids), 3);
    ck_assert(ids[0] == 2 && ids[1] == 2 && ids[2] == 0);
    ck_assert_uint_eq(encode(vocab.tokenizer, "K T", ids), 2); /* no lower case on this side */
    vocab_free(&vocab);

    ck_assert_int_eq(parse("{\"kind\":\"word to word\"," LISTS ",\"unk\":3,\"source_unk\":0,"
                           "\"split\":\"words\",\"target_split\":\"whitespace\","
                           "\"target_lowercase\":true}",
                           &vocab, NULL),
                     0);
    ck_assert_uint_eq(encode(vocab.source, "c.c", ids), 3);
    ck_assert_uint_eq(encode(vocab.tokenizer, "c.c K", ids), 2);
    ck_assert_uint_eq(ids[1], 3); /* "k" is no entry */
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
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"merges\":[]}", RNN_EFORMAT, "merges"},
        {"{\"kind\":\"bpe\",\"tokens\":[\"a\"]}", RNN_EUNSUPPORTED,
         "there are: char, word, symbol"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"lowercase\":1}", RNN_ETYPE, "lowercase"},
        {"{\"kind\":\"char\",\"tokens\":[\"a\"],\"split\":\"words\"}", RNN_ESHAPE,
         "split: not for kind 'char'"},
        {"{\"kind\":\"symbol\",\"tokens\":[\"a\"],\"split\":\"words\"}", RNN_ESHAPE, "split"},
        {"{\"kind\":\"word\",\"tokens\":[\"a\"],\"split\":\"lines\"}", RNN_EUNSUPPORTED,
         "'whitespace' or 'words', found 'lines'"},
        {"{\"kind\":\"word\",\"tokens\":[\"a\"],\"split\":7}", RNN_ETYPE, "split"},
        {"{\"kind\":\"word\",\"tokens\":[\"a\"],\"target_split\":\"words\"}", RNN_EFORMAT,
         "target_split"},
        {"{\"labels\":[\"x\"],\"lowercase\":true}", RNN_EFORMAT, "lowercase"},
        {"{" LISTS "}", RNN_EFORMAT, "kind is missing"},
        {"{\"kind\":\"char\"," LISTS "}", RNN_EFORMAT, "'A to B'"},
        {"{\"kind\":\"char to bpe\"," LISTS "}", RNN_EUNSUPPORTED, "'bpe'"},
        {"{\"kind\":\"bpe to char\"," LISTS "}", RNN_EUNSUPPORTED, "'bpe'"},
        {"{\"kind\":\"char to char\",\"tokens\":[\"a\"]}", RNN_EUNSUPPORTED, "'char to char'"},
        {"{\"kind\":\"char to char\",\"tokens\":[\"a\"]," LISTS "}", RNN_EFORMAT, "tokens"},
        {"{\"kind\":\"char to char\",\"labels\":[\"a\"]," LISTS "}", RNN_EFORMAT, "labels"},
        {"{\"kind\":\"char to char\",\"source\":[\"a\"]}", RNN_EFORMAT, "target is missing"},
        {"{\"kind\":\"char to char\",\"target\":[\"a\"]}", RNN_EFORMAT, "source is missing"},
        {"{\"kind\":\"char to char\",\"source\":[\"a\",7],\"target\":[\"a\"]}", RNN_ETYPE,
         "source[1]"},
        {"{\"kind\":\"char to char\",\"source\":[\"a\"],\"target\":[\"a\",\"a\"]}", RNN_EFORMAT,
         "target[1]"},
        {"{\"kind\":\"char to char\"," LISTS ",\"source_unk\":3}", RNN_ERANGE, "source_unk"},
        {"{\"kind\":\"char to char\"," LISTS ",\"source_bos\":0}", RNN_EFORMAT, "source_bos"},
        {"{\"kind\":\"char to char\"," LISTS ",\"eos\":4}", RNN_ERANGE, "eos"},
        {"{\"kind\":\"char to char\"," LISTS ",\"source_unk\":1,\"source_eos\":1}", RNN_ESHAPE,
         "source_unk: the same id as source_eos"},
        {"{\"kind\":\"char to word\"," LISTS ",\"split\":\"words\"}", RNN_ESHAPE, "split"}};

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

/* An encoder of `source` ids, 0: of frames, and a decoder of `target` ids. */
static struct rnn_spec pair_of(size_t source, size_t target)
{
    struct rnn_spec spec = model_of(RNN_INPUT_ONEHOT, target, RNN_HEAD_SOFTMAX);

    spec.topology = RNN_SEQ2SEQ;
    spec.n_stacks = 2;
    spec.source_eos = -1;
    spec.stacks[1] = spec.stacks[0];
    spec.stacks[0].input_size = target;
    strcpy(spec.stacks[0].prefix, "decoder.");
    strcpy(spec.stacks[1].prefix, "encoder.");
    spec.stacks[1].input_kind = source ? RNN_INPUT_ONEHOT : RNN_INPUT_DENSE;
    spec.stacks[1].input_size = source ? source : 5;
    return spec;
}

static void refused(const char *text, const struct rnn_spec *spec, const char *words)
{
    struct vocab vocab;
    struct rnn_err err = {0};

    ck_assert_int_eq(parse(text, &vocab, NULL), 0);
    if (vocab_check(&vocab, spec, &err) != RNN_ESHAPE || !strstr(err.text, words))
        ck_abort_msg("%s: '%s', want '%s'", text, err.text, words);
    vocab_free(&vocab);
}

START_TEST(both_sides_must_fit)
{
    const char *two = "{\"kind\":\"char to symbol\"," LISTS ",\"bos\":0,\"source_eos\":1}";
    const char *one = "{\"kind\":\"char\",\"tokens\":[\"a\",\"b\",\"c\"]}";
    struct rnn_spec spec = pair_of(3, 4);

    ck_assert_int_eq(check(two, &spec), 0);
    spec.source_eos = 1;
    ck_assert_int_eq(check(two, &spec), 0);
    spec.source_eos = 2;
    refused(two, &spec, "source_eos: 1 here, 2 in config.json");
    spec.source_eos = -1;
    spec.bos = 1;
    refused(two, &spec, "bos: 0 here, 1 in config.json");
    spec = pair_of(2, 4);
    refused(two, &spec, "source: 3 of them, config.json's encoder.input.size is 2");
    spec = pair_of(3, 3);
    refused(two, &spec, "target: 4 of them, config.json's decoder.input.size is 3");
    spec = pair_of(3, 4);
    spec.stacks[0].head.size = 5;
    refused(two, &spec, "target: 4 of them, config.json's decoder.head.size is 5");
    spec = pair_of(0, 4);
    refused(two, &spec, "source: 3 of them for a part that reads frames");
    spec = model_of(RNN_INPUT_ONEHOT, 3, RNN_HEAD_SOFTMAX);
    refused(two, &spec, "kind: source and target");

    spec = pair_of(3, 3);
    ck_assert_int_eq(check(one, &spec), 0);
    spec = pair_of(0, 3);
    ck_assert_int_eq(check(one, &spec), 0);
    spec = pair_of(4, 3);
    refused(one, &spec, "tokens: 3 of them, config.json's encoder.input.size is 4");
}
END_TEST

START_TEST(what_it_has_is_given_away)
{
    struct rnn_spec spec = pair_of(3, 4);
    struct rnn_texts texts = {0};
    struct vocab vocab;

    spec.eos = 1;
    ck_assert_int_eq(parse("{\"kind\":\"char to symbol\"," LISTS
                           ",\"bos\":0,\"unk\":3,\"source_eos\":1}",
                           &vocab, NULL),
                     0);
    vocab_give(&vocab, &texts, &spec);
    ck_assert(!vocab.tokenizer && !vocab.source && !vocab.labels);
    ck_assert(spec.bos == 0 && spec.eos == 1 && spec.unk == 3 && spec.source_eos == 1);
    ck_assert_str_eq(texts.tokenizer->ops->name, "symbol");
    ck_assert_str_eq(texts.source->ops->name, "char");
    texts.tokenizer->ops->free(texts.tokenizer);
    texts.source->ops->free(texts.source);
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
    const TTest *tests[] = {parts_are_read,
                            rules_reach_the_tokenizer,
                            two_sides_are_read,
                            faults_are_named,
                            it_must_fit_the_model,
                            both_sides_must_fit,
                            what_it_has_is_given_away,
                            large_vocabularies_are_cheap,
                            NULL};

    return run_tests("models/vocab", tests);
}
