/* Rings of states.  See trail.h. */
#include "server/trail.h"

#include <stdlib.h>
#include <string.h>

void trail_init(struct trail *trail, size_t cap, size_t state_bytes)
{
    *trail = (struct trail){.cap = cap, .state_bytes = state_bytes};
}

static void slot_free(struct trail *trail, size_t slot)
{
    if (trail->states[slot])
        explicit_bzero(trail->states[slot], trail->state_bytes);
    free(trail->states[slot]);
    trail->states[slot] = NULL;
}

void trail_free(struct trail *trail)
{
    for (size_t i = 0; trail->states && i < trail->cap; i++)
        slot_free(trail, i);
    free(trail->states);
    *trail = (struct trail){0};
}

static size_t slot_of(const struct trail *trail, size_t i)
{
    return (trail->first + i) % trail->cap;
}

/* The slot behind the newest, or the oldest's where the ring is full; its memory may be missing. */
static size_t slot_next(struct trail *trail)
{
    if (trail->n < trail->cap)
        return slot_of(trail, trail->n++);
    trail->first = (trail->first + 1) % trail->cap;
    return slot_of(trail, trail->n - 1);
}

/* Whether a state at `position` goes on from the newest; makes it so where it stands before it. */
static bool goes_on(struct trail *trail, uint64_t position)
{
    uint64_t newest;

    if (trail->n == 0)
        return true;
    newest = trail_at(trail, trail->n - 1)->position;
    if (position < newest)
        trail_cut(trail, 0);
    return position != newest;
}

static bool has_slots(struct trail *trail)
{
    if (trail->cap > 0 && !trail->states)
        trail->states = calloc(trail->cap, sizeof *trail->states);
    return trail->states != NULL;
}

void trail_push(struct trail *trail, const struct rnn_state *state)
{
    size_t slot;

    if (!has_slots(trail) || !goes_on(trail, state->position))
        return;
    slot = slot_next(trail);
    if (!trail->states[slot])
        trail->states[slot] = malloc(trail->state_bytes);
    if (!trail->states[slot]) {
        trail_cut(trail, 0); /* a gap would be no trail */
        return;
    }
    memcpy(trail->states[slot], state, trail->state_bytes);
}

void trail_append(struct trail *trail, struct trail *from)
{
    for (size_t i = 0; i < from->n; i++) {
        size_t theirs = slot_of(from, i), ours;
        struct rnn_state *old;

        if (!has_slots(trail) || !goes_on(trail, from->states[theirs]->position))
            continue;
        ours = slot_next(trail);
        old = trail->states[ours];
        trail->states[ours] = from->states[theirs];
        from->states[theirs] = old;
    }
    trail_free(from);
}

const struct rnn_state *trail_find(const struct trail *trail, uint64_t position)
{
    for (size_t i = 0; i < trail->n; i++)
        if (trail_at(trail, i)->position == position)
            return trail_at(trail, i);
    return NULL;
}

void trail_cut(struct trail *trail, uint64_t position)
{
    while (trail->n > 0) {
        size_t newest = slot_of(trail, trail->n - 1);

        if (trail->states[newest] && trail->states[newest]->position < position)
            return;
        slot_free(trail, newest);
        trail->n--;
    }
}
