/* TensorFlow's checkpoints of the second version: X.index and X.data-00000-of-00001.
 *
 * Named by the index, by X, or by their folder (whose file "checkpoint" names the latest; of a
 * SavedModel, variables/variables.index).  The graph beside them is a program and is not read. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "import/bundle.h"
#include "import/reader.h"
#include "import/table.h"
#include "models/file.h"

enum { INDEX_MAX = 1 << 26, STATE_MAX = 1 << 16 };

/* ---- Which index ---- */

/* "FOLDER/NAME.index", if there is such a file; the caller frees it. */
static char *index_named(const char *folder, const char *name, size_t len)
{
    char *path;

    if (asprintf(&path, "%s/%.*s.index", folder, (int)len, name) < 0)
        return NULL;
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

/* What the file "checkpoint" says: model_checkpoint_path: "NAME", of which the last part counts. */
static char *latest_index(const char *folder)
{
    static const char key[] = "model_checkpoint_path: \"";
    char *path, *text = NULL, *found = NULL;
    size_t len;

    if (asprintf(&path, "%s/checkpoint", folder) < 0)
        return NULL;
    if (file_load(&text, &len, path, STATE_MAX, NULL) == 0) {
        const char *at = strstr(text, key), *end = at ? strchr(at + strlen(key), '"') : NULL;

        for (at = end; at && at > text && at[-1] != '/' && at[-1] != '"';)
            at--;
        if (end)
            found = index_named(folder, at, (size_t)(end - at));
    }
    free(text);
    free(path);
    return found;
}

static int is_index(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');

    return dot && dot > entry->d_name && strcmp(dot, ".index") == 0;
}

/* The only index in the folder. */
static char *single_index(const char *folder)
{
    struct dirent **names;
    char *found = NULL;
    int n = scandir(folder, &names, is_index, alphasort);

    if (n == 1)
        found = index_named(folder, names[0]->d_name, strlen(names[0]->d_name) - strlen(".index"));
    for (int i = 0; i < n; i++)
        free(names[i]);
    if (n >= 0)
        free(names);
    return found;
}

/* The caller frees it; NULL: this is no checkpoint. */
static char *index_of(const struct input *input)
{
    static const char saved_model[] = "variables/variables";
    char *found;

    if (!input->is_folder)
        return table_ends(input->tail, input->tail_len) ? strdup(input->path) : NULL;
    found = latest_index(input->path);
    if (!found)
        found = single_index(input->path);
    return found ? found : index_named(input->path, saved_model, strlen(saved_model));
}

static bool probe(const struct input *input)
{
    char *index = index_of(input);

    free(index);
    return index != NULL;
}

/* ---- Tensors ---- */

struct shards {
    const char *index; /* its path */
    uint32_t n;
    uint32_t open; /* number of the open one plus 1; 0: none */
    struct file file;
};

static void shards_close(struct shards *shards)
{
    if (shards->open)
        file_close(&shards->file);
    shards->open = 0;
}

/* X.index → X.data-00002-of-00005 */
static int shards_open(struct shards *shards, uint32_t shard, struct rnn_err *err)
{
    char *path;
    int rc;

    if (shards->open == shard + 1)
        return 0;
    shards_close(shards);
    if (asprintf(&path, "%.*s.data-%05u-of-%05u", (int)(strlen(shards->index) - strlen(".index")),
                 shards->index, shard, shards->n) < 0)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = file_open(&shards->file, path, err);
    if (rc == 0)
        shards->open = shard + 1;
    else
        rnn_err_prefix(err, "%.150s: ", path);
    free(path);
    return rc;
}

/* What the shape says, in bytes. */
static bool bytes_of(const struct bundle_entry *entry, size_t *out)
{
    *out = entry->type->bytes;
    for (size_t i = 0; i < entry->rank; i++)
        if (!checked_mul(*out, entry->shape[i], out))
            return false;
    return true;
}

static int load(struct archive *archive, struct shards *shards, const struct bundle_entry *entry,
                const void **out, struct rnn_err *err)
{
    unsigned char *bytes;
    size_t wanted;
    int rc;

    if (!bytes_of(entry, &wanted) || wanted != entry->size)
        return rnn_fail(err, RNN_ESHAPE, "it has %llu bytes, and its shape wants others",
                        (unsigned long long)entry->size);
    rc = shards_open(shards, entry->shard, err);
    if (rc < 0)
        return rc;
    if (entry->size > shards->file.size || entry->offset > shards->file.size - entry->size)
        return rnn_fail(err, RNN_EFORMAT, "it leads past the end of its file, which is cut");
    bytes = archive_alloc(archive, wanted, err);
    if (!bytes)
        return err ? err->code : RNN_ENOMEM;
    rc = file_read(&shards->file, entry->offset, bytes, wanted, err);
    if (rc == 0 && table_checksum(bytes, wanted) != entry->checksum)
        rc = rnn_fail(err, RNN_EFORMAT, "its checksum differs: the file is damaged");
    *out = bytes;
    return rc;
}

static int add(struct archive *archive, struct shards *shards, const struct bundle_entry *entry,
               struct rnn_err *err)
{
    struct archive_tensor tensor = {.type = entry->type, .rank = entry->rank};
    int rc;

    if (!entry->type) /* the graph of objects, names of files */
        return 0;
    if (entry->sliced) {
        archive_note(archive, "'%s': stored in slices, not read", entry->name);
        return 0;
    }
    rc = load(archive, shards, entry, &tensor.data, err);
    if (rc < 0) {
        rnn_err_prefix(err, "tensor '%.80s': ", entry->name);
        return rc;
    }
    memcpy(tensor.shape, entry->shape, sizeof tensor.shape);
    tensor.name = archive_text(archive, entry->name, strlen(entry->name), err);
    return tensor.name ? archive_add(archive, &tensor, err) : RNN_ENOMEM;
}

static int read_tensors(struct archive *archive, const char *index, const struct bundle *bundle,
                        struct rnn_err *err)
{
    struct shards shards = {.index = index, .n = bundle->n_shards};
    int rc = 0;

    for (size_t i = 0; i < bundle->n && rc == 0; i++)
        rc = add(archive, &shards, &bundle->entries[i], err);
    shards_close(&shards);
    return rc;
}

static bool has_ending(const char *path)
{
    size_t len = strlen(path);

    return len > strlen(".index") && strcmp(path + len - strlen(".index"), ".index") == 0;
}

static int read_checkpoint(struct archive *archive, struct input *input, struct rnn_err *err)
{
    char *index = index_of(input), *bytes = NULL;
    struct bundle bundle = {0};
    size_t len;
    int rc;

    archive->format = "TensorFlow checkpoint";
    archive->bytes_max = (size_t)1 << 33; /* the index's size says nothing */
    if (!index)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = has_ending(index) ? file_load(&bytes, &len, index, INDEX_MAX, err)
                           : rnn_fail(err, RNN_EFORMAT,
                                      "the index of a TensorFlow checkpoint, whose name must end "
                                      "in .index; or one of TensorFlow's "
                                      "first version, a single file, which is not read");
    if (rc == 0)
        rc = bundle_read(&bundle, bytes, len, err);
    if (rc == 0)
        rc = read_tensors(archive, index, &bundle, err);
    if (rc == 0 && archive->n_tensors == 0)
        rc = rnn_fail(err, RNN_EFORMAT, "there are no tensors in it");
    bundle_free(&bundle);
    free(bytes);
    free(index);
    return rc;
}

const struct reader reader_bundle = {"TensorFlow", probe, read_checkpoint};
