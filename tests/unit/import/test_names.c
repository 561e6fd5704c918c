/* Names of tensors: which part of which module, in the spellings that people's files have. */
#include "import/names.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(recurrent_names)
{
    static const struct {
        const char *text;
        enum name_role role;
        size_t module;
        bool numbered;
        unsigned layer;
        bool reverse;
    } cases[] = {{"rnn.weight_ih_l0", NAME_WEIGHT_IH, 3, true, 0, false},
                 {"weight_hh_l12_reverse", NAME_WEIGHT_HH, 0, true, 12, true},
                 {"a.b.bias_ih_l1", NAME_BIAS_IH, 3, true, 1, false},
                 {"cell.bias_hh", NAME_BIAS_HH, 4, false, 0, false},
                 {"cell.weight_ih_reverse", NAME_WEIGHT_IH, 4, false, 0, true},
                 {"proj.weight_hr_l0", NAME_WEIGHT_HR, 4, true, 0, false},
                 {"enc_w_ih", NAME_WEIGHT_IH, 3, false, 0, false},
                 {"dec/b_hh", NAME_BIAS_HH, 3, false, 0, false},
                 {"w_ih", NAME_WEIGHT_IH, 0, false, 0, false}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct name name = name_parse(cases[i].text);

        ck_assert_msg(name.role == cases[i].role, "%s", cases[i].text);
        ck_assert_uint_eq(name.module, cases[i].module);
        ck_assert_int_eq(name.numbered, cases[i].numbered);
        ck_assert_uint_eq(name.layer, cases[i].layer);
        ck_assert_int_eq(name.reverse, cases[i].reverse);
    }
}
END_TEST

START_TEST(other_names)
{
    static const struct {
        const char *text;
        enum name_role role;
        size_t module;
        bool bare;
    } cases[] = {{"fc.weight", NAME_WEIGHT, 2, false},
                 {"fc_b", NAME_BIAS, 2, false},
                 {"softmax.kernel", NAME_WEIGHT, 7, false},
                 {"bn.running_mean", NAME_MEAN, 2, false},
                 {"bn.running_var", NAME_VARIANCE, 2, false},
                 {"bn.num_batches_tracked", NAME_COUNT, 2, false},
                 {"embedding", NAME_WEIGHT, 9, true},
                 {"club", NAME_WEIGHT, 4, true},
                 {"", NAME_WEIGHT, 0, true},
                 {"x.weight_ih_lx", NAME_WEIGHT, 14, true},
                 {"x.weight_ih_l99999", NAME_WEIGHT, 18, true},
                 {"xweight_ih_l0", NAME_WEIGHT, 13, true}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct name name = name_parse(cases[i].text);

        ck_assert_msg(name.role == cases[i].role, "%s", cases[i].text);
        ck_assert_msg(name.module == cases[i].module, "%s: %zu", cases[i].text, name.module);
        ck_assert_msg(name.bare == cases[i].bare, "%s", cases[i].text);
    }
    ck_assert(name_parse("a/kernel").kernel);
    ck_assert(!name_parse("a.weight").kernel);
}
END_TEST

static enum name_hint hint(const char *text)
{
    return name_hint(text, strlen(text));
}

static int side(const char *text)
{
    return name_side(text, strlen(text));
}

START_TEST(hints)
{
    ck_assert_int_eq(hint("model.word_embeddings"), HINT_EMBEDDING);
    ck_assert_int_eq(hint("embedding.proj"), HINT_LINEAR); /* only the last component counts */
    ck_assert_int_eq(hint("fc2"), HINT_LINEAR);
    ck_assert_int_eq(hint("decoder"), HINT_LINEAR);
    ck_assert_int_eq(hint("encoder"), HINT_EMBEDDING);
    ck_assert_int_eq(hint("w"), HINT_NONE);
    ck_assert_int_eq(side("enc_gru"), 'e');
    ck_assert_int_eq(side("model.Decoder.rnn"), 'd');
    ck_assert_int_eq(side("silence"), 0);
}
END_TEST

START_TEST(heads)
{
    static const char *const yes[] = {"fc",      "model.fc_out", "rnnlm/softmax", "h2o",
                                      "decoder", "Classifier",   "output",        "lm_head"};
    static const char *const no[] = {"proj",       "fc_in", "input_fc", "linear",
                                     "fc.in_proj", "lstm",  ""};

    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        ck_assert_msg(name_is_head(yes[i], strlen(yes[i])), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        ck_assert_msg(!name_is_head(no[i], strlen(no[i])), "%s", no[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("names");
    TCase *tcase = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, recurrent_names);
    tcase_add_test(tcase, other_names);
    tcase_add_test(tcase, hints);
    tcase_add_test(tcase, heads);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
