/* The database behind server/store.c: SQLite, which lives behind this header alone.
 *
 * A connection belongs to one thread from its first task, listing or folding on. */
#ifndef SERVER_STORE_DB_H
#define SERVER_STORE_DB_H

#include <stddef.h>
#include <stdint.h>

#include "server/store.h"

struct db;

/* Opens a connection to the file, which keeps pages of so much in memory; makes file and tables
 * where they are missing.  RNN_EIO, RNN_EFORMAT. */
int db_open(struct db **out, const char *path, enum store_durability durability, int cache_kib,
            struct rnn_err *err);
void db_close(struct db *db);

/* Does one task of any kind; a write stands in the transaction that is open. */
int db_do(struct db *db, struct store_task *task, struct rnn_err *err);

int db_begin(struct db *db, struct rnn_err *err);
int db_commit(struct db *db, struct rnn_err *err);
void db_rollback(struct db *db); /* nothing where none is open */

/* Frames in the log since it was folded last, as of the last commit of this connection. */
size_t db_log_pages(const struct db *db);

/* Folds what can be without holding anybody up; *folded of the log's pages are in the database
 * then, which the disk need not have taken yet: that is db_sync()'s affair.  RNN_EBUSY: not now;
 * RNN_EIO: the disk failed to take what it had been given. */
int db_fold(struct db *db, size_t *folded, struct rnn_err *err);
int db_sync(struct db *db, struct rnn_err *err);

/* The writer, while nobody reads: folds the rest, has the disk take it, and lets the next write
 * start the log over.  The same errors. */
int db_fold_rest(struct db *db, struct rnn_err *err);

/* Anybody, while nobody reads and all is folded: empties the log's file; a write that begins
 * meanwhile waits.  The same errors. */
int db_empty_log(struct db *db, struct rnn_err *err);

/* db_close() of the last connection is to leave the log as it is. */
void db_keep_log(struct db *db);

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
