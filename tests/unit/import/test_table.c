/* Tables in LevelDB's format: checksums and numbers against known values; whole files are tested in
 * tests/import/test_bundle.py. */
#include "import/table.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static uint32_t unmask(uint32_t masked)
{
    uint32_t rotated = masked - 0xa282ead8U;

    return rotated >> 17 | rotated << 15;
}

/* RFC 3720, B.4, and the usual check value. */
START_TEST(checksums_of_known_texts)
{
    unsigned char bytes[32] = {0};

    ck_assert_uint_eq(unmask(table_checksum((const unsigned char *)"123456789", 9)), 0xE3069283U);
    ck_assert_uint_eq(unmask(table_checksum(bytes, sizeof bytes)), 0x8A9136AAU);
    memset(bytes, 0xFF, sizeof bytes);
    ck_assert_uint_eq(unmask(table_checksum(bytes, sizeof bytes)), 0x62A8AB43U);
    ck_assert_uint_eq(unmask(table_checksum(bytes, 0)), 0);
}
END_TEST

START_TEST(numbers_of_seven_bits_each)
{
    static const struct {
        unsigned char bytes[12];
        size_t len;
        bool good;
        uint64_t value;
    } cases[] = {{{0}, 1, true, 0},
                 {{0x7F}, 1, true, 127},
                 {{0x80, 1}, 2, true, 128},
                 {{0xAC, 2, 9}, 3, true, 300},
                 {{0x80}, 1, false, 0},
                 {{0}, 0, false, 0},
                 {{255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, 10, true, UINT64_MAX},
                 {{255, 255, 255, 255, 255, 255, 255, 255, 255, 2}, 10, false, 0},
                 {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, 11, false, 0}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t at = 0;
        uint64_t value;

        ck_assert_msg(table_varint(cases[i].bytes, cases[i].len, &at, &value) == cases[i].good,
                      "case %zu", i);
        if (cases[i].good)
            ck_assert_uint_eq(value, cases[i].value);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("table");
    TCase *tests = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_add_test(tests, checksums_of_known_texts);
    tcase_add_test(tests, numbers_of_seven_bits_each);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
