/* See job_world.h. */
#include "job_world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_world world;
static uv_loop_t loops[2];
struct rnn_model *model;
char id_on[2][8];

/* ---- A client: a sink that keeps what it hears ---- */

/* A call that sink.h forbids; looked at by teardown, since a failed assertion allocates. */
static bool misused;

static struct client *client_of(struct sink *sink)
{
    struct client *client = (struct client *)sink; /* its first member */

    misused |= client->gone || client->answered;
    return client;
}

/* The client's memory is not the daemon's. */
static void hear(struct client *client, const void *bytes, size_t len)
{
    size_t fail_at = fake_fail_at;

    fake_fail_at = 0;
    buf_put(&client->text, bytes, len);
    fake_fail_at = fail_at;
}

static void hear_whole(struct sink *sink, struct buf *body)
{
    struct client *client = client_of(sink);

    misused |= client->begun;
    client->answered = true;
    client->status = 200;
    hear(client, body->data, body->len);
    buf_free(body);
}

static size_t hear_events(struct sink *sink, const char *events, size_t len)
{
    struct client *client = client_of(sink);

    client->begun = true;
    client->status = 200;
    hear(client, events, len);
    client->unread += client->deaf ? len : 0;
    return client->unread;
}

static void hear_end(struct sink *sink)
{
    struct client *client = client_of(sink);

    misused |= !client->begun;
    client->answered = client->ended = true;
}

/* As an HTTP client would: a status and an error body, or an event. */
static void hear_failure(struct sink *sink, enum reply_error error, const char *param,
                         const char *text)
{
    struct client *client = client_of(sink);
    size_t fail_at = fake_fail_at;
    struct buf body = {0};

    client->answered = true;
    client->ended = client->begun;
    client->status = client->begun ? 200 : reply_status(error);
    fake_fail_at = 0;
    buf_puts(&body, client->begun ? "event: error " : "");
    reply_error_body(&body, error, param, text);
    fake_fail_at = fail_at;
    hear(client, body.data, body.len);
    buf_free(&body);
}

static void hear_silence(struct sink *sink)
{
    hear(client_of(sink), ":", 1);
}

static const struct sink_ops client_ops = {.whole = hear_whole,
                                           .events = hear_events,
                                           .close = hear_end,
                                           .fail = hear_failure,
                                           .silent = hear_silence};

void client_init(struct client *client, unsigned shard, const char *key)
{
    *client = (struct client){.sink = {.ops = &client_ops,
                                       .shard = &world.shards[shard],
                                       .key_name = key,
                                       .request_id = "r",
                                       .received_ns = world.shards[shard].now_ns}};
}

const char *text_of(struct client *client)
{
    buf_putc(&client->text, '\0');
    client->text.len--;
    return client->text.data;
}

void client_leaves(struct client *client)
{
    ck_assert(!client->answered);
    client->sink.hooks->gone(client->sink.user);
    client->gone = true;
}

void client_cancels(struct client *client)
{
    ck_assert(!client->answered);
    client->sink.hooks->cancel(client->sink.user);
}

void client_reads(struct client *client)
{
    client->unread = 0;
    if (!client->answered && !client->gone && client->sink.hooks != NULL)
        client->sink.hooks->drained(client->sink.user);
}

/* ---- A task ---- */

size_t n_freed;

struct task *task_of(struct job *job)
{
    return (struct task *)job;
}

static int prepare(struct job *job, struct rnn_err *err)
{
    struct task *task = task_of(job);

    misused |= job->model != model;
    if (task->fail_prepare)
        return rnn_fail_at(err, RNN_ECHAR, "input", 3, "no such character");
    if (job_sequences(job, task->n_sequences, err) < 0)
        return RNN_ENOMEM;
    for (size_t i = 0; i < task->n_sequences; i++) {
        job->sequences[i].input = (struct rnn_walk_input){
            .tokens = task->tokens, .n = task->branches && i > 0 ? 0 : task->n_tokens};
    }
    return 0;
}

static enum sequence_next first(struct job *job, struct job_sequence *sequence)
{
    struct task *task = task_of(job);

    if (task->fail_first && sequence->index + 1 == job->n_sequences) {
        job_fail(job, REPLY_NOT_POSSIBLE, "x", "not today");
        return SEQUENCE_DONE;
    }
    if (task->rng_out != NULL)
        task->rng_out[sequence->index] = sequence->step.state->rng;
    if (task->branches && sequence->index > 0)
        return SEQUENCE_PAUSED;
    if (task->n_tokens == 0 && task->n_out == 0)
        return SEQUENCE_DONE;
    return job_feed(sequence) == RNN_WALK_DONE ? SEQUENCE_DONE : SEQUENCE_READY;
}

static void draw(struct task *task, struct job_sequence *sequence, const float *logits)
{
    size_t n = task->n_drawn[sequence->index]++;
    uint32_t token = (uint32_t)logits[0] + (uint32_t)sequence->index;

    job_feed_token(sequence, sequence, token);
    task->job.partial = task->keeps_partial;
    if (sequence->index == 0) {
        if (task->drawn != NULL)
            task->drawn[n] = token;
        if (task->n_drawn_out != NULL)
            *task->n_drawn_out = n + 1;
    }
    buf_printf(task->job.stream ? &task->job.out : &sequence->out, "%zu:%u ", sequence->index,
               token);
    if (task->pads)
        buf_printf(&sequence->out, "%5000s", "");
}

static enum sequence_next stepped(struct job *job, struct job_sequence *sequence, float *logits,
                                  const float *hidden)
{
    struct task *task = task_of(job);

    (void)hidden;
    if (job->end != JOB_RUNNING)
        return SEQUENCE_DONE;
    if (sequence->step.reading && job_feed(sequence) != RNN_WALK_DONE)
        return SEQUENCE_READY;
    if (task->n_drawn[sequence->index] == task->n_out)
        return SEQUENCE_DONE; /* that step fed the last */
    draw(task, sequence, logits);
    if (task->fail_at > 0 && task->n_drawn[0] == task->fail_at) {
        job_fail(job, REPLY_NOT_POSSIBLE, "y", "no further");
        return SEQUENCE_READY;
    }
    for (size_t i = 1; task->branches && task->n_drawn[i] == 0 && i < task->n_sequences; i++) {
        struct rnn_rng rng = {.seed = 1, .stream = (uint32_t)i};

        draw(task, &job->sequences[i], logits);
        job->sequences[i].step.want_logits = true;
        job_branch(&job->sequences[i], sequence, &rng);
    }
    return SEQUENCE_READY;
}

static void finish(struct job *job, enum job_end end)
{
    struct task *task = task_of(job);

    misused |= end != JOB_COMPLETE && end != JOB_DEADLINE && end != JOB_CANCELLED;
    if (task->fail_finish) {
        job_fail(job, REPLY_INTERNAL, NULL, "no end");
        return;
    }
    for (size_t i = 0; i < job->n_sequences; i++)
        buf_put(&job->out, job->sequences[i].out.data, job->sequences[i].out.len);
    buf_printf(&job->out, "%s@%llu",
               end == JOB_COMPLETE   ? "done"
               : end == JOB_DEADLINE ? "late"
                                     : "stopped",
               (unsigned long long)job->view.position);
}

static void task_free(struct job *job)
{
    n_freed++;
    free(job);
}

const struct job_ops task_ops = {prepare, first, stepped, finish, task_free};

struct task *task_new(struct client *client, const char *session)
{
    struct task *task = calloc(1, sizeof(*task));

    ck_assert_ptr_nonnull(task);
    ck_assert_int_eq(job_init(&task->job, &task_ops, &client->sink, NULL), 0);
    (void)snprintf(task->job.session_id, sizeof(task->job.session_id), "%s", session);
    if (session[0] == '\0')
        task->job.model = rnn_model_ref(model);
    task->n_sequences = 1;
    task->n_tokens = 3;
    memcpy(task->tokens, (const uint32_t[]){11, 12, 13}, 3 * sizeof(uint32_t));
    task->n_out = 5;
    return task;
}

/* ---- The world ---- */

static size_t n_turns;

bool turn_all(void)
{
    bool more = false;

    n_turns++;
    for (unsigned i = 0; i < 2; i++)
        more |= sched_turn(world.shards[i].sched);
    return fake_run_messages() > 0 || more;
}

void run_all(void)
{
    (void)fake_run_messages();
    while (turn_all())
        ;
}

enum { WINDOW = 6 }; /* tokens that the sessions remember */

void session_make(const char *id)
{
    struct session_view view;
    struct session_spec spec = {.id = id,
                                .key_name = "k",
                                .model_name = "m",
                                .model = model,
                                .seed = 42,
                                .state_bytes = rnn_state_bytes(model, WINDOW)};
    struct shard *shard = world.list[session_shard(&world.server, id)];

    ck_assert_int_eq(session_create(shard->sessions, &spec, &view), 0);
}

struct session_view look(const char *id)
{
    struct shard *shard = world.list[session_shard(&world.server, id)];
    struct session_view view;

    ck_assert_int_eq(session_view(shard->sessions, id, "k", &view), 0);
    return view;
}

void job_world_setup(void)
{
    fake_world_init(&world, 2);
    n_freed = n_turns = 0;
    misused = false;
    model = fake_model(4);
    for (unsigned i = 0; i < 2; i++) {
        struct shard *shard = &world.shards[i];

        ck_assert_int_eq(uv_loop_init(&loops[i]), 0);
        shard->loop = &loops[i];
        ck_assert_int_eq(sched_new(&shard->sched, shard, NULL), 0);
        ck_assert_int_eq(sessions_new(&shard->sessions, shard, NULL), 0);
        ck_assert_int_eq(jobs_new(&shard->jobs, shard, NULL), 0);
    }
    for (unsigned i = 0, at = 0; at < 2; i++) {
        (void)snprintf(id_on[at], sizeof(id_on[at]), "s%u", i);
        if (session_shard(&world.server, id_on[at]) == at)
            session_make(id_on[at++]);
    }
}

void job_world_teardown(void)
{
    (void)fake_run_messages();
    ck_assert_double_eq(fake_metric(&world, "rnnd_queue_depth"), 0);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sequences_active"), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct shard *shard = &world.shards[i];

        ck_assert_uint_eq(jobs_busy(shard->jobs), 0);
        jobs_free(shard->jobs);
        ck_assert_int_eq(uv_run(&loops[i], UV_RUN_DEFAULT), 0);
        ck_assert_int_eq(uv_loop_close(&loops[i]), 0);
        sched_free(shard->sched);
        sessions_free(shard->sessions);
    }
    ck_assert(!misused);
    ck_assert(!fake_steps.shared);
    ck_assert_uint_eq(fake_model_refs(model), 1);
    rnn_model_unref(model);
    fake_world_deinit(&world);
}

void assert_answer(struct client *client, unsigned status, const char *part)
{
    ck_assert(client->answered);
    ck_assert_uint_eq(client->status, status);
    ck_assert_msg(strstr(text_of(client), part) != NULL, "'%s' lacks '%s'", text_of(client), part);
    buf_free(&client->text);
}

uint64_t memory_of(const char *id)
{
    struct shard *shard = world.list[session_shard(&world.server, id)];
    struct session_hold hold = {0};
    uint64_t memory;
    bool granted;

    ck_assert_int_eq(session_acquire(shard->sessions, id, "k", false, &hold, &granted), 0);
    memory = fake_memory(session_state(&hold));
    session_release(shard->sessions, &hold, NULL, NULL);
    return memory;
}

/* The last of the tokens, of which all but three were drawn. */
static void assert_remembers(const char *id, const uint32_t *tokens, size_t n)
{
    struct shard *shard = world.list[session_shard(&world.server, id)];
    const struct rnn_model *its_model;
    const struct rnn_state *state = session_glance(shard->sessions, id, "k", &its_model);
    const struct rnn_recent *recent =
        rnn_state_recent(model, state, rnn_state_bytes(model, WINDOW));
    size_t count = n < WINDOW ? n : WINDOW;
    bool drawn;

    ck_assert_uint_eq(rnn_recent_count(recent), count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(rnn_recent_at(recent, i, &drawn), tokens[n - count + i]);
        ck_assert_int_eq(drawn, n - count + i >= 3);
    }
}

void assert_stands_after(const char *id, const uint32_t *drawn, size_t n)
{
    uint32_t tokens[3 + 64] = {11, 12, 13};

    memcpy(tokens + 3, drawn, n * sizeof(*drawn));
    ck_assert_uint_eq(look(id).position, 3 + n);
    ck_assert_uint_eq(memory_of(id), fake_memory_after(tokens, 3 + n));
    assert_remembers(id, tokens, 3 + n);
}
