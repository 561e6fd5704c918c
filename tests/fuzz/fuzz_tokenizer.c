/* A vocabulary and a text: bytes up to the first NUL are vocab.json, a byte says where the text is
 * cut, the rest is the text.  Every cut gives the same ids or the same error; entries are found by
 * their text; what is decoded is valid UTF-8, and equals the text where no character was unknown.
 */
#include "base/buf.h"
#include "core/tokenizer.h"
#include "fuzz.h"
#include "models/vocab.h"

struct result {
    int rc;
    int64_t offset;
    uint32_t *ids;
    size_t n;
};

static struct result encode(const struct rnn_tokenizer *tokenizer, const char *text, size_t len,
                            size_t cut)
{
    struct result result = {.ids = malloc((len + 2) * sizeof(uint32_t))};
    struct rnn_encoder encoder = {0};
    struct rnn_err err = {0};
    size_t n = 0;

    HOLDS(result.ids != NULL);
    result.rc = tokenizer->ops->encode(tokenizer, &encoder, text, cut, false, result.ids, &n, &err);
    HOLDS(result.rc < 0 || n <= cut + 1);
    result.n = n;
    if (result.rc == 0) {
        result.rc = tokenizer->ops->encode(tokenizer, &encoder, text + cut, len - cut, true,
                                           result.ids + n, &n, &err);
        result.n += n;
    }
    if (result.rc < 0) {
        check_failure(result.rc, &err);
        HOLDS(err.offset >= 0 && (size_t)err.offset < len);
        result.offset = err.offset;
    }
    return result;
}

/* The text of all ids; whether every character of the text had a token of its own. */
static bool decode(const struct rnn_tokenizer *tokenizer, const struct result *result, int64_t unk,
                   struct buf *out)
{
    struct rnn_decoder decoder = {0};
    bool known = true;

    for (size_t i = 0; i < result->n; i++) {
        const char *text;
        size_t len;

        HOLDS(result->ids[i] < tokenizer->n_tokens);
        len = tokenizer->ops->decode(tokenizer, &decoder, result->ids[i], &text);
        HOLDS(utf8_valid(text, len, NULL));
        buf_put(out, text, len);
        known = known && (int64_t)result->ids[i] != unk;
    }
    return known;
}

static void check_text(const struct vocab *vocab, const char *text, size_t len, size_t cut)
{
    struct result whole = encode(vocab->tokenizer, text, len, 0);
    struct result cut_up = encode(vocab->tokenizer, text, len, cut);
    struct buf buf = {0};

    HOLDS(whole.rc == cut_up.rc && whole.offset == cut_up.offset);
    HOLDS((whole.rc == RNN_EFORMAT) <= !utf8_valid(text, len, NULL));
    if (whole.rc == 0) {
        HOLDS(whole.n == cut_up.n &&
              memcmp(whole.ids, cut_up.ids, whole.n * sizeof(uint32_t)) == 0);
        HOLDS(whole.n == utf8_length(text, len));
        if (decode(vocab->tokenizer, &whole, vocab->specials.unk, &buf) && len > 0)
            HOLDS(buf.len == len && memcmp(buf.data, text, len) == 0);
    }
    buf_free(&buf);
    free(whole.ids);
    free(cut_up.ids);
}

static void check_entries(const struct rnn_tokenizer *tokenizer)
{
    for (uint32_t id = 0; id < tokenizer->n_tokens; id++) {
        size_t len;
        const char *text = tokenizer->ops->token_text(tokenizer, id, &len);

        HOLDS(utf8_valid(text, len, NULL));
        HOLDS(tokenizer->ops->token_id(tokenizer, text, len) == id);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t vocab_len = nul ? (size_t)(nul - data) : size;
    size_t text_at = vocab_len + 2;
    struct vocab vocab;
    struct rnn_err err = {0};
    int rc = vocab_parse(&vocab, (const char *)data, vocab_len, &err);

    if (rc < 0) {
        check_failure(rc, &err);
        return 0;
    }
    if (vocab.tokenizer)
        check_entries(vocab.tokenizer);
    if (vocab.tokenizer && text_at <= size) {
        size_t len = size - text_at;

        check_text(&vocab, (const char *)data + text_at, len, data[text_at - 1] % (len + 1));
    }
    vocab_free(&vocab);
    return 0;
}
