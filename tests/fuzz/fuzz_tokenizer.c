/* A vocabulary and a text: bytes up to the first NUL are vocab.json, a byte says where the text is
 * cut, the rest is the text, for both sides where there are two.  Every cut gives the same ids or
 * the same error; entries are found by their text; what is decoded is valid UTF-8, and where
 * nothing was unknown it is read as the same ids again, and, character by character without
 * lower-casing, it is the text itself.
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

/* The text of all ids; whether everything in the text had a token of its own. */
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
    HOLDS(decoder.n_tokens == result->n);
    return known;
}

static bool same_ids(const struct result *a, const struct result *b)
{
    return a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof(uint32_t)) == 0;
}

/* What is written is read as the same ids. */
static void check_again(const struct rnn_tokenizer *tokenizer, const struct result *whole,
                        const struct buf *written)
{
    const char *text = written->len ? written->data : "";
    struct result again = encode(tokenizer, text, written->len, written->len / 2);

    HOLDS(again.rc == 0 && same_ids(whole, &again));
    free(again.ids);
}

struct side {
    const struct rnn_tokenizer *tokenizer;
    int64_t unk;
    bool as_it_stands; /* no lower-casing */
};

static void check_text(const struct side *side, const char *text, size_t len, size_t cut)
{
    bool chars = strcmp(side->tokenizer->ops->name, "char") == 0;
    struct result whole = encode(side->tokenizer, text, len, 0);
    struct result cut_up = encode(side->tokenizer, text, len, cut);
    struct buf buf = {0};

    HOLDS(whole.rc == cut_up.rc && whole.offset == cut_up.offset);
    HOLDS((whole.rc == RNN_EFORMAT) <= !utf8_valid(text, len, NULL));
    if (whole.rc == 0) {
        HOLDS(same_ids(&whole, &cut_up));
        HOLDS(whole.n == utf8_length(text, len) || (!chars && whole.n < utf8_length(text, len)));
        if (decode(side->tokenizer, &whole, side->unk, &buf)) {
            check_again(side->tokenizer, &whole, &buf);
            if (chars && side->as_it_stands && len > 0)
                HOLDS(buf.len == len && memcmp(buf.data, text, len) == 0);
        }
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

static void check_side(const struct side *side, const uint8_t *data, size_t size)
{
    if (!side->tokenizer)
        return;
    check_entries(side->tokenizer);
    if (size > 0)
        check_text(side, (const char *)data + 1, size - 1, data[0] % size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t vocab_len = nul ? (size_t)(nul - data) : size;
    size_t text_at = nul ? vocab_len + 1 : size;
    bool as_it_stands = !memmem(data, vocab_len, "lowercase", strlen("lowercase"));
    struct vocab vocab;
    struct rnn_err err = {0};
    int rc = vocab_parse(&vocab, (const char *)data, vocab_len, &err);

    if (rc < 0) {
        check_failure(rc, &err);
        return 0;
    }
    check_side(&(struct side){vocab.tokenizer, vocab.specials.unk, as_it_stands}, data + text_at,
               size - text_at);
    check_side(&(struct side){vocab.source, vocab.source_specials.unk, as_it_stands},
               data + text_at, size - text_at);
    vocab_free(&vocab);
    return 0;
}
