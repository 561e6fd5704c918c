/* A vocabulary of any form: the first byte is how many ids the model has.  Whatever passes is a
 * vocab.json, and, where it has a list of tokens made here, one of that length. */
#include "fuzz.h"
#include "base/json.h"
#include "import/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct archive notes = {0};
    struct cJSON *json = NULL;
    struct rnn_err err = {0};
    int rc;

    if (size == 0)
        return 0;
    rc = vocabulary_parse(&json, (const char *)data + 1, size - 1, data[0], &notes, &err);
    if (rc < 0) {
        check_failure(rc, &err);
        HOLDS(json == NULL);
    } else {
        HOLDS(cJSON_IsObject(json) && json_get(json, "kind"));
    }
    json_free(json);
    archive_deinit(&notes);
    return 0;
}
