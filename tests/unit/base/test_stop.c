/* The law of the stop matcher: whatever the cut of a text into pieces, the joined output and the
 * string found are those of a search through the whole text. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/stop.h"
#include "base/utf8.h"

enum { TEXT_MAX = 12 };

/* ---- What is meant, by brute force ---- */

/* The first byte after which some string is complete; of those the longest string.  Returns its
 * index, or -1; *kept is the length of the text that stays. */
static int search(const char *text, size_t len, const char *const *stops, size_t n, size_t *kept)
{
    for (size_t end = 1; end <= len; end++) {
        int best = -1;

        for (size_t i = 0; i < n; i++) {
            size_t size = strlen(stops[i]);

            if (size <= end && memcmp(text + end - size, stops[i], size) == 0 &&
                (best < 0 || size > strlen(stops[best])))
                best = (int)i;
        }
        if (best >= 0) {
            *kept = end - strlen(stops[best]);
            return best;
        }
    }
    while (!utf8_valid(text, len, NULL))
        len--; /* only whole characters come out */
    *kept = len;
    return -1;
}

/* The most that may be let out of an unfinished text: what no stop string could begin in. */
static size_t may_leave(const char *text, size_t len, const char *const *stops, size_t n)
{
    size_t out = len;

    while (!utf8_valid(text, out, NULL))
        out--;
    for (size_t i = 0; i < n; i++) {
        for (size_t size = 1; size < strlen(stops[i]) && size <= len; size++) {
            if (memcmp(text + len - size, stops[i], size) == 0 && len - size < out)
                out = len - size;
        }
    }
    return out;
}

/* ---- One run ---- */

/* Bit i of `cuts` ends a piece after byte i. */
static void run(const char *text, size_t len, unsigned cuts, const char *const *stops, size_t n)
{
    struct stop_set set;
    struct stop_match match;
    struct buf out = {0};
    size_t from = 0, kept;
    int want = search(text, len, stops, n, &kept);
    bool ended = false;

    ck_assert(stop_set_init(&set, stops, n));
    ck_assert(stop_match_init(&match, &set));
    for (size_t i = 0; i < len && !ended; i++) {
        if (i + 1 < len && !(cuts >> i & 1))
            continue;
        ended = stop_match_feed(&match, text + from, i + 1 - from, &out);
        from = i + 1;
        ck_assert(utf8_valid(out.data ? out.data : "", out.len, NULL));
        if (!ended)
            ck_assert_uint_eq(out.len, may_leave(text, from, stops, n));
    }
    ck_assert_int_eq(match.found, want);
    ck_assert_int_eq(ended, want >= 0);
    if (!ended)
        stop_match_flush(&match, &out);
    ck_assert_uint_eq(out.len, kept);
    ck_assert(kept == 0 || memcmp(out.data, text, kept) == 0);
    buf_free(&out);
    stop_match_free(&match);
    stop_set_free(&set);
}

static void run_all_cuts(const char *text, size_t len, const char *const *stops, size_t n)
{
    for (unsigned cuts = 0; cuts < 1u << (len ? len - 1 : 0); cuts++)
        run(text, len, cuts, stops, n);
}

/* ---- Tests ---- */

static const struct {
    const char *text;
    const char *stops[4];
} cases[] = {
    {"", {"a"}},
    {"abcabcabd", {"abcabd"}},
    {"aaaaab", {"aab", "aaaab"}},
    {"abc", {"abc", "b"}},        /* the one that is complete first */
    {"xabc", {"bc", "abc", "c"}}, /* the longest of those that end together */
    {"abab", {"abac", "bb"}},     /* held back and let go at the end */
    {"ab", {"abc"}},
    {"h\xC3\xA9llo", {"\xC3\xA8"}}, /* a stop string that shares a first byte */
    {"\xE2\x82\xAC\xC3\xA9", {"\xC3\xA9"}},
    {"a\xF0\x9F\x98\x80z", {"\xF0\x9F\x98\x80"}},
    {"a\xF0\x9F\x98\x80z", {"\xF0\x9F\x98\x81", "z"}},
    {"ab\xF0\x9F\x98", {"b\xF0\x9F\x98\x80"}}, /* ends inside a character */
    {"no stop here", {NULL}},
};

START_TEST(every_cut_of_each_case)
{
    size_t n = 0;

    while (n < 4 && cases[_i].stops[n])
        n++;
    run_all_cuts(cases[_i].text, strlen(cases[_i].text), cases[_i].stops, n);
}
END_TEST

static unsigned next_random(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* Characters of one to four bytes that share their beginnings. */
static size_t random_text(unsigned *state, char *out, size_t max)
{
    static const char *const letters[] = {
        "a", "b", "a", "\xC3\xA9", "\xC3\xA8", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    size_t len = 0, target = 1 + next_random(state) % max;

    while (len < target) {
        const char *letter = letters[next_random(state) % 7];

        if (len + strlen(letter) > max)
            break;
        memcpy(out + len, letter, strlen(letter));
        len += strlen(letter);
    }
    out[len] = '\0';
    return len;
}

START_TEST(every_cut_of_random_texts_and_sets)
{
    unsigned state = 20310501;

    for (int round = 0; round < 300; round++) {
        char text[TEXT_MAX + 1], stops[3][6];
        const char *set[3];
        size_t len = random_text(&state, text, 10), n = 0;

        for (size_t i = 0; i < next_random(&state) % 4; i++) {
            if (random_text(&state, stops[n], 5) > 0) {
                set[n] = stops[n];
                n++;
            }
        }
        run_all_cuts(text, len, set, n);
    }
}
END_TEST

START_TEST(after_the_stop_nothing_more_comes)
{
    const char *const stops[] = {"."};
    struct stop_set set;
    struct stop_match match;
    struct buf out = {0};

    ck_assert(stop_set_init(&set, stops, 1));
    ck_assert(stop_match_init(&match, &set));
    ck_assert(stop_match_feed(&match, "so.then", 7, &out));
    ck_assert(stop_match_feed(&match, "more", 4, &out));
    stop_match_flush(&match, &out);
    ck_assert_uint_eq(out.len, 2);
    ck_assert_mem_eq(out.data, "so", 2);
    buf_free(&out);
    stop_match_free(&match);
    stop_set_free(&set);
}
END_TEST

/* A long run against a string that almost repeats: linear, or this takes minutes. */
START_TEST(a_hostile_text_is_linear)
{
    enum { STOP_LEN = 20000, TEXT_LEN = 2000000 };
    char *stop = malloc(STOP_LEN + 1), *text = malloc(TEXT_LEN);
    const char *stops[1] = {stop};
    struct stop_set set;
    struct stop_match match;
    struct buf out = {0};

    memset(stop, 'a', STOP_LEN);
    stop[STOP_LEN - 1] = 'b';
    stop[STOP_LEN] = '\0';
    memset(text, 'a', TEXT_LEN);
    ck_assert(stop_set_init(&set, stops, 1));
    ck_assert(stop_match_init(&match, &set));
    ck_assert(!stop_match_feed(&match, text, TEXT_LEN, &out));
    ck_assert_uint_eq(out.len, TEXT_LEN - (STOP_LEN - 1));
    stop_match_flush(&match, &out);
    ck_assert_uint_eq(out.len, TEXT_LEN);
    buf_free(&out);
    stop_match_free(&match);
    stop_set_free(&set);
    free(stop);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/stop");
    TCase *tests = tcase_create("stop");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, every_cut_of_each_case, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tests, every_cut_of_random_texts_and_sets);
    tcase_add_test(tests, after_the_stop_nothing_more_comes);
    tcase_add_test(tests, a_hostile_text_is_linear);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
