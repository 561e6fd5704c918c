/* The sessions' promises: owners, order of arrival, commit and roll-back, expiry, secrets. */
#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"
#include "server/session.h"

static struct fake_world world;
static struct sessions *sessions;
static struct rnn_model *model;

/* A hold that notes what it is told. */
struct guest {
    struct session_hold hold;
    int granted, refused, cancelled, superseded;
    bool lets_go; /* when another goes on with its stream */
    enum reply_error reason;
    unsigned turn; /* in the order of grants */
};
static unsigned n_grants;

static void on_granted(struct session_hold *hold)
{
    struct guest *guest = (struct guest *)hold;

    guest->granted++;
    guest->turn = ++n_grants;
}

static void on_refused(struct session_hold *hold, enum reply_error reason)
{
    struct guest *guest = (struct guest *)hold;

    guest->refused++;
    guest->reason = reason;
}

static void on_cancelled(struct session_hold *hold)
{
    ((struct guest *)hold)->cancelled++;
}

static session_result enter(struct guest *guest, const char *id, const char *key, bool queue)
{
    session_result rc;
    bool granted;

    *guest = (struct guest){
        .hold = {.granted = on_granted, .refused = on_refused, .cancelled = on_cancelled}};
    rc = session_acquire(sessions, id, key, queue, &guest->hold, &granted);
    guest->granted += granted;
    return rc;
}

union room {
    struct rnn_state state;
    char bytes[sizeof(struct rnn_state) + sizeof(uint64_t)];
};

static void state_set(union room *room, uint64_t position, uint64_t memory)
{
    memset(room, 0, sizeof(*room));
    room->state.position = position;
    memcpy(room->state.memory, &memory, sizeof(memory));
}

static session_result create(const char *id, const char *key, int64_t ttl_s,
                             struct session_view *view)
{
    return session_create(sessions,
                          &(struct session_spec){.id = id,
                                                 .key_name = key,
                                                 .model_name = "fake",
                                                 .model = model,
                                                 .ttl_s = ttl_s,
                                                 .seed = 42},
                          view);
}

static void setup_shards(unsigned n_shards)
{
    fake_world_init(&world, n_shards);
    n_grants = 0;
    model = fake_model(5);
    ck_assert_int_eq(sessions_new(&sessions, &world.shards[0], NULL), 0);
}

static void setup(void)
{
    setup_shards(1);
}

static void teardown(void)
{
    sessions_free(sessions);
    ck_assert_uint_eq(fake_model_refs(model), 1);
    rnn_model_unref(model);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 0);
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_state_bytes"), 0);
    ck_assert_uint_eq(atomic_load(&world.server.n_sessions), 0);
    fake_world_deinit(&world);
}

#define ASSERT_REPLY(result, reply) ck_assert_int_eq((result), SESSION_FAIL(reply))

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

START_TEST(commit_moves_the_session_and_release_alone_does_not)
{
    struct session_view view, look;
    struct guest guest;
    union room room;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    state_set(&room, 7, 1234);
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

/* ---- Streams ---- */

static void on_superseded(struct session_hold *hold)
{
    struct guest *guest = (struct guest *)hold;

    guest->superseded++;
    if (guest->lets_go)
        session_release(sessions, hold, NULL, NULL);
}

/* With (part of) the stream of that number; 0: an ordinary request. */
static session_result enter_stream(struct guest *guest, uint64_t stream, bool resumes, bool queue)
{
    session_result rc;
    bool granted;

    *guest = (struct guest){.hold = {.granted = on_granted,
                                     .refused = on_refused,
                                     .cancelled = on_cancelled,
                                     .supersede = on_superseded,
                                     .stream = stream,
                                     .resumes = resumes},
                            .lets_go = true};
    rc = session_acquire(sessions, "s", "", queue, &guest->hold, &granted);
    guest->granted += granted;
    return rc;
}

/* A commit of a state; returns where the stream asked for began. */
static uint64_t begin_after_commit(uint64_t stream, uint64_t position, uint64_t asked)
{
    struct guest guest;
    union room room;
    uint64_t begin;

    state_set(&room, position, position * 3);
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
    ck_assert_uint_eq(view.bytes, with.bytes - sizeof(union room));
}
END_TEST

START_TEST(without_memory_for_it_there_is_no_way_back)
{
    struct session_view view;
    struct guest guest;
    union room room;

    ck_assert_int_eq(create("s", "", 0, &view), 0);
    for (size_t fail_at = 1; fail_at <= 2; fail_at++) {
        state_set(&room, 10 * fail_at, 3);
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

/* What a fork is made of. */
START_TEST(a_session_from_a_state_has_it_and_goes_its_own_way)
{
    struct session_view parent, child;
    struct guest guest;
    union room room;

    ck_assert_int_eq(create("s", "k", 30, &parent), 0);
    state_set(&room, 7, 1234);
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
    state_set(&room, 8, 1);
    session_release(sessions, &guest.hold, &room.state, NULL);
    ck_assert_int_eq(session_view(sessions, "s", "k", &parent), 0);
    ck_assert_uint_eq(parent.position, 7);
}
END_TEST

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
    state_set(&room, 7, 1234);
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
                state_set(&room, ++truth[who][at].n, truth[who][at].memory);
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

static void setup_three(void)
{
    setup_shards(3);
}

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tcase = tcase_create("session"), *three = tcase_create("three shards");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, ids_have_their_alphabet);
    tcase_add_test(tcase, a_new_session_stands_at_the_beginning);
    tcase_add_test(tcase, life_span_is_bounded_and_has_a_default);
    tcase_add_test(tcase, a_name_is_taken_once_for_each_key);
    tcase_add_test(tcase, to_another_key_it_does_not_exist);
    tcase_add_test(tcase, the_line_is_served_in_order_of_arrival);
    tcase_add_test(tcase, a_newcomer_does_not_overtake_a_grant_under_way);
    tcase_add_test(tcase, leaving_the_line_at_any_place);
    tcase_add_test(tcase, last_in_line_leaves_while_its_grant_is_under_way);
    tcase_add_test(tcase, the_line_is_bounded);
    tcase_add_test(tcase, commit_moves_the_session_and_release_alone_does_not);
    tcase_add_test(tcase, a_session_knows_where_its_last_stream_began);
    tcase_add_test(tcase, without_memory_for_it_there_is_no_way_back);
    tcase_add_test(tcase, who_goes_on_with_a_stream_takes_its_place);
    tcase_add_test(tcase, who_lets_go_at_once_is_followed_at_once);
    tcase_add_test(tcase, other_streams_and_requests_are_left_alone);
    tcase_add_test(tcase, taking_over_what_ends_with_it);
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
    tcase_add_test(tcase, listings_are_sorted_paged_and_one_owners);
    tcase_add_test(tcase, storm);
    tcase_add_test(tcase, many);
    tcase_add_test(tcase, a_session_takes_what_is_said);
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(three, setup_three, teardown);
    tcase_add_test(three, minted_ids_are_long_differ_and_fall_on_their_shard);
    suite_add_tcase(suite, three);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
