/* What a handler may ask of its request and say to it: headers, a whole reply, a stream.
 *
 * A stream is a response whose content reader takes from a buffer and suspends the connection when
 * that is empty; what is written resumes it.  Every call is safe on a request whose client has
 * gone.  Own shard's thread only. */
#include <stdlib.h>
#include <string.h>

#include "server/http_inner.h"

#define STREAM_BLOCK_BYTES 1024

/* ---- Whole replies ---- */

const char *http_header(struct request *request, const char *name)
{
    struct connection *c = exchange_of(request)->connection;

    return c && c->mhd ? MHD_lookup_connection_value(c->mhd, MHD_HEADER_KIND, name) : NULL;
}

const char *http_query(struct request *request, const char *name)
{
    struct connection *c = exchange_of(request)->connection;

    return c && c->mhd ? MHD_lookup_connection_value(c->mhd, MHD_GET_ARGUMENT_KIND, name) : NULL;
}

bool http_answered(const struct request *request)
{
    const struct exchange *x = (const struct exchange *)(const void *)request;

    return x->gone || x->status != 0;
}

void http_reply_header(struct request *request, const char *name, const char *value)
{
    struct exchange *x = exchange_of(request);

    buf_put(&x->headers, name, strlen(name) + 1);
    buf_put(&x->headers, value, strlen(value) + 1);
}

void exchange_put_headers(struct exchange *x, const char *content_type)
{
    const char *at = x->headers.data, *end = at ? at + x->headers.len : NULL;

    if (content_type)
        (void)MHD_add_response_header(x->response, "Content-Type", content_type);
    (void)MHD_add_response_header(x->response, "X-Request-Id", x->request.id);
    while (at < end) {
        const char *value = at + strlen(at) + 1;

        (void)MHD_add_response_header(x->response, at, value);
        at = value + strlen(value) + 1;
    }
}

static struct MHD_Response *response_of(struct exchange *x, struct buf *body)
{
    static char no_memory[] = "{\"error\":{\"message\":\"no memory for the answer\",\"type\":"
                              "\"server_error\",\"param\":null,\"code\":\"no_memory\"}}";
    struct MHD_Response *response;
    size_t len = 0;
    char *data;

    if (body->failed) {
        x->status = 503;
        x->sent_bytes = sizeof(no_memory) - 1;
        return MHD_create_response_from_buffer(sizeof(no_memory) - 1, no_memory,
                                               MHD_RESPMEM_PERSISTENT);
    }
    if (body->len == 0)
        return MHD_create_response_from_buffer(0, no_memory, MHD_RESPMEM_PERSISTENT);
    data = buf_take(body, &len);
    response = MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
    if (!response)
        free(data);
    x->sent_bytes = len;
    return response;
}

void http_reply(struct request *request, unsigned status, const char *content_type,
                struct buf *body)
{
    struct exchange *x = exchange_of(request);

    if (x->gone || x->status != 0) {
        buf_free(body);
        exchange_handler_ends(x);
        return;
    }
    x->status = status;
    x->response = response_of(x, body);
    buf_free(body);
    x->phase = EXCHANGE_ANSWERED;
    if (x->response) {
        exchange_put_headers(x, content_type);
        exchange_wake(x);
    } else {
        exchange_gone(x); /* no memory at all: the connection closes */
    }
    exchange_handler_ends(x);
}

void http_cut(struct request *request)
{
    exchange_gone(exchange_of(request));
}

/* ---- Streams ---- */

/* Bytes fell from the upper half of the buffer into the lower one. */
static void note_drained(struct exchange *x, size_t before)
{
    size_t half = (size_t)shard_config(x->http->shard)->stream_buffer_bytes / 2;

    if (before >= half && x->out.len - x->out_taken < half) {
        x->tell_drained = true;
        exchange_notice(x);
    }
}

/* Inside libmicrohttpd.  Has to suspend where it returns 0: it would be asked again at once. */
static ssize_t on_read(void *cls, uint64_t position, char *out, size_t max)
{
    struct exchange *x = cls;
    size_t unread = x->out.len - x->out_taken;
    size_t n = unread < max ? unread : max;

    (void)position;
    if (x->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n > 0) {
        memcpy(out, x->out.data + x->out_taken, n);
        x->out_taken += n;
        x->sent_bytes += n;
        if (x->out_taken == x->out.len) {
            buf_clear(&x->out);
            x->out_taken = 0;
        }
        note_drained(x, unread);
        return (ssize_t)n;
    }
    if (x->stream_ended)
        return x->stream_cut ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    if (x->connection->peer_closed) {
        exchange_gone(x);
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    exchange_suspend(x);
    return 0;
}

static void on_response_freed(void *cls)
{
    exchange_unref(cls);
}

void http_stream_begin(struct request *request, const char *content_type)
{
    struct exchange *x = exchange_of(request);

    if (x->gone || x->status != 0)
        return;
    x->status = 200;
    x->streaming = true;
    x->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, on_read,
                                                    x, on_response_freed);
    if (!x->response) {
        exchange_gone(x);
        return;
    }
    x->refs++;
    exchange_put_headers(x, content_type);
    (void)MHD_add_response_header(x->response, "Cache-Control", "no-store");
    (void)MHD_add_response_header(x->response, "X-Accel-Buffering", "no");
    exchange_wake(x);
}

static void compact(struct exchange *x)
{
    size_t unread = x->out.len - x->out_taken;

    if (x->out_taken < unread)
        return; /* moving less than has been taken keeps the cost linear */
    if (unread > 0)
        memmove(x->out.data, x->out.data + x->out_taken, unread);
    x->out.len = unread;
    x->out_taken = 0;
}

size_t http_stream_write(struct request *request, const void *bytes, size_t len)
{
    struct exchange *x = exchange_of(request);

    if (x->gone || !x->streaming || x->stream_ended)
        return 0;
    compact(x);
    buf_put(&x->out, bytes, len);
    if (x->out.failed) {
        x->out_taken = 0;
        exchange_gone(x);
        return 0;
    }
    exchange_wake(x);
    return x->out.len - x->out_taken;
}

void http_stream_end(struct request *request, bool clean)
{
    struct exchange *x = exchange_of(request);

    if (!x->gone && x->streaming && !x->stream_ended) {
        x->stream_ended = true;
        x->stream_cut = !clean;
        x->phase = EXCHANGE_ANSWERED;
        exchange_wake(x);
    }
    exchange_handler_ends(x);
}
