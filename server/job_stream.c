/* Jobs at home: streams that are open, flow control, the answer.
 *
 * Pieces of a stream and `done` go from one sender to one shard, and arrive in order.  Flow control
 * counts bytes: work adds what it sends, home takes off what the client has taken; at
 * stream_buffer_bytes the sequences sit out.  The two halves of it stand here side by side: ship
 * and resume run on the work shard, the rest at home. */
#include "server/job_inner.h"

#include <stdlib.h>

#define KEEPALIVE_TICK_MS 1000u

/* Bytes of a stream on their way home. */
struct piece {
    struct message message;
    struct job *job;
    struct buf bytes;
};

/* ---- Home: streams that are open ---- */

static void on_keepalive(uv_timer_t *timer)
{
    struct jobs *jobs = timer->data;
    uint64_t silence_ns = (uint64_t)shard_config(jobs->shard)->keepalive_s * NS_PER_S;

    shard_clock(jobs->shard);
    shard_keep_turning(jobs->shard); /* what is written here leaves in a turn */
    for (struct job *job = jobs->streams; job != NULL; job = job->stream_next) {
        if (jobs->shard->now_ns < job->written_ns + silence_ns)
            continue;
        job->written_ns = jobs->shard->now_ns;
        job->sink->ops->silent(job->sink);
    }
    if (jobs->streams == NULL)
        uv_timer_stop(&jobs->keepalive_timer);
}

static void stream_open(struct job *job)
{
    struct jobs *jobs = job->home->jobs;

    job->begun = true;
    if (job->sink->ops->silent == NULL)
        return;
    if (jobs->streams == NULL)
        uv_timer_start(&jobs->keepalive_timer, on_keepalive, KEEPALIVE_TICK_MS, KEEPALIVE_TICK_MS);
    job->stream_next = jobs->streams;
    job->stream_at = &jobs->streams;
    if (jobs->streams != NULL)
        jobs->streams->stream_at = &job->stream_next;
    jobs->streams = job;
}

static void stream_close(struct job *job)
{
    if (job->stream_at == NULL)
        return;
    *job->stream_at = job->stream_next;
    if (job->stream_next != NULL)
        job->stream_next->stream_at = job->stream_at;
    job->stream_at = NULL;
}

/* ---- Flow control ---- */

void job_resume(struct job *job)
{
    job->paused = false;
    for (size_t i = 0; i < job->n_sequences; i++)
        if (!job->sequences[i].closed)
            sched_resume(job->work->sched, &job->sequences[i].step);
}

static void ack_run(struct shard *work, struct message *message)
{
    struct job *job = JOB_OF(message, ack);

    atomic_store(&job->ack_posted, false);
    job->unacked -= atomic_exchange(&job->acked, 0);
    if (job->stage == RUNNING && job->paused &&
        job->unacked < shard_config(work)->stream_buffer_bytes)
        job_resume(job);
    job_unref(job);
}

void job_ack(struct job *job)
{
    if (job->owed == 0)
        return;
    atomic_fetch_add(&job->acked, job->owed);
    job->owed = 0;
    if (atomic_exchange(&job->ack_posted, true))
        return; /* the one under way takes it along */
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
    job_cross(job->home, job->work, &job->ack, ack_run);
}

/* Home: writes a piece; says whether the client has fallen behind. */
static bool piece_write(struct job *job, const struct buf *bytes)
{
    size_t limit = shard_config(job->home)->stream_buffer_bytes;
    size_t unread;

    if (job->sink == NULL)
        return false; /* a cancel is on its way */
    if (!job->begun)
        stream_open(job);
    unread = job->sink->ops->events(job->sink, bytes->data, bytes->len);
    job->written_ns = job->home->now_ns;
    job->owed += bytes->len;
    if (unread >= limit)
        return true;
    if (job->home == job->work || job->owed >= limit / 2)
        job_ack(job);
    return false;
}

static void piece_run(struct shard *home, struct message *message)
{
    struct piece *piece = (struct piece *)((char *)message - offsetof(struct piece, message));

    (void)home;
    (void)piece_write(piece->job, &piece->bytes);
    buf_free(&piece->bytes);
    free(piece);
}

void job_ship(struct job *job)
{
    struct piece *piece;

    if (job->out.len == 0)
        return;
    job->unacked += job->out.len;
    if (job->home == job->work) {
        job->paused = piece_write(job, &job->out);
        buf_clear(&job->out);
        return;
    }
    piece = malloc(sizeof(*piece));
    if (piece == NULL) {
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the stream");
        return;
    }
    *piece = (struct piece){.message = {.run = piece_run}, .job = job, .bytes = job->out};
    job->out = (struct buf){0};
    job->paused = job->unacked >= shard_config(job->work)->stream_buffer_bytes;
    shard_post(job->home, &piece->message);
}

/* ---- Home: the answer ---- */

static void answer(struct job *job)
{
    struct sink *sink = job->sink;

    sink->hooks = NULL;
    if (job->end == JOB_FAILED) {
        sink->ops->fail(sink, job->error, job->err.param, job->err.text);
    } else if (job->stream) {
        (void)sink->ops->events(sink, job->out.data, job->out.len); /* the last: no pause */
        sink->ops->close(sink);
    } else {
        sink->ops->whole(sink, &job->out);
    }
}

void job_detach(struct job *job)
{
    stream_close(job);
    job->sink = NULL;
}

void job_deliver(struct shard *home, struct message *message)
{
    struct job *job = JOB_OF(message, done);

    stream_close(job);
    if (job->sink != NULL)
        answer(job);
    job->sink = NULL;
    home->jobs->n_home--;
    job_unref(job);
}
