/* Values into a JSON object under construction: a config.json, a vocab.json.
 *
 * Each is false where memory has run out; the object stays whole.  One thread. */
#ifndef IMPORT_PUT_H
#define IMPORT_PUT_H

#include <stdbool.h>
#include <stddef.h>

struct cJSON;

/* Takes `value` over, also where it fails or is NULL. */
bool put(struct cJSON *object, const char *key, struct cJSON *value);
bool put_number(struct cJSON *object, const char *key, size_t value);
bool put_bool(struct cJSON *object, const char *key, bool value);
bool put_text(struct cJSON *object, const char *key, const char *value);

/* A new object under `key`; NULL: out of memory. */
struct cJSON *put_object(struct cJSON *object, const char *key);

#endif
