/* The scheduler's promises: who takes part in which step, in any order of joining and leaving. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"
#include "server/sched.h"

#define MANY 40

static struct fake_world world;
static struct sched *sched;
static struct rnn_model *model;

/* A walker takes `n` steps of tokens first, first + 1, …, and notes what it saw. */
struct walker {
    struct sequence step;
    size_t n_steps, n_prompt, n_taken;
    uint32_t first;
    size_t pause_at; /* after so many steps; 0: never */
    size_t finished_turn;
    struct walker *kills; /* removes it when done */
    struct walker *starts;
    union {
        struct rnn_state state;
        char room[sizeof(struct rnn_state) + sizeof(uint64_t)];
    } memory;
};

static size_t turn_number;

static void fill(struct walker *w)
{
    w->step.input = RNN_ROW_TOKEN;
    w->step.token = w->first + (uint32_t)w->n_taken;
    w->step.reading = w->n_taken < w->n_prompt;
    w->step.want_logits = w->n_taken + 1 >= w->n_prompt;
}

static enum sequence_next walked(struct sequence *step, float *logits, const float *hidden)
{
    struct walker *w = step->owner;

    ck_assert_int_eq(logits != NULL, step->want_logits);
    ck_assert_int_eq(hidden != NULL, step->want_hidden);
    w->n_taken++;
    if (w->kills != NULL)
        sched_remove(sched, &w->kills->step);
    if (w->starts != NULL)
        ck_assert_int_eq(sched_start(sched, &w->starts->step, NULL), 0);
    w->kills = w->starts = NULL;
    if (w->n_taken == w->n_steps) {
        w->finished_turn = turn_number;
        return SEQUENCE_DONE;
    }
    fill(w);
    return w->n_taken == w->pause_at ? SEQUENCE_PAUSED : SEQUENCE_READY;
}

static void walker_init(struct walker *w, uint32_t first, size_t n_prompt, size_t n_steps)
{
    *w = (struct walker){.n_steps = n_steps, .n_prompt = n_prompt, .first = first};
    rnn_state_init(model, &w->memory.state, 0);
    w->step.model = model;
    w->step.state = &w->memory.state;
    w->step.stepped = walked;
    w->step.owner = w;
    fill(w);
}

static void walker_go(struct walker *w, uint32_t first, size_t n_prompt, size_t n_steps)
{
    walker_init(w, first, n_prompt, n_steps);
    ck_assert_int_eq(sched_start(sched, &w->step, NULL), 0);
}

static uint64_t memory_of(uint32_t first, size_t n)
{
    uint32_t tokens[1000];

    for (size_t i = 0; i < n; i++)
        tokens[i] = first + (uint32_t)i;
    return fake_memory_after(tokens, n);
}

static void assert_walked(const struct walker *w, size_t n)
{
    ck_assert_uint_eq(w->n_taken, n);
    ck_assert_uint_eq(w->memory.state.position, n);
    ck_assert_uint_eq(fake_memory(&w->memory.state), memory_of(w->first, n));
}

static bool turn(void)
{
    turn_number++;
    return sched_turn(sched);
}

static void setup(void)
{
    fake_world_init(&world, 1);
    turn_number = 0;
    model = fake_model(5);
    ck_assert_int_eq(sched_new(&sched, &world.shards[0], NULL), 0);
}

static void teardown(void)
{
    ck_assert(!fake_steps.shared);
    ck_assert_uint_eq(sched_active(sched), 0);
    sched_free(sched);
    ck_assert_uint_eq(fake_model_refs(model), 1);
    rnn_model_unref(model);
    fake_world_deinit(&world);
}

START_TEST(sequences_of_any_length_share_steps_and_leave_at_their_own)
{
    struct walker w[3];

    for (uint32_t i = 0; i < 3; i++)
        walker_go(&w[i], 100 * i, 0, 2 + i);
    ck_assert(fake_keep_turning);
    ck_assert(turn());
    ck_assert_uint_eq(fake_steps.last_rows, 3);
    ck_assert(turn());
    ck_assert_uint_eq(fake_steps.last_rows, 3);
    ck_assert(turn());
    ck_assert_uint_eq(fake_steps.last_rows, 2);
    ck_assert(!turn());
    ck_assert_uint_eq(fake_steps.last_rows, 1);
    for (size_t i = 0; i < 3; i++)
        assert_walked(&w[i], 2 + i);
    ck_assert(sched_idle(sched));
    ck_assert(!turn());
    ck_assert_uint_eq(fake_steps.n_steps, 4);
}
END_TEST

START_TEST(newcomer_joins_the_next_step)
{
    for (size_t at = 0; at < 6; at++) {
        struct walker old, young;

        walker_go(&old, 0, 0, 8);
        for (size_t i = 0; i < at; i++)
            (void)turn();
        walker_go(&young, 50, 0, 1);
        (void)turn();
        ck_assert_uint_eq(fake_steps.last_rows, 2);
        assert_walked(&young, 1);
        while (turn())
            ;
        assert_walked(&old, 8);
    }
}
END_TEST

START_TEST(step_is_capped_and_the_rest_goes_round_robin)
{
    static struct walker w[MANY];

    for (uint32_t i = 0; i < MANY; i++)
        walker_go(&w[i], i, 0, 5);
    for (size_t round = 1; round <= 3; round++) {
        for (size_t i = 0; i < MANY / 4; i++) {
            (void)turn();
            ck_assert_uint_eq(fake_steps.last_rows, 4);
        }
        for (size_t i = 0; i < MANY; i++)
            assert_walked(&w[i], round);
    }
    while (turn())
        ;
    for (size_t i = 0; i < MANY; i++)
        assert_walked(&w[i], 5);
}
END_TEST

START_TEST(prompt_steps_are_bounded_per_turn_and_skip_the_head)
{
    struct walker reader, writer;

    walker_go(&reader, 0, 10, 12);
    walker_go(&writer, 100, 0, 6);
    (void)turn();
    ck_assert_uint_eq(reader.n_taken, 3);
    ck_assert_uint_eq(writer.n_taken, 1);
    (void)turn();
    (void)turn();
    ck_assert_uint_eq(reader.n_taken, 9);
    ck_assert_uint_eq(writer.n_taken, 3);
    ck_assert_uint_eq(fake_steps.n_heads, 3);
    (void)turn();
    ck_assert_uint_eq(reader.n_taken, 10); /* the first step that is no prompt waits its turn */
    ck_assert_uint_eq(writer.n_taken, 4);
    ck_assert_uint_eq(fake_steps.n_heads, 5);
    while (turn())
        ;
    assert_walked(&reader, 12);
    assert_walked(&writer, 6);
}
END_TEST

START_TEST(readers_go_on_together)
{
    struct walker w[4];

    for (uint32_t i = 0; i < 4; i++)
        walker_go(&w[i], i, 6, 6);
    while (turn())
        ;
    ck_assert_uint_eq(fake_steps.n_steps, 6);
    ck_assert_uint_eq(turn_number, 2);
}
END_TEST

START_TEST(paused_sits_out_until_resumed)
{
    struct walker w, other;

    walker_go(&w, 0, 0, 5);
    w.pause_at = 2;
    walker_go(&other, 50, 0, 8);
    for (int i = 0; i < 5; i++)
        (void)turn();
    ck_assert_uint_eq(w.n_taken, 2);
    ck_assert_uint_eq(other.n_taken, 5);
    ck_assert_uint_eq(sched_active(sched), 2);
    sched_resume(sched, &w.step);
    sched_resume(sched, &w.step); /* ready: does nothing */
    sched_resume(sched, &other.step);
    (void)turn();
    ck_assert_uint_eq(fake_steps.last_rows, 2);
    while (turn())
        ;
    assert_walked(&w, 5);
    assert_walked(&other, 8);
}
END_TEST

START_TEST(removed_at_every_point_disturbs_nobody)
{
    for (size_t at = 0; at < 5; at++) {
        struct walker stays, goes, pauses;

        walker_go(&stays, 0, 0, 7);
        walker_go(&goes, 20, 0, 7);
        walker_go(&pauses, 40, 0, 7);
        pauses.pause_at = 1;
        for (size_t i = 0; i < at; i++)
            (void)turn();
        sched_remove(sched, &goes.step);
        sched_remove(sched, &pauses.step);
        sched_remove(sched, &goes.step); /* out already */
        memset(&goes.step, 0xee, sizeof(goes.step));
        while (turn())
            ;
        ck_assert_uint_eq(goes.n_taken, at);
        assert_walked(&stays, 7);
        ck_assert_uint_eq(sched_active(sched), 0);
    }
}
END_TEST

/* Whether the victim's own result has been handed out already or not. */
START_TEST(removed_by_a_neighbour_of_the_same_step)
{
    struct walker w[3];

    for (size_t victim = 0; victim < 3; victim += 2) {
        for (uint32_t i = 0; i < 3; i++)
            walker_go(&w[i], 10 * i, 3, 4);
        w[1].kills = &w[victim];
        (void)turn();
        memset(&w[victim].step, 0xee, sizeof(w[victim].step));
        while (turn())
            ;
        ck_assert_uint_eq(w[victim].n_taken, victim == 0);
        assert_walked(&w[1], 4);
        assert_walked(&w[2 - victim], 4);
    }
}
END_TEST

START_TEST(started_from_inside_a_step_joins_the_next_turn)
{
    struct walker parent, child;

    walker_go(&parent, 0, 0, 3);
    walker_init(&child, 30, 0, 2);
    parent.starts = &child;
    (void)turn();
    ck_assert_uint_eq(child.n_taken, 0);
    (void)turn();
    ck_assert_uint_eq(fake_steps.last_rows, 2);
    ck_assert(!turn());
    assert_walked(&parent, 3);
    assert_walked(&child, 2);
}
END_TEST

START_TEST(models_take_their_steps_apart)
{
    struct rnn_model *first = model;
    struct walker a, b;

    walker_go(&a, 0, 0, 3);
    model = fake_model(7);
    walker_go(&b, 10, 0, 3);
    (void)turn();
    ck_assert_uint_eq(fake_steps.n_steps, 2);
    ck_assert_uint_eq(fake_steps.n_rows, 2);
    while (turn())
        ;
    assert_walked(&a, 3);
    assert_walked(&b, 3);
    sched_forget(sched, model);
    ck_assert_uint_eq(fake_model_refs(model), 1);
    rnn_model_unref(model);
    model = first;
}
END_TEST

START_TEST(scratch_of_a_forgotten_model_goes_with_its_last_sequence)
{
    struct walker w;

    walker_go(&w, 0, 0, 3);
    sched_forget(sched, model);
    ck_assert_uint_eq(fake_steps.scratches, 1);
    while (turn())
        ;
    ck_assert_uint_eq(fake_steps.scratches, 0);
    assert_walked(&w, 3);
    walker_go(&w, 0, 0, 3);
    sched_forget(sched, model);
    sched_remove(sched, &w.step);
    ck_assert_uint_eq(fake_steps.scratches, 0);
}
END_TEST

START_TEST(without_scratch_nothing_is_started)
{
    struct rnn_err err = {0};
    struct walker w;

    walker_init(&w, 0, 0, 3);
    fake_no_scratch = true;
    ck_assert_int_eq(sched_start(sched, &w.step, &err), RNN_ENOMEM);
    ck_assert(sched_idle(sched));
    fake_no_scratch = false;
    ck_assert_int_eq(sched_start(sched, &w.step, &err), 0);
    while (turn())
        ;
    assert_walked(&w, 3);
}
END_TEST

/* Joining, leaving, pausing and resuming at random: each walker sees exactly its own tokens. */
START_TEST(storm)
{
    static struct walker w[MANY];
    bool live[MANY] = {false};
    size_t n_walked = 0;

    srand(7);
    for (int i = 0; i < 20000; i++) {
        size_t at = (size_t)rand() % MANY;

        switch (rand() % 8) {
        case 0:
            if (live[at])
                break;
            walker_go(&w[at], (uint32_t)rand() % 1000, (size_t)rand() % 8, 8 + (size_t)rand() % 8);
            w[at].pause_at = (size_t)rand() % 16;
            live[at] = true;
            break;
        case 1:
            if (!live[at] || rand() % 4 != 0)
                break;
            sched_remove(sched, &w[at].step);
            live[at] = false;
            break;
        case 2:
            if (live[at])
                sched_resume(sched, &w[at].step);
            break;
        default:
            (void)turn();
        }
        for (size_t j = 0; j < MANY; j++) {
            if (!live[j] || w[j].n_taken < w[j].n_steps)
                continue;
            assert_walked(&w[j], w[j].n_steps);
            live[j] = false;
            n_walked++;
        }
    }
    for (size_t j = 0; j < MANY; j++)
        if (live[j])
            sched_remove(sched, &w[j].step);
    ck_assert_uint_gt(n_walked, 100);
    ck_assert_double_eq(fake_metric(&world, "rnnd_steps_total"), (double)fake_steps.n_steps);
    ck_assert_double_eq(fake_metric(&world, "rnnd_step_rows_total"), (double)fake_steps.n_rows);
    ck_assert_double_eq(fake_metric(&world, "rnnd_head_rows_total"), (double)fake_steps.n_heads);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sequences_active"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sched");
    TCase *tcase = tcase_create("sched");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, sequences_of_any_length_share_steps_and_leave_at_their_own);
    tcase_add_test(tcase, newcomer_joins_the_next_step);
    tcase_add_test(tcase, step_is_capped_and_the_rest_goes_round_robin);
    tcase_add_test(tcase, prompt_steps_are_bounded_per_turn_and_skip_the_head);
    tcase_add_test(tcase, readers_go_on_together);
    tcase_add_test(tcase, paused_sits_out_until_resumed);
    tcase_add_test(tcase, removed_at_every_point_disturbs_nobody);
    tcase_add_test(tcase, removed_by_a_neighbour_of_the_same_step);
    tcase_add_test(tcase, started_from_inside_a_step_joins_the_next_turn);
    tcase_add_test(tcase, models_take_their_steps_apart);
    tcase_add_test(tcase, scratch_of_a_forgotten_model_goes_with_its_last_sequence);
    tcase_add_test(tcase, without_scratch_nothing_is_started);
    tcase_add_test(tcase, storm);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
