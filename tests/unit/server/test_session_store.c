/* Sessions on their way to disk, over a store whose every move the test decides: what is waited
 * for, what a failure leaves, ends in the middle. */
#include <check.h>
#include <stdlib.h>

#include "session_store_world.h"

/* ---- Saving ---- */

START_TEST(what_is_waited_for_is_on_disk_when_it_is_told)
{
    struct guest guest;
    union room room;

    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 3, 33);
    ck_assert(session_save(sessions, &guest.hold, &room.state));
    ck_assert_int_eq(guest.saved, 0);
    ck_assert_uint_eq(disk[1].memory, 0);
    ck_assert_int_eq(finish(0), STORE_COMMIT);
    ck_assert_int_eq(guest.saved, 1);
    ck_assert_int_eq(guest.result, 0);
    ck_assert_uint_eq(disk[1].memory, 33);
    ck_assert_uint_eq(disk[1].position, 3);
    session_release(sessions, &guest.hold, &room.state, NULL);
    assert_memory("a", 33);
}
END_TEST

START_TEST(with_durability_none_nobody_waits)
{
    struct guest guest;
    union room room;

    world.config.durability = STORE_NONE;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 3, 33);
    ck_assert(!session_save(sessions, &guest.hold, &room.state));
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert_uint_eq(n_tasks, 1);
    finish_all();
    ck_assert_int_eq(guest.saved, 0);
    ck_assert_uint_eq(disk[1].memory, 33);
}
END_TEST

START_TEST(what_does_not_change_is_not_written)
{
    struct guest guest;

    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    ck_assert(!session_save(sessions, &guest.hold, session_state(&guest.hold)));
    ck_assert_uint_eq(n_tasks, 0);
    session_release(sessions, &guest.hold, NULL, NULL);
}
END_TEST

START_TEST(a_transient_session_is_never_written)
{
    struct session_view view;
    struct guest guest;
    union room room;

    ck_assert_int_eq(
        session_create(
            sessions,
            &(struct session_spec){
                .id = "t", .key_name = "", .model_name = "fake", .model = model, .transient = true},
            &view),
        0);
    ck_assert_int_eq(enter(&guest, "t", "", true), 0);
    room_set(&room, 1, 1);
    ck_assert(!session_save_new(sessions, &guest.hold));
    ck_assert(!session_save(sessions, &guest.hold, &room.state));
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert_int_eq(session_delete(sessions, "t", ""), 0);
    ck_assert_uint_eq(n_tasks, 0);
}
END_TEST

START_TEST(writes_keep_their_order)
{
    static const enum store_kind order[] = {STORE_COMMIT, STORE_POINT, STORE_FORGET, STORE_REMOVE};
    struct guest guest;
    union room room;
    bool waits;

    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 3, 33);
    ck_assert(session_save(sessions, &guest.hold, &room.state));
    ck_assert(session_save_point(sessions, &guest.hold, "p"));
    ck_assert(session_save_forget(sessions, &guest.hold, "p"));
    ck_assert_int_eq(session_save_delete(sessions, "a", "", &guest.hold, &waits), 0);
    ck_assert(waits);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(finish(0), order[i]);
    ck_assert_int_eq(guest.saved, 4);
    session_release(sessions, &guest.hold, NULL, NULL);
}
END_TEST

START_TEST(a_failed_save_changes_nothing)
{
    struct guest guest;
    union room room;

    make("a", 0);
    commit("a", 1, 11);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 2, 22);
    ck_assert(session_save(sessions, &guest.hold, &room.state));
    (void)finish(RNN_EIO);
    ASSERT_REPLY(guest.result, REPLY_STORAGE);
    session_release(sessions, &guest.hold, NULL, NULL);
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_events_total{event=\"unsaved\"}"), 1);
    assert_memory("a", 11);
    ck_assert_uint_eq(disk[1].memory, 11);
}
END_TEST

START_TEST(what_the_disk_lacks_does_not_leave_memory)
{
    struct guest guest;
    union room room;

    world.config.durability = STORE_NONE;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 2, 22);
    (void)session_save(sessions, &guest.hold, &room.state);
    world.config.session_memory_bytes = 1;
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert(is_resident("a")); /* it is still being written */
    (void)finish(RNN_EIO);
    ck_assert(is_resident("a"));
    commit("a", 3, 33);
    ck_assert(!is_resident("a"));
    assert_memory("a", 33);
}
END_TEST

START_TEST(without_memory_the_save_is_refused)
{
    struct guest guest;
    union room room;

    make("a", 0);
    for (size_t n = 1; n <= 2; n++) { /* the task, and its copy of the state */
        ck_assert_int_eq(enter(&guest, "a", "", true), 0);
        room_set(&room, 2, 22);
        fake_fail_at = n;
        ck_assert(session_save(sessions, &guest.hold, &room.state));
        ck_assert_int_eq(guest.saved, 0);
        (void)fake_run_messages();
        ck_assert_int_eq(guest.saved, 1);
        ASSERT_REPLY(guest.result, REPLY_NO_MEMORY);
        session_release(sessions, &guest.hold, NULL, NULL);
        assert_memory("a", 0);
    }
    ck_assert_uint_eq(n_tasks, 0);
}
END_TEST

START_TEST(what_was_not_even_sent_does_not_leave_memory)
{
    struct guest guest;
    union room room;

    world.config.durability = STORE_NONE;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 2, 22);
    fake_fail_at = 1;
    ck_assert(!session_save(sessions, &guest.hold, &room.state));
    world.config.session_memory_bytes = 1;
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert(is_resident("a"));
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_events_total{event=\"unsaved\"}"), 1);
    assert_memory("a", 22);
}
END_TEST

START_TEST(a_snapshot_that_the_disk_lacks_does_not_leave_memory)
{
    struct guest guest;

    world.config.durability = STORE_NONE;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    ck_assert(!session_save_point(sessions, &guest.hold, "p"));
    ck_assert_int_eq(session_snapshot(sessions, &guest.hold, "p", false), 0);
    session_release(sessions, &guest.hold, NULL, NULL);
    world.config.session_memory_bytes = 1;
    (void)finish(RNN_EIO);
    ck_assert(is_resident("a"));
    commit("a", 3, 33);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    ck_assert_ptr_nonnull(session_point(&guest.hold, "p"));
    session_release(sessions, &guest.hold, NULL, NULL);
}
END_TEST

START_TEST(uses_reach_the_disk_now_and_then)
{
    make("a", 80);
    for (int i = 0; i < 9; i++) { /* looks, which change nothing but the time */
        fake_advance_ms(&world, 4000);
        assert_memory("a", 0);
    }
    finish_all();
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_events_total{event=\"expired\"}"), 0);
}
END_TEST

/* ---- Where the last stream began ---- */

/* As of the session in memory, which is loaded where it is not. */
static uint64_t begin_of(const char *id, uint64_t stream)
{
    struct guest guest;
    uint64_t begin;

    ck_assert_int_eq(enter(&guest, id, "", true), 0);
    finish_all();
    ck_assert_int_eq(guest.granted, 1);
    guest.hold.stream = stream;
    begin = session_begin(&guest.hold)->position;
    session_release(sessions, &guest.hold, NULL, NULL);
    return begin;
}

static void commit_stream(const char *id, uint64_t stream, uint64_t position, int rc)
{
    struct guest guest;
    union room room;

    ck_assert_int_eq(enter(&guest, id, "", true), 0);
    finish_all();
    guest.hold.stream = stream;
    room_set(&room, position, position);
    if (session_save(sessions, &guest.hold, &room.state))
        (void)finish(rc);
    session_release(sessions, &guest.hold, rc == 0 ? &room.state : NULL, NULL);
}

START_TEST(where_a_stream_began_is_written_with_what_it_commits)
{
    make("s", 0);
    commit("s", 5, 5);
    commit_stream("s", 7, 20, 0);
    ck_assert(disk[1].stream == 7 && disk[1].begin == 5);
    commit_stream("s", 7, 30, 0); /* more of it */
    ck_assert(disk[1].stream == 7 && disk[1].begin == 5 && disk[1].position == 30);
    commit_stream("s", 8, 40, RNN_EIO); /* has not happened, here as there */
    ck_assert(disk[1].stream == 7 && disk[1].begin == 5);
    ck_assert_uint_eq(begin_of("s", 7), 5);
    ck_assert_uint_eq(begin_of("s", 8), 30);
    commit_stream("s", 8, 40, 0);
    ck_assert(disk[1].stream == 8 && disk[1].begin == 30);
    commit("s", 41, 41);
    ck_assert(disk[1].stream == 0);
    ck_assert_uint_eq(begin_of("s", 8), 41);
}
END_TEST

START_TEST(it_leaves_memory_and_comes_back_with_its_session)
{
    make("s", 0);
    make("other", 0);
    commit("s", 5, 5);
    commit_stream("s", 7, 20, 0);
    world.config.session_memory_bytes = 1;
    commit("other", 1, 1);
    ck_assert(!is_resident("s"));
    world.config.session_memory_bytes = 1 << 20;
    ck_assert_uint_eq(begin_of("s", 8), 20);
    ck_assert(is_resident("s"));
    ck_assert_uint_eq(begin_of("s", 7), 5);
    commit_stream("s", 7, 25, 0);
    ck_assert(disk[1].stream == 7 && disk[1].begin == 5);
}
END_TEST

/* ---- Ends in the middle ---- */

START_TEST(deleted_while_it_is_loaded)
{
    struct guest guest;

    world.config.session_memory_bytes = 1;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    ck_assert_int_eq(session_delete(sessions, "a", ""), 0);
    ck_assert_int_eq(guest.refused, 1);
    ck_assert_int_eq(guest.reason, REPLY_NO_SESSION);
    make("a", 0); /* another one of that name */
    finish_all();
    assert_memory("a", 0);
}
END_TEST

START_TEST(deleted_while_it_is_saved)
{
    struct guest guest;
    union room room;

    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 2, 22);
    ck_assert(session_save(sessions, &guest.hold, &room.state));
    ck_assert_int_eq(session_delete(sessions, "a", ""), 0);
    ck_assert_int_eq(guest.cancelled, 1);
    ck_assert_int_eq(guest.saved, 0);
    finish_all();
    ck_assert_int_eq(guest.saved, 1);
    session_release(sessions, &guest.hold, &room.state, NULL);
    ASSERT_REPLY(enter(&guest, "a", "", true), REPLY_NO_SESSION);
}
END_TEST

START_TEST(deleted_while_nobody_waits_for_its_save)
{
    struct guest guest;
    union room room;

    world.config.durability = STORE_NONE;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 2, 22);
    (void)session_save(sessions, &guest.hold, &room.state);
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert_int_eq(session_delete(sessions, "a", ""), 0);
    ck_assert_uint_eq(sessions_saving(sessions), 1);
    finish_all();
    ck_assert_uint_eq(sessions_saving(sessions), 0);
}
END_TEST

START_TEST(expired_while_it_is_saved)
{
    struct guest guest;
    union room room;

    world.config.durability = STORE_NONE;
    for (int gone_s = 0; gone_s <= 50; gone_s += 50) { /* with a tombstone, and without */
        world.config.session_gone_s = gone_s;
        make("a", 10);
        ck_assert_int_eq(enter(&guest, "a", "", true), 0);
        room_set(&room, 2, 22);
        (void)session_save(sessions, &guest.hold, &room.state);
        session_release(sessions, &guest.hold, &room.state, NULL);
        fake_advance_ms(&world, 11000);
        (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
        ck_assert_int_eq(finish(0), STORE_COMMIT);
        ck_assert_int_eq(finish(0), STORE_REMOVE);
        ck_assert(!disk[last_row].there);
        ck_assert(enter(&guest, "a", "", true) != 0);
    }
}
END_TEST

START_TEST(one_that_is_held_does_not_expire)
{
    struct guest guest;
    union room room;

    make("a", 10);
    ck_assert_int_eq(enter(&guest, "a", "", true), 0);
    room_set(&room, 2, 22);
    ck_assert(session_save(sessions, &guest.hold, &room.state));
    fake_advance_ms(&world, 20000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    finish_all();
    session_release(sessions, &guest.hold, &room.state, NULL);
    assert_memory("a", 22);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_store");
    TCase *tcase = tcase_create("session_store");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, session_store_world_setup, session_store_world_teardown);
    tcase_add_test(tcase, what_is_waited_for_is_on_disk_when_it_is_told);
    tcase_add_test(tcase, with_durability_none_nobody_waits);
    tcase_add_test(tcase, what_does_not_change_is_not_written);
    tcase_add_test(tcase, a_transient_session_is_never_written);
    tcase_add_test(tcase, writes_keep_their_order);
    tcase_add_test(tcase, a_failed_save_changes_nothing);
    tcase_add_test(tcase, what_the_disk_lacks_does_not_leave_memory);
    tcase_add_test(tcase, without_memory_the_save_is_refused);
    tcase_add_test(tcase, what_was_not_even_sent_does_not_leave_memory);
    tcase_add_test(tcase, a_snapshot_that_the_disk_lacks_does_not_leave_memory);
    tcase_add_test(tcase, uses_reach_the_disk_now_and_then);
    tcase_add_test(tcase, where_a_stream_began_is_written_with_what_it_commits);
    tcase_add_test(tcase, it_leaves_memory_and_comes_back_with_its_session);
    tcase_add_test(tcase, deleted_while_it_is_loaded);
    tcase_add_test(tcase, deleted_while_it_is_saved);
    tcase_add_test(tcase, deleted_while_nobody_waits_for_its_save);
    tcase_add_test(tcase, expired_while_it_is_saved);
    tcase_add_test(tcase, one_that_is_held_does_not_expire);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
