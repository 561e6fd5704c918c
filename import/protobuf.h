/* The wire format of protocol buffers: fields, one after another, of a message in memory.
 *
 * Written by hand instead of generated code (libprotobuf-c): a reader of files that nobody has
 * vouched for wants a walk that allocates nothing, recurses nowhere, and skips without looking at
 * whatever it does not know; a generated reader builds the whole tree of a message, nested graphs
 * and all, before the first limit can be checked.  ONNX needs some forty fields of it.
 *
 * Source: protobuf.dev, "Encoding".  Pure functions; the bytes stay the caller's. */
#ifndef IMPORT_PROTOBUF_H
#define IMPORT_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What is left of a message. */
struct proto {
    const unsigned char *at, *end;
};

enum proto_wire { PROTO_VARINT = 0, PROTO_64 = 1, PROTO_BYTES = 2, PROTO_32 = 5 };

struct proto_field {
    uint32_t number;
    enum proto_wire wire;
    uint64_t value;     /* of a varint, or the bits of a number of 4 or 8 bytes */
    struct proto bytes; /* of strings, messages and packed numbers */
};

/* The next field: 1; at the end: 0; RNN_EFORMAT for bytes that are no field. */
int proto_next(struct proto *message, struct proto_field *out, struct rnn_err *err);

/* How many fields of that number there are, of a whole message. */
int proto_count(struct proto message, uint32_t number, size_t *out, struct rnn_err *err);

/* Numbers of a repeated field, packed or single: adds how many there are to *n. */
int proto_count_numbers(const struct proto_field *field, enum proto_wire each, size_t *n,
                        struct rnn_err *err);

/* Takes the next number out of a packed field: 1, 0 at its end, RNN_EFORMAT. */
int proto_next_number(struct proto *packed, enum proto_wire each, uint64_t *out,
                      struct rnn_err *err);

#endif
