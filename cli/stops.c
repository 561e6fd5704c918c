/* See stops.h.  Compares at every byte: a terminal's text is short, and so are stop strings. */
#include "cli/stops.h"

#include <string.h>

/* The longest stop string that ends the held text, or NULL. */
static const char *completed(const struct stops *stops)
{
    const char *longest = NULL;

    for (size_t i = 0; i < stops->n; i++) {
        size_t len = strlen(stops->strings[i]);

        if (len <= stops->held.len && (!longest || len > strlen(longest)) &&
            memcmp(stops->held.data + stops->held.len - len, stops->strings[i], len) == 0)
            longest = stops->strings[i];
    }
    return longest;
}

/* How many bytes at the end of the held text begin `string`. */
static size_t begun(const struct buf *held, const char *string)
{
    size_t n = strlen(string) - 1;

    if (n > held->len)
        n = held->len;
    while (n > 0 && memcmp(held->data + held->len - n, string, n) != 0)
        n--;
    return n;
}

static void let_out(struct stops *stops, size_t n, struct buf *out)
{
    buf_put(out, stops->held.data, n);
    memmove(stops->held.data, stops->held.data + n, stops->held.len - n);
    stops->held.len -= n;
}

bool stops_feed(struct stops *stops, const char *piece, size_t len, struct buf *out)
{
    size_t keep = 0;

    if (stops->n == 0) {
        buf_put(out, piece, len);
        return false;
    }
    for (size_t i = 0; i < len && !stops->found; i++) {
        buf_putc(&stops->held, piece[i]);
        if (stops->held.failed) {
            out->failed = true;
            return false;
        }
        stops->found = completed(stops);
    }
    if (stops->found) {
        let_out(stops, stops->held.len - strlen(stops->found), out);
        buf_clear(&stops->held);
        return true;
    }
    for (size_t i = 0; i < stops->n; i++) {
        size_t n = begun(&stops->held, stops->strings[i]);

        keep = n > keep ? n : keep;
    }
    if (stops->held.len > keep)
        let_out(stops, stops->held.len - keep, out);
    return false;
}

void stops_flush(struct stops *stops, struct buf *out)
{
    if (!stops->found)
        buf_put(out, stops->held.data, stops->held.len);
    buf_clear(&stops->held);
}

void stops_deinit(struct stops *stops)
{
    buf_free(&stops->held);
}
