/* Generate, of models that write frames: sketches and handwriting off a mixture, numbers off a
 * Gaussian or as they stand.
 *
 * All but the draw is as it is with tokens: a drawing is a text whose pieces are frames.  They
 * gather as JSON in the sequence's `out`, or go out as an event each.  Fields that only tokens know
 * are refused by name.  On the work shard. */
#include "server/task_generate_inner.h"

#include <stdlib.h>

#include "base/checked.h"
#include "server/answer.h"
#include "server/event.h"

/* Bytes of one drawing in an answer, but for its frames. */
enum { DRAWING_BYTES = 128 };

/* ---- Preparing ---- */

static int check_bytes(const struct generate_job *g, struct rnn_err *err)
{
    uint64_t max = shard_config(g->job.work)->answer_max_bytes;
    size_t frame = g->info->input_size * ANSWER_FLOAT_BYTES + 3, total;

    if (g->job.stream ||
        (g->what.max_tokens <= SIZE_MAX && checked_mul(frame, (size_t)g->what.max_tokens, &total) &&
         checked_add(total, DRAWING_BYTES, &total) &&
         checked_mul(total, g->what.n * g->what.common.inputs.n, &total) && total <= max))
        return 0;
    return rnn_fail_at(err, RNN_ELIMIT, g->what.max_name, -1,
                       "%s: an answer with %llu frames of %zu numbers each could pass the limit of "
                       "%llu bytes (answer_max_bytes); want fewer, or a stream",
                       g->what.max_name, (unsigned long long)g->what.max_tokens,
                       g->info->input_size, (unsigned long long)max);
}

int generate_check_frames(struct generate_job *g, struct rnn_err *err)
{
    if (g->what.token_field)
        return rnn_fail_at(err, REPLY_EINPUT, g->what.token_field, -1,
                           "%s: this model writes frames, not tokens", g->what.token_field);
    if (g->info->activation == RNN_HEAD_NONE && !g->what.has_temperature)
        g->what.sampling.temperature = 0;
    if (g->info->activation == RNN_HEAD_NONE && g->what.sampling.temperature > 0)
        return rnn_fail_at(err, REPLY_EINPUT, "temperature", -1,
                           "temperature: this model gives its values without a deviation to draw "
                           "by; want 0");
    return check_bytes(g, err);
}

int generate_prepare_frames(struct generate_job *g, struct rnn_err *err)
{
    g->texts = calloc(g->job.n_sequences, sizeof *g->texts);
    if (!g->texts)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < g->job.n_sequences; i++) {
        g->texts[i].match.found = -1;
        g->texts[i].frame = calloc(g->info->input_size, sizeof(float));
        if (!g->texts[i].frame)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    return 0;
}

/* ---- Drawing ---- */

static void frame_event(struct generate_job *g, const struct job_sequence *sequence)
{
    const struct text *text = &g->texts[sequence->index];
    struct buf *out = &g->job.out;
    char id[RESUME_BYTES];

    if (generate_replays(g, text))
        return;
    generate_id(g, text, RESUME_NOT_CUT, id);
    event_begin(out, "frame", id);
    generate_event_place(g, sequence->index);
    buf_puts(out, ",\"frame\":");
    buf_f32_array(out, text->frame, g->info->input_size);
    generate_put_layers(g, sequence);
    buf_putc(out, '}');
    event_end(out);
}

void generate_draw_frame(struct generate_job *g, struct job_sequence *sequence, const float *logits,
                         struct rnn_rng *rng)
{
    struct text *text = &g->texts[sequence->index];

    if (rnn_sample_frame(g->job.model, logits, g->what.sampling.temperature, rng, text->frame))
        text->end = TEXT_STOP;
    else if (text->n_tokens + 1 == g->what.max_tokens)
        text->end = TEXT_LENGTH;
    text->n_tokens++;
    g->output_steps++;
    generate_note_drawn(g, text->frame, g->info->input_size * sizeof *text->frame);
    if (g->job.stream) {
        frame_event(g, sequence);
    } else {
        if (text->n_tokens > 1)
            buf_putc(&sequence->out, ',');
        buf_f32_array(&sequence->out, text->frame, g->info->input_size);
    }
    job_feed_frame(sequence, text->frame);
}

/* ---- The answer ---- */

void generate_put_frames(struct generate_job *g, struct buf *out, size_t index)
{
    struct buf *frames = &g->job.sequences[index].out;

    if (g->job.stream)
        return;
    buf_puts(out, ",\"frames\":[");
    buf_put(out, frames->data, frames->len);
    buf_putc(out, ']');
}
