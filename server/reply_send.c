/* Sends error bodies and JSON answers over HTTP, with the headers that a status asks for.  On the
 * request's own shard. */
#include <stdarg.h>
#include <stdio.h>

#include "server/http.h"
#include "server/reply.h"

static void send_error(struct request *request, enum reply_error error, const char *param,
                       const char *message)
{
    unsigned status = reply_status(error);
    struct buf body = {0};

    if (status == 429 || status == 503)
        http_reply_header(request, "Retry-After", "1");
    if (status == 401)
        http_reply_header(request, "WWW-Authenticate", "Bearer realm=\"rnnd\"");
    reply_error_body(&body, error, param, message);
    buf_putc(&body, '\n');
    http_reply(request, status, "application/json", &body);
    buf_free(&body);
}

void reply_error(struct request *request, enum reply_error error, const char *param,
                 const char *format, ...)
{
    char message[512];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    send_error(request, error, param, message);
}

void reply_failure(struct request *request, const struct rnn_err *err)
{
    send_error(request, reply_error_of(err), err->param, err->text);
}

void reply_json(struct request *request, unsigned status, struct buf *body)
{
    buf_putc(body, '\n');
    if (body->failed) {
        buf_free(body);
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory while writing the answer");
        return;
    }
    http_reply(request, status, "application/json", body);
    buf_free(body);
}
