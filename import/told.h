/* A model made as the user's config.json says (--config).
 *
 * Inside of draft.c; one thread. */
#ifndef IMPORT_TOLD_H
#define IMPORT_TOLD_H

#include <stddef.h>

#include "import/draft.h"
#include "import/elements.h"

/* Fills the draft from the config that draft->options name, and the tensors, whose names it may
 * shorten.  Faults of the config come with its path and key. */
int draft_as_told(struct draft *draft, struct named_tensor *tensors, size_t n, struct rnn_err *err);

#endif
