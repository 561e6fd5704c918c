/* rnnd score: how well a model predicts a file: bits per character, as POST /score counts them; or,
 * of a model that answers, the answers in the file (cli/score_pairs.c).
 *
 * The file goes through the incremental tokenizer in pieces, so its size does not matter; each
 * token is scored by the output before it, hence not the first. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/score.h"
#include "cli/settings.h"
#include "cli/signals.h"

enum { PIECE_BYTES = 16384 };

static const struct cli_option options[] = {
    {"ids", NULL, "FILE holds token ids between spaces or commas, not text"},
    {"json", NULL, "print JSON"},
    SETTINGS_OPTIONS,
    {NULL},
};

/* ---- Progress ---- */

static void show_progress(struct score *s)
{
    time_t now = time(NULL);
    int filled;

    if (!s->progress || now == s->shown)
        return;
    s->shown = now;
    if (s->size == 0) {
        fprintf(stderr, "\r%llu characters", (unsigned long long)s->characters);
        return;
    }
    filled = (int)(30 * (double)s->bytes / (double)s->size);
    filled = filled > 30 ? 30 : filled;
    fprintf(stderr, "\r[%.*s%.*s] %3d %%  %.3f bits per character", filled,
            "##############################", 30 - filled, "..............................",
            (int)(100 * (double)s->bytes / (double)s->size),
            s->characters ? s->nats / log(2) / (double)s->characters : 0.0);
}

static void clear_progress(const struct score *s)
{
    if (s->shown)
        fputs("\r\033[K", stderr);
}

/* ---- Scoring ---- */

void score_token(struct score *s, uint32_t id)
{
    struct rnn_token_score score;
    size_t len = 0;
    const char *text = rnn_token_text(s->engine.model, id, &len);

    rnn_score_token(s->engine.logits, s->engine.info->output_size, id, &score);
    s->nats -= score.logprob;
    s->tokens++;
    s->right += score.rank == 1;
    s->characters += text && !s->engine.info->labels ? utf8_length(text, len) : 0;
}

/* A token of one long text. */
static void feed_token(struct score *s, uint32_t id)
{
    if (s->begun)
        score_token(s, id);
    engine_token(&s->engine, id, true);
    s->begun = true;
}

static int score_piece(struct score *s, struct rnn_encoder *encoder, const char *text, size_t len,
                       uint32_t *ids)
{
    struct rnn_err err = {0};
    size_t n = 0;
    int rc = rnn_encode(s->engine.model, encoder, text, len, len == 0, ids, &n, &err);

    if (rc < 0) {
        clear_progress(s);
        return cli_fail("%s: %s", s->name, err.text);
    }
    for (size_t i = 0; i < n && !signals_arrived(); i++) {
        feed_token(s, ids[i]);
        if (i % 256 == 0)
            show_progress(s);
    }
    return CLI_OK;
}

static int score_text(struct score *s)
{
    struct rnn_encoder encoder = {0};
    char text[PIECE_BYTES];
    uint32_t ids[PIECE_BYTES + 1];
    int status = CLI_OK;
    size_t len;

    do {
        len = fread(text, 1, sizeof text, s->in);
        if (ferror(s->in) && !signals_arrived())
            return cli_fail("%s: %s", s->name, strerror(errno));
        status = score_piece(s, &encoder, text, len, ids); /* an empty piece ends the text */
        s->bytes += len;
    } while (len > 0 && status == CLI_OK && !signals_arrived());
    return status;
}

static int score_ids(struct score *s)
{
    struct feed input = {0};
    size_t len;
    char *text = feed_slurp(s->in, s->name, &len);
    int status;

    if (!text)
        return CLI_FAILURE;
    status = feed_ids(&input, s->engine.info->input_size, text, len);
    for (size_t i = 0; status == CLI_OK && i < input.n && !signals_arrived(); i++)
        feed_token(s, input.ids[i]);
    feed_free(&input);
    free(text);
    return status;
}

/* ---- The result ---- */

static void put_ratio(struct buf *out, const char *name, double value, bool known)
{
    buf_printf(out, ",\"%s\":", name);
    if (known)
        buf_f64(out, value);
    else
        buf_puts(out, "null");
}

static void put_json(const struct score *s, struct buf *out)
{
    double bits = s->nats / log(2);

    buf_puts(out, "{\"model\":");
    buf_json_string(out, s->engine.info->name, strlen(s->engine.info->name));
    buf_printf(out, ",\"tokens\":%llu,\"characters\":%llu,\"nats\":", (unsigned long long)s->tokens,
               (unsigned long long)s->characters);
    buf_f64(out, s->nats);
    put_ratio(out, "bits_per_token", bits / (double)s->tokens, s->tokens > 0);
    put_ratio(out, "bits_per_character", bits / (double)s->characters, s->characters > 0);
    put_ratio(out, "perplexity", exp(s->nats / (double)s->tokens), s->tokens > 0);
    if (s->examples > 0) {
        buf_printf(out, ",\"examples\":%llu", (unsigned long long)s->examples);
        put_ratio(out, "accuracy", (double)s->right / (double)s->tokens, s->tokens > 0);
    }
    buf_puts(out, "}\n");
}

static void put_plain(const struct score *s, struct buf *out)
{
    double bits = s->nats / log(2);

    if (s->examples > 0)
        buf_printf(out, "examples            %llu\n", (unsigned long long)s->examples);
    else
        buf_printf(out, "characters          %llu\n", (unsigned long long)s->characters);
    if (s->tokens != s->characters || s->examples > 0)
        buf_printf(out,
                   s->engine.info->labels ? "labels              %llu\n"
                                          : "tokens              %llu\n",
                   (unsigned long long)s->tokens);
    buf_printf(out, "nats                %.3f\n", s->nats);
    if (s->characters > 0 && s->examples == 0)
        buf_printf(out, "bits per character  %.4f\n", bits / (double)s->characters);
    if (s->tokens > 0 && s->tokens != s->characters)
        buf_printf(out, "bits per token      %.4f\n", bits / (double)s->tokens);
    if (s->tokens > 0)
        buf_printf(out, "perplexity          %.4f\n", exp(s->nats / (double)s->tokens));
    if (s->examples > 0 && s->tokens > 0)
        buf_printf(out, "accuracy            %.4f\n", (double)s->right / (double)s->tokens);
}

static int print_result(const struct score *s, bool json)
{
    struct buf out = {0};
    int status;

    clear_progress(s);
    if (signals_arrived())
        return CLI_FAILURE;
    if (json)
        put_json(s, &out);
    else
        put_plain(s, &out);
    status = output_status(output_flush(&out));
    buf_free(&out);
    return status;
}

static int open_file(struct score *s, const char *path)
{
    struct stat st;

    s->name = strcmp(path, "-") == 0 ? "standard input" : path;
    s->in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!s->in)
        return cli_fail("%s: %s", path, strerror(errno));
    if (fstat(fileno(s->in), &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
        s->size = (uint64_t)st.st_size;
    s->progress = isatty(STDERR_FILENO);
    return CLI_OK;
}

static int score_all(struct score *s)
{
    bool ids = cli_given(s->args, "ids");

    if (!s->engine.info->language_model)
        return score_pairs(s);
    return ids ? score_ids(s) : score_text(s);
}

static int check_model(const struct score *s)
{
    const struct rnn_model_info *info = s->engine.info;

    if (!info->language_model && !score_in_pairs(info))
        return cli_fail("model %s: only tokens and labels can be scored; this model gives %s",
                        info->name,
                        info->activation == RNN_HEAD_SIGMOID ? "independent labels" : "numbers");
    if (info->input_kind != RNN_INPUT_DENSE && !info->tokenizer && !cli_given(s->args, "ids"))
        return cli_fail("this model has no vocabulary and takes token ids (--ids)");
    return CLI_OK;
}

static int score_file(struct score *s)
{
    int status = check_model(s);

    if (status == CLI_OK)
        status = open_file(s, s->args->operands[1]);
    if (status == CLI_OK)
        status = score_all(s);
    if (status == CLI_OK)
        status = print_result(s, cli_given(s->args, "json"));
    if (s->in && s->in != stdin)
        fclose(s->in);
    return status;
}

static int run(const struct cli_args *args)
{
    struct score s = {.args = args};
    int status;

    signals_catch();
    status = engine_open(&s.engine, args, args->operands[0]);
    if (status != CLI_OK)
        return status;
    status = score_file(&s);
    engine_close(&s.engine);
    return status;
}

const struct cli_command command_score = {
    .name = "score",
    .operands = "MODEL FILE",
    .n_operands = 2,
    .summary = "bits per character of a text under a model, or of answers",
    .about =
        "Scores FILE ('-': standard input) as one sequence from a zero state: the negative "
        "logarithm of the probability that MODEL gave each character, summed (nats) and on "
        "average (bits per character, perplexity). The first character has no prediction before "
        "it and is not counted.\n"
        "Of a translator, a captioner, a classifier or a tagger each line of FILE is an input, a "
        "tab, and what should come out: text (ids with --ids), a label, or a label for each step "
        "between spaces. The accuracy is the share of tokens or labels that were the most "
        "probable.\n"
        "A bar on standard error shows the progress where that is a terminal.",
    .options = options,
    .run = run,
};
