/* Streaming sessions: a WebSocket that is bound to one session, and the requests on it.
 *
 * The handler of the opening request (api_stream.c) has checked the handshake and found the
 * session; from ws_open() on the socket leads its own life on its shard, whichever shard the
 * session lives on: requests travel there as jobs do. */
#ifndef SERVER_WS_H
#define SERVER_WS_H

#include <stdbool.h>

#include "base/err.h"
#include "server/http.h"
#include "server/session.h"

struct shard;
struct websockets;

struct ws_spec {
    char session_id[SESSION_ID_MAX + 1];
    bool own_session;  /* lives on this shard, and no longer than the socket */
    bool takes_frames; /* the model does; else binary messages close with 1003 */
    bool raw;          /* binary messages are answered with the outputs alone, as float32 */
    int64_t ttl_s;     /* the session's, which an open socket keeps alive */
};

/* Answers 101 (the handshake's headers have been set) and goes on from there; RNN_ENOMEM: nothing
 * has happened. */
int ws_open(struct request *request, const struct ws_spec *spec, struct rnn_err *err);

/* ---- Life, for shard.c ---- */

int websockets_new(struct websockets **out, struct shard *shard, struct rnn_err *err);

/* When no socket is left: the loop must run once more. */
void websockets_free(struct websockets *websockets);

#endif
