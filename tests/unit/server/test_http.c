/* The HTTP room over real sockets: a shard, an acceptor, and a router of this file's own.
 *
 * Scheduler, sessions and jobs are left out (bare_shard.c).  The router
 * knows: /echo (answers at once), /later and /slow (answer on a timer), /never (waits for its
 * client to leave), /nohook (likewise, but ends by a timer), /stream?n= (n events, one a turn),
 * /flood (writes until the buffer is full, goes on when drained), /silent (a stream that sends one
 * event and waits), /cut.  The client side is plain blocking sockets with a receive timeout, so
 * that what hangs fails. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "server/http.h"
#include "server/job.h"
#include "server/keys.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/router.h"
#include "server/shard.h"

#define PATIENCE_S 20

/* ---- The router ---- */

static atomic_uint n_dispatched, n_gone, n_drained;
static _Atomic size_t flooded_bytes;

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
    } else if (strcmp(path, "/cut") == 0) {
        http_stream_begin(request, "text/event-stream");
        (void)http_stream_write(request, "data: 1\n\n", 9);
        http_stream_end(request, false);
    } else {
        reply_error(request, REPLY_NO_ROUTE, NULL, "no such path");
    }
}

/* ---- A server of two threads ---- */

static struct server server;
static struct config *config;
static struct listener *listener;
static uv_loop_t accept_loop;
static uv_async_t accept_stop;
static pthread_t accept_thread;
static uint16_t port;
static unsigned fds_before;

static unsigned open_fds(void)
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

static void serve_with(int argc, char **argv, unsigned n_shards)
{
    char *no_environment[] = {NULL};
    struct rnn_err err = {0};

    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&accept_loop); /* the first loop of a process opens what all share */
    uv_loop_close(&accept_loop);
    fds_before = open_fds();
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

static void serve(void)
{
    serve_with(0, NULL, 1);
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Waits for a condition that another thread brings about. */
#define EVENTUALLY(condition)                                                                      \
    do {                                                                                           \
        double until_ = seconds_now() + PATIENCE_S;                                                \
        while (!(condition) && seconds_now() < until_)                                             \
            usleep(1000);                                                                          \
        ck_assert_msg(condition, "never: %s", #condition);                                         \
    } while (0)

static void stop(void)
{
    bool closed = false;

    uv_async_send(&accept_stop);
    pthread_join(accept_thread, NULL);
    uv_loop_close(&accept_loop);
    for (unsigned i = 0; i < server.n_shards; i++) {
        shard_drain(server.shards[i]);
        shard_close(server.shards[i]);
    }
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

struct answer {
    unsigned status;
    char *head, *body; /* one allocation, at head */
    size_t body_len;
    bool complete; /* all of Content-Length, or the last chunk, came */
};

static int dial(void)
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

static void put_bytes(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        ck_assert_int_gt(n, 0);
        at += n;
        len -= (size_t)n;
    }
}

static void put(int fd, const char *text)
{
    put_bytes(fd, text, strlen(text));
}

/* One byte, or -1 at the end of the connection, reset or not. */
static int get_byte(int fd)
{
    unsigned char c;
    ssize_t n = recv(fd, &c, 1, 0);

    ck_assert_msg(n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK), "the server is silent");
    return n == 1 ? c : -1;
}

static bool at_end(int fd)
{
    return get_byte(fd) < 0;
}

static const char *header(const struct answer *a, const char *name)
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

static struct answer get(int fd)
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

static unsigned get_status(int fd)
{
    struct answer a = get(fd);

    free(a.head);
    return a.status;
}

static unsigned ask_status(const char *text)
{
    int fd = dial();
    unsigned status;

    put(fd, text);
    status = get_status(fd);
    close(fd);
    return status;
}

/* ---- Whole requests ---- */

START_TEST(a_request_reaches_its_handler_once_and_whole)
{
    int fd = dial();
    struct answer a;

    put(fd, "POST /echo?sign=a%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n"
            "X-Request-Id: mine-1\r\n\r\nhel");
    usleep(20000);
    put(fd, "lo ");
    usleep(20000);
    put(fd, "world");
    a = get(fd);
    ck_assert_uint_eq(a.status, 200);
    ck_assert_str_eq(a.body, "hello world");
    ck_assert_str_eq(header(&a, "X-Sign"), "a b");
    ck_assert_str_eq(header(&a, "X-Request-Id"), "mine-1");
    ck_assert_uint_eq(atomic_load(&n_dispatched), 1);
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(a_chunked_body_is_put_together)
{
    int fd = dial();
    struct answer a;

    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    a = get(fd);
    ck_assert_str_eq(a.body, "abcde");
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(every_byte_may_come_alone)
{
    const char *text = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    int fd = dial();
    struct answer a;

    for (; *text; text++) {
        put_bytes(fd, text, 1);
        usleep(500);
    }
    a = get(fd);
    ck_assert_str_eq(a.body, "abc");
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    int fd = dial();

    for (int i = 0; i < 100; i++) {
        char text[128];

        snprintf(text, sizeof(text), "GET /%s?sign=%d HTTP/1.1\r\nHost: x\r\n\r\n",
                 i % 10 == 3 ? "later" : "echo", i);
        put(fd, text);
    }
    for (int i = 0; i < 100; i++) {
        struct answer a = get(fd);
        char want[16];

        snprintf(want, sizeof(want), "%d", i);
        ck_assert_uint_eq(a.status, 200);
        if (i % 10 == 3)
            ck_assert_str_eq(a.body, "later");
        else
            ck_assert_str_eq(header(&a, "X-Sign"), want);
        free(a.head);
    }
    close(fd);
}
END_TEST

START_TEST(an_unsafe_request_id_is_replaced)
{
    const char *bad[] = {"a b", "a\"b", "", "<x>",
                         "12345678901234567890123456789012345678901234567890123456789012345"};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int fd = dial();
        char text[256];
        struct answer a;

        snprintf(text, sizeof(text), "GET /echo HTTP/1.1\r\nHost: x\r\nX-Request-Id: %s\r\n\r\n",
                 bad[i]);
        put(fd, text);
        a = get(fd);
        ck_assert_uint_eq(a.status, 200);
        ck_assert_uint_eq(strlen(header(&a, "X-Request-Id")), 16);
        ck_assert_str_ne(header(&a, "X-Request-Id"), bad[i]);
        free(a.head);
        close(fd);
    }
}
END_TEST

START_TEST(a_target_in_absolute_form_is_taken)
{
    ck_assert_uint_eq(ask_status("GET http://x:80/echo?sign=1 HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}
END_TEST

START_TEST(http_1_0_is_answered_and_closed)
{
    int fd = dial();
    struct answer a;

    put(fd, "GET /echo HTTP/1.0\r\n\r\n");
    a = get(fd);
    ck_assert_uint_eq(a.status, 200);
    ck_assert(at_end(fd));
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(head_gets_the_headers_alone)
{
    int fd = dial();
    struct answer a;

    put(fd, "HEAD /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    a = get(fd);
    ck_assert_uint_eq(a.status, 404);
    ck_assert_uint_eq(a.body_len, 0);
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(head_of_a_stream_ends_its_handler)
{
    int fd = dial();
    char text[64] = {0};

    put(fd, "HEAD /silent HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, 0), 0);
    ck_assert_ptr_nonnull(strstr(text, "200"));
    EVENTUALLY(atomic_load(&n_gone) == 1);
    close(fd);
}
END_TEST

/* ---- What the headers alone decide ---- */

START_TEST(ambiguous_framing_is_refused_and_closed)
{
    static const char *const heads[] = {
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
         "Transfer-Encoding: chunked\r\n"),
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n",
        "POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 3\r\n",
        "GET /echo HTTP/1.1\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n",
        "GET /echo%00 HTTP/1.1\r\nHost: x\r\n",
        "GET ftp://x/echo HTTP/1.1\r\nHost: x\r\n",
        "GET /echo\r\nHost: x\r\n",
    };

    for (unsigned i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        int fd = dial();
        struct answer a;

        put(fd, heads[i]);
        put(fd, "\r\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
        a = get(fd);
        ck_assert_msg(a.status == 400, "%s: %u", heads[i], a.status);
        /* libmicrohttpd 0.9.75 refuses a malformed length itself, and says so twice */
        while (!at_end(fd))
            ;
        free(a.head);
        close(fd);
    }
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

START_TEST(another_major_version_is_505)
{
    ck_assert_uint_eq(ask_status("GET /echo HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
}
END_TEST

START_TEST(headers_over_their_limit_are_431)
{
    int fd = dial();
    char line[1024];

    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 12; i++) {
        snprintf(line, sizeof(line), "X-Fill-%d: %0900d\r\n", i, i);
        put(fd, line);
    }
    put(fd, "\r\n");
    ck_assert_uint_eq(get_status(fd), 431);
    ck_assert(at_end(fd));
    close(fd);
}
END_TEST

START_TEST(headers_under_their_limit_pass)
{
    int fd = dial();
    char line[1024];

    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 7; i++) {
        snprintf(line, sizeof(line), "X-Fill-%d: %0900d\r\n", i, i);
        put(fd, line);
    }
    put(fd, "\r\n");
    ck_assert_uint_eq(get_status(fd), 200);
    close(fd);
}
END_TEST

START_TEST(a_body_announced_too_large_is_refused_before_it_comes)
{
    static const char *const methods[] = {"POST", "PUT"};

    for (unsigned i = 0; i < 2; i++) {
        char text[128];
        int fd = dial();

        snprintf(text, sizeof(text),
                 "%s /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", methods[i]);
        put(fd, text);
        ck_assert_uint_eq(get_status(fd), 413);
        ck_assert(at_end(fd));
        close(fd);
    }
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

START_TEST(an_expectation_is_refused_without_the_body_or_met)
{
    int fd = dial();
    char text[32] = {0};

    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: "
            "100-continue\r\n\r\n");
    ck_assert_uint_eq(get_status(fd), 413);
    close(fd);

    fd = dial();
    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    ck_assert_int_eq(recv(fd, text, 25, MSG_WAITALL), 25);
    ck_assert_str_eq(text, "HTTP/1.1 100 Continue\r\n\r\n");
    put(fd, "abc");
    ck_assert_uint_eq(get_status(fd), 200);
    close(fd);
}
END_TEST

/* A client that first sends all of its body must still get the refusal, not a reset. */
START_TEST(a_refused_upload_is_answered_while_it_is_still_coming)
{
    enum { SIZE = 6 << 20 };
    char *body = calloc(1, SIZE);

    for (int chunked = 0; chunked < 2; chunked++) {
        int fd = dial();
        struct answer a;

        if (chunked)
            put(fd,
                "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n600000\r\n");
        else
            put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6291456\r\n\r\n");
        put_bytes(fd, body, SIZE);
        a = get(fd);
        ck_assert_uint_eq(a.status, 413);
        ck_assert(a.complete);
        ck_assert_ptr_nonnull(strstr(a.body, "too_large"));
        ck_assert_ptr_nonnull(header(&a, "X-Request-Id"));
        free(a.head);
        close(fd);
    }
    free(body);
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

/* ---- Keys ---- */

static void with_keys(const char *text)
{
    char path[] = "/tmp/rnnd-test-keys-XXXXXX";
    int fd = mkstemp(path);
    struct keys *keys = NULL;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    ck_assert_int_eq(keys_load(&keys, path, stderr), 0);
    unlink(path);
    atomic_store(&server.keys, keys);
}

START_TEST(keys_are_asked_for_before_the_body)
{
    int fd;
    struct answer a;

    with_keys("alice:secret-one\nbob:secret-two\n");
    fd = dial();
    put(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"); /* no body follows */
    a = get(fd);
    ck_assert_uint_eq(a.status, 401);
    ck_assert_ptr_nonnull(strstr(a.body, "key_missing"));
    ck_assert_ptr_nonnull(header(&a, "WWW-Authenticate"));
    free(a.head);
    close(fd);

    fd = dial();
    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-onE\r\n\r\n");
    a = get(fd);
    ck_assert_uint_eq(a.status, 401);
    ck_assert_ptr_nonnull(strstr(a.body, "key_unknown"));
    free(a.head);
    close(fd);

    ck_assert_uint_eq(
        ask_status("GET /echo HTTP/1.1\r\nHost: x\r\nAuthorization: bearer secret-two\r\n\r\n"),
        200);
    ck_assert_uint_eq(ask_status("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    /* a method whose early answer libmicrohttpd cannot send before the body */
    ck_assert_uint_eq(
        ask_status("DELETE /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), 401);
    ck_assert_uint_eq(atomic_load(&n_dispatched), 2);
    keys_free((struct keys *)(uintptr_t)atomic_load(&server.keys));
}
END_TEST

/* ---- Clients that leave ---- */

static void leave_by(int fd, bool reset)
{
    struct linger linger = {.l_onoff = 1};

    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

START_TEST(a_client_that_leaves_is_noticed_in_every_phase)
{
    static const char *const texts[] = {
        "GET /never HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /stream?n=100000 HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    unsigned gone = 0, seen = 0;

    for (unsigned round = 0; round < 10; round++)
        for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            int fd = dial();

            put(fd, texts[i]);
            seen++;
            EVENTUALLY(atomic_load(&n_dispatched) == seen);
            leave_by(fd, round % 2);
            gone++;
            EVENTUALLY(atomic_load(&n_gone) == gone);
        }
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    EVENTUALLY(shard_busy(server.shards[0]) == 0);
}
END_TEST

START_TEST(a_client_that_leaves_in_mid_request_is_forgotten)
{
    static const char *const texts[] = {
        "", "GET /ec", "GET /echo HTTP/1.1\r\nHost:",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"};

    for (unsigned i = 0; i < 4; i++) {
        for (int reset = 0; reset < 2; reset++) {
            int fd = dial();

            put(fd, texts[i]);
            usleep(5000);
            leave_by(fd, reset);
        }
    }
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    EVENTUALLY(shard_busy(server.shards[0]) == 0);
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

START_TEST(half_closed_sockets_do_not_stay)
{
    int fds[50];

    for (int i = 0; i < 50; i++) {
        fds[i] = dial();
        put(fds[i], i % 2 ? "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
                          : "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
        shutdown(fds[i], SHUT_WR);
    }
    for (int i = 1; i < 50; i += 2)
        ck_assert_uint_eq(get_status(fds[i]), 200);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    ck_assert_uint_eq(atomic_load(&n_gone), 25);
    for (int i = 0; i < 50; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_handler_without_a_hook_may_answer_into_the_void)
{
    int fd = dial();

    put(fd, "GET /nohook HTTP/1.1\r\nHost: x\r\n\r\n");
    EVENTUALLY(atomic_load(&n_dispatched) == 1);
    close(fd);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    EVENTUALLY(shard_busy(server.shards[0]) == 0);
}
END_TEST

/* ---- Slow clients ---- */

START_TEST(a_slow_request_is_408)
{
    static const char *const begins[] = {
        "GET /echo HTTP/1.1\r\nX-Slow: ",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"};

    for (unsigned i = 0; i < 2; i++) {
        int fd = dial();
        double begin = seconds_now();
        char byte;

        put(fd, begins[i]);
        while (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 1 && seconds_now() < begin + 10) {
            (void)send(fd, "a", 1, MSG_NOSIGNAL);
            usleep(200000);
        }
        ck_assert_uint_eq(get_status(fd), 408);
        ck_assert_double_ge(seconds_now() - begin, 0.9);
        close(fd);
    }
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    ck_assert_uint_eq(atomic_load(&n_dispatched), 0);
}
END_TEST

START_TEST(a_kept_connection_is_no_slow_request_but_idle_at_last)
{
    int fd = dial();

    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(get_status(fd), 200);
    usleep(1600000); /* longer than request_timeout_s, shorter than idle_timeout_s */
    put(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(get_status(fd), 200);
    ck_assert(at_end(fd)); /* idle_timeout_s */
    close(fd);
}
END_TEST

START_TEST(an_answer_may_take_longer_than_the_idle_timeout)
{
    int answer = dial(), stream = dial();
    struct answer a;

    put(answer, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    put(stream, "GET /slowstream HTTP/1.1\r\nHost: x\r\n\r\n");
    a = get(answer);
    ck_assert_str_eq(a.body, "later");
    free(a.head);
    a = get(stream);
    ck_assert(a.complete);
    ck_assert_ptr_nonnull(strstr(a.body, "data: 1\n\n"));
    free(a.head);
    close(answer);
    close(stream);
}
END_TEST

START_TEST(a_client_that_never_reads_is_closed_and_others_go_on)
{
    int fd = dial(), small = 4096;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    put(fd, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    EVENTUALLY(atomic_load(&n_gone) == 1);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    close(fd);
}
END_TEST

/* ---- Streams ---- */

START_TEST(a_stream_arrives_whole_and_the_connection_goes_on)
{
    int fd = dial();

    for (int round = 0; round < 2; round++) {
        struct answer a;

        put(fd, "GET /stream?n=50 HTTP/1.1\r\nHost: x\r\n\r\n");
        a = get(fd);
        ck_assert_uint_eq(a.status, 200);
        ck_assert(a.complete);
        for (unsigned i = 50; i > 0; i--) {
            char event[32];

            snprintf(event, sizeof(event), "data: %u\n\n", i);
            ck_assert_ptr_nonnull(strstr(a.body, event));
        }
        free(a.head);
    }
    close(fd);
}
END_TEST

START_TEST(a_cut_stream_has_no_last_chunk)
{
    int fd = dial();
    struct answer a;

    put(fd, "GET /cut HTTP/1.1\r\nHost: x\r\n\r\n");
    a = get(fd);
    ck_assert(!a.complete);
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(a_stream_of_http_1_0_ends_with_the_connection)
{
    int fd = dial();
    struct answer a;

    put(fd, "GET /stream?n=3 HTTP/1.0\r\n\r\n");
    a = get(fd);
    ck_assert_str_eq(a.body, "data: 3\n\ndata: 2\n\ndata: 1\n\n");
    free(a.head);
    close(fd);
}
END_TEST

START_TEST(a_slow_reader_pauses_its_writer_and_nobody_else)
{
    enum { BYTES = 8 << 20 };
    int fd = dial();
    size_t got = 0, before;
    char *sink = malloc(65536);

    put(fd, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    EVENTUALLY(atomic_load(&flooded_bytes) > 0);
    do { /* until the sockets' buffers are full and the writer stands still */
        before = atomic_load(&flooded_bytes);
        usleep(50000);
    } while (atomic_load(&flooded_bytes) != before);
    ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    while (got < BYTES) {
        ssize_t n = recv(fd, sink, 65536, 0);

        ck_assert_int_gt(n, 0);
        got += (size_t)n;
    }
    ck_assert_uint_gt(atomic_load(&n_drained), 0);
    ck_assert_uint_gt(atomic_load(&flooded_bytes), before);
    close(fd);
    free(sink);
    EVENTUALLY(atomic_load(&n_gone) == 1);
}
END_TEST

/* ---- Connections ---- */

START_TEST(connections_over_the_limit_are_told_and_closed)
{
    int fds[8];

    for (int i = 0; i < 8; i++) {
        fds[i] = dial();
        put(fds[i], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
        ck_assert_uint_eq(get_status(fds[i]), i < 5 ? 200 : 503);
    }
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    EVENTUALLY(atomic_load(&server.n_connections) == 0);
    ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}
END_TEST

START_TEST(connections_are_dealt_out_evenly)
{
    int fds[20];

    for (int i = 0; i < 20; i++) {
        fds[i] = dial();
        put(fds[i], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
        ck_assert_uint_eq(get_status(fds[i]), 200);
    }
    ck_assert_uint_eq(atomic_load(&server.shards[0]->n_connections), 10);
    ck_assert_uint_eq(atomic_load(&server.shards[1]->n_connections), 10);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_port_in_use_is_said_so)
{
    struct listener *second = NULL;
    struct rnn_err err = {0};
    char address[64];

    snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    ck_assert_int_eq(listener_open(&second, &server, address, &err), RNN_EBUSY);
    ck_assert_ptr_nonnull(strstr(err.text, address));
    ck_assert_ptr_nonnull(strstr(err.text, "in use"));
}
END_TEST

START_TEST(draining_closes_each_connection_after_its_answer)
{
    int kept = dial(), waiting = dial();
    struct answer a;

    put(kept, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(get_status(kept), 200);
    put(waiting, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    EVENTUALLY(atomic_load(&n_dispatched) == 2);
    shard_drain(server.shards[0]);
    a = get(waiting);
    ck_assert_uint_eq(a.status, 200);
    ck_assert_str_eq(header(&a, "Connection"), "close");
    ck_assert(at_end(waiting));
    free(a.head);
    put(kept, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_uint_eq(get_status(kept), 200);
    ck_assert(at_end(kept));
    close(kept);
    close(waiting);
}
END_TEST

START_TEST(cancelling_ends_every_kind_of_request)
{
    static const char *const texts[] = {
        "GET /never HTTP/1.1\r\nHost: x\r\n\r\n", "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"};
    int fds[4];

    for (int i = 0; i < 4; i++) {
        fds[i] = dial();
        put(fds[i], texts[i]);
    }
    EVENTUALLY(atomic_load(&n_dispatched) == 3 && shard_busy(server.shards[0]) == 4);
    shard_cancel(server.shards[0]);
    EVENTUALLY(shard_busy(server.shards[0]) == 0);
    ck_assert_uint_eq(atomic_load(&n_gone), 3);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}
END_TEST

START_TEST(the_page_counts_requests_by_route_and_code)
{
    struct buf page = {0};

    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(ask_status("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    ck_assert_uint_eq(ask_status("GET /x HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
    ck_assert_uint_eq(ask_status("GET /x HTTP/1.1\r\n\r\n"), 400);
    EVENTUALLY(shard_busy(server.shards[0]) == 0 && atomic_load(&server.n_connections) == 0);
    metrics_page(&page, &server);
    buf_putc(&page, '\0');
    ck_assert_ptr_nonnull(
        strstr(page.data, "rnnd_requests_total{endpoint=\"/test\",code=\"200\"} 3\n"));
    ck_assert_ptr_nonnull(
        strstr(page.data, "rnnd_requests_total{endpoint=\"/test\",code=\"404\"} 1\n"));
    ck_assert_ptr_nonnull(
        strstr(page.data, "rnnd_requests_total{endpoint=\"none\",code=\"400\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(page.data, "rnnd_connections_total 5\n"));
    ck_assert_ptr_nonnull(strstr(page.data, "rnnd_connections 0\n"));
    buf_free(&page);
}
END_TEST

/* ---- Settings of the groups ---- */

static void serve_hasty(void)
{
    char *argv[] = {"--request-timeout-s=1", "--idle-timeout-s=3"};

    serve_with(2, argv, 1);
}

static void serve_few(void)
{
    char *argv[] = {"--connections-max=5"};

    serve_with(1, argv, 1);
}

static void serve_two(void)
{
    serve_with(0, NULL, 2);
}

static void group(Suite *suite, const char *name, void (*setup)(void), const TTest *const *tests,
                  size_t n)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, setup, stop);
    tcase_set_timeout(tcase, 120);
    for (size_t i = 0; i < n; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
}

#define GROUP(name, setup, ...)                                                                    \
    group(suite, name, setup, (const TTest *const[]){__VA_ARGS__},                                 \
          sizeof((const TTest *const[]){__VA_ARGS__}) / sizeof(TTest *))

int main(void)
{
    Suite *suite = suite_create("http");
    SRunner *runner;
    int failed;

    GROUP("requests", serve, a_request_reaches_its_handler_once_and_whole,
          a_chunked_body_is_put_together, every_byte_may_come_alone,
          pipelined_requests_are_answered_in_order, an_unsafe_request_id_is_replaced,
          a_target_in_absolute_form_is_taken, http_1_0_is_answered_and_closed,
          head_gets_the_headers_alone, head_of_a_stream_ends_its_handler);
    GROUP("headers", serve, another_major_version_is_505, ambiguous_framing_is_refused_and_closed,
          headers_over_their_limit_are_431, headers_under_their_limit_pass,
          a_body_announced_too_large_is_refused_before_it_comes,
          an_expectation_is_refused_without_the_body_or_met,
          a_refused_upload_is_answered_while_it_is_still_coming,
          keys_are_asked_for_before_the_body);
    GROUP("leaving", serve, a_client_that_leaves_is_noticed_in_every_phase,
          a_client_that_leaves_in_mid_request_is_forgotten, half_closed_sockets_do_not_stay,
          a_handler_without_a_hook_may_answer_into_the_void);
    GROUP("slow", serve_hasty, an_answer_may_take_longer_than_the_idle_timeout,
          a_slow_request_is_408, a_kept_connection_is_no_slow_request_but_idle_at_last,
          a_client_that_never_reads_is_closed_and_others_go_on);
    GROUP("streams", serve, a_stream_arrives_whole_and_the_connection_goes_on,
          a_cut_stream_has_no_last_chunk, a_stream_of_http_1_0_ends_with_the_connection,
          a_slow_reader_pauses_its_writer_and_nobody_else);
    GROUP("connections", serve, a_port_in_use_is_said_so,
          draining_closes_each_connection_after_its_answer, cancelling_ends_every_kind_of_request,
          the_page_counts_requests_by_route_and_code);
    GROUP("few", serve_few, connections_over_the_limit_are_told_and_closed);
    GROUP("two", serve_two, connections_are_dealt_out_evenly);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
