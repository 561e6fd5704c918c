/* rnnd inspect: what a model folder or a checkpoint file holds, served or not. */
#include "models/inspect.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/foreign.h"
#include "cli/settings.h"

static const struct cli_option options[] = {
    SETTINGS_OPTIONS,
    {NULL},
};

static bool is_beside(const char *folder, size_t len, const char *name)
{
    char path[4200];

    snprintf(path, sizeof path, "%.*s%s", (int)len, folder, name);
    return access(path, F_OK) == 0;
}

static int is_index(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');

    return dot && strcmp(dot, ".index") == 0;
}

/* A folder of variables or checkpoints, which is no model folder. */
static bool is_variables(const char *path)
{
    size_t len = strlen(path);
    struct dirent **names;
    int n;

    if (is_beside(path, len, "/config.json"))
        return false;
    n = scandir(path, &names, is_index, NULL);
    for (int i = 0; i < n; i++)
        free(names[i]);
    if (n >= 0)
        free(names);
    return n > 0 || is_beside(path, len, "/manifest.json") || is_beside(path, len, "/checkpoint");
}

/* Another program's file: whatever does not lie in a model folder. */
static bool is_foreign(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct stat info;

    if (stat(path, &info) < 0)
        return true; /* X for X.index */
    if (S_ISDIR(info.st_mode))
        return is_variables(path);
    return !is_beside(path, slash ? (size_t)(slash - path) + 1 : 0, "config.json");
}

static int inspect(const struct cli_args *args, const char *path)
{
    struct rnn_err err = {0};
    int status;

    /* without rnnd-import the words below must do */
    if (path == args->operands[0] && is_foreign(path) && foreign_run(args, "inspect", &status))
        return status;
    if (model_inspect(path, stdout, &err) < 0) {
        if (err.code == RNN_EUNSUPPORTED && path == args->operands[0] &&
            foreign_run(args, "inspect", &status))
            return status;
        fflush(stdout);
        return cli_fail("%s: %s", path, err.text);
    }
    return CLI_OK;
}

static int run(const struct cli_args *args)
{
    const char *name = args->operands[0];
    struct config *config;
    char path[4096];
    int status = CLI_FAILURE;

    if (access(name, F_OK) == 0 || is_beside(name, strlen(name), ".index"))
        return /* also a file, with a name of any form */ inspect(args, name);
    if (!settings_load(args, &config))
        return cli_hint("inspect");
    if (engine_find(config, name, path, sizeof path))
        status = inspect(args, path);
    config_free(config);
    return status;
}

const struct cli_command command_inspect = {
    .name = "inspect",
    .operands = "FILE|MODEL",
    .n_operands = 1,
    .summary = "what a model folder or a checkpoint file holds",
    .about = "Prints what a safetensors file holds (every tensor with its type and shape, and the "
             "metadata), or a model folder (its architecture, its vocabulary, its tensors, and "
             "which of them the architecture uses). Faulty parts are named, the rest is listed, "
             "and the status is then 1. Of another program's file (as rnnd import reads), what it "
             "would be taken for.",
    .options = options,
    .run = run,
};
