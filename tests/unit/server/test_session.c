/* The sessions' promises: owners, commit and roll-back, expiry, ends, memory. */
#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_world.h"

/* ---- Making ---- */

START_TEST(ids_have_their_alphabet)
{
    char longest[SESSION_ID_MAX + 2];

    memset(longest, 'x', sizeof(longest) - 1);
    longest[SESSION_ID_MAX + 1] = '\0';
    ck_assert(session_id_valid("a"));
    ck_assert(session_id_valid("A-z_0.9"));
    ck_assert(session_id_valid(longest + 1));
    ck_assert(!session_id_valid(longest));
    ck_assert(!session_id_valid(""));
    ck_assert(!session_id_valid("a b"));
    ck_assert(!session_id_valid("a/b"));
    ck_assert(!session_id_valid("\xc3\xa4"));
}
END_TEST

START_TEST(minted_ids_are_long_differ_and_fall_on_their_shard)
{
    struct session_view a, b;

    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(create(NULL, "k", 0, &a), 0);
        ck_assert_int_eq(create("", "k", 0, &b), 0);
        ck_assert_uint_eq(strlen(a.id), 32);
        ck_assert_uint_eq(strspn(a.id, "0123456789abcdef"), 32);
        ck_assert_str_ne(a.id, b.id);
        ck_assert_uint_eq(session_shard(&world.server, a.id), 0);
        ck_assert_uint_eq(session_shard(&world.server, b.id), 0);
    }
}
END_TEST

START_TEST(a_new_session_stands_at_the_beginning)
{
    struct session_view view;
    struct guest guest;

    ck_assert_int_eq(create("s", "k", 30, &view), 0);
    ck_assert_str_eq(view.id, "s");
    ck_assert_str_eq(view.model, "fake");
    ck_assert_uint_eq(view.position, 0);
    ck_assert_uint_eq(view.seed, 42);
    ck_assert_int_eq(view.ttl_s, 30);
    ck_assert_int_eq(view.expires_unix_ms, world.shards[0].now_unix_ms + 30000);
    ck_assert_int_eq(enter(&guest, "s", "k", true), 0);
    ck_assert_int_eq(guest.granted, 1);
    ck_assert_uint_eq(session_state(&guest.hold)->rng.seed, 42);
    ck_assert_uint_eq(fake_memory(session_state(&guest.hold)), 0);
    ck_assert_ptr_eq(session_model(&guest.hold), model);
    ck_assert_str_eq(session_model_name(&guest.hold), "fake");
    session_release(sessions, &guest.hold, NULL, NULL);
}
END_TEST

START_TEST(life_span_is_bounded_and_has_a_default)
{
    struct session_view view;

    ck_assert_int_eq(create("a", "", 0, &view), 0);
    ck_assert_int_eq(view.ttl_s, 100);
    ck_assert_int_eq(create("b", "", 5000, &view), 0);
    ck_assert_int_eq(view.ttl_s, 1000);
}
END_TEST

START_TEST(a_name_is_taken_once_for_each_key)
{
    struct session_view view;

    ck_assert_int_eq(create("s", "k", 0, &view), 0);
    ASSERT_REPLY(create("s", "k", 0, &view), REPLY_SESSION_EXISTS);
    ck_assert_int_eq(create("s", "other", 0, &view), 0);
    ck_assert_int_eq(session_delete(sessions, "s", "k"), 0);
    ck_assert_int_eq(session_view(sessions, "s", "other", &view), 0);
    ck_assert_int_eq(create("s", "k", 0, &view), 0);
}
END_TEST

START_TEST(to_another_key_it_does_not_exist)
{
    struct session_view view;
    struct guest guest;

    ck_assert_int_eq(create("s", "k", 0, &view), 0);
    ASSERT_REPLY(session_view(sessions, "s", "l", &view), REPLY_NO_SESSION);
    ASSERT_REPLY(session_delete(sessions, "s", "l"), REPLY_NO_SESSION);
    ASSERT_REPLY(enter(&guest, "s", "l", true), REPLY_NO_SESSION);
    ck_assert_uint_eq(session_list(sessions, "l", "", 1, &view), 0);
    fake_advance_ms(&world, 100000);
    ASSERT_REPLY(session_view(sessions, "s", "l", &view), REPLY_NO_SESSION);
    ASSERT_REPLY(session_view(sessions, "s", "k", &view), REPLY_SESSION_EXPIRED);
}
END_TEST

/* ---- Commits and forks ---- */

START_TEST(commit_moves_the_session_and_release_alone_does_not)
{
    struct session_view view, look;
    struct guest guest;
    union room room;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    room_set(&room, 7, 1234);
    ck_assert_int_eq(enter(&guest, "s", "", true), 0);
    session_release(sessions, &guest.hold, NULL, &view);
    ck_assert_uint_eq(view.position, 0);
    fake_advance_ms(&world, 5000);
    ck_assert_int_eq(enter(&guest, "s", "", true), 0);
    session_look(sessions, &guest.hold, &room.state, &look);
    session_release(sessions, &guest.hold, &room.state, &view);
    ck_assert_uint_eq(view.position, 7);
    ck_assert_uint_eq(look.position, view.position);
    ck_assert_int_eq(look.expires_unix_ms, view.expires_unix_ms);
    ck_assert_int_eq(view.expires_unix_ms, world.shards[0].now_unix_ms + 100000);
    ck_assert_int_eq(enter(&guest, "s", "", true), 0);
    ck_assert_uint_eq(fake_memory(session_state(&guest.hold)), 1234);
    session_release(sessions, &guest.hold, NULL, NULL);
}
END_TEST

/* What a fork is made of. */
START_TEST(a_session_from_a_state_has_it_and_goes_its_own_way)
{
    struct session_view parent, child;
    struct guest guest;
    union room room;

    ck_assert_int_eq(create("s", "k", 30, &parent), 0);
    room_set(&room, 7, 1234);
    room.state.rng = (struct rnn_rng){.seed = 9, .counter = 3};
    ck_assert_int_eq(enter(&guest, "s", "k", true), 0);
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert_int_eq(enter(&guest, "s", "k", true), 0);
    ck_assert_int_eq(session_create(sessions,
                                    &(struct session_spec){.key_name = "k",
                                                           .model_name = "fake",
                                                           .model = model,
                                                           .state = session_state(&guest.hold)},
                                    &child),
                     0);
    session_release(sessions, &guest.hold, NULL, NULL);
    ck_assert_uint_eq(child.position, 7);
    ck_assert_uint_eq(child.seed, 9);
    ck_assert_int_eq(enter(&guest, child.id, "k", true), 0);
    ck_assert_mem_eq(session_state(&guest.hold), &room, sizeof(room.bytes));
    room_set(&room, 8, 1);
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert_int_eq(session_view(sessions, "s", "k", &parent), 0);
    ck_assert_uint_eq(parent.position, 7);
}
END_TEST

/* ---- Expiry ---- */

START_TEST(expiry_answers_gone_for_a_while)
{
    for (int by_timer = 0; by_timer < 2; by_timer++) {
        struct session_view view;
        struct guest guest;

        ck_assert_int_eq(create("s", "", 10, &view), 0);
        fake_advance_ms(&world, 9999);
        (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
        ck_assert_int_eq(enter(&guest, "s", "", true), 0);
        session_release(sessions, &guest.hold, NULL, &view);
        fake_advance_ms(&world, 9999);
        ck_assert_int_eq(session_view(sessions, "s", "", &view), 0);
        fake_advance_ms(&world, 1);
        if (by_timer)
            (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
        ASSERT_REPLY(session_view(sessions, "s", "", &view), REPLY_SESSION_EXPIRED);
        ASSERT_REPLY(session_delete(sessions, "s", ""), REPLY_SESSION_EXPIRED);
        ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 0);
        ck_assert_uint_eq(fake_model_refs(model), 1);
        fake_advance_ms(&world, 49999);
        ASSERT_REPLY(enter(&guest, "s", "", true), REPLY_SESSION_EXPIRED);
        fake_advance_ms(&world, 1);
        if (by_timer)
            (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
        ASSERT_REPLY(session_view(sessions, "s", "", &view), REPLY_NO_SESSION);
    }
}
END_TEST

START_TEST(an_expired_name_may_be_used_again)
{
    struct session_view view;

    ck_assert_int_eq(create("s", "", 10, &view), 0);
    fake_advance_ms(&world, 20000);
    ck_assert_int_eq(create("s", "", 10, &view), 0);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ck_assert_int_eq(session_view(sessions, "s", "", &view), 0);
    fake_advance_ms(&world, 20000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ASSERT_REPLY(session_view(sessions, "s", "", &view), REPLY_SESSION_EXPIRED);
}
END_TEST

START_TEST(tombstones_are_bounded)
{
    struct session_view view;
    size_t n_gone = 0;

    world.config.sessions_max = 1;
    for (int i = 0; i < 1100; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "s%d", i);
        ck_assert_int_eq(create(id, "", 1, &view), 0);
        fake_advance_ms(&world, 1000);
        world.config.session_gone_s = 100000;
        n_gone += session_view(sessions, id, "", &view) == SESSION_FAIL(REPLY_SESSION_EXPIRED);
    }
    ck_assert_uint_eq(n_gone, 1025);
}
END_TEST

/* Many that end in the same second do so in several calls; each is gone by its time for whoever
 * asks. */
START_TEST(many_that_expire_at_once_end_in_several_calls)
{
    struct session_view view;
    size_t n_calls = 1;
    char id[16];

    world.config.sessions_max = 3000;
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(id, sizeof(id), "m%d", i);
        ck_assert_int_eq(create(id, "", 10, &view), 0);
    }
    fake_advance_ms(&world, 10000);
    ck_assert(sessions_expire(sessions, world.shards[0].now_unix_ms));
    ck_assert_double_gt(fake_metric(&world, "rnnd_sessions"), 2000);
    for (int i = 0; i < 3000; i += 100) {
        (void)snprintf(id, sizeof(id), "m%d", i);
        ASSERT_REPLY(session_view(sessions, id, "", &view), REPLY_SESSION_EXPIRED);
    }
    while (sessions_expire(sessions, world.shards[0].now_unix_ms))
        n_calls++;
    ck_assert_uint_gt(n_calls, 10);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 0);
}
END_TEST

/* The times of sessions are those of the wall clock, which may be set back. */
START_TEST(a_clock_set_back_lets_nothing_expire_early_or_late)
{
    struct session_view view;

    ck_assert_int_eq(create("a", "", 100, &view), 0);
    fake_advance_ms(&world, 99000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    fake_advance_ms(&world, -3600000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ck_assert_int_eq(create("b", "", 100, &view), 0);
    fake_advance_ms(&world, 99000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 2);
    fake_advance_ms(&world, 2000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 1);
    /* a use counts from the clock as it is: not an hour later, either */
    ck_assert_int_eq(session_keep(sessions, "a", ""), 0);
    fake_advance_ms(&world, 101000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 0);
    ck_assert_int_eq(create("c", "", 100, &view), 0);
    fake_advance_ms(&world, 3600000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 0);
}
END_TEST

START_TEST(a_session_in_use_does_not_expire)
{
    struct session_view view;
    struct guest a, b;

    ck_assert_int_eq(create("s", "", 10, &view), 0);
    ck_assert_int_eq(enter(&a, "s", "", true), 0);
    ck_assert_int_eq(enter(&b, "s", "", true), 0);
    fake_advance_ms(&world, 60000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ck_assert_int_eq(session_view(sessions, "s", "", &view), 0);
    session_release(sessions, &a.hold, NULL, &view);
    ck_assert_int_eq(view.expires_unix_ms, world.shards[0].now_unix_ms + 10000);
    (void)fake_run_messages();
    session_release(sessions, &b.hold, NULL, NULL);
    fake_advance_ms(&world, 10000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    ASSERT_REPLY(session_view(sessions, "s", "", &view), REPLY_SESSION_EXPIRED);
}
END_TEST

/* ---- Deleting ---- */

START_TEST(deleting_tells_the_holder_and_the_line)
{
    struct session_view view;
    struct guest a, b, c;
    union room room;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    ck_assert_int_eq(enter(&a, "s", "", true), 0);
    ck_assert_int_eq(enter(&b, "s", "", true), 0);
    ck_assert_int_eq(enter(&c, "s", "", true), 0);
    ck_assert_int_eq(session_delete(sessions, "s", ""), 0);
    ck_assert_int_eq(a.cancelled, 1);
    ck_assert(a.hold.cancel_asked);
    ck_assert_int_eq(b.refused + c.refused, 2);
    ck_assert_int_eq(b.reason, REPLY_NO_SESSION);
    ASSERT_REPLY(session_view(sessions, "s", "", &view), REPLY_NO_SESSION);

    /* the name is free at once; the old holder's commit goes nowhere */
    ck_assert_int_eq(create("s", "", 0, &view), 0);
    room_set(&room, 7, 1234);
    session_release(sessions, &a.hold, &room.state, NULL);
    (void)fake_run_messages();
    ck_assert_int_eq(session_view(sessions, "s", "", &view), 0);
    ck_assert_uint_eq(view.position, 0);
    ck_assert_int_eq(b.granted + c.granted, 0);
}
END_TEST

START_TEST(deleting_while_a_grant_is_under_way)
{
    struct session_view view;
    struct guest a, b;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    ck_assert_int_eq(enter(&a, "s", "", true), 0);
    ck_assert_int_eq(enter(&b, "s", "", true), 0);
    session_release(sessions, &a.hold, NULL, NULL);
    ck_assert_int_eq(session_delete(sessions, "s", ""), 0);
    ck_assert_int_eq(b.refused, 1);
    (void)fake_run_messages();
    ck_assert_int_eq(b.granted, 0);
}
END_TEST

/* ---- How many, and what they take ---- */

START_TEST(there_are_only_so_many)
{
    struct session_view view;

    world.config.sessions_max = 2;
    ck_assert_int_eq(create("a", "", 0, &view), 0);
    ck_assert_int_eq(create("b", "", 0, &view), 0);
    ASSERT_REPLY(create("c", "", 0, &view), REPLY_SESSION_LIMIT);
    ck_assert_int_eq(session_delete(sessions, "a", ""), 0);
    ck_assert_int_eq(create("c", "", 0, &view), 0);
}
END_TEST

#ifdef __SANITIZE_ADDRESS__
#define OTHER_MALLOC 1
#elif defined(__SANITIZE_THREAD__)
#define OTHER_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OTHER_MALLOC 1
#endif
#endif

/* What the model's card says of a session is what malloc has given for it. */
START_TEST(a_session_takes_what_is_said)
{
#ifndef OTHER_MALLOC
    enum { MANY = 1 << 14 }; /* as many as the table has places */
    size_t said = session_footprint(model, 0), taken;
    struct mallinfo2 before, after;
    struct session_view view;

    world.config.sessions_max = MANY;
    ck_assert_int_eq(create("", "", 0, &view), 0);
    before = mallinfo2();
    for (int i = 1; i < MANY; i++)
        ck_assert_int_eq(create("", "", 0, &view), 0);
    after = mallinfo2();
    taken = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    ck_assert_uint_ge(taken, (said - 2) * MANY);
    ck_assert_uint_le(taken, (said + 2) * MANY);
    ck_assert_uint_le(said, rnn_model_info(model)->state_bytes + 208);
#endif
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tcase = tcase_create("session"), *three = tcase_create("three shards");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, session_world_setup, session_world_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, ids_have_their_alphabet);
    tcase_add_test(tcase, a_new_session_stands_at_the_beginning);
    tcase_add_test(tcase, life_span_is_bounded_and_has_a_default);
    tcase_add_test(tcase, a_name_is_taken_once_for_each_key);
    tcase_add_test(tcase, to_another_key_it_does_not_exist);
    tcase_add_test(tcase, commit_moves_the_session_and_release_alone_does_not);
    tcase_add_test(tcase, a_session_from_a_state_has_it_and_goes_its_own_way);
    tcase_add_test(tcase, expiry_answers_gone_for_a_while);
    tcase_add_test(tcase, an_expired_name_may_be_used_again);
    tcase_add_test(tcase, tombstones_are_bounded);
    tcase_add_test(tcase, many_that_expire_at_once_end_in_several_calls);
    tcase_add_test(tcase, a_clock_set_back_lets_nothing_expire_early_or_late);
    tcase_add_test(tcase, a_session_in_use_does_not_expire);
    tcase_add_test(tcase, deleting_tells_the_holder_and_the_line);
    tcase_add_test(tcase, deleting_while_a_grant_is_under_way);
    tcase_add_test(tcase, there_are_only_so_many);
    tcase_add_test(tcase, a_session_takes_what_is_said);
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(three, session_world_setup_three, session_world_teardown);
    tcase_add_test(three, minted_ids_are_long_differ_and_fall_on_their_shard);
    suite_add_tcase(suite, three);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
