/* A replay of expected values: one sequence after another walking through a model, and the tally of
 * what agreed.
 *
 * Inside of models/verify.c and the readers of the forms of golden.json; one thread.  Faults of the
 * file end a replay (a negative return); values that disagree are counted and the replay goes on.
 */
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
    REPLAY_VALUES,
    REPLAY_STD,
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
    float *logits; /* [output_size] of the last output */
    float *probs;  /* [output_size] scratch */
    float *hidden; /* [hidden_width] of the last output, or of a streamed step */

    struct rnn_walk *walk; /* the one under way, or NULL */
    struct rnn_row row;    /* its last one */
    uint32_t *ids;         /* what it reads: these */
    float *frames;         /* … or these */
    uint32_t *target;      /* … and what its decoder is fed */

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

/* A walk from the present state through a list of token ids or frames, its decoder fed with a list
 * of ids that begins with bos (NULL: bos alone).  last_only: of a synced model's outputs the last.
 */
int replay_begin(struct replay *replay, const struct cJSON *inputs, const struct cJSON *target,
                 bool last_only);
int replay_begin_ids(struct replay *replay, const uint32_t *ids, size_t n);
int replay_begin_frame(struct replay *replay, const struct cJSON *frame,
                       const struct cJSON *target);

/* The next row of the walk, not stepped yet; and its step.  logits and hidden are then those of the
 * row where it has them: logits of an output. */
enum rnn_walk_next replay_next(struct replay *replay);
void replay_step(struct replay *replay);

/* On to the next output; false: there is none. */
bool replay_output(struct replay *replay);

/* Whether the last row was a step of the input whose output under the readout is in `hidden`. */
bool replay_streams(const struct replay *replay);

/* A further token of the decoder or the only stack, once the walk has given its outputs; logits and
 * hidden are then those of the step. */
void replay_feed_token(struct replay *replay, uint32_t id);
uint32_t replay_best(const struct replay *replay); /* id of the largest logit */

/* Token ids below `size`, each at most once for each item; the caller frees *out. */
int replay_read_ids(struct replay *replay, const struct cJSON *list, size_t size, uint32_t **out,
                    size_t *n);

/* Compares n floats with an array of exactly n numbers; a NULL `want` is nothing to compare. */
int replay_compare(struct replay *replay, enum replay_kind kind, const float *got, size_t n,
                   const struct cJSON *want);
int replay_compare_one(struct replay *replay, enum replay_kind kind, double got,
                       const struct cJSON *want);
void replay_compare_ids(struct replay *replay, int64_t got, int64_t want);
void replay_compare_text(struct replay *replay, const char *got, size_t len, const char *want);

/* The parts of kind "h" or "c" of a stack of the state (0: the only one, or the decoder; 1: the
 * encoder), layer by layer and direction by direction: want[part], or want[part][sequence] where
 * sequence >= 0. */
int replay_compare_state(struct replay *replay, enum replay_kind kind, unsigned stack,
                         const struct cJSON *want, int sequence);
int replay_set_state(struct replay *replay, enum replay_kind kind, const struct cJSON *from,
                     int sequence);

/* Encodes a text; the caller frees *ids.  RNN_EFORMAT for a model without a tokenizer. */
int replay_encode(struct replay *replay, const char *text, uint32_t **ids, size_t *n);

/* The text of ids, appended. */
void replay_decode(struct replay *replay, const struct cJSON *ids, struct buf *out);

/* Each id that is expected to be the best, from the present logits on; all but the last are fed.
 * `logits`: the first of the expected rows beside them, or NULL. */
int replay_generated(struct replay *replay, const struct cJSON *ids, const struct cJSON *logits);

/* The sequence's entry in run[key]; NULL where the run has no such key. */
const struct cJSON *replay_of_sequence(const struct cJSON *run, const char *key, int sequence);

/* The tolerance of published checkpoints' golden.json. */
int replay_tolerance(struct replay *replay, const struct cJSON *golden);

/* The forms of golden.json. */
int replay_runs(struct replay *replay, const struct cJSON *golden);
int replay_texts(struct replay *replay, const struct cJSON *golden);
int replay_words(struct replay *replay, const struct cJSON *golden);

/* Kinds of runs that a decoder has. */
int replay_caption(struct replay *replay, const struct cJSON *run);
int replay_translate(struct replay *replay, const struct cJSON *run);

#endif
