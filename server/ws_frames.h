/* WebSocket frames (RFC 6455, section 5), the server's half: bytes of the client in, messages out;
 * messages in, bytes for the client out.  No sockets, no clock; wslay lives behind this header
 * alone.  One thread.
 *
 * wslay unmasks, checks UTF-8, answers pings and close frames.  What it notices late (a length over
 * the limit: when payload comes) or answers without a code (control frames that are too long or
 * fragmented, lengths that are no lengths, a close frame of one byte) is read off the head of each
 * frame before wslay sees it. */
#ifndef SERVER_WS_FRAMES_H
#define SERVER_WS_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct ws_frames;

/* RFC 6455, section 7.4.1, and the registry of IANA. */
enum ws_code {
    WS_NONE = 0, /* open */
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL_ERROR = 1002,
    WS_UNSUPPORTED = 1003,
    WS_NO_STATUS = 1005, /* a close frame without a code; never sent */
    WS_ABNORMAL = 1006,  /* no close frame at all; never sent */
    WS_BAD_DATA = 1007,
    WS_POLICY = 1008,
    WS_TOO_BIG = 1009,
    WS_INTERNAL = 1011,
    WS_TRY_LATER = 1013
};

enum ws_kind { WS_TEXT, WS_BINARY, WS_PING, WS_PONG };

/* Called from inside ws_frames_feed(), for each whole message and each ping or pong.  The bytes are
 * good for the call; text is valid UTF-8.  May send and close. */
typedef void ws_receiver(void *user, enum ws_kind kind, const char *bytes, size_t len);

/* NULL without memory.  `message_max` is the most bytes of one message. */
struct ws_frames *ws_frames_new(size_t message_max, ws_receiver *receive, void *user);
void ws_frames_free(struct ws_frames *frames);

/* Takes bytes of the client, at most to the end of one frame; returns how many (never 0 of more
 * than 0), so that the caller may pause between frames.  After a fault, and after a close frame,
 * everything is taken and dropped. */
size_t ws_frames_feed(struct ws_frames *frames, const char *bytes, size_t len);

/* Queue for the client.  After a close frame nothing more goes out.  Without memory the connection
 * is broken: see ws_frames_broken(). */
void ws_frames_send(struct ws_frames *frames, enum ws_kind kind, const char *bytes, size_t len);
void ws_frames_close(struct ws_frames *frames, enum ws_code code, const char *reason);

/* What is to be sent: *len bytes there, of which ws_frames_sent() takes off the first n. */
const char *ws_frames_pending(const struct ws_frames *frames, size_t *len);
void ws_frames_sent(struct ws_frames *frames, size_t n);

/* A close frame has been queued or sent, by us or in answer; has come. */
bool ws_frames_closing(const struct ws_frames *frames);
bool ws_frames_close_received(const struct ws_frames *frames);

/* The client's bytes mean nothing any more. */
bool ws_frames_failed(const struct ws_frames *frames);

/* Out of memory: nothing sensible can be sent. */
bool ws_frames_broken(const struct ws_frames *frames);

/* The code that this connection closes with: the first that either side has said. */
enum ws_code ws_frames_code(const struct ws_frames *frames);

#endif
