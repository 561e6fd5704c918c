/* Independent normal distributions off a head's raw outputs, in double. */
#include "core/gaussian.h"

#include <math.h>

#include "core/distribution.h"
#include "core/fpmode.h"
#include "core/rnn.h"
#include "core/special.h"

#define LOG_DEVIATION_MAX 80.0
#define HALF_LOG_2_PI     0.91893853320467274178

static double mean_of(const struct gaussian *head, const float *raw, size_t i)
{
    double mean = (double)rnn_narrow((double)raw[i]);

    return head->std ? mean * (double)head->std[i] + (double)head->mean[i] : mean;
}

static double unit_of(const struct gaussian *head, size_t i)
{
    return head->std ? (double)head->std[i] : 1.0;
}

static double log_deviation(const struct gaussian *head, const float *raw, size_t i)
{
    return rnn_within((double)raw[head->n + i], LOG_DEVIATION_MAX);
}

void gaussian_parameters(const struct gaussian *head, const float *raw, float *out)
{
    struct fpmode mode = fpmode_enter();

    for (size_t i = 0; i < head->n; i++) {
        double deviation = rnn_exp(log_deviation(head, raw, i)) * unit_of(head, i);

        out[i] = rnn_narrow(mean_of(head, raw, i));
        out[head->n + i] = rnn_narrow(deviation);
    }
    fpmode_leave(mode);
}

void gaussian_sample(const struct gaussian *head, const float *raw, float temperature,
                     struct rnn_rng *rng, float *out)
{
    struct fpmode mode = fpmode_enter();
    double spread = sqrt((double)temperature);

    for (size_t i = 0; i < head->n; i++) {
        double deviation = rnn_exp(log_deviation(head, raw, i)) * unit_of(head, i) * spread;
        double off = temperature > 0 ? deviation * rnn_rng_normal(rng) : 0.0;

        out[i] = rnn_narrow(mean_of(head, raw, i) + off);
    }
    fpmode_leave(mode);
}

double gaussian_nll(const struct gaussian *head, const float *raw, const float *values)
{
    struct fpmode mode = fpmode_enter();
    double nll = 0.0;

    for (size_t i = 0; i < head->n; i++) {
        double log_s = log_deviation(head, raw, i);
        double off = ((double)values[i] - mean_of(head, raw, i)) / unit_of(head, i);
        double z = off * rnn_exp(-log_s);

        nll += 0.5 * z * z + log_s + rnn_log(unit_of(head, i)) + HALF_LOG_2_PI;
    }
    fpmode_leave(mode);
    return nll;
}
