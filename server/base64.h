/* Base64 (RFC 4648) to bytes and back.  Any thread. */
#ifndef SERVER_BASE64_H
#define SERVER_BASE64_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* The caller frees *out, which is never NULL on success.  RNN_EFORMAT with `path` as the field,
 * RNN_ENOMEM. */
int base64_decode(const char *text, const char *path, char **out, size_t *len, struct rnn_err *err);

/* Appends; `out` turns failed without memory. */
void base64_encode(struct buf *out, const void *bytes, size_t len);

#endif
