/* Sessions on their way to disk and back, over a store whose every move the test decides: what is
 * waited for, what a failure leaves, who leaves memory first, ends in the middle; then a storm of
 * all of it, with failing writes, reads and allocations, in which every session's memory is known.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"
#include "server/session.h"
#include "server/store.h"
#include "server/trail.h"

enum { ROWS_MAX = 4096, TASKS_MAX = 4096, STATE = sizeof(struct rnn_state) + sizeof(uint64_t) };

static struct fake_world world;
static struct sessions *sessions;
static struct rnn_model *model;

/* ---- The fake store: a list of tasks, and a disk of one number a row ---- */

struct store {
    int nothing;
};

static struct store the_store;
static struct store_task *tasks[TASKS_MAX];
static size_t n_tasks;
static int64_t last_row;
static struct {
    bool there;
    uint64_t position, memory;
    uint64_t stream, begin; /* its number, 0: none; and the position that it began at */
    uint64_t initial;       /* memory of the state that resets go to; 0: none */
} disk[ROWS_MAX];

int64_t store_row(struct store *store)
{
    if (store != &the_store)
        abort(); /* Check's own words would want memory, which may be failing */
    return ++last_row;
}

void store_send(struct store *store, struct store_task *task)
{
    if (store != &the_store || n_tasks == TASKS_MAX || task->facts.row >= ROWS_MAX)
        abort();
    tasks[n_tasks++] = task;
}

static uint64_t memory_of(const struct rnn_state *state)
{
    uint64_t memory;

    memcpy(&memory, state->memory, sizeof(memory));
    return memory;
}

static int apply(struct store_task *task)
{
    int64_t row = task->facts.row;

    if (task->kind == STORE_REMOVE)
        disk[row].there = false;
    if (task->kind == STORE_LOAD) {
        if (!disk[row].there)
            return RNN_ENOENT;
        task->state = calloc(1, task->facts.state_bytes);
        if (task->state == NULL)
            return RNN_ENOMEM;
        task->state->position = disk[row].position;
        memcpy(task->state->memory, &disk[row].memory, sizeof(uint64_t));
        task->stream = disk[row].stream;
        task->begin = task->stream != 0 ? calloc(1, STATE) : NULL;
        if (task->begin != NULL)
            task->begin->position = disk[row].begin;
        if (disk[row].initial != 0) {
            task->initial.state = calloc(1, STATE);
            if (task->initial.state == NULL)
                return RNN_ENOMEM;
            memcpy(task->initial.state->memory, &disk[row].initial, sizeof(uint64_t));
        }
    }
    if (task->kind != STORE_CREATE && task->kind != STORE_COMMIT)
        return 0;
    if (task->kind == STORE_COMMIT && !disk[row].there)
        return RNN_ENOENT;
    disk[row].there = true;
    disk[row].position = task->state->position;
    disk[row].memory = memory_of(task->state);
    disk[row].stream = task->begin != NULL ? task->stream : 0;
    disk[row].begin = task->begin != NULL ? task->begin->position : 0;
    if (task->kind == STORE_CREATE)
        disk[row].initial = task->initial.state != NULL ? memory_of(task->initial.state) : 0;
    return 0;
}

/* The oldest task ends: with `rc`, or where that is 0 as the disk has it.  Its kind. */
static enum store_kind finish(int rc)
{
    struct store_task *task = tasks[0];
    enum store_kind kind = task->kind;

    ck_assert_uint_gt(n_tasks, 0);
    memmove(tasks, tasks + 1, --n_tasks * sizeof(struct store_task *));
    task->rc = rc != 0 ? rc : apply(task);
    if (task->home == NULL)
        store_task_free(task);
    else
        shard_post(task->home, &task->message);
    (void)fake_run_messages();
    return kind;
}

static void finish_all(void)
{
    do {
        while (n_tasks > 0)
            (void)finish(0);
    } while (fake_run_messages() > 0);
}

/* ---- Guests ---- */

struct guest {
    struct session_hold hold;
    int granted, refused, cancelled, saved;
    enum reply_error reason;
    session_result result;
    unsigned turn;
};
static unsigned n_turns;

static void on_granted(struct session_hold *hold)
{
    struct guest *guest = (struct guest *)hold;

    guest->granted++;
    guest->turn = ++n_turns;
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

static void on_saved(struct session_hold *hold, session_result result)
{
    struct guest *guest = (struct guest *)hold;

    guest->saved++;
    guest->result = result;
}

static session_result enter(struct guest *guest, const char *id)
{
    session_result rc;
    bool granted;

    *guest = (struct guest){.hold = {.granted = on_granted,
                                     .refused = on_refused,
                                     .cancelled = on_cancelled,
                                     .saved = on_saved}};
    rc = session_acquire(sessions, id, "", true, &guest->hold, &granted);
    guest->granted += granted;
    return rc;
}

union room {
    struct rnn_state state;
    char bytes[STATE];
};

static void room_set(union room *room, uint64_t position, uint64_t memory)
{
    memset(room, 0, sizeof(*room));
    room->state.position = position;
    memcpy(room->state.memory, &memory, sizeof(memory));
}

/* ---- The world ---- */

/* `initial` is the memory of the state that resets go to; 0: none is kept. */
static session_result create_from(const char *id, int64_t ttl_s, uint64_t initial)
{
    struct session_view view;
    union room room;

    room_set(&room, 0, initial);
    return session_create(sessions,
                          &(struct session_spec){.id = id,
                                                 .key_name = "",
                                                 .model_name = "fake",
                                                 .model = model,
                                                 .ttl_s = ttl_s,
                                                 .initial = initial != 0 ? &room.state : NULL},
                          &view);
}

static session_result create(const char *id, int64_t ttl_s)
{
    return create_from(id, ttl_s, 0);
}

static void save_new(const char *id)
{
    struct guest guest;

    ck_assert_int_eq(enter(&guest, id), 0);
    (void)session_save_new(sessions, &guest.hold);
    finish_all();
    session_release(sessions, &guest.hold, NULL, NULL);
}

/* A new session, saved. */
static void make(const char *id, int64_t ttl_s)
{
    ck_assert_int_eq(create(id, ttl_s), 0);
    save_new(id);
}

/* One that remembers so many tokens. */
static void make_with_window(const char *id, size_t window)
{
    const struct session_spec spec = {.id = id,
                                      .key_name = "",
                                      .model_name = "fake",
                                      .model = model,
                                      .state_bytes = rnn_state_bytes(model, window)};
    struct session_view view;

    ck_assert_int_eq(session_create(sessions, &spec, &view), 0);
    save_new(id);
}

/* A commit as a request makes it, with an undisturbed store. */
static void commit(const char *id, uint64_t position, uint64_t memory)
{
    struct guest guest;
    union room room;

    ck_assert_int_eq(enter(&guest, id), 0);
    finish_all(); /* loads */
    ck_assert_int_eq(guest.granted, 1);
    room_set(&room, position, memory);
    (void)session_save(sessions, &guest.hold, &room.state);
    finish_all();
    session_release(sessions, &guest.hold, &room.state, NULL);
}

/* The session stands at `position` from now on, and can go back as many steps as are laid. */
static void lay(struct session_hold *hold, uint64_t position, uint64_t steps)
{
    struct trail trail;
    union room room;

    trail_init(&trail, 5, STATE);
    for (uint64_t p = position - steps; p <= position; p++) {
        room_set(&room, p, p);
        trail_push(&trail, &room.state);
    }
    session_lay_trail(hold, &trail);
    trail_free(&trail);
}

/* A commit with a trail of three steps. */
static void walk(const char *id, uint64_t position)
{
    struct guest guest;
    union room room;

    ck_assert_int_eq(enter(&guest, id), 0);
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

    ck_assert_int_eq(enter(&guest, id), 0);
    finish_all();
    n = steps_back(&guest);
    session_release(sessions, &guest.hold, NULL, NULL);
    return n;
}

static double bytes_now(void)
{
    return fake_metric(&world, "rnnd_session_state_bytes");
}

static bool is_resident(const char *id)
{
    struct session_view view;

    ck_assert_int_eq(session_view(sessions, id, "", &view), 0);
    return view.resident;
}

static void assert_memory(const char *id, uint64_t memory)
{
    struct guest guest;

    ck_assert_int_eq(enter(&guest, id), 0);
    finish_all();
    ck_assert_int_eq(guest.granted, 1);
    ck_assert_uint_eq(memory_of(session_state(&guest.hold)), memory);
    session_release(sessions, &guest.hold, NULL, NULL);
}

static void setup(void)
{
    fake_world_init(&world, 1);
    world.server.store = &the_store;
    world.config.durability = STORE_PROCESS;
    world.config.session_memory_bytes = 1 << 20;
    n_tasks = 0;
    last_row = 0;
    n_turns = 0;
    memset(disk, 0, sizeof(disk));
    model = fake_model(5);
    ck_assert_int_eq(sessions_new(&sessions, &world.shards[0], NULL), 0);
    world.shards[0].sessions = sessions;
}

static void teardown(void)
{
    fake_fail_at = 0;
    finish_all();
    ck_assert_uint_eq(sessions_saving(sessions), 0);
    sessions_free(sessions);
    ck_assert_uint_eq(fake_model_refs(model), 1);
    rnn_model_unref(model);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 0);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions_stored"), 0);
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_state_bytes"), 0);
    ck_assert_uint_eq(atomic_load(&world.server.n_sessions), 0);
    fake_world_deinit(&world);
}

#define ASSERT_REPLY(result, reply) ck_assert_int_eq((result), SESSION_FAIL(reply))

/* ---- Saving ---- */

START_TEST(what_is_waited_for_is_on_disk_when_it_is_told)
{
    struct guest guest;
    union room room;

    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "t"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
        ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
    ck_assert(!session_save_point(sessions, &guest.hold, "p"));
    ck_assert_int_eq(session_snapshot(sessions, &guest.hold, "p", false), 0);
    session_release(sessions, &guest.hold, NULL, NULL);
    world.config.session_memory_bytes = 1;
    (void)finish(RNN_EIO);
    ck_assert(is_resident("a"));
    commit("a", 3, 33);
    ck_assert_int_eq(enter(&guest, "a"), 0);
    ck_assert_ptr_nonnull(session_point(&guest.hold, "p"));
    session_release(sessions, &guest.hold, NULL, NULL);
}
END_TEST

/* ---- Where the last stream began ---- */

/* As of the session in memory, which is loaded where it is not. */
static uint64_t begin_of(const char *id, uint64_t stream)
{
    struct guest guest;
    uint64_t begin;

    ck_assert_int_eq(enter(&guest, id), 0);
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

    ck_assert_int_eq(enter(&guest, id), 0);
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
    for (int stored = 0; stored < 2; stored++) {
        world.server.store = stored ? &the_store : NULL;
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
        world.config.session_memory_bytes = (uint64_t)bytes_now() - 5 * STATE;
        walk("b", 9); /* its own is the newest, and goes as well */
        for (char id[] = "a"; id[0] < 'd'; id[0]++) {
            ck_assert(is_resident(id));
            ck_assert_uint_eq(look_back(id), 0);
        }
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
        ck_assert_int_eq(enter(&guests[i], "a"), 0);
        ck_assert_int_eq(guests[i].granted, 0);
    }
    ck_assert_uint_eq(n_tasks, 1); /* one load for all */
    n_turns = 0;
    (void)finish(0);
    for (int i = 0; i < 3; i++) {
        (void)fake_run_messages();
        ck_assert_int_eq(guests[i].granted, 1);
        ck_assert_uint_eq(guests[i].turn, (unsigned)i + 1);
        ck_assert_uint_eq(memory_of(session_state(&guests[i].hold)), 77);
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
        ck_assert_int_eq(enter(&one, "a"), 0);
        ck_assert_int_eq(enter(&two, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "w"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
    session_release(sessions, &guest.hold, NULL, NULL);
    finish_all();
    ck_assert_int_eq(guest.granted, 0);
    ck_assert(!is_resident("a")); /* nobody wanted it any more */
}
END_TEST

/* ---- Ends in the middle ---- */

START_TEST(deleted_while_it_is_loaded)
{
    struct guest guest;

    world.config.session_memory_bytes = 1;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
    ck_assert_int_eq(enter(&guest, "a"), 0);
    room_set(&room, 2, 22);
    ck_assert(session_save(sessions, &guest.hold, &room.state));
    ck_assert_int_eq(session_delete(sessions, "a", ""), 0);
    ck_assert_int_eq(guest.cancelled, 1);
    ck_assert_int_eq(guest.saved, 0);
    finish_all();
    ck_assert_int_eq(guest.saved, 1);
    session_release(sessions, &guest.hold, &room.state, NULL);
    ASSERT_REPLY(enter(&guest, "a"), REPLY_NO_SESSION);
}
END_TEST

START_TEST(deleted_while_nobody_waits_for_its_save)
{
    struct guest guest;
    union room room;

    world.config.durability = STORE_NONE;
    make("a", 0);
    ck_assert_int_eq(enter(&guest, "a"), 0);
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
        ck_assert_int_eq(enter(&guest, "a"), 0);
        room_set(&room, 2, 22);
        (void)session_save(sessions, &guest.hold, &room.state);
        session_release(sessions, &guest.hold, &room.state, NULL);
        fake_advance_ms(&world, 11000);
        (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
        ck_assert_int_eq(finish(0), STORE_COMMIT);
        ck_assert_int_eq(finish(0), STORE_REMOVE);
        ck_assert(!disk[last_row].there);
        ck_assert(enter(&guest, "a") != 0);
    }
}
END_TEST

START_TEST(one_that_is_held_does_not_expire)
{
    struct guest guest;
    union room room;

    make("a", 10);
    ck_assert_int_eq(enter(&guest, "a"), 0);
    room_set(&room, 2, 22);
    ck_assert(session_save(sessions, &guest.hold, &room.state));
    fake_advance_ms(&world, 20000);
    (void)sessions_expire(sessions, world.shards[0].now_unix_ms);
    finish_all();
    session_release(sessions, &guest.hold, &room.state, NULL);
    assert_memory("a", 22);
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
    ASSERT_REPLY(enter(&guest, "late"), REPLY_NO_SESSION);
    ASSERT_REPLY(enter(&guest, "orphan"), REPLY_SESSION_ORPHANED);
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

/* ---- The storm ---- */

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
        if (enter(&visitor->guest, id) == 0) {
            visitor->in = true;
            visitor->life = known[visitor->name].life;
            room_set(&visitor->room, 0, 0);
            visitor->waits = session_save_new(sessions, &visitor->guest.hold);
        }
        return;
    }
    rc = enter(&visitor->guest, id);
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
        session->memory = memory_of(&visitor->room.state);
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
                          memory_of(state) == known[visitor->name].memory,
                      "s%zu has %llx and must have %llx", visitor->name,
                      (unsigned long long)memory_of(state),
                      (unsigned long long)known[visitor->name].memory);
        initial = session_initial(&guest->hold, &name);
        ck_assert(known[visitor->name].life != visitor->life ||
                  (initial != NULL ? memory_of(initial) : 0) == known[visitor->name].initial);
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
    Suite *suite = suite_create("session_store");
    TCase *tcase = tcase_create("session_store");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_is_waited_for_is_on_disk_when_it_is_told);
    tcase_add_test(tcase, with_durability_none_nobody_waits);
    tcase_add_test(tcase, what_does_not_change_is_not_written);
    tcase_add_test(tcase, a_transient_session_is_never_written);
    tcase_add_test(tcase, writes_keep_their_order);
    tcase_add_test(tcase, a_failed_save_changes_nothing);
    tcase_add_test(tcase, where_a_stream_began_is_written_with_what_it_commits);
    tcase_add_test(tcase, it_leaves_memory_and_comes_back_with_its_session);
    tcase_add_test(tcase, what_the_disk_lacks_does_not_leave_memory);
    tcase_add_test(tcase, without_memory_the_save_is_refused);
    tcase_add_test(tcase, what_was_not_even_sent_does_not_leave_memory);
    tcase_add_test(tcase, a_snapshot_that_the_disk_lacks_does_not_leave_memory);
    tcase_add_test(tcase, those_that_were_used_longest_ago_leave_first);
    tcase_add_test(tcase, trails_are_given_up_before_any_session_leaves);
    tcase_add_test(tcase, who_holds_a_session_keeps_its_trail);
    tcase_add_test(tcase, who_holds_a_session_keeps_it_in_memory);
    tcase_add_test(tcase, the_line_waits_for_the_load_in_order);
    tcase_add_test(tcase, a_load_that_fails_says_why_and_may_be_tried_again);
    tcase_add_test(tcase, what_comes_back_without_a_window_is_damaged);
    tcase_add_test(tcase, who_leaves_the_line_of_a_load_is_not_granted);
    tcase_add_test(tcase, deleted_while_it_is_loaded);
    tcase_add_test(tcase, deleted_while_it_is_saved);
    tcase_add_test(tcase, deleted_while_nobody_waits_for_its_save);
    tcase_add_test(tcase, expired_while_it_is_saved);
    tcase_add_test(tcase, one_that_is_held_does_not_expire);
    tcase_add_test(tcase, what_was_there_is_there_again);
    tcase_add_test(tcase, what_is_restored_is_listed_in_order);
    tcase_add_test(tcase, uses_reach_the_disk_now_and_then);
    tcase_add_loop_test(tcase, no_memory_of_another_in_a_storm, STORE_NONE, STORE_POWER + 1);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
