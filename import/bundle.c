/* Entries of a tensor bundle's index out of their protobuf messages.  See bundle.h.
 *
 * Fields are read by hand: two small messages, whose unknown fields are passed over as protobuf
 * wants it. */
#include "import/bundle.h"

#include <stdlib.h>
#include <string.h>

#include "import/table.h"

enum { SHARDS_MAX = 1000, VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* ---- Protobuf ---- */

struct message {
    const unsigned char *bytes;
    size_t len, at;
};

struct field {
    uint64_t number;
    uint64_t value; /* of a varint or a fixed field */
    struct message inner;
};

static bool read_fixed(struct message *m, size_t n, uint64_t *out)
{
    *out = 0;
    if (m->len - m->at < n)
        return false;
    for (size_t i = n; i-- > 0;)
        *out = *out << 8 | m->bytes[m->at + i];
    m->at += n;
    return true;
}

/* The next field; false: none, or what is there is no field (m->at < m->len then). */
static bool next_field(struct message *m, struct field *out)
{
    size_t start = m->at;
    uint64_t key, len;
    bool good;

    *out = (struct field){0};
    if (m->at >= m->len || !table_varint(m->bytes, m->len, &m->at, &key))
        return false;
    out->number = key >> 3;
    switch (key & 7) {
    case VARINT:
        good = table_varint(m->bytes, m->len, &m->at, &out->value);
        break;
    case FIXED64:
        good = read_fixed(m, 8, &out->value);
        break;
    case FIXED32:
        good = read_fixed(m, 4, &out->value);
        break;
    case BYTES:
        good = table_varint(m->bytes, m->len, &m->at, &len) && len <= m->len - m->at;
        if (good) {
            out->inner = (struct message){m->bytes + m->at, (size_t)len, 0};
            m->at += (size_t)len;
        }
        break;
    default:
        good = false;
    }
    if (!good)
        m->at = start;
    return good;
}

/* ---- Messages ---- */

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

/* TensorShapeProto: dim = 2 {size = 1}. */
static int read_shape(struct bundle_entry *entry, struct message shape, struct rnn_err *err)
{
    struct field dim, field;

    while (next_field(&shape, &dim)) {
        if (dim.number != 2)
            continue;
        if (entry->rank == ARCHIVE_RANK_MAX)
            return bad(entry->name, "more than 8 dimensions", err);
        entry->shape[entry->rank] = 0;
        while (next_field(&dim.inner, &field))
            if (field.number == 1)
                entry->shape[entry->rank] = (size_t)field.value;
        if (dim.inner.at < dim.inner.len)
            return bad(entry->name, "its shape is damaged", err);
        entry->rank++;
    }
    return shape.at < shape.len ? bad(entry->name, "its shape is damaged", err) : 0;
}

static int read_entry(struct bundle_entry *entry, struct message m, struct rnn_err *err)
{
    struct field field;
    int rc = 0;

    while (rc == 0 && next_field(&m, &field)) {
        switch (field.number) {
        case 1:
            entry->type = type_of(field.value);
            break;
        case 2:
            rc = read_shape(entry, field.inner, err);
            break;
        case 3:
            entry->shard = field.value < UINT32_MAX ? (uint32_t)field.value : UINT32_MAX;
            break;
        case 4:
            entry->offset = field.value;
            break;
        case 5:
            entry->size = field.value;
            break;
        case 6:
            entry->checksum = (uint32_t)field.value;
            break;
        case 7:
            entry->sliced = true;
            break;
        default:
            break;
        }
    }
    return rc == 0 && m.at < m.len ? bad(entry->name, "its entry is damaged", err) : rc;
}

/* BundleHeaderProto: num_shards = 1, endianness = 2. */
static int read_header(struct bundle *bundle, struct message m, struct rnn_err *err)
{
    struct field field;
    uint64_t shards = 0;

    while (next_field(&m, &field)) {
        if (field.number == 1)
            shards = field.value;
        if (field.number == 2 && field.value != 0)
            return rnn_fail(err, RNN_EUNSUPPORTED,
                            "it was written big-endian; save it again on a little-endian machine");
    }
    if (m.at < m.len || shards == 0 || shards > SHARDS_MAX)
        return rnn_fail(err, RNN_EFORMAT, "index: its header is damaged");
    bundle->n_shards = (uint32_t)shards;
    return 0;
}

/* ---- The index ---- */

static int add(void *arg, const struct table_entry *found, struct rnn_err *err)
{
    struct bundle *bundle = arg;
    struct message message = {found->value, found->value_len, 0};
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
