/* Recent tokens: the ring behind a state.  See core/rnn.h.
 *
 *     model's part, info->state_bytes │ size │ n │ next │ tokens[size]
 *
 * `next` is the slot of the next token, which is the oldest one's where the ring is full; slots
 * that hold no token yet are zero.  An id takes 31 bits, the highest one says that the token was
 * drawn.  Any thread; a state is its owner's. */
#include "core/recent.h"

#include <string.h>

#include "core/rnn.h"
#include "core/spec.h"

_Static_assert(RNN_INPUT_MAX <= RECENT_DRAWN, "an id leaves the highest bit free");

/* ---- Sizes ---- */

size_t rnn_state_bytes(const struct rnn_model *model, size_t window)
{
    size_t bytes = rnn_model_info(model)->state_bytes;

    return window == 0 ? bytes : bytes + sizeof(struct rnn_recent) + window * sizeof(uint32_t);
}

bool rnn_state_window(const struct rnn_model *model, size_t bytes, size_t *window)
{
    const struct rnn_model_info *info = rnn_model_info(model);
    size_t shortest = info->state_bytes + sizeof(struct rnn_recent);

    *window = 0;
    if (bytes == info->state_bytes)
        return true;
    if (!info->language_model || bytes <= shortest || (bytes - shortest) % sizeof(uint32_t) != 0)
        return false;
    *window = (bytes - shortest) / sizeof(uint32_t);
    return *window <= RNN_RECENT_MAX;
}

/* ---- The ring of a state ---- */

const struct rnn_recent *rnn_state_recent(const struct rnn_model *model,
                                          const struct rnn_state *state, size_t bytes)
{
    size_t at = rnn_model_info(model)->state_bytes;

    return bytes == at ? NULL : (const void *)((const char *)state + at);
}

/* The same, to be written. */
static struct rnn_recent *ring_of(const struct rnn_model *model, struct rnn_state *state,
                                  size_t bytes)
{
    size_t at = rnn_model_info(model)->state_bytes;

    return bytes == at ? NULL : (void *)((char *)state + at);
}

static void push(struct rnn_recent *ring, uint32_t entry)
{
    ring->tokens[ring->next] = entry;
    ring->next = (ring->next + 1) % ring->size;
    ring->n += ring->n < ring->size;
}

/* The i-th entry from the oldest on, which is n slots before the next one, around the ring. */
static uint32_t entry_at(const struct rnn_recent *ring, size_t i)
{
    size_t at = ring->next + i;

    return ring->tokens[at < ring->n ? at + ring->size - ring->n : at - ring->n];
}

void rnn_state_remember(const struct rnn_model *model, struct rnn_state *state, size_t bytes,
                        uint32_t token, bool drawn)
{
    struct rnn_recent *ring = ring_of(model, state, bytes);

    if (ring)
        push(ring, drawn ? token | RECENT_DRAWN : token);
}

void rnn_state_forget(const struct rnn_model *model, struct rnn_state *state, size_t bytes)
{
    struct rnn_recent *ring = ring_of(model, state, bytes);
    size_t window;

    if (!ring || !rnn_state_window(model, bytes, &window))
        return;
    memset(ring, 0, bytes - rnn_model_info(model)->state_bytes);
    ring->size = (uint32_t)window;
}

void rnn_state_copy(const struct rnn_model *model, struct rnn_state *to, size_t to_bytes,
                    const struct rnn_state *from, size_t from_bytes)
{
    const struct rnn_recent *old = rnn_state_recent(model, from, from_bytes);
    struct rnn_recent *ring = ring_of(model, to, to_bytes);
    size_t n = rnn_recent_count(old);

    memcpy(to, from, rnn_model_info(model)->state_bytes);
    rnn_state_forget(model, to, to_bytes);
    for (size_t i = ring && n > ring->size ? n - ring->size : 0; ring && i < n; i++)
        push(ring, entry_at(old, i));
}

bool rnn_state_recalls(const struct rnn_model *model, const struct rnn_state *state, size_t bytes)
{
    const struct rnn_recent *ring = rnn_state_recent(model, state, bytes);
    size_t window;

    if (!rnn_state_window(model, bytes, &window))
        return false;
    if (!ring)
        return true;
    if (ring->size != window || ring->n > ring->size || ring->next >= ring->size ||
        (ring->n < ring->size && ring->next != ring->n))
        return false;
    for (size_t i = 0; i < ring->n; i++)
        if ((ring->tokens[i] & ~RECENT_DRAWN) >= rnn_model_info(model)->input_size)
            return false;
    return true;
}

/* ---- Looking ---- */

size_t rnn_recent_count(const struct rnn_recent *recent)
{
    return recent ? recent->n : 0;
}

uint32_t rnn_recent_at(const struct rnn_recent *recent, size_t i, bool *drawn)
{
    uint32_t entry = entry_at(recent, i);

    *drawn = entry & RECENT_DRAWN;
    return entry & ~RECENT_DRAWN;
}
