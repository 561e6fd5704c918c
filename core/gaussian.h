/* The head that tells of n numbers with a doubt: raw outputs are n means, then n logarithms of
 * standard deviations, of independent normal distributions (Nix and Weigend 1994).
 *
 * `mean` and `std` [n] put the numbers back into the units of the data (y = v std + mean), both
 * NULL where the model computes in those units.  Logarithms of deviations count within ± 80, so
 * that a density is neither 0 nor infinite.  All results are finite, whatever raw holds, and the
 * same bits on every CPU.  Any thread; nothing fails. */
#ifndef CORE_GAUSSIAN_H
#define CORE_GAUSSIAN_H

#include <stddef.h>

struct rnn_rng;

struct gaussian {
    size_t n;
    const float *mean, *std;
};

/* out [2 n], which may be raw: means, then standard deviations. */
void gaussian_parameters(const struct gaussian *head, const float *raw, float *out);

/* out [n] drawn with n numbers of the generator, the variances multiplied by `temperature`; with
 * temperature 0 the means, and no draw. */
void gaussian_sample(const struct gaussian *head, const float *raw, float temperature,
                     struct rnn_rng *rng, float *out);

/* - log density, in nats, of the numbers values [n]. */
double gaussian_nll(const struct gaussian *head, const float *raw, const float *values);

#endif
