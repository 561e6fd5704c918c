/* See ws_world.h. */
#include "ws_world.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/api.h"
#include "server/event.h"
#include "server/log.h"
#include "server/ws_inner.h"

#define TICK_MS 250

struct fake_world world;
static uv_loop_t loop;
struct peer peers[PEERS_MAX];
struct work works[WORKS_MAX];
size_t n_works;
unsigned n_kept, n_deleted;

/* A call that is not as it should be; looked at by teardown, since a failed assertion allocates. */
static bool misused;

/* ---- HTTP's upgraded sockets ---- */

static struct peer *peer_of(const struct request *request)
{
    return (struct peer *)(uintptr_t)request; /* its first member */
}

void http_upgrade(struct request *request, const struct socket_hooks *hooks)
{
    peer_of(request)->hooks = hooks;
    peer_of(request)->woken = true;
}

ssize_t http_socket_read(struct request *request, void *out, size_t max)
{
    ssize_t n = recv(peer_of(request)->server_fd, out, max, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return 0;
    return n > 0 ? n : -1;
}

ssize_t http_socket_write(struct request *request, const void *bytes, size_t len)
{
    ssize_t n = send(peer_of(request)->server_fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n < 0 && errno == EAGAIN ? 0 : n;
}

bool http_socket_taken(const struct request *request, uint64_t *taken_bytes, uint64_t *on_way_bytes)
{
    const struct peer *peer = peer_of(request);

    *taken_bytes = peer->taken_bytes;
    *on_way_bytes = peer->on_way_bytes;
    return peer->knows_taken;
}

void http_socket_wait(struct request *request, bool to_read, bool to_write)
{
    peer_of(request)->to_read = to_read;
    peer_of(request)->to_write = to_write;
}

void http_socket_wake(struct request *request)
{
    peer_of(request)->woken = true;
}

void http_socket_finish(struct request *request)
{
    peer_of(request)->finished = true;
    (void)shutdown(peer_of(request)->server_fd, SHUT_WR);
}

void http_socket_close(struct request *request)
{
    struct peer *peer = peer_of(request);

    close(peer->server_fd);
    peer->server_fd = -1;
    peer->woken = peer->to_read = peer->to_write = false;
}

/* ---- Sessions ---- */

unsigned session_shard(const struct server *server, const char *id)
{
    (void)server;
    misused |= strcmp(id, "s") != 0;
    return 1;
}

session_result session_keep(struct sessions *sessions, const char *id, const char *key_name)
{
    (void)sessions;
    misused |= strcmp(id, "s") != 0 || strcmp(key_name, "alice") != 0;
    n_kept++;
    return 0;
}

session_result session_delete(struct sessions *sessions, const char *id, const char *key_name)
{
    (void)sessions;
    misused |= strcmp(id, "s") != 0 || strcmp(key_name, "alice") != 0;
    n_deleted++;
    return 0;
}

/* ---- Messages ---- */

int ws_message_read(struct ws_message *out, const char *text, size_t len, const char *session,
                    const struct config *config, struct rnn_err *err)
{
    static const char *const verbs[] = {"predict", "generate", "score", "cancel"};
    char id[16] = "null", verb[16] = "", line[64] = "";

    (void)config;
    misused |= strcmp(session, "s") != 0;
    memcpy(line, text, len < sizeof(line) ? len : sizeof(line) - 1);
    (void)sscanf(line, "%15s %15s", id, verb);
    *out = (struct ws_message){0};
    memcpy(out->id, id, sizeof(id));
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(verb, verbs[i]) != 0)
            continue;
        out->verb = i;
        if (i == WS_CANCEL)
            memcpy(out->cancel, id, sizeof(id));
        return 0;
    }
    return rnn_fail_at(err, RNN_ETYPE, "verb", -1, "no such verb");
}

int ws_message_from_floats(struct ws_message *out, const char *bytes, size_t len,
                           const char *session, const struct config *config, struct rnn_err *err)
{
    (void)bytes;
    (void)len;
    return ws_message_read(out, "null predict", 12, session, config, err);
}

void ws_message_free(struct ws_message *message)
{
    (void)message;
}

/* ---- Tasks ---- */

static void on_gone(void *user)
{
    struct work *work = user;

    work->gone = true;
    work->sink = NULL;
}

static void on_drained(void *user)
{
    ((struct work *)user)->n_drained++;
}

static void on_cancel(void *user)
{
    ((struct work *)user)->cancelled = true;
}

static const struct sink_hooks hooks = {
    .gone = on_gone, .drained = on_drained, .cancel = on_cancel};

static struct work *note(struct sink *sink, enum ws_verb verb)
{
    struct work *work = &works[n_works++];

    if (n_works > WORKS_MAX)
        abort();
    misused |= strcmp(sink->key_name, "alice") != 0;
    *work = (struct work){.sink = sink, .verb = verb};
    sink->hooks = &hooks;
    sink->user = work;
    return work;
}

void task_predict(struct sink *sink, struct predict_request *what)
{
    note(sink, WS_PREDICT)->raw = what->raw;
}

void task_generate(struct sink *sink, struct generate_request *what)
{
    (void)what;
    (void)note(sink, WS_GENERATE);
}

void task_beam(struct sink *sink, struct generate_request *what)
{
    (void)what;
    (void)note(sink, WS_GENERATE);
}

void task_score(struct sink *sink, struct score_request *what)
{
    (void)what;
    (void)note(sink, WS_SCORE);
}

/* The sink's last word: it is not to be touched afterwards. */
static struct sink *last_word(struct work *work)
{
    struct sink *sink = work->sink;

    work->sink = NULL;
    return sink;
}

void answer(struct work *work, const char *json)
{
    struct sink *sink = last_word(work);
    size_t fail_at = fake_fail_at;
    struct buf body = {0};

    fake_fail_at = 0; /* the task's memory is not the socket's */
    buf_puts(&body, json);
    fake_fail_at = fail_at;
    sink->ops->whole(sink, &body);
    misused |= body.data != NULL;
}

size_t writes_event(struct work *work, const char *name, const char *json)
{
    struct buf event = {0};
    size_t unread;

    event_begin(&event, name, "");
    buf_puts(&event, json);
    event_end(&event);
    unread = work->sink->ops->events(work->sink, event.data, event.len);
    buf_free(&event);
    return unread;
}

void ends(struct work *work)
{
    struct sink *sink = last_word(work);

    sink->ops->close(sink);
}

void fails(struct work *work, enum reply_error error, const char *text)
{
    struct sink *sink = last_word(work);

    (sink->ops->fail)(sink, error, NULL, text); /* Check has a macro of that name */
}

/* ---- Turns ---- */

/* As http.c has it: who waits for neither still hears of the client's leaving. */
static bool turn(struct peer *peer)
{
    struct pollfd on = {.fd = peer->server_fd, .events = POLLRDHUP};

    if (peer->server_fd < 0)
        return false;
    on.events |= (short)((peer->to_read ? POLLIN : 0) | (peer->to_write ? POLLOUT : 0));
    if (poll(&on, 1, 0) <= 0 && !peer->woken)
        return false;
    if (!peer->to_read && !peer->woken && (on.revents & (POLLRDHUP | POLLHUP | POLLERR))) {
        peer->told_gone = true;
        peer->request.hooks->gone(&peer->request);
        http_socket_close(&peer->request);
        return true;
    }
    peer->woken = false;
    peer->hooks->turn(&peer->request);
    return true;
}

void settle(void)
{
    bool moved = true;

    for (int i = 0; moved; i++) {
        if (i == 10000)
            ck_abort_msg("it never comes to rest");
        moved = fake_run_messages() > 0;
        for (size_t k = 0; k < PEERS_MAX; k++)
            moved |= peers[k].hooks && turn(&peers[k]);
    }
}

static void tick(void)
{
    uv_timer_t *timer = &world.shards[0].websockets->tick;

    if (uv_is_active((uv_handle_t *)timer))
        timer->timer_cb(timer);
}

void pass_ms(int64_t ms)
{
    for (; ms > 0; ms -= TICK_MS) {
        fake_advance_ms(&world, ms < TICK_MS ? ms : TICK_MS);
        tick();
        settle();
    }
}

/* ---- Opening ---- */

int peer_open(unsigned i, const struct ws_spec *spec)
{
    struct peer *peer = &peers[i];
    int pair[2], rc;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    *peer = (struct peer){.request = {.shard = &world.shards[0],
                                      .id = "r",
                                      .key_name = "alice",
                                      .route_name = "/stream"},
                          .server_fd = pair[0],
                          .fd = pair[1]};
    rc = ws_open(&peer->request, spec, NULL);
    if (rc == 0)
        return 0;
    ck_assert_ptr_null(peer->hooks);
    close(pair[0]);
    close(pair[1]);
    return rc;
}

struct peer *peer_usual(void)
{
    static const struct ws_spec spec = {.session_id = "s", .ttl_s = 100};

    ck_assert_int_eq(peer_open(0, &spec), 0);
    settle();
    return &peers[0];
}

/* ---- The client's side ---- */

static void put(struct peer *peer, const void *bytes, size_t len)
{
    ck_assert_int_eq(send(peer->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

void says_frame(struct peer *peer, unsigned opcode, const void *bytes, size_t len)
{
    static const unsigned char mask[4] = {0x12, 0x34, 0x56, 0x78};
    struct buf out = {0};
    const unsigned char *from = bytes;

    buf_putc(&out, (char)(0x80 | opcode));
    if (len < 126) {
        buf_putc(&out, (char)(0x80 | len));
    } else {
        ck_assert_uint_lt(len, 1 << 16);
        buf_putc(&out, (char)(0x80 | 126));
        buf_putc(&out, (char)(len >> 8));
        buf_putc(&out, (char)len);
    }
    buf_put(&out, mask, 4);
    for (size_t i = 0; i < len; i++)
        buf_putc(&out, (char)(from[i] ^ mask[i % 4]));
    put(peer, out.data, out.len);
    buf_free(&out);
}

void says(struct peer *peer, const char *text)
{
    says_frame(peer, OP_TEXT, text, strlen(text));
}

void says_close(struct peer *peer, unsigned code)
{
    unsigned char bytes[2] = {(unsigned char)(code >> 8), (unsigned char)code};

    says_frame(peer, OP_CLOSE, bytes, code == 0 ? 0 : 2);
}

void leaves(struct peer *peer)
{
    close(peer->fd);
    peer->fd = -1;
}

/* Length of head and payload of the frame at the start; 0: not yet whole. */
static size_t frame_len(const struct buf *in, size_t *head)
{
    const unsigned char *b = (const unsigned char *)in->data;
    size_t len;

    if (in->len < 4)
        return in->len >= 2 && b[1] == in->len - 2 ? (*head = 2) + b[1] : 0;
    ck_assert_uint_lt(b[1], 127); /* not masked, and nothing that long is written here */
    *head = b[1] == 126 ? 4 : 2;
    len = *head + (b[1] == 126 ? ((size_t)b[2] << 8 | b[3]) : b[1]);
    return in->len >= len ? len : 0;
}

const struct heard *hears(struct peer *peer)
{
    static struct heard heard;
    char bytes[4096];
    size_t head, len;
    ssize_t n;

    while ((len = frame_len(&peer->heard, &head)) == 0 &&
           (n = recv(peer->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        buf_put(&peer->heard, bytes, (size_t)n);
    heard.opcode = 0;
    if (len == 0)
        return &heard;
    ck_assert_uint_eq((unsigned char)peer->heard.data[0] & 0xf0, 0x80);
    heard.opcode = (unsigned char)peer->heard.data[0] & 15;
    heard.len = len - head;
    memcpy(heard.bytes, peer->heard.data + head, heard.len);
    heard.bytes[heard.len] = '\0';
    peer->heard.len -= len;
    memmove(peer->heard.data, peer->heard.data + len, peer->heard.len);
    return &heard;
}

void assert_hears(struct peer *peer, const char *text)
{
    const struct heard *heard = hears(peer);

    ck_assert_uint_eq(heard->opcode, OP_TEXT);
    ck_assert_str_eq(heard->bytes, text);
}

void assert_silent(struct peer *peer)
{
    ck_assert_uint_eq(hears(peer)->opcode, 0);
}

void assert_close(struct peer *peer, unsigned code)
{
    const struct heard *heard = hears(peer);

    ck_assert_uint_eq(heard->opcode, OP_CLOSE);
    ck_assert_uint_ge(heard->len, 2);
    ck_assert_uint_eq(
        (unsigned)(unsigned char)heard->bytes[0] << 8 | (unsigned char)heard->bytes[1], code);
}

void assert_end(struct peer *peer)
{
    char byte;

    assert_silent(peer);
    ck_assert_int_eq(peer->server_fd, -1);
    ck_assert_int_le(recv(peer->fd, &byte, 1, MSG_DONTWAIT), 0);
}

/* ---- Life ---- */

void ws_world_setup(void)
{
    log_start(CONFIG_LOG_ERROR, CONFIG_LOG_JSON);
    fake_world_init(&world, 2);
    world.config.message_max_bytes = 1024;
    world.config.socket_requests_max = 3;
    world.config.stream_buffer_bytes = 4096;
    world.config.ping_s = 30;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    world.shards[0].loop = &loop;
    ck_assert_int_eq(websockets_new(&world.shards[0].websockets, &world.shards[0], NULL), 0);
    n_works = 0;
    n_kept = n_deleted = 0;
    misused = false;
    memset(peers, 0, sizeof(peers));
}

void ws_world_teardown(void)
{
    for (size_t i = 0; i < PEERS_MAX; i++) {
        if (peers[i].hooks && peers[i].server_fd >= 0)
            peers[i].hooks->cancel(&peers[i].request);
        if (peers[i].hooks && peers[i].fd >= 0)
            close(peers[i].fd);
        buf_free(&peers[i].heard);
    }
    for (size_t i = 0; i < n_works; i++)
        ck_assert_ptr_null(works[i].sink);
    ck_assert(!misused);
    ck_assert(fake_metric(&world, "rnnd_websockets") == 0);
    ck_assert_ptr_null(heap_first(&world.shards[0].websockets->due));
    websockets_free(world.shards[0].websockets);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    fake_world_deinit(&world);
}
