/* A model in the making: a config.json, tensors under our names, a vocabulary, and what is still to
 * be asked.
 *
 * The steps are draft_make() (import/draft.c: which tensors, under which names), vocabulary_make()
 * (import/vocabulary.h), folder_write() (import/folder.h).  Numbers stay in the archive.  One
 * thread. */
#ifndef IMPORT_DRAFT_H
#define IMPORT_DRAFT_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "import/archive.h"
#include "import/opinion.h"
#include "import/options.h"

struct cJSON;

struct draft_tensor {
    char name[96];
    const struct archive_type *type;
    size_t rank;
    size_t shape[ARCHIVE_RANK_MAX];
    const void *data; /* in the archive */
};

struct draft {
    struct archive *archive;
    const struct import_options *options;
    struct cJSON *config;
    struct cJSON *vocab; /* vocab.json; NULL: there will be none */
    struct draft_tensor *tensors;
    size_t n, cap;
    struct buf questions;   /* a line for each thing that the file cannot tell */
    struct buf words;       /* what the model was taken for, a line for each stack */
    struct opinion opinion; /* what its outputs should be, where that could be computed */
};

/* Makes the model out of an archive: either as its own config says (a reader that knew), or as the
 * user's config.json says, or by inference from names and shapes.  Notes go to the archive.  What
 * has to be asked goes to `questions`; the draft is then not to be written.  The caller ends *out
 * with draft_free() before the archive. */
int draft_make(struct draft *out, struct archive *archive, const struct import_options *options,
               struct rnn_err *err);
void draft_free(struct draft *draft);

/* Adds a tensor under our name: nothing else is done. */
int draft_push(struct draft *draft, const char *name, const struct archive_tensor *tensor,
               const void *data, struct rnn_err *err);
/* The same, marking it as used. */
int draft_add(struct draft *draft, const char *name, struct archive_tensor *tensor,
              struct rnn_err *err);
/* The same, of a matrix that is stored [in, out]. */
int draft_add_transposed(struct draft *draft, const char *name, struct archive_tensor *tensor,
                         struct rnn_err *err);
/* The same, of numbers that were computed. */
int draft_add_computed(struct draft *draft, const char *name, const double *values, size_t n,
                       struct rnn_err *err);

#endif
