/* A storm over sessions that are kept: commits, ends and little memory in any order, with failing
 * writes, reads and allocations, in which every session's memory is known. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_store_world.h"

enum { NAMES = 12, GUESTS = 24, MOVES = 40000 };

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % below;
}

/* What is known of a session: its life's number, and the memory that it must have. */
static struct known {
    bool there;
    unsigned life;
    uint64_t memory, initial;
} known[NAMES];

static struct visitor {
    struct guest guest;
    bool in, waits;
    size_t name;
    unsigned life;
    union room room;
} visitors[GUESTS];

static uint64_t n_commits, n_refused, n_lost;

static void name_of(size_t i, char out[8])
{
    (void)snprintf(out, 8, "s%zu", i);
}

static void arrive(struct visitor *visitor)
{
    char id[8];
    session_result rc;

    visitor->name = draw(NAMES);
    name_of(visitor->name, id);
    if (!known[visitor->name].there) {
        uint64_t initial = draw(2) * random_state;

        if (create_from(id, 0, initial) != 0)
            return;
        known[visitor->name] = (struct known){
            .there = true, .life = known[visitor->name].life + 1, .initial = initial};
        if (enter(&visitor->guest, id, "", true) == 0) {
            visitor->in = true;
            visitor->life = known[visitor->name].life;
            room_set(&visitor->room, 0, 0);
            visitor->waits = session_save_new(sessions, &visitor->guest.hold);
        }
        return;
    }
    rc = enter(&visitor->guest, id, "", true);
    visitor->life = known[visitor->name].life;
    visitor->in = rc == 0;
    n_refused += rc != 0;
}

/* It lets go: with its change, where the store has it or nobody waited. */
static void depart(struct visitor *visitor, bool commits)
{
    struct known *session = &known[visitor->name];

    if (commits && draw(2) == 0)
        lay(&visitor->guest.hold, visitor->room.state.position,
            draw(4) % (visitor->room.state.position + 1));
    session_release(sessions, &visitor->guest.hold, commits ? &visitor->room.state : NULL, NULL);
    if (commits && session->there && session->life == visitor->life) {
        session->memory = fake_memory(&visitor->room.state);
        n_commits++;
    }
    visitor->in = visitor->waits = false;
}

static void act(struct visitor *visitor)
{
    struct guest *guest = &visitor->guest;

    if (guest->refused) {
        visitor->in = false;
        n_refused++;
    } else if (visitor->waits) {
        if (guest->saved)
            depart(visitor, guest->result == 0);
    } else if (!guest->granted || guest->cancelled) {
        if (guest->cancelled || draw(4) == 0)
            depart(visitor, false);
    } else {
        const struct rnn_state *state = session_state(&guest->hold), *initial;
        const char *name;

        ck_assert_msg(known[visitor->name].life != visitor->life ||
                          fake_memory(state) == known[visitor->name].memory,
                      "s%zu has %llx and must have %llx", visitor->name,
                      (unsigned long long)fake_memory(state),
                      (unsigned long long)known[visitor->name].memory);
        initial = session_initial(&guest->hold, &name);
        ck_assert(known[visitor->name].life != visitor->life ||
                  (initial != NULL ? fake_memory(initial) : 0) == known[visitor->name].initial);
        if (draw(5) == 0) {
            depart(visitor, false);
            return;
        }
        room_set(&visitor->room, state->position + 1, random_state);
        fake_fail_at = draw(30) == 0 ? 1 + draw(3) : 0;
        visitor->waits = session_save(sessions, &guest->hold, &visitor->room.state);
        fake_fail_at = 0;
        if (!visitor->waits)
            depart(visitor, true);
    }
}

static void end_one(void)
{
    size_t name = draw(NAMES);
    char id[8];

    name_of(name, id);
    if (known[name].there && session_delete(sessions, id, "") == 0) {
        known[name].there = false;
        n_lost++;
    }
}

/* Time passes: those that nobody holds may be gone; who is there is asked, as a client would. */
static void pass_time(void)
{
    fake_advance_ms(&world, (int64_t)draw(60000));
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    for (size_t i = 0; i < NAMES; i++) {
        struct session_view view;
        char id[8];

        name_of(i, id);
        if (known[i].there && session_view(sessions, id, "", &view) != 0) {
            known[i].there = false;
            n_lost++;
        }
    }
}

static void move(void)
{
    struct visitor *visitor = &visitors[draw(GUESTS)];
    uint64_t what = draw(1000);

    if (what < 400) {
        if (n_tasks > 0)
            (void)finish(draw(20) == 0 ? RNN_EIO : 0);
    } else if (what < 404) {
        end_one();
    } else if (what < 408) {
        pass_time();
    } else if (what < 440) {
        world.config.session_memory_bytes = 1 + draw(8) * STATE;
    } else if (visitor->in) {
        act(visitor);
    } else {
        fake_fail_at = draw(30) == 0 ? 1 + draw(6) : 0;
        arrive(visitor);
        fake_fail_at = 0;
    }
    (void)fake_run_messages();
}

static void storm(enum store_durability durability)
{
    const char *seed = getenv("RNND_TEST_SEED");

    random_state = seed != NULL ? strtoull(seed, NULL, 10) : 20 + (uint64_t)durability;
    printf("RNND_TEST_SEED=%llu\n", (unsigned long long)random_state);
    world.config.durability = (int)durability;
    memset(known, 0, sizeof(known));
    memset(visitors, 0, sizeof(visitors));
    n_commits = n_refused = n_lost = 0;
    for (int i = 0; i < MOVES && last_row < ROWS_MAX - 2; i++)
        move();
    for (size_t i = 0; i < GUESTS; i++) {
        finish_all();
        if (visitors[i].in && visitors[i].guest.refused == 0)
            depart(&visitors[i],
                   visitors[i].waits && visitors[i].guest.saved && visitors[i].guest.result == 0);
    }
    finish_all();
    pass_time();
    finish_all();
    for (size_t i = 0; i < NAMES; i++) {
        char id[8];

        name_of(i, id);
        if (known[i].there)
            assert_memory(id, known[i].memory);
    }
    ck_assert_uint_gt(n_commits, 500);
    ck_assert_uint_gt(n_refused, 10);
    ck_assert_uint_gt(n_lost, 20);
    ck_assert_double_gt(fake_metric(&world, "rnnd_session_events_total{event=\"restored\"}"), 100);
}

START_TEST(no_memory_of_another_in_a_storm)
{
    storm((enum store_durability)_i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_store_storm");
    TCase *tcase = tcase_create("session_store_storm");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, session_store_world_setup, session_store_world_teardown);
    tcase_add_loop_test(tcase, no_memory_of_another_in_a_storm, STORE_NONE, STORE_POWER + 1);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
