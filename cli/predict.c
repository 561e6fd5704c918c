/* rnnd predict: feeds an input and prints what comes out, as POST /predict answers it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/feed.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/signals.h"

static const struct cli_option options[] = {
    {"ids", NULL, "INPUT is token ids between spaces or commas"},
    {"frames", NULL, "INPUT is JSON: an array of frames, each an array of numbers"},
    {"top-k", "N", "list the N most probable tokens or labels (default: 5)"},
    {"steps", "last|all",
     "which steps to report (default: the last one; all for models that answer each step of their "
     "input, such as taggers)"},
    {"json", NULL, "print JSON, in the form of POST /predict"},
    SETTINGS_OPTIONS,
    {NULL},
};

struct predict {
    struct engine engine;
    struct feed input;
    int64_t top_k;
    bool all, json;
    float *probabilities; /* [output_size] */
    uint32_t *top;        /* [top_k] */
    struct buf out;
    bool any; /* an output has been printed */
};

static double log_sigmoid(double z)
{
    return z >= 0 ? -log1p(exp(-z)) : z - log1p(exp(z));
}

/* ---- One output ---- */

static void json_top(struct predict *p, size_t n, double log_sum)
{
    bool sigmoid = p->engine.info->activation == RNN_HEAD_SIGMOID;

    for (size_t i = 0; i < n; i++) {
        double z = (double)p->engine.logits[p->top[i]];

        buf_puts(&p->out, i ? ",{" : "{");
        output_json_token(&p->out, &p->engine, p->top[i]);
        buf_puts(&p->out, ",\"probability\":");
        buf_f32(&p->out, p->probabilities[p->top[i]]);
        buf_puts(&p->out, ",\"logprob\":");
        buf_f32(&p->out, (float)(sigmoid ? log_sigmoid(z) : z - log_sum));
        buf_putc(&p->out, '}');
    }
}

static void print_json(struct predict *p, size_t n_top, double log_sum, size_t step)
{
    size_t n = p->engine.info->output_size;

    buf_puts(&p->out, p->any ? ",{\"step\":" : "{\"step\":");
    if (p->input.n > 0)
        buf_u64(&p->out, step);
    else
        buf_puts(&p->out, "null");
    if (p->engine.info->activation == RNN_HEAD_NONE) {
        buf_puts(&p->out, ",\"values\":");
        buf_f32_array(&p->out, p->engine.logits, n);
    } else {
        buf_puts(&p->out, ",\"top\":[");
        json_top(p, n_top, log_sum);
        buf_putc(&p->out, ']');
    }
    buf_putc(&p->out, '}');
}

static void print_plain(struct predict *p, size_t n_top, size_t step)
{
    if (p->all)
        buf_printf(&p->out, "step %zu\n", step);
    for (size_t i = 0; i < n_top; i++) {
        buf_printf(&p->out, "%9.6f  ", (double)p->probabilities[p->top[i]]);
        output_plain_token(&p->out, &p->engine, p->top[i]);
        buf_putc(&p->out, '\n');
    }
    if (p->engine.info->activation != RNN_HEAD_NONE)
        return;
    for (size_t i = 0; i < p->engine.info->output_size; i++) {
        buf_puts(&p->out, i ? " " : "");
        buf_f32(&p->out, p->engine.logits[i]);
    }
    buf_putc(&p->out, '\n');
}

static void print_output(struct predict *p, size_t step)
{
    const struct rnn_model_info *info = p->engine.info;
    bool plain_numbers = info->activation == RNN_HEAD_NONE;
    size_t k = info->activation == RNN_HEAD_SIGMOID ? info->output_size : (size_t)p->top_k;
    size_t n = plain_numbers ? 0 : rnn_top(p->engine.logits, info->output_size, k, p->top);

    rnn_activate(p->engine.model, p->engine.logits, p->probabilities);
    if (p->json)
        print_json(p, n, rnn_log_sum_exp(p->engine.logits, info->output_size), step);
    else
        print_plain(p, n, step);
    p->any = true;
}

/* ---- The run ---- */

static int run_steps(struct predict *p)
{
    bool written = true;

    if (p->input.n == 0) {
        engine_read(&p->engine);
        print_output(p, 0);
    }
    for (size_t i = 0; i < p->input.n && written && !signals_arrived(); i++) {
        bool want = p->all || i + 1 == p->input.n;

        feed_step(&p->engine, &p->input, i, want);
        if (want)
            print_output(p, i);
        if (p->out.len > 65536)
            written = output_flush(&p->out);
    }
    return output_status(written);
}

static int print_all(struct predict *p)
{
    const char *name = p->engine.info->name;
    int status;

    if (p->json) {
        buf_puts(&p->out, "{\"model\":");
        buf_json_string(&p->out, name, strlen(name));
        buf_puts(&p->out, ",\"outputs\":[");
    }
    status = run_steps(p);
    if (p->json)
        buf_printf(&p->out, "],\"usage\":{\"input_steps\":%zu}}\n", p->input.n);
    return status == CLI_OK && !signals_arrived() ? output_status(output_flush(&p->out)) : status;
}

static int choose_steps(struct predict *p, const struct cli_args *args)
{
    const char *steps = cli_value(args, "steps");
    const struct rnn_model_info *info = p->engine.info;

    p->all = steps ? strcmp(steps, "all") == 0
                   : info->topology == RNN_SYNCED && !engine_is_language_model(info);
    if (p->all && info->topology != RNN_SYNCED)
        return cli_fail("--steps: this model has an output at its last step only");
    return CLI_OK;
}

static int make_room(struct predict *p)
{
    size_t n = p->engine.info->output_size;

    p->probabilities = calloc(n, sizeof *p->probabilities);
    p->top = calloc(n, sizeof *p->top);
    if ((size_t)p->top_k > n)
        p->top_k = (int64_t)n;
    return p->probabilities && p->top ? CLI_OK : cli_fail("out of memory");
}

static bool read_options(struct predict *p, const struct cli_args *args)
{
    const char *steps = cli_value(args, "steps");
    bool good = cli_whole(args, "top-k", 1, INT32_MAX, &p->top_k);

    if (steps && strcmp(steps, "last") != 0 && strcmp(steps, "all") != 0)
        good = cli_fault(args, "--steps: want last or all, found '%s'", steps);
    if (cli_given(args, "ids") && cli_given(args, "frames"))
        good = cli_fault(args, "--ids and --frames exclude each other");
    p->json = cli_given(args, "json");
    return good;
}

static int run(const struct cli_args *args)
{
    struct predict p = {.top_k = 5};
    int status;

    if (!read_options(&p, args))
        return cli_hint("predict");
    signals_catch();
    status = engine_open(&p.engine, args, args->operands[0]);
    if (status != CLI_OK)
        return status;
    status = choose_steps(&p, args);
    if (status == CLI_OK)
        status = feed_read(&p.input, &p.engine, args, args->operands[1]);
    if (status == CLI_OK)
        status = make_room(&p);
    if (status == CLI_OK)
        status = print_all(&p);
    buf_free(&p.out);
    free(p.probabilities);
    free(p.top);
    feed_free(&p.input);
    engine_close(&p.engine);
    return status;
}

const struct cli_command command_predict = {
    .name = "predict",
    .operands = "MODEL INPUT",
    .n_operands = 2,
    .summary = "feed an input and print what comes out",
    .about =
        "Feeds INPUT to MODEL from a zero state and prints the most probable next tokens or "
        "labels with their probabilities, or the numbers of a regression.\n"
        "MODEL is the path of a model folder, or a name in the folder of models. INPUT is text, "
        "unless --ids or --frames is given; '-' reads it from standard input, to the byte. An "
        "INPUT that begins with '-' goes behind '--'.",
    .options = options,
    .run = run,
};
