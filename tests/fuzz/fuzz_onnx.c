/* An ONNX file from its bytes to a draft of a model.  Whatever is taken for a model has a
 * config.json that the daemon can read, and tensors that lie in memory from end to end. */
#include "fuzz.h"
#include "base/json.h"
#include "import/draft.h"
#include "import/reader.h"
#include "models/config_json.h"

static volatile uint8_t sum;

static void check_config(const struct cJSON *json)
{
    char *text = cJSON_PrintUnformatted(json);
    struct model_config *config = malloc(sizeof *config);
    struct rnn_err err = {0};
    int rc;

    HOLDS(text != NULL && config != NULL);
    rc = model_config_parse(config, text, strlen(text), &err);
    /* a chain may be longer or wider than the daemon's limits, which the import then says */
    if (rc == 0)
        model_config_free(config);
    else if (rc != RNN_ERANGE && rc != RNN_ESHAPE)
        fprintf(stderr, "%s: %s\n", err.text, text);
    HOLDS(rc == 0 || rc == RNN_ERANGE || rc == RNN_ESHAPE);
    cJSON_free(text);
    free(config);
}

static void check_tensors(const struct draft *draft)
{
    for (size_t i = 0; i < draft->n; i++) {
        const struct draft_tensor *t = &draft->tensors[i];
        const uint8_t *bytes = t->data;
        size_t n = t->type->bytes;

        HOLDS(t->type->usable);
        for (size_t d = 0; d < t->rank; d++)
            n *= t->shape[d];
        for (size_t b = 0; b < n; b++)
            sum = (uint8_t)(sum + bytes[b]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct import_options options = {
        .file = "x", .bos = -1, .eos = -1, .source_eos = -1, .max_len = -1};
    struct archive archive = {.bytes_max = ((size_t)64 << 20) + size * 8};
    struct draft draft = {0};
    struct input input = {0};
    struct rnn_err err = {0};
    int rc = input_open_bytes(&input, data, size, &err);

    if (size > 0 && (data[size - 1] & 1)) /* the last byte stands for what a user says */
        options.topology = "synced";
    input.options = &options;
    if (rc == 0)
        rc = reader_onnx.read(&archive, &input, &err);
    if (rc == 0)
        rc = draft_make(&draft, &archive, &options, &err);
    if (rc == 0) {
        check_config(draft.config);
        check_tensors(&draft);
    } else {
        check_failure(rc, &err);
    }
    draft_free(&draft);
    archive_deinit(&archive);
    input_close(&input);
    return 0;
}
