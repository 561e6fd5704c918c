/* Variables of TensorFlow 1's recurrent cells, turned into PyTorch's form.
 *
 * One thread. */
#ifndef IMPORT_TF1_H
#define IMPORT_TF1_H

#include "base/err.h"
#include "import/archive.h"

/* Replaces every pair KERNEL, BIAS of a BasicLSTMCell in the archive by weight_ih, weight_hh,
 * bias_ih, bias_hh, and softmax_w, softmax_b by a matrix's weight and bias.  Does nothing where
 * there are none.  Other cells of TensorFlow are refused by name. */
int tf1_convert(struct archive *archive, struct rnn_err *err);

#endif
