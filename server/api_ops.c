/* Operations: life, readiness, metrics, version, the interface's own description. */
#include "server/api.h"

#include <stdlib.h>

#include "server/answer.h"
#include "server/metrics.h"
#include "server/models.h"

/* server/openapi.yaml as an array of bytes, made at build time. */
static const unsigned char openapi[] = {
#include "server/openapi.inc"
};

void api_livez(struct request *request, const char *arg)
{
    struct buf body = {0};

    (void)arg;
    buf_puts(&body, "{\"status\":\"live\"}");
    reply_json(request, 200, &body);
}

/* Appends ,"KEY":["…",…] where the list holds anything. */
static void put_list(struct buf *body, const char *key, const char *const *list)
{
    for (size_t i = 0; list[i]; i++) {
        if (i == 0)
            buf_printf(body, ",\"%s\":[", key);
        else
            buf_putc(body, ',');
        answer_text(body, list[i]);
    }
    if (list[0])
        buf_putc(body, ']');
}

/* Ready, with what lies in the models folder and is not served, if there is anything. */
static void reply_ready(struct request *request)
{
    struct models *models = request->shard->server->models;
    char **failed = models_failed(models);
    struct buf body = {0};

    buf_puts(&body, "{\"status\":\"ready\"");
    if (failed)
        put_list(&body, "failed_models", (const char *const *)failed);
    free(failed);
    put_list(&body, "to_import", models_to_import(models));
    buf_putc(&body, '}');
    reply_json(request, 200, &body);
}

void api_readyz(struct request *request, const char *arg)
{
    const struct server *server = request->shard->server;

    (void)arg;
    if (atomic_load(&server->draining))
        reply_error(request, REPLY_DRAINING, NULL, "the server is shutting down");
    else if (!atomic_load(&server->ready))
        reply_error(request, REPLY_STARTING, NULL, "the server is starting");
    else
        reply_ready(request);
}

void api_metrics(struct request *request, const char *arg)
{
    struct buf page = {0};

    (void)arg;
    metrics_page(&page, request->shard->server);
    if (page.failed)
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
    else
        http_reply(request, 200, "text/plain; version=0.0.4; charset=utf-8", &page);
    buf_free(&page);
}

void api_version(struct request *request, const char *arg)
{
    struct buf body = {0};

    (void)arg;
    buf_puts(&body, "{\"name\":\"rnnd\",\"version\":\"" RNND_VERSION "\",\"kernels\":");
    answer_text(&body, rnn_kernels_name());
    buf_puts(&body, ",\"workers\":");
    buf_u64(&body, request->shard->server->n_shards);
    buf_putc(&body, '}');
    reply_json(request, 200, &body);
}

void api_openapi(struct request *request, const char *arg)
{
    struct buf body = {0};

    (void)arg;
    buf_put(&body, openapi, sizeof openapi);
    if (body.failed)
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
    else
        http_reply(request, 200, "application/yaml", &body);
    buf_free(&body);
}
