/* ADDRESS:PORT: what is taken apart, and what is refused. */
#include <check.h>
#include <stdlib.h>

#include "config/config.h"

static void wants(const char *listen, const char *host, unsigned port)
{
    char got[64];
    uint16_t got_port = 1;

    ck_assert_msg(config_listen_split(listen, got, sizeof got, &got_port) == 0, "%s", listen);
    ck_assert_str_eq(got, host);
    ck_assert_uint_eq(got_port, port);
}

START_TEST(address_and_port)
{
    wants("127.0.0.1:8080", "127.0.0.1", 8080);
    wants("[::1]:0", "::1", 0);
    wants("localhost:65535", "localhost", 65535);
    ck_assert_int_eq(config_listen_split("0.0.0.0:80", NULL, 0, NULL), 0);
}
END_TEST

START_TEST(other_forms_are_refused)
{
    static const char *const bad[] = {
        "",     ":",    ":8080",   "localhost", "a:",         "a:65536", "a:-1",
        "a:+1", "a: 1", "a:1x",    "::1:80",    "[::1]80",    "[::1]:",  "[]:80",
        "[:80", "]:80", "[::1:80", "a:0000080", "[::1]:99999"};
    char host[64];
    uint16_t port;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(config_listen_split(bad[i], host, sizeof host, &port) == RNN_EFORMAT,
                      "'%s' was taken", bad[i]);
}
END_TEST

START_TEST(host_that_does_not_fit)
{
    char host[9];

    ck_assert_int_eq(config_listen_split("12345678:1", host, sizeof host, NULL), 0);
    ck_assert_int_eq(config_listen_split("123456789:1", host, sizeof host, NULL), RNN_EFORMAT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config/listen");
    TCase *tests = tcase_create("listen");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_add_test(tests, address_and_port);
    tcase_add_test(tests, other_forms_are_refused);
    tcase_add_test(tests, host_that_does_not_fit);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
