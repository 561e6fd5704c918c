/* The line of requests in front of a session: who holds it, who waits, who is next.
 *
 * The next in line is granted in a message that the shard sends to itself, never inside the call
 * that released the session; sessions with somebody to grant gather in one list until it runs.  Own
 * shard's thread. */
#include "server/session_inner.h"

#include <string.h>

#include "server/metrics.h"

static void grant_run(struct shard *shard, struct message *message)
{
    struct sessions *sessions =
        (struct sessions *)((char *)message - offsetof(struct sessions, grant));
    struct session *list = sessions->grants;

    (void)shard;
    sessions->grants = NULL;
    sessions->grant_posted = false;
    while (list != NULL) {
        struct session *session = list;
        struct session_use *use = session->use;
        struct session_hold *hold = use->first;

        list = use->next_grant;
        use->granting = false;
        if (session->deleted) {
            session_free(session);
            continue;
        }
        if (hold == NULL) { /* the whole line has left meanwhile */
            session_let_go(sessions, session);
            continue;
        }
        use->first = hold->next;
        if (use->first == NULL)
            use->last = &use->first;
        use->n_waiting--;
        use->holder = hold;
        hold->waiting = false;
        hold->granted(hold);
    }
}

void session_grant_next(struct sessions *sessions, struct session *session)
{
    if (session->use->granting)
        return;
    session->use->granting = true;
    session->use->next_grant = sessions->grants;
    sessions->grants = session;
    if (sessions->grant_posted)
        return;
    sessions->grant_posted = true;
    sessions->grant = (struct message){.run = grant_run};
    shard_post(sessions->shard, &sessions->grant);
}

void session_refuse_line(struct session *session, enum reply_error reason)
{
    struct session_use *use = session_use(session);
    struct session_hold *waiting = use != NULL ? use->first : NULL;

    if (waiting == NULL)
        return;
    use->first = NULL;
    use->last = &use->first;
    use->n_waiting = 0;
    while (waiting != NULL) {
        struct session_hold *hold = waiting;

        waiting = hold->next;
        hold->waiting = false;
        hold->session = NULL;
        hold->refused(hold, reason);
    }
}

static void line_join(struct session *session, struct session_hold *hold, bool in_front)
{
    struct session_use *use = session->use;
    struct session_hold **at = in_front ? &use->first : use->last;

    hold->waiting = true;
    hold->session = session;
    hold->next = *at;
    *at = hold;
    if (use->last == at)
        use->last = &hold->next;
    use->n_waiting++;
}

static bool is_older(const struct session_hold *hold, const struct session_hold *of)
{
    return hold->stream == of->stream && hold->supersede != NULL && !hold->superseded;
}

/* Somebody with an older part of the stream that `hold` goes on with; NULL: nobody any more. */
static struct session_hold *older_part(const struct session_use *use,
                                       const struct session_hold *hold)
{
    struct session_hold *other = use->first;

    while (other != NULL && !is_older(other, hold))
        other = other->next;
    if (other != NULL || use->holder == NULL || !is_older(use->holder, hold))
        return other;
    return use->holder;
}

/* Whether the session is, or until now was, held for the stream that `hold` goes on with.  Who is
 * asked to stop may let go at once, and whatever that leads to is done when this returns. */
static bool take_over(struct sessions *sessions, const char *id, const char *key_name,
                      const struct session_hold *hold)
{
    struct session *session = NULL;
    bool held = false;

    while (session_find(sessions, id, key_name, &session) == 0) {
        const struct session_use *use = session_use(session);
        struct session_hold *other = use != NULL ? older_part(use, hold) : NULL;

        held |= use != NULL && use->holder != NULL && use->holder->stream == hold->stream;
        if (other == NULL)
            break;
        other->superseded = true;
        other->supersede(other);
    }
    return held;
}

session_result session_acquire(struct sessions *sessions, const char *id, const char *key_name,
                               bool queue, struct session_hold *hold, bool *granted)
{
    bool in_front = hold->resumes && hold->stream != 0 && take_over(sessions, id, key_name, hold);
    struct session *session = NULL;
    session_result rc = session_find(sessions, id, key_name, &session);

    *granted = false;
    if (rc != 0)
        return rc;
    if (session->model == NULL)
        return SESSION_FAIL(REPLY_SESSION_ORPHANED);
    hold->next = NULL;
    hold->cancel_asked = false;
    hold->superseded = false;
    hold->waiting = false;
    if (!session_in_use(session)) {
        if (!session_use_begin(sessions, session)) {
            session_rest(sessions, session);
            return SESSION_FAIL(REPLY_NO_MEMORY);
        }
        if (session->state == NULL) {
            line_join(session, hold, false);
            session_load(sessions, session);
            return 0;
        }
        session->use->holder = hold;
        hold->session = session;
        *granted = true;
        return 0;
    }
    if (!queue && !in_front) {
        metrics_count(sessions->shard->metrics, M_SESSION_CONFLICT, 1);
        return SESSION_FAIL(REPLY_SESSION_BUSY);
    }
    if (session->use->n_waiting >= (uint64_t)shard_config(sessions->shard)->session_queue_max)
        return SESSION_FAIL(REPLY_QUEUE_FULL);
    line_join(session, hold, in_front);
    return 0;
}

const struct rnn_state *session_state(const struct session_hold *hold)
{
    return hold->session->state;
}

size_t session_state_bytes(const struct session_hold *hold)
{
    return hold->session->state_bytes;
}

struct rnn_model *session_model(const struct session_hold *hold)
{
    return hold->session->model;
}

const char *session_model_name(const struct session_hold *hold)
{
    return hold->session->kind->model_name;
}

void session_look(struct sessions *sessions, const struct session_hold *hold,
                  const struct rnn_state *commit, struct session_view *view)
{
    const struct session *session = hold->session;

    session_view_fill(session, view);
    if (commit != NULL)
        view->position = commit->position;
    view->used_unix_ms = sessions->shard->now_unix_ms;
    view->expires_unix_ms = view->used_unix_ms + view->ttl_s * 1000;
    view->busy = false;
}

static void line_leave(struct session *session, struct session_hold *hold)
{
    struct session_use *use = session->use;
    struct session_hold **at = &use->first;

    while (*at != hold)
        at = &(*at)->next;
    *at = hold->next;
    if (use->last == &hold->next)
        use->last = at;
    use->n_waiting--;
    hold->waiting = false;
}

void session_release(struct sessions *sessions, struct session_hold *hold,
                     const struct rnn_state *commit, struct session_view *view)
{
    struct session *session = hold->session;

    if (session == NULL)
        return;
    hold->session = NULL;
    if (hold->waiting) {
        line_leave(session, hold);
        return;
    }
    session->use->holder = NULL;
    if (commit != NULL && !session->deleted) {
        session_begin_commit(session, hold, commit);
        memcpy(session->state, commit, session->state_bytes);
    }
    session_points_release(session, commit != NULL && !session->deleted);
    session_recount(sessions, session);
    session_store_touch(sessions, session);
    session_touch(sessions, session);
    if (view != NULL)
        session_view_fill(session, view);
    if (session->deleted)
        session_free(session);
    else
        session_let_go(sessions, session);
}

void session_grants_free(struct sessions *sessions)
{
    while (sessions->grants != NULL) {
        struct session *session = sessions->grants;

        sessions->grants = session->use->next_grant;
        session->use->granting = false;
        if (session->deleted)
            session_free(session);
    }
}
