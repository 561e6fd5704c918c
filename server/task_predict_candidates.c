/* Candidates: continuations of an input, each scored from the state behind it.
 *
 * The input is read once.  Its last output scores the first token of every candidate; then all of
 * them branch off from its state and step together, one sequence each, so that the state which a
 * session is left with is the input's alone.  A translator's or captioner's candidate is the whole
 * of what it might write, scored to eos where the model knows one. */
#include "server/task_predict_inner.h"

#include <math.h>
#include <stdlib.h>

#include "base/checked.h"
#include "server/answer.h"
#include "server/metrics.h"

/* Bytes of a candidate's part of the answer, but for its text and tokens; and of a token. */
enum { CANDIDATE_BYTES = 160, CANDIDATE_TOKEN_BYTES = ANSWER_FLOAT_BYTES + 11 };

size_t candidates_count(const struct predict_job *p)
{
    return p->what.candidates.given ? p->what.candidates.n : 0;
}

static const struct input *item_of(const struct predict_job *p, const struct job_sequence *sequence)
{
    return &p->what.candidates.items[sequence->index % p->each - 1];
}

/* Whether eos is scored behind the candidate's own tokens. */
static bool ends_in_eos(const struct predict_job *p, const struct input *item)
{
    return api_decodes(p->info) && p->info->eos >= 0 &&
           (item->n == 0 || item->tokens[item->n - 1] != (uint32_t)p->info->eos);
}

static size_t length_of(const struct predict_job *p, const struct input *item)
{
    return item->n + ends_in_eos(p, item);
}

static uint32_t token_of(const struct predict_job *p, const struct input *item, size_t i)
{
    return i < item->n ? item->tokens[i] : (uint32_t)p->info->eos;
}

/* ---- Preparing ---- */

int candidates_check(const struct predict_job *p, const struct config *config, struct rnn_err *err)
{
    size_t n = candidates_count(p), max = (size_t)config->inputs_max;

    if (n == 0)
        return 0;
    if (!p->info->language_model && !api_decodes(p->info))
        return rnn_fail_at(err, REPLY_EINPUT, "candidates", -1,
                           "candidates: only a model that writes tokens can score them");
    if (n > max / p->what.common.inputs.n)
        return rnn_fail_at(err, RNN_ELIMIT, "candidates", -1,
                           "candidates: want at most %zu, those of all inputs together "
                           "(inputs_max)",
                           max);
    return 0;
}

static int resolve(struct predict_job *p, size_t i, struct rnn_err *err)
{
    struct input_list *list = &p->what.candidates;
    int rc = api_decodes(p->info) ? input_resolve_target(list, i, p->job.model, err)
                                  : input_resolve(list, i, p->job.model, err);
    char path[64];

    if (rc < 0 || length_of(p, &list->items[i]) > 0)
        return rc;
    input_path(list, i, path, sizeof path);
    return rnn_fail_at(err, RNN_ERANGE, path, -1, "%s: is empty; want at least one token", path);
}

/* Bytes that a candidate's text has, at most; a space may stand before each of its words. */
static size_t text_bytes_of(const struct predict_job *p, const struct input *item)
{
    size_t total = item->text_len;

    for (size_t i = 0; !item->text && i < item->n; i++) {
        size_t len = 0;

        (void)rnn_token_text(p->job.model, item->tokens[i], &len);
        total += len + 3; /* and where it is unknown, U+FFFD */
    }
    return total;
}

static int check_bytes(const struct predict_job *p, size_t n_tokens, size_t text_bytes,
                       struct rnn_err *err)
{
    uint64_t max = shard_config(p->job.work)->answer_max_bytes;
    size_t tokens, texts, total;

    if (checked_mul(n_tokens, CANDIDATE_TOKEN_BYTES, &tokens) &&
        checked_mul(text_bytes, 6, &texts) && /* a control character is written as six */
        checked_add(tokens, texts, &total) &&
        checked_add(total, candidates_count(p) * CANDIDATE_BYTES, &total) &&
        checked_mul(total, p->what.common.inputs.n, &total) && total <= max)
        return 0;
    return rnn_fail_at(err, RNN_ELIMIT, "candidates", -1,
                       "candidates: the answer would pass the limit of %llu bytes "
                       "(answer_max_bytes)",
                       (unsigned long long)max);
}

int candidates_prepare(struct predict_job *p, struct rnn_err *err)
{
    size_t n = candidates_count(p), n_tokens = 0, text_bytes = 0;

    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        const struct input *item = &p->what.candidates.items[i];
        int rc = resolve(p, i, err);

        if (rc < 0)
            return rc;
        n_tokens += length_of(p, item);
        text_bytes += text_bytes_of(p, item);
    }
    p->candidates = calloc(p->job.n_sequences, sizeof *p->candidates);
    if (!p->candidates)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    return check_bytes(p, n_tokens, text_bytes, err);
}

/* ---- Stepping ---- */

/* Scores the next token of a candidate; false where it was the last. */
static bool score(struct predict_job *p, struct job_sequence *sequence, const float *logits,
                  double log_total)
{
    struct candidate *candidate = &p->candidates[sequence->index];
    const struct input *item = item_of(p, sequence);
    double logprob = (double)logits[token_of(p, item, candidate->n_scored)] - log_total;

    if (candidate->n_scored > 0)
        buf_putc(&sequence->out, ',');
    buf_f32(&sequence->out, (float)logprob);
    candidate->logprob += logprob;
    candidate->n_scored++;
    metrics_count(p->job.work->metrics, M_TOKENS_SCORED, 1);
    return candidate->n_scored < length_of(p, item);
}

/* Fills in the step of the token scored last. */
static void feed(struct predict_job *p, struct job_sequence *sequence)
{
    const struct job_sequence *leader = sequence - sequence->index % p->each;
    size_t n = p->candidates[sequence->index].n_scored;

    job_feed_token(sequence, leader, token_of(p, item_of(p, sequence), n - 1));
    sequence->step.want_logits = true;
    sequence->step.reading = true;
}

void candidates_begin(struct predict_job *p, const struct job_sequence *leader, const float *logits)
{
    struct job_sequence *sequence = &p->job.sequences[leader->index + 1];
    size_t n = candidates_count(p);
    double log_total = n ? rnn_log_sum_exp(logits, p->info->output_size) : 0;

    for (size_t j = 0; j < n; j++, sequence++) {
        if (!score(p, sequence, logits, log_total)) {
            job_close(sequence);
            continue;
        }
        feed(p, sequence);
        job_branch(sequence, leader, &leader->step.state->rng);
    }
}

enum sequence_next candidates_stepped(struct predict_job *p, struct job_sequence *sequence,
                                      const float *logits)
{
    if (!score(p, sequence, logits, rnn_log_sum_exp(logits, p->info->output_size)))
        return SEQUENCE_DONE;
    feed(p, sequence);
    return SEQUENCE_READY;
}

/* ---- The answer ---- */

/* The text as it was given, or that of the given ids. */
static void put_text(const struct predict_job *p, struct buf *out, const struct input *item)
{
    if (!p->info->tokenizer)
        return;
    buf_puts(out, "\"text\":");
    if (item->text)
        buf_json_string(out, item->text, item->text_len);
    else
        answer_decoded(out, p->job.model, (struct rnn_decoder){0}, item->tokens, item->n);
    buf_putc(out, ',');
}

static void put_candidate(struct predict_job *p, struct buf *out, struct job_sequence *sequence,
                          double share)
{
    const struct candidate *candidate = &p->candidates[sequence->index];
    const struct input *item = item_of(p, sequence);

    buf_putc(out, '{');
    put_text(p, out, item);
    buf_puts(out, "\"tokens\":[");
    for (size_t i = 0; i < candidate->n_scored; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_u64(out, token_of(p, item, i));
    }
    buf_puts(out, "],\"count\":");
    buf_u64(out, candidate->n_scored);
    buf_puts(out, ",\"logprob\":");
    buf_f64(out, candidate->logprob);
    buf_puts(out, ",\"logprobs\":[");
    buf_put(out, sequence->out.data, sequence->out.len);
    buf_puts(out, "],\"probability\":");
    buf_f32(out, (float)share);
    buf_putc(out, '}');
    out->failed |= sequence->out.failed;
    buf_free(&sequence->out);
}

void candidates_put(struct predict_job *p, struct buf *out, const struct job_sequence *leader)
{
    const struct candidate *candidates = p->candidates + leader->index + 1;
    size_t n = candidates_count(p);
    double best = -INFINITY, total = 0;

    if (n == 0)
        return;
    for (size_t j = 0; j < n; j++)
        best = fmax(best, candidates[j].logprob);
    for (size_t j = 0; j < n; j++)
        total += exp(candidates[j].logprob - best);
    buf_puts(out, ",\"candidates\":[");
    for (size_t j = 0; j < n; j++) {
        if (j > 0)
            buf_putc(out, ',');
        put_candidate(p, out, &p->job.sequences[leader->index + 1 + j],
                      exp(candidates[j].logprob - best) / total);
    }
    buf_putc(out, ']');
}
