/* Vocabularies of every form, and the entries that a refusal names. */
#include "import/vocabulary.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static void gives(const char *text, size_t n_ids, const char *want)
{
    struct archive notes = {0};
    struct cJSON *json = NULL;
    struct rnn_err err = {0};
    char *got;

    ck_assert_msg(vocabulary_parse(&json, text, strlen(text), n_ids, &notes, &err) == 0, "%s: %s",
                  text, err.text);
    got = cJSON_PrintUnformatted(json);
    ck_assert_str_eq(got, want);
    cJSON_free(got);
    json_free(json);
    archive_deinit(&notes);
}

static void refused(const char *text, size_t n_ids, const char *words)
{
    struct archive notes = {0};
    struct cJSON *json = NULL;
    struct rnn_err err = {0};

    ck_assert_int_lt(vocabulary_parse(&json, text, strlen(text), n_ids, &notes, &err), 0);
    ck_assert_ptr_null(json);
    ck_assert_msg(strstr(err.text, words), "%s: %s", text, err.text);
    archive_deinit(&notes);
}

START_TEST(every_form)
{
    const char *abc = "{\"kind\":\"char\",\"tokens\":[\"a\",\"b\",\"c\"]}";

    gives("[\"a\",\"b\",\"c\"]", 3, abc);
    gives("{\"c\":2,\"a\":0,\"b\":1}", 3, abc);
    gives("{\"1\":\"b\",\"0\":\"a\",\"2\":\"c\"}", 3, abc);
    gives("{\"itos\":[\"a\",\"b\",\"c\"],\"stoi\":{}}", 3, abc);
    gives("{\"model\":1,\"vocab\":{\"char2idx\":{\"a\":0,\"b\":1,\"c\":2}}}", 3, abc);
    gives("a\nb\nc\n", 3, abc);
    gives("a\r\nb\r\nc", 3, abc);
    gives(" {\"kind\":\"char\",\"tokens\":[\"a\",\"b\",\"c\"]}", 3, abc);
    gives("[\n]\n{\n", 3, "{\"kind\":\"char\",\"tokens\":[\"[\",\"]\",\"{\"]}");
}
END_TEST

START_TEST(words_and_signs)
{
    gives("[\"<unk>\",\"the\",\"a\",\"</s>\"]", 4,
          "{\"kind\":\"word\",\"tokens\":[\"<unk>\",\"the\",\"a\",\"</s>\"],\"unk\":0,\"eos\":3}");
    gives("[\"<s>\",\"a\",\"b\"]", 3,
          "{\"kind\":\"char\",\"tokens\":[\"<s>\",\"a\",\"b\"],\"bos\":0}");
}
END_TEST

/* ids that begin with 1, as Keras counts; and its tokenizer with JSON in a string */
START_TEST(padding)
{
    const char *want = "{\"kind\":\"char\",\"tokens\":[\"<pad>\",\"a\",\"b\"]}";

    gives("{\"a\":1,\"b\":2}", 3, want);
    gives(
        "{\"class_name\":\"Tokenizer\",\"config\":{\"word_index\":\"{\\\"a\\\":1,\\\"b\\\":2}\"}}",
        3, want);
}
END_TEST

START_TEST(offenders_are_named)
{
    refused("[\"a\",\"b\"]", 3, "the vocabulary has 2 entries, the model has 3 ids");
    refused("{\"a\":0,\"b\":5}", 3, "1 entries of the vocabulary have ids that the model lacks");
    refused("{\"a\":0,\"b\":5}", 3, "one entry's is 5");
    refused("{\"a\":0,\"b\":0,\"c\":1}", 2, "stand for two entries: 0 (\"a\" and \"b\")");
    refused("{\"a\":0,\"b\":3}", 4, "ids without an entry: 1, 2");
    refused("[\"a\",\"\",\"b\"]", 3, "empty entries: 1");
    refused("[\"a\",\"b\",\"a\"]", 3, "there twice: 2 (\"a\")");
    refused("a\n\nb\n", 3, "empty entries: 1");
    refused("[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"  \",\"\"]", 11,
            "empty entries: 10; no single characters, as the others are: 9 (\"  \")");
    refused("{}", 3, "no list of strings");
    refused("[1,2]", 2, "no list of strings");
    refused("[\"a\",", 2, "");
    refused("a\xff\n", 1, "no valid UTF-8 at byte 1");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vocabulary");
    TCase *tcase = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, every_form);
    tcase_add_test(tcase, words_and_signs);
    tcase_add_test(tcase, padding);
    tcase_add_test(tcase, offenders_are_named);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
