/* rnnd generate, of a model that writes frames: one drawing, a line for each frame as it is drawn.
 */
#include <stdlib.h>

#include "cli/generate.h"
#include "cli/output.h"
#include "cli/signals.h"

static void put_frame(struct generate *g, const float *frame, bool first)
{
    struct buf *out = g->json ? &g->answer : &g->text;
    size_t n = g->engine.info->input_size;

    if (g->json && !first)
        buf_putc(out, ',');
    if (!g->csv)
        buf_f32_array(out, frame, n);
    for (size_t i = 0; g->csv && i < n; i++) {
        buf_puts(out, i ? "," : "");
        buf_f32(out, frame[i]);
    }
    if (!g->json)
        buf_putc(out, '\n');
}

/* Draws until the drawing ends; *reason says why it did. */
static bool draw(struct generate *g, float *frame, const char **reason)
{
    const struct engine *engine = &g->engine;
    bool written = true;

    *reason = "length";
    for (int64_t i = 0; i < g->max_tokens && written && !signals_arrived(); i++) {
        bool last;

        if (i > 0)
            engine_frame(&g->engine, frame);
        last = rnn_sample_frame(engine->model, engine->logits, g->sampling.temperature,
                                &engine->state->rng, frame);
        g->drawn++;
        put_frame(g, frame, i == 0);
        written = generate_show(g);
        if (last) {
            *reason = "stop";
            break;
        }
    }
    return written;
}

int generate_frames(struct generate *g, int64_t index)
{
    float *frame = calloc(g->engine.info->input_size, sizeof *frame);
    const char *reason;
    bool written;

    if (!frame)
        return cli_fail("out of memory");
    generate_restart(g, index);
    if (g->json)
        buf_printf(&g->answer, "%s{\"index\":%lld,\"frames\":[", index ? "," : "",
                   (long long)index);
    written = draw(g, frame, &reason);
    if (g->json)
        buf_printf(&g->answer, "],\"finish_reason\":\"%s\"}", reason);
    free(frame);
    return output_status(written);
}
