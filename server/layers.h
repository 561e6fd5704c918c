/* What a client may see of a model's layers at a step: hidden states, cell states, gates.
 *
 * Of models whose state between two steps is the whole memory; a layer that is read in both
 * directions has no such moment.  On the work shard. */
#ifndef SERVER_LAYERS_H
#define SERVER_LAYERS_H

#include <stddef.h>

#include "base/buf.h"
#include "server/job.h"

enum { LAYERS_CELL = 1, LAYERS_GATES = 2 }; /* beside the hidden states, which are always there */

struct layers {
    unsigned what; /* bits of the above; 0: nothing was asked for */
    float *gates;  /* [n_sequences][gates_width], what the steps fill in */
};

/* The most bytes of one step; SIZE_MAX where that overflows. */
size_t layers_bytes(const struct rnn_model *model, unsigned what);

/* In prepare, behind the sequences.  REPLY_EINPUT for a model that cannot be looked into,
 * RNN_ENOMEM. */
int layers_prepare(struct layers *layers, struct job *job, unsigned what, struct rnn_err *err);
void layers_free(struct layers *layers);

/* ,"layers":[{"hidden":…,"cell":…,"gates":{…}}, …] of the step that the sequence has just taken,
 * from the lowest layer up; an encoder's stand behind the decoder's, and say so.  No gates where
 * the state was only read; nothing where nothing was asked for. */
void layers_put(const struct layers *layers, struct buf *out, const struct job_sequence *sequence);

/* ,"layers":[{"hidden":{"norm","saturated"},"cell":{"norm","largest"}}, …] of a state: Euclidean
 * norms, the share of units of which |h| is over 0.95, the largest |c|. */
void layers_put_summary(struct buf *out, const struct rnn_model *model,
                        const struct rnn_state *state);

#endif
