/* Nearest name: the restricted Damerau-Levenshtein distance (optimal string alignment), over three
 * rows of the table.  Letters count alike in either case, and '-' as '_'.  Any thread. */
#include "config/nearest.h"

#include <string.h>

#define WORD_MAX 63

static char plain(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static unsigned min2(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Edits from a[0..n) to b[0..m), both at most WORD_MAX long. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
    unsigned rows[3][WORD_MAX + 1];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t j = 0; j <= m; j++)
        above[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *spare = before;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned differ = plain(a[i - 1]) != plain(b[j - 1]);

            row[j] = min2(min2(above[j], row[j - 1]) + 1, above[j - 1] + differ);
            if (i > 1 && j > 1 && plain(a[i - 1]) == plain(b[j - 2]) &&
                plain(a[i - 2]) == plain(b[j - 1]))
                row[j] = min2(row[j], before[j - 2] + 1);
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[m];
}

int config_nearest(const char *word, size_t n, const char *(*name_of)(size_t i, const void *arg),
                   const void *arg)
{
    size_t len = strlen(word);
    unsigned best = (unsigned)(len / 3) + 2; /* from here on it is another word */
    int nearest = -1;

    if (len == 0 || len > WORD_MAX)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *name = name_of(i, arg);
        size_t name_len = strlen(name);
        unsigned d;

        if (name_len > WORD_MAX)
            continue;
        d = distance(word, len, name, name_len);
        if (d < best && d < name_len) {
            best = d;
            nearest = (int)i;
        }
    }
    return nearest;
}
