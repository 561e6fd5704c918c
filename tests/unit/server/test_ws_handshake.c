/* The opening handshake: the example of RFC 6455, and everything that is no handshake. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/ws_handshake.h"

static const struct ws_offer good = {.can_upgrade = true,
                                     .upgrade = "websocket",
                                     .connection = "Upgrade",
                                     .version = "13",
                                     .key = "dGhlIHNhbXBsZSBub25jZQ==",
                                     .protocols = "rnnd.v1"};

static enum ws_verdict verdict_on(struct ws_offer offer)
{
    char accept[WS_ACCEPT_BYTES];
    bool chosen;

    return ws_handshake(&offer, accept, &chosen);
}

START_TEST(the_example_of_the_standard)
{
    char accept[WS_ACCEPT_BYTES];
    bool chosen = false;

    ck_assert_int_eq(ws_handshake(&good, accept, &chosen), WS_WELCOME);
    ck_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    ck_assert(chosen);
}
END_TEST

#define BUT(field, value, want)                                                                    \
    do {                                                                                           \
        struct ws_offer offer = good;                                                              \
                                                                                                   \
        offer.field = value;                                                                       \
        ck_assert_int_eq(verdict_on(offer), want);                                                 \
    } while (0)

START_TEST(all_that_is_asked_for_is_needed)
{
    BUT(can_upgrade, false, WS_NO_UPGRADE);
    BUT(upgrade, NULL, WS_NO_UPGRADE);
    BUT(upgrade, "", WS_NO_UPGRADE);
    BUT(upgrade, "websockets", WS_NO_UPGRADE);
    BUT(upgrade, "h2c, WebSocket", WS_WELCOME);
    BUT(connection, NULL, WS_NO_UPGRADE);
    BUT(connection, "keep-alive", WS_NO_UPGRADE);
    BUT(connection, "keep-alive ,\tUPGRADE ", WS_WELCOME);
    BUT(version, NULL, WS_BAD_VERSION);
    BUT(version, "12", WS_BAD_VERSION);
    BUT(version, "13, 8", WS_BAD_VERSION);
    BUT(key, NULL, WS_BAD_KEY);
    BUT(key, "", WS_BAD_KEY);
    BUT(key, "dGhlIHNhbXBsZSBub25jZQ=", WS_BAD_KEY);
    BUT(key, "dGhlIHNhbXBsZSBub25jZTEx", WS_BAD_KEY);
    BUT(key, "!!!!IHNhbXBsZSBub25jZQ==", WS_BAD_KEY);
    BUT(protocols, NULL, WS_WELCOME);
    BUT(protocols, "", WS_BAD_PROTOCOL);
    BUT(protocols, "rnnd.v2", WS_BAD_PROTOCOL);
    BUT(protocols, "Rnnd.v1", WS_BAD_PROTOCOL);
    BUT(protocols, "a,rnnd.v1,b", WS_WELCOME);
}
END_TEST

START_TEST(no_protocol_is_chosen_where_none_was_offered)
{
    struct ws_offer offer = good;
    char accept[WS_ACCEPT_BYTES];
    bool chosen = true;

    offer.protocols = NULL;
    ck_assert_int_eq(ws_handshake(&offer, accept, &chosen), WS_WELCOME);
    ck_assert(!chosen);
}
END_TEST

static const struct {
    const char *protocols, *key; /* NULL: none */
} offered[] = {
    {NULL, NULL},
    {"", NULL},
    {"rnnd.v1", NULL},
    {"rnnd.v1, rnnd.key.", NULL},
    {"rnnd.v1, rnnd.key.c2VjcmV0", "secret"},
    {"rnnd.key.c2VjcmV0,rnnd.v1", "secret"},
    {"rnnd.key.c2VjcmV0IQ", "secret!"},
    {"rnnd.key.c2VjcmV0IQ==", NULL},   /* padded */
    {"rnnd.key.Pz8_Pj4-", "?\?\?>>>"}, /* both characters that base64 has otherwise */
    {"rnnd.key.Pz8/Pj4+", NULL},
    {"rnnd.key.AAAA", NULL}, /* a NUL */
    {"rnnd.key.a", NULL},
    {"rnnd.key.*", NULL},
    {"rnnd.key.MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5", NULL}, /* longer than there is room */
};

START_TEST(keys_among_the_protocols)
{
    char key[16] = "";
    bool found = ws_offered_key(offered[_i].protocols, key, sizeof key);

    ck_assert_int_eq(found, offered[_i].key != NULL);
    if (found)
        ck_assert_str_eq(key, offered[_i].key);
}
END_TEST

START_TEST(origins)
{
    static const char list[] = " https://a.example  http://localhost:3000 ";

    ck_assert(ws_origin_listed("", "https://anybody"));
    ck_assert(ws_origin_listed("  ", NULL));
    ck_assert(ws_origin_listed(list, "https://a.example"));
    ck_assert(ws_origin_listed(list, "HTTP://LOCALHOST:3000"));
    ck_assert(!ws_origin_listed(list, "https://a.exampl"));
    ck_assert(!ws_origin_listed(list, "https://a.example.org"));
    ck_assert(!ws_origin_listed(list, "null"));
    ck_assert(!ws_origin_listed(list, ""));
    ck_assert(!ws_origin_listed(list, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/ws_handshake");
    TCase *tcase = tcase_create("ws_handshake");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tcase, the_example_of_the_standard);
    tcase_add_test(tcase, all_that_is_asked_for_is_needed);
    tcase_add_test(tcase, no_protocol_is_chosen_where_none_was_offered);
    tcase_add_loop_test(tcase, keys_among_the_protocols, 0, sizeof offered / sizeof offered[0]);
    tcase_add_test(tcase, origins);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
