/* Where the answer to a compute request goes, and who asked.
 *
 * A sink is one asker's end of one request: an HTTP exchange (sink_http.c), or a message on a
 * WebSocket (ws_request.c).  Whoever answers says its last word with exactly one of `whole`,
 * `close` and `fail`; after it, or after hooks->gone, the sink is not to be touched.  A stream's
 * events go to `events` as they come, in the form of event.h: their form on the wire is the sink's
 * affair.  Own shard's thread only. */
#ifndef SERVER_SINK_H
#define SERVER_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "server/reply.h"

struct shard;
struct sink;

struct sink_ops {
    /* The whole answer, which is taken out of the buffer. */
    void (*whole)(struct sink *sink, struct buf *body);

    /* Whole events of a stream.  Returns how much its reader has not taken yet: at
     * stream_buffer_bytes and more the writer is expected to pause until hooks->drained. */
    size_t (*events)(struct sink *sink, const char *events, size_t len);

    /* The stream is complete. */
    void (*close)(struct sink *sink);

    /* An error, in place of an answer or behind the events that there were; `param` may be NULL. */
    void (*fail)(struct sink *sink, enum reply_error error, const char *param, const char *text);

    /* A stream has been silent for keepalive_s.  NULL: nobody minds. */
    void (*silent)(struct sink *sink);
};

/* How who answers hears of the asker; never called from inside a call of the sink. */
struct sink_hooks {
    /* Nobody waits any more. */
    void (*gone)(void *user);
    /* The reader has caught up. */
    void (*drained)(void *user);
    /* The asker wants no more than there is by now; an answer is still expected, soon. */
    void (*cancel)(void *user);
};

struct sink {
    const struct sink_ops *ops;
    struct shard *shard;            /* of the asker */
    const char *request_id;         /* these three live as long as the sink */
    const char *key_name;           /* "" without keys */
    uint64_t received_ns;           /* monotonic: the request's first byte */
    const struct sink_hooks *hooks; /* of who answers, with its `user`; NULL: nobody yet */
    void *user;
};

/* The sink of an HTTP request, to be answered through it alone from here on. */
struct sink *sink_of_request(struct request *request);

/* ops->fail with a text that is put together; cut at 511 bytes. */
void sink_fail(struct sink *sink, enum reply_error error, const char *param, const char *format,
               ...) __attribute__((format(printf, 4, 5)));

#endif
