/* The name that was probably meant.  Any thread; allocates nothing. */
#ifndef CONFIG_NEAREST_H
#define CONFIG_NEAREST_H

#include <stddef.h>

/* The index of the name nearest to `word` by insertions, deletions, replacements and swaps of
 * neighbours, or -1 where none is near enough to be worth saying.  `name_of(i, arg)` gives the n
 * names; names of up to 63 characters take part. */
int config_nearest(const char *word, size_t n, const char *(*name_of)(size_t i, const void *arg),
                   const void *arg);

#endif
