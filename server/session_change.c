/* Sessions and the weights they stand on, when those change.  See session_change.h.
 *
 * An order to a session in use is a mark on it: next_model, or closing.  session_let_go() is the
 * one place where a session comes out of use, and carries it out.  While the store rewrites a
 * session it is in use itself (moving_to), and requests wait in its line. */
#include "server/session_change.h"

#include <string.h>

#include "server/metrics.h"
#include "server/models.h"
#include "server/server.h"
#include "server/session_inner.h"

/* ---- What a session may do ---- */

static bool same_weights(const struct session *session, const struct rnn_model *model)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    size_t window;

    return strcmp(session_fingerprint(session), info->fingerprint) == 0 &&
           rnn_state_window(model, session->state_bytes, &window);
}

static bool same_part(const struct rnn_state_part *a, const struct rnn_state_part *b)
{
    return strcmp(a->kind, b->kind) == 0 && a->stack == b->stack && a->layer == b->layer &&
           a->direction == b->direction && a->offset == b->offset && a->size == b->size;
}

/* Whether the tokens that it remembers, where it does, are tokens of `to`. */
static bool window_fits(const struct session *session, const struct rnn_model *to)
{
    size_t window;

    return rnn_state_window(to, session->state_bytes, &window) &&
           (window == 0 ||
            rnn_model_info(to)->input_size == rnn_model_info(session->model)->input_size);
}

/* Whether its state can be read as one of `to`: the same parts, by name and size. */
static bool fits(const struct session *session, const struct rnn_model *to)
{
    const struct rnn_model *from = session->model;
    size_t n_from, n_to;
    const struct rnn_state_part *a = rnn_state_parts(from, &n_from);
    const struct rnn_state_part *b = rnn_state_parts(to, &n_to);

    if (n_from != n_to || rnn_model_info(from)->state_bytes != rnn_model_info(to)->state_bytes ||
        rnn_model_info(to)->unsteppable != NULL || !window_fits(session, to))
        return false;
    for (size_t i = 0; i < n_from; i++)
        if (!same_part(&a[i], &b[i]))
            return false;
    return true;
}

/* ---- Going over ---- */

static struct models *models_of(const struct sessions *sessions)
{
    return sessions->shard->server->models;
}

/* It stands on `model`, which it has entered, from now on. */
static void stand_on(struct sessions *sessions, struct session *session, struct rnn_model *model)
{
    if (!same_weights(session, model)) {
        session_begin_forget(session); /* its stream would not come out there again */
        session_recount(sessions, session);
    }
    if (session->model != NULL)
        models_leave(models_of(sessions), session->model);
    rnn_model_unref(session->model);
    session->model = rnn_model_ref(model);
}

/* The store is asked to rewrite it.  False without memory. */
static bool move_to(struct sessions *sessions, struct session *session, struct rnn_model *model,
                    struct sessions_change *change)
{
    if (!session_use_begin(sessions, session))
        return false;
    session->use->moving_to = rnn_model_ref(model);
    if (session_store_move(sessions, session, change))
        return true;
    rnn_model_unref(model);
    session->use->moving_to = NULL;
    return false;
}

/* Nobody holds it.  False: it stays, for want of memory, or because those weights have been
 * replaced, too. */
static bool go_over(struct sessions *sessions, struct session *session, struct rnn_model *model,
                    struct sessions_change *change)
{
    if (!models_enter(models_of(sessions), model))
        return false;
    if (session->row == 0 || same_weights(session, model)) {
        stand_on(sessions, session, model);
        return true;
    }
    if (!move_to(sessions, session, model, change)) {
        models_leave(models_of(sessions), model);
        return false;
    }
    if (change != NULL)
        change->n_tasks++;
    return true;
}

void sessions_change_task_end(struct sessions_change *change)
{
    change->n_tasks--;
    change->task_ended(change);
}

void session_moved(struct sessions *sessions, struct session *session,
                   struct sessions_change *change, int rc)
{
    struct rnn_model *model = session->use->moving_to;
    /* what the store never had, it need not rewrite */
    bool moved = (rc == 0 || (rc == RNN_ENOENT && session->state != NULL)) && !session->deleted;

    session->use->moving_to = NULL;
    if (moved)
        stand_on(sessions, session, model);
    else
        models_leave(models_of(sessions), model);
    rnn_model_unref(model);
    if (session->deleted)
        session_free(session);
    else
        session_let_go(sessions, session);
    if (change == NULL)
        return;
    *(moved ? &change->n_migrated : &change->n_failed) += 1;
    sessions_change_task_end(change);
}

/* ---- Ending ---- */

/* Nobody holds it.  Whoever waits in its line hears that it has expired. */
static void end(struct sessions *sessions, struct session *session, struct sessions_change *change)
{
    if (session->row != 0 && session_store_remove(sessions, session, change) && change != NULL)
        change->n_tasks++;
    metrics_count(sessions->shard->metrics, M_SESSION_CLOSED, 1);
    session->used_ms = sessions->shard->now_unix_ms;
    session->ttl_s = 0;
    session->n_tasks++; /* it stays until its line has heard */
    session_bury(sessions, session);
    session_refuse_line(session, REPLY_SESSION_EXPIRED);
    session->n_tasks--;
    session_use_end(session);
    if (session->deleted)
        session_free(session);
}

/* ---- Orders ---- */

void session_let_go(struct sessions *sessions, struct session *session)
{
    struct session_use *use = session->use;
    struct rnn_model *model = use->next_model;

    if (use->closing) {
        end(sessions, session, NULL);
        return;
    }
    if (model != NULL) {
        use->next_model = NULL;
        (void)go_over(sessions, session, model, NULL); /* else it stays pinned */
        rnn_model_unref(model);
        if (use->moving_to != NULL)
            return;
    }
    if (use->first != NULL)
        session_grant_next(sessions, session);
    else
        session_rest(sessions, session);
}

/* An older order does not count any more. */
static void order(struct session *session, struct rnn_model *model, bool closing)
{
    struct session_use *use = session_use(session);

    if (use == NULL)
        return; /* it has none */
    rnn_model_unref(use->next_model);
    use->next_model = model != NULL ? rnn_model_ref(model) : NULL;
    use->closing = closing;
}

static void visit_close(struct sessions *sessions, struct session *session,
                        struct sessions_change *change)
{
    if (session_in_use(session)) {
        order(session, NULL, true);
        change->n_busy++;
        return;
    }
    change->n_closed++;
    end(sessions, session, change);
}

/* `n` counts those that need no store. */
static void visit_over(struct sessions *sessions, struct session *session,
                       struct sessions_change *change, size_t *n)
{
    if (session_in_use(session)) {
        order(session, change->model, false);
        change->n_busy++;
    } else if (!go_over(sessions, session, change->model, change)) {
        change->n_failed++;
        session_rest(sessions, session);
    } else if (!session_in_use(session)) {
        *n += 1;
    }
}

static void visit(struct sessions *sessions, struct session *session,
                  struct sessions_change *change)
{
    if (session->model == change->model && session->model != NULL) {
        order(session, NULL, false);
        return;
    }
    if (change->policy == SESSIONS_CLOSE) {
        if (session->model != NULL)
            visit_close(sessions, session, change);
        else if (change->model != NULL && same_weights(session, change->model))
            visit_over(sessions, session, change, &change->n_same);
        return;
    }
    if (change->model != NULL && same_weights(session, change->model)) {
        visit_over(sessions, session, change, &change->n_same);
        return;
    }
    if (session->model == NULL)
        return; /* an orphan, as before */
    if (change->policy == SESSIONS_MIGRATE && change->model != NULL &&
        fits(session, change->model)) {
        visit_over(sessions, session, change, &change->n_migrated);
        return;
    }
    order(session, NULL, false);
    change->n_pinned++;
}

bool sessions_change_some(struct sessions *sessions, struct sessions_change *change, size_t n)
{
    for (; n > 0; n--) {
        struct session *session = session_order_after(sessions, change->owner, change->id);

        if (session == NULL)
            return false;
        memcpy(change->owner, session->kind->owner, strlen(session->kind->owner) + 1);
        memcpy(change->id, session->id, strlen(session->id) + 1);
        if (strcmp(session->kind->model_name, change->model_name) == 0)
            visit(sessions, session, change);
    }
    return true;
}
