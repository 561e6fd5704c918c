/* rnnd generate: continues a text, writes about an input, or draws frames, on the terminal as they
 * come; the same as POST /generate gives for the same seed. */
#include "cli/generate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/signals.h"

#define SEED_MAX ((int64_t)1 << 53) /* what JSON clients can say exactly */

static const struct cli_option options[] = {
    {"max-tokens", "N",
     "write at most N tokens or frames (default: 256, or what the model's makers say)"},
    {"temperature", "X", "0: always the most probable token; above 1: bolder (default: 1)"},
    {"top-k", "N", "draw from the N most probable tokens only; 0: off (default: 0)"},
    {"top-p", "X", "draw from the most probable tokens that make up X (default: 1)"},
    {"min-p", "X", "leave out tokens below X times the best one's probability (default: 0)"},
    {"typical-p", "X", "draw from the most typical tokens that make up X (default: 1)"},
    {"repetition-penalty", "X", "divide the logits of what stood in the text (default: 1)"},
    {"presence-penalty", "X", "lower the logits of what was generated (default: 0)"},
    {"frequency-penalty", "X", "the same for each time it was (default: 0)"},
    {"penalty-memory", "N", "the penalties look back on the last N tokens; 0: on all (default: 0)"},
    {"seed", "N", "the same seed draws the same text on every machine (default: a random one)"},
    {"stop", "TEXT", "end before TEXT; may be given several times"},
    {"n", "N", "write N texts, separated by lines of '---' (default: 1)"},
    {"beam-width", "N", "search for the most probable texts with N beginnings at a time"},
    {"length-penalty", "X", "rank what a search finds by its logarithm / length ^ X (default: 1)"},
    {"echo", NULL, "print the prompt first"},
    FEED_OPTIONS,
    {"csv", NULL, "print frames as CSV, not as JSON arrays"},
    {"json", NULL, "print JSON when all is done, in the form of POST /generate"},
    SETTINGS_OPTIONS,
    {NULL},
};

/* Options that only texts of tokens know, and only those that are drawn. */
static const char *const of_tokens[] = {"stop", "echo", "beam-width", "length-penalty", NULL};
static const char *const of_draws[] = {"top-k",
                                       "top-p",
                                       "min-p",
                                       "typical-p",
                                       "repetition-penalty",
                                       "presence-penalty",
                                       "frequency-penalty",
                                       "penalty-memory",
                                       NULL};

/* The first of `names` that was given; NULL: none. */
static const char *first_given(const struct cli_args *args, const char *const *names)
{
    while (*names && !cli_given(args, *names))
        names++;
    return *names;
}

/* ---- All texts ---- */

bool generate_show(struct generate *g)
{
    if (g->json || g->text.len == 0)
        return !g->text.failed;
    g->last = g->text.data[g->text.len - 1];
    return output_flush(&g->text);
}

int generate_end_line(struct generate *g, const char *more)
{
    if (g->json)
        return CLI_OK;
    if (g->last != '\n')
        buf_putc(&g->text, '\n');
    buf_puts(&g->text, more);
    g->last = '\n';
    return output_status(output_flush(&g->text));
}

void generate_restart(struct generate *g, int64_t index)
{
    memcpy(g->engine.state, g->start, g->engine.state_bytes);
    memcpy(g->engine.logits, g->first, g->engine.info->output_size * sizeof *g->first);
    g->engine.state->rng.stream += (uint32_t)index;
}

static int draw_texts(struct generate *g)
{
    int status = CLI_OK;

    for (int64_t i = 0; i < g->n && status == CLI_OK && !signals_arrived(); i++) {
        if (i > 0)
            status = generate_end_line(g, "---\n");
        if (status == CLI_OK)
            status = g->engine.info->writes_frames ? generate_frames(g, i) : generate_text(g, i);
    }
    return status;
}

static int write_texts(struct generate *g)
{
    int status = g->beam_width > 0 ? generate_search(g) : draw_texts(g);

    if (status == CLI_OK && (isatty(STDOUT_FILENO) || g->n > 1))
        status = generate_end_line(g, "");
    return status;
}

static int print_answer(struct generate *g)
{
    const char *name = g->engine.info->name;
    int status;

    if (!g->json)
        return write_texts(g);
    buf_puts(&g->answer, "{\"model\":");
    buf_json_string(&g->answer, name, strlen(name));
    buf_puts(&g->answer, ",\"choices\":[");
    status = write_texts(g);
    buf_putc(&g->answer, ']');
    if (g->beam_width == 0)
        buf_printf(&g->answer, ",\"seed\":%lld", (long long)g->seed);
    buf_printf(&g->answer, ",\"usage\":{\"input_steps\":%zu,\"output_steps\":%llu}}\n", g->prompt.n,
               (unsigned long long)g->drawn);
    return status == CLI_OK && !signals_arrived() ? output_status(output_flush(&g->answer))
                                                  : status;
}

static int read_prompt(struct generate *g)
{
    const struct rnn_model_info *info = g->engine.info;
    const struct rnn_walk_input input = feed_walk(&g->prompt);
    size_t step;
    int status;

    g->start = malloc(g->engine.state_bytes);
    g->first = malloc(info->output_size * sizeof *g->first);
    if (!g->start || !g->first)
        return cli_fail("out of memory");
    engine_reset(&g->engine, (uint64_t)g->seed);
    status = engine_begin(&g->engine, &input);
    while (status == CLI_OK && engine_next(&g->engine, &step))
        ;
    for (size_t i = 0; i < g->prompt.n && g->window > 0; i++)
        rnn_state_remember(g->engine.model, g->engine.state, g->engine.state_bytes,
                           g->prompt.ids[i], false);
    memcpy(g->start, g->engine.state, g->engine.state_bytes);
    memcpy(g->first, g->engine.logits, info->output_size * sizeof *g->first);
    return status;
}

/* ---- Options ---- */

static bool read_stops(struct generate *g, const struct cli_args *args)
{
    for (size_t i = 0; i < args->n_given; i++) {
        const char *text = args->given[i].value;

        if (strcmp(args->given[i].name, "stop") != 0)
            continue;
        if (!*text || !utf8_valid(text, strlen(text), NULL))
            return cli_fault(args, "--stop: want a text in UTF-8 that is not empty");
        if (g->n_stop == STOPS_MAX)
            return cli_fault(args, "--stop: more than %d of them", STOPS_MAX);
        g->stop[g->n_stop++] = text;
    }
    return true;
}

/* A share: more than 0, at most 1. */
static bool read_share(const struct cli_args *args, const char *name, float *out)
{
    if (!cli_number(args, name, 0, 1, out))
        return false;
    return *out > 0 ||
           cli_fault(args, "--%s: want a number above 0, found '%s'", name, cli_value(args, name));
}

static bool read_sampling(struct rnn_sampling *s, const struct cli_args *args)
{
    int64_t top_k = 0;
    bool good = cli_number(args, "temperature", 0, 100, &s->temperature);

    good &= cli_whole(args, "top-k", 0, INT32_MAX, &top_k);
    good &= read_share(args, "top-p", &s->top_p);
    good &= cli_number(args, "min-p", 0, 1, &s->min_p);
    good &= read_share(args, "typical-p", &s->typical_p);
    good &= cli_number(args, "repetition-penalty", 0, 100, &s->repetition_penalty);
    if (s->repetition_penalty <= 0)
        good = cli_fault(args, "--repetition-penalty: want a number above 0, found '%s'",
                         cli_value(args, "repetition-penalty"));
    good &= cli_number(args, "presence-penalty", -100, 100, &s->presence_penalty);
    good &= cli_number(args, "frequency-penalty", -100, 100, &s->frequency_penalty);
    s->top_k = (uint32_t)top_k;
    return good;
}

static bool read_search(struct generate *g, const struct cli_args *args)
{
    static const char *const draws[] = {"temperature", "seed", "stop", "echo", NULL};
    const char *other = first_given(args, draws);
    bool good = cli_whole(args, "beam-width", 1, 4096, &g->beam_width);

    good &= cli_number(args, "length-penalty", 0, 10, &g->length_penalty);
    if (!other)
        other = first_given(args, of_draws);
    if (g->beam_width == 0 && cli_given(args, "length-penalty"))
        return cli_fault(args, "--length-penalty: want --beam-width, too");
    if (g->beam_width > 0 && other)
        return cli_fault(args, "--beam-width and --%s exclude each other", other);
    if (g->beam_width > 0 && g->max_tokens == 0)
        return cli_fault(args, "--max-tokens: want 1 or more with --beam-width");
    if (g->beam_width > 0 && g->n > g->beam_width)
        return cli_fault(args, "--n: want at most --beam-width, which is %lld",
                         (long long)g->beam_width);
    return good;
}

static bool read_options(struct generate *g, const struct cli_args *args)
{
    bool good = read_sampling(&g->sampling, args);

    good &= cli_whole(args, "max-tokens", 0, INT64_MAX, &g->max_tokens);
    good &= cli_whole(args, "penalty-memory", 0, RNN_RECENT_MAX, &g->window);
    good &= cli_whole(args, "seed", 0, SEED_MAX - 1, &g->seed);
    good &= cli_whole(args, "n", 1, 1024, &g->n);
    good &= read_stops(g, args);
    good &= read_search(g, args);
    g->echo = cli_given(args, "echo");
    g->json = cli_given(args, "json");
    g->csv = cli_given(args, "csv");
    if (g->json && g->csv)
        good = cli_fault(args, "--json and --csv exclude each other");
    return feed_options(args) && good;
}

/* A seed of our own where none was given. */
static int find_seed(struct generate *g)
{
    uint64_t bits;

    if (g->seed >= 0)
        return CLI_OK;
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        return cli_fail("no random seed: %s", strerror(errno));
    g->seed = (int64_t)(bits % (uint64_t)SEED_MAX);
    return CLI_OK;
}

static int check_frames(struct generate *g, const struct cli_args *args)
{
    const char *other = first_given(args, of_tokens);

    if (!other)
        other = first_given(args, of_draws);
    if (other)
        return cli_fail("--%s: this model writes frames, not tokens", other);
    if (g->engine.info->activation != RNN_HEAD_NONE)
        return CLI_OK;
    if (!cli_given(args, "temperature"))
        g->sampling.temperature = 0;
    if (g->sampling.temperature > 0)
        return cli_fail("--temperature: this model gives its values without a deviation to draw "
                        "by; want 0");
    return CLI_OK;
}

static int check_model(struct generate *g, const struct cli_args *args)
{
    const struct rnn_model_info *info = g->engine.info;

    if (info->writes_frames)
        return check_frames(g, args);
    if (!info->language_model && !engine_decodes(info))
        return cli_fail("model %s: only a model whose output can be its next input, a token or a "
                        "frame, can generate",
                        info->name);
    if (g->csv)
        return cli_fail("--csv: this model writes tokens, not frames");
    if (g->n_stop > 0 && !info->tokenizer)
        return cli_fail("--stop: this model has no vocabulary, so it writes no text");
    if (g->echo && engine_decodes(info))
        return cli_fail("--echo: this model writes about its input, it does not continue it");
    if (g->window > 0 && !info->language_model)
        return cli_fail("--penalty-memory: only of a model that goes on with its own text");
    if (!cli_given(args, "max-tokens") && info->max_len > 0 &&
        (int64_t)info->max_len < g->max_tokens)
        g->max_tokens = (int64_t)info->max_len;
    return CLI_OK;
}

static int run(const struct cli_args *args)
{
    struct generate g = {.sampling = RNN_SAMPLING_DEFAULT,
                         .max_tokens = 256,
                         .seed = -1,
                         .n = 1,
                         .length_penalty = 1,
                         .last = '\n'};
    int status;

    if (!read_options(&g, args))
        return cli_hint("generate");
    signals_catch();
    status = engine_open(&g.engine, args, args->operands[0]);
    if (status != CLI_OK)
        return status;
    status = check_model(&g, args);
    if (status == CLI_OK && !stop_set_init(&g.stops, g.stop, g.n_stop))
        status = cli_fail("out of memory");
    if (status == CLI_OK)
        status = find_seed(&g);
    if (status == CLI_OK && g.window > 0)
        status = engine_remember(&g.engine, (size_t)g.window);
    if (status == CLI_OK)
        status = feed_read(&g.prompt, &g.engine, args, args->operands[1]);
    if (status == CLI_OK)
        status = read_prompt(&g);
    if (status == CLI_OK)
        status = print_answer(&g);
    free(g.start);
    free(g.first);
    buf_free(&g.text);
    buf_free(&g.answer);
    stop_set_free(&g.stops);
    engine_close(&g.engine);
    feed_free(&g.prompt);
    return status;
}

const struct cli_command command_generate = {
    .name = "generate",
    .operands = "MODEL PROMPT",
    .n_operands = 2,
    .summary = "continue a text, on the terminal as it is drawn; or write about an input",
    .about =
        "Feeds PROMPT to MODEL and writes what the model goes on with, character by character as "
        "it is drawn; what a translator or a captioner writes about it; or the frames that a model "
        "of pen strokes or of numbers goes on with, one on each line. The output is the same, to "
        "the byte, as POST /generate gives for the same settings and seed.\n"
        "MODEL is the path of a model folder, or a name in the folder of models. PROMPT is text, "
        "unless --ids is given or the model takes frames; it may be empty, and is read from "
        "standard input where it is '-'. A PROMPT that begins with '-' goes behind '--'. Nothing "
        "is added to the text, but for a newline on a terminal.",
    .options = options,
    .run = run,
};
