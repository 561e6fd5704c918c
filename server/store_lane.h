/* Threads of the store's, and the list of tasks that wait for them. */
#ifndef SERVER_STORE_LANE_H
#define SERVER_STORE_LANE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "server/store.h"

enum { STORE_LANE_THREADS_MAX = 8 };

struct store_lane {
    pthread_t threads[STORE_LANE_THREADS_MAX];
    int n_threads;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t filled;
    struct store_task *first, **end;
    bool closing;
};

void store_lane_init(struct store_lane *lane);
void store_lane_deinit(struct store_lane *lane);

/* One thread more.  RNN_EIO. */
int store_lane_start(struct store_lane *lane, void *(*run)(void *), void *argument,
                     struct rnn_err *err);

/* No more tasks: waits until the threads have done those that there are. */
void store_lane_end(struct store_lane *lane);

/* Any thread. */
void store_lane_push(struct store_lane *lane, struct store_task *task);

/* A thread of the lane's: waits for tasks, and takes up to `max` in order, linked by `next`.  NULL:
 * there will be no more. */
struct store_task *store_lane_take(struct store_lane *lane, size_t max);

#endif
