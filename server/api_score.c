/* POST /score: reads the request.  What is computed and answered is in task_score.c. */
#include "server/api.h"

static int read_fields(void *out, const struct cJSON *body, const struct config *config,
                       struct rnn_err *err)
{
    static const char *const allowed[] = {API_COMMON_FIELDS, "target", "targets", NULL};
    static const char *const later[] = {NULL};
    struct score_request *request = out;
    int rc = body_only(body, allowed, later, err);

    if (rc == 0)
        rc = api_common_read(&request->common, body, config, err);
    return rc == 0 ? input_read(&request->targets, "target", body, config, err) : rc;
}

int score_fields(void *out, const struct cJSON *body, const struct config *config,
                 struct rnn_err *err)
{
    struct score_request *request = out;
    int rc;

    *request = (struct score_request){0};
    rc = read_fields(request, body, config, err);
    if (rc < 0)
        score_request_free(request);
    return rc;
}

int score_read(void *out, const char *text, size_t len, const struct config *config,
               struct rnn_err *err)
{
    return body_read(out, text, len, false, score_fields, config, err);
}

void score_request_free(struct score_request *request)
{
    api_common_free(&request->common);
    input_list_free(&request->targets);
}

void api_score(struct request *request, const char *arg)
{
    struct score_request what;

    (void)arg;
    if (!api_read(request, score_read, &what))
        return;
    task_score(sink_of_request(request), &what);
    score_request_free(&what);
}
