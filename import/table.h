/* A sorted table in LevelDB's format, as TensorFlow's checkpoints have for an index.
 *
 *     blocks │ index block │ 48 bytes: handles of the meta-index and the index, magic
 *     block: entries (shared, rest, value length, rest of the key, value), restart points;
 *            behind it a byte for its packing and a masked CRC-32C
 *
 * After tensorflow/core/lib/io/table_format.txt and format.h.  Every block's checksum is compared.
 * Packed blocks (Snappy) are refused: TensorFlow writes none.  Pure; any thread. */
#ifndef IMPORT_TABLE_H
#define IMPORT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { TABLE_FOOTER = 48, TABLE_KEY_MAX = 4096, TABLE_ENTRIES_MAX = 20000 };

struct table_entry {
    const char *key; /* [key_len] and a NUL; until the next entry */
    size_t key_len;
    const unsigned char *value; /* in the table's bytes */
    size_t value_len;
};

/* Whether the last bytes of a file are a table's. */
bool table_ends(const unsigned char *footer, size_t len);

/* Calls `each` for every entry in order; what it returns below 0 ends the walk.  RNN_EFORMAT with
 * the place, RNN_EUNSUPPORTED, RNN_ELIMIT. */
int table_walk(const unsigned char *bytes, size_t len,
               int (*each)(void *arg, const struct table_entry *entry, struct rnn_err *err),
               void *arg, struct rnn_err *err);

/* A varint at *at, which moves behind it; false: cut, or more than 64 bits. */
bool table_varint(const unsigned char *bytes, size_t len, size_t *at, uint64_t *out);

/* CRC-32C (Castagnoli), masked as both formats store it. */
uint32_t table_checksum(const unsigned char *bytes, size_t len);

#endif
