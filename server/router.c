/* The routes.  A template is a path whose variable parts, if any, are written {…}; a request's path
 * is compared with each in turn (there are three dozen, and they differ early).  The index page
 * lists the same table, so that it cannot lie. */
#include "server/router.h"

#include <stdio.h>
#include <string.h>

#include "server/api.h"
#include "server/metrics.h"

struct route {
    enum http_method method;
    const char *path;
    void (*handler)(struct request *request, const char *arg);
    bool works; /* starts work: refused while the server shuts down */
    const char *help;
};

static const struct route routes[] = {
    {HTTP_POST, "/predict", api_predict, true, "what comes out of an input, or comes next"},
    {HTTP_POST, "/generate", api_generate, true, "continue an input; may be streamed"},
    {HTTP_POST, "/score", api_score, true, "how probable an input is"},
    {HTTP_POST, "/sessions", api_session_create, true, "open a session"},
    {HTTP_GET, "/sessions", api_session_list, false, "own sessions, paged"},
    {HTTP_POST, "/sessions/blend", api_session_blend, true, "a weighted sum of sessions"},
    {HTTP_GET, "/sessions/{id}", api_session_get, false, "one session"},
    {HTTP_DELETE, "/sessions/{id}", api_session_delete, false, "close a session"},
    {HTTP_POST, "/sessions/{id}/reset", api_session_reset, true, "back to the initial state"},
    {HTTP_POST, "/sessions/{id}/fork", api_session_fork, true, "new sessions from its state"},
    {HTTP_GET, "/sessions/{id}/stream", api_session_stream, true, "WebSocket: requests on it"},
    {HTTP_GET, "/stream", api_stream, true, "WebSocket: a session as long as it is open"},
    {HTTP_POST, "/sessions/{id}/snapshots", api_session_snapshot, true, "remember a point"},
    {HTTP_GET, "/sessions/{id}/snapshots", api_session_snapshot_list, false, "points it can go to"},
    {HTTP_DELETE, "/sessions/{id}/snapshots/{name}", api_session_snapshot_delete, false,
     "forget a point"},
    {HTTP_POST, "/sessions/{id}/rewind", api_session_rewind, true, "back to a point"},
    {HTTP_GET, "/sessions/{id}/state", api_session_state_get, false, "its state as a file"},
    {HTTP_PUT, "/sessions/{id}/state", api_session_state_put, true, "to the state of a file"},
    {HTTP_GET, "/models", api_model_list, false, "what is served"},
    {HTTP_GET, "/models/{name}", api_model_get, false, "one model"},
    {HTTP_POST, "/tokenize", api_tokenize, true, "text to token ids"},
    {HTTP_POST, "/detokenize", api_detokenize, true, "token ids to text"},
    {HTTP_GET, "/livez", api_livez, false, "whether the process answers"},
    {HTTP_GET, "/readyz", api_readyz, false, "whether it takes work"},
    {HTTP_GET, "/metrics", api_metrics, false, "numbers for Prometheus"},
    {HTTP_GET, "/version", api_version, false, "what is running"},
    {HTTP_GET, "/openapi.yaml", api_openapi, false, "this interface in full"},
    {HTTP_GET, "/", api_index, false, "this page"},
};
enum { N_ROUTES = sizeof routes / sizeof routes[0] };

/* Room for the variable parts of a path; longer ones name nothing that exists. */
#define ARG_MAX_BYTES 192

static const char *const method_names[] = {[HTTP_GET] = "GET",
                                           [HTTP_HEAD] = "HEAD",
                                           [HTTP_POST] = "POST",
                                           [HTTP_PUT] = "PUT",
                                           [HTTP_DELETE] = "DELETE"};

void api_index(struct request *request, const char *arg)
{
    struct buf body = {0};

    (void)arg;
    buf_puts(&body, "rnnd " RNND_VERSION ": recurrent networks over HTTP\n\n");
    for (size_t i = 0; i < N_ROUTES; i++)
        buf_printf(&body, "  %-6s %-32s %s\n", method_names[routes[i].method], routes[i].path,
                   routes[i].help);
    if (body.failed)
        reply_error(request, REPLY_NO_MEMORY, NULL, "out of memory");
    else
        http_reply(request, 200, "text/plain; charset=utf-8", &body);
    buf_free(&body);
}

/* Whether the path fits the template; its variable parts go to arg, with a '/' between them. */
static bool fits(const char *template, const char *path, char *arg)
{
    size_t used = 0;

    arg[0] = '\0';
    for (; *template; template ++) {
        size_t len;

        if (*template != '{') {
            if (*path++ != *template)
                return false;
            continue;
        }
        template = strchr(template, '}');
        len = strcspn(path, "/");
        if (len == 0 || used + len + 2 > ARG_MAX_BYTES)
            return false;
        if (used > 0)
            arg[used++] = '/';
        memcpy(arg + used, path, len);
        used += len;
        arg[used] = '\0';
        path += len;
    }
    return *path == '\0';
}

static bool answers(const struct route *route, enum http_method method)
{
    return route->method == method || (route->method == HTTP_GET && method == HTTP_HEAD);
}

/* No route of this method: 405 with what there is, or 404. */
static void refuse(struct request *request)
{
    char allow[64] = "", arg[ARG_MAX_BYTES];

    for (size_t i = 0; i < N_ROUTES; i++) {
        size_t used = strlen(allow);

        if (!fits(routes[i].path, request->path, arg))
            continue;
        request->route_name = routes[i].path;
        snprintf(allow + used, sizeof allow - used, "%s%s%s", used ? ", " : "",
                 method_names[routes[i].method], routes[i].method == HTTP_GET ? ", HEAD" : "");
    }
    if (!allow[0]) {
        reply_error(request, REPLY_NO_ROUTE, NULL,
                    "there is nothing at %.200s; GET / lists what is", request->path);
        return;
    }
    http_reply_header(request, "Allow", allow);
    reply_error(request, REPLY_METHOD, NULL, "%.200s: want %s", request->path, allow);
}

void router_dispatch(struct request *request)
{
    char arg[ARG_MAX_BYTES];

    for (size_t i = 0; i < N_ROUTES; i++) {
        const struct route *route = &routes[i];

        if (!answers(route, request->method) || !fits(route->path, request->path, arg))
            continue;
        request->route_name = route->path;
        if (route->works && atomic_load(&request->shard->server->draining)) {
            metrics_count(request->shard->metrics, M_REJECTED_DRAINING, 1);
            reply_error(request, REPLY_DRAINING, NULL, "the server is shutting down");
            return;
        }
        route->handler(request, arg);
        return;
    }
    refuse(request);
}
