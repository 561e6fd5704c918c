/* The walls around rnnd-import: what a parser that has been taken over could still do.
 *
 * Called once, by the only thread, before a byte of a foreign file is looked at. */
#ifndef IMPORT_CONFINE_H
#define IMPORT_CONFINE_H

#include <stdint.h>

/* Limits memory, processor time and written bytes to what a file of `file_bytes` can need; gives up
 * new privileges; from then on the kernel refuses (EPERM) every system call that reading and
 * writing files does not take: no sockets, no processes, no other programs, no debugging.  A kernel
 * without such filters leaves the limits in force.  Under a sanitizer, which needs all of these,
 * nothing is done. */
void confine(uint64_t file_bytes);

#endif
