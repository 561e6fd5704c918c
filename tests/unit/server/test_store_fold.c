/* Folding over real SQLite: a log that starts over however busy writer and reader are, what is read
 * meanwhile, and a disk that fails to take it. */
#include "server/store_fold.h"

#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/store_db.h"

enum { STATE = sizeof(struct rnn_state) + 4096, SESSIONS = 20, COMMITS = 5000 };

static const struct store_fold_limits
    limits = {.fold = 200, .rest = 20, .pace = 800, .full = 3000, .idle_ms = 20},
    without_pace = {
        .fold = 200, .rest = 20, .pace = SIZE_MAX, .full = SIZE_MAX, .idle_ms = 3600000};

static char dir[] = "/tmp/rnnd-test-fold-XXXXXX", path[64];
static struct db *writer, *reader, *folder;
static struct store_fold *fold;
static atomic_bool fail_syncs, slow_syncs; /* of the database's file */

static bool is_database(int fd)
{
    struct stat file, database;

    return fstat(fd, &file) == 0 && stat(path, &database) == 0 && file.st_ino == database.st_ino;
}

/* In the place of libc's, which SQLite calls. */
int fdatasync(int fd)
{
    static int (*real)(int fd);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    if (atomic_load(&slow_syncs) && is_database(fd))
        usleep(50000);
    if (!atomic_load(&fail_syncs) || !is_database(fd))
        return real(fd);
    errno = EIO;
    return -1;
}

static void open_with(const struct store_fold_limits *with)
{
    ck_assert_int_eq(db_open(&writer, path, STORE_PROCESS, 1024, NULL), 0);
    ck_assert_int_eq(db_open(&reader, path, STORE_PROCESS, 1024, NULL), 0);
    ck_assert_int_eq(db_open(&folder, path, STORE_PROCESS, 1024, NULL), 0);
    ck_assert_int_eq(store_fold_start(&fold, folder, with, NULL), 0);
}

static void close_all(void)
{
    if (store_fold_broken(fold))
        db_keep_log(writer);
    store_fold_end(fold);
    db_close(folder);
    db_close(reader);
    db_close(writer);
}

static void setup(void)
{
    strcpy(dir + sizeof(dir) - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/sessions.db", dir);
    atomic_store(&fail_syncs, false);
    atomic_store(&slow_syncs, false);
    open_with(&limits);
}

static void teardown(void)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    char name[80];

    close_all();
    for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, endings[i]);
        (void)unlink(name); /* there or not */
    }
    ck_assert_int_eq(rmdir(dir), 0);
}

static struct store_task task_of(enum store_kind kind, int64_t row)
{
    struct store_task task = {.kind = kind,
                              .facts = {.row = row,
                                        .id = "s",
                                        .model = "m",
                                        .created_ms = 1,
                                        .used_ms = 2,
                                        .ttl_ms = 3,
                                        .state_bytes = STATE}};

    memset(task.facts.fingerprint, 'a', 64);
    return task;
}

static _Alignas(struct rnn_state) unsigned char state[STATE];

/* The state's bytes all say which commit it was. */
static void write_one(enum store_kind kind, int64_t row, unsigned char fill)
{
    struct store_task task = task_of(kind, row);

    memset(state, fill, sizeof(state));
    task.state = (struct rnn_state *)(void *)state;
    ck_assert_int_eq(db_begin(writer, NULL), 0);
    ck_assert_int_eq(db_do(writer, &task, NULL), 0);
    ck_assert_int_eq(db_commit(writer, NULL), 0);
    store_fold_turn(fold, writer);
}

/* Its bytes, which must be alike. */
static unsigned char read_one(int64_t row)
{
    struct store_task task = task_of(STORE_LOAD, row);
    const unsigned char *bytes;
    unsigned char fill;

    store_fold_read_begin(fold);
    ck_assert_int_eq(db_do(reader, &task, NULL), 0);
    store_fold_read_end(fold);
    bytes = (const void *)task.state;
    fill = bytes[0];
    for (size_t i = 0; i < STATE; i++)
        ck_assert_uint_eq(bytes[i], fill);
    store_task_clear(&task);
    return fill;
}

static void create_all(void)
{
    for (int64_t row = 1; row <= SESSIONS; row++)
        write_one(STORE_CREATE, row, 0);
}

/* ---- The promises ---- */

static atomic_bool ends;

static void *read_on(void *argument)
{
    size_t *n = argument;

    for (; !atomic_load(&ends); ++*n)
        (void)read_one(1 + (int64_t)(*n % SESSIONS));
    return NULL;
}

/* Each row's next state, in turns; true where the log has started over. */
static bool commit_next(size_t i)
{
    size_t before = db_log_pages(writer);

    write_one(STORE_COMMIT, 1 + (int64_t)(i % SESSIONS), (unsigned char)(i / SESSIONS));
    return db_log_pages(writer) < before;
}

static void assert_all(size_t n_commits)
{
    close_all(); /* the reader's connection may have been of another thread */
    open_with(&limits);
    for (size_t i = n_commits - SESSIONS; i < n_commits; i++)
        ck_assert_uint_eq(read_one(1 + (int64_t)(i % SESSIONS)), (unsigned char)(i / SESSIONS));
}

/* Nobody ever waits here, so that no pass finds all of the log. */
START_TEST(the_log_starts_over_however_busy_all_are)
{
    size_t n_read = 0, n_starts = 0, i = 0;
    pthread_t thread;

    close_all();
    open_with(&without_pace);
    create_all();
    atomic_store(&ends, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_on, &n_read), 0);
    while (n_starts < 5 && i < 100 * COMMITS)
        n_starts += commit_next(i++);
    atomic_store(&ends, true);
    (void)pthread_join(thread, NULL);
    ck_assert_uint_gt(n_read, 0);
    ck_assert_uint_eq(n_starts, 5);
    assert_all(i);
}
END_TEST

START_TEST(the_writer_waits_for_a_slow_disk)
{
    size_t longest = 0;

    atomic_store(&slow_syncs, true);
    create_all();
    for (size_t i = 0; i < COMMITS; i++) {
        (void)commit_next(i);
        if (db_log_pages(writer) > longest)
            longest = db_log_pages(writer);
    }
    ck_assert_uint_ge(longest, limits.fold);
    ck_assert_uint_le(longest, limits.full + limits.fold);
    assert_all(COMMITS);
}
END_TEST

static off_t size_of_log(void)
{
    char name[80];
    struct stat file;

    (void)snprintf(name, sizeof(name), "%s-wal", path);
    return stat(name, &file) == 0 ? file.st_size : 0;
}

START_TEST(what_the_disk_does_not_take_stays_in_the_log)
{
    create_all();
    atomic_store(&fail_syncs, true);
    for (size_t i = 0; i < COMMITS && !store_fold_broken(fold); i++)
        write_one(STORE_COMMIT, 1 + (int64_t)(i % SESSIONS), (unsigned char)(i / SESSIONS));
    ck_assert(store_fold_broken(fold));
    atomic_store(&fail_syncs, false); /* a later success says nothing of what was lost before */
    for (size_t i = 0; i < 2 * limits.fold; i++)
        write_one(STORE_COMMIT, 1 + (int64_t)(i % SESSIONS), (unsigned char)(100 + i / SESSIONS));
    ck_assert_uint_gt(db_log_pages(writer), 2 * limits.fold);
    close_all();
    ck_assert_int_gt(size_of_log(), 4096 * 2 * (off_t)limits.fold);
    open_with(&limits);
    for (int64_t row = 1; row <= SESSIONS; row++)
        ck_assert_uint_eq(read_one(row), 100 + 2 * limits.fold / SESSIONS - 1);
}
END_TEST

static void await_empty_log(void)
{
    while (size_of_log() > 0)
        usleep(1000);
}

START_TEST(a_store_at_rest_has_an_empty_log)
{
    create_all();
    ck_assert_uint_gt(db_log_pages(writer), 0);
    await_empty_log();
    for (size_t i = 0; i < SESSIONS; i++)
        (void)commit_next(i);
    ck_assert_uint_gt(db_log_pages(writer), 0);
    await_empty_log();
    assert_all(SESSIONS);
}
END_TEST

START_TEST(so_has_one_that_was_killed_and_is_opened_again)
{
    create_all();
    db_keep_log(writer);
    close_all();
    ck_assert_int_gt(size_of_log(), 0);
    open_with(&limits);
    await_empty_log();
    for (int64_t row = 1; row <= SESSIONS; row++)
        ck_assert_uint_eq(read_one(row), 0);
}
END_TEST

/* Pauses as long as it takes to begin with it, so that commits and reads come at every moment. */
START_TEST(what_is_written_while_the_log_is_emptied_is_there)
{
    static const struct store_fold_limits eager = {
        .fold = 200, .rest = 20, .pace = 800, .full = 3000, .idle_ms = 1};
    size_t n_read = 0, n_starts = 0, i = 0;
    pthread_t thread;

    close_all();
    open_with(&eager);
    create_all();
    atomic_store(&ends, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_on, &n_read), 0);
    while (n_starts < 50 || i < 2 * SESSIONS) {
        usleep((useconds_t)(i * 7919 % 5000));
        n_starts += commit_next(i++);
    }
    atomic_store(&ends, true);
    (void)pthread_join(thread, NULL);
    assert_all(i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fold");
    TCase *tcase = tcase_create("store_fold");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_log_starts_over_however_busy_all_are);
    tcase_add_test(tcase, the_writer_waits_for_a_slow_disk);
    tcase_add_test(tcase, what_the_disk_does_not_take_stays_in_the_log);
    tcase_add_test(tcase, a_store_at_rest_has_an_empty_log);
    tcase_add_test(tcase, so_has_one_that_was_killed_and_is_opened_again);
    tcase_add_test(tcase, what_is_written_while_the_log_is_emptied_is_there);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
