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

/* At most one folder is listed as failed: this one. */
static void assert_failed(struct models *models, const char *name)
{
    char **failed = models_failed(models);

    ck_assert_ptr_nonnull(failed);
    if (name != NULL) {
        ck_assert_str_eq(failed[0], name);
        ck_assert_ptr_null(failed[1]);
    } else {
        ck_assert_ptr_null(failed[0]);
    }
    free(failed);
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
    assert_failed(models, NULL);
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
    assert_failed(models, "bad");
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

/* ---- Changes ---- */

static struct models *open_models(void)
{
    struct models *models;

    ck_assert_int_eq(models_open(&models, dir, NULL, NULL), 0);
    return models;
}

/* What is served under the name; no reference. */
static struct rnn_model *served(struct models *models, const char *name)
{
    struct model_entry entry;

    ck_assert_int_eq(models_get(models, name, &entry, NULL), 0);
    rnn_model_unref(entry.model);
    return entry.model;
}

static size_t n_old(struct models *models)
{
    struct model_entry *old;
    size_t n;

    ck_assert_int_eq(models_list_old(models, &old, &n, NULL), 0);
    models_list_free(old, n);
    return n;
}

static struct rnn_model *reload(struct models *models, const char *name)
{
    struct model_entry fresh, old;

    ck_assert_int_eq(models_open_again(models, name, &fresh, NULL), 0);
    ck_assert_int_eq(models_serve(models, &fresh, &old, NULL), 0);
    return old.model;
}

START_TEST(one_change_at_a_time)
{
    struct models *models;
    struct rnn_err err = {0};

    add_model("a");
    models = open_models();
    ck_assert_int_eq(models_change_begin(models, &err), 0);
    ck_assert_int_eq(models_change_begin(models, &err), RNN_EBUSY);
    models_change_end(models);
    ck_assert_int_eq(models_change_begin(models, &err), 0);
    models_free(models);
}
END_TEST

START_TEST(a_reload_serves_the_new_version_and_lets_the_old_one_go)
{
    struct rnn_model *first, *old;
    struct models *models;

    add_model("a");
    models = open_models();
    first = served(models, "a");
    old = reload(models, "a");
    ck_assert_ptr_eq(old, first);
    ck_assert_ptr_ne(served(models, "a"), first);
    ck_assert(!models_know(models, old)); /* nobody stands on it: this reference is the last */
    ck_assert_uint_eq(n_old(models), 0);
    rnn_model_unref(old);
    models_free(models);
}
END_TEST

START_TEST(an_old_version_is_known_as_long_as_somebody_stands_on_it)
{
    struct rnn_model *first, *second;
    struct models *models;
    struct model_entry *old;
    size_t n;

    add_model("a");
    models = open_models();
    first = served(models, "a");
    ck_assert(models_enter(models, first));
    ck_assert(models_enter(models, first));
    rnn_model_unref(reload(models, "a"));
    second = served(models, "a");
    ck_assert(models_enter(models, second));
    ck_assert_int_eq(models_list_old(models, &old, &n, NULL), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert_ptr_eq(old[0].model, first);
    ck_assert_uint_eq(old[0].n_sessions, 2);
    models_list_free(old, n);
    models_leave(models, first);
    ck_assert(models_know(models, first));
    models_leave(models, first);
    ck_assert(!models_know(models, first));
    models_leave(models, second); /* the current one stays all the same */
    ck_assert(models_know(models, second));
    models_free(models);
}
END_TEST

START_TEST(a_late_comer_finds_the_old_version_gone)
{
    struct rnn_model *old;
    struct models *models;

    add_model("a");
    models = open_models();
    old = reload(models, "a");
    ck_assert(!models_know(models, old));
    ck_assert(!models_enter(models, old));
    ck_assert_uint_eq(n_old(models), 0);
    rnn_model_unref(old);
    models_free(models);
}
END_TEST

START_TEST(what_cannot_be_opened_changes_nothing)
{
    struct rnn_model *first;
    struct model_entry fresh;
    struct models *models;
    struct rnn_err err = {0};

    add_model("a");
    models = open_models();
    first = served(models, "a");
    shell("truncate -s 100 %s/a/model.safetensors", dir);
    ck_assert_int_eq(models_open_again(models, "a", &fresh, &err), RNN_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "model.safetensors"));
    ck_assert_int_eq(models_open_again(models, "b", &fresh, &err), RNN_ENOENT);
    ck_assert_int_eq(models_open_again(models, "..", &fresh, &err), RNN_ENOENT);
    ck_assert_int_eq(models_open_again(models, "../a", &fresh, &err), RNN_ENOENT);
    ck_assert_ptr_eq(served(models, "a"), first);
    models_free(models);
}
END_TEST

START_TEST(a_folder_that_failed_may_be_mended_and_loaded)
{
    struct models *models;
    struct model_entry *all;
    size_t n;

    add_model("b");
    add_model("c");
    add_broken("a");
    models = open_models();
    assert_failed(models, "a");
    shell("cp %s/b/model.safetensors %s/a", dir, dir);
    ck_assert_ptr_null(reload(models, "a")); /* there was none before it */
    assert_failed(models, NULL);
    ck_assert_int_eq(models_list(models, &all, &n, NULL), 0);
    ck_assert_uint_eq(n, 3);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(all[i].name[0], "abc"[i]);
    models_list_free(all, n);
    models_free(models);
}
END_TEST

START_TEST(what_is_retired_is_served_no_more)
{
    struct models *models;
    struct model_entry old, entry;
    struct rnn_err err = {0};

    add_model("a");
    add_model("b");
    models = open_models();
    ck_assert(models_enter(models, served(models, "a")));
    ck_assert_int_eq(models_retire(models, "a", &old, &err), 0);
    ck_assert_int_eq(models_retire(models, "a", &entry, &err), RNN_ENOENT);
    ck_assert_int_eq(models_get(models, "a", &entry, &err), RNN_ENOENT);
    ck_assert_str_eq(rnn_model_info(served(models, "b"))->name, "b");
    ck_assert_uint_eq(n_old(models), 1);
    ck_assert_int_eq(models_retire(models, "b", &entry, &err), 0);
    rnn_model_unref(entry.model);
    ck_assert_int_eq(models_get(models, "", &entry, &err), RNN_ENOENT); /* an empty table */
    ck_assert_ptr_null(reload(models, "a"));
    models_leave(models, old.model);
    ck_assert(!models_know(models, old.model));
    rnn_model_unref(old.model);
    models_free(models);
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
    tcase_add_test(tcase, one_change_at_a_time);
    tcase_add_test(tcase, a_reload_serves_the_new_version_and_lets_the_old_one_go);
    tcase_add_test(tcase, an_old_version_is_known_as_long_as_somebody_stands_on_it);
    tcase_add_test(tcase, a_late_comer_finds_the_old_version_gone);
    tcase_add_test(tcase, what_cannot_be_opened_changes_nothing);
    tcase_add_test(tcase, a_folder_that_failed_may_be_mended_and_loaded);
    tcase_add_test(tcase, what_is_retired_is_served_no_more);
    tcase_add_test(tcase, any_thread_may_look);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
