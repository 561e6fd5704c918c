/* Generate, what goes out: the events of a stream, the logprobs of a token, the answer.
 *
 * Every text has gone through the stop matcher, but for an echo of the prompt, which stands in
 * front.  A stream's event carries all the text that the matcher has let out since the last one;
 * text that no token brought goes in an event whose token is null.  On the work shard. */
#include "server/task_generate_inner.h"

#include "server/answer.h"
#include "server/event.h"

/* ---- While it is drawn ---- */

void generate_event_place(struct generate_job *g, size_t index)
{
    struct buf *out = &g->job.out;

    buf_puts(out, "{\"index\":");
    buf_u64(out, index % g->what.n);
    if (g->what.common.inputs.batch) {
        buf_puts(out, ",\"input\":");
        buf_u64(out, index / g->what.n);
    }
}

static void text_event_begin(struct generate_job *g, size_t index, const char *id)
{
    event_begin(&g->job.out, "token", id);
    generate_event_place(g, index);
    buf_puts(&g->job.out, ",\"text\":");
}

static void text_event_end(struct generate_job *g)
{
    buf_putc(&g->job.out, '}');
    event_end(&g->job.out);
}

static void put_text(struct buf *out, const struct text *text)
{
    buf_json_string(out, text->bytes.data ? text->bytes.data : "", text->bytes.len);
}

/* An event with text that no token brought: an echo, or what was held back at the end. */
static void bare_event(struct generate_job *g, size_t index, enum resume_cut cut)
{
    char id[RESUME_BYTES];

    generate_id(g, &g->texts[index], cut, id);
    text_event_begin(g, index, id);
    put_text(&g->job.out, &g->texts[index]);
    buf_puts(&g->job.out, ",\"token\":null");
    text_event_end(g);
    buf_clear(&g->texts[index].bytes);
}

/* "logprob":…[,"top":[…]] of one token; logits NULL: it was not predicted. */
static void put_logprob(struct generate_job *g, struct buf *out, const float *logits,
                        uint32_t token)
{
    size_t n = g->info->output_size, n_top;
    double sum;

    if (!logits) {
        buf_puts(out, "\"logprob\":null,\"top\":[]");
        return;
    }
    sum = rnn_log_sum_exp(logits, n);
    buf_puts(out, "\"logprob\":");
    buf_f32(out, (float)((double)logits[token] - sum));
    buf_puts(out, ",\"top\":[");
    n_top = rnn_top(logits, n, (size_t)g->what.logprobs, g->top);
    for (size_t i = 0; i < n_top; i++) {
        buf_puts(out, i ? ",{" : "{");
        answer_token(out, g->job.model, g->top[i]);
        buf_puts(out, ",\"logprob\":");
        buf_f32(out, (float)((double)logits[g->top[i]] - sum));
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

void generate_note_logprob(struct generate_job *g, struct job_sequence *sequence,
                           const float *logits, uint32_t token)
{
    struct buf *out = &sequence->out;

    if (g->what.logprobs < 0)
        return;
    buf_puts(out, out->len ? ",{" : "{");
    answer_token(out, g->job.model, token);
    buf_putc(out, ',');
    put_logprob(g, out, logits, token);
    buf_putc(out, '}');
}

/* Past the stop matcher, which looks at what is drawn.  What a translator or captioner was given is
 * no beginning of what it writes. */
void generate_prompt(struct generate_job *g, size_t index)
{
    const struct input *input = &g->what.common.inputs.items[index / g->what.n];
    struct text *text = &g->texts[index];

    if (text->prompted || api_decodes(g->info))
        return;
    text->prompted = true;
    for (size_t i = 0; g->info->tokenizer && i < input->n; i++) {
        const char *piece = "";
        size_t len = rnn_decode(g->job.model, &text->decoder, input->tokens[i], &piece);

        if (g->what.echo)
            buf_put(&text->bytes, piece, len);
    }
    if (!g->what.echo || !g->job.stream || input->n == 0)
        return;
    if (generate_replays(g, text))
        buf_clear(&text->bytes);
    else
        bare_event(g, index, RESUME_NOT_CUT);
}

void generate_put_layers(struct generate_job *g, const struct job_sequence *sequence)
{
    struct buf *out = &g->job.out;

    if (g->hidden && (g->what.returns & PREDICT_HIDDEN)) {
        buf_puts(out, ",\"hidden\":");
        buf_f32_array(out, g->hidden, g->info->hidden_width);
    }
    layers_put(&g->layers, out, sequence);
}

void generate_event(struct generate_job *g, struct job_sequence *sequence, const float *logits,
                    uint32_t token)
{
    struct text *text = &g->texts[sequence->index];
    struct buf *out = &g->job.out;
    char id[RESUME_BYTES];

    if (generate_replays(g, text)) {
        buf_clear(&text->bytes);
        return;
    }
    generate_id(g, text, RESUME_NOT_CUT, id);
    text_event_begin(g, sequence->index, id);
    put_text(out, text);
    buf_clear(&text->bytes);
    buf_puts(out, ",\"token\":");
    buf_u64(out, token);
    if (g->what.logprobs >= 0) {
        buf_putc(out, ',');
        put_logprob(g, out, logits, token);
    }
    generate_put_layers(g, sequence);
    text_event_end(g);
}

/* ---- The answer ---- */

static const char *end_name(enum text_end end)
{
    static const char *const names[] = {[TEXT_RUNNING] = "",
                                        [TEXT_STOP] = "stop",
                                        [TEXT_LENGTH] = "length",
                                        [TEXT_DEADLINE] = "deadline",
                                        [TEXT_CANCELLED] = "cancelled"};

    return names[end];
}

/* The prompt's ids stand before the drawn ones where it is echoed. */
static void put_tokens(const struct generate_job *g, struct buf *out, size_t index)
{
    const struct input *input = &g->what.common.inputs.items[index / g->what.n];
    const struct text *text = &g->texts[index];
    size_t n_echo = g->what.echo ? input->n : 0;

    buf_puts(out, "\"tokens\":[");
    for (size_t i = 0; i < n_echo + text->n_tokens; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_u64(out, i < n_echo ? input->tokens[i] : text->tokens[i - n_echo]);
    }
    buf_putc(out, ']');
}

/* Text, unless the stream has had it, and tokens. */
static void put_written(struct generate_job *g, struct buf *out, size_t index)
{
    if (!g->job.stream) {
        buf_puts(out, ",\"text\":");
        put_text(out, &g->texts[index]);
    }
    buf_putc(out, ',');
    put_tokens(g, out, index);
}

static void put_choice(struct generate_job *g, struct buf *out, size_t number, size_t index)
{
    const struct text *text = &g->texts[index];

    buf_puts(out, "{\"index\":");
    buf_u64(out, number);
    if (text->frame)
        generate_put_frames(g, out, index);
    else
        put_written(g, out, index);
    buf_puts(out, ",\"finish_reason\":\"");
    buf_puts(out, end_name(text->end));
    buf_putc(out, '"');
    if (text->match.found >= 0) {
        buf_puts(out, ",\"stop\":");
        answer_text(out, g->stops.strings[text->match.found].text);
    }
    if (g->what.logprobs >= 0) {
        buf_puts(out, ",\"logprobs\":[");
        buf_put(out, g->job.sequences[index].out.data, g->job.sequences[index].out.len);
        buf_putc(out, ']');
    }
    buf_putc(out, '}');
}

/* Per token: a text is not worse for being longer. */
static double goodness(const struct text *text)
{
    return text->n_tokens ? text->logprob / (double)text->n_tokens : 0;
}

/* The place of a text among those of its input, where only the best are answered with; else its
 * own. */
static size_t rank(const struct generate_job *g, const struct text *texts, size_t j)
{
    size_t better = 0;

    if (g->what.n_best == g->what.n)
        return j;
    for (size_t k = 0; k < g->what.n; k++) {
        double other = goodness(&texts[k]), own = goodness(&texts[j]);

        better += other > own || (other == own && k < j);
    }
    return better;
}

static void put_choices(struct generate_job *g, struct buf *out, size_t input)
{
    size_t first = input * g->what.n;

    buf_puts(out, "\"choices\":[");
    for (size_t place = 0; place < g->what.n_best; place++) {
        size_t j = 0;

        while (rank(g, g->texts + first, j) != place)
            j++;
        if (place > 0)
            buf_putc(out, ',');
        put_choice(g, out, place, first + j);
    }
    buf_putc(out, ']');
}

static void put_result(struct generate_job *g, struct buf *out, size_t input)
{
    uint64_t drawn = 0;

    for (size_t j = 0; j < g->what.n; j++)
        drawn += g->texts[input * g->what.n + j].n_tokens;
    buf_puts(out, input ? ",{" : "{");
    put_choices(g, out, input);
    buf_puts(out, ",\"usage\":{\"input_steps\":");
    buf_u64(out, g->what.common.inputs.items[input].n);
    buf_puts(out, ",\"output_steps\":");
    buf_u64(out, drawn);
    buf_puts(out, "}}");
}

/* Cut short: what was held back is part of the text now. */
static void end_texts(struct generate_job *g, enum text_end end)
{
    for (size_t i = 0; i < g->job.n_sequences; i++) {
        struct text *text = &g->texts[i];

        if (text->end != TEXT_RUNNING)
            continue;
        text->end = end;
        stop_match_flush(&text->match, &text->bytes);
        if (g->job.stream && text->bytes.len > 0)
            bare_event(g, i, end == TEXT_DEADLINE ? RESUME_DEADLINE : RESUME_CANCELLED);
    }
}

static bool any_failed(const struct generate_job *g)
{
    for (size_t i = 0; i < g->job.n_sequences; i++) {
        if (g->texts[i].bytes.failed || g->job.sequences[i].out.failed)
            return true;
    }
    return false;
}

void generate_finish(struct job *job, enum job_end end)
{
    struct generate_job *g = generate_of(job);
    struct buf *out = &job->out;

    end_texts(g, end == JOB_CANCELLED ? TEXT_CANCELLED : TEXT_DEADLINE);
    if (any_failed(g)) {
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
        return;
    }
    if (job->stream)
        event_begin(out, "done", "");
    answer_open(job);
    buf_putc(out, ',');
    if (g->what.common.inputs.batch) {
        buf_puts(out, "\"results\":[");
        for (size_t i = 0; i < g->what.common.inputs.n; i++)
            put_result(g, out, i);
        buf_putc(out, ']');
    } else {
        put_choices(g, out, 0);
    }
    buf_puts(out, ",\"seed\":");
    buf_u64(out, job->seed);
    answer_close(out, job, g->input_steps, (int64_t)g->output_steps);
    if (job->stream)
        event_end(out);
}
