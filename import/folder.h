/* A draft becomes a model folder, all of it or nothing.
 *
 * One thread; blocks on the disk. */
#ifndef IMPORT_FOLDER_H
#define IMPORT_FOLDER_H

#include "base/err.h"
#include "import/draft.h"

struct folder {
    char *path;   /* where it will stand */
    char *beside; /* where it is being made, in the same parent folder; NULL: it is in place */
};

/* Writes model.safetensors, config.json and vocab.json into a new folder beside `path`.  RNN_EEXIST
 * where `path` is there already.  The caller ends *out with folder_place() or folder_drop(). */
int folder_write(struct folder *out, const char *path, struct draft *draft, struct rnn_err *err);

/* Gives it its name. */
int folder_place(struct folder *folder, struct rnn_err *err);

/* Removes what was not placed, and frees. */
void folder_drop(struct folder *folder);

#endif
