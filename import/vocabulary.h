/* A vocabulary: found in the file or given beside it, checked, and written as vocab.json has it.
 *
 * One thread. */
#ifndef IMPORT_VOCABULARY_H
#define IMPORT_VOCABULARY_H

#include "base/err.h"
#include "import/draft.h"

/* Sets draft->vocab, or leaves it NULL where there is none.  --vocab wins; else what lies in the
 * file and has as many entries as the model has ids.  RNN_EFORMAT, RNN_ESHAPE with the offending
 * entries named: duplicates, ids without an entry, empty entries, a number of entries that is not
 * the model's.  A vocabulary of the file's own that is faulty or does not fit is only noted. */
int vocabulary_make(struct draft *draft, struct rnn_err *err);

/* The same of one text and n_ids ids; for tests.  The caller ends *out with json_free(). */
int vocabulary_parse(struct cJSON **out, const char *text, size_t len, size_t n_ids,
                     struct archive *notes, struct rnn_err *err);

#endif
