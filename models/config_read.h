/* Reading one key of config.json: what its readers share.  Every fault names the key's path. */
#ifndef MODELS_CONFIG_READ_H
#define MODELS_CONFIG_READ_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "core/spec.h"

enum { CONFIG_PATH_BYTES = 64 };

/* "path.key", or the key alone under an empty path. */
void config_join(char out[CONFIG_PATH_BYTES], const char *path, const char *key);

int config_missing(const char *path, const char *key, struct rnn_err *err);

/* The key is at odds with another, in words; RNN_ESHAPE. */
int config_contradiction(struct rnn_err *err, const char *path, const char *key, const char *format,
                         ...) __attribute__((format(printf, 4, 5)));

/* The same of a layer's setting, by the path of its module. */
int config_layer_fault(struct rnn_err *err, const char *path, const struct rnn_layer_spec *layer,
                       const char *key, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

int config_object(const struct cJSON *object, const char *path, const char *key,
                  const struct cJSON **out, struct rnn_err *err);

/* A whole number of 1 to max that has to be there. */
int config_size(const struct cJSON *object, const char *path, const char *key, size_t max,
                size_t *out, struct rnn_err *err);

/* One of `names`, NULL-ended; *out is its place.  An absent key leaves *out alone if `optional`. */
int config_choice(const struct cJSON *object, const char *path, const char *key,
                  const char *const *names, bool optional, int *out, struct rnn_err *err);

/* An activation: a name, or {"kind", "alpha", "beta"}.  An absent key leaves *out alone. */
int config_activation(const struct cJSON *object, const char *path, const char *key,
                      struct rnn_activation *out, struct rnn_err *err);

/* A token id below `limit`; *out stays where there is none, unless it is wanted. */
int config_id(const struct cJSON *object, const char *key, size_t limit, bool wanted, int64_t *out,
              struct rnn_err *err);

const char *config_head_name(enum rnn_head_activation activation);

/* A stack: its input, unless its input_size is known already, attention, readout, layers and head.
 * `memory_width`: of what an attention looks at; 0: there is none. */
int config_stack(const struct cJSON *object, const char *path, struct rnn_spec *spec,
                 struct rnn_stack_spec *stack, size_t memory_width, struct rnn_err *err);

/* A captioner, whose stack has been read; a translator; an encoder whose vector is repeated
 * (models/config_decoders.c). */
int config_one_to_many(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err);
int config_seq2seq(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err);
int config_repeat(const struct cJSON *json, struct rnn_spec *spec, struct rnn_err *err);

/* The layers of a stack, under "rnn" or "layers" (models/config_layers.c).  The stack's input and
 * attention are read already. */
int config_layers(const struct cJSON *object, const char *path, struct rnn_spec *spec,
                  struct rnn_stack_spec *stack, struct rnn_err *err);

/* What stands above the readout reads what an attention gives. */
void config_widen_top(struct rnn_stack_spec *stack);

#endif
