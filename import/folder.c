/* Writing a model folder: made beside its place under a name of its own, flushed to the disk,
 * looked at by the caller, and renamed.  See folder.h.
 *
 * The safetensors file has its header padded to a multiple of 8 and its tensors sorted by the size
 * of their numbers, largest first, so that each is aligned. */
#include "import/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "import/put.h"

static const char *const names[] = {"model.safetensors", "config.json", "vocab.json", NULL};

/* ---- Files ---- */

struct output {
    FILE *file;
    char *path;
    struct rnn_err *err;
};

static int cannot_write(const char *path, struct rnn_err *err)
{
    return rnn_fail(err, RNN_EIO, "%.150s: %s", path, strerror(errno));
}

static int output_open(struct output *out, const char *folder, const char *name,
                       struct rnn_err *err)
{
    out->err = err;
    if (asprintf(&out->path, "%s/%s", folder, name) < 0)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    out->file = fopen(out->path, "wbxe");
    if (out->file)
        return 0;
    cannot_write(out->path, err);
    free(out->path);
    return RNN_EIO;
}

/* Flushes to the disk and closes; returns `rc`, or the fault that only now came out. */
static int output_close(struct output *out, int rc)
{
    if (rc == 0 && (ferror(out->file) || fflush(out->file) != 0 || fsync(fileno(out->file)) != 0))
        rc = cannot_write(out->path, out->err);
    if (fclose(out->file) != 0 && rc == 0)
        rc = cannot_write(out->path, out->err);
    free(out->path);
    return rc;
}

static int write_text(const char *folder, const char *name, const struct cJSON *json,
                      struct rnn_err *err)
{
    struct output out;
    char *text = cJSON_Print(json);
    int rc =
        text ? output_open(&out, folder, name, err) : rnn_fail(err, RNN_ENOMEM, "out of memory");

    if (rc == 0) {
        fputs(text, out.file);
        fputc('\n', out.file);
        rc = output_close(&out, 0);
    }
    cJSON_free(text);
    return rc;
}

/* ---- Tensors ---- */

static size_t bytes_of(const struct draft_tensor *tensor)
{
    size_t n = tensor->type->bytes;

    for (size_t i = 0; i < tensor->rank; i++)
        n *= tensor->shape[i]; /* checked when it came into the archive */
    return n;
}

static int by_alignment(const void *a, const void *b)
{
    const struct draft_tensor *left = a, *right = b;

    if (left->type->bytes != right->type->bytes)
        return left->type->bytes > right->type->bytes ? -1 : 1;
    return strcmp(left->name, right->name);
}

static void put_header(struct buf *header, const struct draft *draft)
{
    size_t at = 0;

    buf_puts(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < draft->n; i++) {
        const struct draft_tensor *t = &draft->tensors[i];

        buf_putc(header, ',');
        buf_json_string(header, t->name, strlen(t->name));
        buf_printf(header, ":{\"dtype\":\"%s\",\"shape\":[", t->type->name);
        for (size_t d = 0; d < t->rank; d++)
            buf_printf(header, "%s%zu", d ? "," : "", t->shape[d]);
        buf_printf(header, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes_of(t));
        at += bytes_of(t);
    }
    buf_putc(header, '}');
    while (header->len % 8 && !header->failed)
        buf_putc(header, ' ');
}

static int write_tensors(const char *folder, struct draft *draft, struct rnn_err *err)
{
    struct buf header = {0};
    struct output out;
    int rc;

    if (draft->n > 0)
        qsort(draft->tensors, draft->n, sizeof *draft->tensors, by_alignment);
    put_header(&header, draft);
    if (header.failed)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = output_open(&out, folder, "model.safetensors", err);
    if (rc == 0) {
        for (int shift = 0; shift < 64; shift += 8)
            fputc((int)((uint64_t)header.len >> shift & 0xFF), out.file);
        fwrite(header.data, 1, header.len, out.file);
        for (size_t i = 0; i < draft->n && !ferror(out.file); i++)
            fwrite(draft->tensors[i].data, 1, bytes_of(&draft->tensors[i]), out.file);
        rc = output_close(&out, 0);
    }
    buf_free(&header);
    return rc;
}

/* ---- config.json ---- */

static bool replace(struct cJSON *object, const char *key, struct cJSON *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    return put(object, key, value);
}

static struct cJSON *shape_json(const struct draft_tensor *tensor)
{
    struct cJSON *list = cJSON_CreateArray();

    for (size_t i = 0; list && i < tensor->rank; i++) {
        struct cJSON *size = cJSON_CreateNumber((double)tensor->shape[i]);

        if (!size || !cJSON_AddItemToArray(list, size)) {
            cJSON_Delete(size);
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

/* The name, the type of the numbers where all have one, and the shapes: as they are written, not as
 * a given config said. */
static int complete_config(struct draft *draft, const char *path, struct rnn_err *err)
{
    const char *slash = strrchr(path, '/');
    struct cJSON *tensors = cJSON_CreateObject();
    bool one_type = draft->n > 0;
    bool good = replace(draft->config, "name", cJSON_CreateString(slash ? slash + 1 : path)) &&
                tensors != NULL;

    for (size_t i = 0; i < draft->n && good; i++) {
        one_type = one_type && draft->tensors[i].type == draft->tensors[0].type;
        good = put(tensors, draft->tensors[i].name, shape_json(&draft->tensors[i]));
    }
    cJSON_DeleteItemFromObjectCaseSensitive(draft->config, "dtype");
    if (good && one_type)
        good = replace(draft->config, "dtype", cJSON_CreateString(draft->tensors[0].type->name));
    if (!good) {
        cJSON_Delete(tensors);
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    return replace(draft->config, "tensors", tensors) ? 0
                                                      : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

/* ---- The folder ---- */

/* Without slashes at the end. */
static char *clean_path(const char *path)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    return strndup(path, len);
}

static int make_beside(struct folder *folder, struct rnn_err *err)
{
    struct stat info;

    if (lstat(folder->path, &info) == 0)
        return rnn_fail(err, RNN_EEXIST,
                        "%.150s is there already; name another folder with --out, or remove it",
                        folder->path);
    if (asprintf(&folder->beside, "%s.XXXXXX", folder->path) < 0) {
        folder->beside = NULL;
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    if (mkdtemp(folder->beside))
        return chmod(folder->beside, 0755) == 0 ? 0 : cannot_write(folder->beside, err);
    cannot_write(folder->path, err);
    free(folder->beside);
    folder->beside = NULL;
    return RNN_EIO;
}

int folder_write(struct folder *out, const char *path, struct draft *draft, struct rnn_err *err)
{
    struct folder folder = {.path = clean_path(path)};
    int rc = folder.path ? make_beside(&folder, err) : rnn_fail(err, RNN_ENOMEM, "out of memory");

    if (rc == 0)
        rc = write_tensors(folder.beside, draft, err);
    if (rc == 0)
        rc = complete_config(draft, folder.path, err);
    if (rc == 0)
        rc = write_text(folder.beside, "config.json", draft->config, err);
    if (rc == 0 && draft->vocab)
        rc = write_text(folder.beside, "vocab.json", draft->vocab, err);
    if (rc < 0) {
        folder_drop(&folder);
        return rc;
    }
    *out = folder;
    return 0;
}

/* Makes the folder that `path` is in remember it. */
static void sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        (void)fsync(fd); /* some file systems cannot; the folder is complete all the same */
        close(fd);
    }
    free(parent);
}

int folder_place(struct folder *folder, struct rnn_err *err)
{
    /* a folder is never renamed onto one that holds something, so nothing is lost in a race */
    if (rename(folder->beside, folder->path) < 0)
        return cannot_write(folder->path, err);
    free(folder->beside);
    folder->beside = NULL;
    sync_parent(folder->path);
    return 0;
}

void folder_drop(struct folder *folder)
{
    for (size_t i = 0; folder->beside && names[i]; i++) {
        char *path;

        if (asprintf(&path, "%s/%s", folder->beside, names[i]) < 0)
            break;
        unlink(path);
        free(path);
    }
    if (folder->beside)
        rmdir(folder->beside);
    free(folder->beside);
    free(folder->path);
    *folder = (struct folder){0};
}
