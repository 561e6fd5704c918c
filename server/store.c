/* The store's threads and lines.  See store.h; the database is in store_db.c.
 *
 * The writer takes whatever waits, up to a bound, into one transaction.  Where that fails, the
 * tasks are tried one by one, so that each hears of its own fate: on a full disk a small write may
 * still find room, and one that is at fault harms no other.  A task is handed back only after the
 * commit.  The folder is held by a lock on a file of its own, which the kernel lets go with the
 * process. */
#include "server/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

enum {
    GROUP_MAX = 512,         /* tasks in one transaction */
    FOLD_PAGES = 8192,       /* the log is folded from this length on, beside the writer */
    FOLD_NOW_PAGES = 131072, /* and by the writer itself, who then waits for it, from this */
    FACTS_MAX = 1024,        /* sessions read in one go */
    TOLD_MAX = 100           /* rows that are damaged together and logged each */
};

/* A thread with its connection, and what waits for it. */
struct lane {
    struct store *store;
    struct db *db;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t filled;
    struct store_task *first, **end;
    bool closing;
};

struct store {
    struct lane writer, reader, folder;
    enum store_durability durability;
    char path[4200]; /* of the database */
    int lock_fd;
    _Atomic int64_t last_row;
    atomic_size_t depth;
    atomic_bool fold; /* the folder has been asked */
    bool failing;     /* the writer's last group failed: logged already */
};

/* ---- Tasks ---- */

struct store_task *store_task_new(enum store_kind kind, const struct store_facts *facts,
                                  const struct rnn_state *state)
{
    struct store_task *task = calloc(1, sizeof(*task));

    if (task == NULL)
        return NULL;
    task->kind = kind;
    task->facts = *facts;
    if (state == NULL)
        return task;
    task->state = malloc(facts->state_bytes);
    if (task->state == NULL) {
        free(task);
        return NULL;
    }
    memcpy(task->state, state, facts->state_bytes);
    return task;
}

static void state_free(struct rnn_state *state, size_t bytes)
{
    if (state != NULL)
        explicit_bzero(state, bytes);
    free(state);
}

void store_task_clear(struct store_task *task)
{
    state_free(task->state, task->facts.state_bytes);
    state_free(task->initial.state, task->facts.state_bytes);
    for (size_t i = 0; i < task->n_points; i++)
        state_free(task->points[i].state, task->facts.state_bytes);
    free(task->points);
    task->state = task->initial.state = NULL;
    task->points = NULL;
    task->n_points = 0;
}

void store_task_free(struct store_task *task)
{
    if (task == NULL)
        return;
    store_task_clear(task);
    free(task);
}

/* Hands it back to whoever waits. */
static void give_back(struct store *store, struct store_task *task)
{
    struct shard *home = task->home;

    atomic_fetch_sub_explicit(&store->depth, 1, memory_order_relaxed);
    if (home != NULL)
        shard_post(home, &task->message);
    else
        store_task_free(task);
}

/* ---- Lanes ---- */

static void lane_init(struct lane *lane, struct store *store)
{
    lane->store = store;
    lane->end = &lane->first;
    pthread_mutex_init(&lane->lock, NULL); /* these cannot fail with default attributes */
    pthread_cond_init(&lane->filled, NULL);
}

static void lane_push(struct lane *lane, struct store_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&lane->lock);
    *lane->end = task;
    lane->end = &task->next;
    pthread_cond_signal(&lane->filled);
    pthread_mutex_unlock(&lane->lock);
}

/* Waits for tasks and takes up to `max`, in order.  NULL: there will be no more. */
static struct store_task *lane_take(struct lane *lane, size_t max)
{
    struct store_task *list, **at = &list;

    pthread_mutex_lock(&lane->lock);
    while (lane->first == NULL && !lane->closing)
        pthread_cond_wait(&lane->filled, &lane->lock);
    list = lane->first;
    for (size_t n = 0; *at != NULL && n < max; n++)
        at = &(*at)->next;
    lane->first = *at;
    if (lane->first == NULL)
        lane->end = &lane->first;
    *at = NULL;
    pthread_mutex_unlock(&lane->lock);
    return list;
}

static void lane_wake(struct lane *lane, bool closing)
{
    pthread_mutex_lock(&lane->lock);
    lane->closing |= closing;
    pthread_cond_signal(&lane->filled);
    pthread_mutex_unlock(&lane->lock);
}

static int lane_start(struct lane *lane, void *(*run)(void *), struct rnn_err *err)
{
    if (pthread_create(&lane->thread, NULL, run, lane) != 0)
        return rnn_fail(err, RNN_EIO, "the store: no thread could be started");
    lane->started = true;
    return 0;
}

static void lane_end(struct lane *lane)
{
    lane_wake(lane, true);
    if (lane->started)
        (void)pthread_join(lane->thread, NULL); /* it was started and is joined once */
    db_close(lane->db);
    pthread_mutex_destroy(&lane->lock);
    pthread_cond_destroy(&lane->filled);
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

static void fold_if_long(struct store *store)
{
    size_t pages = db_log_pages(store->writer.db);

    if (pages >= FOLD_NOW_PAGES)
        db_fold(store->writer.db, true);
    else if (pages >= FOLD_PAGES && !atomic_exchange(&store->fold, true))
        lane_wake(&store->folder, false);
}

static void write_group(struct store *store, struct store_task *group)
{
    struct rnn_err err = {0};
    int rc = do_all(store->writer.db, group, &err);

    for (struct store_task *task = group; rc < 0 && task != NULL; task = task->next)
        do_alone(store->writer.db, task);
    note_failure(store, rc, &err);
    while (group != NULL) {
        struct store_task *next = group->next;

        give_back(store, group);
        group = next;
    }
    fold_if_long(store);
}

static void *writer_run(void *argument)
{
    struct lane *lane = argument;
    struct store_task *group;

    while ((group = lane_take(lane, GROUP_MAX)) != NULL)
        write_group(lane->store, group);
    return NULL;
}

/* ---- Reading ---- */

static void *reader_run(void *argument)
{
    struct lane *lane = argument;
    struct store_task *task;

    while ((task = lane_take(lane, 1)) != NULL) {
        task->rc = db_do(lane->db, task, &task->err);
        give_back(lane->store, task);
    }
    return NULL;
}

/* ---- Folding ---- */

static void *folder_run(void *argument)
{
    struct lane *lane = argument;
    struct store *store = lane->store;

    pthread_mutex_lock(&lane->lock);
    while (!lane->closing) {
        if (!atomic_load(&store->fold)) {
            pthread_cond_wait(&lane->filled, &lane->lock);
            continue;
        }
        pthread_mutex_unlock(&lane->lock);
        db_fold(lane->db, false);
        atomic_store(&store->fold, false);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
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

static int open_all(struct store *store, const char *dir, enum store_durability durability,
                    struct rnn_err *err)
{
    struct lane *lanes[] = {&store->writer, &store->reader, &store->folder};
    void *(*const runs[])(void *) = {writer_run, reader_run, folder_run};
    int64_t last = 0;
    int rc = lock_dir(store, dir, err);

    store->durability = durability;
    (void)snprintf(store->path, sizeof(store->path), "%s/sessions.db", dir);
    for (size_t i = 0; rc == 0 && i < 3; i++)
        rc = db_open(&lanes[i]->db, store->path, durability, err);
    if (rc == 0)
        rc = db_last_row(store->writer.db, &last, err);
    atomic_init(&store->last_row, last);
    for (size_t i = 0; rc == 0 && i < 3; i++)
        rc = lane_start(lanes[i], runs[i], err);
    return rc;
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
    lane_init(&store->writer, store);
    lane_init(&store->reader, store);
    lane_init(&store->folder, store);
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
    lane_end(&store->reader);
    lane_end(&store->folder);
    lane_end(&store->writer); /* the last connection to go folds the log */
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

/* Over a connection of its own: what `each` sends away is written meanwhile. */
int store_each(struct store *store, void (*each)(void *context, const struct store_facts *facts),
               void *context, struct rnn_err *err)
{
    struct store_facts *facts = calloc(FACTS_MAX, sizeof(*facts));
    struct store_ahead *ahead = store_ahead_start(store->path);
    struct db *db = NULL;
    int64_t row = 0;
    size_t n;
    int rc = facts != NULL ? db_open(&db, store->path, store->durability, err)
                           : rnn_fail(err, RNN_ENOMEM, "no memory for stored sessions");

    while (rc == 0) {
        rc = facts_behind(store, db, &row, facts, &n, err);
        if (rc < 0 || n == 0)
            break;
        for (size_t i = 0; i < n; i++)
            each(context, &facts[i]);
        row = facts[n - 1].row;
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
    lane_push(task->kind == STORE_LOAD ? &store->reader : &store->writer, task);
}

size_t store_depth(const struct store *store)
{
    return atomic_load_explicit(&store->depth, memory_order_relaxed);
}
