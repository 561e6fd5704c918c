/* Sessions on disk, so that they survive the daemon and need not all be in memory.
 *
 * One SQLite database in the state directory, in WAL mode: what a transaction has committed
 * survives the process at once, and the power as soon as it is synced; the database itself stays
 * whole in either case.  Threads of the store's own: one writes, taking everything that waits into
 * one transaction (group commit); some read; one folds the log back into the database.  No shard
 * ever waits: a task goes in by store_send() and comes back as a message.
 *
 * Tasks of one session that write are done in the order in which they were sent; a load sees what
 * was done before it was sent. */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/rnn.h"
#include "server/session.h"
#include "server/shard.h"

struct store;

enum store_durability {
    STORE_NONE,    /* kept for room, not for good */
    STORE_PROCESS, /* acknowledged when the process may die */
    STORE_POWER    /* acknowledged when the machine may */
};

/* What the store knows of a session beside its states. */
struct store_facts {
    int64_t row; /* its number in the store, from store_row(); 0: none */
    char owner[65];
    char id[SESSION_ID_MAX + 1];
    char model[128];
    char fingerprint[65];
    uint64_t seed, position;
    int64_t created_ms, used_ms, ttl_ms;
    size_t state_bytes;
};

enum store_kind {
    STORE_CREATE, /* facts, state and initial */
    STORE_COMMIT, /* facts.row, used_ms, position; state; begin and stream, or none from now on */
    STORE_TOUCH,  /* facts.row, used_ms */
    STORE_REMOVE, /* facts.row: all of it */
    STORE_POINT,  /* facts.row, point; state: a snapshot, new or moved */
    STORE_FORGET, /* facts.row, point */
    STORE_MOVE, /* facts.row, used_ms, state_bytes, fingerprint; moved_from: states and points that
                   are of those weights become ones of these; of the stream nothing stays */
    STORE_LOAD /* facts.row, fingerprint, state_bytes → state, begin and stream, initial, points */
};

/* A snapshot that was loaded. */
struct store_point {
    char name[SESSION_ID_MAX + 1];
    struct rnn_state *state;
};

/* Where a reset of the session goes: a state of that name of the model's; or this one; or, with
 * neither, the model's own beginning. */
struct store_initial {
    char name[SESSION_ID_MAX + 1];
    struct rnn_state *state;
};

struct store_task {
    struct message message; /* `run` is set by the sender: called on `home` when it is done */
    struct shard *home;     /* NULL: nobody waits, and the store ends the task */
    enum store_kind kind;
    struct store_facts facts;
    char point[SESSION_ID_MAX + 1];
    char moved_from[65];
    struct rnn_state *state; /* of the task's own; wiped and freed by store_task_free() */
    struct rnn_state
        *begin;      /* likewise: where the stream began that `state` is of; NULL: of none */
    uint64_t stream; /* its number */
    struct store_initial initial; /* its state likewise */
    struct store_point *points;
    size_t n_points;
    void *user[2]; /* the sender's own */

    int rc; /* 0; RNN_EIO: the disk does not take it (full, broken); RNN_ENOENT: there is no such
               session to load, commit or move; RNN_EFORMAT, RNN_ESHAPE: what was loaded is damaged
               or foreign */
    struct rnn_err err;
    struct store_task *next;
};

/* A zeroed task with a copy of `state` (may be NULL).  NULL without memory. */
struct store_task *store_task_new(enum store_kind kind, const struct store_facts *facts,
                                  const struct rnn_state *state);
void store_task_free(struct store_task *task);

/* Wipes and frees the states that it holds. */
void store_task_clear(struct store_task *task);

/* Opens, or makes, the store in a folder that no other daemon has open, and starts its threads.
 * RNN_EBUSY, RNN_EIO, RNN_EFORMAT (a database of another form).  Main thread. */
int store_open(struct store **out, const char *dir, enum store_durability durability,
               struct rnn_err *err);

/* After the last task has come back: writes what nobody waits for, ends the threads, folds the log.
 * NULL is fine. */
void store_close(struct store *store);

/* Every session there is, in order of rows.  `each` may send tasks, and nobody else meanwhile.
 * Parts of the database that cannot be read are logged and passed over.  RNN_EIO.  Main thread. */
int store_each(struct store *store, void (*each)(void *context, const struct store_facts *facts),
               void *context, struct rnn_err *err);

/* A number for a new session.  Any thread. */
int64_t store_row(struct store *store);

/* Any thread.  The task is the store's until it comes back. */
void store_send(struct store *store, struct store_task *task);

/* Tasks that wait or are under way; any thread. */
size_t store_depth(const struct store *store);

#endif
