/* A Keras chain being turned into modules of config.json.
 *
 * A layer becomes one module, or a part of the module before it, or nothing.  Which module is the
 * head is known only at the end, so that names are given there.  Inside of the Keras reader; one
 * thread. */
#ifndef IMPORT_KERAS_BUILD_H
#define IMPORT_KERAS_BUILD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "import/archive.h"
#include "import/keras_model.h"
#include "import/options.h"

enum { KERAS_PARTS_MAX = 8 };

enum keras_module_kind {
    KERAS_MODULE_RNN,
    KERAS_MODULE_DENSE,
    KERAS_MODULE_AFFINE,
    KERAS_MODULE_NORM,
    KERAS_MODULE_READOUT
};

struct keras_activation {
    const char *name; /* as config.json has it, or "softmax" */
    bool has_alpha;
    double alpha;
};

struct keras_part {
    const char *name; /* "weight_ih_l0" */
    struct archive_tensor tensor;
};

struct keras_module {
    enum keras_module_kind kind;
    struct keras_layer layer;           /* where it comes from */
    struct cJSON *json;                 /* all but a dense layer's, which is written at the end */
    bool both_ways;                     /* a recurrent layer of two directions */
    struct keras_activation activation; /* of a dense layer */
    size_t size;                        /* of a dense layer */
    struct keras_part parts[KERAS_PARTS_MAX];
    size_t n_parts;
};

struct keras_build {
    struct archive *archive;
    const struct keras_model *model;
    const struct import_options *options; /* NULL: nothing was said */
    struct rnn_err *err;
    struct keras_module *modules;
    size_t n, cap;

    const char *input_kind;
    size_t input_size, embedding_dim; /* input_size 0: not yet known */
    bool normalize;
    bool masks; /* steps of `mask` (an id, or a number in all places) are passed over */
    double mask;
    struct keras_part input_parts[2];
    size_t n_input_parts;

    size_t width;       /* of what the next layer reads; 0: not yet known */
    size_t steps;       /* of the window that the model was made for; 0: any */
    size_t window;      /* the same, where all its steps are read side by side; 0: they are not */
    size_t repeat;      /* how often the vector is fed to the layers above; 0: never */
    bool vector;        /* the steps have become one vector */
    bool readout_final; /* which is the last layer's final state */
    bool reversed;      /* the steps come last first */
    bool wrapped;       /* a layer inside of TimeDistributed, which sees no axis of steps */
};

/* Converts every layer and leaves the archive finished: tensors under our names, a config.json, a
 * note on each thing done.  RNN_EUNSUPPORTED and RNN_ESHAPE name the layer. */
int keras_convert(struct archive *archive, const struct keras_model *model,
                  const struct import_options *options, struct rnn_err *err);

/* ---- Between the files of the reader ---- */

/* "layer 3 'lstm_1' (LSTM): WORDS", for the report. */
void keras_note(struct keras_build *build, const struct keras_layer *layer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A new module; NULL: out of memory, said. */
struct keras_module *keras_push(struct keras_build *build, enum keras_module_kind kind,
                                const struct keras_layer *layer);
void keras_part(struct keras_module *module, const char *name, const struct archive_tensor *tensor);

/* The layer reads `width` numbers at a step: learns it, or compares. */
int keras_reads(struct keras_build *build, const struct keras_layer *layer, size_t width);

/* An array of the layer, by its place; refused where it is not there or of another shape (size 0:
 * any).  `columns` KERAS_VECTOR: it has one dimension. */
#define KERAS_VECTOR ((size_t)-1)
int keras_array(struct keras_build *build, const struct keras_layer *layer, size_t index,
                const char *what, size_t rows, size_t columns, const struct archive_tensor **out);

/* config[key] as an activation; `otherwise` where there is none. */
int keras_activation_of(struct keras_build *build, const struct keras_layer *layer, const char *key,
                        const char *otherwise, struct keras_activation *out);
/* What an activation layer does. */
int keras_activation_layer(struct keras_build *build, const struct keras_layer *layer,
                           struct keras_activation *out);
bool keras_activation_put(struct cJSON *object, const char *key,
                          const struct keras_activation *activation);

/* A recurrent layer, or one run both ways (import/keras_cells.c). */
int keras_recurrent(struct keras_build *build, const struct keras_layer *layer);
int keras_bidirectional(struct keras_build *build, const struct keras_layer *layer);

/* Layers that scale and shift (import/keras_norms.c). */
int keras_batch_norm(struct keras_build *build, const struct keras_layer *layer);
int keras_layer_norm(struct keras_build *build, const struct keras_layer *layer);
int keras_normalization(struct keras_build *build, const struct keras_layer *layer);
int keras_rescaling(struct keras_build *build, const struct keras_layer *layer);

/* The dense layer right below, if nothing has been done to its sums; NULL: none
 * (import/keras_layers.c). */
struct keras_module *keras_bare_dense(struct keras_build *build);

/* The steps become one vector here; refused where a vector has become steps already. */
int keras_read_out(struct keras_build *build, const struct keras_layer *layer, const char *pool);

/* Writes config.json and the tensors (import/keras_build.c). */
int keras_finish(struct keras_build *build);
void keras_build_free(struct keras_build *build);

#endif
