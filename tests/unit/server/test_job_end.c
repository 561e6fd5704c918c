/* The promises of a job that ends early: who gets which answer, and what a session is left with,
 * for every moment at which something may end it; at home and across shards. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job_world.h"

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

int main(void)
{
    Suite *suite = suite_create("job_end");
    TCase *tcase = tcase_create("job_end");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, job_world_setup, job_world_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, client_leaves_at_every_step, 0, 2);
    tcase_add_loop_test(tcase, deadline_passes_at_every_step, 0, 2);
    tcase_add_loop_test(tcase, cancelled_at_every_step, 0, 2);
    tcase_add_loop_test(tcase, taken_over_at_every_step, 0, 2);
    tcase_add_loop_test(tcase, what_there_is_of_a_stream_stays, 0, 2);
    tcase_add_loop_test(tcase, a_stream_with_no_way_back_is_refused, 0, 2);
    tcase_add_loop_test(tcase, session_is_deleted_at_every_step, 0, 2);
    tcase_add_test(tcase, waiting_requests_are_cancelled_and_time_out_alike);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
