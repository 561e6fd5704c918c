/* The index of a TensorFlow checkpoint (a "tensor bundle"): which tensor lies where.
 *
 * After tensorflow/core/protobuf/tensor_bundle.proto: key "" holds the header, every other key is a
 * tensor's name.  Pure; any thread. */
#ifndef IMPORT_BUNDLE_H
#define IMPORT_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "import/archive.h"

struct bundle_entry {
    char *name;
    const struct archive_type *type; /* NULL: strings, and others that are no numbers */
    size_t rank, shape[ARCHIVE_RANK_MAX];
    uint32_t shard;
    uint64_t offset, size; /* bytes in the shard's file */
    uint32_t checksum;     /* masked CRC-32C of them */
    bool sliced;           /* its parts lie under other keys */
};

struct bundle {
    uint32_t n_shards;
    struct bundle_entry *entries; /* [n] */
    size_t n, cap;
};

/* Reads the bytes of an .index file.  The caller ends *out with bundle_free(), also after a
 * failure.  RNN_EFORMAT, RNN_EUNSUPPORTED, RNN_ELIMIT, RNN_ENOMEM. */
int bundle_read(struct bundle *out, const void *bytes, size_t len, struct rnn_err *err);
void bundle_free(struct bundle *bundle);

#endif
