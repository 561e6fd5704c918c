/* A small HTTP/1.1 client of the commands: addresses, sockets under a deadline, and one whole
 * request.  Deadlines are of client_now_ms().  One thread. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct client_target {
    char host[256]; /* without brackets */
    uint16_t port;
    char path[1024];
};

/* Takes http://HOST[:PORT][/PATH] apart. */
bool client_parse_url(struct client_target *out, const char *url);

int64_t client_now_ms(void);

/* Waits for `events` of poll(2); false with errno, ETIMEDOUT at the deadline. */
bool client_wait(int fd, short events, int64_t deadline_ms);

/* A connected socket that does not block and that the caller closes; -1 after printing why not. */
int client_connect(const struct client_target *target, int64_t deadline_ms);

/* False with errno. */
bool client_send(int fd, const char *text, size_t len, int64_t deadline_ms);

/* One request to target->path (with a JSON body, or NULL) over a connection of its own.  Fills
 * *body (emptied first; the caller's) and returns the status; 0 after printing why there is no
 * answer.  `quiet` prints nothing. */
int client_ask(const struct client_target *target, const char *method, const char *json, bool quiet,
               int64_t deadline_ms, struct buf *body);

/* The status of a head that is NUL-terminated; 0: it is no HTTP answer.  The length of the body, or
 * -1 where the head does not say it. */
int client_status(const char *head);
int64_t client_length(const char *head);

#endif
