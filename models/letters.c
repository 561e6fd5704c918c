/* Properties of characters, from sorted runs.  See letters.h; tools/letters prints the runs.
 *
 * ASCII is answered without a search.  Pure functions, any thread. */
#include "models/letters.h"

#include <stddef.h>

struct lower_run {
    uint32_t first, last, step;
    int32_t shift;
};

static const struct lower_run lower_runs[] = {
#define LOWER(first, last, step, shift) {first, last, step, shift},
#include "models/letters.def"
#undef LOWER
};

struct word_run {
    uint32_t first, last;
};

static const struct word_run word_runs[] = {
#define WORD(first, last) {first, last},
#include "models/letters.def"
#undef WORD
};

uint32_t letters_lower(uint32_t c)
{
    size_t low = 0, high = sizeof lower_runs / sizeof *lower_runs;

    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct lower_run *run = &lower_runs[middle];

        if (c < run->first)
            high = middle;
        else if (c > run->last)
            low = middle + 1;
        else
            return (c - run->first) % run->step == 0 ? (uint32_t)((int32_t)c + run->shift) : c;
    }
    return c;
}

bool letters_in_word(uint32_t c)
{
    size_t low = 0, high = sizeof word_runs / sizeof *word_runs;

    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (c < word_runs[middle].first)
            high = middle;
        else if (c > word_runs[middle].last)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

bool letters_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}
