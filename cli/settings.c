/* See settings.h. */
#include "cli/settings.h"

#include <stdlib.h>
#include <unistd.h>

const char *settings_file(const char *given)
{
    const char *named = getenv("RNND_CONFIG");

    if (given)
        return given;
    if (named && *named)
        return named;
    return access(RNND_CONFIG_FILE, F_OK) == 0 ? RNND_CONFIG_FILE : NULL;
}

bool settings_load(const struct cli_args *args, struct config **out)
{
    static const char *const names[] = {"models", "isa", "listen"};
    char words[3][4096];
    char *flags[3];
    int n = 0;

    for (size_t i = 0; i < 3; i++) {
        const char *value = cli_value(args, names[i]);

        if (!value)
            continue;
        snprintf(words[n], sizeof words[n], "--%s=%s", names[i], value);
        flags[n] = words[n];
        n++;
    }
    return config_load(out, settings_file(cli_value(args, "config")), environ, n, flags, stderr) ==
           0;
}
