/* The promises of a job: who gets which answer, what a session is left with, what has to wait; at
 * home and across shards. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job_world.h"

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
    tcase_add_loop_test(tcase, refusals_of_the_session, 0, 2);
    tcase_add_loop_test(tcase, expected_position_is_checked_when_the_turn_comes, 0, 2);
    tcase_add_loop_test(tcase, busy_may_be_refused, 0, 2);
    tcase_add_loop_test(tcase, any_allocation_may_fail, 0, 2);
    tcase_add_loop_test(tcase, one_sessions_requests_run_in_order_of_arrival, 0, 2);
    tcase_add_test(tcase, the_queue_is_bounded_and_first_come_first_served);
    tcase_add_loop_test(tcase, waiting_in_a_sessions_line_counts_too, 0, 2);
    tcase_add_test(tcase, a_wide_job_still_runs);
    tcase_add_loop_test(tcase, generators_are_seeded_continued_or_drawn, 0, 2);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
