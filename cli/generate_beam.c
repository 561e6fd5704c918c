/* rnnd generate --beam-width: the most probable texts, best first, as POST /generate finds them. */
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "cli/output.h"
#include "cli/signals.h"

/* A search; live beginnings have a state each. */
struct search {
    struct generate *g;
    const struct rnn_model_info *info;
    struct rnn_beam *beam;
    struct rnn_scratch *scratch;
    struct rnn_beam_step *steps; /* [width] */
    struct rnn_row *rows;        /* [width] */
    float *logits;               /* [width][output_size] */
    char *states, *next;         /* [width][state_bytes], of this step and of the next */
};

static int begin(struct search *s, struct rnn_err *err)
{
    struct generate *g = s->g;
    size_t width = (size_t)g->beam_width;
    const struct rnn_beam_options options = {.width = width,
                                             .length_penalty = (double)g->length_penalty,
                                             .eos = s->info->eos,
                                             .max_tokens = (size_t)g->max_tokens};
    int rc = rnn_beam_new(&s->beam, s->info->output_size, &options, err);

    if (rc == 0)
        rc = rnn_scratch_new(&s->scratch, g->engine.model, width, err);
    if (rc < 0)
        return rc;
    s->steps = calloc(width, sizeof *s->steps);
    s->rows = calloc(width, sizeof *s->rows);
    s->logits = calloc(width, s->info->output_size * sizeof *s->logits);
    s->states = calloc(width, s->info->state_bytes);
    s->next = calloc(width, s->info->state_bytes);
    if (!s->steps || !s->rows || !s->logits || !s->states || !s->next)
        return rnn_fail(err, RNN_ENOMEM, "out of memory: a beam of %zu", width);
    memcpy(s->states, g->start, s->info->state_bytes);
    return 0;
}

static void end(struct search *s)
{
    rnn_beam_free(s->beam);
    rnn_scratch_free(s->scratch);
    free(s->steps);
    free(s->rows);
    free(s->logits);
    free(s->states);
    free(s->next);
}

/* Feeds the n beginnings that are to live, each from its parent's state, and offers what follows.
 */
static void step(struct search *s, size_t n)
{
    const struct engine *engine = &s->g->engine;
    size_t bytes = s->info->state_bytes;
    char *last = s->states;

    for (size_t i = 0; i < n; i++) {
        char *state = s->next + i * bytes;

        memcpy(state, s->states + s->steps[i].parent * bytes, bytes);
        s->rows[i] = (struct rnn_row){.state = (struct rnn_state *)(void *)state,
                                      .input = RNN_ROW_TOKEN,
                                      .token = s->steps[i].token,
                                      .memory = rnn_walk_memory(engine->walk),
                                      .logits = s->logits + i * s->info->output_size};
    }
    rnn_step(engine->model, s->scratch, s->rows, n);
    s->states = s->next;
    s->next = last;
    for (size_t i = 0; i < n; i++)
        rnn_beam_offer(s->beam, i, s->rows[i].logits);
}

static int run(struct search *s, struct rnn_err *err)
{
    size_t n;
    int rc;

    rnn_beam_offer(s->beam, 0, s->g->first);
    s->g->drawn++;
    rc = rnn_beam_advance(s->beam, s->steps, &n, err);
    while (rc == 0 && n > 0 && !signals_arrived()) {
        step(s, n);
        s->g->drawn += n;
        rc = rnn_beam_advance(s->beam, s->steps, &n, err);
    }
    return rc;
}

/* ---- What it found ---- */

static void spell(struct generate *g, const struct rnn_beam_text *text)
{
    struct rnn_decoder decoder = {0};
    const char *piece;

    if (!engine_decodes(g->engine.info)) /* the prompt is continued */
        for (size_t i = 0; i < g->prompt.n; i++)
            (void)rnn_decode(g->engine.model, &decoder, g->prompt.ids[i], &piece);
    for (size_t i = 0; i < text->n; i++) {
        if (g->engine.info->tokenizer) {
            size_t len = rnn_decode(g->engine.model, &decoder, text->tokens[i], &piece);

            buf_put(&g->text, piece, len);
        } else if (!g->json) {
            buf_printf(&g->text, "%u\n", (unsigned)text->tokens[i]);
        }
    }
}

static void put_choice(struct generate *g, const struct rnn_beam_text *text, size_t index)
{
    struct buf *out = &g->answer;

    buf_printf(out, "%s{\"index\":%zu,\"text\":", index ? "," : "", index);
    buf_json_string(out, g->text.data ? g->text.data : "", g->text.len);
    buf_puts(out, ",\"tokens\":[");
    for (size_t i = 0; i < text->n; i++) {
        buf_puts(out, i ? "," : "");
        buf_u64(out, text->tokens[i]);
    }
    buf_printf(out, "],\"finish_reason\":\"%s\",\"logprob\":", text->ended ? "stop" : "length");
    buf_f64(out, text->logprob);
    buf_puts(out, ",\"score\":");
    buf_f64(out, text->score);
    buf_putc(out, '}');
    out->failed |= g->text.failed;
    buf_clear(&g->text);
}

static int print_texts(struct generate *g, const struct rnn_beam_text *texts, size_t n)
{
    int status = CLI_OK;

    for (size_t i = 0; i < n && status == CLI_OK; i++) {
        if (i > 0)
            status = generate_end_line(g, "---\n");
        spell(g, &texts[i]);
        if (g->json)
            put_choice(g, &texts[i], i);
        else if (!generate_show(g))
            status = output_status(false);
    }
    return status;
}

static int print_found(struct search *s)
{
    size_t n_best = (size_t)s->g->n, n = 0;
    struct rnn_beam_text *texts = calloc(n_best, sizeof *texts);
    struct rnn_err err = {0};
    int status;

    if (!texts)
        return cli_fail("out of memory");
    if (rnn_beam_texts(s->beam, texts, n_best, &n, &err) < 0)
        status = cli_fail("%s", err.text);
    else
        status = print_texts(s->g, texts, n);
    free(texts);
    return status;
}

int generate_search(struct generate *g)
{
    struct search s = {.g = g, .info = g->engine.info};
    struct rnn_err err = {0};
    int status = CLI_OK;

    if (begin(&s, &err) < 0 || run(&s, &err) < 0)
        status = cli_fail("%s", err.text);
    else if (!signals_arrived())
        status = print_found(&s);
    end(&s);
    return status;
}
