/* Sealing and opening.  See seal.h. */
#include "server/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base64.h"

#define PREFIX "rnnd1."

enum { CODE_BYTES = 32, SECRET_MAX = 4096 };

/* ---- The key ---- */

/* All of a small file; longer ones count by their first bytes. */
static int read_secret(int fd, const char *path, unsigned char *bytes, size_t size, size_t *len,
                       struct rnn_err *err)
{
    struct stat info;

    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))
        return rnn_fail(err, RNN_EIO, "seal_key: %s: want a regular file", path);
    if (info.st_mode & (S_IRWXG | S_IRWXO))
        return rnn_fail(err, RNN_EFORMAT,
                        "seal_key: %s: others than its owner can touch it; chmod 600", path);
    for (*len = 0; *len < size;) {
        ssize_t n = read(fd, bytes + *len, size - *len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rnn_fail(err, RNN_EIO, "seal_key: %s: %s", path, strerror(errno));
        if (n == 0)
            break;
        *len += (size_t)n;
    }
    return 0;
}

int seal_key_read(const char *path, unsigned char key[SEAL_KEY_BYTES], struct rnn_err *err)
{
    unsigned char bytes[SECRET_MAX];
    size_t len = 0;
    int fd, rc;

    if (*path == '\0')
        return getrandom(key, SEAL_KEY_BYTES, 0) == SEAL_KEY_BYTES
                   ? 0
                   : rnn_fail(err, RNN_EIO, "the system gives no random numbers");
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return rnn_fail(err, RNN_EIO, "seal_key: %s: %s", path, strerror(errno));
    rc = read_secret(fd, path, bytes, sizeof bytes, &len, err);
    (void)close(fd); /* only read from */
    if (rc == 0 && len < SEAL_KEY_BYTES)
        rc = rnn_fail(err, RNN_EFORMAT, "seal_key: %s: want at least %d bytes, found %zu", path,
                      SEAL_KEY_BYTES, len);
    if (rc == 0 && gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, len, key) < 0)
        rc = rnn_fail(err, RNN_EIO, "seal_key: the key could not be made");
    explicit_bzero(bytes, sizeof bytes);
    return rc;
}

/* ---- Sealing ---- */

static bool code_of(const unsigned char *key, const char *owner, const void *file, size_t len,
                    unsigned char out[CODE_BYTES])
{
    gnutls_hmac_hd_t hmac;
    bool done;

    if (gnutls_hmac_init(&hmac, GNUTLS_MAC_SHA256, key, SEAL_KEY_BYTES) < 0)
        return false;
    done = gnutls_hmac(hmac, PREFIX, sizeof PREFIX) == 0 &&
           gnutls_hmac(hmac, owner, strlen(owner) + 1) == 0 && gnutls_hmac(hmac, file, len) == 0;
    gnutls_hmac_deinit(hmac, out);
    return done;
}

int seal_write(struct buf *out, const unsigned char key[SEAL_KEY_BYTES], const char *owner,
               const struct rnn_model *model, const struct rnn_state *state, size_t state_bytes,
               struct rnn_err *err)
{
    unsigned char code[CODE_BYTES];
    struct buf file = {0};
    int rc = rnn_state_write(model, state, state_bytes, &file, err);

    if (rc == 0 && !code_of(key, owner, file.data, file.len, code))
        rc = rnn_fail(err, RNN_EIO, "the state could not be sealed");
    if (rc == 0) {
        buf_put(&file, code, sizeof code);
        buf_puts(out, PREFIX);
        base64_encode(out, file.data, file.len);
        if (file.failed || out->failed)
            rc = rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    buf_free(&file);
    return rc;
}

bool seal_is(const char *text)
{
    return strncmp(text, PREFIX, sizeof PREFIX - 1) == 0;
}

static int refuse(struct rnn_err *err)
{
    return rnn_fail_at(err, RNN_EFORMAT, "state", -1,
                       "state: want what return_state gave you: this server has not sealed it for "
                       "you, or it has changed");
}

int seal_read(const char *text, const unsigned char key[SEAL_KEY_BYTES], const char *owner,
              const struct rnn_model *model, struct rnn_state **state, size_t *state_bytes,
              struct rnn_err *err)
{
    unsigned char code[CODE_BYTES];
    char *bytes;
    size_t len;
    int rc;

    if (!seal_is(text))
        return refuse(err);
    rc = base64_decode(text + sizeof PREFIX - 1, "state", &bytes, &len, err);
    if (rc < 0)
        return rc;
    if (len < CODE_BYTES || !code_of(key, owner, bytes, len - CODE_BYTES, code) ||
        gnutls_memcmp(code, bytes + len - CODE_BYTES, CODE_BYTES) != 0)
        rc = refuse(err);
    if (rc == 0)
        rc = rnn_state_read(model, bytes, len - CODE_BYTES, state, state_bytes, err);
    free(bytes);
    return rc;
}
