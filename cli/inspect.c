/* rnnd inspect: what a model folder or a checkpoint file holds, served or not. */
#include "models/inspect.h"

#include <unistd.h>

#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/foreign.h"
#include "cli/settings.h"

static const struct cli_option options[] = {
    SETTINGS_OPTIONS,
    {NULL},
};

/* A folder of variables is no model folder. */
static bool is_variables(const char *path)
{
    char file[4200];

    snprintf(file, sizeof file, "%s/manifest.json", path);
    if (access(file, F_OK) != 0)
        return false;
    snprintf(file, sizeof file, "%s/config.json", path);
    return access(file, F_OK) != 0;
}

static int inspect(const struct cli_args *args, const char *path)
{
    struct rnn_err err = {0};
    int status;

    /* without rnnd-import the words below must do */
    if (is_variables(path) && foreign_run(args, "inspect", &status))
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

    if (access(name, F_OK) == 0) /* also a file, with a name of any form */
        return inspect(args, name);
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
