/* See client.h.  Sockets never block: every wait is a poll under the caller's deadline. */
#include "cli/client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "config/config.h"

bool client_parse_url(struct client_target *out, const char *url)
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

int64_t client_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool client_wait(int fd, short events, int64_t deadline_ms)
{
    struct pollfd poller = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline_ms - client_now_ms();
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
    if (errno == EINPROGRESS && client_wait(fd, POLLOUT, deadline_ms) &&
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

static int connect_to(const struct client_target *target, bool quiet, int64_t deadline_ms)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
    char port[8];
    int rc, fd = -1;

    snprintf(port, sizeof port, "%u", (unsigned)target->port);
    rc = getaddrinfo(target->host, port, &hints, &list);
    if (rc != 0) {
        if (!quiet)
            cli_fail("%s: %s", target->host, gai_strerror(rc));
        return -1;
    }
    for (struct addrinfo *one = list; one && fd < 0; one = one->ai_next)
        fd = connect_one(one, deadline_ms);
    if (fd < 0 && !quiet)
        cli_fail("%s port %s: %s", target->host, port, strerror(errno));
    freeaddrinfo(list);
    return fd;
}

int client_connect(const struct client_target *target, int64_t deadline_ms)
{
    return connect_to(target, false, deadline_ms);
}

bool client_send(int fd, const char *text, size_t len, int64_t deadline_ms)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else if ((errno != EAGAIN && errno != EINTR) || !client_wait(fd, POLLOUT, deadline_ms)) {
            return false;
        }
    }
    return true;
}

/* ---- One request ---- */

int client_status(const char *head)
{
    int major, minor, code;

    return sscanf(head, "HTTP/%1d.%1d %3d", &major, &minor, &code) == 3 ? code : 0;
}

int64_t client_length(const char *head)
{
    static const char name[] = "\r\ncontent-length:";
    const char *at = strcasestr(head, name);

    return at ? strtoll(at + sizeof name - 1, NULL, 10) : -1;
}

static bool read_all(int fd, struct buf *out, int64_t deadline_ms)
{
    for (;;) {
        char piece[16384];
        ssize_t n = recv(fd, piece, sizeof piece, 0);

        if (n > 0)
            buf_put(out, piece, (size_t)n);
        else if (n == 0)
            return !out->failed;
        else if ((errno != EAGAIN && errno != EINTR) || !client_wait(fd, POLLIN, deadline_ms))
            return false;
    }
}

/* Leaves the body of the whole answer; its status. */
static int take_body(struct buf *answer)
{
    char *end;
    int status;

    buf_putc(answer, '\0');
    end = answer->failed ? NULL : strstr(answer->data, "\r\n\r\n");
    if (!end)
        return 0;
    *end = '\0';
    status = client_status(answer->data);
    end += 4;
    answer->len -= (size_t)(end - answer->data) + 1;
    memmove(answer->data, end, answer->len + 1);
    return status;
}

int client_ask(const struct client_target *target, const char *method, const char *json, bool quiet,
               int64_t deadline_ms, struct buf *body)
{
    struct buf request = {0};
    int fd = connect_to(target, quiet, deadline_ms), status = 0;

    if (fd < 0)
        return 0;
    buf_clear(body);
    buf_printf(&request,
               "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
               "Content-Length: %zu\r\n\r\n%s",
               method, target->path, json ? strlen(json) : 0, json ? json : "");
    if (!request.failed && client_send(fd, request.data, request.len, deadline_ms) &&
        read_all(fd, body, deadline_ms))
        status = take_body(body);
    if (status == 0 && !quiet)
        cli_fail("%s port %u: no HTTP answer", target->host, (unsigned)target->port);
    close(fd);
    buf_free(&request);
    return status;
}
