/* A world around streaming sessions, for their tests: sockets that are pairs, in the place of
 * HTTP's upgraded ones; messages that are short to write; tasks that only note that they were
 * asked, so that the test answers when it likes; shards on fakes, whose time the test moves.
 *
 * Frames and requests are the true ones.  A message is an id, a space, and predict, generate, score
 * or cancel (of that id); anything else is refused. */
#ifndef TESTS_UNIT_SERVER_WS_WORLD_H
#define TESTS_UNIT_SERVER_WS_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake.h"
#include "server/http.h"
#include "server/ws.h"
#include "server/ws_frames.h"
#include "server/ws_message.h"

extern struct fake_world world;

/* A checked fixture: the teardown holds that nothing is left over.  The shard that sockets live on
 * is the first, that of their sessions the second. */
void ws_world_setup(void);
void ws_world_teardown(void);

/* ---- The socket, and its client ---- */

#define PEERS_MAX 2

struct peer {
    struct request request; /* first */
    const struct socket_hooks *hooks;
    int server_fd, fd; /* -1: closed; the second is the client's */
    bool to_read, to_write, woken, finished;
    bool told_gone;                     /* request.hooks->gone was called */
    bool knows_taken;                   /* the next two mean something */
    uint64_t taken_bytes, on_way_bytes; /* what the client's kernel is said to do */
    struct buf heard;                   /* bytes that make no whole frame yet */
};
extern struct peer peers[PEERS_MAX];

/* Opens the socket of peers[i] with these facts; the result of ws_open(). */
int peer_open(unsigned i, const struct ws_spec *spec);

/* The usual: a socket on the session "s" of the other shard, open. */
struct peer *peer_usual(void);

/* Turns until nothing moves any more. */
void settle(void);

/* Moves time on in steps as long as a tick, each with its tick and its turns. */
void pass_ms(int64_t ms);

/* ---- The client's side ---- */

void says(struct peer *peer, const char *text); /* one text message */
void says_frame(struct peer *peer, unsigned opcode, const void *bytes, size_t len);
void says_close(struct peer *peer, unsigned code); /* 0: without a code */
void leaves(struct peer *peer);                    /* closes its end, without a word */

enum { OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

struct heard {
    unsigned opcode; /* 0: nothing has come */
    size_t len;
    char bytes[1 << 16]; /* and a NUL */
};

/* The next whole frame; the caller's until the next call. */
const struct heard *hears(struct peer *peer);
void assert_hears(struct peer *peer, const char *text); /* that text message */
void assert_silent(struct peer *peer);
void assert_close(struct peer *peer, unsigned code); /* a close frame */
void assert_end(struct peer *peer);                  /* the socket is closed */

/* ---- Tasks ---- */

struct work {
    struct sink *sink; /* NULL: answered, or nobody waits */
    enum ws_verb verb;
    bool raw, gone, cancelled;
    unsigned n_drained;
};
#define WORKS_MAX 64
extern struct work works[WORKS_MAX];
extern size_t n_works; /* asked for so far */

void answer(struct work *work, const char *json); /* the whole answer */
size_t writes_event(struct work *work, const char *name, const char *json);
void ends(struct work *work); /* the stream is complete */
void fails(struct work *work, enum reply_error error, const char *text);

/* ---- Sessions ---- */

extern unsigned n_kept, n_deleted;

#endif
