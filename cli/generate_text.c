/* rnnd generate, of a model that writes tokens: one text, as it is drawn. */
#include <string.h>

#include "cli/generate.h"
#include "cli/output.h"
#include "cli/signals.h"

/* A text on its way. */
struct drawing {
    struct generate *g;
    struct rnn_sampler *sampler;
    struct stop_match match;
    struct rnn_decoder decoder;
    struct buf tokens; /* ids, with commas between them */
    const char *reason;
};

static void put_id(struct buf *out, uint32_t id)
{
    if (out->len > 0)
        buf_putc(out, ',');
    buf_u64(out, id);
}

static void put_token(struct drawing *d, uint32_t id, bool matched)
{
    struct generate *g = d->g;
    const char *piece = NULL;
    size_t len;

    if (!g->engine.info->tokenizer) {
        if (!g->json)
            buf_printf(&g->text, "%u\n", (unsigned)id);
        return;
    }
    len = rnn_decode(g->engine.model, &d->decoder, id, &piece);
    if (matched)
        (void)stop_match_feed(&d->match, piece, len, &g->text);
    else
        buf_put(&g->text, piece, len);
}

/* The prompt goes through the decoder in any case, so that what is drawn continues it: a word
 * stands behind a space.  What a translator or captioner reads is not continued. */
static void put_prompt(struct drawing *d)
{
    struct generate *g = d->g;
    const char *piece;

    for (size_t i = 0; i < g->prompt.n && !engine_decodes(g->engine.info); i++) {
        rnn_sampler_observe(d->sampler, g->prompt.ids[i], false);
        if (!g->echo) {
            (void)rnn_decode(g->engine.model, &d->decoder, g->prompt.ids[i], &piece);
            continue;
        }
        put_token(d, g->prompt.ids[i], false);
        put_id(&d->tokens, g->prompt.ids[i]);
    }
}

/* With a window penalties look at what it holds, and at nothing else. */
static void recall(struct drawing *d)
{
    const struct engine *engine = &d->g->engine;
    const struct rnn_recent *recent =
        rnn_state_recent(engine->model, engine->state, engine->state_bytes);

    if (recent)
        rnn_sampler_recall(d->sampler, recent);
}

/* Draws until the text ends; false where it could not be printed. */
static bool draw(struct drawing *d)
{
    struct generate *g = d->g;
    bool written = true;
    uint32_t token = 0;

    d->reason = "length";
    for (int64_t i = 0; i < g->max_tokens && written && !signals_arrived(); i++) {
        if (i > 0)
            engine_token(&g->engine, token, true);
        recall(d);
        /* nothing is banned here, so there is always something to draw */
        (void)rnn_sample(d->sampler, g->engine.logits, &g->engine.state->rng, &token);
        rnn_sampler_observe(d->sampler, token, true);
        g->drawn++;
        put_id(&d->tokens, token);
        put_token(d, token, true);
        if (d->match.found >= 0 || (int64_t)token == g->engine.info->eos) {
            d->reason = "stop";
            break;
        }
        written = generate_show(g);
    }
    stop_match_flush(&d->match, &g->text);
    return generate_show(g) && written;
}

static void put_choice(struct drawing *d, int64_t index)
{
    struct generate *g = d->g;
    struct buf *out = &g->answer;

    buf_printf(out, "%s{\"index\":%lld,\"text\":", index ? "," : "", (long long)index);
    buf_json_string(out, g->text.data ? g->text.data : "", g->text.len);
    buf_puts(out, ",\"tokens\":[");
    buf_put(out, d->tokens.data, d->tokens.len);
    buf_printf(out, "],\"finish_reason\":\"%s\"", d->reason);
    if (d->match.found >= 0) {
        buf_puts(out, ",\"stop\":");
        buf_json_string(out, g->stop[d->match.found], strlen(g->stop[d->match.found]));
    }
    buf_putc(out, '}');
    if (g->text.failed || d->tokens.failed)
        out->failed = true;
    buf_clear(&g->text);
}

int generate_text(struct generate *g, int64_t index)
{
    struct drawing d = {.g = g};
    struct rnn_err err = {0};
    bool written;

    if (rnn_sampler_new(&d.sampler, g->engine.info->output_size, &g->sampling, &err) < 0)
        return cli_fail("%s", err.text);
    if (!stop_match_init(&d.match, &g->stops)) {
        rnn_sampler_free(d.sampler);
        return cli_fail("out of memory");
    }
    generate_restart(g, index);
    put_prompt(&d);
    written = generate_show(g) && draw(&d);
    if (written && g->json)
        put_choice(&d, index);
    buf_free(&d.tokens);
    stop_match_free(&d.match);
    rnn_sampler_free(d.sampler);
    return output_status(written);
}
