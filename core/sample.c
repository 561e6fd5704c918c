/* Draws a token from logits under the settings of struct rnn_sampling.
 *
 * Stages, in this order: bias, penalties, temperature, top_k, typical_p, top_p, min_p, draw.  The
 * stages after the temperature only remove tokens; what is left counts as a distribution again, so
 * each works on unnormalised weights e = exp(w - max) and on their total over what is left.
 *
 *     top_k      keeps the k largest; of equal ones the smaller ids
 *     typical_p  keeps, from the token whose surprise is nearest to the entropy outwards, as many
 * as reach the mass p together (Meister et al. 2022) top_p      keeps, from the most probable on,
 * as many as reach the mass p together min_p      keeps those with at least p times the largest
 * probability
 *
 * The draw runs over the kept tokens in the order of their ids, so that a filter that removes
 * nothing changes nothing.  One sampler belongs to one text and one thread. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "core/distribution.h"
#include "core/fpmode.h"
#include "core/kernels.h"
#include "core/recent.h"
#include "core/rnn.h"

struct rnn_sampler {
    struct rnn_sampling set;     /* .bias points to our own copy */
    struct rnn_logit_bias *bias; /* [set.n_bias] */
    size_t n;                    /* tokens */
    float *w;                    /* [n] logits on their way */
    float *e;                    /* [n] weights; 0: removed */
    float *key;                  /* [n] what typical_p sorts by, negated */
    uint32_t *ids;               /* [n] */
    uint32_t *generated;         /* [n] times generated; NULL where no penalty asks */
    bool *seen;                  /* [n] in the prompt or generated; the same */
};

/* ---- Life ---- */

static bool remembers(const struct rnn_sampling *set)
{
    return set->repetition_penalty != 1.0f || set->presence_penalty != 0.0f ||
           set->frequency_penalty != 0.0f;
}

static int check(size_t n_tokens, const struct rnn_sampling *set, struct rnn_err *err)
{
    if (n_tokens < 1)
        return rnn_fail(err, RNN_ERANGE, "there is no token to draw");
    if (!(set->temperature >= 0.0f && set->temperature <= FLT_MAX))
        return rnn_fail_at(err, RNN_ERANGE, "temperature", -1, "temperature must be 0 or more");
    if (!(set->top_p > 0.0f && set->top_p <= 1.0f))
        return rnn_fail_at(err, RNN_ERANGE, "top_p", -1, "top_p must be over 0 and at most 1");
    if (!(set->min_p >= 0.0f && set->min_p <= 1.0f))
        return rnn_fail_at(err, RNN_ERANGE, "min_p", -1, "min_p must be 0 to 1");
    if (!(set->typical_p > 0.0f && set->typical_p <= 1.0f))
        return rnn_fail_at(err, RNN_ERANGE, "typical_p", -1,
                           "typical_p must be over 0 and at most 1");
    if (!(set->repetition_penalty > 0.0f && set->repetition_penalty <= FLT_MAX))
        return rnn_fail_at(err, RNN_ERANGE, "repetition_penalty", -1,
                           "repetition_penalty must be over 0");
    if (!(fabsf(set->presence_penalty) <= FLT_MAX))
        return rnn_fail_at(err, RNN_ERANGE, "presence_penalty", -1,
                           "presence_penalty must be finite");
    if (!(fabsf(set->frequency_penalty) <= FLT_MAX))
        return rnn_fail_at(err, RNN_ERANGE, "frequency_penalty", -1,
                           "frequency_penalty must be finite");
    for (size_t i = 0; i < set->n_bias; i++)
        if (set->bias[i].token >= n_tokens ||
            !(set->bias[i].ban || fabsf(set->bias[i].bias) <= FLT_MAX))
            return rnn_fail_at(err, RNN_ERANGE, "logit_bias", -1,
                               "logit_bias wants token ids under %zu and finite numbers", n_tokens);
    return 0;
}

static bool allocate(struct rnn_sampler *s)
{
    s->w = calloc(s->n, sizeof *s->w);
    s->e = calloc(s->n, sizeof *s->e);
    s->key = calloc(s->n, sizeof *s->key);
    s->ids = calloc(s->n, sizeof *s->ids);
    s->bias = calloc(s->set.n_bias ? s->set.n_bias : 1, sizeof *s->bias);
    if (!s->w || !s->e || !s->key || !s->ids || !s->bias)
        return false;
    if (!remembers(&s->set))
        return true;
    s->generated = calloc(s->n, sizeof *s->generated);
    s->seen = calloc(s->n, sizeof *s->seen);
    return s->generated && s->seen;
}

int rnn_sampler_new(struct rnn_sampler **out, size_t n_tokens, const struct rnn_sampling *sampling,
                    struct rnn_err *err)
{
    int rc = check(n_tokens, sampling, err);
    struct rnn_sampler *s;

    if (rc < 0)
        return rc;
    s = calloc(1, sizeof *s);
    if (!s)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    s->set = *sampling;
    s->n = n_tokens;
    if (!allocate(s)) {
        rnn_sampler_free(s);
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    if (sampling->n_bias)
        memcpy(s->bias, sampling->bias, sampling->n_bias * sizeof *s->bias);
    s->set.bias = s->bias;
    *out = s;
    return 0;
}

void rnn_sampler_free(struct rnn_sampler *sampler)
{
    if (!sampler)
        return;
    free(sampler->w);
    free(sampler->e);
    free(sampler->key);
    free(sampler->ids);
    free(sampler->bias);
    free(sampler->generated);
    free(sampler->seen);
    free(sampler);
}

void rnn_sampler_observe(struct rnn_sampler *sampler, uint32_t token, bool generated)
{
    if (!sampler->seen || token >= sampler->n)
        return;
    sampler->seen[token] = true;
    if (generated && sampler->generated[token] < UINT32_MAX)
        sampler->generated[token]++;
}

void rnn_sampler_recall(struct rnn_sampler *sampler, const struct rnn_recent *recent)
{
    if (!sampler->seen)
        return;
    memset(sampler->seen, 0, sampler->n * sizeof *sampler->seen);
    memset(sampler->generated, 0, sampler->n * sizeof *sampler->generated);
    for (size_t i = 0; i < recent->n; i++) /* in whatever order */
        rnn_sampler_observe(sampler, recent->tokens[i] & ~RECENT_DRAWN,
                            recent->tokens[i] & RECENT_DRAWN);
}

/* ---- Logits ---- */

static void add_bias(struct rnn_sampler *s)
{
    for (size_t i = 0; i < s->set.n_bias; i++) {
        const struct rnn_logit_bias *b = &s->bias[i];

        s->w[b->token] = b->ban ? -INFINITY : s->w[b->token] + b->bias;
    }
}

static void punish(struct rnn_sampler *s)
{
    const struct rnn_sampling *set = &s->set;

    if (!s->seen)
        return;
    for (size_t i = 0; i < s->n; i++) {
        float *w = &s->w[i];

        if (!s->seen[i])
            continue;
        *w = *w > 0.0f ? *w / set->repetition_penalty : *w * set->repetition_penalty;
        if (s->generated[i])
            *w -= set->presence_penalty + set->frequency_penalty * (float)s->generated[i];
    }
}

/* No NaN and no +infinity from here on; -infinity is a ban. */
static void tidy(struct rnn_sampler *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->w[i] != s->w[i])
            s->w[i] = -INFINITY;
        else if (s->w[i] > FLT_MAX)
            s->w[i] = FLT_MAX;
    }
}

static uint32_t largest(const float *values, size_t n)
{
    uint32_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (values[i] > values[best])
            best = (uint32_t)i;
    return best;
}

/* w = (w - max) / temperature ≤ 0, e = exp(w). */
static void heat(struct rnn_sampler *s, const struct rnn_kernels *kernels, float max)
{
    for (size_t i = 0; i < s->n; i++)
        s->w[i] = (s->w[i] - max) / s->set.temperature;
    kernels->exp_shifted(s->w, 0.0f, s->e, s->n);
}

/* ---- Filters ---- */

static double total(const struct rnn_sampler *s)
{
    double sum = 0.0;

    for (size_t i = 0; i < s->n; i++)
        sum += (double)s->e[i];
    return sum;
}

/* A heap of ids with the foremost (largest value, then smaller id) on top. */
static bool before(const float *values, uint32_t a, uint32_t b)
{
    return values[a] > values[b] || (values[a] == values[b] && a < b);
}

static void sink(const float *values, uint32_t *ids, size_t n, size_t at)
{
    uint32_t id = ids[at];

    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && before(values, ids[child + 1], ids[child]))
            child++;
        if (!before(values, ids[child], id))
            break;
        ids[at] = ids[child];
        at = child;
    }
    ids[at] = id;
}

/* Goes through what is left from the largest `value` down, until `count` tokens or the mass `mass`
 * are together, and removes the rest.  The token that reaches the mass stays. */
static void keep_foremost(struct rnn_sampler *s, const float *value, size_t count, double mass)
{
    double sum = 0.0;
    size_t left = 0;

    for (size_t i = 0; i < s->n; i++)
        if (s->e[i] > 0.0f)
            s->ids[left++] = (uint32_t)i;
    for (size_t i = left / 2; i-- > 0;)
        sink(value, s->ids, left, i);
    while (left > 0 && count > 0 && sum < mass) {
        sum += (double)s->e[s->ids[0]];
        count--;
        s->ids[0] = s->ids[--left];
        sink(value, s->ids, left, 0);
    }
    for (size_t i = 0; i < left; i++)
        s->e[s->ids[i]] = 0.0f;
}

static void keep_typical(struct rnn_sampler *s)
{
    double sum = total(s), log_sum = rnn_log(sum), entropy = 0.0;

    for (size_t i = 0; i < s->n; i++)
        if (s->e[i] > 0.0f)
            entropy += (double)s->e[i] / sum * (log_sum - (double)s->w[i]);
    for (size_t i = 0; i < s->n; i++)
        s->key[i] = (float)-fabs(log_sum - (double)s->w[i] - entropy);
    keep_foremost(s, s->key, SIZE_MAX, (double)s->set.typical_p * sum);
}

static void keep_probable(struct rnn_sampler *s)
{
    float least = s->set.min_p * s->e[largest(s->e, s->n)];

    for (size_t i = 0; i < s->n; i++)
        if (s->e[i] < least)
            s->e[i] = 0.0f;
}

static void filter(struct rnn_sampler *s)
{
    const struct rnn_sampling *set = &s->set;

    if (set->top_k > 0 && set->top_k < s->n)
        keep_foremost(s, s->w, set->top_k, INFINITY);
    if (set->typical_p < 1.0f)
        keep_typical(s);
    if (set->top_p < 1.0f)
        keep_foremost(s, s->w, SIZE_MAX, (double)set->top_p * total(s));
    if (set->min_p > 0.0f)
        keep_probable(s);
}

static uint32_t draw(const struct rnn_sampler *s, struct rnn_rng *rng)
{
    double target = (double)rnn_rng_uniform(rng) * total(s), sum = 0.0;
    uint32_t last = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (s->e[i] == 0.0f)
            continue;
        sum += (double)s->e[i];
        last = (uint32_t)i;
        if (sum > target)
            break;
    }
    return last;
}

int rnn_sample(struct rnn_sampler *sampler, const float *logits, struct rnn_rng *rng,
               uint32_t *token)
{
    struct rnn_sampler *s = sampler;
    struct fpmode mode = fpmode_enter();
    uint32_t best;
    int rc = 0;

    memcpy(s->w, logits, s->n * sizeof *s->w);
    add_bias(s);
    punish(s);
    tidy(s);
    best = largest(s->w, s->n);
    if (s->w[best] == -INFINITY) {
        rc = RNN_ERANGE;
    } else if (s->set.temperature == 0.0f) {
        *token = best;
    } else {
        heat(s, rnn_kernels_current(), s->w[best]);
        filter(s);
        *token = draw(s, rng);
    }
    fpmode_leave(mode);
    return rc;
}
