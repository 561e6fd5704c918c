/* rnnd predict: feeds an input and prints what comes out, as POST /predict answers it. */
#include <string.h>

#include "cli/commands.h"
#include "cli/feed.h"
#include "cli/output.h"
#include "cli/said.h"
#include "cli/settings.h"
#include "cli/signals.h"

static const struct cli_option options[] = {
    FEED_OPTIONS,
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
    struct said said;
    int64_t top_k;
    bool all, json;
    struct buf out;
    bool any; /* an output has been printed */
};

static void print_output(struct predict *p, size_t step)
{
    if (!p->json) {
        if (p->all)
            buf_printf(&p->out, "step %zu\n", step);
        said_plain(&p->said, &p->out);
        return;
    }
    buf_puts(&p->out, p->any ? ",{\"step\":" : "{\"step\":");
    if (p->input.n > 0)
        buf_u64(&p->out, step);
    else
        buf_puts(&p->out, "null");
    said_json(&p->said, &p->out);
    buf_putc(&p->out, '}');
    p->any = true;
}

static int run_steps(struct predict *p)
{
    bool written = true;
    size_t step;

    while (written && engine_next(&p->engine, &step)) {
        print_output(p, step);
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
    bool answers_steps = info->topology == RNN_SYNCED || info->topology == RNN_REPEAT;

    p->all = steps ? strcmp(steps, "all") == 0 : answers_steps && !info->language_model;
    if (p->all && !answers_steps)
        return cli_fail("--steps: this model has an output at its last step only");
    return CLI_OK;
}

static int begin(struct predict *p)
{
    struct rnn_walk_input input = feed_walk(&p->input);

    input.last_only = !p->all;
    return engine_begin(&p->engine, &input);
}

static bool read_options(struct predict *p, const struct cli_args *args)
{
    const char *steps = cli_value(args, "steps");
    bool good = cli_whole(args, "top-k", 1, INT32_MAX, &p->top_k);

    if (steps && strcmp(steps, "last") != 0 && strcmp(steps, "all") != 0)
        good = cli_fault(args, "--steps: want last or all, found '%s'", steps);
    p->json = cli_given(args, "json");
    return feed_options(args) && good;
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
        status = said_init(&p.said, &p.engine, p.top_k);
    if (status == CLI_OK)
        status = begin(&p);
    if (status == CLI_OK)
        status = print_all(&p);
    buf_free(&p.out);
    said_free(&p.said);
    engine_close(&p.engine);
    feed_free(&p.input);
    return status;
}

const struct cli_command command_predict = {
    .name = "predict",
    .operands = "MODEL INPUT",
    .n_operands = 2,
    .summary = "feed an input and print what comes out",
    .about =
        "Feeds INPUT to MODEL from its initial state and prints what comes out: the most probable "
        "next tokens or the labels with their probabilities, the numbers of a regression (with "
        "their standard deviations, where the model doubts them), the mixture of a model of pen "
        "strokes. A model that writes about its input (a translator, a captioner) says what the "
        "first token would be.\n"
        "MODEL is the path of a model folder, or a name in the folder of models. INPUT is text, "
        "unless --ids is given or the model takes frames; '-' reads it from standard input, to "
        "the byte. An INPUT that begins with '-' goes behind '--'.",
    .options = options,
    .run = run,
};
