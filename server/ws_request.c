/* Requests on a streaming session: a message that is being answered is the sink of its job.
 *
 * All are requests on the socket's one session, so they wait in its line and run in order of
 * arrival, also among those of other sockets and of plain HTTP.  What each says carries its id.
 * Own shard's thread only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/event.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/ws_inner.h"
#include "server/ws_message.h"

struct ws_request {
    struct sink sink; /* first */
    struct ws *ws;
    struct ws_request *next, **at;
    bool raw;
    char request_id[65];
    char id[]; /* as JSON */
};

static struct ws_request *request_of(struct sink *sink)
{
    return (struct ws_request *)sink; /* its first member */
}

/* Its last word has been said: there may be room for the next message. */
static void end(struct ws_request *r)
{
    *r->at = r->next;
    if (r->next)
        r->next->at = r->at;
    r->ws->n_requests--;
    http_socket_wake(r->ws->request);
    free(r);
}

/* ---- Answers ---- */

/* {"id":…,"NAME":JSON[,"event_id":…]} */
static size_t send_named(struct ws *ws, const char *id, const char *name, const char *json,
                         size_t len, const char *event_id)
{
    struct buf out = {0};
    size_t unread = 0;

    buf_puts(&out, "{\"id\":");
    buf_puts(&out, id);
    buf_puts(&out, ",\"");
    buf_puts(&out, name);
    buf_puts(&out, "\":");
    buf_put(&out, json, len);
    if (event_id[0]) {
        buf_puts(&out, ",\"event_id\":");
        buf_json_string(&out, event_id, strlen(event_id));
    }
    buf_putc(&out, '}');
    if (out.failed)
        ws_frames_close(ws->frames, WS_TRY_LATER, "no memory for an answer");
    else
        unread = ws_send(ws, WS_TEXT, out.data, out.len);
    buf_free(&out);
    return unread;
}

/* {"id":…,"error":{…}} */
static void send_error(struct ws *ws, const char *id, enum reply_error error, const char *param,
                       const char *text)
{
    struct buf body = {0};
    static const char opening[] = "{\"error\":";

    reply_error_body(&body, error, param, text);
    if (body.failed)
        ws_frames_close(ws->frames, WS_TRY_LATER, "no memory for an answer");
    else
        (void)send_named(ws, id, "error", body.data + sizeof opening - 1, body.len - sizeof opening,
                         ""); /* without its closing brace */
    buf_free(&body);
}

static void send_whole(struct sink *sink, struct buf *body)
{
    struct ws_request *r = request_of(sink);

    if (r->raw)
        (void)ws_send(r->ws, WS_BINARY, body->data, body->len);
    else
        (void)send_named(r->ws, r->id, "done", body->data, body->len, "");
    buf_free(body);
    end(r);
}

static size_t send_events(struct sink *sink, const char *events, size_t len)
{
    struct ws_request *r = request_of(sink);
    size_t unread = 0;
    struct event event;

    while (event_next(&events, &len, &event))
        unread = send_named(r->ws, r->id, event.name, event.json, event.len, event.id);
    if (unread >= (size_t)shard_config(r->ws->shard)->stream_buffer_bytes)
        r->ws->full = true;
    return unread;
}

static void send_end(struct sink *sink)
{
    end(request_of(sink));
}

static void send_failure(struct sink *sink, enum reply_error error, const char *param,
                         const char *text)
{
    struct ws_request *r = request_of(sink);

    send_error(r->ws, r->id, error, param, text);
    end(r);
}

static const struct sink_ops ops = {
    .whole = send_whole, .events = send_events, .close = send_end, .fail = send_failure};

/* ---- Requests ---- */

static struct ws_request *find(const struct ws *ws, const char *id)
{
    struct ws_request *r = ws->requests;

    if (strcmp(id, "null") == 0)
        return NULL;
    while (r && strcmp(r->id, id) != 0)
        r = r->next;
    return r;
}

static struct ws_request *request_new(struct ws *ws, const char *id, bool raw)
{
    size_t id_size = strlen(id) + 1;
    struct ws_request *r = calloc(1, sizeof *r + id_size);

    if (!r)
        return NULL;
    memcpy(r->id, id, id_size);
    snprintf(r->request_id, sizeof r->request_id, "%.43s.%llu", ws->request->id,
             (unsigned long long)++ws->n_minted);
    r->ws = ws;
    r->raw = raw;
    r->sink = (struct sink){.ops = &ops,
                            .shard = ws->shard,
                            .request_id = r->request_id,
                            .key_name = ws->request->key_name,
                            .received_ns = ws->shard->now_ns};
    r->next = ws->requests;
    r->at = &ws->requests;
    if (r->next)
        r->next->at = &r->next;
    ws->requests = r;
    ws->n_requests++;
    return r;
}

static void start(struct ws_request *r, struct ws_message *message)
{
    switch (message->verb) {
    case WS_PREDICT:
        message->predict.raw = r->raw;
        task_predict(&r->sink, &message->predict);
        break;
    case WS_GENERATE:
        if (message->generate.beam_width > 0)
            task_beam(&r->sink, &message->generate);
        else
            task_generate(&r->sink, &message->generate);
        break;
    case WS_SCORE:
        task_score(&r->sink, &message->score);
        break;
    case WS_CANCEL:
        break; /* no request: cancel() */
    }
}

/* A cancel of what has been answered meanwhile is no fault. */
static void cancel(struct ws *ws, const char *id)
{
    struct ws_request *r = find(ws, id);

    if (r && r->sink.hooks)
        r->sink.hooks->cancel(r->sink.user);
}

static void run(struct ws *ws, struct ws_message *message, bool raw)
{
    static const char *const verbs[] = {"predict", "generate", "score", "cancel"};
    struct ws_request *r;

    log_line(CONFIG_LOG_DEBUG, "message", LOG_TEXT("id", ws->request->id),
             LOG_TEXT("kind", verbs[message->verb]));
    if (message->verb == WS_CANCEL) {
        cancel(ws, message->cancel);
    } else if (ws->draining) {
        metrics_count(ws->shard->metrics, M_REJECTED_DRAINING, 1);
        send_error(ws, message->id, REPLY_DRAINING, NULL, "the server is shutting down");
    } else if (find(ws, message->id)) {
        send_error(ws, message->id, REPLY_MALFORMED, "id", "id: a request of this id is under way");
    } else if (!(r = request_new(ws, message->id, raw))) {
        send_error(ws, message->id, REPLY_NO_MEMORY, NULL, "out of memory");
    } else {
        start(r, message);
    }
}

void ws_receive(struct ws *ws, enum ws_kind kind, const char *bytes, size_t len)
{
    const struct config *config = shard_config(ws->shard);
    struct ws_message message;
    struct rnn_err err = {0};
    int rc;

    if (kind == WS_BINARY && !ws->spec.takes_frames) {
        ws_frames_close(ws->frames, WS_UNSUPPORTED, "the session's model takes no frames");
        return;
    }
    if (kind == WS_BINARY)
        rc = ws_message_from_floats(&message, bytes, len, ws->spec.session_id, config, &err);
    else
        rc = ws_message_read(&message, bytes, len, ws->spec.session_id, config, &err);
    if (rc < 0) {
        metrics_count(ws->shard->metrics, M_REJECTED_INPUT, 1);
        send_error(ws, message.id, reply_error_of(&err), err.param, err.text);
        return;
    }
    run(ws, &message, kind == WS_BINARY && ws->spec.raw);
    ws_message_free(&message);
}

void ws_tell_drained(struct ws *ws)
{
    for (struct ws_request *r = ws->requests, *next; r; r = next) {
        next = r->next;
        if (r->sink.hooks)
            r->sink.hooks->drained(r->sink.user);
    }
}

void ws_drop_requests(struct ws *ws)
{
    while (ws->requests) {
        struct ws_request *r = ws->requests;

        if (r->sink.hooks)
            r->sink.hooks->gone(r->sink.user);
        *r->at = r->next;
        if (r->next)
            r->next->at = r->at;
        ws->n_requests--;
        free(r);
    }
}
