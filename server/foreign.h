/* Checkpoints of other programs in the models folder: what a person has to type to get them served.
 *
 * Looks at names only; whatever the files hold is the business of `rnnd import`.  Main thread, at
 * start. */
#ifndef SERVER_FOREIGN_H
#define SERVER_FOREIGN_H

#include <stdbool.h>

/* Whether `dir`/`name` is such a file (of a usual ending), or a folder without config.json that
 * holds one.  *command is then "rnnd import FILE --out FOLDER" for the caller to free, fit for a
 * shell; NULL where that folder is there already or memory has run out. */
bool foreign_find(const char *dir, const char *name, char **command);

#endif
