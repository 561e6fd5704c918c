/* A state as a safetensors file.  See core/rnn.h, rnn_state_write(), for what stands in it. */
#ifndef MODELS_STATE_FILE_H
#define MODELS_STATE_FILE_H

#include "core/format.h"

extern const struct rnn_state_format state_file;

#endif
