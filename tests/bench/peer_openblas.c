/* A peer: the same step by hand on OpenBLAS.
 *
 * Usage: peer_openblas CELL HIDDEN BATCH…      (CELL: rnn, lstm, gru)
 * sgemv for one sequence and sgemm for more, on input and state side by side where the cell allows
 * it (a GRU needs its two products apart), then a loop over the gates.  This file is compiled with
 * -march=native -ffast-math, so that the compiler turns the loop's exp into vector calls: the peer
 * gets the best that a careful user of the library has.  OPENBLAS_NUM_THREADS=1 is the caller's. */
#include <cblas.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "tests/bench/bench.h"

enum cell { CELL_RNN = 1, CELL_GRU = 3, CELL_LSTM = 4 }; /* the number of gates */

struct layer {
    float *weights; /* [gates * h][2 * h], input's columns first */
    float *bias;    /* [gates * h] */
    float *xh;      /* [batch][2 * h], input beside state */
    float *c;       /* [batch][h], LSTM */
};

struct net {
    enum cell cell;
    size_t h, batch;
    struct layer layers[BENCH_LAYERS];
    float *products;       /* [batch][gates * h] */
    float *state_products; /* [batch][gates * h], GRU */
    float *top;            /* [batch][h] */
    float *head, *logits;  /* [outputs][h], [batch][outputs] */
};

static float *make(size_t n, float scale)
{
    float *values = aligned_alloc(64, (n * sizeof *values + 63) / 64 * 64);

    if (!values)
        exit(1);
    bench_fill(values, n, scale);
    return values;
}

/* out[batch][rows] = in[batch][stride: columns] * weights[rows][ld: columns]^T */
static void product(size_t batch, size_t rows, size_t columns, const float *in, size_t stride,
                    const float *weights, size_t ld, float *out)
{
    if (batch == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)rows, (int)columns, 1, weights, (int)ld, in,
                    1, 0, out, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)batch, (int)rows, (int)columns, 1,
                    in, (int)stride, weights, (int)ld, 0, out, (int)rows);
}

static inline float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

static inline float fast_tanh(float x)
{
    return 1 - 2 / (1 + expf(2 * x));
}

static void gates_rnn(size_t n, const float *restrict p, const float *restrict b, float *restrict h)
{
    for (size_t j = 0; j < n; j++)
        h[j] = fast_tanh(p[j] + b[j]);
}

static void gates_lstm(size_t n, const float *restrict p, const float *restrict b,
                       float *restrict c, float *restrict h)
{
    for (size_t j = 0; j < n; j++) {
        float i = sigmoid(p[j] + b[j]), f = sigmoid(p[n + j] + b[n + j]);
        float g = fast_tanh(p[2 * n + j] + b[2 * n + j]), o = sigmoid(p[3 * n + j] + b[3 * n + j]);

        c[j] = f * c[j] + i * g;
        h[j] = o * fast_tanh(c[j]);
    }
}

static void gates_gru(size_t n, const float *restrict p, const float *restrict q,
                      const float *restrict b, float *restrict h)
{
    for (size_t j = 0; j < n; j++) {
        float r = sigmoid(p[j] + q[j] + b[j]), z = sigmoid(p[n + j] + q[n + j] + b[n + j]);
        float m = fast_tanh(p[2 * n + j] + b[2 * n + j] + r * q[2 * n + j]);

        h[j] = (1 - z) * m + z * h[j];
    }
}

static void gates(const struct net *net, const struct layer *layer, size_t row)
{
    size_t n = net->h, wide = net->cell * n;
    const float *p = net->products + row * wide;
    float *h = layer->xh + row * 2 * n + n;

    if (net->cell == CELL_LSTM)
        gates_lstm(n, p, layer->bias, layer->c + row * n, h);
    else if (net->cell == CELL_GRU)
        gates_gru(n, p, net->state_products + row * wide, layer->bias, h);
    else
        gates_rnn(n, p, layer->bias, h);
}

static void step(void *arg)
{
    struct net *net = arg;
    size_t n = net->h, wide = net->cell * n;

    for (size_t k = 0; k < BENCH_LAYERS; k++) {
        struct layer *layer = &net->layers[k];
        bool apart = net->cell == CELL_GRU;

        product(net->batch, wide, apart ? n : 2 * n, layer->xh, 2 * n, layer->weights, 2 * n,
                net->products);
        if (apart)
            product(net->batch, wide, n, layer->xh + n, 2 * n, layer->weights + n, 2 * n,
                    net->state_products);
        for (size_t i = 0; i < net->batch; i++) {
            float *next =
                k + 1 < BENCH_LAYERS ? net->layers[k + 1].xh + i * 2 * n : net->top + i * n;

            gates(net, layer, i);
            memcpy(next, layer->xh + i * 2 * n + n, n * sizeof *next);
        }
    }
    product(net->batch, BENCH_OUTPUTS, n, net->top, n, net->head, n, net->logits);
}

static double measure(enum cell cell, size_t h, size_t batch)
{
    struct net net = {.cell = cell, .h = h, .batch = batch};
    float scale = 1 / sqrtf((float)h);
    double us;

    for (size_t k = 0; k < BENCH_LAYERS; k++)
        net.layers[k] = (struct layer){make(cell * h * 2 * h, scale), make(cell * h, scale),
                                       make(batch * 2 * h, 1), make(batch * h, 0)};
    net.products = make(batch * cell * h, 0);
    net.state_products = make(batch * cell * h, 0);
    net.top = make(batch * h, 0);
    net.head = make(BENCH_OUTPUTS * h, scale);
    net.logits = make(batch * BENCH_OUTPUTS, 0);
    us = bench_measure(step, &net);
    for (size_t k = 0; k < BENCH_LAYERS; k++) {
        free(net.layers[k].weights);
        free(net.layers[k].bias);
        free(net.layers[k].xh);
        free(net.layers[k].c);
    }
    free(net.products);
    free(net.state_products);
    free(net.top);
    free(net.head);
    free(net.logits);
    return us;
}

int main(int argc, char **argv)
{
    enum cell cell;
    size_t h;

    if (argc < 4) {
        fprintf(stderr, "usage: peer_openblas rnn|lstm|gru HIDDEN BATCH...\n");
        return 2;
    }
    cell = !strcmp(argv[1], "lstm") ? CELL_LSTM : !strcmp(argv[1], "gru") ? CELL_GRU : CELL_RNN;
    h = strtoul(argv[2], NULL, 10);
    for (char **batch = argv + 3; *batch; batch++) {
        size_t n = strtoul(*batch, NULL, 10);

        bench_print("OpenBLAS", argv[1], h, n, measure(cell, h, n));
    }
    return 0;
}
