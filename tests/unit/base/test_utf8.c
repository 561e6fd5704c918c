/* UTF-8: every code point survives the round trip, every other byte sequence is refused, and a cut
 * character is told from a broken one. */
#include "base/utf8.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(every_code_point_comes_back)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        char bytes[4];
        uint32_t back = 0xFFFFFFFF;
        size_t n = utf8_encode(c, bytes);

        if (c >= 0xD800 && c <= 0xDFFF) {
            if (n != 0)
                ck_abort_msg("U+%04X is encoded", (unsigned)c);
            continue;
        }
        if (utf8_decode(bytes, n, &back) != (int)n || back != c)
            ck_abort_msg("U+%04X comes back as U+%04X", (unsigned)c, (unsigned)back);
        for (size_t cut = 0; cut < n; cut++)
            if (utf8_decode(bytes, cut, NULL) != 0)
                ck_abort_msg("U+%04X, %zu bytes of it", (unsigned)c, cut);
    }
    ck_assert_uint_eq(utf8_encode(0x110000, (char[4]){0}), 0);
    ck_assert_uint_eq(utf8_encode(UINT32_MAX, (char[4]){0}), 0);
}
END_TEST

/* All sequences of up to three bytes: what decodes must encode to the same bytes (so that nothing
 * overlong passes), and what is called unfinished must have an ending. */
START_TEST(decoding_is_strict)
{
    for (unsigned bits = 0; bits < 1u << 24; bits++) {
        char bytes[4] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits, 0};
        char again[4];
        uint32_t c;
        int n = utf8_decode(bytes, 3, &c);

        if (n > 0 && (utf8_encode(c, again) != (size_t)n || memcmp(again, bytes, (size_t)n) != 0))
            ck_abort_msg("%06x decodes as U+%04X", bits, (unsigned)c);
        if (n == 0) {
            bytes[3] = (char)0x80;
            if (utf8_decode(bytes, 4, NULL) != 4)
                ck_abort_msg("%06x is no beginning", bits);
        }
    }
}
END_TEST

START_TEST(faults_are_found_where_they_are)
{
    static const char *const bad[] = {
        "\x80",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x9F\xBF",     "\xED\xA0\x80",
        "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF",
        "\xC3(",        "\xE2\x82(",        "\xE2\x82",         "\xF0\x9F\x98"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16] = "a\xC3\xA9";
        size_t offset = 99;

        strcat(text, bad[i]);
        ck_assert(!utf8_valid(text, strlen(text), &offset));
        ck_assert_uint_eq(offset, 3);
        ck_assert(!utf8_valid(text, strlen(text), NULL));
    }
    ck_assert(utf8_valid("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10, NULL));
    ck_assert(utf8_valid("", 0, NULL));
}
END_TEST

START_TEST(length_counts_characters)
{
    ck_assert_uint_eq(utf8_length("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10), 4);
    ck_assert_uint_eq(utf8_length("", 0), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/utf8");
    TCase *tests = tcase_create("utf8");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, every_code_point_comes_back);
    tcase_add_test(tests, decoding_is_strict);
    tcase_add_test(tests, faults_are_found_where_they_are);
    tcase_add_test(tests, length_counts_characters);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
