/* The daemon as a whole: what `rnnd serve` calls, and what every shard may see of it. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/machine.h"
#include "config/config.h"

struct shard;
struct models;
struct keys;
struct store;

/* Where the settings came from, so that SIGHUP can read them again. */
struct server_source {
    const char *config_file; /* NULL: none */
    int argc;                /* flags after the command word */
    char *const *argv;
};

struct server {
    struct shard **shards; /* [n_shards], fixed after start */
    unsigned n_shards;
    struct models *models; /* the model table; its own lock */
    struct store *store;   /* of sessions; NULL: they end with the daemon */
    _Atomic(const struct config *)
        config; /* swapped on reload; old ones are kept until exit, so a pointer stays good */
    _Atomic(const struct keys *) keys; /* likewise */
    atomic_bool ready;                 /* /readyz */
    atomic_bool draining;              /* SIGTERM has come */
    atomic_bool changing;              /* a change of a model walks the shards: none may close */
    atomic_uint n_connections;
    atomic_size_t n_sessions;
    uint64_t started_ns;
    struct machine machine;     /* as it was found at start */
    unsigned char seal_key[32]; /* of states that clients keep (seal.h); fixed after start */
};

/* Runs until SIGTERM or SIGINT: returns the process's exit code.  Main thread. */
int server_run(const struct config *config, const struct server_source *source);

#endif
