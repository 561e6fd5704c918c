/* The promises of a job's stream: it says what the unstreamed answer says, and a client that does
 * not read pauses its own sequences and nobody else's; at home and across shards. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job_world.h"

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
        ck_assert_uint_eq(plain.text.len, streaming.text.len);
        ck_assert_mem_eq(text_of(&plain), text_of(&streaming), streaming.text.len);
        buf_free(&plain.text);
        buf_free(&streaming.text);
    }
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

int main(void)
{
    Suite *suite = suite_create("job_stream");
    TCase *tcase = tcase_create("job_stream");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, job_world_setup, job_world_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, streamed_is_unstreamed, 0, 2);
    tcase_add_loop_test(tcase, a_client_that_does_not_read_pauses_its_own_stream_only, 0, 2);
    tcase_add_loop_test(tcase, paused_streams_end_like_others, 0, 2);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
