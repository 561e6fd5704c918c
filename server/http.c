/* Connections: one libmicrohttpd daemon a shard in external epoll mode, pumped by the shard's loop.
 *
 * libmicrohttpd never sees three things, so this file watches for them.  (1) A client that leaves
 * while its connection is suspended: each socket is also in an epoll set of ours for EPOLLRDHUP,
 * edge-triggered, added once.  (2) A FIN that came in one piece with a request: a sweep shuts
 * sockets whose peer has closed and that carry no request.  (3) A request that trickles in: the
 * same sweep, which visits every connection once a second, looks at the kernel's count of received
 * bytes.  The idle timeout is libmicrohttpd's own, daemon-wide; per-connection ones are scanned
 * linearly and were refused.  Wakes of libmicrohttpd's own (ITC) do not exist in this mode: whoever
 * resumes a connection sets run_again.  Own shard's thread only. */
#include "server/http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/http_inner.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/tcpinfo.h"

#define SWEEP_MS     250u
#define SWEEP_PARTS  4u /* a full round takes SWEEP_MS * SWEEP_PARTS = 1 s */
#define LINGER_NS    2000000000ull
#define LINGER_BYTES (256u * 1024u) /* taken of one lingering socket in one turn */
#define SECOND_NS    1000000000ull
#define NO_SLOT      UINT32_MAX
#define RUNS_MAX     4 /* of libmicrohttpd in one pump, before others get their turn */

/* ---- Slots and the watch ---- */

static bool slots_grow(struct http *http)
{
    uint32_t n = http->n_slots ? http->n_slots * 2 : 64;
    struct slot *slots = realloc(http->slots, n * sizeof(*slots));

    if (!slots)
        return false;
    for (uint32_t i = http->n_slots; i < n; i++)
        slots[i] = (struct slot){.next_free = i + 1 < n ? i + 1 : NO_SLOT};
    http->first_free = http->n_slots;
    http->slots = slots;
    http->n_slots = n;
    return true;
}

static bool slot_take(struct connection *c)
{
    struct http *http = c->http;

    if (http->first_free == NO_SLOT && !slots_grow(http))
        return false;
    c->slot = http->first_free;
    http->first_free = http->slots[c->slot].next_free;
    http->slots[c->slot].connection = c;
    return true;
}

static void slot_free(struct connection *c)
{
    struct slot *slot = &c->http->slots[c->slot];

    slot->connection = NULL;
    slot->generation++;
    slot->next_free = c->http->first_free;
    c->http->first_free = c->slot;
}

static bool watch_set(struct connection *c, int operation, uint32_t events)
{
    struct epoll_event event = {
        .events = events, .data.u64 = (uint64_t)c->http->slots[c->slot].generation << 32 | c->slot};

    return epoll_ctl(c->http->watch_fd, operation, c->fd, &event) == 0;
}

static bool watch(struct connection *c, uint32_t events)
{
    return watch_set(c, EPOLL_CTL_ADD, events);
}

void connection_watch(struct connection *c, uint32_t events)
{
    (void)watch_set(c, EPOLL_CTL_MOD, events); /* cannot fail: it has been there since it came */
}

void connection_unwatch(struct connection *c)
{
    (void)epoll_ctl(c->http->watch_fd, EPOLL_CTL_DEL, c->fd, NULL); /* ENOENT is as good */
}

/* ---- Connections ---- */

static void count_connection(struct http *http, int change)
{
    metrics_gauge_add(http->shard->metrics, G_CONNECTIONS, change);
    http->n_connections += (size_t)change; /* wraps on purpose for -1 */
}

static struct connection *connection_new(struct http *http, int fd, uint32_t events)
{
    struct connection *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->http = http;
    c->fd = fd;
    c->bytes_known = true; /* none */
    if (!slot_take(c)) {
        free(c);
        return NULL;
    }
    if (!watch(c, events)) {
        slot_free(c);
        free(c);
        return NULL;
    }
    c->next = &http->connections;
    c->prev = http->connections.prev;
    c->prev->next = c;
    http->connections.prev = c;
    count_connection(http, 1);
    return c;
}

static struct connection *connection_of(struct http *http, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *c = connection_new(http, info->connect_fd, EPOLLRDHUP | EPOLLET);

    if (!c)
        return NULL;
    c->mhd = mhd;
    metrics_count(http->shard->metrics, M_CONNECTIONS, 1);
    return c;
}

struct connection *connection_take(const struct connection *from, uint32_t events)
{
    struct http *http = from->http;
    int fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 0);
    struct connection *c;

    if (fd < 0)
        return NULL;
    c = connection_new(http, fd, events);
    if (!c) {
        close(fd);
        return NULL;
    }
    atomic_fetch_add_explicit(&http->shard->n_connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&http->shard->server->n_connections, 1, memory_order_relaxed);
    return c;
}

/* Forgets the connection; its socket is the caller's affair. */
static void connection_free(struct connection *c)
{
    struct http *http = c->http;

    c->prev->next = c->next;
    c->next->prev = c->prev;
    if (http->asked == c)
        http->asked = NULL;
    slot_free(c);
    free(c);
    count_connection(http, -1);
    atomic_fetch_sub_explicit(&http->shard->n_connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&http->shard->server->n_connections, 1, memory_order_relaxed);
}

void connection_close(struct connection *c)
{
    connection_unwatch(c);
    close(c->fd);
    connection_free(c);
}

/* Keeps a socket of its own on a refused connection, to take what the client is still sending: a
 * close with unread bytes would reset the connection and with it, often, the answer. */
static bool linger_begin(struct connection *c)
{
    int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return false;
    connection_unwatch(c);
    (void)shutdown(fd, SHUT_WR); /* fails only where the client is gone: the watch tells */
    c->fd = fd;
    c->mhd = NULL;
    c->exchange = NULL;
    c->linger_until_ns = c->http->shard->now_ns + LINGER_NS;
    if (!watch(c, EPOLLIN | EPOLLRDHUP)) {
        close(fd);
        return false;
    }
    return true;
}

static void linger_read(struct connection *c)
{
    char sink[16384];
    size_t taken = 0;

    while (taken < LINGER_BYTES) {
        ssize_t n = recv(c->fd, sink, sizeof(sink), MSG_DONTWAIT);

        if (n > 0)
            taken += (size_t)n;
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        else {
            connection_close(c);
            return;
        }
    }
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *http = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = connection_of(http, mhd);
    } else if (code == MHD_CONNECTION_NOTIFY_CLOSED && *context) {
        struct connection *c = *context;

        if (c->linger && !c->peer_closed && linger_begin(c))
            return;
        connection_unwatch(c);
        connection_free(c);
    }
}

static const char *reason_phrase(unsigned status)
{
    switch (status) {
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "Bad Request";
    }
}

size_t connection_refuse_raw(struct connection *c, const char *request_id, enum reply_error error,
                             const char *message)
{
    unsigned status = reply_status(error);
    struct buf body = {0}, answer = {0};
    size_t len;

    reply_error_body(&body, error, NULL, message);
    buf_printf(&answer,
               "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
               "Connection: close\r\n",
               status, reason_phrase(status), body.len);
    if (request_id)
        buf_printf(&answer, "X-Request-Id: %s\r\n", request_id);
    buf_puts(&answer, "\r\n");
    buf_put(&answer, body.data, body.len);
    if (!answer.failed && !body.failed) /* best effort: the connection ends in any case */
        (void)send(c->fd, answer.data, answer.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    len = body.len;
    buf_free(&body);
    buf_free(&answer);
    return len;
}

/* ---- The sweep ---- */

/* Between requests: ends half-closed connections and those whose next request trickles in. */
static void sweep_idle(struct connection *c, uint64_t now_ns, uint64_t limit_ns)
{
    uint64_t bytes = 0;
    bool closed = false;

    if (!tcpinfo_look(c->fd, &bytes, &closed))
        return;
    if (closed && c->half_closed_twice) {
        shutdown(c->fd, SHUT_RDWR);
        return;
    }
    c->half_closed_twice = closed; /* a request that came with the FIN may still be in the socket */
    if (!c->bytes_known) {
        c->bytes_known = true;
        c->bytes_seen = bytes;
    } else if (bytes != c->bytes_seen && c->partial_ns == 0) {
        c->partial_ns = now_ns;
    }
    if (c->partial_ns != 0 && now_ns - c->partial_ns > limit_ns) {
        (void)connection_refuse_raw(c, NULL, REPLY_SLOW, "the request did not arrive in time");
        shutdown(c->fd, SHUT_RDWR);
    }
}

/* During an upload: a client that has shut its side, seen so twice, will not send the rest. */
static bool upload_abandoned(struct connection *c)
{
    bool before = c->half_closed_twice;
    uint64_t bytes = 0;

    return tcpinfo_look(c->fd, &bytes, &c->half_closed_twice) && c->half_closed_twice && before;
}

static void sweep_one(struct connection *c)
{
    uint64_t now_ns = c->http->shard->now_ns;
    uint64_t limit_ns = (uint64_t)shard_config(c->http->shard)->request_timeout_s * SECOND_NS;
    struct exchange *x = c->exchange;

    if (!c->mhd) {
        if (!x && now_ns >= c->linger_until_ns)
            connection_close(c);
    } else if (!x) {
        sweep_idle(c, now_ns, limit_ns);
    } else if ((x->phase == EXCHANGE_UPLOADING || x->discard) && !x->queued) {
        if (upload_abandoned(c))
            shutdown(c->fd, SHUT_RDWR);
        else if (now_ns - x->request.received_ns > limit_ns)
            exchange_refuse_raw(x, REPLY_SLOW, "the request's body did not arrive in time");
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct http *http = timer->data;
    size_t n;

    shard_clock(http->shard);
    if (http->sweep_part++ % SWEEP_PARTS == 0) /* a round's share is fixed where it begins */
        http->sweep_share = http->n_connections / SWEEP_PARTS + 1;
    n = http->sweep_share;
    while (n-- > 0 && http->connections.next != &http->connections) {
        struct connection *c = http->connections.next;

        c->prev->next = c->next; /* to the end of the ring: the next sweep begins after it */
        c->next->prev = c->prev;
        c->next = &http->connections;
        c->prev = http->connections.prev;
        c->prev->next = c;
        http->connections.prev = c;
        sweep_one(c);
    }
    http->run_again = true; /* libmicrohttpd's own timeouts are found out by running it */
    shard_keep_turning(http->shard);
}

/* ---- The loop ---- */

static void on_mhd(uv_poll_t *poll, int status, int events)
{
    struct http *http = poll->data;

    (void)status;
    (void)events;
    shard_clock(http->shard);
    http->run_again = true;
}

static void peer_closed(struct connection *c)
{
    struct exchange *x = c->exchange;

    c->peer_closed = true;
    if (x && x->phase == EXCHANGE_RUNNING)
        exchange_gone(x);
}

static bool is_upgraded(const struct connection *c)
{
    return c->exchange && c->exchange->phase == EXCHANGE_UPGRADED;
}

static void on_watch(uv_poll_t *poll, int status, int events)
{
    struct http *http = poll->data;
    struct epoll_event found[128];
    int n = epoll_wait(http->watch_fd, found, 128, 0);

    (void)status;
    (void)events;
    shard_clock(http->shard);
    for (int i = 0; i < n; i++) {
        uint32_t at = (uint32_t)found[i].data.u64;
        struct slot *slot = &http->slots[at];

        if (!slot->connection || slot->generation != found[i].data.u64 >> 32)
            continue;
        if (is_upgraded(slot->connection))
            upgrade_on_events(slot->connection->exchange, found[i].events);
        else if (!slot->connection->mhd)
            linger_read(slot->connection);
        else if (found[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            peer_closed(slot->connection);
    }
}

bool http_ready(const struct http *http)
{
    return http->run_again || http->notices;
}

bool http_pump(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG timeout;
    int runs = 0;

    do {
        http->run_again = false;
        MHD_run(http->daemon);
        if (MHD_get_timeout(http->daemon, &timeout) == MHD_YES && timeout == 0)
            http->run_again = true;
    } while (http->run_again && ++runs < RUNS_MAX);
    if (http->n_refused > 0)
        http_refused_tell(http);
    return http->run_again;
}

void http_adopt(struct http *http, int fd)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);
    size_t before = http->n_connections;

    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        close(fd);
    else
        (void)MHD_add_connection(http->daemon, fd, (const struct sockaddr *)&peer, len);
    http->run_again = true;
    if (http->n_connections > before)
        return; /* it is counted off when it is freed */
    atomic_fetch_sub_explicit(&http->shard->n_connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&http->shard->server->n_connections, 1, memory_order_relaxed);
}

/* ---- Life ---- */

/* The request line's target as sent: libmicrohttpd, which decodes it, would take anything. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    struct http *http = cls;

    http->asked = c;
    if (!c)
        return NULL;
    c->target_malformed = *uri != '/' && *uri != '*' && strncasecmp(uri, "http://", 7) != 0;
    for (; *uri; uri++)
        if (*uri <= ' ' || *uri > '~' || (uri[0] == '%' && uri[1] == '0' && uri[2] == '0'))
            c->target_malformed = true;
    return NULL; /* the context of a request is made when its headers are there */
}

static struct MHD_Daemon *daemon_start(struct http *http)
{
    const struct config *config = shard_config(http->shard);
    /* headers as parsed, and the answer's, share this memory with the bytes of the request */
    size_t memory = (size_t)config->header_max_bytes + (size_t)config->header_max_bytes / 2;

    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_NO_LISTEN_SOCKET |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, http_on_request, http, MHD_OPTION_EXTERNAL_LOGGER, http_on_words, http,
        /* the acceptor keeps the limit; libmicrohttpd's own is never to be met */
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->connections_max + 256u,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)config->idle_timeout_s, MHD_OPTION_STRICT_FOR_CLIENT,
        0, /* http_request.c is stricter */
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        http, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, http, MHD_OPTION_END);
}

static int handles_open(struct http *http)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_loop_t *loop = http->shard->loop;

    http->mhd_poll.data = http->watch_poll.data = http->sweep_timer.data = http;
    if (uv_timer_init(loop, &http->sweep_timer) < 0)
        return -1;
    http->handles_open = 1;
    if (uv_poll_init(loop, &http->watch_poll, http->watch_fd) < 0)
        return -1;
    http->handles_open = 2;
    if (uv_poll_init(loop, &http->mhd_poll, info->epoll_fd) < 0)
        return -1;
    http->handles_open = 3;
    if (uv_timer_start(&http->sweep_timer, on_sweep, SWEEP_MS, SWEEP_MS) < 0 ||
        uv_poll_start(&http->watch_poll, UV_READABLE, on_watch) < 0 ||
        uv_poll_start(&http->mhd_poll, UV_READABLE, on_mhd) < 0)
        return -1;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct http *http = handle->data;

    if (--http->handles_open > 0)
        return;
    close(http->watch_fd);
    free(http->slots);
    free(http);
}

/* The loop must turn once more for the memory to go. */
static void handles_close(struct http *http)
{
    unsigned n = http->handles_open;

    if (n > 2)
        uv_close((uv_handle_t *)&http->mhd_poll, on_closed);
    if (n > 1)
        uv_close((uv_handle_t *)&http->watch_poll, on_closed);
    if (n > 0)
        uv_close((uv_handle_t *)&http->sweep_timer, on_closed);
    if (n == 0) {
        close(http->watch_fd);
        free(http);
    }
}

int http_start(struct http **out, struct shard *shard, struct rnn_err *err)
{
    struct http *http = calloc(1, sizeof(*http));

    if (!http)
        return rnn_fail(err, RNN_ENOMEM, "no memory for a shard's connections");
    http->shard = shard;
    http->first_free = NO_SLOT;
    http->connections.next = http->connections.prev = &http->connections;
    http->notices_end = &http->notices;
    if (getrandom(http->id_seed, sizeof(http->id_seed), 0) != (ssize_t)sizeof(http->id_seed))
        http->id_seed[0] = http->id_seed[1] = shard->now_ns + shard->index;
    http->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    if (http->watch_fd < 0) {
        free(http);
        return rnn_fail(err, RNN_EIO, "epoll_create1: %s", strerror(errno));
    }
    http->daemon = daemon_start(http);
    if (!http->daemon) {
        handles_close(http);
        return rnn_fail(err, RNN_EIO, "libmicrohttpd could not start (%s)", strerror(errno));
    }
    if (handles_open(http) < 0) {
        MHD_stop_daemon(http->daemon);
        handles_close(http);
        return rnn_fail(err, RNN_EIO, "the loop could not take a shard's sockets");
    }
    *out = http;
    return 0;
}

void http_drain(struct http *http)
{
    http->draining = true;
    for (struct connection *c = http->connections.next, *next; c != &http->connections; c = next) {
        next = c->next; /* it may close */
        if (is_upgraded(c))
            upgrade_drain(c->exchange);
    }
}

void http_cancel_all(struct http *http)
{
    for (struct connection *c = http->connections.next, *next; c != &http->connections; c = next) {
        struct exchange *x = c->exchange;

        next = c->next; /* it may close */
        if (!x)
            continue;
        if (x->phase == EXCHANGE_RUNNING) {
            x->shut_down = true;
            exchange_gone(x);
        } else if (x->phase == EXCHANGE_UPGRADED) {
            upgrade_cancel(x);
        } else {
            shutdown(c->fd, SHUT_RDWR);
        }
    }
}

size_t http_busy(const struct http *http)
{
    return http->busy;
}

void http_stop(struct http *http)
{
    for (struct connection *c = http->connections.next, *next; c != &http->connections; c = next) {
        next = c->next;
        c->linger = false;
        if (!c->mhd)
            connection_close(c);
    }
    MHD_stop_daemon(http->daemon);
    http->daemon = NULL;
    handles_close(http);
}
