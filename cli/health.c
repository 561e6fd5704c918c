/* rnnd health: asks a running daemon whether it is ready, for Docker's HEALTHCHECK and scripts.
 *
 * One GET over a socket of our own, so that a container needs no HTTP client.  The whole of it,
 * from the first connect to the status line, stands under one deadline. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/settings.h"

static const struct cli_option options[] = {
    {"url", "URL", "ask there (default: /readyz at the address of the setting listen)"},
    {"timeout", "SECONDS", "give up after this long (default: 3)"},
    {"listen", "ADDR:PORT", "the daemon's address (default: as for rnnd serve)"},
    {"config", "FILE",
     "settings file (default: $RNND_CONFIG, else " RNND_CONFIG_FILE " if it is there)"},
    {NULL},
};

/* ---- Where to ask ---- */

/* The daemon's own address; where it listens on all of them, the loopback one. */
static int from_settings(struct client_target *out, const struct cli_args *args)
{
    struct config *config;
    int rc;

    if (!settings_load(args, &config))
        return cli_hint("health");
    rc = config_listen_split(config->listen, out->host, sizeof out->host, &out->port);
    config_free(config);
    if (rc < 0)
        return cli_fail("listen: the address is too long");
    if (out->port == 0)
        return cli_fail("the daemon listens on any free port; say which by --url");
    if (strcmp(out->host, "0.0.0.0") == 0)
        strcpy(out->host, "127.0.0.1");
    else if (strcmp(out->host, "::") == 0)
        strcpy(out->host, "::1");
    strcpy(out->path, "/readyz");
    return CLI_OK;
}

/* ---- Asking ---- */

/* Reads until the status line is whole; false where it never is. */
static bool read_status_line(int fd, char *line, size_t cap, int64_t deadline_ms)
{
    size_t len = 0;

    line[0] = '\0';
    while (len + 1 < cap && !strchr(line, '\n')) {
        ssize_t n = recv(fd, line + len, cap - len - 1, 0);

        if (n > 0) {
            len += (size_t)n;
            line[len] = '\0';
        } else if (n == 0) {
            errno = ECONNRESET;
            return false;
        } else if ((errno != EAGAIN && errno != EINTR) || !client_wait(fd, POLLIN, deadline_ms)) {
            return false;
        }
    }
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

static int judge(const char *line)
{
    int code = client_status(line);

    if (code == 0)
        return cli_fail("no HTTP answer");
    if (code < 200 || code > 299)
        return cli_fail("not ready: status %d", code);
    puts("ready");
    return CLI_OK;
}

static int ask(const struct client_target *target, int64_t deadline_ms)
{
    bool v6 = strchr(target->host, ':') != NULL;
    char request[2048], line[256];
    int fd, n;
    bool answered;

    n = snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: %s%s%s:%u\r\nUser-Agent: rnnd-health\r\n"
                 "Connection: close\r\n\r\n",
                 target->path, v6 ? "[" : "", target->host, v6 ? "]" : "", (unsigned)target->port);
    fd = client_connect(target, deadline_ms);
    if (fd < 0)
        return CLI_FAILURE;
    answered = client_send(fd, request, (size_t)n, deadline_ms) &&
               read_status_line(fd, line, sizeof line, deadline_ms);
    if (!answered)
        cli_fail("%s port %u: %s", target->host, (unsigned)target->port, strerror(errno));
    close(fd);
    return answered ? judge(line) : CLI_FAILURE;
}

static int run(const struct cli_args *args)
{
    struct client_target target = {0};
    const char *url = cli_value(args, "url");
    int64_t timeout_s = 3;
    int status;

    if (!cli_whole(args, "timeout", 1, 3600, &timeout_s))
        return cli_hint("health");
    if (url && !client_parse_url(&target, url)) {
        (void)cli_fault(args, "--url: want http://HOST[:PORT][/PATH], found '%s'", url);
        return cli_hint("health");
    }
    status = url ? CLI_OK : from_settings(&target, args);
    return status == CLI_OK ? ask(&target, client_now_ms() + timeout_s * 1000) : status;
}

const struct cli_command command_health = {
    .name = "health",
    .operands = "",
    .summary = "ask a running daemon whether it is ready",
    .about = "Asks the daemon for /readyz, or any URL of the http scheme, and prints 'ready' if "
             "the answer is a success; fails if it is none, or none comes in time. Made for "
             "Docker's HEALTHCHECK.",
    .options = options,
    .run = run,
};
