/* A safetensors file: whatever passes has tensors that lie in the data one after the other, each of
 * the size that its shape says, each found by its name. */
#include "fuzz.h"
#include "models/safetensors.h"

static void check_entry(const struct safetensors *file, const struct safetensors_entry *entry)
{
    size_t elements = 1, size = entry->number == RNN_F64 ? 8 : entry->number == RNN_F32 ? 4 : 2;

    HOLDS(utf8_valid(entry->name, strlen(entry->name), NULL));
    HOLDS(safetensors_find(file, entry->name) == entry);
    for (size_t i = 0; i < entry->rank; i++)
        elements *= entry->shape[i];
    HOLDS(!entry->usable || elements * size == entry->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *file = NULL;
    struct rnn_err err = {0};
    const char *key, *value;
    const uint8_t *end = NULL;
    volatile uint8_t sum = 0;
    int rc = safetensors_parse(&file, data, size, &err);

    if (rc < 0) {
        check_failure(rc, &err);
        HOLDS(file == NULL);
        return 0;
    }
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_entry *entry = safetensors_at(file, i);
        const uint8_t *bytes = entry->data;

        check_entry(file, entry);
        HOLDS(i == 0 || bytes == end);
        end = bytes + entry->bytes;
        for (size_t b = 0; b < entry->bytes; b++)
            sum = (uint8_t)(sum + bytes[b]);
    }
    HOLDS(end == NULL || end == data + size);
    for (size_t i = 0; safetensors_metadata(file, i, &key, &value); i++)
        HOLDS(utf8_valid(key, strlen(key), NULL) && utf8_valid(value, strlen(value), NULL));
    safetensors_free(file);
    return 0;
}
