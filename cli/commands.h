/* The commands, each in the file of its name. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct cli_command command_serve;
extern const struct cli_command command_generate;
extern const struct cli_command command_predict;
extern const struct cli_command command_score;
extern const struct cli_command command_inspect;
extern const struct cli_command command_import;
extern const struct cli_command command_verify;
extern const struct cli_command command_bench;
extern const struct cli_command command_bench_sessions;
extern const struct cli_command command_health;
extern const struct cli_command command_version;
extern const struct cli_command command_help;

#endif
