/* A pickle, read without running it.
 *
 * A pickle is a program for a stack machine whose instructions may import and call anything.  This
 * reader runs the stack and nothing else: a class is a name, a call is a record of what would be
 * called with what, an object is that record with the state that it would have been given.  Numbers
 * of opcodes, nodes, memo entries and list items are capped.  Nodes may refer to one another in
 * circles: whoever walks them counts its steps.  One owner; reading a finished one is free for any
 * thread.
 *
 * Protocols 0 to 5 in what PyTorch, Python 2 and Python 3 write; the textual numbers and strings of
 * protocol 0 are refused. */
#ifndef IMPORT_PICKLE_H
#define IMPORT_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_BIG, /* an integer of more than 64 bits: its bytes, lowest first */
    PICKLE_FLOAT,
    PICKLE_STRING, /* not yet known to be UTF-8 */
    PICKLE_BYTES,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_SET,
    PICKLE_DICT,
    PICKLE_GLOBAL, /* a class or function: its module and name */
    PICKLE_OBJECT, /* callee(args…), then its state, items or pairs */
    PICKLE_PERSISTENT
};

struct pickle_text {
    const char *bytes; /* in the pickle, which the caller keeps */
    size_t len;
};

struct pickle_node {
    enum pickle_kind kind;
    bool is_map; /* items are key, value, key, value, … */
    union {
        bool truth;
        int64_t whole;
        double real;
        struct pickle_text text; /* STRING, BYTES, BIG */
        struct {
            struct pickle_text module, name;
        } global;
        struct {
            const struct pickle_node *callee, *args; /* args: mostly a TUPLE */
            const struct pickle_node *state;         /* NULL: none was set */
        } object;
        const struct pickle_node *id; /* PERSISTENT */
    };
    struct pickle_node **items; /* [n_items] TUPLE, LIST, SET, DICT, OBJECT */
    uint32_t n_items, cap;
};

struct pickle;

/* Reads one pickle from the beginning of `bytes`, which the caller keeps until pickle_free();
 * *used is its length.  RNN_EFORMAT with the offset, RNN_EUNSUPPORTED for an opcode that nothing
 * writes, RNN_ELIMIT, RNN_ENOMEM. */
int pickle_read(struct pickle **out, const void *bytes, size_t len, size_t *used,
                struct rnn_err *err);
void pickle_free(struct pickle *pickle); /* NULL is fine */
const struct pickle_node *pickle_root(const struct pickle *pickle);

/* The ids of all persistent nodes, in the order in which they were read. */
size_t pickle_n_ids(const struct pickle *pickle);
const struct pickle_node *pickle_id(const struct pickle *pickle, size_t i);

bool pickle_is_text(const struct pickle_node *node, const char *text);
bool pickle_is_global(const struct pickle_node *node, const char *module, const char *name);

/* The last value under the key `key` of anything with pairs; NULL: none. */
const struct pickle_node *pickle_get(const struct pickle_node *map, const char *key);

/* The i-th item of a tuple or list; NULL past the end or of anything else. */
const struct pickle_node *pickle_item(const struct pickle_node *list, size_t i);

#endif
