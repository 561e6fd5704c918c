/* config.json, schema "rnnd-ref-1": what a model folder says of its model's shape.
 *
 * Any thread. */
#ifndef MODELS_CONFIG_JSON_H
#define MODELS_CONFIG_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "core/spec.h"

struct cJSON;

struct model_config {
    struct rnn_spec spec; /* complete but for `name` and `unk`; dtype is F32 where not given */
    bool has_dtype;
    const struct cJSON *tensors; /* the object name → shape, or NULL; lives in `json` */
    struct cJSON *json;
};

/* Reads the text; the caller ends *out with model_config_free().  err->param is the path of the key
 * that is missing (RNN_EFORMAT), unknown (RNN_EFORMAT), of a wrong type (RNN_ETYPE), out of its
 * bounds (RNN_ERANGE), of an unknown value (RNN_EUNSUPPORTED) or contradicts another (RNN_ESHAPE).
 * On failure *out is untouched. */
int model_config_parse(struct model_config *out, const char *text, size_t len, struct rnn_err *err);
void model_config_free(struct model_config *config);

/* Whether a tensor of that name belongs to the model: a part of one of its stacks, or its bridge.
 * A checkpoint may hold others; they are nobody's business. */
bool model_config_owns_tensor(const struct rnn_spec *spec, const char *name);

/* Compares one entry of `tensors` with what the file holds; RNN_ESHAPE, RNN_ETYPE. */
int model_config_check_shape(const struct cJSON *wanted, size_t rank, const size_t *shape,
                             struct rnn_err *err);

/* "512x64"; "()" for rank 0.  Cut where `size` is too small. */
void model_config_shape_text(char *text, size_t size, size_t rank, const size_t *shape);

#endif
