/* What a row of logits says: activations, log-sum-exp, ranking, the score of a token.
 *
 * Nothing here calls libm's transcendentals, whose last bits differ between CPUs and versions:
 * exponentials are the kernels', the logarithm below is a fixed series in double. */
#include "core/distribution.h"

#include <stdint.h>
#include <string.h>

#include "core/fpmode.h"
#include "core/gaussian.h"
#include "core/kernels.h"
#include "core/mixture.h"
#include "core/model.h"
#include "core/rnn.h"
#include "core/special.h"

/* x = m 2^e with m in [√½, √2); log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172: eleven
 * terms leave less than 1e-18.  ln 2 is split so that e times its upper part is exact. */
double rnn_log(double x)
{
    uint64_t bits;
    int64_t exponent;
    double m, s, square, sum = 0.0;

    memcpy(&bits, &x, sizeof bits);
    exponent = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    s = (m - 1.0) / (m + 1.0);
    square = s * s;
    for (int n = 21; n >= 3; n -= 2)
        sum = (sum + 1.0 / n) * square;
    return (double)exponent * 0x1.62e42fefa3800p-1 +
           (2.0 * s + (2.0 * s * sum + (double)exponent * 0x1.ef35793c76730p-45));
}

static double log_sum_exp(const float *logits, size_t n)
{
    const struct rnn_kernels *kernels = rnn_kernels_current();
    float max = kernels->max(logits, n);

    return (double)max + rnn_log((double)kernels->sum_exp_shifted(logits, max, n));
}

double rnn_log_sum_exp(const float *logits, size_t n)
{
    struct fpmode mode = fpmode_enter();
    double result = log_sum_exp(logits, n);

    fpmode_leave(mode);
    return result;
}

static void softmax(const struct rnn_kernels *kernels, const float *logits, float *out, size_t n)
{
    kernels->exp_shifted(logits, kernels->max(logits, n), out, n);
    kernels->scale(out, kernels->sum(out, n), out, n);
}

/* Plain numbers in the units of the data.  The product is exact in double. */
static void denormalise(const struct rnn_top *top, const float *values, float *out, size_t n)
{
    if (!top->std) {
        memmove(out, values, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = rnn_narrow((double)values[i] * (double)top->std[i] + (double)top->mean[i]);
}

void rnn_activate(const struct rnn_model *model, const float *logits, float *out)
{
    const struct rnn_kernels *kernels = rnn_kernels_current();
    const struct rnn_model_info *info = &model->info;
    const struct rnn_top *top = &model->top;
    struct fpmode mode = fpmode_enter();

    switch (info->activation) {
    case RNN_HEAD_SOFTMAX:
        softmax(kernels, logits, out, info->output_size);
        break;
    case RNN_HEAD_SIGMOID:
        kernels->sigmoid(logits, out, info->output_size);
        break;
    case RNN_HEAD_GAUSSIAN:
        gaussian_parameters(&(struct gaussian){info->n_values, top->mean, top->std}, logits, out);
        break;
    case RNN_HEAD_MIXTURE:
        mixture_parameters(&(struct mixture){info->components, info->pen, top->mean, top->std},
                           logits, out);
        break;
    case RNN_HEAD_NONE:
        denormalise(top, logits, out, info->output_size);
        break;
    }
    fpmode_leave(mode);
}

/* ---- Ranking ---- */

/* Whether a stands before b: larger, or equal with a smaller id. */
static bool before(const float *values, uint32_t a, uint32_t b)
{
    return values[a] > values[b] || (values[a] == values[b] && a < b);
}

/* ids[0..n) is a heap with the hindmost id on top; lets ids[at] sink to its place. */
static void sink(const float *values, uint32_t *ids, size_t n, size_t at)
{
    uint32_t id = ids[at];

    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && before(values, ids[child], ids[child + 1]))
            child++;
        if (!before(values, id, ids[child]))
            break;
        ids[at] = ids[child];
        at = child;
    }
    ids[at] = id;
}

size_t rnn_top(const float *values, size_t n, size_t k, uint32_t *ids)
{
    k = k < n ? k : n;
    if (k == 0)
        return 0;
    for (size_t i = 0; i < k; i++)
        ids[i] = (uint32_t)i;
    for (size_t i = k / 2; i-- > 0;)
        sink(values, ids, k, i);
    for (size_t i = k; i < n; i++) {
        if (!before(values, (uint32_t)i, ids[0]))
            continue;
        ids[0] = (uint32_t)i;
        sink(values, ids, k, 0);
    }
    for (size_t end = k - 1; end > 0; end--) {
        uint32_t last = ids[0];

        ids[0] = ids[end];
        ids[end] = last;
        sink(values, ids, end, 0);
    }
    return k;
}

/* Σ p log p over chunks that fit the stack; the sums in double, in order. */
static double entropy(const float *logits, size_t n, double log_total)
{
    const struct rnn_kernels *kernels = rnn_kernels_current();
    float max = kernels->max(logits, n);
    double weight = 0.0, weighted = 0.0;
    float e[256];

    for (size_t i = 0; i < n; i += sizeof e / sizeof *e) {
        size_t m = n - i < sizeof e / sizeof *e ? n - i : sizeof e / sizeof *e;

        kernels->exp_shifted(logits + i, max, e, m);
        for (size_t j = 0; j < m; j++) {
            if (e[j] == 0.0f)
                continue;
            weight += (double)e[j];
            weighted += (double)e[j] * (log_total - (double)logits[i + j]);
        }
    }
    return weighted / weight;
}

void rnn_score_token(const float *logits, size_t n, uint32_t token, struct rnn_token_score *out)
{
    struct fpmode mode = fpmode_enter();
    double total = log_sum_exp(logits, n);
    uint32_t rank = 1;

    for (size_t i = 0; i < n; i++)
        rank += before(logits, (uint32_t)i, token);
    *out = (struct rnn_token_score){
        .logprob = (double)logits[token] - total,
        .entropy = entropy(logits, n, total),
        .rank = rank,
    };
    fpmode_leave(mode);
}
