/* One Unicode character, one token.  See tokenizer_char.h and core/tokenizer.h.
 *
 * From character to id: a table of pages of 256 code points, where only the pages that the
 * vocabulary touches exist, so a look-up is two loads, and no vocabulary can make it slow.  From
 * text to id (for names given by a user): a sorted index.  Immutable once made: any thread. */
#include "models/tokenizer_char.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "core/tokenizer.h"

enum {
    PAGE_CHARS = 256,
    N_PAGES = 0x110000 / PAGE_CHARS,
};

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

struct token {
    const char *text; /* of the vocabulary file */
    size_t len;
    const char *shown; /* what it adds to a text */
    size_t shown_len;
};

struct tokenizer {
    struct rnn_tokenizer head;
    int64_t unk;
    struct token *tokens;    /* [n_tokens] */
    uint32_t *sorted;        /* [n_tokens] ids by text */
    char *bytes;             /* all texts, each with a NUL */
    int32_t *pages[N_PAGES]; /* [PAGE_CHARS] id of each character, -1: none; NULL: none of them */
};

static const struct tokenizer *ours(const struct rnn_tokenizer *head)
{
    return (const struct tokenizer *)head;
}

static int32_t id_of(const struct tokenizer *tokenizer, uint32_t c)
{
    const int32_t *page = tokenizer->pages[c / PAGE_CHARS];

    return page ? page[c % PAGE_CHARS] : -1;
}

/* ---- Text to ids ---- */

/* One character into an id; `offset` is its first byte. */
static int put_char(const struct tokenizer *tokenizer, uint32_t c, uint64_t offset, uint32_t *id,
                    struct rnn_err *err)
{
    int64_t found = id_of(tokenizer, c);

    if (found < 0)
        found = tokenizer->unk;
    if (found < 0)
        return rnn_fail_at(err, RNN_ECHAR, NULL, (int64_t)offset,
                           "the vocabulary has no U+%04X, at byte %llu", (unsigned)c,
                           (unsigned long long)offset);
    *id = (uint32_t)found;
    return 0;
}

static int bad_utf8(const struct rnn_encoder *encoder, const char *what, struct rnn_err *err)
{
    return rnn_fail_at(err, RNN_EFORMAT, NULL, (int64_t)encoder->consumed, "%s at byte %llu", what,
                       (unsigned long long)encoder->consumed);
}

/* Finishes the pending character from text; *used is the bytes taken. */
static int finish_pending(const struct tokenizer *tokenizer, struct rnn_encoder *encoder,
                          const char *text, size_t len, size_t *used, uint32_t *ids, size_t *n_ids,
                          struct rnn_err *err)
{
    uint32_t c;
    int n = 0, rc;

    *used = 0;
    while (n == 0 && *used < len) {
        encoder->pending[encoder->n_pending++] = text[(*used)++];
        n = utf8_decode(encoder->pending, encoder->n_pending, &c);
    }
    if (n == 0)
        return 0;
    if (n < 0)
        return bad_utf8(encoder, "invalid UTF-8", err);
    rc = put_char(tokenizer, c, encoder->consumed, &ids[*n_ids], err);
    if (rc < 0)
        return rc;
    ++*n_ids;
    encoder->consumed += (unsigned)n;
    encoder->n_pending = 0;
    return 0;
}

static int encode_chars(const struct tokenizer *tokenizer, struct rnn_encoder *encoder,
                        const char *text, size_t len, uint32_t *ids, size_t *n_ids,
                        struct rnn_err *err)
{
    size_t at = 0;

    while (at < len) {
        uint32_t c = (unsigned char)text[at];
        int n = c < 0x80 ? 1 : utf8_decode(text + at, len - at, &c);
        int rc;

        if (n < 0)
            return bad_utf8(encoder, "invalid UTF-8", err);
        if (n == 0)
            break;
        rc = put_char(tokenizer, c, encoder->consumed, &ids[*n_ids], err);
        if (rc < 0)
            return rc;
        ++*n_ids;
        at += (size_t)n;
        encoder->consumed += (unsigned)n;
    }
    encoder->n_pending = (uint8_t)(len - at); /* less than a character: at most 3 */
    if (len > at)
        memcpy(encoder->pending, text + at, len - at);
    return 0;
}

static int encode(const struct rnn_tokenizer *head, struct rnn_encoder *encoder, const char *text,
                  size_t len, bool last, uint32_t *ids, size_t *n_ids, struct rnn_err *err)
{
    size_t used = 0;
    int rc = 0;

    *n_ids = 0;
    if (encoder->n_pending > 0)
        rc = finish_pending(ours(head), encoder, text, len, &used, ids, n_ids, err);
    if (rc == 0 && encoder->n_pending == 0)
        rc = encode_chars(ours(head), encoder, text + used, len - used, ids, n_ids, err);
    if (rc == 0 && last && encoder->n_pending > 0)
        rc = bad_utf8(encoder, "an unfinished character", err);
    return rc;
}

/* ---- Ids to text ---- */

static size_t decode(const struct rnn_tokenizer *head, struct rnn_decoder *decoder, uint32_t id,
                     const char **text)
{
    const struct token *token = &ours(head)->tokens[id];

    decoder->n_tokens++;
    *text = token->shown;
    return token->shown_len;
}

static const char *token_text(const struct rnn_tokenizer *head, uint32_t id, size_t *len)
{
    const struct token *token;

    if (id >= head->n_tokens)
        return NULL;
    token = &ours(head)->tokens[id];
    *len = token->len;
    return token->text;
}

static int compare(const struct token *token, const char *text, size_t len)
{
    size_t shorter = token->len < len ? token->len : len;
    int order = memcmp(token->text, text, shorter);

    if (order != 0)
        return order;
    return token->len < len ? -1 : token->len > len;
}

static int64_t token_id(const struct rnn_tokenizer *head, const char *text, size_t len)
{
    const struct tokenizer *tokenizer = ours(head);
    size_t low = 0, high = head->n_tokens;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(&tokenizer->tokens[tokenizer->sorted[middle]], text, len);

        if (order == 0)
            return tokenizer->sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* ---- Making one ---- */

static void free_tokenizer(struct rnn_tokenizer *head)
{
    struct tokenizer *tokenizer = (struct tokenizer *)head;

    if (!tokenizer)
        return;
    for (size_t i = 0; i < N_PAGES; i++)
        free(tokenizer->pages[i]);
    free(tokenizer->tokens);
    free(tokenizer->sorted);
    free(tokenizer->bytes);
    free(tokenizer);
}

static const struct rnn_tokenizer_ops char_ops = {.name = "char",
                                                  .encode = encode,
                                                  .decode = decode,
                                                  .token_text = token_text,
                                                  .token_id = token_id,
                                                  .free = free_tokenizer};

static bool map_char(struct tokenizer *tokenizer, uint32_t c, int32_t id)
{
    int32_t **page = &tokenizer->pages[c / PAGE_CHARS];

    if (!*page) {
        *page = malloc(PAGE_CHARS * sizeof **page);
        if (!*page)
            return false;
        memset(*page, 0xFF, PAGE_CHARS * sizeof **page);
    }
    (*page)[c % PAGE_CHARS] = id;
    return true;
}

static void set_shown(struct token *token, int64_t id, const struct vocab_specials *specials)
{
    token->shown = token->text;
    token->shown_len = token->len;
    if (id == specials->bos || id == specials->eos) {
        token->shown_len = 0;
    } else if (id == specials->unk) {
        token->shown = replacement;
        token->shown_len = sizeof replacement - 1;
    }
}

static bool is_special(int64_t id, const struct vocab_specials *specials)
{
    return id == specials->unk || id == specials->bos || id == specials->eos;
}

/* Copies the texts and maps the characters; `bytes` has room for all. */
static bool fill_tokens(struct tokenizer *tokenizer, const struct cJSON *list,
                        const struct vocab_specials *specials)
{
    char *at = tokenizer->bytes;
    int32_t id = 0;

    for (const struct cJSON *item = list->child; item; item = item->next, id++) {
        struct token *token = &tokenizer->tokens[id];
        uint32_t c;

        token->len = strlen(item->valuestring);
        token->text = memcpy(at, item->valuestring, token->len + 1);
        at += token->len + 1;
        set_shown(token, id, specials);
        if (is_special(id, specials) || utf8_decode(token->text, token->len, &c) != (int)token->len)
            continue;
        if (!map_char(tokenizer, c, id))
            return false;
    }
    return true;
}

static int by_token_text(const void *a, const void *b, void *tokens)
{
    const struct token *right = (const struct token *)tokens + *(const uint32_t *)b;

    return compare((const struct token *)tokens + *(const uint32_t *)a, right->text, right->len);
}

static int make(struct rnn_tokenizer **out, const struct cJSON *tokens, size_t n_tokens,
                const struct vocab_specials *specials, struct rnn_err *err)
{
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    size_t total = 0;

    if (!tokenizer)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    tokenizer->head = (struct rnn_tokenizer){.ops = &char_ops, .n_tokens = n_tokens};
    tokenizer->unk = specials->unk;
    for (const struct cJSON *item = tokens->child; item; item = item->next)
        total += strlen(item->valuestring) + 1;
    tokenizer->tokens = calloc(n_tokens, sizeof *tokenizer->tokens);
    tokenizer->sorted = calloc(n_tokens, sizeof *tokenizer->sorted);
    tokenizer->bytes = malloc(total);
    if (!tokenizer->tokens || !tokenizer->sorted || !tokenizer->bytes ||
        !fill_tokens(tokenizer, tokens, specials)) {
        free_tokenizer(&tokenizer->head);
        return rnn_fail(err, RNN_ENOMEM, "out of memory for %zu tokens", n_tokens);
    }
    for (size_t i = 0; i < n_tokens; i++)
        tokenizer->sorted[i] = (uint32_t)i;
    qsort_r(tokenizer->sorted, n_tokens, sizeof *tokenizer->sorted, by_token_text,
            tokenizer->tokens);
    *out = &tokenizer->head;
    return 0;
}

const struct vocab_kind vocab_char = {.name = "char", .make = make};
