/* Jobs: admission, the session's line, deadlines, cancelling, commit, delivery.
 *
 * A job stands in one of five stages at its work shard:
 *
 *   NEW ──▶ LINED (another request holds the session) ──▶ QUEUED (no room) ──▶ RUNNING ──▶ ENDED
 *
 * and leaves from any of them to ENDED through settle(), the one place that retires sequences,
 * commits or rolls back, lets the session go and sends the job home.  Waiting jobs, in lines and in
 * the queue, are bounded by queue_max together; the queue is first come, first served.
 *
 * References: home keeps one until `done` has come; a cancel or an ack under way keeps one.  So the
 * work shard needs none of its own, and may not touch a job after it has posted `done`.  Pieces of
 * a stream and `done` go from one sender to one shard, and arrive in order.
 *
 * Flow control counts bytes: work adds what it sends, home takes off what the client has taken; at
 * stream_buffer_bytes the sequences sit out. */
#include "server/job.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/checked.h"
#include "server/metrics.h"
#include "server/sse.h"

#define SEED_BITS         53  /* a seed survives a JSON reader that knows only doubles */
#define STATE_ALIGN       64u /* a cache line: neighbours are written in the same step */
#define KEEPALIVE_TICK_MS 1000u
#define NS_PER_MS         1000000u
#define NS_PER_S          1000000000u

enum stage { NEW, LINED, QUEUED, RUNNING, ENDED };

struct jobs {
    struct shard *shard;
    struct job *queue, **queue_end;
    size_t n_waiting; /* in lines and in the queue */
    size_t n_rows;    /* sequences of running jobs */
    size_t n_home, n_work;
    struct heap deadlines;
    struct job *streams; /* at home: those whose head was sent */
    bool starting;       /* start_waiting() is running */
    uv_timer_t due_timer, keepalive_timer;
    unsigned n_closing;
};

/* Bytes of a stream on their way home. */
struct piece {
    struct message message;
    struct job *job;
    struct buf bytes;
};

#define JOB_OF(pointer, member) ((struct job *)((char *)(pointer)-offsetof(struct job, member)))

static void settle(struct job *job, enum job_end end);

/* ---- Small things ---- */

static uint64_t clock_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static double ms_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_MS : 0;
}

static void job_unref(struct job *job)
{
    if (atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) == 1)
        job_drop(job);
}

/* Runs `run` on the shard `to`: at once where that is the caller's own. */
static void cross(struct shard *from, struct shard *to, struct message *message,
                  void (*run)(struct shard *, struct message *))
{
    message->run = run;
    if (from == to)
        run(to, message);
    else
        shard_post(to, message);
}

static void waiting_add(struct jobs *jobs, int change)
{
    jobs->n_waiting = (size_t)((int64_t)jobs->n_waiting + change);
    metrics_gauge_add(jobs->shard->metrics, G_QUEUE, change);
}

static bool has_session(const struct job *job)
{
    return job->session_id[0] != '\0';
}

void job_fail(struct job *job, enum reply_error error, const char *param, const char *format, ...)
{
    va_list arguments;

    if (job->end == JOB_FAILED)
        return;
    job->end = JOB_FAILED;
    job->error = error;
    (void)snprintf(job->err.param, sizeof(job->err.param), "%s", param != NULL ? param : "");
    va_start(arguments, format);
    (void)vsnprintf(job->err.text, sizeof(job->err.text), format, arguments);
    va_end(arguments);
}

static void fail_session(struct job *job, enum reply_error error)
{
    switch (error) {
    case REPLY_SESSION_EXPIRED:
        job_fail(job, error, "session", "session '%s' has expired", job->session_id);
        break;
    case REPLY_SESSION_BUSY:
        job_fail(job, error, "session", "session '%s' is busy with another request",
                 job->session_id);
        break;
    case REPLY_QUEUE_FULL:
        metrics_count(job->work->metrics, M_REJECTED_QUEUE, 1);
        job_fail(job, error, "session", "too many requests wait for session '%s'", job->session_id);
        break;
    default:
        job_fail(job, error, "session", "there is no session '%s'", job->session_id);
    }
}

static void fail_queue_full(struct job *job)
{
    metrics_count(job->work->metrics, M_REJECTED_QUEUE, 1);
    job_fail(job, REPLY_QUEUE_FULL, NULL, "too many requests are waiting");
}

/* ---- Home: streams that are open ---- */

static void on_keepalive(uv_timer_t *timer)
{
    struct jobs *jobs = timer->data;
    uint64_t silence_ns = (uint64_t)shard_config(jobs->shard)->keepalive_s * NS_PER_S;
    struct buf comment = {0};

    shard_clock(jobs->shard);
    shard_keep_turning(jobs->shard); /* what is written here leaves in a turn */
    for (struct job *job = jobs->streams; job != NULL; job = job->stream_next) {
        if (jobs->shard->now_ns < job->written_ns + silence_ns)
            continue;
        if (comment.len == 0)
            sse_comment(&comment, "keep-alive");
        job->written_ns = jobs->shard->now_ns;
        (void)http_stream_write(job->request, comment.data, comment.len); /* tiny: not counted */
    }
    buf_free(&comment);
    if (jobs->streams == NULL)
        uv_timer_stop(&jobs->keepalive_timer);
}

static void stream_open(struct job *job)
{
    struct jobs *jobs = job->home->jobs;

    job->begun = true;
    http_stream_begin(job->request, SSE_CONTENT_TYPE);
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

static void resume_all(struct job *job)
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
        resume_all(job);
    job_unref(job);
}

/* Home: tells work that the client has taken what is owed. */
static void ack_send(struct job *job)
{
    if (job->owed == 0)
        return;
    atomic_fetch_add(&job->acked, job->owed);
    job->owed = 0;
    if (atomic_exchange(&job->ack_posted, true))
        return; /* the one under way takes it along */
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
    cross(job->home, job->work, &job->ack, ack_run);
}

/* Home: writes a piece; says whether the client has fallen behind. */
static bool piece_write(struct job *job, const struct buf *bytes)
{
    size_t limit = shard_config(job->home)->stream_buffer_bytes;
    size_t unread;

    if (job->request == NULL)
        return false; /* a cancel is on its way */
    if (!job->begun)
        stream_open(job);
    unread = http_stream_write(job->request, bytes->data, bytes->len);
    job->written_ns = job->home->now_ns;
    job->owed += bytes->len;
    if (unread >= limit)
        return true;
    if (job->home == job->work || job->owed >= limit / 2)
        ack_send(job);
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

/* Work: sends home what a stream has to say. */
static void ship(struct job *job)
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

static void write_error_event(struct job *job)
{
    struct buf out = {0};

    sse_begin(&out, "error");
    reply_error_body(&out, job->error, job->err.param, job->err.text);
    sse_end(&out);
    if (!out.failed)
        (void)http_stream_write(job->request, out.data, out.len); /* the last word: no pause */
    buf_free(&out);
}

static void answer(struct job *job)
{
    struct request *request = job->request;

    request->hooks = NULL;
    request->user = NULL;
    if (job->end == JOB_FAILED && !job->begun) {
        reply_error(request, job->error, job->err.param[0] != '\0' ? job->err.param : NULL, "%s",
                    job->err.text);
    } else if (job->end == JOB_FAILED) {
        write_error_event(job);
        http_stream_end(request, true);
    } else if (job->stream) {
        if (!job->begun)
            http_stream_begin(request, SSE_CONTENT_TYPE);
        (void)http_stream_write(request, job->out.data, job->out.len); /* the last: no pause */
        http_stream_end(request, true);
    } else {
        reply_json(request, 200, &job->out);
    }
}

static void done_run(struct shard *home, struct message *message)
{
    struct job *job = JOB_OF(message, done);

    stream_close(job);
    if (job->request != NULL)
        answer(job);
    job->request = NULL;
    home->jobs->n_home--;
    job_unref(job);
}

/* ---- Work: the end of a job ---- */

/* Whether the session is to stand where the first sequence stands. */
static bool commits(const struct job *job)
{
    return has_session(job) && job->commit && job->end != JOB_FAILED && job->states != NULL &&
           (job->end == JOB_COMPLETE || job->partial);
}

static const struct rnn_state *state_of(const struct job *job, size_t index)
{
    return (const struct rnn_state *)(const void *)(job->states + index * job->state_stride);
}

static void retire_sequences(struct job *job)
{
    for (size_t i = 0; i < job->n_sequences; i++) {
        struct job_sequence *sequence = &job->sequences[i];

        if (sequence->started && !sequence->closed)
            sched_remove(job->work->sched, &sequence->step);
        sequence->closed = true;
    }
    job->n_open = 0;
}

/* The task writes the end of its answer, as of the session to come. */
static void write_answer(struct job *job)
{
    job->queue_ms = ms_between(job->received_ns, job->started_ns);
    job->compute_ms = ms_between(job->started_ns, clock_ns());
    if (has_session(job))
        session_look(job->work->sessions, &job->hold, commits(job) ? state_of(job, 0) : NULL,
                     &job->view);
    job->ops->finish(job, job->end);
    if (job->out.failed)
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
}

static void states_free(struct job *job)
{
    if (job->states != NULL)
        explicit_bzero(job->states, job->n_sequences * job->state_stride);
    free(job->states);
    job->states = NULL;
}

static void start_waiting(struct jobs *jobs);

/* Out of whatever it waits in or computes; then home with it. */
static void settle(struct job *job, enum job_end end)
{
    struct jobs *jobs = job->work->jobs;
    bool ran = job->stage == RUNNING;

    if (job->end != JOB_FAILED)
        job->end = end;
    if (job->stage == LINED || job->stage == QUEUED)
        waiting_add(jobs, -1);
    if (job->stage == QUEUED) {
        *job->at = job->next;
        if (job->next != NULL)
            job->next->at = job->at;
        else
            jobs->queue_end = job->at;
    }
    job->stage = ENDED;
    heap_remove(&jobs->deadlines, &job->deadline);
    if (ran) {
        retire_sequences(job);
        jobs->n_rows -= job->n_sequences;
        if (job->end == JOB_COMPLETE || job->end == JOB_DEADLINE)
            write_answer(job);
    }
    session_release(job->work->sessions, &job->hold, commits(job) ? state_of(job, 0) : NULL, NULL);
    states_free(job);
    jobs->n_work--;
    cross(job->work, job->home, &job->done, done_run);
    start_waiting(jobs);
}

/* Partial and bound to commit: the first sequence takes the step that is filled in, and no other
 * goes on. */
static bool wind_down(struct job *job, enum job_end end)
{
    if (!job->partial || !has_session(job) || !job->commit || job->sequences[0].closed)
        return false;
    job->end = end;
    for (size_t i = 1; i < job->n_sequences; i++) {
        struct job_sequence *sequence = &job->sequences[i];

        if (sequence->started && !sequence->closed)
            sched_remove(job->work->sched, &sequence->step);
        sequence->closed = true;
    }
    job->n_open = 1;
    resume_all(job);
    return true;
}

static void stop_gone(struct job *job)
{
    struct shard *work = job->work;

    if (job->stage == ENDED)
        return;
    metrics_count(work->metrics,
                  atomic_load_explicit(&work->server->draining, memory_order_relaxed)
                      ? M_CANCELLED_SHUTDOWN
                      : M_CANCELLED_GONE,
                  1);
    if (job->stage == RUNNING && (job->end != JOB_RUNNING || wind_down(job, JOB_GONE)))
        return; /* its last step is under way */
    settle(job, JOB_GONE);
}

static void stop_deadline(struct job *job)
{
    metrics_count(job->work->metrics, M_CANCELLED_DEADLINE, 1);
    if (job->stage == RUNNING && (job->end != JOB_RUNNING || wind_down(job, JOB_DEADLINE)))
        return;
    if (!job->partial)
        job_fail(job, REPLY_DEADLINE, NULL, "the deadline has passed");
    settle(job, JOB_DEADLINE);
}

/* ---- Work: steps ---- */

static bool answer_fits(struct job *job, struct job_sequence *sequence)
{
    size_t max = (size_t)shard_config(job->work)->answer_max_bytes;

    job->answer_bytes += sequence->out.len - sequence->counted;
    sequence->counted = sequence->out.len;
    if (sequence->out.failed || job->out.failed) {
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
        return false;
    }
    if (job->answer_bytes + job->out.len > max) {
        job_fail(job, REPLY_TOO_LARGE, NULL, "the answer would be larger than %zu bytes", max);
        return false;
    }
    return true;
}

static enum sequence_next on_step(struct sequence *step, float *logits, const float *hidden)
{
    struct job_sequence *sequence = step->owner;
    struct job *job = sequence->job;
    enum sequence_next next = job->ops->stepped(job, sequence, logits, hidden);

    if (job->end == JOB_FAILED || !answer_fits(job, sequence)) {
        sequence->closed = true; /* the scheduler lets go of this one by itself */
        settle(job, JOB_FAILED);
        return SEQUENCE_DONE;
    }
    if (next == SEQUENCE_DONE || job->end != JOB_RUNNING) {
        sequence->closed = true;
        if (--job->n_open == 0) {
            settle(job, job->end == JOB_RUNNING ? JOB_COMPLETE : job->end);
            return SEQUENCE_DONE;
        }
        next = SEQUENCE_DONE;
    }
    if (job->stream)
        ship(job);
    if (job->end == JOB_FAILED) {
        sequence->closed = true;
        settle(job, JOB_FAILED);
        return SEQUENCE_DONE;
    }
    return next == SEQUENCE_READY && job->paused ? SEQUENCE_PAUSED : next;
}

static void sequence_start(struct job_sequence *sequence)
{
    struct job *job = sequence->job;
    struct rnn_err err = {0};

    sequence->started = true;
    if (sched_start(job->work->sched, &sequence->step, &err) == 0)
        return;
    sequence->started = false;
    job_fail(job, REPLY_NO_MEMORY, NULL, "%s", err.text);
}

static bool walk_begin(struct job_sequence *sequence)
{
    struct job *job = sequence->job;
    struct rnn_err err = {.offset = -1};

    if (rnn_walk_new(&sequence->walk, job->model, sequence->step.state, &sequence->input, &err) ==
        0)
        return true;
    job_fail(job, reply_error_of(&err), err.param, "%s", err.text);
    return false;
}

enum rnn_walk_next job_feed(struct job_sequence *sequence)
{
    struct sequence *step = &sequence->step;
    enum rnn_walk_next next;
    struct rnn_row row;

    if (sequence->walk == NULL && !walk_begin(sequence))
        return RNN_WALK_DONE;
    next = rnn_walk_next(sequence->walk, &row);
    if (next == RNN_WALK_DONE)
        return next;
    step->input = row.input;
    step->token = row.token;
    step->frame = row.frame;
    step->pass = row.pass;
    step->memory = row.memory;
    step->hidden_to = row.hidden;
    step->want_logits = next == RNN_WALK_OUTPUT;
    step->want_hidden = false;
    step->reading = true;
    sequence->n_fed++;
    return next;
}

void job_feed_token(struct job_sequence *sequence, const struct job_sequence *leader,
                    uint32_t token)
{
    struct sequence *step = &sequence->step;

    step->input = RNN_ROW_TOKEN;
    step->token = token;
    step->pass = 0;
    step->memory = leader->walk != NULL ? rnn_walk_memory(leader->walk) : NULL;
    step->hidden_to = NULL;
    step->want_hidden = false;
    step->reading = false;
}

void job_branch(struct job_sequence *to, const struct job_sequence *from, const struct rnn_rng *rng)
{
    memcpy(to->step.state, from->step.state, to->job->state_bytes);
    to->step.state->rng = *rng;
    sequence_start(to);
}

void job_resume(struct job_sequence *sequence)
{
    if (sequence->started)
        sched_resume(sequence->job->work->sched, &sequence->step);
    else
        sequence_start(sequence);
}

void job_close(struct job_sequence *sequence)
{
    if (sequence->closed)
        return;
    if (sequence->started)
        sched_remove(sequence->job->work->sched, &sequence->step);
    sequence->closed = true;
    sequence->job->n_open--;
}

/* ---- Work: the start ---- */

int job_sequences(struct job *job, size_t n, struct rnn_err *err)
{
    assert(job->sequences == NULL && n > 0);
    job->sequences = calloc(n, sizeof(*job->sequences));
    if (job->sequences == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for %zu sequences", n);
    job->n_sequences = job->n_open = n;
    for (size_t i = 0; i < n; i++)
        job->sequences[i] = (struct job_sequence){
            .job = job,
            .index = i,
            .step = {.model = job->model, .stepped = on_step, .owner = &job->sequences[i]},
        };
    return 0;
}

static bool draw_seed(uint64_t *seed)
{
    if (getrandom(seed, sizeof(*seed), 0) != (ssize_t)sizeof(*seed))
        return false;
    *seed >>= 64 - SEED_BITS;
    return true;
}

/* A private copy of the state for each sequence.  All have the same generator: which sequences are
 * texts of one input, to be drawn apart, the task knows. */
static bool states_new(struct job *job)
{
    const struct rnn_state *from = has_session(job) ? session_state(&job->hold) : NULL;
    size_t size;

    if (!job->has_seed && from != NULL)
        job->seed = from->rng.seed;
    else if (!job->has_seed && !draw_seed(&job->seed))
        return false;
    job->state_bytes = rnn_model_info(job->model)->state_bytes;
    job->state_stride = (job->state_bytes + STATE_ALIGN - 1) / STATE_ALIGN * STATE_ALIGN;
    if (!checked_mul(job->n_sequences, job->state_stride, &size))
        return false;
    job->states = aligned_alloc(STATE_ALIGN, size);
    if (job->states == NULL)
        return false;
    for (size_t i = 0; i < job->n_sequences; i++) {
        struct rnn_state *state = (void *)(job->states + i * job->state_stride);

        if (from != NULL)
            memcpy(state, from, job->state_bytes);
        else
            rnn_state_init(job->model, state, job->seed);
        if (from != NULL && job->has_seed)
            state->rng = (struct rnn_rng){.seed = job->seed};
        job->sequences[i].step.state = state;
    }
    return true;
}

static void first_steps(struct job *job)
{
    for (size_t i = 0; i < job->n_sequences && job->end == JOB_RUNNING; i++) {
        struct job_sequence *sequence = &job->sequences[i];

        switch (job->ops->first(job, sequence)) {
        case SEQUENCE_READY:
            sequence_start(sequence);
            break;
        case SEQUENCE_PAUSED:
            break;
        case SEQUENCE_DONE:
            job_close(sequence);
            break;
        }
    }
}

static void start(struct job *job)
{
    struct jobs *jobs = job->work->jobs;

    job->stage = RUNNING;
    job->started_ns = clock_ns();
    jobs->n_rows += job->n_sequences;
    metrics_observe(job->work->metrics, H_QUEUE_WAIT,
                    ms_between(job->received_ns, job->started_ns) / 1000);
    if (states_new(job))
        first_steps(job);
    else
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for %zu states", job->n_sequences);
    if (job->end == JOB_FAILED || job->n_open == 0)
        settle(job, JOB_COMPLETE);
}

static bool has_room(const struct jobs *jobs, const struct job *job)
{
    size_t max = (size_t)shard_config(jobs->shard)->rows_active_max;

    return jobs->n_rows == 0 || jobs->n_rows + job->n_sequences <= max;
}

static void start_waiting(struct jobs *jobs)
{
    if (jobs->starting)
        return; /* a job that ended at once: the loop below goes on */
    jobs->starting = true;
    while (jobs->queue != NULL && has_room(jobs, jobs->queue)) {
        struct job *job = jobs->queue;

        jobs->queue = job->next;
        if (job->next != NULL)
            job->next->at = &jobs->queue;
        else
            jobs->queue_end = &jobs->queue;
        waiting_add(jobs, -1);
        start(job);
    }
    jobs->starting = false;
}

static void start_or_queue(struct job *job)
{
    struct jobs *jobs = job->work->jobs;

    if (jobs->queue == NULL && has_room(jobs, job)) {
        start(job);
        return;
    }
    if (jobs->n_waiting >= (size_t)shard_config(jobs->shard)->queue_max) {
        fail_queue_full(job);
        settle(job, JOB_FAILED);
        return;
    }
    job->stage = QUEUED;
    job->next = NULL;
    job->at = jobs->queue_end;
    *jobs->queue_end = job;
    jobs->queue_end = &job->next;
    waiting_add(jobs, 1);
}

/* Takes the session's model, and holds the request against the session. */
static void look_at_session(struct job *job)
{
    const char *name = session_model_name(&job->hold);
    uint64_t position = session_state(&job->hold)->position;

    if (job->model_name[0] != '\0' && strcmp(job->model_name, name) != 0) {
        job_fail(job, REPLY_NOT_POSSIBLE, "model", "session '%s' is of model '%s', not '%s'",
                 job->session_id, name, job->model_name);
        return;
    }
    if (job->has_expect_position && job->expect_position != position) {
        metrics_count(job->work->metrics, M_SESSION_CONFLICT, 1);
        job_fail(job, REPLY_POSITION, "expect_position", "session '%s' stands at %llu, not at %llu",
                 job->session_id, (unsigned long long)position,
                 (unsigned long long)job->expect_position);
        return;
    }
    rnn_model_unref(job->model);
    job->model = rnn_model_ref(session_model(&job->hold));
    (void)snprintf(job->model_name, sizeof(job->model_name), "%s", name);
}

/* No session, or it is ours. */
static void proceed(struct job *job)
{
    struct rnn_err err = {.offset = -1};

    job->stage = NEW;
    if (has_session(job))
        look_at_session(job);
    if (job->end == JOB_RUNNING && job->ops->prepare(job, &err) < 0) {
        metrics_count(job->work->metrics, M_REJECTED_INPUT, 1);
        job_fail(job, reply_error_of(&err), err.param, "%s", err.text);
    }
    if (job->end == JOB_FAILED)
        settle(job, JOB_FAILED);
    else
        start_or_queue(job);
}

static void on_granted(struct session_hold *hold)
{
    struct job *job = JOB_OF(hold, hold);

    waiting_add(job->work->jobs, -1);
    proceed(job);
}

static void on_refused(struct session_hold *hold, enum reply_error reason)
{
    struct job *job = JOB_OF(hold, hold);

    metrics_count(job->work->metrics, M_CANCELLED_SESSION, 1);
    fail_session(job, reason);
    settle(job, JOB_FAILED);
}

static void on_session_deleted(struct session_hold *hold)
{
    struct job *job = JOB_OF(hold, hold);

    metrics_count(job->work->metrics, M_CANCELLED_SESSION, 1);
    job_fail(job, REPLY_NO_SESSION, "session", "session '%s' was deleted", job->session_id);
    settle(job, JOB_FAILED);
}

static void acquire(struct job *job)
{
    struct jobs *jobs = job->work->jobs;
    bool full = jobs->n_waiting >= (size_t)shard_config(jobs->shard)->queue_max;
    bool granted;
    session_result rc;

    job->hold.granted = on_granted;
    job->hold.refused = on_refused;
    job->hold.cancelled = on_session_deleted;
    rc = session_acquire(job->work->sessions, job->session_id, job->key_name, !job->reject_busy,
                         &job->hold, &granted);
    if (rc != 0) {
        fail_session(job, SESSION_REPLY(rc));
    } else if (granted) {
        proceed(job);
        return;
    } else if (full) {
        fail_queue_full(job);
    }
    if (job->end == JOB_FAILED) {
        settle(job, JOB_FAILED);
        return;
    }
    job->stage = LINED;
    waiting_add(jobs, 1);
}

/* ---- Deadlines ---- */

static void due_timer_arm(struct jobs *jobs);

static void on_due(uv_timer_t *timer)
{
    struct jobs *jobs = timer->data;

    shard_clock(jobs->shard);
    shard_keep_turning(jobs->shard); /* what is answered here leaves in a turn */
    jobs_tick(jobs, clock_ns());
    due_timer_arm(jobs);
}

static void due_timer_arm(struct jobs *jobs)
{
    struct due *first = heap_first(&jobs->deadlines);
    int64_t left_ns;

    if (first == NULL) {
        uv_timer_stop(&jobs->due_timer);
        return;
    }
    left_ns = first->when - (int64_t)clock_ns();
    uv_update_time(jobs->shard->loop);
    uv_timer_start(&jobs->due_timer, on_due, left_ns > 0 ? (uint64_t)left_ns / NS_PER_MS + 1 : 0,
                   0);
}

void jobs_tick(struct jobs *jobs, uint64_t now_ns)
{
    struct due *due;

    while ((due = heap_first(&jobs->deadlines)) != NULL && due->when <= (int64_t)now_ns) {
        heap_remove(&jobs->deadlines, due);
        stop_deadline(JOB_OF(due, deadline));
    }
}

static bool deadline_set(struct job *job)
{
    struct jobs *jobs = job->work->jobs;
    int64_t ms = job->deadline_ms > 0 ? job->deadline_ms : shard_config(job->work)->deadline_ms;

    if (ms <= 0)
        return true;
    if (!heap_reserve(&jobs->deadlines))
        return false;
    heap_insert(&jobs->deadlines, &job->deadline,
                (int64_t)job->received_ns + ms * (int64_t)NS_PER_MS);
    if (heap_first(&jobs->deadlines) == &job->deadline)
        due_timer_arm(jobs);
    return true;
}

/* ---- Crossing from home to work ---- */

static void admit_run(struct shard *work, struct message *message)
{
    struct job *job = JOB_OF(message, admit);

    work->jobs->n_work++;
    if (!deadline_set(job)) {
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for a deadline");
        settle(job, JOB_FAILED);
    } else if (has_session(job)) {
        acquire(job);
    } else {
        proceed(job);
    }
}

static void cancel_run(struct shard *work, struct message *message)
{
    struct job *job = JOB_OF(message, cancel);

    (void)work;
    stop_gone(job);
    job_unref(job);
}

static void on_gone(struct request *request)
{
    struct job *job = request->user;

    stream_close(job);
    job->request = NULL;
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
    cross(job->home, job->work, &job->cancel, cancel_run);
}

static void on_drained(struct request *request)
{
    ack_send(request->user);
}

static const struct request_hooks hooks = {.gone = on_gone, .drained = on_drained};

/* ---- For handlers ---- */

int job_init(struct job *job, const struct job_ops *ops, struct request *request,
             struct rnn_err *err)
{
    *job = (struct job){
        .ops = ops,
        .commit = true,
        .home = request->shard,
        .request = request,
        .received_ns = request->received_ns,
        .key_name = strdup(request->key_name),
    };
    atomic_init(&job->refs, 1);
    _Static_assert(sizeof(job->request_id) == sizeof(request->id), "room for the id");
    memcpy(job->request_id, request->id, sizeof(job->request_id));
    if (job->key_name == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for a request");
    return 0;
}

void job_submit(struct job *job)
{
    struct server *server = job->home->server;

    job->work =
        has_session(job) ? server->shards[session_shard(server, job->session_id)] : job->home;
    job->request->user = job;
    job->request->hooks = &hooks;
    job->home->jobs->n_home++;
    cross(job->home, job->work, &job->admit, admit_run);
}

void job_drop(struct job *job)
{
    states_free(job);
    for (size_t i = 0; i < job->n_sequences; i++) {
        rnn_walk_free(job->sequences[i].walk);
        buf_free(&job->sequences[i].out);
    }
    free(job->sequences);
    buf_free(&job->out);
    rnn_model_unref(job->model);
    free(job->key_name);
    job->ops->free(job);
}

/* ---- Life ---- */

int jobs_new(struct jobs **out, struct shard *shard, struct rnn_err *err)
{
    struct jobs *jobs = calloc(1, sizeof(*jobs));

    if (jobs == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for jobs");
    jobs->shard = shard;
    jobs->queue_end = &jobs->queue;
    uv_timer_init(shard->loop, &jobs->due_timer); /* these cannot fail */
    uv_timer_init(shard->loop, &jobs->keepalive_timer);
    jobs->due_timer.data = jobs->keepalive_timer.data = jobs;
    *out = jobs;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct jobs *jobs = handle->data;

    if (--jobs->n_closing > 0)
        return;
    heap_free(&jobs->deadlines);
    free(jobs);
}

void jobs_free(struct jobs *jobs)
{
    if (jobs == NULL)
        return;
    assert(jobs_busy(jobs) == 0);
    jobs->n_closing = 2;
    uv_close((uv_handle_t *)&jobs->due_timer, on_closed);
    uv_close((uv_handle_t *)&jobs->keepalive_timer, on_closed);
}

size_t jobs_busy(const struct jobs *jobs)
{
    return jobs->n_home + jobs->n_work;
}
