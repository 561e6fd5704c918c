/* The program that reads other programs' files.
 *
 * It is another program, so that nothing of the daemon's is there when a foreign file is parsed,
 * and a process of its own, so that a parser's crash is an error with words. */
#ifndef CLI_FOREIGN_H
#define CLI_FOREIGN_H

#include "cli/cli.h"

/* Runs rnnd-import with `verb` and the words of the command line, and waits for it.  *status is its
 * exit status; where a signal ended it, that is printed, and *status is CLI_FAILURE.  False where
 * there is no such program. */
bool foreign_run(const struct cli_args *args, const char *verb, int *status);

#endif
