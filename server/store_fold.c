/* The log's way back into the database.  See store_fold.h.
 *
 * What SQLite does by itself stalls a busy writer: a passive checkpoint never catches up with it,
 * so the log grows until some commit folds all of it, and has the disk take hundreds of MB, alone.
 * Three things here are against that: passes that follow each other until little is left; the disk
 * takes each of them before the next (SQLite syncs the database only behind a pass that found the
 * writer at rest); and the lock around reads, without which a busy reader, always in some snapshot
 * of the log, would keep it from starting over.
 *
 * Order, which SQLite keeps: the log is synced before any of it is copied, and the database before
 * the log starts over.  So the writer's part is three flushes of the disk for a log of 128 MiB:
 * some ten milliseconds, which no order of things takes away.  A flush that fails is told once, and
 * what it was to flush may be gone from memory: then nothing is folded any more, and the next start
 * folds all of the log. */
#include "server/store_fold.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "server/log.h"
#include "server/store_db.h"

enum {
    PASSES_MAX = 8,    /* without little being left */
    PACE_MAX_MS = 100, /* that the writer waits after a group */
    PAGES_PER_MS = 1   /* taken for the disk's speed until it is known */
};

enum phase {
    AT_REST,
    FOLDING, /* the thread's turn */
    LEFT     /* the writer's: little is left */
};

struct store_fold {
    struct db *db; /* the thread's */
    struct store_fold_limits limits;
    pthread_t thread;
    pthread_rwlock_t reads; /* shared by who reads; exclusive for the log to start over */
    atomic_size_t pages;    /* in the log */
    atomic_bool broken;
    size_t pages_before; /* the writer's own: as of its last turn */
    size_t pages_seen;   /* the thread's own: as of its last look, when it was idle */

    pthread_mutex_t lock; /* of what follows; nothing is called under it */
    pthread_cond_t turned;
    enum phase phase;
    size_t pages_per_ms;
    unsigned passes;
    bool ending;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* For a wait on `turned`. */
static struct timespec time_in(uint64_t ms)
{
    uint64_t ns = now_ns() + ms * 1000000u;

    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
                             .tv_nsec = (long)(ns % 1000000000u)};
}

static void say_broken(struct store_fold *fold, const struct rnn_err *err)
{
    if (!atomic_exchange(&fold->broken, true))
        log_line(CONFIG_LOG_ERROR,
                 "the disk does not take what is folded: the log of the store is kept and grows",
                 LOG_TEXT("why", err->text));
}

/* ---- The thread ---- */

/* One pass: *folded pages are in the database then, *left are not. */
static int pass(struct store_fold *fold, size_t *folded, size_t *left)
{
    struct rnn_err err = {0};
    uint64_t begun = now_ns();
    size_t before = *folded, pages, ms;
    int rc = db_fold(fold->db, folded, &err);

    if (rc == 0)
        rc = db_sync(fold->db, &err);
    if (rc == RNN_EIO)
        say_broken(fold, &err);
    pages = atomic_load(&fold->pages);
    *left = pages > *folded ? pages - *folded : 0;
    ms = (size_t)((now_ns() - begun) / 1000000u);
    pthread_mutex_lock(&fold->lock);
    if (*folded > before + fold->limits.rest)
        fold->pages_per_ms = (*folded - before) / (ms + 1) + 1;
    fold->passes++;
    pthread_cond_broadcast(&fold->turned);
    pthread_mutex_unlock(&fold->lock);
    return rc;
}

/* What is next: the writer's part, or, where it did not go, to begin anew. */
static enum phase fold_passes(struct store_fold *fold)
{
    size_t folded = 0, left = SIZE_MAX;

    for (int i = 0; i < PASSES_MAX && left > fold->limits.rest; i++)
        if (pass(fold, &folded, &left) < 0)
            return AT_REST;
    return LEFT;
}

/* Waits for its turn.  False: for idle_ms there was none. */
static bool wait_turn(struct store_fold *fold)
{
    struct timespec end = time_in(fold->limits.idle_ms);

    return pthread_cond_timedwait(&fold->turned, &fold->lock, &end) == 0;
}

/* Empties the log where nothing has been written since the last look.  A commit that comes at this
 * very moment waits for the last flush. */
static void fold_idle(struct store_fold *fold)
{
    size_t pages = atomic_load(&fold->pages), folded = 0, left;
    struct rnn_err err = {0};
    int rc;

    if (pages == 0 || pages != fold->pages_seen || atomic_load(&fold->broken)) {
        fold->pages_seen = pages;
        return;
    }
    if (pass(fold, &folded, &left) < 0 || left > 0)
        return;
    pthread_rwlock_wrlock(&fold->reads);
    rc = db_empty_log(fold->db, &err);
    pthread_rwlock_unlock(&fold->reads);
    if (rc == RNN_EIO)
        say_broken(fold, &err);
    if (rc == 0)
        (void)atomic_compare_exchange_strong(&fold->pages, &pages, 0); /* or there are new ones */
}

static void *fold_run(void *argument)
{
    struct store_fold *fold = argument;
    enum phase next;

    pthread_mutex_lock(&fold->lock);
    while (!fold->ending) {
        if (fold->phase != FOLDING) {
            if (!wait_turn(fold) && fold->phase != FOLDING) {
                pthread_mutex_unlock(&fold->lock);
                fold_idle(fold);
                pthread_mutex_lock(&fold->lock);
            }
            continue;
        }
        pthread_mutex_unlock(&fold->lock);
        next = fold_passes(fold);
        pthread_mutex_lock(&fold->lock);
        fold->phase = next;
        pthread_cond_broadcast(&fold->turned);
    }
    pthread_mutex_unlock(&fold->lock);
    return NULL;
}

/* ---- The writer ---- */

/* Twice what the disk takes for what was written, so that the passes catch up; an hour stands for
 * as long as a pass takes. */
static uint64_t pace_ms(const struct store_fold *fold, size_t pages, size_t written)
{
    uint64_t ms = 2 * written / fold->pages_per_ms;

    if (pages > fold->limits.full)
        return 3600000;
    return ms < PACE_MAX_MS ? ms : PACE_MAX_MS;
}

/* Waits so long, or until a pass is through. */
static void pace(struct store_fold *fold, size_t pages, size_t written)
{
    unsigned passes;
    struct timespec end;

    pthread_mutex_lock(&fold->lock);
    passes = fold->passes;
    end = time_in(pace_ms(fold, pages, written));
    while (fold->phase == FOLDING && fold->passes == passes &&
           pthread_cond_timedwait(&fold->turned, &fold->lock, &end) == 0)
        ;
    pthread_mutex_unlock(&fold->lock);
}

static void fold_rest(struct store_fold *fold, struct db *writer)
{
    struct rnn_err err = {0};
    int rc;

    pthread_rwlock_wrlock(&fold->reads);
    rc = db_fold_rest(writer, &err);
    pthread_rwlock_unlock(&fold->reads);
    if (rc == RNN_EIO)
        say_broken(fold, &err);
}

/* What the writer is to do; where that is folding the rest, the phase is over. */
static enum phase phase_of(struct store_fold *fold, size_t pages)
{
    enum phase phase;

    pthread_mutex_lock(&fold->lock);
    phase = fold->phase;
    if (phase == LEFT)
        fold->phase = AT_REST;
    if (phase == AT_REST && pages >= fold->limits.fold) {
        fold->phase = FOLDING;
        pthread_cond_broadcast(&fold->turned);
    }
    pthread_mutex_unlock(&fold->lock);
    return phase;
}

void store_fold_turn(struct store_fold *fold, struct db *writer)
{
    size_t pages = db_log_pages(writer), before = fold->pages_before;
    enum phase phase;

    fold->pages_before = pages;
    atomic_store(&fold->pages, pages);
    if (atomic_load(&fold->broken))
        return;
    phase = phase_of(fold, pages);
    if (phase == LEFT)
        fold_rest(fold, writer);
    else if (phase == FOLDING && pages > fold->limits.pace && pages > before)
        pace(fold, pages, pages - before);
}

/* ---- Readers ---- */

void store_fold_read_begin(struct store_fold *fold)
{
    pthread_rwlock_rdlock(&fold->reads);
}

void store_fold_read_end(struct store_fold *fold)
{
    pthread_rwlock_unlock(&fold->reads);
}

/* ---- Life ---- */

static void free_all(struct store_fold *fold)
{
    pthread_rwlock_destroy(&fold->reads);
    pthread_mutex_destroy(&fold->lock);
    pthread_cond_destroy(&fold->turned);
    free(fold);
}

int store_fold_start(struct store_fold **out, struct db *db, const struct store_fold_limits *limits,
                     struct rnn_err *err)
{
    struct store_fold *fold = calloc(1, sizeof(*fold));
    pthread_rwlockattr_t writer_first; /* several that read on and on would keep it out */
    pthread_condattr_t monotonic;

    if (fold == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the store");
    fold->db = db;
    fold->limits = *limits;
    fold->pages_per_ms = PAGES_PER_MS;
    atomic_init(&fold->pages, 1);      /* or more, left by a process that was killed */
    pthread_condattr_init(&monotonic); /* these cannot fail */
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_rwlockattr_init(&writer_first);
    pthread_rwlockattr_setkind_np(&writer_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&fold->reads, &writer_first);
    pthread_rwlockattr_destroy(&writer_first);
    pthread_mutex_init(&fold->lock, NULL);
    pthread_cond_init(&fold->turned, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&fold->thread, NULL, fold_run, fold) != 0) {
        free_all(fold);
        return rnn_fail(err, RNN_EIO, "the store: no thread could be started");
    }
    *out = fold;
    return 0;
}

void store_fold_end(struct store_fold *fold)
{
    if (fold == NULL)
        return;
    pthread_mutex_lock(&fold->lock);
    fold->ending = true;
    pthread_cond_broadcast(&fold->turned);
    pthread_mutex_unlock(&fold->lock);
    (void)pthread_join(fold->thread, NULL); /* it was started and is joined once */
    free_all(fold);
}

bool store_fold_broken(const struct store_fold *fold)
{
    return atomic_load(&fold->broken);
}
