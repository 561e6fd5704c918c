/* A safetensors file, read whole and checked before use.  See safetensors.h.
 *
 * The header goes through the strict JSON reader (which refuses duplicate keys and invalid UTF-8);
 * its size in values is bounded first, because a tree costs far more memory than its text.  The
 * header is read and judged before a byte of data is, so that a file of garbage costs little.
 * Names, types and metadata point into the header's tree. */
#include "models/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"
#include "models/file.h"

enum {
    LENGTH_BYTES = 8,
    DEPTH_MAX = 4,
    VALUES_MAX = 4000000 /* commas and opening brackets in a header */
};

struct dtype {
    const char *name;
    unsigned bits;
    bool usable;
    enum rnn_dtype number;
};

static const struct dtype dtypes[] = {
    {"F32", 32, true, RNN_F32},         {"F16", 16, true, RNN_F16},
    {"BF16", 16, true, RNN_BF16},       {"F64", 64, true, RNN_F64},
    {.name = "BOOL", .bits = 8},        {.name = "U8", .bits = 8},
    {.name = "I8", .bits = 8},          {.name = "F8_E5M2", .bits = 8},
    {.name = "F8_E4M3", .bits = 8},     {.name = "F8_E8M0", .bits = 8},
    {.name = "F8_E5M2FNUZ", .bits = 8}, {.name = "F8_E4M3FNUZ", .bits = 8},
    {.name = "I16", .bits = 16},        {.name = "U16", .bits = 16},
    {.name = "I32", .bits = 32},        {.name = "U32", .bits = 32},
    {.name = "I64", .bits = 64},        {.name = "U64", .bits = 64},
    {.name = "C64", .bits = 64},        {.name = "F6_E2M3", .bits = 6},
    {.name = "F6_E3M2", .bits = 6},     {.name = "F4", .bits = 4}};

/* An entry while its place in the data is still to be judged. */
struct item {
    struct safetensors_entry entry;
    size_t begin;
    size_t end;
};

struct safetensors {
    struct cJSON *header;
    const struct cJSON *metadata;
    struct item *items;          /* [count], in the order of the data */
    const struct item **by_name; /* [count], sorted */
    size_t count;
    size_t *shapes; /* all shapes in a row */
    void *owned;    /* the data, where the file was read here */
};

/* ---- Header ---- */

static int bad_entry(struct rnn_err *err, const char *name, const char *what)
{
    return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor '%.80s': %s", name, what);
}

/* A JSON number that is a size; doubles hold every size a file can have. */
static bool to_size(const struct cJSON *value, size_t *out)
{
    const double exact_max = 9007199254740992.0; /* 2^53 */

    if (!cJSON_IsNumber(value) || value->valuedouble < 0 || value->valuedouble > exact_max ||
        value->valuedouble != floor(value->valuedouble))
        return false;
    *out = (size_t)value->valuedouble;
    return true;
}

static const struct dtype *dtype_of(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return &dtypes[i];
    return NULL;
}

static int read_dtype(const struct cJSON *value, struct item *item, const struct dtype **out,
                      struct rnn_err *err)
{
    const char *name = item->entry.name;

    if (!cJSON_IsString(value))
        return bad_entry(err, name, "no \"dtype\", or not a string");
    *out = dtype_of(value->valuestring);
    if (!*out)
        return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor '%.80s': unknown dtype '%.32s'",
                           name, value->valuestring);
    item->entry.dtype = (*out)->name;
    item->entry.usable = (*out)->usable;
    item->entry.number = (*out)->number;
    return 0;
}

/* Appends the shape at *shapes_end; *elements is its product. */
static int read_shape(const struct cJSON *value, struct item *item, size_t **shapes_end,
                      size_t *elements, struct rnn_err *err)
{
    const char *name = item->entry.name;

    if (!cJSON_IsArray(value))
        return bad_entry(err, name, "no \"shape\", or not an array");
    item->entry.shape = *shapes_end;
    *elements = 1;
    for (const struct cJSON *d = value->child; d; d = d->next) {
        if (!to_size(d, *shapes_end))
            return bad_entry(err, name, "a size in \"shape\" is not a whole number");
        if (!checked_mul(*elements, **shapes_end, elements))
            return bad_entry(err, name, "the sizes in \"shape\" overflow");
        ++*shapes_end;
        item->entry.rank++;
    }
    return 0;
}

static int read_offsets(const struct cJSON *value, struct item *item, struct rnn_err *err)
{
    const char *name = item->entry.name;

    if (!cJSON_IsArray(value) || !value->child || !value->child->next || value->child->next->next)
        return bad_entry(err, name, "\"data_offsets\" is not a pair");
    if (!to_size(value->child, &item->begin) || !to_size(value->child->next, &item->end))
        return bad_entry(err, name, "\"data_offsets\" are not whole numbers");
    if (item->end < item->begin)
        return bad_entry(err, name, "\"data_offsets\" run backwards");
    return 0;
}

static int read_item(const struct cJSON *json, struct item *item, size_t **shapes_end,
                     struct rnn_err *err)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets", NULL};
    const struct dtype *dtype = NULL;
    size_t elements = 0, bits;
    int rc;

    item->entry.name = json->string;
    if (!cJSON_IsObject(json))
        return bad_entry(err, json->string, "not described by an object");
    rc = json_only(json, json->string, keys, err);
    if (rc == 0)
        rc = read_dtype(json_get(json, "dtype"), item, &dtype, err);
    if (rc == 0)
        rc = read_shape(json_get(json, "shape"), item, shapes_end, &elements, err);
    if (rc == 0)
        rc = read_offsets(json_get(json, "data_offsets"), item, err);
    if (rc < 0)
        return rc;
    if (!checked_mul(elements, dtype->bits, &bits))
        return bad_entry(err, json->string, "the sizes in \"shape\" overflow");
    item->entry.bytes = item->end - item->begin;
    if (bits % 8 != 0 || bits / 8 != item->entry.bytes)
        return rnn_fail_at(err, RNN_EFORMAT, json->string, -1,
                           "tensor '%.80s': shape and dtype want %zu bytes, data_offsets give %zu",
                           json->string, bits / 8, item->entry.bytes);
    return 0;
}

static int read_metadata(const struct cJSON *json, struct safetensors *file, struct rnn_err *err)
{
    if (!cJSON_IsObject(json))
        return rnn_fail(err, RNN_EFORMAT, "__metadata__ is not an object");
    for (const struct cJSON *pair = json->child; pair; pair = pair->next)
        if (!cJSON_IsString(pair))
            return rnn_fail_at(err, RNN_EFORMAT, "__metadata__", -1,
                               "__metadata__: the value of '%.64s' is not a string", pair->string);
    file->metadata = json;
    return 0;
}

static bool is_metadata(const struct cJSON *member)
{
    return strcmp(member->string, "__metadata__") == 0;
}

/* Room for every tensor and every shape that the header can hold. */
static int allocate(struct safetensors *file, struct rnn_err *err)
{
    size_t n = 0, sizes = 0;

    for (const struct cJSON *m = file->header->child; m; m = m->next) {
        const struct cJSON *shape = cJSON_IsObject(m) ? json_get(m, "shape") : NULL;

        n += !is_metadata(m);
        if (!is_metadata(m) && cJSON_IsArray(shape))
            sizes += (size_t)cJSON_GetArraySize(shape);
    }
    file->items = calloc(n + 1, sizeof *file->items);
    file->by_name = calloc(n + 1, sizeof *file->by_name);
    file->shapes = calloc(sizes + 1, sizeof *file->shapes);
    if (!file->items || !file->by_name || !file->shapes)
        return rnn_fail(err, RNN_ENOMEM, "out of memory for %zu tensors", n);
    return 0;
}

static int read_items(struct safetensors *file, struct rnn_err *err)
{
    size_t *shapes_end;
    int rc = allocate(file, err);

    if (rc < 0)
        return rc;
    shapes_end = file->shapes;
    for (const struct cJSON *m = file->header->child; m && rc == 0; m = m->next) {
        if (is_metadata(m))
            rc = read_metadata(m, file, err);
        else
            rc = read_item(m, &file->items[file->count++], &shapes_end, err);
    }
    return rc;
}

/* ---- The data's order ---- */

static int by_place(const void *a, const void *b)
{
    const struct item *left = a, *right = b;

    if (left->begin != right->begin)
        return left->begin < right->begin ? -1 : 1;
    if (left->end != right->end)
        return left->end < right->end ? -1 : 1;
    return strcmp(left->entry.name, right->entry.name);
}

static int by_name(const void *a, const void *b)
{
    const struct item *const *left = a, *const *right = b;

    return strcmp((*left)->entry.name, (*right)->entry.name);
}

/* The tensors must cover [0, data_len) one after the other. */
static int check_cover(struct safetensors *file, size_t data_len, struct rnn_err *err)
{
    size_t end = 0;

    qsort(file->items, file->count, sizeof *file->items, by_place);
    for (size_t i = 0; i < file->count; i++) {
        const struct item *item = &file->items[i];

        if (item->begin != end)
            return rnn_fail_at(
                err, RNN_EFORMAT, item->entry.name, (int64_t)item->begin,
                "tensor '%.80s': its data begins at %zu, %s at %zu", item->entry.name, item->begin,
                item->begin > end ? "leaving a hole" : "inside the one that ends", end);
        end = item->end;
    }
    if (end != data_len)
        return rnn_fail(err, RNN_EFORMAT, "tensors want %zu bytes of data, the file has %zu", end,
                        data_len);
    for (size_t i = 0; i < file->count; i++)
        file->by_name[i] = &file->items[i];
    qsort(file->by_name, file->count, sizeof *file->by_name, by_name);
    return 0;
}

static int check_value_count(const char *header, size_t len, struct rnn_err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += header[i] == ',' || header[i] == '[' || header[i] == '{';
    if (n > VALUES_MAX)
        return rnn_fail(err, RNN_ELIMIT, "header with %zu values, at most %d are read", n,
                        VALUES_MAX);
    return 0;
}

/* Everything but where the data is. */
static int parse_header(struct safetensors *file, const char *header, size_t len, size_t data_len,
                        struct rnn_err *err)
{
    int rc;

    if (len == 0 || header[0] != '{')
        return rnn_fail_at(err, RNN_EFORMAT, NULL, LENGTH_BYTES, "header does not begin with '{'");
    rc = check_value_count(header, len, err);
    if (rc < 0)
        return rc;
    rc = json_parse(&file->header, header, len, DEPTH_MAX, err);
    if (rc < 0) {
        rnn_err_prefix(err, "header: ");
        return rc;
    }
    rc = read_items(file, err);
    return rc < 0 ? rc : check_cover(file, data_len, err);
}

/* Header length from the file's first bytes, judged against its size. */
static int read_length(const unsigned char first[LENGTH_BYTES], uint64_t file_len, size_t *out,
                       struct rnn_err *err)
{
    uint64_t n = 0;

    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        n = n << 8 | first[i];
    if (n > SAFETENSORS_HEADER_MAX)
        return rnn_fail_at(err, RNN_EFORMAT, NULL, 0, "header of %llu bytes, the limit is %d",
                           (unsigned long long)n, SAFETENSORS_HEADER_MAX);
    if (n > file_len - LENGTH_BYTES)
        return rnn_fail_at(err, RNN_EFORMAT, NULL, 0,
                           "header of %llu bytes in a file of %llu: it is cut",
                           (unsigned long long)n, (unsigned long long)file_len);
    *out = (size_t)n;
    return 0;
}

static void set_data(struct safetensors *file, const unsigned char *data)
{
    for (size_t i = 0; i < file->count; i++)
        file->items[i].entry.data = data + file->items[i].begin;
}

static int too_short(uint64_t len, struct rnn_err *err)
{
    return rnn_fail_at(err, RNN_EFORMAT, NULL, 0, "%llu bytes are no safetensors file",
                       (unsigned long long)len);
}

/* ---- Opening ---- */

int safetensors_parse(struct safetensors **out, const void *bytes, size_t len, struct rnn_err *err)
{
    struct safetensors *file;
    size_t header_len;
    int rc;

    if (len < LENGTH_BYTES)
        return too_short(len, err);
    rc = read_length(bytes, len, &header_len, err);
    if (rc < 0)
        return rc;
    file = calloc(1, sizeof *file);
    if (!file)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = parse_header(file, (const char *)bytes + LENGTH_BYTES, header_len,
                      len - LENGTH_BYTES - header_len, err);
    if (rc < 0) {
        safetensors_free(file);
        return rc;
    }
    set_data(file, (const unsigned char *)bytes + LENGTH_BYTES + header_len);
    *out = file;
    return 0;
}

static int read_header(struct safetensors *file, const struct file *disk, size_t *header_len,
                       struct rnn_err *err)
{
    unsigned char first[LENGTH_BYTES];
    char *header;
    int rc;

    if (disk->size < LENGTH_BYTES)
        return too_short(disk->size, err);
    rc = file_read(disk, 0, first, sizeof first, err);
    if (rc == 0)
        rc = read_length(first, disk->size, header_len, err);
    if (rc < 0)
        return rc;
    header = malloc(*header_len + 1);
    if (!header)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = file_read(disk, LENGTH_BYTES, header, *header_len, err);
    if (rc == 0)
        rc = parse_header(file, header, *header_len,
                          (size_t)(disk->size - LENGTH_BYTES - *header_len), err);
    free(header);
    return rc;
}

static int read_data(struct safetensors *file, const struct file *disk, size_t header_len,
                     struct rnn_err *err)
{
    uint64_t begin = LENGTH_BYTES + header_len;
    size_t len = (size_t)(disk->size - begin);
    int rc;

    file->owned = malloc(len ? len : 1);
    if (!file->owned)
        return rnn_fail(err, RNN_ENOMEM, "out of memory for %zu bytes of tensors", len);
    rc = file_read(disk, begin, file->owned, len, err);
    if (rc == 0)
        set_data(file, file->owned);
    return rc;
}

int safetensors_open(struct safetensors **out, const char *path, struct rnn_err *err)
{
    struct safetensors *file;
    struct file disk;
    size_t header_len;
    int rc;

    rc = file_open(&disk, path, err);
    if (rc < 0)
        return rc;
    file = calloc(1, sizeof *file);
    rc = file ? read_header(file, &disk, &header_len, err)
              : rnn_fail(err, RNN_ENOMEM, "out of memory");
    if (rc == 0)
        rc = read_data(file, &disk, header_len, err);
    file_close(&disk);
    if (rc < 0) {
        safetensors_free(file);
        return rc;
    }
    *out = file;
    return 0;
}

void safetensors_free(struct safetensors *file)
{
    if (!file)
        return;
    json_free(file->header);
    free(file->items);
    free(file->by_name);
    free(file->shapes);
    free(file->owned);
    free(file);
}

/* ---- Looking ---- */

size_t safetensors_count(const struct safetensors *file)
{
    return file->count;
}

const struct safetensors_entry *safetensors_at(const struct safetensors *file, size_t index)
{
    return &file->items[index].entry;
}

const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name)
{
    struct item wanted = {.entry.name = name};
    const struct item *key = &wanted, **found;

    found = bsearch(&key, file->by_name, file->count, sizeof *file->by_name, by_name);
    return found ? &(*found)->entry : NULL;
}

bool safetensors_metadata(const struct safetensors *file, size_t index, const char **key,
                          const char **value)
{
    const struct cJSON *pair = file->metadata ? file->metadata->child : NULL;

    while (pair && index-- > 0)
        pair = pair->next;
    if (!pair)
        return false;
    *key = pair->string;
    *value = pair->valuestring;
    return true;
}
