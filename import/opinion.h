/* A second opinion: what the model's outputs should be, computed from the tensors as the file has
 * them.
 *
 * An evaluation of its own in double precision, by the equations of PyTorch and TensorFlow over
 * their own layouts, without the engine, without the finished folder and without the conversions
 * that led to it.  A gate in the wrong place, a matrix that should have been transposed or a layer
 * under another one's name makes the two differ.  One thread. */
#ifndef IMPORT_OPINION_H
#define IMPORT_OPINION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "import/archive.h"

struct chain;

/* The fixed input: OPINION_STEPS steps of ids 1, 2, 3, … or of numbers sin(1), sin(2), …, counted
 * over all steps. */
enum { OPINION_STEPS = 5 };
double opinion_number(size_t i); /* the i-th, as a float holds it */
size_t opinion_id(size_t step, size_t n_ids);

struct opinion {
    double *last;   /* [n] outputs of the last step */
    double *pooled; /* [n] outputs of the final states: forwards the last, backwards the first */
    size_t n;       /* 0: there is none */
};

/* Computes both for the modules of the chain, the head among them.  activations[i] is of element i:
 * NULL where it has none; the cell's of a plain RNN.  No opinion (n = 0, and no fault) where an
 * element or an activation is not known here. */
int opinion_form(struct opinion *out, const struct archive *archive, const struct chain *chain,
                 const char *const *activations, bool reads_ids, struct rnn_err *err);
void opinion_free(struct opinion *opinion);

#endif
