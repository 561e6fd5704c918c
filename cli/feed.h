/* What a command feeds to a model: text, token ids, or frames, from an operand, a file or standard
 * input. */
#ifndef CLI_FEED_H
#define CLI_FEED_H

#include "cli/engine.h"

/* The options that feed_read() looks at. */
#define FEED_OPTIONS                                                                               \
    {"ids", NULL, "the input is token ids between spaces or commas"},                              \
        {"frames", NULL,                                                                           \
         "the input is frames, as it is anyway for a model that takes them: a JSON array of "      \
         "arrays of numbers, or CSV with a frame on each line"},                                   \
    {                                                                                              \
        "file", NULL, "the operand names a file with the input"                                    \
    }

/* False after printing which of them exclude each other. */
bool feed_options(const struct cli_args *args);

struct feed {
    uint32_t *ids; /* [n], or NULL */
    float *frames; /* [n][input_size], or NULL */
    size_t n;
};

/* Reads what `operand` says ('-': standard input; with --file a file's name; anything else is the
 * input itself) in the way that the options --ids and --frames ask for, and fits it to the model.
 * Returns CLI_OK, or the exit status after printing what is wrong.  The caller ends *out with
 * feed_free(). */
int feed_read(struct feed *out, const struct engine *engine, const struct cli_args *args,
              const char *operand);

/* The same of a text [len] with a NUL behind it, which may be changed. */
int feed_parse(struct feed *out, const struct engine *engine, const struct cli_args *args,
               char *text, size_t len);

/* The same of ids below `limit` that stand in `text`, numbers between commas or white space. */
int feed_ids(struct feed *out, size_t limit, const char *text, size_t len);

/* The same of frames of `width` numbers, as JSON or CSV; with `one`, a frame may stand by itself
 * (cli/frames.c). */
int feed_frames(struct feed *out, size_t width, bool one, const char *text, size_t len);
void feed_free(struct feed *input);

/* The input for a walk; it lives as long as `input`. */
struct rnn_walk_input feed_walk(const struct feed *input);

/* A whole stream with a NUL behind it; the caller frees it.  NULL after printing why. */
char *feed_slurp(FILE *in, const char *name, size_t *len);

#endif
