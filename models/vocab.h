/* vocab.json: what a model's token ids and outputs mean.
 *
 * One list of tokens, for a model that reads and writes the same, or that reads alone:
 *     {"kind": "char", "tokens": [id 0, id 1, …], "unk": id, "bos": id, "eos": id,
 *      "lowercase": false, "split": "whitespace", "labels": […]}
 * Two lists, for an encoder that reads another vocabulary than its decoder writes:
 *     {"kind": "char to symbol", "source": […], "target": […], "unk": id, "bos": id, "eos": id,
 *      "source_unk": id, "source_eos": id, "lowercase": false, "split": "whitespace",
 *      "target_lowercase": false, "target_split": "whitespace"}
 * where unk, bos and eos are ids of the target, and "lowercase" and "split" rules of the source.
 * Required: kind and the lists; without tokens, labels.
 *
 * The kinds of tokenizers stand in models/registry.c; one is made from a list of tokens. */
#ifndef MODELS_VOCAB_H
#define MODELS_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cJSON;
struct rnn_spec;
struct rnn_texts;
struct rnn_tokenizer;

/* Ids with a meaning of their own; -1: none. */
struct vocab_specials {
    int64_t unk, bos, eos;
};

static inline bool vocab_is_special(const struct vocab_specials *specials, int64_t id)
{
    return id == specials->unk || id == specials->bos || id == specials->eos;
}

/* Where one word ends and the next begins: models/tokenizer_word.h. */
enum vocab_split { VOCAB_SPLIT_WHITESPACE, VOCAB_SPLIT_WORDS };

/* How a text becomes tokens, as far as the file decides it. */
struct vocab_rules {
    struct vocab_specials specials;
    bool lowercase; /* a text's characters are taken in their lower case: models/letters.h */
    enum vocab_split split;
};

struct vocab_kind {
    const char *name;    /* "kind" in the file */
    const char *synonym; /* another name that is taken; NULL: none */
    bool splits;         /* "split" is a choice */

    /* A tokenizer over `tokens`, an array of strings that are neither empty nor there twice (the
     * caller has checked).  The caller ends *out with (*out)->ops->free(). */
    int (*make)(struct rnn_tokenizer **out, const struct cJSON *tokens, size_t n_tokens,
                const struct vocab_rules *rules, struct rnn_err *err);
};

/* All kinds; NULL-ended.  Stands in models/registry.c. */
extern const struct vocab_kind *const vocab_kinds[];

struct vocab {
    struct rnn_tokenizer *tokenizer; /* the only one, or the target's; NULL: labels only */
    struct rnn_tokenizer *source;    /* NULL: the file has one side */
    struct vocab_specials specials, source_specials;
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

/* Hands tokenizers and labels over to `texts` and the special ids that the file has to `spec`,
 * which keeps its own where the file has none.  After vocab_check(); *vocab is empty then. */
void vocab_give(struct vocab *vocab, struct rnn_texts *texts, struct rnn_spec *spec);

#endif
