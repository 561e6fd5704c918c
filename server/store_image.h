/* A state as the store keeps it: the bytes of struct rnn_state behind a head that says whose they
 * are, and that they are whole.
 *
 *     0  "RNNDST2\n"
 *     8  u64 row of the session
 *    16  u64 bytes of the state
 *    24  fingerprint of the weights [32]
 *    56  XXH3 of 128 bits, canonical: of the state, seeded with that of the above [16]
 *    72  the state
 *
 * Little-endian.  A codec without files or threads, so that the fuzzer can hold it.
 *
 * The checksum is against damage, of which it misses one in 2^128.  Against a forger none without a
 * key would help, and whoever can write the file can have any session there is; a whole image in
 * the wrong place is told by row and fingerprint.  SHA-256 took ten times as long, or fifty where
 * the processor has no instructions for it. */
#ifndef SERVER_STORE_IMAGE_H
#define SERVER_STORE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/rnn.h"

enum { STORE_IMAGE_HEAD = 72, STORE_PRINT_BYTES = 32 };

/* The bytes of a fingerprint in hexadecimal, 64 digits; and back, with a zero behind them. */
void store_print_pack(const char *hex, unsigned char out[STORE_PRINT_BYTES]);
void store_print_unpack(const unsigned char print[STORE_PRINT_BYTES],
                        char out[2 * STORE_PRINT_BYTES + 1]);

/* What an image must be of. */
struct store_image_of {
    int64_t row;
    const char *fingerprint; /* hexadecimal, as info->fingerprint */
    size_t state_bytes;
};

/* Writes the image of `state` to out[STORE_IMAGE_HEAD + of->state_bytes]. */
void store_image_write(const struct store_image_of *of, const struct rnn_state *state, void *out);

/* Reads one into `state` [of->state_bytes], which is untouched on failure.  RNN_EFORMAT: damaged;
 * RNN_ESHAPE: whole, but of another session or other weights. */
int store_image_read(const struct store_image_of *of, const void *image, size_t len,
                     struct rnn_state *state, struct rnn_err *err);

#endif
