/* A load on a running daemon: `connections` clients, each of which sends its next request when the
 * last one is answered (a closed loop), and the times from the first byte sent to the last byte
 * read.  One thread, poll(2). */
#ifndef CLI_BENCH_LOAD_H
#define CLI_BENCH_LOAD_H

#include "cli/client.h"

enum { BENCH_CONNECTIONS_MAX = 1024 };

struct bench_load {
    const struct client_target *target;
    size_t connections; /* 1 to BENCH_CONNECTIONS_MAX */
    uint64_t n;         /* requests to send */
    double seconds_max; /* no new one after this long */
    /* Appends what request number i asks: method and path to `line`, JSON to `body` (left empty:
     * none). */
    void (*write)(const void *context, uint64_t i, struct buf *line, struct buf *body);
    const void *context;
};

struct bench_times {
    uint64_t n; /* answered */
    double seconds;
    double p50_us, p99_us, p999_us, max_us;
};

/* CLI_OK; CLI_FAILURE after printing what failed: every answer must be a success.  A signal ends it
 * early with what there is. */
int bench_load_run(const struct bench_load *load, struct bench_times *out);

#endif
