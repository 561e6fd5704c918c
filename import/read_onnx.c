/* ONNX: a chain of recurrent layers, as PyTorch's and TensorFlow's exporters write it, becomes a
 * model; any other graph is refused with the node that stands in the way.
 *
 * The file's bytes are parsed (import/onnx_graph.h), each value is understood as far as it can be
 * (import/onnx_run.h), and what leads from the input to the output is written down as a model
 * (import/onnx_model.h).  Nothing is run. */
#include <stdio.h>
#include <string.h>

#include "import/onnx_model.h"
#include "import/onnx_run.h"
#include "import/reader.h"

static bool ends_with(const char *path, const char *end)
{
    size_t len = strlen(path), tail = strlen(end);

    return len >= tail && strcmp(path + len - tail, end) == 0;
}

/* The format has no magic number: a file begins with its IR version, a small number in field 1, and
 * goes on with another field of ModelProto. */
static bool probe(const struct input *input)
{
    const unsigned char *head = input->head;
    static const unsigned char second[] = {0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72};

    if (input->is_folder || input->zip || input->head_len < 3)
        return false;
    if (ends_with(input->path, ".onnx"))
        return true;
    return head[0] == 0x08 && head[1] >= 1 && head[1] <= 32 &&
           memchr(second, head[2], sizeof second) != NULL;
}

static int name_format(struct archive *archive, const struct onnx_graph *graph, struct rnn_err *err)
{
    char text[160];

    snprintf(text, sizeof text, "ONNX (operators of version %lld%s%s)", (long long)graph->opset,
             *graph->producer ? ", by " : "", graph->producer);
    archive->format = archive_text(archive, text, strlen(text), err);
    return archive->format ? 0 : RNN_ENOMEM;
}

static int read_file(struct archive *archive, struct input *input, struct rnn_err *err)
{
    struct onnx_source source = {.archive = archive, .path = input->path};
    struct onnx_graph graph;
    struct onnx_run run = {.archive = archive,
                           .options = input->options,
                           .graph = &graph,
                           .source = source,
                           .err = err};
    struct onnx_chain chain;
    int rc = input_load(input, err);

    archive->format = "ONNX";
    if (rc == 0)
        rc = onnx_graph_read(&graph, &source, input->bytes, input->len, err);
    if (rc == 0)
        rc = name_format(archive, &graph, err);
    if (rc == 0)
        rc = onnx_run_graph(&run);
    if (rc == 0)
        rc = onnx_chain_find(&run, &chain);
    if (rc == 0)
        rc = onnx_wishes(&run, &chain);
    return rc < 0 ? rc : onnx_emit(&run, &chain);
}

const struct reader reader_onnx = {"onnx", probe, read_file};
