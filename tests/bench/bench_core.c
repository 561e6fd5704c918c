/* Step times of the engine: rnn_step() on models of random weights, made in a temporary folder.
 *
 * Usage: bench_core CELL HIDDEN BATCH…      (CELL: rnn, lstm, gru)
 * Prints a line for the dense input that the peers compute, too ("rnnd"), and one for a token
 * input, whose first product is looked up ("rnnd-token"), as a character model is served. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "core/rnn.h"
#include "tests/bench/bench.h"

struct shape {
    const char *cell; /* as in config.json */
    size_t gates, hidden;
    const char *input_kind;
    size_t input_size;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_core: %s: %s\n", what, why);
    exit(1);
}

/* ---- A model folder ---- */

struct writer {
    FILE *header, *data;
    char *header_text;
    size_t header_len, offset;
};

static void put_tensor(struct writer *w, size_t rows, size_t columns, size_t hidden,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

static void put_tensor(struct writer *w, size_t rows, size_t columns, size_t hidden,
                       const char *format, ...)
{
    size_t n = rows * (columns ? columns : 1);
    float *values = malloc(n * sizeof *values);
    va_list args;

    if (!values)
        die("tensor", strerror(errno));
    bench_fill(values, n, 1.0f / sqrtf((float)hidden));
    fputs(w->offset ? ",\"" : "{\"", w->header);
    va_start(args, format);
    vfprintf(w->header, format, args);
    va_end(args);
    fprintf(w->header, "\":{\"dtype\":\"F32\",\"shape\":[%zu", rows);
    if (columns)
        fprintf(w->header, ",%zu", columns);
    fprintf(w->header, "],\"data_offsets\":[%zu,%zu]}", w->offset, w->offset + 4 * n);
    w->offset += 4 * n;
    fwrite(values, sizeof *values, n, w->data);
    free(values);
}

static void put_tensors(struct writer *w, const struct shape *shape)
{
    size_t h = shape->hidden, g = shape->gates * h;

    for (unsigned k = 0; k < BENCH_LAYERS; k++) {
        put_tensor(w, g, k ? h : shape->input_size, h, "rnn.weight_ih_l%u", k);
        put_tensor(w, g, h, h, "rnn.weight_hh_l%u", k);
        put_tensor(w, g, 0, h, "rnn.bias_ih_l%u", k);
        put_tensor(w, g, 0, h, "rnn.bias_hh_l%u", k);
    }
    put_tensor(w, BENCH_OUTPUTS, h, h, "head.weight");
    put_tensor(w, BENCH_OUTPUTS, 0, h, "head.bias");
    fputc('}', w->header);
}

static FILE *open_in(const char *folder, const char *name)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "wb");
    if (!file)
        die(path, strerror(errno));
    return file;
}

static void write_weights(const char *folder, const struct shape *shape)
{
    FILE *file = open_in(folder, "model.safetensors");
    char *data_text = NULL;
    size_t data_len = 0;
    struct writer w = {0};
    uint64_t len;

    w.header = open_memstream(&w.header_text, &w.header_len);
    w.data = open_memstream(&data_text, &data_len);
    if (!w.header || !w.data)
        die("memory", strerror(errno));
    put_tensors(&w, shape);
    fclose(w.header);
    fclose(w.data);
    len = w.header_len;
    fwrite(&len, sizeof len, 1, file);
    fwrite(w.header_text, 1, w.header_len, file);
    fwrite(data_text, 1, data_len, file);
    if (fclose(file) != 0)
        die(folder, strerror(errno));
    free(w.header_text);
    free(data_text);
}

static void write_config(const char *folder, const struct shape *shape)
{
    FILE *file = open_in(folder, "config.json");

    fprintf(file,
            "{\"schema\":\"rnnd-ref-1\",\"name\":\"bench\",\"topology\":\"synced\",\"input\":"
            "{\"kind\":\"%s\",\"size\":%zu},\"rnn\":{\"cell\":\"%s\",\"hidden_size\":%zu,"
            "\"num_layers\":%d,\"bidirectional\":false,\"bias\":true,\"proj_size\":0},\"head\":"
            "{\"size\":%d,\"bias\":true,\"tied\":false,\"activation\":\"softmax\"},"
            "\"dtype\":\"F32\"}",
            shape->input_kind, shape->input_size, shape->cell, shape->hidden, BENCH_LAYERS,
            BENCH_OUTPUTS);
    if (fclose(file) != 0)
        die(folder, strerror(errno));
}

static void remove_in(const char *folder, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static struct rnn_model *make_model(const struct shape *shape)
{
    const char *tmp = getenv("TMPDIR");
    struct rnn_open_options options = {.table_max_bytes = (size_t)256 << 20};
    struct rnn_err err = {0};
    struct rnn_model *model;
    char folder[256];

    snprintf(folder, sizeof folder, "%s/bench-core-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder))
        die(folder, strerror(errno));
    write_weights(folder, shape);
    write_config(folder, shape);
    if (rnn_model_open(&model, folder, &options, &err) < 0)
        die(folder, err.text);
    remove_in(folder, "model.safetensors");
    remove_in(folder, "config.json");
    rmdir(folder);
    return model;
}

/* ---- The steps ---- */

struct batch {
    const struct rnn_model *model;
    struct rnn_scratch *scratch;
    struct rnn_row *rows;
    size_t n;
    unsigned turn;
};

static void step(void *arg)
{
    struct batch *batch = arg;

    batch->turn++;
    for (size_t i = 0; i < batch->n; i++)
        batch->rows[i].token = (batch->turn * 31 + (unsigned)i * 7) % BENCH_OUTPUTS;
    rnn_step(batch->model, batch->scratch, batch->rows, batch->n);
}

static void *need(size_t n, size_t size)
{
    void *memory = calloc(n, size);

    if (!memory)
        die("memory", strerror(errno));
    return memory;
}

static double measure(const struct rnn_model *model, bool tokens, size_t n)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    struct batch batch = {.model = model, .rows = need(n, sizeof *batch.rows), .n = n};
    float *frames = need(n * info->input_size, sizeof *frames);
    float *logits = need(n * info->output_size, sizeof *logits);
    struct rnn_err err = {0};
    double us;

    if (rnn_scratch_new(&batch.scratch, model, n, &err) < 0)
        die("scratch", err.text);
    bench_fill(frames, n * info->input_size, 1);
    for (size_t i = 0; i < n; i++) {
        batch.rows[i].state = need(1, info->state_bytes);
        rnn_state_init(model, batch.rows[i].state, i);
        batch.rows[i].input = tokens ? RNN_ROW_TOKEN : RNN_ROW_FRAME;
        batch.rows[i].frame = frames + i * info->input_size;
        batch.rows[i].logits = logits + i * info->output_size;
    }
    us = bench_measure(step, &batch);
    for (size_t i = 0; i < n; i++)
        free(batch.rows[i].state);
    rnn_scratch_free(batch.scratch);
    free(batch.rows);
    free(frames);
    free(logits);
    return us;
}

static void run(const char *name, const char *who, const struct shape *shape, bool tokens,
                char **batches)
{
    struct rnn_model *model = make_model(shape);

    for (; *batches; batches++) {
        size_t n = strtoul(*batches, NULL, 10);

        bench_print(who, name, shape->hidden, n, measure(model, tokens, n));
    }
    rnn_model_unref(model);
}

int main(int argc, char **argv)
{
    struct shape shape = {.hidden = argc > 3 ? strtoul(argv[2], NULL, 10) : 0};
    const char *name = argc > 3 ? argv[1] : "";

    shape.gates = !strcmp(name, "lstm") ? 4 : !strcmp(name, "gru") ? 3 : 1;
    shape.cell = shape.gates == 1 ? "rnn_tanh" : name;
    if (shape.hidden == 0 || (shape.gates == 1 && strcmp(name, "rnn") != 0)) {
        fprintf(stderr, "usage: bench_core rnn|lstm|gru HIDDEN BATCH...\n");
        return 2;
    }
    shape.input_kind = "dense";
    shape.input_size = shape.hidden;
    run(name, "rnnd", &shape, false, argv + 3);
    shape.input_kind = "onehot";
    shape.input_size = BENCH_OUTPUTS;
    run(name, "rnnd-token", &shape, true, argv + 3);
    return 0;
}
