/* The opening handshake.  See ws_handshake.h. */
#include "server/ws_handshake.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

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
    gnutls_datum_t in = {(unsigned char *)(uintptr_t)key, KEY_CHARS}, out = {0};
    bool good;

    if (!key || strlen(key) != KEY_CHARS)
        return false;
    good = gnutls_base64_decode2(&in, &out) == 0 && out.size == KEY_BYTES;
    gnutls_free(out.data);
    return good;
}

static bool accept_of(const char *key, char accept[WS_ACCEPT_BYTES])
{
    unsigned char digest[SHA1_BYTES];
    gnutls_datum_t in = {digest, sizeof digest}, out = {0};
    char text[KEY_CHARS + sizeof GUID];
    bool good;

    snprintf(text, sizeof text, "%s%s", key, GUID);
    if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), digest) < 0 ||
        gnutls_base64_encode2(&in, &out) < 0)
        return false;
    good = out.size == WS_ACCEPT_BYTES - 1;
    if (good)
        snprintf(accept, WS_ACCEPT_BYTES, "%.*s", (int)out.size, (const char *)out.data);
    gnutls_free(out.data);
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
static size_t padded(const char *text, size_t len, char out[KEY_MAX_CHARS + 4])
{
    size_t n = 0;

    for (; n < len; n++)
        out[n] = text[n] == '-' ? '+' : text[n] == '_' ? '/' : text[n];
    while (n % 4 != 0)
        out[n++] = '=';
    return n;
}

static bool decode_key(const char *text, size_t len, char *key, size_t size)
{
    char base64[KEY_MAX_CHARS + 4];
    gnutls_datum_t in = {(unsigned char *)base64, 0}, out = {0};
    bool good;

    if (len == 0 || len > KEY_MAX_CHARS || memchr(text, '+', len) || memchr(text, '/', len))
        return false;
    in.size = (unsigned)padded(text, len, base64);
    good = gnutls_base64_decode2(&in, &out) == 0 && out.size > 0 && out.size < size &&
           !memchr(out.data, '\0', out.size);
    if (good) {
        memcpy(key, out.data, out.size);
        key[out.size] = '\0';
    }
    if (out.data)
        explicit_bzero(out.data, out.size);
    gnutls_free(out.data);
    explicit_bzero(base64, sizeof base64);
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
