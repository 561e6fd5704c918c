/* Sealed states: a state that a client keeps for itself and brings back.
 *
 *     rnnd1.BASE64( state file (core/rnn.h, rnn_state_write) │ HMAC-SHA256 )
 *
 * The code is over the owner's name and the file, under a key of the server's (RFC 2104), so that
 * what comes back is what was given, to whom it was given.  It is sealed, not secret: the client
 * can read its numbers.  Any thread. */
#ifndef SERVER_SEAL_H
#define SERVER_SEAL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/rnn.h"

enum { SEAL_KEY_BYTES = 32 };

/* Makes the key of what a file holds: a regular one that neither group nor others can touch, of at
 * least SEAL_KEY_BYTES bytes; or of nothing but chance where `path` is "".  RNN_EIO, RNN_EFORMAT.
 * Reads the disk. */
int seal_key_read(const char *path, unsigned char key[SEAL_KEY_BYTES], struct rnn_err *err);

/* Appends the sealed state.  RNN_ENOMEM, RNN_EIO. */
int seal_write(struct buf *out, const unsigned char key[SEAL_KEY_BYTES], const char *owner,
               const struct rnn_model *model, const struct rnn_state *state, size_t state_bytes,
               struct rnn_err *err);

/* Opens one; the caller frees *state, of *state_bytes.  RNN_EFORMAT for what this server has not
 * sealed for this owner, RNN_ESHAPE for a state of another model. */
int seal_read(const char *text, const unsigned char key[SEAL_KEY_BYTES], const char *owner,
              const struct rnn_model *model, struct rnn_state **state, size_t *state_bytes,
              struct rnn_err *err);

/* Whether a text claims to be one. */
bool seal_is(const char *text);

#endif
