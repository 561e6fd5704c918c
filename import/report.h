/* What the import tells a person.
 *
 * Names from a file are quoted where they hold control characters, because a terminal would obey
 * them.  One thread. */
#ifndef IMPORT_REPORT_H
#define IMPORT_REPORT_H

#include <stdio.h>

#include "import/draft.h"

/* What the file is, what it was taken for, every conversion, and what was left over. */
void report_found(const struct archive *archive, const struct draft *draft, const char *file,
                  FILE *out);
void report_questions(const struct draft *draft, FILE *out);
void report_written(const char *path, const struct draft *draft, FILE *out);

/* All of a file: every tensor, and whether the model would use it. */
void report_inspection(const struct archive *archive, const struct draft *draft, const char *file,
                       FILE *out);

#endif
