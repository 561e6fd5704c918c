/* Bivariate normal distributions and a pen off a head's raw outputs, in double.
 *
 * With r = ρ before tanh and e = exp(-2|r|), 1 - ρ² is taken as 4 e / (1 + e)², which does not
 * cancel; and the exponent of the density as (zx - ρ zy)² / (1 - ρ²) + zy², which is the usual form
 * without its cancellation.  Weights stay logarithms until they are added. */
#include "core/mixture.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/distribution.h"
#include "core/fpmode.h"
#include "core/rnn.h"
#include "core/special.h"

#define LOG_DEVIATION_MAX 80.0
#define SKEW_MAX          20.0
#define LOG_2_PI          1.83787706640934548356

/* ---- One component ---- */

struct component {
    double mean[2], log_deviation[2]; /* of dx, dy, in the model's own units */
    double correlation;               /* ρ */
    double independence;              /* 1 - ρ² > 0 */
};

/* The k-th of the six numbers of component m. */
static double number(const struct mixture *head, const float *raw, unsigned k, size_t m)
{
    return (double)rnn_narrow((double)raw[head->pen + k * head->components + m]);
}

static struct component component(const struct mixture *head, const float *raw, size_t m)
{
    double skew = rnn_within(number(head, raw, 5, m), SKEW_MAX);
    double e = rnn_exp(-2.0 * fabs(skew));
    struct component c = {
        .correlation = copysign((1.0 - e) / (1.0 + e), skew),
        .independence = 4.0 * e / ((1.0 + e) * (1.0 + e)),
    };

    for (unsigned i = 0; i < 2; i++) {
        c.mean[i] = number(head, raw, 1 + i, m);
        c.log_deviation[i] = rnn_within(number(head, raw, 3 + i, m), LOG_DEVIATION_MAX);
    }
    return c;
}

/* The log density at z, both coordinates in units of the deviations from the mean. */
static double log_density(const struct component *c, const double z[2])
{
    double across = z[0] - c->correlation * z[1];

    return -LOG_2_PI - c->log_deviation[0] - c->log_deviation[1] -
           0.5 * (rnn_log(c->independence) + across * across / c->independence + z[1] * z[1]);
}

/* ---- Units of the data ---- */

static double unit_of(const struct mixture *head, unsigned i)
{
    return head->std ? (double)head->std[i] : 1.0;
}

static double to_data(const struct mixture *head, double v, unsigned i)
{
    return head->std ? v * (double)head->std[i] + (double)head->mean[i] : v;
}

static double from_data(const struct mixture *head, double y, unsigned i)
{
    return head->std ? (y - (double)head->mean[i]) / (double)head->std[i] : y;
}

/* ---- Choices among logits ---- */

/* Logits of weights, or of the pen: n > 0 of them, divided by a temperature. */
struct choice {
    const float *logits;
    size_t n;
    double temperature;
};

static double logit(const struct choice *choice, size_t i)
{
    return (double)rnn_narrow((double)choice->logits[i]) / choice->temperature;
}

static size_t largest(const struct choice *choice)
{
    size_t best = 0;

    for (size_t i = 1; i < choice->n; i++)
        if (logit(choice, i) > logit(choice, best))
            best = i;
    return best;
}

/* log Σ exp logit. */
static double log_total(const struct choice *choice)
{
    double top = logit(choice, largest(choice)), total = 0.0;

    for (size_t i = 0; i < choice->n; i++)
        total += rnn_exp(logit(choice, i) - top);
    return top + rnn_log(total);
}

/* In the order of the logits, the one in which `uniform` of the probability falls. */
static size_t drawn(const struct choice *choice, double uniform)
{
    double top = logit(choice, largest(choice)), total = 0.0, sum = 0.0;
    size_t i = 0;

    for (size_t j = 0; j < choice->n; j++)
        total += rnn_exp(logit(choice, j) - top);
    for (; i + 1 < choice->n; i++) {
        sum += rnn_exp(logit(choice, i) - top);
        if (sum > uniform * total)
            break;
    }
    return i;
}

static struct choice weights_of(const struct mixture *head, const float *raw, double temperature)
{
    return (struct choice){raw + head->pen, head->components, temperature};
}

/* log of the logistic function. */
static double log_logistic(double x)
{
    double small = rnn_log(1.0 + rnn_exp(-fabs(x)));

    return x < 0.0 ? x - small : -small;
}

static double logistic(double x)
{
    double e = rnn_exp(-fabs(x));

    return (x < 0.0 ? e : 1.0) / (1.0 + e);
}

/* ---- Parameters ---- */

/* Softmax; out may be the logits. */
static void put_probabilities(const struct choice *choice, float *out)
{
    double total = log_total(choice);

    for (size_t i = 0; i < choice->n; i++)
        out[i] = rnn_narrow(rnn_exp(logit(choice, i) - total));
}

void mixture_parameters(const struct mixture *head, const float *raw, float *out)
{
    struct fpmode mode = fpmode_enter();
    const struct choice pen = {raw, head->pen, 1.0};
    const struct choice weights = weights_of(head, raw, 1.0);

    for (size_t m = 0; m < head->components; m++) {
        struct component c = component(head, raw, m);
        float *to = out + head->pen + m;

        for (unsigned i = 0; i < 2; i++) {
            to[(1 + i) * head->components] = rnn_narrow(to_data(head, c.mean[i], i));
            to[(3 + i) * head->components] =
                rnn_narrow(rnn_exp(c.log_deviation[i]) * unit_of(head, i));
        }
        to[5 * head->components] = rnn_narrow(c.correlation);
    }
    put_probabilities(&weights, out + head->pen);
    if (head->pen == 1)
        out[0] = rnn_narrow(logistic(logit(&pen, 0)));
    else
        put_probabilities(&pen, out);
    fpmode_leave(mode);
}

/* ---- Samples ---- */

static void put_pen(const struct mixture *head, size_t state, float *pen)
{
    memset(pen, 0, head->pen * sizeof *pen);
    if (head->pen == 1)
        pen[0] = (float)state;
    else
        pen[state] = 1.0f;
}

static void sample_greedy(const struct mixture *head, const float *raw, float *point)
{
    const struct choice pen = {raw, head->pen, 1.0};
    const struct choice weights = weights_of(head, raw, 1.0);
    struct component c = component(head, raw, largest(&weights));

    put_pen(head, head->pen == 1 ? logit(&pen, 0) > 0.0 : largest(&pen), point + 2);
    for (unsigned i = 0; i < 2; i++)
        point[i] = rnn_narrow(to_data(head, c.mean[i], i));
}

static size_t draw_pen(const struct choice *pen, double uniform)
{
    if (pen->n == 1)
        return uniform < logistic(logit(pen, 0));
    return drawn(pen, uniform);
}

static void sample_drawn(const struct mixture *head, const float *raw, double temperature,
                         struct rnn_rng *rng, float *point)
{
    const struct choice pen = {raw, head->pen, temperature};
    const struct choice weights = weights_of(head, raw, temperature);
    struct component c = component(head, raw, drawn(&weights, (double)rnn_rng_uniform(rng)));
    size_t state = draw_pen(&pen, (double)rnn_rng_uniform(rng));
    double x = rnn_rng_normal(rng), y = rnn_rng_normal(rng);
    double off[2] = {x, c.correlation * x + sqrt(c.independence) * y};

    put_pen(head, state, point + 2);
    for (unsigned i = 0; i < 2; i++) {
        double deviation = rnn_exp(c.log_deviation[i]) * sqrt(temperature);

        point[i] = rnn_narrow(to_data(head, c.mean[i] + deviation * off[i], i));
    }
}

void mixture_sample(const struct mixture *head, const float *raw, float temperature,
                    struct rnn_rng *rng, float *point)
{
    struct fpmode mode = fpmode_enter();

    if (temperature > 0)
        sample_drawn(head, raw, (double)temperature, rng, point);
    else
        sample_greedy(head, raw, point);
    fpmode_leave(mode);
}

/* ---- Likelihood ---- */

static double log_joint(const struct mixture *head, const float *raw, const double v[2], size_t m)
{
    const struct choice weights = weights_of(head, raw, 1.0);
    struct component c = component(head, raw, m);
    double z[2];

    for (unsigned i = 0; i < 2; i++)
        z[i] = (v[i] - c.mean[i]) * rnn_exp(-c.log_deviation[i]);
    return logit(&weights, m) + log_density(&c, z);
}

static double offset_nll(const struct mixture *head, const float *raw, const float *point)
{
    const struct choice weights = weights_of(head, raw, 1.0);
    double v[2] = {from_data(head, (double)point[0], 0), from_data(head, (double)point[1], 1)};
    double top = log_joint(head, raw, v, 0), total = 0.0;

    for (size_t m = 1; m < head->components; m++) {
        double joint = log_joint(head, raw, v, m);

        top = joint > top ? joint : top;
    }
    for (size_t m = 0; m < head->components; m++)
        total += rnn_exp(log_joint(head, raw, v, m) - top);
    return log_total(&weights) - (top + rnn_log(total)) + rnn_log(unit_of(head, 0)) +
           rnn_log(unit_of(head, 1));
}

static double pen_nll(const struct mixture *head, const float *raw, const float *pen)
{
    const struct choice choice = {raw, head->pen, 1.0};
    double total, nll = 0.0;

    if (head->pen == 1)
        return -(double)pen[0] * log_logistic(logit(&choice, 0)) -
               (1.0 - (double)pen[0]) * log_logistic(-logit(&choice, 0));
    total = log_total(&choice);
    for (size_t i = 0; i < choice.n; i++)
        nll += (double)pen[i] * (total - logit(&choice, i));
    return nll;
}

struct mixture_score mixture_nll(const struct mixture *head, const float *raw, const float *point)
{
    struct fpmode mode = fpmode_enter();
    struct mixture_score score = {offset_nll(head, raw, point), pen_nll(head, raw, point + 2)};

    fpmode_leave(mode);
    return score;
}
