/* A replay of expected values: one sequence running through a model, and the tally of what agreed.
 *
 * Inside of models/verify.c and the readers of the two forms of golden.json; one thread.  Faults of
 * the file end a replay (a negative return); values that disagree are counted and the replay goes
 * on. */
#ifndef MODELS_REPLAY_H
#define MODELS_REPLAY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "core/rnn.h"

enum replay_kind {
    REPLAY_OUTPUT,
    REPLAY_LOGITS,
    REPLAY_PROBS,
    REPLAY_LOGPROBS,
    REPLAY_H,
    REPLAY_C,
    REPLAY_IDS,
    REPLAY_TEXT,
    REPLAY_KINDS
};

struct replay_tally {
    double atol;
    size_t n;      /* values compared */
    size_t n_off;  /* of them out of tolerance */
    double worst;  /* largest |got - want| */
    double excess; /* largest |got - want| / (atol + rtol |want|) */
};

struct replay {
    struct rnn_model *model;
    const struct rnn_model_info *info;
    struct rnn_scratch *scratch;
    struct rnn_state *state;
    float *logits;  /* [output_size] of the last step */
    float *probs;   /* [output_size] scratch */
    float *hidden;  /* [hidden_width] of the last step */
    float *frame;   /* [input_size] scratch; NULL where the input is tokens */
    char place[96]; /* where in golden.json the replay is: "runs[1].logits" */
    struct replay_tally tally[REPLAY_KINDS];
    struct rnn_err first; /* the first value that was off; code 0: none */
    struct rnn_err *err;
};

/* The caller keeps the model open and ends *replay with replay_deinit(). */
int replay_init(struct replay *replay, struct rnn_model *model, struct rnn_err *err);
void replay_deinit(struct replay *replay);
const char *replay_kind_name(enum replay_kind kind);

/* Says where in the file we are; printf-like. */
void replay_at(struct replay *replay, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A fault of the file itself at the present place; returns RNN_EFORMAT. */
int replay_fault(struct replay *replay, const char *what);

void replay_reset(struct replay *replay); /* the state to the model's initial one */

/* Feeds a number (a token id) or an array (a frame); logits and hidden are then those of the step.
 */
int replay_feed(struct replay *replay, const struct cJSON *input);
void replay_feed_token(struct replay *replay, uint32_t id);

/* Compares n floats with an array of exactly n numbers; a NULL `want` is nothing to compare. */
int replay_compare(struct replay *replay, enum replay_kind kind, const float *got, size_t n,
                   const struct cJSON *want);
int replay_compare_one(struct replay *replay, enum replay_kind kind, double got,
                       const struct cJSON *want);
void replay_compare_ids(struct replay *replay, int64_t got, int64_t want);
void replay_compare_text(struct replay *replay, const char *got, size_t len, const char *want);

/* The state's parts of kind "h" or "c", layer by layer: want[layer], or want[layer][sequence] where
 * sequence >= 0. */
int replay_compare_state(struct replay *replay, enum replay_kind kind, const struct cJSON *want,
                         int sequence);
int replay_set_state(struct replay *replay, enum replay_kind kind, const struct cJSON *from,
                     int sequence);

/* Encodes a text; the caller frees *ids.  RNN_EFORMAT for a model without a tokenizer. */
int replay_encode(struct replay *replay, const char *text, uint32_t **ids, size_t *n);

/* The text of ids, appended. */
void replay_decode(struct replay *replay, const struct cJSON *ids, struct buf *out);

/* The two forms of golden.json. */
int replay_runs(struct replay *replay, const struct cJSON *golden);
int replay_texts(struct replay *replay, const struct cJSON *golden);

#endif
