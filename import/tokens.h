/* The tokens of a vocabulary in the making, by id.
 *
 * Inside of vocabulary.c; one thread. */
#ifndef IMPORT_TOKENS_H
#define IMPORT_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "import/archive.h"

struct cJSON;

/* Tokens by id. */
struct tokens {
    char **list; /* [n], each its own block; NULL: an id without an entry */
    size_t n;
    size_t outside; /* entries whose id is not below n */
    int64_t first_outside;
    struct buf twice; /* ids that two entries claim, in words */
    size_t n_twice;
};

/* n ids without entries.  The caller ends them with tokens_free(), also after a failure. */
int tokens_init(struct tokens *tokens, size_t n, struct rnn_err *err);
void tokens_free(struct tokens *tokens);

/* Gives an id its entry, a copy.  An id that is none, or that has one, is kept in mind and told by
 * tokens_finish(). */
int tokens_set(struct tokens *tokens, double id, const char *text, struct rnn_err *err);

/* Checks all and makes a vocab.json of them, which the caller ends with json_free(): as many as
 * n_ids, without holes, duplicates and empty entries; single characters where nearly all are.
 * RNN_EFORMAT, RNN_ESHAPE with the offending entries.  Notes go to `notes`. */
int tokens_finish(struct cJSON **out, struct tokens *tokens, size_t n_ids, struct archive *notes,
                  struct rnn_err *err);

#endif
