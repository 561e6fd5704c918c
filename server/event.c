/* Events on their way.  See event.h. */
#include "server/event.h"

#include <string.h>

void event_begin(struct buf *out, const char *name, const char *id)
{
    buf_put(out, name, strlen(name) + 1);
    buf_put(out, id, strlen(id) + 1);
}

void event_end(struct buf *out)
{
    buf_putc(out, '\n');
}

bool event_next(const char **at, size_t *left, struct event *out)
{
    const char *end = memchr(*at, '\n', *left);

    if (!end)
        return false;
    out->name = *at;
    out->id = out->name + strlen(out->name) + 1;
    out->json = out->id + strlen(out->id) + 1;
    out->len = (size_t)(end - out->json);
    *left -= (size_t)(end - *at) + 1;
    *at = end + 1;
    return true;
}
