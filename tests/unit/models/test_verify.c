/* Verify and inspect: right values pass, each kind of wrong value is found and named, faults of
 * golden.json are told from wrong values, and a faulty part does not hide the others. */
#include "models/inspect.h"
#include "models/verify.h"

#include <stdbool.h>

#include "folder.h"

/* One unit that adds: h' = max(0, x + h), logits = 2 h'; frames of one number. */
static void make_adder(struct folder *folder)
{
    const float ones[] = {1, 1, 2};

    folder_make(folder);
    folder_puts(folder, "config.json",
                "{\"schema\":\"rnnd-ref-1\",\"topology\":\"synced\",\"input\":{\"kind\":\"dense\","
                "\"size\":1},\"rnn\":{\"cell\":\"rnn_relu\",\"hidden_size\":1,\"num_layers\":1,"
                "\"bias\":false},\"head\":{\"size\":1,\"bias\":false,\"activation\":\"none\"}}");
    folder_tensors(
        folder,
        "{\"rnn.weight_ih_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]},"
        "\"rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[4,8]},"
        "\"head.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]}}",
        ones, sizeof ones);
}

/* One unit that remembers which of two letters it saw last: h' = max(0, id), logits = {0.5, h'}. */
static void make_repeater(struct folder *folder)
{
    const float numbers[] = {0, 1, 0, 0, 1, 0.5f, 0};

    folder_make(folder);
    folder_puts(folder, "config.json",
                "{\"schema\":\"rnnd-ref-1\",\"topology\":\"synced\",\"input\":{\"kind\":\"onehot\","
                "\"size\":2},\"rnn\":{\"cell\":\"rnn_relu\",\"hidden_size\":1,\"num_layers\":1,"
                "\"bias\":false},\"head\":{\"size\":2,\"activation\":\"softmax\"}}");
    folder_tensors(
        folder,
        "{\"rnn.weight_ih_l0\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
        "\"rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]},"
        "\"head.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[12,20]},"
        "\"head.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[20,28]}}",
        numbers, sizeof numbers);
    folder_puts(folder, "vocab.json", "{\"kind\":\"char\",\"tokens\":[\"a\",\"b\"]}");
}

/* An encoder that counts the letter "b" (h' = max(0, h + id)) and a decoder that keeps the count:
 * logits = {0, h, 0.5}; it writes "X", or ends where there is a count. */
static void make_translator(struct folder *folder)
{
    const float numbers[] = {0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0.5f};

    folder_make(folder);
    folder_puts(folder, "config.json",
                "{\"schema\":\"rnnd-ref-1\",\"topology\":\"seq2seq\",\"bos\":0,\"eos\":1,"
                "\"source_eos\":2,\"max_len\":2,\"state_transfer\":\"copy\",\"encoder\":{\"input\":"
                "{\"kind\":\"onehot\",\"size\":3},\"rnn\":{\"cell\":\"rnn_relu\",\"hidden_size\":1,"
                "\"num_layers\":1,\"bias\":false}},\"decoder\":{\"input\":{\"kind\":\"onehot\","
                "\"size\":3},\"rnn\":{\"cell\":\"rnn_relu\",\"hidden_size\":1,\"num_layers\":1,"
                "\"bias\":false},\"head\":{\"size\":3,\"activation\":\"softmax\"}}}");
    folder_tensors(
        folder,
        "{\"encoder.rnn.weight_ih_l0\":{\"dtype\":\"F32\",\"shape\":[1,3],\"data_offsets\":[0,12]},"
        "\"encoder.rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[12,16]},"
        "\"decoder.rnn.weight_ih_l0\":{\"dtype\":\"F32\",\"shape\":[1,3],\"data_offsets\":[16,28]},"
        "\"decoder.rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[28,32]},"
        "\"decoder.head.weight\":{\"dtype\":\"F32\",\"shape\":[3,1],\"data_offsets\":[32,44]},"
        "\"decoder.head.bias\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[44,56]}}",
        numbers, sizeof numbers);
    folder_puts(folder, "vocab.json",
                "{\"kind\":\"char to symbol\",\"source\":[\"a\",\"b\",\"</s>\"],"
                "\"target\":[\"<s>\",\"</s>\",\"X\"],\"bos\":0,\"eos\":1,\"source_eos\":2}");
}

/* A frame of one number becomes the state, tanh of it, and stays: logits = {0.25, h}. */
static void make_captioner(struct folder *folder)
{
    const float numbers[] = {0, 0, 1, 0, 1, 0.25f, 0, 1, 0};

    folder_make(folder);
    folder_puts(folder, "config.json",
                "{\"schema\":\"rnnd-ref-1\",\"topology\":\"one_to_many\",\"features\":1,\"bos\":0,"
                "\"eos\":1,\"bridge\":\"tanh\",\"input\":{\"kind\":\"onehot\",\"size\":2},\"rnn\":"
                "{\"cell\":\"rnn_relu\",\"hidden_size\":1,\"num_layers\":1,\"bias\":false},"
                "\"head\":{\"size\":2,\"activation\":\"softmax\"}}");
    folder_tensors(
        folder,
        "{\"rnn.weight_ih_l0\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
        "\"rnn.weight_hh_l0\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[8,12]},"
        "\"head.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[12,20]},"
        "\"head.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[20,28]},"
        "\"bridge.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[28,32]},"
        "\"bridge.bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[32,36]}}",
        numbers, sizeof numbers);
}

/* Numbers that double and are named in other units: y = 2 x, values = 3 y + 1; logits of a mean and
 * a logarithm of a deviation where `gaussian`. */
static void make_regression(struct folder *folder, bool gaussian)
{
    const float numbers[] = {2, 0, 3, 1};

    folder_make(folder);
    folder_puts(folder, "config.json",
                gaussian
                    ? "{\"schema\":\"rnnd-ref-1\",\"topology\":\"synced\",\"input\":{\"kind\":"
                      "\"dense\",\"size\":1},\"head\":{\"size\":2,\"bias\":false,\"activation\":"
                      "\"gaussian\",\"denormalize\":true}}"
                    : "{\"schema\":\"rnnd-ref-1\",\"topology\":\"synced\",\"input\":{\"kind\":"
                      "\"dense\",\"size\":1},\"head\":{\"size\":1,\"bias\":false,\"activation\":"
                      "\"none\",\"denormalize\":true}}");
    folder_tensors(folder,
                   gaussian
                       ? "{\"head.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":"
                         "[0,8]},\"output.std\":{\"dtype\":\"F32\",\"shape\":[1],"
                         "\"data_offsets\":[8,12]},\"output.mean\":{\"dtype\":\"F32\",\"shape\":"
                         "[1],\"data_offsets\":[12,16]}}"
                       : "{\"head.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":"
                         "[0,4]},\"unused\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":"
                         "[4,8]},\"output.std\":{\"dtype\":\"F32\",\"shape\":[1],"
                         "\"data_offsets\":[8,12]},\"output.mean\":{\"dtype\":\"F32\",\"shape\":"
                         "[1],\"data_offsets\":[12,16]}}",
                   numbers, sizeof numbers);
}

static int verify(const struct folder *folder, const char *golden, struct rnn_err *err)
{
    *err = (struct rnn_err){0};
    folder_puts(folder, "golden.json", golden);
    return model_verify(folder->path, NULL, err);
}

START_TEST(frames_are_replayed)
{
    static const char *const good[] = {
        "{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1],[2]],[[3],[-9]]],\"output\":[[[1],[3]],[[3]"
        ","
        "[0]]],\"logits\":[[[2],[6]],[[6],[0]]],\"h_n\":[[[3],[0]]]}]}",
        "{\"runs\":[{\"kind\":\"state\",\"input\":[[[1]]],\"h_0\":[[[10]]],\"output\":[[[11]]]}]}",
        "{\"runs\":[{\"kind\":\"lengths\",\"lengths\":[1,2],\"input\":[[[1]],[[1],[1]]],"
        "\"output\":[[[1]],[[1],[2]]],\"h_n\":[[[1],[2]]]}]}",
        "{\"runs\":[{\"kind\":\"chunked\",\"chunks\":[{\"input\":[[[1]]],\"h_n\":[[[1]]]},"
        "{\"input\":[[[2]]],\"output\":[[[3]]],\"h_n\":[[[3]]]}]}]}"};
    struct folder folder;
    struct rnn_err err;

    make_adder(&folder);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (verify(&folder, good[i], &err) != 0)
            ck_abort_msg("%s: %s", good[i], err.text);
    folder_delete(&folder);
}
END_TEST

START_TEST(wrong_values_are_found_and_named)
{
    static const struct {
        const char *golden;
        const char *words;
    } bad[] = {
        {"{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1],[2]]],\"output\":[[[1],[3.001]]]}]}",
         "runs[0] (batch): output[0] is 3, want 3.001"},
        {"{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1]]],\"logits\":[[[2.1]]]}]}",
         "logits[0] is 2, want 2.1"},
        {"{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1]]],\"probs\":[[[0.5]]]}]}", "probs[0]"},
        {"{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1]]],\"h_n\":[[[2]]]}]}", "h_n[0]"},
        {"{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1]]]},"
         "{\"kind\":\"chunked\",\"chunks\":[{\"input\":[[[1]]]},{\"input\":[[[1]]],"
         "\"h_n\":[[[1]]]}]}]}",
         "runs[1] (chunked): h_n[0] is 2, want 1"}};
    struct folder folder;
    struct rnn_err err;

    make_adder(&folder);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(verify(&folder, bad[i].golden, &err), RNN_ERANGE);
        if (!strstr(err.text, bad[i].words))
            ck_abort_msg("'%s' does not say '%s'", err.text, bad[i].words);
    }
    ck_assert_int_eq(verify(&folder,
                            "{\"suggested_atol\":{\"output\":0.01},\"runs\":[{\"kind\":"
                            "\"batch\",\"input\":[[[1]]],\"output\":[[[1.009]]]}]}",
                            &err),
                     0);
    folder_delete(&folder);
}
END_TEST

START_TEST(letters_are_replayed)
{
    static const char *const good[] = {
        "{\"runs\":[{\"kind\":\"greedy\",\"prompt_ids\":[0,1],\"generated_ids\":[1,1],"
        "\"prompt_text\":\"ab\",\"generated_text\":\"bb\",\"logits\":[[0.5,1],[0.5,1]],"
        "\"h_n\":[[[1]]]}]}",
        "{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0,1]],\"texts\":[\"ab\"],"
        "\"probs\":[[[0.622459331,0.377540669],[0.377540669,0.622459331]]]}]}",
        "{\"prompts\":[{\"text\":\"ab\",\"last_logits\":[0.5,1],\"argmax_each_step\":[0,1],"
        "\"h_last\":[[1]],\"last_logprobs\":[-0.974076984,-0.474076984]}],"
        "\"greedy\":[{\"prompt\":\"b\",\"ids\":[1,1,1],\"text\":\"bbb\"}],"
        "\"score\":{\"text\":\"bb\",\"logprobs\":[-0.474076984]},"
        "\"stateful\":{\"first\":\"a\",\"then\":\"b\",\"last_logits_after_then\":[0.5,1]},"
        "\"temperature\":{\"prompt\":\"b\",\"T\":0.5,\"probs\":[0.268941421,0.731058579]},"
        "\"all_steps\":{\"text\":\"ab\",\"logits\":[[0.5,0],[0.5,1]]}}"};
    static const char *const wrong[] = {
        "{\"runs\":[{\"kind\":\"greedy\",\"prompt_ids\":[1],\"generated_ids\":[0]}]}",
        ("{\"runs\":[{\"kind\":\"greedy\",\"prompt_ids\":[1],\"generated_ids\":[1],"
         "\"generated_text\":\"a\"}]}"),
        "{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0,1]],\"texts\":[\"aba\"]}]}",
        "{\"prompts\":[{\"text\":\"ab\",\"argmax_each_step\":[1,1]}]}",
        "{\"greedy\":[{\"prompt\":\"b\",\"ids\":[1],\"text\":\"a\"}]}",
        "{\"score\":{\"text\":\"bb\",\"logprobs\":[-0.47]}}",
        "{\"stateful\":{\"first\":\"a\",\"then\":\"a\",\"last_logits_after_then\":[0.5,1]}}",
        "{\"temperature\":{\"prompt\":\"b\",\"T\":1,\"probs\":[0.268941421,0.731058579]}}",
        "{\"all_steps\":{\"text\":\"ab\",\"logits\":[[0.5,0],[0.5,0]]}}"};
    struct folder folder;
    struct rnn_err err;

    make_repeater(&folder);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (verify(&folder, good[i], &err) != 0)
            ck_abort_msg("%s: %s", good[i], err.text);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (verify(&folder, wrong[i], &err) != RNN_ERANGE)
            ck_abort_msg("%s: %s", wrong[i], err.text);
    folder_delete(&folder);
}
END_TEST

/* Every text agrees with the model, or every one is off. */
static void verify_all(const struct folder *folder, const char *const *goldens, size_t n, int want)
{
    struct rnn_err err;

    for (size_t i = 0; i < n; i++)
        if (verify(folder, goldens[i], &err) != want)
            ck_abort_msg("%s: %s", goldens[i], err.text);
}

#define VERIFY_ALL(FOLDER, GOLDENS, WANT)                                                          \
    verify_all(FOLDER, GOLDENS, sizeof(GOLDENS) / sizeof *(GOLDENS), WANT)

START_TEST(translations_and_words_are_replayed)
{
    static const char *const good[] = {
        "{\"runs\":[{\"kind\":\"translate\",\"source_ids\":[[1,0,1],[0]],\"encoder_h_n\":"
        "[[[2],[0]]],\"h_n\":[[[2],[0]]],\"target_input_ids\":[[0,0],[0]],"
        "\"logits\":[[[0,2,0.5],[0,2,0.5]],[[0,0,0.5]]],\"greedy\":[{\"generated_ids\":[1]},"
        "{\"generated_ids\":[2,2]}]}]}",
        "{\"words\":[{\"word\":\"ba\",\"ids\":[1,0,2],\"phonemes\":[],\"phoneme_ids\":[],"
        "\"encoder_h\":[1],\"decoder_logits\":[[0,1,0.5]]},{\"word\":\"a\",\"ids\":[0,2],"
        "\"phonemes\":[\"X\",\"X\"],\"phoneme_ids\":[2,2],\"decoder_logits\":[[0,0,0.5],[0,0,0.5]]}"
        "]}"};
    static const char *const wrong[] = {
        "{\"runs\":[{\"kind\":\"translate\",\"source_ids\":[[1]],\"encoder_h_n\":[[[2]]]}]}",
        "{\"runs\":[{\"kind\":\"translate\",\"source_ids\":[[1]],\"target_input_ids\":[[0,0]],"
        "\"logits\":[[[0,1,0.5],[0,2,0.5]]]}]}",
        "{\"runs\":[{\"kind\":\"translate\",\"source_ids\":[[1]],"
        "\"greedy\":[{\"generated_ids\":[2]}]}]}",
        "{\"words\":[{\"word\":\"aa\",\"ids\":[0,1,2],\"phoneme_ids\":[]}]}",
        "{\"words\":[{\"ids\":[0,2],\"phoneme_ids\":[2]}]}",
        "{\"words\":[{\"ids\":[1,2],\"phoneme_ids\":[],\"encoder_h\":[2]}]}",
        "{\"words\":[{\"ids\":[1,2],\"phoneme_ids\":[],\"decoder_logits\":[[0,2,0.5]]}]}",
        "{\"words\":[{\"ids\":[0,2],\"phoneme_ids\":[2,2],\"phonemes\":[\"X\",\"Y\"]}]}"};
    static const char *const faults[] = {
        "{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0]]}]}",
        "{\"runs\":[{\"kind\":\"translate\",\"source_ids\":[[1]],\"target_input_ids\":[[1,0]]}]}",
        "{\"runs\":[{\"kind\":\"translate\",\"source_ids\":[[3]]}]}",
        "{\"runs\":[{\"kind\":\"translate\",\"source_ids\":[[1]],\"target_input_ids\":[[0,0]],"
        "\"logits\":[[[0,1,0.5]]]}]}",
        "{\"runs\":[{\"kind\":\"translate\",\"source_ids\":[[1]],\"target_input_ids\":[[0]],"
        "\"logits\":[[[0,1,0.5],[0,1,0.5]]]}]}",
        "{\"words\":[{\"word\":\"aa\",\"ids\":[0],\"phoneme_ids\":[2,2]}]}",
        "{\"prompts\":[{\"text\":\"a\"}]}"};
    struct folder folder;

    make_translator(&folder);
    VERIFY_ALL(&folder, good, 0);
    VERIFY_ALL(&folder, wrong, RNN_ERANGE);
    VERIFY_ALL(&folder, faults, RNN_EFORMAT);
    folder_delete(&folder);
}
END_TEST

START_TEST(captions_are_replayed)
{
    static const char *const good[] = {
        "{\"runs\":[{\"kind\":\"caption\",\"features\":[[0.5],[0]],\"h_0\":[[[0.462117157],[0]]],"
        "\"input_ids\":[[0,1],[0]],\"logits\":[[[0.25,0.462117157],[0.25,0.462117157]],[[0.25,0]]],"
        "\"h_n\":[[[0.462117157],[0]]],"
        "\"greedy\":[{\"generated_ids\":[1]},{\"generated_ids\":[0,0,0]}]}]}"};
    static const char *const wrong[] = {
        "{\"runs\":[{\"kind\":\"caption\",\"features\":[[0.5]],\"h_0\":[[[0.5]]]}]}",
        "{\"runs\":[{\"kind\":\"caption\",\"features\":[[0.5]],\"h_n\":[[[0.5]]]}]}",
        "{\"runs\":[{\"kind\":\"caption\",\"features\":[[0.5]],\"logits\":[[[0.25,0.5]]]}]}",
        "{\"runs\":[{\"kind\":\"caption\",\"features\":[[0.5]],"
        "\"greedy\":[{\"generated_ids\":[0]}]}]}"};
    static const char *const faults[] = {
        "{\"runs\":[{\"kind\":\"caption\",\"features\":[[0.5,1]]}]}",
        "{\"runs\":[{\"kind\":\"caption\",\"features\":[0.5]}]}",
        "{\"runs\":[{\"kind\":\"caption\",\"features\":[[0.5]],\"h_0\":[]}]}"};
    struct folder folder;

    make_captioner(&folder);
    VERIFY_ALL(&folder, good, 0);
    VERIFY_ALL(&folder, wrong, RNN_ERANGE);
    VERIFY_ALL(&folder, faults, RNN_EFORMAT);
    folder_delete(&folder);
}
END_TEST

START_TEST(values_and_deviations_are_replayed)
{
    static const char *const values[] = {
        "{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1],[-2]]],\"logits\":[[[2],[-4]]],"
        "\"values\":[[[7],[-11]]]}]}"};
    static const char *const wrong[] = {
        "{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1]]],\"values\":[[[2]]]}]}"};
    static const char *const faults[] = {
        "{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1]]],\"std\":[[[2]]]}]}"};
    static const char *const gaussian[] = {
        "{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1],[-2]]],\"logits\":[[[2,0],[-4,0]]],"
        "\"values\":[[[7],[-11]]],\"std\":[[[3],[3]]]}]}"};
    static const char *const off[] = {
        "{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1]]],\"std\":[[[1]]]}]}"};
    struct folder folder;

    make_regression(&folder, false);
    VERIFY_ALL(&folder, values, 0);
    VERIFY_ALL(&folder, wrong, RNN_ERANGE);
    VERIFY_ALL(&folder, faults, RNN_EFORMAT);
    folder_delete(&folder);
    make_regression(&folder, true);
    VERIFY_ALL(&folder, gaussian, 0);
    VERIFY_ALL(&folder, off, RNN_ERANGE);
    folder_delete(&folder);
}
END_TEST

START_TEST(faults_of_the_file_are_no_wrong_values)
{
    static const struct {
        const char *golden;
        int code;
    } bad[] = {
        {"", RNN_EFORMAT},
        {"{}", RNN_EFORMAT},
        {"{\"runs\":[]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"dream\"}]}", RNN_EUNSUPPORTED},
        {"{\"runs\":[{\"kind\":\"caption\"}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"translate\"}]}", RNN_EFORMAT},
        {"{\"words\":[{}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\"}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[2]]}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[-1]]}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[[0]]]}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0]],\"logits\":[[[1]]]}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0]],\"logits\":[[[1,0,0]]]}]}",
         RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0]],\"logits\":[[[0.5,0],[0.5,0]]]}]}",
         RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0,0]],\"logits\":[[[0.5,0]]]}]}",
         RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0]],\"h_0\":[[[1,2]]]}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"batch\",\"input_ids\":[[0]],\"h_n\":[]}]}", RNN_EFORMAT},
        {"{\"runs\":[{\"kind\":\"greedy\",\"prompt_ids\":[],\"generated_ids\":[1]}]}", RNN_EFORMAT},
        {"{\"prompts\":[{\"text\":\"x\"}]}", RNN_ECHAR},
        {"{\"prompts\":[{}]}", RNN_EFORMAT}};
    struct folder folder;
    struct rnn_err err;

    make_repeater(&folder);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = verify(&folder, bad[i].golden, &err);

        if (rc != bad[i].code)
            ck_abort_msg("%s: %s %s", bad[i].golden, rnn_error_name(rc), err.text);
        ck_assert_int_eq(strncmp(err.text, "golden.json: ", 13), 0);
    }
    folder_delete(&folder);
}
END_TEST

/* What `call` writes about `path`; the caller frees it. */
static char *text_of(int (*call)(const char *, FILE *, struct rnn_err *), const char *path,
                     int want)
{
    char *text = NULL;
    size_t len = 0;
    struct rnn_err err = {0};
    FILE *out = open_memstream(&text, &len);
    int rc = call(path, out, &err);

    ck_assert_int_eq(fclose(out), 0);
    if (rc != want)
        ck_abort_msg("%s: %s, want %s: %s", path, rnn_error_name(rc), rnn_error_name(want), text);
    ck_assert((rc < 0) == (err.text[0] != '\0'));
    return text;
}

static void says(char *text, const char *words)
{
    if (!strstr(text, words))
        ck_abort_msg("'%s' does not say '%s'", text, words);
    free(text);
}

START_TEST(the_report_counts)
{
    struct folder folder;
    struct rnn_err err;

    make_adder(&folder);
    says(text_of(model_verify, folder.path, 0), "no golden.json");
    ck_assert_int_eq(verify(&folder,
                            "{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1],[2]]],"
                            "\"output\":[[[1],[3]]]}]}",
                            &err),
                     0);
    says(text_of(model_verify, folder.path, 0), "output          2 compared, 0 off");
    ck_assert_int_eq(verify(&folder,
                            "{\"runs\":[{\"kind\":\"batch\",\"input\":[[[1],[2]]],"
                            "\"output\":[[[1],[4]]]}]}",
                            &err),
                     RNN_ERANGE);
    says(text_of(model_verify, folder.path, RNN_ERANGE),
         "output          2 compared, 1 off, largest error 1.00e+00");
    folder_delete(&folder);
}
END_TEST

START_TEST(inspect_says_what_is_there)
{
    struct folder folder;

    make_repeater(&folder);
    says(text_of(model_inspect, folder.path, 0), "F32   1x2            rnn.weight_ih_l0\n");
    says(text_of(model_inspect, folder.path, 0), "input: 2 one-hot ids");
    says(text_of(model_inspect, folder.path, 0), "2 tokens, kind char");
    says(text_of(model_inspect, folder_path(&folder, "model.safetensors"), 0),
         "4 tensors, 7 numbers");
    folder_tensors(&folder,
                   "{\"x\\u001b[2J\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}",
                   NULL, 8);
    says(text_of(model_inspect, folder.path, 0), "\"x\\u001b[2J\"  (not used)");
    folder_puts(&folder, "config.json", "{}");
    says(text_of(model_inspect, folder.path, RNN_EFORMAT), "config.json: schema is missing");
    says(text_of(model_inspect, folder.path, RNN_EFORMAT), "I64   ()");
    folder_puts(&folder, "other", "PK\x03\x04xxxx");
    free(text_of(model_inspect, folder_path(&folder, "other"), RNN_EUNSUPPORTED));
    folder_puts(&folder, "other", "x");
    free(text_of(model_inspect, folder_path(&folder, "other"), RNN_EFORMAT));
    free(text_of(model_inspect, folder_path(&folder, "nothing"), RNN_ENOENT));
    folder_delete(&folder);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {frames_are_replayed,
                            wrong_values_are_found_and_named,
                            letters_are_replayed,
                            translations_and_words_are_replayed,
                            captions_are_replayed,
                            values_and_deviations_are_replayed,
                            faults_of_the_file_are_no_wrong_values,
                            the_report_counts,
                            inspect_says_what_is_there,
                            NULL};

    return run_tests("models/verify", tests);
}
