/* rnnd generate: continues a text, on the terminal as it is drawn; the same tokens as POST
 * /generate gives for the same seed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/stop.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/feed.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/signals.h"

#define SEED_MAX ((int64_t)1 << 53) /* what JSON clients can say exactly */

static const struct cli_option options[] = {
    {"max-tokens", "N", "draw at most N tokens (default: 256)"},
    {"temperature", "X", "0: always the most probable token; above 1: bolder (default: 1)"},
    {"top-k", "N", "draw from the N most probable tokens only; 0: off (default: 0)"},
    {"top-p", "X", "draw from the most probable tokens that make up X (default: 1)"},
    {"min-p", "X", "leave out tokens below X times the best one's probability (default: 0)"},
    {"typical-p", "X", "draw from the most typical tokens that make up X (default: 1)"},
    {"repetition-penalty", "X", "divide the logits of what stood in the text (default: 1)"},
    {"presence-penalty", "X", "lower the logits of what was generated (default: 0)"},
    {"frequency-penalty", "X", "the same for each time it was (default: 0)"},
    {"seed", "N", "the same seed draws the same text on every machine (default: a random one)"},
    {"stop", "TEXT", "end before TEXT; may be given several times"},
    {"n", "N", "draw N texts, separated by lines of '---' (default: 1)"},
    {"echo", NULL, "print the prompt first"},
    {"ids", NULL, "PROMPT is token ids between spaces or commas"},
    {"json", NULL, "print JSON when all is done, in the form of POST /generate"},
    SETTINGS_OPTIONS,
    {NULL},
};

enum { STOPS_MAX = 16 };

struct generate {
    struct engine engine;
    struct feed prompt;
    struct rnn_sampling sampling;
    const char *stop[STOPS_MAX]; /* [n_stop] as given */
    size_t n_stop;
    struct stop_set stops;
    struct stop_match match; /* of the text being drawn */
    struct rnn_decoder decoder;
    int64_t max_tokens, seed, n;
    bool echo, json;

    struct rnn_state *start; /* after the prompt */
    float *first;            /* [output_size] logits after the prompt */
    struct buf text;         /* to be printed, or the text of the choice for JSON */
    struct buf answer;       /* JSON */
    struct buf tokens;       /* JSON: the choice's ids */
    uint64_t drawn;          /* in all texts */
    char last;               /* last byte printed */
};

/* ---- One text ---- */

static void put_id(struct buf *out, uint32_t id, const char *between)
{
    if (out->len > 0)
        buf_puts(out, between);
    buf_u64(out, id);
}

/* Lets the text out to the terminal as far as it has come; false where that failed. */
static bool show(struct generate *g)
{
    if (g->json || g->text.len == 0)
        return !g->text.failed;
    g->last = g->text.data[g->text.len - 1];
    return output_flush(&g->text);
}

static void put_token(struct generate *g, uint32_t id, bool matched)
{
    const char *piece = NULL;
    size_t len;

    if (!g->engine.info->tokenizer) {
        if (!g->json)
            buf_printf(&g->text, "%u\n", (unsigned)id);
        return;
    }
    len = rnn_decode(g->engine.model, &g->decoder, id, &piece);
    if (matched)
        (void)stop_match_feed(&g->match, piece, len, &g->text);
    else
        buf_put(&g->text, piece, len);
}

/* The prompt goes through the decoder in any case, so that what is drawn continues it: a word
 * stands behind a space. */
static void put_prompt(struct generate *g)
{
    const char *piece;

    g->decoder = (struct rnn_decoder){0};
    for (size_t i = 0; i < g->prompt.n; i++) {
        if (!g->echo) {
            (void)rnn_decode(g->engine.model, &g->decoder, g->prompt.ids[i], &piece);
            continue;
        }
        put_token(g, g->prompt.ids[i], false);
        put_id(&g->tokens, g->prompt.ids[i], ",");
    }
}

/* Draws until the text ends; `*reason` says why it did. */
static bool draw(struct generate *g, struct rnn_sampler *sampler, const char **reason)
{
    bool written = true;
    uint32_t token = 0;

    *reason = "length";
    for (int64_t i = 0; i < g->max_tokens && written && !signals_arrived(); i++) {
        if (i > 0)
            engine_token(&g->engine, token, true);
        /* nothing is banned here, so there is always something to draw */
        (void)rnn_sample(sampler, g->engine.logits, &g->engine.state->rng, &token);
        rnn_sampler_observe(sampler, token, true);
        g->drawn++;
        put_id(&g->tokens, token, ",");
        put_token(g, token, true);
        if (g->match.found >= 0 || (int64_t)token == g->engine.info->eos) {
            *reason = "stop";
            break;
        }
        written = show(g);
    }
    stop_match_flush(&g->match, &g->text);
    return show(g) && written;
}

static void put_choice(struct generate *g, int64_t index, const char *reason)
{
    struct buf *out = &g->answer;

    buf_printf(out, "%s{\"index\":%lld,\"text\":", index ? "," : "", (long long)index);
    buf_json_string(out, g->text.data ? g->text.data : "", g->text.len);
    buf_puts(out, ",\"tokens\":[");
    buf_put(out, g->tokens.data, g->tokens.len);
    buf_printf(out, "],\"finish_reason\":\"%s\"", reason);
    if (g->match.found >= 0) {
        buf_puts(out, ",\"stop\":");
        buf_json_string(out, g->stop[g->match.found], strlen(g->stop[g->match.found]));
    }
    buf_putc(out, '}');
    if (g->text.failed || g->tokens.failed)
        out->failed = true;
    buf_clear(&g->text);
}

static int write_text(struct generate *g, int64_t index)
{
    struct rnn_sampler *sampler;
    struct rnn_err err = {0};
    const char *reason;
    bool written;

    if (rnn_sampler_new(&sampler, g->engine.info->output_size, &g->sampling, &err) < 0)
        return cli_fail("%s", err.text);
    if (!stop_match_init(&g->match, &g->stops)) {
        rnn_sampler_free(sampler);
        return cli_fail("out of memory");
    }
    for (size_t i = 0; i < g->prompt.n; i++)
        rnn_sampler_observe(sampler, g->prompt.ids[i], false);
    memcpy(g->engine.state, g->start, g->engine.info->state_bytes);
    memcpy(g->engine.logits, g->first, g->engine.info->output_size * sizeof *g->first);
    g->engine.state->rng.stream += (uint32_t)index;
    buf_clear(&g->tokens);
    put_prompt(g);
    written = show(g) && draw(g, sampler, &reason);
    if (written && g->json)
        put_choice(g, index, reason);
    stop_match_free(&g->match);
    rnn_sampler_free(sampler);
    return output_status(written);
}

/* ---- All texts ---- */

/* Between texts, and at the end of one on a terminal: to the beginning of a line. */
static int end_line(struct generate *g, const char *more)
{
    if (g->json)
        return CLI_OK;
    if (g->last != '\n')
        buf_putc(&g->text, '\n');
    buf_puts(&g->text, more);
    g->last = '\n';
    return output_status(output_flush(&g->text));
}

static int write_texts(struct generate *g)
{
    int status = CLI_OK;

    for (int64_t i = 0; i < g->n && status == CLI_OK && !signals_arrived(); i++) {
        if (i > 0)
            status = end_line(g, "---\n");
        if (status == CLI_OK)
            status = write_text(g, i);
    }
    if (status == CLI_OK && (isatty(STDOUT_FILENO) || g->n > 1))
        status = end_line(g, "");
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
    buf_printf(&g->answer,
               "],\"seed\":%lld,\"usage\":{\"input_steps\":%zu,\"output_steps\":%llu}}\n",
               (long long)g->seed, g->prompt.n, (unsigned long long)g->drawn);
    return status == CLI_OK && !signals_arrived() ? output_status(output_flush(&g->answer))
                                                  : status;
}

static int read_prompt(struct generate *g)
{
    const struct rnn_model_info *info = g->engine.info;

    g->start = malloc(info->state_bytes);
    g->first = malloc(info->output_size * sizeof *g->first);
    if (!g->start || !g->first)
        return cli_fail("out of memory");
    engine_reset(&g->engine, (uint64_t)g->seed);
    for (size_t i = 0; i < g->prompt.n && !signals_arrived(); i++)
        feed_step(&g->engine, &g->prompt, i, i + 1 == g->prompt.n);
    if (g->prompt.n == 0)
        engine_read(&g->engine);
    memcpy(g->start, g->engine.state, info->state_bytes);
    memcpy(g->first, g->engine.logits, info->output_size * sizeof *g->first);
    return CLI_OK;
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

static bool read_options(struct generate *g, const struct cli_args *args)
{
    bool good = read_sampling(&g->sampling, args);

    good &= cli_whole(args, "max-tokens", 0, INT64_MAX, &g->max_tokens);
    good &= cli_whole(args, "seed", 0, SEED_MAX - 1, &g->seed);
    good &= cli_whole(args, "n", 1, 1024, &g->n);
    good &= read_stops(g, args);
    g->echo = cli_given(args, "echo");
    g->json = cli_given(args, "json");
    return good;
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

static int check_model(const struct generate *g)
{
    if (!engine_is_language_model(g->engine.info))
        return cli_fail("model %s: only a model that predicts its own next token can generate",
                        g->engine.info->name);
    if (g->n_stop > 0 && !g->engine.info->tokenizer)
        return cli_fail("--stop: this model has no vocabulary, so it writes no text");
    return CLI_OK;
}

static int run(const struct cli_args *args)
{
    struct generate g = {
        .sampling = RNN_SAMPLING_DEFAULT, .max_tokens = 256, .seed = -1, .n = 1, .last = '\n'};
    int status;

    if (!read_options(&g, args))
        return cli_hint("generate");
    signals_catch();
    status = engine_open(&g.engine, args, args->operands[0]);
    if (status != CLI_OK)
        return status;
    status = check_model(&g);
    if (status == CLI_OK && !stop_set_init(&g.stops, g.stop, g.n_stop))
        status = cli_fail("out of memory");
    if (status == CLI_OK)
        status = find_seed(&g);
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
    buf_free(&g.tokens);
    stop_set_free(&g.stops);
    feed_free(&g.prompt);
    engine_close(&g.engine);
    return status;
}

const struct cli_command command_generate = {
    .name = "generate",
    .operands = "MODEL PROMPT",
    .n_operands = 2,
    .summary = "continue a text, on the terminal as it is drawn",
    .about =
        "Feeds PROMPT to MODEL and writes what the model goes on with, character by character as "
        "it is drawn. The text is the same, to the byte, as POST /generate gives for the same "
        "settings and seed.\n"
        "MODEL is the path of a model folder, or a name in the folder of models. PROMPT is text, "
        "may be empty, and is read from standard input where it is '-'. A PROMPT that begins with "
        "'-' goes behind '--'. Nothing is added to the text, but for a newline on a terminal.",
    .options = options,
    .run = run,
};
