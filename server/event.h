/* An event of a stream on its way from the shard that computes to the sink: a name, a NUL, an id or
 * nothing, a NUL, JSON on one line, a line feed.  The writers of base/buf.h escape every control
 * character, so neither of the two can stand in the JSON.  What it looks like to the client is the
 * sink's affair.  Any thread. */
#ifndef SERVER_EVENT_H
#define SERVER_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* The caller writes the JSON between the two calls.  With the id a client can say which event it
 * has seen last (""; none); no control characters. */
void event_begin(struct buf *out, const char *name, const char *id);
void event_end(struct buf *out);

struct event {
    const char *name, *id; /* NUL-terminated */
    const char *json;      /* [len] */
    size_t len;
};

/* Takes the next event off the bytes; false at their end.  They hold whole events. */
bool event_next(const char **at, size_t *left, struct event *out);

#endif
