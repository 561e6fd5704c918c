/* rnnd bench: step time and tokens per second of a model, batch by batch.
 *
 * Each figure is the median of rounds of equal length.  Rows are what generation makes of them: own
 * states, random tokens (or frames), output head on; where a model has to see its whole input, they
 * are walks over inputs (cli/bench_rows.h).  The stream bound is the time in which this
 * machine, in the same run, reads as many bytes as the packed weights have; a
 * step reads each weight once, so at batch 1 it can hardly be faster. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/bench_rows.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/signals.h"

enum { ROUNDS_MAX = 101 };

static const size_t batches[] = {1, 4, 16, 64};
enum { N_BATCHES = sizeof batches / sizeof *batches };

static const struct cli_option options[] = {
    {"rounds", "N", "rounds for each batch, of which the median is shown (default: 9)"},
    {"round-ms", "MS", "length of a round (default: 50)"},
    {"json", NULL, "print JSON"},
    SETTINGS_OPTIONS,
    {NULL},
};

struct bench {
    struct engine engine;
    struct rnn_scratch *scratch;
    int64_t rounds, round_ms;
    struct bench_rows rows;
    double stream_ns;
    double step_ns[N_BATCHES];
};

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int64_t n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* ---- The stream bound ---- */

/* Reads all of it, in eight chains so that latency does not count. */
static uint64_t read_through(const uint64_t *words, size_t n)
{
    uint64_t sums[8] = {0}, sum = 0;

    for (size_t i = 0; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += words[i + j];
    for (size_t j = 0; j < 8; j++)
        sum += sums[j];
    return sum;
}

static int measure_stream(struct bench *b)
{
    size_t bytes = b->engine.info->weight_bytes - b->engine.info->table_bytes;
    size_t n = bytes / sizeof(uint64_t) + 8;
    uint64_t *words = calloc(n, sizeof *words);
    volatile uint64_t sink = 0;
    double times[ROUNDS_MAX];

    if (!words)
        return cli_fail("out of memory");
    memset(words, 1, n * sizeof *words);
    for (int64_t round = 0; round < b->rounds && !signals_arrived(); round++) {
        double start = now_ns(), end;
        size_t passes = 0;

        do {
            sink += read_through(words, n);
            passes++;
            end = now_ns();
        } while (end - start < (double)b->round_ms * 1e6 / 4);
        times[round] = (end - start) / (double)passes;
    }
    (void)sink;
    free(words);
    b->stream_ns = signals_arrived() ? 0 : median(times, b->rounds);
    return CLI_OK;
}

/* ---- Steps ---- */

static bool step(struct bench *b, size_t n)
{
    if (bench_rows_next(&b->rows, n) != CLI_OK)
        return false;
    rnn_step(b->engine.model, b->scratch, b->rows.rows, n);
    return true;
}

/* Into *ns; the exit status. */
static int measure_steps(struct bench *b, size_t n, double *ns)
{
    double times[ROUNDS_MAX];

    bench_rows_begin(&b->rows, n);
    if (!step(b, n)) /* warms up */
        return CLI_FAILURE;
    for (int64_t round = 0; round < b->rounds && !signals_arrived(); round++) {
        double start = now_ns(), end;
        size_t steps = 0;

        do {
            if (!step(b, n))
                return CLI_FAILURE;
            steps++;
            end = now_ns();
        } while (end - start < (double)b->round_ms * 1e6);
        times[round] = (end - start) / (double)steps;
    }
    *ns = signals_arrived() ? 0 : median(times, b->rounds);
    return CLI_OK;
}

/* ---- The report ---- */

static void put_plain(const struct bench *b, struct buf *out)
{
    const struct rnn_model_info *info = b->engine.info;
    size_t streamed = info->weight_bytes - info->table_bytes;

    buf_printf(out, "model    %s: %s, %zu x %zu, %" PRIu64 " parameters\n", info->name, info->cell,
               info->layers, info->hidden_size, info->parameters);
    buf_printf(out, "kernels  %s, one thread\n", rnn_kernels_name());
    buf_printf(out, "weights  %.2f MB packed", (double)streamed / 1e6);
    if (info->table_bytes > 0)
        buf_printf(out, ", and %.2f MB of token table", (double)info->table_bytes / 1e6);
    buf_printf(out, "\nbound    %.2f us to read them once (%.1f GB/s in this run)\n\n",
               b->stream_ns / 1e3, (double)streamed / b->stream_ns);
    buf_puts(out, "batch     step us   us a row     tokens/s   step / bound\n");
    for (size_t i = 0; i < N_BATCHES; i++)
        buf_printf(out, "%5zu  %10.2f %10.2f %12.0f %14.2f\n", batches[i], b->step_ns[i] / 1e3,
                   b->step_ns[i] / 1e3 / (double)batches[i],
                   (double)batches[i] * 1e9 / b->step_ns[i], b->step_ns[i] / b->stream_ns);
}

static void put_json(const struct bench *b, struct buf *out)
{
    const struct rnn_model_info *info = b->engine.info;

    buf_puts(out, "{\"model\":");
    buf_json_string(out, info->name, strlen(info->name));
    buf_printf(out,
               ",\"cell\":\"%s\",\"layers\":%zu,\"hidden_size\":%zu,\"parameters\":%" PRIu64
               ",\"kernels\":\"%s\",\"weight_bytes\":%zu,\"table_bytes\":%zu,\"rounds\":%" PRId64
               ",\"stream_bound_ns\":%.1f,\"batches\":[",
               info->cell, info->layers, info->hidden_size, info->parameters, rnn_kernels_name(),
               info->weight_bytes, info->table_bytes, b->rounds, b->stream_ns);
    for (size_t i = 0; i < N_BATCHES; i++)
        buf_printf(out, "%s{\"rows\":%zu,\"step_ns\":%.1f,\"tokens_per_second\":%.1f}",
                   i ? "," : "", batches[i], b->step_ns[i],
                   (double)batches[i] * 1e9 / b->step_ns[i]);
    buf_puts(out, "]}\n");
}

static int report(const struct bench *b, bool json)
{
    struct buf out = {0};
    int status;

    if (signals_arrived())
        return CLI_FAILURE;
    if (json)
        put_json(b, &out);
    else
        put_plain(b, &out);
    status = output_status(output_flush(&out));
    buf_free(&out);
    return status;
}

/* ---- The run ---- */

static int make_room(struct bench *b)
{
    struct rnn_err err = {0};

    if (rnn_scratch_new(&b->scratch, b->engine.model, BENCH_ROWS_MAX, &err) < 0)
        return cli_fail("%s", err.text);
    return bench_rows_init(&b->rows, &b->engine);
}

static int measure(struct bench *b)
{
    int status = make_room(b);

    if (status == CLI_OK)
        status = measure_stream(b);
    for (size_t i = 0; status == CLI_OK && i < N_BATCHES && !signals_arrived(); i++)
        status = measure_steps(b, batches[i], &b->step_ns[i]);
    return status;
}

static int run(const struct cli_args *args)
{
    struct bench b = {.rounds = 9, .round_ms = 50};
    bool good = cli_whole(args, "rounds", 1, ROUNDS_MAX, &b.rounds);
    int status;

    good &= cli_whole(args, "round-ms", 1, 10000, &b.round_ms);
    if (!good)
        return cli_hint("bench");
    signals_catch();
    status = engine_open(&b.engine, args, args->operands[0]);
    if (status != CLI_OK)
        return status;
    status = measure(&b);
    if (status == CLI_OK)
        status = report(&b, cli_given(args, "json"));
    bench_rows_free(&b.rows);
    rnn_scratch_free(b.scratch);
    engine_close(&b.engine);
    return status;
}

const struct cli_command command_bench = {
    .name = "bench",
    .operands = "MODEL",
    .n_operands = 1,
    .summary = "step time and tokens per second of a model",
    .about =
        "Measures the time of one step of MODEL on one thread for 1, 4, 16 and 64 sequences at "
        "once, output head included, and prints the medians of several rounds: microseconds a "
        "step, tokens per second, and the ratio to the time in which this machine reads the "
        "packed weights once. Where a model reads in both directions or writes about an input, the "
        "rows are those of inputs of 32 steps, or of the model's own window, with answers of 32 "
        "tokens. Rather for comparing "
        "machines and settings than for a daemon under "
        "load: run it on an idle machine.",
    .options = options,
    .run = run,
};
