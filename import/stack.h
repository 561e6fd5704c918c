/* One stack of a model, out of modules that belong to it.
 *
 * Inside of infer.c; one thread. */
#ifndef IMPORT_STACK_H
#define IMPORT_STACK_H

#include <stdbool.h>
#include <stddef.h>

#include "import/draft.h"
#include "import/elements.h"

struct cJSON;

/* Puts the n modules in order and fills `json` (input, rnn or layers, head) and the draft's
 * tensors, whose names begin with `prefix`: "", "encoder." or "decoder.".  Asks what is open; where
 * there is one stack only, forms the second opinion. */
int stack_make(struct draft *draft, struct cJSON *json, const char *prefix,
               const struct element *const *elements, size_t n, bool ordered, struct rnn_err *err);

#endif
