/* See session_world.h. */
#include "session_world.h"

#include <check.h>
#include <string.h>

struct fake_world world;
struct sessions *sessions;
struct rnn_model *model;

/* ---- States ---- */

void room_set(union room *room, uint64_t position, uint64_t memory)
{
    memset(room, 0, sizeof(*room));
    room->state.position = position;
    memcpy(room->state.memory, &memory, sizeof(memory));
}

/* ---- Guests ---- */

unsigned n_grants;

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

static void on_superseded(struct session_hold *hold)
{
    struct guest *guest = (struct guest *)hold;

    guest->superseded++;
    if (guest->lets_go)
        session_release(sessions, hold, NULL, NULL);
}

static void on_saved(struct session_hold *hold, session_result result)
{
    struct guest *guest = (struct guest *)hold;

    guest->saved++;
    guest->result = result;
}

session_result enter(struct guest *guest, const char *id, const char *key, bool queue)
{
    session_result rc;
    bool granted;

    *guest = (struct guest){.hold = {.granted = on_granted,
                                     .refused = on_refused,
                                     .cancelled = on_cancelled,
                                     .saved = on_saved}};
    rc = session_acquire(sessions, id, key, queue, &guest->hold, &granted);
    guest->granted += granted;
    return rc;
}

session_result enter_stream(struct guest *guest, uint64_t stream, bool resumes, bool queue)
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

/* ---- Sessions ---- */

session_result create(const char *id, const char *key, int64_t ttl_s, struct session_view *view)
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

/* ---- The world ---- */

static void setup_shards(unsigned n_shards)
{
    fake_world_init(&world, n_shards);
    n_grants = 0;
    model = fake_model(5);
    ck_assert_int_eq(sessions_new(&sessions, &world.shards[0], NULL), 0);
}

void session_world_setup(void)
{
    setup_shards(1);
}

void session_world_setup_three(void)
{
    setup_shards(3);
}

void session_world_teardown(void)
{
    sessions_free(sessions);
    ck_assert_uint_eq(fake_model_refs(model), 1);
    rnn_model_unref(model);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions"), 0);
    ck_assert_double_eq(fake_metric(&world, "rnnd_sessions_stored"), 0);
    ck_assert_double_eq(fake_metric(&world, "rnnd_session_state_bytes"), 0);
    ck_assert_uint_eq(atomic_load(&world.server.n_sessions), 0);
    fake_world_deinit(&world);
}
