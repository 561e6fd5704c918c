#include <math.h>
#include "core/kernels.h"
#include "core/activation.h"
static inline void t_activate(const struct rnn_activation *f, const float *in, float *out, size_t n,
                              const struct rnn_kernels *k)
{
    switch (f->kind) {
    case RNN_TANH:
        k->tanh(in, out, n);
        break;
    case RNN_RELU:
        k->relu(in, out, n);
        break;
    case RNN_SIGMOID:
        k->sigmoid(in, out, n);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            out[i] = f->alpha * in[i] + f->beta;
    }
}
static inline float t_dot(const float *a, const float *b, size_t n)
{
    float s = 0;
    for (size_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}
static inline void t_axpy(float s, const float *x, float *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        o[i] += s * x[i];
}
static inline void t_affine(const float *x, const float *a, const float *b, float *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        o[i] = x[i] * a[i] + b[i];
}
static inline void t_norm(const float *x, const float *w, const float *b, float e, float *o,
                          size_t n)
{
    double m = 0, v = 0;
    for (size_t i = 0; i < n; i++)
        m += (double)x[i];
    m /= (double)n;
    for (size_t i = 0; i < n; i++)
        v += ((double)x[i] - m) * ((double)x[i] - m);
    v = 1 / sqrt(v / (double)n + (double)e);
    for (size_t i = 0; i < n; i++)
        o[i] = (float)(((double)x[i] - m) * v) * w[i] + b[i];
}
