/* Events on their way.  See event.h. */
#include "server/event.h"

#include <string.h>

void event_begin(struct buf *out, const char *name)
{
    buf_put(out, name, strlen(name) + 1);
}

void event_end(struct buf *out)
{
    buf_putc(out, '\n');
}

bool event_next(const char **at, size_t *left, struct event *out)
{
    const char *nul = memchr(*at, '\0', *left), *end;

    if (!nul)
        return false;
    end = memchr(nul, '\n', *left - (size_t)(nul - *at));
    if (!end)
        return false;
    *out = (struct event){.name = *at, .json = nul + 1, .len = (size_t)(end - nul) - 1};
    *left -= (size_t)(end - *at) + 1;
    *at = end + 1;
    return true;
}
