/* Binds, accepts, and deals each connection to the shard that has the fewest, by mailbox: sockets
 * of SO_REUSEPORT are spread by hash, which is uneven where there are few.  Options of the
 * listening socket (no delay, keep-alive probes for peers that vanish) pass on to what it accepts.
 *
 * Out of file descriptors, accept() would fail for ever and the loop would spin on a readable
 * socket.  So one descriptor is kept in reserve: it is given up to accept one client and turn it
 * away, and then accepting pauses for a moment.  Main thread only. */
#include "server/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/config.h"
#include "server/http.h"
#include "server/log.h"
#include "server/server.h"
#include "server/shard.h"

#define BACKLOG          4096
#define ACCEPTS_MAX      64 /* in one turn */
#define PAUSE_MS         100
#define PROBE_IDLE_S     60 /* then every PROBE_INTERVAL_S, PROBES times */
#define PROBE_INTERVAL_S 15
#define PROBES           4
#define FDS_BESIDE       48 /* descriptors for everything but connections */
#define FDS_PER_SHARD    12

struct listener {
    struct server *server;
    int fd;
    int reserve_fd;
    size_t connections_max;
    uv_poll_t poll;
    uv_timer_t pause;
    unsigned handles_open;
    unsigned next_shard;
    bool pausing;
    bool complained; /* about the present shortage */
    char address[96];
};

/* One accepted socket on its way to a shard. */
struct parcel {
    struct message message;
    int fd;
};

#define BUSY_BODY                                                                                  \
    "{\"error\":{\"message\":\"too many connections\",\"type\":\"server_error\",\"param\":null,"   \
    "\"code\":\"too_many_connections\"}}"

/* ---- Accepting ---- */

static void deliver(struct shard *shard, struct message *message)
{
    struct parcel *parcel = (struct parcel *)(void *)message;

    if (shard->http) {
        http_adopt(shard->http, parcel->fd);
    } else {
        close(parcel->fd);
        atomic_fetch_sub_explicit(&shard->n_connections, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&shard->server->n_connections, 1, memory_order_relaxed);
    }
    free(parcel);
}

/* The one with the fewest connections; among equals they take turns. */
static struct shard *choose_shard(struct listener *l)
{
    const struct server *server = l->server;
    struct shard *best = NULL;
    unsigned fewest = 0;

    for (unsigned i = 0; i < server->n_shards; i++) {
        struct shard *shard = server->shards[(l->next_shard + i) % server->n_shards];
        unsigned n = atomic_load_explicit(&shard->n_connections, memory_order_relaxed);

        if (!best || n < fewest) {
            best = shard;
            fewest = n;
        }
    }
    l->next_shard = (best->index + 1) % server->n_shards;
    return best;
}

static void turn_away(int fd)
{
    char answer[512];
    int len = snprintf(answer, sizeof(answer),
                       "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\nConnection: close\r\nRetry-After: 1\r\n\r\n%s",
                       sizeof(BUSY_BODY) - 1, BUSY_BODY);

    /* small enough for any socket's buffer; a client that does not take it has lost nothing */
    (void)send(fd, answer, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    close(fd);
}

static void deal(struct listener *l, int fd)
{
    struct parcel *parcel;
    struct shard *shard;

    if (atomic_load_explicit(&l->server->n_connections, memory_order_relaxed) >=
        l->connections_max) {
        if (!l->complained)
            log_line(CONFIG_LOG_WARNING, "connection limit reached",
                     LOG_NUMBER("connections", l->connections_max));
        l->complained = true;
        turn_away(fd);
        return;
    }
    parcel = malloc(sizeof(*parcel));
    if (!parcel) {
        turn_away(fd);
        return;
    }
    l->complained = false;
    shard = choose_shard(l);
    *parcel = (struct parcel){.message.run = deliver, .fd = fd};
    atomic_fetch_add_explicit(&shard->n_connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->server->n_connections, 1, memory_order_relaxed);
    shard_post(shard, &parcel->message);
}

static void on_accept(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct listener *l = timer->data;

    l->pausing = false;
    if (l->reserve_fd < 0)
        l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uv_poll_start(&l->poll, UV_READABLE, on_accept);
}

/* Out of descriptors or memory: turn one client away with the reserve, then rest. */
static void shortage(struct listener *l, int reason)
{
    if (!l->complained)
        log_line(CONFIG_LOG_ERROR, "no connection can be accepted",
                 LOG_TEXT("reason", strerror(reason)));
    l->complained = true;
    if (l->reserve_fd >= 0) {
        int fd;

        close(l->reserve_fd);
        fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            turn_away(fd);
        l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    l->pausing = true;
    uv_poll_stop(&l->poll);
    uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0);
}

static void on_accept(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            deal(l, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            shortage(l, errno);
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        return; /* EAGAIN: all taken */
    }
}

/* ---- Binding ---- */

static void set_options(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, PROBE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, PROBE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, PROBES},
    };

    for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof(options[i].value)); /* comfort: it works without any of them */
}

static int bind_one(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int reason;

    if (fd < 0)
        return -1;
    set_options(fd);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

static int bind_address(int *out, const char *address, struct rnn_err *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char host[64], service[8];
    uint16_t port;
    int rc, fd = -1, reason = EADDRNOTAVAIL;

    if (config_listen_split(address, host, sizeof(host), &port) < 0)
        return rnn_fail(err, RNN_EFORMAT, "listen: want ADDRESS:PORT, found '%s'", address);
    snprintf(service, sizeof(service), "%u", port);
    rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        return rnn_fail(err, RNN_EFORMAT, "listen: '%s' is no address (%s)", host,
                        gai_strerror(rc));
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
        fd = bind_one(at);
        reason = errno;
    }
    freeaddrinfo(found);
    if (fd < 0 && reason == EADDRINUSE)
        return rnn_fail(err, RNN_EBUSY, "listen: %s is in use by another program", address);
    if (fd < 0)
        return rnn_fail(err, RNN_EIO, "listen: cannot bind to %s: %s", address, strerror(reason));
    *out = fd;
    return 0;
}

static void write_address(struct listener *l)
{
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof(bound);
    char host[64], port[8];

    (void)getsockname(l->fd, (struct sockaddr *)&bound, &len);
    if (getnameinfo((const struct sockaddr *)&bound, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(l->address, sizeof(l->address), bound.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
             host, port);
}

int listener_open(struct listener **out, struct server *server, const char *address,
                  struct rnn_err *err)
{
    struct listener *l = calloc(1, sizeof(*l));
    int rc;

    if (!l)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the listener");
    l->server = server;
    rc = bind_address(&l->fd, address, err);
    if (rc < 0) {
        free(l);
        return rc;
    }
    l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    write_address(l);
    *out = l;
    return 0;
}

int listener_start(struct listener *l, uv_loop_t *loop, size_t connections_max, struct rnn_err *err)
{
    l->connections_max = connections_max;
    l->poll.data = l->pause.data = l;
    if (uv_timer_init(loop, &l->pause) < 0)
        return rnn_fail(err, RNN_EIO, "the listener's timer could not be made");
    l->handles_open = 1;
    if (uv_poll_init(loop, &l->poll, l->fd) < 0)
        return rnn_fail(err, RNN_EIO, "the loop could not take the listening socket");
    l->handles_open = 2;
    if (uv_poll_start(&l->poll, UV_READABLE, on_accept) < 0)
        return rnn_fail(err, RNN_EIO, "the loop could not watch the listening socket");
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;

    if (--l->handles_open == 0)
        free(l);
}

void listener_close(struct listener *l)
{
    unsigned n;

    if (!l)
        return;
    n = l->handles_open;
    if (n > 1)
        uv_close((uv_handle_t *)&l->poll, on_closed); /* stops polling before the socket goes */
    if (n > 0)
        uv_close((uv_handle_t *)&l->pause, on_closed);
    close(l->fd);
    if (l->reserve_fd >= 0)
        close(l->reserve_fd);
    if (n == 0)
        free(l);
}

const char *listener_address(const struct listener *l)
{
    return l->address;
}

size_t listener_connections_max(size_t wanted, unsigned n_shards)
{
    size_t beside = FDS_BESIDE + (size_t)FDS_PER_SHARD * n_shards;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return wanted;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            (void)getrlimit(RLIMIT_NOFILE, &limit); /* worked a moment ago */
    }
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted + beside)
        return wanted;
    return limit.rlim_cur > beside + 1 ? (size_t)limit.rlim_cur - beside : 1;
}
