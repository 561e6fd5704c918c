/* What the files of the database share, and nobody else.
 *
 *   store_db.c        the tables, a connection to them, its transactions and its log
 *   store_db_task.c   what a task does to the rows of its session
 *   store_db_facts.c  listing what there is, at a start
 *
 * The thread of the connection. */
#ifndef SERVER_STORE_DB_INNER_H
#define SERVER_STORE_DB_INNER_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

#include "server/store_db.h"

/* Their texts stand beside the tables. */
enum statement {
    S_BEGIN,
    S_COMMIT,
    S_ROLLBACK,
    S_CREATE,
    S_FIRST,
    S_FIRST_PROGRESS,
    S_STATE,
    S_PROGRESS,
    S_TOUCH,
    S_REMOVE,
    S_REMOVE_PROGRESS,
    S_REMOVE_STATE,
    S_REMOVE_POINTS,
    S_POINT,
    S_FORGET,
    S_MOVE,
    S_LOAD,
    S_LOAD_POINTS,
    S_FACTS,
    S_NEXT,
    S_TOUCH_SESSIONS,
    S_TOUCH_PROGRESS,
    S_LAST,
    N_STATEMENTS
};

struct db {
    sqlite3 *sqlite;
    sqlite3_stmt *statements[N_STATEMENTS];
    char *images; /* of the state being written, and of where its stream began */
    size_t images_cap;
    size_t log_pages;
    pthread_t thread; /* that uses it, from its first use on */
    bool used;
};

/* SQLite checks nothing here: two threads on one connection damage it now and then. */
void db_assert_mine(struct db *db);

/* RNN_EIO, with the words of SQLite for what it did last. */
int db_fail(const struct db *db, struct rnn_err *err);

/* Runs one that gives no rows, and makes it ready for the next time. */
int db_run(struct db *db, enum statement which, struct rnn_err *err);

#endif
