/* What libmicrohttpd refuses by itself: heads that it cannot read, broken chunks.
 *
 * It answers those in HTML and asks nobody.  All that it says of them are words to its logger, just
 * before it answers, without the connection.  From those words this file has the access log and the
 * metrics count such requests like any other, and where it is certain which connection is meant it
 * sends the answer itself, in the form of every error.  It is certain for what stands in the
 * headers (Content-Length): their connection is the only one whose headers are read and that has no
 * request yet.  A broken request line or a head beyond all limits keeps its answer in HTML.  Own
 * shard's thread only. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "server/http_inner.h"
#include "server/log.h"
#include "server/metrics.h"

static const char refusal[] = "Error processing request (HTTP response code is %u";

static void answer_in_json(struct http *http, unsigned status)
{
    struct connection *c = http->asked;

    if (!c || !c->mhd || c->exchange || c->linger)
        return;
    if (!MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE))
        return; /* its headers are still coming in: somebody else is meant */
    c->linger = true;
    if (status == reply_status(REPLY_TOO_LARGE))
        (void)connection_refuse_raw(c, NULL, REPLY_TOO_LARGE,
                                    "Content-Length: larger than any body may be");
    else
        (void)connection_refuse_raw(c, NULL, REPLY_MALFORMED,
                                    "Content-Length: want one decimal number");
    (void)shutdown(c->fd, SHUT_WR); /* the other answer does not go out any more */
}

static void refused(struct http *http, unsigned status)
{
    if (http->n_refused == sizeof http->refused / sizeof *http->refused)
        http_refused_tell(http);
    http->refused[http->n_refused++] = status;
    answer_in_json(http, status);
}

void http_on_words(void *cls, const char *format, va_list arguments)
{
    va_list again;
    char text[256];
    size_t len;

    va_copy(again, arguments);
    vsnprintf(text, sizeof text, format, again);
    va_end(again);
    len = strlen(text);
    while (len > 0 && text[len - 1] == '\n')
        text[--len] = '\0';
    log_line(CONFIG_LOG_DEBUG, "libmicrohttpd", LOG_TEXT("detail", text));
    if (strncmp(format, refusal, sizeof refusal - 1) == 0)
        refused(cls, va_arg(arguments, unsigned));
}

unsigned http_refused_claim(struct http *http, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_HTTP_STATUS);

    if (!info)
        return 0;
    for (size_t i = http->n_refused; i-- > 0;) {
        if (http->refused[i] != info->http_status)
            continue;
        http->refused[i] = http->refused[--http->n_refused];
        break;
    }
    return info->http_status;
}

void http_refused_tell(struct http *http)
{
    char id[17];

    for (size_t i = 0; i < http->n_refused; i++) {
        http_mint_id(http, id);
        metrics_request(http->shard->metrics, ROUTE_NONE, http->refused[i], 0);
        log_line(CONFIG_LOG_INFO, "request", LOG_TEXT("id", id), LOG_TEXT("method", ""),
                 LOG_TEXT("route", ROUTE_NONE), LOG_NUMBER("status", http->refused[i]),
                 LOG_NUMBER("ms", 0), LOG_NUMBER("bytes", 0), LOG_TEXT("key", ""));
    }
    http->n_refused = 0;
}
