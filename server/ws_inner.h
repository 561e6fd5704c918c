/* What the files of streaming sessions share, and nobody else.
 *
 *   ws.c          the socket: reading, writing, time, the end
 *   ws_request.c  the messages on it: requests, their answers, cancelling
 *
 * Own shard's thread only. */
#ifndef SERVER_WS_INNER_H
#define SERVER_WS_INNER_H

#include <uv.h>

#include "server/heap.h"
#include "server/shard.h"
#include "server/ws.h"
#include "server/ws_frames.h"

struct websockets {
    struct shard *shard;
    struct heap due; /* every open socket, in milliseconds */
    uv_timer_t tick;
};

struct ws_request;

struct ws {
    struct shard *shard;
    struct request *request;
    struct ws_frames *frames;
    struct ws_spec spec;

    struct ws_request *requests; /* ring order does not matter: newest first */
    size_t n_requests;
    uint64_t n_minted; /* ids of requests */
    bool blocked;      /* the kernel takes no more at present */
    bool full;         /* an answer was told that the client has fallen behind */

    struct buf in; /* read, but behind the point where reading paused */
    size_t in_taken;
    bool opened, draining, ending, finished;

    struct due due;
    uint64_t opened_ns, heard_ns, kept_ns;
    uint64_t pinged_ns;    /* 0: heard of since */
    uint64_t taken_bytes;  /* by the client's kernel, as of the ping */
    uint64_t on_way_bytes; /* to it, then */
    uint64_t allowance;    /* thousandths of a message */
    uint64_t allowance_ns; /* as of */
    uint64_t n_in, n_out, bytes_in;
};

/* ---- ws.c ---- */

/* Queues for the client, and sees that it leaves in this turn.  Returns what it has not taken. */
size_t ws_send(struct ws *ws, enum ws_kind kind, const char *bytes, size_t len);

/* ---- ws_request.c ---- */

/* A text or binary message has come. */
void ws_receive(struct ws *ws, enum ws_kind kind, const char *bytes, size_t len);

/* The client has caught up. */
void ws_tell_drained(struct ws *ws);

/* Nobody waits for the answers any more. */
void ws_drop_requests(struct ws *ws);

#endif
