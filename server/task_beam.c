/* Generate by beam search: the most probable outputs, not drawn ones.
 *
 * A request has n_inputs × beam_width sequences: live beginning j of input i is sequence
 * i * beam_width + j.  Sequence 0 of an input reads it; then each step of the search waits until
 * every live beginning has been stepped, beside everybody else's rows, before the last of them
 * chooses the next ones and hands the states on.  On the work shard. */
#include "server/api.h"

#include <stdlib.h>
#include <string.h>

#include "server/answer.h"
#include "server/metrics.h"

/* The search of one input. */
struct search {
    struct rnn_beam *beam;
    size_t n_live;
    size_t n_offered; /* of them, in this step */
};

struct beam_job {
    struct job job;
    struct generate_request what;
    const struct rnn_model_info *info;
    struct search *searches;     /* [n_inputs] */
    struct rnn_beam_step *steps; /* [width] */
    struct rnn_beam_text *texts; /* [n_best] */
    char *states;                /* [width][job.state_bytes] on their way from parent to child */
    uint64_t input_steps, output_steps;
};

static struct beam_job *of(struct job *job)
{
    return (struct beam_job *)job; /* its first member */
}

static size_t width(const struct beam_job *b)
{
    return b->what.beam_width;
}

/* ---- Preparing ---- */

static int prepare_searches(struct beam_job *b, struct rnn_err *err)
{
    const struct rnn_beam_options options = {.width = width(b),
                                             .length_penalty = b->what.length_penalty,
                                             .eos = b->info->eos,
                                             .max_tokens = b->what.max_tokens};
    size_t n = b->what.common.inputs.n;
    int rc = 0;

    b->searches = calloc(n, sizeof *b->searches);
    b->steps = calloc(width(b), sizeof *b->steps);
    b->texts = calloc(b->what.n_best, sizeof *b->texts);
    b->states = calloc(width(b), b->job.state_bytes);
    if (!b->searches || !b->steps || !b->texts || !b->states)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = rnn_beam_new(&b->searches[i].beam, b->info->output_size, &options, err);
    return rc;
}

static int prepare(struct job *job, struct rnn_err *err)
{
    struct beam_job *b = of(job);
    int rc;

    b->info = rnn_model_info(job->model);
    if (b->info->writes_frames)
        return rnn_fail_at(err, REPLY_EINPUT, "beam_width", -1,
                           "beam_width: this model writes frames, not tokens");
    rc = api_want_writer(b->info, "generate", err);
    if (rc < 0)
        return rc;
    if (!b->what.has_max_tokens && b->info->max_len > 0 && b->info->max_len < b->what.max_tokens)
        b->what.max_tokens = b->info->max_len;
    rc = api_sequences(job, &b->what.common.inputs, width(b), &b->input_steps, err);
    for (size_t i = 0; rc == 0 && i < job->n_sequences; i += width(b))
        job->sequences[i].input.last_only = true;
    return rc == 0 ? prepare_searches(b, err) : rc;
}

/* ---- Stepping ---- */

/* Each child gets its parent's state; parents may have several children, or none. */
static void hand_states_on(struct beam_job *b, struct job_sequence *leader, size_t n)
{
    size_t bytes = b->job.state_bytes;

    for (size_t j = 0; j < n; j++)
        memcpy(b->states + j * bytes, leader[b->steps[j].parent].step.state, bytes);
    for (size_t j = 0; j < n; j++)
        memcpy(leader[j].step.state, b->states + j * bytes, bytes);
}

static enum sequence_next end_search(struct beam_job *b, struct job_sequence *leader,
                                     const struct job_sequence *last)
{
    for (size_t j = 0; j < width(b); j++)
        if (&leader[j] != last)
            job_close(&leader[j]);
    return SEQUENCE_DONE;
}

/* All live beginnings have been offered: the next ones.  `last` is the sequence just stepped. */
static enum sequence_next advance(struct beam_job *b, struct search *search,
                                  struct job_sequence *leader, struct job_sequence *last)
{
    enum sequence_next next = SEQUENCE_PAUSED; /* a place that nobody lives in at present */
    struct rnn_err err = {0};

    search->n_offered = 0;
    if (rnn_beam_advance(search->beam, b->steps, &search->n_live, &err) < 0) {
        job_fail(&b->job, REPLY_NO_MEMORY, NULL, "%s", err.text);
        return SEQUENCE_DONE;
    }
    if (search->n_live == 0)
        return end_search(b, leader, last);
    hand_states_on(b, leader, search->n_live);
    for (size_t j = 0; j < search->n_live; j++) {
        job_feed_token(&leader[j], leader, b->steps[j].token);
        leader[j].step.want_logits = true;
        if (&leader[j] == last)
            next = SEQUENCE_READY;
        else
            job_continue(&leader[j]);
    }
    return next;
}

static enum sequence_next first(struct job *job, struct job_sequence *sequence)
{
    struct beam_job *b = of(job);

    if (sequence->index % width(b) > 0)
        return SEQUENCE_PAUSED;
    b->searches[sequence->index / width(b)].n_live = 1;
    return job_feed(sequence) == RNN_WALK_DONE ? SEQUENCE_DONE : SEQUENCE_READY;
}

static enum sequence_next stepped(struct job *job, struct job_sequence *sequence, float *logits,
                                  const float *hidden)
{
    struct beam_job *b = of(job);
    struct search *search = &b->searches[sequence->index / width(b)];
    size_t live = sequence->index % width(b);

    (void)hidden;
    if (job->end != JOB_RUNNING)
        return SEQUENCE_DONE;
    if (sequence->step.reading)
        metrics_count(job->work->metrics, M_TOKENS_PROMPT, 1);
    if (sequence->step.reading && job_feed(sequence) != RNN_WALK_DONE)
        return SEQUENCE_READY;
    b->output_steps++;
    rnn_beam_offer(search->beam, live, logits);
    if (++search->n_offered < search->n_live)
        return SEQUENCE_PAUSED;
    return advance(b, search, sequence - live, sequence);
}

/* ---- The answer ---- */

/* What continues a prompt goes through the decoder behind it: a word stands behind a space. */
static struct rnn_decoder behind_prompt(const struct beam_job *b, size_t input)
{
    const struct input *prompt = &b->what.common.inputs.items[input];
    struct rnn_decoder decoder = {0};
    const char *piece;

    for (size_t i = 0; b->info->tokenizer && !api_decodes(b->info) && i < prompt->n; i++)
        (void)rnn_decode(b->job.model, &decoder, prompt->tokens[i], &piece);
    return decoder;
}

static void put_choice(struct beam_job *b, struct buf *out, size_t index, size_t input)
{
    const struct rnn_beam_text *text = &b->texts[index];

    buf_puts(out, index ? ",{\"index\":" : "{\"index\":");
    buf_u64(out, index);
    buf_puts(out, ",\"text\":");
    answer_decoded(out, b->job.model, behind_prompt(b, input), text->tokens,
                   b->info->tokenizer ? text->n : 0);
    buf_puts(out, ",\"tokens\":");
    answer_ids(out, text->tokens, text->n);
    buf_puts(out, ",\"finish_reason\":");
    buf_puts(out, text->ended ? "\"stop\"" : "\"length\"");
    buf_puts(out, ",\"logprob\":");
    buf_f64(out, text->logprob);
    buf_puts(out, ",\"score\":");
    buf_f64(out, text->score);
    buf_putc(out, '}');
}

static void put_choices(struct beam_job *b, struct buf *out, size_t input)
{
    struct rnn_err err = {0};
    size_t n = 0;

    if (rnn_beam_texts(b->searches[input].beam, b->texts, b->what.n_best, &n, &err) < 0)
        job_fail(&b->job, REPLY_NO_MEMORY, NULL, "%s", err.text);
    buf_puts(out, "\"choices\":[");
    for (size_t i = 0; i < n; i++)
        put_choice(b, out, i, input);
    buf_putc(out, ']');
}

static void finish(struct job *job, enum job_end end)
{
    struct beam_job *b = of(job);
    const struct input_list *inputs = &b->what.common.inputs;
    struct buf *out = &job->out;

    (void)end; /* never partial: the deadline is an error */
    answer_open(job);
    buf_puts(out, inputs->batch ? ",\"results\":[" : ",");
    for (size_t i = 0; i < inputs->n; i++) {
        if (inputs->batch)
            buf_puts(out, i ? ",{" : "{");
        put_choices(b, out, i);
        if (inputs->batch) {
            buf_puts(out, ",\"usage\":{\"input_steps\":");
            buf_u64(out, inputs->items[i].n);
            buf_puts(out, "}}");
        }
    }
    if (inputs->batch)
        buf_putc(out, ']');
    answer_close(out, job, b->input_steps, (int64_t)b->output_steps);
}

static void free_job(struct job *job)
{
    struct beam_job *b = of(job);

    for (size_t i = 0; b->searches && i < b->what.common.inputs.n; i++)
        rnn_beam_free(b->searches[i].beam);
    free(b->searches);
    free(b->steps);
    free(b->texts);
    free(b->states);
    generate_request_free(&b->what);
    free(b);
}

static const struct job_ops ops = {
    .prepare = prepare, .first = first, .stepped = stepped, .finish = finish, .free = free_job};

void task_beam(struct sink *sink, struct generate_request *what)
{
    struct beam_job *b = of(api_job(sink, sizeof *b, &ops, &what->common));

    if (!b)
        return;
    b->what = *what;
    *what = (struct generate_request){0};
    job_submit(&b->job);
}
