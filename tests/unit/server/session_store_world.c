/* See session_store_world.h. */
#include "session_store_world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/trail.h"

enum { TASKS_MAX = 4096 };

/* ---- The fake store ---- */

struct store {
    int nothing;
};

static struct store the_store;
static struct store_task *tasks[TASKS_MAX];
size_t n_tasks;
int64_t last_row;
struct stored disk[ROWS_MAX];

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
    disk[row].memory = fake_memory(task->state);
    disk[row].stream = task->begin != NULL ? task->stream : 0;
    disk[row].begin = task->begin != NULL ? task->begin->position : 0;
    if (task->kind == STORE_CREATE)
        disk[row].initial = task->initial.state != NULL ? fake_memory(task->initial.state) : 0;
    return 0;
}

enum store_kind finish(int rc)
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

void finish_all(void)
{
    do {
        while (n_tasks > 0)
            (void)finish(0);
    } while (fake_run_messages() > 0);
}

/* ---- Sessions ---- */

session_result create_from(const char *id, int64_t ttl_s, uint64_t initial)
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

static void save_new(const char *id)
{
    struct guest guest;

    ck_assert_int_eq(enter(&guest, id, "", true), 0);
    (void)session_save_new(sessions, &guest.hold);
    finish_all();
    session_release(sessions, &guest.hold, NULL, NULL);
}

void make(const char *id, int64_t ttl_s)
{
    ck_assert_int_eq(create_from(id, ttl_s, 0), 0);
    save_new(id);
}

void make_with_window(const char *id, size_t window)
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

void commit(const char *id, uint64_t position, uint64_t memory)
{
    struct guest guest;
    union room room;

    ck_assert_int_eq(enter(&guest, id, "", true), 0);
    finish_all(); /* loads */
    ck_assert_int_eq(guest.granted, 1);
    room_set(&room, position, memory);
    (void)session_save(sessions, &guest.hold, &room.state);
    finish_all();
    session_release(sessions, &guest.hold, &room.state, NULL);
}

void lay(struct session_hold *hold, uint64_t position, uint64_t steps)
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

bool is_resident(const char *id)
{
    struct session_view view;

    ck_assert_int_eq(session_view(sessions, id, "", &view), 0);
    return view.resident;
}

void assert_memory(const char *id, uint64_t memory)
{
    struct guest guest;

    ck_assert_int_eq(enter(&guest, id, "", true), 0);
    finish_all();
    ck_assert_int_eq(guest.granted, 1);
    ck_assert_uint_eq(fake_memory(session_state(&guest.hold)), memory);
    session_release(sessions, &guest.hold, NULL, NULL);
}

/* ---- The world ---- */

void session_store_world_setup(void)
{
    session_world_setup();
    world.shards[0].sessions = sessions;
    world.server.store = &the_store;
    world.config.durability = STORE_PROCESS;
    world.config.session_memory_bytes = 1 << 20;
    n_tasks = 0;
    last_row = 0;
    memset(disk, 0, sizeof(disk));
}

void session_store_world_teardown(void)
{
    fake_fail_at = 0;
    finish_all();
    ck_assert_uint_eq(sessions_saving(sessions), 0);
    session_world_teardown();
}
