/* The store over real SQLite in a temporary folder: order, groups in which one task is at fault,
 * loads that see what was done before, damaged rows, removing while it is listed. */
#include "server/store.h"

#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATE = sizeof(struct rnn_state) + 4096, GROUP = 100 };

static const char fingerprint[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static char dir[] = "/tmp/rnnd-test-store-XXXXXX";
static struct store *store;

/* ---- A shard that only collects what comes back ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t came = PTHREAD_COND_INITIALIZER;
static struct store_task *back[4096]; /* in order of coming back */
static size_t n_back;
static struct shard *const nowhere = (struct shard *)&lock; /* an address, never looked into */

void shard_post(struct shard *shard, struct message *message)
{
    (void)shard;
    pthread_mutex_lock(&lock);
    back[n_back++] = (struct store_task *)message; /* its first member */
    pthread_cond_signal(&came);
    pthread_mutex_unlock(&lock);
}

static void wait_back(size_t n)
{
    pthread_mutex_lock(&lock);
    while (n_back < n)
        pthread_cond_wait(&came, &lock);
    pthread_mutex_unlock(&lock);
}

static void forget_back(void)
{
    for (size_t i = 0; i < n_back; i++)
        store_task_free(back[i]);
    n_back = 0;
}

/* ---- Tasks ---- */

static struct store_facts facts_of(int64_t row)
{
    struct store_facts facts = {.row = row,
                                .model = "m",
                                .created_ms = 5,
                                .used_ms = 6,
                                .ttl_ms = 1000,
                                .state_bytes = STATE};

    (void)snprintf(facts.id, sizeof(facts.id), "s%lld", (long long)row);
    memcpy(facts.fingerprint, fingerprint, sizeof(facts.fingerprint));
    return facts;
}

static void dispatch(enum store_kind kind, int64_t row, unsigned char fill, const char *point)
{
    static _Alignas(struct rnn_state) unsigned char state[STATE];
    struct store_facts facts = facts_of(row);
    bool with_state = kind == STORE_CREATE || kind == STORE_COMMIT || kind == STORE_POINT;
    struct store_task *task;

    memset(state, fill, sizeof(state));
    task = store_task_new(kind, &facts, with_state ? (const void *)state : NULL);
    ck_assert_ptr_nonnull(task);
    if (point != NULL)
        (void)snprintf(task->point, sizeof(task->point), "%s", point);
    task->home = nowhere;
    store_send(store, task);
}

/* Sends one and waits; it is back[0] then. */
static const struct store_task *done(enum store_kind kind, int64_t row, unsigned char fill,
                                     const char *point)
{
    forget_back();
    dispatch(kind, row, fill, point);
    wait_back(1);
    return back[0];
}

static bool is_filled(const struct rnn_state *state, unsigned char fill)
{
    const unsigned char *bytes = (const void *)state;

    for (size_t i = 0; i < STATE; i++)
        if (bytes[i] != fill)
            return false;
    return true;
}

static void open_store(void)
{
    ck_assert_int_eq(store_open(&store, dir, STORE_PROCESS, NULL), 0);
}

static void reopen(void)
{
    forget_back();
    store_close(store);
    open_store();
}

static void setup(void)
{
    strcpy(dir + sizeof(dir) - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    open_store();
}

static void teardown(void)
{
    DIR *folder;
    const struct dirent *entry;
    char path[512];

    forget_back();
    ck_assert_uint_eq(store_depth(store), 0);
    store_close(store);
    folder = opendir(dir);
    ck_assert_ptr_nonnull(folder);
    while ((entry = readdir(folder)) != NULL) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        (void)unlink(path); /* the folders in it are itself and its parent */
    }
    closedir(folder);
    ck_assert_int_eq(rmdir(dir), 0);
}

static void sql(const char *text)
{
    char path[512];
    sqlite3 *db;

    (void)snprintf(path, sizeof(path), "%s/sessions.db", dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    ck_assert_int_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static size_t n_listed;

static void count_one(void *context, const struct store_facts *facts)
{
    (void)context;
    ck_assert_str_eq(facts->fingerprint, fingerprint);
    n_listed++;
}

static size_t listed(void)
{
    n_listed = 0;
    ck_assert_int_eq(store_each(store, count_one, NULL, NULL), 0);
    return n_listed;
}

/* ---- The promises ---- */

START_TEST(a_load_sees_what_was_done_before_it)
{
    ck_assert_int_eq(done(STORE_CREATE, 1, 1, NULL)->rc, 0);
    for (unsigned char fill = 2; fill < 50; fill++) {
        ck_assert_int_eq(done(STORE_COMMIT, 1, fill, NULL)->rc, 0);
        ck_assert_int_eq(done(STORE_LOAD, 1, 0, NULL)->rc, 0);
        ck_assert(is_filled(back[0]->state, fill));
    }
    reopen();
    ck_assert_int_eq(done(STORE_LOAD, 1, 0, NULL)->rc, 0);
    ck_assert(is_filled(back[0]->state, 49));
}
END_TEST

START_TEST(what_is_sent_in_order_is_done_in_order)
{
    for (int64_t row = 1; row <= GROUP; row++)
        dispatch(STORE_CREATE, row, 1, NULL);
    for (unsigned char fill = 2; fill < 12; fill++)
        for (int64_t row = 1; row <= GROUP; row++)
            dispatch(STORE_COMMIT, row, fill, NULL);
    wait_back(11 * GROUP);
    for (size_t i = 0; i < n_back; i++) {
        ck_assert_int_eq(back[i]->rc, 0);
        ck_assert_int_eq(back[i]->facts.row, (int64_t)(i % GROUP) + 1);
    }
    for (int64_t row = 1; row <= GROUP; row++) {
        ck_assert_int_eq(done(STORE_LOAD, row, 0, NULL)->rc, 0);
        ck_assert(is_filled(back[0]->state, 11));
    }
}
END_TEST

START_TEST(one_at_fault_harms_no_other_of_its_group)
{
    for (int64_t row = 1; row <= GROUP; row++) {
        dispatch(STORE_CREATE, row, 7, NULL);
        dispatch(STORE_COMMIT, 1000 + row, 8, NULL); /* of no such session */
    }
    wait_back(2 * GROUP);
    for (size_t i = 0; i < n_back; i++)
        ck_assert_int_eq(back[i]->rc, i % 2 == 0 ? 0 : RNN_ENOENT);
    ck_assert_uint_eq(listed(), GROUP);
    reopen();
    ck_assert_uint_eq(listed(), GROUP);
}
END_TEST

START_TEST(points_come_with_their_session_and_go_with_it)
{
    ck_assert_int_eq(done(STORE_CREATE, 1, 1, NULL)->rc, 0);
    ck_assert_int_eq(done(STORE_POINT, 1, 2, "b")->rc, 0);
    ck_assert_int_eq(done(STORE_POINT, 1, 3, "a")->rc, 0);
    ck_assert_int_eq(done(STORE_POINT, 1, 4, "b")->rc, 0);
    ck_assert_int_eq(done(STORE_LOAD, 1, 0, NULL)->rc, 0);
    ck_assert_uint_eq(back[0]->n_points, 2);
    ck_assert_str_eq(back[0]->points[0].name, "a");
    ck_assert(is_filled(back[0]->points[0].state, 3));
    ck_assert(is_filled(back[0]->points[1].state, 4));
    ck_assert_int_eq(done(STORE_FORGET, 1, 0, "a")->rc, 0);
    ck_assert_int_eq(done(STORE_LOAD, 1, 0, NULL)->rc, 0);
    ck_assert_uint_eq(back[0]->n_points, 1);
    ck_assert_int_eq(done(STORE_REMOVE, 1, 0, NULL)->rc, 0);
    ck_assert_int_eq(done(STORE_LOAD, 1, 0, NULL)->rc, RNN_ENOENT);
    ck_assert_int_eq(done(STORE_POINT, 1, 5, "late")->rc, 0); /* of nobody: nothing is written */
    ck_assert_int_eq(done(STORE_CREATE, 1, 6, NULL)->rc, 0);
    ck_assert_int_eq(done(STORE_LOAD, 1, 0, NULL)->rc, 0);
    ck_assert_uint_eq(back[0]->n_points, 0);
}
END_TEST

static void create_from(int64_t row, const char *name, unsigned char initial)
{
    struct store_facts facts = facts_of(row);
    static _Alignas(struct rnn_state) unsigned char state[STATE];
    struct store_task *task;

    forget_back();
    memset(state, 1, sizeof(state));
    task = store_task_new(STORE_CREATE, &facts, (const void *)state);
    ck_assert_ptr_nonnull(task);
    (void)snprintf(task->initial.name, sizeof(task->initial.name), "%s", name);
    if (name[0] == '\0') {
        task->initial.state = malloc(STATE);
        ck_assert_ptr_nonnull(task->initial.state);
        memset(task->initial.state, initial, STATE);
    }
    task->home = nowhere;
    store_send(store, task);
    wait_back(1);
    ck_assert_int_eq(back[0]->rc, 0);
}

/* Beside the snapshots, and none of them; also when the session goes over to other weights. */
START_TEST(where_a_reset_goes_is_kept_with_the_session)
{
    char other[65];

    create_from(1, "", 7);
    create_from(2, "calm", 0);
    ck_assert_int_eq(done(STORE_POINT, 1, 2, "a")->rc, 0);
    memcpy(other, fingerprint, sizeof(other));
    other[0] = other[0] == '0' ? '1' : '0';
    for (int moved = 0; moved < 2; moved++) {
        for (int64_t row = 1; row <= 2; row++) {
            struct store_facts facts = facts_of(row);
            struct store_task *task;

            if (moved)
                memcpy(facts.fingerprint, other, sizeof(other));
            forget_back();
            task = store_task_new(STORE_LOAD, &facts, NULL);
            task->home = nowhere;
            store_send(store, task);
            wait_back(1);
            ck_assert_int_eq(back[0]->rc, 0);
            ck_assert_uint_eq(back[0]->n_points, row == 1);
            ck_assert_str_eq(back[0]->initial.name, row == 1 ? "" : "calm");
            ck_assert_int_eq(back[0]->initial.state != NULL, row == 1);
            ck_assert(row == 2 || is_filled(back[0]->initial.state, 7));
            if (moved)
                continue;
            forget_back();
            memcpy(facts.fingerprint, other, sizeof(other));
            task = store_task_new(STORE_MOVE, &facts, NULL);
            memcpy(task->moved_from, fingerprint, sizeof(task->moved_from));
            task->home = nowhere;
            store_send(store, task);
            wait_back(1);
            ck_assert_int_eq(back[0]->rc, 0);
        }
        reopen();
    }
    forget_back();
    sql("UPDATE point SET image=zeroblob(70) WHERE name='=name'");
    ck_assert_int_eq(done(STORE_LOAD, 2, 0, NULL)->rc, RNN_ESHAPE); /* of other weights now */
}
END_TEST

START_TEST(damaged_rows_are_told_and_passed_over)
{
    for (int64_t row = 1; row <= 5; row++)
        ck_assert_int_eq(done(STORE_CREATE, row, (unsigned char)row, NULL)->rc, 0);
    sql("UPDATE session SET id='a/b' WHERE row=2; UPDATE session SET fingerprint='0' WHERE row=4;"
        "UPDATE state SET image=(SELECT image FROM state WHERE row=3) WHERE row=1;"
        "UPDATE state SET image=x'00' WHERE row=5;");
    reopen();
    ck_assert_uint_eq(listed(), 3);
    ck_assert_int_eq(done(STORE_LOAD, 1, 0, NULL)->rc, RNN_ESHAPE);
    ck_assert_int_eq(done(STORE_LOAD, 3, 0, NULL)->rc, 0);
    ck_assert_int_eq(done(STORE_LOAD, 5, 0, NULL)->rc, RNN_EFORMAT);
}
END_TEST

static void remove_it(void *context, const struct store_facts *facts)
{
    struct store_task *task = store_task_new(STORE_REMOVE, facts, NULL);

    (void)context;
    n_listed++;
    store_send(store, task); /* nobody waits */
}

START_TEST(what_is_listed_may_be_removed_meanwhile)
{
    enum { MANY = 3000 };

    for (int64_t row = 1; row <= MANY; row++)
        dispatch(STORE_CREATE, row, 1, NULL);
    wait_back(MANY);
    reopen();
    n_listed = 0;
    ck_assert_int_eq(store_each(store, remove_it, NULL, NULL), 0);
    ck_assert_uint_eq(n_listed, MANY);
    ck_assert_int_eq(done(STORE_CREATE, MANY + 1, 9, NULL)->rc, 0);
    ck_assert_uint_eq(listed(), 1);
}
END_TEST

START_TEST(rows_are_not_given_twice)
{
    int64_t row = store_row(store);

    ck_assert_int_eq(store_row(store), row + 1);
    ck_assert_int_eq(done(STORE_CREATE, row + 1, 1, NULL)->rc, 0);
    reopen();
    ck_assert_int_eq(store_row(store), row + 2);
}
END_TEST

START_TEST(a_folder_is_of_one_store)
{
    struct store *other = NULL;

    ck_assert_int_eq(store_open(&other, dir, STORE_PROCESS, NULL), RNN_EBUSY);
    ck_assert_ptr_null(other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *tcase = tcase_create("store");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_load_sees_what_was_done_before_it);
    tcase_add_test(tcase, what_is_sent_in_order_is_done_in_order);
    tcase_add_test(tcase, one_at_fault_harms_no_other_of_its_group);
    tcase_add_test(tcase, points_come_with_their_session_and_go_with_it);
    tcase_add_test(tcase, where_a_reset_goes_is_kept_with_the_session);
    tcase_add_test(tcase, damaged_rows_are_told_and_passed_over);
    tcase_add_test(tcase, what_is_listed_may_be_removed_meanwhile);
    tcase_add_test(tcase, rows_are_not_given_twice);
    tcase_add_test(tcase, a_folder_is_of_one_store);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
