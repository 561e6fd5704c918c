/* GET /stream and GET /sessions/{id}/stream: the opening of a streaming session; what happens on it
 * is in ws.c.
 *
 * Everything that can be refused is refused here, over HTTP with a true status: the handshake, the
 * page's origin, the model, the session. */
#include "server/api.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "server/session_op.h"
#include "server/ws.h"
#include "server/ws_handshake.h"

/* ---- The handshake ---- */

static void refuse(struct request *request, enum ws_verdict verdict)
{
    switch (verdict) {
    case WS_NO_UPGRADE:
        http_reply_header(request, "Upgrade", "websocket");
        reply_error(request, REPLY_UPGRADE, "Upgrade",
                    "want a GET of HTTP/1.1 that asks to become a WebSocket (Connection: Upgrade, "
                    "Upgrade: websocket)");
        break;
    case WS_BAD_VERSION:
        http_reply_header(request, "Upgrade", "websocket");
        http_reply_header(request, "Sec-WebSocket-Version", "13");
        reply_error(request, REPLY_UPGRADE, "Sec-WebSocket-Version",
                    "Sec-WebSocket-Version: want 13");
        break;
    case WS_BAD_KEY:
        reply_error(request, REPLY_MALFORMED, "Sec-WebSocket-Key",
                    "Sec-WebSocket-Key: want base64 of 16 bytes");
        break;
    default:
        reply_error(request, REPLY_MALFORMED, "Sec-WebSocket-Protocol",
                    "Sec-WebSocket-Protocol: want " WS_PROTOCOL " among those offered, or none");
    }
}

static bool origin_allowed(struct request *request)
{
    const char *origin = http_header(request, "Origin");

    if (!origin || ws_origin_listed(shard_config(request->shard)->origins, origin))
        return true; /* not a browser: it could say what it likes */
    reply_error(request, REPLY_ORIGIN, "Origin", "Origin: '%.100s' may not open a WebSocket here",
                origin);
    return false;
}

/* What the opening request has said. */
struct opening {
    char accept[WS_ACCEPT_BYTES];
    bool chosen; /* the subprotocol is answered */
    bool raw;    /* ?format=f32 */
};

static bool read_format(struct request *request, bool *raw)
{
    const char *format = http_query(request, "format");

    *raw = format && strcmp(format, "f32") == 0;
    if (!format || *raw || strcmp(format, "json") == 0)
        return true;
    reply_error(request, REPLY_MALFORMED, "format", "format: want json or f32, found '%.40s'",
                format);
    return false;
}

/* False: refused and answered. */
static bool shake_hands(struct request *request, struct opening *opening)
{
    const struct ws_offer offer = {
        .can_upgrade = request->method == HTTP_GET && !request->old_http && request->body_len == 0,
        .upgrade = http_header(request, "Upgrade"),
        .connection = http_header(request, "Connection"),
        .version = http_header(request, "Sec-WebSocket-Version"),
        .key = http_header(request, "Sec-WebSocket-Key"),
        .protocols = http_header(request, "Sec-WebSocket-Protocol"),
    };
    enum ws_verdict verdict = ws_handshake(&offer, opening->accept, &opening->chosen);

    if (verdict != WS_WELCOME) {
        refuse(request, verdict);
        return false;
    }
    return origin_allowed(request) && read_format(request, &opening->raw);
}

static bool open_socket(struct request *request, const struct opening *opening,
                        const struct ws_spec *spec)
{
    struct rnn_err err = {0};

    http_reply_header(request, "Upgrade", "websocket");
    http_reply_header(request, "Sec-WebSocket-Accept", opening->accept);
    if (opening->chosen)
        http_reply_header(request, "Sec-WebSocket-Protocol", WS_PROTOCOL);
    if (ws_open(request, spec, &err) == 0)
        return true;
    reply_failure(request, &err);
    return false;
}

/* ---- A session as long as the socket ---- */

/* ?penalty_memory=N; answers and returns false where that is not possible. */
static bool read_window(struct request *request, const struct rnn_model_info *info, size_t *window)
{
    const struct config *config = shard_config(request->shard);
    const char *text = http_query(request, "penalty_memory");
    int64_t asked = -1, max = config->penalty_memory_max;
    struct rnn_err err = {0};
    char *end = NULL;

    if (text) {
        asked = strtol(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || asked > max) {
            reply_error(request, REPLY_OUT_OF_RANGE, "penalty_memory",
                        "penalty_memory: want an integer from 0 to %lld, found '%.40s'",
                        (long long)max, text);
            return false;
        }
    }
    if (api_window(info, config, asked, 0, window, &err) == 0)
        return true;
    reply_failure(request, &err);
    return false;
}

static bool make_session(struct request *request, const struct model_entry *entry, size_t window,
                         struct ws_spec *spec)
{
    struct session_spec session = {.key_name = request->key_name,
                                   .model_name = entry->name,
                                   .model = entry->model,
                                   .state_bytes = rnn_state_bytes(entry->model, window),
                                   .transient = true};
    struct session_view view;
    session_result rc = SESSION_FAIL(REPLY_INTERNAL);

    if (getrandom(&session.seed, sizeof session.seed, 0) == (ssize_t)sizeof session.seed) {
        session.seed &= (uint64_t)JSON_INT_MAX; /* survives a JSON reader that knows only doubles */
        rc = session_create(request->shard->sessions, &session, &view); /* minted: on this shard */
    }
    if (rc != 0) {
        reply_error(request, SESSION_REPLY(rc), NULL, "no session could be opened");
        return false;
    }
    memcpy(spec->session_id, view.id, sizeof spec->session_id);
    spec->ttl_s = view.ttl_s;
    return true;
}

void api_stream(struct request *request, const char *arg)
{
    struct ws_spec spec = {.own_session = true};
    const char *name = http_query(request, "model");
    struct opening opening;
    struct model_entry entry;
    size_t window;

    (void)arg;
    if (!shake_hands(request, &opening) || !api_model(request, name ? name : "", &entry))
        return;
    spec.raw = opening.raw;
    spec.takes_frames = rnn_model_info(entry.model)->input_kind == RNN_INPUT_DENSE;
    if (read_window(request, rnn_model_info(entry.model), &window) &&
        make_session(request, &entry, window, &spec) && !open_socket(request, &opening, &spec))
        (void)session_delete(request->shard->sessions, spec.session_id, request->key_name);
    rnn_model_unref(entry.model);
}

/* ---- A session that is there ---- */

struct stream_op {
    struct session_op op; /* first */
    struct opening opening;
};

static void run_look(struct session_op *op)
{
    op->result = session_view(op->work->sessions, op->id, op->key_name, &op->views[0]);
    op_return(op);
}

/* By name: a model that has been replaced meanwhile is of the same kind. */
static bool takes_frames(struct request *request, const char *model)
{
    struct model_entry entry;
    bool dense;

    if (models_get(request->shard->server->models, model, &entry, NULL) < 0)
        return true; /* its requests will tell */
    dense = rnn_model_info(entry.model)->input_kind == RNN_INPUT_DENSE;
    rnn_model_unref(entry.model);
    return dense;
}

static void reply_open(const struct session_op *op)
{
    const struct opening *opening = &((const struct stream_op *)op)->opening; /* its first member */
    struct ws_spec spec = {.ttl_s = op->views[0].ttl_s,
                           .takes_frames = takes_frames(op->request, op->views[0].model),
                           .raw = opening->raw};

    memcpy(spec.session_id, op->id, sizeof spec.session_id);
    (void)open_socket(op->request, opening, &spec); /* answered in any case */
}

void api_session_stream(struct request *request, const char *arg)
{
    struct opening opening;
    struct stream_op *op;

    if (!shake_hands(request, &opening))
        return;
    op = op_new(request, sizeof *op, arg, 1);
    if (!op)
        return;
    op->opening = opening;
    op->op.run = run_look;
    op->op.reply = reply_open;
    op_submit(&op->op);
}
