/* The pickle machine, as its parts share it.
 *
 * Nodes are cut from chunks and never move, so that the stack, the memo and other nodes may point
 * to them.  A mark on the stack is a null pointer.  Every function fails with RNN_EFORMAT and the
 * offset, RNN_ELIMIT or RNN_ENOMEM.  Inside of import/pickle*.c; one thread. */
#ifndef IMPORT_PICKLE_INNER_H
#define IMPORT_PICKLE_INNER_H

#include "import/pickle.h"

struct pickle_chunk;
struct memo_entry;

struct pickle {
    struct pickle_chunk *chunks;
    size_t n_nodes, n_items;
    struct pickle_node *root;
    const struct pickle_node **ids; /* [n_ids] of all persistent nodes */
    size_t n_ids, ids_cap;
};

/* A reading in progress. */
struct machine {
    struct pickle *pickle;
    const unsigned char *bytes;
    size_t len, at;
    size_t opcode_at; /* where the present instruction began */
    struct pickle_node **stack;
    size_t depth, stack_cap;
    struct memo_entry *memo; /* open addressing, a power of two */
    size_t n_memo, memo_cap;
    uint64_t next_memo; /* for MEMOIZE */
    bool stopped;
    struct rnn_err *err;
};

/* Faults, with the place of the present instruction. */
int machine_bad(struct machine *m, const char *what);
int machine_too_much(struct machine *m, const char *what, size_t max);
int machine_no_memory(struct machine *m);

int machine_node(struct machine *m, enum pickle_kind kind, struct pickle_node **out);

/* The stack. */
int machine_push(struct machine *m, struct pickle_node *node);
int machine_push_new(struct machine *m, enum pickle_kind kind, struct pickle_node **out);
int machine_pop(struct machine *m, struct pickle_node **out); /* a mark is no value */
int machine_peek(struct machine *m, struct pickle_node **out);
int machine_find_mark(struct machine *m, size_t *out); /* the place behind the topmost one */

/* Containers. */
int machine_append(struct machine *m, struct pickle_node *list, struct pickle_node *const *values,
                   size_t n);
int machine_push_tuple(struct machine *m, size_t n);               /* the topmost n values as one */
int machine_push_marked(struct machine *m, enum pickle_kind kind); /* what is above the mark */
int machine_fill_last(struct machine *m, size_t n,
                      bool pairs); /* n values into what is under them */
int machine_fill_marked(struct machine *m, bool pairs);

/* The memo. */
int machine_memo_put(struct machine *m, uint64_t index);
int machine_memo_get(struct machine *m, uint64_t index);

#endif
