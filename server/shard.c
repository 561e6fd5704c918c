/* A shard's thread: loop, mailbox, clock, and the order of a turn.
 *
 * libuv polls (not waiting while rows are ready: an idle handle runs), and its callbacks only note
 * what has come.  The turn itself runs once a round, after the poll: tell handlers whose clients
 * left, let libmicrohttpd read, run one step of all ready rows, tell, let libmicrohttpd write.  So
 * what a step produced leaves in the same turn, and a client that left costs no further step.
 *
 * The mailbox is a list under a lock; only the post that finds it empty wakes the loop.  Posts of
 * the shard to itself go to a list of their own, without lock or wake-up. */
#include "server/shard.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/http.h"
#include "server/job.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/models.h"
#include "server/sched.h"
#include "server/session.h"
#include "server/ws.h"

#define EXPIRE_MS 1000u

struct mail {
    struct message *first, **end;
};

struct worker {
    struct shard shard; /* first: a shard is a worker */
    uv_loop_t loop;
    uv_async_t wake;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_idle_t keep_turning;
    uv_timer_t expire;
    pthread_t thread;
    _Atomic uintptr_t owner; /* the same, as the thread itself says; 0: not running */
    bool loop_open, handles_open, started;
    bool clock_taken; /* in this turn */
    bool again;       /* somebody has asked for another turn */
    bool expiring;    /* more sessions are due than one turn has ended */

    pthread_mutex_t lock; /* inbox; nothing is called under it */
    struct mail inbox;
    struct mail own; /* posts to itself: this thread's only */

    _Atomic uint64_t beats;
    atomic_size_t busy;
    atomic_bool closed;
    bool closing;
    struct message drain, cancel, close, stop;
};

static struct worker *worker_of(const struct shard *shard)
{
    return (struct worker *)(uintptr_t)shard;
}

/* ---- Mail ---- */

static void mail_init(struct mail *mail)
{
    mail->first = NULL;
    mail->end = &mail->first;
}

/* Whether it was empty. */
static bool mail_push(struct mail *mail, struct message *first, struct message *last)
{
    bool empty = !mail->first;

    last->next = NULL;
    *mail->end = first;
    mail->end = &last->next;
    return empty;
}

static void mail_run(struct shard *shard, struct message *message)
{
    while (message) {
        struct message *next = message->next; /* `run` may free it */

        message->run(shard, message);
        message = next;
    }
}

static void run_inbox(struct worker *w)
{
    struct message *first;

    pthread_mutex_lock(&w->lock);
    first = w->inbox.first;
    mail_init(&w->inbox);
    pthread_mutex_unlock(&w->lock);
    mail_run(&w->shard, first);
}

static void run_own(struct worker *w)
{
    struct message *first = w->own.first;

    mail_init(&w->own);
    mail_run(&w->shard, first);
}

void shard_post(struct shard *shard, struct message *message)
{
    shard_post_all(shard, message, message);
}

void shard_post_all(struct shard *shard, struct message *first, struct message *last)
{
    struct worker *w = worker_of(shard);
    bool wake;

    if (atomic_load_explicit(&w->owner, memory_order_relaxed) == (uintptr_t)pthread_self()) {
        mail_push(&w->own, first, last);
        shard_keep_turning(shard);
        return;
    }
    pthread_mutex_lock(&w->lock);
    wake = mail_push(&w->inbox, first, last);
    pthread_mutex_unlock(&w->lock);
    if (wake)
        (void)uv_async_send(&w->wake); /* fails only on a handle that is being closed */
}

/* ---- The turn ---- */

static void on_keep_turning(uv_idle_t *idle)
{
    (void)idle; /* its running alone keeps the poll from waiting */
}

void shard_keep_turning(struct shard *shard)
{
    struct worker *w = worker_of(shard);

    w->again = true;
    (void)uv_idle_start(&w->keep_turning, on_keep_turning); /* cannot fail with a callback */
}

void shard_clock(struct shard *shard)
{
    struct worker *w = worker_of(shard);
    struct timespec now;

    if (w->clock_taken)
        return;
    w->clock_taken = true;
    clock_gettime(CLOCK_MONOTONIC, &now);
    shard->now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    clock_gettime(CLOCK_REALTIME, &now);
    shard->now_unix_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void before_poll(uv_prepare_t *prepare)
{
    struct worker *w = prepare->data;

    w->clock_taken = false; /* the poll may take long */
}

static void on_wake(uv_async_t *wake)
{
    struct worker *w = wake->data;

    shard_clock(&w->shard);
    run_inbox(w);
}

static bool is_known(void *models, const struct rnn_model *model)
{
    return models_know(models, model);
}

static void expire_some(struct worker *w)
{
    w->expiring = sessions_expire(w->shard.sessions, w->shard.now_unix_ms);
    if (w->expiring)
        shard_keep_turning(&w->shard);
}

static void on_expire(uv_timer_t *timer)
{
    struct worker *w = timer->data;

    shard_clock(&w->shard);
    expire_some(w);
    sched_forget_unknown(w->shard.sched, is_known, w->shard.server->models);
}

static size_t busy(const struct worker *w)
{
    return (w->shard.http ? http_busy(w->shard.http) : 0) + jobs_busy(w->shard.jobs);
}

/* While closing: connections end as soon as no request needs one. */
static void close_when_idle(struct worker *w)
{
    if (!w->shard.http)
        return;
    http_cancel_all(w->shard.http);
    if (http_busy(w->shard.http) > 0) {
        shard_keep_turning(&w->shard);
        return;
    }
    http_stop(w->shard.http);
    w->shard.http = NULL;
}

static void sockets(struct worker *w)
{
    struct http *http = w->shard.http;

    if (!http || !http_ready(http))
        return;
    http_notices(http);
    if (http_pump(http))
        w->again = true;
}

static void turn(uv_check_t *check)
{
    struct worker *w = check->data;

    shard_clock(&w->shard);
    w->again = false;
    sockets(w);
    run_own(w);
    if (sched_turn(w->shard.sched))
        w->again = true;
    run_own(w);
    sockets(w);
    if (w->expiring)
        expire_some(w);
    if (w->closing)
        close_when_idle(w);
    if (w->own.first || (w->shard.http && http_ready(w->shard.http)))
        w->again = true;
    if (w->again)
        shard_keep_turning(&w->shard);
    else
        uv_idle_stop(&w->keep_turning);
    atomic_store_explicit(&w->busy, busy(w), memory_order_relaxed);
    atomic_fetch_add_explicit(&w->beats, 1, memory_order_relaxed);
    if (w->closing && !w->shard.http && jobs_busy(w->shard.jobs) == 0 &&
        sessions_saving(w->shard.sessions) == 0 && !atomic_load(&w->shard.server->changing))
        atomic_store_explicit(&w->closed, true, memory_order_release);
}

/* ---- Orders from the main thread ---- */

static void on_drain(struct shard *shard, struct message *message)
{
    (void)message;
    if (shard->http)
        http_drain(shard->http);
}

static void on_cancel(struct shard *shard, struct message *message)
{
    (void)message;
    if (shard->http)
        http_cancel_all(shard->http);
}

static void on_close(struct shard *shard, struct message *message)
{
    (void)message;
    worker_of(shard)->closing = true;
    shard_keep_turning(shard);
}

static void handles_close(struct worker *w)
{
    if (!w->handles_open)
        return;
    w->handles_open = false;
    uv_close((uv_handle_t *)&w->wake, NULL);
    uv_close((uv_handle_t *)&w->before_poll, NULL);
    uv_close((uv_handle_t *)&w->after_poll, NULL);
    uv_close((uv_handle_t *)&w->keep_turning, NULL);
    uv_close((uv_handle_t *)&w->expire, NULL);
}

/* The loop ends by itself once no handle is open. */
static void on_stop(struct shard *shard, struct message *message)
{
    (void)message;
    jobs_free(shard->jobs);
    shard->jobs = NULL;
    websockets_free(shard->websockets);
    shard->websockets = NULL;
    handles_close(worker_of(shard));
}

static void order(struct shard *shard, struct message *message,
                  void (*run)(struct shard *, struct message *))
{
    message->run = run;
    shard_post(shard, message);
}

void shard_drain(struct shard *shard)
{
    order(shard, &worker_of(shard)->drain, on_drain);
}

void shard_cancel(struct shard *shard)
{
    order(shard, &worker_of(shard)->cancel, on_cancel);
}

void shard_close(struct shard *shard)
{
    order(shard, &worker_of(shard)->close, on_close);
}

bool shard_closed(const struct shard *shard)
{
    return atomic_load_explicit(&worker_of(shard)->closed, memory_order_acquire);
}

uint64_t shard_beats(const struct shard *shard)
{
    return atomic_load_explicit(&worker_of(shard)->beats, memory_order_relaxed);
}

size_t shard_busy(const struct shard *shard)
{
    return atomic_load_explicit(&worker_of(shard)->busy, memory_order_relaxed);
}

/* ---- Life ---- */

static void *thread_main(void *argument)
{
    struct worker *w = argument;

    atomic_store_explicit(&w->owner, (uintptr_t)pthread_self(), memory_order_relaxed);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    atomic_store_explicit(&w->owner, 0, memory_order_relaxed);
    return NULL;
}

static int handles_open(struct worker *w, struct rnn_err *err)
{
    if (uv_loop_init(&w->loop) < 0)
        return rnn_fail(err, RNN_EIO, "a shard's loop could not be made");
    w->loop_open = true;
    w->shard.loop = &w->loop;
    if (uv_async_init(&w->loop, &w->wake, on_wake) < 0)
        return rnn_fail(err, RNN_EIO, "a shard's mailbox could not be made");
    uv_prepare_init(&w->loop, &w->before_poll); /* these four cannot fail */
    uv_check_init(&w->loop, &w->after_poll);
    uv_idle_init(&w->loop, &w->keep_turning);
    uv_timer_init(&w->loop, &w->expire);
    w->wake.data = w->before_poll.data = w->after_poll.data = w->expire.data = w;
    uv_prepare_start(&w->before_poll, before_poll);
    uv_check_start(&w->after_poll, turn);
    uv_timer_start(&w->expire, on_expire, EXPIRE_MS, EXPIRE_MS);
    w->handles_open = true;
    return 0;
}

static int contents_open(struct worker *w, struct rnn_err *err)
{
    struct shard *shard = &w->shard;
    int rc;

    shard->metrics = metrics_new();
    if (!shard->metrics)
        return rnn_fail(err, RNN_ENOMEM, "no memory for a shard's metrics");
    rc = sched_new(&shard->sched, shard, err);
    if (rc == 0)
        rc = sessions_new(&shard->sessions, shard, err);
    if (rc == 0)
        rc = jobs_new(&shard->jobs, shard, err);
    if (rc == 0)
        rc = websockets_new(&shard->websockets, shard, err);
    if (rc == 0)
        rc = http_start(&shard->http, shard, err);
    return rc;
}

int shard_new(struct shard **out, struct server *server, unsigned index, struct rnn_err *err)
{
    struct worker *w = calloc(1, sizeof(*w));
    int rc;

    if (!w)
        return rnn_fail(err, RNN_ENOMEM, "no memory for a shard");
    w->shard.server = server;
    w->shard.index = index;
    pthread_mutex_init(&w->lock, NULL);
    mail_init(&w->inbox);
    mail_init(&w->own);
    shard_clock(&w->shard);
    rc = handles_open(w, err);
    if (rc == 0)
        rc = contents_open(w, err);
    if (rc < 0) {
        shard_free(&w->shard);
        return rc;
    }
    *out = &w->shard;
    return 0;
}

int shard_start(struct shard *shard, struct rnn_err *err)
{
    struct worker *w = worker_of(shard);

    if (pthread_create(&w->thread, NULL, thread_main, w) != 0)
        return rnn_fail(err, RNN_EIO, "a worker thread could not be started");
    w->started = true;
    return 0;
}

void shard_stop(struct shard *shard)
{
    struct worker *w = worker_of(shard);

    if (!w->started)
        return;
    order(shard, &w->stop, on_stop);
    pthread_join(w->thread, NULL);
    w->started = false;
}

void shard_free(struct shard *shard)
{
    struct worker *w = worker_of(shard);

    if (!w)
        return;
    if (shard->http)
        http_stop(shard->http);
    if (shard->jobs)
        jobs_free(shard->jobs);
    if (shard->websockets)
        websockets_free(shard->websockets);
    handles_close(w);
    if (w->loop_open) {
        uv_run(&w->loop, UV_RUN_DEFAULT);
        uv_loop_close(&w->loop);
    }
    sessions_free(shard->sessions);
    sched_free(shard->sched);
    metrics_free(shard->metrics);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
