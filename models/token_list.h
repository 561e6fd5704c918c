/* The entries of a vocabulary: their texts by id, and their ids by text.
 *
 * What every tokenizer keeps.  Immutable once made, so any thread may read it; the maker frees it.
 */
#ifndef MODELS_TOKEN_LIST_H
#define MODELS_TOKEN_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cJSON;
struct vocab_specials;

struct token {
    const char *text; /* NUL-ended; text[-1] is a space, so that it can be shown behind one */
    size_t len;
};

struct token_list {
    size_t n;
    struct token *tokens; /* [n] */
    uint32_t *sorted;     /* [n] ids by text */
    char *bytes;          /* all texts, each between a space and a NUL */
};

/* Of `list`, an array of n strings that are neither empty nor there twice (the caller has
 * checked).  RNN_ENOMEM. */
int token_list_make(struct token_list *out, const struct cJSON *list, size_t n,
                    struct rnn_err *err);
void token_list_free(struct token_list *list); /* zeroed is fine */

/* The id of exactly these bytes; -1: none. */
int64_t token_list_find(const struct token_list *list, const char *text, size_t len);

/* The entry of an id, NULL for an id of none. */
const char *token_list_text(const struct token_list *list, uint32_t id, size_t *len);

/* What an id < n adds to a text: U+FFFD for unk, nothing (len 0) for bos and eos, the entry itself
 * for all others. */
const struct token *token_list_shown(const struct token_list *list, uint32_t id,
                                     const struct vocab_specials *specials);

#endif
