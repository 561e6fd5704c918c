/* The heap of due times: sifting up and down in an array whose entry 0 is left free.
 *
 * Own thread of the owner only.  Growing is apart from inserting, so that a caller can make sure of
 * the room before it changes anything. */
#include "server/heap.h"

#include <stdlib.h>

static void put(struct heap *heap, size_t place, struct due *due)
{
    heap->entries[place] = due;
    due->place = place;
}

static void sift_up(struct heap *heap, struct due *due)
{
    size_t place = due->place;

    while (place > 1 && heap->entries[place / 2]->when > due->when) {
        put(heap, place, heap->entries[place / 2]);
        place /= 2;
    }
    put(heap, place, due);
}

static void sift_down(struct heap *heap, struct due *due)
{
    size_t place = due->place;

    for (;;) {
        size_t child = 2 * place;

        if (child < heap->n && heap->entries[child + 1]->when < heap->entries[child]->when)
            child++;
        if (child > heap->n || heap->entries[child]->when >= due->when)
            break;
        put(heap, place, heap->entries[child]);
        place = child;
    }
    put(heap, place, due);
}

void heap_free(struct heap *heap)
{
    free(heap->entries);
    *heap = (struct heap){0};
}

bool heap_reserve(struct heap *heap)
{
    size_t cap = heap->cap > 0 ? 2 * heap->cap : 64;
    struct due **entries;

    if (heap->n + 1 < heap->cap)
        return true;
    entries = realloc(heap->entries, cap * sizeof(struct due *));
    if (entries == NULL)
        return false;
    heap->entries = entries;
    heap->cap = cap;
    return true;
}

void heap_insert(struct heap *heap, struct due *due, int64_t when)
{
    due->when = when;
    due->place = ++heap->n;
    sift_up(heap, due);
}

void heap_move(struct heap *heap, struct due *due, int64_t when)
{
    due->when = when;
    sift_up(heap, due);
    sift_down(heap, due);
}

void heap_remove(struct heap *heap, struct due *due)
{
    struct due *last;

    if (due->place == 0)
        return;
    last = heap->entries[heap->n--];
    if (last != due) {
        put(heap, due->place, last);
        sift_up(heap, last);
        sift_down(heap, last);
    }
    due->place = 0;
}
