/* Many sessions: each is found, listed in order, and has its own memory. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_world.h"

START_TEST(listings_are_sorted_paged_and_one_owners)
{
    static const char *const owners[] = {"", "alice", "bob"};
    struct session_view view, page[7];
    size_t n_seen = 0, n;
    char after[SESSION_ID_MAX + 1] = "";

    for (int i = 0; i < 300; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "s%03d", i * 7919 % 300);
        ck_assert_int_eq(create(id, owners[i % 3], 0, &view), 0);
    }
    while ((n = session_list(sessions, "alice", after, 7, page)) > 0) {
        for (size_t i = 0; i < n; i++) {
            ck_assert_str_gt(page[i].id, after);
            (void)strcpy(after, page[i].id);
            ck_assert_int_eq(session_view(sessions, after, "alice", &view), 0);
        }
        n_seen += n;
    }
    ck_assert_uint_eq(n_seen, 100);
    ck_assert_uint_eq(session_list(sessions, "nobody", "", 7, page), 0);
}
END_TEST

/* Ten thousand sessions come and go; the tables hold what a plain model says they hold, and every
 * state is what its own commits made it. */
#define STORM_IDS 500
START_TEST(storm)
{
    static struct {
        bool live;
        uint64_t memory, n;
        int64_t expires_ms;
    } truth[2][STORM_IDS];
    static const char *const owners[2] = {"alice", "bob"};

    srand(11);
    memset(truth, 0, sizeof(truth));
    for (int i = 0; i < 200000; i++) {
        int who = rand() % 2, at = rand() % STORM_IDS;
        int64_t now_ms = world.shards[0].now_unix_ms;
        struct session_view view;
        session_result rc = 0;
        struct guest guest;
        union room room;
        char id[16];

        (void)snprintf(id, sizeof(id), "id-%d", at);
        if (truth[who][at].live && truth[who][at].expires_ms <= now_ms)
            truth[who][at].live = false;
        switch (rand() % 8) {
        case 0:
        case 1:
            rc = create(id, owners[who], 1 + rand() % 20, &view);
            ck_assert_int_eq(rc == 0, !truth[who][at].live);
            if (rc != 0)
                break;
            truth[who][at].live = true;
            truth[who][at].memory = truth[who][at].n = 0;
            truth[who][at].expires_ms = view.expires_unix_ms;
            break;
        case 2:
            if (rand() % 2 != 0)
                break;
            rc = session_delete(sessions, id, owners[who]);
            ck_assert_int_eq(rc == 0, truth[who][at].live);
            truth[who][at].live = false;
            break;
        case 3:
            fake_advance_ms(&world, rand() % 30);
            if (rand() % 4 == 0)
                (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
            break;
        default:
            rc = enter(&guest, id, owners[who], true);
            ck_assert_int_eq(rc == 0, truth[who][at].live);
            if (rc != 0)
                break;
            ck_assert_uint_eq(fake_memory(session_state(&guest.hold)), truth[who][at].memory);
            ck_assert_uint_eq(session_state(&guest.hold)->position, truth[who][at].n);
            if (rand() % 2 == 0) {
                truth[who][at].memory = (uint64_t)i << 1 | (uint64_t)who;
                room_set(&room, ++truth[who][at].n, truth[who][at].memory);
                session_release(sessions, &guest.hold, &room.state, &view);
            } else {
                session_release(sessions, &guest.hold, NULL, &view);
            }
            truth[who][at].expires_ms = view.expires_unix_ms;
        }
    }
    fake_advance_ms(&world, 0);
    for (int who = 0; who < 2; who++) {
        static struct session_view all[STORM_IDS];
        size_t n_live = 0;

        for (int at = 0; at < STORM_IDS; at++)
            n_live +=
                truth[who][at].live && truth[who][at].expires_ms > world.shards[0].now_unix_ms;
        ck_assert_uint_eq(session_list(sessions, owners[who], "", STORM_IDS, all), n_live);
        ck_assert_uint_gt(n_live, 50);
    }
}
END_TEST

/* Growing to many shows that linear hashing loses nothing. */
START_TEST(many)
{
    struct session_view view;
    char id[16];

    world.config.sessions_max = 20000;
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(id, sizeof(id), "m%d", i);
        ck_assert_int_eq(create(id, "", 0, &view), 0);
    }
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(id, sizeof(id), "m%d", i);
        ck_assert_int_eq(session_view(sessions, id, "", &view), 0);
        ck_assert_str_eq(view.id, id);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_table");
    TCase *tcase = tcase_create("session_table");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, session_world_setup, session_world_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, listings_are_sorted_paged_and_one_owners);
    tcase_add_test(tcase, storm);
    tcase_add_test(tcase, many);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
