/* The arithmetic of the engine, written once, over a vector `vf` of sixteen floats.
 *
 * A kernels_*.c defines vf and the operations below it, then includes this file, which ends in
 * KERNELS_TABLE.  Results are the same in every one of them because each operation is: additions,
 * products, quotients and fused multiply-adds are rounded once, min and max take the second operand
 * where the first is not strictly on its side, and no sum is ever split or reordered.
 *
 *     vf_load(p) vf_store(p, v) vf_set(x)               any alignment
 *     vf_add vf_sub vf_mul vf_div (a, b)
 *     vf_fma(a, b, c)       a b + c        VF_ACCUMULATE(c, a, b)     c = a b + c, in place
 *     vf_max(a, b)          a > b ? a : b  vf_min(a, b)               a < b ? a : b
 *     vf_less(a, b, x, y)   a < b ? x : y
 *     vf_abs(a)  vf_sign_of(a, s)          magnitude of a, sign of s
 *     vf_exponent(t)        the float whose bits are those of t, shifted left by 23
 *     TILE_ROWS             rows of the largest register tile
 *     TILE_COLUMNS(rows)    vectors of outputs beside so many rows
 *     FOR_TILES(X)          X(rows, columns) for each pair with rows ≤ TILE_ROWS, columns ≤
 *                           TILE_COLUMNS(rows)
 *     HAS_PAIR              1: a single row takes two blocks at once, to hide latency
 *
 * It is included, not compiled, so its functions are static.  No thread, no memory. */

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/kernels.h"

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* ---- Products ---- */

/* Bytes ahead of the line in use; a streaming weight pass is bound by the cache, not by arithmetic.
 */
#define PREFETCH_BYTES 2048

/* Outputs out[r][0 … 16 columns) of `rows` rows.  w: k lines, `line` floats apart.  The
 * accumulators are only ever indexed by constants, so that they stay in registers. */
typedef void tile_fn(const float *w, size_t k, size_t line, const float *const *x,
                     float *const *out, size_t at);

#define DEFINE_TILE(ROWS, COLUMNS)                                                                 \
    static void tile_##ROWS##_##COLUMNS(const float *w, size_t k, size_t line,                     \
                                        const float *const *x, float *const *out, size_t at)       \
    {                                                                                              \
        vf sum[ROWS][COLUMNS];                                                                     \
        const float *in[ROWS];                                                                     \
                                                                                                   \
        UNROLL for (int r = 0; r < ROWS; r++)                                                      \
        {                                                                                          \
            in[r] = x[r];                                                                          \
            UNROLL for (int c = 0; c < COLUMNS; c++) sum[r][c] =                                   \
                vf_load(out[r] + at + c * RNN_LANES);                                              \
        }                                                                                          \
        for (size_t i = 0; i < k; i++, w += line) {                                                \
            vf weight[COLUMNS];                                                                    \
                                                                                                   \
            UNROLL for (int c = 0; c < COLUMNS; c++)                                               \
            {                                                                                      \
                __builtin_prefetch((const char *)(w + c * RNN_LANES) + PREFETCH_BYTES);            \
                weight[c] = vf_load(w + c * RNN_LANES);                                            \
            }                                                                                      \
            UNROLL for (int r = 0; r < ROWS; r++)                                                  \
            {                                                                                      \
                vf input = vf_set(in[r][i]);                                                       \
                                                                                                   \
                UNROLL for (int c = 0; c < COLUMNS; c++)                                           \
                    VF_ACCUMULATE(sum[r][c], input, weight[c]);                                    \
            }                                                                                      \
        }                                                                                          \
        UNROLL for (int r = 0; r < ROWS; r++)                                                      \
        {                                                                                          \
            UNROLL for (int c = 0; c < COLUMNS; c++)                                               \
                vf_store(out[r] + at + c * RNN_LANES, sum[r][c]);                                  \
        }                                                                                          \
    }

FOR_TILES(DEFINE_TILE)

#define TILE_ENTRY(ROWS, COLUMNS) [ROWS][COLUMNS] = tile_##ROWS##_##COLUMNS,
static tile_fn *const tiles[TILE_ROWS + 1][5] = {FOR_TILES(TILE_ENTRY)};

#if HAS_PAIR
/* One row, two neighbouring blocks of `columns` vectors: twice the chains in flight. */
#define DEFINE_PAIR(COLUMNS)                                                                       \
    static void pair_##COLUMNS(const float *w0, const float *w1, size_t k, const float *x,         \
                               float *out0, float *out1)                                           \
    {                                                                                              \
        vf sum0[COLUMNS], sum1[COLUMNS];                                                           \
                                                                                                   \
        UNROLL for (int c = 0; c < COLUMNS; c++)                                                   \
        {                                                                                          \
            sum0[c] = vf_load(out0 + c * RNN_LANES);                                               \
            sum1[c] = vf_load(out1 + c * RNN_LANES);                                               \
        }                                                                                          \
        for (size_t i = 0; i < k; i++) {                                                           \
            vf input = vf_set(x[i]);                                                               \
                                                                                                   \
            UNROLL for (int c = 0; c < COLUMNS; c++)                                               \
            {                                                                                      \
                __builtin_prefetch((const char *)(w0 + c * RNN_LANES) + PREFETCH_BYTES);           \
                VF_ACCUMULATE(sum0[c], input, vf_load(w0 + c * RNN_LANES));                        \
            }                                                                                      \
            UNROLL for (int c = 0; c < COLUMNS; c++)                                               \
            {                                                                                      \
                __builtin_prefetch((const char *)(w1 + c * RNN_LANES) + PREFETCH_BYTES);           \
                VF_ACCUMULATE(sum1[c], input, vf_load(w1 + c * RNN_LANES));                        \
            }                                                                                      \
            w0 += (COLUMNS)*RNN_LANES;                                                             \
            w1 += (COLUMNS)*RNN_LANES;                                                             \
        }                                                                                          \
        UNROLL for (int c = 0; c < COLUMNS; c++)                                                   \
        {                                                                                          \
            vf_store(out0 + c * RNN_LANES, sum0[c]);                                               \
            vf_store(out1 + c * RNN_LANES, sum1[c]);                                               \
        }                                                                                          \
    }

DEFINE_PAIR(3)
DEFINE_PAIR(4)

/* As many whole pairs as there are; returns the number of blocks done. */
static size_t product_pairs(const struct rnn_panels *panels, const float *x, float *out)
{
    size_t whole = panels->n_blocks - (panels->last_width != panels->width);
    size_t size = panels->k * panels->width * RNN_LANES;
    size_t b;

    if (panels->width < 3)
        return 0;
    for (b = 0; b + 2 <= whole; b += 2) {
        const float *w = panels->w + b * size;
        float *at = out + b * RNN_BLOCK + panels->offset;

        if (panels->width == 4)
            pair_4(w, w + size, panels->k, x, at, at + RNN_BLOCK);
        else
            pair_3(w, w + size, panels->k, x, at, at + RNN_BLOCK);
    }
    return b;
}
#endif

/* Rows of the next tile: full tiles, then two that share what is left, so that none is thin. */
static size_t tile_rows(size_t left)
{
    if (left <= TILE_ROWS)
        return left;
    return left < 2 * TILE_ROWS ? (left + 1) / 2 : TILE_ROWS;
}

static void product_block(const struct rnn_panels *panels, size_t b, const float *const *x,
                          float *const *out, size_t n_rows)
{
    size_t width = b + 1 == panels->n_blocks ? panels->last_width : panels->width;
    size_t line = width * RNN_LANES;
    const float *w = panels->w + b * panels->k * panels->width * RNN_LANES;
    size_t at = b * RNN_BLOCK + panels->offset;
    size_t rows;

    for (size_t row = 0; row < n_rows; row += rows) {
        size_t columns;

        rows = tile_rows(n_rows - row);
        for (size_t c = 0; c < width; c += columns) {
            columns = width - c < TILE_COLUMNS(rows) ? width - c : TILE_COLUMNS(rows);
            tiles[rows][columns](w + c * RNN_LANES, panels->k, line, x + row, out + row,
                                 at + c * RNN_LANES);
        }
    }
}

static void product(const struct rnn_panels *panels, const float *const *x, float *const *out,
                    size_t n_rows)
{
    size_t b = 0;

#if HAS_PAIR
    if (n_rows == 1)
        b = product_pairs(panels, x[0], out[0]);
#endif
    for (; b < panels->n_blocks; b++)
        product_block(panels, b, x, out, n_rows);
}

/* ---- Exponential, logistic function, hyperbolic tangent ---- */

/* e^y for y in [-87, 0], as scale * (1 + rest): y = n ln 2 + r with |r| ≤ ln 2 / 2, scale = 2^n,
 * rest = e^r - 1.  Kept apart because tanh needs e^y - 1, which must not cancel near 0.
 *
 * n comes from adding 1.5 * 2^23, which rounds to the nearest integer and leaves it in the low bits
 * of the sum; 127 more makes it the exponent field of 2^n.  ln 2 is split so that n times its upper
 * part is exact.  The polynomial is (e^r - 1 - r) / r^2, off by less than 2.5e-8 of the result. */
struct expo {
    vf scale, rest;
};

#define EXP_LOWEST (-87.0f) /* still a normal float after rounding: e^-87 > 2^-126 */

static inline struct expo expo(vf y)
{
    const vf magic = vf_set(12582912.0f + 127.0f);
    vf t = vf_fma(y, vf_set(1.44269502f), magic);
    vf n = vf_sub(t, magic);
    vf r = vf_fma(n, vf_set(-0.693359375f), y);
    vf p = vf_set(0.00139263761f);

    r = vf_fma(n, vf_set(2.12194442e-4f), r);
    p = vf_fma(p, r, vf_set(0.00836333353f));
    p = vf_fma(p, r, vf_set(0.0416665524f));
    p = vf_fma(p, r, vf_set(0.166665763f));
    p = vf_fma(p, r, vf_set(0.5f));
    return (struct expo){vf_exponent(t), vf_fma(vf_mul(r, r), p, r)};
}

/* A quotient that is not divided yet, so that products of several take one division. */
struct ratio {
    vf top, bottom;
};

/* 1 / (1 + e^-x), from e^-|x|: relatively accurate at both ends. */
static inline struct ratio logistic(vf x)
{
    const vf one = vf_set(1.0f);
    struct expo e = expo(vf_max(vf_sub(vf_set(0.0f), vf_abs(x)), vf_set(EXP_LOWEST)));
    vf small = vf_fma(e.scale, e.rest, e.scale);

    return (struct ratio){vf_less(x, vf_set(0.0f), small, one), vf_add(one, small)};
}

/* tanh x = sign(x) m / (2 - m) with m = 1 - e^-2|x|. */
static inline struct ratio tangent(vf x)
{
    struct expo e = expo(vf_max(vf_mul(vf_abs(x), vf_set(-2.0f)), vf_set(EXP_LOWEST)));
    vf minus_m = vf_fma(e.scale, e.rest, vf_sub(e.scale, vf_set(1.0f)));

    return (struct ratio){vf_sign_of(minus_m, x), vf_add(vf_set(2.0f), minus_m)};
}

static inline vf divided(struct ratio a)
{
    return vf_div(a.top, a.bottom);
}

static inline vf both_divided(struct ratio a, struct ratio b)
{
    return vf_div(vf_mul(a.top, b.top), vf_mul(a.bottom, b.bottom));
}

/* ---- Activations ---- */

/* Into ± FLT_MAX; what is no number counts as the largest. */
static inline vf bounded(vf x)
{
    return vf_max(vf_min(x, vf_set(FLT_MAX)), vf_set(-FLT_MAX));
}

static inline struct ratio whole(vf x)
{
    return (struct ratio){x, vf_set(1.0f)};
}

static inline vf positive(vf x)
{
    return vf_max(vf_min(x, vf_set(FLT_MAX)), vf_set(0.0f));
}

static inline vf within_one(vf x)
{
    return vf_max(vf_min(x, vf_set(1.0f)), vf_set(0.0f));
}

/* e^x - 1 for x ≤ 0; a larger one counts as 0. */
static inline vf expo_minus_one(vf x)
{
    struct expo e = expo(vf_max(vf_min(x, vf_set(0.0f)), vf_set(EXP_LOWEST)));

    return vf_fma(e.scale, e.rest, vf_sub(e.scale, vf_set(1.0f)));
}

/* An activation without a shape of its own: any finite alpha and beta.  x is finite. */
static inline vf shaped(const struct rnn_activation *f, vf x)
{
    const vf zero = vf_set(0.0f), alpha = vf_set(f->alpha), beta = vf_set(f->beta);

    switch (f->kind) {
    case RNN_HARD_SIGMOID:
        return within_one(vf_fma(alpha, x, beta));
    case RNN_LEAKY_RELU:
        return vf_less(x, zero, bounded(vf_mul(alpha, x)), x);
    case RNN_THRESHOLDED_RELU:
        return vf_less(alpha, x, x, zero);
    case RNN_ELU:
        return vf_less(x, zero, vf_mul(alpha, expo_minus_one(x)), x);
    case RNN_SOFTSIGN:
        return vf_div(x, vf_add(vf_set(1.0f), vf_abs(x)));
    default:
        return bounded(vf_fma(alpha, x, beta));
    }
}

/* Any activation.  Top and bottom are finite, the bottom is 1 to 2. */
static inline struct ratio activation(const struct rnn_activation *f, vf x)
{
    struct ratio result;

    switch (f->kind) {
    case RNN_TANH:
        return tangent(x);
    case RNN_SIGMOID:
        return logistic(x);
    case RNN_RELU:
        return whole(positive(x));
    case RNN_SCALED_TANH:
        result = tangent(vf_mul(vf_set(f->beta), bounded(x)));
        result.top = vf_mul(vf_set(f->alpha), result.top);
        return result;
    default:
        return whole(shaped(f, bounded(x)));
    }
}

/* 1 - f(x); of the logistic function as it is at -x, which does not cancel. */
static inline struct ratio complement(const struct rnn_activation *f, vf x)
{
    struct ratio result;

    if (f->kind == RNN_SIGMOID)
        return logistic(vf_sub(vf_set(0.0f), x));
    result = activation(f, x);
    result.top = vf_sub(result.bottom, result.top);
    return result;
}

/* ---- Cells ---- */

static void cell_lstm(const float *gates, float *c, float *out, size_t n)
{
    for (size_t v = 0; v < n; v++, gates += RNN_BLOCK, c += RNN_LANES, out += RNN_LANES) {
        struct ratio in = logistic(vf_load(gates));
        vf forget = divided(logistic(vf_load(gates + RNN_LANES)));
        struct ratio candidate = tangent(vf_load(gates + 2 * RNN_LANES));
        struct ratio open = logistic(vf_load(gates + 3 * RNN_LANES));
        vf cell = vf_fma(forget, vf_load(c), both_divided(in, candidate));

        vf_store(c, cell);
        vf_store(out, both_divided(open, tangent(cell)));
    }
}

/* (1 - z) n + z h is taken as h + σ(-z) (n - h), which leaves h as it is where the gate is shut. */
static void cell_gru(const float *gates, const float *h, float *out, size_t n)
{
    for (size_t v = 0; v < n; v++, gates += RNN_BLOCK, h += RNN_LANES, out += RNN_LANES) {
        vf reset = divided(logistic(vf_load(gates + RNN_LANES)));
        vf renew = divided(logistic(vf_sub(vf_set(0.0f), vf_load(gates + 2 * RNN_LANES))));
        vf fresh = divided(tangent(vf_fma(reset, vf_load(gates + 3 * RNN_LANES), vf_load(gates))));
        vf old = vf_load(h);

        vf_store(out, vf_fma(renew, vf_sub(fresh, old), old));
    }
}

/* A sum on its way into an activation. */
static inline vf clipped(const struct rnn_cell_settings *settings, vf x)
{
    const vf limit = vf_set(settings->clip);

    if (!(settings->clip > 0.0f))
        return x;
    return vf_max(vf_min(x, limit), vf_sub(vf_set(0.0f), limit));
}

/* A gate's sum, with what it sees of the cell state. */
static inline vf peeping(const struct rnn_cell_settings *settings, const float *sum,
                         const float *peephole, size_t at, vf c)
{
    vf x = vf_load(sum);

    if (peephole)
        x = vf_fma(vf_load(peephole + at), c, x);
    return clipped(settings, x);
}

static void cell_lstm_any(const struct rnn_cell_settings *settings, const float *const *peephole,
                          const float *gates, float *c, float *out, size_t n)
{
    const struct rnn_activation *gate = &settings->gate;

    for (size_t at = 0; at < n * RNN_LANES; at += RNN_LANES, gates += RNN_BLOCK) {
        vf old = vf_load(c + at);
        vf in = peeping(settings, gates, peephole[0], at, old);
        vf keep = peeping(settings, gates + RNN_LANES, peephole[1], at, old);
        vf fresh = clipped(settings, vf_load(gates + 2 * RNN_LANES));
        vf forget = divided(settings->input_forget ? complement(gate, in) : activation(gate, keep));
        vf add = both_divided(activation(gate, in), activation(&settings->candidate, fresh));
        vf cell = bounded(vf_fma(forget, old, bounded(add)));
        vf open = peeping(settings, gates + 3 * RNN_LANES, peephole[2], at, cell);
        vf shown = clipped(settings, cell);

        vf_store(c + at, cell);
        vf_store(out + at, bounded(both_divided(activation(gate, open),
                                                activation(&settings->output, shown))));
    }
}

/* From h towards the candidate, as far as the update gate lets it. */
static inline vf renewed(const struct rnn_cell_settings *settings, vf update, vf candidate, vf h)
{
    vf renew = divided(complement(&settings->gate, clipped(settings, update)));
    vf fresh = divided(activation(&settings->candidate, clipped(settings, candidate)));

    return bounded(vf_fma(renew, bounded(vf_sub(fresh, h)), h));
}

static void cell_gru_any(const struct rnn_cell_settings *settings, const float *gates,
                         const float *h, float *out, size_t n)
{
    for (size_t v = 0; v < n; v++, gates += RNN_BLOCK, h += RNN_LANES, out += RNN_LANES) {
        vf sum = clipped(settings, vf_load(gates + RNN_LANES));
        vf reset = divided(activation(&settings->gate, sum));
        vf candidate = vf_fma(reset, bounded(vf_load(gates + 3 * RNN_LANES)), vf_load(gates));

        vf_store(out, renewed(settings, vf_load(gates + 2 * RNN_LANES), candidate, vf_load(h)));
    }
}

static void cell_gru_reset(const struct rnn_cell_settings *settings, const float *gates,
                           const float *h, float *out, size_t n)
{
    for (size_t v = 0; v < n; v++, gates += RNN_BLOCK, h += RNN_LANES, out += RNN_LANES) {
        vf reset = divided(activation(&settings->gate, clipped(settings, vf_load(gates))));

        vf_store(out, bounded(vf_mul(reset, vf_load(h))));
    }
}

static void cell_gru_before(const struct rnn_cell_settings *settings, const float *gates,
                            const float *h, float *out, size_t n)
{
    for (size_t v = 0; v < n; v++, gates += RNN_BLOCK, h += RNN_LANES, out += RNN_LANES)
        vf_store(out, renewed(settings, vf_load(gates + RNN_LANES), vf_load(gates + 2 * RNN_LANES),
                              vf_load(h)));
}

/* ---- Arrays ---- */

/* The last n < 16 elements, the other lanes filled with `fill`. */
static inline vf load_tail(const float *in, size_t n, float fill)
{
    float lanes[RNN_LANES];

    for (size_t l = 0; l < RNN_LANES; l++)
        lanes[l] = l < n ? in[l] : fill;
    return vf_load(lanes);
}

static inline void store_tail(float *out, vf v, size_t n)
{
    float lanes[RNN_LANES];

    vf_store(lanes, v);
    memcpy(out, lanes, n * sizeof *out);
}

static inline vf map_tanh(vf x, vf unused)
{
    (void)unused;
    return divided(tangent(x));
}

static inline vf map_relu(vf x, vf unused)
{
    (void)unused;
    return positive(x);
}

static inline vf map_sigmoid(vf x, vf unused)
{
    (void)unused;
    return divided(logistic(x));
}

static inline vf map_exp_shifted(vf x, vf shift)
{
    const vf lowest = vf_set(EXP_LOWEST);
    vf y = vf_min(vf_sub(x, shift), vf_set(0.0f));
    struct expo e = expo(vf_max(y, lowest));

    return vf_less(y, lowest, vf_set(0.0f), vf_fma(e.scale, e.rest, e.scale));
}

static inline vf map_scale(vf x, vf divisor)
{
    return vf_div(x, divisor);
}

static inline vf map_clamp(vf x, vf limit)
{
    return vf_max(vf_min(x, limit), vf_sub(vf_set(0.0f), limit));
}

#define DEFINE_MAP(NAME)                                                                           \
    static inline __attribute__((always_inline)) void array_##NAME(const float *in, float with,    \
                                                                   float *out, size_t n)           \
    {                                                                                              \
        vf v = vf_set(with);                                                                       \
        size_t i;                                                                                  \
                                                                                                   \
        for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)                                            \
            vf_store(out + i, map_##NAME(vf_load(in + i), v));                                     \
        if (i < n)                                                                                 \
            store_tail(out + i, map_##NAME(load_tail(in + i, n - i, 0.0f), v), n - i);             \
    }

DEFINE_MAP(tanh)
DEFINE_MAP(relu)
DEFINE_MAP(sigmoid)
DEFINE_MAP(exp_shifted)
DEFINE_MAP(scale)
DEFINE_MAP(clamp)

static void apply_tanh(const float *in, float *out, size_t n)
{
    array_tanh(in, 0.0f, out, n);
}

static void apply_relu(const float *in, float *out, size_t n)
{
    array_relu(in, 0.0f, out, n);
}

static void apply_sigmoid(const float *in, float *out, size_t n)
{
    array_sigmoid(in, 0.0f, out, n);
}

static void apply_exp_shifted(const float *in, float shift, float *out, size_t n)
{
    array_exp_shifted(in, shift, out, n);
}

static void apply_scale(const float *in, float divisor, float *out, size_t n)
{
    array_scale(in, divisor, out, n);
}

static void apply_clamp(const float *in, float limit, float *out, size_t n)
{
    array_clamp(in, limit, out, n);
}

static void apply_activation(const struct rnn_activation *f, const float *in, float *out, size_t n)
{
    size_t i;

    if (f->kind == RNN_TANH) {
        apply_tanh(in, out, n);
        return;
    }
    for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)
        vf_store(out + i, divided(activation(f, vf_load(in + i))));
    if (i < n)
        store_tail(out + i, divided(activation(f, load_tail(in + i, n - i, 0.0f))), n - i);
}

/* ---- Arrays of two and three ---- */

static inline vf join_add(vf a, vf b, vf unused)
{
    (void)unused;
    return bounded(vf_add(a, b));
}

static inline vf join_multiply(vf a, vf b, vf unused)
{
    (void)unused;
    return bounded(vf_mul(a, b));
}

static inline vf join_larger(vf a, vf b, vf unused)
{
    (void)unused;
    return vf_max(a, b);
}

static inline vf join_affine(vf x, vf scale, vf shift)
{
    return bounded(vf_fma(x, scale, shift));
}

static inline vf join_standardize(vf x, vf mean, vf deviation)
{
    return bounded(vf_div(vf_sub(x, mean), deviation));
}

#define DEFINE_JOIN(NAME)                                                                          \
    static inline __attribute__((always_inline)) void arrays_##NAME(                               \
        const float *a, const float *b, const float *c, float *out, size_t n)                      \
    {                                                                                              \
        size_t i;                                                                                  \
                                                                                                   \
        for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)                                            \
            vf_store(out + i, join_##NAME(vf_load(a + i), vf_load(b + i), vf_load(c + i)));        \
        if (i < n)                                                                                 \
            store_tail(out + i,                                                                    \
                       join_##NAME(load_tail(a + i, n - i, 1.0f), load_tail(b + i, n - i, 1.0f),   \
                                   load_tail(c + i, n - i, 1.0f)),                                 \
                       n - i);                                                                     \
    }

DEFINE_JOIN(add)
DEFINE_JOIN(multiply)
DEFINE_JOIN(larger)
DEFINE_JOIN(affine)
DEFINE_JOIN(standardize)

static void join_arrays_add(const float *a, const float *b, float *out, size_t n)
{
    arrays_add(a, b, b, out, n);
}

static void join_arrays_multiply(const float *a, const float *b, float *out, size_t n)
{
    arrays_multiply(a, b, b, out, n);
}

static void join_arrays_larger(const float *a, const float *b, float *out, size_t n)
{
    arrays_larger(a, b, b, out, n);
}

static void join_arrays_affine(const float *x, const float *scale, const float *shift, float *out,
                               size_t n)
{
    arrays_affine(x, scale, shift, out, n);
}

static void join_arrays_standardize(const float *x, const float *mean, const float *deviation,
                                    float *out, size_t n)
{
    arrays_standardize(x, mean, deviation, out, n);
}

static void add_scaled(float s, const float *x, float *out, size_t n)
{
    vf by = vf_set(s);
    size_t i;

    for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)
        vf_store(out + i, join_affine(vf_load(x + i), by, vf_load(out + i)));
    if (i < n)
        store_tail(out + i,
                   join_affine(load_tail(x + i, n - i, 0.0f), by, load_tail(out + i, n - i, 0.0f)),
                   n - i);
}

/* ---- Reductions ---- */

static float reduce_max(const float *in, size_t n)
{
    vf best = vf_set(in[0]);
    float lanes[RNN_LANES];
    size_t i;

    for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)
        best = vf_max(vf_load(in + i), best);
    if (i < n)
        best = vf_max(load_tail(in + i, n - i, in[0]), best);
    vf_store(lanes, best);
    for (size_t half = RNN_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] = lanes[l] > lanes[l + half] ? lanes[l] : lanes[l + half];
    return lanes[0];
}

static inline float fold(vf sum)
{
    float lanes[RNN_LANES];

    vf_store(lanes, sum);
    for (size_t half = RNN_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

static float reduce_sum(const float *in, size_t n)
{
    vf sum = vf_set(0.0f);
    size_t i;

    for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)
        sum = vf_add(sum, vf_load(in + i));
    if (i < n)
        sum = vf_add(sum, load_tail(in + i, n - i, 0.0f));
    return fold(sum);
}

static float reduce_sum_exp_shifted(const float *in, float shift, size_t n)
{
    vf sum = vf_set(0.0f), by = vf_set(shift);
    size_t i;

    for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)
        sum = vf_add(sum, map_exp_shifted(vf_load(in + i), by));
    if (i < n)
        sum = vf_add(sum, map_exp_shifted(load_tail(in + i, n - i, -__builtin_inff()), by));
    return fold(sum);
}

static float reduce_dot(const float *a, const float *b, size_t n)
{
    vf sum = vf_set(0.0f);
    float total;
    size_t i;

    for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)
        sum = vf_fma(vf_load(a + i), vf_load(b + i), sum);
    if (i < n)
        sum = vf_fma(load_tail(a + i, n - i, 0.0f), load_tail(b + i, n - i, 0.0f), sum);
    total = fold(sum);
    total = total < FLT_MAX ? total : FLT_MAX;
    return total > -FLT_MAX ? total : -FLT_MAX;
}

static double fold_double(double lanes[RNN_LANES])
{
    for (size_t half = RNN_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

static double sum_in_double(const float *in, size_t n)
{
    double lanes[RNN_LANES] = {0};
    size_t i;

    for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)
        for (size_t l = 0; l < RNN_LANES; l++)
            lanes[l] += (double)in[i + l];
    for (size_t l = 0; i + l < n; l++)
        lanes[l] += (double)in[i + l];
    return fold_double(lanes);
}

static double squares_in_double(const float *in, double mean, size_t n)
{
    double lanes[RNN_LANES] = {0};
    size_t i;

    for (i = 0; i + RNN_LANES <= n; i += RNN_LANES)
        for (size_t l = 0; l < RNN_LANES; l++)
            lanes[l] += ((double)in[i + l] - mean) * ((double)in[i + l] - mean);
    for (size_t l = 0; i + l < n; l++)
        lanes[l] += ((double)in[i + l] - mean) * ((double)in[i + l] - mean);
    return fold_double(lanes);
}

static void layer_norm(const float *in, const float *weight, const float *bias, float epsilon,
                       float *out, size_t n)
{
    double mean = sum_in_double(in, n) / (double)n;
    double spread = squares_in_double(in, mean, n) / (double)n + (double)epsilon;
    double inverse = spread > 0.0 ? 1.0 / sqrt(spread) : 0.0;
    const double most = (double)FLT_MAX;

    for (size_t i = 0; i < n; i++) {
        double y = ((double)in[i] - mean) * inverse * (double)weight[i] + (double)bias[i];

        y = y < most ? y : most;
        out[i] = (float)(y > -most ? y : -most);
    }
}

#define KERNELS_TABLE(NAME)                                                                        \
    {                                                                                              \
        .name = NAME, .product = product, .lstm = cell_lstm, .gru = cell_gru,                      \
        .lstm_any = cell_lstm_any, .gru_any = cell_gru_any, .gru_reset = cell_gru_reset,           \
        .gru_before = cell_gru_before, .tanh = apply_tanh, .relu = apply_relu,                     \
        .sigmoid = apply_sigmoid, .activate = apply_activation, .clamp = apply_clamp,              \
        .add = join_arrays_add, .multiply = join_arrays_multiply, .larger = join_arrays_larger,    \
        .affine = join_arrays_affine, .standardize = join_arrays_standardize,                      \
        .add_scaled = add_scaled, .exp_shifted = apply_exp_shifted, .max = reduce_max,             \
        .sum = reduce_sum, .sum_exp_shifted = reduce_sum_exp_shifted, .dot = reduce_dot,           \
        .layer_norm = layer_norm, .scale = apply_scale                                             \
    }
