/* ModelProto, GraphProto, NodeProto, AttributeProto and ValueInfoProto.  See onnx_graph.h.
 *
 * Each list is counted before it is filled, so that memory is asked for once and follows from bytes
 * that are there. */
#include "import/onnx_graph.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { ATTRIBUTES_MAX = 64, LIST_MAX = 1 << 20 };

struct parse {
    const struct onnx_source *source;
    struct onnx_graph *graph;
    struct rnn_err *err;
};

static int malformed(struct parse *p, const char *what)
{
    return rnn_fail(p->err, RNN_EFORMAT, "%s", what);
}

static void *take(struct parse *p, size_t n, size_t size)
{
    void *memory = archive_alloc(p->source->archive, (n ? n : 1) * size, p->err);

    if (memory)
        memset(memory, 0, (n ? n : 1) * size);
    return memory;
}

static int read_text(struct parse *p, const struct proto_field *field, const char **out)
{
    const char *text = (const char *)field->bytes.at;
    size_t len = (size_t)(field->bytes.end - field->bytes.at);

    if (field->wire != PROTO_BYTES || len > ARCHIVE_NAME_MAX || !utf8_valid(text, len, NULL) ||
        (len > 0 && memchr(text, '\0', len)))
        return malformed(p, "a name in it is too long, or no text (damaged?)");
    if (len == 0) {
        *out = "";
        return 0;
    }
    *out = archive_text(p->source->archive, text, len, p->err);
    return *out ? 0 : RNN_ENOMEM;
}

/* All fields of that number as texts. */
static int read_texts(struct parse *p, struct proto message, uint32_t number, size_t max,
                      const char *const **out, size_t *n)
{
    struct proto_field field;
    const char **list;
    size_t count = 0;
    int rc = proto_count(message, number, &count, p->err);

    if (rc < 0)
        return rc;
    if (count > max)
        return malformed(p, "a list of names in it is too long (damaged?)");
    list = take(p, count, sizeof *list);
    *out = list;
    *n = 0;
    rc = list ? 0 : RNN_ENOMEM;
    while (rc >= 0 && (rc = proto_next(&message, &field, p->err)) > 0)
        if (field.number == number)
            rc = read_text(p, &field, &list[(*n)++]);
    return rc < 0 ? rc : 0;
}

/* ---- Attributes ---- */

static float as_float(uint64_t bits)
{
    uint32_t word = (uint32_t)bits;
    float value;

    memcpy(&value, &word, sizeof value);
    return value;
}

/* A repeated field of floats (32 bits) or of integers (varints). */
static int read_numbers(struct parse *p, struct proto message, uint32_t number,
                        enum proto_wire each, struct onnx_attribute *out)
{
    struct proto walk = message;
    struct proto_field field;
    size_t n = 0, at = 0;
    float *floats = NULL;
    int64_t *ints = NULL;
    int rc;

    while ((rc = proto_next(&walk, &field, p->err)) > 0)
        if (field.number == number && (rc = proto_count_numbers(&field, each, &n, p->err)) < 0)
            break;
    if (rc < 0)
        return rc;
    if (n == 0)
        return 0;
    if (n > LIST_MAX)
        return malformed(p, "an attribute's list is too long (damaged?)");
    if (each == PROTO_32)
        floats = take(p, n, sizeof *floats);
    else
        ints = take(p, n, sizeof *ints);
    if (!floats && !ints)
        return RNN_ENOMEM;
    while (proto_next(&message, &field, p->err) > 0) {
        uint64_t value = field.value;
        bool single = field.wire == each;

        if (field.number != number)
            continue;
        while (single || proto_next_number(&field.bytes, each, &value, p->err) > 0) {
            if (floats)
                floats[at++] = as_float(value);
            else
                ints[at++] = (int64_t)value;
            if (single)
                break;
        }
    }
    out->n = n;
    out->floats = floats ? floats : out->floats;
    out->ints = ints ? ints : out->ints;
    return 0;
}

/* The kind, where a file from before IR version 2 leaves it out. */
static int kind_of(const struct onnx_attribute *a, bool has_f, bool has_i)
{
    if (a->kind)
        return a->kind;
    if (a->floats)
        return ONNX_FLOATS;
    if (a->ints)
        return ONNX_INTS;
    if (a->tensor.at)
        return ONNX_TENSOR;
    if (a->s)
        return ONNX_STRING;
    return has_f ? ONNX_FLOAT : has_i ? ONNX_INT : 0;
}

static int read_attribute(struct parse *p, struct proto message, struct onnx_attribute *out)
{
    struct proto walk = message;
    struct proto_field field;
    bool has_f = false, has_i = false;
    int rc;

    out->name = "";
    while ((rc = proto_next(&walk, &field, p->err)) > 0) {
        switch (field.number) {
        case 1:
            rc = read_text(p, &field, &out->name);
            break;
        case 2:
            out->f = as_float(field.value);
            has_f = true;
            break;
        case 3:
            out->i = (int64_t)field.value;
            has_i = true;
            break;
        case 4:
            rc = out->kind == ONNX_STRING || out->kind == 0 ? read_text(p, &field, &out->s) : 0;
            break;
        case 5:
            out->tensor = field.bytes;
            break;
        case 20:
            out->kind = (int)(field.value & 0xFF);
            break;
        default:
            break;
        }
        if (rc < 0)
            return rc;
    }
    if (rc == 0)
        rc = read_numbers(p, message, 7, PROTO_32, out);
    if (rc == 0)
        rc = read_numbers(p, message, 8, PROTO_VARINT, out);
    if (rc == 0 && out->kind == ONNX_STRINGS)
        rc = read_texts(p, message, 9, LIST_MAX, &out->strings, &out->n);
    out->kind = kind_of(out, has_f, has_i);
    return rc;
}

/* ---- Nodes ---- */

static int read_attributes(struct parse *p, struct proto message, struct onnx_node *node)
{
    struct onnx_attribute *list;
    struct proto_field field;
    size_t count = 0;
    int rc = proto_count(message, 5, &count, p->err);

    if (rc < 0)
        return rc;
    if (count > ATTRIBUTES_MAX)
        return malformed(p, "a node has more attributes than any operator (damaged?)");
    list = take(p, count, sizeof *list);
    if (!list)
        return RNN_ENOMEM;
    node->attributes = list;
    while ((rc = proto_next(&message, &field, p->err)) > 0)
        if (field.number == 5 &&
            (rc = read_attribute(p, field.bytes, &list[node->n_attributes++])) < 0)
            return rc;
    return rc;
}

static int read_node(struct parse *p, struct proto message, struct onnx_node *out)
{
    struct proto walk = message;
    struct proto_field field;
    int rc;

    out->name = out->op = out->domain = "";
    while ((rc = proto_next(&walk, &field, p->err)) > 0) {
        if (field.number == 3)
            rc = read_text(p, &field, &out->name);
        else if (field.number == 4)
            rc = read_text(p, &field, &out->op);
        else if (field.number == 7)
            rc = read_text(p, &field, &out->domain);
        if (rc < 0)
            return rc;
    }
    if (rc == 0)
        rc = read_texts(p, message, 1, ONNX_PORTS_MAX, &out->inputs, &out->n_inputs);
    if (rc == 0)
        rc = read_texts(p, message, 2, ONNX_PORTS_MAX, &out->outputs, &out->n_outputs);
    return rc < 0 ? rc : read_attributes(p, message, out);
}

/* ---- Inputs and outputs ---- */

static int read_dimension(struct parse *p, struct proto message, int64_t *out)
{
    struct proto_field field;
    int rc;

    *out = -1;
    while ((rc = proto_next(&message, &field, p->err)) > 0)
        if (field.number == 1 && field.wire == PROTO_VARINT && (int64_t)field.value > 0 &&
            field.value < 1u << 31)
            *out = (int64_t)field.value;
    return rc;
}

static int read_shape(struct parse *p, struct proto message, struct onnx_port *out)
{
    struct proto_field field;
    int rc;

    out->has_shape = true;
    out->rank = 0;
    while ((rc = proto_next(&message, &field, p->err)) > 0) {
        if (field.number != 1)
            continue;
        if (out->rank == ONNX_RANK_MAX)
            return malformed(p, "an input or output has more than 8 dimensions");
        rc = read_dimension(p, field.bytes, &out->shape[out->rank++]);
        if (rc < 0)
            return rc;
    }
    return rc;
}

static int read_type(struct parse *p, struct proto message, struct onnx_port *out)
{
    struct proto_field field;
    int rc;

    while ((rc = proto_next(&message, &field, p->err)) > 0) {
        if (field.number == 1 && field.wire == PROTO_VARINT)
            out->type = (int)(field.value & 0xFF);
        if (field.number == 2 && (rc = read_shape(p, field.bytes, out)) < 0)
            return rc;
    }
    return rc;
}

/* TypeProto: a tensor, or a sequence, map, sparse tensor, whose type stays 0. */
static int read_port_type(struct parse *p, struct proto message, struct onnx_port *out)
{
    struct proto_field field;
    int rc;

    while ((rc = proto_next(&message, &field, p->err)) > 0)
        if (field.number == 1 && (rc = read_type(p, field.bytes, out)) < 0)
            return rc;
    return rc;
}

static int read_port(struct parse *p, struct proto message, struct onnx_port *out)
{
    struct proto_field field;
    int rc;

    out->name = "";
    while ((rc = proto_next(&message, &field, p->err)) > 0) {
        if (field.number == 1)
            rc = read_text(p, &field, &out->name);
        else if (field.number == 2)
            rc = read_port_type(p, field.bytes, out);
        if (rc < 0)
            return rc;
    }
    return rc;
}

/* ---- Constants ---- */

static int read_constant(struct parse *p, struct proto message, struct onnx_constant *out)
{
    int rc = onnx_tensor_read(&out->tensor, p->source, message, p->err);

    out->name = out->tensor.name;
    out->readable = rc == 0;
    if (rc != RNN_EUNSUPPORTED)
        return rc;
    out->why = archive_text(p->source->archive, p->err->text, strlen(p->err->text), p->err);
    return out->why ? 0 : RNN_ENOMEM;
}

/* ---- The graph ---- */

static int make_lists(struct parse *p, struct proto message)
{
    struct onnx_graph *g = p->graph;
    size_t nodes, constants, inputs, outputs;
    int rc = proto_count(message, 1, &nodes, p->err);

    if (rc == 0)
        rc = proto_count(message, 5, &constants, p->err);
    if (rc == 0)
        rc = proto_count(message, 11, &inputs, p->err);
    if (rc == 0)
        rc = proto_count(message, 12, &outputs, p->err);
    if (rc < 0)
        return rc;
    if (nodes > ONNX_NODES_MAX || constants > ONNX_NODES_MAX || inputs > ONNX_NODES_MAX ||
        outputs > ONNX_PORTS_MAX)
        return rnn_fail(p->err, RNN_ELIMIT, "more than %d nodes, constants or inputs",
                        ONNX_NODES_MAX);
    g->nodes = take(p, nodes, sizeof *g->nodes);
    g->constants = take(p, constants, sizeof *g->constants);
    g->inputs = take(p, inputs, sizeof *g->inputs);
    g->outputs = take(p, outputs, sizeof *g->outputs);
    return g->nodes && g->constants && g->inputs && g->outputs ? 0 : RNN_ENOMEM;
}

static int read_graph(struct parse *p, struct proto message)
{
    struct onnx_graph *g = p->graph;
    struct proto_field field;
    int rc = make_lists(p, message);

    while (rc >= 0 && (rc = proto_next(&message, &field, p->err)) > 0) {
        switch (field.number) {
        case 1:
            g->nodes[g->n_nodes].place = g->n_nodes;
            rc = read_node(p, field.bytes, &g->nodes[g->n_nodes++]);
            break;
        case 5:
            rc = read_constant(p, field.bytes, &g->constants[g->n_constants++]);
            break;
        case 11:
            rc = read_port(p, field.bytes, &g->inputs[g->n_inputs++]);
            break;
        case 12:
            rc = read_port(p, field.bytes, &g->outputs[g->n_outputs++]);
            break;
        default:
            break;
        }
    }
    return rc;
}

/* ---- The model ---- */

/* OperatorSetIdProto: the version, if it is that of ONNX's own operators. */
static int read_opset(struct parse *p, struct proto message)
{
    const char *domain = "";
    struct proto_field field;
    int64_t version = 0;
    int rc;

    while ((rc = proto_next(&message, &field, p->err)) > 0) {
        if (field.number == 1)
            rc = read_text(p, &field, &domain);
        else if (field.number == 2)
            version = (int64_t)field.value;
        if (rc < 0)
            return rc;
    }
    if (rc == 0 && (*domain == '\0' || strcmp(domain, "ai.onnx") == 0))
        p->graph->opset = version;
    return rc;
}

static int name_producer(struct parse *p, const char *name, const char *version)
{
    char text[96];

    snprintf(text, sizeof text, "%.60s%s%.20s", name, *version ? " " : "", version);
    if (!utf8_valid(text, strlen(text), NULL))
        text[0] = '\0';
    p->graph->producer = archive_text(p->source->archive, text, strlen(text), p->err);
    return p->graph->producer ? 0 : RNN_ENOMEM;
}

static int read_model(struct parse *p, struct proto message, struct proto *graph)
{
    const char *producer = "", *version = "";
    struct proto_field field;
    int rc;

    while ((rc = proto_next(&message, &field, p->err)) > 0) {
        if (field.number == 2)
            rc = read_text(p, &field, &producer);
        else if (field.number == 3)
            rc = read_text(p, &field, &version);
        else if (field.number == 8)
            rc = read_opset(p, field.bytes);
        else if (field.number == 7 && graph->at)
            rc = malformed(p, "there are two graphs in it (damaged?)");
        else if (field.number == 7)
            *graph = field.bytes;
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? rc : name_producer(p, producer, version);
}

int onnx_graph_read(struct onnx_graph *out, const struct onnx_source *source, const void *bytes,
                    size_t len, struct rnn_err *err)
{
    struct parse p = {.source = source, .graph = out, .err = err};
    struct proto message = {.at = bytes, .end = (const unsigned char *)bytes + len}, graph = {0};
    int rc;

    *out = (struct onnx_graph){.producer = ""};
    rc = read_model(&p, message, &graph);
    if (rc < 0)
        return rc;
    if (!graph.at)
        return malformed(&p, "there is no graph in it (cut?)");
    if (out->opset < 1 || out->opset > 1000)
        return malformed(&p, "it does not say which version of ONNX's operators it uses (cut?)");
    return read_graph(&p, graph);
}

const struct onnx_attribute *onnx_attribute(const struct onnx_node *node, const char *name)
{
    for (size_t i = 0; i < node->n_attributes; i++)
        if (strcmp(node->attributes[i].name, name) == 0)
            return &node->attributes[i];
    return NULL;
}
