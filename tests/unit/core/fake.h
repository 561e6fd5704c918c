/* A checkpoint in memory: a format of its own, so that tests of the engine need no file.  It also
 * stands in for models/registry.c (rnn_formats, rnn_cells).  One thread. */
#ifndef TESTS_UNIT_CORE_FAKE_H
#define TESTS_UNIT_CORE_FAKE_H

#include "core/cell.h"
#include "core/format.h"
#include "core/rnn.h"
#include "core/spec.h"

enum { FAKE_TENSORS_MAX = 64 };

struct fake {
    struct rnn_spec spec;
    struct rnn_tensor tensors[FAKE_TENSORS_MAX];
    char names[FAKE_TENSORS_MAX][64];
    size_t n_tensors;
    struct rnn_texts texts;
    unsigned opened, closed;
};

/* What is usually varied; zero is a sensible default. */
struct fake_shape {
    const struct rnn_cell_ops *cell;
    enum rnn_input_kind input;
    size_t input_size, embedding_dim;
    size_t layers, hidden, proj;
    size_t outputs; /* 0: no head */
    bool no_bias, no_head_bias, tied;
    enum rnn_head_activation activation;
    float scale; /* of the random weights; 0: 1 / √hidden */

    const struct rnn_cell_settings *settings; /* NULL: the cell's own */
    bool residual, learned_state;
    bool mixed; /* a dense, an affine or a normalising layer under each recurrent one and above all
                 */
};

/* Small numbers that any language could repeat: xorshift, uniform in [-1, 1). */
float fake_random(uint64_t *seed);

/* A spec and float32 weights, all drawn from `seed`. */
void fake_make(struct fake *fake, const struct fake_shape *shape, uint64_t seed);
void fake_free(struct fake *fake);

/* The tensor's own floats, for tests that change them; NULL: none of that name. */
float *fake_values(struct fake *fake, const char *name);

/* rnn_model_open() on it. */
int fake_open(struct fake *fake, struct rnn_model **out, const struct rnn_open_options *options,
              struct rnn_err *err);

/* Both at once; stops the test where it fails.  table: with layer 0's token table. */
struct rnn_model *fake_model(const struct fake_shape *shape, uint64_t seed, bool table);

#endif
