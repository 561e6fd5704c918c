/* Every error body of the daemon, and the one table from error to status. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "base/buf.h"
#include "base/err.h"

struct request;

/*             symbol              status  code (stable, in the OpenAPI file) */
#define REPLY_ERRORS(X)                                                                            \
    X(REPLY_MALFORMED, 400, "malformed")       /* bad JSON, wrong type, unknown field */           \
    X(REPLY_OUT_OF_RANGE, 400, "out_of_range") /* a number outside its bounds */                   \
    X(REPLY_KEY_MISSING, 401, "key_missing")                                                       \
    X(REPLY_KEY_UNKNOWN, 401, "key_unknown")                                                       \
    X(REPLY_NOT_ADMIN, 403, "not_admin") /* the key may not change models */                       \
    X(REPLY_ORIGIN, 403, "origin")       /* a page of another site */                              \
    X(REPLY_NO_ROUTE, 404, "no_route")                                                             \
    X(REPLY_NO_MODEL, 404, "no_model")                                                             \
    X(REPLY_NO_SESSION, 404, "no_session")                                                         \
    X(REPLY_NO_SNAPSHOT, 404, "no_snapshot")                                                       \
    X(REPLY_METHOD, 405, "method")                                                                 \
    X(REPLY_SLOW, 408, "request_timeout")                                                          \
    X(REPLY_CANCELLED, 409, "cancelled") /* by its asker, or who goes on with its stream */        \
    X(REPLY_SESSION_EXISTS, 409, "session_exists")                                                 \
    X(REPLY_SNAPSHOT_EXISTS, 409, "snapshot_exists")                                               \
    X(REPLY_SESSION_BUSY, 409, "session_busy")                                                     \
    X(REPLY_POSITION, 409, "position")                                                             \
    X(REPLY_OTHER_STREAM, 409, "other_stream")         /* not the one that Last-Event-ID is of */  \
    X(REPLY_SESSION_ORPHANED, 409, "session_orphaned") /* its model is not served any more */      \
    X(REPLY_MODEL_EXISTS, 409, "model_exists")         /* it is served already */                  \
    X(REPLY_MODEL_BUSY, 409, "model_busy")             /* another change is under way */           \
    X(REPLY_SESSION_EXPIRED, 410, "session_expired")                                               \
    X(REPLY_TOO_LARGE, 413, "too_large")                                                           \
    X(REPLY_MEDIA_TYPE, 415, "media_type")                                                         \
    X(REPLY_NOT_POSSIBLE, 422, "not_possible") /* well-formed, not for this model */               \
    X(REPLY_UNKNOWN_CHARACTER, 422, "unknown_character")                                           \
    X(REPLY_FRAME_WIDTH, 422, "frame_width")                                                       \
    X(REPLY_STATE_DAMAGED, 422, "state_damaged") /* no state file, or bytes have changed */        \
    X(REPLY_STATE_FOREIGN, 422, "state_foreign") /* a state of another model */                    \
    X(REPLY_MODEL_INVALID, 422, "model_invalid") /* its folder cannot be opened */                 \
    X(REPLY_NO_POINT, 422, "no_point")           /* nothing to rewind to */                        \
    X(REPLY_NOT_SUPPORTED, 422, "not_supported") /* a known field that is not honoured */          \
    X(REPLY_QUEUE_FULL, 429, "queue_full")       /* with Retry-After */                            \
    X(REPLY_SESSION_LIMIT, 429, "session_limit")                                                   \
    X(REPLY_UPGRADE, 426, "upgrade") /* not asked to become a WebSocket of version 13 */           \
    X(REPLY_SNAPSHOT_LIMIT, 429, "snapshot_limit")                                                 \
    X(REPLY_HEADERS_TOO_LARGE, 431, "headers_too_large")                                           \
    X(REPLY_INTERNAL, 500, "internal")                                                             \
    X(REPLY_SESSION_DAMAGED, 500, "session_damaged") /* what the store has of it is broken */      \
    X(REPLY_DRAINING, 503, "draining")                                                             \
    X(REPLY_STARTING, 503, "starting")                                                             \
    X(REPLY_NO_MEMORY, 503, "no_memory")                                                           \
    X(REPLY_DEADLINE, 504, "deadline")                                                             \
    X(REPLY_STORAGE, 507, "storage") /* the disk does not take what must not be lost */

#define REPLY_ENUM(symbol, status, code) symbol,
enum reply_error { REPLY_ERRORS(REPLY_ENUM) REPLY_N_ERRORS };
#undef REPLY_ENUM

unsigned reply_status(enum reply_error error);
const char *reply_code(enum reply_error error);

/* Writes {"error":{"message","type","param","code"}}; `param` may be NULL or "". */
void reply_error_body(struct buf *out, enum reply_error error, const char *param,
                      const char *message);

/* Answers with such a body; adds Retry-After to 429 and 503, and Allow / WWW-Authenticate where the
 * protocol asks. */
void reply_error(struct request *request, enum reply_error error, const char *param,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* A code beside the engine's own: well-formed, but not possible with this model (not_possible). */
#define REPLY_EINPUT (-100)

/* The same for a failed call: maps RNN_E… to an error (RNN_ECHAR to unknown_character, and so on).
 */
enum reply_error reply_error_of(const struct rnn_err *err);
/* The same where a state was read or named: what is malformed is damaged, what is of other shape
 * foreign. */
enum reply_error reply_error_of_state(const struct rnn_err *err);
void reply_failure(struct request *request, const struct rnn_err *err);

/* 200 or another success with a JSON body. */
void reply_json(struct request *request, unsigned status, struct buf *body);

#endif
