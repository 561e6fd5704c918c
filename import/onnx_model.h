/* What an ONNX graph was found to be: the stages from its input to its output, and the model that
 * is made of them.  One thread. */
#ifndef IMPORT_ONNX_MODEL_H
#define IMPORT_ONNX_MODEL_H

#include "import/onnx_value.h"

/* The stages that lead to the output, from the input on. */
struct onnx_chain {
    const struct onnx_stage **stages; /* [n] */
    size_t n;
    size_t width;  /* features of the input, or number of token ids */
    bool one_step; /* the graph is one step of a stream */
    bool many_to_one;
    enum rnn_pool pool;
    bool one_hot;       /* the numbers that it reads are ids, one-hot */
    const char *output; /* what the head's outputs are; NULL: as the graph says */
};

/* import/onnx_outputs.c: chooses the output, and checks that what else comes out are the states of
 * the session.  RNN_EUNSUPPORTED with the first node that stands in the way. */
int onnx_chain_find(struct onnx_run *run, struct onnx_chain *out);

/* Whether there is a stage `i`, of that kind. */
bool onnx_chain_is(const struct onnx_chain *chain, size_t i, enum onnx_stage_kind kind);

/* import/onnx_wishes.c: what the user wants of it.  RNN_EUNSUPPORTED where the file is against it.
 */
int onnx_wishes(struct onnx_run *run, struct onnx_chain *chain);

/* import/onnx_emit.c: fills the archive with config.json and tensors under our names. */
int onnx_emit(struct onnx_run *run, const struct onnx_chain *chain);

#endif
