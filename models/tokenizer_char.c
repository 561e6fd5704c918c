/* One Unicode character, one token.  See tokenizer_char.h and core/tokenizer.h.
 *
 * From character to id: a table of pages of 256 code points, where only the pages that the
 * vocabulary touches exist, so a look-up is two loads, and no vocabulary can make it slow.
 * Immutable once made: any thread. */
#include "models/tokenizer_char.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "core/tokenizer.h"
#include "models/chars.h"
#include "models/letters.h"
#include "models/token_list.h"

enum {
    PAGE_CHARS = 256,
    N_PAGES = 0x110000 / PAGE_CHARS,
};

struct tokenizer {
    struct rnn_tokenizer head;
    struct vocab_rules rules;
    struct token_list list;
    int32_t *pages[N_PAGES]; /* [PAGE_CHARS] id of each character, -1: none; NULL: none of them */
};

static const struct tokenizer *ours(const struct rnn_tokenizer *head)
{
    return (const struct tokenizer *)head;
}

/* ---- Text to ids ---- */

static int32_t id_of(const struct tokenizer *tokenizer, uint32_t c)
{
    const int32_t *page = tokenizer->pages[c / PAGE_CHARS];

    return page ? page[c % PAGE_CHARS] : -1;
}

/* One character into an id; `offset` is its first byte. */
static int put_char(const struct tokenizer *tokenizer, uint32_t c, uint64_t offset, uint32_t *id,
                    struct rnn_err *err)
{
    int64_t found = id_of(tokenizer, tokenizer->rules.lowercase ? letters_lower(c) : c);

    if (found < 0)
        found = tokenizer->rules.specials.unk;
    if (found < 0)
        return rnn_fail_at(err, RNN_ECHAR, NULL, (int64_t)offset,
                           "the vocabulary has no U+%04X, at byte %llu", (unsigned)c,
                           (unsigned long long)offset);
    *id = (uint32_t)found;
    return 0;
}

static int encode(const struct rnn_tokenizer *head, struct rnn_encoder *encoder, const char *text,
                  size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    struct chars chars = {.encoder = encoder, .text = text, .len = len};
    uint32_t c;
    int rc;

    *n_ids = 0;
    while ((rc = chars_next(&chars, &c, err)) > 0) {
        rc = put_char(ours(head), c, chars.offset, &ids[*n_ids], err);
        if (rc < 0)
            return rc;
        ++*n_ids;
    }
    return rc == 0 && last ? chars_end(&chars, err) : rc;
}

/* ---- Ids to text ---- */

static size_t decode(const struct rnn_tokenizer *head, struct rnn_decoder *decoder, uint32_t id,
                     const char **text)
{
    const struct tokenizer *tokenizer = ours(head);
    const struct token *token = token_list_shown(&tokenizer->list, id, &tokenizer->rules.specials);

    decoder->n_tokens++;
    *text = token->text;
    return token->len;
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
    for (size_t i = 0; i < N_PAGES; i++)
        free(tokenizer->pages[i]);
    token_list_free(&tokenizer->list);
    free(tokenizer);
}

static const struct rnn_tokenizer_ops char_ops = {.name = "char",
                                                  .encode = encode,
                                                  .decode = decode,
                                                  .token_text = token_text,
                                                  .token_id = token_id,
                                                  .free = free_tokenizer};

static int map_char(struct tokenizer *tokenizer, uint32_t c, uint32_t id, struct rnn_err *err)
{
    int32_t **page = &tokenizer->pages[c / PAGE_CHARS];

    if (!*page) {
        *page = malloc(PAGE_CHARS * sizeof **page);
        if (!*page)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
        memset(*page, 0xFF, PAGE_CHARS * sizeof **page);
    }
    (*page)[c % PAGE_CHARS] = (int32_t)id;
    return 0;
}

static int map_chars(struct tokenizer *tokenizer, struct rnn_err *err)
{
    int rc = 0;

    for (uint32_t id = 0; id < tokenizer->list.n && rc == 0; id++) {
        const struct token *token = &tokenizer->list.tokens[id];
        uint32_t c;

        if (vocab_is_special(&tokenizer->rules.specials, id) ||
            utf8_decode(token->text, token->len, &c) != (int)token->len)
            continue;
        rc = map_char(tokenizer, c, id, err);
    }
    return rc;
}

static int make(struct rnn_tokenizer **out, const struct cJSON *tokens, size_t n_tokens,
                const struct vocab_rules *rules, struct rnn_err *err)
{
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    int rc;

    if (!tokenizer)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    tokenizer->head = (struct rnn_tokenizer){.ops = &char_ops, .n_tokens = n_tokens};
    tokenizer->rules = *rules;
    rc = token_list_make(&tokenizer->list, tokens, n_tokens, err);
    if (rc == 0)
        rc = map_chars(tokenizer, err);
    if (rc < 0) {
        free_tokenizer(&tokenizer->head);
        return rc;
    }
    *out = &tokenizer->head;
    return 0;
}

const struct vocab_kind vocab_char = {.name = "char", .make = make};
