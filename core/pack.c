/* Weight matrices into the order in which the kernels stream them (core/kernels.h draws it), once,
 * when a model is opened.
 *
 * Lanes without an output stay zero: together with a bias of zero they give gates of zero, and
 * every cell turns those into a state of zero, so padding never needs a mask. */
#include "core/pack.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CACHE_LINE ((size_t)64)
#define HUGE_PAGE  ((size_t)2 << 20)

float *arena_take(struct arena *arena, size_t n)
{
    size_t at = arena->used;

    arena->used += RNN_PAD_LANES(n);
    return arena->base ? arena->base + at : NULL;
}

bool arena_allocate(struct arena *arena)
{
    size_t bytes = arena->used * sizeof(float);
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;

    bytes = (bytes + alignment - 1) / alignment * alignment;
    arena->base = aligned_alloc(alignment, bytes ? bytes : alignment);
    if (!arena->base)
        return false;
    if (alignment == HUGE_PAGE)
        (void)madvise(arena->base, bytes, MADV_HUGEPAGE); /* advice: fine without */
    memset(arena->base, 0, bytes);
    arena->used = 0;
    return true;
}

void arena_free(struct arena *arena)
{
    free(arena->base);
    *arena = (struct arena){0};
}

static size_t block_size(const struct rnn_panels *panels)
{
    return panels->k * panels->width * RNN_LANES;
}

static size_t block_width(const struct rnn_panels *panels, size_t b)
{
    return b + 1 == panels->n_blocks ? panels->last_width : panels->width;
}

size_t panels_size(const struct rnn_panels *panels)
{
    return (panels->n_blocks - 1) * block_size(panels) + panels->k * panels->last_width * RNN_LANES;
}

struct rnn_panels panels_of_matrix(size_t outputs, size_t k)
{
    size_t vectors = RNN_PAD_LANES(outputs) / RNN_LANES;
    size_t n_blocks = (vectors + 3) / 4;

    return (struct rnn_panels){
        .k = k,
        .n_blocks = n_blocks,
        .width = 4,
        .last_width = (unsigned)(vectors - 4 * (n_blocks - 1)),
    };
}

static unsigned first_slot(const unsigned char *slots, unsigned n)
{
    unsigned first = slots[0];

    for (unsigned i = 1; i < n; i++)
        if (slots[i] < first)
            first = slots[i];
    return first;
}

/* The gates that a product fills: [first, first + n), and where. */
struct gates {
    unsigned first, n;
    const unsigned char *slots; /* [n] */
};

static struct gates gates_of(const struct rnn_cell_ops *cell, enum rnn_product product)
{
    unsigned n_first = cell->n_gates - cell->n_again;

    switch (product) {
    case RNN_PRODUCT_X:
        return (struct gates){0, cell->n_gates, cell->x_slot};
    case RNN_PRODUCT_H:
        return (struct gates){0, n_first, cell->h_slot};
    default:
        return (struct gates){n_first, cell->n_again, cell->h_slot + n_first};
    }
}

struct rnn_panels panels_of_cell(const struct rnn_cell_ops *cell, size_t hidden, size_t k,
                                 enum rnn_product product)
{
    struct gates gates = gates_of(cell, product);

    if (cell->n_gates == 1)
        return panels_of_matrix(hidden, k);
    return (struct rnn_panels){
        .k = k,
        .n_blocks = RNN_PAD_LANES(hidden) / RNN_LANES,
        .width = gates.n,
        .last_width = gates.n,
        .offset = first_slot(gates.slots, gates.n) * RNN_LANES,
    };
}

/* One output's weights: its lane of every line of its block.  `place` is in an output row. */
static void pack_output(const struct rnn_panels *panels, float *memory, const float *weights,
                        size_t place)
{
    size_t b = place / RNN_BLOCK;
    size_t line = block_width(panels, b) * RNN_LANES;
    float *to = memory + b * block_size(panels) + (place % RNN_BLOCK - panels->offset);

    for (size_t i = 0; i < panels->k; i++)
        to[i * line] = weights[i];
}

void panels_pack_matrix(struct rnn_panels *panels, float *memory, const float *weights,
                        size_t outputs)
{
    for (size_t j = 0; j < outputs; j++)
        pack_output(panels, memory, weights + j * panels->k, j);
    panels->w = memory;
}

void panels_pack_cell(struct rnn_panels *panels, float *memory, const float *weights,
                      const struct rnn_cell_ops *cell, size_t hidden, enum rnn_product product)
{
    struct gates gates = gates_of(cell, product);

    weights += gates.first * hidden * panels->k;
    for (unsigned g = 0; g < gates.n; g++)
        for (size_t u = 0; u < hidden; u++)
            pack_output(panels, memory, weights + (g * hidden + u) * panels->k,
                        rnn_cell_place(cell, gates.slots[g], u));
    panels->w = memory;
}

void panels_add_column(const struct rnn_panels *panels, size_t i, float *out)
{
    for (size_t b = 0; b < panels->n_blocks; b++) {
        size_t line = block_width(panels, b) * RNN_LANES;
        const float *w = panels->w + b * block_size(panels) + i * line;
        float *to = out + b * RNN_BLOCK + panels->offset;

        for (size_t j = 0; j < line; j++)
            to[j] += w[j];
    }
}
