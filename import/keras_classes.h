/* The layers that Keras has, by their classes: what becomes of each, or why nothing does.
 *
 * Constant; any thread. */
#ifndef IMPORT_KERAS_CLASSES_H
#define IMPORT_KERAS_CLASSES_H

enum keras_kind {
    KERAS_UNKNOWN, /* a class of its makers' own */
    KERAS_REFUSED, /* one of Keras', which has no place in a chain over time here */
    KERAS_INPUT,
    KERAS_EMBEDDING,
    KERAS_RECURRENT,
    KERAS_BIDIRECTIONAL,
    KERAS_TIME_DISTRIBUTED,
    KERAS_DENSE,
    KERAS_ACTIVATION,
    KERAS_BATCH_NORM,
    KERAS_LAYER_NORM,
    KERAS_NORMALIZATION,
    KERAS_RESCALING,
    KERAS_MASKING,
    KERAS_DROPPED, /* it does something in training only */
    KERAS_FLATTEN,
    KERAS_RESHAPE,
    KERAS_POOL_MEAN,
    KERAS_POOL_MAX,
    KERAS_REPEAT,
    KERAS_MASK_OPERATION
};

struct keras_class {
    const char *name;
    enum keras_kind kind;
    const char *words; /* why it is refused */
    unsigned gates;    /* of a recurrent layer or a cell: 4: LSTM, 3: GRU, 1: plain */
};

/* Never NULL. */
const struct keras_class *keras_class(const char *name);

#endif
