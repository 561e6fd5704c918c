/* The opening handshake of a WebSocket (RFC 6455, section 4.2), the deciding half: texts of headers
 * in, what to answer out.  No sockets; any thread. */
#ifndef SERVER_WS_HANDSHAKE_H
#define SERVER_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#define WS_PROTOCOL     "rnnd.v1"

/* A browser can set no Authorization header.  As with Kubernetes' API server, it may offer the key
 * as a second subprotocol, this prefix and the key in base64url without padding; it is never chosen
 * and never echoed. */
#define WS_PROTOCOL_KEY "rnnd.key."

/* The headers as sent; NULL where there is none. */
struct ws_offer {
    bool can_upgrade; /* a GET of HTTP/1.1 without a body */
    const char *upgrade, *connection, *version, *key, *protocols;
};

enum ws_verdict {
    WS_WELCOME,
    WS_NO_UPGRADE,  /* 426: not asked to become a WebSocket */
    WS_BAD_VERSION, /* 426: of another version than 13 */
    WS_BAD_KEY,     /* 400: Sec-WebSocket-Key */
    WS_BAD_PROTOCOL /* 400: subprotocols were offered, but not ours */
};

#define WS_ACCEPT_BYTES 29 /* 28 characters of base64 */

/* With WS_WELCOME, `accept` is the value of Sec-WebSocket-Accept, and *chosen says whether
 * Sec-WebSocket-Protocol is to be answered with WS_PROTOCOL (none was offered: it is not). */
enum ws_verdict ws_handshake(const struct ws_offer *offer, char accept[WS_ACCEPT_BYTES],
                             bool *chosen);

/* The API key among offered subprotocols, NUL-terminated; false: there is none, or it is malformed.
 * The caller wipes it. */
bool ws_offered_key(const char *protocols, char *key, size_t size);

/* Whether `list` (separated by spaces) has the Origin; an empty list has every one. */
bool ws_origin_listed(const char *list, const char *origin);

#endif
