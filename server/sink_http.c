/* The sink of an HTTP request: a whole JSON answer, or server-sent events.
 *
 * A stream sends its status line with its first event, so that a fault before that has a true
 * status; a fault after it is an `error` event.  Own shard's thread only. */
#include "server/event.h"
#include "server/http.h"
#include "server/sink.h"
#include "server/sse.h"

static struct request *request_of(struct sink *sink)
{
    return (struct request *)(void *)((char *)sink - offsetof(struct request, sink));
}

/* The last word: what happens to the client is nobody's business any more. */
static struct request *last_word(struct sink *sink)
{
    struct request *request = request_of(sink);

    request->hooks = NULL;
    return request;
}

static void send_whole(struct sink *sink, struct buf *body)
{
    reply_json(last_word(sink), 200, body);
}

static void begin(struct request *request)
{
    if (!http_answered(request))
        http_stream_begin(request, SSE_CONTENT_TYPE);
}

static size_t send_bytes(struct request *request, struct buf *bytes)
{
    size_t unread = 0;

    if (bytes->failed)
        http_cut(request);
    else
        unread = http_stream_write(request, bytes->data, bytes->len);
    buf_free(bytes);
    return unread;
}

static size_t send_events(struct sink *sink, const char *events, size_t len)
{
    struct request *request = request_of(sink);
    struct buf out = {0};
    struct event event;

    begin(request);
    while (event_next(&events, &len, &event)) {
        if (event.id[0])
            sse_id(&out, event.id);
        sse_begin(&out, event.name);
        buf_put(&out, event.json, event.len);
        sse_end(&out);
    }
    return send_bytes(request, &out);
}

static void send_end(struct sink *sink)
{
    struct request *request = last_word(sink);

    begin(request);
    http_stream_end(request, true);
}

static void send_failure(struct sink *sink, enum reply_error error, const char *param,
                         const char *text)
{
    struct request *request = last_word(sink);
    struct buf out = {0};

    if (!http_answered(request)) {
        reply_error(request, error, param, "%s", text);
        return;
    }
    sse_begin(&out, "error");
    reply_error_body(&out, error, param, text);
    sse_end(&out);
    (void)send_bytes(request, &out); /* the last word: no pause */
    http_stream_end(request, true);
}

static void send_comment(struct sink *sink)
{
    struct buf out = {0};

    sse_comment(&out, "keep-alive");
    (void)send_bytes(request_of(sink), &out); /* tiny: not counted */
}

static const struct sink_ops ops = {.whole = send_whole,
                                    .events = send_events,
                                    .close = send_end,
                                    .fail = send_failure,
                                    .silent = send_comment};

static void on_gone(struct request *request)
{
    if (request->sink.hooks)
        request->sink.hooks->gone(request->sink.user);
}

static void on_drained(struct request *request)
{
    if (request->sink.hooks)
        request->sink.hooks->drained(request->sink.user);
}

static const struct request_hooks hooks = {.gone = on_gone, .drained = on_drained};

struct sink *sink_of_request(struct request *request)
{
    request->hooks = &hooks;
    request->sink = (struct sink){.ops = &ops,
                                  .shard = request->shard,
                                  .request_id = request->id,
                                  .key_name = request->key_name,
                                  .received_ns = request->received_ns};
    return &request->sink;
}
