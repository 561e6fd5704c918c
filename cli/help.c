/* rnnd help: the list of commands, a command's own help, and what is printed from the option table.
 */
#include <string.h>

#include "cli/commands.h"
#include "config/config.h"

static const struct {
    const char *flag;
    void (*print)(FILE *out);
    const char *help;
} prints[] = {
    {"--man", cli_print_manual, "the manual page, as roff"},
    {"--sample", config_print_sample, "a settings file with every option and its default"},
    {"--markdown", config_print_markdown, "the reference of all settings, as Markdown"},
};
enum { N_PRINTS = sizeof prints / sizeof *prints };

static int usage(void)
{
    fputs("rnnd serves recurrent networks over HTTP and keeps their state.\n\n"
          "Usage: rnnd [COMMAND] [OPTION]...\n\nCommands:\n",
          stdout);
    for (size_t i = 0; cli_commands[i]; i++)
        printf("  %-14s %-14s %s\n", cli_commands[i]->name, cli_commands[i]->operands,
               cli_commands[i]->summary);
    fputs("\n'rnnd COMMAND --help' says more, as does rnnd(1).  Try:\n"
          "  rnnd serve --models DIR --listen 127.0.0.1:8080\n"
          "  rnnd generate kjv 'In the beginning '\n",
          stdout);
    return CLI_OK;
}

static int own_usage(void)
{
    fputs("Usage: rnnd help [COMMAND]\n       rnnd help ", stdout);
    for (size_t i = 0; i < N_PRINTS; i++)
        printf("%s%s", i ? "|" : "", prints[i].flag);
    fputs("\n\nPrints the list of commands, or the help of one; or:\n", stdout);
    for (size_t i = 0; i < N_PRINTS; i++)
        printf("  %-11s %s\n", prints[i].flag, prints[i].help);
    return CLI_OK;
}

static int help_on(char *word)
{
    const struct cli_command *command = cli_find(word);
    static char help[] = "--help";
    char *argv[] = {word, help, NULL};

    for (size_t i = 0; i < N_PRINTS; i++) {
        if (strcmp(word, prints[i].flag) == 0) {
            prints[i].print(stdout);
            return CLI_OK;
        }
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "help") == 0)
        return own_usage();
    if (command)
        return cli_run(command, 2, argv);
    fprintf(stderr, "rnnd help: there is no command '%s'\n", word);
    return cli_hint("");
}

static int run(int argc, char **argv)
{
    if (argc == 0)
        return usage();
    if (argc == 1)
        return help_on(argv[0]);
    if (argc == 2 && cli_find_second(argv[0], argv[1]))
        return help_on((char *)cli_find_second(argv[0], argv[1])->name);
    fprintf(stderr, "rnnd help: '%s' is too much\n", argv[1]);
    return cli_hint("help");
}

const struct cli_command command_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .summary = "print this list, or what a command does",
    .about = "Prints the list of commands, or the help of COMMAND. With --man prints the manual "
             "page as roff, with --sample a settings file with every option and its default, with "
             "--markdown the reference of all settings.",
    .run_raw = run,
};
