/* Characters of a text in pieces.  See chars.h.
 *
 * A character that is cut is put together byte by byte in the encoder; all others are read where
 * they stand. */
#include "models/chars.h"

#include "base/utf8.h"

static int bad_utf8(const struct rnn_encoder *encoder, const char *what, struct rnn_err *err)
{
    return rnn_fail_at(err, RNN_EFORMAT, NULL, (int64_t)encoder->consumed, "%s at byte %llu", what,
                       (unsigned long long)encoder->consumed);
}

int chars_next_wide(struct chars *chars, uint32_t *c, struct rnn_err *err)
{
    struct rnn_encoder *encoder = chars->encoder;
    int n = 0;

    if (encoder->n_pending == 0) {
        n = utf8_decode(chars->text + chars->at, chars->len - chars->at, c);
        if (n > 0)
            chars->at += (size_t)n;
    }
    while (n == 0 && chars->at < chars->len) {
        encoder->pending[encoder->n_pending++] = chars->text[chars->at++]; /* never over 4 */
        n = utf8_decode(encoder->pending, encoder->n_pending, c);
    }
    if (n < 0)
        return bad_utf8(encoder, "invalid UTF-8", err);
    if (n == 0)
        return 0;
    encoder->n_pending = 0;
    chars->offset = encoder->consumed;
    encoder->consumed += (unsigned)n;
    return 1;
}

int chars_end(const struct chars *chars, struct rnn_err *err)
{
    return chars->encoder->n_pending == 0
               ? 0
               : bad_utf8(chars->encoder, "an unfinished character", err);
}
