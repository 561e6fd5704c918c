/* Exponential, normal quantile, and what else a density needs, in double and in one fixed order of
 * additions, products and quotients: libm's own differ in their last bits between CPUs and
 * versions.  The logarithm stands in core/distribution.c. */
#include "core/special.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/distribution.h"
#include "core/rnn.h"

/* x = n ln 2 + r, |r| ≤ ln 2 / 2: fourteen terms of the series leave less than 1e-17 of e^r. Adding
 * 1.5 * 2^52 rounds to an integer; ln 2 is split so that n times its upper part is exact. */
double rnn_exp(double x)
{
    static const double inverse[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0,
                                     1.0 / 3628800.0,    1.0 / 362880.0,    1.0 / 40320.0,
                                     1.0 / 5040.0,       1.0 / 720.0,       1.0 / 120.0,
                                     1.0 / 24.0,         1.0 / 6.0,         0.5};
    const double magic = 6755399441055744.0;
    double n, r, sum = 0.0, power;
    uint64_t bits;

    if (x < -700.0)
        return 0.0;
    x = x < 700.0 ? x : 700.0;
    n = (x * 1.4426950408889634 + magic) - magic;
    r = (x - n * 0x1.62e42fefa3800p-1) - n * 0x1.ef35793c76730p-45;
    for (unsigned i = 0; i < sizeof inverse / sizeof *inverse; i++)
        sum = (sum + inverse[i]) * r;
    bits = (uint64_t)((int64_t)n + 1023) << 52;
    memcpy(&power, &bits, sizeof power);
    return power + power * (r + sum * r);
}

double rnn_within(double x, double limit)
{
    x = x < limit ? x : limit;
    return x > -limit ? x : -limit;
}

float rnn_narrow(double x)
{
    return (float)rnn_within(x, (double)FLT_MAX);
}

/* top(r) / bottom(r), eight coefficients each, highest power first. */
static double rational(const double top[8], const double bottom[8], double r)
{
    double t = top[0], b = bottom[0];

    for (int i = 1; i < 8; i++) {
        t = t * r + top[i];
        b = b * r + bottom[i];
    }
    return t / b;
}

/* Algorithm AS 241 (Wichura 1988), without its branch for p under e^-25. */
double rnn_normal_quantile(double p)
{
    static const double middle_top[8] = {
        2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
        13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608};
    static const double middle_bottom[8] = {
        5226.495278852854561,  28729.085735721942674, 39307.89580009271061,  21213.794301586595867,
        5394.1960214247511077, 687.1870074920579083,  42.313330701600911252, 1.0};
    static const double tail_top[8] = {7.7454501427834140764e-4, 0.0227238449892691845833,
                                       0.24178072517745061177,   1.27045825245236838258,
                                       3.64784832476320460504,   5.7694972214606914055,
                                       4.6303378461565452959,    1.42343711074968357734};
    static const double tail_bottom[8] = {1.05075007164441684324e-9, 5.475938084995344946e-4,
                                          0.0151986665636164571966,  0.14810397642748007459,
                                          0.68976733498510000455,    1.6763848301838038494,
                                          2.05319162663775882187,    1.0};
    double q = p - 0.5, x;

    if (q >= -0.425 && q <= 0.425)
        return q * rational(middle_top, middle_bottom, 0.180625 - q * q);
    x = rational(tail_top, tail_bottom, sqrt(-rnn_log(q < 0.0 ? p : 1.0 - p)) - 1.6);
    return q < 0.0 ? -x : x;
}

/* The middle of the 2^-24 wide piece that the draw falls in. */
double rnn_rng_normal(struct rnn_rng *rng)
{
    return rnn_normal_quantile((double)rnn_rng_uniform(rng) + 0x1p-25);
}
