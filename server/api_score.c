/* POST /score: reads the request.  What is computed and answered is in task_score.c. */
#include "server/api.h"

static int read_fields(struct score_request *out, const struct cJSON *body,
                       const struct config *config, struct rnn_err *err)
{
    static const char *const allowed[] = {API_COMMON_FIELDS, "target", "targets", NULL};
    static const char *const later[] = {NULL};
    int rc = body_only(body, allowed, later, err);

    if (rc == 0)
        rc = api_common_read(&out->common, body, config, err);
    return rc == 0 ? input_read(&out->targets, "target", body, config, err) : rc;
}

int score_read(struct score_request *out, const char *text, size_t len, const struct config *config,
               struct rnn_err *err)
{
    struct cJSON *body;
    int rc = body_parse(&body, text, len, false, config, err);

    *out = (struct score_request){0};
    if (rc < 0)
        return rc;
    rc = read_fields(out, body, config, err);
    json_free(body);
    if (rc < 0)
        score_request_free(out);
    return rc;
}

void score_request_free(struct score_request *request)
{
    input_list_free(&request->common.inputs);
    input_list_free(&request->targets);
}

void api_score(struct request *request, const char *arg)
{
    struct score_request what;
    struct rnn_err err = {0};

    (void)arg;
    if (!api_accepts(request))
        return;
    if (score_read(&what, request->body, request->body_len, shard_config(request->shard), &err) <
        0) {
        api_refuse(request, &err);
        return;
    }
    task_score(request, &what);
    score_request_free(&what);
}
