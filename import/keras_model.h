/* A Keras model's JSON, as a chain of layers.
 *
 * Read are Sequential models, and functional ones whose layers follow one another; of Keras 1, 2
 * (keras-team's and tf.keras') and 3.  Whatever branches, joins, or is of an unknown make is
 * refused with the layer's place and name.  One owner, one thread. */
#ifndef IMPORT_KERAS_MODEL_H
#define IMPORT_KERAS_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "import/archive.h"

struct keras_class;

enum { KERAS_LAYERS_MAX = 1000 };

struct keras_layer {
    const char *class; /* "LSTM" */
    const char *name;  /* "lstm_1" */
    const struct cJSON *config;
    size_t place; /* in the file's list of layers, from 1 */
    const struct keras_class *kind;
    struct archive_tensor *weights; /* [n_weights], in an archive, in the order of get_weights() */
    size_t n_weights;
};

struct keras_model {
    struct cJSON *json;         /* what everything points into */
    char version[16];           /* of Keras: "2.2.4-tf"; "": the file does not say */
    struct keras_layer *layers; /* [n], from input to output */
    size_t n;
    const struct cJSON *input_shape; /* [null, steps, numbers], or NULL: it is not said */
};

/* Parses the text.  `version` is what the container says, or NULL; the text's own word wins.  The
 * caller ends *out with keras_model_free().  RNN_EFORMAT, RNN_EUNSUPPORTED, RNN_ELIMIT, RNN_ENOMEM.
 */
int keras_model_parse(struct keras_model *out, const char *text, size_t len, const char *version,
                      struct rnn_err *err);
void keras_model_free(struct keras_model *model);

/* Whether the version is major.minor or a later one; an unknown one is `unknown`. */
bool keras_since(const struct keras_model *model, int major, int minor, bool unknown);

/* What is wrong with a layer: "layer 3 'lstm_1' (LSTM): WORDS". */
int keras_layer_fail(struct rnn_err *err, int code, const struct keras_layer *layer,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Values of a layer's config; what is absent, null or of another type is `otherwise`. */
bool keras_flag(const struct cJSON *config, const char *key, bool otherwise);
double keras_number(const struct cJSON *config, const char *key, double otherwise);
const char *keras_word(const struct cJSON *config, const char *key, const char *otherwise);

/* A whole number of 1 to 2^31 under one of two names (Keras 1 had others); 0: neither is there. */
size_t keras_size(const struct cJSON *config, const char *key, const char *older);

/* The layer that a wrapper (Bidirectional, TimeDistributed) wraps; false: it is none. */
bool keras_inner(const struct keras_layer *wrapper, const char *key, struct keras_layer *out);

#endif
