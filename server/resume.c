/* Ids of events.  See resume.h. */
#include "server/resume.h"

#include <stdio.h>

#include "server/json.h"

enum { WRITTEN = 1, JOINED = 2, QUOTED = 4, ENDED = 8, FLAGS_MAX = 15 };

void resume_write(char out[RESUME_BYTES], const struct resume *resume)
{
    unsigned flags = (resume->written ? WRITTEN : 0u) | (resume->joined ? JOINED : 0u) |
                     (resume->quoted ? QUOTED : 0u) | (resume->ended ? ENDED : 0u);

    snprintf(out, RESUME_BYTES, "%llu-%llu-%u", (unsigned long long)resume->position,
             (unsigned long long)resume->n_drawn, flags);
}

/* Digits up to `end`, a number of at most JSON_INT_MAX. */
static bool read_number(const char **at, char end, uint64_t *out)
{
    const char *digit = *at;

    for (*out = 0; *digit >= '0' && *digit <= '9'; digit++) {
        *out = *out * 10 + (uint64_t)(*digit - '0');
        if (*out > (uint64_t)JSON_INT_MAX)
            return false;
    }
    if (digit == *at || *digit != end)
        return false;
    *at = digit + 1;
    return true;
}

bool resume_read(struct resume *out, const char *id)
{
    uint64_t position, n_drawn, flags;

    if (!read_number(&id, '-', &position) || !read_number(&id, '-', &n_drawn) ||
        !read_number(&id, '\0', &flags) || flags > FLAGS_MAX || n_drawn == 0 || position < n_drawn)
        return false;
    *out = (struct resume){.given = true,
                           .position = position,
                           .n_drawn = n_drawn,
                           .written = flags & WRITTEN,
                           .joined = flags & JOINED,
                           .quoted = flags & QUOTED,
                           .ended = flags & ENDED};
    return true;
}
