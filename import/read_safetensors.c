/* safetensors with names of other people's; the reader itself is that of serving. */
#include <stdlib.h>
#include <string.h>

#include "import/reader.h"
#include "models/safetensors.h"

/* Eight bytes of length, then an object. */
static bool probe(const struct input *input)
{
    return !input->zip && input->head_len > 8 && input->head[8] == '{' && input->head[7] == 0 &&
           input->head[6] == 0;
}

static int add(struct archive *archive, const struct safetensors_entry *entry, struct rnn_err *err)
{
    struct archive_tensor tensor = {
        .type = archive_type(entry->dtype), .rank = entry->rank, .data = entry->data};

    if (!tensor.type || entry->rank > ARCHIVE_RANK_MAX) {
        archive_note(archive, "'%s': %s of rank %zu, not read", entry->name, entry->dtype,
                     entry->rank);
        return 0;
    }
    memcpy(tensor.shape, entry->shape, entry->rank * sizeof *entry->shape);
    tensor.name = archive_text(archive, entry->name, strlen(entry->name), err);
    return tensor.name ? archive_add(archive, &tensor, err) : RNN_ENOMEM;
}

static int read_file(struct archive *archive, struct input *input, struct rnn_err *err)
{
    struct safetensors *file;
    int rc = input_load(input, err);

    archive->format = "safetensors";
    if (rc == 0)
        rc = safetensors_parse(&file, input->bytes, input->len, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < safetensors_count(file) && rc == 0; i++)
        rc = add(archive, safetensors_at(file, i), err);
    safetensors_free(file); /* the data lie in the input */
    return rc;
}

const struct reader reader_safetensors = {"safetensors", probe, read_file};
