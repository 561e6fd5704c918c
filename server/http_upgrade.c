/* Upgraded connections: the socket of a request whose answer was 101 is its handler's.
 *
 * libmicrohttpd sends the 101 and would keep the connection suspended, with its memory, until it is
 * given back; and it walks over all that are suspended whenever one of them is resumed, which
 * ordinary requests are all the time.  So the socket is taken over: we keep a descriptor of our
 * own, and libmicrohttpd closes its one at once.  The socket stands in our watch, level-triggered,
 * for what its handler waits for, and always for the client's leaving.  Events are noted, and told
 * at the start or end of a turn like every other notice.  The exchange lives as long as the socket,
 * so that a shut-down waits for it.
 *
 * Not inside TLS: libmicrohttpd 0.9.75 stalls there; a proxy in front ends it.  Own shard's thread
 * only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "server/http_inner.h"
#include "server/tcpinfo.h"

/* Inside libmicrohttpd, when the 101 has been sent. */
static void on_upgraded(void *cls, struct MHD_Connection *mhd, void *context, const char *early,
                        size_t n_early, MHD_socket fd, struct MHD_UpgradeResponseHandle *upgrade)
{
    struct exchange *x = cls;

    (void)context;
    (void)fd; /* the connection's */
    x->upgrade = upgrade;
    x->phase = EXCHANGE_UPGRADED;
    exchange_account(x, mhd, MHD_REQUEST_TERMINATED_COMPLETED_OK);
    buf_put(&x->body, early, n_early);
    if (x->body.failed)
        exchange_gone(x);
    x->tell_turn = true; /* which takes the socket over: not from in here */
    exchange_notice(x);
}

static bool is_open(const struct exchange *x)
{
    return x->socket_taken && x->connection;
}

void http_upgrade(struct request *request, const struct socket_hooks *hooks)
{
    struct exchange *x = exchange_of(request);

    if (x->gone || x->status != 0)
        return;
    x->status = MHD_HTTP_SWITCHING_PROTOCOLS;
    x->socket_hooks = hooks;
    x->response = MHD_create_response_for_upgrade(on_upgraded, x);
    x->phase = EXCHANGE_ANSWERED;
    if (!x->response) {
        exchange_gone(x);
        return;
    }
    exchange_put_headers(x, NULL);
    exchange_wake(x);
}

static ssize_t read_early(struct exchange *x, void *out, size_t max)
{
    size_t left = x->body.len - x->early_taken, n = left < max ? left : max;

    memcpy(out, x->body.data + x->early_taken, n);
    x->early_taken += n;
    if (n == left) {
        buf_free(&x->body);
        x->early_taken = 0;
    }
    return (ssize_t)n;
}

ssize_t http_socket_read(struct request *request, void *out, size_t max)
{
    struct exchange *x = exchange_of(request);
    ssize_t n;

    if (x->gone || !is_open(x))
        return -1;
    if (x->body.len > 0)
        return read_early(x, out, max);
    do
        n = recv(x->connection->fd, out, max, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return n > 0 ? n : -1;
}

ssize_t http_socket_write(struct request *request, const void *bytes, size_t len)
{
    struct exchange *x = exchange_of(request);
    ssize_t n;

    if (x->gone || !is_open(x))
        return -1;
    do
        n = send(x->connection->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n > 0)
        x->sent_bytes += (size_t)n;
    return n;
}

bool http_socket_taken(const struct request *request, uint64_t *taken_bytes, uint64_t *on_way_bytes)
{
    const struct exchange *x = (const struct exchange *)request; /* its first member */

    return is_open(x) && tcpinfo_taken(x->connection->fd, taken_bytes, on_way_bytes);
}

void http_socket_wait(struct request *request, bool to_read, bool to_write)
{
    struct exchange *x = exchange_of(request);
    uint32_t events = EPOLLRDHUP | (to_read ? EPOLLIN : 0u) | (to_write ? EPOLLOUT : 0u);

    if (!is_open(x) || x->waits_for == events)
        return;
    x->waits_for = events;
    connection_watch(x->connection, events);
}

void http_socket_wake(struct request *request)
{
    struct exchange *x = exchange_of(request);

    if (!is_open(x))
        return; /* it is told when it opens */
    x->tell_turn = true;
    exchange_notice(x);
}

void http_socket_finish(struct request *request)
{
    struct exchange *x = exchange_of(request);

    if (is_open(x))
        (void)shutdown(x->connection->fd, SHUT_WR); /* fails only where the client is gone */
}

/* libmicrohttpd's own descriptor is closed when it runs next. */
static void give_back(struct exchange *x)
{
    (void)MHD_upgrade_action(x->upgrade, MHD_UPGRADE_ACTION_CLOSE); /* fails only where NULL */
    x->upgrade = NULL;
    x->http->run_again = true;
    shard_keep_turning(x->http->shard);
}

void upgrade_take(struct exchange *x)
{
    struct connection *from = x->connection, *ours;

    x->waits_for = EPOLLRDHUP;
    ours = connection_take(from, x->waits_for);
    if (!ours) {
        exchange_gone(x);
        return;
    }
    connection_unwatch(from);
    from->exchange = NULL;
    ours->exchange = x;
    x->connection = ours;
    x->socket_taken = true;
    x->refs++; /* the connection's */
    give_back(x);
}

void upgrade_end(struct exchange *x)
{
    if (x->upgrade) {
        connection_unwatch(x->connection);
        give_back(x);
    } else if (is_open(x)) {
        connection_close(x->connection);
        x->connection = NULL;
        exchange_unref(x);
    }
}

void http_socket_close(struct request *request)
{
    struct exchange *x = exchange_of(request);

    upgrade_end(x); /* the handler's reference holds it */
    exchange_handler_ends(x);
}

/* ---- For http.c ---- */

void upgrade_on_events(struct exchange *x, uint32_t events)
{
    if (!is_open(x))
        return;
    if (!(x->waits_for & EPOLLIN) && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
        exchange_gone(x); /* who reads sees the end behind the last bytes */
        connection_unwatch(x->connection);
        return;
    }
    x->tell_turn = true;
    exchange_notice(x);
}

void upgrade_drain(struct exchange *x)
{
    if (x->handler_has_it && !x->gone)
        x->socket_hooks->drain(&x->request);
}

void upgrade_cancel(struct exchange *x)
{
    if (x->handler_has_it && !x->gone)
        x->socket_hooks->cancel(&x->request);
}
