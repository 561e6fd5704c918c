/* The client's messages on a streaming session (subprotocol rnnd.v1): JSON text into a plain
 * struct.
 *
 *   {"predict":{…}}  {"generate":{…}}  {"score":{…}}    with the fields of the endpoints
 *   {"generate":{…},"last_event_id":"…"}                to be taken up where it broke off
 *   {"cancel":ID}
 *
 * each with an `id` of its own, a string or a whole number, if it likes.  No sockets; any thread.
 */
#ifndef SERVER_WS_MESSAGE_H
#define SERVER_WS_MESSAGE_H

#include <stddef.h>

#include "server/api.h"

#define WS_ID_CHARS 64                    /* bytes of an id that is a string */
#define WS_ID_BYTES (6 * WS_ID_CHARS + 3) /* the same as JSON (a control character is \u00XX) */

enum ws_verb { WS_PREDICT, WS_GENERATE, WS_SCORE, WS_CANCEL };

struct ws_message {
    char id[WS_ID_BYTES]; /* as JSON, to be echoed; "null" where there is none */
    enum ws_verb verb;
    union {
        struct predict_request predict;
        struct generate_request generate;
        struct score_request score;
        char cancel[WS_ID_BYTES]; /* the id that is meant, as JSON */
    };
};

/* `session` is the one that the socket is bound to.  A generate is streamed unless it says "stream"
 * itself or knows its texts only at their end.  On failure nothing is left to free, and out->id is
 * set all the same, as far as one could be read. */
int ws_message_read(struct ws_message *out, const char *text, size_t len, const char *session,
                    const struct config *config, struct rnn_err *err);

/* The predict of a binary message. */
int ws_message_from_floats(struct ws_message *out, const char *bytes, size_t len,
                           const char *session, const struct config *config, struct rnn_err *err);

void ws_message_free(struct ws_message *message);

#endif
