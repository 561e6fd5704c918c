/* Arguments of a command: getopt_long fed from the command's own table, readers of values, and the
 * printing of faults and of --help. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config/nearest.h"

/* ---- Faults ---- */

bool cli_fault(const struct cli_args *args, const char *format, ...)
{
    va_list list;

    fprintf(stderr, "rnnd %s: ", args->command->name);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return false;
}

int cli_hint(const char *command)
{
    fprintf(stderr, "Try 'rnnd %s%s--help'.\n", command, *command ? " " : "");
    return CLI_USAGE;
}

int cli_fail(const char *format, ...)
{
    va_list list;

    fputs("rnnd: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return CLI_FAILURE;
}

/* ---- Help ---- */

void cli_wrap(FILE *out, const char *text, int indent)
{
    int column = 0;

    while (*text) {
        size_t len = strcspn(text, " \n");

        if (column > 0 && column + 1 + (int)len > 79) {
            fputc('\n', out);
            column = 0;
        }
        if (column == 0)
            column = fprintf(out, "%*s%.*s", indent, "", (int)len, text);
        else
            column += fprintf(out, " %.*s", (int)len, text);
        text += len;
        if (*text == '\n') {
            fputc('\n', out);
            column = 0;
        }
        text += *text != '\0';
    }
    fputc('\n', out);
}

void cli_print_usage(const struct cli_command *command, FILE *out)
{
    fprintf(out, "Usage: rnnd %s [OPTION]...%s%s\n\n", command->name, *command->operands ? " " : "",
            command->operands);
    cli_wrap(out, command->about, 0);
    fputs("\nOptions:\n", out);
    for (const struct cli_option *o = command->options; o && o->name; o++) {
        fprintf(out, "  --%s%s%s\n", o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "");
        cli_wrap(out, o->help, 8);
    }
    fputs("  --help\n        print this and exit\n", out);
}

/* ---- Parsing ---- */

static const char *option_name(size_t i, const void *arg)
{
    return ((const struct option *)arg)[i].name;
}

/* Fills longs[CLI_OPTIONS_MAX + 2]; returns how many, --help included. */
static size_t long_options(const struct cli_command *command, struct option *longs)
{
    size_t n = 0;

    for (const struct cli_option *o = command->options; o && o->name && n < CLI_OPTIONS_MAX; o++)
        longs[n++] =
            (struct option){o->name, o->metavar ? required_argument : no_argument, NULL, 0};
    longs[n++] = (struct option){"help", no_argument, NULL, 'h'};
    longs[n] = (struct option){0};
    return n;
}

static bool unknown_option(const struct cli_args *args, const char *word,
                           const struct option *longs, size_t n)
{
    char name[64];
    int near;

    if (strncmp(word, "--", 2) != 0)
        return cli_fault(args, "there is no option -%c", optopt);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    near = config_nearest(name, n, option_name, longs);
    if (near < 0)
        return cli_fault(args, "there is no option --%s", name);
    return cli_fault(args, "there is no option --%s, did you mean --%s?", name, longs[near].name);
}

/* What getopt has returned for a word that it could not take. */
static bool refuse(const struct cli_args *args, int result, const char *word,
                   const struct option *longs, size_t n)
{
    if (result == ':')
        return cli_fault(args, "%s: want a value after it", word);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(longs[i].name);

        if (strncmp(word, "--", 2) == 0 && strncmp(word + 2, longs[i].name, len) == 0 &&
            word[2 + len] == '=')
            return cli_fault(args, "--%s takes no value", longs[i].name);
    }
    return unknown_option(args, word, longs, n);
}

static bool keep(struct cli_args *args, const char *name, const char *value)
{
    if (args->n_given == CLI_GIVEN_MAX)
        return cli_fault(args, "more than %d options", CLI_GIVEN_MAX);
    args->given[args->n_given].name = name;
    args->given[args->n_given++].value = value;
    return true;
}

static bool check_operands(const struct cli_args *args, int n, char *const *operands)
{
    const struct cli_command *command = args->command;

    if (n < command->n_operands)
        return cli_fault(args, "want %s", command->operands);
    if (n > command->n_operands)
        return cli_fault(args, "'%s' is too much; want %s", operands[command->n_operands],
                         *command->operands ? command->operands : "no operands");
    return true;
}

/* Returns 0 with *args filled, 'h' where help was asked for, '?' after faults. */
static int parse(struct cli_args *args, int argc, char **argv)
{
    struct option longs[CLI_OPTIONS_MAX + 2];
    size_t n = long_options(args->command, longs);
    bool good = true;
    int result, index;

    opterr = 0;
    for (;;) {
        int at = optind;

        result = getopt_long(argc, argv, ":h", longs, &index);
        if (result == -1)
            break;
        if (result == 'h')
            return 'h';
        if (result == 0)
            good &= keep(args, longs[index].name, optarg);
        else /* operands before it have been passed over: it is the last word taken */
            good &= refuse(args, result, argv[optind > at ? optind - 1 : at], longs, n);
    }
    args->operands = argv + optind;
    good &= check_operands(args, argc - optind, argv + optind);
    return good ? 0 : '?';
}

int cli_run(const struct cli_command *command, int argc, char **argv)
{
    struct cli_args args = {.command = command};

    if (command->run_raw)
        return command->run_raw(argc - 1, argv + 1);
    switch (parse(&args, argc, argv)) {
    case 0:
        return command->run(&args);
    case 'h':
        cli_print_usage(command, stdout);
        return CLI_OK;
    default:
        return cli_hint(command->name);
    }
}

/* ---- Values ---- */

const char *cli_value(const struct cli_args *args, const char *name)
{
    for (size_t i = args->n_given; i-- > 0;)
        if (strcmp(args->given[i].name, name) == 0)
            return args->given[i].value;
    return NULL;
}

bool cli_given(const struct cli_args *args, const char *name)
{
    for (size_t i = 0; i < args->n_given; i++)
        if (strcmp(args->given[i].name, name) == 0)
            return true;
    return false;
}

bool cli_whole(const struct cli_args *args, const char *name, int64_t min, int64_t max,
               int64_t *out)
{
    const char *text = cli_value(args, name);
    char *end;
    long long value;

    if (!text)
        return true;
    errno = 0;
    value = strtoll(text, &end, 10);
    if (!strchr("-0123456789", text[0]) || end == text || *end != '\0' || errno == ERANGE ||
        value < min || value > max)
        return cli_fault(args,
                         "--%s: want a whole number of %" PRId64 " to %" PRId64 ", found '%s'",
                         name, min, max, text);
    *out = value;
    return true;
}

bool cli_number(const struct cli_args *args, const char *name, double min, double max, float *out)
{
    const char *text = cli_value(args, name);
    char *end;
    double value;

    if (!text)
        return true;
    value = strtod(text, &end);
    if (!strchr("-+.0123456789", text[0]) || end == text || *end != '\0' || !isfinite(value) ||
        value < min || value > max)
        return cli_fault(args, "--%s: want a number of %g to %g, found '%s'", name, min, max, text);
    *out = (float)value;
    return true;
}
