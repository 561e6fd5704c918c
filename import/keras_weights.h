/* Which arrays of an HDF5 file belong to which layer of a Keras model.
 *
 *     .h5, Keras 1 and later     groups named by layer_names, arrays by weight_names, both in
 *                                attributes, which are the order; under "model_weights" where the
 *                                model is there, too
 *     .weights.h5 and .keras     layers/CLASS_k/vars/0, 1, …, k counting the layers of a class;
 *                                cells lie in cell/, wrapped layers in layer/, forward_layer/,
 *                                backward_layer/
 *
 * Inside of read_keras.c; one thread. */
#ifndef IMPORT_KERAS_WEIGHTS_H
#define IMPORT_KERAS_WEIGHTS_H

#include "base/err.h"
#include "import/archive.h"
#include "import/hdf5file.h"
#include "import/keras_model.h"

/* Reads the arrays of every layer that has some into the archive, and layers[i].weights.  Notes
 * what the file holds beside them.  RNN_ESHAPE where the file's layers are not the model's. */
int keras_weights_read(struct hdf5file *file, struct archive *archive, struct keras_model *model,
                       struct rnn_err *err);

/* For a file without a model: the names of its layers that have weights, in words; they live in the
 * archive.  RNN_EFORMAT where it is no file of Keras'. */
int keras_weights_words(struct hdf5file *file, struct archive *archive, const char **out,
                        struct rnn_err *err);

#endif
