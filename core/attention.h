/* A decoder's look back at its source.  For core only. */
#ifndef CORE_ATTENTION_H
#define CORE_ATTENTION_H

#include "core/model.h"

/* context [memory_width] = the mean of the memory's values, weighted by the softmax of how well
 * their keys answer `query` [score_width].  The memory's scratch is left with the weights. */
void attention_look(const struct rnn_attention *attention, const struct rnn_kernels *kernels,
                    const struct rnn_memory *memory, const float *query, float *context);

#endif
