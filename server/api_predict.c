/* POST /predict: reads the request.  What is computed and answered is in task_predict.c. */
#include "server/api.h"

static int read_fields(void *out, const struct cJSON *body, const struct config *config,
                       struct rnn_err *err)
{
    struct predict_request *request = out;
    static const char *const allowed[] = {API_COMMON_FIELDS, "steps",      "top_k",
                                          "return",          "candidates", NULL};
    static const char *const steps[] = {"last", "all", NULL};
    static const char *const returns[] = {"probabilities", "logits", "hidden",
                                          "cell",          "gates",  NULL};
    int64_t top_k = 5;
    int rc = body_only(body, allowed, NULL, err);

    request->steps = PREDICT_STEPS_MODEL;
    if (rc == 0)
        rc = body_word(body, "steps", steps, &request->steps, err);
    if (rc == 0)
        rc = json_read_int(body, "", "top_k", 0, INT32_MAX, &top_k, err);
    if (rc == 0)
        rc = body_words(body, "return", returns, NULL, &request->returns, err);
    request->top_k = (uint32_t)top_k;
    if (rc == 0)
        rc = api_common_read(&request->common, body, config, err);
    return rc == 0 ? input_read_candidates(&request->candidates, body, config, err) : rc;
}

int predict_fields(void *out, const struct cJSON *body, const struct config *config,
                   struct rnn_err *err)
{
    struct predict_request *request = out;
    int rc;

    *request = (struct predict_request){0};
    rc = read_fields(request, body, config, err);
    if (rc < 0)
        predict_request_free(request);
    return rc;
}

int predict_read(void *out, const char *text, size_t len, const struct config *config,
                 struct rnn_err *err)
{
    return body_read(out, text, len, false, predict_fields, config, err);
}

void predict_request_free(struct predict_request *request)
{
    api_common_free(&request->common);
    input_list_free(&request->candidates);
}

void api_predict(struct request *request, const char *arg)
{
    struct predict_request what;

    (void)arg;
    if (!api_read(request, predict_read, &what))
        return;
    task_predict(sink_of_request(request), &what);
    predict_request_free(&what);
}
