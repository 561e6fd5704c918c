/* The one thing of core/distribution.c that the door does not show.  Any thread. */
#ifndef CORE_DISTRIBUTION_H
#define CORE_DISTRIBUTION_H

/* Natural logarithm of a normal positive number, within 1 ulp or so, the same bits on every CPU. */
double rnn_log(double x);

#endif
