/* Stages into config.json and tensors.
 *
 * Gates are put in our order: LSTM i o f c → i f g o, GRU z r h → r z n, peepholes i o f → i f o.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "import/onnx_modules.h"

enum { IDENTITY_MAX = 2048 };

static int no_memory(struct emitter *e)
{
    return rnn_fail(e->run->err, RNN_ENOMEM, "out of memory");
}

/* ---- Tensors ---- */

static int add_tensor(struct emitter *e, const char *name, const struct onnx_tensor *t,
                      const void *data, size_t rank, size_t rows, size_t columns)
{
    struct archive_tensor tensor = {
        .type = onnx_archive_type(t->type), .rank = rank, .shape = {rows, columns}, .data = data};
    char text[96];

    snprintf(text, sizeof text, "%s%s", e->prefix, name);
    tensor.name = archive_text(e->run->archive, text, strlen(text), e->run->err);
    return tensor.name ? archive_add(e->run->archive, &tensor, e->run->err) : RNN_ENOMEM;
}

/* Blocks of `rows` rows of `row` bytes each, in another order. */
static const void *reorder(struct emitter *e, const unsigned char *from, const unsigned *order,
                           size_t n, size_t rows, size_t row)
{
    unsigned char *to = archive_alloc(e->run->archive, n * rows * row + 1, e->run->err);

    for (size_t i = 0; to && i < n; i++)
        memcpy(to + i * rows * row, from + order[i] * rows * row, rows * row);
    return to;
}

static const unsigned *gate_order(unsigned gates)
{
    static const unsigned plain[] = {0}, gru[] = {1, 0, 2}, lstm[] = {0, 2, 3, 1};

    return gates == 4 ? lstm : gates == 3 ? gru : plain;
}

/* Gates of one direction: [gates * hidden, columns], from `offset` elements into the tensor. */
static int add_gates(struct emitter *e, const struct onnx_layer *layer, const char *name,
                     const struct onnx_tensor *t, size_t offset, size_t columns, bool is_vector)
{
    size_t size = onnx_type_bytes(t->type), rows = layer->gates * layer->hidden;
    const void *data =
        reorder(e, (const unsigned char *)t->data + offset * size, gate_order(layer->gates),
                layer->gates, layer->hidden, columns * size);

    return data ? add_tensor(e, name, t, data, is_vector ? 1 : 2, rows, columns)
                : e->run->err->code;
}

static int add_zeros(struct emitter *e, const char *name, const struct onnx_tensor *t, size_t rank,
                     size_t rows, size_t columns)
{
    size_t bytes = rows * (rank == 2 ? columns : 1) * onnx_type_bytes(t->type);
    void *data = onnx_take(e->run, bytes, 1);

    return data ? add_tensor(e, name, t, data, rank, rows, columns) : e->run->err->code;
}

static int add_values(struct emitter *e, const char *name, const double *values, size_t n)
{
    struct onnx_tensor t = {.type = ONNX_F32};
    float *data = onnx_take(e->run, n, sizeof *data);

    if (!data)
        return e->run->err->code;
    for (size_t i = 0; values && i < n; i++)
        data[i] = (float)values[i];
    return add_tensor(e, name, &t, data, 1, n, 0);
}

/* ---- Recurrent layers ---- */

/* One direction's tensors; `silent`: zeros of the same shapes. */
static int add_direction(struct emitter *e, const struct onnx_layer *layer, size_t k,
                         const struct onnx_direction *d, const char *end, bool silent)
{
    static const unsigned peepholes[] = {0, 2, 1};
    size_t rows = layer->gates * layer->hidden, hidden = layer->hidden;
    const struct {
        const char *name;
        const struct onnx_tensor *tensor;
        size_t offset, columns;
        bool is_vector, wanted;
    } parts[] = {
        {"weight_ih", &d->w, d->index * rows * layer->reads, layer->reads, false, true},
        {"weight_hh", &d->r, d->index * rows * hidden, hidden, false, true},
        {"bias_ih", &d->b, d->index * 2 * rows, 1, true, d->has_bias},
        {"bias_hh", &d->b, d->index * 2 * rows + rows, 1, true, d->has_bias},
    };
    char name[40];
    int rc = 0;

    for (size_t i = 0; i < 4 && rc == 0; i++) {
        snprintf(name, sizeof name, "%s_l%zu%s", parts[i].name, k, end);
        if (parts[i].wanted && silent)
            rc = add_zeros(e, name, parts[i].tensor, parts[i].is_vector ? 1 : 2, rows,
                           parts[i].columns);
        else if (parts[i].wanted)
            rc = add_gates(e, layer, name, parts[i].tensor, parts[i].offset, parts[i].columns,
                           parts[i].is_vector);
    }
    snprintf(name, sizeof name, "peephole_l%zu%s", k, end);
    if (rc == 0 && d->has_peepholes && silent)
        rc = add_zeros(e, name, &d->p, 1, 3 * hidden, 0);
    else if (rc == 0 && d->has_peepholes) {
        size_t size = onnx_type_bytes(d->p.type);
        const void *data =
            reorder(e, (const unsigned char *)d->p.data + d->index * 3 * hidden * size, peepholes,
                    3, hidden, size);

        rc = data ? add_tensor(e, name, &d->p, data, 1, 3 * hidden, 0) : e->run->err->code;
    }
    snprintf(name, sizeof name, "h_0_l%zu%s", k, end);
    if (rc == 0 && onnx_has_learned(layer))
        rc = add_values(e, name, silent ? NULL : d->h.values, hidden);
    snprintf(name, sizeof name, "c_0_l%zu%s", k, end);
    if (rc == 0 && onnx_has_learned(layer) && layer->gates == 4)
        rc = add_values(e, name, silent ? NULL : d->c.values, hidden);
    return rc;
}

static int add_layer(struct emitter *e, const struct onnx_layer *layer, size_t k)
{
    const struct onnx_direction *first = &layer->directions[0];
    int rc = add_direction(e, layer, k, first, "", layer->backwards);

    if (rc == 0 && (layer->n_directions == 2 || layer->backwards))
        rc = add_direction(e, layer, k, layer->backwards ? first : &layer->directions[1],
                           "_reverse", false);
    return rc;
}

/* ---- Tensors of modules without a state ---- */

/* A vector of `n` out of one number for each, or one for all; NULL: `otherwise` everywhere. */
static int add_vector(struct emitter *e, const char *name, const struct onnx_stage *stage,
                      double otherwise, size_t n)
{
    const struct onnx_tensor *t = stage ? &stage->tensor : NULL;
    double *values = onnx_take(e->run, n, sizeof *values);

    if (!values)
        return e->run->err->code;
    for (size_t i = 0; i < n; i++)
        values[i] = t ? onnx_number(t, t->elements == 1 ? 0 : i) : otherwise;
    return add_values(e, name, values, n);
}

/* [in, out] → [out, in] */
static const void *turn(struct emitter *e, const struct onnx_tensor *t, size_t reads, size_t gives)
{
    size_t size = onnx_type_bytes(t->type);
    unsigned char *to = archive_alloc(e->run->archive, t->elements * size + 1, e->run->err);
    const unsigned char *from = t->data;

    for (size_t i = 0; to && i < reads; i++)
        for (size_t j = 0; j < gives; j++)
            memcpy(to + (j * reads + i) * size, from + (i * gives + j) * size, size);
    return to;
}

static int add_identity(struct emitter *e, const struct module *m)
{
    struct onnx_tensor t = {.type = ONNX_F32};
    size_t n = m->gives;
    float *data;

    if (n == 0 || n > IDENTITY_MAX)
        return onnx_stop(e->run, m->first->node, "an activation of %zu numbers by itself", n);
    data = onnx_take(e->run, n * n, sizeof *data);
    if (!data)
        return e->run->err->code;
    for (size_t i = 0; i < n; i++)
        data[i * n + i] = 1;
    return add_tensor(e, "weight", &t, data, 2, n, n);
}

static int add_dense(struct emitter *e, const struct module *m)
{
    const struct onnx_stage *p = m->product;
    size_t reads, gives;
    const void *data;
    int rc;

    if (!p)
        return add_identity(e, m);
    gives = p->tensor.shape[p->out_in ? 0 : 1];
    reads = p->tensor.shape[p->out_in ? 1 : 0];
    data = p->out_in ? p->tensor.data : turn(e, &p->tensor, reads, gives);
    rc = data ? add_tensor(e, "weight", &p->tensor, data, 2, gives, reads) : e->run->err->code;
    return rc < 0 || !m->shift ? rc : add_vector(e, "bias", m->shift, 0, gives);
}

static int add_scales(struct emitter *e, const struct module *m, const char *scale,
                      const char *shift)
{
    int rc;

    if (m->gives == 0)
        return onnx_stop(e->run, m->first->node, "how many numbers it acts on is not known");
    rc = add_vector(e, scale, m->scale, 1, m->gives);
    return rc < 0 ? rc : add_vector(e, shift, m->shift, 0, m->gives);
}

static int add_norm(struct emitter *e, const struct module *m)
{
    const struct onnx_tensor *t = &m->norm->tensor, *second = &m->norm->second;
    int rc;

    if (t->elements == 0)
        return add_scales(e, m, "weight", "bias");
    rc = add_tensor(e, "weight", t, t->data, 1, t->elements, 0);
    return rc < 0 ? rc : add_tensor(e, "bias", second, second->data, 1, second->elements, 0);
}

/* ---- config.json ---- */

static const char *const pools[] = {"final", "last", "mean", "max"};

static struct cJSON *dense_json(const struct module *m)
{
    struct cJSON *json = cJSON_CreateObject();
    bool good = onnx_put(json, "size", cJSON_CreateNumber((double)m->gives)) &&
                onnx_put(json, "bias", cJSON_CreateBool(m->shift != NULL));

    if (good && m->head)
        good = onnx_put(json, "tied", cJSON_CreateFalse()) &&
               onnx_put(json, "activation", cJSON_CreateString(m->head_activation));
    else if (good && m->activation)
        good = onnx_put(json, "activation", onnx_activation_json(&m->activation->activation));
    if (good && m->residual)
        good = onnx_put(json, "residual", cJSON_CreateTrue());
    if (!good) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}

static struct cJSON *module_json(const struct emitter *e, struct module *m)
{
    struct cJSON *json = m->kind == MODULE_RNN     ? m->json
                         : m->kind == MODULE_DENSE ? dense_json(m)
                                                   : cJSON_CreateObject();
    bool good = true;

    if (m->kind == MODULE_RNN)
        good = onnx_put(json, "num_layers", cJSON_CreateNumber((double)m->n_layers));
    if (m->kind == MODULE_NORM)
        good = onnx_put(json, "epsilon", cJSON_CreateNumber(onnx_plain(m->norm->epsilon)));
    if (m->kind == MODULE_READOUT)
        good = onnx_put(json, "pool", cJSON_CreateString(pools[e->chain->pool]));
    m->json = NULL;
    if (!good || !json) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}

static int add_module_tensors(struct emitter *e, const struct module *m)
{
    int rc = 0;

    switch (m->kind) {
    case MODULE_RNN:
        for (size_t k = 0; k < m->n_layers && rc == 0; k++)
            rc = add_layer(e, m->layers[k], k);
        return rc;
    case MODULE_DENSE:
        return add_dense(e, m);
    case MODULE_AFFINE:
        return add_scales(e, m, "scale", "shift");
    case MODULE_NORM:
        return add_norm(e, m);
    default:
        return 0;
    }
}

/* Moves all members of `from` to the end of `to`; `from` is gone. */
static bool take_over(struct cJSON *to, struct cJSON *from)
{
    bool good = true;

    while (from->child && good) {
        struct cJSON *item = cJSON_DetachItemViaPointer(from, from->child);

        good = onnx_put(to, item->string, item);
    }
    cJSON_Delete(from);
    return good;
}

static int add_list(struct emitter *e, size_t n, struct cJSON *config)
{
    static const char *const kinds[] = {"rnn", "dense", "affine", "layer_norm", "readout"};
    struct cJSON *list = cJSON_CreateArray();
    char prefix[32];
    int rc = onnx_put(config, "layers", list) ? 0 : no_memory(e);

    for (size_t i = 0; i < n && rc == 0; i++) {
        struct module *m = &e->modules[i];
        struct cJSON *json = cJSON_CreateObject(), *rest;

        if (!json || !cJSON_AddItemToArray(list, json)) {
            cJSON_Delete(json);
            return no_memory(e);
        }
        if (!onnx_put(json, "kind", cJSON_CreateString(kinds[m->kind])))
            return no_memory(e);
        rest = module_json(e, m);
        if (!rest || !take_over(json, rest))
            return no_memory(e);
        snprintf(prefix, sizeof prefix, "layers.%zu.", i);
        e->prefix = prefix;
        rc = add_module_tensors(e, m);
    }
    return rc;
}

/* One kind of recurrent layer and a head need no list. */
static int add_stack(struct emitter *e, struct cJSON *config)
{
    struct module *m = e->modules;
    size_t n = e->n - (e->n > 0 && m[e->n - 1].head);
    bool simple =
        n > 0 && m[0].kind == MODULE_RNN && (n == 1 || (n == 2 && m[1].kind == MODULE_READOUT));
    struct cJSON *json;

    if (!simple)
        return add_list(e, n, config);
    json = module_json(e, m);
    if (!json || !onnx_put(config, "rnn", json))
        return no_memory(e);
    if (n == 2 && !onnx_put(config, "pool", cJSON_CreateString(pools[e->chain->pool])))
        return no_memory(e);
    e->prefix = "rnn.";
    return add_module_tensors(e, m);
}

static bool reads_tokens(const struct emitter *e)
{
    return onnx_chain_is(e->chain, 1, ONNX_STAGE_EMBEDDING) ||
           onnx_chain_is(e->chain, 1, ONNX_STAGE_ONE_HOT) || e->chain->one_hot;
}

/* Token ids, or numbers of a step, that the model reads. */
static size_t input_size(const struct emitter *e)
{
    const struct onnx_stage *first = onnx_stage_at(e, 1);

    if (onnx_chain_is(e->chain, 1, ONNX_STAGE_EMBEDDING))
        return first->tensor.shape[0];
    return onnx_chain_is(e->chain, 1, ONNX_STAGE_ONE_HOT) ? first->width : e->chain->width;
}

static int add_input(struct emitter *e, struct cJSON *config)
{
    const struct onnx_stage *first = onnx_stage_at(e, 1);
    bool embedding = onnx_chain_is(e->chain, 1, ONNX_STAGE_EMBEDDING);
    size_t size = input_size(e);
    struct cJSON *json = cJSON_CreateObject();
    bool good;

    if (!onnx_put(config, "input", json))
        return no_memory(e);
    good = onnx_put(json, "kind",
                    cJSON_CreateString(embedding         ? "embedding"
                                       : reads_tokens(e) ? "onehot"
                                                         : "dense")) &&
           onnx_put(json, "size", cJSON_CreateNumber((double)size));
    if (!embedding)
        return good ? 0 : no_memory(e);
    good = good && onnx_put(json, "dim", cJSON_CreateNumber((double)first->width));
    e->prefix = "embedding.";
    return good ? add_tensor(e, "weight", &first->tensor, first->tensor.data, 2, size, first->width)
                : no_memory(e);
}

/* As the user says; else outputs that are as many as the tokens are of the next token. */
static void name_head(struct emitter *e, struct module *m)
{
    if (e->chain->output) {
        m->head_activation = e->chain->output;
        return;
    }
    if (!reads_tokens(e) || m->gives != input_size(e) || strcmp(m->head_activation, "none") != 0)
        return;
    m->head_activation = "softmax";
    archive_note(e->run->archive,
                 "outputs: taken for the logits of a softmax over the %zu tokens (--output none or "
                 "--output sigmoid, if they are not)",
                 m->gives);
}

static int add_head(struct emitter *e, struct cJSON *config)
{
    struct module *m = e->n ? &e->modules[e->n - 1] : NULL;
    struct cJSON *json;

    if ((!m || !m->head) && e->chain->output)
        return rnn_fail_at(e->run->err, RNN_EUNSUPPORTED, "output", -1,
                           "--output: the graph ends in no linear layer");
    if (!m || !m->head)
        return onnx_put(config, "head", cJSON_CreateNull()) ? 0 : no_memory(e);
    name_head(e, m);
    json = dense_json(m);
    if (!json || !onnx_put(config, "head", json))
        return no_memory(e);
    e->prefix = "head.";
    return add_dense(e, m);
}

static int add_all(struct emitter *e, struct cJSON *config)
{
    int rc;

    if (!onnx_put(config, "schema", cJSON_CreateString("rnnd-ref-1")) ||
        !onnx_put(config, "topology",
                  cJSON_CreateString(e->chain->many_to_one ? "many_to_one" : "synced")))
        return no_memory(e);
    rc = add_input(e, config);
    if (rc == 0)
        rc = add_stack(e, config);
    return rc < 0 ? rc : add_head(e, config);
}

int onnx_emit(struct onnx_run *run, const struct onnx_chain *chain)
{
    struct emitter e = {.run = run, .chain = chain};
    struct cJSON *config = cJSON_CreateObject();
    int rc;

    e.modules = onnx_take(run, chain->n, sizeof *e.modules);
    rc = !config ? no_memory(&e) : e.modules ? onnx_modules_read(&e) : run->err->code;
    if (rc == 0)
        rc = add_all(&e, config);
    for (size_t i = 0; i < e.n; i++)
        cJSON_Delete(e.modules[i].json);
    if (rc < 0) {
        cJSON_Delete(config);
        return rc;
    }
    run->archive->config = config;
    run->archive->finished = true;
    return 0;
}
