/* The model table of the daemon: name to open model.  Filled at start from the models folder; read
 * by every shard. One lock, held for a look-up only. */
#ifndef SERVER_MODELS_H
#define SERVER_MODELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/rnn.h"

struct models;

struct model_entry {
    char name[128];
    struct rnn_model *model; /* a reference that the holder of this copy owns */
    double load_seconds;
    int64_t loaded_unix_ms;
};

/* Opens every folder of `dir` that holds a config.json.  A folder that cannot be opened does not
 * stop the others: it is logged as an error, listed as failed, and named by /readyz.  Fails where
 * `dir` cannot be read or nothing at all loads. */
int models_open(struct models **out, const char *dir, const struct rnn_open_options *options,
                struct rnn_err *err);
void models_free(struct models *models);

/* A copy of the entry with a reference to unref; `name` NULL or "" means the only one there is.
 * RNN_ENOENT otherwise (the text lists the names). */
int models_get(struct models *models, const char *name, struct model_entry *out,
               struct rnn_err *err);

/* All entries, by name; the caller unrefs each model and frees the array. */
int models_list(struct models *models, struct model_entry **out, size_t *n, struct rnn_err *err);

/* Names of the folders that could not be opened, NULL at the end; as long as the table. */
const char *const *models_failed(const struct models *models);

/* What to type to get the other programs' checkpoints served that lie in the models folder; NULL at
 * the end; as long as the table. */
const char *const *models_to_import(const struct models *models);

#endif
