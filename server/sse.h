/* Server-sent events (WHATWG HTML, section 9.2), the writing half: bytes into a buffer, no sockets.
 * Any thread. */
#ifndef SERVER_SSE_H
#define SERVER_SSE_H

#include <stddef.h>

#include "base/buf.h"

#define SSE_CONTENT_TYPE "text/event-stream"

/* An event whose data the caller writes between the two calls, on one line (JSON is: the writers of
 * base/buf.h escape every line end).  `name` holds no line end. */
void sse_begin(struct buf *out, const char *name);
void sse_end(struct buf *out);

/* In front of an event: what the client sends back as Last-Event-ID.  No line end, no NUL. */
void sse_id(struct buf *out, const char *id);

/* A whole event with any text as its data: each line (CR, LF or CRLF) becomes a data line, and a
 * reader gets LF between them. */
void sse_event(struct buf *out, const char *name, const char *data, size_t len);

/* A comment line, which readers skip: keeps a silent stream open. */
void sse_comment(struct buf *out, const char *text);

#endif
