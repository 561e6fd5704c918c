/* What a client sends on a WebSocket: the first byte says how the rest is cut into segments; frames
 * come out of it as messages, and messages are read as those of a streaming session.  However the
 * bytes are cut, the same messages come out and the same is said back; after a fault nothing does;
 * and no more is gathered than a message may have. */
#include "base/buf.h"
#include "fuzz.h"
#include "server/reply.h"
#include "server/ws_frames.h"
#include "server/ws_message.h"

#define MESSAGE_MAX 4096u

static const struct config config = {.json_depth_max = 32,
                                     .input_steps_max = 4096,
                                     .inputs_max = 16,
                                     .output_tokens_max = 1000,
                                     .choices_max = 8,
                                     .stop_max = 8};

struct client {
    struct buf heard;
    bool ended;
};

/* One message as the session reads it. */
static void read_message(enum ws_kind kind, const char *bytes, size_t len)
{
    struct ws_message message;
    struct rnn_err err = {0};
    int rc = kind == WS_BINARY ? ws_message_from_floats(&message, bytes, len, "s", &config, &err)
                               : ws_message_read(&message, bytes, len, "s", &config, &err);

    HOLDS(strlen(message.id) < WS_ID_BYTES);
    HOLDS(utf8_valid(message.id, strlen(message.id), NULL));
    if (rc < 0) {
        check_failure(rc, &err);
        HOLDS(reply_status(reply_error_of(&err)) < 500);
        return;
    }
    HOLDS(message.verb <= WS_CANCEL);
    if (message.verb == WS_PREDICT)
        HOLDS(strcmp(message.predict.common.session, "s") == 0);
    if (message.verb == WS_GENERATE)
        HOLDS(strcmp(message.generate.common.session, "s") == 0);
    ws_message_free(&message);
}

static void hear(void *user, enum ws_kind kind, const char *bytes, size_t len)
{
    struct client *client = user;

    HOLDS(!client->ended);
    HOLDS(len <= (kind == WS_PING || kind == WS_PONG ? 125 : MESSAGE_MAX));
    if (kind == WS_TEXT)
        HOLDS(utf8_valid(bytes, len, NULL));
    if (kind == WS_TEXT || kind == WS_BINARY)
        read_message(kind, bytes, len);
    buf_putc(&client->heard, (char)('0' + kind));
    buf_put(&client->heard, bytes, len);
}

/* Returns the code it closes with; `out` is what it says back. */
static enum ws_code feed(const uint8_t *data, size_t size, size_t step, struct client *client,
                         struct buf *out)
{
    struct ws_frames *frames = ws_frames_new(MESSAGE_MAX, hear, client);
    const char *pending;
    enum ws_code code;
    size_t len;

    HOLDS(frames);
    for (size_t at = 0; at < size;) {
        size_t piece = size - at < step ? size - at : step;
        size_t n = ws_frames_feed(frames, (const char *)data + at, piece);

        HOLDS(n > 0 && n <= piece);
        at += n;
        client->ended = ws_frames_closing(frames);
    }
    HOLDS(!ws_frames_broken(frames));
    code = ws_frames_code(frames);
    HOLDS((code != WS_NONE) == ws_frames_closing(frames));
    pending = ws_frames_pending(frames, &len);
    buf_put(out, pending, len);
    ws_frames_free(frames);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client whole = {0}, cut = {0};
    struct buf said_whole = {0}, said_cut = {0};
    enum ws_code code;

    if (size < 2)
        return 0;
    code = feed(data + 1, size - 1, size, &whole, &said_whole);
    HOLDS(feed(data + 1, size - 1, (size_t)data[0] % 17 + 1, &cut, &said_cut) == code);
    HOLDS(whole.heard.len == cut.heard.len && said_whole.len == said_cut.len);
    HOLDS(whole.heard.len == 0 || memcmp(whole.heard.data, cut.heard.data, cut.heard.len) == 0);
    HOLDS(said_whole.len == 0 || memcmp(said_whole.data, said_cut.data, said_cut.len) == 0);
    buf_free(&whole.heard);
    buf_free(&cut.heard);
    buf_free(&said_whole);
    buf_free(&said_cut);
    return 0;
}
