/* Starting rnnd-import.  See foreign.h.
 *
 * It is looked for beside this program's file, where a build folder has it, then where it is
 * installed; never along PATH. */
#include "cli/foreign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const places[] = {"rnnd-import", "import/rnnd-import", NULL};

/* The folder of this program's file, with its slash; false: unknown. */
static bool own_folder(char *out, size_t cap)
{
    ssize_t len = readlink("/proc/self/exe", out, cap - 1);
    char *slash;

    if (len < 0)
        return false;
    out[len] = '\0';
    slash = strrchr(out, '/');
    if (slash)
        slash[1] = '\0';
    return slash != NULL;
}

/* verb, --name=value…, --, operands; the caller never frees it: it becomes another program's. */
static char **words_of(const struct cli_args *args, const char *verb)
{
    size_t n = 0, most = 4 + args->n_given + (size_t)args->command->n_operands;
    char **words = calloc(most, sizeof *words);

    if (!words)
        return NULL;
    words[n++] = strdup("rnnd-import");
    words[n++] = strdup(verb);
    for (size_t i = 0; i < args->n_given; i++) {
        const char *value = args->given[i].value;

        if (asprintf(&words[n++], "--%s%s%s", args->given[i].name, value ? "=" : "",
                     value ? value : "") < 0)
            return NULL;
    }
    words[n++] = strdup("--");
    for (int i = 0; i < args->command->n_operands; i++)
        words[n++] = args->operands[i];
    return realloc(words, (n + 1) * sizeof *words);
}

bool foreign_start(const struct cli_args *args, const char *verb)
{
    char folder[4096], path[4200];
    char **words = words_of(args, verb);

    if (!words)
        return false;
    fflush(stdout);
    for (size_t i = 0; places[i] && own_folder(folder, sizeof folder); i++) {
        snprintf(path, sizeof path, "%s%s", folder, places[i]);
        execv(path, words);
    }
    execv(RNND_IMPORT, words);
    free(words);
    return false;
}
