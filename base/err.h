/* Errors: a code to branch on and words for a human.
 *
 * Calls that can fail return 0 or one of the negative RNN_E… codes, and fill a `struct rnn_err`
 * where the caller gave one (it may be NULL).  One list below makes codes, names and
 * HTTP-independent meanings.  Any thread. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdint.h>

/*        code            value  meaning */
#define RNN_ERRORS(X)                                                                              \
    X(RNN_ENOMEM, -1, "out of memory")                                                             \
    X(RNN_EIO, -2, "a file could not be read or written")                                          \
    X(RNN_ENOENT, -3, "no such file or name")                                                      \
    X(RNN_EFORMAT, -4, "malformed bytes")                                                          \
    X(RNN_ESHAPE, -5, "well-formed, but the shapes contradict each other")                         \
    X(RNN_EUNSUPPORTED, -6, "known, but not supported")                                            \
    X(RNN_ELIMIT, -7, "over a limit")                                                              \
    X(RNN_ERANGE, -8, "a value outside its range")                                                 \
    X(RNN_ECHAR, -9, "a character or word that the vocabulary does not have")                      \
    X(RNN_ETYPE, -10, "a value of the wrong type")                                                 \
    X(RNN_EEXIST, -11, "exists already")                                                           \
    X(RNN_EBUSY, -12, "in use")

#define RNN_ERROR_ENUM(code, value, meaning) code = (value),
enum rnn_error_code { RNN_ERRORS(RNN_ERROR_ENUM) };
#undef RNN_ERROR_ENUM

struct rnn_err {
    int code;
    int64_t offset; /* byte offset of the fault in the text or file, or -1 */
    char param[96]; /* path of the faulty field, tensor or key ("input[3][0]", "lstm.weight_hh_l1"),
                       or "" */
    char text[256]; /* one sentence without a full stop; valid UTF-8, as is `param` */
};

/* Fills *err (if not NULL) and returns `code`, so that a caller can write `return rnn_fail(err,
 * …)`. */
int rnn_fail(struct rnn_err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with the place of the fault.  `param` may be NULL, `offset` -1. */
int rnn_fail_at(struct rnn_err *err, int code, const char *param, int64_t offset,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Puts words in front of the text already in *err ("model 'kjv': " …).  Code, param and offset
 * stay. */
void rnn_err_prefix(struct rnn_err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Symbol and meaning of a code; "?" for an unknown one. */
const char *rnn_error_name(int code);
const char *rnn_error_meaning(int code);

#endif
