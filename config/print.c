/* What is printed from the option table: flags for --help, the sample file, the reference as
 * Markdown, and roff for the manual.
 *
 * Each is one loop over the rows; a section begins where its name changes.  Any thread. */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/table.h"

static bool new_section(size_t i)
{
    return i == 0 || strcmp(config_table[i].section, config_table[i - 1].section) != 0;
}

/* What stands for the value in a synopsis. */
static const char *metavar(const struct option_row *option)
{
    switch (option->type) {
    case OPTION_text:
        return "TEXT";
    case OPTION_path:
        return "PATH";
    case OPTION_int:
        return "N";
    case OPTION_bytes:
        return "BYTES";
    case OPTION_seconds:
        return "SECONDS";
    case OPTION_millis:
        return "MS";
    case OPTION_bool:
        return "yes|no";
    case OPTION_choice:
        return "WORD";
    }
    return "";
}

/* Writes `text` in words over lines of `width` columns; each line but the first begins with
 * `indent`.  `column` is where the first one stands. */
static void wrap(FILE *out, const char *text, const char *indent, size_t column, size_t width)
{
    bool first = true;

    while (*text) {
        size_t len = strcspn(text, " ");

        if (!first && column + 1 + len > width) {
            fprintf(out, "\n%s", indent);
            column = strlen(indent);
            first = true;
        }
        column += len + (first ? 0 : 1);
        fprintf(out, "%s%.*s", first ? "" : " ", (int)len, text);
        first = false;
        text += len;
        text += strspn(text, " ");
    }
}

/* Type, bounds and default in words: "a whole number of 0 to 256". */
static void facts(const struct option_row *option, char *out, size_t cap)
{
    char want[128];

    if (option->type == OPTION_path)
        snprintf(want, sizeof want, "a path");
    else
        option_want(option, want, sizeof want);
    snprintf(out, cap, "%s; default: %s%s", want, *option->preset ? option->preset : "empty",
             option->reload ? "" : "; fixed until the next start");
}

void config_print_help(FILE *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *option = &config_table[i];
        char flag[OPTION_NAME_MAX], text[768];

        if (new_section(i))
            fprintf(out, "%s[%s]\n", i ? "\n" : "", option->section);
        option_flag_name(option->name, flag, sizeof flag);
        fprintf(out, "  --%s %s\n        ", flag, metavar(option));
        if (option->type == OPTION_choice)
            snprintf(text, sizeof text, "%.*s: %s (default: %s)", (int)option_words(option),
                     option->help, option_help(option), option->preset);
        else if (*option->preset)
            snprintf(text, sizeof text, "%s (default: %s)", option->help, option->preset);
        else
            snprintf(text, sizeof text, "%s", option->help);
        wrap(out, text, "        ", 8, 79);
        fputc('\n', out);
    }
}

void config_print_sample(FILE *out)
{
    fputs(
        "# rnnd.conf: the settings of rnnd serve.  Every option stands here with its default.\n"
        "#\n"
        "# Each may also be given as RNND_NAME in the environment or as --name on the command\n"
        "# line; the later of file, environment and command line wins.  An option belongs in its\n"
        "# section; a file without any section headers is fine, too.  Comments begin with # or ;\n"
        "# at the start of a line, or with ; after a space.  SIGHUP reads the file again.\n"
        "#\n"
        "# Printed by: rnnd help --sample\n",
        out);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *option = &config_table[i];
        char text[256];

        if (new_section(i))
            fprintf(out, "\n[%s]\n", option->section);
        fputs("\n# ", out);
        wrap(out, option_help(option), "# ", 2, 98);
        fputs("\n# (", out);
        facts(option, text, sizeof text);
        wrap(out, text, "# ", 3, 98);
        fprintf(out, ")\n#%s =%s%s\n", option->name, *option->preset ? " " : "", option->preset);
    }
}

/* `text` with the bars of choices escaped, as cells of a table want it. */
static void markdown(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|' || *text == '<' || *text == '*' || *text == '_')
            fputc('\\', out);
        fputc(*text, out);
    }
}

void config_print_markdown(FILE *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *option = &config_table[i];
        char want[128];

        if (new_section(i))
            fprintf(out,
                    "%s### [%s]\n\n| option | default | value | read on SIGHUP | |\n"
                    "|---|---|---|---|---|\n",
                    i ? "\n" : "", option->section);
        if (option->type == OPTION_path)
            snprintf(want, sizeof want, "a path");
        else
            option_want(option, want, sizeof want);
        fprintf(out, "| `%s` | %s%s%s | ", option->name, *option->preset ? "`" : "", option->preset,
                *option->preset ? "`" : "");
        markdown(out, want);
        fprintf(out, " | %s | ", option->reload ? "yes" : "no");
        markdown(out, option_help(option));
        fputs(" |\n", out);
    }
}

/* Text for roff: minus signs that may be typed, no character that roff would act on. */
static void roff(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
    }
}

void config_print_roff(FILE *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *option = &config_table[i];
        char flag[OPTION_NAME_MAX], text[256];

        if (new_section(i))
            fprintf(out, ".SS [%s]\n", option->section);
        option_flag_name(option->name, flag, sizeof flag);
        fputs(".TP\n\\fB", out);
        roff(out, "--");
        roff(out, flag);
        fprintf(out, "\\fR \\fI%s\\fR\n", metavar(option));
        roff(out, option_help(option));
        fputs("\n(", out);
        facts(option, text, sizeof text);
        roff(out, text);
        fputs(").\n", out);
    }
}
