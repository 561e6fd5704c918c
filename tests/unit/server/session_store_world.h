/* A world around sessions on their way to disk and back, for their tests: a store whose every move
 * the test decides, guests that note what they are told, and one shard on fakes.
 *
 * The disk keeps of a state its position and one number, its memory. */
#ifndef TESTS_UNIT_SERVER_SESSION_STORE_WORLD_H
#define TESTS_UNIT_SERVER_SESSION_STORE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake.h"
#include "server/session.h"
#include "server/store.h"

extern struct fake_world world;
extern struct sessions *sessions;
extern struct rnn_model *model;

/* A checked fixture: the teardown lets the store end what it has, and holds that nothing is left
 * over. */
void session_store_world_setup(void);
void session_store_world_teardown(void);

/* ---- States ---- */

enum { STATE = sizeof(struct rnn_state) + sizeof(uint64_t) };

/* Room for a state. */
union room {
    struct rnn_state state;
    char bytes[STATE];
};

void room_set(union room *room, uint64_t position, uint64_t memory);
uint64_t memory_of(const struct rnn_state *state);

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

/* ---- Guests ---- */

struct guest {
    struct session_hold hold; /* first */
    int granted, refused, cancelled, saved;
    enum reply_error reason;
    session_result result;
    unsigned turn; /* its place among all grants */
};
extern unsigned n_turns; /* granted */

session_result enter(struct guest *guest, const char *id);

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

#define ASSERT_REPLY(result, reply) ck_assert_int_eq((result), SESSION_FAIL(reply))

#endif
