/* The scheduler of a shard: cell-step batching (BatchMaker, EuroSys 2018).
 *
 * A *sequence* is one state going through time steps; it takes part in a shard's turns from
 * sched_start() until its `stepped` says that it is done.  At each turn every ready sequence of a
 * model joins one rnn_step(), up to batch_rows_max rows, round robin beyond that.  Sequences of any
 * length and position share a step and join and leave at each; nothing waits to fill a batch.  A
 * sequence that reads its prompt may take part in up to prompt_steps_per_turn further steps of the
 * same turn, together with the others that do; one that produces output takes one step a turn.
 *
 * Knows nothing of HTTP, JSON or sessions.  Own shard's thread only.  Time is an argument where it
 * matters. */
#ifndef SERVER_SCHED_H
#define SERVER_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rnn.h"

struct sched;
struct shard;

enum sequence_next {
    SEQUENCE_READY,  /* its next step is filled in: let it take part again */
    SEQUENCE_PAUSED, /* sits out until sched_resume() (a full stream) */
    SEQUENCE_DONE    /* leaves; it is not touched again */
};

struct sequence {
    /* Filled in by the owner before sched_start, and by `stepped` for the next step. */
    struct rnn_model *model; /* the owner holds a reference */
    struct rnn_state *state; /* the owner's; advanced in place */
    enum rnn_row_input input;
    uint32_t token;
    const float *frame;
    unsigned pass;                   /* of the model; 0: the only stack, or the decoder */
    const struct rnn_memory *memory; /* what an attending decoder looks at */
    float *hidden_to; /* a walk's own memory for the output under the readout, or NULL */
    float *gates_to;  /* the owner's memory [gates_width] for what the gates were, or NULL */
    bool want_logits; /* false: the head is skipped for this row */
    bool want_hidden;
    bool reading; /* this step is of the prompt */

    /* After each step, on the shard's thread.  logits [output_size] and hidden [hidden_width] are
     * NULL unless wanted, belong to the scheduler and are good until the call returns; logits may
     * be overwritten in place. */
    enum sequence_next (*stepped)(struct sequence *sequence, float *logits, const float *hidden);
    void *owner;

    /* The scheduler's own. */
    struct sequence *next, *prev;
    void *lane;
    uint8_t where;
};

int sched_new(struct sched **out, struct shard *shard, struct rnn_err *err);
void sched_free(struct sched *sched);

/* Adds a sequence to the ready ones; it takes part in the next turn.  RNN_ENOMEM if scratch for its
 * model cannot be had. */
int sched_start(struct sched *sched, struct sequence *sequence, struct rnn_err *err);

/* After SEQUENCE_PAUSED; else does nothing. */
void sched_resume(struct sched *sched, struct sequence *sequence);

/* Cancel: out at once, `stepped` is not called; nothing if it is out already.  From inside a
 * `stepped` it is for other sequences, of the same step too; a sequence removes itself by
 * SEQUENCE_DONE. */
void sched_remove(struct sched *sched, struct sequence *sequence);

/* One turn over all models with ready sequences; returns whether any is ready still. */
bool sched_turn(struct sched *sched);
bool sched_idle(const struct sched *sched);
size_t sched_active(const struct sched *sched); /* ready and paused */

/* Gives back scratch of a model that no sequence uses (after an unload). */
void sched_forget(struct sched *sched, const struct rnn_model *model);

#endif
