/* UTF-8 (RFC 3629): strict decoding, no surrogates, nothing over U+10FFFF, no overlong forms.  Any
 * thread. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that starts at `text` (1 to 4), 0 where the `len` bytes there are a true
 * but unfinished beginning of one, -1 where they cannot begin any.  *code_point is set on success
 * only; it may be NULL. */
int utf8_decode(const char *text, size_t len, uint32_t *code_point);

/* Encodes one code point into out[4]; returns the number of bytes, 0 for a surrogate or an
 * impossible value. */
size_t utf8_encode(uint32_t code_point, char *out);

/* Whether all of it is valid; otherwise *bad_offset (may be NULL) is the first faulty byte. */
bool utf8_valid(const char *text, size_t len, size_t *bad_offset);

/* Number of characters in valid UTF-8. */
size_t utf8_length(const char *text, size_t len);

#endif
