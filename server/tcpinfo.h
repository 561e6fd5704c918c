/* What the kernel knows of a TCP connection.  Any thread. */
#ifndef SERVER_TCPINFO_H
#define SERVER_TCPINFO_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes received on this socket since it was made, read or not, and whether either side has shut
 * it.  False where that cannot be told (no TCP socket). */
bool tcpinfo_look(int fd, uint64_t *received_bytes, bool *shut);

/* Bytes of ours that the peer's kernel has acknowledged since the connection was made, and those
 * that it has not yet.  False where that cannot be told (no TCP socket). */
bool tcpinfo_taken(int fd, uint64_t *taken_bytes, uint64_t *on_way_bytes);

#endif
