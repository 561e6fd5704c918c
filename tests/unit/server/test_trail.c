/* Trails: what is pushed is found, the oldest makes room, one that goes back begins anew, appending
 * moves, and failing memory costs the trail and nothing else. */
#include "server/trail.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

union room {
    struct rnn_state state;
    char bytes[sizeof(struct rnn_state) + 8];
};

static void push(struct trail *trail, uint64_t position, float value)
{
    union room room = {.state = {.position = position}};

    room.state.memory[0] = value;
    trail_push(trail, &room.state);
}

static void assert_positions(const struct trail *trail, const uint64_t *positions, size_t n)
{
    ck_assert_uint_eq(trail->n, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_uint_eq(trail_at(trail, i)->position, positions[i]);
}

START_TEST(the_last_ones_are_found)
{
    struct trail trail;

    trail_init(&trail, 3, sizeof(union room));
    for (uint64_t p = 1; p <= 5; p++)
        push(&trail, p, (float)p);
    assert_positions(&trail, (uint64_t[]){3, 4, 5}, 3);
    ck_assert_ptr_null(trail_find(&trail, 2));
    ck_assert(trail_find(&trail, 4)->memory[0] == 4);
    ck_assert_uint_eq(trail_bytes(&trail), 3 * sizeof(union room));
    trail_free(&trail);
    trail_free(&trail);
}
END_TEST

START_TEST(one_position_is_kept_once)
{
    struct trail trail;

    trail_init(&trail, 4, sizeof(union room));
    push(&trail, 1, 1);
    push(&trail, 1, 2);
    assert_positions(&trail, (uint64_t[]){1}, 1);
    ck_assert(trail_find(&trail, 1)->memory[0] == 1);
    trail_free(&trail);
}
END_TEST

START_TEST(going_back_begins_anew)
{
    struct trail trail;

    trail_init(&trail, 4, sizeof(union room));
    push(&trail, 5, 1);
    push(&trail, 6, 1);
    push(&trail, 2, 1);
    assert_positions(&trail, (uint64_t[]){2}, 1);
    trail_free(&trail);
}
END_TEST

START_TEST(cutting_drops_what_stands_there_and_beyond)
{
    struct trail trail;

    trail_init(&trail, 4, sizeof(union room));
    for (uint64_t p = 1; p <= 6; p++)
        push(&trail, p, (float)p);
    trail_cut(&trail, 5);
    assert_positions(&trail, (uint64_t[]){3, 4}, 2);
    push(&trail, 5, 50);
    ck_assert(trail_find(&trail, 5)->memory[0] == 50);
    trail_cut(&trail, 0);
    ck_assert_uint_eq(trail.n, 0);
    trail_free(&trail);
}
END_TEST

START_TEST(appending_moves_all_of_it)
{
    struct trail trail, from;

    trail_init(&trail, 4, sizeof(union room));
    trail_init(&from, 3, sizeof(union room));
    push(&trail, 1, 1);
    push(&trail, 2, 1);
    for (uint64_t p = 2; p <= 5; p++)
        push(&from, p, 10);
    trail_append(&trail, &from);
    assert_positions(&trail, (uint64_t[]){2, 3, 4, 5}, 4);
    ck_assert_uint_eq(from.n, 0);
    ck_assert_ptr_null(from.states);
    trail_free(&trail);
}
END_TEST

START_TEST(a_trail_of_no_length_keeps_nothing)
{
    struct trail trail = {0}, from;

    push(&trail, 1, 1);
    trail_init(&from, 2, sizeof(union room));
    push(&from, 1, 1);
    trail_append(&trail, &from);
    ck_assert_ptr_null(trail_find(&trail, 1));
    trail_free(&trail);
}
END_TEST

static size_t fail_at; /* the n-th malloc from now on fails; 0: none */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return fail_at > 0 && --fail_at == 0 ? NULL : __real_malloc(size);
}

START_TEST(without_memory_it_is_shorter)
{
    struct trail trail;

    trail_init(&trail, 4, sizeof(union room));
    push(&trail, 1, 1);
    fail_at = 1;
    push(&trail, 2, 1);
    fail_at = 0;
    push(&trail, 3, 3);
    assert_positions(&trail, (uint64_t[]){3}, 1);
    trail_free(&trail);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trail");
    TCase *tcase = tcase_create("trail");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tcase, the_last_ones_are_found);
    tcase_add_test(tcase, one_position_is_kept_once);
    tcase_add_test(tcase, going_back_begins_anew);
    tcase_add_test(tcase, cutting_drops_what_stands_there_and_beyond);
    tcase_add_test(tcase, appending_moves_all_of_it);
    tcase_add_test(tcase, a_trail_of_no_length_keeps_nothing);
    tcase_add_test(tcase, without_memory_it_is_shorter);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
