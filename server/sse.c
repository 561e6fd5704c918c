/* The writer of server-sent events.  See sse.h. */
#include "server/sse.h"

static void put_name(struct buf *out, const char *name)
{
    buf_puts(out, "event: ");
    buf_puts(out, name);
    buf_puts(out, "\ndata: ");
}

void sse_begin(struct buf *out, const char *name)
{
    put_name(out, name);
}

void sse_end(struct buf *out)
{
    buf_puts(out, "\n\n");
}

void sse_id(struct buf *out, const char *id)
{
    buf_puts(out, "id: ");
    buf_puts(out, id);
    buf_putc(out, '\n');
}

void sse_event(struct buf *out, const char *name, const char *data, size_t len)
{
    put_name(out, name);
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\r' && i + 1 < len && data[i + 1] == '\n')
            continue;
        if (data[i] == '\r' || data[i] == '\n')
            buf_puts(out, "\ndata: ");
        else
            buf_putc(out, data[i]);
    }
    sse_end(out);
}

void sse_comment(struct buf *out, const char *text)
{
    buf_puts(out, ": ");
    for (; *text; text++)
        buf_putc(out, *text == '\n' || *text == '\r' ? ' ' : *text);
    sse_end(out);
}
