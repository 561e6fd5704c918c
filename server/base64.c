/* Base64 by GnuTLS, with memory and errors of our own.  See base64.h. */
#include "server/base64.h"

#include <gnutls/gnutls.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int base64_decode(const char *text, const char *path, char **out, size_t *len, struct rnn_err *err)
{
    size_t size = strlen(text);
    gnutls_datum_t in, raw = {0};
    char *bytes;

    if (size > UINT_MAX)
        return rnn_fail_at(err, RNN_ELIMIT, path, -1, "%s: too long", path);
    in = (gnutls_datum_t){(unsigned char *)text, (unsigned)size};
    if (size > 0 && gnutls_base64_decode2(&in, &raw) < 0)
        return rnn_fail_at(err, RNN_EFORMAT, path, -1, "%s: want base64", path);
    bytes = malloc((size_t)raw.size + 1);
    if (bytes != NULL && raw.size > 0)
        memcpy(bytes, raw.data, raw.size);
    gnutls_free(raw.data);
    if (bytes == NULL)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    *out = bytes;
    *len = raw.size;
    return 0;
}

void base64_encode(struct buf *out, const void *bytes, size_t len)
{
    gnutls_datum_t in = {(unsigned char *)bytes, (unsigned)len}, text = {0};

    if (len == 0)
        return;
    if (len > UINT_MAX / 2 || gnutls_base64_encode2(&in, &text) < 0) {
        out->failed = true;
        return;
    }
    buf_put(out, text.data, text.size);
    gnutls_free(text.data);
}
