/* A checkpoint format, as core sees it: something that opens a path and gives a spec, tensors by
 * name, and texts.
 *
 * A format is one file in models/ and one line in models/registry.c.  It reads and bounds-checks
 * bytes; it does not judge shapes: core/model.c compares each tensor with the spec and names what
 * was wanted and what was found.  A source is open only while core packs the weights; what the
 * model keeps afterwards (tokenizer, labels, card) is handed over with take_texts().  A source is
 * used by one thread. */
#ifndef CORE_FORMAT_H
#define CORE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "core/spec.h"

#define RNN_RANK_MAX 8

/* An open checkpoint; each format has its own struct behind this name. */
struct rnn_source;
struct rnn_tokenizer;
struct rnn_model;
struct rnn_state;
struct buf;

/* A view into the source, valid until it is closed. */
struct rnn_tensor {
    const char *name;
    enum rnn_dtype dtype;
    unsigned rank;              /* ≤ RNN_RANK_MAX */
    size_t shape[RNN_RANK_MAX]; /* row-major */
    const void *data;           /* little-endian, of any alignment */
    size_t bytes;               /* the format has checked: product of shape × size of dtype */
};

/* What outlives the source.  Each pointer is one malloc() block that the taker frees with free(),
 * a tokenizer with its ops->free; NULL: there is none. */
struct rnn_texts {
    struct rnn_tokenizer *tokenizer; /* of the texts that the model gives, or the only one */
    struct rnn_tokenizer *source;    /* of the texts that it takes, where it is another one */
    char **labels; /* [n_labels + 1], NULL-ended; pointers and their bytes are in one block */
    size_t n_labels;
    char *metrics_json; /* valid JSON, NUL-ended */
};

struct rnn_format_ops {
    const char *name;

    /* Whether the thing at `path` looks like this format: a cheap look, no verdict. */
    bool (*probe)(const char *path);

    /* Opens and checks all but the shapes of tensors.  Every layer of the spec is complete (cell,
     * widths, directions), within the limits of core/spec.h.  On failure *out is untouched and
     * `err` names the file with the fault in front of its words. */
    int (*open)(struct rnn_source **out, const char *path, struct rnn_err *err);
    void (*close)(struct rnn_source *source); /* NULL is fine */

    const struct rnn_spec *(*spec)(const struct rnn_source *source);

    /* Every tensor in the name space of the spec's stacks (embedding.*, rnn.*, head.* behind their
     * prefix), by index and by name (false: no such); what else a file carries is not shown.  Core
     * refuses a checkpoint with one of these that its spec has no place for. */
    size_t (*n_tensors)(const struct rnn_source *source);
    void (*tensor_at)(const struct rnn_source *source, size_t index, struct rnn_tensor *out);
    bool (*tensor)(const struct rnn_source *source, const char *name, struct rnn_tensor *out);

    /* Hands the texts over; a second call gives nothing.  A texts that was not taken dies with the
     * source.  n_tokens of the tokenizer equals the input_size of stacks[0], that of `source` the
     * input_size of stacks[1] (the format has checked); n_labels equals the output size. */
    void (*take_texts)(struct rnn_source *source, struct rnn_texts *out);

    /* The initial states that the checkpoint ships, by index, in order of their names (valid as
     * session ids are); each is a file of rnn_state_format. */
    size_t (*n_states)(const struct rnn_source *source);
    void (*state_at)(const struct rnn_source *source, size_t index, const char **name,
                     const void **bytes, size_t *len);

    /* SHA-256, hexadecimal, NUL-ended, over whatever decides the numbers: shape and weights. */
    void (*fingerprint)(const struct rnn_source *source, char out[65]);
};

/* All formats, in the order they are tried; NULL-ended.  Stands in models/registry.c. */
extern const struct rnn_format_ops *const rnn_formats[];

/* A state as bytes; core/rnn.h has what the calls promise.  Stands in models/registry.c, too. */
struct rnn_state_format {
    int (*write)(const struct rnn_model *model, const struct rnn_state *state, size_t bytes,
                 struct buf *out, struct rnn_err *err);
    int (*read)(const struct rnn_model *model, const void *file, size_t len, struct rnn_state **out,
                size_t *bytes, struct rnn_err *err);
};
extern const struct rnn_state_format *const rnn_state_format;

#endif
