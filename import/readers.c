/* The table of readers, the looking at a file that chooses one, and refusals with a way out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "import/reader.h"
#include "models/file.h"

#define FILE_MAX_BYTES ((size_t)1 << 33)

const struct reader *const readers[] = {&reader_safetensors,  &reader_torch_zip,
                                        &reader_torch_legacy, &reader_numpy,
                                        &reader_manifest,     &reader_bundle,
#ifdef IMPORT_HDF5
                                        &reader_keras,
#endif
                                        &reader_onnx,         NULL};

/* ---- Input ---- */

static bool begins_zip(const struct input *input)
{
    return input->head_len >= 4 && memcmp(input->head, "PK\x03\x04", 4) == 0;
}

static int read_head(struct input *input, struct rnn_err *err)
{
    struct file file;
    int rc = file_open(&file, input->path, err);

    if (rc < 0)
        return rc;
    input->size = file.size;
    input->head_len = file.size < sizeof input->head ? (size_t)file.size : sizeof input->head;
    rc = file_read(&file, 0, input->head, input->head_len, err);
    input->tail_len = file.size < sizeof input->tail ? 0 : sizeof input->tail;
    if (rc == 0)
        rc = file_read(&file, file.size - input->tail_len, input->tail, input->tail_len, err);
    file_close(&file);
    return rc;
}

/* The file that is meant by `path`. */
static int find_input(struct input *input, const char *path, struct stat *info, struct rnn_err *err)
{
    int fault;

    input->path = path;
    if (stat(path, info) == 0)
        return 0;
    fault = errno;
    if (fault == ENOENT && asprintf(&input->found, "%s.index", path) < 0) {
        input->found = NULL;
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    if (fault == ENOENT && stat(input->found, info) == 0) {
        input->path = input->found;
        return 0;
    }
    free(input->found);
    return rnn_fail(err, fault == ENOENT ? RNN_ENOENT : RNN_EIO, "%s", strerror(fault));
}

int input_open(struct input *out, const char *path, struct rnn_err *err)
{
    struct input input = {0};
    struct stat info;
    int rc = find_input(&input, path, &info, err);

    if (rc < 0)
        return rc;
    input.is_folder = S_ISDIR(info.st_mode);
    if (!input.is_folder)
        rc = read_head(&input, err);
    if (rc == 0 && begins_zip(&input))
        rc = zipfile_open(&input.zip, input.path, err);
    if (rc == 0)
        *out = input;
    else
        free(input.found);
    return rc;
}

int input_open_bytes(struct input *out, const void *bytes, size_t len, struct rnn_err *err)
{
    struct input input = {.path = "", .size = len, .len = len, .borrowed = true};
    int rc = 0;

    input.bytes = (char *)(uintptr_t)bytes; /* read only */
    input.head_len = len < sizeof input.head ? len : sizeof input.head;
    memcpy(input.head, bytes, input.head_len);
    if (begins_zip(&input))
        rc = zipfile_open_bytes(&input.zip, bytes, len, err);
    if (rc == 0)
        *out = input;
    return rc;
}

void input_close(struct input *input)
{
    zipfile_close(input->zip);
    free(input->found);
    if (!input->borrowed)
        free(input->bytes);
    *input = (struct input){0};
}

int input_load(struct input *input, struct rnn_err *err)
{
    if (input->bytes)
        return 0;
    return file_load(&input->bytes, &input->len, input->path, FILE_MAX_BYTES, err);
}

int input_entry(struct input *input, struct archive *archive, size_t index, const char **bytes,
                size_t *len, struct rnn_err *err)
{
    size_t size = zipfile_size(input->zip, index);
    char *memory = size < SIZE_MAX ? archive_alloc(archive, size + 1, err) : NULL;
    int rc;

    if (!memory)
        return err ? err->code : RNN_ENOMEM;
    rc = zipfile_read(input->zip, index, memory, err);
    if (rc < 0)
        return rc;
    memory[size] = '\0';
    *bytes = memory;
    *len = size;
    return 0;
}

/* ---- The choice ---- */

static bool holds_folder(const struct zipfile *zip, const char *folder)
{
    size_t len = strlen(folder);

    for (size_t i = 0; i < zipfile_count(zip); i++) {
        const char *name = zipfile_name(zip, i), *slash = strchr(name, '/');

        if (strncmp(name, folder, len) == 0 || (slash && strncmp(slash + 1, folder, len) == 0))
            return true;
    }
    return false;
}

static int refuse_zip(const struct zipfile *zip, struct rnn_err *err)
{
    size_t index;

    if (zipfile_find(zip, "metadata.json", &index) && zipfile_find(zip, "config.json", &index))
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "a Keras file (.keras); this rnnd was built without libhdf5");
    if (holds_folder(zip, "variables/"))
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "a TensorFlow SavedModel in a zip file; unpack it and name its "
                        "variables/variables.index");
    return rnn_fail(err, RNN_EUNSUPPORTED, "a zip file that is neither PyTorch's nor NumPy's");
}

struct refusal {
    const char *magic;
    size_t at, len;
    const char *words;
};

static const struct refusal refusals[] = {
    {"\x89HDF\r\n\x1a\n", 0, 8,
     "an HDF5 file, as Keras (.h5) writes; this rnnd was built without "
     "libhdf5"},
    {"GGUF", 0, 4, "a GGUF file: its models are no LSTM or GRU; import what it was converted from"},
    {"TFL3", 4, 4, "a TensorFlow Lite file; import the Keras or PyTorch model that it was made of"},
    {"ustar", 257, 5,
     "a tar file, as PyTorch before 0.1.10 wrote; load it with PyTorch and torch.save() it again"},
    {"\x80\x03", 0, 2, "a Python pickle that is not PyTorch's; save the weights as .npz"},
    {"\x80\x04", 0, 2, "a Python pickle that is not PyTorch's; save the weights as .npz"},
    {"\x80\x05", 0, 2, "a Python pickle that is not PyTorch's; save the weights as .npz"},
    {"\x80\x02", 0, 2, "a Python pickle that is not PyTorch's; save the weights as .npz"},
    {"\x1f\x8b", 0, 2, "a gzip file; unpack it first"}};

static int refuse(const struct input *input, struct rnn_err *err)
{
    if (input->is_folder)
        return rnn_fail(
            err, RNN_EUNSUPPORTED,
            "a folder without manifest.json and without a checkpoint's .index; name the "
            "file that holds the weights");
    if (strstr(input->path, ".data-000"))
        return rnn_fail(err, RNN_EUNSUPPORTED,
                        "the numbers of a TensorFlow checkpoint; name the .index file beside it");
    if (input->zip)
        return refuse_zip(input->zip, err);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];

        if (input->head_len >= r->at + r->len && memcmp(input->head + r->at, r->magic, r->len) == 0)
            return rnn_fail(err, RNN_EUNSUPPORTED, "%s", r->words);
    }
    return rnn_fail(
        err, RNN_EUNSUPPORTED,
        "its first bytes are those of no known format; PyTorch (.pt), Keras (.h5, .keras), ONNX, "
        "safetensors, NumPy (.npz), TensorFlow checkpoints (.index) and TensorFlow 1 variables "
        "with a manifest.json are read");
}

int reader_run(struct archive *archive, struct input *input, struct rnn_err *err)
{
    archive->bytes_max = ((size_t)256 << 20) + (size_t)input->size * 8;
    for (size_t i = 0; readers[i]; i++)
        if (readers[i]->probe(input))
            return readers[i]->read(archive, input, err);
    return refuse(input, err);
}
