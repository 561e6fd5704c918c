/* Characters of a text that comes in pieces cut anywhere, also inside a character.
 *
 * What a tokenizer's encode() reads its pieces with: the beginning of a character that a piece
 * leaves is kept in the encoder until the next piece brings the rest.  One thread. */
#ifndef MODELS_CHARS_H
#define MODELS_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/rnn.h"

struct chars {
    struct rnn_encoder *encoder;
    const char *text; /* [len] the piece */
    size_t len, at;
    uint64_t offset; /* of the character last given: its first byte, from the start of the text */
};

/* For chars_next() alone: whatever is not one byte of ASCII. */
int chars_next_wide(struct chars *chars, uint32_t *c, struct rnn_err *err);

/* The next character: 1 and *c; 0 where the piece is used up; RNN_EFORMAT, with the offset, for
 * what is no UTF-8. */
static inline int chars_next(struct chars *chars, uint32_t *c, struct rnn_err *err)
{
    struct rnn_encoder *encoder = chars->encoder;

    if (encoder->n_pending > 0 || chars->at == chars->len ||
        (unsigned char)chars->text[chars->at] >= 0x80)
        return chars_next_wide(chars, c, err);
    *c = (unsigned char)chars->text[chars->at++];
    chars->offset = encoder->consumed++;
    return 1;
}

/* The text ends here: RNN_EFORMAT where that is inside a character. */
int chars_end(const struct chars *chars, struct rnn_err *err);

#endif
