/* The inner loops, one table of them for each instruction set.
 *
 * All arithmetic is written once (core/kernels_template.h) over a vector of sixteen lanes; each
 * kernels_*.c includes it with its own vector.  Every table gives the same bits for the same
 * arguments, and a row's bits do not depend on the other rows of a call.  Any thread; nothing here
 * allocates or fails.  Results hold with denormals flushed to zero (core/fpmode.h); the caller sets
 * that. */
#ifndef CORE_KERNELS_H
#define CORE_KERNELS_H

#include <stddef.h>

#include "core/activation.h"

#define RNN_LANES        16              /* floats in a vector */
#define RNN_BLOCK        (4 * RNN_LANES) /* floats in a block of outputs */

/* n rounded up to whole vectors, to whole blocks. */
#define RNN_PAD_LANES(n) (((n) + RNN_LANES - 1) / RNN_LANES * RNN_LANES)
#define RNN_PAD_BLOCK(n) (((n) + RNN_BLOCK - 1) / RNN_BLOCK * RNN_BLOCK)

/* A weight matrix [outputs][k], packed for streaming.
 *
 *     block 0: k lines of width vectors │ block 1: … │ last block: k lines of last_width vectors
 *
 * Block b's line of input i holds the weights from i to the outputs at
 * out[64 b + offset …  + 16 width).  64-byte aligned. */
struct rnn_panels {
    const float *w;
    size_t k; /* inputs */
    size_t n_blocks;
    unsigned width;      /* vectors in a line: 1 … 4 */
    unsigned last_width; /* the same for the last block: 1 … width */
    unsigned offset;     /* floats: 0, 16, 32, 48 */
};

struct rnn_kernels {
    const char *name;

    /* out[r][…] += W x[r], for n_rows rows: each output is one chain of fused multiply-adds that
     * starts at what out holds and runs over the inputs in order.  x[r] is [k]; out[r] covers the
     * blocks of `panels`.  Nothing overlaps. */
    void (*product)(const struct rnn_panels *panels, const float *const *x, float *const *out,
                    size_t n_rows);

    /* One row each.  gates: n blocks of four vectors; h, c, out: n vectors.
     * lstm: slots i f g o;  c = σ(f) c + σ(i) tanh(g), out = σ(o) tanh(c).
     * gru:  slots nx r z nh;  n = tanh(nx + σ(r) nh), out = n + σ(z) (h - n). */
    void (*lstm)(const float *gates, float *c, float *out, size_t n);
    void (*gru)(const float *gates, const float *h, float *out, size_t n);

    /* The same with any settings; with plain ones the same bits as above.  What overflows
     * saturates, so that finite gates and states give finite ones.  peephole: of i, f and o, each
     * [16 n], or all NULL.
     * lstm_any:   i = σ(i + p c), f = σ(f + p c) or 1 - i, c = f c + i φ(g),
     *             out = σ(o + p c) φ'(c)
     * gru_reset:  slots r z n;  out = σ(r) h, what the product that fills n runs over
     * gru_before: then  out = n + σ(z) (h - n)  with n = φ(n). */
    void (*lstm_any)(const struct rnn_cell_settings *settings, const float *const *peephole,
                     const float *gates, float *c, float *out, size_t n);
    void (*gru_any)(const struct rnn_cell_settings *settings, const float *gates, const float *h,
                    float *out, size_t n);
    void (*gru_reset)(const struct rnn_cell_settings *settings, const float *gates, const float *h,
                      float *out, size_t n);
    void (*gru_before)(const struct rnn_cell_settings *settings, const float *gates, const float *h,
                       float *out, size_t n);

    /* Arrays of any length; in and out may be the same. */
    void (*tanh)(const float *in, float *out, size_t n);
    void (*relu)(const float *in, float *out, size_t n); /* saturates at FLT_MAX */
    void (*sigmoid)(const float *in, float *out, size_t n);

    /* out = f(in), always finite: what overflows saturates at FLT_MAX, and what is no number counts
     * as the largest.  With tanh, relu and sigmoid the bits of the above. */
    void (*activate)(const struct rnn_activation *f, const float *in, float *out, size_t n);
    void (*clamp)(const float *in, float limit, float *out, size_t n); /* into ± limit */

    /* Element by element, and saturating like activate(); each may be the same as out.
     * add a + b, multiply a b, larger the larger of a and b, affine x scale + shift rounded once,
     * standardize (x - mean) / deviation, add_scaled out + s x rounded once. */
    void (*add)(const float *a, const float *b, float *out, size_t n);
    void (*multiply)(const float *a, const float *b, float *out, size_t n);
    void (*larger)(const float *a, const float *b, float *out, size_t n);
    void (*affine)(const float *x, const float *scale, const float *shift, float *out, size_t n);
    void (*standardize)(const float *x, const float *mean, const float *deviation, float *out,
                        size_t n);
    void (*add_scaled)(float s, const float *x, float *out, size_t n);

    /* out = exp(in - shift) where in ≤ shift (a larger one counts as equal); 0 under e^-87. */
    void (*exp_shifted)(const float *in, float shift, float *out, size_t n);

    /* Reductions: lane l takes the elements l, l + 16, …; then the lanes are folded in halves. */
    float (*max)(const float *in, size_t n); /* n > 0 */
    float (*sum)(const float *in, size_t n);
    float (*sum_exp_shifted)(const float *in, float shift, size_t n);
    float (*dot)(const float *a, const float *b, size_t n); /* multiply-adds; saturates */

    /* Layer normalisation (Ba, Kiros and Hinton 2016) of n > 0 finite numbers:
     *     out = (in - mean) / √(variance + epsilon) weight + bias
     * in double, the two sums in the order above, each out rounded once and saturated.  Numbers
     * that are all alike give the bias also where epsilon is 0. */
    void (*layer_norm)(const float *in, const float *weight, const float *bias, float epsilon,
                       float *out, size_t n);

    void (*scale)(const float *in, float divisor, float *out, size_t n); /* out = in / divisor */
};

extern const struct rnn_kernels rnn_kernels_scalar;
#if defined(__x86_64__)
extern const struct rnn_kernels rnn_kernels_avx2;
extern const struct rnn_kernels rnn_kernels_avx512;
#endif

/* The table in use: what rnn_kernels_select() chose, or the best that this CPU has. */
const struct rnn_kernels *rnn_kernels_current(void);

#endif
