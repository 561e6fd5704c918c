/* A streaming session's socket: what it reads, writes and waits for, and how it ends.
 *
 * Everything happens in the turn: read what has come (bounded), let the messages start their
 * requests, write what there is, say what to wait for.  Reading pauses while socket_requests_max
 * requests are under way or the client has not read stream_buffer_bytes: so a client that does not
 * read or asks too much stops itself and nobody else.
 *
 * One timer a shard looks four times a second at the sockets that are due, and at no others: an
 * idle socket is looked at twice in ping_s.  What is silent for ping_s gets a ping, what stays
 * silent as long again is dead, unless its kernel is still taking what was on the way before the
 * ping: a slow reader is none.  The same look keeps the session from expiring.
 *
 * A close frame ends everything that runs.  After one of ours the client has CLOSE_MS to answer
 * with its own; what it still sends is read and dropped meanwhile, because a close with unread
 * bytes would reset the connection and take our last frames along.  Own shard's thread only. */
#include "server/ws_inner.h"

#include <stdlib.h>
#include <string.h>

#include "server/log.h"
#include "server/metrics.h"

#define TICK_MS    250u
#define CLOSE_MS   5000
#define READ_BYTES 16384 /* at once */
#define READS_MAX  4     /* of one socket in one turn */
#define NS_PER_MS  1000000u
#define NS_PER_S   1000000000u

/* ---- Time ---- */

static int64_t now_ms(const struct ws *ws)
{
    return (int64_t)(ws->shard->now_ns / NS_PER_MS);
}

static void due_in(struct ws *ws, int64_t ms)
{
    struct heap *heap = &ws->shard->websockets->due;

    heap_remove(heap, &ws->due);
    heap_insert(heap, &ws->due, now_ms(ws) + ms); /* the room has been there since it opened */
}

static uint64_t ping_ns(const struct ws *ws)
{
    return (uint64_t)shard_config(ws->shard)->ping_s * NS_PER_S;
}

/* How often the session is kept. */
static uint64_t keep_ns(const struct ws *ws)
{
    uint64_t half_life_ns = (uint64_t)ws->spec.ttl_s * NS_PER_S / 2;

    return half_life_ns > 0 && half_life_ns < ping_ns(ws) ? half_life_ns : ping_ns(ws);
}

/* What is left of a time that began at `since_ns`; of one that is over, all of it. */
static uint64_t left_ns(const struct ws *ws, uint64_t since_ns, uint64_t whole_ns)
{
    uint64_t gone_ns = ws->shard->now_ns - since_ns;

    return gone_ns < whole_ns ? whole_ns - gone_ns : whole_ns;
}

/* To the next ping, the end of the wait for its pong, or the next keeping of the session. */
static int64_t look_ms(const struct ws *ws)
{
    uint64_t ping = left_ns(ws, ws->pinged_ns ? ws->pinged_ns : ws->heard_ns, ping_ns(ws));
    uint64_t keep = left_ns(ws, ws->kept_ns, keep_ns(ws));

    return (int64_t)((ping < keep ? ping : keep) / NS_PER_MS) + 1;
}

static void heard(struct ws *ws)
{
    ws->heard_ns = ws->shard->now_ns;
    ws->pinged_ns = 0;
}

/* ---- The session's life ---- */

struct keeping {
    struct message message;
    const char *key_name; /* lives until exit */
    char id[SESSION_ID_MAX + 1];
};

static void keep_run(struct shard *work, struct message *message)
{
    struct keeping *keeping = (struct keeping *)message; /* its first member */

    (void)session_keep(work->sessions, keeping->id, keeping->key_name); /* gone: requests tell */
    free(keeping);
}

static void keep_session(struct ws *ws)
{
    struct server *server = ws->shard->server;
    struct keeping *keeping = malloc(sizeof *keeping);

    if (!keeping)
        return; /* the next look will */
    ws->kept_ns = ws->shard->now_ns;
    keeping->message.run = keep_run;
    keeping->key_name = ws->request->key_name;
    memcpy(keeping->id, ws->spec.session_id, sizeof keeping->id);
    shard_post(server->shards[session_shard(server, keeping->id)], &keeping->message);
}

/* ---- The end ---- */

static enum metric_counter counter_of(enum ws_code code)
{
    static const struct {
        enum ws_code code;
        enum metric_counter counter;
    } known[] = {
        {WS_NORMAL, M_WS_1000},      {WS_GOING_AWAY, M_WS_1001}, {WS_PROTOCOL_ERROR, M_WS_1002},
        {WS_UNSUPPORTED, M_WS_1003}, {WS_NO_STATUS, M_WS_1005},  {WS_ABNORMAL, M_WS_1006},
        {WS_BAD_DATA, M_WS_1007},    {WS_POLICY, M_WS_1008},     {WS_TOO_BIG, M_WS_1009},
        {WS_INTERNAL, M_WS_1011},    {WS_TRY_LATER, M_WS_1013}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].code == code)
            return known[i].counter;
    return M_WS_OTHER;
}

static void account(const struct ws *ws)
{
    enum ws_code code = ws_frames_code(ws->frames);

    if (code == WS_NONE)
        code = WS_ABNORMAL;
    metrics_count(ws->shard->metrics, counter_of(code), 1);
    metrics_gauge_add(ws->shard->metrics, G_WEBSOCKETS, -1);
    log_line(CONFIG_LOG_INFO, "websocket closed", LOG_TEXT("id", ws->request->id),
             LOG_TEXT("route", ws->request->route_name), LOG_NUMBER("code", code),
             LOG_NUMBER("seconds", (double)(ws->shard->now_ns - ws->opened_ns) * 1e-9),
             LOG_NUMBER("messages_in", ws->n_in), LOG_NUMBER("messages_out", ws->n_out),
             LOG_NUMBER("bytes_in", ws->bytes_in), LOG_TEXT("key", ws->request->key_name));
}

/* Everything but the request, which is the caller's to close. */
static void ws_free(struct ws *ws)
{
    struct request *request = ws->request;

    ws_drop_requests(ws);
    if (ws->opened)
        account(ws);
    if (ws->spec.own_session)
        (void)session_delete(ws->shard->sessions, ws->spec.session_id, request->key_name);
    heap_remove(&ws->shard->websockets->due, &ws->due);
    ws_frames_free(ws->frames);
    buf_free(&ws->in);
    free(ws);
    request->hooks = NULL;
    request->user = NULL;
}

static void end(struct ws *ws)
{
    struct request *request = ws->request;

    ws_free(ws);
    http_socket_close(request);
}

/* ---- Writing ---- */

size_t ws_send(struct ws *ws, enum ws_kind kind, const char *bytes, size_t len)
{
    size_t unread;

    if (!ws_frames_closing(ws->frames)) {
        ws->n_out++;
        metrics_count(ws->shard->metrics, M_WS_OUT, 1);
        ws_frames_send(ws->frames, kind, bytes, len);
    }
    http_socket_wake(ws->request);
    (void)ws_frames_pending(ws->frames, &unread);
    return unread;
}

/* False: the client is gone. */
static bool write_out(struct ws *ws)
{
    size_t limit = (size_t)shard_config(ws->shard)->stream_buffer_bytes, left;
    const char *bytes = ws_frames_pending(ws->frames, &left);

    while (left > 0) {
        ssize_t n = http_socket_write(ws->request, bytes, left);

        if (n < 0)
            return false;
        if (n == 0)
            break;
        if (ws->blocked)
            heard(ws); /* it reads, so it lives */
        if (ws->blocked && ws->ending)
            due_in(ws, CLOSE_MS); /* from when it has read everything */
        ws_frames_sent(ws->frames, (size_t)n);
        bytes = ws_frames_pending(ws->frames, &left);
    }
    ws->blocked = left > 0;
    if (ws->full && left < limit / 2) {
        ws->full = false;
        ws_tell_drained(ws);
    }
    return true;
}

/* ---- Reading ---- */

static bool paused(const struct ws *ws)
{
    const struct config *config = shard_config(ws->shard);
    size_t unread;

    if (ws_frames_closing(ws->frames))
        return false; /* what comes is dropped */
    (void)ws_frames_pending(ws->frames, &unread);
    return ws->n_requests >= (size_t)config->socket_requests_max ||
           unread >= (size_t)config->stream_buffer_bytes;
}

/* A bucket that holds messages_per_s and fills in a second. */
static bool is_allowed(struct ws *ws)
{
    uint64_t per_s = (uint64_t)shard_config(ws->shard)->messages_per_s, full = per_s * 1000;
    uint64_t since_ns = ws->shard->now_ns - ws->allowance_ns;

    if (per_s == 0)
        return true;
    ws->allowance_ns = ws->shard->now_ns;
    ws->allowance += since_ns < NS_PER_S ? since_ns * per_s / NS_PER_MS : full;
    if (ws->allowance > full)
        ws->allowance = full;
    if (ws->allowance < 1000)
        return false;
    ws->allowance -= 1000;
    return true;
}

static void on_message(void *user, enum ws_kind kind, const char *bytes, size_t len)
{
    struct ws *ws = user;

    ws->n_in++;
    metrics_count(ws->shard->metrics, M_WS_IN, 1);
    if (!is_allowed(ws))
        ws_frames_close(ws->frames, WS_POLICY, "more than messages_per_s");
    else if (kind == WS_TEXT || kind == WS_BINARY)
        ws_receive(ws, kind, bytes, len);
}

/* Returns how many were taken before reading paused. */
static size_t feed(struct ws *ws, const char *bytes, size_t len)
{
    size_t n = 0;

    while (n < len && !paused(ws))
        n += ws_frames_feed(ws->frames, bytes + n, len - n);
    return n;
}

/* What lies behind the point where reading paused; false: it has paused again. */
static bool feed_rest(struct ws *ws)
{
    size_t left = ws->in.len - ws->in_taken;

    if (left == 0)
        return !paused(ws);
    ws->in_taken += feed(ws, ws->in.data + ws->in_taken, left);
    if (ws->in_taken < ws->in.len)
        return false;
    buf_free(&ws->in);
    ws->in_taken = 0;
    return !paused(ws);
}

static void keep_rest(struct ws *ws, const char *bytes, size_t len)
{
    buf_put(&ws->in, bytes, len);
    if (ws->in.failed)
        ws_frames_close(ws->frames, WS_TRY_LATER, "no memory for the message");
}

/* False: the client is gone. */
static bool read_in(struct ws *ws)
{
    char bytes[READ_BYTES];

    for (int i = 0; i < READS_MAX && feed_rest(ws); i++) {
        ssize_t n = http_socket_read(ws->request, bytes, sizeof bytes);
        size_t taken;

        if (n < 0)
            return false;
        if (n == 0)
            break;
        heard(ws);
        ws->bytes_in += (uint64_t)n;
        taken = feed(ws, bytes, (size_t)n);
        if (taken < (size_t)n)
            keep_rest(ws, bytes + taken, (size_t)n - taken);
    }
    return true;
}

/* ---- The turn ---- */

static void open_up(struct ws *ws)
{
    ws->opened = true;
    ws->opened_ns = ws->allowance_ns = ws->shard->now_ns;
    ws->allowance = UINT64_MAX / 2;
    metrics_gauge_add(ws->shard->metrics, G_WEBSOCKETS, 1);
    heard(ws);
    if (atomic_load(&ws->shard->server->draining))
        ws->draining = true;
}

/* A close frame has gone out or come in: nothing runs any more. */
static void note_ending(struct ws *ws)
{
    if (ws->ending || !ws_frames_closing(ws->frames))
        return;
    ws->ending = true;
    ws_drop_requests(ws);
    due_in(ws, CLOSE_MS);
}

/* Whether nothing is left to do. */
static bool is_over(struct ws *ws)
{
    size_t left;

    (void)ws_frames_pending(ws->frames, &left);
    if (!ws->ending || (left > 0 && !ws_frames_broken(ws->frames)))
        return false;
    if (ws_frames_close_received(ws->frames) || ws_frames_broken(ws->frames))
        return true;
    if (ws_frames_failed(ws->frames) && !ws->finished) {
        ws->finished = true;
        http_socket_finish(ws->request);
    }
    return false;
}

static void on_turn(struct request *request)
{
    struct ws *ws = request->user;
    size_t left;

    if (!ws->opened)
        open_up(ws);
    if (!read_in(ws)) {
        (void)write_out(ws); /* it may have shut only its own side, behind a close frame */
        end(ws);
        return;
    }
    if (ws->draining && ws->n_requests == 0)
        ws_frames_close(ws->frames, WS_GOING_AWAY, "the server is shutting down");
    note_ending(ws);
    if (!write_out(ws) || is_over(ws)) {
        end(ws);
        return;
    }
    (void)ws_frames_pending(ws->frames, &left);
    if (ws->in.len == 0 || paused(ws))
        http_socket_wait(request, !paused(ws), left > 0);
    else
        http_socket_wake(request); /* there are messages left over, and room again */
}

static void on_drain(struct request *request)
{
    struct ws *ws = request->user;

    ws->draining = true;
    http_socket_wake(request);
}

static void on_cancel(struct request *request)
{
    struct ws *ws = request->user;

    ws_drop_requests(ws);
    ws_frames_close(ws->frames, WS_GOING_AWAY, "the server is shutting down");
    (void)write_out(ws); /* what fits */
    end(ws);
}

static void on_gone(struct request *request)
{
    ws_free(request->user);
}

static const struct socket_hooks socket_hooks = {
    .turn = on_turn, .drain = on_drain, .cancel = on_cancel};
static const struct request_hooks request_hooks = {.gone = on_gone};

/* ---- Looks ---- */

/* Reading has paused while everything written has been taken: a pong could not be seen. */
static bool is_deaf(const struct ws *ws)
{
    return paused(ws) && !ws->blocked;
}

static void note_taken(struct ws *ws)
{
    if (!http_socket_taken(ws->request, &ws->taken_bytes, &ws->on_way_bytes))
        ws->taken_bytes = ws->on_way_bytes = 0;
}

/* Its kernel takes what was on the way before the ping, which it comes to only after that. */
static bool is_catching_up(struct ws *ws)
{
    uint64_t taken_before = ws->taken_bytes, on_way_before = ws->on_way_bytes;

    note_taken(ws);
    if (on_way_before == 0 || ws->taken_bytes <= taken_before)
        return false;
    ws->pinged_ns = ws->shard->now_ns; /* the wait begins anew */
    return true;
}

static bool is_dead(struct ws *ws)
{
    return ws->pinged_ns != 0 && ws->shard->now_ns - ws->pinged_ns >= ping_ns(ws) && !is_deaf(ws) &&
           !is_catching_up(ws);
}

static void ping(struct ws *ws)
{
    note_taken(ws);
    ws->pinged_ns = ws->shard->now_ns;
    (void)ws_send(ws, WS_PING, "", 0);
}

static void look(struct ws *ws)
{
    uint64_t now_ns = ws->shard->now_ns;

    if (ws->ending || is_dead(ws)) { /* too late, or dead */
        end(ws);
        return;
    }
    if (now_ns - ws->kept_ns >= keep_ns(ws))
        keep_session(ws);
    if (ws->opened && ws->pinged_ns == 0 && now_ns - ws->heard_ns >= ping_ns(ws))
        ping(ws);
    due_in(ws, look_ms(ws));
}

static void on_tick(uv_timer_t *timer)
{
    struct websockets *websockets = timer->data;
    struct shard *shard = websockets->shard;
    struct due *due;

    shard_clock(shard);
    while ((due = heap_first(&websockets->due)) &&
           due->when <= (int64_t)(shard->now_ns / NS_PER_MS))
        look((struct ws *)(void *)((char *)due - offsetof(struct ws, due)));
    if (!heap_first(&websockets->due))
        uv_timer_stop(timer);
    shard_keep_turning(shard);
}

/* ---- Opening ---- */

int ws_open(struct request *request, const struct ws_spec *spec, struct rnn_err *err)
{
    struct shard *shard = request->shard;
    struct websockets *websockets = shard->websockets;
    struct ws *ws = calloc(1, sizeof *ws);

    if (!ws || !heap_reserve(&websockets->due)) {
        free(ws);
        return rnn_fail(err, RNN_ENOMEM, "no memory for a WebSocket");
    }
    ws->frames = ws_frames_new((size_t)shard_config(shard)->message_max_bytes, on_message, ws);
    if (!ws->frames) {
        free(ws);
        return rnn_fail(err, RNN_ENOMEM, "no memory for a WebSocket");
    }
    ws->shard = shard;
    ws->request = request;
    ws->spec = *spec;
    ws->heard_ns = ws->kept_ns = shard->now_ns;
    if (!heap_first(&websockets->due))
        uv_timer_start(&websockets->tick, on_tick, TICK_MS, TICK_MS);
    due_in(ws, look_ms(ws));
    request->user = ws;
    request->hooks = &request_hooks;
    http_upgrade(request, &socket_hooks);
    return 0;
}

/* ---- Life ---- */

int websockets_new(struct websockets **out, struct shard *shard, struct rnn_err *err)
{
    struct websockets *websockets = calloc(1, sizeof *websockets);

    if (!websockets)
        return rnn_fail(err, RNN_ENOMEM, "no memory for WebSockets");
    websockets->shard = shard;
    uv_timer_init(shard->loop, &websockets->tick); /* cannot fail */
    websockets->tick.data = websockets;
    *out = websockets;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct websockets *websockets = handle->data;

    heap_free(&websockets->due);
    free(websockets);
}

void websockets_free(struct websockets *websockets)
{
    if (websockets)
        uv_close((uv_handle_t *)&websockets->tick, on_closed);
}
