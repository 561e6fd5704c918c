/* rnnd-import: a foreign checkpoint becomes a model folder, or is shown.
 *
 * Started by `rnnd import` and `rnnd inspect` with the same words.  A program of its own, because
 * it hands files that nobody has vouched for to libraries with histories: the daemon links none of
 * them, and here there is no network, no second process and little memory (import/confine.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "import/confine.h"
#include "import/draft.h"
#include "import/folder.h"
#include "import/options.h"
#include "import/reader.h"
#include "import/report.h"
#include "import/trial.h"
#include "import/vocabulary.h"

/* ---- Together ---- */

/* The size of a file; of a folder, or of a checkpoint of several files, as much as is likely. */
static uint64_t size_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    struct stat info;

    if (stat(path, &info) < 0 || S_ISDIR(info.st_mode) || (dot && strcmp(dot, ".index") == 0))
        return (uint64_t)1 << 28;
    return (uint64_t)info.st_size;
}

/* A fault may quote the file; a terminal would obey its control characters. */
static int fail_file(const char *path, const struct rnn_err *err)
{
    char text[sizeof err->text];
    size_t i = 0;

    for (; err->text[i]; i++) {
        unsigned char c = (unsigned char)err->text[i];

        text[i] = c < ' ' || c == 0x7F ? '?' : err->text[i];
    }
    text[i] = '\0';
    fflush(stdout);
    return cli_fail("%s: %s", path, text);
}

/* Reads the file and makes a draft of it. */
static int read_draft(struct input *input, struct archive *archive, struct draft *draft,
                      const struct import_options *options, struct rnn_err *err)
{
    int rc = input_open(input, options->file, err);

    input->options = options;
    if (rc == 0)
        rc = reader_run(archive, input, err);
    if (rc == 0)
        rc = draft_make(draft, archive, options, err);
    return rc == 0 ? vocabulary_make(draft, err) : rc;
}

/* ---- rnnd import ---- */

static const struct cli_option import_options[] = {
#define IMPORT_OPTION(name, metavar, help) {name, metavar, help},
#include "import/options.def"
#undef IMPORT_OPTION
    {NULL},
};

/* "models/char-rnn.pt" → "char-rnn"; the caller frees it. */
static char *default_out(const char *file)
{
    char *path = strdup(file), *name, *dot, *out;

    if (!path)
        return NULL;
    for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
        path[len - 1] = '\0';
    name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    dot = strrchr(name, '.');
    if (dot && dot > name)
        *dot = '\0';
    else if (dot != name && asprintf(&out, "%s-rnnd", name) >= 0) {
        free(path);
        return out;
    }
    out = strdup(name);
    free(path);
    return out;
}

/* The folder that the model folder will stand in; the caller frees it. */
static char *parent_of(const char *path)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    return len ? strndup(path, len) : strdup(".");
}

/* Writes, tries, and only then gives the folder its name. */
static int finish(struct draft *draft, const struct import_options *options, const char *path,
                  struct rnn_err *err)
{
    struct folder folder;
    int rc = folder_write(&folder, path, draft, err);

    if (rc < 0)
        return rc;
    rc = trial_run(folder.beside, options->expect, &draft->opinion, stdout, err);
    if (rc == 0)
        rc = folder_place(&folder, err);
    if (rc == 0)
        report_written(folder.path, draft, stdout);
    folder_drop(&folder);
    return rc;
}

static int import_file(const struct import_options *options, const char *path)
{
    struct archive archive = {0};
    struct input input = {0};
    struct draft draft = {0};
    struct rnn_err err = {0};
    int status = CLI_OK;
    int rc = read_draft(&input, &archive, &draft, options, &err);

    if (archive.format)
        report_found(&archive, &draft, options->file, stdout);
    if (rc == 0 && draft.questions.len > 0) {
        fflush(stdout);
        report_questions(&draft, stderr);
        status = CLI_FAILURE;
    } else if (rc == 0) {
        rc = finish(&draft, options, path, &err);
    }
    if (rc < 0)
        status = fail_file(options->file, &err);
    draft_free(&draft);
    archive_deinit(&archive);
    input_close(&input);
    return status;
}

static int run_import(const struct cli_args *args)
{
    struct import_options *options = malloc(sizeof *options);
    char *made, *parent;
    int status = CLI_FAILURE;

    if (!options)
        return cli_fail("out of memory");
    if (!options_read(options, args)) {
        free(options);
        return cli_hint("import");
    }
    made = options->out ? strdup(options->out) : default_out(options->file);
    parent = made ? parent_of(made) : NULL;
    if (parent) {
        (void)confine(size_of(options->file), parent);
        status = import_file(options, made);
    }
    free(parent);
    free(made);
    free(options);
    return status;
}

static const struct cli_command command_import = {
    .name = "import",
    .operands = "FILE",
    .n_operands = 1,
    .about = "Makes a model folder of a checkpoint that another program wrote.",
    .options = import_options,
    .run = run_import,
};

/* ---- rnnd inspect ---- */

static int run_inspect(const struct cli_args *args)
{
    struct import_options *options = malloc(sizeof *options);
    struct archive archive = {0};
    struct input input = {0};
    struct draft draft = {0};
    struct rnn_err err = {0};
    int rc, status = CLI_OK;

    if (!options)
        return cli_fail("out of memory");
    options_init(options, args->operands[0]);
    (void)confine(size_of(options->file), NULL);
    rc = read_draft(&input, &archive, &draft, options, &err);
    if (archive.n_tensors > 0)
        report_inspection(&archive, &draft, options->file, stdout);
    if (rc < 0)
        status = fail_file(options->file, &err);
    draft_free(&draft);
    archive_deinit(&archive);
    input_close(&input);
    free(options);
    return status;
}

static const struct cli_command command_inspect = {
    .name = "inspect",
    .operands = "FILE",
    .n_operands = 1,
    .about = "Says what a checkpoint that another program wrote holds.",
    .run = run_inspect,
};

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    int status;

    if (strcmp(word, "import") == 0)
        status = cli_run(&command_import, argc - 1, argv + 1);
    else if (strcmp(word, "inspect") == 0)
        status = cli_run(&command_inspect, argc - 1, argv + 1);
    else
        return cli_fail("rnnd-import is started by rnnd import and rnnd inspect");
    if (fflush(stdout) != 0 && status == CLI_OK)
        return cli_fail("standard output could not be written");
    return status;
}
