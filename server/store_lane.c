/* Lines before the store's threads.  See store_lane.h. */
#include "server/store_lane.h"

void store_lane_init(struct store_lane *lane)
{
    *lane = (struct store_lane){.end = &lane->first};
    pthread_mutex_init(&lane->lock, NULL); /* these cannot fail with default attributes */
    pthread_cond_init(&lane->filled, NULL);
}

void store_lane_deinit(struct store_lane *lane)
{
    pthread_mutex_destroy(&lane->lock);
    pthread_cond_destroy(&lane->filled);
}

int store_lane_start(struct store_lane *lane, void *(*run)(void *), void *argument,
                     struct rnn_err *err)
{
    if (pthread_create(&lane->threads[lane->n_threads], NULL, run, argument) != 0)
        return rnn_fail(err, RNN_EIO, "the store: no thread could be started");
    lane->n_threads++;
    return 0;
}

void store_lane_end(struct store_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->closing = true;
    pthread_cond_broadcast(&lane->filled);
    pthread_mutex_unlock(&lane->lock);
    while (lane->n_threads > 0)
        (void)pthread_join(lane->threads[--lane->n_threads], NULL); /* it was started, and once */
}

void store_lane_push(struct store_lane *lane, struct store_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&lane->lock);
    *lane->end = task;
    lane->end = &task->next;
    pthread_cond_signal(&lane->filled);
    pthread_mutex_unlock(&lane->lock);
}

struct store_task *store_lane_take(struct store_lane *lane, size_t max)
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
