/* Lower case, words and white space by Unicode: known characters of many scripts, and laws that
 * hold for every code point. */
#include "models/letters.h"

#include "folder.h"

START_TEST(capitals_become_small)
{
    static const uint32_t pairs[][2] = {
        {'A', 'a'},       {'Z', 'z'},       {0xC4, 0xE4},       {0xDE, 0xFE},     /* Latin */
        {0x100, 0x101},   {0x178, 0xFF},    {0x130, 'i'},       {0x1E9E, 0xDF},   /* Latin */
        {0x23A, 0x2C65},  {0x212A, 'k'},    {0x391, 0x3B1},     {0x3A3, 0x3C3},   /* Greek */
        {0x1F08, 0x1F00}, {0x386, 0x3AC},   {0x410, 0x430},     {0x42F, 0x44F},   /* Cyrillic */
        {0x401, 0x451},   {0x4C0, 0x4CF},   {0x531, 0x561},     {0x10A0, 0x2D00}, /* others */
        {0x1C90, 0x10D0}, {0x13A0, 0xAB70}, {0x10400, 0x10428}, {0x1E900, 0x1E922}};
    static const uint32_t same[] = {'a',  '@',   '[',    '{',   0xD7,   0xDF,    0xE4,
                                    0xF7, 0x3C2, 0x4E00, 0x5D0, 0xFFFD, 0x1F600, 0x10FFFF};

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ck_assert_uint_eq(letters_lower(pairs[i][0]), pairs[i][1]);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        ck_assert_uint_eq(letters_lower(same[i]), same[i]);
}
END_TEST

/* Small letters stay small, and lower-casing neither makes nor breaks a word. */
START_TEST(laws_of_all_characters)
{
    size_t capitals = 0;

    for (uint32_t c = 0; c < 0x110000; c++) {
        uint32_t lower = letters_lower(c);

        capitals += lower != c;
        if (letters_lower(lower) != lower || letters_in_word(c) != letters_in_word(lower) ||
            letters_space(c) != letters_space(lower) || (letters_space(c) && letters_in_word(c)))
            ck_abort_msg("U+%04X", (unsigned)c);
    }
    ck_assert_uint_ge(capitals, 1400);
}
END_TEST

START_TEST(words_are_made_of_letters_marks_and_digits)
{
    static const uint32_t inside[] = {'a',   'Z',    '0',    '9',    0xAA,    0xE9,   0x301,
                                      0x3B1, 0x44F,  0x5D0,  0x661,  0x905,   0x93F,  0x2160,
                                      0xB2,  0x4E00, 0xAC00, 0x3042, 0x1D7D8, 0x20000};
    static const uint32_t outside[] = {
        0,    ' ',  '_',    '-',    '\'',   '.',    '@',    '`',    '{',     0x7F,   0xA0,
        0xAB, 0xD7, 0x2019, 0x2013, 0x20AC, 0xFFFD, 0x3002, 0xFF01, 0x1F600, 0xD800, 0x10FFFF};

    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        ck_assert_msg(letters_in_word(inside[i]), "U+%04X", (unsigned)inside[i]);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        ck_assert_msg(!letters_in_word(outside[i]), "U+%04X", (unsigned)outside[i]);
}
END_TEST

START_TEST(white_space_is_unicodes)
{
    size_t n = 0;

    for (uint32_t c = 0; c < 0x110000; c++)
        n += letters_space(c);
    ck_assert_uint_eq(n, 25);
    ck_assert(letters_space('\n') && letters_space(0xA0) && letters_space(0x3000));
    ck_assert(!letters_space(0x200B) && !letters_space(0xFEFF));
}
END_TEST

int main(void)
{
    const TTest *tests[] = {capitals_become_small, laws_of_all_characters,
                            words_are_made_of_letters_marks_and_digits, white_space_is_unicodes,
                            NULL};

    return run_tests("models/letters", tests);
}
