/* The model table: what is served from a folder of folders, and what keeps it from being. */
#include <check.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/log.h"
#include "server/models.h"

static char dir[] = "/tmp/rnnd-test-models-XXXXXX";

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char command[1024];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    ck_assert_int_eq(system(command), 0);
}

static void setup(void)
{
    log_start(CONFIG_LOG_ERROR, CONFIG_LOG_JSON);
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    shell("rm -r %s", dir);
}

static void add_model(const char *name)
{
    shell("cp -r %s %s/%s", HELLO_FOLDER, dir, name);
}

static void add_broken(const char *name)
{
    add_model(name);
    shell("truncate -s 100 %s/%s/model.safetensors", dir, name);
}

START_TEST(the_only_one_needs_no_name)
{
    struct models *models;
    struct model_entry entry;
    struct rnn_err err = {0};

    add_model("one");
    ck_assert_int_eq(models_open(&models, dir, NULL, &err), 0);
    ck_assert_int_eq(models_get(models, NULL, &entry, &err), 0);
    ck_assert_str_eq(entry.name, "one");
    rnn_model_unref(entry.model);
    ck_assert_int_eq(models_get(models, "", &entry, &err), 0);
    ck_assert_double_gt(entry.load_seconds, 0);
    ck_assert_int_gt(entry.loaded_unix_ms, 1600000000000);
    rnn_model_unref(entry.model);
    ck_assert_ptr_null(models_failed(models)[0]);
    models_free(models);
}
END_TEST

START_TEST(of_several_one_must_be_named)
{
    struct models *models;
    struct model_entry entry, *all;
    struct rnn_err err = {0};
    size_t n;

    add_model("b");
    add_model("a");
    add_model(".hidden");
    shell("mkdir %s/no-model", dir);
    ck_assert_int_eq(models_open(&models, dir, NULL, &err), 0);
    ck_assert_int_eq(models_get(models, NULL, &entry, &err), RNN_ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "a, b"));
    ck_assert_str_eq(err.param, "model");
    ck_assert_int_eq(models_get(models, "c", &entry, &err), RNN_ENOENT);
    ck_assert_int_eq(models_get(models, ".hidden", &entry, &err), RNN_ENOENT);
    ck_assert_int_eq(models_get(models, "b", &entry, &err), 0);
    rnn_model_unref(entry.model);
    ck_assert_int_eq(models_list(models, &all, &n, &err), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(all[0].name, "a");
    ck_assert_str_eq(all[1].name, "b");
    models_free(models);
    for (size_t i = 0; i < n; i++) { /* a reference outlives the table */
        ck_assert_uint_eq(rnn_model_info(all[i].model)->hidden_size, 3);
        rnn_model_unref(all[i].model);
    }
    free(all);
}
END_TEST

START_TEST(a_damaged_one_does_not_stop_the_others)
{
    struct models *models;
    struct model_entry entry;
    struct rnn_err err = {0};

    add_model("good");
    add_broken("bad");
    ck_assert_int_eq(models_open(&models, dir, NULL, &err), 0);
    ck_assert_int_eq(models_get(models, "bad", &entry, &err), RNN_ENOENT);
    ck_assert_int_eq(models_get(models, "good", &entry, &err), 0);
    rnn_model_unref(entry.model);
    ck_assert_str_eq(models_failed(models)[0], "bad");
    ck_assert_ptr_null(models_failed(models)[1]);
    models_free(models);
}
END_TEST

START_TEST(nothing_to_serve_is_a_fault)
{
    struct models *models = NULL;
    struct rnn_err err = {0};

    ck_assert_int_eq(models_open(&models, dir, NULL, &err), RNN_ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, dir));
    add_broken("bad");
    ck_assert_int_eq(models_open(&models, dir, NULL, &err), RNN_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "none of its 1"));
    ck_assert_int_eq(models_open(&models, "/no/such/folder", NULL, &err), RNN_ENOENT);
    ck_assert_ptr_null(models);
}
END_TEST

#define N_LOOKUPS 20000

static void *look_up(void *argument)
{
    for (int i = 0; i < N_LOOKUPS; i++) {
        struct model_entry entry;

        if (models_get(argument, i % 2 == 0 ? "a" : "b", &entry, NULL) < 0)
            return NULL;
        rnn_model_unref(entry.model);
    }
    return argument;
}

START_TEST(any_thread_may_look)
{
    struct models *models;
    pthread_t threads[3];

    add_model("a");
    add_model("b");
    ck_assert_int_eq(models_open(&models, dir, NULL, NULL), 0);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, look_up, models), 0);
    for (size_t i = 0; i < 3; i++) {
        void *result;

        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_eq(result, models);
    }
    models_free(models);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("models");
    TCase *tcase = tcase_create("models");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, the_only_one_needs_no_name);
    tcase_add_test(tcase, of_several_one_must_be_named);
    tcase_add_test(tcase, a_damaged_one_does_not_stop_the_others);
    tcase_add_test(tcase, nothing_to_serve_is_a_fault);
    tcase_add_test(tcase, any_thread_may_look);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
