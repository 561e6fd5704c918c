/* The file of --expect: what the original gives for an input.
 *
 * One thread; blocks on the disk. */
#ifndef IMPORT_EXPECTED_H
#define IMPORT_EXPECTED_H

#include <stddef.h>

#include "base/err.h"
#include "import/archive.h"

/* An array of any shape. */
struct numbers {
    double *values; /* [n]; NULL: it is not there */
    size_t n;
    size_t rank;
    size_t shape[ARCHIVE_RANK_MAX];
};

enum { EXPECTED_INPUT, EXPECTED_OUTPUT, EXPECTED_TARGET, EXPECTED_PARTS };

/* Fills found[] from the arrays "input", "output" and "target" of the file; the first two must be
 * there.  The caller ends found[], all zeros before, with expected_free(), also after a failure. */
int expected_load(const char *path, struct numbers found[EXPECTED_PARTS], struct rnn_err *err);
void expected_free(struct numbers found[EXPECTED_PARTS]);

#endif
