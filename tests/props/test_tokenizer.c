/* Laws of tokenizers, over random texts and every rule: a text cut anywhere gives the ids that a
 * plain reading of the rules gives; what a decoder writes, piece by piece, is valid UTF-8 and is
 * read as the same ids. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "core/tokenizer.h"
#include "models/letters.h"
#include "models/vocab.h"

enum { ROUNDS = 2000, CHARS_MAX = 48, BYTES_MAX = 4 * CHARS_MAX };

static uint64_t seed = 1;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* Characters that the rules tell apart, of one to four bytes. */
static const uint32_t alphabet[] = {'a',   'b',     'A',    'B',     '1',     ' ',    '\n', '.',
                                    ',',   '(',     ')',    '"',     '\'',    0x2019, 0xA0, 0xE9,
                                    0xC9,  0x130,   0x3A3,  0x23A,   0x301,   0x3000, '<',  '>',
                                    0x416, 0x1D7D8, 0x20AC, 0x1F600, 0x10400, 0xFFFD, '_',  '['};

static size_t draw_text(char text[BYTES_MAX])
{
    size_t len = 0, n = draw(CHARS_MAX);

    while (n-- > 0)
        len += utf8_encode(alphabet[draw(sizeof alphabet / sizeof *alphabet)], text + len);
    return len;
}

/* ---- The rules, read plainly ---- */

struct rules {
    bool chars, words, lowercase;
};

/* Where the token that begins at text[at] ends, past white space where that is skipped; 0: there is
 * none. */
static size_t next_token(const struct rules *rules, const char *text, size_t len, size_t *at)
{
    size_t end;
    bool first = true;
    uint32_t c;

    for (; *at < len; *at += (size_t)utf8_decode(text + *at, len - *at, NULL)) {
        utf8_decode(text + *at, len - *at, &c);
        if (rules->chars || !letters_space(c))
            break;
    }
    for (end = *at; end < len; first = false) {
        int n = utf8_decode(text + end, len - end, &c);
        bool alone =
            rules->chars || (rules->words && !letters_in_word(c) && c != '\'' && c != 0x2019);

        if (!first && (alone || (!rules->chars && letters_space(c))))
            break;
        end += (size_t)n;
        if (alone)
            break;
    }
    return end == *at ? 0 : end;
}

static int64_t look_up(const struct rnn_tokenizer *tokenizer, const struct rules *rules,
                       const char *text, size_t len)
{
    char bytes[2 * BYTES_MAX];
    size_t n = 0;

    for (size_t at = 0; at < len;) {
        uint32_t c;

        at += (size_t)utf8_decode(text + at, len - at, &c);
        n += utf8_encode(rules->lowercase ? letters_lower(c) : c, bytes + n);
    }
    return tokenizer->ops->token_id(tokenizer, bytes, n);
}

/* The ids; the number of bytes before the first unknown token, -1: all are known. */
static int64_t read_plainly(const struct rnn_tokenizer *tokenizer, const struct rules *rules,
                            const char *text, size_t len, uint32_t *ids, size_t *n)
{
    size_t at = 0, end;

    *n = 0;
    while ((end = next_token(rules, text, len, &at)) > 0) {
        int64_t id = look_up(tokenizer, rules, text + at, end - at);

        if (id < 0)
            return (int64_t)at;
        ids[(*n)++] = (uint32_t)id;
        at = end;
    }
    return -1;
}

/* ---- In pieces ---- */

static int read_pieces(const struct rnn_tokenizer *tokenizer, const char *text, size_t len,
                       uint32_t *ids, size_t *n, struct rnn_err *err)
{
    struct rnn_encoder encoder = {0};
    size_t at = 0;
    int rc = 0;

    *n = 0;
    do {
        size_t piece = draw(4) ? draw(6) : draw((uint32_t)len + 1), n_ids = 0;
        bool last;

        piece = piece < len - at ? piece : len - at;
        last = at + piece == len && draw(2);
        rc = tokenizer->ops->encode(tokenizer, &encoder, text + at, piece, last, ids + *n, &n_ids,
                                    err);
        if (rc == 0)
            ck_assert_uint_le(n_ids, piece + 1);
        *n += n_ids;
        at += piece;
        if (last)
            return rc;
    } while (rc == 0);
    return rc;
}

static size_t write_all(const struct rnn_tokenizer *tokenizer, const uint32_t *ids, size_t n,
                        char *out)
{
    struct rnn_decoder decoder = {0};
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        const char *piece;
        size_t piece_len = tokenizer->ops->decode(tokenizer, &decoder, ids[i], &piece);

        ck_assert(utf8_valid(piece, piece_len, NULL));
        memcpy(out + len, piece, piece_len);
        len += piece_len;
    }
    return len;
}

/* ---- Vocabularies ---- */

/* Adds the tokens of a text, but now and then, to a list in JSON. */
static char *add_tokens(char *at, const struct rules *rules, char known[][BYTES_MAX], size_t *n)
{
    char text[BYTES_MAX];
    size_t len = draw_text(text), from = 0, end;

    while ((end = next_token(rules, text, len, &from)) > 0 && *n < 64) {
        size_t bytes = end - from, i = 0;

        memcpy(known[*n], text + from, bytes);
        known[*n][bytes] = '\0';
        while (strcmp(known[i], known[*n]) != 0)
            i++;
        if (i == *n) {
            *at++ = *n ? ',' : '[';
            *at++ = '"';
            for (size_t b = 0; b < bytes; b++)
                at += sprintf(at,
                              text[from + b] == '\n'  ? "\\n"
                              : text[from + b] == '"' ? "\\\""
                                                      : "%c",
                              text[from + b]);
            *at++ = '"';
            ++*n;
        }
        from = end;
    }
    return at;
}

static void make(struct vocab *out, const struct rules *rules)
{
    static char json[1 << 16], known[80][BYTES_MAX];
    struct rnn_err err = {0};
    size_t n = 0;
    char *at = json + sprintf(json, "{\"kind\":\"%s\",\"lowercase\":%s%s,\"tokens\":",
                              rules->chars ? "char" : "word", rules->lowercase ? "true" : "false",
                              rules->words ? ",\"split\":\"words\"" : "");

    while (n == 0)
        for (int texts = 0; texts < 4; texts++)
            at = add_tokens(at, rules, known, &n);
    at += sprintf(at, "]}");
    if (vocab_parse(out, json, (size_t)(at - json), &err) != 0)
        ck_abort_msg("%s: %s", json, err.text);
}

/* ---- The laws ---- */

static unsigned
    n_known; /* texts of at least three known tokens, so that the laws are about something */

static void check_text(const struct rnn_tokenizer *tokenizer, const struct rules *rules,
                       const char *text, size_t len)
{
    static uint32_t want[BYTES_MAX], ids[2 * BYTES_MAX], again[2 * BYTES_MAX];
    static char written[BYTES_MAX * 8];
    struct rnn_err err = {0};
    size_t n_want, n, n_again, written_len;
    int64_t unknown = read_plainly(tokenizer, rules, text, len, want, &n_want);
    int rc = read_pieces(tokenizer, text, len, ids, &n, &err);

    ck_assert_uint_eq(n, n_want);
    ck_assert_mem_eq(ids, want, n * sizeof *ids);
    ck_assert_int_eq(rc, unknown < 0 ? 0 : RNN_ECHAR);
    if (unknown >= 0)
        ck_assert_int_eq(err.offset, unknown);
    written_len = write_all(tokenizer, ids, n, written);
    ck_assert_int_eq(read_pieces(tokenizer, written, written_len, again, &n_again, &err), 0);
    ck_assert_uint_eq(n_again, n);
    ck_assert_mem_eq(again, ids, n * sizeof *ids);
    n_known += n >= 3;
}

/* Entries of the vocabulary with this and that between them. */
static size_t draw_entries(const struct rnn_tokenizer *tokenizer, char text[BYTES_MAX])
{
    static const char *const between[] = {" ", " ", "\n", "\xC2\xA0 ", ", ", ".", ""};
    uint32_t n_between = draw(2) ? 4 : sizeof between / sizeof *between; /* 4: white space */
    size_t len = 0;

    for (int i = 0; i < 8; i++) {
        const char *gap = between[draw(n_between)];
        size_t n;
        const char *entry =
            tokenizer->ops->token_text(tokenizer, draw((uint32_t)tokenizer->n_tokens), &n);

        if (len + n + strlen(gap) > BYTES_MAX)
            break;
        memcpy(text + len, entry, n);
        memcpy(text + len + n, gap, strlen(gap));
        len += n + strlen(gap);
    }
    return len;
}

static void check_rules(struct rules rules)
{
    char text[BYTES_MAX];
    struct vocab vocab;

    n_known = 0;
    for (int round = 0; round < ROUNDS; round++) {
        make(&vocab, &rules);
        for (int i = 0; i < 6; i++) {
            size_t len = i % 2 ? draw_text(text) : draw_entries(vocab.tokenizer, text);

            check_text(vocab.tokenizer, &rules, text, len);
        }
        vocab_free(&vocab);
    }
    ck_assert_uint_gt(n_known, 100);
}

START_TEST(characters)
{
    check_rules((struct rules){.chars = true});
    check_rules((struct rules){.chars = true, .lowercase = true});
}
END_TEST

START_TEST(words_between_white_space)
{
    check_rules((struct rules){.words = false});
    check_rules((struct rules){.lowercase = true});
}
END_TEST

START_TEST(words_of_letters)
{
    check_rules((struct rules){.words = true});
    check_rules((struct rules){.words = true, .lowercase = true});
}
END_TEST

int main(void)
{
    const TTest *tests[] = {characters, words_between_white_space, words_of_letters};
    Suite *suite = suite_create("props/tokenizer");
    TCase *tcase = tcase_create("tokenizer");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 600);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
