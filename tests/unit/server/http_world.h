/* A server of the HTTP room alone, over real sockets: shards, an acceptor, and a router of its own;
 * scheduler, sessions and jobs are left out (bare_shard.c).
 *
 * The router knows: /echo and /livez (answer at once), /later and /slow (answer on a timer), /never
 * (waits for its client to leave), /nohook (likewise, but ends by a timer), /stream?n= (n events,
 * one a turn), /slowstream (waits first), /flood (writes until the buffer is full, goes on when
 * drained), /silent (a stream that sends one event and waits), /cut, /pipe (becomes
 * a socket that echoes; q ends it), /deaf (one that reads nothing).  The client side is plain
 * blocking sockets with a receive timeout, so that what hangs fails. */
#ifndef TESTS_UNIT_SERVER_HTTP_WORLD_H
#define TESTS_UNIT_SERVER_HTTP_WORLD_H

#include <check.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "server/listen.h"
#include "server/server.h"
#include "server/shard.h"

#define PATIENCE_S 20

/* What the router has seen since the server started. */
extern atomic_uint n_dispatched, n_gone, n_drained;
extern _Atomic size_t flooded_bytes;

/* ---- A server of its own threads ---- */

extern struct server server;
extern struct listener *listener;
extern uint16_t port;

/* Serves on a free port with these options of the command line. */
void serve_with(int argc, char **argv, unsigned n_shards);
void serve(void); /* with the presets, on one shard */

/* Of all shards; once, however often it is called. */
void drain(void);

/* Drains and ends it; holds that no connection and no descriptor is left over. */
void stop(void);

/* Descriptors of this process, the client side's too. */
unsigned open_fds(void);

double seconds_now(void);

/* Waits for a condition that another thread brings about. */
#define EVENTUALLY(condition)                                                                      \
    do {                                                                                           \
        double until_ = seconds_now() + PATIENCE_S;                                                \
        while (!(condition) && seconds_now() < until_)                                             \
            usleep(1000);                                                                          \
        ck_assert_msg(condition, "never: %s", #condition);                                         \
    } while (0)

/* ---- A client ---- */

struct answer {
    unsigned status;
    char *head, *body; /* one allocation, at head */
    size_t body_len;
    bool complete; /* all of Content-Length, or the last chunk, came */
};

int dial(void);
void put_bytes(int fd, const void *bytes, size_t len);
void put(int fd, const char *text);

/* One byte, or -1 at the end of the connection, reset or not. */
bool at_end(int fd);

/* One answer; the caller frees its head. */
struct answer get(int fd);
unsigned get_status(int fd);

/* The value of a header, good until the next call; NULL: it has none. */
const char *header(const struct answer *a, const char *name);

/* The status of the answer to `text`, sent on a connection of its own. */
unsigned ask_status(const char *text);

#endif
