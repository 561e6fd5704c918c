/* The client's messages.  See ws_message.h. */
#include "server/ws_message.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const verbs[] = {"predict", "generate", "score", "cancel", NULL};

/* ---- Ids ---- */

static int id_put(char out[WS_ID_BYTES], struct buf *json)
{
    bool good = !json->failed && json->len < WS_ID_BYTES;

    if (good)
        snprintf(out, WS_ID_BYTES, "%.*s", (int)json->len, json->data);
    buf_free(json);
    return good ? 0 : RNN_ENOMEM;
}

/* A string or a whole number, as JSON; "null" where absent. */
static int read_id(char out[WS_ID_BYTES], const struct cJSON *object, const char *key,
                   struct rnn_err *err)
{
    const struct cJSON *id = json_get(object, key);
    struct buf json = {0};

    snprintf(out, WS_ID_BYTES, "null");
    if (!id)
        return 0;
    if (cJSON_IsString(id) && strlen(id->valuestring) <= WS_ID_CHARS)
        buf_json_string(&json, id->valuestring, strlen(id->valuestring));
    else if (cJSON_IsNumber(id) && fabs(id->valuedouble) <= (double)JSON_INT_MAX &&
             id->valuedouble == floor(id->valuedouble))
        buf_i64(&json, (int64_t)id->valuedouble);
    else
        return rnn_fail_at(err, RNN_ETYPE, key, -1,
                           "%s: want a string of at most %d bytes or a whole number", key,
                           WS_ID_CHARS);
    return id_put(out, &json) == 0 ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* ---- Verbs ---- */

static int find_verb(struct ws_message *out, struct cJSON *message, struct cJSON **body,
                     struct rnn_err *err)
{
    for (unsigned i = 0; verbs[i]; i++) {
        if (!json_get(message, verbs[i]))
            continue;
        if (*body)
            return rnn_fail_at(err, RNN_EFORMAT, verbs[i], -1, "%s: excludes %s", verbs[i],
                               verbs[out->verb]);
        out->verb = (enum ws_verb)i;
        *body = cJSON_GetObjectItemCaseSensitive(message, verbs[i]);
    }
    if (!*body)
        return rnn_fail(err, RNN_EFORMAT, "want one of predict, generate, score and cancel");
    return 0;
}

static int read_cancel(struct ws_message *out, const struct cJSON *message, struct rnn_err *err)
{
    return read_id(out->cancel, message, "cancel", err);
}

/* Reads on as if the body asked for a stream, where there can be one and it says nothing. */
static int read_generate(struct generate_request *out, struct cJSON *body,
                         const struct config *config, struct rnn_err *err)
{
    bool streams =
        !json_get(body, "stream") && !json_get(body, "beam_width") && !json_get(body, "best_of");

    if (streams) {
        cJSON_DeleteItemFromObjectCaseSensitive(body, "stream"); /* a null */
        if (!cJSON_AddTrueToObject(body, "stream"))
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    return generate_fields(out, body, config, err);
}

/* Of a generate that has been read; it is freed where this is not as it should be. */
static int read_last_event(struct generate_request *out, const struct cJSON *message,
                           struct rnn_err *err)
{
    static const char key[] = "last_event_id";
    const struct cJSON *id = json_get(message, key);
    int rc;

    if (!id)
        return 0;
    rc = cJSON_IsString(id) ? generate_take_up(out, key, id->valuestring, err)
                            : rnn_fail_at(err, RNN_ETYPE, key, -1, "%s: want a string", key);
    if (rc < 0)
        generate_request_free(out);
    return rc;
}

static int read_body(struct ws_message *out, struct cJSON *body, const struct cJSON *message,
                     const char *session, const struct config *config, struct rnn_err *err)
{
    const char *verb = verbs[out->verb];
    int rc;

    if (!cJSON_IsObject(body))
        return rnn_fail_at(err, RNN_ETYPE, verb, -1, "%s: want an object, as POST /%s takes it",
                           verb, verb);
    rc = body_bind(body, "session", session, "the socket is bound to it", err);
    if (rc < 0)
        return rc;
    switch (out->verb) {
    case WS_PREDICT:
        return predict_fields(&out->predict, body, config, err);
    case WS_GENERATE:
        rc = read_generate(&out->generate, body, config, err);
        return rc == 0 ? read_last_event(&out->generate, message, err) : rc;
    default:
        return score_fields(&out->score, body, config, err);
    }
}

static int read_message(struct ws_message *out, struct cJSON *message, const char *session,
                        const struct config *config, struct rnn_err *err)
{
    static const char *const allowed[] = {"id",     "predict",       "generate", "score",
                                          "cancel", "last_event_id", NULL};
    struct cJSON *body = NULL;
    int rc = read_id(out->id, message, "id", err);

    if (rc == 0)
        rc = json_only(message, "", allowed, err);
    if (rc == 0)
        rc = find_verb(out, message, &body, err);
    if (rc == 0 && out->verb != WS_GENERATE && json_get(message, "last_event_id"))
        rc =
            rnn_fail_at(err, RNN_EFORMAT, "last_event_id", -1, "last_event_id: only with generate");
    if (rc < 0)
        return rc;
    return out->verb == WS_CANCEL ? read_cancel(out, message, err)
                                  : read_body(out, body, message, session, config, err);
}

int ws_message_read(struct ws_message *out, const char *text, size_t len, const char *session,
                    const struct config *config, struct rnn_err *err)
{
    struct cJSON *message;
    int rc = body_parse(&message, text, len, false, config, err);

    snprintf(out->id, sizeof out->id, "null");
    if (rc < 0)
        return rc;
    rc = read_message(out, message, session, config, err);
    json_free(message);
    return rc;
}

int ws_message_from_floats(struct ws_message *out, const char *bytes, size_t len,
                           const char *session, const struct config *config, struct rnn_err *err)
{
    char body[sizeof "{\"session\":\"\"}" + SESSION_ID_MAX];
    struct input_list inputs;
    int rc = input_from_floats(&inputs, bytes, len, config, err);

    snprintf(out->id, sizeof out->id, "null");
    out->verb = WS_PREDICT;
    if (rc < 0)
        return rc;
    snprintf(body, sizeof body, "{\"session\":\"%s\"}", session); /* an id needs no escapes */
    rc = predict_read(&out->predict, body, strlen(body), config, err);
    if (rc < 0) {
        input_list_free(&inputs);
        return rc;
    }
    input_list_free(&out->predict.common.inputs);
    out->predict.common.inputs = inputs;
    return 0;
}

void ws_message_free(struct ws_message *message)
{
    switch (message->verb) {
    case WS_PREDICT:
        predict_request_free(&message->predict);
        break;
    case WS_GENERATE:
        generate_request_free(&message->generate);
        break;
    case WS_SCORE:
        score_request_free(&message->score);
        break;
    case WS_CANCEL:
        break;
    }
}
