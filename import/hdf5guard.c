/* Checks of raw HDF5 bytes.  See hdf5guard.h.
 *
 * A global heap, where texts of variable length lie, is a row of objects:
 *
 *     "GCOL" │ version 1 │ 3 × 0 │ size of all, 8 bytes │ object, object, …
 *     object: index 2 │ references 2 │ 0 × 4 │ size 8 │ its bytes, up to a multiple of 8
 *
 * Object 0 is the free rest, and its size counts its header, too.  libhdf5 steps from object to
 * object by these sizes without a look at them: a rest of size 0 keeps it there for ever. */
#include "import/hdf5guard.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { HEAP_HEAD = 16, OBJECT_HEAD = 16 };

static uint64_t little(const unsigned char *at, size_t n)
{
    uint64_t value = 0;

    while (n-- > 0)
        value = value << 8 | at[n];
    return value;
}

/* The walk that libhdf5 will make. */
static bool good_heap(const unsigned char *heap, uint64_t size)
{
    for (uint64_t at = HEAP_HEAD; at < size && size - at >= OBJECT_HEAD;) {
        uint64_t index = little(heap + at, 2), bytes = little(heap + at + 8, 8), left = size - at;
        uint64_t step = index ? OBJECT_HEAD + (bytes + 7) / 8 * 8 : bytes;

        if (bytes > left || step < OBJECT_HEAD || step > left)
            return false;
        at += step;
    }
    return true;
}

static bool good_heaps(const unsigned char *bytes, size_t len)
{
    const unsigned char *end = bytes + len, *at = bytes;

    while ((at = memmem(at, (size_t)(end - at), "GCOL\1\0\0\0", 8)) != NULL) {
        size_t left = (size_t)(end - at);
        uint64_t size = left >= HEAP_HEAD ? little(at + 8, 8) : 0;

        /* libhdf5 refuses other sizes by itself */
        if (size >= HEAP_HEAD && size <= left && !good_heap(at, size))
            return false;
        at += 8;
    }
    return true;
}

/* Sizes of offsets and lengths: 8, as every writer has it. */
static bool usual_sizes(const unsigned char *bytes, size_t len)
{
    size_t at;

    if (len < 16 || bytes[8] > 3)
        return false;
    at = bytes[8] < 2 ? 13 : 9;
    return bytes[at] == 8 && bytes[at + 1] == 8;
}

const char *hdf5_guard(const void *bytes, size_t len)
{
    if (!usual_sizes(bytes, len))
        return "its superblock is damaged";
    return good_heaps(bytes, len) ? NULL : "a heap of texts in it is damaged";
}
