/* What the program's commands share: the description of a command, its arguments once parsed, and
 * how faults are told.
 *
 * A command is one file and one line in commands.c.  Its description makes the parser, its --help
 * and its part of the manual.  The program is single-threaded but for `serve`. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* Exit statuses. */
enum { CLI_OK = 0, CLI_FAILURE = 1, CLI_USAGE = 2 };

enum { CLI_OPTIONS_MAX = 32, CLI_GIVEN_MAX = 128 };

struct cli_option {
    const char *name;    /* without dashes */
    const char *metavar; /* what its value is called; NULL: it takes none */
    const char *help;
};

struct cli_args;

struct cli_command {
    const char *name;
    const char *operands; /* "MODEL INPUT", as in the synopsis; "" where there are none */
    int n_operands;
    const char *summary;              /* one line for the list of commands */
    const char *about;                /* paragraphs of --help and of the manual */
    const struct cli_option *options; /* ended by an entry without name; NULL: none */
    /* Does the work; returns the exit status. */
    int (*run)(const struct cli_args *args);
    /* Instead: takes argv[0..argc) as it stands after the command's word (serve). */
    int (*run_raw)(int argc, char **argv);
};

/* All commands, ended by NULL. */
extern const struct cli_command *const cli_commands[];
const struct cli_command *cli_find(const char *name);

/* The command whose name is of these two words, or NULL. */
const struct cli_command *cli_find_second(const char *first, const char *second);

struct cli_args {
    const struct cli_command *command;
    char *const *operands; /* [command->n_operands] */
    struct {
        const char *name;
        const char *value; /* NULL: the option takes none */
    } given[CLI_GIVEN_MAX];
    size_t n_given;
};

/* Parses with getopt_long and runs; --help prints and is CLI_OK, a fault prints and is CLI_USAGE.
 */
int cli_run(const struct cli_command *command, int argc, char **argv);

/* The last value of an option; NULL where it was not given. */
const char *cli_value(const struct cli_args *args, const char *name);
bool cli_given(const struct cli_args *args, const char *name);

/* Read a value into *out, which stays where the option was not given.  False after a fault, which
 * has been printed: the command goes on to read the others, then returns cli_hint(). */
bool cli_whole(const struct cli_args *args, const char *name, int64_t min, int64_t max,
               int64_t *out);
bool cli_number(const struct cli_args *args, const char *name, double min, double max, float *out);

/* Prints "rnnd predict: …" to stderr; false, so that a reader of options may return it. */
bool cli_fault(const struct cli_args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints where to read more; returns CLI_USAGE. */
int cli_hint(const char *command);

/* Prints "rnnd: …" to stderr and returns CLI_FAILURE. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints --help of a command. */
void cli_print_usage(const struct cli_command *command, FILE *out);

/* Prints the manual page as roff. */
void cli_print_manual(FILE *out);

/* Writes `text` in words over lines of 79 columns, each behind `indent` spaces; a newline in it
 * begins a paragraph. */
void cli_wrap(FILE *out, const char *text, int indent);

#endif
