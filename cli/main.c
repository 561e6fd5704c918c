/* The program: finds the command and runs it.  Without a command it serves.
 *
 * A reader of the output that goes away (SIGPIPE) and ^C end a command after it has cleaned up;
 * then the process ends by that very signal, as a shell expects of a well-behaved program.  Output
 * that cannot be written for any other reason is a failure. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/signals.h"
#include "config/nearest.h"

static const char *command_name(size_t i, const void *arg)
{
    (void)arg;
    return cli_commands[i]->name;
}

static int unknown_command(const char *word)
{
    size_t n = 0;
    int near;

    while (cli_commands[n])
        n++;
    near = config_nearest(word, n, command_name, NULL);
    fprintf(stderr, "rnnd: there is no command '%s'", word);
    if (near >= 0)
        fprintf(stderr, ", did you mean %s?", cli_commands[near]->name);
    fputc('\n', stderr);
    return cli_hint("");
}

static int dispatch(int argc, char **argv)
{
    static char serve[] = "serve", help[] = "help", version[] = "version";
    const char *word = argc > 1 ? argv[1] : "-";
    char *first;
    const struct cli_command *command;
    int skip = 1; /* words before the command's own: the program's */

    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        first = help;
    } else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        first = version;
    } else if (word[0] == '-') {
        first = serve;
        skip = 0;
    } else {
        first = argv[1];
    }
    command = cli_find(first);
    if (!command)
        return unknown_command(first);
    argv[skip] = first; /* argv[0] becomes the command's word */
    if (argc > skip + 1 && cli_find_second(first, argv[skip + 1])) {
        command = cli_find_second(first, argv[skip + 1]);
        skip++;
    }
    return cli_run(command, argc - skip, argv + skip);
}

/* The rest of the output, and whether all of it could be written. */
static int finish_output(int status)
{
    bool failed = ferror(stdout) != 0;

    failed |= fflush(stdout) != 0;
    if (signals_arrived() == 0 && failed && errno == EPIPE)
        signals_note(SIGPIPE);
    if (failed && signals_arrived() != SIGPIPE && status == CLI_OK)
        return cli_fail("standard output: %s", strerror(errno));
    return status;
}

int main(int argc, char **argv)
{
    int status;

    if (argc < 1)
        return CLI_USAGE;
    signal(SIGPIPE, SIG_IGN);
    status = finish_output(dispatch(argc, argv));
    signals_end();
    return status;
}
