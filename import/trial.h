/* The end check: the finished folder is opened as the daemon would, and run.
 *
 * One thread. */
#ifndef IMPORT_TRIAL_H
#define IMPORT_TRIAL_H

#include <stdio.h>

#include "base/err.h"
#include "import/opinion.h"

/* Opens the folder, runs it on the fixed input (import/opinion.h) and prints that input and the
 * first outputs.  Where there is a second opinion, compares: RNN_ERANGE where they differ by more
 * than rounding.  Where `expect` names a file (JSON or npz) with "input" and "output", runs that,
 * too, and fails (RNN_ERANGE) where an output differs by more than 1e-4 + 1e-4 |want|. */
int trial_run(const char *folder, const char *expect, const struct opinion *opinion, FILE *out,
              struct rnn_err *err);

#endif
