/* States that a session can go back to: snapshots by name, the trail of its last positions,
 * where the stream began that was committed last, which no client sees; and where a reset goes,
 * unless that is the model's own beginning.
 *
 * Few for each session, so names are searched from one end to the other; kept in order.  All calls
 * are made by whoever holds the session, on its shard.
 *
 * A trail promises nothing, so memory that is wanted for states is taken from trails first: those
 * of sessions at rest stand in a list by last use. */
#include "server/session_inner.h"

#include <stdlib.h>
#include <string.h>

#include "server/metrics.h"
#include "server/store.h"
#include "server/trail.h"

struct snapshot {
    struct rnn_state *state;
    char *name;
};

struct session_points {
    struct snapshot *snapshots; /* [n], by name */
    size_t n;
    struct trail trail;
    size_t counted; /* of memory: as session_points_count() found it last */
    bool laid;      /* the trail leads to the state of the commit that is to come */
    bool linked;    /* in the list of trails at rest */
    struct session *session;
    struct session_points *older, *newer; /* in that list */
    struct rnn_state *begin;   /* where the stream began that was committed last; NULL: none was */
    uint64_t stream;           /* its number */
    const char *initial_name;  /* where a reset goes: of the model's; or NULL */
    struct rnn_state *initial; /* or here; or NULL */
};

/* ---- Life ---- */

static struct session_points *points_of(struct session *session)
{
    if (session->points == NULL) {
        session->points = calloc(1, sizeof(*session->points));
        if (session->points != NULL)
            session->points->session = session;
    }
    return session->points;
}

static void snapshot_free(const struct session *session, struct snapshot *snapshot)
{
    if (snapshot->state != NULL)
        explicit_bzero(snapshot->state, session->state_bytes);
    free(snapshot->state);
    free(snapshot->name);
}

void session_points_free(struct session *session)
{
    struct session_points *points = session->points;

    if (points == NULL)
        return;
    for (size_t i = 0; i < points->n; i++)
        snapshot_free(session, &points->snapshots[i]);
    free(points->snapshots);
    trail_free(&points->trail);
    session_begin_forget(session);
    if (points->initial != NULL)
        explicit_bzero(points->initial, session->state_bytes);
    free(points->initial);
    free(points);
    session->points = NULL;
}

size_t session_points_counted(const struct session *session)
{
    return session->points != NULL ? session->points->counted : 0;
}

size_t session_points_count(struct session *session)
{
    struct session_points *points = session->points;

    if (points == NULL)
        return 0;
    points->counted =
        sizeof(*points) + points->n * (session->state_bytes + sizeof(*points->snapshots)) +
        trail_bytes(&points->trail) + (points->begin != NULL ? session->state_bytes : 0) +
        (points->initial != NULL ? session->state_bytes : 0);
    return points->counted;
}

/* ---- Where a reset goes ---- */

bool session_initial_set(struct session *session, const char *name, struct rnn_state *state)
{
    struct session_points *points;

    if (name == NULL && state == NULL)
        return true;
    points = points_of(session);
    if (points == NULL)
        return false;
    points->initial_name = name;
    points->initial = state;
    return true;
}

void session_initial_get(const struct session *session, const char **name,
                         const struct rnn_state **state)
{
    const struct session_points *points = session->points;

    *name = points != NULL ? points->initial_name : NULL;
    *state = points != NULL ? points->initial : NULL;
}

const struct rnn_state *session_initial(const struct session_hold *hold, const char **name)
{
    const struct rnn_state *state;

    session_initial_get(hold->session, name, &state);
    return state;
}

/* ---- The trail ---- */

void session_lay_trail(struct session_hold *hold, struct trail *trail)
{
    struct session_points *points = points_of(hold->session);

    if (points == NULL)
        return; /* a trail promises nothing */
    points->laid = true;
    if (trail == NULL)
        return;
    if (points->trail.cap != trail->cap) {
        trail_free(&points->trail);
        trail_init(&points->trail, trail->cap, trail->state_bytes);
    }
    if (trail->n > 0) /* it may begin where the session once stood */
        trail_cut(&points->trail, trail_at(trail, 0)->position + 1);
    trail_append(&points->trail, trail);
}

void session_points_release(struct session *session, bool committed)
{
    struct session_points *points = session->points;

    if (points == NULL)
        return;
    if (committed)
        trail_cut(&points->trail, points->laid ? session->state->position : 0);
    points->laid = false;
}

const struct rnn_state *session_past(const struct session_hold *hold, uint64_t steps)
{
    const struct session *session = hold->session;
    uint64_t position = session->state->position;

    if (steps == 0)
        return session->state;
    if (session->points == NULL || steps > position)
        return NULL;
    return trail_find(&session->points->trail, position - steps);
}

void session_trail_rest(struct sessions *sessions, struct session *session)
{
    struct session_points *points = session->points;

    if (points == NULL || points->trail.n == 0)
        return;
    points->older = sessions->trail_newest;
    points->newer = NULL;
    *(points->older != NULL ? &points->older->newer : &sessions->trail_oldest) = points;
    sessions->trail_newest = points;
    points->linked = true;
}

void session_trail_wake(struct sessions *sessions, struct session *session)
{
    struct session_points *points = session->points;

    if (points == NULL || !points->linked)
        return;
    *(points->older != NULL ? &points->older->newer : &sessions->trail_oldest) = points->newer;
    *(points->newer != NULL ? &points->newer->older : &sessions->trail_newest) = points->older;
    points->linked = false;
}

bool session_trail_give_up(struct sessions *sessions)
{
    struct session_points *points = sessions->trail_oldest;

    if (points == NULL)
        return false;
    session_trail_wake(sessions, points->session);
    trail_free(&points->trail);
    session_recount(sessions, points->session);
    metrics_count(sessions->shard->metrics, M_SESSION_UNTRAILED, 1);
    return true;
}

/* ---- Where the last stream began ---- */

static bool remembers(const struct session *session, uint64_t stream)
{
    return session->points != NULL && session->points->begin != NULL &&
           session->points->stream == stream;
}

const struct rnn_state *session_begin(const struct session_hold *hold)
{
    const struct session *session = hold->session;

    return remembers(session, hold->stream) ? session->points->begin : session->state;
}

const struct rnn_state *session_begin_after(const struct session *session,
                                            const struct session_hold *hold,
                                            const struct rnn_state *commit, uint64_t *stream)
{
    bool stays = memcmp(session->state, commit, session->state_bytes) == 0;

    if (stays || remembers(session, hold->stream)) {
        *stream = session->points != NULL ? session->points->stream : 0;
        return session->points != NULL ? session->points->begin : NULL;
    }
    *stream = hold->stream;
    return hold->stream != 0 ? session->state : NULL;
}

void session_begin_forget(struct session *session)
{
    struct session_points *points = session->points;

    if (points == NULL)
        return;
    if (points->begin != NULL)
        explicit_bzero(points->begin, session->state_bytes);
    free(points->begin);
    points->begin = NULL;
}

void session_begin_commit(struct session *session, const struct session_hold *hold,
                          const struct rnn_state *commit)
{
    uint64_t stream;
    const struct rnn_state *begin = session_begin_after(session, hold, commit, &stream);
    struct session_points *points;

    if (begin != session->state) {
        if (begin == NULL)
            session_begin_forget(session);
        return;
    }
    points = points_of(session);
    if (points == NULL)
        return; /* without memory there is no way back, as said */
    if (points->begin == NULL)
        points->begin = malloc(session->state_bytes);
    if (points->begin != NULL)
        memcpy(points->begin, begin, session->state_bytes);
    points->stream = stream;
}

bool session_begin_restore(struct session *session, uint64_t stream, struct rnn_state *begin)
{
    struct session_points *points = points_of(session);

    if (points == NULL)
        return false;
    points->begin = begin;
    points->stream = stream;
    return true;
}

/* ---- Snapshots ---- */

bool session_points_restore(struct session *session, const struct store_point *loaded, size_t n)
{
    struct session_points *points;

    if (n == 0)
        return true;
    points = points_of(session);
    if (points == NULL)
        return false;
    points->snapshots = calloc(n, sizeof(*points->snapshots));
    if (points->snapshots == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        points->snapshots[i].name = strdup(loaded[i].name);
        if (points->snapshots[i].name == NULL) {
            points->n = i;
            for (size_t j = 0; j < i; j++)
                points->snapshots[j].state = NULL; /* they stay the caller's */
            session_points_free(session);
            return false;
        }
        points->snapshots[i].state = loaded[i].state;
    }
    points->n = n;
    return true;
}

/* The first whose name is not before `name`. */
static size_t place_of(const struct session_points *points, const char *name, bool *there)
{
    size_t i = 0;

    while (i < points->n && strcmp(points->snapshots[i].name, name) < 0)
        i++;
    *there = i < points->n && strcmp(points->snapshots[i].name, name) == 0;
    return i;
}

static bool insert(struct session_points *points, size_t at, const char *name, size_t state_bytes)
{
    struct snapshot fresh = {.state = malloc(state_bytes), .name = strdup(name)};
    struct snapshot *snapshots =
        realloc(points->snapshots, (points->n + 1) * sizeof(*points->snapshots));

    if (snapshots != NULL)
        points->snapshots = snapshots;
    if (snapshots == NULL || fresh.state == NULL || fresh.name == NULL) {
        free(fresh.state);
        free(fresh.name);
        return false;
    }
    memmove(&snapshots[at + 1], &snapshots[at], (points->n - at) * sizeof(*snapshots));
    snapshots[at] = fresh;
    points->n++;
    return true;
}

session_result session_may_snapshot(struct sessions *sessions, const struct session_hold *hold,
                                    const char *name, bool replace)
{
    const struct session_points *points = hold->session->points;
    size_t max = (size_t)shard_config(sessions->shard)->snapshots_max;
    bool there = false;

    if (points != NULL)
        (void)place_of(points, name, &there);
    if (there)
        return replace ? 0 : SESSION_FAIL(REPLY_SNAPSHOT_EXISTS);
    return (points != NULL ? points->n : 0) < max ? 0 : SESSION_FAIL(REPLY_SNAPSHOT_LIMIT);
}

session_result session_snapshot(struct sessions *sessions, struct session_hold *hold,
                                const char *name, bool replace)
{
    struct session *session = hold->session;
    session_result may = session_may_snapshot(sessions, hold, name, replace);
    struct session_points *points;
    bool there;
    size_t at;

    if (may != 0)
        return may;
    points = points_of(session);
    if (points == NULL)
        return SESSION_FAIL(REPLY_NO_MEMORY);
    at = place_of(points, name, &there);
    if (!there && !insert(points, at, name, session->state_bytes))
        return SESSION_FAIL(REPLY_NO_MEMORY);
    memcpy(points->snapshots[at].state, session->state, session->state_bytes);
    return 0;
}

session_result session_forget(struct session_hold *hold, const char *name)
{
    struct session_points *points = hold->session->points;
    bool there = false;
    size_t at = points != NULL ? place_of(points, name, &there) : 0;

    if (!there)
        return SESSION_FAIL(REPLY_NO_SNAPSHOT);
    snapshot_free(hold->session, &points->snapshots[at]);
    points->n--;
    memmove(&points->snapshots[at], &points->snapshots[at + 1],
            (points->n - at) * sizeof(*points->snapshots));
    return 0;
}

const struct rnn_state *session_point(const struct session_hold *hold, const char *name)
{
    const struct session_points *points = hold->session->points;
    bool there = false;
    size_t at = points != NULL ? place_of(points, name, &there) : 0;

    return there ? points->snapshots[at].state : NULL;
}

size_t session_points(const struct session_hold *hold, struct session_point_view *out, size_t max)
{
    const struct session_points *points = hold->session->points;
    size_t n = 0;

    if (points == NULL)
        return 0;
    for (size_t i = 0; i < points->n; i++, n++)
        if (n < max) {
            out[n].position = points->snapshots[i].state->position;
            (void)strncpy(out[n].name, points->snapshots[i].name, SESSION_ID_MAX);
            out[n].name[SESSION_ID_MAX] = '\0';
        }
    for (size_t i = 0; i < points->trail.n; i++, n++)
        if (n < max)
            out[n] = (struct session_point_view){.position = trail_at(&points->trail, i)->position};
    return n;
}
