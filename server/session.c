/* The sessions of one shard: making, looking, ending, expiry.
 *
 * A session is found by owner and id: two keys may each have a session of one name, and neither can
 * learn of the other's.  Three structures hold it: the hash table and the order of
 * session_table.c, and a timing wheel by due time.  A use does not touch the wheel, which asks for
 * the time when the old one has come.  Whoever finds a session buries it by the exact time; the
 * wheel, whose ticks are seconds, never early and up to a tick later.  The line in front of a
 * session is in session_line.c.
 *
 * An expired session stays in table and wheel as a tombstone, without state and model, so that it
 * can be answered with 410 for a while; tombstones are bounded in number.
 *
 * Memory of a state is overwritten before it is freed.  Own shard's thread only, but for
 * session_shard() and session_id_valid(). */
#include "server/session_inner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "server/metrics.h"
#include "server/models.h"
#include "server/server.h"
#include "server/store.h"

#define TOMBSTONES_SPARE 1024u
#define EXPIRY_WORK      256u /* of the wheel, between two turns */

/* ---- Ids ---- */

unsigned session_shard(const struct server *server, const char *id)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: the same on every shard and in every run */

    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 0x100000001b3u;
    hash ^= hash >> 32;
    return (unsigned)((hash & 0xffffffffu) % server->n_shards);
}

bool session_id_valid(const char *id)
{
    size_t len = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    return len > 0 && len <= SESSION_ID_MAX && id[len] == '\0';
}

const char *session_fault(enum reply_error error)
{
    switch (error) {
    case REPLY_SESSION_ORPHANED:
        return "was made with a model, or weights, that are not served";
    case REPLY_SESSION_DAMAGED:
        return "is damaged on disk: its state cannot be read";
    case REPLY_STORAGE:
        return "could not be stored: nothing has changed";
    case REPLY_NO_MEMORY:
        return "finds no memory";
    default:
        return "could not be served";
    }
}

/* ---- One session ---- */

static struct models *models_of(const struct sessions *sessions)
{
    return sessions->shard->server->models;
}

/* Whole seconds, at most what a tick holds. */
static uint32_t tick_of(int64_t s)
{
    return s < 0 ? 0 : s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

static struct session *session_of(const struct wheel_entry *due)
{
    return (struct session *)((uintptr_t)due - offsetof(struct session, due));
}

/* The first second in which its time has come. */
static uint32_t due_tick(const struct wheel_entry *due)
{
    return tick_of((session_expires_ms(session_of(due)) + 999) / 1000);
}

static void state_free(struct session *session)
{
    session_points_free(session);
    if (session->state != NULL)
        explicit_bzero(session->state, session->state_bytes);
    free(session->state);
    rnn_model_unref(session->model);
    session->state = NULL;
    session->model = NULL;
}

bool session_use_begin(struct sessions *sessions, struct session *session)
{
    session_wake(sessions, session);
    if (session->use != NULL)
        return true;
    session->use = calloc(1, sizeof(*session->use));
    if (session->use == NULL)
        return false;
    session->use->last = &session->use->first;
    return true;
}

void session_use_end(struct session *session)
{
    struct session_use *use = session_use(session);

    if (use == NULL)
        return;
    rnn_model_unref(use->next_model);
    rnn_model_unref(use->moving_to);
    free(use);
    session->use = NULL;
}

void session_free(struct session *session)
{
    const struct session_use *use = session_use(session);

    if (session->n_tasks > 0 || (use != NULL && (use->holder != NULL || use->granting)))
        return;
    session_use_end(session);
    state_free(session);
    free(session);
}

/* ---- Counting ---- */

size_t session_bytes(const struct session *session)
{
    return session->state != NULL ? session->state_bytes + session_points_counted(session) : 0;
}

static void count_bytes(struct sessions *sessions, int64_t bytes)
{
    metrics_gauge_add(sessions->shard->metrics, G_SESSION_BYTES, bytes);
    sessions->resident_bytes += (size_t)bytes; /* modulo 2^64, and never below 0 in all */
}

void session_count_in(struct sessions *sessions, const struct session *session)
{
    count_bytes(sessions, (int64_t)session_bytes(session));
}

void session_count_out(struct sessions *sessions, const struct session *session)
{
    count_bytes(sessions, -(int64_t)session_bytes(session));
}

void session_recount(struct sessions *sessions, struct session *session)
{
    size_t before = session_points_counted(session);

    if (!session->deleted)
        count_bytes(sessions, (int64_t)session_points_count(session) - (int64_t)before);
}

static void uncount(struct sessions *sessions, struct session *session)
{
    struct metrics *metrics = sessions->shard->metrics;

    atomic_fetch_sub_explicit(&sessions->shard->server->n_sessions, 1, memory_order_relaxed);
    metrics_gauge_add(metrics, G_SESSIONS, -1);
    if (session->state == NULL)
        metrics_gauge_add(metrics, G_SESSIONS_STORED, -1);
    session_count_out(sessions, session);
    if (session->model != NULL)
        models_leave(models_of(sessions), session->model);
}

static void tombstone_remove(struct sessions *sessions, struct session *session)
{
    session_table_remove(sessions, session);
    wheel_remove(&session->due);
    sessions->n_tombstones--;
    session->deleted = true;
    session_free(session);
}

/* Takes a live session out of everything, and refuses its line. */
static void session_remove(struct sessions *sessions, struct session *session)
{
    session_wake(sessions, session);
    session_table_remove(sessions, session);
    session_order_remove(sessions, session);
    wheel_remove(&session->due);
    uncount(sessions, session);
    session->deleted = true;
    session_refuse_line(session, REPLY_NO_SESSION);
}

static size_t tombstones_max(const struct sessions *sessions)
{
    const struct shard *shard = sessions->shard;

    return (size_t)shard_config(shard)->sessions_max / shard->server->n_shards + TOMBSTONES_SPARE;
}

void session_bury(struct sessions *sessions, struct session *session)
{
    uint32_t gone_s = (uint32_t)shard_config(sessions->shard)->session_gone_s;

    session_wake(sessions, session);
    session_store_leave(sessions, session);
    session_order_remove(sessions, session);
    uncount(sessions, session);
    state_free(session);
    session->tombstone = true;
    sessions->n_tombstones++;
    session->ttl_s += gone_s;
    if (gone_s == 0 || sessions->n_tombstones > tombstones_max(sessions))
        tombstone_remove(sessions, session);
    else
        wheel_move(&sessions->wheel, &session->due);
}

/* Nobody uses it and its time has come. */
static void expire(struct sessions *sessions, struct session *session)
{
    metrics_count(sessions->shard->metrics, M_SESSION_EXPIRED, 1);
    session_use_end(session);
    session_bury(sessions, session);
}

session_result session_find(struct sessions *sessions, const char *id, const char *owner,
                            struct session **out)
{
    int64_t now_ms = sessions->shard->now_unix_ms;
    struct session *session = session_table_find(sessions, owner, id);

    if (session == NULL)
        return SESSION_FAIL(REPLY_NO_SESSION);
    if (!session->tombstone && session_expires_ms(session) <= now_ms && !session_in_use(session)) {
        expire(sessions, session);
        session = session_table_find(sessions, owner, id);
        if (session == NULL)
            return SESSION_FAIL(REPLY_NO_SESSION);
    }
    if (session->tombstone)
        return SESSION_FAIL(session_expires_ms(session) > now_ms ? REPLY_SESSION_EXPIRED
                                                                 : REPLY_NO_SESSION);
    *out = session;
    return 0;
}

void session_touch(struct sessions *sessions, struct session *session)
{
    bool nearer = sessions->shard->now_unix_ms < session->used_ms; /* the clock has been set back */

    session->used_ms = sessions->shard->now_unix_ms;
    if (nearer && !session->deleted)
        wheel_move(&sessions->wheel, &session->due);
}

void session_view_fill(const struct session *session, struct session_view *view)
{
    const char *fingerprint = session_fingerprint(session);
    const struct session_use *use = session_use(session);

    *view = (struct session_view){
        .position = session_position(session),
        .seed = session->seed,
        .created_unix_ms = session->created_ms,
        .used_unix_ms = session->used_ms,
        .expires_unix_ms = session_expires_ms(session),
        .ttl_s = session->ttl_s,
        .bytes = session_bytes(session),
        .resident = session->state != NULL,
        .usable = session->model != NULL,
        .busy = use != NULL && use->holder != NULL,
        .waiting = use != NULL ? use->n_waiting : 0,
    };
    if (session->model != NULL)
        (void)rnn_state_window(session->model, session->state_bytes, &view->window);
    memcpy(view->id, session->id, strlen(session->id) + 1);
    (void)strncpy(view->model, session->kind->model_name, sizeof(view->model) - 1);
    memcpy(view->fingerprint, fingerprint, strlen(fingerprint) + 1);
}

/* ---- Making ---- */

static bool id_mint(const struct sessions *sessions, const char *owner, char id[SESSION_ID_MAX + 1])
{
    const struct shard *shard = sessions->shard;
    unsigned char bytes[16];

    do {
        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
            return false;
        for (size_t i = 0; i < sizeof(bytes); i++) {
            id[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
            id[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
        }
        id[2 * sizeof(bytes)] = '\0';
    } while (session_shard(shard->server, id) != shard->index ||
             session_table_find(sessions, owner, id) != NULL);
    return true;
}

static bool count_one_more(struct sessions *sessions)
{
    struct server *server = sessions->shard->server;
    size_t max = (size_t)shard_config(sessions->shard)->sessions_max;

    if (atomic_fetch_add_explicit(&server->n_sessions, 1, memory_order_relaxed) < max)
        return true;
    atomic_fetch_sub_explicit(&server->n_sessions, 1, memory_order_relaxed);
    return false;
}

static uint32_t ttl_s(const struct sessions *sessions, int64_t asked_s)
{
    const struct config *config = shard_config(sessions->shard);
    int64_t s = asked_s > 0 ? asked_s : config->session_ttl_s;

    return (uint32_t)(s < config->session_ttl_max_s ? s : config->session_ttl_max_s);
}

/* Where its resets go.  False without memory. */
static bool begin_with(struct sessions *sessions, struct session *session,
                       const struct session_spec *spec)
{
    const char *name =
        spec->initial_name != NULL ? session_name_keep(sessions, spec->initial_name) : NULL;
    struct rnn_state *state = spec->initial != NULL ? malloc(session->state_bytes) : NULL;

    if ((spec->initial_name != NULL) != (name != NULL) ||
        (spec->initial != NULL) != (state != NULL) || !session_initial_set(session, name, state)) {
        free(state);
        return false;
    }
    if (state != NULL)
        memcpy(state, spec->initial, session->state_bytes);
    return true;
}

/* NULL without memory. */
static struct session *blank(const char *id, size_t state_bytes)
{
    size_t id_size = strlen(id) + 1;
    struct session *session =
        state_bytes <= UINT32_MAX ? calloc(1, offsetof(struct session, id) + id_size) : NULL;

    if (session == NULL)
        return NULL;
    memcpy(session->id, id, id_size);
    session->state_bytes = (uint32_t)state_bytes;
    return session;
}

/* A session that stands in no table yet. */
static struct session *session_new(struct sessions *sessions, const struct session_spec *spec,
                                   const char *id)
{
    size_t plain = rnn_model_info(spec->model)->state_bytes;
    struct session *session = blank(id, spec->state_bytes > 0 ? spec->state_bytes : plain);

    if (session == NULL)
        return NULL;
    session->model = rnn_model_ref(spec->model);
    session->kind = session_kind_keep(sessions, spec->key_name, spec->model_name, NULL);
    session->state = malloc(session->state_bytes);
    if (session->kind == NULL || session->state == NULL || !begin_with(sessions, session, spec)) {
        state_free(session);
        free(session);
        return NULL;
    }
    if (spec->state != NULL) {
        memcpy(session->state, spec->state, session->state_bytes);
    } else {
        rnn_state_init(spec->model, session->state, spec->seed);
        rnn_state_forget(spec->model, session->state, session->state_bytes);
    }
    (void)session_points_count(session);
    session->seed = spec->state != NULL && spec->seed == 0 ? spec->state->rng.seed : spec->seed;
    session->ttl_s = ttl_s(sessions, spec->ttl_s);
    session->created_ms = session->used_ms = sessions->shard->now_unix_ms;
    return session;
}

/* Into table and wheel. */
static void enter(struct sessions *sessions, struct session *session)
{
    session_table_insert(sessions, session);
    wheel_insert(&sessions->wheel, &session->due);
    metrics_gauge_add(sessions->shard->metrics, G_SESSIONS, 1);
}

session_result session_create(struct sessions *sessions, const struct session_spec *spec,
                              struct session_view *view)
{
    struct metrics *metrics = sessions->shard->metrics;
    char minted[SESSION_ID_MAX + 1];
    const char *id = spec->id;
    struct session *session, *old;
    bool known;

    if (id == NULL || id[0] == '\0') {
        if (!id_mint(sessions, spec->key_name, minted))
            return SESSION_FAIL(REPLY_INTERNAL);
        id = minted;
    }
    if (session_find(sessions, id, spec->key_name, &old) == 0) {
        metrics_count(metrics, M_SESSION_CONFLICT, 1);
        return SESSION_FAIL(REPLY_SESSION_EXISTS);
    }
    if (!count_one_more(sessions))
        return SESSION_FAIL(REPLY_SESSION_LIMIT);
    known = models_enter(models_of(sessions), spec->model);
    session = known ? session_new(sessions, spec, id) : NULL;
    if (session == NULL) {
        if (known)
            models_leave(models_of(sessions), spec->model);
        atomic_fetch_sub_explicit(&sessions->shard->server->n_sessions, 1, memory_order_relaxed);
        return SESSION_FAIL(known ? REPLY_NO_MEMORY : REPLY_SESSION_ORPHANED);
    }
    old = session_table_find(sessions, spec->key_name, id);
    if (old != NULL)
        tombstone_remove(sessions, old);
    enter(sessions, session);
    session_order_insert(sessions, session);
    metrics_count(metrics, M_SESSION_CREATED, 1);
    session_count_in(sessions, session);
    if (!spec->transient)
        session_store_enter(sessions, session);
    session_view_fill(session, view);
    return 0;
}

struct session *session_restore(struct sessions *sessions, const struct store_facts *facts,
                                struct rnn_model *model)
{
    struct session *session;

    if (session_table_find(sessions, facts->owner, facts->id) != NULL)
        return NULL;
    session = blank(facts->id, facts->state_bytes);
    if (session == NULL)
        return NULL;
    session->kind = session_kind_keep(sessions, facts->owner, facts->model,
                                      model == NULL ? facts->fingerprint : NULL);
    if (session->kind == NULL || (model != NULL && !models_enter(models_of(sessions), model))) {
        free(session);
        return NULL;
    }
    session->model = model != NULL ? rnn_model_ref(model) : NULL;
    session->row = facts->row;
    session->away = facts->position;
    session->seed = facts->seed;
    session->created_ms = facts->created_ms;
    session->used_ms = facts->used_ms;
    session->ttl_s = (uint32_t)(facts->ttl_ms / 1000);
    atomic_fetch_add_explicit(&sessions->shard->server->n_sessions, 1, memory_order_relaxed);
    enter(sessions, session);
    return session;
}

/* ---- Looking and ending ---- */

session_result session_view(struct sessions *sessions, const char *id, const char *key_name,
                            struct session_view *view)
{
    struct session *session = NULL;
    session_result rc = session_find(sessions, id, key_name, &session);

    if (rc == 0)
        session_view_fill(session, view);
    return rc;
}

session_result session_keep(struct sessions *sessions, const char *id, const char *key_name)
{
    struct session *session = NULL;
    session_result rc = session_find(sessions, id, key_name, &session);

    if (rc == 0) {
        session_store_touch(sessions, session);
        session_touch(sessions, session);
    }
    return rc;
}

const struct rnn_state *session_glance(struct sessions *sessions, const char *id,
                                       const char *key_name, const struct rnn_model **model)
{
    struct session *session = NULL;

    if (session_find(sessions, id, key_name, &session) != 0)
        return NULL;
    *model = session->model;
    return session->model != NULL ? session->state : NULL;
}

session_result session_delete(struct sessions *sessions, const char *id, const char *key_name)
{
    struct session *session = NULL;
    session_result rc = session_find(sessions, id, key_name, &session);
    struct session_hold *holder;

    if (rc != 0)
        return rc;
    metrics_count(sessions->shard->metrics, M_SESSION_CLOSED, 1);
    holder = session_use(session) != NULL ? session->use->holder : NULL;
    session_remove(sessions, session);
    if (holder != NULL) {
        holder->cancel_asked = true;
        holder->cancelled(holder); /* the session goes when it lets go */
    } else {
        session_free(session);
    }
    return 0;
}

struct listing {
    const char *owner, *after;
    struct session_view *views;
    size_t n, max;
    int64_t now_ms;
};

static void list_walk(const struct session *node, struct listing *listing)
{
    while (node != NULL && listing->n < listing->max) {
        bool later = session_order(node, listing->owner, listing->after) > 0;

        if (later) {
            list_walk(node->left, listing);
            if (listing->n == listing->max || strcmp(node->kind->owner, listing->owner) != 0)
                return; /* what follows is of other owners, too */
            if (session_expires_ms(node) > listing->now_ms || session_in_use(node))
                session_view_fill(node, &listing->views[listing->n++]);
        }
        node = node->right;
    }
}

size_t session_list(struct sessions *sessions, const char *key_name, const char *after, size_t max,
                    struct session_view *views)
{
    struct listing listing = {
        .owner = key_name,
        .after = after,
        .views = views,
        .max = max,
        .now_ms = sessions->shard->now_unix_ms,
    };

    list_walk(sessions->root, &listing);
    return listing.n;
}

/* ---- Time, birth and death ---- */

bool sessions_expire(struct sessions *sessions, int64_t now_unix_ms)
{
    uint32_t now = tick_of(now_unix_ms / 1000);
    size_t work = EXPIRY_WORK;
    struct wheel_entry *due;

    while ((due = wheel_next(&sessions->wheel, now, &work)) != NULL) {
        struct session *session = session_of(due);

        if (session->tombstone)
            tombstone_remove(sessions, session);
        else if (session_in_use(session))
            wheel_insert_soon(&sessions->wheel, due);
        else
            expire(sessions, session);
    }
    return work == 0;
}

int sessions_new(struct sessions **out, struct shard *shard, struct rnn_err *err)
{
    struct sessions *sessions = calloc(1, sizeof(*sessions));
    int rc;

    if (sessions == NULL)
        return rnn_fail(err, RNN_ENOMEM, "no memory for sessions");
    sessions->shard = shard;
    wheel_init(&sessions->wheel, tick_of(shard->now_unix_ms / 1000), due_tick);
    rc = session_table_init(sessions, err);
    if (rc < 0) {
        sessions_free(sessions);
        return rc;
    }
    *out = sessions;
    return 0;
}

static void end_with_shard(struct sessions *sessions, struct session *session)
{
    assert(session->n_tasks == 0 && !session_in_use(session));
    if (!session->tombstone)
        uncount(sessions, session);
    session_use_end(session);
    state_free(session);
    free(session);
}

void sessions_free(struct sessions *sessions)
{
    if (sessions == NULL)
        return;
    session_grants_free(sessions);
    session_table_clear(sessions, end_with_shard);
    session_table_deinit(sessions);
    free(sessions);
}
