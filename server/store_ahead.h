/* Reading ahead where stored sessions are listed.
 *
 * What the list needs lies on pages scattered over the file, between the states.  Read one after
 * another each costs a wait for the disk; so some threads walk over parts of the rows before the
 * list does, only to bring their pages into the system's cache. */
#ifndef SERVER_STORE_AHEAD_H
#define SERVER_STORE_AHEAD_H

struct store_ahead;

/* Starts them on the database at `path`, which outlives them.  NULL where that fails: the list is
 * slower then.  Faults in the file are met again, and told, by the list. */
struct store_ahead *store_ahead_start(const char *path);

/* Ends them, done or not.  NULL is fine. */
void store_ahead_end(struct store_ahead *ahead);

#endif
