/* One character, one token: every cut of a text gives the same ids, special tokens never come from
 * text, unknown characters follow the declared rule, and decoding gives whole characters back. */
#include "models/tokenizer_char.h"

#include "base/json.h"
#include "base/utf8.h"
#include "core/tokenizer.h"
#include "folder.h"

/* ids:                             0        1      2    3      4         5             6    7 */
#define TOKENS                                                                                     \
    "[\"<unk>\",\"a\",\"b\",\"\xC3\xA9\",\"\xE2\x82\xAC\",\"\xF0\x9F\x98\x80\",\"ab\",\"\\n\"]"

static struct rnn_tokenizer *make(const char *tokens, struct vocab_specials specials)
{
    const struct vocab_rules rules = {.specials = specials};
    struct rnn_tokenizer *tokenizer = NULL;
    struct cJSON *json = NULL;

    ck_assert_int_eq(json_parse(&json, tokens, strlen(tokens), 2, NULL), 0);
    ck_assert_int_eq(
        vocab_char.make(&tokenizer, json, (size_t)cJSON_GetArraySize(json), &rules, NULL), 0);
    json_free(json);
    return tokenizer;
}

static struct rnn_tokenizer *plain(void)
{
    return make(TOKENS, (struct vocab_specials){-1, -1, -1});
}

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
    return rc;
}

static const char mixed[] = "a\xC3\xA9\xE2\x82\xAC"
                            "b\xF0\x9F\x98\x80\n"
                            "ab";
static const uint32_t mixed_ids[] = {1, 3, 4, 2, 5, 7, 1, 2};
enum { MIXED_IDS = 8, MIXED_BYTES = sizeof mixed - 1 };

START_TEST(every_cut_gives_the_same_ids)
{
    struct rnn_tokenizer *tokenizer = plain();

    for (size_t first = 0; first <= MIXED_BYTES; first++)
        for (size_t second = first; second <= MIXED_BYTES; second++) {
            const size_t cuts[] = {0, first, second, MIXED_BYTES};
            struct rnn_encoder encoder = {0};
            uint32_t ids[MIXED_BYTES + 4];
            size_t total = 0;

            for (int piece = 0; piece < 3; piece++) {
                size_t len = cuts[piece + 1] - cuts[piece], n;

                ck_assert_int_eq(encode(tokenizer, &encoder, mixed + cuts[piece], len, piece == 2,
                                        ids + total, &n, NULL),
                                 0);
                ck_assert_uint_le(n, len + 1);
                total += n;
            }
            ck_assert_uint_eq(total, MIXED_IDS);
            ck_assert_mem_eq(ids, mixed_ids, sizeof mixed_ids);
            ck_assert_uint_eq(encoder.consumed, MIXED_BYTES);
        }
    drop(tokenizer);
}
END_TEST

START_TEST(byte_by_byte_is_the_same)
{
    struct rnn_tokenizer *tokenizer = plain();
    struct rnn_encoder encoder = {0};
    uint32_t ids[MIXED_BYTES];
    size_t total = 0, n;

    for (size_t i = 0; i < MIXED_BYTES; i++) {
        ck_assert_int_eq(encode(tokenizer, &encoder, mixed + i, 1, false, ids + total, &n, NULL),
                         0);
        total += n;
    }
    ck_assert_int_eq(encode(tokenizer, &encoder, "", 0, true, ids + total, &n, NULL), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(total, MIXED_IDS);
    ck_assert_mem_eq(ids, mixed_ids, sizeof mixed_ids);
    drop(tokenizer);
}
END_TEST

START_TEST(unknown_characters_are_named_with_their_offset)
{
    struct rnn_tokenizer *tokenizer = plain();
    struct rnn_encoder encoder = {0};
    struct rnn_err err;
    uint32_t ids[16];
    size_t n;

    ck_assert_int_eq(encode(tokenizer, &encoder, "a\xC3\xA9z", 4, true, ids, &n, &err), RNN_ECHAR);
    ck_assert_int_eq(err.offset, 3);
    ck_assert_ptr_nonnull(strstr(err.text, "U+007A"));
    encoder = (struct rnn_encoder){0};
    ck_assert_int_eq(encode(tokenizer, &encoder, "ab\xF0\x9F", 4, false, ids, &n, &err), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(encode(tokenizer, &encoder, "\x98\x81", 2, true, ids, &n, &err), RNN_ECHAR);
    ck_assert_int_eq(err.offset, 2);
    ck_assert_ptr_nonnull(strstr(err.text, "U+1F601"));
    drop(tokenizer);
}
END_TEST

START_TEST(unk_takes_unknown_characters)
{
    struct rnn_tokenizer *tokenizer = make(TOKENS, (struct vocab_specials){0, -1, -1});
    struct rnn_encoder encoder = {0};
    uint32_t ids[16];
    const uint32_t want[] = {1, 0, 0, 2};
    size_t n;

    ck_assert_int_eq(encode(tokenizer, &encoder,
                            "az\xF0\x9F\x98\x81"
                            "b",
                            7, true, ids, &n, NULL),
                     0);
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(ids, want, sizeof want);
    drop(tokenizer);
}
END_TEST

START_TEST(invalid_utf8_is_refused_with_its_offset)
{
    static const struct {
        const char *text;
        int64_t offset;
    } bad[] = {{"\xFF", 0},         {"a\x80", 1},         {"ab\xC3", 2},          {"a\xC3(", 1},
               {"\xED\xA0\x80", 0}, {"a\xE2\x82\x61", 1}, {"\xC3\xA9\xF0\x9F", 2}};
    struct rnn_tokenizer *tokenizer = make(TOKENS, (struct vocab_specials){0, -1, -1});

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t cut = 0; cut <= strlen(bad[i].text); cut++) {
            struct rnn_encoder encoder = {0};
            struct rnn_err err = {0};
            uint32_t ids[16];
            size_t n;
            int rc = encode(tokenizer, &encoder, bad[i].text, cut, false, ids, &n, &err);

            if (rc == 0)
                rc = encode(tokenizer, &encoder, bad[i].text + cut, strlen(bad[i].text) - cut, true,
                            ids, &n, &err);
            ck_assert_int_eq(rc, RNN_EFORMAT);
            ck_assert_int_eq(err.offset, bad[i].offset);
        }
    drop(tokenizer);
}
END_TEST

START_TEST(special_tokens_never_come_from_text)
{
    struct rnn_tokenizer *tokenizer = make("[\"a\",\"\\n\",\"?\",\"<s>\"]",
                                           (struct vocab_specials){.unk = 2, .bos = 3, .eos = 1});
    struct rnn_encoder encoder = {0};
    uint32_t ids[16];
    const uint32_t want[] = {0, 2, 2, 2, 2, 2};
    size_t n;

    ck_assert_int_eq(encode(tokenizer, &encoder, "a\n?<s>", 6, true, ids, &n, NULL), 0);
    ck_assert_uint_eq(n, 6);
    ck_assert_mem_eq(ids, want, sizeof want);
    drop(tokenizer);
}
END_TEST

static void decodes_to(struct rnn_tokenizer *tokenizer, uint32_t id, const char *want)
{
    struct rnn_decoder decoder = {0};
    const char *text;
    size_t len = tokenizer->ops->decode(tokenizer, &decoder, id, &text);

    ck_assert_uint_eq(len, strlen(want));
    ck_assert_mem_eq(text, want, len);
    ck_assert_uint_eq(decoder.n_tokens, 1);
}

START_TEST(decoding_gives_whole_characters)
{
    struct rnn_tokenizer *tokenizer =
        make(TOKENS, (struct vocab_specials){.unk = 0, .bos = 6, .eos = 7});

    decodes_to(tokenizer, 0, "\xEF\xBF\xBD");
    decodes_to(tokenizer, 1, "a");
    decodes_to(tokenizer, 5, "\xF0\x9F\x98\x80");
    decodes_to(tokenizer, 6, "");
    decodes_to(tokenizer, 7, "");
    drop(tokenizer);
    tokenizer = plain();
    decodes_to(tokenizer, 6, "ab");
    drop(tokenizer);
}
END_TEST

START_TEST(entries_are_found_by_text)
{
    struct rnn_tokenizer *tokenizer = plain();
    size_t len;

    for (uint32_t id = 0; id < 8; id++) {
        const char *text = tokenizer->ops->token_text(tokenizer, id, &len);

        ck_assert_int_eq(tokenizer->ops->token_id(tokenizer, text, len), id);
    }
    ck_assert_ptr_null(tokenizer->ops->token_text(tokenizer, 8, &len));
    ck_assert_int_eq(tokenizer->ops->token_id(tokenizer, "c", 1), -1);
    ck_assert_int_eq(tokenizer->ops->token_id(tokenizer, "", 0), -1);
    ck_assert_int_eq(tokenizer->ops->token_id(tokenizer, "abc", 3), -1);
    ck_assert_int_eq(tokenizer->ops->token_id(tokenizer, "abc", 2), 6);
    drop(tokenizer);
}
END_TEST

/* Every code point has a token of its own: all of them come back. */
START_TEST(all_of_unicode_comes_back)
{
    enum { STEP = 7 };
    char *list = malloc(0x110000 / STEP * 8 + 64), *at = list;
    struct rnn_tokenizer *tokenizer;
    uint32_t n_tokens = 0;

    *at++ = '[';
    for (uint32_t c = 0x21; c < 0x110000; c += STEP) {
        if ((c >= 0xD800 && c < 0xE000) || c == '"' || c == '\\')
            continue;
        *at++ = '"';
        at += utf8_encode(c, at);
        *at++ = '"';
        *at++ = ',';
        n_tokens++;
    }
    strcpy(at - 1, "]");
    tokenizer = make(list, (struct vocab_specials){-1, -1, -1});
    ck_assert_uint_eq(tokenizer->n_tokens, n_tokens);
    for (uint32_t id = 0; id < n_tokens; id++) {
        struct rnn_encoder encoder = {0};
        uint32_t ids[8];
        size_t len, n;
        const char *text = tokenizer->ops->token_text(tokenizer, id, &len);

        if (tokenizer->ops->encode(tokenizer, &encoder, text, len, true, ids, &n, NULL) != 0 ||
            n != 1 || ids[0] != id)
            ck_abort_msg("token %u does not come back", (unsigned)id);
    }
    drop(tokenizer);
    free(list);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {every_cut_gives_the_same_ids,
                            byte_by_byte_is_the_same,
                            unknown_characters_are_named_with_their_offset,
                            unk_takes_unknown_characters,
                            invalid_utf8_is_refused_with_its_offset,
                            special_tokens_never_come_from_text,
                            decoding_gives_whole_characters,
                            entries_are_found_by_text,
                            all_of_unicode_comes_back,
                            NULL};

    return run_tests("models/tokenizer_char", tests);
}
