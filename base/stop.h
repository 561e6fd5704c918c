/* Stop strings, matched across token borders, and the cutting of text into whole characters.
 *
 * A text comes in pieces (what each token adds) and goes out in pieces: a byte is let out as soon
 * as no stop string can begin at or before it any more and its character is whole.  The text ends
 * before the stop string that is *completed first*; of several completed by the same byte, before
 * the longest.  So the joined output and the moment of the stop do not depend on where the pieces
 * were cut.  Whatever writes text goes through here: the daemon, streamed or not, and the
 * command line.  One thread at a time. */
#ifndef BASE_STOP_H
#define BASE_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* The strings of a request: immutable once made, shared by its texts. */
struct stop_set {
    size_t n;
    size_t longest;
    struct stop_string {
        char *text; /* owned; NUL-terminated */
        size_t len;
        uint32_t *border; /* [len]: length of the longest proper border of text[0..i] */
    } * strings;
};

/* Copies n non-empty strings without NUL; zero-initialised is the empty set.  False (and an empty
 * set) where memory is short. */
bool stop_set_init(struct stop_set *set, const char *const *strings, size_t n);
void stop_set_free(struct stop_set *set);

/* One text under way. */
struct stop_match {
    const struct stop_set *set;
    uint32_t *states; /* [n]: bytes of each string matched by the end of the text so far */
    char *held;       /* [longest + 4]: the end of the text that is not let out yet */
    size_t n_held;
    int found; /* index of the string that ended the text, or -1 */
};

/* `set` outlives the match.  False where memory is short. */
bool stop_match_init(struct stop_match *match, const struct stop_set *set);
void stop_match_free(struct stop_match *match);

/* Takes the next piece and appends to `out` what may be let out.  Returns true when a stop string
 * is complete: the text has ended, what came after it in the piece is dropped, and further pieces
 * are ignored. */
bool stop_match_feed(struct stop_match *match, const char *piece, size_t len, struct buf *out);

/* The text ends here without a stop string: lets out what was held back, but for a character that
 * never became whole. */
void stop_match_flush(struct stop_match *match, struct buf *out);

#endif
