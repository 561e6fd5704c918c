/* rnnd bench sessions: what sessions cost in time, memory and disk, seen through HTTP.
 *
 * Opens many sessions, lets them lie, then wakes some at random (one token each), forks, snapshots,
 * rewinds and deletes some, each kind on its own so that its times are its own.  The daemon is a
 * running one, or a child (cli/bench_daemon.h), whose memory, idling, disk and restart are measured
 * too.  Ids carry a number drawn for the run, so that two runs on one daemon do not meet. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/bench_daemon.h"
#include "cli/bench_load.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "cli/signals.h"

enum { ASK_MS = 60000, TTL_S = 86400, SESSIONS_MAX = 10000000 };

static const struct cli_option options[] = {
    {"url", "URL",
     "measure the daemon there (default: one of its own, on a free port of the loopback)"},
    {"sessions", "N", "sessions to open (default: 1000)"},
    {"operations", "N", "operations of each other kind (default: 1000)"},
    {"connections", "N", "clients at once (default: 16)"},
    {"seconds", "S", "longest time for one kind, opening included (default: 3600)"},
    {"idle", "S", "seconds to lie idle after opening (default: 1)"},
    {"durability", "WORD",
     "off|none|process|power: of its own daemon's sessions; off: no store (default: process)"},
    {"memory", "SIZE", "session_memory_bytes of its own daemon (default: as for rnnd serve)"},
    {"state-dir", "DIR", "of its own daemon (default: a temporary folder, removed at the end)"},
    {"workers", "N", "of its own daemon (default: as for rnnd serve)"},
    {"restart", NULL, "measure how long its own daemon takes to start again with the sessions"},
    {"json", NULL, "print JSON"},
    SETTINGS_OPTIONS,
    {NULL},
};

enum kind { OPEN, WAKE, FORK, SNAPSHOT, REWIND, DELETE, N_KINDS };

static const char *const kind_names[N_KINDS] = {"open",     "wake",   "fork",
                                                "snapshot", "rewind", "delete"};

/* What the metrics page says. */
struct page {
    double resident_bytes, cpu_s; /* of the process */
    double state_bytes, stored;
};

struct sessions_bench {
    const char *model, *durability;
    struct bench_daemon daemon;
    bool own;
    struct client_target target;
    struct buf input; /* of one step, JSON */
    uint32_t run;     /* in the ids */
    int64_t n_sessions, n_operations, connections, seconds, idle_s;
    size_t state_bytes, session_bytes; /* of one session, by the model's card */
    struct bench_times times[N_KINDS];
    double cpu_us[N_KINDS]; /* of the daemon, for each request */
    struct page before, opened, idle, after;
    uint64_t disk_bytes;
    double restart_s; /* 0: not measured */
};

/* ---- What is asked ---- */

/* A fixed permutation-like spread over the sessions that were opened: SplitMix64 of the number
 * (Steele, Lea and Flood 2014), so that a snapshot and its rewinding draw the same ones. */
static uint64_t drawn(const struct sessions_bench *b, uint64_t i)
{
    uint64_t x = i * 0x9e3779b97f4a7c15u + b->run;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) % b->times[OPEN].n;
}

static void write_open(const void *context, uint64_t i, struct buf *line, struct buf *body)
{
    const struct sessions_bench *b = context;

    buf_puts(line, "POST /sessions");
    buf_puts(body, "{\"model\":");
    buf_json_string(body, b->model, strlen(b->model));
    buf_printf(body, ",\"id\":\"b%08" PRIx32 "-%" PRIu64 "\",\"ttl_seconds\":%d}", b->run, i,
               TTL_S);
}

static void write_wake(const void *context, uint64_t i, struct buf *line, struct buf *body)
{
    const struct sessions_bench *b = context;

    buf_puts(line, "POST /predict");
    buf_printf(body, "{\"session\":\"b%08" PRIx32 "-%" PRIu64 "\",\"input\":", b->run, drawn(b, i));
    buf_put(body, b->input.data, b->input.len);
    buf_putc(body, '}');
}

static void put_path(const struct sessions_bench *b, uint64_t i, const char *method,
                     const char *rest, struct buf *line)
{
    buf_printf(line, "%s /sessions/b%08" PRIx32 "-%" PRIu64 "%s", method, b->run, i, rest);
}

static void write_fork(const void *context, uint64_t i, struct buf *line, struct buf *body)
{
    put_path(context, drawn(context, i), "POST", "/fork", line);
    buf_puts(body, "{\"count\":1}");
}

static void write_snapshot(const void *context, uint64_t i, struct buf *line, struct buf *body)
{
    put_path(context, drawn(context, i), "POST", "/snapshots", line);
    buf_puts(body, "{\"name\":\"bench\",\"replace\":true}");
}

static void write_rewind(const void *context, uint64_t i, struct buf *line, struct buf *body)
{
    put_path(context, drawn(context, i), "POST", "/rewind", line);
    buf_puts(body, "{\"to\":\"bench\"}");
}

static void write_delete(const void *context, uint64_t i, struct buf *line, struct buf *body)
{
    (void)body; /* it has none */
    put_path(context, i, "DELETE", "", line);
}

/* ---- What the daemon says of itself ---- */

static int ask(const struct sessions_bench *b, const char *path, struct buf *body)
{
    struct client_target target = b->target;
    int status;

    snprintf(target.path, sizeof target.path, "%s", path);
    status = client_ask(&target, "GET", NULL, false, client_now_ms() + ASK_MS, body);
    if (status == 0)
        return CLI_FAILURE;
    if (status != 200)
        return cli_fail("%s: the daemon answers %d: %.600s", path, status, body->data);
    return CLI_OK;
}

static double sample(const char *page, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = page; (at = strstr(at, name)) != NULL; at++)
        if ((at == page || at[-1] == '\n') && at[len] == ' ')
            return strtod(at + len, NULL);
    return NAN;
}

static int read_page(const struct sessions_bench *b, struct page *out)
{
    struct buf body = {0};
    int status = ask(b, "/metrics", &body);

    if (status == CLI_OK)
        *out = (struct page){
            .resident_bytes = sample(body.data, "process_resident_memory_bytes"),
            .cpu_s = sample(body.data, "process_cpu_seconds_total"),
            .state_bytes = sample(body.data, "rnnd_session_state_bytes"),
            .stored = sample(body.data, "rnnd_sessions_stored"),
        };
    buf_free(&body);
    return status;
}

/* One step of input: the id 0, or a frame of zeros. */
static int make_input(struct sessions_bench *b, const struct cJSON *card)
{
    const struct cJSON *input = json_get(card, "input");
    const char *kind = "";
    int64_t size = 0, state_bytes = 0, session_bytes = 0;

    if (json_read_string(input, "input", "kind", &kind, NULL) < 0 ||
        json_read_int(input, "input", "size", 1, 1000000, &size, NULL) < 0 ||
        json_read_int(card, "", "state_bytes", 0, INT64_MAX / 2, &state_bytes, NULL) < 0 ||
        json_read_int(card, "", "session_bytes", 0, INT64_MAX / 2, &session_bytes, NULL) < 0)
        return cli_fail("the daemon's card of the model cannot be read");
    b->state_bytes = (size_t)state_bytes;
    b->session_bytes = (size_t)session_bytes;
    if (strcmp(kind, "dense") != 0) {
        buf_puts(&b->input, "[0]");
        return CLI_OK;
    }
    for (int64_t i = 0; i < size; i++)
        buf_puts(&b->input, i == 0 ? "[[0" : ",0");
    buf_puts(&b->input, "]]");
    return b->input.failed ? cli_fail("out of memory") : CLI_OK;
}

static int read_card(struct sessions_bench *b)
{
    struct buf body = {0};
    struct cJSON *card = NULL;
    struct rnn_err err = {0};
    char path[512];
    int status;

    snprintf(path, sizeof path, "/models/%s", b->model);
    status = ask(b, path, &body);
    if (status == CLI_OK && json_parse(&card, body.data, body.len, 64, &err) < 0)
        status = cli_fail("the daemon's card of the model: %s", err.text);
    if (status == CLI_OK)
        status = make_input(b, card);
    json_free(card);
    buf_free(&body);
    return status;
}

/* ---- One kind ---- */

static int measure_kind(struct sessions_bench *b, enum kind kind, int64_t n)
{
    static void (*const writers[N_KINDS])(const void *, uint64_t, struct buf *, struct buf *) = {
        write_open, write_wake, write_fork, write_snapshot, write_rewind, write_delete};
    const struct bench_load load = {
        .target = &b->target,
        .connections = (size_t)b->connections,
        .n = (uint64_t)n,
        .seconds_max = (double)b->seconds,
        .write = writers[kind],
        .context = b,
    };

    struct page begun, done;
    int status = signals_arrived() ? CLI_FAILURE : read_page(b, &begun);

    if (status == CLI_OK)
        status = bench_load_run(&load, &b->times[kind]);
    if (status == CLI_OK)
        status = read_page(b, &done);
    if (status == CLI_OK)
        b->cpu_us[kind] = (done.cpu_s - begun.cpu_s) * 1e6 / (double)b->times[kind].n;
    return status;
}

/* ---- The report ---- */

/* Beside the states in memory. */
static double overhead(const struct sessions_bench *b)
{
    return (b->opened.resident_bytes - b->before.resident_bytes -
            (b->opened.state_bytes - b->before.state_bytes)) /
           (double)b->times[OPEN].n;
}

static double idle_share(const struct sessions_bench *b)
{
    return b->idle_s > 0 ? (b->idle.cpu_s - b->opened.cpu_s) / (double)b->idle_s : 0;
}

static void put_plain(const struct sessions_bench *b, struct buf *out)
{
    buf_printf(out, "%" PRIu64 " sessions of %s, %zu bytes of state each; %" PRId64 " clients",
               b->times[OPEN].n, b->model, b->state_bytes, b->connections);
    if (b->own)
        buf_printf(out, "; durability %s", b->durability);
    buf_puts(
        out,
        "\n\n          count      per s     p50 us     p99 us   p99.9 us     max us   CPU us\n");
    for (int i = 0; i < N_KINDS; i++) {
        const struct bench_times *t = &b->times[i];

        buf_printf(out, "%-8s%7" PRIu64 " %10.0f %10.0f %10.0f %10.0f %10.0f %8.1f\n",
                   kind_names[i], t->n, (double)t->n / t->seconds, t->p50_us, t->p99_us, t->p999_us,
                   t->max_us, b->cpu_us[i]);
    }
    buf_printf(out,
               "\nmemory  %.1f MiB resident when opened, %.1f MiB of it states; "
               "%.0f bytes a session beside its state, %zu by the model's card\n",
               b->opened.resident_bytes / 1048576, b->opened.state_bytes / 1048576, overhead(b),
               b->session_bytes - b->state_bytes);
    buf_printf(out, "        %.0f sessions on disk only when opened, %.0f at the end\n",
               b->opened.stored, b->after.stored);
    buf_printf(out, "idle    %.2f %% of a CPU\n", 100 * idle_share(b));
    if (b->own)
        buf_printf(out, "disk    %.1f MiB, %.0f bytes a session\n", (double)b->disk_bytes / 1048576,
                   (double)b->disk_bytes / (double)b->times[OPEN].n);
    if (b->restart_s > 0)
        buf_printf(out, "restart %.2f s until ready\n", b->restart_s);
}

static void put_json(const struct sessions_bench *b, struct buf *out)
{
    buf_puts(out, "{\"model\":");
    buf_json_string(out, b->model, strlen(b->model));
    buf_printf(out,
               ",\"sessions\":%" PRIu64
               ",\"state_bytes\":%zu,\"session_bytes\":%zu,\"connections\":%" PRId64
               ",\"durability\":",
               b->times[OPEN].n, b->state_bytes, b->session_bytes, b->connections);
    if (b->own)
        buf_json_string(out, b->durability, strlen(b->durability));
    else
        buf_puts(out, "null");
    for (int i = 0; i < N_KINDS; i++) {
        const struct bench_times *t = &b->times[i];

        buf_printf(out,
                   ",\"%s\":{\"count\":%" PRIu64 ",\"per_second\":%.1f,\"p50_us\":%.1f,"
                   "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"cpu_us\":%.1f}",
                   kind_names[i], t->n, (double)t->n / t->seconds, t->p50_us, t->p99_us, t->p999_us,
                   t->max_us, b->cpu_us[i]);
    }
    buf_printf(out,
               ",\"resident_bytes\":%.0f,\"states_bytes\":%.0f,\"bytes_beside_state\":%.1f,"
               "\"stored\":%.0f,\"idle_cpu\":%.5f,\"disk_bytes\":%" PRIu64
               ",\"restart_seconds\":%.3f}\n",
               b->opened.resident_bytes, b->opened.state_bytes, overhead(b), b->opened.stored,
               idle_share(b), b->disk_bytes, b->restart_s);
}

static int report(const struct sessions_bench *b, bool json)
{
    struct buf out = {0};
    int status;

    if (json)
        put_json(b, &out);
    else
        put_plain(b, &out);
    status = output_status(output_flush(&out));
    buf_free(&out);
    return status;
}

/* ---- The run ---- */

static int lie_idle(struct sessions_bench *b)
{
    int64_t end_ms = client_now_ms() + b->idle_s * 1000;

    while (client_now_ms() < end_ms && !signals_arrived())
        usleep(10000);
    return read_page(b, &b->idle);
}

static int restart(struct sessions_bench *b)
{
    int status;

    bench_daemon_stop(&b->daemon);
    b->disk_bytes = bench_daemon_disk(&b->daemon);
    status = bench_daemon_start(&b->daemon);
    b->target = b->daemon.target;
    b->restart_s = b->daemon.start_s;
    return status;
}

static int measure(struct sessions_bench *b, bool restarts)
{
    int64_t n = b->n_operations;
    int status = read_card(b);

    if (status == CLI_OK)
        status = read_page(b, &b->before);
    if (status == CLI_OK)
        status = measure_kind(b, OPEN, b->n_sessions);
    if (status == CLI_OK)
        status = read_page(b, &b->opened);
    if (status == CLI_OK && b->times[OPEN].n == 0)
        status = cli_fail("no session could be opened in time");
    if (status == CLI_OK)
        status = lie_idle(b);
    b->disk_bytes = b->own ? bench_daemon_disk(&b->daemon) : 0;
    if (status == CLI_OK && restarts)
        status = restart(b);
    for (enum kind kind = WAKE; status == CLI_OK && kind < DELETE; kind++)
        status = measure_kind(b, kind, kind == REWIND ? (int64_t)b->times[SNAPSHOT].n : n);
    if (status == CLI_OK)
        status = read_page(b, &b->after);
    if (status == CLI_OK) /* all of them, where others go on to use the daemon */
        status = measure_kind(
            b, DELETE, b->own && n < (int64_t)b->times[OPEN].n ? n : (int64_t)b->times[OPEN].n);
    return status;
}

static int start_own(struct sessions_bench *b, const struct cli_args *args)
{
    static const struct {
        const char *ours, *theirs;
    } passed[] = {{"models", "models"},
                  {"isa", "isa"},
                  {"config", "config"},
                  {"workers", "workers"},
                  {"memory", "session-memory-bytes"}};
    char number[32];
    int status = bench_daemon_init(&b->daemon, cli_value(args, "state-dir"));

    if (status != CLI_OK)
        return status;
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (cli_value(args, passed[i].ours))
            bench_daemon_flag(&b->daemon, passed[i].theirs, cli_value(args, passed[i].ours));
    if (strcmp(b->durability, "off") != 0) {
        bench_daemon_flag(&b->daemon, "state-dir", b->daemon.state_dir);
        bench_daemon_flag(&b->daemon, "durability", b->durability);
    } else {
        bench_daemon_flag(&b->daemon, "state-dir", "");
    }
    snprintf(number, sizeof number, "%" PRId64, b->n_sessions + b->n_operations);
    bench_daemon_flag(&b->daemon, "sessions-max", number);
    status = bench_daemon_start(&b->daemon);
    b->target = b->daemon.target;
    return status;
}

static bool read_options(struct sessions_bench *b, const struct cli_args *args)
{
    const char *url = cli_value(args, "url");
    bool good = cli_whole(args, "sessions", 1, SESSIONS_MAX, &b->n_sessions);

    good &= cli_whole(args, "operations", 1, SESSIONS_MAX, &b->n_operations);
    good &= cli_whole(args, "connections", 1, BENCH_CONNECTIONS_MAX, &b->connections);
    good &= cli_whole(args, "seconds", 1, 86400, &b->seconds);
    good &= cli_whole(args, "idle", 0, 86400, &b->idle_s);
    if (cli_value(args, "durability"))
        b->durability = cli_value(args, "durability");
    if (strcmp(b->durability, "off") != 0 && strcmp(b->durability, "none") != 0 &&
        strcmp(b->durability, "process") != 0 && strcmp(b->durability, "power") != 0)
        good = cli_fault(args, "--durability: want off, none, process or power, found '%s'",
                         b->durability);
    if (url && !client_parse_url(&b->target, url))
        good = cli_fault(args, "--url: want http://HOST[:PORT], found '%s'", url);
    b->own = url == NULL;
    for (const char *const *name =
             (const char *const[]){"durability", "memory", "state-dir", "workers", "restart", NULL};
         url && *name; name++)
        if (cli_given(args, *name))
            good = cli_fault(args, "--%s: of a daemon of its own, so not with --url", *name);
    if (cli_given(args, "restart") && strcmp(b->durability, "off") == 0)
        good = cli_fault(args, "--restart: wants a durability that is not off");
    return good;
}

static int run(const struct cli_args *args)
{
    struct sessions_bench *b = calloc(1, sizeof *b);
    int status;

    if (!b)
        return cli_fail("out of memory");
    *b = (struct sessions_bench){.model = args->operands[0],
                                 .durability = "process",
                                 .n_sessions = 1000,
                                 .n_operations = 1000,
                                 .connections = 16,
                                 .seconds = 3600,
                                 .idle_s = 1};
    if (!read_options(b, args)) {
        free(b);
        return cli_hint("bench sessions");
    }
    signals_catch();
    if (getrandom(&b->run, sizeof b->run, 0) != (ssize_t)sizeof b->run)
        b->run = (uint32_t)client_now_ms();
    status = b->own ? start_own(b, args) : CLI_OK;
    if (status == CLI_OK)
        status = measure(b, cli_given(args, "restart"));
    if (status == CLI_OK)
        status = report(b, cli_given(args, "json"));
    bench_daemon_end(&b->daemon);
    buf_free(&b->input);
    free(b);
    return status;
}

const struct cli_command command_bench_sessions = {
    .name = "bench sessions",
    .operands = "MODEL",
    .n_operands = 1,
    .summary = "what sessions cost in time, memory and disk",
    .about =
        "Opens sessions of MODEL over HTTP, lets them lie idle, then wakes some at random (one "
        "step each), forks, snapshots, rewinds and deletes some. Prints for each kind the rate and "
        "the times at the client (half, 99 and 99.9 of a hundred answers came within), and the "
        "daemon's memory beside the states themselves. Measures a daemon of its own in a "
        "temporary folder, or with --url a running one, on which it deletes what it has opened "
        "(but not the forks, which live for a day).",
    .options = options,
    .run = run,
};
