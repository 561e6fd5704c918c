/* The API keys: who may ask, by name.
 *
 * A loaded set is immutable, so any thread may look a key up.  Keys are never logged and never
 * echoed, not even in faults. */
#ifndef SERVER_KEYS_H
#define SERVER_KEYS_H

#include <stddef.h>
#include <stdio.h>

struct keys;

#define KEYS_KEY_MAX 255 /* characters */

/* Reads the key file: one `name:key` a line, `#` comments, blank lines.  Names are 1 to 64 of
 * [A-Za-z0-9._-], keys 1 to 255 visible ASCII characters.  The file must be a regular one that
 * neither group nor others can touch.  Every fault goes to `faults` as one line with its place, and
 * any fault makes the whole call fail with RNN_EFORMAT (RNN_EIO where it cannot be read).  The
 * caller owns *out and ends it with keys_free().  Reads the disk: main thread only. */
int keys_load(struct keys **out, const char *path, FILE *faults);
void keys_free(struct keys *keys);

size_t keys_count(const struct keys *keys);

/* The name that belongs to `key` (as long as the set lives), or NULL.  Takes the same time whatever
 * the key: every one of the set is compared over its full width. */
const char *keys_name(const struct keys *keys, const char *key);

#endif
