/* Attention of one row over one source: energies, their softmax, and the weighted mean, source step
 * by source step in order.  Additive: Bahdanau, Cho and Bengio 2015; the others: Luong, Pham and
 * Manning 2015. */
#include "core/attention.h"

#include <string.h>

static float energy(const struct rnn_attention *a, const struct rnn_kernels *kernels,
                    const struct rnn_memory *memory, const float *query, size_t j)
{
    const float *key = memory->keys + j * a->score_width;
    float *sum = memory->energy;

    if (a->kind != RNN_ATTENTION_ADDITIVE)
        return kernels->dot(query, key, a->score_width);
    kernels->add(query, key, sum, a->score_width);
    kernels->tanh(sum, sum, a->score_width);
    return kernels->dot(a->v, sum, a->score_width);
}

void attention_look(const struct rnn_attention *a, const struct rnn_kernels *kernels,
                    const struct rnn_memory *memory, const float *query, float *context)
{
    float *weights = memory->weights;
    size_t n = memory->n;
    float top;

    for (size_t j = 0; j < n; j++)
        weights[j] = energy(a, kernels, memory, query, j);
    top = kernels->max(weights, n);
    kernels->exp_shifted(weights, top, weights, n);
    kernels->scale(weights, kernels->sum(weights, n), weights, n);
    memset(context, 0, a->memory_width * sizeof *context);
    for (size_t j = 0; j < n; j++)
        kernels->add_scaled(weights[j], memory->values + j * a->memory_width, context,
                            a->memory_width);
}
