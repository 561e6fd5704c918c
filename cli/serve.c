/* rnnd serve: settings from file, environment and flags, then the daemon. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/settings.h"
#include "server/server.h"

static const struct cli_option options[] = {
    {"config", "FILE",
     "read settings from FILE (default: $RNND_CONFIG, else " RNND_CONFIG_FILE " if it is there)"},
    {NULL},
};

static int usage(void)
{
    cli_print_usage(&command_serve, stdout);
    fputs("\nSettings (each also in the file, and in the environment as RNND_NAME):\n\n", stdout);
    config_print_help(stdout);
    return CLI_OK;
}

/* Takes --config out of argv, which becomes what config_load() reads; false after a fault. */
static bool take_config(int *argc, char **argv, const char **file)
{
    int kept = 0;

    for (int i = 0; i < *argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0) {
            *file = argv[i] + 9;
        } else if (strcmp(argv[i], "--config") != 0) {
            argv[kept++] = argv[i];
        } else if (i + 1 < *argc && strncmp(argv[i + 1], "--", 2) != 0) {
            *file = argv[++i];
        } else {
            fputs("rnnd serve: --config: want a file after it\n", stderr);
            return false;
        }
    }
    *argc = kept;
    return true;
}

static int run(int argc, char **argv)
{
    struct server_source source = {.argv = argv};
    struct config *config;
    const char *file = NULL;
    int status;

    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return usage();
    if (!take_config(&argc, argv, &file))
        return cli_hint("serve");
    source.argc = argc;
    source.config_file = settings_file(file);
    if (config_load(&config, source.config_file, environ, argc, argv, stderr) < 0)
        return cli_hint("serve");
    status = server_run(config, &source);
    config_free(config);
    return status;
}

const struct cli_command command_serve = {
    .name = "serve",
    .operands = "",
    .summary = "serve models over HTTP (the default command)",
    .about = "Serves every model folder in the folder of models over HTTP, until SIGTERM or "
             "SIGINT. All faults of the settings are told at once, each with its place; nothing "
             "is started then.",
    .options = options,
    .run_raw = run,
};
