/* Readers of a request's body: base/json.h with the daemon's limits and its names for faults.
 *
 * A body is read whole into a plain struct before anything happens.  Faults are RNN_EFORMAT and
 * RNN_ETYPE (400), RNN_ERANGE (400), RNN_EUNSUPPORTED (422: a field that is known but not
 * honoured) and RNN_ELIMIT (413); err->param is the path of the field.  Any thread. */
#ifndef SERVER_JSON_H
#define SERVER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "config/config.h"

/* The largest whole number that every JSON reader keeps exactly: 2^53 - 1. */
#define JSON_INT_MAX INT64_C(9007199254740991)

/* Parses a body, which must be an object; an empty body is an empty object where `may_be_empty`.
 * The caller ends *out with json_free(). */
int body_parse(struct cJSON **out, const char *text, size_t len, bool may_be_empty,
               const struct config *config, struct rnn_err *err);

/* Parses a body and lets `fields` read it into `out`, a request struct of the kind that `fields`
 * knows.  The struct is left as `fields` leaves it; untouched where the body is not even JSON. */
typedef int body_fields(void *out, const struct cJSON *body, const struct config *config,
                        struct rnn_err *err);
int body_read(void *out, const char *text, size_t len, bool may_be_empty, body_fields *fields,
              const struct config *config, struct rnn_err *err);

/* Reads on as if the body said `key`: `value`; RNN_EFORMAT where it says something else, as `why`.
 */
int body_bind(struct cJSON *body, const char *key, const char *value, const char *why,
              struct rnn_err *err);

/* Refuses members of `later` (RNN_EUNSUPPORTED) and members not in `allowed` (RNN_EFORMAT); both
 * NULL-terminated, `later` may be NULL. */
int body_only(const struct cJSON *body, const char *const *allowed, const char *const *later,
              struct rnn_err *err);

/* A string copied into out[size], at most size - 1 bytes; "" where absent. */
int body_name(const struct cJSON *body, const char *key, char *out, size_t size,
              struct rnn_err *err);

/* As json_read_double, but for the open lower bound of a probability: more than 0, at most 1. */
int body_share(const struct cJSON *body, const char *key, double *out, struct rnn_err *err);

/* A string as a NUL-terminated copy that the caller frees; NULL where absent. */
int body_text(const struct cJSON *body, const char *key, char **out, struct rnn_err *err);

/* A string or an array of up to `max` non-empty strings: a copied array of copies. */
int body_strings(const struct cJSON *body, const char *key, size_t max, char ***out, size_t *n,
                 struct rnn_err *err);
void body_strings_free(char **strings, size_t n);

/* A set of words out of `words` (at most 32, NULL-terminated), as bits; `later` are refused by
 * name, others as malformed. */
int body_words(const struct cJSON *body, const char *key, const char *const *words,
               const char *const *later, unsigned *bits, struct rnn_err *err);

/* One of `words` as its index. */
int body_word(const struct cJSON *body, const char *key, const char *const *words, unsigned *index,
              struct rnn_err *err);

/* Whether `text` is in a NULL-terminated list, and where. */
bool word_in(const char *text, const char *const *words, unsigned *index);

#endif
