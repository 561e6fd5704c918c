/* An architecture from names and shapes, and questions about what they leave open.  See infer.h.
 *
 * One stack (import/stack.h), or two where the names speak of an encoder and a decoder that both
 * have recurrent layers. */
#include "import/infer.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "import/put.h"
#include "import/stack.h"

/* How many outputs there are, and how many different inputs; 0: they are numbers. */
static size_t size_in(const struct cJSON *config, const char *part, const char *kind)
{
    const struct cJSON *object = json_get(config, part);
    const struct cJSON *size = object ? json_get(object, "size") : NULL;
    const struct cJSON *name = object ? json_get(object, "kind") : NULL;

    if (!cJSON_IsNumber(size) || (kind && name && strcmp(name->valuestring, kind) == 0))
        return 0;
    return (size_t)size->valuedouble;
}

static const char *topology_of(struct draft *draft)
{
    const char *said = draft->options->topology;
    size_t outputs = size_in(draft->config, "head", NULL);
    size_t ids = size_in(draft->config, "input", "dense");

    if (said)
        return said;
    if (outputs && outputs != ids)
        buf_printf(&draft->questions,
                   "  --topology synced or --topology many_to_one: are there %zu outputs at every "
                   "step, or once for a whole input?\n",
                   outputs);
    return "synced";
}

/* Whether the highest recurrent layer runs in both directions. */
static bool ends_both_ways(const struct cJSON *config)
{
    const struct cJSON *rnn = json_get(config, "rnn"), *layers = json_get(config, "layers");
    const struct cJSON *both = rnn ? json_get(rnn, "bidirectional") : NULL;

    for (const struct cJSON *layer = layers ? layers->child : NULL; layer; layer = layer->next)
        both = json_get(layer, "bidirectional") ? json_get(layer, "bidirectional") : both;
    return cJSON_IsTrue(both);
}

/* What is read of the steps.  In one direction the final state is the last step; in two it is not,
 * and code like out[:, -1] and code like torch.cat((h[-2], h[-1]), 1) leave the same weights. */
static int put_pool(struct draft *draft, struct rnn_err *err)
{
    const char *pool = draft->options->pool;
    struct opinion *opinion = &draft->opinion;

    if (!pool && !ends_both_ways(draft->config))
        return 0;
    if (!pool)
        buf_puts(
            &draft->questions,
            "  --pool final, --pool last, --pool mean or --pool max: is the one output made of "
            "the final states of both directions, of the last step, or of all steps?\n");
    pool = pool ? pool : "final";
    if (strcmp(pool, "last") == 0 && opinion->n > 0)
        memcpy(opinion->pooled, opinion->last, opinion->n * sizeof *opinion->last);
    else if (strcmp(pool, "final") != 0)
        opinion_free(opinion);
    return put_text(draft->config, "pool", pool) ? 0 : rnn_fail(err, RNN_ENOMEM, "out of memory");
}

static int infer_one(struct draft *draft, const struct elements *elements, struct rnn_err *err)
{
    const struct element **list = calloc(elements->n + 1, sizeof *list);
    const char *topology;
    int rc;

    if (!list)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    for (size_t i = 0; i < elements->n; i++)
        list[i] = &elements->list[i];
    rc = stack_make(draft, draft->config, "", list, elements->n, elements->ordered, err);
    free(list);
    if (rc < 0)
        return rc;
    topology = topology_of(draft);
    if (!put_text(draft->config, "topology", topology))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    return strcmp(topology, "many_to_one") == 0 ? put_pool(draft, err) : 0;
}

static int put_ids(struct draft *draft, struct rnn_err *err)
{
    const struct import_options *o = draft->options;
    const struct {
        const char *key, *option;
        int64_t value;
        bool wanted;
    } ids[] = {{"bos", "bos", o->bos, true},
               {"eos", "eos", o->eos, true},
               {"source_eos", "source-eos", o->source_eos, false},
               {"max_len", "max-len", o->max_len, false}};

    for (size_t i = 0; i < 4; i++) {
        if (ids[i].value < 0 && ids[i].wanted)
            buf_printf(&draft->questions, "  --%s ID: the token that %s a text of the decoder's\n",
                       ids[i].option, i == 0 ? "begins" : "ends");
        if (ids[i].value >= 0 &&
            !put(draft->config, ids[i].key, cJSON_CreateNumber((double)ids[i].value)))
            return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    return 0;
}

/* Modules of the encoder; all others are the decoder's. */
static size_t pick_side(const struct elements *elements, bool encoder, const struct element **list)
{
    size_t n = 0;

    for (size_t i = 0; i < elements->n; i++) {
        const struct element *e = &elements->list[i];

        if ((name_side(e->name, e->name_len) == 'e') == encoder)
            list[n++] = e;
    }
    return n;
}

static bool has_recurrent(const struct element *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->kind == ELEMENT_RNN)
            return true;
    return false;
}

static int infer_pair(struct draft *draft, const struct elements *elements,
                      const struct element **list, struct rnn_err *err)
{
    struct cJSON *encoder = put_object(draft->config, "encoder");
    struct cJSON *decoder = put_object(draft->config, "decoder");
    size_t n = pick_side(elements, true, list);
    int rc;

    if (!encoder || !decoder || !put_text(draft->config, "topology", "seq2seq") ||
        !put_text(draft->config, "state_transfer", "copy"))
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    rc = stack_make(draft, encoder, "encoder.", list, n, elements->ordered, err);
    n = pick_side(elements, false, list);
    if (rc == 0)
        rc = stack_make(draft, decoder, "decoder.", list, n, elements->ordered, err);
    return rc < 0 ? rc : put_ids(draft, err);
}

int infer(struct draft *draft, const struct elements *elements, struct rnn_err *err)
{
    const struct element **list = calloc(elements->n + 1, sizeof *list);
    bool pair;
    int rc;

    if (!list)
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    draft->config = cJSON_CreateObject();
    if (!draft->config || !put_text(draft->config, "schema", "rnnd-ref-1")) {
        free(list);
        return rnn_fail(err, RNN_ENOMEM, "out of memory");
    }
    pair = has_recurrent(list, pick_side(elements, true, list)) &&
           has_recurrent(list, pick_side(elements, false, list));
    rc = pair ? infer_pair(draft, elements, list, err) : infer_one(draft, elements, err);
    free(list);
    return rc;
}
