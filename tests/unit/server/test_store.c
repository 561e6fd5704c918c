/* The store over real SQLite in a temporary folder: order, groups in which one task is at fault,
 * loads that see what was done before, damaged rows, removing while it is listed. */
#include "server/store.h"

#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

void shard_post_all(struct shard *shard, struct message *first, struct message *last)
{
    ck_assert_ptr_eq(shard, nowhere);
    pthread_mutex_lock(&lock);
    last->next = NULL;
    for (; first != NULL; first = first->next)
        back[n_back++] = (struct store_task *)first; /* its first member */
    pthread_cond_signal(&came);
    pthread_mutex_unlock(&lock);
}

void shard_post(struct shard *shard, struct message *message)
{
    shard_post_all(shard, message, message);
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

/* A commit of the stream 7, which began at a state of `begin`. */
static void commit_stream(int64_t row, unsigned char fill, unsigned char begin)
{
    struct store_facts facts = facts_of(row);
    struct store_task *task = store_task_new(STORE_COMMIT, &facts, NULL);

    ck_assert_ptr_nonnull(task);
    task->state = malloc(STATE);
    task->begin = malloc(STATE);
    ck_assert(task->state != NULL && task->begin != NULL);
    memset(task->state, fill, STATE);
    memset(task->begin, begin, STATE);
    task->stream = 7;
    task->home = nowhere;
    store_send(store, task);
}

/* Of a state whose position is that of the facts, and whose other bytes are alike. */
static struct store_task *task_of(enum store_kind kind, const struct store_facts *facts,
                                  unsigned char fill)
{
    static _Alignas(struct rnn_state) unsigned char bytes[STATE];
    struct rnn_state *state = (struct rnn_state *)(void *)bytes;
    bool with_state = kind == STORE_CREATE || kind == STORE_COMMIT || kind == STORE_POINT;
    struct store_task *task;

    memset(bytes, fill, sizeof(bytes));
    if (facts->position != 0)
        state->position = facts->position;
    task = store_task_new(kind, facts, with_state ? state : NULL);
    ck_assert_ptr_nonnull(task);
    task->home = nowhere;
    return task;
}

static void dispatch(enum store_kind kind, int64_t row, unsigned char fill, const char *point)
{
    struct store_facts facts = facts_of(row);
    struct store_task *task = task_of(kind, &facts, fill);

    if (point != NULL)
        (void)snprintf(task->point, sizeof(task->point), "%s", point);
    store_send(store, task);
}

/* Sends it and waits; it is back[0] then. */
static const struct store_task *done_with(struct store_task *task)
{
    forget_back();
    store_send(store, task);
    wait_back(1);
    return back[0];
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
static struct store_facts last_listed;

static void count_one(void *context, const struct store_facts *facts)
{
    (void)context;
    last_listed = *facts;
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

START_TEST(many_loads_at_once_get_each_its_own)
{
    for (int64_t row = 1; row <= GROUP; row++)
        dispatch(STORE_CREATE, row, (unsigned char)row, NULL);
    wait_back(GROUP);
    forget_back();
    for (size_t i = 0; i < 10; i++)
        for (int64_t row = 1; row <= GROUP; row++)
            dispatch(STORE_LOAD, row, 0, NULL);
    wait_back(10 * GROUP);
    for (size_t i = 0; i < n_back; i++) {
        ck_assert_int_eq(back[i]->rc, 0);
        ck_assert(is_filled(back[i]->state, (unsigned char)back[i]->facts.row));
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

static bool has_begin(int64_t row, unsigned char fill, unsigned char begin)
{
    ck_assert_int_eq(done(STORE_LOAD, row, 0, NULL)->rc, 0);
    ck_assert(is_filled(back[0]->state, fill));
    if (back[0]->begin == NULL)
        return false;
    ck_assert_uint_eq(back[0]->stream, 7);
    return is_filled(back[0]->begin, begin);
}

START_TEST(where_a_stream_began_is_there_until_the_next_commit)
{
    for (int64_t row = 1; row <= 2; row++)
        ck_assert_int_eq(done(STORE_CREATE, row, 1, NULL)->rc, 0);
    ck_assert(!has_begin(1, 1, 0));
    for (unsigned char fill = 2; fill < 12; fill++) {
        forget_back();
        commit_stream(1, fill, 1);
        wait_back(1);
        ck_assert_int_eq(back[0]->rc, 0);
        ck_assert(has_begin(1, fill, 1));
    }
    ck_assert_int_eq(done(STORE_POINT, 1, 9, "p")->rc, 0);
    reopen();
    ck_assert(has_begin(1, 11, 1));
    ck_assert(!has_begin(2, 1, 0));
    ck_assert_int_eq(done(STORE_COMMIT, 1, 12, NULL)->rc, 0);
    ck_assert(!has_begin(1, 12, 0));
}
END_TEST

START_TEST(damage_to_it_costs_no_session)
{
    for (int64_t row = 1; row <= 3; row++) {
        ck_assert_int_eq(done(STORE_CREATE, row, 1, NULL)->rc, 0);
        forget_back();
        commit_stream(row, 2, 1);
        wait_back(1);
    }
    sql("UPDATE state SET begin=x'00' WHERE row=1;"
        "UPDATE state SET begin=NULL WHERE row=2;"
        "UPDATE state SET begin=(SELECT begin FROM state WHERE row=1) WHERE row=3;");
    for (int64_t row = 1; row <= 3; row++)
        ck_assert(!has_begin(row, 2, 0));
}
END_TEST

START_TEST(other_weights_know_no_stream_of_these)
{
    struct store_facts facts = facts_of(1);
    struct store_task *task;

    ck_assert_int_eq(done(STORE_CREATE, 1, 1, NULL)->rc, 0);
    forget_back();
    commit_stream(1, 2, 1);
    wait_back(1);
    forget_back();
    task = store_task_new(STORE_MOVE, &facts, NULL);
    ck_assert_ptr_nonnull(task);
    memcpy(task->moved_from, fingerprint, sizeof(fingerprint));
    task->home = nowhere;
    store_send(store, task);
    wait_back(1);
    ck_assert_int_eq(back[0]->rc, 0);
    ck_assert(!has_begin(1, 2, 0));
}
END_TEST

static void create_from(int64_t row, const char *name, unsigned char initial)
{
    struct store_facts facts = facts_of(row);
    struct store_task *task = task_of(STORE_CREATE, &facts, 1);

    (void)snprintf(task->initial.name, sizeof(task->initial.name), "%s", name);
    if (name[0] == '\0') {
        task->initial.state = malloc(STATE);
        ck_assert_ptr_nonnull(task->initial.state);
        memset(task->initial.state, initial, STATE);
    }
    ck_assert_int_eq(done_with(task)->rc, 0);
}

static void assert_resets(int64_t row, const char *weights, bool to_state)
{
    struct store_facts facts = facts_of(row);
    const struct store_task *task;

    memcpy(facts.fingerprint, weights, sizeof(facts.fingerprint));
    task = done_with(task_of(STORE_LOAD, &facts, 0));
    ck_assert_int_eq(task->rc, 0);
    ck_assert_uint_eq(task->n_points, to_state);
    ck_assert_str_eq(task->initial.name, to_state ? "" : "calm");
    ck_assert_int_eq(task->initial.state != NULL, to_state);
    ck_assert(!to_state || is_filled(task->initial.state, 7));
}

static const char moved_to[] = "ffffffffffffffff0123456789abcdef0123456789abcdef0123456789abcdef";

static struct store_task *move_of(int64_t row, const char *from)
{
    struct store_facts facts = facts_of(row);
    struct store_task *task;

    facts.used_ms = 77;
    memcpy(facts.fingerprint, moved_to, sizeof(facts.fingerprint));
    task = task_of(STORE_MOVE, &facts, 0);
    memcpy(task->moved_from, from, sizeof(task->moved_from));
    return task;
}

/* Beside the snapshots, and none of them; also when the session goes over to other weights. */
START_TEST(where_a_reset_goes_is_kept_with_the_session)
{
    create_from(1, "", 7);
    create_from(2, "calm", 0);
    ck_assert_int_eq(done(STORE_POINT, 1, 2, "a")->rc, 0);
    for (int64_t row = 1; row <= 2; row++) {
        assert_resets(row, fingerprint, row == 1);
        ck_assert_int_eq(done_with(move_of(row, fingerprint))->rc, 0);
    }
    reopen();
    for (int64_t row = 1; row <= 2; row++)
        assert_resets(row, moved_to, row == 1);
    forget_back();
    sql("UPDATE point SET image=zeroblob(70) WHERE name='=name'");
    ck_assert_int_eq(done(STORE_LOAD, 2, 0, NULL)->rc, RNN_ESHAPE); /* of other weights now */
}
END_TEST

/* ---- Moves ---- */

/* A session at 9, with a snapshot. */
static void create_to_move(void)
{
    struct store_facts facts = facts_of(1);

    facts.position = 9;
    ck_assert_int_eq(done_with(task_of(STORE_CREATE, &facts, 1))->rc, 0);
    ck_assert_int_eq(done(STORE_POINT, 1, 2, "a")->rc, 0);
}

/* Listed and loaded as of these weights, and of no others. */
static void assert_stands_on(const char *weights, const char *not_on)
{
    struct store_facts facts = facts_of(1);
    const struct store_task *task;

    ck_assert_uint_eq(listed(), 1);
    ck_assert_str_eq(last_listed.fingerprint, weights);
    ck_assert_uint_eq(last_listed.position, 9);
    memcpy(facts.fingerprint, weights, sizeof(facts.fingerprint));
    task = done_with(task_of(STORE_LOAD, &facts, 0));
    ck_assert_int_eq(task->rc, 0);
    ck_assert_uint_eq(task->state->position, 9);
    ck_assert_uint_eq(task->n_points, 1);
    ck_assert_str_eq(task->points[0].name, "a");
    ck_assert(is_filled(task->points[0].state, 2));
    memcpy(facts.fingerprint, not_on, sizeof(facts.fingerprint));
    ck_assert_int_eq(done_with(task_of(STORE_LOAD, &facts, 0))->rc, RNN_ESHAPE);
}

START_TEST(a_move_takes_all_of_a_session_to_other_weights)
{
    create_to_move();
    assert_stands_on(fingerprint, moved_to);
    ck_assert_int_eq(done_with(move_of(1, fingerprint))->rc, 0);
    ck_assert_ptr_null(back[0]->state); /* nothing of it is handed out */
    assert_stands_on(moved_to, fingerprint);
    ck_assert_int_eq(last_listed.used_ms, 77);
    reopen();
    assert_stands_on(moved_to, fingerprint);
}
END_TEST

START_TEST(a_move_from_other_weights_than_it_has_changes_nothing)
{
    create_to_move();
    ck_assert_int_eq(done_with(move_of(1, moved_to))->rc, RNN_ESHAPE);
    assert_stands_on(fingerprint, moved_to);
    ck_assert_int_eq(last_listed.used_ms, 6);
    sql("UPDATE point SET image=x'00'"); /* damage, of which nothing is taken over either */
    ck_assert_int_eq(done_with(move_of(1, fingerprint))->rc, RNN_EFORMAT);
    ck_assert_uint_eq(listed(), 1);
    ck_assert_str_eq(last_listed.fingerprint, fingerprint);
}
END_TEST

START_TEST(a_move_of_nobody_is_told)
{
    create_to_move();
    ck_assert_int_eq(done_with(move_of(2, fingerprint))->rc, RNN_ENOENT);
    ck_assert_uint_eq(listed(), 1);
}
END_TEST

/* ---- Death and damage ---- */

enum { MORTALS = 8, DEATHS = 12 };

/* Commits one after another to each of MORTALS sessions, telling `fd` what was acknowledged; until
 * it is killed.  used_ms is a thousand times the position. */
_Noreturn static void live(int fd, uint64_t position)
{
    open_store();
    for (;; position++) {
        for (int64_t row = 1; row <= MORTALS; row++) {
            struct store_facts facts = facts_of(row);

            facts.position = position;
            facts.used_ms = 1000 * (int64_t)position;
            store_send(store, task_of(position == 1 ? STORE_CREATE : STORE_COMMIT, &facts, 0));
        }
        wait_back(MORTALS);
        forget_back();
        if (write(fd, &position, sizeof(position)) != (ssize_t)sizeof(position))
            abort();
    }
}

/* Kills it some acknowledgements later; the newest that it told. */
static uint64_t live_and_die(uint64_t position, int deaths)
{
    int pipes[2];
    pid_t child;

    ck_assert_int_eq(pipe(pipes), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        live(pipes[1], position);
    (void)close(pipes[1]);
    for (int i = 0; i < 3 + 7 * deaths; i++)
        ck_assert_int_eq(read(pipes[0], &position, sizeof(position)), sizeof(position));
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    while (read(pipes[0], &position, sizeof(position)) == (ssize_t)sizeof(position))
        ;
    (void)close(pipes[0]);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    return position;
}

static void assert_agrees(void *context, const struct store_facts *facts)
{
    uint64_t *positions = context;

    positions[facts->row - 1] = facts->position;
    ck_assert_int_eq(facts->used_ms, 1000 * (int64_t)facts->position);
    n_listed++;
}

START_TEST(facts_and_state_agree_whenever_it_is_killed)
{
    uint64_t positions[MORTALS], acknowledged = 0;

    for (int deaths = 0; deaths < DEATHS; deaths++) {
        forget_back();
        store_close(store);
        acknowledged = live_and_die(acknowledged + 1, deaths);
        open_store();
        n_listed = 0;
        ck_assert_int_eq(store_each(store, assert_agrees, positions, NULL), 0);
        ck_assert_uint_eq(n_listed, MORTALS);
        for (int64_t row = 1; row <= MORTALS; row++) {
            ck_assert_uint_ge(positions[row - 1], acknowledged);
            ck_assert_uint_le(positions[row - 1], acknowledged + 1);
            ck_assert_int_eq(done(STORE_LOAD, row, 0, NULL)->rc, 0);
            ck_assert_uint_eq(back[0]->state->position, positions[row - 1]);
        }
    }
}
END_TEST

static int on_form(void *form, int n, char **values, char **names)
{
    (void)n;
    (void)names;
    *(int *)form = atoi(values[0]);
    return 0;
}

static int form_of_store(void)
{
    char path[512];
    sqlite3 *db;
    int form = 0;

    (void)snprintf(path, sizeof(path), "%s/sessions.db", dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA user_version", on_form, &form, NULL), SQLITE_OK);
    sqlite3_close(db);
    return form;
}

START_TEST(a_store_of_an_older_form_is_refused_and_says_what_to_do)
{
    struct rnn_err err = {0};
    char text[64];

    ck_assert_int_eq(done(STORE_CREATE, 1, 1, NULL)->rc, 0);
    forget_back();
    store_close(store);
    (void)snprintf(text, sizeof(text), "PRAGMA user_version=%d", form_of_store());
    sql("PRAGMA user_version=1");
    store = NULL;
    ck_assert_int_eq(store_open(&store, dir, STORE_PROCESS, &err), RNN_EFORMAT);
    ck_assert_ptr_null(store);
    ck_assert_ptr_nonnull(strstr(err.text, "form 1"));
    ck_assert_ptr_nonnull(strstr(err.text, "move the file away"));
    ck_assert_int_eq(form_of_store(), 1); /* nothing was done to it */
    sql(text);
    open_store();
    ck_assert_uint_eq(listed(), 1);
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

static size_t deepest;

static void remove_it(void *context, const struct store_facts *facts)
{
    struct store_task *task = store_task_new(STORE_REMOVE, facts, NULL);

    (void)context;
    n_listed++;
    store_send(store, task); /* nobody waits */
    if (store_depth(store) > deepest)
        deepest = store_depth(store);
}

START_TEST(what_is_listed_may_be_removed_meanwhile)
{
    enum { MANY = 3000 };

    for (int64_t row = 1; row <= MANY; row++)
        dispatch(STORE_CREATE, row, 1, NULL);
    wait_back(MANY);
    reopen();
    n_listed = deepest = 0;
    ck_assert_int_eq(store_each(store, remove_it, NULL, NULL), 0);
    ck_assert_uint_eq(n_listed, MANY);
    ck_assert_uint_le(deepest, 2048); /* they do not pile up */
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
    tcase_add_test(tcase, many_loads_at_once_get_each_its_own);
    tcase_add_test(tcase, one_at_fault_harms_no_other_of_its_group);
    tcase_add_test(tcase, points_come_with_their_session_and_go_with_it);
    tcase_add_test(tcase, where_a_stream_began_is_there_until_the_next_commit);
    tcase_add_test(tcase, damage_to_it_costs_no_session);
    tcase_add_test(tcase, other_weights_know_no_stream_of_these);
    tcase_add_test(tcase, where_a_reset_goes_is_kept_with_the_session);
    tcase_add_test(tcase, a_move_takes_all_of_a_session_to_other_weights);
    tcase_add_test(tcase, a_move_from_other_weights_than_it_has_changes_nothing);
    tcase_add_test(tcase, a_move_of_nobody_is_told);
    tcase_add_test(tcase, facts_and_state_agree_whenever_it_is_killed);
    tcase_add_test(tcase, a_store_of_an_older_form_is_refused_and_says_what_to_do);
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
