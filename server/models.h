/* The model table of the daemon: name to open model.  Filled at start from the models folder,
 * changed by POST /models/{name}/…; read by every shard.  One lock, held for a look-up only.
 *
 * A *version* is one set of weights under a name.  The one in the table is served to whoever comes
 * without a session; versions before it, of a name that was reloaded or unloaded, stay known as
 * long as sessions stand on them, and their memory goes with the last. */
#ifndef SERVER_MODELS_H
#define SERVER_MODELS_H

#include <stdbool.h>
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
    size_t n_sessions; /* that stand on it */
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

/* Versions that are served no more and that sessions stand on; as models_list(). */
int models_list_old(struct models *models, struct model_entry **out, size_t *n,
                    struct rnn_err *err);

/* Unrefs and frees what a list holds; out of it, everything may be NULL and 0. */
void models_list_free(struct model_entry *list, size_t n);

/* Names of the folders that could not be opened at start, and were not since: a copy of the list,
 * NULL at the end, in one piece for the caller to free(); NULL without memory.  Any thread. */
char **models_failed(struct models *models);

/* What to type to get the other programs' checkpoints served that lie in the models folder; NULL at
 * the end; as long as the table. */
const char *const *models_to_import(const struct models *models);

/* ---- Versions that somebody stands on.  Any thread; `models` may be NULL: nobody counts. ---- */

/* A session stands on this version from now on.  False: it is neither served nor stood on any more,
 * and whoever comes so late is to take what is served now. */
bool models_enter(struct models *models, const struct rnn_model *model);
/* And no more: an old version is let go with its last session. */
void models_leave(struct models *models, const struct rnn_model *model);

/* Whether the version is served or stood on. */
bool models_know(struct models *models, const struct rnn_model *model);

/* Whether what is served under that name now are the weights of that fingerprint. */
bool models_serves(struct models *models, const char *name, const char *fingerprint);

/* ---- Changes ---- */

/* An empty table, over a folder.  For models_open(), and for tests. */
int models_new(struct models **out, const char *dir, const struct rnn_open_options *options,
               struct rnn_err *err);

/* One change at a time: RNN_EBUSY while another is under way. */
int models_change_begin(struct models *models, struct rnn_err *err);
void models_change_end(struct models *models);

/* Opens a folder anew, beside whatever is served under its name, which it leaves as it is: *out is
 * of the caller, with a reference.  RNN_ENOENT: there is no such model folder; else as
 * rnn_model_open().  Reads the disk and computes: pool thread. */
int models_open_again(const struct models *models, const char *name, struct model_entry *out,
                      struct rnn_err *err);

/* Serves the entry, whose reference the table takes over, in place of what is served under its
 * name; that goes to *old with a reference of the caller's, or .model is NULL.  RNN_ENOMEM changes
 * nothing. */
int models_serve(struct models *models, const struct model_entry *entry, struct model_entry *old,
                 struct rnn_err *err);

/* Serves the name no more; *old as above.  RNN_ENOENT, RNN_ENOMEM change nothing. */
int models_retire(struct models *models, const char *name, struct model_entry *old,
                  struct rnn_err *err);

#endif
