/* The order in which a stack's modules follow one another, found by their widths.
 *
 * One thread. */
#ifndef IMPORT_CHAIN_H
#define IMPORT_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "import/elements.h"

enum { CHAIN_MAX = 24, CHAIN_WAYS = 6 };

struct chain {
    const struct element *embedding; /* NULL: the lowest element reads numbers or one-hot ids */
    const struct element *elements[CHAIN_MAX];
    size_t n;
    const struct element *tied; /* an output matrix that is the embedding; NULL: none */
};

struct chain_ways {
    struct chain ways[CHAIN_WAYS]; /* equally good ones */
    size_t n;
    bool more; /* than are kept */
};

/* Finds every order of modules in which each reads as many numbers as the one before gives, all
 * recurrent ones are in it, and as many of the others as can be.  Where the file's order means
 * something, the way nearest to it is the only one; elsewhere, the one that counts upwards and has
 * what is named like a head above the recurrent ones. RNN_ESHAPE where the recurrent modules do not
 * connect; RNN_EFORMAT where there is none. */
int chain_find(struct chain_ways *out, const struct element *const *elements, size_t n,
               bool ordered, struct rnn_err *err);

/* "embedding 65x128 → lstm → fc" */
void chain_words(struct buf *out, const struct chain *chain);

#endif
