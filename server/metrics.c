/* Metrics: each shard counts for itself, the page adds up.
 *
 * A shard's numbers are written by its own thread with relaxed stores and read by any; a reader may
 * see one number newer than the next, never a torn one.  Request counts are kept by route template
 * and status in a small open-addressed table whose entries are published once and never move.
 * Histograms keep plain counts per bucket, and the page makes them cumulative. */
#include "server/metrics.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/shard.h"

#define BUCKETS_MAX   24
#define REQUEST_SLOTS 512
#define ROUTE_SLOTS   64

struct bounds {
    unsigned n;
    double upper[BUCKETS_MAX];
};

/* seconds of a request or a wait */
static const struct bounds bounds_LATENCY = {16,
                                             {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                              0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60}};
/* seconds of a step or a token */
static const struct bounds bounds_FINE = {16,
                                          {0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0002,
                                           0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5,
                                           1}};
static const struct bounds bounds_ROWS = {11, {1, 2, 4, 8, 16, 24, 32, 64, 128, 256, 1024}};

struct histogram {
    _Atomic uint64_t counts[BUCKETS_MAX + 1]; /* the last one: above every bound */
    _Atomic double sum;
};

struct request_count {
    _Atomic(const char *) endpoint; /* NULL: free */
    unsigned status;
    _Atomic uint64_t count;
};

struct route_time {
    _Atomic(const char *) endpoint;
    struct histogram seconds;
};

struct metrics {
    _Atomic uint64_t counters[METRIC_N_COUNTERS];
    _Atomic int64_t gauges[METRIC_N_GAUGES];
    struct histogram histograms[METRIC_N_HISTOGRAMS];
    struct request_count requests[REQUEST_SLOTS];
    struct route_time routes[ROUTE_SLOTS];
};

struct entry {
    const char *name, *labels, *help;
};

#define COUNTER(symbol, name, labels, help) {name, labels, help},
#define GAUGE(symbol, name, labels, help)
#define HISTOGRAM(symbol, name, labels, buckets, help)
static const struct entry counter_entries[] = {
#include "server/metrics.def"
};
#undef COUNTER
#undef GAUGE
#define COUNTER(symbol, name, labels, help)
#define GAUGE(symbol, name, labels, help) {name, labels, help},
static const struct entry gauge_entries[] = {
#include "server/metrics.def"
};
#undef GAUGE
#undef HISTOGRAM
#define GAUGE(symbol, name, labels, help)
#define HISTOGRAM(symbol, name, labels, buckets, help) {name, labels, help},
static const struct entry histogram_entries[] = {
#include "server/metrics.def"
};
#undef HISTOGRAM
#define HISTOGRAM(symbol, name, labels, buckets, help) &bounds_##buckets,
static const struct bounds *const histogram_bounds[] = {
#include "server/metrics.def"
};
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM

/* ---- Writing ---- */

/* Only one thread writes, so a load and a store do without a locked instruction. */
static void bump(_Atomic uint64_t *number, uint64_t more)
{
    uint64_t now = atomic_load_explicit(number, memory_order_relaxed);

    atomic_store_explicit(number, now + more, memory_order_relaxed);
}

static void observe(struct histogram *histogram, const struct bounds *bounds, double value)
{
    unsigned bucket = 0;
    double sum = atomic_load_explicit(&histogram->sum, memory_order_relaxed);

    while (bucket < bounds->n && value > bounds->upper[bucket])
        bucket++;
    bump(&histogram->counts[bucket], 1);
    atomic_store_explicit(&histogram->sum, sum + value, memory_order_relaxed);
}

struct metrics *metrics_new(void)
{
    return calloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

void metrics_count(struct metrics *metrics, enum metric_counter counter, uint64_t more)
{
    bump(&metrics->counters[counter], more);
}

void metrics_gauge_add(struct metrics *metrics, enum metric_gauge gauge, int64_t change)
{
    int64_t now = atomic_load_explicit(&metrics->gauges[gauge], memory_order_relaxed);

    atomic_store_explicit(&metrics->gauges[gauge], now + change, memory_order_relaxed);
}

void metrics_observe(struct metrics *metrics, enum metric_histogram histogram, double value)
{
    observe(&metrics->histograms[histogram], histogram_bounds[histogram], value);
}

static size_t hash(const char *endpoint, unsigned status)
{
    size_t h = 1469598103u ^ status;

    for (; *endpoint; endpoint++)
        h = (h ^ (unsigned char)*endpoint) * 16777619u;
    return h;
}

/* The slot of this pair, made where it is new; NULL where the table is full. */
static struct request_count *request_slot(struct metrics *metrics, const char *endpoint,
                                          unsigned status)
{
    size_t at = hash(endpoint, status);

    for (size_t i = 0; i < REQUEST_SLOTS; i++) {
        struct request_count *slot = &metrics->requests[(at + i) % REQUEST_SLOTS];
        const char *there = atomic_load_explicit(&slot->endpoint, memory_order_relaxed);

        if (!there) {
            slot->status = status;
            atomic_store_explicit(&slot->endpoint, endpoint, memory_order_release);
            return slot;
        }
        if (slot->status == status && strcmp(there, endpoint) == 0)
            return slot;
    }
    return NULL;
}

static struct route_time *route_slot(struct metrics *metrics, const char *endpoint)
{
    size_t at = hash(endpoint, 0);

    for (size_t i = 0; i < ROUTE_SLOTS; i++) {
        struct route_time *slot = &metrics->routes[(at + i) % ROUTE_SLOTS];
        const char *there = atomic_load_explicit(&slot->endpoint, memory_order_relaxed);

        if (!there)
            atomic_store_explicit(&slot->endpoint, endpoint, memory_order_release);
        if (!there || strcmp(there, endpoint) == 0)
            return slot;
    }
    return NULL;
}

void metrics_request(struct metrics *metrics, const char *endpoint, unsigned status, double seconds)
{
    struct request_count *count = request_slot(metrics, endpoint, status);
    struct route_time *time = route_slot(metrics, endpoint);

    if (count)
        bump(&count->count, 1);
    if (time)
        observe(&time->seconds, &bounds_LATENCY, seconds);
}

/* ---- The page ---- */

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void name_and_labels(struct buf *out, const struct entry *entry)
{
    buf_puts(out, entry->name);
    if (*entry->labels)
        buf_printf(out, "{%s}", entry->labels);
    buf_putc(out, ' ');
}

static void page_counters(struct buf *out, const struct server *server)
{
    const char *last = "";

    for (size_t i = 0; i < METRIC_N_COUNTERS; i++) {
        const struct entry *entry = &counter_entries[i];
        uint64_t sum = 0;

        for (unsigned s = 0; s < server->n_shards; s++)
            sum += atomic_load_explicit(&server->shards[s]->metrics->counters[i],
                                        memory_order_relaxed);
        if (strcmp(last, entry->name) != 0)
            head(out, entry->name, "counter", entry->help);
        last = entry->name;
        name_and_labels(out, entry);
        buf_u64(out, sum);
        buf_putc(out, '\n');
    }
}

static void page_gauges(struct buf *out, const struct server *server)
{
    const char *last = "";

    for (size_t i = 0; i < METRIC_N_GAUGES; i++) {
        const struct entry *entry = &gauge_entries[i];
        int64_t sum = 0;

        for (unsigned s = 0; s < server->n_shards; s++)
            sum +=
                atomic_load_explicit(&server->shards[s]->metrics->gauges[i], memory_order_relaxed);
        if (strcmp(last, entry->name) != 0)
            head(out, entry->name, "gauge", entry->help);
        last = entry->name;
        name_and_labels(out, entry);
        buf_i64(out, sum);
        buf_putc(out, '\n');
    }
}

/* What several shards counted, added up. */
struct total {
    uint64_t counts[BUCKETS_MAX + 1];
    double sum;
};

static void total_add(struct total *total, const struct histogram *histogram)
{
    for (size_t b = 0; b <= BUCKETS_MAX; b++)
        total->counts[b] += atomic_load_explicit(&histogram->counts[b], memory_order_relaxed);
    total->sum += atomic_load_explicit(&histogram->sum, memory_order_relaxed);
}

/* `labels` without braces, "" for none. */
static void page_histogram(struct buf *out, const char *name, const char *labels,
                           const struct bounds *bounds, const struct total *total)
{
    const char *comma = *labels ? "," : "";
    uint64_t below = 0;

    for (unsigned b = 0; b < bounds->n; b++) {
        below += total->counts[b];
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} ", name, labels, comma, bounds->upper[b]);
        buf_u64(out, below);
        buf_putc(out, '\n');
    }
    below += total->counts[bounds->n];
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} ", name, labels, comma);
    buf_u64(out, below);
    if (*labels)
        buf_printf(out, "\n%s_sum{%s} %.9g\n%s_count{%s} ", name, labels, total->sum, name, labels);
    else
        buf_printf(out, "\n%s_sum %.9g\n%s_count ", name, total->sum, name);
    buf_u64(out, below);
    buf_putc(out, '\n');
}

static void page_histograms(struct buf *out, const struct server *server)
{
    for (size_t i = 0; i < METRIC_N_HISTOGRAMS; i++) {
        const struct entry *entry = &histogram_entries[i];
        struct total total = {0};

        for (unsigned s = 0; s < server->n_shards; s++)
            total_add(&total, &server->shards[s]->metrics->histograms[i]);
        head(out, entry->name, "histogram", entry->help);
        page_histogram(out, entry->name, entry->labels, histogram_bounds[i], &total);
    }
}

struct request_row {
    const char *endpoint;
    unsigned status;
    uint64_t count;
};

static int request_order(const void *a, const void *b)
{
    const struct request_row *x = a, *y = b;
    int by_name = strcmp(x->endpoint, y->endpoint);

    return by_name ? by_name : (x->status > y->status) - (x->status < y->status);
}

/* All used slots of all shards in `rows`, sorted; returns how many. */
static size_t request_rows(const struct server *server, struct request_row *rows)
{
    size_t n = 0;

    for (unsigned s = 0; s < server->n_shards; s++) {
        const struct metrics *metrics = server->shards[s]->metrics;

        for (size_t i = 0; i < REQUEST_SLOTS; i++) {
            const struct request_count *slot = &metrics->requests[i];
            const char *endpoint = atomic_load_explicit(&slot->endpoint, memory_order_acquire);

            if (endpoint)
                rows[n++] =
                    (struct request_row){endpoint, slot->status,
                                         atomic_load_explicit(&slot->count, memory_order_relaxed)};
        }
    }
    qsort(rows, n, sizeof(*rows), request_order);
    return n;
}

static void page_requests(struct buf *out, const struct server *server)
{
    struct request_row *rows = calloc((size_t)server->n_shards * REQUEST_SLOTS, sizeof(*rows));
    size_t n = 0;

    if (rows)
        n = request_rows(server, rows);
    head(out, "rnnd_requests_total", "counter", "requests answered, by route and status");
    for (size_t i = 0; i < n; i++) {
        uint64_t count = rows[i].count;

        while (i + 1 < n && request_order(&rows[i], &rows[i + 1]) == 0)
            count += rows[++i].count;
        buf_printf(out, "rnnd_requests_total{endpoint=\"%s\",code=\"%u\"} ", rows[i].endpoint,
                   rows[i].status);
        buf_u64(out, count);
        buf_putc(out, '\n');
    }
    free(rows);
}

static bool seen_before(const struct server *server, unsigned shard, size_t slot, const char *name)
{
    for (unsigned s = 0; s <= shard; s++)
        for (size_t i = 0; i < ROUTE_SLOTS && (s < shard || i < slot); i++) {
            const char *other = atomic_load_explicit(
                &server->shards[s]->metrics->routes[i].endpoint, memory_order_acquire);

            if (other && strcmp(other, name) == 0)
                return true;
        }
    return false;
}

static void page_route(struct buf *out, const struct server *server, const char *endpoint)
{
    struct total total = {0};
    char labels[160];

    for (unsigned s = 0; s < server->n_shards; s++)
        for (size_t i = 0; i < ROUTE_SLOTS; i++) {
            const struct route_time *route = &server->shards[s]->metrics->routes[i];
            const char *name = atomic_load_explicit(&route->endpoint, memory_order_acquire);

            if (name && strcmp(name, endpoint) == 0)
                total_add(&total, &route->seconds);
        }
    snprintf(labels, sizeof(labels), "endpoint=\"%s\"", endpoint);
    page_histogram(out, "rnnd_request_duration_seconds", labels, &bounds_LATENCY, &total);
}

static void page_routes(struct buf *out, const struct server *server)
{
    head(out, "rnnd_request_duration_seconds", "histogram",
         "from a request's first byte to the end of its answer");
    for (unsigned s = 0; s < server->n_shards; s++)
        for (size_t i = 0; i < ROUTE_SLOTS; i++) {
            const char *name = atomic_load_explicit(&server->shards[s]->metrics->routes[i].endpoint,
                                                    memory_order_acquire);

            if (name && !seen_before(server, s, i, name))
                page_route(out, server, name);
        }
}

/* Under the names that Prometheus' own clients give them. */
static void page_process(struct buf *out)
{
    struct rusage used;
    unsigned long size, resident;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file != NULL && fscanf(file, "%lu %lu", &size, &resident) == 2) {
        head(out, "process_resident_memory_bytes", "gauge", "memory that is in RAM");
        buf_puts(out, "process_resident_memory_bytes ");
        buf_u64(out, (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE));
        buf_putc(out, '\n');
    }
    if (file != NULL)
        (void)fclose(file); /* was only read */
    if (getrusage(RUSAGE_SELF, &used) < 0)
        return;
    head(out, "process_cpu_seconds_total", "counter", "CPU time, user and system");
    buf_puts(out, "process_cpu_seconds_total ");
    buf_f64(out, (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                     (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    buf_putc(out, '\n');
}

void metrics_page(struct buf *out, const struct server *server)
{
    page_requests(out, server);
    page_routes(out, server);
    page_counters(out, server);
    page_gauges(out, server);
    page_histograms(out, server);
    page_process(out);
}
