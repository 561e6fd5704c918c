/* The mixture-density head of pen strokes: handwriting (Graves 2013) and sketches (Ha and Eck
 * 2017).
 *
 * Raw outputs, for M components and 1 or 3 pen logits:
 *
 *     pen │ M weight logits │ M μx │ M μy │ M log σx │ M log σy │ M ρ before tanh
 *
 * A *point* is what the model reads and writes, [2 + pen]: the offset dx, dy, then the pen: with
 * one logit 1 where the stroke ends and 0 where it goes on, with three one-hot (down, up, end of
 * drawing).
 *
 * `mean` and `std` [2] put offsets back into the units of the data (y = v std + mean), both NULL
 * where the model computes in those units.  Logarithms of deviations count within ± 80 and ρ before
 * tanh within ± 20, so that a density is neither 0 nor infinite.  All results are finite, whatever
 * raw holds, and the same bits on every CPU.  Any thread; nothing fails. */
#ifndef CORE_MIXTURE_H
#define CORE_MIXTURE_H

#include <stddef.h>

struct rnn_rng;

struct mixture {
    size_t components; /* M > 0 */
    unsigned pen;      /* 1 or 3 */
    const float *mean, *std;
};

/* Floats in raw: pen + 6 M. */
static inline size_t mixture_size(const struct mixture *head)
{
    return head->pen + 6 * head->components;
}

/* out [mixture_size()], which may be raw, in the same order: probabilities of the pen, weights,
 * means, deviations, correlations. */
void mixture_parameters(const struct mixture *head, const float *raw, float *out);

/* point [2 + pen] drawn with four numbers of the generator: component, pen, dx, dy.  `temperature`
 * divides the logits of weights and pen and multiplies the variances (Ha and Eck 2017); with
 * temperature 0 the mean of the heaviest component and the likeliest pen, and no draw. */
void mixture_sample(const struct mixture *head, const float *raw, float temperature,
                    struct rnn_rng *rng, float *point);

/* Of a point, in nats: - log density of its offset, - log probability of its pen (the
 * cross-entropy, where its pen is not of zeros and ones). */
struct mixture_score {
    double offset, pen;
};
struct mixture_score mixture_nll(const struct mixture *head, const float *raw, const float *point);

#endif
