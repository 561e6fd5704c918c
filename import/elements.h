/* Modules, put together again from the tensors of a file.
 *
 * An element is what one module of a network has left behind: a recurrent layer or several, a
 * matrix (a dense layer or an embedding), a normalisation.  One thread. */
#ifndef IMPORT_ELEMENTS_H
#define IMPORT_ELEMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "import/archive.h"
#include "import/names.h"

enum { ELEMENTS_MAX = 256, ELEMENT_LAYERS_MAX = RNN_LAYERS_MAX };

enum element_kind { ELEMENT_RNN, ELEMENT_MATRIX, ELEMENT_NORM, ELEMENT_BATCH_NORM };

struct element {
    enum element_kind kind;
    const char *name; /* the module's, after --map; not NUL-ended */
    size_t name_len;
    const char *path; /* the same in the file as it is, for archive_module() */
    size_t first;     /* its first tensor's place in the file */
    size_t reads;     /* floats that go in; an embedding: rows */
    size_t gives;     /* floats that come out */

    /* Recurrent. */
    unsigned gates; /* 4: LSTM, 3: GRU, 1: plain */
    size_t hidden, proj, layers;
    bool bias, both;
    struct archive_tensor *parts[ELEMENT_LAYERS_MAX][2][NAME_RECURRENT_ROLES];

    /* The others. */
    struct archive_tensor *tensors[NAME_ROLES];
    bool transposed; /* the matrix is [in, out] */
};

struct elements {
    struct element *list; /* [n], in the order of their first tensors */
    size_t n;
    bool ordered; /* that order means something */
};

/* A tensor and the name it goes by: the part's beginning is off, --map has been applied. */
struct named_tensor {
    const char *name;
    struct archive_tensor *tensor;
};

/* How many bytes of all names are one first component, with its dot; 0: they share none. */
size_t elements_shared_prefix(const struct named_tensor *tensors, size_t n);

/* Groups the tensors.  What is none of the known kinds stays out.  RNN_ESHAPE, with the module's
 * name, for a recurrent module whose tensors contradict each other.  The names must live as long as
 * the elements; the caller ends *out with elements_free(). */
int elements_find(struct elements *out, const struct named_tensor *tensors, size_t n,
                  struct rnn_err *err);
void elements_free(struct elements *elements);

#endif
