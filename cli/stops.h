/* Stop strings of a text that is being written.
 *
 * The rule is the daemon's: the text ends before the stop string that is completed first; of
 * several completed by the same byte, before the longest.  What may still become one is held back,
 * so the joined output does not depend on where the pieces were cut. */
#ifndef CLI_STOPS_H
#define CLI_STOPS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { STOPS_MAX = 16 };

struct stops {
    const char *strings[STOPS_MAX]; /* not empty; the caller's */
    size_t n;
    struct buf held; /* the end of the text that is not let out yet */
    const char *found;
};

/* Takes the next piece and appends to `out` what may be let out; true once a stop string is
 * complete. */
bool stops_feed(struct stops *stops, const char *piece, size_t len, struct buf *out);

/* The text ends: lets out what was held back, unless a stop string was found.  Ready for the next
 * text afterwards, but for `found`. */
void stops_flush(struct stops *stops, struct buf *out);
void stops_deinit(struct stops *stops);

#endif
