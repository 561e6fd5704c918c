/* A shard: one worker thread with its own loop, connections, sessions and batch.  Nothing of
 * another shard is ever touched: work crosses as a message in the mailbox, and its result comes
 * back the same way.
 *
 * A turn: take what the sockets have (bounded), run one step of everything that is ready, hand out
 * the results, again; the loop sleeps in epoll only when no row is ready. */
#ifndef SERVER_SHARD_H
#define SERVER_SHARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "server/server.h"

struct http;
struct sched;
struct sessions;
struct jobs;
struct websockets;
struct metrics;

/* Embedded in whatever crosses.  `run` is called on the receiving shard's thread and owns the
 * message from then on. */
struct message {
    struct message *next;
    void (*run)(struct shard *shard, struct message *message);
};

struct shard {
    struct server *server;
    unsigned index;
    uv_loop_t *loop;
    struct http *http;             /* connections and requests */
    struct sched *sched;           /* rows and batches */
    struct jobs *jobs;             /* requests being computed (job.h) */
    struct websockets *websockets; /* streaming sessions (ws.h) */
    struct sessions *sessions;     /* the slice of sessions that hash to this shard */
    struct metrics *metrics;       /* counters written by this thread only, read by any */
    uint64_t now_ns;               /* monotonic, taken once a turn */
    int64_t now_unix_ms;           /* wall clock, likewise */
    atomic_uint n_connections;     /* dealt to it and not yet closed; any thread */
};

/* Any thread.  Messages from one sender to one shard arrive in order.  Posting to the own shard is
 * fine: it runs later in the turn, never inside the call. */
void shard_post(struct shard *shard, struct message *message);

/* The same for several, linked by `next` from `first` to `last`, for one waking. */
void shard_post_all(struct shard *shard, struct message *first, struct message *last);

/* Own thread: takes the time, where this turn has not yet.  Every callback of the loop calls it
 * first. */
void shard_clock(struct shard *shard);

/* Own thread: there are ready rows, so the next turn must not sleep. */
void shard_keep_turning(struct shard *shard);

/* ---- Life, for server.c: main thread ---- */

/* Makes a shard with everything in it; its thread is started once all shards are made. */
int shard_new(struct shard **out, struct server *server, unsigned index, struct rnn_err *err);
int shard_start(struct shard *shard, struct rnn_err *err);

/* A number that grows with each turn, and at least four times a second. */
uint64_t shard_beats(const struct shard *shard);
size_t shard_busy(const struct shard *shard); /* requests in flight, as of its last turn */

/* In this order.  Drain: answers close their connections.  Cancel: ends all requests as if their
 * clients had gone.  Close: the same, and closes all connections as soon as none is busy; messages
 * of other shards still run.  Stop: only when every shard is closed; waits for the thread.
 * Each is ordered once. */
void shard_drain(struct shard *shard);
void shard_cancel(struct shard *shard);
void shard_close(struct shard *shard);
bool shard_closed(const struct shard *shard);
void shard_stop(struct shard *shard);
void shard_free(struct shard *shard); /* stopped or never started; NULL is fine */

/* The settings as they stand: never NULL. */
static inline const struct config *shard_config(const struct shard *shard)
{
    return atomic_load_explicit(&shard->server->config, memory_order_acquire);
}

#endif
