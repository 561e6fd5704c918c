/* Folding the store's log back into its database, so that neither the log grows nor a commit waits
 * long.
 *
 * A thread of its own copies what the log has, and has the disk take it, while the writer goes on;
 * again and again, for each pass leaves only what was written meanwhile.  When that is little the
 * writer folds the rest between two groups, and the log starts over from its beginning.  Where the
 * writer is faster than the disk, it waits in proportion to what it wrote.  When nothing has been
 * written for a while, all of the log is folded and its file emptied: a store at rest takes no more
 * room than its database, holds nothing of what was deleted, and is opened at once. */
#ifndef SERVER_STORE_FOLD_H
#define SERVER_STORE_FOLD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct store_fold;
struct db;

/* Lengths of the log, in pages; and a time. */
struct store_fold_limits {
    size_t fold;      /* it is folded from here on */
    size_t rest;      /* what the writer may be left with */
    size_t pace;      /* from here on the writer waits for the disk, for a bounded time a group, */
    size_t full;      /* and from here on until a pass is through */
    unsigned idle_ms; /* without a commit: the log is emptied then, or up to as long again later */
};

/* Starts the thread, whose connection is `db`: the caller's, and to be closed after the end.
 * RNN_ENOMEM, RNN_EIO. */
int store_fold_start(struct store_fold **out, struct db *db, const struct store_fold_limits *limits,
                     struct rnn_err *err);

/* Ends the thread.  NULL is fine. */
void store_fold_end(struct store_fold *fold);

/* The writer, after each commit: may take some ten milliseconds now and then. */
void store_fold_turn(struct store_fold *fold, struct db *writer);

/* Whoever reads, around it: the log starts over when nobody does. */
void store_fold_read_begin(struct store_fold *fold);
void store_fold_read_end(struct store_fold *fold);

/* The disk has failed to take what was folded: from then on all is kept in the log, which must
 * outlast the process. */
bool store_fold_broken(const struct store_fold *fold);

#endif
