/* What stands in the models folder and is not a model folder yet.  See foreign.h.
 *
 * A folder is looked into one level deep, the first fitting name by code point wins: people copy
 * whole downloads. */
#include "server/foreign.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buf.h"

static const char *const endings[] = {".pt", ".pth",  ".net",   ".ckpt", ".safetensors", ".npz",
                                      ".h5", ".hdf5", ".keras", ".onnx", ".index",       NULL};

static bool is_kind(const char *path, mode_t kind)
{
    struct stat info;

    return stat(path, &info) == 0 && (info.st_mode & S_IFMT) == kind;
}

/* The dot of a usual ending; NULL: another name. */
static const char *ending_of(const char *name)
{
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && dot > name && endings[i]; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return dot;
    return NULL;
}

/* Of a folder: variables as ml5 dumps them, or a checkpoint. */
static bool is_candidate(const char *name)
{
    return ending_of(name) || strcmp(name, "manifest.json") == 0;
}

static int candidates(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && is_candidate(entry->d_name);
}

static bool is_plain(const char *path)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-";

    return *path && *path != '-' && path[strspn(path, plain)] == '\0';
}

/* As a shell reads it back. */
static void put_word(struct buf *out, const char *path)
{
    if (is_plain(path)) {
        buf_puts(out, path);
        return;
    }
    buf_putc(out, '\'');
    for (; *path; path++)
        if (*path == '\'')
            buf_puts(out, "'\\''");
        else
            buf_putc(out, *path);
    buf_putc(out, '\'');
}

/* NULL: the folder is there, or no memory. */
static char *make_command(const char *file, const char *folder)
{
    struct buf out = {0};

    if (is_kind(folder, S_IFDIR))
        return NULL;
    buf_puts(&out, "rnnd import ");
    put_word(&out, file);
    buf_puts(&out, " --out ");
    put_word(&out, folder);
    buf_putc(&out, '\0');
    if (!out.failed)
        return out.data;
    buf_free(&out);
    return NULL;
}

static bool find_file(const char *dir, const char *name, const char *path, char **command)
{
    const char *dot = ending_of(name);
    char folder[4096];
    int n;

    if (!dot)
        return false;
    n = snprintf(folder, sizeof folder, "%s/%.*s", dir, (int)(dot - name), name);
    if (n > 0 && (size_t)n < sizeof folder)
        *command = make_command(path, folder);
    return true;
}

static bool find_in_folder(const char *path, char **command)
{
    struct dirent **names;
    char file[4096], folder[4096];
    int n = scandir(path, &names, candidates, alphasort);
    bool found = n > 0, fits = false;

    if (found && strcmp(names[0]->d_name, "manifest.json") == 0)
        fits = snprintf(file, sizeof file, "%s", path) < (int)sizeof file;
    else if (found)
        fits = snprintf(file, sizeof file, "%s/%s", path, names[0]->d_name) < (int)sizeof file;
    fits = fits && snprintf(folder, sizeof folder, "%s-rnnd", path) < (int)sizeof folder;
    if (fits)
        *command = make_command(file, folder);
    for (int i = 0; i < n; i++)
        free(names[i]);
    if (n >= 0)
        free(names);
    return found;
}

bool foreign_find(const char *dir, const char *name, char **command)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);

    *command = NULL;
    if (name[0] == '.' || n < 0 || (size_t)n >= sizeof path)
        return false;
    return is_kind(path, S_IFDIR) ? find_in_folder(path, command)
                                  : is_kind(path, S_IFREG) && find_file(dir, name, path, command);
}
