/* Where a streamed text can be taken up again: the id of its events (SSE's Last-Event-ID).
 *
 * What is drawn is a function of where it begins, the generator there included, and of the request.
 * So an id names the beginning and says how much had been seen; whoever is sent the request anew
 * computes it again from there and keeps back what has been seen.  Nothing is kept for a client
 * that may never come back, and any distance, sampler and kind of text is served alike.  A running
 * check value over all of that tells when the request, the weights or the beginning are others.
 *
 *     START-SEEN-STREAM-CHECK[-d|-c]      in hexadecimal digits, lower case
 *
 * Any thread. */
#ifndef SERVER_RESUME_H
#define SERVER_RESUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum resume_cut { RESUME_NOT_CUT, RESUME_DEADLINE, RESUME_CANCELLED };

struct resume {
    bool given;
    uint64_t start;      /* the position that the stream began at */
    uint64_t seen;       /* tokens or frames of it, up to and with the event; 0: only an echo */
    uint64_t stream;     /* of a session: its number (session.h); else the seed */
    uint32_t check;      /* resume_fold() of the check value at that place */
    enum resume_cut cut; /* the event let out what the end of a text cut short had held back */
};

#define RESUME_BYTES 64

void resume_write(char out[RESUME_BYTES], const struct resume *resume);

/* False: not such an id. */
bool resume_read(struct resume *out, const char *id);

/* A running check value: begins as RESUME_CHECK, goes through all bytes in order (FNV-1a of 64
 * bits: Fowler, Noll and Vo 1991), and is folded to what an id holds. */
#define RESUME_CHECK UINT64_C(0xcbf29ce484222325)
uint64_t resume_check(uint64_t check, const void *bytes, size_t len);
uint32_t resume_fold(uint64_t check);

#endif
