/* The line in front of a session: order of arrival; and streams, which take the place of what they
 * go on with, and know where they began. */
#include <check.h>
#include <stdlib.h>

#include "session_world.h"

/* ---- Order of arrival ---- */

START_TEST(the_line_is_served_in_order_of_arrival)
{
    struct session_view view;
    struct guest guests[5];

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    for (size_t i = 0; i < 5; i++)
        ck_assert_int_eq(enter(&guests[i], "s", "", true), 0);
    ck_assert_int_eq(guests[0].granted, 1);
    for (size_t i = 1; i < 5; i++) {
        ck_assert_int_eq(guests[i].granted, 0);
        session_release(sessions, &guests[i - 1].hold, NULL, NULL);
        ck_assert_int_eq(guests[i].granted, 0); /* by a message, not inside the call */
        (void)fake_run_messages();
        ck_assert_int_eq(guests[i].granted, 1);
        ck_assert_uint_eq(guests[i].turn, i);
    }
    session_release(sessions, &guests[4].hold, NULL, NULL);
    ck_assert_int_eq(session_view(sessions, "s", "", &view), 0);
    ck_assert(!view.busy);
}
END_TEST

/* Between a release and the message that grants, nobody may slip in. */
START_TEST(a_newcomer_does_not_overtake_a_grant_under_way)
{
    struct session_view view;
    struct guest a, b, c;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    ck_assert_int_eq(enter(&a, "s", "", true), 0);
    ck_assert_int_eq(enter(&b, "s", "", true), 0);
    session_release(sessions, &a.hold, NULL, NULL);
    ck_assert_int_eq(enter(&c, "s", "", true), 0);
    ck_assert_int_eq(c.granted, 0);
    ASSERT_REPLY(enter(&a, "s", "", false), REPLY_SESSION_BUSY);
    (void)fake_run_messages();
    ck_assert_int_eq(b.granted, 1);
    ck_assert_int_eq(c.granted, 0);
    session_release(sessions, &b.hold, NULL, NULL);
    (void)fake_run_messages();
    ck_assert_int_eq(c.granted, 1);
    session_release(sessions, &c.hold, NULL, NULL);
}
END_TEST

START_TEST(leaving_the_line_at_any_place)
{
    for (size_t leaver = 1; leaver < 4; leaver++) {
        struct session_view view;
        struct guest guests[4];

        ck_assert_int_eq(create("s", "", 0, &view), 0);
        for (size_t i = 0; i < 4; i++)
            ck_assert_int_eq(enter(&guests[i], "s", "", true), 0);
        session_release(sessions, &guests[leaver].hold, NULL, NULL);
        for (size_t i = 0; i < 4; i++) {
            ck_assert_int_eq(guests[i].granted, i != leaver);
            if (i == leaver)
                continue;
            session_release(sessions, &guests[i].hold, NULL, NULL);
            (void)fake_run_messages();
            if (i + 1 == leaver && leaver < 3)
                ck_assert_int_eq(guests[i + 2].granted, 1);
        }
        ck_assert_int_eq(session_delete(sessions, "s", ""), 0);
    }
}
END_TEST

START_TEST(last_in_line_leaves_while_its_grant_is_under_way)
{
    struct session_view view;
    struct guest a, b;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    ck_assert_int_eq(enter(&a, "s", "", true), 0);
    ck_assert_int_eq(enter(&b, "s", "", true), 0);
    session_release(sessions, &a.hold, NULL, NULL);
    session_release(sessions, &b.hold, NULL, NULL);
    (void)fake_run_messages();
    ck_assert_int_eq(b.granted, 0);
    ck_assert_int_eq(enter(&a, "s", "", false), 0);
    ck_assert_int_eq(a.granted, 1);
    session_release(sessions, &a.hold, NULL, NULL);
}
END_TEST

START_TEST(the_line_is_bounded)
{
    struct session_view view;
    struct guest guests[5], late;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    for (size_t i = 0; i < 5; i++)
        ck_assert_int_eq(enter(&guests[i], "s", "", true), 0);
    ASSERT_REPLY(enter(&late, "s", "", true), REPLY_QUEUE_FULL);
    session_release(sessions, &guests[2].hold, NULL, NULL);
    ck_assert_int_eq(enter(&late, "s", "", true), 0);
    ck_assert_int_eq(session_delete(sessions, "s", ""), 0);
    session_release(sessions, &guests[0].hold, NULL, NULL);
}
END_TEST

/* ---- Streams ---- */

/* A commit of a state; returns where the stream asked for began. */
static uint64_t begin_after_commit(uint64_t stream, uint64_t position, uint64_t asked)
{
    struct guest guest;
    union room room;
    uint64_t begin;

    room_set(&room, position, position * 3);
    ck_assert_int_eq(enter_stream(&guest, stream, false, true), 0);
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert_int_eq(enter_stream(&guest, asked, false, true), 0);
    begin = session_begin(&guest.hold)->position;
    if (begin < position)
        ck_assert_uint_eq(fake_memory(session_begin(&guest.hold)), begin * 3);
    else
        ck_assert_ptr_eq(session_begin(&guest.hold), session_state(&guest.hold));
    session_release(sessions, &guest.hold, NULL, NULL);
    return begin;
}

START_TEST(a_session_knows_where_its_last_stream_began)
{
    struct session_view view, before, with;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    ck_assert_uint_eq(begin_after_commit(0, 5, 7), 5); /* none yet: where it stands */
    ck_assert_int_eq(session_view(sessions, "s", "", &before), 0);
    ck_assert_uint_eq(begin_after_commit(7, 20, 7), 5);
    ck_assert_int_eq(session_view(sessions, "s", "", &with), 0);
    ck_assert_uint_ge(with.bytes, before.bytes + sizeof(union room));
    ck_assert_uint_eq(begin_after_commit(7, 12, 7), 5);  /* the same, cut elsewhere */
    ck_assert_uint_eq(begin_after_commit(7, 30, 8), 30); /* another is not this one */
    ck_assert_uint_eq(begin_after_commit(0, 30, 7), 5);  /* nothing has changed */
    ck_assert_uint_eq(begin_after_commit(9, 30, 7), 5);  /* nor here */
    ck_assert_uint_eq(begin_after_commit(8, 40, 8), 30);
    ck_assert_uint_eq(begin_after_commit(8, 40, 7), 40);
    ck_assert_uint_eq(begin_after_commit(0, 41, 8), 41); /* it has gone on without it */
    ck_assert_int_eq(session_view(sessions, "s", "", &view), 0);
    ck_assert_uint_eq(view.bytes, sizeof(union room)); /* and nothing is left of it */
}
END_TEST

START_TEST(without_memory_for_it_there_is_no_way_back)
{
    struct session_view view;
    struct guest guest;
    union room room;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    for (size_t fail_at = 1; fail_at <= 2; fail_at++) {
        room_set(&room, 10 * fail_at, 3);
        ck_assert_int_eq(enter_stream(&guest, fail_at, false, true), 0);
        fake_fail_at = fail_at;
        session_release(sessions, &guest.hold, &room.state, NULL);
        ck_assert_uint_eq(fake_fail_at, 0);
        ck_assert_int_eq(enter_stream(&guest, fail_at, false, true), 0);
        ck_assert_ptr_eq(session_begin(&guest.hold), session_state(&guest.hold));
        ck_assert_uint_eq(session_state(&guest.hold)->position, 10 * fail_at);
        session_release(sessions, &guest.hold, NULL, NULL);
    }
}
END_TEST

START_TEST(who_goes_on_with_a_stream_takes_its_place)
{
    struct session_view view;
    struct guest old, waiting, older, fresh;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    ck_assert_int_eq(enter_stream(&old, 7, false, true), 0);
    old.lets_go = false; /* its last step is under way */
    ck_assert_int_eq(enter_stream(&waiting, 0, false, true), 0);
    ck_assert_int_eq(enter_stream(&older, 7, true, true), 0);
    ck_assert_int_eq(old.superseded, 1);
    ck_assert_int_eq(enter_stream(&fresh, 7, true, false), 0); /* it need not wait long */
    ck_assert_int_eq(old.superseded, 1);
    ck_assert_int_eq(older.superseded, 1);
    ck_assert_int_eq(session_view(sessions, "s", "", &view), 0);
    ck_assert_uint_eq(view.waiting, 2);
    session_release(sessions, &old.hold, NULL, NULL);
    (void)fake_run_messages();
    ck_assert_int_eq(fresh.granted, 1);
    ck_assert_int_eq(waiting.granted, 0);
    session_release(sessions, &fresh.hold, NULL, NULL);
    (void)fake_run_messages();
    ck_assert_int_eq(waiting.granted, 1);
    session_release(sessions, &waiting.hold, NULL, NULL);
    ck_assert_int_eq(older.granted, 0);
}
END_TEST

START_TEST(who_lets_go_at_once_is_followed_at_once)
{
    struct session_view view;
    struct guest old, waiting, fresh;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    ck_assert_int_eq(enter_stream(&old, 7, false, true), 0);
    ck_assert_int_eq(enter_stream(&fresh, 7, true, false), 0);
    ck_assert_int_eq(fresh.granted, 1);
    /* and before those for whom a grant is under way */
    session_release(sessions, &fresh.hold, NULL, NULL);
    ck_assert_int_eq(enter_stream(&old, 7, false, true), 0);
    ck_assert_int_eq(enter_stream(&waiting, 0, false, true), 0);
    ck_assert_int_eq(enter_stream(&fresh, 7, true, false), 0);
    (void)fake_run_messages();
    ck_assert_int_eq(fresh.granted, 1);
    ck_assert_int_eq(waiting.granted, 0);
    session_release(sessions, &fresh.hold, NULL, NULL);
    (void)fake_run_messages();
    session_release(sessions, &waiting.hold, NULL, NULL);
    ck_assert_int_eq(waiting.granted, 1);
}
END_TEST

START_TEST(other_streams_and_requests_are_left_alone)
{
    struct session_view view;
    struct guest old, fresh;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    for (uint64_t stream = 0; stream < 3; stream += 2) {
        ck_assert_int_eq(enter_stream(&old, stream, false, true), 0);
        for (uint64_t other = 0; other < 2; other++) {
            ASSERT_REPLY(enter_stream(&fresh, other, true, false), REPLY_SESSION_BUSY);
            ck_assert_int_eq(enter_stream(&fresh, other, true, true), 0);
            ck_assert_int_eq(fresh.granted, 0);
            session_release(sessions, &fresh.hold, NULL, NULL);
        }
        ASSERT_REPLY(enter_stream(&fresh, stream, false, false),
                     REPLY_SESSION_BUSY); /* no resume */
        ck_assert_int_eq(old.superseded, 0);
        session_release(sessions, &old.hold, NULL, NULL);
    }
}
END_TEST

/* Who is asked to stop may be the last to hold a session that was deleted meanwhile. */
START_TEST(taking_over_what_ends_with_it)
{
    struct session_view view;
    struct guest old, fresh;

    ck_assert_int_eq(create("s", "", 10, &view), 0);
    ck_assert_int_eq(enter_stream(&old, 7, false, true), 0);
    ck_assert_int_eq(session_delete(sessions, "s", ""), 0);
    ASSERT_REPLY(enter_stream(&fresh, 7, true, true), REPLY_NO_SESSION);
    ck_assert_int_eq(old.superseded, 0);
    session_release(sessions, &old.hold, NULL, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_line");
    TCase *tcase = tcase_create("session_line");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, session_world_setup, session_world_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_line_is_served_in_order_of_arrival);
    tcase_add_test(tcase, a_newcomer_does_not_overtake_a_grant_under_way);
    tcase_add_test(tcase, leaving_the_line_at_any_place);
    tcase_add_test(tcase, last_in_line_leaves_while_its_grant_is_under_way);
    tcase_add_test(tcase, the_line_is_bounded);
    tcase_add_test(tcase, a_session_knows_where_its_last_stream_began);
    tcase_add_test(tcase, without_memory_for_it_there_is_no_way_back);
    tcase_add_test(tcase, who_goes_on_with_a_stream_takes_its_place);
    tcase_add_test(tcase, who_lets_go_at_once_is_followed_at_once);
    tcase_add_test(tcase, other_streams_and_requests_are_left_alone);
    tcase_add_test(tcase, taking_over_what_ends_with_it);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
