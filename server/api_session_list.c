/* GET /sessions: a page of the key's sessions, in order of id.
 *
 * Every shard is asked for as many as fill a page, and one more, which tells of a next page; home
 * merges what comes back.  A client that leaves only takes the request away. */
#include "server/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/answer.h"

enum { LIST_PRESET = 100, LIST_MAX = 1000 };

/* What one shard has: travels there, comes back filled. */
struct list_part {
    struct message message;
    struct list_op *op;
    struct session_view *views; /* [max]; NULL after a trip: no memory */
    size_t n;
};

struct list_op {
    struct shard *home;
    struct request *request; /* NULL: the client is gone */
    char *key_name;
    char after[SESSION_ID_MAX + 1];
    size_t limit;
    size_t n_parts, n_away;
    struct list_part parts[];
};

static void list_free(struct list_op *op)
{
    for (size_t i = 0; i < op->n_parts; i++)
        free(op->parts[i].views);
    free(op->key_name);
    free(op);
}

/* The part whose next view sorts first; NULL when all are empty. */
static struct list_part *least(struct list_op *op, const size_t *taken)
{
    struct list_part *best = NULL;

    for (size_t i = 0; i < op->n_parts; i++) {
        struct list_part *part = &op->parts[i];

        if (taken[i] < part->n && (!best || strcmp(part->views[taken[i]].id,
                                                   best->views[taken[best - op->parts]].id) < 0))
            best = part;
    }
    return best;
}

static void list_reply(struct list_op *op)
{
    size_t *taken = calloc(op->n_parts, sizeof *taken);
    const char *last = NULL;
    struct list_part *part;
    struct buf body = {0};

    for (size_t i = 0; taken && i < op->n_parts; i++) {
        if (!op->parts[i].views) {
            free(taken);
            taken = NULL;
        }
    }
    if (!taken) {
        reply_error(op->request, REPLY_NO_MEMORY, NULL, "out of memory");
        return;
    }
    buf_puts(&body, "{\"sessions\":[");
    for (size_t n = 0; n < op->limit && (part = least(op, taken)); n++) {
        const struct session_view *view = &part->views[taken[part - op->parts]++];

        if (n > 0)
            buf_putc(&body, ',');
        answer_session(&body, view, op->home->server->models);
        buf_putc(&body, '}');
        last = view->id;
    }
    buf_puts(&body, "],\"next\":");
    answer_text(&body, least(op, taken) ? last : NULL);
    buf_putc(&body, '}');
    free(taken);
    reply_json(op->request, 200, &body);
}

static void list_home(struct shard *home, struct message *message)
{
    struct list_op *op = ((struct list_part *)message)->op; /* its first member */

    (void)home;
    if (--op->n_away > 0)
        return;
    if (op->request) {
        op->request->hooks = NULL;
        op->request->user = NULL;
        list_reply(op);
    }
    list_free(op);
}

static void list_look(struct shard *work, struct message *message)
{
    struct list_part *part = (struct list_part *)message; /* its first member */
    struct list_op *op = part->op;

    part->views = calloc(op->limit + 1, sizeof *part->views); /* one more tells of a next page */
    if (part->views)
        part->n = session_list(work->sessions, op->key_name, op->after, op->limit + 1, part->views);
    message->run = list_home;
    shard_post(op->home, message);
}

static void list_gone(struct request *request)
{
    ((struct list_op *)request->user)->request = NULL;
}

static const struct request_hooks list_hooks = {.gone = list_gone};

static bool read_page(struct request *request, size_t *limit, const char **after)
{
    const char *text = http_query(request, "limit");
    char *end = NULL;

    *after = http_query(request, "after");
    *limit = LIST_PRESET;
    if (text) {
        unsigned long value = strtoul(text, &end, 10);

        if (*text < '0' || *text > '9' || *end || value < 1 || value > LIST_MAX) {
            reply_error(request, REPLY_OUT_OF_RANGE, "limit", "limit: want 1 to %d", LIST_MAX);
            return false;
        }
        *limit = value;
    }
    if (*after && !session_id_valid(*after)) {
        reply_error(request, REPLY_MALFORMED, "after", "after: want the id of a session");
        return false;
    }
    return true;
}

void api_session_list(struct request *request, const char *arg)
{
    struct server *server = request->shard->server;
    struct list_op *op;
    const char *after;
    size_t limit;

    (void)arg;
    if (!read_page(request, &limit, &after))
        return;
    op = calloc(1, sizeof *op + server->n_shards * sizeof op->parts[0]);
    if (op)
        op->key_name = strdup(request->key_name);
    if (!op || !op->key_name) {
        free(op);
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
        return;
    }
    op->home = request->shard;
    op->request = request;
    op->limit = limit;
    snprintf(op->after, sizeof op->after, "%s", after ? after : "");
    op->n_parts = op->n_away = server->n_shards;
    request->user = op;
    request->hooks = &list_hooks;
    for (unsigned i = 0; i < server->n_shards; i++) {
        op->parts[i].op = op;
        op->parts[i].message.run = list_look;
        shard_post(server->shards[i], &op->parts[i].message);
    }
}
