/* What all sinks have in common.  See sink.h. */
#include "server/sink.h"

#include <stdarg.h>
#include <stdio.h>

void sink_fail(struct sink *sink, enum reply_error error, const char *param, const char *format,
               ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sink->ops->fail(sink, error, param, text);
}
