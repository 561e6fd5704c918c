/* rnnd help --man: the manual page rnnd(1) as roff.
 *
 * Commands and settings come from their tables; what no table holds is written out here.  The build
 * makes rnnd.1 of it. */
#include <string.h>

#include "cli/commands.h"
#include "cli/settings.h"
#include "config/config.h"

/* Text for roff: hyphens that may be typed, nothing at the start of a line that roff acts on.  A
 * newline begins a paragraph. */
static void put_text(FILE *out, const char *text)
{
    bool begins = true;

    for (; *text; text++) {
        if (begins && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        begins = false;
        if (*text == '\\') {
            fputs("\\e", out);
        } else if (*text == '-') {
            fputs("\\-", out);
        } else if (*text == '\n') {
            fputs("\n.PP\n", out);
            begins = true;
        } else {
            fputc(*text, out);
        }
    }
}

static void put_synopsis(FILE *out)
{
    fputs(".SH SYNOPSIS\n", out);
    for (size_t i = 0; cli_commands[i]; i++) {
        const struct cli_command *command = cli_commands[i];

        fputs(i ? ".br\n" : "", out);
        fprintf(out, "\\fBrnnd %s\\fR", command->name);
        if (command->options || command == &command_serve)
            fputs(" [\\fIOPTION\\fR]...", out);
        if (*command->operands)
            fprintf(out, " \\fI%s\\fR", command->operands);
        fputc('\n', out);
    }
}

static void put_option(FILE *out, const struct cli_option *option)
{
    fputs(".TP\n\\fB", out);
    put_text(out, "--");
    put_text(out, option->name);
    fputs("\\fR", out);
    if (option->metavar)
        fprintf(out, " \\fI%s\\fR", option->metavar);
    fputc('\n', out);
    put_text(out, option->help);
    fputs(".\n", out);
}

static void put_command(FILE *out, const struct cli_command *command)
{
    fprintf(out, ".SS rnnd %s %s\n", command->name, command->operands);
    put_text(out, command->about);
    fputc('\n', out);
    for (const struct cli_option *o = command->options; o && o->name; o++)
        put_option(out, o);
    if (command == &command_serve)
        fputs(".PP\nIts settings are listed under SETTINGS.\n", out);
}

static const char description[] =
    ".SH DESCRIPTION\n"
    "rnnd serves recurrent networks (RNN, LSTM, GRU) over HTTP.\n"
    "It keeps the hidden state of a sequence as a session: a few kilobytes that never grow.\n"
    "Called without a command it serves; the other commands use the same engine on the spot,\n"
    "without a daemon.\n"
    ".PP\n"
    "A model is a folder with \\fImodel.safetensors\\fR, \\fIconfig.json\\fR and, for text,\n"
    "\\fIvocab.json\\fR.\n"
    "The daemon reads nothing else, and runs nothing that it reads.\n";

static const char rest[] =
    ".SH FILES\n"
    ".TP\n"
    ".I " RNND_CONFIG_FILE "\n"
    "The settings file, read if it is there and no other is named.\n"
    "As installed it holds every setting with its default, as comments.\n"
    ".TP\n"
    ".I " RNND_MODELS_DIR "\n"
    "The models, each in a folder of its name.\n"
    ".TP\n"
    ".I /var/lib/rnnd\n"
    "The sessions, as \\fBstate_dir\\fR of the systemd unit and the container image;\n"
    "of one daemon at a time.\n"
    ".SH ENVIRONMENT\n"
    ".TP\n"
    "\\fBRNND_\\fINAME\\fR\n"
    "Any setting by its name in capitals: \\fBRNND_WORKERS=4\\fR for \\fBworkers = 4\\fR.\n"
    "A variable that begins with RNND_ and names no setting is a fault, but for RNND_CONFIG and\n"
    "for those that Kubernetes makes for a service of that name\n"
    "(RNND_PORT, RNND_PORT_..., RNND_SERVICE_...).\n"
    ".TP\n"
    ".B RNND_CONFIG\n"
    "The settings file, where no \\fB\\-\\-config\\fR names one.\n"
    ".SH SIGNALS\n"
    "To \\fBrnnd serve\\fR:\n"
    ".TP\n"
    ".BR SIGTERM \", \" SIGINT\n"
    "Drain: /readyz answers 503, new connections are refused, running requests finish within\n"
    "\\fBgrace_s\\fR and are cancelled after that; then exit with status 0.\n"
    "A second one exits at once.\n"
    ".TP\n"
    ".B SIGHUP\n"
    "Read the settings and the keys again.\n"
    "Settings that are fixed until the next start stay, which the log says; with a fault in the\n"
    "new settings all of the old ones stay.\n"
    "Models stay as they are: POST /models/NAME/reload opens one anew.\n"
    ".PP\n"
    "The other commands end by SIGINT and SIGTERM as any program does, but cleanly.\n"
    "So they do where the reader of their output goes away (SIGPIPE).\n"
    ".SH \"EXIT STATUS\"\n"
    ".TP\n"
    ".B 0\n"
    "All went well.\n"
    ".TP\n"
    ".B 1\n"
    "It could not be done: no such model, a faulty file, a port in use, a daemon that is not "
    "ready.\n"
    ".TP\n"
    ".B 2\n"
    "It was asked for in the wrong way: an unknown command, option or setting, or a bad value.\n"
    ".SH EXAMPLES\n"
    "Serve the models of a folder on all addresses, with four workers:\n"
    ".PP\n.RS 4\n.nf\n"
    "rnnd serve \\-\\-models /srv/models \\-\\-listen 0.0.0.0:8080 \\-\\-workers 4\n"
    ".fi\n.RE\n.PP\n"
    "Ask it, with a session that remembers:\n"
    ".PP\n.RS 4\n.nf\n"
    "curl \\-s localhost:8080/sessions \\-d '{\"model\":\"kjv\",\"id\":\"me\"}'\n"
    "curl \\-s localhost:8080/generate \\-d '{\"session\":\"me\",\"input\":\"In the "
    "beginning\"}'\n"
    ".fi\n.RE\n.PP\n"
    "Write on the terminal, always the same:\n"
    ".PP\n.RS 4\n.nf\n"
    "rnnd generate kjv 'In the beginning ' \\-\\-max\\-tokens 200 \\-\\-seed 1\n"
    ".fi\n.RE\n.PP\n"
    "The three most probable next characters:\n"
    ".PP\n.RS 4\n.nf\n"
    "rnnd predict kjv 'And God sai' \\-\\-top\\-k 3\n"
    ".fi\n.RE\n.PP\n"
    "How well a model knows a text:\n"
    ".PP\n.RS 4\n.nf\n"
    "rnnd score kjv psalm.txt\n"
    ".fi\n.RE\n"
    ".SH \"SEE ALSO\"\n"
    ".BR curl (1),\n"
    ".BR systemctl (1)\n"
    ".PP\n"
    "A running daemon describes its HTTP interface at \\fI/openapi.yaml\\fR.\n";

void cli_print_manual(FILE *out)
{
    fprintf(out,
            ".TH RNND 1 \"\" \"rnnd %s\" \"User Commands\"\n"
            ".SH NAME\nrnnd \\- serve recurrent networks over HTTP\n",
            RNND_VERSION);
    put_synopsis(out);
    fputs(description, out);
    fputs(".SH COMMANDS\n", out);
    for (size_t i = 0; cli_commands[i]; i++)
        put_command(out, cli_commands[i]);
    fputs(".SH SETTINGS\n"
          "Each is \\fBname = value\\fR in its section of the settings file,\n"
          "\\fBRNND_NAME\\fR in the environment, and a flag of \\fBrnnd serve\\fR;\n"
          "the later of these wins.\n"
          "All faults are told at once, each with its place, and nothing starts.\n"
          "A file may leave the section headers out; under one, a setting must be in its own.\n"
          "Sizes are in bytes, or with K, M, G or T in powers of 1024.\n",
          out);
    config_print_roff(out);
    fputs(rest, out);
}
