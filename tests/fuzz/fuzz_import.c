/* A foreign file from its bytes to a draft of a model: the containers, the tensors in them, what is
 * inferred of their names.  Every tensor that comes out lies in memory from end to end. */
#include "fuzz.h"
#include "base/json.h"
#include "import/draft.h"
#include "import/reader.h"
#include "import/vocabulary.h"

static volatile uint8_t sum;

static void check_tensors(const struct archive *archive)
{
    for (size_t i = 0; i < archive->n_tensors; i++) {
        const struct archive_tensor *t = &archive->tensors[i];
        const uint8_t *bytes = t->data;

        HOLDS(utf8_valid(t->name, strlen(t->name), NULL));
        HOLDS(t->part <= strlen(t->name));
        for (size_t b = 0; b < t->elements * t->type->bytes; b++)
            sum = (uint8_t)(sum + bytes[b]);
    }
}

static void check_draft(const struct draft *draft)
{
    HOLDS(draft->config != NULL);
    for (size_t i = 0; i < draft->n; i++) {
        const struct draft_tensor *t = &draft->tensors[i];
        const uint8_t *bytes = t->data;
        size_t n = t->type->bytes;

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
    struct archive archive = {0};
    struct draft draft = {0};
    struct input input = {0};
    struct rnn_err err = {0};
    int rc = input_open_bytes(&input, data, size, &err);

    if (rc == 0)
        rc = reader_run(&archive, &input, &err);
    if (rc == 0) {
        check_tensors(&archive);
        rc = draft_make(&draft, &archive, &options, &err);
    }
    if (rc == 0) {
        check_draft(&draft);
        rc = vocabulary_make(&draft, &err);
    }
    if (rc < 0)
        check_failure(rc, &err);
    draft_free(&draft);
    archive_deinit(&archive);
    input_close(&input);
    return 0;
}
