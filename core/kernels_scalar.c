/* The kernels as they are defined: sixteen plain floats for a vector, fmaf() for a fused
 * multiply-add.  Every other kernels_*.c gives these bits.  Slow on x86-64 without FMA in the
 * compiler flags (fmaf is then a call), which is wilful: this file is built for any CPU. */
#include "core/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    float lane[RNN_LANES];
} vf;

#define EACH_LANE(expression)                                                                      \
    do {                                                                                           \
        for (int l = 0; l < RNN_LANES; l++)                                                        \
            result.lane[l] = (expression);                                                         \
    } while (0)

static inline vf vf_load(const float *p)
{
    vf result;

    memcpy(&result, p, sizeof result);
    return result;
}

static inline void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

static inline vf vf_set(float x)
{
    vf result;

    EACH_LANE(x);
    return result;
}

static inline vf vf_add(vf a, vf b)
{
    vf result;

    EACH_LANE(a.lane[l] + b.lane[l]);
    return result;
}

static inline vf vf_sub(vf a, vf b)
{
    vf result;

    EACH_LANE(a.lane[l] - b.lane[l]);
    return result;
}

static inline vf vf_mul(vf a, vf b)
{
    vf result;

    EACH_LANE(a.lane[l] * b.lane[l]);
    return result;
}

static inline vf vf_div(vf a, vf b)
{
    vf result;

    EACH_LANE(a.lane[l] / b.lane[l]);
    return result;
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    vf result;

    EACH_LANE(fmaf(a.lane[l], b.lane[l], c.lane[l]));
    return result;
}

static inline vf vf_max(vf a, vf b)
{
    vf result;

    EACH_LANE(a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]);
    return result;
}

static inline vf vf_min(vf a, vf b)
{
    vf result;

    EACH_LANE(a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]);
    return result;
}

static inline vf vf_less(vf a, vf b, vf x, vf y)
{
    vf result;

    EACH_LANE(a.lane[l] < b.lane[l] ? x.lane[l] : y.lane[l]);
    return result;
}

static inline vf vf_abs(vf a)
{
    vf result;

    EACH_LANE(fabsf(a.lane[l]));
    return result;
}

static inline vf vf_sign_of(vf a, vf s)
{
    vf result;

    EACH_LANE(copysignf(a.lane[l], s.lane[l]));
    return result;
}

static inline vf vf_exponent(vf t)
{
    uint32_t bits[RNN_LANES];
    vf result;

    memcpy(bits, &t, sizeof bits);
    for (int l = 0; l < RNN_LANES; l++)
        bits[l] <<= 23;
    memcpy(&result, bits, sizeof result);
    return result;
}

#define VF_ACCUMULATE(c, a, b) ((c) = vf_fma((a), (b), (c)))

#define TILE_ROWS              1
#define TILE_COLUMNS(rows)     ((size_t)1)
#define FOR_TILES(X)           X(1, 1)
#define HAS_PAIR               0

#include "core/kernels_template.h"

const struct rnn_kernels rnn_kernels_scalar = KERNELS_TABLE("scalar");
