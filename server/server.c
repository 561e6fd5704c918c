/* The daemon as a whole: start in order, wait for signals, drain, stop.
 *
 * The main thread owns the listener, the signals and the settings; it computes nothing.  SIGTERM
 * and SIGINT: readiness off, no more accepting, answers close their connections; when no request is
 * in flight, or the grace period is over and the rest has been cancelled, the shards close and the
 * process exits with 0.  A second one of them exits at once with 128 + its number.  SIGHUP reads
 * settings and keys again; with any fault in them the old ones stay.  Settings and keys that have
 * been replaced are kept until the end, because shards may hold pointers into them. */
#include "server/server.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "core/rnn.h"
#include "server/keys.h"
#include "server/listen.h"
#include "server/log.h"
#include "server/models.h"
#include "server/notify.h"
#include "server/seal.h"
#include "server/session.h"
#include "server/shard.h"
#include "server/store.h"

#define LOOK_MS      5  /* between two looks at whether the shards are idle, while draining */
#define CANCEL_MAX_S 10 /* for cancelled requests to end; then the process goes as it stands */
#define EXIT_STUCK   1
#define MAPPED_BYTES (1 << 20) /* blocks from this size on are mapped each by itself */
#define EXIT_FAULT   1

enum stage { STAGE_SERVING, STAGE_DRAINING, STAGE_CANCELLING, STAGE_CLOSING };

/* Replaced settings and keys, one link each. */
struct old {
    struct old *next;
    struct config *config;
    struct keys *keys;
};

struct daemon {
    struct server server;
    const struct server_source *source;
    struct old *old;
    struct listener *listener;
    uv_loop_t loop;
    uv_signal_t on_term, on_int, on_hup;
    uv_timer_t look, watchdog;
    uint64_t *beats; /* [n_shards], as of the last look */
    enum stage stage;
    uint64_t stage_until_ns;
    unsigned n_started;
    int exit_code;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const struct config *config_of(const struct daemon *d)
{
    return atomic_load_explicit(&d->server.config, memory_order_acquire);
}

static void log_failure(const char *text, const struct rnn_err *err)
{
    log_line(CONFIG_LOG_ERROR, text, LOG_TEXT("reason", err->text));
}

/* Logs each line of `text`, and frees it. */
static void log_lines(enum config_log_level level, const char *event, char *text)
{
    char *rest = text, *line;

    while (rest && (line = strsep(&rest, "\n")))
        if (*line)
            log_line(level, event, LOG_TEXT("detail", line));
    free(text);
}

/* ---- Keys and settings ---- */

static int keys_read(const char *path, struct keys **out)
{
    char *faults = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&faults, &len);
    int rc;

    if (!stream)
        return RNN_ENOMEM;
    rc = keys_load(out, path, stream);
    (void)fclose(stream);
    log_lines(CONFIG_LOG_ERROR, "fault in the key file", faults);
    return rc;
}

/* A name that was mistyped would only be noticed when it is needed. */
static void note_strangers(const struct config *config, const struct keys *keys)
{
    const char *word = config->admin_keys;
    size_t len;

    for (; (word = keys_stranger(keys, word, &len)) != NULL; word += len) {
        char name[65];

        (void)snprintf(name, sizeof(name), "%.*s", (int)(len < 64 ? len : 64), word);
        log_line(CONFIG_LOG_WARNING, "admin_keys names no key", LOG_TEXT("name", name));
    }
}

static bool keep_old(struct daemon *d, struct config *config, struct keys *keys)
{
    struct old *old = malloc(sizeof(*old));

    if (!old)
        return false;
    *old = (struct old){.next = d->old, .config = config, .keys = keys};
    d->old = old;
    return true;
}

static void free_old(struct daemon *d)
{
    for (struct old *old = d->old, *next; old; old = next) {
        next = old->next;
        config_free(old->config);
        keys_free(old->keys);
        free(old);
    }
}

/* A fresh reading of the settings, START options as they stand; NULL where there is any fault. */
static struct config *config_reread(struct daemon *d)
{
    const struct server_source *source = d->source;
    char *faults = NULL, *notes = NULL;
    size_t faults_len = 0, notes_len = 0;
    FILE *faults_stream = open_memstream(&faults, &faults_len);
    FILE *notes_stream = open_memstream(&notes, &notes_len);
    struct config *next = NULL;

    if (faults_stream && notes_stream &&
        config_load(&next, source->config_file, environ, source->argc, source->argv,
                    faults_stream) == 0 &&
        config_keep_start_options(next, config_of(d), notes_stream) < 0) {
        config_free(next);
        next = NULL;
    }
    if (faults_stream)
        (void)fclose(faults_stream);
    if (notes_stream)
        (void)fclose(notes_stream);
    log_lines(CONFIG_LOG_ERROR, "fault in the settings", faults);
    log_lines(CONFIG_LOG_WARNING, "setting needs a restart", notes);
    return next;
}

static void reload(struct daemon *d)
{
    struct config *config = config_reread(d);
    struct keys *keys = NULL;

    if (!config || (*config->keys && keys_read(config->keys, &keys) < 0) ||
        !keep_old(d, config, keys)) {
        log_line(CONFIG_LOG_ERROR, "reload failed, the old settings stay");
        config_free(config);
        keys_free(keys);
        return;
    }
    atomic_store_explicit(&d->server.config, config, memory_order_release);
    atomic_store_explicit(&d->server.keys, keys, memory_order_release);
    log_set_level((enum config_log_level)config->log_level);
    note_strangers(config, keys);
    log_line(CONFIG_LOG_INFO, "reloaded", LOG_NUMBER("keys", keys ? keys_count(keys) : 0));
}

/* ---- Draining ---- */

static size_t busy(const struct daemon *d)
{
    size_t sum = 0;

    for (unsigned i = 0; i < d->server.n_shards; i++)
        sum += shard_busy(d->server.shards[i]);
    return sum;
}

static bool all_closed(const struct daemon *d)
{
    for (unsigned i = 0; i < d->server.n_shards; i++)
        if (!shard_closed(d->server.shards[i]))
            return false;
    return true;
}

static void order_all(struct daemon *d, void (*order)(struct shard *))
{
    for (unsigned i = 0; i < d->server.n_shards; i++)
        order(d->server.shards[i]);
}

static void enter(struct daemon *d, enum stage stage, int64_t limit_s)
{
    d->stage = stage;
    d->stage_until_ns = now_ns() + (uint64_t)limit_s * 1000000000u;
}

static void main_handles_close(struct daemon *d)
{
    uv_close((uv_handle_t *)&d->on_term, NULL);
    uv_close((uv_handle_t *)&d->on_int, NULL);
    uv_close((uv_handle_t *)&d->on_hup, NULL);
    uv_close((uv_handle_t *)&d->look, NULL);
    uv_close((uv_handle_t *)&d->watchdog, NULL);
}

static void on_look(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    bool late = now_ns() >= d->stage_until_ns;

    if (d->stage == STAGE_DRAINING && late && busy(d) > 0) {
        log_line(CONFIG_LOG_WARNING, "grace period over, cancelling",
                 LOG_NUMBER("requests", busy(d)));
        order_all(d, shard_cancel);
        enter(d, STAGE_CANCELLING, CANCEL_MAX_S);
    } else if (d->stage <= STAGE_CANCELLING && (busy(d) == 0 || late)) {
        order_all(d, shard_close);
        enter(d, STAGE_CLOSING, CANCEL_MAX_S);
    } else if (d->stage == STAGE_CLOSING && all_closed(d)) {
        main_handles_close(d);
    } else if (d->stage == STAGE_CLOSING && late) {
        log_line(CONFIG_LOG_ERROR, "requests did not end, exiting all the same",
                 LOG_NUMBER("requests", busy(d)));
        _exit(EXIT_STUCK);
    }
}

static void on_stop_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;

    if (d->stage != STAGE_SERVING) {
        log_line(CONFIG_LOG_WARNING, "second signal, exiting at once");
        _exit(128 + number);
    }
    atomic_store(&d->server.ready, false);
    atomic_store(&d->server.draining, true);
    notify_stopping();
    log_line(CONFIG_LOG_INFO, "draining", LOG_NUMBER("signal", number),
             LOG_NUMBER("grace_s", config_of(d)->grace_s));
    listener_close(d->listener);
    d->listener = NULL;
    order_all(d, shard_drain);
    enter(d, STAGE_DRAINING, config_of(d)->grace_s);
    uv_timer_start(&d->look, on_look, LOOK_MS, LOOK_MS);
}

static void on_reload_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;

    (void)number;
    if (d->stage != STAGE_SERVING)
        return;
    notify_reloading();
    reload(d);
    notify_ready();
}

/* The manager hears of us only while every shard turns. */
static void on_watchdog(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    bool all = true;

    for (unsigned i = 0; i < d->server.n_shards; i++) {
        uint64_t beats = shard_beats(d->server.shards[i]);

        all &= beats != d->beats[i];
        d->beats[i] = beats;
    }
    if (all)
        notify_watchdog();
}

/* ---- Start and end ---- */

static int main_handles_open(struct daemon *d, struct rnn_err *err)
{
    uint64_t watchdog_ms = notify_watchdog_us() / 2000;

    uv_timer_init(&d->loop, &d->look); /* timers cannot fail */
    uv_timer_init(&d->loop, &d->watchdog);
    uv_signal_init(&d->loop, &d->on_term);
    uv_signal_init(&d->loop, &d->on_int);
    uv_signal_init(&d->loop, &d->on_hup);
    d->look.data = d->watchdog.data = d;
    d->on_term.data = d->on_int.data = d->on_hup.data = d;
    if (uv_signal_start(&d->on_term, on_stop_signal, SIGTERM) < 0 ||
        uv_signal_start(&d->on_int, on_stop_signal, SIGINT) < 0 ||
        uv_signal_start(&d->on_hup, on_reload_signal, SIGHUP) < 0)
        return rnn_fail(err, RNN_EIO, "signals cannot be waited for");
    if (watchdog_ms > 0)
        uv_timer_start(&d->watchdog, on_watchdog, watchdog_ms, watchdog_ms);
    return 0;
}

static int shards_open(struct daemon *d, unsigned n, struct rnn_err *err)
{
    struct server *server = &d->server;

    server->shards = calloc(n, sizeof(struct shard *));
    d->beats = calloc(n, sizeof(*d->beats));
    if (!server->shards || !d->beats)
        return rnn_fail(err, RNN_ENOMEM, "no memory for the shards");
    for (unsigned i = 0; i < n; i++) {
        int rc = shard_new(&server->shards[i], server, i, err);

        if (rc < 0)
            return rc;
        server->n_shards = i + 1;
    }
    return 0;
}

static int shards_start(struct daemon *d, struct rnn_err *err)
{
    for (unsigned i = 0; i < d->server.n_shards; i++) {
        int rc = shard_start(d->server.shards[i], err);

        if (rc < 0)
            return rc;
        d->n_started = i + 1;
    }
    return 0;
}

static void shards_end(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_started; i++)
        shard_stop(d->server.shards[i]);
    for (unsigned i = 0; i < d->server.n_shards; i++)
        shard_free(d->server.shards[i]);
    store_close(d->server.store);
    free(d->server.shards);
    free(d->beats);
}

/* One for each processor that the process may run on, and no more than its group's share of them.
 */
static unsigned workers_of(const struct daemon *d)
{
    const struct config *config = config_of(d);
    unsigned n = uv_available_parallelism(); /* by sched_getaffinity() */

    if (config->workers > 0)
        return (unsigned)config->workers;
    return n <= d->server.machine.cpus ? n : (unsigned)ceil(d->server.machine.cpus);
}

static void log_machine(const struct daemon *d)
{
    log_line(CONFIG_LOG_INFO, "machine", LOG_NUMBER("workers", workers_of(d)),
             LOG_NUMBER("host_memory_bytes", d->server.machine.host_bytes),
             LOG_NUMBER("memory_bytes", d->server.machine.memory_bytes),
             LOG_NUMBER("session_memory_bytes", session_budget(&d->server)));
}

/* ---- Sessions that were there before ---- */

struct restoring {
    struct server *server;
    int64_t now_unix_ms;
    size_t n, n_orphaned;
};

static void restore(void *context, const struct store_facts *facts)
{
    struct restoring *r = context;
    struct shard *shard = r->server->shards[session_shard(r->server, facts->id)];
    struct model_entry entry = {0};
    struct rnn_model *model = NULL;

    if (models_get(r->server->models, facts->model, &entry, NULL) == 0) {
        size_t window;

        if (strcmp(rnn_model_info(entry.model)->fingerprint, facts->fingerprint) == 0 &&
            rnn_state_window(entry.model, facts->state_bytes, &window))
            model = entry.model;
    }
    r->n++;
    r->n_orphaned += model == NULL;
    sessions_restore(shard->sessions, facts, model, r->now_unix_ms);
    rnn_model_unref(entry.model);
}

static int sessions_open(struct daemon *d, struct rnn_err *err)
{
    const struct config *config = config_of(d);
    struct restoring r = {.server = &d->server, .now_unix_ms = (int64_t)time(NULL) * 1000};
    uint64_t began = now_ns();
    int rc;

    if (!*config->state_dir)
        return 0;
    rc = store_open(&d->server.store, config->state_dir, (enum store_durability)config->durability,
                    err);
    if (rc == 0)
        rc = store_each(d->server.store, restore, &r, err);
    for (unsigned i = 0; i < d->server.n_shards; i++)
        sessions_restore_end(d->server.shards[i]->sessions);
    if (rc == 0)
        log_line(CONFIG_LOG_INFO, "sessions restored", LOG_NUMBER("sessions", r.n),
                 LOG_NUMBER("orphaned", r.n_orphaned),
                 LOG_NUMBER("seconds", (double)(now_ns() - began) * 1e-9));
    return rc;
}

static int serve(struct daemon *d, struct rnn_err *err)
{
    const struct config *config = config_of(d);
    size_t wanted = (size_t)config->connections_max;
    size_t connections_max = listener_connections_max(wanted, workers_of(d));
    int rc;

    if (connections_max < wanted)
        log_line(CONFIG_LOG_WARNING, "connections_max lowered to what file descriptors allow",
                 LOG_NUMBER("connections_max", connections_max), LOG_NUMBER("wanted", wanted));
    log_machine(d);
    rc = shards_open(d, workers_of(d), err);
    if (rc == 0)
        rc = sessions_open(d, err);
    if (rc == 0)
        rc = listener_open(&d->listener, &d->server, config->listen, err);
    if (rc == 0)
        rc = shards_start(d, err);
    if (rc == 0)
        rc = listener_start(d->listener, &d->loop, connections_max, err);
    if (rc < 0)
        return rc;
    atomic_store(&d->server.ready, true);
    log_line(CONFIG_LOG_INFO, "listening", LOG_TEXT("address", listener_address(d->listener)),
             LOG_NUMBER("workers", d->server.n_shards),
             LOG_NUMBER("start_ms", (double)(now_ns() - d->server.started_ns) * 1e-6));
    notify_ready();
    uv_run(&d->loop, UV_RUN_DEFAULT);
    return 0;
}

/* With the loop open.  What was opened is closed in any case. */
static int run(struct daemon *d, struct rnn_err *err)
{
    int rc = main_handles_open(d, err);

    if (rc == 0)
        rc = serve(d, err);
    if (rc < 0) {
        listener_close(d->listener);
        order_all(d, shard_close);
        while (d->n_started == d->server.n_shards && d->n_started > 0 && !all_closed(d))
            uv_sleep(1);
        main_handles_close(d);
        uv_run(&d->loop, UV_RUN_DEFAULT);
    }
    shards_end(d);
    return rc;
}

static int open_models(struct daemon *d, struct rnn_err *err)
{
    const struct config *config = config_of(d);
    struct rnn_open_options options = {.table_max_bytes = config->table_max_bytes};
    int rc = rnn_kernels_select((enum rnn_isa)config->isa, err);

    return rc < 0 ? rc : models_open(&d->server.models, config->models, &options, err);
}

static int start(struct daemon *d, struct rnn_err *err)
{
    const struct config *config = config_of(d);
    struct keys *keys = NULL;
    int rc;

    if (*config->keys) {
        if (keys_read(config->keys, &keys) < 0)
            return rnn_fail(err, RNN_EFORMAT, "keys: %s cannot be used", config->keys);
        if (!keep_old(d, NULL, keys)) {
            keys_free(keys);
            return rnn_fail(err, RNN_ENOMEM, "no memory for the keys");
        }
        atomic_store_explicit(&d->server.keys, keys, memory_order_release);
    }
    note_strangers(config, keys);
    rc = seal_key_read(config->seal_key, d->server.seal_key, err);
    if (rc == 0)
        rc = open_models(d, err);
    if (rc < 0)
        return rc;
    if (uv_loop_init(&d->loop) < 0)
        return rnn_fail(err, RNN_EIO, "the main loop could not be made");
    rc = run(d, err);
    uv_loop_close(&d->loop);
    return rc;
}

int server_run(const struct config *config, const struct server_source *source)
{
    struct daemon d = {.source = source};
    struct rnn_err err = {0};
    int rc;

    /* Weights, and what opening them takes for a while, go back to the system as they are freed:
     * left to itself, libc keeps blocks of a size that was freed once. */
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write past a limit on file size fails like one on a full disk */
    d.server.started_ns = now_ns();
    atomic_store_explicit(&d.server.config, config, memory_order_release);
    log_start((enum config_log_level)config->log_level, (enum config_log_format)config->log_format);
    machine_look(&d.server.machine, "");
    rc = start(&d, &err);
    if (rc < 0)
        log_failure("cannot start", &err);
    else
        log_line(CONFIG_LOG_INFO, "stopped");
    models_free(d.server.models);
    free_old(&d);
    return rc < 0 ? EXIT_FAULT : EXIT_SUCCESS;
}
