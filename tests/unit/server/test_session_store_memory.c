/* Sessions on their way out of memory and back, over a store whose every move the test decides: who
 * leaves first, what stays, who waits for a load and what a failed one says; and those that a start
 * finds on disk. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_store_world.h"

/* ---- Trails ---- */

/* A commit with a trail of three steps. */
static void walk(const char *id, uint64_t position)
{
    struct guest guest;
    union room room;

    ck_assert_int_eq(enter(&guest, id, "", true), 0);
    finish_all(); /* loads */
    room_set(&room, position, position);
    (void)session_save(sessions, &guest.hold, &room.state);
    finish_all();
    lay(&guest.hold, position, 3);
    session_release(sessions, &guest.hold, &room.state, NULL);
}

/* How many steps back it can go, without a use of the session in between. */
static size_t steps_back(const struct guest *guest)
{
    size_t n = 0;

    while (n < 10 && session_past(&guest->hold, n + 1) != NULL)
        n++;
    return n;
}

static size_t look_back(const char *id)
{
    struct guest guest;
    size_t n;

    ck_assert_int_eq(enter(&guest, id, "", true), 0);
    finish_all();
    n = steps_back(&guest);
    session_release(sessions, &guest.hold, NULL, NULL);
    return n;
}

static double bytes_now(void)
{
    return fake_metric(&world, "rnnd_session_state_bytes");
}

/* ---- Leaving memory, and coming back ---- */

START_TEST(those_that_were_used_longest_ago_leave_first)
{
    world.config.session_memory_bytes = 2 * STATE;
    make("a", 0);
    make("b", 0);
    ck_assert(is_resident("a") && is_resident("b"));
    assert_memory("a", 0); /* now b is the oldest */
    make("c", 0);
    ck_assert(is_resident("a") && !is_resident("b") && is_resident("c"));
    assert_memory("b", 0);
    ck_assert(!is_resident("a") && is_resident("b") && is_resident("c"));
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_events_total{event=\"evicted\"}"), 2);
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_events_total{event=\"restored\"}"), 1);
}
END_TEST

START_TEST(trails_are_given_up_before_any_session_leaves)
{
    struct store *store = world.server.store;

    for (int stored = 0; stored < 2; stored++) {
        world.server.store = stored ? store : NULL;
        world.config.session_memory_bytes = 1 << 20;
        for (char id[] = "a"; id[0] < 'd'; id[0]++) {
            make(id, 0);
            walk(id, 7);
        }
        ck_assert_uint_eq(look_back("a"), 3); /* now b is the oldest */
        world.config.session_memory_bytes = (uint64_t)bytes_now() - 1;
        ck_assert_uint_eq(look_back("a"), 3);
        ck_assert_uint_eq(look_back("c"), 3);
        ck_assert_double_eq(
            fake_metric(&world, "rnnd_session_events_total{event=\"trail_dropped\"}"),
            4 * stored + 1);
        ck_assert_uint_eq(look_back("b"), 0);
        world.config.session_memory_bytes = 3 * STATE; /* of the states alone */
        walk("b", 9);                                  /* its own is the newest, and goes as well */
        for (char id[] = "a"; id[0] < 'd'; id[0]++) {
            ck_assert(is_resident(id));
            ck_assert_uint_eq(look_back(id), 0);
        }
        ck_assert_double_eq(bytes_now(), 3 * STATE); /* nothing of the trails is left */
        world.config.session_memory_bytes = (uint64_t)bytes_now() - 1;
        assert_memory("c", 7);
        ck_assert_int_eq(is_resident("a"), !stored);
        ck_assert(is_resident("b") && is_resident("c"));
        assert_memory("a", 7);
        assert_memory("b", 9);
        for (char id[] = "a"; id[0] < 'd'; id[0]++)
            ck_assert_int_eq(session_delete(sessions, id, ""), 0);
    }
}
END_TEST

START_TEST(who_holds_a_session_keeps_its_trail)
{
    struct guest guest;

    make("a", 0);
    make("b", 0);
    walk("a", 7);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    world.config.session_memory_bytes = 1;
    assert_memory("b", 0);
    ck_assert_uint_eq(steps_back(&guest), 3);
    session_release(sessions, &guest.hold, NULL, NULL);
    ck_assert_uint_eq(look_back("a"), 0);
    assert_memory("a", 7);
}
END_TEST

START_TEST(who_holds_a_session_keeps_it_in_memory)
{
    struct guest guest;

    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    world.config.session_memory_bytes = 1;
    make("b", 0);
    ck_assert(is_resident("a") && !is_resident("b"));
    session_release(sessions, &guest.hold, NULL, NULL);
    ck_assert(!is_resident("a"));
}
END_TEST

START_TEST(the_line_waits_for_the_load_in_order)
{
    struct guest guests[3];

    world.config.session_memory_bytes = 1;
    make("a", 0);
    commit("a", 7, 77);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(enter(&guests[i], "a", "", true), 0);
        ck_assert_int_eq(guests[i].granted, 0);
    }
    ck_assert_uint_eq(n_tasks, 1); /* one load for all */
    n_grants = 0;
    (void)finish(0);
    for (int i = 0; i < 3; i++) {
        (void)fake_run_messages();
        ck_assert_int_eq(guests[i].granted, 1);
        ck_assert_uint_eq(guests[i].turn, (unsigned)i + 1);
        ck_assert_uint_eq(fake_memory(session_state(&guests[i].hold)), 77);
        session_release(sessions, &guests[i].hold, NULL, NULL);
    }
}
END_TEST

START_TEST(a_load_that_fails_says_why_and_may_be_tried_again)
{
    static const struct {
        int rc;
        enum reply_error reply;
    } cases[] = {{RNN_EFORMAT, REPLY_SESSION_DAMAGED},
                 {RNN_ENOENT, REPLY_SESSION_DAMAGED},
                 {RNN_ESHAPE, REPLY_SESSION_ORPHANED},
                 {RNN_EIO, REPLY_STORAGE},
                 {RNN_ENOMEM, REPLY_NO_MEMORY}};
    struct guest one, two;

    world.config.session_memory_bytes = 1;
    make("a", 0);
    commit("a", 7, 77);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        ck_assert_int_eq(enter(&one, "a", "", true), 0);
        ck_assert_int_eq(enter(&two, "a", "", true), 0);
        (void)finish(cases[i].rc);
        ck_assert_int_eq(one.refused + two.refused, 2);
        ck_assert_int_eq(one.reason, cases[i].reply);
        ck_assert_int_eq(two.reason, cases[i].reply);
    }
    assert_memory("a", 77);
}
END_TEST

/* The fake disk gives back zeros where the window was. */
START_TEST(what_comes_back_without_a_window_is_damaged)
{
    struct guest guest;

    world.config.session_memory_bytes = 1;
    make_with_window("w", 4);
    ck_assert(!is_resident("w"));
    ck_assert_int_eq(enter(&guest, "w", "", true), 0);
    (void)finish(0);
    ck_assert_int_eq(guest.refused, 1);
    ck_assert_int_eq(guest.reason, REPLY_SESSION_DAMAGED);
}
END_TEST

START_TEST(who_leaves_the_line_of_a_load_is_not_granted)
{
    struct guest guest;

    world.config.session_memory_bytes = 1;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    session_release(sessions, &guest.hold, NULL, NULL);
    finish_all();
    ck_assert_int_eq(guest.granted, 0);
    ck_assert(!is_resident("a")); /* nobody wanted it any more */
}
END_TEST

/* ---- At start ---- */

static struct store_facts facts_like(const char *id, int64_t used_ms)
{
    struct store_facts facts = {.row = ++last_row,
                                .model = "fake",
                                .created_ms = used_ms,
                                .used_ms = used_ms,
                                .ttl_ms = 10000,
                                .position = 7,
                                .state_bytes = STATE};

    (void)snprintf(facts.id, sizeof(facts.id), "%s", id);
    disk[last_row].there = true;
    disk[last_row].position = 7;
    disk[last_row].memory = 77;
    return facts;
}

START_TEST(what_was_there_is_there_again)
{
    int64_t now_ms = world.shards[0].now_unix_ms;
    struct store_facts live = facts_like("live", now_ms - 5000),
                       late = facts_like("late", now_ms - 10000), twin = facts_like("live", now_ms),
                       orphan = facts_like("orphan", now_ms), odd = facts_like("odd", now_ms),
                       never = facts_like("never", INT64_MAX - 1);
    struct guest guest;

    odd.ttl_ms = INT64_MAX;
    sessions_restore(sessions, &odd, model, now_ms);
    sessions_restore(sessions, &never, model, now_ms);

    sessions_restore(sessions, &live, model, now_ms);
    sessions_restore(sessions, &late, model, now_ms);
    sessions_restore(sessions, &twin, model, now_ms);
    sessions_restore(sessions, &orphan, NULL, now_ms);
    sessions_restore_end(sessions);
    ck_assert_uint_eq(n_tasks, 1); /* the late one is taken off the disk */
    ck_assert_int_eq(finish(0), STORE_REMOVE);
    ck_assert(!disk[late.row].there && disk[live.row].there);
    ck_assert(!is_resident("live"));
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions_stored"), 2);
    assert_memory("live", 77);
    ASSERT_REPLY(enter(&guest, "late", "", true), REPLY_NO_SESSION);
    ASSERT_REPLY(enter(&guest, "orphan", "", true), REPLY_SESSION_ORPHANED);
}
END_TEST

/* Many of two owners, listed in pages; then one more, and one less. */
START_TEST(what_is_restored_is_listed_in_order)
{
    enum { EACH = 500, PAGE = 64 };
    int64_t now_ms = world.shards[0].now_unix_ms;
    static const char *const owners[] = {"", "one"};
    struct session_view page[PAGE];
    char after[SESSION_ID_MAX + 1], id[SESSION_ID_MAX + 1];

    world.config.sessions_max = 2 * EACH + 1;
    for (size_t i = 0; i < 2 * EACH; i++) { /* in an order that mixes them, each once */
        struct store_facts facts;

        (void)snprintf(id, sizeof(id), "%s%03zu", i % 3 == 0 ? "alike-at-first-" : "x",
                       i * 7 % 1000);
        facts = facts_like(id, now_ms);
        strcpy(facts.owner, owners[i * 7 % 2]);
        sessions_restore(sessions, &facts, model, now_ms);
    }
    sessions_restore_end(sessions);
    make("m", 9);
    ck_assert_int_eq(session_delete(sessions, "x001", "one"), 0);
    for (size_t o = 0; o < 2; o++) {
        size_t n, total = 0;

        for (after[0] = '\0'; (n = session_list(sessions, owners[o], after, PAGE, page)) > 0;) {
            for (size_t i = 0; i < n; i++) {
                ck_assert_int_lt(strcmp(after, page[i].id), 0);
                strcpy(after, page[i].id);
            }
            total += n;
        }
        ck_assert_uint_eq(total, o == 0 ? EACH + 1 : EACH - 1);
    }
    finish_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_store_memory");
    TCase *tcase = tcase_create("session_store_memory");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, session_store_world_setup, session_store_world_teardown);
    tcase_add_test(tcase, those_that_were_used_longest_ago_leave_first);
    tcase_add_test(tcase, trails_are_given_up_before_any_session_leaves);
    tcase_add_test(tcase, who_holds_a_session_keeps_its_trail);
    tcase_add_test(tcase, who_holds_a_session_keeps_it_in_memory);
    tcase_add_test(tcase, the_line_waits_for_the_load_in_order);
    tcase_add_test(tcase, a_load_that_fails_says_why_and_may_be_tried_again);
    tcase_add_test(tcase, what_comes_back_without_a_window_is_damaged);
    tcase_add_test(tcase, who_leaves_the_line_of_a_load_is_not_granted);
    tcase_add_test(tcase, what_was_there_is_there_again);
    tcase_add_test(tcase, what_is_restored_is_listed_in_order);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
