/* PyTorch's files since 1.6: a zip file with a pickle and one entry for each storage.
 *
 *     PREFIX/data.pkl   the object          PREFIX/data/KEY   a storage, raw
 *     PREFIX/version    "3"                 PREFIX/byteorder  "little" */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import/reader.h"
#include "import/torch.h"

/* A storage that has been read; several tensors may lie in one. */
struct storage {
    size_t index; /* of its entry */
    const unsigned char *bytes;
    size_t len;
};

struct zip_store {
    struct torch_store store; /* first: a pointer to it is one to all */
    struct input *input;
    struct archive *archive;
    char prefix[512]; /* "archive/" */
    struct storage *storages;
    size_t n, cap;
};

static bool probe(const struct input *input)
{
    size_t index;

    return input->zip && (zipfile_find_last(input->zip, "data.pkl", &index) ||
                          zipfile_find_last(input->zip, "constants.pkl", &index));
}

static struct storage *known(struct zip_store *zip, size_t index)
{
    for (size_t i = 0; i < zip->n; i++)
        if (zip->storages[i].index == index)
            return &zip->storages[i];
    return NULL;
}

static int keep(struct zip_store *zip, const struct storage *storage, struct rnn_err *err)
{
    if (zip->n == zip->cap) {
        size_t cap = zip->cap ? zip->cap * 2 : 64;
        struct storage *larger = realloc(zip->storages, cap * sizeof *larger);

        if (!larger)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
        zip->storages = larger;
        zip->cap = cap;
    }
    zip->storages[zip->n++] = *storage;
    return 0;
}

static int storage_bytes(struct torch_store *store, struct pickle_text key, size_t wanted,
                         const unsigned char **out, struct rnn_err *err)
{
    struct zip_store *zip = (struct zip_store *)store;
    struct storage *storage, fresh = {0};
    const char *bytes;
    char name[640];
    int rc;

    snprintf(name, sizeof name, "%sdata/%.*s", zip->prefix, (int)(key.len < 255 ? key.len : 255),
             key.bytes);
    if (!zipfile_find(zip->input->zip, name, &fresh.index))
        return rnn_fail(err, RNN_EFORMAT, "there is no entry '%.80s'", name);
    if (zipfile_size(zip->input->zip, fresh.index) < wanted)
        return rnn_fail(err, RNN_ESHAPE, "entry '%.80s' has %zu bytes, its storage wants %zu", name,
                        zipfile_size(zip->input->zip, fresh.index), wanted);
    storage = known(zip, fresh.index);
    if (!storage) {
        rc = input_entry(zip->input, zip->archive, fresh.index, &bytes, &fresh.len, err);
        if (rc < 0)
            return rc;
        fresh.bytes = (const unsigned char *)bytes;
        rc = keep(zip, &fresh, err);
        if (rc < 0)
            return rc;
        storage = &zip->storages[zip->n - 1];
    }
    *out = storage->bytes;
    return 0;
}

static int refuse_script(const struct input *input, struct rnn_err *err)
{
    size_t index;

    if (!zipfile_find_last(input->zip, "constants.pkl", &index))
        return 0;
    return rnn_fail(err, RNN_EUNSUPPORTED,
                    "TorchScript: a program, which is not run here; in Python, "
                    "torch.save(torch.jit.load(FILE).state_dict(), \"weights.pt\") makes a file of "
                    "its weights that can be imported");
}

static int read_byte_order(struct zip_store *zip, struct rnn_err *err)
{
    const char *text;
    size_t index, len;
    char name[640];
    int rc;

    snprintf(name, sizeof name, "%sbyteorder", zip->prefix);
    if (!zipfile_find(zip->input->zip, name, &index))
        return 0;
    rc = input_entry(zip->input, zip->archive, index, &text, &len, err);
    if (rc == 0)
        zip->store.big_endian = len == 3 && memcmp(text, "big", 3) == 0;
    return rc;
}

static int read_object(struct zip_store *zip, size_t index, struct rnn_err *err)
{
    struct pickle *pickle;
    const char *bytes;
    size_t len, used;
    int rc = input_entry(zip->input, zip->archive, index, &bytes, &len, err);

    if (rc == 0)
        rc = pickle_read(&pickle, bytes, len, &used, err);
    if (rc < 0)
        return rc;
    if (used != len)
        rc = rnn_fail_at(err, RNN_EFORMAT, NULL, (int64_t)used,
                         "data.pkl goes on behind its end at byte %zu", used);
    else
        rc = torch_walk(zip->archive, &zip->store, pickle_root(pickle), err);
    pickle_free(pickle);
    return rc;
}

static int read_zip(struct archive *archive, struct input *input, struct rnn_err *err)
{
    struct zip_store zip = {.store = {.bytes = storage_bytes}, .input = input, .archive = archive};
    const char *name;
    size_t index;
    int rc = refuse_script(input, err);

    if (rc < 0)
        return rc;
    if (!zipfile_find_last(input->zip, "data.pkl", &index))
        return rnn_fail(err, RNN_EFORMAT, "there is no data.pkl in it");
    archive->format = "PyTorch (zip)";
    name = zipfile_name(input->zip, index);
    snprintf(zip.prefix, sizeof zip.prefix, "%.*s", (int)(strlen(name) - strlen("data.pkl")), name);
    rc = read_byte_order(&zip, err);
    if (rc == 0)
        rc = read_object(&zip, index, err);
    free(zip.storages);
    return rc;
}

const struct reader reader_torch_zip = {"PyTorch", probe, read_zip};
