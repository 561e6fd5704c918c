/* The list of commands: a new one is a new file and a new line here. */
#include "cli/commands.h"

#include <string.h>

const struct cli_command *const cli_commands[] = {
    &command_serve,
    &command_generate,
    &command_predict,
    &command_score,
    &command_inspect,
    &command_import,
    &command_verify,
    &command_bench,
    &command_bench_sessions,
    &command_health,
    &command_version,
    &command_help,
    NULL,
};

const struct cli_command *cli_find(const char *name)
{
    for (size_t i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    return NULL;
}

const struct cli_command *cli_find_second(const char *first, const char *second)
{
    char name[64];

    if (snprintf(name, sizeof name, "%s %s", first, second) >= (int)sizeof name)
        return NULL;
    return cli_find(name);
}
