/* A world around sessions on their way to disk and back, for their tests: that of session_world.h,
 * and a store whose every move the test decides.
 *
 * The disk keeps of a state its position and one number, its memory. */
#ifndef TESTS_UNIT_SERVER_SESSION_STORE_WORLD_H
#define TESTS_UNIT_SERVER_SESSION_STORE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/store.h"
#include "session_world.h"

/* A checked fixture: the teardown lets the store end what it has, and holds that nothing is left
 * over. */
void session_store_world_setup(void);
void session_store_world_teardown(void);

/* ---- The fake store: a list of tasks, and a disk ---- */

enum { ROWS_MAX = 4096 };

struct stored {
    bool there;
    uint64_t position, memory;
    uint64_t stream, begin; /* its number, 0: none; and the position that it began at */
    uint64_t initial;       /* memory of the state that resets go to; 0: none */
};
extern struct stored disk[ROWS_MAX]; /* by row, from 1 on */
extern size_t n_tasks;               /* sent, and not ended */
extern int64_t last_row;             /* given */

/* The oldest task ends: with `rc`, or where that is 0 as the disk has it.  Its kind. */
enum store_kind finish(int rc);

/* All that are there end, and those that come of it. */
void finish_all(void);

/* ---- Sessions ---- */

/* `initial` is the memory of the state that resets go to; 0: none is kept. */
session_result create_from(const char *id, int64_t ttl_s, uint64_t initial);

/* A new session, saved. */
void make(const char *id, int64_t ttl_s);

/* One that remembers so many tokens. */
void make_with_window(const char *id, size_t window);

/* A commit as a request makes it, with an undisturbed store. */
void commit(const char *id, uint64_t position, uint64_t memory);

/* The session stands at `position` from now on, and can go back as many steps as are laid. */
void lay(struct session_hold *hold, uint64_t position, uint64_t steps);

bool is_resident(const char *id);
void assert_memory(const char *id, uint64_t memory);

#endif
