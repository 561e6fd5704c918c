/* An architecture from names and shapes.
 *
 * Inside of draft.c; one thread. */
#ifndef IMPORT_INFER_H
#define IMPORT_INFER_H

#include "import/draft.h"
#include "import/elements.h"

/* Fills draft->config and draft->tensors from the modules that were found.  Where names and shapes
 * leave a choice, a question is asked and one of the choices is taken for the time being. */
int infer(struct draft *draft, const struct elements *elements, struct rnn_err *err);

#endif
