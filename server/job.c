/* Jobs: admission, the session's line, deadlines, cancelling, commit.
 *
 * A job stands in one of five stages at its work shard:
 *
 *   NEW ──▶ LINED (another request holds the session) ──▶ QUEUED (no room) ──▶ RUNNING ──▶ ENDED
 *
 * and leaves from any of them to ENDED through job_settle(), the one place that retires sequences,
 * commits or rolls back, lets the session go and sends the job home.  Waiting jobs, in lines and in
 * the queue, are bounded by queue_max together; the queue is first come, first served.
 *
 * References: home keeps one until `done` has come; a cancel or an ack under way keeps one.  So the
 * work shard needs none of its own, and may not touch a job after it has posted `done`.
 *
 * Steps are in job_steps.c, streams and the answer in job_stream.c. */
#include "server/job_inner.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/metrics.h"

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

void job_unref(struct job *job)
{
    if (atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) == 1)
        job_drop(job);
}

void job_cross(struct shard *from, struct shard *to, struct message *message,
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
    case REPLY_NO_SESSION:
        job_fail(job, error, "session", "there is no session '%s'", job->session_id);
        break;
    default:
        job_fail(job, error, "session", "session '%s' %s", job->session_id, session_fault(error));
    }
}

static void fail_queue_full(struct job *job)
{
    metrics_count(job->work->metrics, M_REJECTED_QUEUE, 1);
    job_fail(job, REPLY_QUEUE_FULL, NULL, "too many requests are waiting");
}

/* ---- Work: the end of a job ---- */

/* Whether the session has more of the stream than this part of it, which was cut short. */
static bool falls_short(const struct job *job)
{
    return job->resumes != NULL && job->end != JOB_COMPLETE &&
           job_state(job, 0)->position < session_state(&job->hold)->position;
}

/* Whether the session is to stand where the first sequence stands. */
static bool commits(const struct job *job)
{
    return job_has_session(job) && job->commit && job->end != JOB_FAILED && job->states != NULL &&
           (job->end == JOB_COMPLETE || job->partial) && !falls_short(job);
}

/* The task writes the end of its answer, as of the session to come. */
static void write_answer(struct job *job)
{
    job->queue_ms = ms_between(job->received_ns, job->started_ns);
    job->compute_ms = ms_between(job->started_ns, clock_ns());
    if (job_has_session(job))
        session_look(job->work->sessions, &job->hold, commits(job) ? job_state(job, 0) : NULL,
                     &job->view);
    job->ops->finish(job, job->end);
    if (job->out.failed)
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
}

static void start_waiting(struct jobs *jobs);

/* Nothing more is to be computed or written: the session goes on, the answer goes home. */
static void conclude(struct job *job)
{
    struct jobs *jobs = job->work->jobs;

    if (commits(job))
        session_lay_trail(&job->hold, &job->trail);
    session_release(job->work->sessions, &job->hold, commits(job) ? job_state(job, 0) : NULL, NULL);
    job_states_free(job);
    jobs->n_work--;
    job_cross(job->work, job->home, &job->done, job_deliver);
    start_waiting(jobs);
}

void job_settle(struct job *job, enum job_end end)
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
        job_retire(job, 0);
        jobs->n_rows -= job->n_sequences;
        if (job->end != JOB_FAILED && job->end != JOB_GONE)
            write_answer(job);
    }
    if (commits(job) && session_save(job->work->sessions, &job->hold, job_state(job, 0)))
        start_waiting(jobs); /* its rows are free while it is being saved */
    else
        conclude(job);
}

static void on_saved(struct session_hold *hold, session_result result)
{
    struct job *job = JOB_OF(hold, hold);

    if (result != 0)
        fail_session(job, SESSION_REPLY(result));
    conclude(job);
}

/* Partial and bound to commit: the first sequence takes the step that is filled in, and no other
 * goes on. */
static bool wind_down(struct job *job, enum job_end end)
{
    if (!job->partial || !job_has_session(job) || !job->commit || job->sequences[0].closed)
        return false;
    job->end = end;
    job_retire(job, 1);
    job_resume(job);
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
    job_settle(job, JOB_GONE);
}

/* What a partial job has by now becomes its answer; any other fails. */
static void stop_early(struct job *job, enum job_end end, enum reply_error error, const char *text)
{
    if (job->stage == RUNNING && (job->end != JOB_RUNNING || wind_down(job, end)))
        return;
    if (!job->partial)
        job_fail(job, error, NULL, "%s", text);
    job_settle(job, end);
}

static void stop_deadline(struct job *job)
{
    metrics_count(job->work->metrics, M_CANCELLED_DEADLINE, 1);
    stop_early(job, JOB_DEADLINE, REPLY_DEADLINE, "the deadline has passed");
}

static void stop_asked(struct job *job)
{
    if (job->stage == ENDED)
        return;
    metrics_count(job->work->metrics, M_CANCELLED_ASKED, 1);
    stop_early(job, JOB_CANCELLED, REPLY_CANCELLED, "the request was cancelled");
}

/* Its client has come back, and goes on with the stream by another request. */
static void stop_superseded(struct session_hold *hold)
{
    struct job *job = JOB_OF(hold, hold);

    if (job->stage == ENDED)
        return;
    metrics_count(job->work->metrics, M_CANCELLED_SUPERSEDED, 1);
    stop_early(job, JOB_CANCELLED, REPLY_CANCELLED, "another request goes on with this stream");
}

/* ---- Work: the start ---- */

static void start(struct job *job)
{
    struct jobs *jobs = job->work->jobs;

    job->stage = RUNNING;
    job->started_ns = clock_ns();
    jobs->n_rows += job->n_sequences;
    metrics_observe(job->work->metrics, H_QUEUE_WAIT,
                    ms_between(job->received_ns, job->started_ns) / 1000);
    if (job_states_new(job))
        job_first_steps(job);
    else
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for %zu states", job->n_sequences);
    if (job->end == JOB_FAILED || job->n_open == 0)
        job_settle(job, JOB_COMPLETE);
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
        job_settle(job, JOB_FAILED);
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
    uint64_t begin = job->resumes != NULL ? job->begin : position;

    if (job->model_name[0] != '\0' && strcmp(job->model_name, name) != 0) {
        job_fail(job, REPLY_NOT_POSSIBLE, "model", "session '%s' is of model '%s', not '%s'",
                 job->session_id, name, job->model_name);
        return;
    }
    if (job->has_expect_position && job->expect_position != begin) {
        metrics_count(job->work->metrics, M_SESSION_CONFLICT, 1);
        job_fail(job, REPLY_POSITION, "expect_position", "session '%s' %s at %llu, not at %llu",
                 job->session_id, job->resumes != NULL ? "stood" : "stands",
                 (unsigned long long)begin, (unsigned long long)job->expect_position);
        return;
    }
    if (job->resumes != NULL && job_from(job) == NULL) {
        metrics_count(job->work->metrics, M_SESSION_CONFLICT, 1);
        job_fail(
            job, REPLY_POSITION, job->resumes,
            "session '%s' stands at %llu and knows no way back to %llu, where the stream began",
            job->session_id, (unsigned long long)position, (unsigned long long)job->begin);
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
    if (job_has_session(job))
        look_at_session(job);
    if (job->end == JOB_RUNNING)
        job_given_state(job);
    if (job->end == JOB_RUNNING && job->ops->prepare(job, &err) < 0) {
        metrics_count(job->work->metrics, M_REJECTED_INPUT, 1);
        job_fail(job, reply_error_of(&err), err.param, "%s", err.text);
    }
    if (job->end == JOB_RUNNING && job->return_state && job->n_sequences > 1 && !job->asides)
        job_fail(job, REPLY_NOT_POSSIBLE, "return_state",
                 "return_state: there is not one state at the end, but %zu", job->n_sequences);
    if (job->end == JOB_FAILED)
        job_settle(job, JOB_FAILED);
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
    job_settle(job, JOB_FAILED);
}

static void on_session_deleted(struct session_hold *hold)
{
    struct job *job = JOB_OF(hold, hold);

    if (job->stage == ENDED)
        return; /* what it has done is being saved */
    metrics_count(job->work->metrics, M_CANCELLED_SESSION, 1);
    job_fail(job, REPLY_NO_SESSION, "session", "session '%s' was deleted", job->session_id);
    job_settle(job, JOB_FAILED);
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
    job->hold.saved = on_saved;
    job->hold.supersede = stop_superseded;
    job->hold.resumes = job->resumes != NULL;
    job->hold.stream = job->stream_number;
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
        job_settle(job, JOB_FAILED);
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

/* A new stream of a session is given a number, never 0. */
static bool stream_numbered(struct job *job)
{
    if (!job->resumable || job->resumes != NULL)
        return true;
    if (!job_draw_number(&job->stream_number))
        return false;
    job->stream_number++;
    return true;
}

static void admit_run(struct shard *work, struct message *message)
{
    struct job *job = JOB_OF(message, admit);

    work->jobs->n_work++;
    if (!deadline_set(job)) {
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for a deadline");
        job_settle(job, JOB_FAILED);
    } else if (!job_has_session(job)) {
        proceed(job);
    } else if (stream_numbered(job)) {
        acquire(job);
    } else {
        job_fail(job, REPLY_INTERNAL, NULL, "the system gives no random numbers");
        job_settle(job, JOB_FAILED);
    }
}

static void cancel_run(struct shard *work, struct message *message)
{
    struct job *job = JOB_OF(message, cancel);

    (void)work;
    stop_gone(job);
    job_unref(job);
}

static void stop_run(struct shard *work, struct message *message)
{
    struct job *job = JOB_OF(message, stop);

    (void)work;
    stop_asked(job);
    job_unref(job);
}

static void on_gone(void *user)
{
    struct job *job = user;

    job_detach(job);
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
    job_cross(job->home, job->work, &job->cancel, cancel_run);
}

static void on_drained(void *user)
{
    job_ack(user);
}

static void on_cancel(void *user)
{
    struct job *job = user;

    if (job->stop_posted)
        return;
    job->stop_posted = true;
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
    job_cross(job->home, job->work, &job->stop, stop_run);
}

static const struct sink_hooks hooks = {
    .gone = on_gone, .drained = on_drained, .cancel = on_cancel};

/* ---- For handlers ---- */

int job_init(struct job *job, const struct job_ops *ops, struct sink *sink, struct rnn_err *err)
{
    *job = (struct job){
        .ops = ops,
        .commit = true,
        .home = sink->shard,
        .sink = sink,
        .received_ns = sink->received_ns,
        .key_name = strdup(sink->key_name),
    };
    atomic_init(&job->refs, 1);
    (void)snprintf(job->request_id, sizeof(job->request_id), "%s", sink->request_id);
    if (job->key_name == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for a request");
    return 0;
}

void job_submit(struct job *job)
{
    struct server *server = job->home->server;

    job->work =
        job_has_session(job) ? server->shards[session_shard(server, job->session_id)] : job->home;
    job->sink->user = job;
    job->sink->hooks = &hooks;
    job->home->jobs->n_home++;
    job_cross(job->home, job->work, &job->admit, admit_run);
}

void job_drop(struct job *job)
{
    job_states_free(job);
    for (size_t i = 0; i < job->n_sequences; i++) {
        rnn_walk_free(job->sequences[i].walk);
        buf_free(&job->sequences[i].out);
    }
    free(job->sequences);
    buf_free(&job->out);
    rnn_model_unref(job->model);
    free(job->key_name);
    if (job->sealed != NULL)
        explicit_bzero(job->sealed, strlen(job->sealed));
    free(job->sealed);
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
