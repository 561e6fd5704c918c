/* A shard without scheduler, sessions, jobs and WebSockets: their calls, defined empty.  For the
 * tests of what lies around them; linked before the daemon's library, so that the true ones are not
 * taken. */
#include "bare_shard.h"

#include "server/job.h"
#include "server/sched.h"
#include "server/session.h"
#include "server/shard.h"
#include "server/ws.h"

atomic_uint bare_due;

int sched_new(struct sched **out, struct shard *shard, struct rnn_err *err)
{
    (void)shard;
    (void)err;
    *out = NULL;
    return 0;
}

void sched_free(struct sched *sched)
{
    (void)sched;
}

bool sched_turn(struct sched *sched)
{
    (void)sched;
    return false;
}

void sched_forget_unknown(struct sched *sched,
                          bool (*is_known)(void *context, const struct rnn_model *model),
                          void *context)
{
    (void)sched;
    (void)is_known;
    (void)context;
}

int sessions_new(struct sessions **out, struct shard *shard, struct rnn_err *err)
{
    (void)shard;
    (void)err;
    *out = NULL;
    return 0;
}

void sessions_free(struct sessions *sessions)
{
    (void)sessions;
}

size_t sessions_saving(const struct sessions *sessions)
{
    (void)sessions;
    return 0;
}

bool sessions_expire(struct sessions *sessions, int64_t now_unix_ms)
{
    unsigned left = atomic_load(&bare_due);

    (void)sessions;
    (void)now_unix_ms;
    while (left > 0 && !atomic_compare_exchange_weak(&bare_due, &left, left - 1))
        ;
    return left > 1;
}

int jobs_new(struct jobs **out, struct shard *shard, struct rnn_err *err)
{
    (void)shard;
    (void)err;
    *out = NULL;
    return 0;
}

void jobs_free(struct jobs *jobs)
{
    (void)jobs;
}

size_t jobs_busy(const struct jobs *jobs)
{
    (void)jobs;
    return 0;
}

int websockets_new(struct websockets **out, struct shard *shard, struct rnn_err *err)
{
    (void)shard;
    (void)err;
    *out = NULL;
    return 0;
}

void websockets_free(struct websockets *websockets)
{
    (void)websockets;
}
