/* Starting rnnd-import.  See foreign.h.
 *
 * It is looked for beside this program's file, where a build folder has it, then where it is
 * installed; never along PATH. */
#include "cli/foreign.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MISSING = 127 }; /* no exit status of rnnd-import's */

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

static void words_free(char **words)
{
    for (size_t i = 0; words && words[i]; i++)
        free(words[i]);
    free(words);
}

static char *option_word(const char *name, const char *value)
{
    char *word;

    return asprintf(&word, "--%s%s%s", name, value ? "=" : "", value ? value : "") < 0 ? NULL
                                                                                       : word;
}

/* rnnd-import, verb, --name=value…, --, operands; ended by NULL. */
static char **words_of(const struct cli_args *args, const char *verb)
{
    size_t n = 0, operands = (size_t)args->command->n_operands;
    size_t most = 3 + args->n_given + operands;
    char **words = calloc(most + 1, sizeof *words);
    bool good = words != NULL;

    if (good)
        good = (words[n++] = strdup("rnnd-import")) && (words[n++] = strdup(verb));
    for (size_t i = 0; i < args->n_given && good; i++)
        good = (words[n++] = option_word(args->given[i].name, args->given[i].value)) != NULL;
    if (good)
        good = (words[n++] = strdup("--")) != NULL;
    for (size_t i = 0; i < operands && good; i++)
        good = (words[n++] = strdup(args->operands[i])) != NULL;
    if (good)
        return words;
    words_free(words);
    return NULL;
}

/* The child: becomes rnnd-import, and ends with its parent. */
static _Noreturn void become(char **words)
{
    char folder[4096], path[4200];

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    for (size_t i = 0; places[i] && own_folder(folder, sizeof folder); i++) {
        snprintf(path, sizeof path, "%s%s", folder, places[i]);
        execv(path, words);
    }
    execv(RNND_IMPORT, words);
    _exit(MISSING);
}

static int wait_for(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return status;
}

static int judge(const struct cli_args *args, int status)
{
    if (status >= 0 && WIFEXITED(status))
        return WEXITSTATUS(status);
    if (status < 0)
        return cli_fail("rnnd-import: %s", strerror(errno));
    return cli_fail("%s: the reader ended by signal %d (%s) on this file", args->operands[0],
                    WTERMSIG(status), strsignal(WTERMSIG(status)));
}

bool foreign_run(const struct cli_args *args, const char *verb, int *status)
{
    char **words = words_of(args, verb);
    pid_t child;
    int ended;

    *status = CLI_FAILURE;
    if (!words)
        return false;
    fflush(stdout);
    child = fork();
    if (child == 0)
        become(words);
    ended = child > 0 ? wait_for(child) : -1;
    words_free(words);
    if (ended >= 0 && WIFEXITED(ended) && WEXITSTATUS(ended) == MISSING)
        return false;
    *status = judge(args, ended);
    return true;
}
