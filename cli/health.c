/* rnnd health: asks a running daemon whether it is ready, for Docker's HEALTHCHECK and scripts.
 *
 * One GET over a socket of our own, so that a container needs no HTTP client.  The whole of it,
 * from the first connect to the status line, stands under one deadline. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

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

struct target {
    char host[256];
    uint16_t port;
    char path[1024];
};

/* ---- Where to ask ---- */

/* Takes http://HOST[:PORT][/PATH] apart. */
static bool parse_url(struct target *out, const char *url)
{
    const char *rest = url + 7;
    size_t len = strcspn(rest, "/");
    char authority[300];

    if (strncmp(url, "http://", 7) != 0 || len == 0 || len + 4 > sizeof authority)
        return false;
    snprintf(authority, sizeof authority, "%.*s", (int)len, rest);
    if (authority[len - 1] == ']' || !strchr(authority, ':'))
        strcat(authority, ":80");
    snprintf(out->path, sizeof out->path, "%s", rest[len] ? rest + len : "/");
    /* what would end the request line early */
    return strcspn(out->path, " \r\n\t") == strlen(out->path) && strlen(rest + len) < 1024 &&
           config_listen_split(authority, out->host, sizeof out->host, &out->port) == 0;
}

/* The daemon's own address; where it listens on all of them, the loopback one. */
static int from_settings(struct target *out, const struct cli_args *args)
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

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for `events`; false at the deadline. */
static bool wait_for(int fd, short events, int64_t deadline_ms)
{
    struct pollfd poller = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline_ms - now_ms();
        int n;

        if (left <= 0) {
            errno = ETIMEDOUT;
            return false;
        }
        n = poll(&poller, 1, (int)left);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

/* A connected socket, or -1 with errno. */
static int connect_one(const struct addrinfo *address, int64_t deadline_ms)
{
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int fault = 0;
    socklen_t len = sizeof fault;

    if (fd < 0)
        return -1;
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return fd;
    if (errno == EINPROGRESS && wait_for(fd, POLLOUT, deadline_ms) &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &len) == 0) {
        if (fault == 0)
            return fd;
        errno = fault;
    }
    fault = errno;
    close(fd);
    errno = fault;
    return -1;
}

static int connect_any(const struct target *target, int64_t deadline_ms)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
    char port[8];
    int rc, fd = -1;

    snprintf(port, sizeof port, "%u", (unsigned)target->port);
    rc = getaddrinfo(target->host, port, &hints, &list);
    if (rc != 0) {
        cli_fail("%s: %s", target->host, gai_strerror(rc));
        return -1;
    }
    for (struct addrinfo *one = list; one && fd < 0; one = one->ai_next)
        fd = connect_one(one, deadline_ms);
    if (fd < 0)
        cli_fail("%s port %s: %s", target->host, port, strerror(errno));
    freeaddrinfo(list);
    return fd;
}

static bool send_all(int fd, const char *text, size_t len, int64_t deadline_ms)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else if ((errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLOUT, deadline_ms)) {
            return false;
        }
    }
    return true;
}

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
        } else if ((errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLIN, deadline_ms)) {
            return false;
        }
    }
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

static int judge(const char *line)
{
    int major, minor, code;

    if (sscanf(line, "HTTP/%1d.%1d %3d", &major, &minor, &code) != 3)
        return cli_fail("no HTTP answer");
    if (code < 200 || code > 299)
        return cli_fail("not ready: status %d", code);
    puts("ready");
    return CLI_OK;
}

static int ask(const struct target *target, int64_t deadline_ms)
{
    bool v6 = strchr(target->host, ':') != NULL;
    char request[2048], line[256];
    int fd, n;
    bool answered;

    n = snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: %s%s%s:%u\r\nUser-Agent: rnnd-health\r\n"
                 "Connection: close\r\n\r\n",
                 target->path, v6 ? "[" : "", target->host, v6 ? "]" : "", (unsigned)target->port);
    fd = connect_any(target, deadline_ms);
    if (fd < 0)
        return CLI_FAILURE;
    answered = send_all(fd, request, (size_t)n, deadline_ms) &&
               read_status_line(fd, line, sizeof line, deadline_ms);
    if (!answered)
        cli_fail("%s port %u: %s", target->host, (unsigned)target->port, strerror(errno));
    close(fd);
    return answered ? judge(line) : CLI_FAILURE;
}

static int run(const struct cli_args *args)
{
    struct target target = {0};
    const char *url = cli_value(args, "url");
    int64_t timeout_s = 3;
    int status;

    if (!cli_whole(args, "timeout", 1, 3600, &timeout_s))
        return cli_hint("health");
    if (url && !parse_url(&target, url)) {
        (void)cli_fault(args, "--url: want http://HOST[:PORT][/PATH], found '%s'", url);
        return cli_hint("health");
    }
    status = url ? CLI_OK : from_settings(&target, args);
    return status == CLI_OK ? ask(&target, now_ms() + timeout_s * 1000) : status;
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
