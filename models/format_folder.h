/* A model folder: model.safetensors and config.json; where the model has them, vocab.json and
 * metrics.json.  One of the formats in models/registry.c. */
#ifndef MODELS_FORMAT_FOLDER_H
#define MODELS_FORMAT_FOLDER_H

#include "core/format.h"

extern const struct rnn_format_ops format_folder;

#endif
