/* TensorProto: shape, type, and numbers in one of five places.  See onnx_graph.h.
 *
 * Numbers lie as raw bytes (little-endian), in a typed list (packed or not), or in a file beside
 * the model (external data).  Of the latter only a plain name in the same folder is followed: a
 * path that leads elsewhere is the one way in which such a file could ask for other people's data.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "import/onnx_graph.h"
#include "models/file.h"

#define EXTERNAL_MAX ((uint64_t)1 << 33)

/* TensorProto.DataType → what it becomes, and the list in which its numbers lie. */
static const struct data_type {
    const char *name;
    enum onnx_type type;
    size_t bytes; /* of raw data; 0: not read */
    bool is_signed;
    uint32_t field;
    enum proto_wire each;
} data_types[] = {
    {.name = "undefined"},
    {"float", ONNX_F32, 4, true, 4, PROTO_32},
    {"uint8", ONNX_I64, 1, false, 5, PROTO_VARINT},
    {"int8", ONNX_I64, 1, true, 5, PROTO_VARINT},
    {"uint16", ONNX_I64, 2, false, 5, PROTO_VARINT},
    {"int16", ONNX_I64, 2, true, 5, PROTO_VARINT},
    {"int32", ONNX_I64, 4, true, 5, PROTO_VARINT},
    {"int64", ONNX_I64, 8, true, 7, PROTO_VARINT},
    {.name = "string"},
    {"bool", ONNX_I64, 1, false, 5, PROTO_VARINT},
    {"float16", ONNX_F16, 2, true, 5, PROTO_VARINT},
    {"double", ONNX_F64, 8, true, 10, PROTO_64},
    {"uint32", ONNX_I64, 4, false, 11, PROTO_VARINT},
    {"uint64", ONNX_I64, 8, false, 11, PROTO_VARINT},
    {.name = "complex64"},
    {.name = "complex128"},
    {"bfloat16", ONNX_BF16, 2, true, 5, PROTO_VARINT},
};

/* A TensorProto, looked over once. */
struct parts {
    const struct onnx_source *source;
    struct proto message;
    const char *name;
    uint64_t type;
    bool has_raw, external;
    struct proto raw;
    char location[NAME_MAX + 1];
    uint64_t offset, length;
    bool has_length;
    struct rnn_err *err;
};

static int fault(struct parts *p, int code, const char *what)
{
    return rnn_fail_at(p->err, code, p->name, -1, "tensor '%.80s': %s", p->name, what);
}

static size_t length_of(struct proto bytes)
{
    return (size_t)(bytes.end - bytes.at);
}

/* ---- Looking over ---- */

static int read_name(struct parts *p, struct proto bytes)
{
    const char *text = (const char *)bytes.at;
    size_t len = length_of(bytes);

    if (len > ARCHIVE_NAME_MAX || !utf8_valid(text, len, NULL) ||
        (len > 0 && memchr(text, '\0', len)))
        return rnn_fail(p->err, RNN_EFORMAT, "a tensor's name is too long, or no text (damaged?)");
    p->name = archive_text(p->source->archive, len ? text : "", len, p->err);
    return p->name ? 0 : RNN_ENOMEM;
}

static int add_dimension(struct parts *p, struct onnx_tensor *out, uint64_t size)
{
    if (out->rank == ONNX_RANK_MAX)
        return fault(p, RNN_EFORMAT, "more than 8 dimensions");
    if (size > INT64_MAX)
        return fault(p, RNN_EFORMAT, "a dimension below 0");
    out->shape[out->rank++] = (size_t)size;
    return 0;
}

static int read_dimensions(struct parts *p, const struct proto_field *field,
                           struct onnx_tensor *out)
{
    struct proto packed = field->bytes;
    uint64_t size;
    int rc;

    if (field->wire == PROTO_VARINT)
        return add_dimension(p, out, field->value);
    while ((rc = proto_next_number(&packed, PROTO_VARINT, &size, p->err)) > 0)
        if ((rc = add_dimension(p, out, size)) < 0)
            return rc;
    return rc;
}

static bool read_decimal(struct proto text, uint64_t *out)
{
    uint64_t value = 0;

    if (text.at == text.end || length_of(text) > 18)
        return false;
    for (; text.at < text.end; text.at++) {
        if (*text.at < '0' || *text.at > '9')
            return false;
        value = value * 10 + (uint64_t)(*text.at - '0');
    }
    *out = value;
    return true;
}

static bool is_word(struct proto text, const char *word)
{
    return length_of(text) == strlen(word) && memcmp(text.at, word, strlen(word)) == 0;
}

/* StringStringEntryProto of external_data. */
static int read_external_entry(struct parts *p, struct proto message)
{
    struct proto_field field;
    struct proto key = {0}, value = {0};
    bool fine = true;
    int rc;

    while ((rc = proto_next(&message, &field, p->err)) > 0) {
        if (field.number == 1 && field.wire == PROTO_BYTES)
            key = field.bytes;
        if (field.number == 2 && field.wire == PROTO_BYTES)
            value = field.bytes;
    }
    if (rc < 0 || !key.at || !value.at)
        return rc;
    if (is_word(key, "location")) {
        fine = length_of(value) < sizeof p->location;
        snprintf(p->location, sizeof p->location, "%.*s", (int)(fine ? length_of(value) : 0),
                 (const char *)value.at);
    } else if (is_word(key, "offset")) {
        fine = read_decimal(value, &p->offset);
    } else if (is_word(key, "length")) {
        fine = p->has_length = read_decimal(value, &p->length);
    }
    return fine ? 0 : fault(p, RNN_EFORMAT, "the place of its data outside the file is no place");
}

static int look_over(struct parts *p, struct onnx_tensor *out)
{
    struct proto walk = p->message;
    struct proto_field field;
    int rc;

    p->name = "";
    while ((rc = proto_next(&walk, &field, p->err)) > 0) {
        if (field.number == 1)
            rc = read_dimensions(p, &field, out);
        else if (field.number == 2)
            p->type = field.value;
        else if (field.number == 8)
            rc = read_name(p, field.bytes);
        else if (field.number == 9 && field.wire == PROTO_BYTES) {
            p->has_raw = true;
            p->raw = field.bytes;
        } else if (field.number == 13)
            rc = read_external_entry(p, field.bytes);
        else if (field.number == 14)
            p->external = field.value == 1;
        if (rc < 0)
            return rc;
    }
    out->name = p->name;
    return rc;
}

/* ---- Numbers ---- */

/* Integers of `bytes` each, little-endian, become I64. */
static void widen(int64_t *out, const unsigned char *from, size_t n, const struct data_type *type)
{
    unsigned spare = 64 - 8 * (unsigned)type->bytes;

    for (size_t i = 0; i < n; i++) {
        uint64_t word = 0;

        memcpy(&word, from + i * type->bytes, type->bytes);
        out[i] = type->is_signed ? (int64_t)(word << spare) >> spare : (int64_t)word;
    }
}

static int take_raw(struct parts *p, const struct data_type *type, struct proto raw,
                    struct onnx_tensor *out)
{
    int64_t *wide;

    if (length_of(raw) != out->elements * type->bytes)
        return fault(p, RNN_EFORMAT, "its bytes are not as many as its shape wants");
    out->data = raw.at;
    if (type->type != ONNX_I64 || type->bytes == 8)
        return 0;
    wide = archive_alloc(p->source->archive, out->elements * sizeof *wide + 1, p->err);
    if (!wide)
        return RNN_ENOMEM;
    widen(wide, raw.at, out->elements, type);
    out->data = wide;
    return 0;
}

/* Puts number i of a typed list. */
static void put(void *list, const struct data_type *type, size_t i, uint64_t value)
{
    switch (type->type) {
    case ONNX_F32: {
        uint32_t word = (uint32_t)value;

        memcpy((unsigned char *)list + i * 4, &word, 4);
        return;
    }
    case ONNX_F16:
    case ONNX_BF16: {
        uint16_t word = (uint16_t)value;

        memcpy((unsigned char *)list + i * 2, &word, 2);
        return;
    }
    default:
        memcpy((unsigned char *)list + i * 8, &value, 8);
    }
}

static int take_list(struct parts *p, const struct data_type *type, struct onnx_tensor *out)
{
    size_t size = type->type == ONNX_I64 ? 8 : type->bytes, n = 0, at = 0;
    struct proto walk = p->message;
    struct proto_field field;
    void *list;
    int rc;

    while ((rc = proto_next(&walk, &field, p->err)) > 0)
        if (field.number == type->field &&
            (rc = proto_count_numbers(&field, type->each, &n, p->err)) < 0)
            break;
    if (rc < 0)
        return rc;
    if (n != out->elements)
        return fault(p, RNN_EFORMAT, "its numbers are not as many as its shape wants");
    list = archive_alloc(p->source->archive, n * size + 1, p->err);
    if (!list)
        return RNN_ENOMEM;
    for (walk = p->message; proto_next(&walk, &field, p->err) > 0;) {
        uint64_t value;

        if (field.number != type->field)
            continue;
        if (field.wire == type->each)
            put(list, type, at++, field.value);
        else
            while (proto_next_number(&field.bytes, type->each, &value, p->err) > 0)
                put(list, type, at++, value);
    }
    out->data = list;
    return 0;
}

/* ---- Data beside the file ---- */

static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *out;

    if (asprintf(&out, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name) < 0)
        return NULL;
    return out;
}

static int load_outside(struct parts *p, const char *path, size_t bytes, struct proto *raw)
{
    struct archive *archive = p->source->archive;
    struct file file;
    unsigned char *memory = NULL;
    struct stat info;
    int rc;

    if (lstat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return fault(p, RNN_EUNSUPPORTED, "its data lie outside the file, in no plain file");
    rc = file_open(&file, path, p->err);
    if (rc < 0) {
        rnn_err_prefix(p->err, "tensor '%.60s': its data lie in %.60s: ", p->name, p->location);
        return rc;
    }
    if (p->offset > file.size || bytes > file.size - p->offset)
        rc = fault(p, RNN_EFORMAT, "its data lie outside the file, past the end of that one");
    if (rc == 0 && archive->bytes_max)
        archive->bytes_max += bytes;
    if (rc == 0)
        memory = archive_alloc(archive, bytes + 1, p->err);
    if (rc == 0)
        rc = memory ? file_read(&file, p->offset, memory, bytes, p->err) : RNN_ENOMEM;
    file_close(&file);
    *raw = (struct proto){memory, memory ? memory + bytes : NULL};
    return rc;
}

static int take_outside(struct parts *p, const struct data_type *type, struct onnx_tensor *out)
{
    const char *name = p->location;
    size_t bytes = out->elements * type->bytes;
    struct proto raw;
    char *path;
    int rc;

    if (strncmp(name, "./", 2) == 0)
        name += 2;
    if (*name == '\0' || strchr(name, '/') || strcmp(name, "..") == 0 || strcmp(name, ".") == 0)
        return fault(p, RNN_EUNSUPPORTED,
                     "its data lie outside the file and not in the same folder; want a plain name");
    if (*p->source->path == '\0' || bytes > EXTERNAL_MAX)
        return fault(p, RNN_EUNSUPPORTED, "its data lie outside the file");
    if (p->has_length && p->length != bytes)
        return fault(p, RNN_EFORMAT,
                     "its data outside the file are not as many as its shape wants");
    path = beside(p->source->path, name);
    if (!path)
        return rnn_fail(p->err, RNN_ENOMEM, "out of memory");
    rc = load_outside(p, path, bytes, &raw);
    free(path);
    return rc < 0 ? rc : take_raw(p, type, raw, out);
}

/* ---- The whole ---- */

bool onnx_tensor_count(struct onnx_tensor *tensor)
{
    size_t product = 64; /* more than the bytes of any element */
    bool empty = false;

    for (size_t i = 0; i < tensor->rank; i++) {
        empty |= tensor->shape[i] == 0;
        if (tensor->shape[i] > 0 && !checked_mul(product, tensor->shape[i], &product))
            return false;
    }
    tensor->elements = empty ? 0 : product / 64;
    return product <= SIZE_MAX / 2;
}

int onnx_tensor_read(struct onnx_tensor *out, const struct onnx_source *source,
                     struct proto message, struct rnn_err *err)
{
    struct parts p = {.source = source, .message = message, .name = "", .err = err};
    const struct data_type *type;
    int rc;

    *out = (struct onnx_tensor){.name = ""};
    rc = look_over(&p, out);
    if (rc < 0)
        return rc;
    type = p.type < sizeof data_types / sizeof *data_types ? &data_types[p.type] : NULL;
    if (!type || type->bytes == 0)
        return rnn_fail_at(err, RNN_EUNSUPPORTED, p.name, -1,
                           "tensor '%.80s': elements of type %s are not read", p.name,
                           type ? type->name : "(unknown)");
    out->type = type->type;
    if (!onnx_tensor_count(out))
        return fault(&p, RNN_EFORMAT, "its shape overflows");
    if (p.external)
        return take_outside(&p, type, out);
    return p.has_raw ? take_raw(&p, type, p.raw, out) : take_list(&p, type, out);
}
