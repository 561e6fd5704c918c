/* The store's threads and lines.  See store.h; the database is in store_db.c.
 *
 * The writer takes whatever waits, up to a bound, into one transaction.  Where that fails, the
 * tasks are tried one by one, so that each hears of its own fate: on a full disk a small write may
 * still find room, and one that is at fault harms no other.  A task is handed back only after the
 * commit.  (Two commits of one session rarely meet in a group: unless durability is `none`, the
 * first is answered before there is a second.  Leaving it out was not worth the search, nor was
 * waiting for a group to fill, which keeps the shard idle for longer than it saves the disk.)
 *
 * Four readers take a task each: where the pages are not in memory they wait for the disk side by
 * side and give three times as many states a second; where they are, one would do, at 20 us each.
 *
 * The folder is held by a lock on a file of its own, which the kernel lets go with the process. */
#include "server/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/log.h"
#include "server/store_ahead.h"
#include "server/store_db.h"
#include "server/store_fold.h"
#include "server/store_lane.h"

enum {
    GROUP_MAX = 512,    /* tasks in one transaction */
    FACTS_MAX = 1024,   /* sessions read in one go */
    READERS = 4,        /* that wait for the disk side by side */
    WRITER_KIB = 16384, /* pages in memory, of each connection */
    READER_KIB = 4096,
    SMALL_KIB = 256,
    TOLD_MAX = 100 /* rows that are damaged together and logged each */
};

/* Folded from 128 MiB on: short enough for a start to read it in a moment, long enough for what the
 * writer folds of it to be rare.  It grows to 1 GiB where the disk is slow.  Emptied after some
 * seconds without a commit. */
static const struct store_fold_limits limits = {
    .fold = 32768, .rest = 1024, .pace = 65536, .full = 262144, .idle_ms = 3000};

struct reader {
    struct store *store;
    struct db *db;
};

struct store {
    struct store_lane writer, reading;
    struct db *writer_db, *fold_db;
    struct reader readers[READERS];
    struct store_fold *fold;
    enum store_durability durability;
    char path[4200]; /* of the database */
    int lock_fd;
    _Atomic int64_t last_row;
    atomic_size_t depth;
    bool failing; /* the writer's last group failed: logged already */
};

/* ---- Tasks ---- */

static size_t count(const struct store_task *list)
{
    size_t n = 0;

    for (; list != NULL; list = list->next)
        n++;
    return n;
}

/* Those of the list that nobody waits for end here; the rest of it. */
static struct store_task *end_lonely(struct store_task *list)
{
    struct store_task **at = &list;

    while (*at != NULL) {
        struct store_task *task = *at;

        if (task->home != NULL) {
            at = &task->next;
            continue;
        }
        *at = task->next;
        store_task_free(task);
    }
    return list;
}

/* Hands those of the list's first shard back to it, in order and with one waking; the rest. */
static struct store_task *post_to_first(struct store_task *list)
{
    struct shard *home = list->home;
    struct message first = {.next = NULL}, *last = &first;

    for (struct store_task **at = &list; *at != NULL;) {
        struct store_task *task = *at;

        if (task->home != home) {
            at = &task->next;
            continue;
        }
        *at = task->next;
        last = last->next = &task->message;
    }
    shard_post_all(home, first.next, last);
    return list;
}

static void give_back(struct store *store, struct store_task *list)
{
    atomic_fetch_sub_explicit(&store->depth, count(list), memory_order_relaxed);
    list = end_lonely(list);
    while (list != NULL)
        list = post_to_first(list);
}

/* ---- Writing ---- */

static int do_all(struct db *db, struct store_task *group, struct rnn_err *err)
{
    int rc = db_begin(db, err);

    for (struct store_task *task = group; rc == 0 && task != NULL; task = task->next)
        rc = db_do(db, task, err);
    if (rc == 0)
        rc = db_commit(db, err);
    if (rc < 0)
        db_rollback(db);
    return rc;
}

static void do_alone(struct db *db, struct store_task *task)
{
    struct store_task *next = task->next;

    task->next = NULL;
    task->rc = do_all(db, task, &task->err);
    task->next = next;
}

/* Says once that the disk does not take what is written, and once that it does again. */
static void note_failure(struct store *store, int rc, const struct rnn_err *err)
{
    bool failing = rc == RNN_EIO;

    if (failing && !store->failing)
        log_line(CONFIG_LOG_ERROR, "sessions cannot be stored", LOG_TEXT("why", err->text));
    if (!failing && store->failing)
        log_line(CONFIG_LOG_INFO, "sessions are stored again");
    store->failing = failing;
}

static void write_group(struct store *store, struct store_task *group)
{
    struct rnn_err err = {0};
    int rc = do_all(store->writer_db, group, &err);

    for (struct store_task *task = group; rc < 0 && task != NULL; task = task->next)
        do_alone(store->writer_db, task);
    note_failure(store, rc, &err);
    give_back(store, group);
    store_fold_turn(store->fold, store->writer_db);
}

static void *writer_run(void *argument)
{
    struct store *store = argument;
    struct store_task *group;

    while ((group = store_lane_take(&store->writer, GROUP_MAX)) != NULL)
        write_group(store, group);
    return NULL;
}

/* ---- Reading ---- */

static void *reader_run(void *argument)
{
    struct reader *reader = argument;
    struct store *store = reader->store;
    struct store_task *task;

    while ((task = store_lane_take(&store->reading, 1)) != NULL) {
        store_fold_read_begin(store->fold);
        task->rc = db_do(reader->db, task, &task->err);
        store_fold_read_end(store->fold);
        give_back(store, task);
    }
    return NULL;
}

/* ---- Opening ---- */

static int lock_dir(struct store *store, const char *dir, struct rnn_err *err)
{
    char path[4200];

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return rnn_fail(err, RNN_EIO, "state_dir: %.200s: %s", dir, strerror(errno));
    (void)snprintf(path, sizeof(path), "%s/lock", dir);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return rnn_fail(err, RNN_EIO, "state_dir: %.200s: %s", path, strerror(errno));
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return rnn_fail(err, RNN_EBUSY, "state_dir: %.200s: another daemon has it open", dir);
    return 0;
}

static int readers_start(struct store *store, struct rnn_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < READERS; i++) {
        struct reader *reader = &store->readers[i];

        reader->store = store;
        rc = db_open(&reader->db, store->path, store->durability, READER_KIB, err);
        if (rc == 0)
            rc = store_lane_start(&store->reading, reader_run, reader, err);
    }
    return rc;
}

static int open_all(struct store *store, const char *dir, enum store_durability durability,
                    struct rnn_err *err)
{
    int64_t last = 0;
    int rc = lock_dir(store, dir, err);

    store->durability = durability;
    (void)snprintf(store->path, sizeof(store->path), "%s/sessions.db", dir);
    if (rc == 0)
        rc = db_open(&store->writer_db, store->path, durability, WRITER_KIB, err);
    if (rc == 0)
        rc = db_open(&store->fold_db, store->path, durability, SMALL_KIB, err);
    if (rc == 0)
        rc = db_last_row(store->writer_db, &last, err);
    atomic_init(&store->last_row, last);
    if (rc == 0)
        rc = store_fold_start(&store->fold, store->fold_db, &limits, err);
    if (rc == 0)
        rc = store_lane_start(&store->writer, writer_run, store, err);
    return rc < 0 ? rc : readers_start(store, err);
}

int store_open(struct store **out, const char *dir, enum store_durability durability,
               struct rnn_err *err)
{
    struct store *store = calloc(1, sizeof(*store));
    mode_t mask;
    int rc;

    if (store == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the store");
    store->lock_fd = -1;
    store_lane_init(&store->writer);
    store_lane_init(&store->reading);
    mask = umask(0077); /* of the database's files, which SQLite makes */
    rc = open_all(store, dir, durability, err);
    (void)umask(mask);
    if (rc < 0) {
        store_close(store);
        return rc;
    }
    *out = store;
    return 0;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    store_lane_end(&store->reading);
    store_lane_end(&store->writer);
    if (store->fold != NULL && store_fold_broken(store->fold))
        db_keep_log(store->writer_db);
    store_fold_end(store->fold);
    for (size_t i = 0; i < READERS; i++)
        db_close(store->readers[i].db);
    db_close(store->fold_db);
    store_lane_deinit(&store->reading);
    store_lane_deinit(&store->writer);
    db_close(store->writer_db); /* the last connection to go folds the log */
    if (store->lock_fd >= 0)
        (void)close(store->lock_fd); /* nothing was written to it */
    free(store);
}

/* ---- Facts ---- */

/* The next ones; where they cannot be read, one by one, past those that are damaged. */
static int facts_behind(struct store *store, struct db *db, int64_t *row, struct store_facts *facts,
                        size_t *n, struct rnn_err *err)
{
    int64_t last = atomic_load(&store->last_row);
    struct rnn_err fault = {0};
    int rc = db_facts(db, *row, facts, FACTS_MAX, n, &fault);

    if (rc == 0)
        return 0;
    if (rc != RNN_EFORMAT) {
        *err = fault;
        return rc;
    }
    for (size_t told = 0; *row < last; ++*row) {
        if (db_facts(db, *row, facts, 1, n, &fault) == 0)
            return 0;
        if (told++ >= TOLD_MAX)
            continue;
        log_line(CONFIG_LOG_ERROR, "stored session damaged", LOG_NUMBER("row", *row + 1),
                 LOG_TEXT("why", fault.text));
    }
    *n = 0;
    return 0;
}

/* Of a million sessions whose time has come the removals would take a GB. */
static void wait_for_writer(const struct store *store)
{
    while (store_depth(store) > FACTS_MAX)
        (void)usleep(1000);
}

/* Over a connection of its own: what `each` sends away is written meanwhile. */
int store_each(struct store *store, void (*each)(void *context, const struct store_facts *facts),
               void *context, struct rnn_err *err)
{
    struct store_facts *facts = calloc(FACTS_MAX, sizeof(*facts));
    struct store_ahead *ahead = store_ahead_start(store->path);
    struct db *db = NULL;
    int64_t row = 0;
    size_t n;
    int rc = facts != NULL ? db_open(&db, store->path, store->durability, READER_KIB, err)
                           : rnn_fail(err, RNN_ENOMEM, "no memory for stored sessions");

    while (rc == 0) {
        rc = facts_behind(store, db, &row, facts, &n, err);
        if (rc < 0 || n == 0)
            break;
        for (size_t i = 0; i < n; i++)
            each(context, &facts[i]);
        row = facts[n - 1].row;
        wait_for_writer(store);
    }
    db_close(db);
    store_ahead_end(ahead);
    free(facts);
    return rc;
}

/* ---- For shards ---- */

int64_t store_row(struct store *store)
{
    return atomic_fetch_add_explicit(&store->last_row, 1, memory_order_relaxed) + 1;
}

void store_send(struct store *store, struct store_task *task)
{
    atomic_fetch_add_explicit(&store->depth, 1, memory_order_relaxed);
    store_lane_push(task->kind == STORE_LOAD ? &store->reading : &store->writer, task);
}

size_t store_depth(const struct store *store)
{
    return atomic_load_explicit(&store->depth, memory_order_relaxed);
}
