/* The ring of recent tokens as it stands behind a state, for the sampler, which counts them all at
 * every draw.  See core/recent.c. */
#ifndef CORE_RECENT_H
#define CORE_RECENT_H

#include <stdint.h>

#define RECENT_DRAWN 0x80000000u /* in an entry: the token, in the other bits, was drawn */

struct rnn_recent {
    uint32_t size, n, next;
    uint32_t tokens[]; /* [size] entries, of which the n before `next` are in use: where n < size,
                          the first n */
};

#endif
