/* Stages into modules: a recurrent layer, or several alike; a product with its shift and its
 * activation; what scales and shifts; a normalisation; a readout; and on top a head.
 *
 * A single layer that runs backwards becomes a layer of two directions whose forward one has
 * weights of zero, and whose outputs are added: with an activation that is 0 at 0 it gives 0 at
 * every step, exactly. */
#include "import/onnx_modules.h"

#include "base/json.h"

static int no_memory(struct emitter *e)
{
    return rnn_fail(e->run->err, RNN_ENOMEM, "out of memory");
}

static bool is_zero_at_zero(const struct rnn_activation *a)
{
    switch (a->kind) {
    case RNN_SIGMOID:
        return false;
    case RNN_LINEAR:
    case RNN_HARD_SIGMOID:
        return a->beta == 0;
    default:
        return true;
    }
}

static int check_backwards(struct emitter *e, const struct onnx_layer *layer)
{
    size_t candidate = layer->gates == 1 ? 0 : 1;

    if (!layer->backwards)
        return 0;
    if (!is_zero_at_zero(&layer->activations[candidate]) ||
        (layer->gates == 4 && !is_zero_at_zero(&layer->activations[2])))
        return onnx_stop(e->run, layer->node,
                         "one direction, backwards, with an activation that is not 0 at 0");
    archive_note(e->run->archive,
                 "node '%s' runs backwards only: kept as two directions, the other one of zeros",
                 layer->node->name);
    return 0;
}

const struct onnx_stage *onnx_stage_at(const struct emitter *e, size_t i)
{
    return i < e->chain->n ? e->chain->stages[i] : NULL;
}

/* Takes a residual that spans all of the module, or stops. */
static int read_residual(struct emitter *e, struct module *m, size_t *at)
{
    const struct onnx_stage *stage = onnx_stage_at(e, *at);

    if (!stage || stage->kind != ONNX_STAGE_RESIDUAL)
        return 0;
    if (stage->skip != m->first->below || (m->kind != MODULE_RNN && m->kind != MODULE_DENSE))
        return onnx_stop(e->run, stage->node,
                         "it adds more than what one layer reads to what it "
                         "gives");
    m->residual = true;
    ++*at;
    return 0;
}

static int read_rnn(struct emitter *e, struct module *m, size_t *at)
{
    m->kind = MODULE_RNN;
    m->n_layers = 1;
    m->layers = onnx_take(e->run, e->chain->n, sizeof *m->layers);
    if (!m->layers)
        return e->run->err->code;
    m->layers[0] = &e->run->layers[m->first->layer];
    ++*at;
    if (onnx_chain_is(e->chain, *at, ONNX_STAGE_MERGE))
        m->merge = e->chain->stages[(*at)++]->merge;
    return check_backwards(e, m->layers[0]);
}

/* Product, shift and activation, each of which may be missing; without a product, an identity. */
static void read_dense(struct emitter *e, struct module *m, size_t *at)
{
    m->kind = MODULE_DENSE;
    if (onnx_chain_is(e->chain, *at, ONNX_STAGE_PRODUCT))
        m->product = e->chain->stages[(*at)++];
    if (m->product && onnx_chain_is(e->chain, *at, ONNX_STAGE_SHIFT))
        m->shift = e->chain->stages[(*at)++];
    if (onnx_chain_is(e->chain, *at, ONNX_STAGE_ACTIVATION))
        m->activation = e->chain->stages[(*at)++];
}

static void read_scales(struct emitter *e, struct module *m, size_t *at)
{
    if (onnx_chain_is(e->chain, *at, ONNX_STAGE_SCALE))
        m->scale = e->chain->stages[(*at)++];
    if (onnx_chain_is(e->chain, *at, ONNX_STAGE_SHIFT))
        m->shift = e->chain->stages[(*at)++];
}

/* The last module, if it is a product with nothing, a softmax or a sigmoid above it. */
static void make_head(struct emitter *e, struct module *m, size_t *at)
{
    const struct onnx_stage *next = onnx_stage_at(e, *at);
    bool softmax = next && next->kind >= ONNX_STAGE_SOFTMAX && next->kind <= ONNX_STAGE_LOG_SOFTMAX;
    bool sigmoid = m->activation && m->activation->activation.kind == RNN_SIGMOID;

    if (m->kind != MODULE_DENSE || m->residual || (m->activation && !sigmoid) ||
        (softmax && m->activation) || *at + softmax != e->chain->n)
        return;
    m->head = true;
    m->head_activation = softmax ? "softmax" : sigmoid ? "sigmoid" : "none";
    *at += softmax;
}

/* The module that begins at stage *at; *at moves on behind it. */
static int read_module(struct emitter *e, struct module *m, size_t *at)
{
    size_t start = *at;
    int rc = 0;

    *m = (struct module){.first = e->chain->stages[start]};
    switch (m->first->kind) {
    case ONNX_STAGE_LAYER:
        rc = read_rnn(e, m, at);
        break;
    case ONNX_STAGE_PRODUCT:
    case ONNX_STAGE_ACTIVATION:
        read_dense(e, m, at);
        break;
    case ONNX_STAGE_SHIFT:
    case ONNX_STAGE_SCALE:
        m->kind = MODULE_AFFINE;
        read_scales(e, m, at);
        break;
    case ONNX_STAGE_NORM:
        m->kind = MODULE_NORM;
        m->norm = e->chain->stages[(*at)++];
        if (m->norm->tensor.elements == 0)
            read_scales(e, m, at);
        break;
    case ONNX_STAGE_READOUT:
        m->kind = MODULE_READOUT;
        ++*at;
        break;
    case ONNX_STAGE_SOFTMAX:
    case ONNX_STAGE_LOG_SOFTMAX:
        m->kind = MODULE_DENSE; /* of nothing but the head */
        break;
    default:
        return onnx_stop(e->run, m->first->node, "it stands where no layer here can have it");
    }
    m->gives = e->chain->stages[*at > start ? *at - 1 : start]->width;
    if (rc == 0)
        rc = read_residual(e, m, at);
    if (rc == 0)
        make_head(e, m, at);
    if (rc == 0 && *at == start)
        return onnx_stop(e->run, m->first->node, "it stands where no layer here can have it");
    return rc;
}

static bool same_json(const struct cJSON *a, const struct cJSON *b)
{
    return cJSON_Compare(a, b, true);
}

int onnx_modules_read(struct emitter *e)
{
    size_t at = 1;
    int rc = 0;

    if (onnx_chain_is(e->chain, at, ONNX_STAGE_EMBEDDING) ||
        onnx_chain_is(e->chain, at, ONNX_STAGE_ONE_HOT))
        at++;
    while (at < e->chain->n && rc == 0) {
        struct module *m = &e->modules[e->n], *before = e->n ? m - 1 : NULL;

        rc = read_module(e, m, &at);
        if (rc < 0)
            return rc;
        e->n++;
        if (m->kind != MODULE_RNN)
            continue;
        m->json = onnx_layer_json(m);
        if (!m->json)
            return no_memory(e);
        if (before && before->kind == MODULE_RNN && same_json(before->json, m->json)) {
            before->layers[before->n_layers++] = m->layers[0];
            cJSON_Delete(m->json);
            m->json = NULL;
            e->n--;
        }
    }
    return rc;
}
