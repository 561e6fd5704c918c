/* Frames.  See ws_frames.h.
 *
 * wslay pulls its input by a callback: it is given the bytes of one frame and then told to wait.
 * Control frames it gets in one piece: of a close frame that came in pieces it checks no reason. It
 * pushes its output by another, which puts it into a buffer, so that its own queues are always
 * empty.  Messages are gathered here and not by wslay, which allocates what a head announces. */
#include "server/ws_frames.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#define MASK_BYTES    4
#define CONTROL_MAX   125
#define HELD_MAX      (2 + MASK_BYTES + CONTROL_MAX) /* and a head of 10 bytes, too */
#define KEEP_BYTES    4096 /* of an empty buffer; larger ones are given back */
#define REASON_MAX    123
#define OPCODE(first) ((first)&0x0fu)

struct ws_frames {
    wslay_event_context_ptr wslay;
    ws_receiver *receive;
    void *user;
    size_t message_max;

    /* ---- The frame that is coming in: its head; all of it, if it is a control frame ---- */
    unsigned char head[HELD_MAX];
    size_t n_head;
    uint64_t left;        /* of the frame, mask and payload, once its head is complete */
    bool in_frame;        /* the head is complete */
    uint64_t message_len; /* announced by the frames of the message so far */

    const char *in; /* what wslay may take now */
    size_t in_len;
    struct buf message;
    uint8_t opcode; /* of the frame that wslay is in */

    struct buf out;
    size_t out_taken;
    bool failed, broken;
    enum ws_code code;
};

/* ---- wslay's callbacks ---- */

static ssize_t on_recv(wslay_event_context_ptr wslay, uint8_t *out, size_t len, int flags,
                       void *user)
{
    struct ws_frames *f = user;
    size_t n = len < f->in_len ? len : f->in_len;

    (void)flags;
    if (n == 0) {
        wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(out, f->in, n);
    f->in += n;
    f->in_len -= n;
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr wslay, const uint8_t *bytes, size_t len, int flags,
                       void *user)
{
    struct ws_frames *f = user;

    (void)wslay;
    (void)flags;
    buf_put(&f->out, bytes, len);
    if (f->out.failed)
        f->broken = true;
    return (ssize_t)len;
}

static void on_frame(wslay_event_context_ptr wslay,
                     const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
    struct ws_frames *f = user;

    (void)wslay;
    f->opcode = arg->opcode;
}

static void on_chunk(wslay_event_context_ptr wslay,
                     const struct wslay_event_on_frame_recv_chunk_arg *arg, void *user)
{
    struct ws_frames *f = user;

    (void)wslay;
    if (!wslay_is_ctrl_frame(f->opcode))
        buf_put(&f->message, arg->data, arg->data_length);
}

/* Empty again, and no larger than a small message needs. */
static void shrink(struct buf *buf)
{
    if (buf->cap > KEEP_BYTES)
        buf_free(buf);
    else
        buf_clear(buf);
}

static void take_message(struct ws_frames *f, enum ws_kind kind)
{
    if (f->message.failed)
        ws_frames_close(f, WS_TRY_LATER, "no memory for the message");
    else
        f->receive(f->user, kind, f->message.len ? f->message.data : "", f->message.len);
    shrink(&f->message);
}

static void on_message(wslay_event_context_ptr wslay, const struct wslay_event_on_msg_recv_arg *arg,
                       void *user)
{
    struct ws_frames *f = user;

    (void)wslay;
    if (arg->opcode == WSLAY_CONNECTION_CLOSE) {
        if (f->code == WS_NONE)
            f->code = arg->status_code ? (enum ws_code)arg->status_code : WS_NO_STATUS;
    } else if (ws_frames_closing(f)) {
        shrink(&f->message); /* too late */
    } else if (arg->opcode == WSLAY_PING || arg->opcode == WSLAY_PONG) {
        f->receive(f->user, arg->opcode == WSLAY_PING ? WS_PING : WS_PONG, (const char *)arg->msg,
                   arg->msg_length);
    } else {
        take_message(f, arg->opcode == WSLAY_TEXT_FRAME ? WS_TEXT : WS_BINARY);
    }
}

/* ---- Life ---- */

struct ws_frames *ws_frames_new(size_t message_max, ws_receiver *receive, void *user)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_frame_recv_start_callback = on_frame,
        .on_frame_recv_chunk_callback = on_chunk,
        .on_msg_recv_callback = on_message,
    };
    struct ws_frames *f = calloc(1, sizeof *f);

    if (!f)
        return NULL;
    f->message_max = message_max;
    f->receive = receive;
    f->user = user;
    if (wslay_event_context_server_init(&f->wslay, &callbacks, f) != 0) {
        free(f);
        return NULL;
    }
    wslay_event_config_set_no_buffering(f->wslay, 1);
    wslay_event_config_set_max_recv_msg_length(f->wslay, message_max);
    return f;
}

void ws_frames_free(struct ws_frames *f)
{
    if (!f)
        return;
    wslay_event_context_free(f->wslay);
    buf_free(&f->message);
    buf_free(&f->out);
    free(f);
}

/* ---- Out ---- */

static void push(struct ws_frames *f)
{
    if (wslay_event_send(f->wslay) != 0)
        f->broken = true;
}

void ws_frames_send(struct ws_frames *f, enum ws_kind kind, const char *bytes, size_t len)
{
    static const uint8_t opcodes[] = {[WS_TEXT] = WSLAY_TEXT_FRAME,
                                      [WS_BINARY] = WSLAY_BINARY_FRAME,
                                      [WS_PING] = WSLAY_PING,
                                      [WS_PONG] = WSLAY_PONG};
    const struct wslay_event_msg message = {
        .opcode = opcodes[kind], .msg = (const uint8_t *)bytes, .msg_length = len};

    if (ws_frames_closing(f))
        return;
    if (wslay_event_queue_msg(f->wslay, &message) != 0)
        f->broken = true;
    push(f);
}

void ws_frames_close(struct ws_frames *f, enum ws_code code, const char *reason)
{
    size_t len = strlen(reason);

    if (ws_frames_closing(f))
        return;
    if (f->code == WS_NONE)
        f->code = code;
    if (wslay_event_queue_close(f->wslay, (uint16_t)code, (const uint8_t *)reason,
                                len < REASON_MAX ? len : REASON_MAX) != 0)
        f->broken = true;
    push(f);
}

const char *ws_frames_pending(const struct ws_frames *f, size_t *len)
{
    *len = f->out.len - f->out_taken;
    return *len > 0 ? f->out.data + f->out_taken : "";
}

void ws_frames_sent(struct ws_frames *f, size_t n)
{
    size_t left;

    f->out_taken += n;
    left = f->out.len - f->out_taken;
    if (left == 0) {
        shrink(&f->out);
        f->out_taken = 0;
    } else if (f->out_taken >= left) { /* moving less than has been taken keeps the cost linear */
        memmove(f->out.data, f->out.data + f->out_taken, left);
        f->out.len = left;
        f->out_taken = 0;
    }
}

/* ---- Heads ---- */

/* A fault that the client hears of by its code; what it sends from here on means nothing. */
static void fail(struct ws_frames *f, enum ws_code code, const char *reason)
{
    ws_frames_close(f, code, reason);
    f->failed = true;
}

static void let_wslay_take(struct ws_frames *f, const char *bytes, size_t len)
{
    f->in = bytes;
    f->in_len = len;
    if (wslay_event_recv(f->wslay) != 0)
        fail(f, WS_INTERNAL, "");
    f->in = NULL;
    f->in_len = 0;
    if (!wslay_event_get_read_enabled(f->wslay)) {
        f->failed |= !wslay_event_get_close_received(f->wslay);
        push(f); /* its close frame */
        if (f->code == WS_NONE)
            f->code = (enum ws_code)wslay_event_get_status_code_sent(f->wslay);
    } else {
        push(f); /* pongs */
    }
}

/* Bytes of the head up to the end of its length; 0: the second is not there yet. */
static size_t head_bytes(const struct ws_frames *f)
{
    unsigned len7;

    if (f->n_head < 2)
        return 0;
    len7 = f->head[1] & 0x7fu;
    return len7 == 126 ? 4 : len7 == 127 ? 10 : 2;
}

static uint64_t payload_bytes(const struct ws_frames *f)
{
    size_t n = head_bytes(f);
    uint64_t len = 0;

    if (n == 2)
        return f->head[1] & 0x7fu;
    for (size_t i = 2; i < n; i++)
        len = len << 8 | f->head[i];
    return len;
}

static bool is_control(const struct ws_frames *f)
{
    return wslay_is_ctrl_frame(OPCODE(f->head[0]));
}

static bool is_reserved(unsigned opcode)
{
    return (opcode > WSLAY_BINARY_FRAME && opcode < WSLAY_CONNECTION_CLOSE) || opcode > WSLAY_PONG;
}

/* What wslay would say late, wrongly, or both.  Fragments in a wrong order it says itself. */
static bool head_good(struct ws_frames *f, uint64_t len)
{
    unsigned opcode = OPCODE(f->head[0]);
    bool fin = f->head[0] & 0x80u;

    if ((f->head[0] & 0x70u) || is_reserved(opcode)) {
        fail(f, WS_PROTOCOL_ERROR, "no extension was agreed on");
    } else if ((head_bytes(f) == 10 && (len >> 63 || len < 65536)) ||
               (head_bytes(f) == 4 && len < 126)) {
        fail(f, WS_PROTOCOL_ERROR, "the length is not in its shortest form");
    } else if (!(f->head[1] & 0x80u)) {
        fail(f, WS_PROTOCOL_ERROR, "frames of a client are masked");
    } else if (wslay_is_ctrl_frame(opcode) && (len > CONTROL_MAX || !fin)) {
        fail(f, WS_PROTOCOL_ERROR, "control frames are short and whole");
    } else if (opcode == WSLAY_CONNECTION_CLOSE && len == 1) {
        fail(f, WS_PROTOCOL_ERROR, "a close code has two bytes");
    } else if (!wslay_is_ctrl_frame(opcode)) {
        f->message_len = opcode == WSLAY_CONTINUATION_FRAME ? f->message_len + len : len;
        if (f->message_len > f->message_max)
            fail(f, WS_TOO_BIG, "the message is larger than message_max_bytes");
        if (fin)
            f->message_len = 0;
    }
    return !f->failed;
}

/* Takes bytes of the head, up to the end of its length; wslay gets them when it is found good.
 * Returns how many. */
static size_t head_read(struct ws_frames *f, const char *bytes, size_t len)
{
    size_t n = 0;

    while (n < len && (head_bytes(f) == 0 || f->n_head < head_bytes(f)))
        f->head[f->n_head++] = (unsigned char)bytes[n++];
    if (head_bytes(f) > 0 && f->n_head == head_bytes(f)) {
        uint64_t payload = payload_bytes(f);

        if (head_good(f, payload)) {
            f->left = MASK_BYTES + payload;
            f->in_frame = true;
            if (!is_control(f))
                let_wslay_take(f, (const char *)f->head, f->n_head);
        }
    }
    return n;
}

/* ---- In ---- */

/* Takes bytes of the frame behind its head.  Returns how many. */
static size_t frame_read(struct ws_frames *f, const char *bytes, size_t len)
{
    size_t n = f->left < len ? (size_t)f->left : len;

    f->left -= n;
    if (is_control(f)) {
        memcpy(f->head + f->n_head, bytes, n);
        f->n_head += n;
        if (f->left == 0)
            let_wslay_take(f, (const char *)f->head, f->n_head);
    } else {
        let_wslay_take(f, bytes, n);
    }
    if (f->left == 0) {
        f->in_frame = false;
        f->n_head = 0;
    }
    return n;
}

size_t ws_frames_feed(struct ws_frames *f, const char *bytes, size_t len)
{
    size_t n = 0;

    if (f->failed || f->broken || ws_frames_close_received(f))
        return len;
    if (!f->in_frame) {
        n = head_read(f, bytes, len);
        if (f->failed)
            return len;
    }
    if (f->in_frame)
        n += frame_read(f, bytes + n, len - n);
    return n;
}

/* ---- How it stands ---- */

bool ws_frames_closing(const struct ws_frames *f)
{
    return f->failed || f->broken || wslay_event_get_close_sent(f->wslay) ||
           ws_frames_close_received(f);
}

bool ws_frames_close_received(const struct ws_frames *f)
{
    return wslay_event_get_close_received(f->wslay) != 0;
}

bool ws_frames_failed(const struct ws_frames *f)
{
    return f->failed;
}

bool ws_frames_broken(const struct ws_frames *f)
{
    return f->broken;
}

enum ws_code ws_frames_code(const struct ws_frames *f)
{
    return f->code;
}
