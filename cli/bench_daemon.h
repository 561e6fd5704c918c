/* A daemon of a benchmark's own: this very program as a child on a free port of the loopback, with
 * its log, and where nothing else is asked its state, in a temporary folder.  One thread. */
#ifndef CLI_BENCH_DAEMON_H
#define CLI_BENCH_DAEMON_H

#include <sys/types.h>

#include "cli/cli.h"
#include "cli/client.h"

enum { BENCH_FLAGS_MAX = 16 };

struct bench_daemon {
    char dir[4096];                    /* temporary: removed at the end */
    char state_dir[4096 + 8];          /* in it, or the caller's */
    char flags[BENCH_FLAGS_MAX][4200]; /* of rnnd serve, "--name=value" */
    int n_flags;
    pid_t pid; /* 0: none runs */
    struct client_target target;
    double start_s; /* from the start of the process until it was ready */
};

/* Makes the temporary folder.  CLI_OK, or CLI_FAILURE after printing why; bench_daemon_end() in any
 * case. */
int bench_daemon_init(struct bench_daemon *daemon, const char *state_dir);

void bench_daemon_flag(struct bench_daemon *daemon, const char *name, const char *value);

/* Starts it and waits until it is ready; with the last lines of its log where it does not become
 * so. */
int bench_daemon_start(struct bench_daemon *daemon);

/* Ends it in an orderly way and waits. */
void bench_daemon_stop(struct bench_daemon *daemon);

/* Stops it and removes what is temporary. */
void bench_daemon_end(struct bench_daemon *daemon);

/* Bytes on disk of its state. */
uint64_t bench_daemon_disk(const struct bench_daemon *daemon);

#endif
