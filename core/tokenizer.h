/* A tokenizer, as core sees it.  Its meaning is that of rnn_encode() and its neighbours in
 * core/rnn.h, which forward to it.
 *
 * A tokenizer is one file in models/.  Immutable once made, so any thread may use it; what moves is
 * in the caller's encoder and decoder. */
#ifndef CORE_TOKENIZER_H
#define CORE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/rnn.h"

struct rnn_tokenizer;

struct rnn_tokenizer_ops {
    const char *name; /* "char"; what rnn_model_info.tokenizer says */
    int (*encode)(const struct rnn_tokenizer *tokenizer, struct rnn_encoder *encoder,
                  const char *text, size_t len, bool last, uint32_t *ids, size_t *n_ids,
                  struct rnn_err *err);
    size_t (*decode)(const struct rnn_tokenizer *tokenizer, struct rnn_decoder *decoder,
                     uint32_t id, const char **text);
    const char *(*token_text)(const struct rnn_tokenizer *tokenizer, uint32_t id, size_t *len);
    int64_t (*token_id)(const struct rnn_tokenizer *tokenizer, const char *text, size_t len);
    void (*free)(struct rnn_tokenizer *tokenizer); /* NULL is fine */
};

/* The head of every tokenizer's own struct (its first member). */
struct rnn_tokenizer {
    const struct rnn_tokenizer_ops *ops;
    size_t n_tokens;
};

#endif
