/* Arrays of a JSON or .npz file.  See expected.h. */
#include "import/expected.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "import/reader.h"
#include "models/file.h"

enum { EXPECT_DEPTH = 8 };
#define EXPECT_MAX_BYTES ((size_t)1 << 28)

static int bad(const char *what, struct rnn_err *err)
{
    return rnn_fail(err, RNN_EFORMAT, "--expect: %s", what);
}

/* The nesting of the first elements gives the shape. */
static bool json_shape(const struct cJSON *json, struct numbers *out)
{
    out->n = 1;
    for (out->rank = 0; cJSON_IsArray(json); json = json->child) {
        if (out->rank == ARCHIVE_RANK_MAX || !json->child)
            return false;
        out->shape[out->rank] = (size_t)cJSON_GetArraySize(json);
        if (out->shape[out->rank] > EXPECT_MAX_BYTES / out->n)
            return false;
        out->n *= out->shape[out->rank++];
    }
    return cJSON_IsNumber(json);
}

static bool json_values(const struct cJSON *json, const struct numbers *shape, size_t depth,
                        double **at)
{
    if (depth == shape->rank) {
        if (!cJSON_IsNumber(json))
            return false;
        *(*at)++ = json->valuedouble;
        return true;
    }
    if (!cJSON_IsArray(json) || (size_t)cJSON_GetArraySize(json) != shape->shape[depth])
        return false;
    for (const struct cJSON *item = json->child; item; item = item->next)
        if (!json_values(item, shape, depth + 1, at))
            return false;
    return true;
}

static int numbers_of_json(const struct cJSON *json, struct numbers *out, struct rnn_err *err)
{
    double *at;

    if (!json_shape(json, out))
        return bad("want arrays of numbers, all of one length at each level", err);
    out->values = calloc(out->n, sizeof *out->values);
    if (!out->values)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    at = out->values;
    return json_values(json, out, 0, &at)
               ? 0
               : bad("want arrays of numbers, all of one length at each level", err);
}

static double integer_of(const struct archive_tensor *tensor, size_t i)
{
    const unsigned char *at = (const unsigned char *)tensor->data + i * tensor->type->bytes;
    uint64_t value = 0;

    for (size_t b = tensor->type->bytes; b-- > 0;)
        value = value << 8 | at[b];
    return (double)value;
}

static int numbers_of_tensor(const struct archive_tensor *tensor, struct numbers *out,
                             struct rnn_err *err)
{
    if (tensor->elements == 0 || tensor->elements > EXPECT_MAX_BYTES || tensor->type->bytes > 8)
        return bad("an array is empty or too large", err);
    out->n = tensor->elements;
    out->rank = tensor->rank;
    memcpy(out->shape, tensor->shape, sizeof out->shape);
    out->values = calloc(out->n, sizeof *out->values);
    if (!out->values)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < out->n; i++)
        out->values[i] = tensor->type->usable ? archive_number(tensor, i) : integer_of(tensor, i);
    return 0;
}

static const char *const parts[EXPECTED_PARTS] = {"input", "output", "target"};

static int load_json(const char *path, struct numbers *found, struct rnn_err *err)
{
    struct cJSON *json;
    char *text;
    size_t len;
    int rc = file_load(&text, &len, path, EXPECT_MAX_BYTES, err);

    if (rc < 0)
        return rc;
    rc = json_parse(&json, text, len, EXPECT_DEPTH, err);
    free(text);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < EXPECTED_PARTS && rc == 0; i++) {
        const struct cJSON *part = cJSON_IsObject(json) ? json_get(json, parts[i]) : NULL;

        if (part)
            rc = numbers_of_json(part, &found[i], err);
    }
    json_free(json);
    return rc;
}

static int load_arrays(struct input *input, struct numbers *found, struct rnn_err *err)
{
    struct archive archive = {0};
    int rc = reader_run(&archive, input, err);

    for (size_t i = 0; i < EXPECTED_PARTS && rc == 0; i++) {
        const struct archive_tensor *tensor = archive_find(&archive, parts[i]);

        if (tensor)
            rc = numbers_of_tensor(tensor, &found[i], err);
    }
    archive_deinit(&archive);
    return rc;
}

int expected_load(const char *path, struct numbers found[EXPECTED_PARTS], struct rnn_err *err)
{
    struct input input;
    int rc = input_open(&input, path, err);

    if (rc == 0) {
        rc = input.zip ? load_arrays(&input, found, err) : load_json(path, found, err);
        input_close(&input);
    }
    if (rc < 0)
        rnn_err_prefix(err, "--expect %.100s: ", path);
    else if (!found[EXPECTED_INPUT].values || !found[EXPECTED_OUTPUT].values)
        rc = bad("want \"input\" and \"output\"", err);
    return rc;
}

void expected_free(struct numbers found[EXPECTED_PARTS])
{
    for (size_t i = 0; i < EXPECTED_PARTS; i++)
        free(found[i].values);
}
