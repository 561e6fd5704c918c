/* POST /predict: reads the request.  What is computed and answered is in task_predict.c. */
#include "server/api.h"

static int read_fields(struct predict_request *out, const struct cJSON *body,
                       const struct config *config, struct rnn_err *err)
{
    static const char *const allowed[] = {API_COMMON_FIELDS, "steps", "top_k", "return", NULL};
    static const char *const later[] = {"candidates", NULL};
    static const char *const steps[] = {"last", "all", NULL};
    static const char *const returns[] = {"probabilities", "logits", "hidden", NULL};
    static const char *const returns_later[] = {"gates", NULL};
    int64_t top_k = 5;
    int rc = body_only(body, allowed, later, err);

    out->steps = PREDICT_STEPS_MODEL;
    if (rc == 0)
        rc = body_word(body, "steps", steps, &out->steps, err);
    if (rc == 0)
        rc = json_read_int(body, "", "top_k", 0, INT32_MAX, &top_k, err);
    if (rc == 0)
        rc = body_words(body, "return", returns, returns_later, &out->returns, err);
    out->top_k = (uint32_t)top_k;
    return rc == 0 ? api_common_read(&out->common, body, config, err) : rc;
}

int predict_read(struct predict_request *out, const char *text, size_t len,
                 const struct config *config, struct rnn_err *err)
{
    struct cJSON *body;
    int rc = body_parse(&body, text, len, false, config, err);

    *out = (struct predict_request){0};
    if (rc < 0)
        return rc;
    rc = read_fields(out, body, config, err);
    json_free(body);
    if (rc < 0)
        predict_request_free(out);
    return rc;
}

void predict_request_free(struct predict_request *request)
{
    input_list_free(&request->common.inputs);
}

void api_predict(struct request *request, const char *arg)
{
    struct predict_request what;
    struct rnn_err err = {0};

    (void)arg;
    if (!api_accepts(request))
        return;
    if (predict_read(&what, request->body, request->body_len, shard_config(request->shard), &err) <
        0) {
        api_refuse(request, &err);
        return;
    }
    task_predict(request, &what);
    predict_request_free(&what);
}
