/* Checks a model folder against the values that it brings along.
 *
 * Used by `rnnd verify` and by the golden tests.  Opens the model through core/rnn.h, so what is
 * checked is what the daemon serves. */
#ifndef MODELS_VERIFY_H
#define MODELS_VERIFY_H

#include <stdio.h>

#include "base/err.h"

/* Opens `folder` and replays its golden.json, if it has one (schema "rnnd-golden-1", or the list of
 * texts that published checkpoints bring).  A value passes where |got - want| <= atol + 1e-5
 * |want|, atol as the file suggests.  Writes to `report`, if given: what model it is, and for each
 * kind of value how many there were, the largest error, the tolerance.  0: all of them pass (or
 * there is no golden.json, which the report says).  RNN_ERANGE: a value is off; `err` names the
 * first. Otherwise why the folder or its golden.json could not be read.  Reads the disk and
 * computes: any thread that may block. */
int model_verify(const char *folder, FILE *report, struct rnn_err *err);

#endif
