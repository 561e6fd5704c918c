/* Jobs, everything at once: two shards, eight sessions, each fed with its own number only.
 * Whatever is sent, cancelled, deleted or late, each request is answered once, and no session ever
 * holds what was fed to another. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job_world.h"

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

static struct job_ops storm_ops; /* the task's, but for storm_stepped */

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
    task->job.resumable = rand() % 2 == 0;
    task->job.resumes =
        rand() % 8 == 0 ? "id" : NULL; /* now and then where it may, and over somebody's head */
    task->job.stream_number = task->job.resumes ? 1 + (uint64_t)rand() % 2 : 0;
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

    storm_ops = task_ops;
    storm_ops.stepped = storm_stepped;
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
            if (!busy[at] || clients[at].answered || rand() % 4 > 0)
                break;
            if (rand() % 2 == 0) {
                client_cancels(&clients[at]);
                break;
            }
            client_leaves(&clients[at]);
            buf_free(&clients[at].text);
            busy[at] = false;
            n_left++;
            /* a sink is not to be touched after that */
            memset(&clients[at].sink, 0xee, sizeof(clients[at].sink));
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
    Suite *suite = suite_create("job_storm");
    TCase *tcase = tcase_create("job_storm");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, job_world_setup, job_world_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, storm, 0, 3);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
