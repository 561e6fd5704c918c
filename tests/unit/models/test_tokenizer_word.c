/* Words and symbols: every cut of a text gives the same ids, unknown words follow the declared rule
 * with their offset, and decoding writes text that is read as the same tokens. */
#include "models/tokenizer_word.h"

#include "base/json.h"
#include "core/tokenizer.h"
#include "folder.h"

/* ids:     0          1        2        3       4        5        6      7      8      9     10 */
#define TOKENS                                                                                     \
    "[\"<unk>\",\"the\",\"cat\",\"don't\",\"caf\xC3\xA9\",\".\",\"(\",\")\",\"\\\"\","             \
    "\"\xF0\x9F\x98\x80\","                                                                        \
    "\"<s>\",\"</s>\",\",\",\"'\",\"[\",\"1990\",\"\xE2\x82\xAC\"]"
enum {
    UNK,
    THE,
    CAT,
    DONT,
    CAFE,
    STOP,
    OPEN,
    CLOSE,
    QUOTE,
    SMILE,
    BOS,
    EOS,
    COMMA,
    TICK,
    SQUARE,
    YEAR,
    EURO
};

static struct rnn_tokenizer *make(const struct vocab_kind *kind, struct vocab_rules rules)
{
    struct rnn_tokenizer *tokenizer = NULL;
    struct cJSON *json = NULL;

    ck_assert_int_eq(json_parse(&json, TOKENS, strlen(TOKENS), 2, NULL), 0);
    ck_assert_int_eq(kind->make(&tokenizer, json, (size_t)cJSON_GetArraySize(json), &rules, NULL),
                     0);
    json_free(json);
    return tokenizer;
}

static const struct vocab_rules whitespace = {.specials = {-1, BOS, EOS}};
static const struct vocab_rules with_unk = {.specials = {UNK, BOS, EOS}};
static const struct vocab_rules words = {
    .specials = {UNK, BOS, EOS}, .lowercase = true, .split = VOCAB_SPLIT_WORDS};

static void drop(struct rnn_tokenizer *tokenizer)
{
    tokenizer->ops->free(tokenizer);
}

static int encode(struct rnn_tokenizer *tokenizer, struct rnn_encoder *encoder, const char *text,
                  size_t len, bool last, uint32_t *ids, size_t *n, struct rnn_err *err)
{
    char *exact = malloc(len ? len : 1); /* so that a sanitizer sees a read past the end */
    int rc;

    memcpy(exact, text, len);
    rc = tokenizer->ops->encode(tokenizer, encoder, exact, len, last, ids, n, err);
    free(exact);
    if (rc == 0)
        ck_assert_uint_le(*n, len + 1);
    return rc;
}

/* The whole text at once. */
static int encode_all(struct rnn_tokenizer *tokenizer, const char *text, uint32_t *ids, size_t *n,
                      struct rnn_err *err)
{
    struct rnn_encoder encoder = {0};

    return encode(tokenizer, &encoder, text, strlen(text), true, ids, n, err);
}

/* `want` ends with UINT32_MAX. */
static void reads(struct rnn_tokenizer *tokenizer, const char *text, const uint32_t *want)
{
    uint32_t ids[64];
    size_t n, n_want = 0;

    while (want[n_want] != UINT32_MAX)
        n_want++;
    ck_assert_int_eq(encode_all(tokenizer, text, ids, &n, NULL), 0);
    if (n != n_want || memcmp(ids, want, n * sizeof *ids) != 0)
        ck_abort_msg("'%s': %zu ids, want %zu", text, n, n_want);
}
#define READS(tokenizer, text, ...)                                                                \
    reads(tokenizer, text, (const uint32_t[]){__VA_ARGS__ __VA_OPT__(, ) UINT32_MAX})

START_TEST(white_space_parts_words)
{
    struct rnn_tokenizer *t = make(&vocab_word, with_unk);

    ck_assert_str_eq(t->ops->name, "word");
    READS(t, "the cat", THE, CAT);
    READS(t, "  the\t\n cat\xC2\xA0the\xE3\x80\x80", THE, CAT, THE);
    READS(t, "");
    READS(t, " \n ");
    READS(t, "the cat. don't . (", THE, UNK, DONT, STOP, OPEN);
    READS(t, "The CAT", UNK, UNK);
    READS(t, "caf\xC3\xA9 \xF0\x9F\x98\x80", CAFE, SMILE);
    drop(t);
}
END_TEST

START_TEST(words_are_runs_of_letters)
{
    struct rnn_tokenizer *t = make(&vocab_word, words);

    READS(t, "the cat.", THE, CAT, STOP);
    READS(t,
          "(The,CAT)\xF0\x9F\x98\x80"
          "Don't",
          OPEN, THE, COMMA, CAT, CLOSE, SMILE, DONT);
    READS(t,
          "CAF\xC3\x89..\xE2\x82\xAC"
          "1990",
          CAFE, STOP, STOP, EURO, YEAR);
    READS(t, "' '' don\xE2\x80\x99t", TICK, UNK, UNK);
    READS(t, "cat_cat", CAT, UNK, CAT);
    READS(t, "cafe\xCC\x81", UNK); /* a mark belongs to its word */
    drop(t);
}
END_TEST

START_TEST(special_tokens_never_come_from_text)
{
    struct rnn_tokenizer *t = make(&vocab_word, with_unk);

    READS(t, "<s> the </s> <unk>", UNK, THE, UNK, UNK);
    drop(t);
    t = make(&vocab_word, whitespace);
    READS(t, "<unk>", UNK); /* an entry like others, where it is not declared */
    drop(t);
}
END_TEST

static const char mixed[] = " the CAF\xC3\x89,(\"\xF0\x9F\x98\x80\" 1990)\xE2\x82\xAC"
                            "don't x\xE3\x80\x80the.";
static const uint32_t mixed_ids[] = {THE,  CAFE,  COMMA, OPEN, QUOTE, SMILE, QUOTE,
                                     YEAR, CLOSE, EURO,  DONT, UNK,   THE,   STOP};
enum { MIXED_IDS = sizeof mixed_ids / sizeof *mixed_ids, MIXED_BYTES = sizeof mixed - 1 };

START_TEST(every_cut_gives_the_same_ids)
{
    struct rnn_tokenizer *t = make(&vocab_word, words);

    for (size_t first = 0; first <= MIXED_BYTES; first++)
        for (size_t second = first; second <= MIXED_BYTES; second++) {
            const size_t cuts[] = {0, first, second, MIXED_BYTES};
            struct rnn_encoder encoder = {0};
            uint32_t ids[MIXED_BYTES + 4];
            size_t total = 0;

            for (int piece = 0; piece < 3; piece++) {
                struct rnn_encoder copy = encoder; /* a copy goes on like the first one */
                size_t len = cuts[piece + 1] - cuts[piece], n;

                ck_assert_int_eq(
                    encode(t, &copy, mixed + cuts[piece], len, piece == 2, ids + total, &n, NULL),
                    0);
                encoder = copy;
                total += n;
            }
            ck_assert_uint_eq(total, MIXED_IDS);
            ck_assert_mem_eq(ids, mixed_ids, sizeof mixed_ids);
            ck_assert_uint_eq(encoder.consumed, MIXED_BYTES);
        }
    drop(t);
}
END_TEST

START_TEST(byte_by_byte_is_the_same)
{
    struct rnn_tokenizer *t = make(&vocab_word, words);
    struct rnn_encoder encoder = {0};
    uint32_t ids[MIXED_BYTES + 1];
    size_t total = 0, n;

    for (size_t i = 0; i < MIXED_BYTES; i++) {
        ck_assert_int_eq(encode(t, &encoder, mixed + i, 1, false, ids + total, &n, NULL), 0);
        total += n;
    }
    ck_assert_int_eq(encode(t, &encoder, "", 0, true, ids + total, &n, NULL), 0);
    total += n;
    ck_assert_uint_eq(total, MIXED_IDS);
    ck_assert_mem_eq(ids, mixed_ids, sizeof mixed_ids);
    drop(t);
}
END_TEST

START_TEST(unknown_words_are_named_with_their_offset)
{
    static const struct {
        const char *text, *words;
        int64_t offset;
        int code;
    } bad[] = {{"the dog", "no word \"dog\", at byte 4", 4, RNN_ECHAR},
               {"\xC3\xA9 the", "no word \"\xC3\xA9\"", 0, RNN_ECHAR},
               {"the <s>", "\"<s>\"", 4, RNN_ECHAR},
               {"the \x1B[1m\xC2\x9B", "\"?[1m??\"", 4, RNN_ECHAR},
               {"the abcdefghijklmnopqrstuvwxyzabcdefghijklmn\xC3\xA9",
                "\"abcdefghijklmnopqrstuvwxyzabcdefghijklmn\xE2\x80\xA6\"", 4, RNN_ECHAR},
               {"the abcdefghijklmnopqrstuvwxyzabcdefghijklm\xC3\xA9",
                "\"abcdefghijklmnopqrstuvwxyzabcdefghijklm\xE2\x80\xA6\"", 4, RNN_ECHAR},
               {"the ca\xFF", "invalid UTF-8 at byte 6", 6, RNN_EFORMAT},
               {"the dog\xFF", "invalid UTF-8 at byte 7", 7, RNN_EFORMAT},
               {"the dog \xFF", "\"dog\"", 4, RNN_ECHAR},
               {"dog\xE2\x82", "an unfinished character at byte 3", 3, RNN_EFORMAT}};
    struct rnn_tokenizer *t = make(&vocab_word, whitespace);

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t cut = 0; cut <= strlen(bad[i].text); cut++) {
            struct rnn_encoder encoder = {0};
            struct rnn_err err = {0};
            uint32_t ids[64];
            size_t n;
            int rc = encode(t, &encoder, bad[i].text, cut, false, ids, &n, &err);

            if (rc == 0)
                rc = encode(t, &encoder, bad[i].text + cut, strlen(bad[i].text) - cut, true, ids,
                            &n, &err);
            ck_assert_int_eq(rc, bad[i].code);
            ck_assert_int_eq(err.offset, bad[i].offset);
            if (!strstr(err.text, bad[i].words))
                ck_abort_msg("%s: '%s', want '%s'", bad[i].text, err.text, bad[i].words);
        }
    drop(t);
}
END_TEST

/* The longest word that is looked up, made of a token that is as long, and one byte more. */
START_TEST(longer_words_are_unknown)
{
    char list[RNN_WORD_MAX * 2 + 64], text[RNN_WORD_MAX + 8];
    struct vocab_rules rules = {.specials = {-1, -1, -1}};
    struct rnn_tokenizer *t = NULL;
    struct cJSON *json = NULL;
    struct rnn_err err = {0};
    uint32_t ids[RNN_WORD_MAX + 8];
    size_t n;

    memset(text, 'w', sizeof text);
    snprintf(list, sizeof list, "[\"a\",\"%.*s\",\"%.*s\"]", RNN_WORD_MAX, text, RNN_WORD_MAX + 1,
             text);
    for (int unk = -1; unk <= 0; unk++) {
        rules.specials.unk = unk;
        ck_assert_int_eq(json_parse(&json, list, strlen(list), 2, NULL), 0);
        ck_assert_int_eq(vocab_word.make(&t, json, 3, &rules, NULL), 0);
        json_free(json);
        text[RNN_WORD_MAX] = '\0';
        ck_assert_int_eq(encode_all(t, text, ids, &n, &err), 0);
        ck_assert_uint_eq(n, 1);
        ck_assert_uint_eq(ids[0], 1);
        memcpy(text + RNN_WORD_MAX, "w\n", 3);
        ck_assert_int_eq(encode_all(t, text, ids, &n, &err), unk < 0 ? RNN_ECHAR : 0);
        if (unk < 0)
            ck_assert_str_eq(err.text, "a word of more than 256 bytes, at byte 0");
        else
            ck_assert(n == 1 && ids[0] == 0);
        text[RNN_WORD_MAX] = 'w';
        drop(t);
    }
}
END_TEST

/* All ids through one decoder; the pieces are joined. */
static char *decode(struct rnn_tokenizer *tokenizer, const uint32_t *ids, size_t n)
{
    static char out[512];
    struct rnn_decoder decoder = {0};
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        const char *piece;
        size_t len = tokenizer->ops->decode(tokenizer, &decoder, ids[i], &piece);

        ck_assert_uint_lt(at + len, sizeof out);
        memcpy(out + at, piece, len);
        at += len;
    }
    ck_assert_uint_eq(decoder.n_tokens, n);
    out[at] = '\0';
    return out;
}
#define WRITES(tokenizer, want, ...)                                                               \
    ck_assert_str_eq(decode(tokenizer, (const uint32_t[]){__VA_ARGS__},                            \
                            sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)),           \
                     want)

START_TEST(decoding_joins_words)
{
    struct rnn_tokenizer *t = make(&vocab_word, with_unk);

    WRITES(t, "the cat . \xEF\xBF\xBD ( the", BOS, THE, CAT, STOP, UNK, OPEN, THE, EOS);
    WRITES(t, "", BOS, EOS);
    WRITES(t, "the cat", THE, EOS, BOS, CAT);
    drop(t);
    t = make(&vocab_word, words);
    WRITES(t, "the cat, don't (caf\xC3\xA9). [the", THE, CAT, COMMA, DONT, OPEN, CAFE, CLOSE, STOP,
           SQUARE, THE);
    WRITES(t, "the \"cat\" \"the.\"", THE, QUOTE, CAT, QUOTE, QUOTE, THE, STOP, QUOTE);
    WRITES(t, ". the ' cat \xE2\x82\xAC \xF0\x9F\x98\x80", STOP, THE, TICK, CAT, EURO, SMILE);
    WRITES(t, "(\xEF\xBF\xBD \xEF\xBF\xBD)", OPEN, UNK, BOS, UNK, CLOSE);
    drop(t);
}
END_TEST

/* Any ids that can come from text, written and read again. */
START_TEST(what_is_written_reads_the_same)
{
    static const struct vocab_rules rules[] = {
        {.specials = {-1, BOS, EOS}},
        {.specials = {UNK, BOS, EOS}, .lowercase = true, .split = VOCAB_SPLIT_WORDS}};
    static const uint32_t choices[] = {THE,   CAT,   DONT,  CAFE, STOP,   OPEN, CLOSE,
                                       QUOTE, SMILE, COMMA, TICK, SQUARE, YEAR, EURO};
    uint64_t seed = 1;

    for (size_t r = 0; r < 2; r++) {
        struct rnn_tokenizer *t = make(&vocab_word, rules[r]);

        for (int round = 0; round < 2000; round++) {
            uint32_t ids[24], again[512];
            size_t n = 1 + (size_t)round % 24, n_again;

            for (size_t i = 0; i < n; i++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                ids[i] = choices[(seed >> 33) % (sizeof choices / sizeof *choices)];
            }
            ck_assert_int_eq(encode_all(t, decode(t, ids, n), again, &n_again, NULL), 0);
            ck_assert_uint_eq(n_again, n);
            ck_assert_mem_eq(again, ids, n * sizeof *ids);
        }
        drop(t);
    }
}
END_TEST

START_TEST(symbols_stand_between_white_space)
{
    struct rnn_tokenizer *t = make(&vocab_symbol, whitespace);
    struct rnn_err err;
    uint32_t ids[8];
    size_t n;

    ck_assert_str_eq(t->ops->name, "symbol");
    READS(t, "the cat\n. (", THE, CAT, STOP, OPEN);
    WRITES(t, "the . ( cat", THE, STOP, OPEN, CAT);
    ck_assert_int_eq(encode_all(t, "the AA", ids, &n, &err), RNN_ECHAR);
    ck_assert_str_eq(err.text, "the vocabulary has no symbol \"AA\", at byte 4");
    drop(t);
}
END_TEST

START_TEST(entries_are_found_by_text)
{
    struct rnn_tokenizer *t = make(&vocab_word, words);
    size_t len;

    for (uint32_t id = 0; id < t->n_tokens; id++) {
        const char *text = t->ops->token_text(t, id, &len);

        ck_assert_int_eq(t->ops->token_id(t, text, len), id);
    }
    ck_assert_ptr_null(t->ops->token_text(t, (uint32_t)t->n_tokens, &len));
    ck_assert_int_eq(t->ops->token_id(t, "The", 3), -1);
    drop(t);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {white_space_parts_words,
                            words_are_runs_of_letters,
                            special_tokens_never_come_from_text,
                            every_cut_gives_the_same_ids,
                            byte_by_byte_is_the_same,
                            unknown_words_are_named_with_their_offset,
                            longer_words_are_unknown,
                            decoding_joins_words,
                            what_is_written_reads_the_same,
                            symbols_stand_between_white_space,
                            entries_are_found_by_text,
                            NULL};

    return run_tests("models/tokenizer_word", tests);
}
