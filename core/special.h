/* Functions in double whose bits are the same on every CPU and with every libm.  Any thread. */
#ifndef CORE_SPECIAL_H
#define CORE_SPECIAL_H

struct rnn_rng;

/* e^x within 1 ulp or so; 0 under e^-700, and as large as at e^700 over it. */
double rnn_exp(double x);

/* x, or the nearest of ± limit; what is no number counts as the limit. */
double rnn_within(double x, double limit);

/* double to float, saturating at ± FLT_MAX. */
float rnn_narrow(double x);

/* The x that a standard normal deviate stays under with probability p, 2^-30 ≤ p ≤ 1 - 2^-30. */
double rnn_normal_quantile(double p);

/* A standard normal deviate: one draw of the generator. */
double rnn_rng_normal(struct rnn_rng *rng);

#endif
