/* One word, or one symbol, one token.  See tokenizer_word.h and core/tokenizer.h.
 *
 * The word being read grows in the encoder, character by character, already in lower case where
 * that is asked for, so that a text may be cut anywhere.  Immutable once made: any thread. */
#include "models/tokenizer_word.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "core/tokenizer.h"
#include "models/chars.h"
#include "models/letters.h"
#include "models/token_list.h"

enum {
    SHOWN_MAX = 40,             /* bytes of an unknown word in a message */
    TOO_LONG = RNN_WORD_MAX + 1 /* n_word of a word that did not fit */
};

struct tokenizer {
    struct rnn_tokenizer head;
    struct vocab_rules rules;
    struct token_list list;
};

static const struct tokenizer *ours(const struct rnn_tokenizer *head)
{
    return (const struct tokenizer *)head;
}

/* ---- Text to ids ---- */

/* The beginning of the word with nothing in it that could steer a terminal. */
static void printable(const struct rnn_encoder *encoder, char out[SHOWN_MAX + 4])
{
    size_t len = 0;

    while (len < encoder->n_word && len < SHOWN_MAX) {
        uint32_t c;
        int n = utf8_decode(encoder->word + len, encoder->n_word - len, &c);

        if (n <= 0 || len + (size_t)n > SHOWN_MAX)
            break;
        memcpy(out + len, encoder->word + len, (size_t)n);
        if (c < 0x20 || c == 0x7F)
            out[len] = '?';
        else if (c >= 0x80 && c < 0xA0)
            memset(out + len, '?', 2);
        len += (size_t)n;
    }
    strcpy(out + len, len < encoder->n_word ? "…" : "");
}

static int unknown(const struct tokenizer *tokenizer, const struct rnn_encoder *encoder,
                   struct rnn_err *err)
{
    const char *what = tokenizer->head.ops->name;
    char word[SHOWN_MAX + 4];

    if (encoder->n_word == TOO_LONG)
        return rnn_fail_at(err, RNN_ECHAR, NULL, (int64_t)encoder->word_at,
                           "a %s of more than %d bytes, at byte %llu", what, RNN_WORD_MAX,
                           (unsigned long long)encoder->word_at);
    printable(encoder, word);
    return rnn_fail_at(err, RNN_ECHAR, NULL, (int64_t)encoder->word_at,
                       "the vocabulary has no %s \"%s\", at byte %llu", what, word,
                       (unsigned long long)encoder->word_at);
}

/* The word is whole: appends its id.  Nothing where there is no word. */
static int end_word(const struct tokenizer *tokenizer, struct rnn_encoder *encoder, uint32_t *ids,
                    size_t *n_ids, struct rnn_err *err)
{
    const struct vocab_specials *specials = &tokenizer->rules.specials;
    int64_t id = -1;

    if (encoder->n_word == 0)
        return 0;
    if (encoder->n_word != TOO_LONG)
        id = token_list_find(&tokenizer->list, encoder->word, encoder->n_word);
    if (id >= 0 && vocab_is_special(specials, (uint32_t)id))
        id = -1;
    if (id < 0)
        id = specials->unk;
    if (id < 0)
        return unknown(tokenizer, encoder, err);
    encoder->n_word = 0;
    ids[(*n_ids)++] = (uint32_t)id;
    return 0;
}

static void grow_word(struct rnn_encoder *encoder, uint32_t c, uint64_t offset)
{
    char bytes[4];
    size_t n = utf8_encode(c, bytes);

    if (encoder->n_word == 0)
        encoder->word_at = offset;
    if (encoder->n_word + n > RNN_WORD_MAX) { /* also where it is TOO_LONG already */
        encoder->n_word = TOO_LONG;
        return;
    }
    memcpy(encoder->word + encoder->n_word, bytes, n);
    encoder->n_word = (uint16_t)(encoder->n_word + n);
}

static bool in_word(uint32_t c)
{
    return c == '\'' || c == 0x2019 || letters_in_word(c);
}

/* At most two ids: of the word that c ends, and of c. */
static int take_char(const struct tokenizer *tokenizer, struct rnn_encoder *encoder, uint32_t c,
                     uint64_t offset, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    bool alone = tokenizer->rules.split == VOCAB_SPLIT_WORDS && !in_word(c);
    int rc = 0;

    if (alone || letters_space(c))
        rc = end_word(tokenizer, encoder, ids, n_ids, err);
    if (rc < 0 || letters_space(c))
        return rc;
    grow_word(encoder, tokenizer->rules.lowercase ? letters_lower(c) : c, offset);
    return alone ? end_word(tokenizer, encoder, ids, n_ids, err) : 0;
}

static int encode(const struct rnn_tokenizer *head, struct rnn_encoder *encoder, const char *text,
                  size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    struct chars chars = {.encoder = encoder, .text = text, .len = len};
    uint32_t c;
    int rc;

    *n_ids = 0;
    while ((rc = chars_next(&chars, &c, err)) > 0) {
        rc = take_char(ours(head), encoder, c, chars.offset, ids, n_ids, err);
        if (rc < 0)
            return rc;
    }
    if (rc == 0 && last)
        rc = chars_end(&chars, err);
    if (rc == 0 && last)
        rc = end_word(ours(head), encoder, ids, n_ids, err);
    return rc;
}

/* ---- Ids to text ---- */

/* Whether the token stands close to the one before it; what it says of the next one is noted. */
static bool joins(struct rnn_decoder *decoder, const struct token *token)
{
    char c = token->len == 1 ? token->text[0] : 'a';
    bool after = decoder->joined;

    decoder->joined = c == '(' || c == '[' || c == '{';
    if (c == '"') {
        after = after || decoder->quoted;
        decoder->quoted = !decoder->quoted;
        decoder->joined = decoder->quoted;
    }
    return after || strchr(".,;:!?)]}", c) != NULL;
}

static size_t decode(const struct rnn_tokenizer *head, struct rnn_decoder *decoder, uint32_t id,
                     const char **text)
{
    const struct tokenizer *tokenizer = ours(head);
    const struct token *token = token_list_shown(&tokenizer->list, id, &tokenizer->rules.specials);
    bool close = !decoder->written;

    decoder->n_tokens++;
    *text = token->text;
    if (token->len == 0)
        return 0;
    decoder->written = true;
    if (tokenizer->rules.split == VOCAB_SPLIT_WORDS && joins(decoder, token))
        close = true;
    *text = close ? token->text : token->text - 1;
    return close ? token->len : token->len + 1;
}

static const char *token_text(const struct rnn_tokenizer *head, uint32_t id, size_t *len)
{
    return token_list_text(&ours(head)->list, id, len);
}

static int64_t token_id(const struct rnn_tokenizer *head, const char *text, size_t len)
{
    return token_list_find(&ours(head)->list, text, len);
}

/* ---- Making one ---- */

static void free_tokenizer(struct rnn_tokenizer *head)
{
    struct tokenizer *tokenizer = (struct tokenizer *)head;

    if (!tokenizer)
        return;
    token_list_free(&tokenizer->list);
    free(tokenizer);
}

static int make(struct rnn_tokenizer **out, const struct rnn_tokenizer_ops *ops,
                const struct cJSON *tokens, size_t n_tokens, const struct vocab_rules *rules,
                struct rnn_err *err)
{
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    int rc;

    if (!tokenizer)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    tokenizer->head = (struct rnn_tokenizer){.ops = ops, .n_tokens = n_tokens};
    tokenizer->rules = *rules;
    rc = token_list_make(&tokenizer->list, tokens, n_tokens, err);
    if (rc < 0) {
        free(tokenizer);
        return rc;
    }
    *out = &tokenizer->head;
    return 0;
}

static const struct rnn_tokenizer_ops word_ops = {.name = "word",
                                                  .encode = encode,
                                                  .decode = decode,
                                                  .token_text = token_text,
                                                  .token_id = token_id,
                                                  .free = free_tokenizer};

static int make_words(struct rnn_tokenizer **out, const struct cJSON *tokens, size_t n_tokens,
                      const struct vocab_rules *rules, struct rnn_err *err)
{
    return make(out, &word_ops, tokens, n_tokens, rules, err);
}

static const struct rnn_tokenizer_ops symbol_ops = {.name = "symbol",
                                                    .encode = encode,
                                                    .decode = decode,
                                                    .token_text = token_text,
                                                    .token_id = token_id,
                                                    .free = free_tokenizer};

static int make_symbols(struct rnn_tokenizer **out, const struct cJSON *tokens, size_t n_tokens,
                        const struct vocab_rules *rules, struct rnn_err *err)
{
    return make(out, &symbol_ops, tokens, n_tokens, rules, err);
}

const struct vocab_kind vocab_word = {.name = "word", .splits = true, .make = make_words};
const struct vocab_kind vocab_symbol = {
    .name = "symbol", .synonym = "phoneme", .make = make_symbols};
