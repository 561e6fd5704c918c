/* The kernels for AVX2 with FMA: a vector is two registers of eight.  Sixteen registers hold a tile
 * of six rows by one vector, or of one row by four.
 *
 * The multiply-adds of the tiles are inline assembly: gcc 12 turns the intrinsic on an array of
 * accumulators into register copies and spills. */
#include "core/kernels.h"

#include <immintrin.h>

typedef struct {
    __m256 low, high;
} vf;

static inline vf vf_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

static inline void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
}

static inline vf vf_set(float x)
{
    __m256 v = _mm256_set1_ps(x);

    return (vf){v, v};
}

static inline vf vf_add(vf a, vf b)
{
    return (vf){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}

static inline vf vf_sub(vf a, vf b)
{
    return (vf){_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}

static inline vf vf_mul(vf a, vf b)
{
    return (vf){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

static inline vf vf_div(vf a, vf b)
{
    return (vf){_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return (vf){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

static inline vf vf_max(vf a, vf b)
{
    return (vf){_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}

static inline vf vf_min(vf a, vf b)
{
    return (vf){_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}

static inline __m256 less_half(__m256 a, __m256 b, __m256 x, __m256 y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

static inline vf vf_less(vf a, vf b, vf x, vf y)
{
    return (vf){less_half(a.low, b.low, x.low, y.low), less_half(a.high, b.high, x.high, y.high)};
}

static inline vf vf_abs(vf a)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);

    return (vf){_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}

static inline vf vf_sign_of(vf a, vf s)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    vf size = vf_abs(a);

    return (vf){_mm256_or_ps(size.low, _mm256_and_ps(sign, s.low)),
                _mm256_or_ps(size.high, _mm256_and_ps(sign, s.high))};
}

static inline __m256 exponent_half(__m256 t)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
}

static inline vf vf_exponent(vf t)
{
    return (vf){exponent_half(t.low), exponent_half(t.high)};
}

#define ACCUMULATE_HALF(c, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "xm"(b))
#define VF_ACCUMULATE(c, a, b)                                                                     \
    do {                                                                                           \
        vf weight_ = (b);                                                                          \
                                                                                                   \
        ACCUMULATE_HALF((c).low, (a).low, weight_.low);                                            \
        ACCUMULATE_HALF((c).high, (a).high, weight_.high);                                         \
    } while (0)

#define TILE_ROWS 6
static const unsigned char tile_columns[TILE_ROWS + 1] = {0, 4, 2, 2, 1, 1, 1};
#define TILE_COLUMNS(rows) ((size_t)tile_columns[rows])
#define FOR_TILES(X)                                                                               \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(2, 1) X(2, 2) X(3, 1) X(3, 2) X(4, 1) X(5, 1) X(6, 1)
#define HAS_PAIR 0

#include "core/kernels_template.h"

const struct rnn_kernels rnn_kernels_avx2 = KERNELS_TABLE("avx2");
