/* Predict: feeds each input to the end and writes what comes out at the steps that were asked for.
 *
 * A sequence writes its outputs as JSON into its own buffer while it steps; finish puts them
 * together.  The size of the answer is bounded before the first step.  On the work shard. */
#include "server/task_predict_inner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "server/answer.h"
#include "server/metrics.h"

/* ---- Preparing ---- */

/* A tagger or a forecaster that answers every step is asked for every step; a language model is
 * asked what comes next. */
static bool reports_all(const struct predict_job *p)
{
    if (p->what.steps != PREDICT_STEPS_MODEL)
        return p->what.steps == PREDICT_STEPS_ALL;
    return api_answers_steps(p->info) && !p->info->language_model;
}

/* Without labels and vocabulary an entry of `top` is short; with them it carries their text. */
static size_t longest_name(const struct rnn_model *model, const struct rnn_model_info *info)
{
    size_t longest = 0;

    for (size_t i = 0; i < info->output_size; i++) {
        size_t len = 0;

        if (info->labels)
            len = strlen(info->labels[i]);
        else
            (void)rnn_token_text(model, (uint32_t)i, &len);
        if (len > longest)
            longest = len;
    }
    return longest;
}

/* The most bytes that one step's output can take; SIZE_MAX where that overflows. */
static size_t output_bytes(const struct predict_job *p, const struct rnn_model *model)
{
    const struct rnn_model_info *info = p->info;
    size_t floats = 0, name = p->n_top ? longest_name(model, info) : 0, top, bytes;
    size_t layers = layers_bytes(model, api_layers(p->what.returns));

    if (p->what.returns & PREDICT_LOGITS)
        floats += info->output_size;
    if (p->what.returns & PREDICT_PROBABILITIES)
        floats += info->output_size;
    if (p->what.returns & PREDICT_HIDDEN)
        floats += info->hidden_width;
    if (info->n_values > 0)
        floats += info->output_size + info->components; /* these in pairs, with their brackets */
    /* a byte of a name may be written as six (a control character's \u00XX) */
    if (!checked_mul(p->n_top, ANSWER_TOKEN_BYTES + 6 * name, &top) ||
        !checked_mul(floats, ANSWER_FLOAT_BYTES, &bytes) || !checked_add(bytes, top, &bytes) ||
        !checked_add(bytes, 128, &bytes) || !checked_add(bytes, layers, &bytes))
        return SIZE_MAX;
    return bytes;
}

static int check_size(const struct predict_job *p, const struct job *job, struct rnn_err *err)
{
    uint64_t max = shard_config(job->work)->answer_max_bytes;
    uint64_t n_inputs = p->what.common.inputs.n;
    uint64_t n_outputs = !p->all           ? n_inputs
                         : p->info->repeat ? n_inputs * p->info->repeat
                                           : p->input_steps;
    size_t each = output_bytes(p, job->model), total;
    const char *field = p->all ? "steps" : p->what.returns ? "return" : "top_k";

    if (checked_mul(each, n_outputs, &total) && total <= max)
        return 0;
    return rnn_fail_at(err, RNN_ELIMIT, field, -1,
                       "%s: an answer with %llu outputs would pass the limit of %llu bytes "
                       "(answer_max_bytes)",
                       field, (unsigned long long)n_outputs, (unsigned long long)max);
}

static int prepare_outputs(struct predict_job *p, struct job *job, struct rnn_err *err)
{
    size_t n = p->info->output_size;

    p->n_top = p->what.top_k;
    if (p->info->activation == RNN_HEAD_SIGMOID || p->n_top > n)
        p->n_top = (uint32_t)n; /* independent labels are all listed */
    if (p->info->n_values > 0)
        p->n_top = 0;
    p->probabilities = calloc(n, sizeof *p->probabilities);
    p->top = calloc((size_t)p->n_top + 1, sizeof *p->top);
    if (!p->probabilities || !p->top)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    return check_size(p, job, err);
}

static int prepare(struct job *job, struct rnn_err *err)
{
    struct predict_job *p = predict_of(job);
    int rc;

    p->info = rnn_model_info(job->model);
    p->all = reports_all(p);
    if (p->what.steps == PREDICT_STEPS_ALL && !api_answers_steps(p->info))
        return rnn_fail_at(err, REPLY_EINPUT, "steps", -1,
                           "steps: this model has an output at its last step only");
    p->each = 1 + candidates_count(p);
    job->asides = p->what.common.inputs.n == 1;
    rc = candidates_check(p, shard_config(job->work), err);
    if (rc == 0)
        rc = api_sequences(job, &p->what.common.inputs, p->each, &p->input_steps, err);
    for (size_t i = 0; rc == 0 && i < job->n_sequences; i += p->each)
        job->sequences[i].input.last_only = !p->all;
    if (rc == 0)
        rc = candidates_prepare(p, err);
    if (rc == 0)
        rc = layers_prepare(&p->layers, job, api_layers(p->what.returns), err);
    return rc == 0 ? prepare_outputs(p, job, err) : rc;
}

/* ---- Writing an output ---- */

static double log_sigmoid(double z)
{
    return z >= 0 ? -log1p(exp(-z)) : z - log1p(exp(z));
}

static void write_entry(const struct predict_job *p, struct buf *out, uint32_t id, double logprob)
{
    buf_putc(out, '{');
    if (p->info->labels) {
        buf_puts(out, "\"label\":");
        answer_text(out, p->info->labels[id]);
        buf_puts(out, ",\"id\":");
        buf_u64(out, id);
    } else {
        answer_token(out, p->job.model, id);
    }
    buf_puts(out, ",\"probability\":");
    buf_f32(out, p->probabilities[id]);
    buf_puts(out, ",\"logprob\":");
    buf_f32(out, (float)logprob);
    buf_putc(out, '}');
}

static void write_top(const struct predict_job *p, struct buf *out, const float *logits)
{
    bool sigmoid = p->info->activation == RNN_HEAD_SIGMOID;
    size_t n = rnn_top(logits, p->info->output_size, p->n_top, p->top);
    double sum = sigmoid ? 0 : rnn_log_sum_exp(logits, p->info->output_size);

    buf_puts(out, ",\"top\":[");
    for (size_t i = 0; i < n; i++) {
        double z = (double)logits[p->top[i]];

        if (i > 0)
            buf_putc(out, ',');
        write_entry(p, out, p->top[i], sigmoid ? log_sigmoid(z) : z - sum);
    }
    buf_putc(out, ']');
}

static void write_array(struct buf *out, const char *name, const float *values, size_t n)
{
    buf_puts(out, name);
    buf_f32_array(out, values, n);
}

static void write_pairs(struct buf *out, const char *name, const float *x, const float *y, size_t n)
{
    buf_puts(out, name);
    for (size_t i = 0; i < n; i++) {
        const float pair[] = {x[i], y[i]};

        if (i > 0)
            buf_putc(out, ',');
        buf_f32_array(out, pair, 2);
    }
    buf_putc(out, ']');
}

/* What a mixture says of the next point, in the units of the data: rnn_activate()'s numbers, by
 * name. */
static void write_mixture(const struct predict_job *p, struct buf *out)
{
    size_t n = p->info->components;
    const float *m = p->probabilities + p->info->pen;

    write_array(out, ",\"pen\":", p->probabilities, p->info->pen);
    write_array(out, ",\"mixture\":{\"weights\":", m, n);
    write_pairs(out, ",\"mean\":[", m + n, m + 2 * n, n);
    write_pairs(out, ",\"std\":[", m + 3 * n, m + 4 * n, n);
    write_array(out, ",\"correlation\":", m + 5 * n, n);
    buf_putc(out, '}');
}

/* What the head says, after its activation, in a client's terms. */
static void write_said(struct predict_job *p, struct buf *out, const float *logits)
{
    size_t n = p->info->n_values;

    switch (p->info->activation) {
    case RNN_HEAD_MIXTURE:
        write_mixture(p, out);
        break;
    case RNN_HEAD_GAUSSIAN:
        write_array(out, ",\"values\":", p->probabilities, n);
        write_array(out, ",\"std\":", p->probabilities + n, n);
        break;
    case RNN_HEAD_NONE:
        write_array(out, ",\"values\":", p->probabilities, n);
        break;
    default:
        write_top(p, out, logits);
    }
}

static void write_output(struct predict_job *p, struct job_sequence *sequence, const float *logits,
                         const float *hidden)
{
    struct buf *out = &sequence->out;
    size_t n = p->info->output_size;

    rnn_activate(p->job.model, logits, p->probabilities);
    if (p->what.raw) {
        buf_put(out, p->probabilities, n * sizeof *p->probabilities);
        return;
    }
    if (out->len > 0)
        buf_putc(out, ',');
    buf_puts(out, "{\"step\":");
    if (sequence->input.n > 0)
        buf_u64(out, rnn_walk_step(sequence->walk));
    else
        buf_puts(out, "null");
    write_said(p, out, logits);
    if (p->what.returns & PREDICT_LOGITS)
        write_array(out, ",\"logits\":", logits, n);
    if (p->what.returns & PREDICT_PROBABILITIES)
        write_array(out, ",\"probabilities\":", p->probabilities, n);
    if (p->what.returns & PREDICT_HIDDEN)
        write_array(out, ",\"hidden\":", hidden, p->info->hidden_width);
    layers_put(&p->layers, out, sequence);
    buf_putc(out, '}');
}

/* ---- Stepping ---- */

static enum sequence_next feed(struct job *job, struct job_sequence *sequence)
{
    struct sequence *step = &sequence->step;

    if (job_feed(sequence) == RNN_WALK_DONE)
        return SEQUENCE_DONE;
    step->want_hidden = step->want_logits && (predict_of(job)->what.returns & PREDICT_HIDDEN);
    return SEQUENCE_READY;
}

static bool reads(const struct predict_job *p, const struct job_sequence *sequence)
{
    return sequence->index % p->each == 0;
}

static enum sequence_next first(struct job *job, struct job_sequence *sequence)
{
    return reads(predict_of(job), sequence) ? feed(job, sequence) : SEQUENCE_PAUSED;
}

static enum sequence_next stepped(struct job *job, struct job_sequence *sequence, float *logits,
                                  const float *hidden)
{
    struct predict_job *p = predict_of(job);
    enum sequence_next next;

    if (job->end != JOB_RUNNING)
        return SEQUENCE_DONE;
    if (!reads(p, sequence))
        return candidates_stepped(p, sequence, logits);
    if (sequence->input.n > 0)
        metrics_count(job->work->metrics, M_TOKENS_PROMPT, 1);
    if (sequence->step.want_logits)
        write_output(p, sequence, logits, hidden);
    if (sequence->out.failed)
        job_fail(job, REPLY_NO_MEMORY, NULL, "no memory for the answer");
    next = feed(job, sequence);
    if (next == SEQUENCE_DONE && job->end == JOB_RUNNING)
        candidates_begin(p, sequence, logits);
    return next;
}

/* ---- The answer ---- */

static void put_outputs(struct buf *out, const struct job_sequence *sequence)
{
    buf_puts(out, "\"outputs\":[");
    buf_put(out, sequence->out.data, sequence->out.len);
    buf_putc(out, ']');
    candidates_put(predict_of(sequence->job), out, sequence);
}

static void finish(struct job *job, enum job_end end)
{
    struct predict_job *p = predict_of(job);

    (void)end; /* never partial: the deadline is an error */
    if (p->what.raw)
        buf_put(&job->out, job->sequences[0].out.data, job->sequences[0].out.len);
    else
        answer_results(job, p->what.common.inputs.batch, p->each, p->input_steps, put_outputs);
}

static void free_job(struct job *job)
{
    struct predict_job *p = predict_of(job);

    predict_request_free(&p->what);
    free(p->probabilities);
    free(p->top);
    free(p->candidates);
    layers_free(&p->layers);
    free(p);
}

static const struct job_ops ops = {
    .prepare = prepare, .first = first, .stepped = stepped, .finish = finish, .free = free_job};

void task_predict(struct sink *sink, struct predict_request *what)
{
    struct predict_job *p = predict_of(api_job(sink, sizeof *p, &ops, &what->common));

    if (!p)
        return;
    p->what = *what;
    *what = (struct predict_request){0};
    job_submit(&p->job);
}
