/* rnnd verify: opens a model folder as the daemon would, and replays its golden values. */
#include "models/verify.h"

#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/settings.h"
#include "core/rnn.h"

static const struct cli_option options[] = {
    SETTINGS_OPTIONS,
    {NULL},
};

static int verify(const struct config *config, const char *path)
{
    struct rnn_err err = {0};

    if (rnn_kernels_select((enum rnn_isa)config->isa, &err) < 0)
        return cli_fail("%s", err.text);
    if (model_verify(path, stdout, &err) < 0) {
        fflush(stdout);
        return cli_fail("model %s: %s", path, err.text);
    }
    return CLI_OK;
}

static int run(const struct cli_args *args)
{
    struct config *config;
    char path[4096];
    int status;

    if (!settings_load(args, &config))
        return cli_hint("verify");
    status = engine_find(config, args->operands[0], path, sizeof path) ? verify(config, path)
                                                                       : CLI_FAILURE;
    config_free(config);
    return status;
}

const struct cli_command command_verify = {
    .name = "verify",
    .operands = "MODEL",
    .n_operands = 1,
    .summary = "check a model folder, replaying its golden values",
    .about = "Opens MODEL, the path of a model folder or a name in the folder of models, with all "
             "the checks that rnnd serve makes, and, where it brings a golden.json, computes what "
             "stands there and compares. Prints how many values of each kind there were and the "
             "largest error; fails if one is out of its tolerance.",
    .options = options,
    .run = run,
};
