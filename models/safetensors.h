/* A safetensors file: named tensors, checked byte by byte before anyone sees them.
 *
 *     u64 n │ n bytes of JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …} │ data
 *
 * Everything in the format's rules is held: header limit, a '{' first, no duplicate key, data
 * covered by the tensors without hole, overlap or tail, sizes that fit shape and type.  Tensors may
 * be empty, of rank 0, of any alignment, and of types that no model here computes with: they are
 * listed all the same.  One owner; reading a finished one is free for any thread. */
#ifndef MODELS_SAFETENSORS_H
#define MODELS_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/spec.h"

#define SAFETENSORS_HEADER_MAX 100000000

struct safetensors;

struct safetensors_entry {
    const char *name;  /* valid UTF-8 */
    const char *dtype; /* as the file says: "F32", "I64", … */
    bool usable;       /* dtype is one of enum rnn_dtype: */
    enum rnn_dtype number;
    size_t rank;
    const size_t *shape; /* [rank] */
    const void *data;    /* [bytes], little-endian, of any alignment */
    size_t bytes;
};

/* Reads and checks the file.  The caller owns *out and ends it with safetensors_free().  Errors
 * name the path: RNN_ENOENT, RNN_EIO, RNN_EFORMAT, RNN_ELIMIT, RNN_ENOMEM; err->param is the
 * tensor. Blocks on the disk. */
int safetensors_open(struct safetensors **out, const char *path, struct rnn_err *err);

/* The same over bytes that the caller keeps until safetensors_free(). */
int safetensors_parse(struct safetensors **out, const void *bytes, size_t len, struct rnn_err *err);
void safetensors_free(struct safetensors *file); /* NULL is fine */

/* Entries in the order of their data. */
size_t safetensors_count(const struct safetensors *file);
const struct safetensors_entry *safetensors_at(const struct safetensors *file, size_t index);

/* The entry of that name or NULL. */
const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name);

/* The index-th pair of __metadata__; false past the last. */
bool safetensors_metadata(const struct safetensors *file, size_t index, const char **key,
                          const char **value);

#endif
