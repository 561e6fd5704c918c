/* A Keras file, either container, from its bytes to a finished archive: HDF5 through libhdf5, the
 * model's JSON, the arrays of each layer.  What is finished is a config.json that models/ takes,
 * and tensors that lie in memory from end to end.
 *
 * libhdf5 is the system's, without a sanitizer's eyes.  It asks for as much memory as a file claims
 * to need before it looks whether that much is there; rnnd-import is limited, and so is this. */
#include "fuzz.h"
#include "base/json.h"
#include "import/archive.h"
#include "import/reader.h"
#include "models/config_json.h"

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:max_allocation_size_mb=512";
}

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5"; /* of files that are damaged; the process ends with them */
}

static volatile uint8_t sum;

static void check_tensors(const struct archive *archive)
{
    for (size_t i = 0; i < archive->n_tensors; i++) {
        const struct archive_tensor *t = &archive->tensors[i];
        const uint8_t *bytes = t->data;

        HOLDS(utf8_valid(t->name, strlen(t->name), NULL));
        HOLDS(t->type->usable);
        for (size_t b = 0; b < t->elements * t->type->bytes; b++)
            sum = (uint8_t)(sum + bytes[b]);
    }
}

/* A config that is not taken names what it lacks; it is never one that models/ cannot read. */
static void check_config(const struct archive *archive)
{
    struct model_config config;
    struct rnn_err err = {0};
    char *text = cJSON_Print(archive->config);

    HOLDS(text);
    if (model_config_parse(&config, text, strlen(text), &err) == 0)
        model_config_free(&config);
    else
        HOLDS(err.code != RNN_EFORMAT && err.code != RNN_ETYPE);
    cJSON_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct archive archive = {.bytes_max = (size_t)1 << 26};
    struct input input = {0};
    struct rnn_err err = {0};
    int rc = input_open_bytes(&input, data, size, &err);

    if (rc == 0 && reader_keras.probe(&input)) {
        rc = reader_keras.read(&archive, &input, &err);
        if (rc == 0) {
            HOLDS(archive.finished);
            check_tensors(&archive);
            check_config(&archive);
        }
    }
    if (rc < 0 && rc != RNN_ENOMEM)
        check_failure(rc, &err);
    archive_deinit(&archive);
    input_close(&input);
    return 0;
}
