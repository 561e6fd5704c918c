/* Sessions to disk and back: saving before something becomes true, loading on the next request, and
 * which sessions stay in memory.
 *
 * Every change of a session goes to the store as a task with a copy of what is to be written; the
 * order of sending is the order of writing.  Where the configured durability asks for it, the one
 * who holds the session hears of the end, and only then lets the change become true.  So what was
 * acknowledged is on disk, and what the disk did not take has not happened.
 *
 * A session may leave memory when nobody uses it and the store has its state.  Such sessions stand
 * in a list by last use; what is over the budget leaves from its old end, once the trails of all
 * sessions at rest have been given up (session_points.c), which goes without a store, too. */
#include "server/session_inner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "server/log.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/session_change.h"
#include "server/store.h"
#include "server/trail.h"

static struct store *store_of(const struct sessions *sessions)
{
    return sessions->shard->server->store;
}

static bool is_waited_for(const struct sessions *sessions)
{
    return shard_config(sessions->shard)->durability != STORE_NONE;
}

size_t sessions_saving(const struct sessions *sessions)
{
    return sessions->n_tasks;
}

/* ---- Tasks ---- */

static void facts_of(const struct session *session, struct store_facts *facts)
{
    *facts = (struct store_facts){
        .row = session->row,
        .seed = session->seed,
        .position = session_position(session),
        .created_ms = session->created_ms,
        .used_ms = session->used_ms,
        .ttl_ms = (int64_t)session->ttl_s * 1000,
        .state_bytes = session->state_bytes,
    };
    if (session->model != NULL)
        memcpy(facts->fingerprint, rnn_model_info(session->model)->fingerprint,
               sizeof(facts->fingerprint));
    (void)strncpy(facts->owner, session->kind->owner, sizeof(facts->owner) - 1);
    (void)strncpy(facts->id, session->id, sizeof(facts->id) - 1);
    (void)strncpy(facts->model, session->kind->model_name, sizeof(facts->model) - 1);
}

/* The store has done with a task of this session. */
static struct session *take_back(struct sessions *sessions, const struct store_task *task)
{
    struct session *session = task->user[0];

    session->n_tasks--;
    sessions->n_tasks--;
    return session;
}

static session_result result_of(const struct store_task *task)
{
    switch (task->rc) {
    case 0:
        return 0;
    case RNN_ENOENT:
        return SESSION_FAIL(REPLY_NO_SESSION);
    case RNN_ENOMEM:
        return SESSION_FAIL(REPLY_NO_MEMORY);
    default:
        return SESSION_FAIL(REPLY_STORAGE);
    }
}

static bool is_of_state(enum store_kind kind)
{
    return kind == STORE_COMMIT || kind == STORE_CREATE;
}

static void on_saved(struct shard *shard, struct message *message)
{
    struct store_task *task = (struct store_task *)message; /* its first member */
    struct session *session = take_back(shard->sessions, task);
    struct session_hold *hold = task->user[1];
    session_result result = result_of(task);

    if (is_of_state(task->kind))
        session->unsaved = task->rc < 0 || session->unsent;
    else if (task->rc < 0 && hold == NULL)
        session->pinned = true; /* it has become true in memory nevertheless */
    if (task->rc < 0)
        metrics_count(shard->metrics, M_SESSION_UNSAVED, 1);
    store_task_free(task);
    if (hold != NULL)
        hold->saved(hold, result);
    else if (session->deleted)
        session_free(session);
    else if (!session_in_use(session))
        session_rest(shard->sessions, session);
}

/* Where its resets go is written with the session.  False without memory. */
static bool add_initial(const struct session *session, struct store_task *task)
{
    const struct rnn_state *state;
    const char *name;

    session_initial_get(session, &name, &state);
    if (name != NULL)
        (void)strncpy(task->initial.name, name, sizeof(task->initial.name) - 1);
    if (state == NULL)
        return true;
    task->initial.state = malloc(session->state_bytes);
    if (task->initial.state == NULL)
        return false;
    memcpy(task->initial.state, state, session->state_bytes);
    return true;
}

/* What is to be written; the store takes copies. */
struct change {
    enum store_kind kind;
    const struct rnn_state *state, *begin; /* or NULL */
    uint64_t stream;
    const char *point; /* or NULL */
};

static bool add_begin(const struct change *change, struct store_task *task)
{
    if (change->begin == NULL)
        return true;
    task->begin = malloc(task->facts.state_bytes);
    if (task->begin == NULL)
        return false;
    memcpy(task->begin, change->begin, task->facts.state_bytes);
    task->stream = change->stream;
    return true;
}

static struct store_task *task_of(const struct session *session, const struct store_facts *facts,
                                  const struct change *change)
{
    struct store_task *task = store_task_new(change->kind, facts, change->state);

    if (task == NULL ||
        (add_begin(change, task) && (change->kind != STORE_CREATE || add_initial(session, task))))
        return task;
    store_task_free(task);
    return NULL;
}

/* Sends a task about the session; `hold` (may be NULL) hears of its end.  False without memory. */
static bool send_task(struct sessions *sessions, struct session *session, struct session_hold *hold,
                      const struct change *change)
{
    struct store_facts facts;
    struct store_task *task;

    facts_of(session, &facts);
    if (change->state != NULL)
        facts.position = change->state->position;
    facts.used_ms = sessions->shard->now_unix_ms;
    task = task_of(session, &facts, change);
    if (task == NULL)
        return false;
    if (change->point != NULL)
        memcpy(task->point, change->point, strlen(change->point) + 1);
    task->home = sessions->shard;
    task->message.run = on_saved;
    task->user[0] = session;
    task->user[1] = hold;
    if (is_of_state(change->kind)) {
        session->unsent = false;
        session_touch(sessions, session);
    }
    session->n_tasks++;
    sessions->n_tasks++;
    store_send(store_of(sessions), task);
    return true;
}

/* Nobody waits; should it fail, the next start finds that its time has come. */
static void send_lonely(struct sessions *sessions, const struct store_facts *facts,
                        enum store_kind kind)
{
    struct store_task *task = store_task_new(kind, facts, NULL);

    if (task != NULL)
        store_send(store_of(sessions), task);
}

/* ---- Without a task that was not to be had ---- */

struct refusal {
    struct message message;
    struct session_hold *hold;
};

static void on_refusal(struct shard *shard, struct message *message)
{
    struct refusal *refusal = (struct refusal *)message; /* its first member */
    struct session_hold *hold = refusal->hold;

    (void)shard;
    free(refusal);
    hold->saved(hold, SESSION_FAIL(REPLY_NO_MEMORY));
}

/* Says later that there was no memory; where there is not even enough for that, the change is not
 * durable. */
static bool refuse(struct sessions *sessions, struct session_hold *hold)
{
    struct refusal *refusal = malloc(sizeof(*refusal));

    if (refusal == NULL)
        return false;
    *refusal = (struct refusal){.message = {.run = on_refusal}, .hold = hold};
    shard_post(sessions->shard, &refusal->message);
    return true;
}

static bool save(struct sessions *sessions, struct session_hold *hold, const struct change *change)
{
    struct session *session = hold->session;
    bool waits = is_waited_for(sessions);

    if (session->row == 0 || session->deleted)
        return false;
    if (send_task(sessions, session, waits ? hold : NULL, change))
        return waits;
    metrics_count(sessions->shard->metrics, M_SESSION_UNSAVED, 1);
    if (waits && refuse(sessions, hold))
        return true;
    if (is_of_state(change->kind))
        session->unsaved = session->unsent = true;
    else
        session->pinned = true;
    return false;
}

/* ---- Saving ---- */

bool session_save(struct sessions *sessions, struct session_hold *hold,
                  const struct rnn_state *commit)
{
    const struct session *session = hold->session;
    struct change change = {.kind = STORE_COMMIT, .state = commit};

    if (session->row == 0 ||
        (!session->unsaved && memcmp(session->state, commit, session->state_bytes) == 0))
        return false;
    change.begin = session_begin_after(session, hold, commit, &change.stream);
    return save(sessions, hold, &change);
}

bool session_save_new(struct sessions *sessions, struct session_hold *hold)
{
    return save(sessions, hold,
                &(struct change){.kind = STORE_CREATE, .state = hold->session->state});
}

bool session_save_point(struct sessions *sessions, struct session_hold *hold, const char *name)
{
    return save(
        sessions, hold,
        &(struct change){.kind = STORE_POINT, .state = hold->session->state, .point = name});
}

bool session_save_forget(struct sessions *sessions, struct session_hold *hold, const char *name)
{
    return save(sessions, hold, &(struct change){.kind = STORE_FORGET, .point = name});
}

session_result session_save_delete(struct sessions *sessions, const char *id, const char *key_name,
                                   struct session_hold *hold, bool *waits)
{
    struct session *session = NULL;
    session_result rc = session_find(sessions, id, key_name, &session);

    *waits = false;
    if (rc != 0 || session->row == 0)
        return rc;
    if (is_waited_for(sessions))
        *waits = send_task(sessions, session, hold, &(struct change){.kind = STORE_REMOVE});
    else
        send_lonely(sessions, &(struct store_facts){.row = session->row}, STORE_REMOVE);
    return !is_waited_for(sessions) || *waits ? 0 : SESSION_FAIL(REPLY_NO_MEMORY);
}

void session_store_enter(struct sessions *sessions, struct session *session)
{
    if (store_of(sessions) == NULL)
        return;
    session->row = store_row(store_of(sessions));
    session->unsaved = true; /* until session_save_new() is through */
}

void session_store_leave(struct sessions *sessions, struct session *session)
{
    if (session->row != 0)
        send_lonely(sessions, &(struct store_facts){.row = session->row}, STORE_REMOVE);
    session->row = 0;
}

/* The first use in each eighth of a life span is written: what the disk knows is at most so old. */
void session_store_touch(struct sessions *sessions, struct session *session)
{
    const int64_t part_ms = (int64_t)session->ttl_s * 1000 / 8;
    struct store_facts facts = {.row = session->row, .used_ms = sessions->shard->now_unix_ms};

    if (session->row == 0 || session->deleted ||
        session->used_ms / part_ms == facts.used_ms / part_ms)
        return;
    send_lonely(sessions, &facts, STORE_TOUCH);
}

/* ---- Changes of the model ---- */

static void on_moved(struct shard *shard, struct message *message)
{
    struct store_task *task = (struct store_task *)message; /* its first member */
    struct session *session = take_back(shard->sessions, task);
    struct sessions_change *change = task->user[1];
    int rc = task->rc;

    if (rc < 0 && rc != RNN_ENOENT)
        log_line(CONFIG_LOG_ERROR, "stored session stays with its old weights",
                 LOG_TEXT("session", session->id), LOG_TEXT("why", task->err.text));
    store_task_free(task);
    session_moved(shard->sessions, session, change, rc);
}

bool session_store_move(struct sessions *sessions, struct session *session,
                        struct sessions_change *change)
{
    const struct rnn_model_info *info = rnn_model_info(session->use->moving_to);
    struct store_facts facts;
    struct store_task *task;

    facts_of(session, &facts);
    task = store_task_new(STORE_MOVE, &facts, NULL);
    if (task == NULL)
        return false;
    memcpy(task->moved_from, facts.fingerprint, sizeof(task->moved_from));
    memcpy(task->facts.fingerprint, info->fingerprint, sizeof(task->facts.fingerprint));
    task->home = sessions->shard;
    task->message.run = on_moved;
    task->user[0] = session;
    task->user[1] = change;
    session->n_tasks++;
    sessions->n_tasks++;
    store_send(store_of(sessions), task);
    return true;
}

static void on_removed(struct shard *shard, struct message *message)
{
    struct store_task *task = (struct store_task *)message; /* its first member */

    shard->sessions->n_tasks--;
    if (task->user[1] != NULL)
        sessions_change_task_end(task->user[1]);
    store_task_free(task);
}

bool session_store_remove(struct sessions *sessions, struct session *session,
                          struct sessions_change *change)
{
    struct store_task *task =
        store_task_new(STORE_REMOVE, &(struct store_facts){.row = session->row}, NULL);

    if (task == NULL)
        return false;
    task->home = sessions->shard;
    task->message.run = on_removed;
    task->user[1] = change;
    sessions->n_tasks++;
    session->row = 0;
    store_send(store_of(sessions), task);
    return true;
}

/* ---- Leaving memory ---- */

uint64_t session_budget(const struct server *server)
{
    const struct config *config = atomic_load_explicit(&server->config, memory_order_acquire);

    return config->session_memory_bytes > 0 ? config->session_memory_bytes
                                            : server->machine.memory_bytes / 2;
}

/* What libc takes for a block: its size before it, in steps of 16. */
static size_t block_bytes(size_t size)
{
    return (size + sizeof(size_t) + 15) / 16 * 16;
}

size_t session_footprint(const struct rnn_model *model, size_t window)
{
    /* its id, and its place in the table */
    enum { MINTED_ID = 33, PLACE = sizeof(void *) };

    return block_bytes(rnn_state_bytes(model, window)) +
           block_bytes(offsetof(struct session, id) + MINTED_ID) + PLACE;
}

void session_wake(struct sessions *sessions, struct session *session)
{
    session_trail_wake(sessions, session);
    if (!session->linked)
        return;
    *(session->older != NULL ? &session->older->newer : &sessions->oldest) = session->newer;
    *(session->newer != NULL ? &session->newer->older : &sessions->newest) = session->older;
    session->older = session->newer = NULL;
    session->linked = false;
}

static void link_newest(struct sessions *sessions, struct session *session)
{
    session->older = sessions->newest;
    session->newer = NULL;
    *(sessions->newest != NULL ? &sessions->newest->newer : &sessions->oldest) = session;
    sessions->newest = session;
    session->linked = true;
}

static size_t budget_of(const struct sessions *sessions)
{
    const struct server *server = sessions->shard->server;

    return (size_t)(session_budget(server) / server->n_shards);
}

static void leave_memory(struct sessions *sessions, struct session *session)
{
    session_wake(sessions, session);
    session_count_out(sessions, session);
    session->away = session->state->position;
    session_points_free(session);
    explicit_bzero(session->state, session->state_bytes);
    free(session->state);
    session->state = NULL;
    metrics_gauge_add(sessions->shard->metrics, G_SESSIONS_STORED, 1);
    metrics_count(sessions->shard->metrics, M_SESSION_EVICTED, 1);
}

/* The store has all of it, and nobody uses it. */
static bool may_leave(const struct session *session)
{
    return session->state != NULL && session->row != 0 && !session->unsaved && !session->pinned &&
           session->n_tasks == 0;
}

/* Without a store there are only trails to give up. */
static void make_room(struct sessions *sessions)
{
    size_t budget = budget_of(sessions);

    while (sessions->resident_bytes > budget && session_trail_give_up(sessions))
        ;
    while (sessions->resident_bytes > budget && sessions->oldest != NULL)
        leave_memory(sessions, sessions->oldest);
}

void session_rest(struct sessions *sessions, struct session *session)
{
    session_wake(sessions, session);
    session_use_end(session);
    session_trail_rest(sessions, session);
    if (may_leave(session))
        link_newest(sessions, session);
    make_room(sessions);
}

/* ---- Coming back ---- */

/* Whether what stands behind the model's part is whole, in all of its states. */
static bool recalls(const struct session *session, const struct store_task *task)
{
    size_t bytes = session->state_bytes;
    bool whole = rnn_state_recalls(session->model, task->state, bytes);

    if (task->begin != NULL)
        whole &= rnn_state_recalls(session->model, task->begin, bytes);
    if (task->initial.state != NULL)
        whole &= rnn_state_recalls(session->model, task->initial.state, bytes);
    for (size_t i = 0; i < task->n_points; i++)
        whole &= rnn_state_recalls(session->model, task->points[i].state, bytes);
    return whole;
}

static bool install(struct sessions *sessions, struct session *session, struct store_task *task)
{
    const char *name = task->initial.name;

    name = name[0] != '\0' ? session_name_keep(sessions, name) : NULL;
    if ((task->initial.name[0] != '\0') != (name != NULL) ||
        !session_initial_set(session, name, task->initial.state))
        return false;
    task->initial.state = NULL;
    if (!session_points_restore(session, task->points, task->n_points)) {
        session_points_free(session);
        return false;
    }
    if (task->begin != NULL && session_begin_restore(session, task->stream, task->begin))
        task->begin = NULL;
    session->state = task->state;
    task->state = NULL;
    task->n_points = 0; /* the session has them */
    (void)session_points_count(session);
    session_count_in(sessions, session);
    metrics_gauge_add(sessions->shard->metrics, G_SESSIONS_STORED, -1);
    metrics_count(sessions->shard->metrics, M_SESSION_RESTORED, 1);
    return true;
}

static enum reply_error load_error(const struct store_task *task)
{
    switch (task->rc) {
    case RNN_EFORMAT:
    case RNN_ENOENT:
        return REPLY_SESSION_DAMAGED;
    case RNN_ESHAPE:
        return REPLY_SESSION_ORPHANED;
    case RNN_EIO:
        return REPLY_STORAGE;
    default:
        return REPLY_NO_MEMORY;
    }
}

static void on_loaded(struct shard *shard, struct message *message)
{
    struct store_task *task = (struct store_task *)message; /* its first member */
    struct sessions *sessions = shard->sessions;
    struct session *session = take_back(sessions, task);
    enum reply_error error;

    session->use->loading = false;
    if (task->rc == 0 && !session->deleted && !recalls(session, task))
        task->rc =
            rnn_fail(&task->err, RNN_EFORMAT, "it remembers what are no tokens of its model");
    error = load_error(task);
    if (session->deleted) {
        session_free(session);
    } else if (task->rc == 0 && install(sessions, session, task)) {
        session_grant_next(sessions, session);
    } else {
        if (task->rc < 0)
            log_line(CONFIG_LOG_ERROR, "stored session cannot be read",
                     LOG_TEXT("session", session->id), LOG_TEXT("why", task->err.text));
        metrics_count(shard->metrics, M_SESSION_DAMAGED, 1);
        session_refuse_line(session, error);
        if (!session_in_use(session))
            session_let_go(sessions, session);
    }
    store_task_free(task);
}

void session_load(struct sessions *sessions, struct session *session)
{
    struct store_facts facts;
    struct store_task *task;

    facts_of(session, &facts);
    task = store_task_new(STORE_LOAD, &facts, NULL);
    if (task == NULL) {
        session_refuse_line(session, REPLY_NO_MEMORY);
        return;
    }
    session->use->loading = true;
    task->home = sessions->shard;
    task->message.run = on_loaded;
    task->user[0] = session;
    session->n_tasks++;
    sessions->n_tasks++;
    store_send(store_of(sessions), task);
}

/* ---- At start ---- */

/* Times that a session can have, so that sums of them are times. */
static bool are_times(const struct store_facts *facts)
{
    return facts->ttl_ms >= 1000 && facts->ttl_ms / 1000 <= INT32_MAX && facts->used_ms >= 0 &&
           facts->used_ms <= INT64_MAX / 2;
}

void sessions_restore(struct sessions *sessions, const struct store_facts *facts,
                      struct rnn_model *model, int64_t now_unix_ms)
{
    struct session *session = NULL;
    bool plausible = are_times(facts);

    if (plausible && facts->used_ms + facts->ttl_ms <= now_unix_ms) {
        metrics_count(sessions->shard->metrics, M_SESSION_EXPIRED, 1);
        send_lonely(sessions, facts, STORE_REMOVE);
        return;
    }
    if (plausible)
        session = session_restore(sessions, facts, model);
    if (session == NULL)
        log_line(CONFIG_LOG_ERROR, "stored session left aside", LOG_TEXT("session", facts->id),
                 LOG_TEXT("why", plausible ? "there is no memory for it, or one of its name"
                                           : "its times make no sense"));
    else
        metrics_gauge_add(sessions->shard->metrics, G_SESSIONS_STORED, 1);
}

void sessions_restore_end(struct sessions *sessions)
{
    session_order_build(sessions);
}
