/* The acceptor: one listening socket, whose connections are dealt out to the shards.  Main thread
 * only. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"

struct listener;
struct server;

/* Binds to `address` (as in the option `listen`) and listens; nothing is accepted before
 * listener_start().  RNN_EFORMAT for a bad address, RNN_EBUSY where it is in use, RNN_EIO else. */
int listener_open(struct listener **out, struct server *server, const char *address,
                  struct rnn_err *err);

/* Accepts on `loop`, up to connections_max at a time.  A connection above that is told 503 and
 * closed. */
int listener_start(struct listener *listener, uv_loop_t *loop, size_t connections_max,
                   struct rnn_err *err);

/* Closes the socket: new clients are refused by the kernel from here on.  After listener_start()
 * the loop must turn once more for the memory to go.  NULL is fine. */
void listener_close(struct listener *listener);

/* The address that is really bound, as "127.0.0.1:43121" or "[::1]:80". */
const char *listener_address(const struct listener *listener);

/* How many connections the limit of file descriptors allows, at most `wanted`: raises the soft
 * limit to the hard one first.  n_shards: each needs a few for itself. */
size_t listener_connections_max(size_t wanted, unsigned n_shards);

#endif
