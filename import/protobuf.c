/* A walk over the wire format.  See protobuf.h.
 *
 * Groups, which protocol buffers gave up in 2008, are refused; a varint has at most ten bytes. */
#include "import/protobuf.h"

static int cut(struct rnn_err *err)
{
    return rnn_fail(err, RNN_EFORMAT, "it is cut, or its bytes are damaged (protobuf)");
}

static int read_varint(struct proto *p, uint64_t *out, struct rnn_err *err)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        unsigned char byte;

        if (p->at == p->end)
            return cut(err);
        byte = *p->at++;
        value |= shift < 64 ? (uint64_t)(byte & 0x7F) << shift : 0;
        if (byte < 0x80) {
            *out = value;
            return 0;
        }
    }
    return cut(err);
}

/* A number of 4 or 8 bytes, little-endian. */
static int read_fixed(struct proto *p, size_t n, uint64_t *out, struct rnn_err *err)
{
    uint64_t value = 0;

    if ((size_t)(p->end - p->at) < n)
        return cut(err);
    for (size_t i = n; i-- > 0;)
        value = value << 8 | p->at[i];
    p->at += n;
    *out = value;
    return 0;
}

static int read_bytes(struct proto *p, struct proto *out, struct rnn_err *err)
{
    uint64_t len;
    int rc = read_varint(p, &len, err);

    if (rc < 0)
        return rc;
    if (len > (uint64_t)(p->end - p->at))
        return cut(err);
    out->at = p->at;
    p->at += len;
    out->end = p->at;
    return 0;
}

int proto_next(struct proto *message, struct proto_field *out, struct rnn_err *err)
{
    struct proto_field field = {0};
    uint64_t key;
    int rc;

    if (message->at == message->end)
        return 0;
    rc = read_varint(message, &key, err);
    if (rc < 0)
        return rc;
    if (key >> 3 == 0 || key >> 3 > 536870911)
        return cut(err);
    field.number = (uint32_t)(key >> 3);
    field.wire = (enum proto_wire)(key & 7);
    switch (key & 7) {
    case PROTO_VARINT:
        rc = read_varint(message, &field.value, err);
        break;
    case PROTO_64:
        rc = read_fixed(message, 8, &field.value, err);
        break;
    case PROTO_32:
        rc = read_fixed(message, 4, &field.value, err);
        break;
    case PROTO_BYTES:
        rc = read_bytes(message, &field.bytes, err);
        break;
    default:
        rc = cut(err);
    }
    *out = field;
    return rc < 0 ? rc : 1;
}

int proto_count(struct proto message, uint32_t number, size_t *out, struct rnn_err *err)
{
    struct proto_field field;
    int rc;

    *out = 0;
    while ((rc = proto_next(&message, &field, err)) > 0)
        *out += field.number == number;
    return rc;
}

int proto_next_number(struct proto *packed, enum proto_wire each, uint64_t *out,
                      struct rnn_err *err)
{
    int rc;

    if (packed->at == packed->end)
        return 0;
    rc = each == PROTO_VARINT ? read_varint(packed, out, err)
                              : read_fixed(packed, each == PROTO_64 ? 8 : 4, out, err);
    return rc < 0 ? rc : 1;
}

int proto_count_numbers(const struct proto_field *field, enum proto_wire each, size_t *n,
                        struct rnn_err *err)
{
    struct proto packed = field->bytes;
    uint64_t value;
    int rc;

    if (field->wire == each) {
        ++*n;
        return 0;
    }
    if (field->wire != PROTO_BYTES)
        return cut(err);
    while ((rc = proto_next_number(&packed, each, &value, err)) > 0)
        ++*n;
    return rc;
}
