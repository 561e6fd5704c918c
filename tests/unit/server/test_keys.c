/* The key file: what is taken, what is refused and where, and that a look-up finds exactly the key.
 * The list of those who may change models: whom it admits, and who in it has no key. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "server/keys.h"

static char path[64];
static char *faults;

static void setup(void)
{
    int fd;

    snprintf(path, sizeof(path), "/tmp/rnnd-test-keys-XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    faults = NULL;
}

static void teardown(void)
{
    unlink(path);
    free(faults);
}

static void put(const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static int load(struct keys **out)
{
    size_t len;
    FILE *stream;
    int rc;

    free(faults);
    stream = open_memstream(&faults, &len);
    rc = keys_load(out, path, stream);
    fclose(stream);
    return rc;
}

START_TEST(names_are_found_by_their_key_alone)
{
    struct keys *keys = NULL;

    put("# who may ask\n\nalice:secret-1\n  bob:sec:ret#2  \r\ncarol:s");
    ck_assert_int_eq(load(&keys), 0);
    ck_assert_uint_eq(keys_count(keys), 3);
    ck_assert_str_eq(keys_name(keys, "secret-1"), "alice");
    ck_assert_str_eq(keys_name(keys, "sec:ret#2"), "bob");
    ck_assert_str_eq(keys_name(keys, "s"), "carol");
    keys_free(keys);
}
END_TEST

START_TEST(what_is_near_a_key_is_not_a_key)
{
    const char key[] = "correct-horse-battery";
    struct keys *keys = NULL;
    char guess[sizeof(key) + 1];

    put("alice:correct-horse-battery\n");
    ck_assert_int_eq(load(&keys), 0);
    for (size_t i = 0; i < strlen(key); i++) {
        for (int bit = 0; bit < 7; bit++) {
            memcpy(guess, key, sizeof(key));
            guess[i] = (char)(guess[i] ^ (1 << bit));
            ck_assert_ptr_null(keys_name(keys, guess));
        }
        memcpy(guess, key, sizeof(key));
        guess[i] = '\0'; /* every prefix, the empty one, too */
        ck_assert_ptr_null(keys_name(keys, guess));
    }
    snprintf(guess, sizeof(guess), "%s%c", key, 'x');
    ck_assert_ptr_null(keys_name(keys, guess));
    ck_assert_str_eq(keys_name(keys, key), "alice");
    keys_free(keys);
}
END_TEST

START_TEST(the_longest_key_is_found_and_a_longer_one_is_not)
{
    char key[257], text[300];
    struct keys *keys = NULL;

    memset(key, 'k', 256);
    key[256] = '\0';
    snprintf(text, sizeof(text), "alice:%.255s\n", key);
    put(text);
    ck_assert_int_eq(load(&keys), 0);
    ck_assert_ptr_null(keys_name(keys, key));
    key[255] = '\0';
    ck_assert_str_eq(keys_name(keys, key), "alice");
    keys_free(keys);
}
END_TEST

START_TEST(every_fault_is_named_with_its_line_and_no_key)
{
    struct keys *keys = (struct keys *)1;
    char want[128];

    put("alice:secret-1\nno colon here\n:secret-2\nb b:secret-3\nbob:\nbob:two words\n"
        "alice:secret-4\ncarol:secret-1\n");
    ck_assert_int_eq(load(&keys), RNN_EFORMAT);
    ck_assert_ptr_eq(keys, (struct keys *)1);
    for (int line = 2; line <= 8; line++) {
        snprintf(want, sizeof(want), "%s:%d: ", path, line);
        ck_assert_msg(strstr(faults, want), "line %d is not in:\n%s", line, faults);
    }
    ck_assert_ptr_null(strstr(faults, "secret"));
    ck_assert_ptr_null(strstr(faults, "words"));
}
END_TEST

START_TEST(a_file_that_others_may_touch_is_refused)
{
    static const mode_t modes[] = {0644, 0640, 0604, 0620, 0666, 0601};
    struct keys *keys = NULL;

    put("alice:secret-1\n");
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        ck_assert_int_eq(chmod(path, modes[i]), 0);
        ck_assert_int_eq(load(&keys), RNN_EIO);
        ck_assert_ptr_nonnull(strstr(faults, "want 0600"));
    }
    ck_assert_int_eq(chmod(path, 0400), 0);
    ck_assert_int_eq(load(&keys), 0);
    keys_free(keys);
}
END_TEST

START_TEST(no_file_no_regular_file_and_no_keys_are_refused)
{
    struct keys *keys = NULL;

    put("# nobody yet\n");
    ck_assert_int_eq(load(&keys), RNN_EFORMAT);
    ck_assert_ptr_nonnull(strstr(faults, "no key in it"));

    unlink(path);
    ck_assert_int_eq(load(&keys), RNN_EIO);
    ck_assert_ptr_nonnull(strstr(faults, "No such file"));

    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(load(&keys), RNN_EIO);
    ck_assert_ptr_nonnull(strstr(faults, "regular file"));
}
END_TEST

static const struct {
    const char *list, *name;
    bool is_admin;
} admins[] = {{"", "alice", false},
              {"", "", false},
              {"   ", "alice", false},
              {"   ", "", false},
              {"alice", "alice", true},
              {"alice", "", false}, /* where no keys are asked for, a list of names admits nobody */
              {"alice", "bob", false},
              {"alice", "alic", false},
              {"alice", "alicee", false},
              {"alice", "lice", false},
              {"alice", "Alice", false},
              {"bob alice", "alice", true},
              {"bob alice carol", "alice", true},
              {"bob  alice ", "alice", true},
              {" alice", "alice", true},
              {"bobalice", "alice", false},
              {"alice.bob", "alice", false},
              {"*", "alice", true},
              {"*", "", true},
              {"bob *", "alice", true},
              {"bob *", "", true},
              {"**", "alice", false},
              {"a*", "alice", false},
              {"alice*", "alice", false}};

START_TEST(who_may_change_models)
{
    ck_assert(keys_admin(admins[_i].list, admins[_i].name) == admins[_i].is_admin);
}
END_TEST

static const struct {
    const char *list, *stranger; /* the first; NULL: none */
} lists[] = {{"", NULL},
             {"  ", NULL},
             {"*", NULL},
             {"alice", NULL},
             {" bob  alice ", NULL},
             {"alice carol", "carol"},
             {"carol alice dave", "carol"},
             {"alic", "alic"},
             {"alicee bob", "alicee"},
             {"* carol", "carol"},
             {"bob **", "**"}};

static void assert_stranger(const struct keys *keys, const char *list, const char *want)
{
    size_t len = 0;
    const char *stranger = keys_stranger(keys, list, &len);

    if (!want) {
        ck_assert_ptr_null(stranger);
        return;
    }
    ck_assert_ptr_nonnull(stranger);
    ck_assert_uint_eq(len, strlen(want));
    ck_assert_mem_eq(stranger, want, len);
}

START_TEST(an_admin_without_a_key_is_a_stranger)
{
    struct keys *keys = NULL;

    put("alice:secret-1\nbob:secret-2\n");
    ck_assert_int_eq(load(&keys), 0);
    assert_stranger(keys, lists[_i].list, lists[_i].stranger);
    keys_free(keys);
}
END_TEST

START_TEST(without_keys_every_name_is_a_stranger)
{
    assert_stranger(NULL, "", NULL);
    assert_stranger(NULL, "*", NULL);
    assert_stranger(NULL, "* alice bob", "alice");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keys");
    TCase *tcase = tcase_create("file");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, names_are_found_by_their_key_alone);
    tcase_add_test(tcase, what_is_near_a_key_is_not_a_key);
    tcase_add_test(tcase, the_longest_key_is_found_and_a_longer_one_is_not);
    tcase_add_test(tcase, every_fault_is_named_with_its_line_and_no_key);
    tcase_add_test(tcase, a_file_that_others_may_touch_is_refused);
    tcase_add_test(tcase, no_file_no_regular_file_and_no_keys_are_refused);
    tcase_add_loop_test(tcase, who_may_change_models, 0, sizeof(admins) / sizeof(admins[0]));
    tcase_add_loop_test(tcase, an_admin_without_a_key_is_a_stranger, 0,
                        sizeof(lists) / sizeof(lists[0]));
    tcase_add_test(tcase, without_keys_every_name_is_a_stranger);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
