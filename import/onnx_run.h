/* The walk over an ONNX graph.  One thread. */
#ifndef IMPORT_ONNX_RUN_H
#define IMPORT_ONNX_RUN_H

#include "import/onnx_value.h"

/* Tells what every value of run->graph is; run->archive, source, graph and err are filled by the
 * caller, the rest is zero.  What is not understood is no fault here (ONNX_STOPPED); RNN_EFORMAT
 * for a graph that names a value before there is one, or twice. */
int onnx_run_graph(struct onnx_run *run);

#endif
