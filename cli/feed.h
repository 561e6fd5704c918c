/* What a command feeds to a model: text, token ids, or frames, from an operand, a file or standard
 * input. */
#ifndef CLI_FEED_H
#define CLI_FEED_H

#include "cli/engine.h"

struct feed {
    uint32_t *ids; /* [n], or NULL */
    float *frames; /* [n][input_size], or NULL */
    size_t n;
};

/* Reads what `operand` says ('-': standard input; anything else is the input itself) in the way
 * that the options --ids and --frames ask for, and fits it to the model.  Returns CLI_OK, or the
 * exit status after printing what is wrong.  The caller ends *out with feed_free(). */
int feed_read(struct feed *out, const struct engine *engine, const struct cli_args *args,
              const char *operand);

/* The same for ids that stand in `text`, numbers between commas or white space. */
int feed_ids(struct feed *out, const struct engine *engine, const char *text, size_t len);
void feed_free(struct feed *input);

/* A whole stream with a NUL behind it; the caller frees it.  NULL after printing why. */
char *feed_slurp(FILE *in, const char *name, size_t *len);

/* Feeds item i; with `want`, engine->logits are those after it. */
void feed_step(struct engine *engine, const struct feed *input, size_t i, bool want);

/* Prints an encoding fault with its line and column.  Returns CLI_FAILURE. */
int feed_bad_text(const struct rnn_err *err);

#endif
