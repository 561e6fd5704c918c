/* What the fuzz targets share.  A target gives LLVMFuzzerTestOneInput(), which libFuzzer calls, and
 * replay.c over kept files.  A broken promise aborts. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Every failure has a code that is known, and words that may stand in an answer. */
static inline void check_failure(int rc, const struct rnn_err *err)
{
    HOLDS(rc < 0);
    HOLDS(rc != RNN_ENOMEM);
    HOLDS(err->code == rc);
    HOLDS(strcmp(rnn_error_name(rc), "?") != 0);
    HOLDS(err->text[0] != '\0');
    HOLDS(utf8_valid(err->text, strlen(err->text), NULL));
    HOLDS(utf8_valid(err->param, strlen(err->param), NULL));
}

#endif
