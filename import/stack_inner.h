/* A stack being made, as the parts of import/stack*.c share it.  One thread. */
#ifndef IMPORT_STACK_INNER_H
#define IMPORT_STACK_INNER_H

#include <stdbool.h>
#include <stddef.h>

#include "import/chain.h"
#include "import/draft.h"
#include "import/elements.h"

struct cJSON;

/* A stack being made. */
struct making {
    struct draft *draft;
    struct cJSON *json; /* where input, rnn or layers, and head go; the draft's */
    const char *prefix; /* "", "encoder.", "decoder." */
    const struct chain *chain;
    size_t top; /* the chain's elements under the head */
    const struct element *head;
    struct rnn_err *err;
};

int stack_no_memory(struct making *m);

/* What --activation says of the module; NULL: nothing. */
const char *stack_activation(const struct import_options *options, const struct element *e);
/* The same of what stands behind a gated layer; linear is nothing. */
const char *stack_activation_behind(const struct import_options *options, const struct element *e);
/* Of a plain recurrent cell, as the options or the module's class say; NULL: nobody does, or the
 * cell is none. */
const char *stack_known_activation(const struct making *m, const struct element *e);

/* Fills a config's "rnn" for `layers` layers of the module's kind; asks what is open. */
int stack_put_rnn(struct making *m, struct cJSON *rnn, const struct element *e, size_t layers);
/* Adds the module's tensors under our name `module`, its layers counted from `base`. */
int stack_add_rnn(struct making *m, const char *module, const struct element *e, size_t base);

/* Whether everything under the head is one kind of recurrent layer, and then those as "rnn". */
bool stack_is_uniform(const struct making *m);
int stack_make_rnn(struct making *m);

#endif
