/* A binary heap of due times, smallest first.
 *
 * An entry is embedded in what is due, and knows its place, so that it can be moved and removed.
 * Time is any count the owner likes.  One thread; the caller owns what the entries lie in. */
#ifndef SERVER_HEAP_H
#define SERVER_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct due {
    int64_t when;
    size_t place; /* in the heap, from 1; 0: not in it */
};

/* Zero-initialised is empty. */
struct heap {
    struct due **entries; /* [cap], from 1 */
    size_t n, cap;
};

void heap_free(struct heap *heap); /* the table, not the entries */

/* Makes room for one more; false without memory. */
bool heap_reserve(struct heap *heap);

/* After heap_reserve() said that there is room. */
void heap_insert(struct heap *heap, struct due *due, int64_t when);
void heap_move(struct heap *heap, struct due *due, int64_t when);
void heap_remove(struct heap *heap, struct due *due); /* not in it: does nothing */

static inline struct due *heap_first(const struct heap *heap)
{
    return heap->n > 0 ? heap->entries[1] : NULL;
}

#endif
