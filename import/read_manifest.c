/* Raw variables of TensorFlow 1 as ml5 dumps them: a folder with manifest.json and one file of
 * little-endian float32 for each variable.
 *
 *     {"NAME": {"filename": "FILE", "shape": [65, 128]}, …} */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/json.h"
#include "import/reader.h"
#include "models/file.h"

enum { MANIFEST_MAX = 1 << 22, RAW_MAX = 1 << 30, MANIFEST_DEPTH = 4 };

/* The folder of the manifest; the caller frees it.  NULL: there is no manifest. */
static char *folder_of(const struct input *input)
{
    const char *slash = strrchr(input->path, '/');
    const char *name = slash ? slash + 1 : input->path;
    char *manifest;
    bool there;

    if (!input->is_folder) {
        if (strcmp(name, "manifest.json") != 0)
            return NULL;
        return slash ? strndup(input->path, (size_t)(slash - input->path)) : strdup(".");
    }
    if (asprintf(&manifest, "%s/manifest.json", input->path) < 0)
        return NULL;
    there = access(manifest, R_OK) == 0;
    free(manifest);
    return there ? strdup(input->path) : NULL;
}

static bool probe(const struct input *input)
{
    char *folder = folder_of(input);

    free(folder);
    return folder != NULL;
}

/* A file beside the manifest: no path leads out of its folder. */
static bool is_plain_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int load_raw(struct archive *archive, const char *folder, const char *name, size_t wanted,
                    const void **out, struct rnn_err *err)
{
    struct file file;
    char *path;
    int rc;

    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = file_open(&file, path, err);
    free(path);
    if (rc == 0) {
        void *bytes = NULL;

        if (file.size != wanted)
            rc = rnn_fail(err, RNN_ESHAPE, "%llu bytes, its shape wants %zu",
                          (unsigned long long)file.size, wanted);
        else if (!(bytes = archive_alloc(archive, wanted, err)))
            rc = err ? err->code : RNN_ENOMEM;
        else
            rc = file_read(&file, 0, bytes, wanted, err);
        file_close(&file);
        *out = bytes;
    }
    if (rc < 0)
        rnn_err_prefix(err, "%.80s: ", name);
    return rc;
}

static int read_variable(struct archive *archive, const char *folder, const struct cJSON *json,
                         struct rnn_err *err)
{
    const struct cJSON *file = cJSON_IsObject(json) ? json_get(json, "filename") : NULL;
    const struct cJSON *shape = cJSON_IsObject(json) ? json_get(json, "shape") : NULL;
    struct archive_tensor tensor = {.type = archive_type("F32")};
    size_t bytes = 4;
    int rc;

    if (!cJSON_IsString(file) || !is_plain_name(file->valuestring) || !cJSON_IsArray(shape))
        return rnn_fail(err, RNN_EFORMAT, "manifest.json: '%.80s' has no filename and shape",
                        json->string);
    for (const struct cJSON *size = shape->child; size; size = size->next) {
        if (tensor.rank == ARCHIVE_RANK_MAX || !cJSON_IsNumber(size) || size->valuedouble < 0 ||
            size->valuedouble > RAW_MAX || !checked_mul(bytes, (size_t)size->valuedouble, &bytes) ||
            bytes > RAW_MAX)
            return rnn_fail(err, RNN_EFORMAT,
                            "manifest.json: '%.80s': its shape is no list of "
                            "sizes",
                            json->string);
        tensor.shape[tensor.rank++] = (size_t)size->valuedouble;
    }
    rc = load_raw(archive, folder, file->valuestring, bytes, &tensor.data, err);
    if (rc < 0)
        return rc;
    tensor.name = archive_text(archive, json->string, strlen(json->string), err);
    return tensor.name ? archive_add(archive, &tensor, err) : RNN_ENOMEM;
}

static int load_manifest(const char *folder, struct cJSON **out, struct rnn_err *err)
{
    char *path, *text;
    size_t len;
    int rc;

    if (asprintf(&path, "%s/manifest.json", folder) < 0)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = file_load(&text, &len, path, MANIFEST_MAX, err);
    free(path);
    if (rc == 0) {
        rc = json_parse(out, text, len, MANIFEST_DEPTH, err);
        free(text);
    }
    if (rc < 0)
        rnn_err_prefix(err, "manifest.json: ");
    return rc;
}

static int read_folder(struct archive *archive, struct input *input, struct rnn_err *err)
{
    char *folder = folder_of(input);
    struct cJSON *json = NULL;
    int rc =
        folder ? load_manifest(folder, &json, err) : rnn_fail(err, RNN_ENOMEM, "out of memory");

    archive->format = "TensorFlow 1 variables (manifest.json)";
    if (rc == 0 && !cJSON_IsObject(json))
        rc = rnn_fail(err, RNN_EFORMAT, "manifest.json: want an object");
    for (const struct cJSON *item = rc == 0 ? json->child : NULL; item && rc == 0;
         item = item->next)
        rc = read_variable(archive, folder, item, err);
    json_free(json);
    free(folder);
    return rc;
}

const struct reader reader_manifest = {"manifest.json", probe, read_folder};
