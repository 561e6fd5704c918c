/* Entries of a tensor bundle's index out of their protobuf messages.  See bundle.h.
 *
 * Two small messages, whose unknown fields are passed over as protobuf wants it. */
#include "import/bundle.h"

#include <stdlib.h>
#include <string.h>

#include "import/protobuf.h"
#include "import/table.h"

enum { SHARDS_MAX = 1000 };

static int bad(const char *name, const char *what, struct rnn_err *err)
{
    return rnn_fail_at(err, RNN_EFORMAT, name, -1, "tensor '%.80s': %s", name, what);
}

/* DataType of tensorflow/core/framework/types.proto. */
static const struct archive_type *type_of(uint64_t number)
{
    static const struct {
        uint64_t number;
        const char *name;
    } types[] = {{1, "F32"},  {2, "F64"},   {3, "I32"},  {4, "U8"},    {5, "I16"},
                 {6, "I8"},   {8, "C64"},   {9, "I64"},  {10, "BOOL"}, {14, "BF16"},
                 {17, "U16"}, {18, "C128"}, {19, "F16"}, {22, "U32"},  {23, "U64"}};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].number == number)
            return archive_type(types[i].name);
    return NULL;
}

static int read_size(const char *name, struct proto dim, size_t *out, struct rnn_err *err)
{
    struct proto_field field;
    int rc;

    *out = 0;
    while ((rc = proto_next(&dim, &field, err)) > 0)
        if (field.number == 1)
            *out = (size_t)field.value;
    return rc < 0 ? bad(name, "its shape is damaged", err) : 0;
}

/* TensorShapeProto: dim = 2 {size = 1}. */
static int read_shape(struct bundle_entry *entry, struct proto shape, struct rnn_err *err)
{
    struct proto_field dim;
    int rc;

    while ((rc = proto_next(&shape, &dim, err)) > 0) {
        if (dim.number != 2 || dim.wire != PROTO_BYTES)
            continue;
        if (entry->rank == ARCHIVE_RANK_MAX)
            return bad(entry->name, "more than 8 dimensions", err);
        rc = read_size(entry->name, dim.bytes, &entry->shape[entry->rank++], err);
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? bad(entry->name, "its shape is damaged", err) : 0;
}

static int take_field(struct bundle_entry *entry, const struct proto_field *field,
                      struct rnn_err *err)
{
    switch (field->number) {
    case 1:
        entry->type = type_of(field->value);
        return 0;
    case 2:
        return field->wire == PROTO_BYTES ? read_shape(entry, field->bytes, err) : 0;
    case 3:
        entry->shard = field->value < UINT32_MAX ? (uint32_t)field->value : UINT32_MAX;
        return 0;
    case 4:
        entry->offset = field->value;
        return 0;
    case 5:
        entry->size = field->value;
        return 0;
    case 6:
        entry->checksum = (uint32_t)field->value;
        return 0;
    case 7:
        entry->sliced = true;
        return 0;
    default:
        return 0;
    }
}

static int read_entry(struct bundle_entry *entry, struct proto message, struct rnn_err *err)
{
    struct proto_field field;
    int rc;

    while ((rc = proto_next(&message, &field, err)) > 0) {
        rc = take_field(entry, &field, err);
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? bad(entry->name, "its entry is damaged", err) : 0;
}

/* BundleHeaderProto: num_shards = 1, endianness = 2. */
static int read_header(struct bundle *bundle, struct proto message, struct rnn_err *err)
{
    struct proto_field field;
    uint64_t shards = 0;
    int rc;

    while ((rc = proto_next(&message, &field, err)) > 0) {
        if (field.number == 1)
            shards = field.value;
        if (field.number == 2 && field.value != 0)
            return rnn_fail(err, RNN_EUNSUPPORTED,
                            "it was written big-endian; save it again on a little-endian machine");
    }
    if (rc < 0 || shards == 0 || shards > SHARDS_MAX)
        return rnn_fail(err, RNN_EFORMAT, "index: its header is damaged");
    bundle->n_shards = (uint32_t)shards;
    return 0;
}

/* ---- The index ---- */

static int add(void *arg, const struct table_entry *found, struct rnn_err *err)
{
    struct bundle *bundle = arg;
    struct proto message = {found->value, found->value + found->value_len};
    struct bundle_entry *entry;

    if (found->key_len == 0)
        return read_header(bundle, message, err);
    if (bundle->n == bundle->cap) {
        size_t cap = bundle->cap ? bundle->cap * 2 : 64;
        struct bundle_entry *larger = realloc(bundle->entries, cap * sizeof *larger);

        if (!larger)
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
        bundle->entries = larger;
        bundle->cap = cap;
    }
    entry = &bundle->entries[bundle->n];
    *entry = (struct bundle_entry){.name = strndup(found->key, found->key_len)};
    if (!entry->name)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    bundle->n++;
    return read_entry(entry, message, err);
}

int bundle_read(struct bundle *out, const void *bytes, size_t len, struct rnn_err *err)
{
    int rc;

    *out = (struct bundle){0};
    rc = table_walk(bytes, len, add, out, err);
    if (rc == 0 && out->n_shards == 0)
        rc = rnn_fail(err, RNN_EFORMAT, "index: it has no header");
    for (size_t i = 0; rc == 0 && i < out->n; i++)
        if (out->entries[i].shard >= out->n_shards)
            rc = bad(out->entries[i].name, "it lies in a part that the checkpoint does not have",
                     err);
    return rc;
}

void bundle_free(struct bundle *bundle)
{
    for (size_t i = 0; i < bundle->n; i++)
        free(bundle->entries[i].name);
    free(bundle->entries);
    *bundle = (struct bundle){0};
}
