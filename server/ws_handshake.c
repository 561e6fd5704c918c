/* The opening handshake.  See ws_handshake.h. */
#include "server/ws_handshake.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/base64.h"

#define GUID          "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_CHARS     24 /* base64 of 16 bytes */
#define KEY_BYTES     16
#define SHA1_BYTES    20
#define KEY_MAX_CHARS 340 /* base64url of the longest API key */

/* ---- Lists of tokens, separated by commas ---- */

/* The next one; false at the end. */
static bool next_token(const char **at, const char **token, size_t *len)
{
    *at += strspn(*at, ", \t");
    if (**at == '\0')
        return false;
    *token = *at;
    *len = strcspn(*at, ",");
    *at += *len;
    while (*len > 0 && ((*token)[*len - 1] == ' ' || (*token)[*len - 1] == '\t'))
        --*len;
    return true;
}

static bool has_token(const char *list, const char *wanted, bool any_case)
{
    const char *token;
    size_t len, wanted_len = strlen(wanted);

    while (list && next_token(&list, &token, &len)) {
        if (len != wanted_len)
            continue;
        if (any_case ? strncasecmp(token, wanted, len) == 0 : memcmp(token, wanted, len) == 0)
            return true;
    }
    return false;
}

/* ---- The key of the handshake ---- */

static bool is_base64_of_16(const char *key)
{
    char *bytes;
    size_t len;

    if (!key || strlen(key) != KEY_CHARS || base64_decode(key, "", &bytes, &len, NULL) < 0)
        return false;
    free(bytes);
    return len == KEY_BYTES;
}

static bool accept_of(const char *key, char accept[WS_ACCEPT_BYTES])
{
    unsigned char digest[SHA1_BYTES];
    char text[KEY_CHARS + sizeof GUID];
    struct buf out = {0};
    bool good;

    snprintf(text, sizeof text, "%s%s", key, GUID);
    if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), digest) < 0)
        return false;
    base64_encode(&out, digest, sizeof digest);
    good = !out.failed && out.len == WS_ACCEPT_BYTES - 1;
    if (good)
        snprintf(accept, WS_ACCEPT_BYTES, "%.*s", (int)out.len, out.data);
    buf_free(&out);
    return good;
}

enum ws_verdict ws_handshake(const struct ws_offer *offer, char accept[WS_ACCEPT_BYTES],
                             bool *chosen)
{
    const char *version = offer->version ? offer->version : "";

    if (!offer->can_upgrade || !has_token(offer->upgrade, "websocket", true) ||
        !has_token(offer->connection, "upgrade", true))
        return WS_NO_UPGRADE;
    if (strcmp(version, "13") != 0)
        return WS_BAD_VERSION;
    if (!is_base64_of_16(offer->key) || !accept_of(offer->key, accept))
        return WS_BAD_KEY;
    *chosen = has_token(offer->protocols, WS_PROTOCOL, false);
    return *chosen || !offer->protocols ? WS_WELCOME : WS_BAD_PROTOCOL;
}

/* ---- The key of the API ---- */

/* base64url without padding, to base64 with it. */
static void pad(const char *text, size_t len, char out[KEY_MAX_CHARS + 4])
{
    size_t n = 0;

    for (; n < len; n++)
        out[n] = text[n] == '-' ? '+' : text[n] == '_' ? '/' : text[n];
    while (n % 4 != 0)
        out[n++] = '=';
    out[n] = '\0';
}

static bool decode_key(const char *text, size_t len, char *key, size_t size)
{
    char padded[KEY_MAX_CHARS + 4], *bytes = NULL;
    size_t n = 0;
    bool good;

    if (len == 0 || len > KEY_MAX_CHARS || memchr(text, '+', len) || memchr(text, '/', len) ||
        memchr(text, '=', len))
        return false;
    pad(text, len, padded);
    good = base64_decode(padded, "", &bytes, &n, NULL) == 0 && n > 0 && n < size &&
           !memchr(bytes, '\0', n);
    if (good) {
        memcpy(key, bytes, n);
        key[n] = '\0';
    }
    if (bytes)
        explicit_bzero(bytes, n);
    free(bytes);
    explicit_bzero(padded, sizeof padded);
    return good;
}

bool ws_offered_key(const char *protocols, char *key, size_t size)
{
    const size_t prefix = sizeof WS_PROTOCOL_KEY - 1;
    const char *token;
    size_t len;

    while (protocols && next_token(&protocols, &token, &len))
        if (len > prefix && memcmp(token, WS_PROTOCOL_KEY, prefix) == 0)
            return decode_key(token + prefix, len - prefix, key, size);
    return false;
}

/* ---- Origins ---- */

bool ws_origin_listed(const char *list, const char *origin)
{
    list += strspn(list, " ");
    if (*list == '\0')
        return true;
    while (origin && *list != '\0') {
        size_t len = strcspn(list, " ");

        if (len == strlen(origin) && strncasecmp(list, origin, len) == 0)
            return true;
        list += len;
        list += strspn(list, " ");
    }
    return false;
}
