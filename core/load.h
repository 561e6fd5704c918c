/* Weights into a model whose shape is laid out.  For core only. */
#ifndef CORE_LOAD_H
#define CORE_LOAD_H

#include "core/model.h"

/* Checks every tensor of the source against the model's shape and packs the weights; tables of
 * tokens are built up to `table_max_bytes` each.  Fills in the info's parameters and bytes.  `err`
 * names the tensor, what was wanted and what was found. */
int model_load(struct rnn_model *model, const struct rnn_format_ops *format,
               struct rnn_source *source, size_t table_max_bytes, struct rnn_err *err);

#endif
