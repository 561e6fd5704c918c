/* The promises of a job's life: who gets which answer, and what a session is left with, for every
 * moment at which something may end it; at home and across shards. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"
#include "server/job.h"
#include "server/metrics.h"

static struct fake_world world;
static uv_loop_t loops[2];
static struct rnn_model *model;
static char id_on[2][8]; /* a session's id on each shard */

/* ---- A client, and the HTTP room around it ---- */

struct client {
    struct request request; /* first */
    bool answered, begun, ended, gone;
    unsigned status;
    struct buf text;
    size_t unread;
    bool deaf; /* reads nothing */
};

/* A call that http.h forbids; looked at by teardown, since a failed assertion allocates. */
static bool misused;

static struct client *client_of(struct request *request)
{
    struct client *client = (struct client *)request;

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

void http_reply(struct request *request, unsigned status, const char *type, struct buf *body)
{
    struct client *client = client_of(request);

    (void)type;
    misused |= client->begun;
    client->answered = true;
    client->status = status;
    hear(client, body->data, body->len);
    buf_free(body);
}

void http_reply_header(struct request *request, const char *name, const char *value)
{
    (void)client_of(request);
    misused |= name[0] == '\0' || value[0] == '\0';
}

void http_stream_begin(struct request *request, const char *type)
{
    struct client *client = client_of(request);

    misused |= client->begun || strcmp(type, "text/event-stream") != 0;
    client->begun = true;
    client->status = 200;
}

size_t http_stream_write(struct request *request, const void *bytes, size_t len)
{
    struct client *client = client_of(request);

    misused |= !client->begun;
    hear(client, bytes, len);
    client->unread += client->deaf ? len : 0;
    return client->unread;
}

void http_stream_end(struct request *request, bool clean)
{
    struct client *client = client_of(request);

    misused |= !clean || !client->begun;
    client->answered = client->ended = true;
}

static void client_init(struct client *client, unsigned shard, const char *key)
{
    *client = (struct client){.request = {.shard = &world.shards[shard],
                                          .key_name = key,
                                          .id = "r",
                                          .received_ns = world.shards[shard].now_ns}};
}

static const char *text_of(struct client *client)
{
    buf_putc(&client->text, '\0');
    client->text.len--;
    return client->text.data;
}

static void client_leaves(struct client *client)
{
    ck_assert(!client->answered);
    client->request.hooks->gone(&client->request);
    client->gone = true;
}

static void client_reads(struct client *client)
{
    client->unread = 0;
    if (!client->answered && !client->gone && client->request.hooks != NULL)
        client->request.hooks->drained(&client->request);
}

/* ---- A task: reads its input, then writes n_out numbers, each fed back ---- */

struct task {
    struct job job;
    uint32_t tokens[8];
    size_t n_tokens, n_sequences;
    size_t n_out;       /* of each sequence */
    bool keeps_partial; /* as generate does */
    bool branches;      /* the others branch off the first */
    bool pads;          /* a long answer */
    size_t fail_at;     /* after so many outputs of the first; 0: never */
    bool fail_prepare, fail_first, fail_finish;
    size_t *n_drawn_out; /* how far the first sequence came */
    uint32_t *drawn;     /* [n_out] of it, or NULL */
    size_t n_drawn[8];
    struct rnn_rng *rng_out; /* [n_sequences] at their first step, or NULL */
};
static size_t n_freed;

static struct task *task_of(struct job *job)
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

    misused |= end != JOB_COMPLETE && end != JOB_DEADLINE;
    if (task->fail_finish) {
        job_fail(job, REPLY_INTERNAL, NULL, "no end");
        return;
    }
    for (size_t i = 0; i < job->n_sequences; i++)
        buf_put(&job->out, job->sequences[i].out.data, job->sequences[i].out.len);
    buf_printf(&job->out, "%s@%llu", end == JOB_COMPLETE ? "done" : "late",
               (unsigned long long)job->view.position);
}

static void task_free(struct job *job)
{
    n_freed++;
    free(job);
}

static const struct job_ops ops = {prepare, first, stepped, finish, task_free};

static struct task *task_new(struct client *client, const char *session)
{
    struct task *task = calloc(1, sizeof(*task));

    ck_assert_ptr_nonnull(task);
    ck_assert_int_eq(job_init(&task->job, &ops, &client->request, NULL), 0);
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

static bool turn_all(void)
{
    bool more = false;

    n_turns++;
    for (unsigned i = 0; i < 2; i++)
        more |= sched_turn(world.shards[i].sched);
    return fake_run_messages() > 0 || more;
}

static void run_all(void)
{
    (void)fake_run_messages();
    while (turn_all())
        ;
}

static void session_make(const char *id)
{
    struct session_view view;
    struct session_spec spec = {
        .id = id, .key_name = "k", .model_name = "m", .model = model, .seed = 42};
    struct shard *shard = world.list[session_shard(&world.server, id)];

    ck_assert_int_eq(session_create(shard->sessions, &spec, &view), 0);
}

static struct session_view look(const char *id)
{
    struct shard *shard = world.list[session_shard(&world.server, id)];
    struct session_view view;

    ck_assert_int_eq(session_view(shard->sessions, id, "k", &view), 0);
    return view;
}

static void setup(void)
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

static void teardown(void)
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

static void assert_answer(struct client *client, unsigned status, const char *part)
{
    ck_assert(client->answered);
    ck_assert_uint_eq(client->status, status);
    ck_assert_msg(strstr(text_of(client), part) != NULL, "'%s' lacks '%s'", text_of(client), part);
    buf_free(&client->text);
}

static uint64_t memory_of(const char *id)
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

/* The session has read 11 12 13 and then the first n of drawn[]. */
static void assert_stands_after(const char *id, const uint32_t *drawn, size_t n)
{
    uint32_t tokens[3 + 64] = {11, 12, 13};

    memcpy(tokens + 3, drawn, n * sizeof(*drawn));
    ck_assert_uint_eq(look(id).position, 3 + n);
    ck_assert_uint_eq(memory_of(id), fake_memory_after(tokens, 3 + n));
}

/* ---- Answers ---- */

START_TEST(without_a_session_it_is_computed_at_home)
{
    struct client client;

    client_init(&client, 1, "k");
    job_submit(&task_new(&client, "")->job);
    ck_assert_uint_eq(jobs_busy(world.shards[0].jobs), 0);
    run_all();
    assert_answer(&client, 200, "done@0");
    ck_assert_uint_eq(n_freed, 1);
}
END_TEST

START_TEST(with_a_session_it_is_computed_there_and_committed)
{
    struct client client;
    uint32_t drawn[5];
    struct task *task;

    client_init(&client, 0, "k");
    task = task_new(&client, id_on[_i]);
    task->drawn = drawn;
    job_submit(&task->job);
    run_all();
    assert_answer(&client, 200, "done@8");
    assert_stands_after(id_on[_i], drawn, 5);
}
END_TEST

START_TEST(uncommitted_leaves_the_session_where_it_was)
{
    struct client client;
    struct task *task;

    client_init(&client, 0, "k");
    task = task_new(&client, id_on[_i]);
    task->job.commit = false;
    job_submit(&task->job);
    run_all();
    assert_answer(&client, 200, "done@0");
    ck_assert_uint_eq(look(id_on[_i]).position, 0);
    ck_assert_uint_eq(memory_of(id_on[_i]), 0);
}
END_TEST

START_TEST(empty_input_reads_the_state_as_it_stands)
{
    struct client client;
    struct task *task;

    for (int i = 0; i < 2; i++) { /* 5 and 5 more is 10 */
        client_init(&client, 0, "k");
        task = task_new(&client, id_on[_i]);
        if (i > 0)
            task->n_tokens = 0;
        job_submit(&task->job);
        run_all();
        assert_answer(&client, 200, i == 0 ? "done@8" : "done@13");
    }
    session_make("whole");
    client_init(&client, 0, "k");
    task = task_new(&client, "whole");
    task->n_out = 10;
    job_submit(&task->job);
    run_all();
    assert_answer(&client, 200, "done@13");
    ck_assert_uint_eq(memory_of("whole"), memory_of(id_on[_i]));
}
END_TEST

START_TEST(streamed_is_unstreamed)
{
    struct client plain, streaming;

    for (size_t n_out = 0; n_out <= 30; n_out += 5) {
        for (int i = 0; i < 2; i++) {
            struct client *client = i == 0 ? &plain : &streaming;
            struct task *task;

            client_init(client, 0, "k");
            task = task_new(client, id_on[_i]);
            task->job.commit = false;
            task->job.stream = i == 1;
            task->n_out = n_out;
            job_submit(&task->job);
            run_all();
        }
        ck_assert(!plain.begun && streaming.begun && streaming.ended);
        ck_assert_uint_eq(plain.text.len, streaming.text.len + 1); /* a body ends its line */
        ck_assert_mem_eq(text_of(&plain), text_of(&streaming), streaming.text.len);
        buf_free(&plain.text);
        buf_free(&streaming.text);
    }
}
END_TEST

START_TEST(branches_start_from_the_prompt)
{
    struct client client;
    struct task *task;

    client_init(&client, 0, "k");
    task = task_new(&client, "");
    task->n_sequences = 3;
    task->branches = true;
    job_submit(&task->job);
    run_all();
    assert_answer(&client, 200, "done@0");
    /* the prompt once, then each its five */
    ck_assert_uint_eq(fake_steps.n_rows, 3 + 3 * 5);
}
END_TEST

START_TEST(nothing_to_compute_is_an_answer_too)
{
    struct client client;
    struct task *task;

    client_init(&client, 0, "k");
    task = task_new(&client, id_on[_i]);
    task->n_tokens = task->n_out = 0;
    job_submit(&task->job);
    run_all();
    assert_answer(&client, 200, "done@0");
    ck_assert_uint_eq(fake_steps.n_steps, 0);
}
END_TEST

/* ---- Faults ---- */

START_TEST(faults_of_the_task_roll_back)
{
    static const struct {
        unsigned status;
        const char *part;
    } want[] = {
        {422, "no such character"}, {422, "not today"}, {422, "no further"}, {500, "no end"}};

    for (int stream = 0; stream < 2; stream++) {
        for (int fault = 0; fault < 4; fault++) {
            struct client client;
            struct task *task;

            client_init(&client, 0, "k");
            task = task_new(&client, id_on[_i]);
            task->job.stream = stream == 1;
            task->n_sequences = 2;
            task->fail_prepare = fault == 0;
            task->fail_first = fault == 1;
            task->fail_at = fault == 2 ? 2 : 0;
            task->fail_finish = fault == 3;
            job_submit(&task->job);
            run_all();
            ck_assert_int_eq(client.begun, stream == 1 && fault >= 2);
            if (client.begun)
                assert_answer(&client, 200, "event: error");
            else
                assert_answer(&client, want[fault].status, want[fault].part);
            ck_assert_uint_eq(look(id_on[_i]).position, 0);
            ck_assert(!look(id_on[_i]).busy);
        }
    }
}
END_TEST

START_TEST(a_larger_answer_than_allowed_is_refused)
{
    struct client client;
    struct task *task;

    client_init(&client, 0, "k");
    task = task_new(&client, id_on[_i]);
    task->n_out = 20;
    task->pads = true;
    job_submit(&task->job);
    run_all();
    assert_answer(&client, 413, "larger than");
    ck_assert_uint_eq(look(id_on[_i]).position, 0);
}
END_TEST

START_TEST(without_scratch_503)
{
    struct client client;

    fake_no_scratch = true;
    client_init(&client, 0, "k");
    job_submit(&task_new(&client, id_on[_i])->job);
    run_all();
    assert_answer(&client, 503, "no scratch");
    ck_assert_uint_eq(look(id_on[_i]).position, 0);
}
END_TEST

START_TEST(refusals_of_the_session)
{
    struct client clients[5];
    struct task *task;

    for (size_t i = 0; i < 5; i++)
        client_init(&clients[i], 0, i == 1 ? "other" : "k");
    job_submit(&task_new(&clients[0], "none")->job);
    job_submit(&task_new(&clients[1], id_on[_i])->job);
    task = task_new(&clients[2], id_on[_i]);
    task->job.has_expect_position = true;
    task->job.expect_position = 1;
    job_submit(&task->job);
    task = task_new(&clients[3], id_on[_i]);
    (void)strcpy(task->job.model_name, "another");
    job_submit(&task->job);
    run_all();
    assert_answer(&clients[0], 404, "no_session");
    assert_answer(&clients[1], 404, "no_session");
    assert_answer(&clients[2], 409, "stands at 0, not at 1");
    assert_answer(&clients[3], 422, "is of model 'm'");
    ck_assert_uint_eq(look(id_on[_i]).position, 0);
    fake_advance_ms(&world, 100000);
    client_init(&clients[4], 0, "k");
    job_submit(&task_new(&clients[4], id_on[_i])->job);
    run_all();
    assert_answer(&clients[4], 410, "session_expired");
}
END_TEST

START_TEST(expected_position_is_checked_when_the_turn_comes)
{
    struct client clients[2];

    for (uint64_t i = 0; i < 2; i++) {
        struct task *task;

        client_init(&clients[i], 0, "k");
        task = task_new(&clients[i], id_on[_i]);
        task->job.has_expect_position = true;
        task->job.expect_position = 8 * i;
        job_submit(&task->job);
    }
    run_all();
    assert_answer(&clients[0], 200, "done@8");
    assert_answer(&clients[1], 200, "done@16");
}
END_TEST

START_TEST(busy_may_be_refused)
{
    struct client a, b;
    struct task *task;

    client_init(&a, 0, "k");
    client_init(&b, 0, "k");
    job_submit(&task_new(&a, id_on[_i])->job);
    task = task_new(&b, id_on[_i]);
    task->job.reject_busy = true;
    job_submit(&task->job);
    run_all();
    assert_answer(&a, 200, "done@8");
    assert_answer(&b, 409, "session_busy");
}
END_TEST

/* A handler's part, which may fail as well: then there is nothing to submit. */
static bool try_submit(struct client *client, const char *id, bool stream)
{
    struct task *task = calloc(1, sizeof(*task));

    if (task == NULL)
        return false;
    if (job_init(&task->job, &ops, &client->request, NULL) < 0) {
        job_drop(&task->job);
        return false;
    }
    (void)snprintf(task->job.session_id, sizeof(task->job.session_id), "%s", id);
    task->n_sequences = 2;
    task->n_out = 5;
    task->n_tokens = 1;
    task->job.stream = stream;
    task->job.deadline_ms = 1000;
    job_submit(&task->job);
    return true;
}

START_TEST(any_allocation_may_fail)
{
    for (int stream = 0; stream < 2; stream++) {
        bool failed = true;

        for (size_t n = 1; failed; n++) {
            struct client client;
            char id[32];
            bool sent;

            (void)snprintf(id, sizeof(id), "m%zu-%d-%d", n, stream, _i);
            session_make(id);
            sched_forget(world.shards[0].sched, model);
            sched_forget(world.shards[1].sched, model);
            client_init(&client, (unsigned)_i, "k");
            fake_fail_at = n;
            sent = try_submit(&client, id, stream == 1);
            run_all();
            failed = fake_fail_at == 0;
            fake_fail_at = 0;
            ck_assert_int_eq(client.answered, sent);
            if (sent && strstr(text_of(&client), "done@") != NULL)
                ck_assert_uint_eq(look(id).position, 6);
            else
                ck_assert_uint_eq(look(id).position, 0);
            if (sent && !client.begun)
                ck_assert(client.status == 200 || client.status == 503);
            ck_assert(!look(id).busy);
            buf_free(&client.text);
            ck_assert_uint_lt(n, 200);
            ck_assert(failed || n > 8); /* there are at least some */
        }
    }
}
END_TEST

/* ---- Order and limits ---- */

START_TEST(one_sessions_requests_run_in_order_of_arrival)
{
    struct client clients[5];

    for (unsigned i = 0; i < 5; i++) {
        struct task *task;

        client_init(&clients[i], 1 - (unsigned)_i, "k"); /* all across, or all at home */
        task = task_new(&clients[i], id_on[_i]);
        task->tokens[0] = 100 + i;
        job_submit(&task->job);
    }
    run_all();
    for (unsigned i = 0; i < 5; i++) {
        char want[16];

        (void)snprintf(want, sizeof(want), "done@%u", 8 * (i + 1));
        assert_answer(&clients[i], 200, want);
    }
}
END_TEST

START_TEST(the_queue_is_bounded_and_first_come_first_served)
{
    struct client clients[16];
    unsigned n_done[16] = {0};

    for (size_t i = 0; i < 16; i++) {
        struct task *task;

        client_init(&clients[i], 0, "k");
        task = task_new(&clients[i], "");
        task->n_out = i % 3;
        job_submit(&task->job);
    }
    ck_assert_uint_eq(sched_active(world.shards[0].sched), 6);
    ck_assert_double_eq(fake_metric(&world, "rnnd_queue_depth"), 8);
    for (size_t i = 14; i < 16; i++)
        assert_answer(&clients[i], 429, "queue_full");
    for (unsigned t = 0; turn_all(); t++) {
        ck_assert_uint_le(sched_active(world.shards[0].sched), 6);
        for (size_t i = 0; i < 14; i++)
            n_done[i] = clients[i].answered ? n_done[i] : t;
    }
    for (size_t i = 0; i < 14; i++) {
        assert_answer(&clients[i], 200, "done@0");
        for (size_t j = 0; j < i; j += 3)
            if ((i - j) % 3 == 0)
                ck_assert_uint_le(n_done[j], n_done[i]); /* equals finish in order */
    }
}
END_TEST

START_TEST(waiting_in_a_sessions_line_counts_too)
{
    struct client clients[4];

    world.config.queue_max = 2;
    for (size_t i = 0; i < 4; i++) {
        client_init(&clients[i], 0, "k");
        job_submit(&task_new(&clients[i], id_on[_i])->job);
    }
    run_all();
    for (size_t i = 0; i < 3; i++)
        assert_answer(&clients[i], 200, "done@");
    assert_answer(&clients[3], 429, "queue_full");
}
END_TEST

/* More sequences than there are places go alone, not never. */
START_TEST(a_wide_job_still_runs)
{
    struct client a, b;
    struct task *task;

    world.config.rows_active_max = 2;
    client_init(&a, 0, "k");
    client_init(&b, 0, "k");
    job_submit(&task_new(&a, "")->job);
    task = task_new(&b, "");
    task->n_sequences = 5;
    job_submit(&task->job);
    ck_assert_uint_eq(sched_active(world.shards[0].sched), 1);
    run_all();
    assert_answer(&a, 200, "done@0");
    assert_answer(&b, 200, "done@0");
}
END_TEST

/* ---- Ending at every moment ---- */

/* The client leaves after `at` turns: at most one more step, and only where the session needs it.
 */
START_TEST(client_leaves_at_every_step)
{
    for (int partial = 0; partial < 2; partial++) {
        for (size_t at = 0; at < 7; at++) {
            char id[16];
            struct client client;
            size_t n_rows, n_drawn = 0;
            uint32_t drawn[5];
            struct task *task;

            (void)snprintf(id, sizeof(id), "%d-%zu-%d", partial, at, _i);
            session_make(id);
            client_init(&client, (unsigned)_i, "k");
            task = task_new(&client, id);
            task->keeps_partial = partial == 1;
            task->drawn = drawn;
            task->n_drawn_out = &n_drawn;
            task->job.stream = at % 2 == 0;
            job_submit(&task->job);
            if (session_shard(&world.server, id) != (unsigned)_i && at > 0)
                (void)fake_run_messages();
            for (size_t i = 0; i < at; i++)
                (void)turn_all();
            n_rows = fake_steps.n_rows;
            if (client.answered) {
                buf_free(&client.text);
                continue;
            }
            client_leaves(&client);
            run_all();
            buf_free(&client.text);
            ck_assert_uint_le(fake_steps.n_rows - n_rows, partial == 1 && n_drawn > 0 ? 1 : 0);
            if (partial == 1 && n_drawn > 0)
                assert_stands_after(id, drawn, n_drawn);
            else
                ck_assert_uint_eq(look(id).position, 0);
            ck_assert(!look(id).busy);
        }
    }
    ck_assert_double_ge(fake_metric(&world, "rnnd_cancelled_total{cause=\"client_gone\"}"), 8);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_uint_eq(jobs_busy(world.shards[i].jobs), 0);
}
END_TEST

START_TEST(deadline_passes_at_every_step)
{
    for (int partial = 0; partial < 2; partial++) {
        for (size_t at = 0; at < 7; at++) {
            char id[16];
            struct client client;
            size_t n_drawn = 0;
            uint32_t drawn[5];
            struct task *task;

            (void)snprintf(id, sizeof(id), "%d-%zu-%d", partial, at, _i);
            session_make(id);
            client_init(&client, (unsigned)_i, "k");
            task = task_new(&client, id);
            task->keeps_partial = partial == 1;
            task->drawn = drawn;
            task->n_drawn_out = &n_drawn;
            task->job.stream = at % 2 == 0;
            task->job.deadline_ms = 10;
            job_submit(&task->job);
            (void)fake_run_messages();
            for (size_t i = 0; i < at; i++)
                (void)turn_all();
            fake_advance_ms(&world, 9);
            for (unsigned i = 0; i < 2; i++)
                jobs_tick(world.shards[i].jobs, world.shards[i].now_ns);
            fake_advance_ms(&world, 1);
            for (unsigned i = 0; i < 2; i++)
                jobs_tick(world.shards[i].jobs, world.shards[i].now_ns);
            run_all();
            ck_assert(client.answered);
            if (strstr(text_of(&client), "done@") != NULL) {
                assert_answer(&client, 200, "done@8");
            } else if (partial == 1 && n_drawn > 0) {
                assert_answer(&client, 200, "late@");
                assert_stands_after(id, drawn, n_drawn);
            } else {
                assert_answer(&client, client.begun ? 200 : 504, "deadline");
                ck_assert_uint_eq(look(id).position, 0);
            }
            ck_assert(!look(id).busy);
        }
    }
    ck_assert_double_ge(fake_metric(&world, "rnnd_cancelled_total{cause=\"deadline\"}"), 8);
}
END_TEST

START_TEST(session_is_deleted_at_every_step)
{
    for (size_t at = 0; at < 6; at++) {
        struct client runs, waits;
        struct shard *shard = &world.shards[_i];
        struct task *task;

        client_init(&runs, 0, "k");
        client_init(&waits, 0, "k");
        task = task_new(&runs, id_on[_i]);
        task->keeps_partial = true;
        task->job.stream = at % 2 == 1;
        task->n_out = 9;
        job_submit(&task->job);
        job_submit(&task_new(&waits, id_on[_i])->job);
        (void)fake_run_messages();
        for (size_t i = 0; i < at; i++)
            (void)turn_all();
        ck_assert_int_eq(session_delete(shard->sessions, id_on[_i], "k"), 0);
        session_make(id_on[_i]);
        run_all();
        assert_answer(&runs, runs.begun ? 200 : 404, "no_session");
        assert_answer(&waits, 404, "no_session");
        ck_assert_uint_eq(look(id_on[_i]).position, 0);
    }
}
END_TEST

START_TEST(waiting_requests_are_cancelled_and_time_out_alike)
{
    struct client running[6], waiting[4];
    size_t n_rows;

    for (size_t i = 0; i < 6; i++) {
        struct task *task;

        client_init(&running[i], 0, "k");
        task = task_new(&running[i], i == 0 ? id_on[0] : "");
        task->n_out = 40;
        job_submit(&task->job);
    }
    for (size_t i = 0; i < 4; i++) { /* two in the queue, two in the session's line */
        struct task *task;

        client_init(&waiting[i], 0, "k");
        task = task_new(&waiting[i], i < 2 ? "" : id_on[0]);
        task->job.deadline_ms = i % 2 == 0 ? 10 : 0;
        job_submit(&task->job);
    }
    (void)turn_all();
    client_leaves(&waiting[1]);
    client_leaves(&waiting[3]);
    fake_advance_ms(&world, 10);
    jobs_tick(world.shards[0].jobs, world.shards[0].now_ns);
    assert_answer(&waiting[0], 504, "deadline");
    assert_answer(&waiting[2], 504, "deadline");
    ck_assert_double_eq(fake_metric(&world, "rnnd_queue_depth"), 0);
    n_rows = fake_steps.n_rows;
    run_all();
    ck_assert_uint_le(fake_steps.n_rows - n_rows, (size_t)6 * 43);
    for (size_t i = 0; i < 6; i++)
        assert_answer(&running[i], 200, "done@");
    ck_assert_uint_eq(look(id_on[0]).position, 43);
}
END_TEST

/* ---- Flow control ---- */

START_TEST(a_client_that_does_not_read_pauses_its_own_stream_only)
{
    struct client deaf, other, plain;
    struct task *task;
    int n_reads = 0;

    client_init(&plain, 0, "k");
    task = task_new(&plain, id_on[_i]);
    task->job.commit = false;
    task->n_out = 60;
    job_submit(&task->job);
    run_all();

    client_init(&deaf, 0, "k");
    deaf.deaf = true;
    task = task_new(&deaf, id_on[_i]);
    task->job.stream = true;
    task->n_out = 60;
    job_submit(&task->job);
    client_init(&other, 0, "k");
    task = task_new(&other, "");
    task->job.stream = true;
    task->n_out = 60;
    job_submit(&task->job);
    run_all();
    assert_answer(&other, 200, "done@0");
    ck_assert(!deaf.answered);
    for (; !deaf.answered; n_reads++) {
        ck_assert_uint_le(deaf.unread, 2 * 64);
        client_reads(&deaf);
        run_all();
        ck_assert_int_lt(n_reads, 100);
    }
    ck_assert_int_gt(n_reads, 2);
    ck_assert_mem_eq(text_of(&deaf), text_of(&plain),
                     (size_t)(strchr(text_of(&plain), '@') - plain.text.data));
    assert_answer(&deaf, 200, "done@63");
    assert_answer(&plain, 200, "done@0");
}
END_TEST

START_TEST(paused_streams_end_like_others)
{
    for (int way = 0; way < 3; way++) {
        struct client client;
        size_t n_drawn = 0;
        uint32_t drawn[60];
        struct task *task;
        char id[16];

        (void)snprintf(id, sizeof(id), "p%d-%d", way, _i);
        session_make(id);
        client_init(&client, (unsigned)_i, "k");
        client.deaf = true;
        task = task_new(&client, id);
        task->job.stream = true;
        task->job.deadline_ms = 10;
        task->keeps_partial = true;
        task->n_out = 60;
        task->drawn = drawn;
        task->n_drawn_out = &n_drawn;
        job_submit(&task->job);
        run_all();
        ck_assert(!client.answered);
        if (way == 0) {
            client_leaves(&client);
        } else if (way == 1) {
            fake_advance_ms(&world, 10);
            for (unsigned i = 0; i < 2; i++)
                jobs_tick(world.shards[i].jobs, world.shards[i].now_ns);
        } else {
            struct shard *shard = world.list[session_shard(&world.server, id)];

            ck_assert_int_eq(session_delete(shard->sessions, id, "k"), 0);
        }
        run_all();
        ck_assert_int_eq(client.answered, way > 0);
        if (way < 2)
            assert_stands_after(id, drawn, n_drawn);
        buf_free(&client.text);
    }
}
END_TEST

/* ---- Randomness ---- */

START_TEST(generators_are_seeded_continued_or_drawn)
{
    struct rnn_rng rng[3];
    struct client client;
    struct task *task;

    for (int i = 0; i < 4; i++) {
        client_init(&client, 0, "k");
        task = task_new(&client, i % 2 == 0 ? "" : id_on[_i]);
        task->job.has_seed = i >= 2;
        task->job.seed = 77;
        task->job.commit = false;
        task->n_sequences = 3;
        task->rng_out = rng;
        job_submit(&task->job);
        run_all();
        assert_answer(&client, 200, "done@");
        for (uint32_t j = 0; j < 3; j++) {
            ck_assert_uint_eq(rng[j].seed, i >= 2 ? 77 : i == 1 ? 42 : rng[0].seed);
            ck_assert_uint_eq(rng[j].stream, 0);
            ck_assert_uint_eq(rng[j].counter, 0);
            ck_assert_uint_lt(rng[j].seed, 1ull << 53);
        }
    }
}
END_TEST

/* ---- Everything at once ---- */

/* Two shards, eight sessions, each fed with its own number only: whatever is sent, cancelled,
 * deleted or late, each request is answered once, and no session ever holds what was fed to
 * another. */
#define N_CLIENTS  24
#define N_SESSIONS 8

static enum sequence_next storm_stepped(struct job *job, struct job_sequence *sequence,
                                        float *logits, const float *hidden)
{
    const uint32_t *own = sequence->input.tokens;
    const struct rnn_state *state = sequence->step.state;
    uint32_t all[256];

    (void)logits;
    (void)hidden;
    ck_assert_uint_lt(state->position, 256);
    for (size_t i = 0; i < state->position; i++)
        all[i] = own[0];
    ck_assert_uint_eq(fake_memory(state), fake_memory_after(all, state->position));
    if (job->end != JOB_RUNNING)
        return SEQUENCE_DONE;
    if (job->stream)
        buf_printf(&job->out, "%20zu", sequence->n_fed);
    job->partial = sequence->n_fed > 2 && task_of(job)->keeps_partial;
    return job_feed(sequence) != RNN_WALK_DONE ? SEQUENCE_READY : SEQUENCE_DONE;
}

static const struct job_ops storm_ops = {prepare, first, storm_stepped, finish, task_free};

static void storm_submit(struct client *client)
{
    int at = rand() % N_SESSIONS;
    struct task *task;
    char id[8] = "";

    if (rand() % 5 > 0)
        (void)snprintf(id, sizeof(id), "x%d", at);
    client_init(client, (unsigned)rand() % 2, "k");
    client->deaf = rand() % 4 == 0;
    task = task_new(client, id);
    task->job.ops = &storm_ops;
    task->n_tokens = (size_t)(1 + rand() % 8);
    for (size_t i = 0; i < task->n_tokens; i++)
        task->tokens[i] = 1000u + (uint32_t)at;
    task->n_sequences = (size_t)(1 + rand() % 2);
    task->keeps_partial = rand() % 2 == 0;
    task->job.stream = rand() % 2 == 0;
    task->job.commit = rand() % 3 > 0;
    task->job.reject_busy = rand() % 4 == 0;
    task->job.deadline_ms = rand() % 3 == 0 ? 1 + rand() % 20 : 0;
    job_submit(&task->job);
}

static void storm_session(void)
{
    struct session_view view;
    char id[8];
    struct sessions *sessions;

    (void)snprintf(id, sizeof(id), "x%d", rand() % N_SESSIONS);
    sessions = world.list[session_shard(&world.server, id)]->sessions;
    if (session_view(sessions, id, "k", &view) != 0)
        session_make(id);
    else if (rand() % 8 == 0 || view.position > 200)
        ck_assert_int_eq(session_delete(sessions, id, "k"), 0);
}

START_TEST(storm)
{
    static struct client clients[N_CLIENTS];
    bool busy[N_CLIENTS] = {false};
    size_t n_sent = 0, n_answered = 0, n_left = 0, n_ok = 0;

    srand(5 + (unsigned)_i);
    for (int i = 0; i < 40000; i++) {
        size_t at = (size_t)rand() % N_CLIENTS;

        if (i == 39000) { /* let it end */
            for (size_t j = 0; j < N_CLIENTS; j++)
                clients[j].deaf = false;
        }
        switch (rand() % 8) {
        case 0:
        case 1:
            if (busy[at] || i >= 39000)
                break;
            storm_submit(&clients[at]);
            busy[at] = true;
            n_sent++;
            break;
        case 2:
            if (!busy[at] || clients[at].answered || rand() % 8 > 0)
                break;
            client_leaves(&clients[at]);
            buf_free(&clients[at].text);
            busy[at] = false;
            n_left++;
            /* a request is not to be touched after that */
            memset(&clients[at].request, 0xee, sizeof(clients[at].request));
            break;
        case 3:
            storm_session();
            break;
        case 4:
            if (busy[at] && !clients[at].answered)
                client_reads(&clients[at]);
            break;
        case 5:
            fake_advance_ms(&world, rand() % 3);
            for (unsigned s = 0; s < 2; s++)
                jobs_tick(world.shards[s].jobs, world.shards[s].now_ns);
            break;
        case 6:
            (void)fake_run_messages();
            break;
        default:
            (void)turn_all();
        }
        for (size_t j = 0; j < N_CLIENTS; j++) {
            if (!busy[j] || !clients[j].answered)
                continue;
            n_answered++;
            n_ok += clients[j].status == 200;
            buf_free(&clients[j].text);
            busy[j] = false;
        }
    }
    run_all();
    ck_assert_uint_eq(n_sent, n_answered + n_left);
    ck_assert_uint_eq(n_freed, n_sent);
    ck_assert_uint_gt(n_ok, n_sent / 8);
    ck_assert_uint_gt(n_left, 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("job");
    TCase *tcase = tcase_create("job");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, without_a_session_it_is_computed_at_home);
    tcase_add_loop_test(tcase, with_a_session_it_is_computed_there_and_committed, 0, 2);
    tcase_add_loop_test(tcase, uncommitted_leaves_the_session_where_it_was, 0, 2);
    tcase_add_loop_test(tcase, empty_input_reads_the_state_as_it_stands, 0, 2);
    tcase_add_loop_test(tcase, streamed_is_unstreamed, 0, 2);
    tcase_add_test(tcase, branches_start_from_the_prompt);
    tcase_add_loop_test(tcase, nothing_to_compute_is_an_answer_too, 0, 2);
    tcase_add_loop_test(tcase, faults_of_the_task_roll_back, 0, 2);
    tcase_add_loop_test(tcase, a_larger_answer_than_allowed_is_refused, 0, 2);
    tcase_add_loop_test(tcase, without_scratch_503, 0, 2);
    tcase_add_loop_test(tcase, any_allocation_may_fail, 0, 2);
    tcase_add_loop_test(tcase, refusals_of_the_session, 0, 2);
    tcase_add_loop_test(tcase, expected_position_is_checked_when_the_turn_comes, 0, 2);
    tcase_add_loop_test(tcase, busy_may_be_refused, 0, 2);
    tcase_add_loop_test(tcase, one_sessions_requests_run_in_order_of_arrival, 0, 2);
    tcase_add_test(tcase, the_queue_is_bounded_and_first_come_first_served);
    tcase_add_loop_test(tcase, waiting_in_a_sessions_line_counts_too, 0, 2);
    tcase_add_test(tcase, a_wide_job_still_runs);
    tcase_add_loop_test(tcase, client_leaves_at_every_step, 0, 2);
    tcase_add_loop_test(tcase, deadline_passes_at_every_step, 0, 2);
    tcase_add_loop_test(tcase, session_is_deleted_at_every_step, 0, 2);
    tcase_add_test(tcase, waiting_requests_are_cancelled_and_time_out_alike);
    tcase_add_loop_test(tcase, a_client_that_does_not_read_pauses_its_own_stream_only, 0, 2);
    tcase_add_loop_test(tcase, paused_streams_end_like_others, 0, 2);
    tcase_add_loop_test(tcase, generators_are_seeded_continued_or_drawn, 0, 2);
    tcase_add_loop_test(tcase, storm, 0, 3);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
