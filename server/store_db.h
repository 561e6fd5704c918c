/* The database behind server/store.c: SQLite, which lives behind this header alone.
 *
 * A connection belongs to one thread. */
#ifndef SERVER_STORE_DB_H
#define SERVER_STORE_DB_H

#include <stddef.h>
#include <stdint.h>

#include "server/store.h"

struct db;

/* Opens a connection to the file; makes file and tables where they are missing.  RNN_EIO,
 * RNN_EFORMAT. */
int db_open(struct db **out, const char *path, enum store_durability durability,
            struct rnn_err *err);
void db_close(struct db *db);

/* Does one task of any kind; a write stands in the transaction that is open. */
int db_do(struct db *db, struct store_task *task, struct rnn_err *err);

int db_begin(struct db *db, struct rnn_err *err);
int db_commit(struct db *db, struct rnn_err *err);
void db_rollback(struct db *db); /* nothing where none is open */

/* Frames in the log since it was folded last, as of the last commit of this connection. */
size_t db_log_pages(const struct db *db);

/* Folds the log into the database: as far as can be without holding anybody up, or `all`. */
void db_fold(struct db *db, bool all);

/* The next sessions behind `row`, at most `max`; *n of them.  RNN_EFORMAT where they cannot be
 * read. */
int db_facts(struct db *db, int64_t row, struct store_facts *out, size_t max, size_t *n,
             struct rnn_err *err);

/* The next row behind `row`, or 0; RNN_EFORMAT.  And the facts of rows first to last read, for
 * their pages' sake alone. */
int db_next_row(struct db *db, int64_t row, int64_t *out);
int db_touch_pages(struct db *db, int64_t first, int64_t last);

/* The largest row there is, or 0. */
int db_last_row(struct db *db, int64_t *out, struct rnn_err *err);

#endif
