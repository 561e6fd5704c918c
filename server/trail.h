/* The last few states of a sequence on its way: a ring of copies, at most one for each position,
 * in ascending order.
 *
 * A job lays a trail while it steps a session's state; the session takes it over with the state,
 * and can go back along it.  A copy holds the random state as it was before anything was drawn at
 * that position, so that what comes after it is drawn again.  Copies are wiped before they are
 * freed. Zero-initialised is empty and keeps nothing.  One owner. */
#ifndef SERVER_TRAIL_H
#define SERVER_TRAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rnn.h"

struct trail {
    struct rnn_state **states; /* ring of [cap] */
    size_t cap, first, n;
    size_t state_bytes;
};

/* An empty trail of at most `cap` states of `state_bytes` each; allocates nothing yet. */
void trail_init(struct trail *trail, size_t cap, size_t state_bytes);
void trail_free(struct trail *trail);

/* Adds a copy unless the newest one stands at the same position; the oldest makes room.  A state
 * that stands before the newest begins the trail anew.  Without memory the trail becomes shorter:
 * it promises nothing. */
void trail_push(struct trail *trail, const struct rnn_state *state);

/* Moves everything of `from` behind what is there; `from` is empty afterwards. */
void trail_append(struct trail *trail, struct trail *from);

/* The copy at that position, or NULL. */
const struct rnn_state *trail_find(const struct trail *trail, uint64_t position);

/* Drops what stands at `position` and beyond. */
void trail_cut(struct trail *trail, uint64_t position);

/* The i-th oldest. */
static inline const struct rnn_state *trail_at(const struct trail *trail, size_t i)
{
    return trail->states[(trail->first + i) % trail->cap];
}

/* Memory of the copies. */
static inline size_t trail_bytes(const struct trail *trail)
{
    return trail->n * trail->state_bytes;
}

#endif
