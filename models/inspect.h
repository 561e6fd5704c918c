/* Says what a model folder or a checkpoint file holds, whether or not it can be served.
 *
 * Used by `rnnd inspect`. */
#ifndef MODELS_INSPECT_H
#define MODELS_INSPECT_H

#include <stdio.h>

#include "base/err.h"

/* Writes to `out`, for a folder: its shape, its vocabulary, and the tensors of model.safetensors,
 * each with type, shape, and whether the model uses it; for a .safetensors file: its tensors and
 * metadata.  Parts that are faulty are named in the text and the rest is still listed; the first
 * fault is then returned with its words in `err`.  A file of another kind is named as what it is
 * (RNN_EUNSUPPORTED).  Reads the disk: any thread that may block. */
int model_inspect(const char *path, FILE *out, struct rnn_err *err);

#endif
