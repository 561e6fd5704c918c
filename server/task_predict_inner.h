/* What the two files of predict share, and nobody else.
 *
 *   task_predict.c             preparing, feeding, what each output says
 *   task_predict_candidates.c  continuations that are scored behind the input
 *
 * On the work shard. */
#ifndef SERVER_TASK_PREDICT_INNER_H
#define SERVER_TASK_PREDICT_INNER_H

#include "server/api.h"

/* A continuation of one input.  The logprobs of its tokens, as JSON, stand in its sequence's
 * `out`. */
struct candidate {
    double logprob;
    size_t n_scored;
};

/* Sequence i * each reads input i; those behind it are its candidates, in order. */
struct predict_job {
    struct job job;
    struct predict_request what;
    bool all; /* every step is reported */
    const struct rnn_model_info *info;
    uint32_t n_top;
    float *probabilities; /* [output_size], of the step being written */
    uint32_t *top;        /* [n_top] */
    struct layers layers; /* what is shown of them */
    uint64_t input_steps;
    size_t each; /* sequences of an input: itself and its candidates */
    struct candidate
        *candidates; /* [n_sequences], those of the inputs themselves unused; or NULL */
};

static inline struct predict_job *predict_of(struct job *job)
{
    return (struct predict_job *)job; /* its first member */
}

/* ---- task_predict_candidates.c ---- */

/* How many candidates each input has; 0: none were asked for. */
size_t candidates_count(const struct predict_job *p);

/* In prepare, before and after the sequences are made: whether the model can score them at all, how
 * many they are; then what each is in tokens, and the room that they take in the answer. */
int candidates_check(const struct predict_job *p, const struct config *config, struct rnn_err *err);
int candidates_prepare(struct predict_job *p, struct rnn_err *err);

/* The input has been read: its last logits score the first token of each candidate, and those that
 * have more go on from its state. */
void candidates_begin(struct predict_job *p, const struct job_sequence *leader,
                      const float *logits);

/* After a step of a candidate: its next token. */
enum sequence_next candidates_stepped(struct predict_job *p, struct job_sequence *sequence,
                                      const float *logits);

/* ,"candidates":[…] of an input. */
void candidates_put(struct predict_job *p, struct buf *out, const struct job_sequence *leader);

#endif
