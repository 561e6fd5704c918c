/* The promises of a job's life: who gets which answer, and what a session is left with, for every
 * moment at which something may end it; at home and across shards. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job_world.h"
#include "server/metrics.h"

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
    if (job_init(&task->job, &task_ops, &client->sink, NULL) < 0) {
        job_drop(&task->job);
        return false;
    }
    (void)snprintf(task->job.session_id, sizeof(task->job.session_id), "%s", id);
    task->n_sequences = 2;
    task->n_out = 5;
    task->n_tokens = 1;
    task->job.stream = stream;
    task->job.resumable = stream;
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

START_TEST(cancelled_at_every_step)
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
            client_init(&client, 0, "k");
            task = task_new(&client, id);
            task->keeps_partial = partial == 1;
            task->drawn = drawn;
            task->n_drawn_out = &n_drawn;
            task->job.stream = at % 2 == 0;
            job_submit(&task->job);
            (void)fake_run_messages();
            for (size_t i = 0; i < at; i++)
                (void)turn_all();
            if (!client.answered)
                client_cancels(&client);
            if (!client.answered)
                client_cancels(&client); /* once more is as good as once */
            run_all();
            ck_assert(client.answered);
            if (strstr(text_of(&client), "done@") != NULL) {
                assert_answer(&client, 200, "done@8");
            } else if (partial == 1 && n_drawn > 0) {
                assert_answer(&client, 200, "stopped@");
                assert_stands_after(id, drawn, n_drawn);
            } else {
                assert_answer(&client, client.begun ? 200 : 409, "cancelled");
                ck_assert_uint_eq(look(id).position, 0);
            }
            ck_assert(!look(id).busy);
        }
    }
    ck_assert_double_ge(fake_metric(&world, "rnnd_cancelled_total{cause=\"asked\"}"), 8);
}
END_TEST

static struct task *part_new(struct client *client, const char *id, uint32_t drawn[5],
                             size_t *n_drawn)
{
    struct task *task = task_new(client, id);

    task->keeps_partial = true;
    task->drawn = drawn;
    task->n_drawn_out = n_drawn;
    task->job.stream = true;
    task->job.resumes = "id"; /* of a session that stands where it began, whatever its number */
    task->job.stream_number = 7;
    return task;
}

/* The client comes back after `at` turns of its stream, and its own session does not keep it
 * waiting. */
START_TEST(taken_over_at_every_step)
{
    for (size_t at = 0; at < 9; at++) {
        char id[16];
        struct client old, fresh;
        size_t n_old = 0, n_fresh = 0;
        uint32_t drawn[5], again[5];

        (void)snprintf(id, sizeof(id), "%zu-%d", at, _i);
        session_make(id);
        client_init(&old, (unsigned)_i, "k");
        old.deaf = at % 2 == 1;
        job_submit(&part_new(&old, id, drawn, &n_old)->job);
        (void)fake_run_messages();
        for (size_t i = 0; i < at; i++)
            (void)turn_all();
        client_init(&fresh, (unsigned)_i, "k");
        job_submit(&part_new(&fresh, id, again, &n_fresh)->job);
        run_all();
        ck_assert(old.answered);
        if (strstr(text_of(&old), "done@") != NULL)
            assert_answer(&old, 200, "done@8");
        else if (n_old > 0)
            assert_answer(&old, 200, "stopped@");
        else
            assert_answer(&old, old.begun ? 200 : 409, "goes on with this stream");
        if (n_old < 5)
            ck_assert_double_gt(fake_metric(&world, "rnnd_cancelled_total{cause=\"superseded\"}"),
                                0);
        assert_answer(&fresh, 200, "done@8");
        ck_assert_uint_eq(n_fresh, 5);
        ck_assert_mem_eq(drawn, again, n_old * sizeof(*drawn));
        assert_stands_after(id, again, 5);
    }
}
END_TEST

/* A part of a stream that was cut short leaves the session with what it had of it. */
START_TEST(what_there_is_of_a_stream_stays)
{
    for (size_t at = 0; at < 9; at++) {
        char id[16];
        struct client client;
        size_t n_drawn = 0;
        uint32_t drawn[5], again[5];

        (void)snprintf(id, sizeof(id), "%zu-%d", at, _i);
        session_make(id);
        client_init(&client, (unsigned)_i, "k");
        job_submit(&part_new(&client, id, drawn, &n_drawn)->job);
        run_all();
        assert_answer(&client, 200, "done@8");
        client_init(&client, (unsigned)_i, "k");
        job_submit(&part_new(&client, id, again, &n_drawn)->job);
        (void)fake_run_messages();
        for (size_t i = 0; i < at; i++)
            (void)turn_all();
        if (!client.answered)
            client_leaves(&client);
        run_all();
        buf_free(&client.text);
        assert_stands_after(id, drawn, 5);
    }
}
END_TEST

START_TEST(a_stream_with_no_way_back_is_refused)
{
    struct client client;
    size_t n_drawn = 0;
    uint32_t drawn[5];
    struct task *task;

    client_init(&client, 0, "k");
    job_submit(&task_new(&client, id_on[_i])->job);
    run_all();
    assert_answer(&client, 200, "done@8");
    client_init(&client, 0, "k");
    task = part_new(&client, id_on[_i], drawn, &n_drawn);
    task->job.begin = 3;
    job_submit(&task->job);
    run_all();
    assert_answer(&client, 409, "stands at 8 and knows no way back to 3");
    ck_assert_uint_eq(look(id_on[_i]).position, 8);
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
    Suite *suite = suite_create("job");
    TCase *tcase = tcase_create("job");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, job_world_setup, job_world_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, without_a_session_it_is_computed_at_home);
    tcase_add_loop_test(tcase, with_a_session_it_is_computed_there_and_committed, 0, 2);
    tcase_add_loop_test(tcase, uncommitted_leaves_the_session_where_it_was, 0, 2);
    tcase_add_loop_test(tcase, empty_input_reads_the_state_as_it_stands, 0, 2);
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
    tcase_add_loop_test(tcase, taken_over_at_every_step, 0, 2);
    tcase_add_loop_test(tcase, what_there_is_of_a_stream_stays, 0, 2);
    tcase_add_loop_test(tcase, a_stream_with_no_way_back_is_refused, 0, 2);
    tcase_add_loop_test(tcase, cancelled_at_every_step, 0, 2);
    tcase_add_loop_test(tcase, session_is_deleted_at_every_step, 0, 2);
    tcase_add_test(tcase, waiting_requests_are_cancelled_and_time_out_alike);
    tcase_add_loop_test(tcase, generators_are_seeded_continued_or_drawn, 0, 2);
    tcase_add_loop_test(tcase, storm, 0, 3);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
