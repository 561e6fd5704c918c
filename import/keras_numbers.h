/* Keras' matrices into ours: turned round, gates in our order, cuDNN's layout undone.
 *
 * All results are new tensors in the archive, of the type of what they are made of unless said
 * otherwise.  The caller has checked shapes.  One thread. */
#ifndef IMPORT_KERAS_NUMBERS_H
#define IMPORT_KERAS_NUMBERS_H

#include "base/err.h"
#include "import/archive.h"

/* How one gate's part [in, H] of a kernel lies in its columns. */
enum keras_layout {
    KERAS_PLAIN,  /* row p, column q: from input p to unit q */
    KERAS_TURNED, /* cuDNN's recurrent kernel: row q, column p */
    KERAS_FOLDED  /* cuDNN's kernel: its numbers in a row are our rows, one after the other */
};

struct keras_block {
    const struct archive_tensor *tensor; /* [in, columns] */
    size_t column;                       /* the gate's first */
    enum keras_layout layout;
};

/* n blocks of `units` columns over `inputs` rows into [n * units, inputs]. */
int keras_stack(struct archive *archive, struct archive_tensor *out,
                const struct keras_block *blocks, size_t n, size_t units, size_t inputs,
                struct rnn_err *err);

/* The same of a bias, whose parts begin at `column`: [n * units]. */
int keras_stack_bias(struct archive *archive, struct archive_tensor *out,
                     const struct keras_block *blocks, size_t n, size_t units, struct rnn_err *err);

/* Zeros of a type and shape (rank 1 or 2; columns 0: rank 1). */
int keras_zeros(struct archive *archive, struct archive_tensor *out,
                const struct archive_type *type, size_t rows, size_t columns, struct rnn_err *err);

/* A vector of F32. */
int keras_vector(struct archive *archive, struct archive_tensor *out, const double *values,
                 size_t n, struct rnn_err *err);

/* The identity [n, n], F32. */
int keras_identity(struct archive *archive, struct archive_tensor *out, size_t n,
                   struct rnn_err *err);

/* weight [out, in] times scale [out] row by row, and bias times scale plus shift, computed in
 * double: F32.  `bias` may be NULL: zero. */
int keras_fold(struct archive *archive, struct archive_tensor *weight, struct archive_tensor *bias,
               const struct archive_tensor *old_bias, const double *scale, const double *shift,
               struct rnn_err *err);

#endif
