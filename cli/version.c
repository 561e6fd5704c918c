/* rnnd version. */
#include "cli/commands.h"
#include "core/rnn.h"

static int run(const struct cli_args *args)
{
    (void)args;
    printf("rnnd %s (kernels: %s)\n", RNND_VERSION, rnn_kernels_name());
    return CLI_OK;
}

const struct cli_command command_version = {
    .name = "version",
    .operands = "",
    .summary = "print the version and the kernels that this machine gets",
    .about = "Prints the version and the name of the kernels that are chosen on this machine.",
    .run = run,
};
