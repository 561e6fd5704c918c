/* What the kernel knows of a TCP connection.  Any thread. */
#ifndef SERVER_TCPINFO_H
#define SERVER_TCPINFO_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes received on this socket since it was made, read or not, and whether either side has shut
 * it.  False where that cannot be told (no TCP socket). */
bool tcpinfo_look(int fd, uint64_t *received_bytes, bool *shut);

#endif
