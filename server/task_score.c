/* Score: feeds each input and reads, before every token, how probable the model found it.
 *
 * The first token has a prediction only in a session that stands behind its beginning: then the
 * state is read before anything is fed, and a text that is scored in chunks sums to the same as in
 * one.  On the work shard. */
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
    size_t total;

    if (checked_mul(s->input_steps, ANSWER_TOKEN_BYTES, &total) && total <= max)
        return 0;
    return rnn_fail_at(err, RNN_ELIMIT, "input", -1,
                       "input: the answer to %llu tokens would pass the limit of %llu bytes "
                       "(answer_max_bytes); score it in chunks, with a session",
                       (unsigned long long)s->input_steps, (unsigned long long)max);
}

static int prepare(struct job *job, struct rnn_err *err)
{
    struct score_job *s = of(job);
    struct input_list *inputs = &s->what.common.inputs;
    int rc;

    rc = api_want_language_model(rnn_model_info(job->model), "score", err);
    if (rc < 0)
        return rc;
    if (inputs->items[0].kind == INPUT_EMPTY)
        return rnn_fail_at(err, RNN_EFORMAT, "input", -1, "input: is missing or empty");
    s->n_tokens = rnn_model_info(job->model)->output_size;
    s->tallies = calloc(inputs->n, sizeof *s->tallies);
    if (!s->tallies)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = api_sequences(job, inputs, 1, &s->input_steps, err);
    return rc == 0 ? check_size(s, job, err) : rc;
}

/* ---- Stepping ---- */

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

static void score_next(struct job *job, struct job_sequence *sequence, const float *logits)
{
    struct score_job *s = of(job);
    struct tally *tally = &s->tallies[sequence->index];
    uint32_t token = sequence->tokens[sequence->n_fed];
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

static enum sequence_next feed(struct job_sequence *sequence)
{
    if (!job_feed(sequence))
        return SEQUENCE_DONE;
    sequence->step.want_logits = !job_fed(sequence); /* the last token predicts nothing here */
    return SEQUENCE_READY;
}

static enum sequence_next first(struct job *job, struct job_sequence *sequence)
{
    if (sequence->step.state->position == 0) {
        write_token(job, sequence, sequence->tokens[0], NULL);
        return feed(sequence);
    }
    sequence->step.input = RNN_ROW_READ;
    sequence->step.want_logits = true;
    sequence->step.reading = true;
    return SEQUENCE_READY;
}

static enum sequence_next stepped(struct job *job, struct job_sequence *sequence, float *logits,
                                  const float *hidden)
{
    (void)hidden;
    if (job->end != JOB_RUNNING)
        return SEQUENCE_DONE;
    if (sequence->n_fed > 0)
        metrics_count(job->work->metrics, M_TOKENS_PROMPT, 1);
    if (sequence->step.want_logits)
        score_next(job, sequence, logits);
    if (sequence->out.failed)
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
    return feed(sequence);
}

/* ---- The answer ---- */

static void put_ratio(struct buf *out, const char *name, double value, bool defined)
{
    buf_puts(out, name);
    if (defined && isfinite(value))
        buf_f64(out, value);
    else
        buf_puts(out, "null");
}

static void put_scores(struct buf *out, const struct job_sequence *sequence)
{
    const struct tally *tally = &of(sequence->job)->tallies[sequence->index];
    double n = (double)tally->n_scored, bits = tally->nats / log(2);

    buf_puts(out, "\"tokens\":[");
    buf_put(out, sequence->out.data, sequence->out.len);
    buf_puts(out, "],\"scored\":");
    buf_u64(out, tally->n_scored);
    put_ratio(out, ",\"nats\":", tally->nats, true);
    put_ratio(out, ",\"bits_per_token\":", bits / n, tally->n_scored > 0);
    put_ratio(out, ",\"bits_per_character\":", bits / (double)tally->n_characters,
              tally->n_characters > 0);
    put_ratio(out, ",\"perplexity\":", exp(tally->nats / n), tally->n_scored > 0);
}

static void finish(struct job *job, enum job_end end)
{
    struct score_job *s = of(job);

    (void)end; /* never partial: the deadline is an error */
    answer_results(job, s->what.common.inputs.batch, s->input_steps, put_scores);
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

void task_score(struct request *request, struct score_request *what)
{
    struct score_job *s = of(api_job(request, sizeof *s, &ops, &what->common));

    if (!s)
        return;
    s->what = *what;
    *what = (struct score_request){0};
    job_submit(&s->job);
}
