/* Requests: from the first header to the last byte of the answer.
 *
 * libmicrohttpd calls http_on_request first with the headers alone.  What can be refused is refused
 * then, before the body is read: ambiguous framing (Content-Length beside Transfer-Encoding, either
 * of them twice), a missing Host, keys, a body announced too large.  The body is collected under
 * its limit; the router sees the request once, whole.  If it has not answered by the time it
 * returns, the connection is suspended, and resumed when there is an answer.  libmicrohttpd accepts
 * an answer only before the body or after it, so a body that grows too large is refused on the bare
 * socket.
 *
 * What handlers must hear (client gone, buffer drained) is noted and told at the end of the turn,
 * never from inside libmicrohttpd.  What they say is in http_reply.c.  Own shard's thread only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "server/http_inner.h"
#include "server/keys.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/router.h"
#include "server/ws_handshake.h"

#define STATUS_CLIENT_GONE 499 /* in logs and metrics only */
#define STATUS_SHUT_DOWN   503

/* ---- Life ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

void http_mint_id(struct http *http, char *id)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t n =
        mix(http->id_seed[0] + ++http->id_count * 0x9e3779b97f4a7c15ull) ^ http->id_seed[1];

    for (int i = 15; i >= 0; i--, n >>= 4)
        id[i] = digits[n & 15];
    id[16] = '\0';
}

static bool id_acceptable(const char *id)
{
    size_t len = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    return len >= 1 && len <= 64 && id[len] == '\0';
}

static enum http_method method_of(const char *name)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return (enum http_method)i;
    return HTTP_OTHER;
}

/* The path of a target in absolute form ("http://host/path"), which servers have to accept. */
static const char *path_of(const char *target)
{
    const char *path;

    if (strncasecmp(target, "http://", 7) != 0)
        return target;
    path = strchr(target + 7, '/');
    return path ? path : "/";
}

static struct exchange *exchange_new(struct connection *c, const char *target, const char *method)
{
    const char *path = path_of(target);
    size_t path_len = strlen(path);
    struct exchange *x = calloc(1, sizeof(*x) + path_len + 1);

    if (!x)
        return NULL;
    x->http = c->http;
    x->connection = c;
    x->refs = 1;
    memcpy(x->path, path, path_len + 1);
    snprintf(x->method_name, sizeof(x->method_name), "%s", method);
    x->request.shard = c->http->shard;
    x->request.method = method_of(method);
    x->request.path = x->path;
    x->request.key_name = "";
    x->request.body = "";
    x->request.received_ns = c->http->shard->now_ns;
    x->body_max = shard_config(c->http->shard)->body_max_bytes;
    c->exchange = x;
    c->partial_ns = 0;
    c->http->busy++;
    return x;
}

void exchange_unref(struct exchange *x)
{
    if (--x->refs > 0)
        return;
    if (x->response)
        MHD_destroy_response(x->response);
    buf_free(&x->body);
    buf_free(&x->headers);
    buf_free(&x->out);
    x->http->busy--;
    free(x);
}

/* The handler has done its part. */
void exchange_handler_ends(struct exchange *x)
{
    if (!x->handler_has_it)
        return;
    x->handler_has_it = false;
    exchange_unref(x);
}

/* ---- Suspending and resuming: exactly one resume for each suspend ---- */

void exchange_suspend(struct exchange *x)
{
    x->suspended = true;
    MHD_suspend_connection(x->connection->mhd);
}

void exchange_wake(struct exchange *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection->mhd);
    x->http->run_again = true; /* nothing else tells libmicrohttpd's epoll */
    shard_keep_turning(x->http->shard);
}

void exchange_notice(struct exchange *x)
{
    if (x->noticed)
        return;
    x->noticed = true;
    x->refs++;
    x->notice_next = NULL;
    *x->http->notices_end = x;
    x->http->notices_end = &x->notice_next;
    shard_keep_turning(x->http->shard);
}

void exchange_gone(struct exchange *x)
{
    if (x->gone)
        return;
    x->gone = true;
    if (x->handler_has_it) {
        x->tell_gone = true;
        exchange_notice(x);
    }
    if (x->connection) {
        (void)shutdown(x->connection->fd, SHUT_RDWR); /* for what is not suspended but stuck */
        exchange_wake(x);
    }
}

static void tell(struct exchange *x)
{
    const struct request_hooks *hooks = x->request.hooks;
    bool gone = x->tell_gone, drained = x->tell_drained, turn = x->tell_turn;

    x->noticed = x->tell_gone = x->tell_drained = x->tell_turn = false;
    if (x->upgrade && x->handler_has_it && !gone)
        upgrade_take(x);
    if (!x->handler_has_it) {
        upgrade_end(x); /* it has ended before the 101 was out */
        return;
    }
    if (gone && hooks && hooks->gone) {
        hooks->gone(&x->request);
        exchange_handler_ends(x);
        upgrade_end(x);
    } else if (drained && !x->gone && hooks && hooks->drained) {
        hooks->drained(&x->request);
    } else if (turn && !x->gone && x->socket_taken) {
        x->socket_hooks->turn(&x->request);
    }
}

void http_notices(struct http *http)
{
    struct exchange *x = http->notices;

    http->notices = NULL;
    http->notices_end = &http->notices;
    while (x) {
        struct exchange *next = x->notice_next;

        tell(x);
        exchange_unref(x);
        x = next;
    }
}

/* ---- What the headers decide ---- */

static bool open_to_all(const char *path)
{
    static const char *const paths[] = {"/", "/livez", "/readyz", "/version"};

    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (strcmp(path, paths[i]) == 0)
            return true;
    return false;
}

/* Whether a key was sent, and whose it is (NULL: unknown): as a bearer token, or, by a page that
 * opens a WebSocket and can set no headers, among the subprotocols. */
static bool key_sent(struct exchange *x, const struct keys *keys, const char **name)
{
    const char *sent = http_header(&x->request, "Authorization");
    char key[KEYS_KEY_MAX + 1];

    if (sent && strncasecmp(sent, "Bearer ", 7) == 0) {
        *name = keys_name(keys, sent + 7 + strspn(sent + 7, " "));
        return true;
    }
    if (!http_header(&x->request, "Upgrade") ||
        !ws_offered_key(http_header(&x->request, "Sec-WebSocket-Protocol"), key, sizeof key))
        return false;
    *name = keys_name(keys, key);
    explicit_bzero(key, sizeof key);
    return true;
}

/* Finds out who asks.  False: refused. */
static bool key_check(struct exchange *x)
{
    const struct keys *keys =
        atomic_load_explicit(&x->http->shard->server->keys, memory_order_acquire);
    const char *name = NULL;

    if (!keys)
        return true;
    if (key_sent(x, keys, &name)) {
        if (name) {
            x->request.key_name = name;
            return true;
        }
        if (open_to_all(x->path))
            return true;
        reply_error(&x->request, REPLY_KEY_UNKNOWN, NULL, "this key is not known here");
    } else {
        if (open_to_all(x->path))
            return true;
        reply_error(&x->request, REPLY_KEY_MISSING, NULL,
                    "want a key, as in \"Authorization: Bearer KEY\"");
    }
    metrics_count(x->http->shard->metrics, M_REJECTED_KEY, 1);
    return false;
}

/* Checks what the headers say.  False: an error answer has been made. */
static bool head_check(struct exchange *x, const struct http_head *head, const char *version)
{
    struct connection *c = x->connection;
    const union MHD_ConnectionInfo *info;
    const char *fault = http_head_fault(head, version);

    if (fault) {
        reply_error(&x->request, REPLY_MALFORMED, NULL, "%s", fault);
        return false;
    }
    info = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info && info->header_size > shard_config(x->http->shard)->header_max_bytes) {
        metrics_count(x->http->shard->metrics, M_REJECTED_LIMIT, 1);
        reply_error(&x->request, REPLY_HEADERS_TOO_LARGE, NULL,
                    "want at most %llu bytes of headers",
                    (unsigned long long)shard_config(x->http->shard)->header_max_bytes);
        return false;
    }
    if (!key_check(x))
        return false;
    if (head->length > x->body_max) {
        metrics_count(x->http->shard->metrics, M_REJECTED_LIMIT, 1);
        reply_error(&x->request, REPLY_TOO_LARGE, NULL, "want a body of at most %llu bytes",
                    (unsigned long long)x->body_max);
        return false;
    }
    return true;
}

/* ---- libmicrohttpd's callbacks ---- */

static enum MHD_Result queue(struct exchange *x)
{
    const struct server *server = x->http->shard->server;
    enum MHD_Result done;

    if (!x->socket_hooks && (x->close || x->http->draining ||
                             atomic_load_explicit(&server->draining, memory_order_relaxed)))
        (void)MHD_add_response_header(x->response, "Connection", "close");
    done = MHD_queue_response(x->connection->mhd, x->status, x->response);
    MHD_destroy_response(x->response); /* libmicrohttpd holds its own reference */
    x->response = NULL;
    x->queued = true;
    return done;
}

/* Answers what has been refused by its headers.  libmicrohttpd 0.9.75 gives up an unread body for
 * POST and PUT only; for the rest it has to be read and dropped. */
static enum MHD_Result refuse_early(struct exchange *x, const struct http_head *head)
{
    bool has_body = head->length > 0 || head->encodings > 0;

    if (!x->response)
        return MHD_NO;
    x->close = true;
    if (has_body && x->request.method != HTTP_POST && x->request.method != HTTP_PUT) {
        x->discard = true;
        return MHD_YES;
    }
    x->connection->linger = has_body;
    return queue(x);
}

static enum MHD_Result begin(struct http *http, struct MHD_Connection *mhd, const char *url,
                             const char *method, const char *version, void **context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    struct http_head head;
    struct exchange *x;
    const char *id;

    x = c ? exchange_new(c, url, method) : NULL;
    if (!x)
        return MHD_NO; /* out of memory: the connection closes */
    *context = x;
    http->asked = NULL;
    http_head_read(&head, mhd);
    id = http_header(&x->request, "X-Request-Id");
    if (id && id_acceptable(id))
        memcpy(x->request.id, id, strlen(id) + 1);
    else
        http_mint_id(http, x->request.id);
    x->request.old_http = strcmp(version, "HTTP/1.0") == 0;
    head.malformed |= c->target_malformed;
    if (!head_check(x, &head, version))
        return refuse_early(x, &head);
    return MHD_YES;
}

void exchange_refuse_raw(struct exchange *x, enum reply_error error, const char *message)
{
    if (x->status == 0) {
        x->status = reply_status(error);
        x->sent_bytes = connection_refuse_raw(x->connection, x->request.id, error, message);
    }
    (void)shutdown(x->connection->fd, SHUT_RDWR);
}

/* The same from inside the handler: libmicrohttpd closes the connection, and what is still under
 * way is taken first. */
static enum MHD_Result refuse_body(struct exchange *x, enum reply_error error, const char *message)
{
    x->status = reply_status(error);
    x->connection->linger = true;
    x->sent_bytes = connection_refuse_raw(x->connection, x->request.id, error, message);
    metrics_count(x->http->shard->metrics, M_REJECTED_LIMIT, 1);
    return MHD_NO;
}

static enum MHD_Result upload(struct exchange *x, const char *data, size_t *size)
{
    size_t n = *size;

    *size = 0;
    if (x->discard)
        return MHD_YES;
    if (x->body.len + n > x->body_max) {
        char message[80];

        snprintf(message, sizeof(message), "want a body of at most %llu bytes",
                 (unsigned long long)x->body_max);
        return refuse_body(x, REPLY_TOO_LARGE, message);
    }
    buf_put(&x->body, data, n);
    if (x->body.failed)
        return refuse_body(x, REPLY_NO_MEMORY, "no memory for the body");
    return MHD_YES;
}

static void dispatch(struct exchange *x)
{
    x->phase = EXCHANGE_RUNNING;
    x->handler_has_it = true;
    x->refs++;
    if (x->body.len > 0)
        x->request.body = x->body.data;
    x->request.body_len = x->body.len;
    router_dispatch(&x->request);
}

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **context)
{
    struct exchange *x = *context;

    if (!x)
        return begin(cls, mhd, url, method, version, context);
    if (*size > 0)
        return upload(x, data, size);
    if (x->queued)
        return MHD_YES;
    if (x->phase == EXCHANGE_UPLOADING && !x->discard)
        dispatch(x);
    if (x->gone)
        return MHD_NO;
    if (x->response)
        return queue(x);
    if (x->connection->peer_closed) {
        exchange_gone(x);
        return MHD_NO;
    }
    exchange_suspend(x);
    return MHD_YES;
}

static unsigned final_status(const struct exchange *x, enum MHD_RequestTerminationCode code)
{
    if (x->shut_down)
        return STATUS_SHUT_DOWN;
    if (x->gone || x->status == 0)
        return STATUS_CLIENT_GONE;
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && x->queued && !x->stream_cut)
        return STATUS_CLIENT_GONE;
    return x->status;
}

void exchange_account(struct exchange *x, struct MHD_Connection *mhd,
                      enum MHD_RequestTerminationCode code)
{
    struct shard *shard = x->http->shard;
    const char *route = x->request.route_name ? x->request.route_name : ROUTE_NONE;
    double seconds = (double)(uv_hrtime() - x->request.received_ns) * 1e-9; /* this very moment */
    unsigned refused = x->queued ? 0 : http_refused_claim(x->http, mhd);
    unsigned status = refused ? refused : final_status(x, code);

    if (x->accounted)
        return;
    x->accounted = true;
    metrics_request(shard->metrics, route, status, seconds);
    log_line(CONFIG_LOG_INFO, "request", LOG_TEXT("id", x->request.id),
             LOG_TEXT("method", x->method_name), LOG_TEXT("route", route),
             LOG_NUMBER("status", status), LOG_NUMBER("ms", seconds * 1e3),
             LOG_NUMBER("bytes", x->sent_bytes), LOG_TEXT("key", x->request.key_name));
}

/* Of a connection that libmicrohttpd closes, or waits on for the next request. */
static void let_go(struct exchange *x)
{
    struct connection *c = x->connection;

    c->exchange = NULL;
    c->bytes_known = false;
    x->connection = NULL;
    x->suspended = false;
    if (x->handler_has_it) /* cut off under way: stuck too long, reset, a stream asked by HEAD */
        exchange_gone(x);
}

void http_on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                       enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;

    (void)cls;
    if (!x)
        return;
    *context = NULL;
    exchange_account(x, mhd, code);
    if (!x->socket_taken)
        let_go(x);
    if (x->response) { /* never queued; a stream's refers back to the exchange */
        MHD_destroy_response(x->response);
        x->response = NULL;
    }
    exchange_unref(x);
}
