/* Where a streamed text can be taken up again: the id of its events (SSE's Last-Event-ID).
 *
 * A text that is continued from the session's state needs little more than that: the generator is
 * part of the state.  What else its decoder and its limit need is in the id, so that the server
 * keeps nothing for a client that may never come back.  POSITION-DRAWN-FLAGS, in decimal digits.
 * Any thread. */
#ifndef SERVER_RESUME_H
#define SERVER_RESUME_H

#include <stdbool.h>
#include <stdint.h>

struct resume {
    bool given;
    uint64_t position;            /* of the session, behind the token of the event */
    uint64_t n_drawn;             /* tokens of the text, up to and with this one */
    bool written, joined, quoted; /* as of struct rnn_decoder */
    bool ended;                   /* the text has ended with this token */
};

#define RESUME_BYTES 48

void resume_write(char out[RESUME_BYTES], const struct resume *resume);

/* False: not such an id. */
bool resume_read(struct resume *out, const char *id);

#endif
