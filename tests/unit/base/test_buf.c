/* The buffer and its number writers: floats come back bit for bit by strtof and by strtod with a
 * cast, in no more digits than needed, and as legal JSON. */
#include "base/buf.h"

#include <check.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { N_RANDOM = 3000000 };

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15u;

    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* The number as a C string in `text`.  Checks by hand: Check's own assertions cost a system call
 * each, and this runs millions of times. */
static void written(float value, char *text)
{
    static struct buf buf;

    buf_clear(&buf);
    buf_f32(&buf, value);
    buf_putc(&buf, '\0');
    if (buf.failed || buf.len > 32)
        ck_abort_msg("%.9g takes %zu bytes", (double)value, buf.len);
    memcpy(text, buf.data, buf.len);
}

static unsigned significant_digits(const char *text)
{
    unsigned n = 0, zeros = 0;

    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (n == 0 && *text == '0'))
            continue;
        zeros = *text == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros;
}

static void round_trips(uint32_t bits)
{
    float value = float_of(bits);
    char text[40];

    written(value, text);
    if (!isfinite(value)) {
        if (strcmp(text, "null") != 0)
            ck_abort_msg("%08x is written as %s", bits, text);
        return;
    }
    if (bits_of(strtof(text, NULL)) != bits || bits_of((float)strtod(text, NULL)) != bits)
        ck_abort_msg("%08x (%.9g) is written as %s", bits, (double)value, text);
}

START_TEST(random_floats_come_back)
{
    uint64_t seed = 1;

    for (size_t i = 0; i < N_RANDOM; i++)
        round_trips((uint32_t)next_random(&seed));
}
END_TEST

START_TEST(edges_come_back)
{
    for (uint32_t exponent = 0; exponent < 256; exponent++)
        for (int32_t near = -40; near <= 40; near++) {
            round_trips((exponent << 23) + (uint32_t)near);
            round_trips(((exponent << 23) + (uint32_t)near) | 0x80000000u);
        }
    for (uint32_t denormal = 0; denormal < 300000; denormal++)
        round_trips(denormal);
    for (int power = -45; power <= 38; power++) {
        uint32_t bits = bits_of((float)pow(10, power));

        for (uint32_t near = 0; near < 200; near++)
            round_trips(bits - 100 + near);
    }
    for (float x = 1; x < 20000000; x = x * 1.001f + 1)
        round_trips(bits_of(floorf(x)));
}
END_TEST

/* Whether the decimal number is clearly nearer to `value` than to any other float. */
static bool is_nearest(const char *text, float value)
{
    double decimal = strtod(text, NULL);
    float next = nextafterf(value, decimal > value ? INFINITY : -INFINITY);

    return fabs(decimal - value) * 2.000001 < fabs((double)next - value);
}

/* Against the definition: the first of 7, 8, 9 digits that printf and strtof bring back. */
START_TEST(no_more_digits_than_needed)
{
    uint64_t seed = 2;

    for (size_t i = 0; i < 300000; i++) {
        float value = float_of((uint32_t)next_random(&seed));
        char text[40], want[40];

        if (!isfinite(value) || value == 0)
            continue;
        for (int digits = 7; digits <= 9; digits++) {
            snprintf(want, sizeof want, "%.*e", digits - 1, (double)value);
            if (strtof(want, NULL) == value && is_nearest(want, value))
                break;
        }
        written(value, text);
        if (significant_digits(text) > significant_digits(want))
            ck_abort_msg("%s where %s does", text, want);
    }
}
END_TEST

START_TEST(floats_look_as_people_write_them)
{
    static const struct {
        float value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0f, "-0.0"},
                 {1, "1"},
                 {-1, "-1"},
                 {0.1f, "0.1"},
                 {0.5f, "0.5"},
                 {100, "100"},
                 {16777216, "16777216"},
                 {1e9f, "1000000000"},
                 {1e10f, "1e+10"},
                 {-2.5e-7f, "-2.5e-07"},
                 {0.00001f, "0.00001"},
                 {3.14159274f, "3.1415927"},
                 {FLT_MAX, "3.402823e+38"},
                 {FLT_MIN, "1.175494e-38"},
                 {1e-45f, "1.401298e-45"},
                 {INFINITY, "null"},
                 {-INFINITY, "null"},
                 {NAN, "null"}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[40];

        written(cases[i].value, text);
        if (isfinite(cases[i].value))
            ck_assert_uint_eq(bits_of(strtof(text, NULL)), bits_of(cases[i].value));
        if (fabsf(cases[i].value) != FLT_MAX && cases[i].value != FLT_MIN)
            ck_assert_str_eq(text, cases[i].text);
    }
}
END_TEST

START_TEST(doubles_keep_nine_digits)
{
    static const double edges[] = {1,        0.1,  1e300, 1e-300,         DBL_MAX,       DBL_MIN,
                                   5e-324,   1e40, 1e-40, 999999999.9999, 0.99999999999, 1.5e-10,
                                   123456.7, 2e100};
    uint64_t seed = 3;

    for (size_t i = 0; i < 300000; i++) {
        struct buf buf = {0};
        double value, back;
        uint64_t bits = next_random(&seed);

        memcpy(&value, &bits, sizeof value);
        if (i < sizeof edges / sizeof *edges)
            value = edges[i];
        buf_f64(&buf, value);
        buf_putc(&buf, '\0');
        if (!isfinite(value)) {
            if (strcmp(buf.data, "null") != 0)
                ck_abort_msg("%g is written as %s", value, buf.data);
        } else {
            back = strtod(buf.data, NULL);
            if (fabs(back / 4 - value / 4) > fabs(value / 4) * 5.1e-9 && fabs(value) > 1e-310)
                ck_abort_msg("%.17g is written as %s", value, buf.data);
        }
        buf_free(&buf);
    }
}
END_TEST

START_TEST(integers_have_all_their_digits)
{
    struct buf buf = {0};

    buf_u64(&buf, 0);
    buf_putc(&buf, ' ');
    buf_u64(&buf, UINT64_MAX);
    buf_putc(&buf, ' ');
    buf_i64(&buf, INT64_MIN);
    buf_putc(&buf, ' ');
    buf_i64(&buf, INT64_MAX);
    buf_putc(&buf, ' ');
    buf_i64(&buf, -7);
    buf_putc(&buf, '\0');
    ck_assert_str_eq(buf.data,
                     "0 18446744073709551615 -9223372036854775808 9223372036854775807 -7");
    buf_free(&buf);
}
END_TEST

START_TEST(strings_and_vectors_are_json)
{
    struct buf buf = {0};
    struct cJSON *json = NULL;
    char text[140];
    size_t n = 0;

    for (char c = 1; c > 0; c++)
        text[n++] = c;
    memcpy(text + n, "\xC3\xA9\xF0\x9F\x98\x80", 7);
    buf_puts(&buf, "{\"s\":");
    buf_json_string(&buf, text, strlen(text));
    buf_puts(&buf, ",\"e\":");
    buf_json_string(&buf, "", 0);
    buf_puts(&buf, ",\"v\":");
    buf_f32_array(&buf, (const float[]){1.5f, -0.25f, 1e-30f}, 3);
    buf_puts(&buf, ",\"none\":");
    buf_f32_array(&buf, NULL, 0);
    buf_putc(&buf, '}');
    ck_assert_int_eq(json_parse(&json, buf.data, buf.len, 4, NULL), 0);
    ck_assert_str_eq(json_get(json, "s")->valuestring, text);
    ck_assert_str_eq(json_get(json, "e")->valuestring, "");
    ck_assert_int_eq(cJSON_GetArraySize(json_get(json, "v")), 3);
    ck_assert_int_eq(cJSON_GetArraySize(json_get(json, "none")), 0);
    json_free(json);
    buf_free(&buf);

    buf_json_string(&buf, "\n\t\x01\"\\", 5);
    buf_putc(&buf, '\0');
    ck_assert_str_eq(buf.data, "\"\\n\\t\\u0001\\\"\\\\\"");
    buf_free(&buf);
}
END_TEST

START_TEST(a_full_buffer_fails_once_and_for_all)
{
    struct buf buf = {.max = 10};
    size_t len = 1;

    buf_puts(&buf, "0123456789");
    ck_assert(!buf.failed);
    buf_putc(&buf, 'x');
    ck_assert(buf.failed);
    ck_assert_uint_eq(buf.len, 0);
    buf_puts(&buf, "y");
    buf_u64(&buf, 5);
    buf_f32(&buf, 5);
    buf_printf(&buf, "%d", 5);
    ck_assert(buf.failed && buf.len == 0);
    ck_assert_ptr_null(buf_take(&buf, &len));
    buf_clear(&buf);
    buf_puts(&buf, "again");
    ck_assert(!buf.failed);
    ck_assert_uint_eq(buf.len, 5);
    ck_assert(!buf_reserve(&buf, SIZE_MAX));
    ck_assert(buf.failed);
    buf_free(&buf);
    ck_assert_uint_eq(buf.max, 10);
}
END_TEST

START_TEST(taken_bytes_belong_to_the_taker)
{
    struct buf buf = {0};
    size_t len;
    char *bytes;

    for (int i = 0; i < 1000; i++)
        buf_printf(&buf, "%04d", i);
    buf_printf(&buf, "%600d", 1);
    bytes = buf_take(&buf, &len);
    ck_assert_uint_eq(len, 4600);
    ck_assert_int_eq(memcmp(bytes + 4 * 999, "0999", 4), 0);
    free(bytes);
    ck_assert_uint_eq(buf.len, 0);
    bytes = buf_take(&buf, &len);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(len, 0);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/buf");
    TCase *tests = tcase_create("buf");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, random_floats_come_back);
    tcase_add_test(tests, edges_come_back);
    tcase_add_test(tests, no_more_digits_than_needed);
    tcase_add_test(tests, floats_look_as_people_write_them);
    tcase_add_test(tests, doubles_keep_nine_digits);
    tcase_add_test(tests, integers_have_all_their_digits);
    tcase_add_test(tests, strings_and_vectors_are_json);
    tcase_add_test(tests, a_full_buffer_fails_once_and_for_all);
    tcase_add_test(tests, taken_bytes_belong_to_the_taker);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
