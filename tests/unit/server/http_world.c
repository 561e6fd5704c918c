/* See http_world.h. */
#include "http_world.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "server/http.h"
#include "server/log.h"
#include "server/reply.h"
#include "server/router.h"

/* ---- The router ---- */

atomic_uint n_dispatched, n_gone, n_drained;
_Atomic size_t flooded_bytes;

struct wait {
    uv_timer_t timer;
    struct request *request;
    unsigned left;
    bool stream;
};

static void on_freed(uv_handle_t *handle)
{
    free(handle->data);
}

static void wait_end(struct wait *wait)
{
    wait->request = NULL;
    uv_close((uv_handle_t *)&wait->timer, on_freed);
}

static void on_gone(struct request *request)
{
    atomic_fetch_add(&n_gone, 1);
    if (request->user)
        wait_end(request->user);
}

static const struct request_hooks hooks = {.gone = on_gone};

static void say(struct request *request, const char *text, size_t len)
{
    struct buf body = {0};

    buf_put(&body, text, len);
    http_reply(request, 200, "text/plain", &body);
}

static void on_later(uv_timer_t *timer)
{
    struct wait *wait = timer->data;
    struct request *request = wait->request;
    char event[64];

    if (!wait->stream) {
        wait_end(wait);
        say(request, "later", 5);
        return;
    }
    if (wait->left == 0) {
        wait_end(wait);
        http_stream_end(request, true);
        return;
    }
    snprintf(event, sizeof(event), "data: %u\n\n", wait->left--);
    (void)http_stream_write(request, event, strlen(event));
}

static struct wait *wait_new(struct request *request, uint64_t first_ms, uint64_t every_ms)
{
    struct wait *wait = calloc(1, sizeof(*wait));

    ck_assert_ptr_nonnull(wait);
    wait->request = request;
    uv_timer_init(request->shard->loop, &wait->timer);
    wait->timer.data = wait;
    uv_timer_start(&wait->timer, on_later, first_ms, every_ms);
    return wait;
}

static void flood(struct request *request)
{
    static const char block[4096] = {'x'};
    size_t limit = (size_t)shard_config(request->shard)->stream_buffer_bytes;

    while (http_stream_write(request, block, sizeof(block)) < limit)
        atomic_fetch_add(&flooded_bytes, sizeof(block));
}

static void on_drained(struct request *request)
{
    atomic_fetch_add(&n_drained, 1);
    flood(request);
}

static const struct request_hooks flood_hooks = {.gone = on_gone, .drained = on_drained};

static void echo(struct request *request)
{
    const char *sign = http_query(request, "sign");

    http_reply_header(request, "X-Sign", sign ? sign : "none");
    say(request, request->body, request->body_len);
}

/* ---- Upgraded: bytes come back as they are ---- */

static void on_pipe_turn(struct request *request)
{
    char bytes[4096];
    ssize_t n;

    while ((n = http_socket_read(request, bytes, sizeof(bytes))) > 0) {
        if (memchr(bytes, 'q', (size_t)n)) {
            http_socket_close(request);
            return;
        }
        (void)http_socket_write(request, bytes, (size_t)n);
    }
    if (n < 0)
        http_socket_close(request);
    else
        http_socket_wait(request, true, false);
}

static void on_pipe_drain(struct request *request)
{
    (void)http_socket_write(request, "d", 1);
}

static void on_pipe_cancel(struct request *request)
{
    (void)http_socket_write(request, "c", 1);
    http_socket_close(request);
}

static void on_deaf_turn(struct request *request)
{
    http_socket_wait(request, false, false);
}

static const struct socket_hooks pipe_hooks = {
    .turn = on_pipe_turn, .drain = on_pipe_drain, .cancel = on_pipe_cancel};
static const struct socket_hooks deaf_hooks = {
    .turn = on_deaf_turn, .drain = on_pipe_drain, .cancel = on_pipe_cancel};

static void become(struct request *request, const struct socket_hooks *socket_hooks)
{
    request->hooks = &hooks;
    http_reply_header(request, "Upgrade", "pipe");
    http_upgrade(request, socket_hooks);
}

void router_dispatch(struct request *request)
{
    const char *path = request->path;

    atomic_fetch_add(&n_dispatched, 1);
    request->route_name = "/test";
    if (strcmp(path, "/echo") == 0 || strcmp(path, "/livez") == 0) {
        echo(request);
    } else if (strcmp(path, "/later") == 0) {
        request->user = wait_new(request, 20, 0);
        request->hooks = &hooks;
    } else if (strcmp(path, "/slow") == 0) { /* longer than the hasty idle_timeout_s */
        request->user = wait_new(request, 4500, 0);
        request->hooks = &hooks;
    } else if (strcmp(path, "/slowstream") == 0) {
        struct wait *wait = wait_new(request, 4500, 1);

        wait->stream = true;
        wait->left = 1;
        request->user = wait;
        request->hooks = &hooks;
        http_stream_begin(request, "text/event-stream");
    } else if (strcmp(path, "/nohook") == 0) {
        (void)wait_new(request, 300, 0);
    } else if (strcmp(path, "/never") == 0) {
        request->hooks = &hooks;
    } else if (strcmp(path, "/stream") == 0) {
        struct wait *wait = wait_new(request, 1, 1);

        wait->stream = true;
        wait->left = (unsigned)strtoul(http_query(request, "n"), NULL, 10);
        request->user = wait;
        request->hooks = &hooks;
        http_stream_begin(request, "text/event-stream");
    } else if (strcmp(path, "/flood") == 0) {
        request->hooks = &flood_hooks;
        http_stream_begin(request, "text/plain");
        flood(request);
    } else if (strcmp(path, "/silent") == 0) {
        request->hooks = &hooks;
        http_stream_begin(request, "text/event-stream");
        (void)http_stream_write(request, "data: 1\n\n", 9);
    } else if (strcmp(path, "/pipe") == 0) {
        become(request, &pipe_hooks);
    } else if (strcmp(path, "/deaf") == 0) {
        become(request, &deaf_hooks);
    } else if (strcmp(path, "/cut") == 0) {
        http_stream_begin(request, "text/event-stream");
        (void)http_stream_write(request, "data: 1\n\n", 9);
        http_stream_end(request, false);
    } else {
        reply_error(request, REPLY_NO_ROUTE, NULL, "no such path");
    }
}

/* ---- A server of two threads ---- */

struct server server;
static struct config *config;
struct listener *listener;
static uv_loop_t accept_loop;
static uv_async_t accept_stop;
static pthread_t accept_thread;
uint16_t port;
static unsigned fds_before;
static bool drained;

unsigned open_fds(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 1; /* opendir's own */
}

static void *accept_main(void *unused)
{
    uv_run(&accept_loop, UV_RUN_DEFAULT);
    return unused;
}

static void on_accept_stop(uv_async_t *async)
{
    listener_close(listener);
    uv_close((uv_handle_t *)async, NULL);
}

void serve_with(int argc, char **argv, unsigned n_shards)
{
    char *no_environment[] = {NULL};
    struct rnn_err err = {0};

    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&accept_loop); /* the first loop of a process opens what all share */
    uv_loop_close(&accept_loop);
    fds_before = open_fds();
    drained = false;
    memset(&server, 0, sizeof(server));
    atomic_store(&n_dispatched, 0);
    atomic_store(&n_gone, 0);
    atomic_store(&n_drained, 0);
    atomic_store(&flooded_bytes, 0);
    ck_assert_int_eq(config_load(&config, NULL, no_environment, argc, argv, stderr), 0);
    log_start(CONFIG_LOG_ERROR, CONFIG_LOG_JSON);
    atomic_store(&server.config, config);
    server.shards = calloc(n_shards, sizeof(struct shard *));
    for (unsigned i = 0; i < n_shards; i++)
        ck_assert_int_eq(shard_new(&server.shards[i], &server, i, &err), 0);
    server.n_shards = n_shards;
    for (unsigned i = 0; i < n_shards; i++)
        ck_assert_int_eq(shard_start(server.shards[i], &err), 0);
    ck_assert_int_eq(listener_open(&listener, &server, "127.0.0.1:0", &err), 0);
    ck_assert_int_eq(config_listen_split(listener_address(listener), NULL, 0, &port), 0);
    uv_loop_init(&accept_loop);
    uv_async_init(&accept_loop, &accept_stop, on_accept_stop);
    ck_assert_int_eq(listener_start(listener, &accept_loop, (size_t)config->connections_max, &err),
                     0);
    pthread_create(&accept_thread, NULL, accept_main, NULL);
}

void serve(void)
{
    serve_with(0, NULL, 1);
}

double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void drain(void)
{
    for (unsigned i = 0; !drained && i < server.n_shards; i++)
        shard_drain(server.shards[i]);
    drained = true;
}

void stop(void)
{
    bool closed = false;

    uv_async_send(&accept_stop);
    pthread_join(accept_thread, NULL);
    uv_loop_close(&accept_loop);
    drain();
    for (unsigned i = 0; i < server.n_shards; i++)
        shard_close(server.shards[i]);
    for (unsigned i = 0; i < server.n_shards; i++) {
        EVENTUALLY((closed = shard_closed(server.shards[i])));
        shard_stop(server.shards[i]);
        shard_free(server.shards[i]);
    }
    free(server.shards);
    config_free(config);
    ck_assert_uint_eq(atomic_load(&server.n_connections), 0);
    ck_assert_uint_eq(open_fds(), fds_before);
}

/* ---- A client ---- */

int dial(void)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

void put_bytes(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        ck_assert_int_gt(n, 0);
        at += n;
        len -= (size_t)n;
    }
}

void put(int fd, const char *text)
{
    put_bytes(fd, text, strlen(text));
}

static int get_byte(int fd)
{
    unsigned char c;
    ssize_t n = recv(fd, &c, 1, 0);

    ck_assert_msg(n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK), "the server is silent");
    return n == 1 ? c : -1;
}

bool at_end(int fd)
{
    return get_byte(fd) < 0;
}

const char *header(const struct answer *a, const char *name)
{
    static char value[256];
    const char *at = strcasestr(a->head, name);

    if (!at || at[-1] != '\n')
        return NULL;
    at += strlen(name) + 2;
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

static void read_body(int fd, struct answer *a, size_t want, size_t cap)
{
    int c;

    while (a->body_len < want && (c = get_byte(fd)) >= 0) {
        ck_assert_uint_lt(a->body_len, cap);
        a->body[a->body_len++] = (char)c;
        a->body[a->body_len] = '\0';
        if (want == SIZE_MAX && a->body_len >= 5 &&
            memcmp(a->body + a->body_len - 5, "0\r\n\r\n", 5) == 0) {
            a->complete = true;
            return;
        }
    }
    a->complete = a->body_len == want;
}

struct answer get(int fd)
{
    enum { HEAD_CAP = 8192, BODY_CAP = 1 << 20 };
    struct answer a = {.head = calloc(1, HEAD_CAP + BODY_CAP)};
    const char *length;
    size_t n = 0;
    int c;

    ck_assert_ptr_nonnull(a.head);
    a.body = a.head + HEAD_CAP;
    while ((c = get_byte(fd)) >= 0 && n < HEAD_CAP - 1) {
        a.head[n++] = (char)c;
        if (n >= 4 && memcmp(a.head + n - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    if (c < 0)
        return a;
    ck_assert_int_eq(sscanf(a.head, "HTTP/1.%*c %u", &a.status), 1);
    length = header(&a, "Content-Length");
    read_body(fd, &a, length ? strtoull(length, NULL, 10) : SIZE_MAX, BODY_CAP - 1);
    return a;
}

unsigned get_status(int fd)
{
    struct answer a = get(fd);

    free(a.head);
    return a.status;
}

unsigned ask_status(const char *text)
{
    int fd = dial();
    unsigned status;

    put(fd, text);
    status = get_status(fd);
    close(fd);
    return status;
}
