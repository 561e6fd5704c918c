/* See said.h. */
#include "cli/said.h"

#include <math.h>
#include <stdlib.h>

#include "cli/output.h"

int said_init(struct said *said, const struct engine *engine, int64_t top_k)
{
    size_t n = engine->info->output_size;

    *said = (struct said){.engine = engine, .top_k = (size_t)top_k};
    if (engine->info->activation == RNN_HEAD_SIGMOID || said->top_k > n)
        said->top_k = n;
    said->activated = calloc(n, sizeof *said->activated);
    said->top = calloc(n, sizeof *said->top);
    return said->activated && said->top ? CLI_OK : cli_fail("out of memory");
}

void said_free(struct said *said)
{
    free(said->activated);
    free(said->top);
    *said = (struct said){0};
}

/* ---- JSON ---- */

static double log_sigmoid(double z)
{
    return z >= 0 ? -log1p(exp(-z)) : z - log1p(exp(z));
}

static void json_top(struct said *said, struct buf *out)
{
    const struct engine *engine = said->engine;
    bool sigmoid = engine->info->activation == RNN_HEAD_SIGMOID;
    size_t n_out = engine->info->output_size;
    size_t n = rnn_top(engine->logits, n_out, said->top_k, said->top);
    double sum = sigmoid ? 0 : rnn_log_sum_exp(engine->logits, n_out);

    buf_puts(out, ",\"top\":[");
    for (size_t i = 0; i < n; i++) {
        double z = (double)engine->logits[said->top[i]];

        buf_puts(out, i ? ",{" : "{");
        output_json_token(out, engine, said->top[i]);
        buf_puts(out, ",\"probability\":");
        buf_f32(out, said->activated[said->top[i]]);
        buf_puts(out, ",\"logprob\":");
        buf_f32(out, (float)(sigmoid ? log_sigmoid(z) : z - sum));
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

static void json_array(struct buf *out, const char *name, const float *values, size_t n)
{
    buf_puts(out, name);
    buf_f32_array(out, values, n);
}

static void json_pairs(struct buf *out, const char *name, const float *x, size_t n)
{
    buf_puts(out, name);
    for (size_t i = 0; i < n; i++) {
        const float pair[] = {x[i], x[n + i]};

        buf_puts(out, i ? "," : "");
        buf_f32_array(out, pair, 2);
    }
    buf_putc(out, ']');
}

static void json_mixture(const struct said *said, struct buf *out)
{
    size_t pen = said->engine->info->pen, n = said->engine->info->components;
    const float *m = said->activated + pen;

    json_array(out, ",\"pen\":", said->activated, pen);
    json_array(out, ",\"mixture\":{\"weights\":", m, n);
    json_pairs(out, ",\"mean\":[", m + n, n);
    json_pairs(out, ",\"std\":[", m + 3 * n, n);
    json_array(out, ",\"correlation\":", m + 5 * n, n);
    buf_putc(out, '}');
}

void said_json(struct said *said, struct buf *out)
{
    const struct rnn_model_info *info = said->engine->info;

    rnn_activate(said->engine->model, said->engine->logits, said->activated);
    switch (info->activation) {
    case RNN_HEAD_MIXTURE:
        json_mixture(said, out);
        break;
    case RNN_HEAD_GAUSSIAN:
        json_array(out, ",\"values\":", said->activated, info->n_values);
        json_array(out, ",\"std\":", said->activated + info->n_values, info->n_values);
        break;
    case RNN_HEAD_NONE:
        json_array(out, ",\"values\":", said->activated, info->n_values);
        break;
    default:
        json_top(said, out);
    }
}

/* ---- For people ---- */

static void plain_top(struct said *said, struct buf *out)
{
    const struct engine *engine = said->engine;
    size_t n = rnn_top(engine->logits, engine->info->output_size, said->top_k, said->top);

    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%9.6f  ", (double)said->activated[said->top[i]]);
        output_plain_token(out, engine, said->top[i]);
        buf_putc(out, '\n');
    }
}

static void plain_values(const float *values, const float *deviations, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        buf_puts(out, i ? " " : "");
        buf_f32(out, values[i]);
        if (deviations) {
            buf_puts(out, " ±");
            buf_f32(out, deviations[i]);
        }
    }
    buf_putc(out, '\n');
}

static void plain_mixture(const struct said *said, struct buf *out)
{
    size_t pen = said->engine->info->pen, n = said->engine->info->components;
    const float *m = said->activated + pen;

    buf_puts(out, "pen         ");
    plain_values(said->activated, NULL, pen, out);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%9.6f  x %.6g ±%.6g  y %.6g ±%.6g  correlation %.6g\n", (double)m[i],
                   (double)m[n + i], (double)m[3 * n + i], (double)m[2 * n + i],
                   (double)m[4 * n + i], (double)m[5 * n + i]);
}

void said_plain(struct said *said, struct buf *out)
{
    const struct rnn_model_info *info = said->engine->info;

    rnn_activate(said->engine->model, said->engine->logits, said->activated);
    switch (info->activation) {
    case RNN_HEAD_MIXTURE:
        plain_mixture(said, out);
        break;
    case RNN_HEAD_GAUSSIAN:
        plain_values(said->activated, said->activated + info->n_values, info->n_values, out);
        break;
    case RNN_HEAD_NONE:
        plain_values(said->activated, NULL, info->n_values, out);
        break;
    default:
        plain_top(said, out);
    }
}
