/* vocab.json: what a model's token ids and outputs mean.
 *
 *     {"kind": "char", "tokens": [id 0, id 1, …], "unk": id, "bos": id, "eos": id, "labels": […]}
 *
 * The kinds of tokenizers stand in models/registry.c; one is made from the list of tokens. */
#ifndef MODELS_VOCAB_H
#define MODELS_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cJSON;
struct rnn_spec;
struct rnn_tokenizer;

/* Ids with a meaning of their own; -1: none. */
struct vocab_specials {
    int64_t unk, bos, eos;
};

struct vocab_kind {
    const char *name; /* "kind" in the file */

    /* A tokenizer over `tokens`, an array of strings that are neither empty nor there twice (the
     * caller has checked).  The caller ends *out with (*out)->ops->free(). */
    int (*make)(struct rnn_tokenizer **out, const struct cJSON *tokens, size_t n_tokens,
                const struct vocab_specials *specials, struct rnn_err *err);
};

/* All kinds; NULL-ended.  Stands in models/registry.c. */
extern const struct vocab_kind *const vocab_kinds[];

struct vocab {
    struct rnn_tokenizer *tokenizer; /* NULL: labels only */
    struct vocab_specials specials;
    char **labels; /* [n_labels + 1], NULL-ended, one malloc() block with its bytes; or NULL */
    size_t n_labels;
};

/* Reads the text; the owner of *out frees its parts or calls vocab_free().  Errors name the key,
 * and the place in the list. */
int vocab_parse(struct vocab *out, const char *text, size_t len, struct rnn_err *err);
void vocab_free(struct vocab *vocab);

/* Whether it fits the model: tokens against the ids that it reads and writes, labels against its
 * outputs, special ids against those of the spec.  RNN_ESHAPE. */
int vocab_check(const struct vocab *vocab, const struct rnn_spec *spec, struct rnn_err *err);

#endif
