/* See bench_load.h.  Answers are known by their Content-Length; nothing of a body is kept but the
 * beginning of an error's. */
#include "cli/bench_load.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/signals.h"

enum { ANSWER_MAX = 16384, PATIENCE_MS = 120000 };

struct peer {
    char in[ANSWER_MAX + 1]; /* the head, and what came with it */
    size_t len;
    int64_t left; /* of the body, after the head; -1: in the head */
    double begun_us;
    bool busy;
};

struct run {
    const struct bench_load *load;
    struct peer *peers;
    struct pollfd *polls; /* [connections] */
    float *us;            /* [load->n] */
    struct buf line, body, request;
    uint64_t sent, answered;
    double begun_us;
};

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* ---- Sending ---- */

static bool is_over(const struct run *run)
{
    return run->sent == run->load->n || signals_arrived() ||
           now_us() - run->begun_us > run->load->seconds_max * 1e6;
}

static bool send_next(struct run *run, size_t at)
{
    struct peer *peer = &run->peers[at];

    buf_clear(&run->line);
    buf_clear(&run->body);
    buf_clear(&run->request);
    run->load->write(run->load->context, run->sent, &run->line, &run->body);
    buf_put(&run->request, run->line.data, run->line.len);
    buf_printf(&run->request, " HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
               run->body.len);
    buf_put(&run->request, run->body.data, run->body.len);
    if (run->line.failed || run->body.failed || run->request.failed)
        return cli_fail("out of memory") == CLI_OK;
    run->sent++;
    peer->len = 0;
    peer->left = -1;
    peer->busy = true;
    peer->begun_us = now_us();
    if (!client_send(run->polls[at].fd, run->request.data, run->request.len,
                     client_now_ms() + PATIENCE_MS))
        return cli_fail("a request could not be sent: %s", strerror(errno)) == CLI_OK;
    return true;
}

/* ---- Reading ---- */

/* The head is whole: what the answer is. */
static bool judge(struct peer *peer, const char *body)
{
    size_t got = peer->len - (size_t)(body - peer->in);
    int status = client_status(peer->in);
    int64_t length = client_length(peer->in);

    if (status < 200 || status > 299)
        return cli_fail("the daemon answers %d: %.600s", status, body) == CLI_OK;
    if (length < (int64_t)got)
        return cli_fail("an answer without a length, or longer than it says") == CLI_OK;
    peer->left = length - (int64_t)got;
    return true;
}

static bool take(struct peer *peer, size_t n)
{
    char *end;

    if (peer->left >= 0) {
        peer->left -= (int64_t)n;
        return true;
    }
    peer->len += n;
    peer->in[peer->len] = '\0';
    end = strstr(peer->in, "\r\n\r\n");
    if (end)
        return judge(peer, end + 4);
    return peer->len < ANSWER_MAX || cli_fail("an answer without an end of its head") == CLI_OK;
}

/* Reads what there is; at the end of an answer the next request goes out. */
static bool read_some(struct run *run, size_t at)
{
    struct peer *peer = &run->peers[at];
    char rest[ANSWER_MAX];
    bool in_head = peer->left < 0;
    ssize_t n = in_head ? recv(run->polls[at].fd, peer->in + peer->len, ANSWER_MAX - peer->len, 0)
                        : recv(run->polls[at].fd, rest, sizeof rest, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0 || !peer->busy)
        return cli_fail("the daemon has closed a connection") == CLI_OK;
    if (!take(peer, (size_t)n))
        return false;
    if (peer->left != 0)
        return true;
    run->us[run->answered++] = (float)(now_us() - peer->begun_us);
    peer->busy = false;
    return is_over(run) || send_next(run, at);
}

static bool turn(struct run *run)
{
    size_t n = run->load->connections;
    int ready = poll(run->polls, (nfds_t)n, PATIENCE_MS);

    if (ready < 0 && errno == EINTR)
        return true;
    if (ready <= 0)
        return cli_fail("no answer within %d s", PATIENCE_MS / 1000) == CLI_OK;
    for (size_t i = 0; i < n; i++)
        if (run->polls[i].revents && !read_some(run, i))
            return false;
    return true;
}

/* ---- The figures ---- */

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Of sorted values, the smallest that `share` of them do not exceed. */
static double quantile(const float *sorted, uint64_t n, double share)
{
    uint64_t rank = (uint64_t)ceil(share * (double)n);

    return (double)sorted[rank > 0 ? rank - 1 : 0];
}

static void sum_up(struct run *run, struct bench_times *out)
{
    uint64_t n = run->answered;

    *out = (struct bench_times){.n = n, .seconds = (now_us() - run->begun_us) / 1e6};
    if (n == 0)
        return;
    qsort(run->us, n, sizeof *run->us, compare);
    out->p50_us = quantile(run->us, n, 0.5);
    out->p99_us = quantile(run->us, n, 0.99);
    out->p999_us = quantile(run->us, n, 0.999);
    out->max_us = (double)run->us[n - 1];
}

/* ---- The run ---- */

static bool connect_all(struct run *run)
{
    for (size_t i = 0; i < run->load->connections; i++) {
        run->polls[i].events = POLLIN;
        run->polls[i].fd = client_connect(run->load->target, client_now_ms() + PATIENCE_MS);
        if (run->polls[i].fd < 0)
            return false;
    }
    return true;
}

static bool go(struct run *run)
{
    run->begun_us = now_us();
    for (size_t i = 0; i < run->load->connections && !is_over(run); i++)
        if (!send_next(run, i))
            return false;
    while (run->answered < run->sent && !signals_arrived())
        if (!turn(run))
            return false;
    return true;
}

int bench_load_run(const struct bench_load *load, struct bench_times *out)
{
    size_t n = load->connections;
    struct run run = {.load = load};
    bool good;

    run.peers = calloc(n, sizeof *run.peers);
    run.polls = calloc(n, sizeof *run.polls);
    run.us = calloc(load->n + 1, sizeof *run.us);
    for (size_t i = 0; run.polls && i < n; i++)
        run.polls[i].fd = -1;
    if (!run.peers || !run.polls || !run.us)
        good = cli_fail("out of memory") == CLI_OK;
    else
        good = connect_all(&run) && go(&run);
    if (good)
        sum_up(&run, out);
    for (size_t i = 0; run.polls && i < n; i++)
        if (run.polls[i].fd >= 0)
            close(run.polls[i].fd);
    buf_free(&run.line);
    buf_free(&run.body);
    buf_free(&run.request);
    free(run.peers);
    free(run.polls);
    free(run.us);
    return good ? CLI_OK : CLI_FAILURE;
}
