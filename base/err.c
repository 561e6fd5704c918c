/* Errors: the one place where their words are put together.  See err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* What was cut or quoted inside a character must not end up in an answer: '?' for each such byte.
 */
static void mend_utf8(char *text)
{
    size_t len = strlen(text), bad;

    while (!utf8_valid(text, len, &bad))
        text[bad] = '?';
}

__attribute__((format(printf, 5, 0))) static void fill(struct rnn_err *err, int code,
                                                       const char *param, int64_t offset,
                                                       const char *format, va_list args)
{
    if (!err)
        return;
    err->code = code;
    err->offset = offset;
    snprintf(err->param, sizeof err->param, "%s", param ? param : "");
    vsnprintf(err->text, sizeof err->text, format, args);
    mend_utf8(err->param);
    mend_utf8(err->text);
}

int rnn_fail(struct rnn_err *err, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, code, NULL, -1, format, args);
    va_end(args);
    return code;
}

int rnn_fail_at(struct rnn_err *err, int code, const char *param, int64_t offset,
                const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, code, param, offset, format, args);
    va_end(args);
    return code;
}

void rnn_err_prefix(struct rnn_err *err, const char *format, ...)
{
    char joined[sizeof err->text];
    size_t used;
    va_list args;

    if (!err)
        return;
    va_start(args, format);
    vsnprintf(joined, sizeof joined, format, args);
    va_end(args);
    used = strlen(joined);
    snprintf(joined + used, sizeof joined - used, "%s", err->text);
    memcpy(err->text, joined, sizeof joined);
    mend_utf8(err->text);
}

const char *rnn_error_name(int code)
{
    switch (code) {
#define RNN_ERROR_NAME(symbol, value, meaning)                                                     \
    case value:                                                                                    \
        return #symbol;
        RNN_ERRORS(RNN_ERROR_NAME)
#undef RNN_ERROR_NAME
    default:
        return "?";
    }
}

const char *rnn_error_meaning(int code)
{
    switch (code) {
#define RNN_ERROR_MEANING(symbol, value, meaning)                                                  \
    case value:                                                                                    \
        return meaning;
        RNN_ERRORS(RNN_ERROR_MEANING)
#undef RNN_ERROR_MEANING
    default:
        return "?";
    }
}
