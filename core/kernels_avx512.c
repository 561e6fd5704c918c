/* The kernels for AVX-512F: a vector is one register.  Of thirty-two registers a tile of six rows
 * by four vectors takes 24 for sums, 4 for weights and one for the input; a single row takes two
 * blocks at once, so that eight chains hide the latency of the multiply-add.
 *
 * The multiply-adds of the tiles are inline assembly: gcc 12 turns the intrinsic on an array of
 * accumulators into register copies and spills. */
#include "core/kernels.h"

#include <immintrin.h>

typedef __m512 vf;

static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

static inline vf vf_less(vf a, vf b, vf x, vf y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}

static inline __m512i bits_of(vf a)
{
    return _mm512_castps_si512(a);
}

static inline vf vf_abs(vf a)
{
    return _mm512_castsi512_ps(_mm512_and_si512(bits_of(a), _mm512_set1_epi32(0x7fffffff)));
}

static inline vf vf_sign_of(vf a, vf s)
{
    /* Bitwise choice between a and s under the mask of the sign: 0xd8 is "c ? b : a". */
    __m512i sign = _mm512_set1_epi32((int)0x80000000u);

    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(bits_of(a), bits_of(s), sign, 0xd8));
}

static inline vf vf_exponent(vf t)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits_of(t), 23));
}

#define VF_ACCUMULATE(c, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "vm"(b))

#define TILE_ROWS              6
#define TILE_COLUMNS(rows)     ((size_t)4)
#define TILES_OF(X, ROWS)      X(ROWS, 1) X(ROWS, 2) X(ROWS, 3) X(ROWS, 4)
#define FOR_TILES(X)                                                                               \
    TILES_OF(X, 1) TILES_OF(X, 2) TILES_OF(X, 3) TILES_OF(X, 4) TILES_OF(X, 5) TILES_OF(X, 6)
#define HAS_PAIR 1

#include "core/kernels_template.h"

const struct rnn_kernels rnn_kernels_avx512 = KERNELS_TABLE("avx512");
