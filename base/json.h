/* Strict JSON (RFC 8259) in front of cJSON, and typed readers that name the field they refuse.
 *
 * cJSON alone takes duplicate keys, lone control characters, invalid UTF-8, "01" and "1e999".
 * json_parse() scans the text first and refuses all of those, as well as nesting over `max_depth`,
 * before a node is allocated.  cJSON is used nowhere but behind this header (struct cJSON is
 * visible for iteration).  Any thread. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Parses exactly `len` bytes.  The caller owns *out and ends it with json_free().  RNN_EFORMAT with
 * the byte offset on bad text (syntax, UTF-8, duplicate key, \u0000, number that is no finite
 * double, depth), RNN_ENOMEM. */
int json_parse(struct cJSON **out, const char *text, size_t len, unsigned max_depth,
               struct rnn_err *err);
void json_free(struct cJSON *json);

/* The member `key` of an object, or NULL if absent or JSON null.  Case-sensitive. */
const struct cJSON *json_get(const struct cJSON *object, const char *key);

/* Typed readers.  `path` is the path of `object` ("" at the top).  An absent or null member leaves
 * *out alone and returns 0.  A wrong type is RNN_ETYPE, a value outside [min, max] RNN_ERANGE;
 * err->param is "path.key". */
int json_read_bool(const struct cJSON *object, const char *path, const char *key, bool *out,
                   struct rnn_err *err);
int json_read_int(const struct cJSON *object, const char *path, const char *key, int64_t min,
                  int64_t max, int64_t *out, struct rnn_err *err);
int json_read_double(const struct cJSON *object, const char *path, const char *key, double min,
                     double max, double *out, struct rnn_err *err);
/* *out points into the tree. */
int json_read_string(const struct cJSON *object, const char *path, const char *key,
                     const char **out, struct rnn_err *err);

/* Refuses (RNN_EFORMAT) the first member whose name is not in `allowed` (NULL-terminated), naming
 * it and what there is. */
int json_only(const struct cJSON *object, const char *path, const char *const *allowed,
              struct rnn_err *err);

#endif
