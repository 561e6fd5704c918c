/* An ONNX file as it stands: nodes, constants, inputs and outputs, and nothing understood yet.
 *
 * Source: onnx/onnx.proto3 of ONNX 1.12.  Graphs inside attributes (of If, Loop, Scan) are not
 * looked into.  All memory is the archive's; numbers point into the file's bytes where they lie
 * there as they are needed.  One thread. */
#ifndef IMPORT_ONNX_GRAPH_H
#define IMPORT_ONNX_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "import/archive.h"
#include "import/protobuf.h"

enum { ONNX_NODES_MAX = 20000, ONNX_RANK_MAX = 8, ONNX_PORTS_MAX = 256 };

/* ---- Constants ---- */

/* Integers of all widths and booleans become I64.  Symbols: import/onnx_value.h. */
enum onnx_type { ONNX_F32, ONNX_F16, ONNX_BF16, ONNX_F64, ONNX_I64, ONNX_SYMBOL };

struct onnx_tensor {
    const char *name;
    enum onnx_type type;
    size_t rank;
    size_t shape[ONNX_RANK_MAX]; /* row-major */
    size_t elements;
    const void *data; /* of any alignment */
};

/* Where the bytes of constants come from. */
struct onnx_source {
    struct archive *archive;
    const char *path; /* of the file, for data in files beside it; "": there are none */
};

/* Fills in `elements`; false where shape and bytes would overflow, also of an empty one. */
bool onnx_tensor_count(struct onnx_tensor *tensor);

/* A TensorProto.  RNN_EUNSUPPORTED for types of elements that no model is made of; RNN_EFORMAT,
 * RNN_ENOENT, RNN_EIO with the tensor's name for damage and for data outside that are not there. */
int onnx_tensor_read(struct onnx_tensor *out, const struct onnx_source *source,
                     struct proto message, struct rnn_err *err);

/* ---- Graphs ---- */

/* Which of the parts is there. */
enum onnx_attribute_kind {
    ONNX_FLOAT = 1,
    ONNX_INT = 2,
    ONNX_STRING = 3,
    ONNX_TENSOR = 4,
    ONNX_GRAPH = 5,
    ONNX_FLOATS = 6,
    ONNX_INTS = 7,
    ONNX_STRINGS = 8
};

struct onnx_attribute {
    const char *name;
    int kind; /* of enum onnx_attribute_kind, or another that nobody reads */
    float f;
    int64_t i;
    const char *s;
    struct proto tensor; /* unread */
    size_t n;            /* in the one list that there is */
    const float *floats;
    const int64_t *ints;
    const char *const *strings;
};

struct onnx_node {
    const char *name; /* "": none */
    const char *op;
    const char *domain; /* "" is ONNX's own */
    size_t place;       /* in the file, from 0 */
    const char *const *inputs;
    size_t n_inputs;
    const char *const *outputs;
    size_t n_outputs;
    const struct onnx_attribute *attributes;
    size_t n_attributes;
};

struct onnx_port {
    const char *name;
    int type;       /* of an element, as TensorProto.DataType numbers them */
    bool has_shape; /* the file says how many dimensions */
    size_t rank;
    int64_t shape[ONNX_RANK_MAX]; /* -1: free */
};

struct onnx_constant {
    const char *name;
    bool readable; /* else `why` */
    const char *why;
    struct onnx_tensor tensor;
};

struct onnx_graph {
    const char *producer; /* "pytorch 1.13"; "": unsaid */
    int64_t opset;        /* of ONNX's own operators */
    struct onnx_node *nodes;
    size_t n_nodes;
    struct onnx_constant *constants;
    size_t n_constants;
    struct onnx_port *inputs;
    size_t n_inputs;
    struct onnx_port *outputs;
    size_t n_outputs;
};

/* A ModelProto.  The bytes must live as long as the archive's owner uses the graph. */
int onnx_graph_read(struct onnx_graph *out, const struct onnx_source *source, const void *bytes,
                    size_t len, struct rnn_err *err);

/* NULL: the node has none of that name. */
const struct onnx_attribute *onnx_attribute(const struct onnx_node *node, const char *name);

#endif
