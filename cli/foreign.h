/* The program that reads other programs' files.
 *
 * It is started in the place of this one, so that nothing of the daemon's program is there when a
 * foreign file is parsed. */
#ifndef CLI_FOREIGN_H
#define CLI_FOREIGN_H

#include "cli/cli.h"

/* Becomes rnnd-import with `verb` and the words of the command line.  Returns only where there is
 * no such program: false. */
bool foreign_start(const struct cli_args *args, const char *verb);

#endif
