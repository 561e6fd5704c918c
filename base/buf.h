/* A growing byte buffer, and the writers of numbers and JSON strings into it.
 *
 * A buffer that could not grow (memory, or its limit) turns `failed`, drops what it had and
 * swallows all further writes, so that a writer checks once, at the end.  Zero-initialised is
 * empty.  One owner, no locking. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max; /* limit in bytes; 0: none */
    bool failed;
};

void buf_free(struct buf *buf);  /* releases and empties; may be used again */
void buf_clear(struct buf *buf); /* empties, keeps the memory; no longer failed */
bool buf_reserve(struct buf *buf, size_t more);
void buf_put(struct buf *buf, const void *bytes, size_t len);
void buf_puts(struct buf *buf, const char *text);
void buf_putc(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Hands the bytes over to the caller, who frees them; the buffer is empty afterwards.  NULL if
 * failed. */
char *buf_take(struct buf *buf, size_t *len);

void buf_u64(struct buf *buf, uint64_t value);
void buf_i64(struct buf *buf, int64_t value);

/* The shortest of 7, 8 or 9 significant digits that read back (strtof, or strtod then a cast) as
 * the same float32, halfway cases left out.  Finite values only; "null" otherwise.  About 20 ns:
 * written by hand because printf and cJSON cost a model step. */
void buf_f32(struct buf *buf, float value);

/* A vector as a JSON array. */
void buf_f32_array(struct buf *buf, const float *values, size_t n);

/* 9 significant digits: for times, log-probabilities summed in double, and the like. */
void buf_f64(struct buf *buf, double value);

/* A JSON string with its quotes; `text` must be valid UTF-8. */
void buf_json_string(struct buf *buf, const char *text, size_t len);

#endif
