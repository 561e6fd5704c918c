/* What answers have in common: the opening with id, model and session, the closing with usage and
 * timings, times of day.  Writers into a buffer; any thread. */
#ifndef SERVER_ANSWER_H
#define SERVER_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/rnn.h"
#include "server/job.h"
#include "server/models.h"
#include "server/session.h"

/* A JSON string of a NUL-terminated text; null for NULL. */
void answer_text(struct buf *out, const char *text);

/* "2031-05-01T12:00:00.123Z" (RFC 3339, UTC), with quotes. */
void answer_time(struct buf *out, int64_t unix_ms);

/* {"id":…,"model":…[,"session":{…}] — the object stays open, without a comma. */
void answer_open(struct job *job);

/* ,"usage":{…},"timings":{…}} — output_steps is left out below 0. */
void answer_close(struct buf *out, const struct job *job, uint64_t input_steps,
                  int64_t output_steps);

/* The whole answer of a task with `each` sequences an input: `put` writes the members of one
 * result, of the input whose first sequence it is given.  With `batch` they stand in "results",
 * each with its own usage, else in the answer itself.  Frees that sequence's `out` once it is
 * written. */
void answer_results(struct job *job, bool batch, size_t each, uint64_t input_steps,
                    void (*put)(struct buf *out, const struct job_sequence *sequence));

/* "token":…,"id":… — the token is left out for a model without vocabulary. */
void answer_token(struct buf *out, const struct rnn_model *model, uint32_t id);

/* [1,2,3], and the text of these tokens as a JSON string, which the model has a vocabulary for; it
 * goes on where `decoder` stands. */
void answer_ids(struct buf *out, const uint32_t *tokens, size_t n);
void answer_decoded(struct buf *out, const struct rnn_model *model, struct rnn_decoder decoder,
                    const uint32_t *tokens, size_t n);

/* A session as GET /sessions/{id} shows it, without the '}'; `models` says whether its weights are
 * those that are served. */
void answer_session(struct buf *out, const struct session_view *view, struct models *models);

/* Upper bounds, for refusing answers over the limit before computing them. */
#define ANSWER_FLOAT_BYTES 17  /* -1.17549435e-38 and a comma */
#define ANSWER_TOKEN_BYTES 112 /* one entry of `top` or `tokens` but for its token's text */

#endif
