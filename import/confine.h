/* The walls around rnnd-import: what a parser that has been taken over could still do.
 *
 * Called once, by the only thread, before a byte of a foreign file is looked at. */
#ifndef IMPORT_CONFINE_H
#define IMPORT_CONFINE_H

#include <stdbool.h>
#include <stdint.h>

/* Limits memory, processor time and written bytes to what a file of `file_bytes` can need; gives up
 * new privileges; lets nothing be written outside of the folder `writable` (NULL: nothing at all);
 * from then on the kernel refuses (EPERM) every system call that reading and writing files does not
 * take: no sockets, no processes, no other programs, no debugging, no executable memory.  A kernel
 * without one of these leaves the others in force.  Under a sanitizer, which needs all of them,
 * nothing is done: false. */
bool confine(uint64_t file_bytes, const char *writable);

/* Ends the process (SIGVTALRM) where it computes for more than `seconds` from now: a parser that
 * does not come back.  0: there is no such limit any more. */
void confine_time(unsigned seconds);

#endif
