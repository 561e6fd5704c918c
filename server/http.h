/* HTTP over libmicrohttpd, which lives behind this header alone.
 *
 * One libmicrohttpd daemon a shard, in external epoll mode on the shard's libuv loop.  A request is
 * shown to its handler once, when its body is whole (headers and limits checked, key looked up).
 * The handler answers at once, or later from the same thread: until then the connection is
 * suspended.  Everything here is called on the request's own shard. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "server/sink.h"

struct shard;
struct request;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OTHER };

/* How a request that waits hears of its client.  Each may be NULL, and is never called from inside
 * another call of this header. */
struct request_hooks {
    /* The client left, or the server cancels all: no answer can be sent any more.  Called at most
     * once and never after the answer was complete; the request is not to be touched after it
     * returned.  A handler without this hook must still end its request with http_reply or
     * http_stream_end, which then sends nothing. */
    void (*gone)(struct request *request);
    /* A stream's unread bytes fell under half of stream_buffer_bytes. */
    void (*drained)(struct request *request);
};

struct request {
    struct shard *shard;
    enum http_method method;
    bool old_http;    /* HTTP/1.0: cannot be upgraded */
    const char *path; /* decoded, without query; starts with '/' */
    const char
        *route_name;      /* template for metrics and logs ("/sessions/{id}"), set by the router */
    char id[65];          /* X-Request-Id, given or minted */
    const char *key_name; /* name of the key that came with it; "" where no keys are configured */
    const char *body;     /* whole body, not NUL-terminated */
    size_t body_len;
    uint64_t received_ns; /* monotonic: the first byte of the request was seen */
    const struct request_hooks *hooks;
    void *user;       /* the handler's own */
    struct sink sink; /* sink_of_request() */
};

/* A header or query argument as sent (query: percent-decoded), or NULL.  Valid as long as the
 * request's client is there. */
const char *http_header(struct request *request, const char *name);
const char *http_query(struct request *request, const char *name);

/* Answers.  Takes the buffer's bytes (which is empty afterwards).  Once a request; ends it. */
void http_reply(struct request *request, unsigned status, const char *content_type,
                struct buf *body);

/* Adds a header to the answer that is still to come (Retry-After, Allow, WWW-Authenticate). */
void http_reply_header(struct request *request, const char *name, const char *value);

/* Streams: begin sends status line and headers, write queues bytes, end closes (clean = false cuts
 * the connection without the final chunk).  write returns the bytes not yet taken by the client; at
 * stream_buffer_bytes and more the writer is expected to pause until hooks->drained. */
void http_stream_begin(struct request *request, const char *content_type);
size_t http_stream_write(struct request *request, const void *bytes, size_t len);
void http_stream_end(struct request *request, bool clean);

/* Treats the client as one that has left: nothing more can be sent. */
void http_cut(struct request *request);

/* Whether an answer has been begun, or the client is gone: nothing may be sent then. */
bool http_answered(const struct request *request);

/* ---- Upgrades: a connection that leaves HTTP behind ---- */

/* What the handler of an upgraded connection hears, beside request_hooks.gone.  Never called from
 * inside another call of this header. */
struct socket_hooks {
    /* The socket is open now, can be read or written, or http_socket_wake() has asked: once a turn
     * at most. */
    void (*turn)(struct request *request);
    /* The server shuts down: end soon, in good order. */
    void (*drain)(struct request *request);
    /* End now. */
    void (*cancel)(struct request *request);
};

/* Answers 101 with the headers of http_reply_header().  Until the first `turn` the handler only
 * waits; from then on the socket is its own, until http_socket_close() or hooks->gone. */
void http_upgrade(struct request *request, const struct socket_hooks *hooks);

/* The bytes read or taken, at most `max` or `len`; 0: none at present; -1: the connection has
 * ended.  Bytes that came along with the handshake are read first. */
ssize_t http_socket_read(struct request *request, void *out, size_t max);
ssize_t http_socket_write(struct request *request, const void *bytes, size_t len);

/* Of the bytes written: those that the client's kernel has taken, and those that are still on their
 * way to it.  False: that cannot be told. */
bool http_socket_taken(const struct request *request, uint64_t *taken_bytes,
                       uint64_t *on_way_bytes);

/* What to wait for.  Whoever waits for neither still hears when the client leaves. */
void http_socket_wait(struct request *request, bool to_read, bool to_write);

/* Asks for hooks->turn before this turn of the loop is over. */
void http_socket_wake(struct request *request);

/* No more will be written: the client sees the end behind what it has been sent. */
void http_socket_finish(struct request *request);

/* The handler's last call. */
void http_socket_close(struct request *request);

/* ---- Life, for shard.c and listen.c ---- */
struct http;
int http_start(struct http **out, struct shard *shard, struct rnn_err *err);
/* Takes over an accepted socket; closes it on failure. */
void http_adopt(struct http *http, int fd);
/* No more keep-alive: each further answer closes its connection.  Upgraded ones are told. */
void http_drain(struct http *http);
/* Ends all requests as if their clients had gone; http_busy() is 0 some turns later. */
void http_cancel_all(struct http *http);
size_t http_busy(const struct http *http); /* requests in flight */
void http_stop(struct http *http);         /* only when not busy; closes all connections */
/* Once a turn, after the sockets: tells handlers what happened to their clients. */
void http_notices(struct http *http);
/* Reads, answers and writes whatever can be; the only place where libmicrohttpd runs.  Returns
 * whether there is more to do at once. */
bool http_pump(struct http *http);
/* Whether http_pump() or http_notices() has anything to do. */
bool http_ready(const struct http *http);

#endif
