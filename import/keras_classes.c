/* The table of Keras' classes.  See keras_classes.h. */
#include "import/keras_classes.h"

#include <stddef.h>
#include <string.h>

#define JOINS     "joins several layers"
#define CONVOLVES "looks at neighbouring steps at once"

static const struct keras_class classes[] = {
    {"InputLayer", KERAS_INPUT, NULL, 0},
    {"Embedding", KERAS_EMBEDDING, NULL, 0},
    {"SimpleRNN", KERAS_RECURRENT, NULL, 1},
    {"LSTM", KERAS_RECURRENT, NULL, 4},
    {"GRU", KERAS_RECURRENT, NULL, 3},
    {"CuDNNLSTM", KERAS_RECURRENT, NULL, 4},
    {"CuDNNGRU", KERAS_RECURRENT, NULL, 3},
    {"RNN", KERAS_RECURRENT, NULL, 0}, /* of its cell */
    {"Bidirectional", KERAS_BIDIRECTIONAL, NULL, 0},
    {"TimeDistributed", KERAS_TIME_DISTRIBUTED, NULL, 0},
    {"TimeDistributedDense", KERAS_DENSE, NULL, 0}, /* Keras 1 */
    {"Dense", KERAS_DENSE, NULL, 0},
    {"Activation", KERAS_ACTIVATION, NULL, 0},
    {"ReLU", KERAS_ACTIVATION, NULL, 0},
    {"LeakyReLU", KERAS_ACTIVATION, NULL, 0},
    {"ThresholdedReLU", KERAS_ACTIVATION, NULL, 0},
    {"ELU", KERAS_ACTIVATION, NULL, 0},
    {"Softmax", KERAS_ACTIVATION, NULL, 0},
    {"BatchNormalization", KERAS_BATCH_NORM, NULL, 0},
    {"BatchNormalizationV1", KERAS_BATCH_NORM, NULL, 0},
    {"SyncBatchNormalization", KERAS_BATCH_NORM, NULL, 0},
    {"LayerNormalization", KERAS_LAYER_NORM, NULL, 0},
    {"Normalization", KERAS_NORMALIZATION, NULL, 0},
    {"Rescaling", KERAS_RESCALING, NULL, 0},
    {"Masking", KERAS_MASKING, NULL, 0},
    {"Dropout", KERAS_DROPPED, NULL, 0},
    {"SpatialDropout1D", KERAS_DROPPED, NULL, 0},
    {"GaussianDropout", KERAS_DROPPED, NULL, 0},
    {"GaussianNoise", KERAS_DROPPED, NULL, 0},
    {"AlphaDropout", KERAS_DROPPED, NULL, 0},
    {"ActivityRegularization", KERAS_DROPPED, NULL, 0},
    {"Identity", KERAS_DROPPED, NULL, 0},
    {"Flatten", KERAS_FLATTEN, NULL, 0},
    {"Reshape", KERAS_RESHAPE, NULL, 0},
    {"GlobalAveragePooling1D", KERAS_POOL_MEAN, NULL, 0},
    {"GlobalMaxPooling1D", KERAS_POOL_MAX, NULL, 0},
    {"RepeatVector", KERAS_REPEAT, NULL, 0},
    {"NotEqual", KERAS_MASK_OPERATION, NULL, 0},
    {"Any", KERAS_MASK_OPERATION, NULL, 0},

    {"LSTMCell", KERAS_REFUSED, "is a cell, no layer", 4},
    {"GRUCell", KERAS_REFUSED, "is a cell, no layer", 3},
    {"SimpleRNNCell", KERAS_REFUSED, "is a cell, no layer", 1},
    {"Lambda", KERAS_REFUSED, "is Python code, which is not run", 0},
    {"TFOpLambda", KERAS_REFUSED, "is an operation outside of any layer", 0},
    {"SlicingOpLambda", KERAS_REFUSED, "is an operation outside of any layer", 0},
    {"TensorFlowOpLayer", KERAS_REFUSED, "is an operation outside of any layer", 0},
    {"Sequential", KERAS_REFUSED, "is a model inside of the model", 0},
    {"Functional", KERAS_REFUSED, "is a model inside of the model", 0},
    {"Model", KERAS_REFUSED, "is a model inside of the model", 0},
    {"Concatenate", KERAS_REFUSED, JOINS, 0},
    {"Add", KERAS_REFUSED, JOINS, 0},
    {"Average", KERAS_REFUSED, JOINS, 0},
    {"Multiply", KERAS_REFUSED, JOINS, 0},
    {"Subtract", KERAS_REFUSED, JOINS, 0},
    {"Maximum", KERAS_REFUSED, JOINS, 0},
    {"Minimum", KERAS_REFUSED, JOINS, 0},
    {"Dot", KERAS_REFUSED, JOINS, 0},
    {"Merge", KERAS_REFUSED, JOINS, 0},
    {"Attention", KERAS_REFUSED, JOINS, 0},
    {"AdditiveAttention", KERAS_REFUSED, JOINS, 0},
    {"MultiHeadAttention", KERAS_REFUSED, JOINS, 0},
    {"Conv1D", KERAS_REFUSED, CONVOLVES, 0},
    {"Convolution1D", KERAS_REFUSED, CONVOLVES, 0},
    {"SeparableConv1D", KERAS_REFUSED, CONVOLVES, 0},
    {"MaxPooling1D", KERAS_REFUSED, CONVOLVES, 0},
    {"AveragePooling1D", KERAS_REFUSED, CONVOLVES, 0},
    {"UpSampling1D", KERAS_REFUSED, "changes the number of steps", 0},
    {"ZeroPadding1D", KERAS_REFUSED, "changes the number of steps", 0},
    {"Cropping1D", KERAS_REFUSED, "changes the number of steps", 0},
    {"Permute", KERAS_REFUSED, "turns steps into numbers", 0},
    {"Conv2D", KERAS_REFUSED, "is for pictures", 0},
    {"MaxPooling2D", KERAS_REFUSED, "is for pictures", 0},
    {"ConvLSTM2D", KERAS_REFUSED, "is for pictures", 0},
    {"ConvLSTM1D", KERAS_REFUSED, CONVOLVES, 0},
    {"StackedRNNCells", KERAS_REFUSED, "is a cell of cells", 0},
    {"TextVectorization", KERAS_REFUSED, "reads text; take it off the model, and give --vocab", 0},
    {"StringLookup", KERAS_REFUSED, "reads text; take it off the model, and give --vocab", 0},
    {"CategoryEncoding", KERAS_REFUSED, "has no place in a model here", 0},
    {"PReLU", KERAS_REFUSED, "has an activation with weights", 0},
};

static const struct keras_class unknown = {NULL, KERAS_UNKNOWN, "is of its makers' own class", 0};

const struct keras_class *keras_class(const char *name)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].name, name) == 0)
            return &classes[i];
    return &unknown;
}
