/* Score: feeds each text and reads, before every token, how probable the model found it; and the
 * same of drawings and series, before every frame.
 *
 * A language model's text is the input.  Its first token has a prediction only in a session that
 * stands behind its beginning: then the state is read before anything is fed, and a text that is
 * scored in chunks sums to the same as in one.  A translator or captioner reads the input and is
 * scored on the target, from bos on and, where it knows an end, to eos.  On the work shard. */
#include "server/api.h"

#include <math.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "server/answer.h"
#include "server/metrics.h"

/* The sums of one sequence. */
struct tally {
    double nats;
    uint64_t n_scored;
    uint64_t n_characters; /* of the scored tokens */
};

struct score_job {
    struct job job;
    struct score_request what;
    bool decodes;
    bool frames; /* are scored, by their density */
    size_t n_tokens;
    struct tally *tallies; /* [n_sequences] */
    uint64_t input_steps;
};

static struct score_job *of(struct job *job)
{
    return (struct score_job *)job; /* its first member */
}

static int check_size(const struct score_job *s, const struct job *job, struct rnn_err *err)
{
    uint64_t max = shard_config(job->work)->answer_max_bytes;
    size_t n = s->input_steps, total;

    for (size_t i = 0; s->decodes && i < job->n_sequences; i++)
        n += job->sequences[i].input.n_target + 1;
    if (checked_mul(n, ANSWER_TOKEN_BYTES, &total) && total <= max)
        return 0;
    return rnn_fail_at(err, RNN_ELIMIT, "input", -1,
                       "input: the answer to %zu tokens would pass the limit of %llu bytes "
                       "(answer_max_bytes); score it in chunks, with a session",
                       n, (unsigned long long)max);
}

/* Which fields this model wants. */
static int check_fields(const struct score_job *s, const struct rnn_model_info *info,
                        struct rnn_err *err)
{
    const struct input_list *inputs = &s->what.common.inputs, *targets = &s->what.targets;

    int rc = s->frames ? 0 : api_want_writer(info, "score", err);

    if (rc < 0)
        return rc;
    if (!s->decodes && inputs->items[0].kind == INPUT_EMPTY)
        return rnn_fail_at(err, RNN_EFORMAT, "input", -1, "input: is missing or empty");
    if (!s->decodes && targets->given)
        return rnn_fail_at(err, REPLY_EINPUT, "target", -1,
                           "target: this model continues its input; want it all under input");
    if (s->decodes &&
        (!targets->given || targets->batch != inputs->batch || targets->n != inputs->n))
        return rnn_fail_at(err, RNN_EFORMAT, "target", -1,
                           "target: want what should have come out, one for each input");
    return 0;
}

static int prepare_target(struct score_job *s, struct job_sequence *sequence, struct rnn_err *err)
{
    struct input_list *targets = &s->what.targets;
    int rc = input_resolve_target(targets, sequence->index, s->job.model, err);

    sequence->input.target = targets->items[sequence->index].tokens;
    sequence->input.n_target = targets->items[sequence->index].n;
    return rc;
}

static int prepare(struct job *job, struct rnn_err *err)
{
    struct score_job *s = of(job);
    const struct rnn_model_info *info = rnn_model_info(job->model);
    size_t n = s->what.common.inputs.n;
    int rc;

    s->decodes = api_decodes(info);
    s->frames =
        info->writes_frames && info->topology == RNN_SYNCED && info->activation != RNN_HEAD_NONE;
    rc = check_fields(s, info, err);
    if (rc < 0)
        return rc;
    s->n_tokens = info->output_size;
    s->tallies = calloc(n, sizeof *s->tallies);
    if (!s->tallies)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = api_sequences(job, &s->what.common.inputs, 1, &s->input_steps, err);
    for (size_t i = 0; rc == 0 && s->decodes && i < n; i++)
        rc = prepare_target(s, &job->sequences[i], err);
    return rc == 0 ? check_size(s, job, err) : rc;
}

/* ---- Stepping ---- */

/* null where it is not defined, or too large to be written. */
static void put_ratio(struct buf *out, const char *name, double value, bool defined)
{
    buf_puts(out, name);
    if (defined && isfinite(value))
        buf_f64(out, value);
    else
        buf_puts(out, "null");
}

static void write_token(struct job *job, struct job_sequence *sequence, uint32_t token,
                        const struct rnn_token_score *score)
{
    struct buf *out = &sequence->out;

    buf_puts(out, out->len ? ",{" : "{");
    answer_token(out, job->model, token);
    if (score) {
        buf_puts(out, ",\"logprob\":");
        buf_f32(out, (float)score->logprob);
        buf_puts(out, ",\"rank\":");
        buf_u64(out, score->rank);
        buf_puts(out, ",\"entropy\":");
        buf_f32(out, (float)score->entropy);
        buf_putc(out, '}');
    } else {
        buf_puts(out, ",\"logprob\":null,\"rank\":null,\"entropy\":null}");
    }
}

static void write_frame(const struct job *job, struct job_sequence *sequence,
                        const struct rnn_frame_score *score)
{
    struct buf *out = &sequence->out;

    put_ratio(out, out->len ? ",{\"logprob\":" : "{\"logprob\":", score ? -score->nats : 0, score);
    if (rnn_model_info(job->model)->pen > 0)
        put_ratio(out, ",\"pen_logprob\":", score ? -score->pen : 0, score);
    buf_putc(out, '}');
}

/* The token that the output of step `step` should have been, or the number of the frame; -1: none
 * is known. */
static int64_t item_after(const struct score_job *s, const struct job_sequence *sequence,
                          size_t step)
{
    const struct rnn_walk_input *input = &sequence->input;
    int64_t eos = rnn_model_info(s->job.model)->eos;

    if (s->frames)
        return step + 1 < input->n ? (int64_t)step + 1 : -1;
    if (!s->decodes)
        return step + 1 < input->n ? (int64_t)input->tokens[step + 1] : -1;
    if (step < input->n_target)
        return (int64_t)input->target[step];
    return input->n_target > 0 && input->target[step - 1] == eos ? -1 : eos;
}

static void score_token(struct job *job, struct job_sequence *sequence, const float *logits,
                        uint32_t token)
{
    struct score_job *s = of(job);
    struct tally *tally = &s->tallies[sequence->index];
    struct rnn_token_score score;
    size_t len = 0;
    const char *text = rnn_token_text(job->model, token, &len);

    rnn_score_token(logits, s->n_tokens, token, &score);
    tally->nats -= score.logprob;
    tally->n_scored++;
    tally->n_characters += text ? utf8_length(text, len) : 0;
    metrics_count(job->work->metrics, M_TOKENS_SCORED, 1);
    write_token(job, sequence, token, &score);
}

static void score_frame(struct job *job, struct job_sequence *sequence, const float *logits,
                        size_t index)
{
    struct tally *tally = &of(job)->tallies[sequence->index];
    const size_t width = rnn_model_info(job->model)->input_size;
    struct rnn_frame_score score;

    rnn_score_frame(job->model, logits, sequence->input.frames + index * width, &score);
    tally->nats += score.nats;
    tally->n_scored++;
    metrics_count(job->work->metrics, M_TOKENS_SCORED, 1);
    write_frame(job, sequence, &score);
}

static void score_item(struct job *job, struct job_sequence *sequence, const float *logits,
                       uint32_t item)
{
    if (of(job)->frames)
        score_frame(job, sequence, logits, item);
    else
        score_token(job, sequence, logits, item);
}

static enum sequence_next feed(struct job *job, struct job_sequence *sequence)
{
    const struct score_job *s = of(job);

    if (job_feed(sequence) == RNN_WALK_DONE)
        return SEQUENCE_DONE;
    if (sequence->step.want_logits)
        sequence->step.want_logits = item_after(s, sequence, rnn_walk_step(sequence->walk)) >= 0;
    return SEQUENCE_READY;
}

static enum sequence_next first(struct job *job, struct job_sequence *sequence)
{
    if (of(job)->decodes)
        return feed(job, sequence);
    if (sequence->step.state->position == 0) {
        if (of(job)->frames)
            write_frame(job, sequence, NULL);
        else
            write_token(job, sequence, sequence->input.tokens[0], NULL);
        return feed(job, sequence);
    }
    sequence->step.input = RNN_ROW_READ;
    sequence->step.want_logits = true;
    sequence->step.reading = true;
    return SEQUENCE_READY;
}

static enum sequence_next stepped(struct job *job, struct job_sequence *sequence, float *logits,
                                  const float *hidden)
{
    const struct score_job *s = of(job);

    (void)hidden;
    if (job->end != JOB_RUNNING)
        return SEQUENCE_DONE;
    if (sequence->n_fed == 0)
        score_item(job, sequence, logits, s->frames ? 0 : sequence->input.tokens[0]);
    else
        metrics_count(job->work->metrics, M_TOKENS_PROMPT, 1);
    if (sequence->n_fed > 0 && sequence->step.want_logits)
        score_item(job, sequence, logits,
                   (uint32_t)item_after(s, sequence, rnn_walk_step(sequence->walk)));
    if (sequence->out.failed)
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
    return feed(job, sequence);
}

/* ---- The answer ---- */

static void put_scores(struct buf *out, const struct job_sequence *sequence)
{
    const struct tally *tally = &of(sequence->job)->tallies[sequence->index];
    double n = (double)tally->n_scored, bits = tally->nats / log(2);
    bool frames = of(sequence->job)->frames;

    buf_puts(out, frames ? "\"frames\":[" : "\"tokens\":[");
    buf_put(out, sequence->out.data, sequence->out.len);
    buf_puts(out, "],\"scored\":");
    buf_u64(out, tally->n_scored);
    put_ratio(out, ",\"nats\":", tally->nats, true);
    if (frames) {
        put_ratio(out, ",\"nats_per_frame\":", tally->nats / n, tally->n_scored > 0);
        return;
    }
    put_ratio(out, ",\"bits_per_token\":", bits / n, tally->n_scored > 0);
    put_ratio(out, ",\"bits_per_character\":", bits / (double)tally->n_characters,
              tally->n_characters > 0);
    put_ratio(out, ",\"perplexity\":", exp(tally->nats / n), tally->n_scored > 0);
}

static void finish(struct job *job, enum job_end end)
{
    struct score_job *s = of(job);

    (void)end; /* never partial: the deadline is an error */
    answer_results(job, s->what.common.inputs.batch, 1, s->input_steps, put_scores);
}

static void free_job(struct job *job)
{
    struct score_job *s = of(job);

    score_request_free(&s->what);
    free(s->tallies);
    free(s);
}

static const struct job_ops ops = {
    .prepare = prepare, .first = first, .stepped = stepped, .finish = finish, .free = free_job};

void task_score(struct sink *sink, struct score_request *what)
{
    struct score_job *s = of(api_job(sink, sizeof *s, &ops, &what->common));

    if (!s)
        return;
    s->what = *what;
    *what = (struct score_request){0};
    job_submit(&s->job);
}
