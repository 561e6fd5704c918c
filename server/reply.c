/* Error bodies and the table from error to status: the one place where a fault becomes an answer.
 *
 * `type` follows from the status (what kind of fault, for a client that branches coarsely), `code`
 * from the error itself.  What sends them is in reply_send.c.  No state; any thread. */
#include "server/reply.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static const struct {
    unsigned status;
    const char *code;
} errors[] = {
#define REPLY_ROW(symbol, status, code) [symbol] = {status, code},
    REPLY_ERRORS(REPLY_ROW)
#undef REPLY_ROW
};

unsigned reply_status(enum reply_error error)
{
    return errors[error].status;
}

const char *reply_code(enum reply_error error)
{
    return errors[error].code;
}

static const char *type_of(unsigned status)
{
    switch (status) {
    case 401:
    case 403:
        return "authentication_error";
    case 404:
    case 405:
    case 410:
        return "not_found_error";
    case 409:
        return "conflict_error";
    case 429:
        return "rate_limit_error";
    case 500:
        return "server_error";
    case 503:
    case 504:
    case 507:
        return "unavailable_error";
    default:
        return "invalid_request_error";
    }
}

/* What a client sent may be quoted in a message, and a fixed buffer may have cut it inside a
 * character: an unfinished end is dropped, and any other faulty byte becomes a '?'. */
static void put_text(struct buf *out, const char *text)
{
    char mended[512];
    size_t len, bad;

    snprintf(mended, sizeof mended, "%s", text);
    len = strlen(mended);
    while (!utf8_valid(mended, len, &bad)) {
        if (utf8_decode(mended + bad, len - bad, NULL) == 0)
            len = bad;
        else
            mended[bad] = '?';
    }
    buf_json_string(out, mended, len);
}

void reply_error_body(struct buf *out, enum reply_error error, const char *param,
                      const char *message)
{
    buf_puts(out, "{\"error\":{\"message\":");
    put_text(out, message);
    buf_puts(out, ",\"type\":\"");
    buf_puts(out, type_of(reply_status(error)));
    buf_puts(out, "\",\"param\":");
    if (param && *param)
        put_text(out, param);
    else
        buf_puts(out, "null");
    buf_puts(out, ",\"code\":\"");
    buf_puts(out, reply_code(error));
    buf_puts(out, "\"}}");
}

enum reply_error reply_error_of(const struct rnn_err *err)
{
    switch (err->code) {
    case RNN_EFORMAT:
    case RNN_ETYPE:
        return REPLY_MALFORMED;
    case RNN_ERANGE:
        return REPLY_OUT_OF_RANGE;
    case REPLY_EINPUT:
        return REPLY_NOT_POSSIBLE;
    case RNN_ECHAR:
        return REPLY_UNKNOWN_CHARACTER;
    case RNN_ESHAPE:
        return REPLY_FRAME_WIDTH;
    case RNN_EUNSUPPORTED:
        return REPLY_NOT_SUPPORTED;
    case RNN_ELIMIT:
        return REPLY_TOO_LARGE;
    case RNN_ENOENT:
        return REPLY_NO_MODEL;
    case RNN_EEXIST:
        return REPLY_SESSION_EXISTS;
    case RNN_EBUSY:
        return REPLY_SESSION_BUSY;
    case RNN_ENOMEM:
        return REPLY_NO_MEMORY;
    default:
        return REPLY_INTERNAL;
    }
}

enum reply_error reply_error_of_state(const struct rnn_err *err)
{
    switch (err->code) {
    case RNN_EFORMAT:
        return REPLY_STATE_DAMAGED;
    case RNN_ESHAPE:
        return REPLY_STATE_FOREIGN;
    case RNN_ENOENT:
        return REPLY_NOT_POSSIBLE;
    default:
        return reply_error_of(err);
    }
}
