/* The daemon's settings, as the other commands use them: where the models are, which kernels. */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "cli/cli.h"
#include "config/config.h"

/* The options of a command that opens a model. */
/* clang-format off */
#define SETTINGS_OPTIONS                                                                           \
    {"models", "DIR", "folder in which MODEL is looked for (default: as for rnnd serve)"},         \
    {"isa", "WORD", "auto|scalar|avx2|avx512: instruction set of the kernels (default: auto)"},    \
    {"config", "FILE",                                                                             \
     "settings file (default: $RNND_CONFIG, else " RNND_CONFIG_FILE " if it is there)"}
/* clang-format on */

/* The settings file: `given`, else $RNND_CONFIG, else the usual one if it exists, else NULL.
 * Nothing to free. */
const char *settings_file(const char *given);

/* Loads the settings with the options above as flags.  False after faults, which were printed.  The
 * caller ends *out with config_free(). */
bool settings_load(const struct cli_args *args, struct config **out);

#endif
