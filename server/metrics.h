/* Counters, gauges and histograms of one shard: written by its thread alone (relaxed atomics), read
 * by whoever answers /metrics, which adds the shards up.  The list is metrics.def. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <stdint.h>

#include "base/buf.h"
#include "server/server.h"

struct metrics;

enum metric_counter {
#define COUNTER(symbol, name, labels, help) symbol,
#define GAUGE(symbol, name, labels, help)
#define HISTOGRAM(symbol, name, labels, buckets, help)
#include "server/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    METRIC_N_COUNTERS
};

enum metric_gauge {
#define COUNTER(symbol, name, labels, help)
#define GAUGE(symbol, name, labels, help) symbol,
#define HISTOGRAM(symbol, name, labels, buckets, help)
#include "server/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    METRIC_N_GAUGES
};

enum metric_histogram {
#define COUNTER(symbol, name, labels, help)
#define GAUGE(symbol, name, labels, help)
#define HISTOGRAM(symbol, name, labels, buckets, help) symbol,
#include "server/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    METRIC_N_HISTOGRAMS
};

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

void metrics_count(struct metrics *metrics, enum metric_counter counter, uint64_t more);
void metrics_gauge_add(struct metrics *metrics, enum metric_gauge gauge, int64_t change);
void metrics_observe(struct metrics *metrics, enum metric_histogram histogram, double value);

/* rnnd_requests_total{endpoint,code} and rnnd_request_duration_seconds{endpoint}: `endpoint` is a
 * route template. */
void metrics_request(struct metrics *metrics, const char *endpoint, unsigned status,
                     double seconds);

/* The page, in Prometheus' text format 0.0.4, over all shards. */
void metrics_page(struct buf *out, const struct server *server);

#endif
